//! What traps cost, in instructions; and every kind of virtual interrupt on every machine, each exactly once.

use crate::hyp::{run, small};
use crate::machine::{same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::time::Duration;
use xtask::hyp::{Config, Device, Guest};

/// What each row of the guest `cost` may cost, by GIC: the figures of docs/cost.md, with a little room for other compilers.
const BOUNDS: [(&str, [u64; 2]); 17] = [
    ("loop", [3, 3]),
    ("workaround_1", [17, 17]),
    ("null_hypercall", [155, 155]),
    ("psci_version", [160, 160]),
    ("id_register", [180, 180]),
    ("gicd_typer", [370, 370]),
    ("gicd_isenabler", [400, 400]),
    ("gicd_ispendr", [425, 430]),
    ("gicd_disable_enable", [1155, 1135]),
    ("uart_flags", [405, 405]),
    ("spi", [1035, 1025]),
    ("sgi", [515, 435]),
    ("virtual_timer", [420, 410]),
    ("device_spi", [455, 450]),
    ("wake_up", [365, 365]),
    ("world_switch", [1165, 1175]),
    ("round_trip", [3920, 3610]),
];

pub fn trials() -> Vec<Trial> {
    let cost = [2, 3].map(|gic| trial(format!("hyp_cost::instructions.gic.{gic}"), move || instructions(gic)));
    let machines = ["cortex-a57", "cortex-a72", "max"].into_iter().flat_map(|cpu| [2, 3].map(|gic| (cpu, gic)));
    let interrupts = machines.flat_map(|(cpu, gic)| {
        [1, 2].map(|vcpus| {
            let name = format!("hyp_cost::interrupts.{cpu}.gic.{gic}.vcpus.{vcpus}");
            trial(name, move || interrupts(cpu, gic, vcpus))
        })
    });
    cost.into_iter().chain(interrupts).chain([trial("hyp_cost::big.endian", big_endian)]).collect()
}

/// Machines with time by instructions do the same, to the byte; and no row is above its bound.
fn instructions(gic: u8) -> Result<()> {
    let config = Config {
        cpu: "cortex-a53".into(),
        gic,
        icount: Some(4),
        guests: vec![Guest { vcpus: 2, device: Some(Device::Pl031), ..small("cost") }],
        timeout: Some(Duration::from_secs(180)),
        qemu_args: ["-M", "dtb-randomness=off", "-rtc", "clock=vm"].map(Into::into).into(),
        ..Config::default()
    };
    let mut runs = Vec::new();
    for _ in 0..2 {
        run(&config, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            runs.push(ran.records.clone());
            Ok(())
        })?;
    }
    // Where somebody waits, less than an instruction each time: QEMU brings time forward in steps that are not instructions.
    same("records", runs[0].len(), runs[1].len())?;
    for (first, second) in runs[0].iter().zip(&runs[1]) {
        let number = |record: &serde_json::Value, name| record[name].as_u64().context("no number");
        let waits = ["wake_up", "world_switch", "round_trip"].map(serde_json::Value::from).contains(&first["row"]);
        let room = if waits { number(first, "count")? } else { 1 };
        let difference = number(first, "ticks")?.abs_diff(number(second, "ticks")?);
        ensure!(first["row"] == second["row"] && difference < room, "two runs differ: {first}, {second}");
    }
    let mut rows = BTreeMap::new();
    for record in &runs[0] {
        let number = |name: &str| record[name].as_u64().with_context(|| format!("no {name} in {record}"));
        let row = record["row"].as_str().context("a row has a name")?;
        rows.insert(row, (number("ticks")?, number("count")?, number("interrupts")?));
    }
    same("rows", rows.len(), BOUNDS.len())?;
    let mut above = Vec::new();
    for (row, bounds) in BOUNDS {
        let &(ticks, count, interrupts) = rows.get(row).with_context(|| format!("no row {row}"))?;
        let bound = bounds[usize::from(gic - 2)];
        if ticks / count > bound {
            above.push(format!("{row}: {} instructions, more than {bound}", ticks / count));
        }
        let with_interrupts = ["spi", "sgi", "virtual_timer", "device_spi", "wake_up", "round_trip"].contains(&row);
        same(row, interrupts, if with_interrupts { count } else { 0 })?;
    }
    ensure!(above.is_empty(), "{}", above.join("; "));
    Ok(())
}

/// The devices of a big-endian guest are the same to it.
fn big_endian() -> Result<()> {
    let config = Config { guests: vec![small("endian")], timeout: Some(Duration::from_secs(120)), ..Config::default() };
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let record = ran.records.first().context("no record")?;
        same("GICD_TYPER, the other way round", &record["swapped"], &record["typer"])?;
        same("what was enabled", record["enabled"].as_u64(), Some(0x0102_0408))
    })
}

/// Rounds of the guest `interrupts`.
const ROUNDS: u64 = 10;

/// Each interrupt arrives exactly once, and where it is routed to.
fn interrupts(cpu: &str, gic: u8, vcpus: u8) -> Result<()> {
    let guests = vec![Guest { vcpus, ..small("interrupts") }];
    let config = Config { cpu: cpu.into(), gic, guests, timeout: Some(Duration::from_secs(120)), ..Config::default() };
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let taken: Vec<_> = ran.records.iter().map(|record| (record["cpu"].as_u64(), record["irqs"].clone())).collect();
        // SGIs, both timers, and the SPIs of both vCPUs: each sends its own to the other and to itself.
        let (one, two) = ([1, 1, 1, 2, 0], [1, 1, 1, 1, 1]);
        let of = |times: [u64; 5]| serde_json::Value::from(times.map(|times| times * ROUNDS).to_vec());
        let expected = match vcpus {
            1 => vec![(Some(0), of(one))],
            _ => vec![(Some(0), of(two)), (Some(1), of(two))],
        };
        same("interrupts taken", taken, expected)
    })
}
