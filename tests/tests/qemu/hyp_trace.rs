//! What the hypervisor tells of itself and its guests: events, costs, its report, and whose word a line of the console is.

use crate::hyp::{Ran, hypervisor, run, small, traps, two};
use crate::machine::{PANIC, Test, images, same, trial};
use anyhow::{Context, Result, ensure};
use hyp::result::{Cost, End, Summary};
use hyp::vgic::{Link, ListRegister, State, Version};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::time::Duration;
use trap::esr::{Ec, Esr};
use trap::pstate::{Mode, Pstate};
use trap::record::{Kind, Report};
use trap::slot::Slot;
use trap::trace::{Event, Record};
use xtask::hyp::{Config, Guest};
use xtask::symbols::Symbols;
use xtask::trace::model::{MarkKind, Model, Type};
use xtask::trace::perfetto;
use xtask::trace::text;
use xtask::trace::timeline::Timeline;

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, Test); 7] = [
        ("interrupts", interrupts),
        ("every.trap", every_trap),
        ("same.again", same_again),
        ("costs", costs),
        ("report", report),
        ("guest.panics", guest_panics),
        ("whose.line", whose_line),
    ];
    tests.map(|(name, test)| trial(format!("hyp_trace::{name}"), test)).into()
}

/// The virtual timer's interrupt.
const TIMER: u32 = 27;
/// What a CPU is that has nothing to do.
const IDLE: u32 = 0;
/// Ticks of the counter between two.
const PERIOD: u64 = 20_000;
/// How often each vCPU of the guest `timers` takes it.
const TICKS: usize = 20;

/// Two vCPUs that take interrupts on one CPU, traced.
fn timers(gic: u8) -> Config {
    Config {
        gic,
        icount: Some(4),
        trace: Some(8),
        guests: vec![Guest { vcpus: 2, ..small("timers") }],
        timeout: Some(Duration::from_secs(120)),
        ..Config::default()
    }
}

fn timeline(ran: &Ran) -> Result<&Timeline> {
    same("exit code", ran.outcome.code, 0)?;
    let timeline = ran.outcome.trace.as_ref().context("no trace")?;
    same("(lost, skipped)", (timeline.lost, timeline.skipped), (0, 0))?;
    Ok(timeline)
}

