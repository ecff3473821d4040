//! What a report in a log means, in words.

use super::log::{Found, Seen};
use super::{address, sentence};
use crate::console::{Token, in_words};
use crate::disassembly::{base_register, disassemble};
use crate::symbols::{Symbols, instruction};
use serde::Serialize;
use std::fmt;
use trap::esr::Esr;
use trap::fields::Field;
use trap::pstate::Pstate;
use trap::record::{Hex, Report, SCHEMA};

/// How far from the fault address a register's value is worth telling.
const NEAR: i64 = 4096;

/// A report in words: what `explain --json` writes. Its [`Display`](fmt::Display) is for people.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `explanation`, as records have their kind here.
    pub kind: &'static str,
    /// Where the report begins: the number of the log's line, from 1.
    pub line: usize,
    /// The cause in one sentence.
    pub cause: String,
    /// The log's own headline.
    pub says: Option<String>,
    /// Who ran.
    pub task: Option<String>,
    /// The interrupted PC.
    pub pc: Option<Hex>,
    /// The same as a place in the code.
    pub at: Option<String>,
    /// The link register.
    pub lr: Option<Hex>,
    /// The same as a place in the code.
    pub caller: Option<String>,
    /// The instruction at PC.
    pub instruction: Option<Hex>,
    /// The same as assemblers write it.
    pub assembly: Option<String>,
    /// Syndrome.
    pub esr: Option<Hex>,
    /// The N of ESR_ELN, where the log tells it.
    pub level: Option<u8>,
    /// Its class, as [`trap::esr::Ec::name`].
    pub class: Option<&'static str>,
    /// Its fields.
    pub fields: Vec<FieldWords>,
    /// Fault address.
    pub far: Option<Hex>,
    /// What it shows by itself.
    pub far_shows: Vec<String>,
    /// Stack pointer.
    pub sp: Option<Hex>,
    /// The interrupted PSTATE.
    pub pstate: Option<Hex>,
    /// The same in words.
    pub pstate_words: Option<String>,
    /// The registers that have to do with the fault address.
    pub registers: Vec<Near>,
}

/// A field of the syndrome.
#[derive(Clone, Debug, Serialize)]
pub struct FieldWords {
    /// Its name in the Arm ARM.
    pub name: &'static str,
    /// Its uppermost bit, 63 to 0.
    pub hi: u8,
    /// Its lowest bit.
    pub lo: u8,
    /// Its value.
    pub value: u64,
    /// What that means.
    pub words: String,
}

/// A register that has to do with the fault address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Near {
    /// `x0` to `x30`, or `sp`.
    pub register: String,
    /// What it holds.
    pub value: Hex,
    /// Whether the instruction at PC takes its address from it.
    pub base: bool,
    /// The fault address, less what it holds.
    pub distance: i64,
}

/// Gives the explanation of each report to `out`: as text, or as one JSON object a line.
pub fn explain<E>(
    found: Vec<(usize, Found)>,
    symbols: Option<&Symbols>,
    how: Form,
    mut out: impl FnMut(String) -> Result<(), E>,
) -> Result<(), E> {
    for (number, (line, found)) in found.into_iter().enumerate() {
        // An object of strings and numbers cannot fail to be JSON.
        let json = |value: serde_json::Result<String>| value.unwrap_or_default() + "\n";
        out(match (found, how) {
            (Found::Record(report), Form::Json) => json(serde_json::to_string(&report)),
            (Found::Record(report), Form::Brief) => {
                format!("line {line}: {}\n", record(&report, symbols).lines().next().unwrap_or_default())
            }
            (Found::Record(report), Form::Full) => {
                format!("{}line {line}: {}", if number > 0 { "\n" } else { "" }, record(&report, symbols))
            }
            (Found::Seen(seen), how) => {
                let explanation = Explanation::new(line, *seen, symbols);
                match how {
                    Form::Json => json(serde_json::to_string(&explanation)),
                    Form::Brief => format!("line {line}: {}\n", explanation.cause),
                    Form::Full => format!("{}{explanation}", if number > 0 { "\n" } else { "" }),
                }
            }
        })?;
    }
    Ok(())
}

/// How an explanation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All of it.
    Full,
    /// The cause in one line.
    Brief,
    /// One JSON object a line.
    Json,
}

/// A record of this kernel as the console would have shown it.
fn record(report: &Report, symbols: Option<&Symbols>) -> String {
    in_words(&report.to_string(), |token| match (token, symbols) {
        (Token::Instruction(word), _) => instruction(word),
        (Token::Kernel(address) | Token::Program(_, address), Some(symbols)) => symbols.describe(address),
        (Token::Kernel(address), None) => format!("{address:016x}"),
        (Token::Program(name, address), None) => format!("{address:016x} in {name}"),
    })
}

