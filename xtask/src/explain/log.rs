//! What a log says of exceptions: the registers and the words that any AArch64 kernel prints around ESR, ELR and FAR.
//!
//! No format is parsed as a whole, as there are too many and they age. A line is searched for registers by name with a
//! hexadecimal value behind them (`ESR_EL1: 0x96000045`, `pc : fn+0x1c/0x40`, `"far":"0x10"`), for phrases with one behind
//! them (`at virtual address 0000000000000010`), and for headlines, which say what happened. Whatever stands before them,
//! time stamps and levels, does not matter. A report ends where the next begins: at a headline, or where ESR, PC or a
//! register comes again with another value.

use super::parse_hex;
use trap::record::{RECORD_SEPARATOR, Report};

/// One report of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record of this kernel.
    Record(Box<Report>),
    /// What another log, or a console, says.
    Seen(Box<Seen>),
}

/// What a log says of one exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its headline.
    pub says: Option<String>,
    /// Who ran.
    pub task: Option<String>,
    /// The N of ESR_ELN.
    pub level: Option<u8>,
    /// Syndrome.
    pub esr: Option<u64>,
    /// Fault address.
    pub far: Option<u64>,
    /// ELR: the interrupted PC.
    pub pc: Option<u64>,
    /// The same as the log names it: `fn+0x1c/0x40`.
    pub at: Option<String>,
    /// The link register, x30, as the log names it.
    pub caller: Option<String>,
    /// Stack pointer.
    pub sp: Option<u64>,
    /// SPSR: the interrupted PSTATE.
    pub pstate: Option<u64>,
    /// x0..x30.
    pub regs: [Option<u64>; 31],
    /// The instruction at PC.
    pub instruction: Option<u32>,
}

impl Seen {
    /// Whether there is something to explain.
    fn is_report(&self) -> bool {
        let place = self.far.or(self.pc).is_some() || self.at.is_some() || self.instruction.is_some();
        self.esr.is_some() || self.says.is_some() && place
    }

    /// Whether the registers have been told.
    fn has_state(&self) -> bool {
        self.pc.or(self.sp).is_some() || self.at.is_some() || self.regs.iter().any(Option::is_some)
    }
}

/// A register that a log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Esr,
    Far,
    Pc,
    Sp,
    Pstate,
    General(usize),
}

/// What opens a report, if its line holds both of these; a headline goes on to the end of the line.
const OPENING: &[(&str, &str)] = &[
    ("Unable to handle kernel", ""),
    ("kernel BUG at ", ""),
    ("WARNING: CPU: ", ""),
    ("Bad mode in ", ""),
    ("Unhandled fault: ", ""),
    (": undefined instruction: pc=", ""),
    (": unhandled ", " at 0x"),
    (": unhandled ", "ESR"),
    ("\"Synchronous Abort\" handler", ""),
    ("\"Error\" handler", ""),
    ("kernel panic: ", ""),
    ("kernel warning: ", ""),
    ("task ", " killed by SIG"),
    ("Taking exception ", "] on CPU "),
    ("HYP panic:", ""),
    ("KERNEL DATA ABORT", ""),
    ("KERNEL PREFETCH ABORT", ""),
];

/// The same, but a report that has just been opened goes on with it.
const FOLLOWING: &[&str] = &["Internal error: ", "SError Interrupt on CPU", "potentially unexpected fatal signal"];

/// What a report ends with.
const CLOSING: &[&str] = &["---[ end trace", "---[ end Kernel panic", "### ERROR ### Please RESET"];

/// Words with a register behind them, in lines that hold the first.
const PHRASES: &[(&str, &str, Register)] = &[
    ("", "at virtual address ", Register::Far),
    ("unhandled", ") at ", Register::Far),
    ("fault on ", " at address ", Register::Far),
    ("fault", " on address ", Register::Far),
    ("", "fault address", Register::Far),
    ("", "faulting address", Register::Far),
    ("fault on ", " with status ", Register::Esr),
    ("unhandled fault: ", " (0x", Register::Esr),
    ("bad mode in", " code ", Register::Esr),
    ("serror", " code ", Register::Esr),
    ("", "faulting instruction:", Register::Pc),
    ("", "exception @ ", Register::Pc),
];

/// Lines without anything in them, after which a report is over: more when it has a syndrome, as backtraces are long.
const GAP: usize = 64;
const GAP_WITHOUT_SYNDROME: usize = 16;

