//! All tests: those of the host crates, and the black-box tests, which start machines.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What test programs said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tests that held.
    pub passed: usize,
    /// Tests that did not, and test programs that ended without a result.
    pub failed: usize,
    /// Each test by name, and whether it held.
    pub tests: BTreeMap<String, bool>,
}

impl Report {
    /// Takes in one line of a test program.
    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            let count = |what| rest.split(['.', ';']).find_map(|part| part.trim().strip_suffix(what)?.parse().ok());
            self.passed += count(" passed").unwrap_or(0);
            self.failed += count(" failed").unwrap_or(0);
        } else if let Some((name, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... ")) {
            match verdict {
                "ok" => self.tests.insert(name.trim_end().into(), true),
                "FAILED" => self.tests.insert(name.trim_end().into(), false),
                _ => None,
            };
        }
    }

    /// The line that ends a run of tests.
    pub fn summary(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

/// Builds and runs tests: `cargo` is a `cargo test`, `arguments` go to the test programs. Each line they print goes to
/// `on`. An error when the tests do not build.
pub fn run(mut cargo: Command, arguments: &[&str], mut on: impl FnMut(&str) -> Result<()>) -> Result<Report> {
    cargo.args(["--no-fail-fast", "--"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cargo cannot be started")?;
    let (mut report, mut silent) = (Report::default(), true);
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).split(b'\n') {
        let line = line.context("the tests' output cannot be read")?;
        let line = String::from_utf8_lossy(&line);
        silent = false;
        report.line(&line);
        on(&line)?;
    }
    match (child.wait()?.success(), silent) {
        (false, true) => bail!("the tests do not build: the errors are above"),
        (false, false) if report.failed == 0 => {
            eprintln!("xtask: a test program ended without a result");
            report.failed = 1;
        }
        _ => {}
    }
    Ok(report)
}

/// `cargo xtask test`: runs or lists the tests whose name holds `filter`.
pub fn test(root: &Path, filter: Option<&str>, list: bool) -> Result<u8> {
    let mut cargo = workspace::cargo(root);
    cargo.arg("test");
    let mut stdout = io::stdout();
    if list {
        let arguments: Vec<_> = filter.into_iter().chain(["--list"]).collect();
        let mut found = false;
        run(cargo, &arguments, |line| {
            if let Some(name) = line.strip_suffix(": test") {
                found = true;
                writeln!(stdout, "{name}")?;
            }
            Ok(())
        })?;
        return if found { Ok(0) } else { nothing(filter) };
    }
    let report = run(cargo, &Vec::from_iter(filter), |line| {
        // Not the frame around test programs of which the filter leaves nothing.
        if !(line.is_empty() || line == "running 0 tests" || line.starts_with("test result: ok. 0 passed")) {
            writeln!(stdout, "{line}")?;
        }
        Ok(())
    })?;
    if report.passed + report.failed == 0 {
        return nothing(filter);
    }
    writeln!(stdout, "{}", report.summary())?;
    Ok(u8::from(report.failed > 0))
}

fn nothing(filter: Option<&str>) -> Result<u8> {
    bail!("no test's name holds `{}`; `cargo xtask test --list` names all", filter.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_what_test_programs_print() {
        let mut report = Report::default();
        let output = "
running 3 tests
test a::passes ... ok
test trap/src/lib.rs - (line 23) ... ok
test qemu::slow   ... FAILED
test b::later ... ignored
test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.08s
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.50s
";
        output.lines().for_each(|line| report.line(line));
        assert_eq!(report.summary(), "42 passed, 1 failed");
        let tests = [("a::passes", true), ("qemu::slow", false), ("trap/src/lib.rs - (line 23)", true)];
        assert_eq!(report.tests, tests.map(|(name, held)| (name.to_string(), held)).into());
    }
}
