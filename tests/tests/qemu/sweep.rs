//! An interrupt at every instruction (docs/sweep.md): the short scenarios whole, of the long ones every Nth.

use crate::machine::{images, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::time::Duration;
use xtask::images::Hypervisor;
use xtask::machine::Config;
use xtask::sweep::{Options, SCENARIOS, Scenario, Swept, guest, sweep, words};

/// Machines: CPU and interrupt controller. The second has PAN, and so no switching of tables on the way.
const MACHINES: [(&str, u8); 2] = [("cortex-a72", 3), ("max", 2)];

/// Scenarios that are short enough for every machine.
const EVERYWHERE: [&str; 3] = ["null", "efault", "preempt"];

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for scenario in SCENARIOS {
        for (cpu, gic) in MACHINES {
            if (cpu, gic) == MACHINES[0] || EVERYWHERE.contains(&scenario.name) {
                let name = format!("sweep::{}.gic.{gic}.{cpu}", scenario.name);
                trials.push(trial(name, move || {
                    let options = options(scenario, cpu, gic);
                    is_right(scenario, sweep(images(true), &options, &[*scenario], &mut |_, _| {})?)
                }));
            }
        }
    }
    for scenario in guest::SCENARIOS {
        for gic in [2, 3] {
            let name = format!("sweep::{}.gic.{gic}", scenario.name);
            trials.push(trial(name, move || {
                let hypervisor = Hypervisor::build()?;
                let options = options(scenario, "cortex-a72", gic);
                is_right(scenario, guest::sweep(&hypervisor, images(true), &options, &[*scenario], &mut |_, _| {})?)
            }));
        }
    }
    trials
}

fn options(scenario: &Scenario, cpu: &str, gic: u8) -> Options {
    let timeout = Duration::from_secs(120);
    Options { cpu: cpu.into(), gic, qemu: Config::default().qemu, every: scenario.every, timeout }
}

/// Nothing fails, and interrupts came all along.
fn is_right(scenario: &Scenario, all: Vec<Swept>) -> Result<()> {
    let swept = all.first().context("nothing was swept")?;
    ensure!(swept.failures.is_empty(), "{}", words(&all));
    // The rounds are as many as there are instructions, and the interrupts came where interrupts can come.
    ensure!(swept.interrupts as u64 > swept.rounds / 2, "{} interrupts in {} rounds", swept.interrupts, swept.rounds);
    ensure!(swept.rounds * scenario.every > 200, "{} rounds", swept.rounds);
    ensure!(swept.covered > 0, "no interrupt came where one can come");
    Ok(())
}