/// The reports in `log`, each with the number of its first line, from 1.
pub fn read(log: &str) -> Vec<(usize, Found)> {
    let mut reader = Reader::default();
    for (number, line) in (1..).zip(log.lines()) {
        reader.number = number;
        reader.line(line);
    }
    reader.close();
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Vec<(usize, Found)>,
    seen: Seen,
    /// The line being read, the first and the last that said something of `seen`.
    number: usize,
    first: usize,
    last: usize,
    /// Whether registers came behind the syndrome.
    state_after_esr: bool,
    /// Whether QEMU's log tells of an interrupt, which leaves the syndrome of the exception before it.
    interrupt: bool,
}

impl Reader {
    /// Ends the report being read.
    fn close(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        if seen.is_report() {
            self.found.push((self.first, Found::Seen(Box::new(seen))));
        }
        self.state_after_esr = false;
    }

    /// The report being read, for this line to say something of.
    fn seen(&mut self) -> &mut Seen {
        let gap = if self.seen.esr.is_some() { GAP } else { GAP_WITHOUT_SYNDROME };
        if self.number > self.last + gap {
            self.close();
        }
        if self.seen == Seen::default() {
            self.first = self.number;
        }
        self.last = self.number;
        &mut self.seen
    }

    fn line(&mut self, line: &str) {
        if let Some(report) = record(line) {
            self.close();
            self.found.push((self.number, Found::Record(Box::new(report))));
            return;
        }
        if line.starts_with("Taking exception ") {
            self.interrupt = line.contains("IRQ]") || line.contains("FIQ]");
        }
        let told_by_qemu = line.starts_with("...");
        if self.interrupt && told_by_qemu || line.starts_with("...to EL") || line.starts_with("Exception return from") {
            return;
        }
        self.headline(line);
        let small = line.to_ascii_lowercase();
        for &(marker, phrase, register) in PHRASES {
            if small.contains(marker)
                && let Some(at) = small.find(phrase)
                && let Some(number) = Number::parse(&small[at + phrase.len()..])
            {
                self.put(register, number.value);
            }
        }
        self.registers(line);
        self.task(line);
        if let Some((_, code)) = line.split_once("Code: ")
            && let Some(word) = code.split_whitespace().find_map(|word| word.strip_prefix('(')?.strip_suffix(')'))
            && let Some(word) = instruction(word)
        {
            self.seen().instruction = Some(word);
        }
        self.own(line.trim());
        if CLOSING.iter().any(|text| line.contains(text)) {
            self.close();
        }
    }

    fn headline(&mut self, line: &str) {
        let opening = OPENING.iter().find_map(|(text, more)| line.find(text).filter(|_| line.contains(more)));
        let following = || FOLLOWING.iter().find_map(|text| line.find(text));
        let Some(at) = opening.or_else(following) else { return };
        if self.seen().has_state() || self.seen.esr.is_some() || opening.is_some() && self.seen.says.is_some() {
            // `Internal error` comes behind the syndrome, and before all other registers.
            if opening.is_some() || self.seen.has_state() {
                self.close();
            }
        }
        // The name of a program stands before the colon.
        let start = if line[at..].starts_with(':') { line[..at].rfind(' ').map_or(0, |space| space + 1) } else { at };
        let seen = self.seen();
        seen.says.get_or_insert_with(|| line[start..].trim_end().into());
        // `Internal error: Oops: 0000000096000045 [#1] SMP`. Of a cause without a syndrome the number is 0.
        if let Some((before, _)) = line[at..].split_once(" [#")
            && let Some((_, number)) = before.rsplit_once(' ')
            && let Ok(esr @ 1..) = parse_hex(number)
        {
            self.put(Register::Esr, esr);
        }
    }