/// Each of a vCPU's interrupts goes its way: acknowledged, priority dropped, injected, in a List Register that is linked to the
/// physical one, and read back as nothing, in this order.
fn interrupts() -> Result<()> {
    for gic in [2, 3] {
        run(&timers(gic), |ran| {
            let timeline = timeline(ran)?;
            let records = || timeline.events.iter().map(|event| event.record).enumerate();
            let injections: Vec<_> = records()
                .filter_map(|(at, record)| match record.event {
                    Event::Inject { task, intid: TIMER } => Some((at, task)),
                    _ => None,
                })
                .collect();
            for vcpu in [1, 2] {
                let mut steps = Vec::new();
                let mut step = |step: &'static str| {
                    // It may be in a List Register more than once before the guest takes it, and be seen active meanwhile.
                    if steps.last() != Some(&step) {
                        steps.push(step);
                    }
                };
                let timer = |value| Some(ListRegister::decode(Version::V3, value)).filter(|lr| lr.intid == TIMER);
                for (at, Record { task, event, .. }) in records() {
                    // A CPU that idles in place of a vCPU takes its interrupts.
                    let nearest = injections.iter().min_by_key(|(other, _)| at.abs_diff(*other));
                    let task = nearest.filter(|_| task == IDLE).map_or(task, |&(_, task)| task);
                    match event {
                        Event::Irq { intid: TIMER } if task == vcpu => step("acknowledged"),
                        Event::Drop { intid: TIMER } if task == vcpu => step("dropped"),
                        Event::Inject { task, intid: TIMER } if task == vcpu => step("injected"),
                        Event::ListRegister { value, .. } if task == vcpu => {
                            if let Some(register) = timer(value).filter(|register| register.state == State::Pending) {
                                same("what it is linked to", register.link, Link::Hw(TIMER))?;
                                step("written");
                            }
                        }
                        Event::ReadBack { value, .. } if task == vcpu => match timer(value).map(|value| value.state) {
                            Some(State::Invalid) => step("ended"),
                            Some(State::PendingActive) => anyhow::bail!("pending and active"),
                            _ => {}
                        },
                        _ => {}
                    }
                }
                let way = ["acknowledged", "dropped", "injected", "written", "ended"];
                // The last interrupt's end is seen only if the vCPU traps again.
                let whole = way.repeat(TICKS);
                let known = whole.len().min(steps.len());
                ensure!(known >= whole.len() - 1, "vCPU {vcpu}: {} steps: {steps:?}", steps.len());
                same("steps", &steps[..], &whole[..known])?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Nothing is left out: the events of each kind are as many as were counted.
fn every_trap() -> Result<()> {
    run(&timers(3), |ran| {
        let (timeline, summary) = (timeline(ran)?, ran.summary()?);
        let mut classes = BTreeMap::<String, u64>::new();
        let (mut irqs, mut switches, mut exits) = (0, 0, 0);
        for Record { event, .. } in timeline.events.iter().map(|event| event.record) {
            match event {
                Event::Enter { slot: Slot::El0Irq, .. } => irqs += 1,
                Event::Enter { slot: Slot::El0Sync, esr, .. } => {
                    *classes.entry(Esr(esr).ec().name().into()).or_default() += 1;
                }
                Event::Enter { slot, .. } => anyhow::bail!("a trap through {}", slot.hyp_name()),
                Event::Exit { .. } => exits += 1,
                Event::Switch { .. } => switches += 1,
                _ => {}
            }
        }
        let guest = &summary.guests[0];
        let counted = guest.traps.iter().map(|(class, count)| (class.to_string(), *count)).collect();
        let all: u64 = classes.values().sum::<u64>() + irqs;
        same("traps", classes, counted)?;
        same("(IRQs, switches)", (irqs, switches), (guest.irqs, summary.world_switches))?;
        // Each vCPU begins with an exit, and its last trap has none.
        same("exits", exits, all)?;
        shown(timeline)
    })
}

/// The model of a trace, and what Perfetto gets of it: each trap is a span at EL2 of its vCPU, in the guest's own symbols.
fn shown(timeline: &Timeline) -> Result<()> {
    let config = timers(3);
    let mut names = xtask::hyp::names(hypervisor(), images(false), &config);
    let model = Model::new(timeline, &[], |token| names.describe(None, token));
    let labels: Vec<_> = model.tasks.iter().map(|task| task.name.as_str()).collect();
    same("lanes", labels, vec!["timers.0", "timers.1", "idle"])?;
    let traps = model.spans.iter().filter(|span| span.kind_of == Type::Exception).count();
    same("spans", traps, model.frames.len())?;
    ensure!(model.frames.iter().all(|frame| frame.slot.starts_with("guest_")), "a slot of the kernel's table");
    let nameless = model.frames.iter().map(|frame| model.text(frame.at)).find(|at| !at.contains("+0x"));
    same("a PC without a name in the guest's own symbols", nameless, None)?;
    for kind in [MarkKind::Drop, MarkKind::Inject, MarkKind::ListRegister, MarkKind::ReadBack] {
        ensure!(model.marks.iter().any(|mark| mark.kind == kind), "no mark {kind:?}");
    }
    let text = text::text(timeline, &[], |token| names.describe(None, token));
    let lines = |what: &str| text.lines().filter(|line| line.contains(what)).count();
    let injected = timeline.events.iter().filter(|event| matches!(event.record.event, Event::Inject { .. })).count();
    same("lines of the text", (lines("] "), lines(": vgic_inject: ")), (timeline.events.len(), injected))?;
    let file = serde_json::from_str(&perfetto::json(&model)?)?;
    perfetto::check(&file).map_err(anyhow::Error::msg).map(drop)
}

/// Two runs are the same to the instruction.
fn same_again() -> Result<()> {
    let mut runs = Vec::new();
    for _ in 0..2 {
        run(&timers(2), |ran| {
            runs.push(timeline(ran)?.events.iter().map(|event| (event.t, event.record)).collect::<Vec<_>>());
            Ok(())
        })?;
    }
    ensure!(runs[0].len() > 100, "{} events", runs[0].len());
    ensure!(
        runs[0] == runs[1],
        "the second run differs at {:?}",
        runs[0].iter().zip(&runs[1]).position(|(a, b)| a != b)
    );
    Ok(())
}

/// Costs are counted when that is asked for, of each trap that comes to its end; and two runs have the same.
fn costs() -> Result<()> {
    let counted = |count| -> Result<Summary> {
        let mut summary = Err(anyhow::anyhow!("it did not run"));
        run(&Config { count, trace: None, ..timers(3) }, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            summary = ran.summary();
            Ok(())
        })?;
        summary
    };
    same("not asked for", counted(false)?.guests[0].costs.len(), 0)?;
    let summary = counted(true)?;
    let guest = &summary.guests[0];
    ensure!(summary.frequency > 0, "no frequency");
    let (mut ends, mut all) = (0, guest.irqs);
    for Cost { class, count, ticks, max } in &guest.costs {
        ensure!(*max > 0 && ticks >= max && *ticks <= max * count, "{class}: {count} {ticks} {max}");
        ends += count;
        if class != "irq" {
            ensure!(*count <= traps(guest, class), "{class}: {count} came to their end");
        }
        // While a vCPU waits for its timer, that is not what its WFI costs.
        ensure!(*max < PERIOD, "{class}: {max} ticks");
    }
    guest.traps.iter().for_each(|(_, count)| all += count);
    // CPU_OFF of one vCPU and SYSTEM_OFF of the other.
    same("traps that came to their end", ends, all - 2)?;
    let again = counted(true)?;
    same("in another run", &again, &summary)
}

/// The hypervisor crashes while a guest runs: its report tells of both, each in its own symbols.
fn report() -> Result<()> {
    run(&Config { append: "crash=3000".into(), ..two() }, |ran| {
        same("exit code", ran.outcome.code, PANIC)?;
        let result = ran.outcome.result.clone().context("no result")?;
        let report: Report = serde_json::from_value(result)?;
        same("(kind, slot, far)", (report.kind, report.slot, report.far.0), (Kind::HypPanic, Some(Slot::El1hSync), 8))?;
        same("class", Esr(report.esr.0).ec(), Ec::DATA_ABORT_CURRENT)?;
        same("level", Pstate(report.pstate.0).mode(), Mode::A64 { el: 2, own_sp: true })?;
        same("whose code PC is in", &*report.name, "hyp")?;
        let running = report.running.as_ref().context("nothing ran")?;
        let names = ["left", "right"];
        same("guest", Some(&*running.name), names.get(running.guest as usize - 1).copied())?;
        same("vCPU", running.vcpu, 0)?;
        // The way there is that of a trap, in the hypervisor's symbols; where the guest was, in its own.
        let symbols = Symbols::open(&hypervisor().elf, &images(false).root)?;
        let steps: Vec<_> = report.chain.iter().map(|step| symbols.describe(step.address.0)).collect();
        let outermost = steps.last().context("no chain")?;
        ensure!(steps[0].contains("hyp::trace") && outermost.contains(" guest_"), "{steps:#?}");
        let kernel = Symbols::open(&images(false).elf, &images(false).root)?;
        let place = kernel.describe(running.pc.0);
        ensure!(running.pc.0 >> 55 & 1 == 0 || place.contains('+'), "the guest was nowhere: {place}");
        for place in [&steps[0], &place] {
            ensure!(ran.console.contains(&**place), "the console does not tell of {place}");
        }
        Ok(())
    })
}

/// A guest's kernel that panics has not ended in order, and the other goes on to its own end.
fn guest_panics() -> Result<()> {
    let mut config = two();
    config.guests[0].append.push_str(" init=/no/such/program");
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 3)?;
        let ends = ran.summary()?.guests.iter().map(|guest| guest.end).collect();
        same("ends", ends, vec![Some(End::Panicked), Some(End::PoweredOff)])?;
        let of = |kind: &str| {
            let records = ran.records.iter().filter(|record| record["kind"] == kind);
            records.map(|record| record["guest"].as_str()).collect::<Vec<_>>()
        };
        same("whose panic", of("panic"), vec![Some("left")])?;
        same("whose counters", of("counters"), vec![Some("right")])
    })
}

/// A guest's word is known as its, whatever it prints; it names nothing that is not its own.
fn whose_line() -> Result<()> {
    let guests = vec![small("forger"), Guest { name: "right".into(), ..small("timers") }];
    let config = Config { guests, timeout: Some(Duration::from_secs(120)), ..Config::default() };
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let forged: Vec<_> = ran.records.iter().filter(|record| record["kind"] == "forged").collect();
        same("forged records", forged.len(), 2)?;
        ensure!(forged.iter().all(|record| record["guest"] == "forger"), "{forged:?}");
        let lines: Vec<_> = ran.console.lines().filter_map(|line| line.strip_prefix("forger| ")).collect();
        let printed = ["right| x", "hyp| 0000000040200000", "ffffffc080000000", "no record", "text last"];
        same("lines", lines, printed.into())?;
        same("lines of the other", ran.console.lines().filter(|line| line.starts_with("right| ")).count(), 0)
    })
}
