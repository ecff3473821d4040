//! What the program `fuzz` says on the console, among all that its children may: lines that begin with `fuzz: `.

use crate::machine::Outcome;
use std::collections::BTreeMap;
use syscalls::Errno;

/// The exit code of a kernel panic.
const PANIC: u8 = 121;

/// The number of the calls that there are not.
pub const OTHERS: u32 = 512;

/// What a machine said.
#[derive(Debug, Default)]
pub struct Said {
    /// Cases begun, without the first ones that only warm up.
    pub cases: u64,
    /// What was reached; nothing when the machine did not come to its end.
    pub coverage: Coverage,
    /// What failed.
    pub failure: Option<Failure>,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In which case; none before the first.
    pub case: Option<u64>,
    /// What, in words.
    pub why: String,
}

impl Failure {
    /// Whether the same has failed, in this case or another: the words but for the numbers.
    pub fn is_like(&self, other: &Failure) -> bool {
        let words = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.filter(|word| !word.starts_with(|c: char| c.is_ascii_digit())).map(String::from).collect()
        };
        words(&self.why) == words(&other.why)
    }
}

/// How often a call was made, and what it answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// How often.
    pub count: u64,
    /// Bit 0: it succeeded. Bit n: it failed with error n; bit 63: with that or a higher one.
    pub bits: u64,
}

impl Call {
    /// Its answers by name.
    pub fn answers(&self) -> impl Iterator<Item = String> + '_ {
        (0..64).filter(|bit| self.bits >> bit & 1 != 0).map(|bit| match bit {
            0 => "ok".into(),
            63 => "another".into(),
            error => Errno::new(error).name().map_or(format!("errno {error}"), String::from),
        })
    }
}

/// What was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// System calls by number; those that there are not together as [`OTHERS`].
    pub calls: BTreeMap<u32, Call>,
    /// The machine's counters.
    pub counters: BTreeMap<String, u64>,
}

impl Coverage {
    /// Adds another machine's.
    pub fn add(&mut self, other: &Coverage) {
        for (&number, call) in &other.calls {
            let sum = self.calls.entry(number).or_default();
            *sum = Call { count: sum.count + call.count, bits: sum.bits | call.bits };
        }
        for (name, count) in &other.counters {
            *self.counters.entry(name.clone()).or_default() += count;
        }
    }

    /// The exceptions among the counters, by slot and class.
    pub fn exceptions(&self) -> impl Iterator<Item = (&str, u64)> {
        let all = self.counters.iter().map(|(name, &count)| (name.as_str(), count));
        all.filter(|(name, _)| name.starts_with("el0_") || name.starts_with("el1"))
    }
}

impl Said {
    /// Reads it.
    pub fn read(outcome: &Outcome) -> Said {
        let (mut said, mut case, mut ended, mut panic) = (Said::default(), None, false, None);
        let mut failed = None;
        for line in outcome.console.lines() {
            if let Some(cause) = line.strip_prefix("kernel panic: ") {
                panic.get_or_insert(cause);
            }
            let Some(words) = line.strip_prefix("fuzz: ") else { continue };
            let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
            match word {
                "case" => {
                    if let Ok(number) = rest.parse() {
                        case = Some(number);
                        said.cases += 1;
                    }
                }
                "failed" => {
                    if let Some((number, why)) = rest.split_once(": ")
                        && let Ok(number) = number.parse()
                    {
                        failed.get_or_insert(Failure { case: Some(number), why: why.into() });
                    }
                }
                "counter" => {
                    let mut words = rest.split(' ').map(String::from);
                    if let (Some(name), Some(Ok(count))) = (words.next(), words.next().map(|word| word.parse())) {
                        said.coverage.counters.insert(name, count);
                    }
                }
                "call" => {
                    let words: Vec<_> = rest.split(' ').collect();
                    if let [number, count, bits] = words[..]
                        && let (Ok(number), Ok(count), Ok(bits)) =
                            (number.parse(), count.parse(), u64::from_str_radix(bits, 16))
                    {
                        said.coverage.calls.insert(number, Call { count, bits });
                    }
                }
                "end" => ended = true,
                _ => {}
            }
        }
        said.failure = match outcome.code {
            _ if outcome.timed_out => Some("the machine stands still".into()),
            PANIC => Some(format!("kernel panic: {}", panic.unwrap_or("for no reason that it tells"))),
            _ if failed.is_some() => None,
            0 if ended => None,
            code => Some(format!("the machine ended with exit code {code}, before its end")),
        }
        .map(|why| Failure { case, why })
        .or(failed);
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(console: &str, code: u8, timed_out: bool) -> Said {
        Said::read(&Outcome { code, timed_out, console: console.into(), records: vec![] })
    }

    fn failure(case: Option<u64>, why: &str) -> Option<Failure> {
        Some(Failure { case, why: why.into() })
    }

    #[test]
    fn what_a_machine_says() {
        let begun = "noise\r\nfuzz: case 0\nfuzz: case 7\nx\x01fuzz: case 9\n";
        let end = "fuzz: counter el0_irq 5\nfuzz: counter ticks 9\nfuzz: call 63 4 4201\nfuzz: end\n";
        let said = read(&format!("{begun}{end}"), 0, false);
        assert_eq!((said.cases, said.failure), (2, None));
        assert_eq!(said.coverage.exceptions().collect::<Vec<_>>(), [("el0_irq", 5)]);
        let answers: Vec<_> = said.coverage.calls[&63].answers().collect();
        assert_eq!(answers, ["ok", "EBADF", "EFAULT"]);
        let mut sum = said.coverage.clone();
        sum.add(&Coverage { calls: [(63, Call { count: 1, bits: 2 })].into(), ..said.coverage });
        assert_eq!((sum.calls[&63].clone(), sum.counters["ticks"]), (Call { count: 5, bits: 0x4203 }, 18));

        assert_eq!(read(begun, 124, true).failure, failure(Some(7), "the machine stands still"));
        assert_eq!(
            read(&format!("{begun}kernel panic: a\nkernel panic: b\n"), 121, false).failure,
            failure(Some(7), "kernel panic: a")
        );
        assert_eq!(
            read(&format!("{begun}fuzz: failed 5: one\nfuzz: failed 6: two\n{end}"), 0, false).failure,
            failure(Some(5), "one")
        );
        for (text, code) in [(begun, 0), (end, 3)] {
            assert!(read(text, code, false).failure.is_some(), "{text}");
        }
        assert_eq!(read("", 121, false).failure.unwrap().case, None);
    }

    #[test]
    fn failures_are_told_apart_by_their_words() {
        let like = |a: &str, b: &str| failure(None, a).unwrap().is_like(&failure(Some(1), b).unwrap());
        assert!(like("frame 0x4001 is twice in the free list", "frame 0x52 is twice in the free list"));
        assert!(like(
            "left behind: tasks 1, pages 9 instead of tasks 2",
            "left behind: tasks 3, pages 0 instead of tasks 4"
        ));
        assert!(!like("frame 0x4001 is free", "frame 0x4001 is shared"));
    }
}
