//! What each path costs is no more than the committed figures say, and the same each time.

use crate::machine::{images, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use xtask::bench::figures::{Figures, Verdict};
use xtask::bench::measure::{self, Machine};
use xtask::bench::rows::{ROWS, Row, Source, Steps};
use xtask::bench::table::Entry;
use xtask::bench::{Request, compiler, entries};
use xtask::machine::Config;

pub fn trials() -> Vec<Trial> {
    [
        trial("bench::no.more.than.committed", no_more_than_committed),
        trial("bench::repeats", repeats),
        trial("bench::more.is.noticed", more_is_noticed),
        trial("bench::what.is.executed", what_is_executed),
    ]
    .into()
}

fn machine() -> Machine {
    Machine { qemu: Config::default().qemu, cpu: "cortex-a72".into(), gic: 3 }
}

/// Measures rows, without a look at what they execute.
fn measure(rows: impl Iterator<Item = &'static Row>, figures: &Figures) -> Result<Vec<Entry>> {
    let rows = rows.map(|row| Row { steps: Steps::None, ..*row }).collect();
    let request = Request { rows, machine: machine(), against: Vec::new() };
    entries(&images(false).root, figures, &request)
}

fn named(names: &'static [&str]) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| names.contains(&row.name))
}

/// Every row of EL1; those of EL2 are bounded by `hyp_cost`. Where nothing is committed for the compiler nothing is compared.
fn no_more_than_committed() -> Result<()> {
    let root = &images(false).root;
    let figures = Figures::read(root)?;
    let el1 = || ROWS.iter().filter(|row| ![Source::El2, Source::HypImage].contains(&row.source));
    let entries = measure(el1(), &figures)?;
    let names: BTreeSet<_> = entries.iter().map(|entry| entry.row.name).collect();
    same("rows", names, el1().map(|row| row.name).collect())?;
    let is_committed = figures.know(&compiler(root)?);
    let mut worse = Vec::new();
    for entry in &entries {
        let (row, committed) = (entry.row.name, entry.committed);
        match &entry.found {
            Ok(found) => {
                ensure!(found.min > 0.0 && found.median >= found.min, "{row}: {found:?}");
                // The least is below what a kernel costs that does all it must.
                ensure!(entry.floor.iter().all(|&floor| floor > 10.0 && floor < found.min), "{row}: {:?}", entry.floor);
                same(&format!("{row} is committed"), committed.is_some(), is_committed)?;
            }
            // Those may need more processes than there can be.
            Err(why) => ensure!(row.ends_with(".1000"), "{row}: {why}"),
        }
        if entry.verdict() == Verdict::Worse {
            worse.push(format!("{row}: {:?} instead of {committed:?}", entry.found));
        }
    }
    ensure!(
        worse.is_empty(),
        "these cost more than they did (`cargo xtask bench --update` is for what is meant): {}",
        worse.join("; ")
    );
    Ok(())
}

/// Two machines that count instructions do the same, to the byte.
fn repeats() -> Result<()> {
    let rows = || named(&["getpid", "page", "fork", "yield.1", "timer", "preempt", "irq.el1", "copy.64"]);
    let run = || -> Result<Vec<_>> {
        let entries = measure(rows(), &Figures::default())?;
        Ok(entries.into_iter().map(|entry| (entry.row.name, entry.found, entry.floor)).collect())
    };
    let first = run()?;
    same("rows", first.len(), rows().count())?;
    same("figures", run()?, first)
}

/// What was committed to be less, or to be there, is a regression; what was committed to be more is not.
fn more_is_noticed() -> Result<()> {
    let compiler = compiler(&images(false).root)?;
    let mut figures = Figures::default();
    for (row, figure) in [("getpid", 100.0), ("unknown", 1000.0)] {
        figures.set(&compiler, &machine().name(), row, figure);
    }
    let entries = measure(named(&["getpid", "unknown"]), &figures)?;
    let verdicts: Vec<_> = entries.iter().map(|entry| (entry.row.name, entry.verdict())).collect();
    same("verdicts", verdicts, vec![("getpid", Verdict::Worse), ("unknown", Verdict::Better)])
}

/// A system call closes and opens the window to user memory by TTBR0, with a barrier, where the CPU has not FEAT_PAN; where it has, the
/// same code is branched past, and nothing else is different.
fn what_is_executed() -> Result<()> {
    let row = named(&["getpid"]).next().context("there is such a row")?;
    let executed = |cpu: &str| {
        measure::slow(images(false), &Machine { cpu: cpu.into(), ..machine() }, row)?.context("it is counted")
    };
    let (without, with) = (executed("cortex-a72")?, executed("max")?);
    same("barriers with FEAT_PAN", with.barriers, 0.0)?;
    same("barriers without", without.barriers, 1.0)?;
    same("writes for the window", without.writes - with.writes, 2.0)?;
    // At least: SP_EL0 twice, DAIF cleared, set and set again, ELR, SPSR.
    ensure!((5.0..10.0).contains(&with.writes), "{with:?}");
    Ok(())
}