impl Explanation {
    /// What the report that begins in `line` means; `symbols` are those of the program it is about.
    pub fn new(line: usize, seen: Seen, symbols: Option<&Symbols>) -> Explanation {
        let lr = seen.regs[30];
        let named = |address: Option<u64>, name: &Option<String>| {
            let symbols = symbols?;
            let address = address.or_else(|| symbols.address_of(name.as_deref()?))?;
            Some(symbols.describe(address)).filter(|text| text.contains(' '))
        };
        let at = named(seen.pc, &seen.at).or_else(|| seen.at.clone());
        let caller = named(lr, &seen.caller).or_else(|| seen.caller.clone());
        let cause = match (seen.esr, &seen.says) {
            (Some(esr), _) => sentence(esr, seen.far),
            (None, Some(says)) => says.clone(),
            (None, None) => "no syndrome is told".into(),
        };
        let fields = seen.esr.into_iter().flat_map(|esr| Esr(esr).fields());
        Explanation {
            schema: SCHEMA,
            kind: "explanation",
            line,
            cause,
            registers: near(&seen),
            says: seen.says,
            task: seen.task,
            pc: seen.pc.map(Hex),
            at,
            lr: lr.map(Hex),
            caller,
            instruction: seen.instruction.map(|word| Hex(word.into())),
            assembly: seen.instruction.map(disassemble),
            esr: seen.esr.map(Hex),
            level: seen.level,
            class: seen.esr.map(|esr| Esr(esr).ec().name()),
            fields: fields
                .map(|Field { name, hi, lo, value, words }| FieldWords {
                    name,
                    hi,
                    lo,
                    value,
                    words: words.to_string(),
                })
                .collect(),
            far: seen.far.map(Hex),
            far_shows: seen.far.map(|far| address::shows(far, seen.esr)).unwrap_or_default(),
            sp: seen.sp.map(Hex),
            pstate: seen.pstate.map(Hex),
            pstate_words: seen.pstate.map(|pstate| Pstate(pstate).to_string()),
        }
    }
}

