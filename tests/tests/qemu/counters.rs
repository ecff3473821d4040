//! What the machine counts is what happened: its counters against QEMU's own log of every exception.

use crate::machine::{Names, images, program, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::fs;
use trap::esr::Ec;
use trap::slot::Slot;
use xtask::machine::Config;

/// Programs, and the machines they run on: interrupt controller, CPU, ticks a second.
const RUNS: &[(&str, u8, &str, u32)] = &[
    ("init", 3, "cortex-a72", 250),
    ("init", 2, "cortex-a53", 1000),
    ("init", 3, "max", 250),
    ("preempt", 2, "cortex-a72", 250),
    ("preempt", 3, "cortex-a53", 1000),
    ("registers 300", 3, "cortex-a72", 4000),
    ("crash all", 3, "cortex-a72", 250),
    ("badcalls", 2, "max", 250),
];

/// Exceptions by slot, and by class where the slot is one of the synchronous ones.
type Taken = BTreeMap<(Slot, Option<u8>), u64>;

pub fn trials() -> Vec<Trial> {
    let runs = RUNS.iter().map(|&(line, gic, cpu, tick)| {
        let name = format!("counters::{}.gic{gic}.{cpu}.{tick}", line.replace(' ', "."));
        let config = Config { gic, cpu: cpu.into(), append: format!("tick={tick}"), ..program(line) };
        trial(name, move || are_true(config))
    });
    runs.chain([trial("counters::repeat", repeat)]).collect()
}

/// Every exception that QEMU took to EL1 is counted, in its slot and class, and no other.
fn are_true(mut config: Config) -> Result<()> {
    let log = tempfile::NamedTempFile::new()?;
    config.qemu_args = ["-d", "int", "-D"].map(Into::into).into();
    config.qemu_args.push(log.path().into());
    run(&config, |ran| {
        ran.ended(0)?;
        let counters = ran.counters()?;
        let counted = counters.exceptions.iter().map(|row| ((row.slot, row.ec), row.count)).collect();
        let vectors = Names::read(&images(false).elf)?.address("vectors")?;
        let taken = taken(&fs::read_to_string(log.path())?, vectors)?;
        same("counters", &counted, &taken)?;
        let system_calls = taken.get(&(Slot::El0Sync, Some(Ec::SVC64.number())));
        same("system calls", Some(&counters.syscalls), system_calls)?;
        // One exception may handle several interrupts, so ticks are not bounded by exceptions.
        ensure!(counters.ticks > 0, "no ticks");
        ensure!(counters.preemptions < counters.switches, "{} preemptions", counters.preemptions);
        same("unexpected interrupts", counters.unexpected, 0)
    })
}

/// Reads QEMU's log. The one exception that goes nowhere is the semihosting call that ends the machine.
fn taken(log: &str, vectors: u64) -> Result<Taken> {
    let mut taken = Taken::new();
    let mut class = None;
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    for line in log.lines() {
        if line.starts_with("Taking exception") {
            class = None;
        } else if let Some(esr) = line.strip_prefix("...with ESR ") {
            let (ec, _) = esr.split_once('/').context("a syndrome")?;
            class = Some(number(ec)? as u8);
        } else if let Some(place) = line.strip_prefix("...to EL1 PC ") {
            let (pc, _) = place.split_once(' ').context("a PC")?;
            let slot = Slot::ALL.get((number(pc)?.wrapping_sub(vectors) / 128) as usize).context("no vector slot")?;
            // Interrupts leave the syndrome as it was.
            let class = class.filter(|_| *slot as u8 % 4 == 0);
            *taken.entry((*slot, class)).or_default() += 1;
        }
    }
    Ok(taken)
}

/// With time by instructions, and without random numbers from QEMU, two machines do the same, to the byte.
fn repeat() -> Result<()> {
    let config = Config {
        icount: Some(0),
        qemu_args: ["-M", "dtb-randomness=off"].map(Into::into).into(),
        log: None,
        ..program("init")
    };
    let outcome = || xtask::machine::run(images(false), &config);
    let (first, second) = (outcome()?, outcome()?);
    same("exit code", first.code, 0)?;
    same("records", &first.records, &second.records)?;
    same("console", first.console, second.console)
}
