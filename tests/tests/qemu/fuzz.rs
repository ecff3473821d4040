//! Invariant 15: whatever programs do, the kernel goes on and answers right, and its own audit finds frames, tables, tasks and queues as
//! they must be. `cargo xtask fuzz` does the same for longer, with other seeds.

use crate::machine::{images, same, trial};
use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use user::fuzz::calls::CALLS;
use xtask::fuzz::{Bench, Outcome, campaign};
use xtask::trace::syscall;

pub fn trials() -> Vec<Trial> {
    vec![trial("fuzz::cases", cases), trial("fuzz::repeats", repeats)]
}

/// Machines of the test: one of each CPU, one with little memory, one that switches tasks often.
const MACHINES: u64 = 4;
/// Cases on each.
const CASES: u64 = 250;
/// Answers that calls give in these cases, at least; there are 115.
const ANSWERS: usize = 108;
/// What of the counters must have counted.
const REACHED: [&str; 9] = [
    "el0_irq",
    "el0_sync.brk64",
    "el0_sync.data_abort_lower",
    "el0_sync.instruction_abort_lower",
    "el0_sync.svc64",
    "el0_sync.system",
    "el0_sync.unknown",
    "el1h_irq",
    "el1h_sync.data_abort_current",
];

fn run(seed: u64, machines: u64, cases: u64) -> Result<Outcome> {
    let outcome = campaign(&Bench::new(images(true), None)?, seed, cases, |begun| begun < machines)?;
    if let Some((machine, failure)) = &outcome.failure {
        anyhow::bail!("case {:?} on {machine}: {}", failure.case, failure.why);
    }
    same("cases", outcome.cases, machines * cases)?;
    Ok(outcome)
}

/// Nothing fails, and what the cases are made for is reached: so that nothing failed means something.
fn cases() -> Result<()> {
    let coverage = run(2, MACHINES, CASES)?.coverage;
    for call in CALLS {
        let found = coverage.calls.iter().find(|(number, _)| syscall::name(**number as i32) == call.name);
        ensure!(found.is_some_and(|(_, call)| call.count > 5), "{} was called too seldom: {found:?}", call.name);
    }
    let answers: u32 = coverage.calls.values().map(|call| call.bits.count_ones()).sum();
    ensure!(answers as usize >= ANSWERS, "{answers} answers, not {ANSWERS}");
    for name in REACHED {
        ensure!(coverage.counters.get(name).is_some_and(|&count| count > 0), "{name} never happened");
    }
    Ok(())
}

/// A failure can be looked at again: the same machine does the same.
fn repeats() -> Result<()> {
    let [first, second] = [run(3, 1, 40)?, run(3, 1, 40)?];
    same("what was reached", first.coverage, second.coverage)
}
