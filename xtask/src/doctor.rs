//! What this machine has of what the project needs, as a table.

use crate::setup::{Need, State};
use anyhow::Result;
use serde_json::json;
use std::path::Path;

/// One line of the table.
struct Finding {
    need: Need,
    state: State,
}

impl Finding {
    fn good(&self) -> bool {
        matches!(self.state, State::Found(_))
    }

    fn found(&self) -> &str {
        match &self.state {
            State::Found(version) | State::TooOld(version) => version,
            State::Missing => "-",
        }
    }

    fn verdict(&self) -> String {
        let verdict = match self.state {
            State::Found(_) => return "good".into(),
            State::TooOld(_) => "too old",
            State::Missing => "missing",
        };
        self.need.only_for().map_or(verdict.into(), |command| format!("{verdict} (only for {command})"))
    }
}

/// Prints what was found, as a table or as JSON; the exit code is 1 when something is wrong.
pub fn doctor(root: &Path, json: bool) -> Result<u8> {
    let findings: Vec<_> = Need::all(root)
        .into_iter()
        .map(|need| Ok(Finding { need, state: need.probe(root)? }))
        .collect::<Result<_>>()?;
    let good = findings.iter().all(Finding::good);
    println!("{}", if json { as_json(&findings, good) } else { as_table(&findings) });
    Ok(u8::from(!good))
}

fn as_json(findings: &[Finding], good: bool) -> String {
    let rows = findings.iter().map(|finding| {
        json!({
            "what": finding.need.name(),
            "found": matches!(finding.state, State::Found(_) | State::TooOld(_)).then(|| finding.found()),
            "needed": finding.need.needed(),
            "good": finding.good(),
            "only_for": finding.need.only_for(),
            "cure": (!finding.good()).then(|| finding.need.cure()),
        })
    });
    json!({ "schema": 1, "good": good, "findings": rows.collect::<Vec<_>>() }).to_string()
}

fn as_table(findings: &[Finding]) -> String {
    let mut rows = vec![["WHAT", "FOUND", "NEEDED", "VERDICT", "CURE"].map(String::from)];
    rows.extend(findings.iter().map(|finding| {
        let cure = if finding.good() { String::new() } else { finding.need.cure() };
        [finding.need.name().into(), finding.found().into(), finding.need.needed(), finding.verdict(), cure]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let lines = rows.iter().map(|row| {
        let padded: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        format!("{padded}{}", row[4]).trim_end().to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_names_the_cure() {
        let findings = [
            Finding { need: Need::Rust, state: State::Found("1.95.0".into()) },
            Finding { need: Need::Qemu, state: State::TooOld("6.2.0".into()) },
            Finding { need: Need::Gdb, state: State::Missing },
        ];
        let table = as_table(&findings);
        let lines: Vec<_> = table.lines().collect();
        let column = lines[0].find("VERDICT").unwrap();
        assert_eq!(&lines[1][column..], "good");
        assert!(lines[2][column..].starts_with("too old  "), "{table}");
        assert!(lines[2].contains("6.2.0  ") && lines[2].contains("QEMU"), "{table}");
        assert!(lines[3][column..].starts_with("missing (only for cargo xtask gdb)  "), "{table}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&findings, false)).unwrap();
        assert_eq!((&json["findings"][0]["cure"], &json["findings"][2]["found"]), (&json!(null), &json!(null)));
        assert_eq!(json["findings"][1]["good"], false);
    }
}
