//! The figures as a table for people, and as JSON for tools.

use super::figures::Verdict;
use super::measure::{Figure, Slow};
use super::rows::Row;
use serde_json::{Value, json};
use std::fmt::Write;

/// All that is known of a row on a machine.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The row.
    pub row: Row,
    /// The machine's name.
    pub machine: String,
    /// Our figure, or why there is none.
    pub found: Result<Figure, String>,
    /// The least that can be done, by ever more of what a kernel does.
    pub floor: Vec<f64>,
    /// What it may cost.
    pub aim: Option<f64>,
    /// The same on each Linux that was asked for, by its name.
    pub others: Vec<(String, Option<Figure>)>,
    /// What it executes that is slow.
    pub slow: Option<Slow>,
    /// The committed figure.
    pub committed: Option<f64>,
}

impl Entry {
    /// Our figure beside the committed one.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.found.as_ref().ok().map(|found| found.min), self.committed)
    }

    /// How many times what ours costs another's does: in the batches in the middle, as another kernel does other things meanwhile, and
    /// does not switch each time that a process yields.
    fn ratio(&self, other: Option<Figure>) -> Option<f64> {
        let ours = self.found.as_ref().ok()?;
        Some(other?.median / ours.median)
    }
}

/// A number as a table has it: no more digits than matter.
pub fn number(value: f64) -> String {
    let text = if value.abs() < 1000.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    text.strip_suffix(".0").unwrap_or(&text).to_string()
}

/// The entries, by machine, with a heading each.
pub fn table(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entries in entries.chunk_by(|a, b| a.machine == b.machine) {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", entries[0].machine);
        text.push_str(&aligned(&cells(entries)));
    }
    text
}

/// The cells of a table, its first row the headings; a column in which nothing is, but for the heading, is left out.
fn cells(entries: &[Entry]) -> Vec<Vec<String>> {
    let mut heading: Vec<String> = ["row", "min", "median", "floor", "aim", ""].map(String::from).into();
    for (name, _) in &entries[0].others {
        heading.extend([name.clone(), "ratio".into()]);
    }
    heading.extend(["barriers", "msr", "what"].map(String::from));
    let mut rows = vec![heading];
    for entry in entries {
        let figure = |value: fn(&Figure) -> f64| entry.found.as_ref().map_or("-".into(), |found| number(value(found)));
        let above = matches!((&entry.found, entry.aim), (Ok(found), Some(aim)) if found.min > aim);
        let mut row = vec![
            entry.row.name.into(),
            figure(|found| found.min),
            figure(|found| found.median),
            entry.floor.iter().map(|&floor| number(floor)).collect::<Vec<_>>().join("/"),
            entry.aim.map(number).unwrap_or_default(),
            if above { "above".into() } else { String::new() },
        ];
        for &(_, other) in &entry.others {
            row.push(other.map(|other| number(other.median)).unwrap_or_default());
            row.push(entry.ratio(other).map(|ratio| format!("{ratio:.1}")).unwrap_or_default());
        }
        let slow = |value: fn(Slow) -> f64| entry.slow.map(|slow| number(value(slow))).unwrap_or_default();
        row.extend([slow(|slow| slow.barriers), slow(|slow| slow.writes)]);
        row.push(match &entry.found {
            Ok(_) => entry.row.what.into(),
            Err(why) => format!("{}: {why}", entry.row.what),
        });
        rows.push(row);
    }
    let used: Vec<_> = (0..rows[0].len()).map(|column| rows[1..].iter().any(|row| !row[column].is_empty())).collect();
    rows.into_iter()
        .map(|row| row.into_iter().zip(&used).filter(|(_, used)| **used).map(|(cell, _)| cell).collect())
        .collect()
}

