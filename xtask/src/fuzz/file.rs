//! The file that a failure leaves: the machine, and its cases as text.

use super::Machine;
use anyhow::{Context, Result};
use std::fmt;
use std::fs;
use std::path::Path;
use user::fuzz::{self, Case};

/// Cases that a file lists at most: the program that reads them has room for so many.
pub const LISTED_MAX: u64 = 100;

/// What a machine is to do.
#[derive(Clone)]
pub enum Cases {
    /// Cases of a seed.
    Of {
        /// The seed.
        seed: u64,
        /// The first case's number.
        first: u64,
        /// How many.
        count: u64,
    },
    /// These.
    Listed(Vec<Case>),
}

/// A failure to be run again.
#[derive(Clone)]
pub struct Replay {
    /// On which machine.
    pub machine: Machine,
    /// What failed.
    pub why: String,
    /// What it does.
    pub cases: Cases,
}

/// Cases as the program reads them.
pub fn text(cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        text.push_str(&format!("case {}\n", case.number));
        case.steps().iter().for_each(|step| text.push_str(&format!("{step}\n")));
    }
    text
}

const MACHINE: &str = "# machine: ";
const RUN: &str = "# cases: ";
const WHY: &str = "# failed: ";

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{WHY}{}\n{MACHINE}{}", self.why, self.machine)?;
        match &self.cases {
            Cases::Of { seed, first, count } => writeln!(f, "{RUN}{seed} {first} {count}"),
            Cases::Listed(cases) => f.write_str(&text(cases)),
        }
    }
}

impl Replay {
    /// Reads the file at `path`.
    pub fn open(path: &Path) -> Result<Replay> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Replay::parse(&text).with_context(|| format!("{} is no file of `cargo xtask fuzz`", path.display()))
    }

    fn parse(text: &str) -> Result<Replay> {
        let find = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let machine = find(MACHINE)
            .with_context(|| format!("it has no line `{MACHINE}CPU GIC MIB FRAMES TICKS LOG SEED`"))?
            .parse()?;
        let mut cases = Vec::new();
        fuzz::read(text, |case| {
            cases.push(case.clone());
            true
        })
        .map_err(|line| anyhow::anyhow!("line {line} means nothing"))?;
        let cases = match find(RUN) {
            None if cases.is_empty() => anyhow::bail!("there is no case in it"),
            None => Cases::Listed(cases),
            Some(run) => {
                let numbers: Result<Vec<u64>, _> = run.split(' ').map(str::parse).collect();
                let &[seed, first, count] = &numbers?[..] else { anyhow::bail!("`{run}` is no seed, case and count") };
                Cases::Of { seed, first, count }
            }
        };
        Ok(Replay { machine, why: find(WHY).unwrap_or_default().into(), cases })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use user::fuzz::generate;

    #[test]
    fn files_come_back() {
        let (machine, why) = (Machine::of(4, 2), "kernel panic: audit: twice".to_string());
        let listed = Cases::Listed((5..8).map(|number| generate::case(4, number)).collect());
        for cases in [listed, Cases::Of { seed: 4, first: 2000, count: 17 }] {
            let text = Replay { machine: machine.clone(), why: why.clone(), cases }.to_string();
            let read = Replay::parse(&text).unwrap();
            assert_eq!((&read.machine, &read.why, read.to_string()), (&machine, &why, text));
        }
        assert!(Replay::parse("case 1\nfork\n").is_err());
        assert!(Replay::parse("# machine: max 3 64 0 1 off 1\nknife\n").is_err());
        assert!(Replay::parse("# machine: max 3 64 0 1 off 1\n# cases: 1 2\n").is_err());
    }
}