    /// The registers that are named in `line`.
    fn registers(&mut self, line: &str) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut rest = line;
        while let Some(start) = rest.find(is_part) {
            let from = &rest[start..];
            let word = &from[..from.find(|c| !is_part(c)).unwrap_or(from.len())];
            rest = &from[word.len()..];
            let Some((register, level)) = named(word) else { continue };
            if level.is_some() && self.seen.level.is_some_and(|told| Some(told) != level) {
                continue;
            }
            // U-Boot tells PC and LR twice; the first are for its ELF file, and lie nowhere in memory.
            if line.contains("(reloc)") {
                continue;
            }
            // QEMU tells the class before the whole: `ESR 0x25/0x96000045`.
            let whole = rest.split_once('/').filter(|(class, _)| class.len() <= 5 && register == Register::Esr);
            let rest = whole.map_or(rest, |(_, whole)| whole);
            if let Some(number) = Number::parse(rest).filter(|number| number.fits(register, word, level)) {
                self.put(register, number.value);
                if register == Register::Esr {
                    self.seen.level = level;
                }
            } else if matches!(register, Register::Pc | Register::General(30))
                && let Some(name) = symbol(rest)
            {
                let seen = self.seen();
                let place = if register == Register::Pc { &mut seen.at } else { &mut seen.caller };
                place.get_or_insert(name);
            }
        }
    }

    /// Linux's line about who ran.
    fn task(&mut self, line: &str) {
        let Some((before, name)) = line.split_once("Comm: ") else { return };
        let name = ["Not tainted", "Tainted:"].iter().find_map(|end| Some(name.split_once(end)?.0)).unwrap_or(name);
        let pid = before.split_once("PID: ").and_then(|(_, pid)| pid.split_whitespace().next());
        let name = name.trim();
        let task = pid.map_or(name.into(), |pid| format!("{name}, PID {pid}"));
        self.seen().task.get_or_insert(task);
    }

    /// The lines of this kernel's own report that no other has: `at ADDRESS NAME`, `instruction WORD ...`,
    /// `address ADDRESS: WORDS`, `on CPU n, task m (NAME)`.
    fn own(&mut self, line: &str) {
        if self.seen.says.is_none() {
            return;
        }
        let Some((key, value)) = line.split_once(' ') else { return };
        let value = value.trim_start();
        match (key, Number::parse(value)) {
            ("at", Some(number)) if number.digits == 16 && self.seen.pc.is_none() => {
                self.put(Register::Pc, number.value);
                self.seen.at = Some(number.rest.trim().into()).filter(|name: &String| !name.is_empty());
            }
            ("instruction", Some(number)) if number.digits == 8 => {
                self.seen().instruction = Some(number.value as u32);
            }
            ("address", Some(number)) if number.prefixed => self.put(Register::Far, number.value),
            ("on", _) if value.starts_with("CPU ") => {
                if let Some((_, task)) = value.split_once(", ") {
                    self.seen().task = Some(task.into());
                }
            }
            _ => {}
        }
    }

    /// Notes a register's value; one that cannot be of the same report begins the next.
    fn put(&mut self, register: Register, value: u64) {
        let seen = self.seen();
        let again = match register {
            Register::Esr => seen.esr.is_some_and(|old| old != value) || seen.esr.is_some() && self.state_after_esr,
            Register::Pc => self.seen.pc.is_some_and(|old| old != value),
            Register::General(number) => self.seen.regs[number].is_some_and(|old| old != value),
            Register::Far | Register::Sp | Register::Pstate => false,
        };
        if again {
            self.close();
        }
        let seen = self.seen();
        let place = match register {
            Register::Esr => &mut seen.esr,
            Register::Far => &mut seen.far,
            Register::Pc => &mut seen.pc,
            Register::Sp => &mut seen.sp,
            Register::Pstate => &mut seen.pstate,
            Register::General(number) => &mut seen.regs[number],
        };
        place.get_or_insert(value);
        self.state_after_esr = self.seen.esr.is_some() && self.seen.has_state();
    }
}

/// The record of this kernel that a line holds.
fn record(line: &str) -> Option<Report> {
    let json = line.trim().trim_start_matches(char::from(RECORD_SEPARATOR));
    serde_json::from_str(json).ok()
}

/// The register that `word` names, and the exception level in its name.
fn named(word: &str) -> Option<(Register, Option<u8>)> {
    let word = word.to_ascii_lowercase();
    let (name, level) = match word.split_once("_el") {
        Some((name, level @ ("1" | "2" | "3"))) => (name, level.parse().ok()),
        Some((name, "n" | "x")) => (name, None),
        Some(_) => return None,
        None => (&*word, None),
    };
    let register = match name {
        "esr" | "fsr" => Register::Esr,
        "far" => Register::Far,
        "elr" | "pc" | "faultip" => Register::Pc,
        "lr" => Register::General(30),
        "sp" => Register::Sp,
        "spsr" | "pstate" | "cpsr" | "ps" => Register::Pstate,
        _ => Register::General(name.strip_prefix('x')?.parse().ok().filter(|number| *number <= 30)?),
    };
    Some((register, level))
}

/// A hexadecimal number in a log.
struct Number<'a> {
    value: u64,
    /// It begins with `0x`.
    prefixed: bool,
    /// A colon or an equals sign stands before it.
    marked: bool,
    digits: usize,
    /// What stands behind it.
    rest: &'a str,
}

