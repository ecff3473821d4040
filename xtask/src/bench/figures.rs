//! The committed figures, `tests/bench.json`: by the compiler's version, the machine and the row.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where they are, relative to the top folder.
pub const FILE: &str = "tests/bench.json";

const SCHEMA: u32 = 1;

/// How much a figure may grow, as a part of itself.
const ROOM: f64 = 0.02;

/// The figures of one machine, by row.
type Rows = BTreeMap<String, f64>;

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    schema: u32,
    /// By compiler's version, then by machine.
    compilers: BTreeMap<String, BTreeMap<String, Rows>>,
}

/// How a figure compares with the committed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none.
    New,
    /// It is as it was, within the room there is.
    Same,
    /// It is more.
    Worse,
    /// It is less.
    Better,
}

impl Verdict {
    /// Of a figure, or of none where there should be one.
    pub fn of(found: Option<f64>, committed: Option<f64>) -> Verdict {
        match (found, committed) {
            (_, None) => Verdict::New,
            (None, Some(_)) => Verdict::Worse,
            (Some(found), Some(committed)) if found > committed * (1.0 + ROOM) => Verdict::Worse,
            (Some(found), Some(committed)) if found < committed * (1.0 - ROOM) => Verdict::Better,
            _ => Verdict::Same,
        }
    }
}

impl Default for Figures {
    fn default() -> Figures {
        Figures { schema: SCHEMA, compilers: BTreeMap::new() }
    }
}

impl Figures {
    /// Reads those of a checkout.
    pub fn read(root: &Path) -> Result<Figures> {
        let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("{FILE} cannot be read"))?;
        Figures::parse(&text).with_context(|| format!("{FILE} is not as it should be"))
    }

    fn parse(text: &str) -> Result<Figures> {
        let figures: Figures = serde_json::from_str(text)?;
        ensure!(figures.schema == SCHEMA, "schema {} instead of {SCHEMA}", figures.schema);
        Ok(figures)
    }

    /// Writes them.
    pub fn write(&self, root: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        crate::workspace::write(&root.join(FILE), text.as_bytes())
    }

    /// Whether there are any of a compiler.
    pub fn know(&self, compiler: &str) -> bool {
        self.compilers.contains_key(compiler)
    }

    /// Whose there are.
    pub fn compilers(&self) -> impl Iterator<Item = &str> {
        self.compilers.keys().map(String::as_str)
    }

    /// The committed figure of a row.
    pub fn get(&self, compiler: &str, machine: &str, row: &str) -> Option<f64> {
        self.compilers.get(compiler)?.get(machine)?.get(row).copied()
    }

    /// Has a figure as committed from now on.
    pub fn set(&mut self, compiler: &str, machine: &str, row: &str, found: f64) {
        let machines = self.compilers.entry(compiler.into()).or_default();
        machines.entry(machine.into()).or_default().insert(row.into(), (found * 100.0).round() / 100.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.set("1.95.0", "m", "getpid", 145.001);
        figures.set("1.95.0", "m", "fork", 30000.0);
        figures
    }

    #[test]
    fn two_percent_more_is_no_regression_but_more_is() {
        for (found, committed, verdict) in [
            (147.9, 145.0, Verdict::Same),
            (148.0, 145.0, Verdict::Worse),
            (142.1, 145.0, Verdict::Same),
            (142.0, 145.0, Verdict::Better),
            (30600.0, 30000.0, Verdict::Same),
            (30601.0, 30000.0, Verdict::Worse),
        ] {
            assert_eq!(Verdict::of(Some(found), Some(committed)), verdict, "{found}");
        }
        assert_eq!(Verdict::of(Some(1.0), None), Verdict::New);
        assert_eq!(Verdict::of(None, None), Verdict::New);
        assert_eq!(Verdict::of(None, Some(145.0)), Verdict::Worse);
    }

    #[test]
    fn a_figure_is_that_of_its_compiler_and_machine() {
        let figures = figures();
        assert_eq!(figures.get("1.95.0", "m", "getpid"), Some(145.0));
        for (compiler, machine, row) in [("1.96.0", "m", "getpid"), ("1.95.0", "n", "getpid"), ("1.95.0", "m", "other")]
        {
            assert_eq!(figures.get(compiler, machine, row), None);
        }
        assert!(figures.know("1.95.0") && !figures.know("1.96.0"));
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let figures = figures();
        let text = serde_json::to_string(&figures).unwrap();
        assert_eq!(Figures::parse(&text).unwrap(), figures);
        assert!(Figures::parse(&text.replace("\"schema\":1", "\"schema\":2")).is_err());
        assert!(Figures::parse(&text.replace("compilers", "others")).is_err());
        let folder = tempfile::tempdir().unwrap();
        assert!(Figures::read(folder.path()).is_err());
        figures.write(folder.path()).unwrap();
        assert_eq!(Figures::read(folder.path()).unwrap(), figures);
    }

    #[test]
    fn the_committed_file_is_in_order() {
        let root = crate::workspace::root().unwrap();
        let figures = Figures::read(&root).unwrap();
        let rows = figures.compilers.values().flat_map(|machines| machines.values().flatten());
        for (row, &figure) in rows {
            assert!(super::super::rows::ROWS.iter().any(|known| known.name == row), "{row} is no row");
            assert!(figure > 0.0 && figure.is_finite(), "{row}: {figure}");
        }
    }
}
