//! A hostile guest does anything at all, beside an honest one: the hypervisor goes on, and the honest guest notices nothing.
//!
//! One case is one machine. Time is counted in instructions, so that each run is the same; what looks random has a seed, which is in
//! the guests' records and so in a failure.

use crate::hyp::{run, small};
use crate::machine::{images, same, trial};
use anyhow::{Context, Result, ensure};
use hyp::result::End;
use libtest_mimic::Trial;
use serde_json::Value;
use std::time::Duration;
use xtask::hyp::{Config, Guest};

/// A case: the hostile guest's program, and the machine.
struct Case {
    program: &'static str,
    cpu: &'static str,
    gic: u8,
    /// Physical CPUs.
    smp: u8,
    /// The hostile guest's vCPUs.
    vcpus: u8,
    /// Rounds of the honest guest: so many that it sees the hostile one end.
    rounds: u64,
    /// More boot arguments of the hostile guest: `set=1` for another of its sets.
    append: &'static str,
    /// Whether time is counted in instructions.
    icount: bool,
    /// Whether this project's kernel is there too, with its demo suite.
    suite: bool,
}

impl Case {
    const fn new(program: &'static str, cpu: &'static str, gic: u8) -> Case {
        Case { program, cpu, gic, smp: 1, vcpus: 1, rounds: 100, append: "", icount: true, suite: false }
    }

    const fn vcpus(self, vcpus: u8) -> Case {
        Case { vcpus, ..self }
    }

    const fn rounds(self, rounds: u64) -> Case {
        Case { rounds, ..self }
    }

    /// For a guest that stops the time, if it is counted in instructions, by executing none.
    const fn real_time(self) -> Case {
        Case { icount: false, ..self }
    }

    /// With several physical CPUs, whose time is not counted in instructions.
    const fn smp(self, smp: u8) -> Case {
        Case { smp, icount: false, ..self }
    }

    const fn suite(self) -> Case {
        Case { suite: true, ..self }
    }

    const fn append(self, append: &'static str) -> Case {
        Case { append, ..self }
    }
}

const CASES: &[Case] = &[
    Case::new("canary", "max", 3),
    Case::new("canary", "cortex-a57", 2),
    Case::new("hostile_registers", "max", 3),
    Case::new("hostile_registers", "cortex-a72", 2),
    Case::new("hostile_memory", "max", 3).rounds(300),
    Case::new("hostile_memory", "cortex-a72", 2).rounds(300),
    Case::new("hostile_calls", "cortex-a72", 3).vcpus(8),
    Case::new("hostile_calls", "cortex-a53", 2).vcpus(4),
    Case::new("hostile_devices", "cortex-a72", 3),
    Case::new("hostile_devices", "cortex-a72", 2),
    Case::new("hostile_walks", "max", 3).vcpus(7),
    Case::new("hostile_walks", "cortex-a53", 2).vcpus(7),
    Case::new("hostile_walks", "cortex-a72", 3).vcpus(3).append("set=1").real_time().rounds(8),
    Case::new("hostile_storms", "cortex-a72", 3).vcpus(2).rounds(640).append("set=0 turns=3000").suite(),
    Case::new("hostile_storms", "max", 3).vcpus(8).append("set=0 turns=100"),
    Case::new("hostile_storms", "cortex-a57", 2).vcpus(8).append("set=0 turns=100"),
    Case::new("hostile_storms", "max", 3).vcpus(8).append("set=1 turns=30"),
    Case::new("hostile_instructions", "max", 3),
    Case::new("hostile_instructions", "cortex-a53", 3),
    Case::new("hostile_instructions", "cortex-a72", 2),
    Case::new("hostile_registers", "cortex-a72", 3).smp(2),
    Case::new("hostile_memory", "cortex-a53", 2).smp(2).rounds(300),
    Case::new("hostile_calls", "max", 3).vcpus(8).smp(3),
    Case::new("hostile_devices", "cortex-a57", 2).smp(2),
    Case::new("hostile_walks", "cortex-a72", 3).vcpus(7).smp(4),
    Case::new("hostile_storms", "cortex-a72", 3).vcpus(8).append("set=0 turns=30").smp(4),
];

pub fn trials() -> Vec<Trial> {
    let name = |case: &Case| {
        let Case { program, cpu, gic, smp, append, .. } = case;
        let set = if append.starts_with("set=1") { ".more" } else { "" };
        format!("hyp::hostile.{}{set}.{cpu}.gic.{gic}.smp.{smp}", program.trim_start_matches("hostile_"))
    };
    CASES.iter().map(|case| trial(name(case), || beside_canary(case))).collect()
}

fn beside_canary(case: &Case) -> Result<()> {
    let canary = Guest { append: format!("rounds={} seed=1", case.rounds), ..small("canary") };
    let hostile = Guest {
        name: "hostile".into(),
        append: format!("rounds={} seed=2 vcpus={} {}", case.rounds, case.vcpus, case.append),
        vcpus: case.vcpus,
        ..small(case.program)
    };
    let mut guests = vec![canary, hostile];
    if case.suite {
        guests.push(Guest { append: "records loglevel=off".into(), ..Guest::kernel(images(false), "kernel") });
    }
    let config = Config {
        cpu: case.cpu.into(),
        gic: case.gic,
        smp: case.smp,
        icount: case.icount.then_some(5),
        guests,
        timeout: Some(Duration::from_secs(240)),
        ..Config::default()
    };
    run(&config, |ran| {
        same("(exit code, timed out)", (ran.outcome.code, ran.outcome.timed_out), (0, false))?;
        for guest in ran.summary()?.guests {
            same(&format!("end of {}", guest.name), guest.end, Some(End::PoweredOff))?;
        }
        let wrong = ran.records.iter().filter(|record| record["kind"] == "wrong" || record["kind"] == "guest_failure");
        same("what was wrong", wrong.collect(), Vec::<&Value>::new())?;
        same("suites", ran.console.matches(" programs, 0 failed").count(), usize::from(case.suite))?;
        let told = |kind: &str, seed: u64| {
            let is = |record: &Value| record["kind"] == kind && record["seed"] == seed;
            ran.records.iter().position(is).with_context(|| format!("no {kind} record"))
        };
        let honest = told("canary", 1)?;
        let canary = &ran.records[honest];
        same("(rounds, wrong)", (canary["rounds"].as_u64(), canary["wrong"].as_u64()), (Some(case.rounds), Some(0)))?;
        ensure!(canary["registers"].as_u64() >= Some(19), "{canary}");
        if case.program == "canary" {
            return Ok(());
        }
        // It did all that it should, and the honest one was there to the end.
        let hostile = told("hostile", 2)?;
        let undone = |(name, value): (&String, &Value)| name != "wrong" && value == 0;
        ensure!(!ran.records[hostile].as_object().context("no object")?.iter().any(undone), "{}", ran.records[hostile]);
        ensure!(case.smp > 1 || hostile < honest, "the hostile guest ended last");
        if case.suite {
            // That came to its end in a storm that lasted.
            let counters = ran.records.iter().position(|record| record["kind"] == "counters");
            ensure!(counters < Some(hostile), "the hostile guest ended before the suite");
        }
        Ok(())
    })
}
