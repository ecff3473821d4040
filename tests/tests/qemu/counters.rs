//! What the machine counts is what happened: its counters against QEMU's own log of every exception.

use crate::binary::{Code, MASK_ALL};
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
    ("pointers", 2, "cortex-a53", 1000),
    ("memory", 3, "cortex-a76", 250),
    ("idregs", 3, "max", 250),
];

/// Programs for [`sweep`], and ticks a second: one tick comes every 1000 to 5000 instructions, at every place sooner or later.
const SWEEPS: &[(&str, [u32; 4])] = &[
    ("badcalls", [60000, 50021, 40009, 30011]),
    ("pointers", [60000, 50021, 40009, 30011]),
    ("registers 50", [60000, 50021, 40009, 30011]),
    ("crash all", [60000, 50021, 40009, 30011]),
    ("forktree 2 8", [60000, 50021, 40009, 30011]),
];

pub fn trials() -> Vec<Trial> {
    let runs = RUNS.iter().map(|&(line, gic, cpu, tick)| {
        let name = format!("counters::{}.gic.{gic}.{cpu}.{tick}", line.replace(' ', "."));
        let config = Config { gic, cpu: cpu.into(), append: format!("tick={tick}"), ..program(line) };
        trial(name, move || are_true(config).map(|_| ()))
    });
    let sweeps = SWEEPS.iter().map(|&(line, ticks)| {
        trial(format!("counters::sweep.{}", line.replace(' ', ".")), move || sweep(line, &ticks))
    });
    runs.chain(sweeps).chain([trial("counters::repeat", repeat)]).collect()
}

/// An exception to EL1, as QEMU's log tells it.
struct Taken {
    slot: Slot,
    /// Class of the syndrome, where the slot is a synchronous one.
    class: Option<u8>,
    /// ELR.
    from: u64,
    /// Whether it came before the first instruction behind an exception return: it had waited for that.
    at_once: bool,
}

/// Reads QEMU's log. The one exception that goes nowhere is the semihosting call that ends the machine.
fn taken(log: &str, vectors: u64) -> Result<Vec<Taken>> {
    let (mut all, mut class, mut from, mut returned) = (Vec::new(), None, 0, false);
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    for line in log.lines() {
        if line.starts_with("Taking exception") {
            class = None;
        } else if let Some(esr) = line.strip_prefix("...with ESR ") {
            let (ec, _) = esr.split_once('/').context("a syndrome")?;
            class = Some(number(ec)? as u8);
        } else if let Some(elr) = line.strip_prefix("...with ELR ") {
            (from, returned) = (number(elr)?, returned && number(elr)? == from);
        } else if let Some(place) = line.strip_prefix("...to EL1 PC ") {
            let (pc, _) = place.split_once(' ').context("a PC")?;
            let slot = Slot::ALL.get((number(pc)?.wrapping_sub(vectors) / 128) as usize).context("no vector slot")?;
            // Interrupts leave the syndrome as it was.
            let class = class.filter(|_| (*slot as u8).is_multiple_of(4));
            all.push(Taken { slot: *slot, class, from, at_once: returned });
            returned = false;
        } else if let Some((_, pc)) = line.strip_prefix("Exception return").and_then(|rest| rest.rsplit_once(" PC ")) {
            (from, returned) = (number(pc)?, true);
        }
    }
    Ok(all)
}

/// Every exception that QEMU took to EL1 is counted, in its slot and class, and no other. Gives what QEMU took.
fn are_true(mut config: Config) -> Result<Vec<Taken>> {
    let log = tempfile::NamedTempFile::new()?;
    config.qemu_args = ["-d", "int", "-D"].map(Into::into).into();
    config.qemu_args.push(log.path().into());
    let vectors = Names::read(&images(false).elf)?.address("vectors")?;
    let mut all = Vec::new();
    run(&config, |ran| {
        ran.ended(0)?;
        let counters = ran.counters()?;
        let counted = counters.exceptions.iter().map(|row| ((row.slot, row.ec), row.count)).collect();
        all = taken(&fs::read_to_string(log.path())?, vectors)?;
        let mut sums = BTreeMap::new();
        all.iter().for_each(|taken| *sums.entry((taken.slot, taken.class)).or_default() += 1);
        same("counters", &counted, &sums)?;
        let system_calls = sums.get(&(Slot::El0Sync, Some(Ec::SVC64.number())));
        same("system calls", Some(&counters.syscalls), system_calls)?;
        // One exception may handle several interrupts, so ticks are not bounded by exceptions.
        ensure!(counters.ticks > 0, "no ticks");
        ensure!(counters.preemptions < counters.switches, "{} preemptions", counters.preemptions);
        same("unexpected interrupts", counters.unexpected, 0)
    })?;
    Ok(all)
}

/// Invariant 5: with one instruction a tick of the counter, interrupts come at every place there is, and none is taken
/// between the loads of ELR and SPSR and `eret`, nor anywhere else in the entry code, but just before an exit to EL1 masks.
fn sweep(line: &str, ticks: &[u32]) -> Result<()> {
    let code = Code::read()?;
    let entry_text = code.names.address("_entry_text")?..code.names.address("_entry_text_end")?;
    let mut waited = 0;
    for tick in ticks {
        let config = Config { icount: Some(4), append: format!("tick={tick}"), ..program(line) };
        for taken in are_true(config).with_context(|| format!("tick={tick}"))? {
            waited += usize::from(taken.at_once && taken.class.is_none());
            let allowed = code.names.holds(taken.from, "el1h_sync") && code.word(taken.from) == Some(MASK_ALL);
            ensure!(
                allowed || !entry_text.contains(&taken.from),
                "{} at {:#x} in {:?}",
                taken.slot,
                taken.from,
                code.names.at(taken.from)
            );
        }
    }
    ensure!(waited > 0, "no interrupt had to wait for an exit");
    Ok(())
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