impl Number<'_> {
    /// The number that `text` begins with, behind what may part it from its name.
    fn parse(text: &str) -> Option<Number<'_>> {
        let start = text.trim_start_matches([' ', '\t', ':', '=', '"', '\'', '(']);
        let marked = text[..text.len() - start.len()].contains([':', '=']);
        // An address as `[<...>]`, where a program's name may stand before it.
        let (inside, closed) = match start.strip_prefix("[<").and_then(|inside| inside.split_once(">]")) {
            Some((inside, rest)) => (inside.rsplit(':').next()?, Some(rest)),
            None => (start, None),
        };
        let prefixed = inside.starts_with("0x") || inside.starts_with("0X");
        let body = if prefixed { &inside[2..] } else { inside };
        let digits = body.find(|c: char| !(c.is_ascii_hexdigit() || c == '_')).unwrap_or(body.len());
        // `pc : added+0x4/0x8` is a name.
        if body[digits..].starts_with(|c: char| c.is_alphanumeric() || c == '+') {
            return None;
        }
        let value = parse_hex(&body[..digits]).ok()?;
        Some(Number { value, prefixed, marked, digits, rest: closed.unwrap_or(&body[digits..]) })
    }

    /// Whether this can be the value of a register, and is no other number behind a word that is also a register's name.
    fn fits(&self, register: Register, word: &str, level: Option<u8>) -> bool {
        let spelt_so = level.is_some() || word.chars().all(|c| c.is_ascii_uppercase());
        let long = self.prefixed || self.digits >= 8;
        match register {
            Register::Esr => long || self.marked,
            Register::Far => long || self.marked && spelt_so,
            _ => long,
        }
    }
}

/// The name of a place in code that `text` begins with: ` : fn+0x1c/0x40 [module]`, ` is at fn+0x1c/0x40`.
fn symbol(text: &str) -> Option<String> {
    let text = text.trim_start_matches([' ', '\t', ':', '=']);
    let text = text.strip_prefix("is at ").unwrap_or(text);
    let mut words = text.split_whitespace();
    let name = words.next().filter(|name| name.contains("+0x"))?;
    let module = words.next().filter(|word| word.starts_with('[') && word.ends_with(']') && !word.starts_with("[<"));
    Some(module.map_or(name.into(), |module| format!("{name} {module}")))
}