/// The registers that have to do with the fault address, the base of the access first.
fn near(seen: &Seen) -> Vec<Near> {
    let Some(far) = seen.far.filter(|_| seen.esr.is_none_or(|esr| Esr(esr).far_valid())) else { return Vec::new() };
    // Of an instruction abort PC is the fault address, and what stands there was not run.
    let base = seen.instruction.filter(|_| seen.pc != Some(far)).and_then(base_register);
    let registers = (0..).zip(seen.regs.iter().copied().chain([seen.sp]));
    let told = registers.filter_map(|(number, value)| Some((number, value?)));
    let mut near: Vec<_> = told
        .map(|(number, value)| Near {
            register: if number == 31 { "sp".into() } else { format!("x{number}") },
            value: Hex(value),
            base: base == Some(number),
            distance: far.wrapping_sub(value) as i64,
        })
        // Small numbers lie near a null pointer by chance.
        .filter(|near| near.base || near.distance.unsigned_abs() < NEAR as u64 && far >= NEAR as u64)
        .collect();
    near.sort_by_key(|near| (!near.base, near.distance.unsigned_abs()));
    near
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.register, self.value)?;
        f.write_str(if self.base { "the base of the access, " } else { "" })?;
        match self.distance {
            0 => f.write_str("the fault address"),
            behind @ 1.. => write!(f, "{behind:#x} bytes below the fault address"),
            before => write!(f, "{:#x} bytes above the fault address", before.unsigned_abs()),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: {}", self.line, self.cause)?;
        let mut row = |name: &str, text: Option<String>| text.map_or(Ok(()), |text| writeln!(f, "  {name:<12} {text}"));
        let place = |address: Option<Hex>, name: &Option<String>| match (address, name) {
            // What symbols say begins with the address.
            (Some(address), Some(name)) if !name.starts_with(&format!("{:016x}", address.0)) => {
                Some(format!("{:016x} {name}", address.0))
            }
            (_, Some(name)) => Some(name.clone()),
            (address, None) => address.map(|address| format!("{:016x}", address.0)),
        };
        let words = |value: Option<Hex>, words: &Option<String>| Some(format!("{}: {}", value?, words.as_deref()?));
        row("the log", self.says.clone().filter(|says| *says != self.cause))?;
        row("task", self.task.clone())?;
        row("at", place(self.pc, &self.at))?;
        row("instruction", self.instruction.map(|word| instruction(word.0 as u32)))?;
        row("LR", place(self.lr, &self.caller))?;
        for (at, shows) in self.far_shows.iter().enumerate() {
            row(if at == 0 { "FAR" } else { "" }, words(self.far, &Some(shows.clone())))?;
        }
        row("SP", self.sp.map(|sp| sp.to_string()))?;
        row("PSTATE", words(self.pstate, &self.pstate_words))?;
        for near in &self.registers {
            row("register", Some(near.to_string()))?;
        }
        let level = self.level.filter(|level| *level > 1);
        row(
            "level",
            level.map(|level| {
                format!("of ESR_EL{level}: what is called EL1 below is EL{level}, and EL0 any lower level")
            }),
        )?;
        self.esr.map_or(Ok(()), |esr| write!(f, "ESR {esr}\n{}", Esr(esr.0).table()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::{read, tests::OOPS};
    use super::*;
    use proptest::prelude::*;
    use trap::record::Kind;

    fn explained(log: &str, form: Form) -> Vec<String> {
        let mut texts = Vec::new();
        let Ok(()) = explain(read(log), None, form, |text| {
            texts.push(text);
            Ok::<_, std::convert::Infallible>(())
        });
        texts
    }

    fn json(log: &str) -> Vec<serde_json::Value> {
        explained(log, Form::Json).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    #[test]
    fn an_oops_in_words() {
        let oops = &json(OOPS)[0];
        let cause = "data abort from EL1: translation fault, level 0, while writing, at 0xdead000000000108";
        assert_eq!((&oops["cause"], &oops["line"]), (&cause.into(), &2.into()));
        assert_eq!((&oops["schema"], &oops["kind"]), (&SCHEMA.into(), &"explanation".into()));
        assert_eq!(oops["assembly"], "str x2, [x1, #0x8]");
        assert_eq!((&oops["class"], &oops["at"]), (&"data_abort_current".into(), &"unlink+0x1c/0x40 [lab]".into()));
        assert_eq!(oops["pstate_words"], "EL1h, nZCv, daif");
        assert_eq!(oops["fields"][0]["name"], "RES0");
        let base = serde_json::json!(
            { "register": "x1", "value": "0xdead000000000100", "base": true, "distance": 8 }
        );
        assert_eq!((&oops["registers"][0], &oops["registers"][1]["register"]), (&base, &"x2".into()));
        assert_eq!(explained(OOPS, Form::Brief), [format!("line 2: {cause}\n")]);

        let text = &explained(OOPS, Form::Full)[0];
        for line in [
            "  at           unlink+0x1c/0x40 [lab]",
            "  instruction  f9000422 str x2, [x1, #0x8]",
            "  register     x1 0xdead000000000100: the base of the access, 0x8 bytes below the fault address",
            "  31:26  EC ",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn registers_around_a_null_pointer_are_told_only_if_the_instruction_names_one() {
        let log = "ESR_EL1: 0x96000006\nFAR_EL1: 0x8\nx0: 0x0 x1: 0x0 x2: 0x4\n";
        assert_eq!(json(log)[0]["registers"], serde_json::json!([]));
        let base = &json(&format!("{log}Code: (f9400422)"))[0]["registers"];
        assert_eq!((&base[0]["register"], &base[0]["distance"], &base[1]), (&"x1".into(), &8.into(), &().into()));
        let no_address = "esr 0xf2000800 far 0x5000 x0 0x5000";
        assert_eq!(json(no_address)[0]["registers"], serde_json::json!([]), "FAR means nothing");
        let jump = "esr 0x8600000f far 0x5000 pc 0x5000 x1 0x1 x8 0x5000 Code: (f9400422)";
        let target = &json(jump)[0]["registers"][0];
        assert_eq!((&target["register"], &target["base"]), (&"x8".into(), &false.into()));
    }

    #[test]
    fn without_a_syndrome_the_log_itself_tells_the_cause() {
        let log = "Internal error: undefined instruction: 0 [#1] SMP\npc : f+0x0/0x8\nCode: (00000000)";
        let report = &json(log)[0];
        assert_eq!(report["cause"], "Internal error: undefined instruction: 0 [#1] SMP");
        assert_eq!((&report["assembly"], &report["esr"]), (&"udf #0x0".into(), &().into()));
    }

    #[test]
    fn a_record_goes_through() {
        let mut report = Report { kind: Kind::Death, task: 7, ..Report::EMPTY };
        let _ = report.cause.push_str("data abort from EL0");
        let line = serde_json::to_string(&report).unwrap();
        assert_eq!(explained(&line, Form::Json), [format!("{line}\n")]);
        assert_eq!(explained(&line, Form::Brief), ["line 1: task 7 died: data abort from EL0\n"]);
        assert!(explained(&line, Form::Full)[0].contains("data abort from EL0"));
    }

    proptest! {
        #[test]
        fn any_report_can_be_told(
            numbers in proptest::collection::vec(proptest::option::of(any::<u64>()), 36),
            instruction: Option<u32>,
            level in proptest::option::of(1u8..4),
        ) {
            let mut seen = Seen { instruction, level, ..Seen::default() };
            [seen.esr, seen.far, seen.pc, seen.sp, seen.pstate] = std::array::from_fn(|at| numbers[at]);
            seen.regs.copy_from_slice(&numbers[5..]);
            let explanation = Explanation::new(7, seen, None);
            prop_assert!(explanation.to_string().starts_with("line 7: "));
            prop_assert!(serde_json::to_string(&explanation).is_ok());
        }
    }
}