/// Lines of cells, each column as wide as it must be: the first and the last to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ if column + 1 == columns => cell.clone(),
            _ => format!("{cell:>width$}"),
        });
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// The same for tools.
pub fn json(compiler: &str, entries: &[Entry]) -> Value {
    let rows = entries.iter().map(|entry| {
        let others = entry.others.iter().filter_map(|&(ref name, other)| {
            let other = other?;
            let ratio = entry.ratio(Some(other));
            Some((name.clone(), json!({ "min": other.min, "median": other.median, "ratio": ratio })))
        });
        json!({
            "row": entry.row.name,
            "what": entry.row.what,
            "machine": entry.machine,
            "min": entry.found.as_ref().ok().map(|found| found.min),
            "median": entry.found.as_ref().ok().map(|found| found.median),
            "error": entry.found.as_ref().err(),
            "floor": entry.floor,
            "aim": entry.aim,
            "against": others.collect::<serde_json::Map<_, _>>(),
            "barriers": entry.slow.map(|slow| slow.barriers),
            "msr": entry.slow.map(|slow| slow.writes),
            "committed": entry.committed,
            "regressed": entry.verdict() == Verdict::Worse,
        })
    });
    json!({ "schema": 1, "compiler": compiler, "rows": rows.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    fn entry(name: &str, found: Result<Figure, String>) -> Entry {
        let row = *ROWS.iter().find(|row| row.name == name).unwrap();
        let machine = "m".to_string();
        Entry { row, machine, found, floor: vec![], aim: None, others: vec![], slow: None, committed: None }
    }

    fn figure(min: f64, median: f64) -> Result<Figure, String> {
        Ok(Figure { min, median })
    }

    fn entries() -> Vec<Entry> {
        let linux = |median| vec![("Linux".to_string(), Some(Figure { min: 1.0, median }))];
        vec![
            Entry {
                floor: vec![60.0, 65.0],
                aim: Some(140.0),
                others: linux(290.5),
                slow: Some(Slow { barriers: 1.0, writes: 7.5 }),
                committed: Some(140.0),
                ..entry("getpid", figure(145.0, 145.25))
            },
            Entry { others: vec![("Linux".into(), None)], ..entry("yield.1000", Err("118 of 1000".into())) },
        ]
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(145.0, "145"), (145.25, "145.2"), (999.96, "1000"), (2526.31, "2526"), (4e6, "4000000")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_table_is_aligned_and_leaves_out_what_is_empty() {
        let rows = cells(&entries());
        assert_eq!(rows[0], ["row", "min", "median", "floor", "aim", "", "Linux", "ratio", "barriers", "msr", "what"]);
        assert_eq!(
            rows[1],
            [
                "getpid",
                "145",
                "145.2",
                "60/65",
                "140",
                "above",
                "290.5",
                "2.0",
                "1",
                "7.5",
                "a system call that does nothing"
            ]
        );
        assert_eq!(rows[2][1..3], ["-", "-"]);
        assert_eq!(rows[2][10], "with 1000: 118 of 1000");
        let bare = cells(&[entry("boot", figure(1.0, 1.0))]);
        assert_eq!(bare[0], ["row", "min", "median", "what"]);
        let text = table(&entries());
        let ends: Vec<_> = text.lines().skip(1).map(|line| line.find("145.2").or(line.find("median"))).collect();
        assert_eq!(ends[0].map(|at| at + "median".len()), ends[1].map(|at| at + "145.2".len()), "{text}");
    }

    #[test]
    fn tools_get_all_of_it() {
        let json = json("1.95.0", &entries());
        let [first, second] = &json["rows"].as_array().unwrap()[..] else { panic!("{json}") };
        assert_eq!(
            (&first["min"], &first["committed"], &first["regressed"]),
            (&json!(145.0), &json!(140.0), &json!(true))
        );
        assert_eq!((&first["against"]["Linux"]["ratio"], &first["msr"]), (&json!(2.0), &json!(7.5)));
        assert_eq!((&second["min"], &second["error"]), (&Value::Null, &json!("118 of 1000")));
        assert_eq!(json["compiler"], "1.95.0");
    }
}