/// An instruction as eight digits.
fn instruction(word: &str) -> Option<u32> {
    parse_hex(word).ok().filter(|_| word.len() == 8)?.try_into().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use trap::record::Kind;

    /// An oops of Linux 6, with the prefixes of a serial console.
    pub const OOPS: &str = "\
<6>[   12.000001] virtio_net virtio0: so far: 5 queues
<1>[   12.345670][  T123] Unable to handle kernel paging request at virtual address dead000000000108
<1>[   12.345671][  T123] Mem abort info:
<1>[   12.345672][  T123]   ESR = 0x0000000096000044
<1>[   12.345673][  T123]   EC = 0x25: DABT (current EL), IL = 32 bits
<1>[   12.345674][  T123]   SET = 0, FnV = 0
<1>[   12.345675][  T123]   EA = 0, S1PTW = 0
<1>[   12.345676][  T123]   FSC = 0x04: level 0 translation fault
<1>[   12.345677][  T123] Data abort info:
<1>[   12.345678][  T123]   ISV = 0, ISS = 0x00000044, ISS2 = 0x00000000
<1>[   12.345679][  T123] [dead000000000108] address between user and kernel address ranges
<0>[   12.345680][  T123] Internal error: Oops: 0000000096000044 [#1] SMP
<4>[   12.345681][  T123] Modules linked in: lab(O)
<4>[   12.345682][  T123] CPU: 1 UID: 0 PID: 123 Comm: insmod Tainted: G           O       6.12.0 #1
<4>[   12.345683][  T123] Hardware name: linux,dummy-virt (DT)
<4>[   12.345684][  T123] pstate: 60000005 (nZCv daif -PAN -UAO -TCO -DIT -SSBS BTYPE=--)
<4>[   12.345685][  T123] pc : unlink+0x1c/0x40 [lab]
<4>[   12.345686][  T123] lr : lab_init+0x34/0x1000 [lab]
<4>[   12.345687][  T123] sp : ffff80008293bb10
<4>[   12.345688][  T123] x29: ffff80008293bb10 x28: 0000000000000000 x27: ffff80008293bcd8
<4>[   12.345689][  T123] x2 : dead000000000122 x1 : dead000000000100 x0 : ffff000003f5a000
<4>[   12.345690][  T123] Call trace:
<4>[   12.345691][  T123]  unlink+0x1c/0x40 [lab] (P)
<4>[   12.345692][  T123]  lab_init+0x34/0x1000 [lab]
<0>[   12.345693][  T123] Code: d503233f a9bf7bfd 910003fd f9400001 (f9000422)
<4>[   12.345694][  T123] ---[ end trace 0000000000000000 ]---
";

    /// The reports of a log, none of them a record.
    fn seen(log: &str) -> Vec<(usize, Seen)> {
        let reports = read(log).into_iter();
        reports.map(|(line, found)| (line, if let Found::Seen(seen) = found { *seen } else { panic!() })).collect()
    }

    /// The one report of a log.
    fn one(log: &str) -> Seen {
        let mut reports = seen(log);
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0).1
    }

    /// Line, ESR, FAR and PC of each report.
    fn numbers(log: &str) -> Vec<(usize, [Option<u64>; 3])> {
        seen(log).into_iter().map(|(line, seen)| (line, [seen.esr, seen.far, seen.pc])).collect()
    }

    #[test]
    fn an_oops() {
        let (line, oops) = seen(OOPS).remove(0);
        assert_eq!(line, 2);
        assert_eq!(
            oops.says.as_deref(),
            Some("Unable to handle kernel paging request at virtual address dead000000000108")
        );
        assert_eq!((oops.esr, oops.far, oops.pc), (Some(0x9600_0044), Some(0xdead_0000_0000_0108), None));
        assert_eq!(oops.at.as_deref(), Some("unlink+0x1c/0x40 [lab]"));
        assert_eq!(oops.caller.as_deref(), Some("lab_init+0x34/0x1000 [lab]"));
        assert_eq!((oops.sp, oops.pstate), (Some(0xffff_8000_8293_bb10), Some(0x6000_0005)));
        assert_eq!((oops.regs[0], oops.regs[1]), (Some(0xffff_0000_03f5_a000), Some(0xdead_0000_0000_0100)));
        assert_eq!((oops.regs[29], oops.regs[3]), (Some(0xffff_8000_8293_bb10), None));
        assert_eq!(oops.instruction, Some(0xf900_0422));
        assert_eq!(oops.task.as_deref(), Some("insmod, PID 123"));
    }

    #[test]
    fn oopses_of_other_ages() {
        let old = one("\
[    1.0] Unable to handle kernel NULL pointer dereference at virtual address 00000010
[    1.0] pgd = ffffffc0012e1000
[    1.0] Internal error: Oops: 96000005 [#1] PREEMPT SMP
[    1.0] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 3.18.0 #1
[    1.0] PC is at probe+0x18/0x60
[    1.0] LR is at really_probe+0x8c/0x2f0
[    1.0] pc : [<ffffffc0003a5b28>] lr : [<ffffffc0003a4c04>] pstate: 60000145
[    1.0] sp : ffffffc07d8bbc60
[    1.0] x29: ffffffc07d8bbc60 x28: 0000000000000000");
        assert_eq!((old.esr, old.far, old.pc), (Some(0x9600_0005), Some(0x10), Some(0xffff_ffc0_003a_5b28)));
        assert_eq!((old.at.as_deref(), old.regs[30]), (Some("probe+0x18/0x60"), Some(0xffff_ffc0_003a_4c04)));
        assert_eq!((old.pstate, old.task.as_deref()), (Some(0x6000_0145), Some("swapper/0, PID 1")));

        let bug = one("\
kernel BUG at lab/list.c:26!
Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP
pc : check+0x90/0x98
Code: aa0303e2 97ffffd1 d4210000 (d4210000)");
        assert_eq!((bug.esr, bug.instruction), (Some(0xf200_0800), Some(0xd421_0000)));
        assert_eq!(bug.says.as_deref(), Some("kernel BUG at lab/list.c:26!"));

        let named_like_a_number = one("esr 0x96000004\npc : deadbeef+0x10/0x20");
        assert_eq!((named_like_a_number.pc, named_like_a_number.at.as_deref()), (None, Some("deadbeef+0x10/0x20")));

        let undefined = one("Internal error: undefined instruction: 0 [#1] SMP\npc : f+0x0/0x8\nCode: (00000000)");
        assert_eq!((undefined.esr, undefined.instruction), (None, Some(0)));

        let serror = one("SError Interrupt on CPU2, code 0x00000000be000011 -- SError\npc : cpu_do_idle+0x8/0xc");
        assert_eq!((serror.esr, serror.pc), (Some(0xbe00_0011), None));
        let external = "Unhandled fault: synchronous external abort (0x96000010) at 0xffff8000100d5004\npc : f+0x1/0x2";
        let external = one(external);
        assert_eq!((external.esr, external.far), (Some(0x9600_0010), Some(0xffff_8000_100d_5004)));
        let bad = one("Bad mode in Synchronous Abort handler detected on CPU0, code 0x8600000f -- IABT (current EL)");
        assert_eq!(bad.esr, Some(0x8600_000f));
    }

    #[test]
    fn faults_of_programs() {
        let log = "\
[   21.1] a.out[140]: unhandled level 2 translation fault (11) at 0x00000018, esr 0x92000006, in a.out[400000+1000]
[   21.1] CPU: 0 PID: 140 Comm: a.out Not tainted 5.4.0 #1
[   21.1] pstate: 60000000 (nZCv daif -PAN -UAO)
[   21.1] pc : 0000000000400580
[   21.1] lr : 0000ffff9c8a5110
[   21.1] x1 : 0000ffffd4f4ccd8 x0 : 0000000000000001
[   25.0] b.out[141]: unhandled exception: BRK (AArch64), ESR 0x00000000f2000001, brk handler in b.out[400000+1000]
[   25.0] potentially unexpected fatal signal 5.
[   25.0] pc : 0000000000400584";
        assert_eq!(
            numbers(log),
            [(1, [Some(0x9200_0006), Some(0x18), Some(0x40_0580)]), (7, [Some(0xf200_0001), None, Some(0x40_0584)]),]
        );
        let reports = seen(log);
        assert!(reports[0].1.says.as_deref().is_some_and(|says| says.starts_with("a.out[140]: unhandled level 2")));
        assert_eq!((reports[0].1.regs[30], reports[0].1.at.as_deref()), (Some(0xffff_9c8a_5110), None));
    }

    #[test]
    fn other_kernels() {
        for (log, esr, far, pc, pstate, x1) in [
            // The Rust tutorials for the Raspberry Pi.
            (
                "CPU Exception!\n\nESR_EL1: 0x96000004\n      Exception Class         (EC) : 0x25 - Data Abort\n\
                 FAR_EL1: 0x0000000200000000\nSPSR_EL1: 0x600003c5\n      Flags:\n            Negative (N): Not set\n\
                 ELR_EL1: 0x0000000000085440\n\nGeneral purpose register:\n\
                       x0 : 0x0000000000000000         x1 : 0x0000000000000042\n      lr : 0x00000000000853f8",
                0x9600_0004,
                Some(0x2_0000_0000),
                Some(0x8_5440),
                Some(0x6000_03c5),
                Some(0x42),
            ),
            // U-Boot.
            (
                "\"Synchronous Abort\" handler, esr 0x96000004, far 0x10\n\
                 elr: 000000000002f0a4 lr : 000000000002f098 (reloc)\n\
                 elr: 000000007ff5f0a4 lr : 000000007ff5f098\n\
                 x0 : 0000000000000010 x1 : 000000007df2b2e0\n\nCode: aa0003f3 d5033fbf (f9400000) 14000002 \n\
                 Resetting CPU ...\n\n### ERROR ### Please RESET the board ###",
                0x9600_0004,
                Some(0x10),
                Some(0x7ff5_f0a4),
                None,
                Some(0x7df2_b2e0),
            ),
            // Zephyr.
            (
                "E: ELR_ELn: 0x0000000040001234\nE: ESR_ELn: 0x0000000096000045\nE:   EC:  0x25 (Data Abort)\n\
                 E:   IL:  0x1\nE:   ISS: 0x45\nE: FAR_ELn: 0x00000000dead0000\nE: TPIDRRO: 0x0100000040035588\n\
                 E: x0:  0x0000000000000000  x1:  0x0000000000000001\nE: x18: 0x0  lr:  0x40001200",
                0x9600_0045,
                Some(0xdead_0000),
                Some(0x4000_1234),
                None,
                Some(1),
            ),
            // A teaching kernel.
            (
                "usertrap: unexpected ec, esr_el1=0x92000047 pid=3\n          elr=0x1000 far=0x4000 spsr=0x80000000",
                0x9200_0047,
                Some(0x4000),
                Some(0x1000),
                Some(0x8000_0000),
                None,
            ),
            // A unikernel, and its frame as Rust prints it.
            (
                "Unhandled synchronous exception @ 0xffff000040081234: ESR=0x2000000 (EC 0b0, ISS 0x0)\n\
                 TrapFrame { elr: 0xffff000040081234, spsr: 0x60000345 }",
                0x200_0000,
                None,
                Some(0xffff_0000_4008_1234),
                Some(0x6000_0345),
                None,
            ),
            // seL4, told by its kernel and by a fault handler.
            (
                "vm fault on data at address 0x8 with status 0x92000006\nin thread 0xffffff807ffd3400 at address 0x401234",
                0x9200_0006,
                Some(8),
                None,
                None,
                None,
            ),
            (
                "FAULT HANDLER: data fault from app.control (ID 0x1) on address (nil), pc = 0x40c27c, fsr = 0x92000046",
                0x9200_0046,
                None,
                Some(0x40_c27c),
                None,
                None,
            ),
            // XNU.
            (
                "panic(cpu 0 caller 0xfffffff007b1a2c4): Kernel data abort. at pc 0xfffffff007a11234, lr 0xfffffff007a11200\n\
                 \t  x0: 0x0000000000000000 x1:  0xfffffff007500000\n\t  fp: 0xffffffe00022b9a0 lr:  0xfffffff007a11200 \
                 sp:  0xffffffe00022b990 pc:  0xfffffff007a11234 cpsr: 0x60400204 esr: 0x96000006 far: 0x0000000000000018",
                0x9600_0006,
                Some(0x18),
                Some(0xffff_fff0_07a1_1234),
                Some(0x6040_0204),
                Some(0xffff_fff0_0750_0000),
            ),
            // KVM's.
            (
                "HYP panic:\nPS:600003c9 PC:ffff800008e21234 ESR:96000004\nFAR:0000000000000010 HPFAR:0000000000000099 PAR:5",
                0x9600_0004,
                Some(0x10),
                Some(0xffff_8000_08e2_1234),
                Some(0x6000_03c9),
                None,
            ),
            // JSON of whoever.
            (
                r#"{"esr":"0x96000045","far":"0x10","pc":"0xffffffc080001234","regs":{"x1":"0x5"}}"#,
                0x9600_0045,
                Some(0x10),
                Some(0xffff_ffc0_8000_1234),
                None,
                Some(5),
            ),
            ("ESR: 2000000", 0x200_0000, None, None, None, None),
        ] {
            let seen = one(log);
            assert_eq!((seen.esr, seen.far, seen.pc), (Some(esr), far, pc), "{log}");
            assert_eq!((seen.pstate, seen.regs[1]), (pstate, x1), "{log}");
        }
    }

    #[test]
    fn our_own_console() {
        let text = "\
kernel panic: data abort from EL1: translation fault, level 1, while writing, at 0xdead0000
  at           ffffffc080001234 kernel::boot::run+0x34 (kernel/src/boot/mod.rs:12)
  instruction  f9000422 str x2, [x1, #0x8]
  address      0x00000000dead0000: nothing is mapped there
  PSTATE       0x00000000600003c5: EL1h, nZCv, DAIF
  on           CPU 0, task 7 (crash)
exception: el1h_sync, ESR 0x0000000096000045
registers:
   x0 0000000000000000   x1 00000000dead0000   x2 0000000000000005   x3 0000000000000000
the way there, from the inside out:
  ffffffc080001234 kernel::boot::run+0x34 (kernel/src/boot/mod.rs:12)
task 101 (crash) killed by SIGSEGV (SEGV_MAPERR): data abort from EL0: translation fault, level 2, while reading
  at [<crash:0000000000400844>]: [<insn:b9400000>]
  address 0x0000000000000000: a null pointer
";
        let reports = seen(text);
        let (line, panic) = &reports[0];
        assert_eq!((*line, panic.esr, panic.far), (1, Some(0x9600_0045), Some(0xdead_0000)));
        assert_eq!((panic.pc, panic.instruction), (Some(0xffff_ffc0_8000_1234), Some(0xf900_0422)));
        assert_eq!(panic.at.as_deref(), Some("kernel::boot::run+0x34 (kernel/src/boot/mod.rs:12)"));
        assert_eq!((panic.pstate, panic.regs[1]), (Some(0x6000_03c5), Some(0xdead_0000)));
        assert_eq!(panic.task.as_deref(), Some("task 7 (crash)"));
        let (line, death) = &reports[1];
        assert_eq!((*line, death.esr, death.far, death.pc), (12, None, Some(0), Some(0x40_0844)));
        assert!(death.says.as_deref().is_some_and(|says| says.starts_with("task 101 (crash) killed by SIGSEGV")));
        assert_eq!(reports.len(), 2);
    }

    #[test]
    fn what_qemu_itself_logs() {
        let log = "\
Taking exception 5 [IRQ] on CPU 0
...from EL1 to EL1
...with ESR 0x24/0x92000006
...with ELR 0xffffffc080011be8
...to EL1 PC 0xffffffc080040280 PSTATE 0x3c5
Exception return from AArch64 EL1 to AArch64 EL0 PC 0x400a84
Taking exception 4 [Data Abort] on CPU 0
...from EL0 to EL1
...with ESR 0x24/0x92000006
...with FAR 0x18
...with ELR 0x400858
...to EL1 PC 0xffffffc080040400 PSTATE 0x3c5
";
        assert_eq!(numbers(log), [(7, [Some(0x9200_0006), Some(0x18), Some(0x40_0858)])]);
        assert_eq!(numbers(&log.repeat(2)).len(), 2);
        // Where the CPU goes to is not where it came from.
        let next = seen(&format!("{log}ESR: 0x92000007\n")).remove(1).1;
        assert_eq!((next.esr, next.pc, next.pstate), (Some(0x9200_0007), None, None));
    }

    #[test]
    fn records_are_reports() {
        let mut report = Report { kind: Kind::Death, ..Report::EMPTY };
        let _ = report.cause.push_str("data abort");
        let json = serde_json::to_string(&report).unwrap();
        let log = format!("hello\n\x1e{json}\nESR: 0x96000045\n{{\"kind\":\"counters\"}}\n");
        let found = read(&log);
        assert_eq!(found[0], (2, Found::Record(Box::new(report))));
        assert!(matches!(&found[1], (3, Found::Seen(seen)) if seen.esr == Some(0x9600_0045)));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn several_reports_in_one_log() {
        let crash = "ESR_EL1: 0x96000004\nFAR_EL1: 0x10\nELR_EL1: 0x85440\n";
        let same_again = [crash, crash].concat();
        assert_eq!(numbers(&same_again).iter().map(|report| report.0).collect::<Vec<_>>(), [1, 4]);
        // The order of the registers does not matter.
        let other = "pc 0x1000, esr 0x92000006\nfar 0x5\npc 0x2000, esr 0x92000007\nfar 0x6\n";
        let expected =
            [(1, [Some(0x9200_0006), Some(5), Some(0x1000)]), (3, [Some(0x9200_0007), Some(6), Some(0x2000)])];
        assert_eq!(numbers(other), expected);
        assert_eq!(numbers(&[OOPS, OOPS].concat()).len(), 2);
        // What was said long before belongs to another matter.
        let stale = format!("x0: 0x40000000\n{}{crash}x0: 0x5\n", "booting\n".repeat(20));
        assert_eq!(one(&stale).regs[0], Some(5));
        // A monitor tells the registers of lower levels too.
        let monitor = one("elr_el3 = 0x5000\nesr_el3 = 0xbe000000\nelr_el1 = 0x0\nesr_el1 = 0x96000004");
        assert_eq!((monitor.esr, monitor.level, monitor.pc), (Some(0xbe00_0000), Some(3), Some(0x5000)));
    }

    #[test]
    fn what_is_no_report() {
        for log in [
            "",
            "booting\nx0: 0x40000000\npc : main+0x10/0x20\n",
            "ESR\nFAR and ELR\nThe far end, esr of none\n",
            "Unable to handle kernel requests today",
            "ldr x0, [sp, #16]\nmrs x1, esr_el1\n",
        ] {
            assert_eq!(read(log), [], "{log}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC*") {
            let _ = read(&text);
        }

        #[test]
        fn any_mixture_of_what_logs_hold_is_read(words in proptest::collection::vec(prop_oneof![
            proptest::sample::select(vec![
                "ESR", "esr_el1", "FAR", "pc", "lr", "x0", "x31", "sp", "pstate", ":", "=", " ", "0x", "96000045", "_",
                "[<", ">]", "é", "\n", "Code: ", "(d4210000)", "Comm: ", "PID: ", "at", "on CPU 1, task 7", "+0x", "is at ",
                "Internal error: ", " [#1]", ": unhandled ", " at 0x", "(reloc)", "kernel panic: ", "ffffffffffffffff",
                "exception @ ", "\x1e{", "---[ end trace",
            ]).prop_map(String::from),
            "\\PC{0,4}",
        ], 0..60)) {
            let _ = read(&words.concat());
        }

        #[test]
        fn registers_come_back(esr: u64, far: u64, pc: u64, x7: u64, lead in "(<[0-7]>)?(\\[ {0,3}[0-9]{1,3}\\.[0-9]{6}\\] )?") {
            let log = format!("{lead}ESR_EL1: {esr:#x} FAR_EL1: {far:#x}\n{lead}pc : {pc:016x} x7 : {x7:016x}\n");
            let seen = one(&log);
            prop_assert_eq!((seen.esr, seen.far, seen.pc, seen.regs[7]), (Some(esr), Some(far), Some(pc), Some(x7)));
        }
    }
}
