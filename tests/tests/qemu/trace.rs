//! The trace: what the kernel wrote down, against QEMU's own log and the kernel's counters.

use crate::binary::{Code, MASK_ALL};
use crate::faults;
use crate::machine::{Names, PANIC, Ran, Test, images, program, run, same, trial};
use crate::strangers::compile;
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use trap::frame::NO_SYSCALL;
use trap::slot::Slot;
use trap::trace::{Event, Left, Record, Way};
use xtask::machine::{Config, Program, TIMED_OUT, Tracing};
use xtask::setup::has_c;
use xtask::trace::memory::{Cpu, Memory, Rings};

/// Programs whose every exception and return QEMU and the trace agree on, and the machines they run on.
const AGREE: &[(&str, u8, &str)] = &[
    ("hello", 3, "cortex-a72"),
    ("preempt", 3, "cortex-a72"),
    ("preempt", 2, "cortex-a53"),
    ("registers", 3, "cortex-a72"),
    ("forktree", 3, "max"),
    ("memory", 2, "cortex-a76"),
    ("pointers", 3, "cortex-a53"),
    ("crash all", 3, "cortex-a72"),
    ("sleepers", 3, "max"),
];

const OTHERS: &[(&str, Test)] = &[
    ("counters", counters_agree),
    ("irqs", || irqs_alternate("sleepers")),
    ("irqs.memory", || irqs_alternate("memory")),
    ("registers", registers),
    ("masked", masked),
    ("calls", calls),
    ("switches", switches),
    ("signals", signals),
    ("overruns", overruns),
    ("point", point),
    ("path", || path("trace.path", false)),
    ("path.window", || path("trace.path.window", true)),
    ("stack.low", || same_report("stack.low", true, faults::stack_was_low)),
    ("report.fault", || same_report("report.fault", false, faults::report_has_faulted)),
    ("fault", || same_report("trace.fault", true, tracing_has_faulted)),
    ("names", names),
    ("panic", panic),
    ("overflow", overflow),
    ("hang", hang),
    ("off", off),
];

pub fn trials() -> Vec<Trial> {
    let agree = AGREE.iter().map(|&(line, gic, cpu)| {
        trial(format!("trace.int.{}.gic{gic}.{cpu}", line.replace(' ', ".")), move || {
            agrees_with_qemu(Config { gic, cpu: cpu.into(), ..program(line) })
        })
    });
    let others = OTHERS.iter().map(|&(name, test)| trial(format!("trace.{name}"), test));
    let with_c: [(&str, Test); 2] = [("cost", cost), ("stopped", stopped)];
    let with_c = with_c.map(|(name, test)| trial(format!("trace.{name}"), test));
    agree.chain(others).chain(with_c.into_iter().filter(|_| has_c())).collect()
}

/// Runs a machine with a ring of `mib` MiB, time by instructions, and gives what it wrote down to `look`.
fn traced(mut config: Config, mib: u32, look: impl FnOnce(&Ran, &Rings) -> Result<()>) -> Result<()> {
    let memory = Memory::new(config.mem)?;
    config.icount = Some(4);
    config.tracing = Some(Tracing { memory: memory.path(), ring: mib });
    let kernel = &images(config.ktest.is_some()).elf;
    run(&config, |ran| look(ran, &memory.rings(kernel)?))
}

/// The events of the only CPU, of which none is lost or was left out.
fn all(rings: &Rings) -> Result<&[Record]> {
    let [Cpu { lost, skipped, records }] = &rings.cpus[..] else { anyhow::bail!("{} CPUs", rings.cpus.len()) };
    same("events lost, and left out", (*lost, *skipped), (0, 0))?;
    Ok(records)
}

/// An exception taken to EL1, or a return from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// ESR, where it has one; FAR, where QEMU says that it wrote one; ELR.
    Taken {
        slot: Slot,
        esr: Option<u64>,
        far: Option<u64>,
        from: u64,
    },
    Returned {
        el: u8,
        pc: u64,
    },
}

/// Reads QEMU's log. Semihosting calls go nowhere.
fn steps(log: &str, vectors: u64) -> Result<Vec<Step>> {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
    let (mut steps, mut syndrome, mut fault, mut from) = (Vec::new(), None, None, 0);
    for line in log.lines() {
        if line.starts_with("Taking exception") {
            (syndrome, fault) = (None, None);
        } else if let Some(esr) = line.strip_prefix("...with ESR ") {
            let (_, esr) = esr.split_once('/').context("a syndrome")?;
            syndrome = Some(number(esr)?);
        } else if let Some(far) = line.strip_prefix("...with FAR ") {
            fault = Some(number(far)?);
        } else if let Some(elr) = line.strip_prefix("...with ELR ") {
            from = number(elr)?;
        } else if let Some(place) = line.strip_prefix("...to EL1 PC ") {
            let (pc, _) = place.split_once(' ').context("a PC")?;
            let slot = *Slot::ALL.get((number(pc)?.wrapping_sub(vectors) / 128) as usize).context("no vector slot")?;
            let esr = syndrome.filter(|_| slot.has_syndrome());
            steps.push(Step::Taken { slot, esr, far: fault.filter(|_| esr.is_some()), from });
        } else if let Some((to, pc)) = line.strip_prefix("Exception return").and_then(|rest| rest.rsplit_once(" PC ")) {
            let el = to.chars().last().and_then(|el| el.to_digit(10)).context("no exception level")?;
            steps.push(Step::Returned { el: el as u8, pc: number(pc)? });
        }
    }
    Ok(steps)
}

/// The same, by the trace. FAR only where `log`, QEMU's, has one at the same place.
fn traced_steps(records: &[Record], log: &[Step]) -> Vec<Step> {
    let mut steps = Vec::new();
    for record in records {
        match record.event {
            Event::Enter { slot, esr, far, saved, .. } => {
                let has_far = matches!(log.get(steps.len()), Some(Step::Taken { far: Some(_), .. }));
                steps.push(Step::Taken {
                    slot,
                    esr: slot.has_syndrome().then_some(esr),
                    far: has_far.then_some(far),
                    from: saved.pc,
                });
            }
            Event::Exit { pc, pstate, .. } => steps.push(Step::Returned { el: (pstate >> 2 & 3) as u8, pc }),
            _ => {}
        }
    }
    steps
}

/// Every exception that QEMU took to EL1, and every return, is in the trace, in order, with its registers; and no other.
fn agrees_with_qemu(mut config: Config) -> Result<()> {
    let log = tempfile::NamedTempFile::new()?;
    config.qemu_args.extend(["-d", "int", "-D"].map(Into::into));
    config.qemu_args.push(log.path().into());
    let vectors = Names::read(&images(false).elf)?.address("vectors")?;
    traced(config, 64, |ran, rings| {
        ran.ended(0)?;
        let qemu = steps(&fs::read_to_string(log.path())?, vectors)?;
        let ours = traced_steps(all(rings)?, &qemu);
        if let Some(at) = qemu.iter().zip(&ours).position(|(qemu, ours)| qemu != ours) {
            anyhow::bail!("step {at}: {:x?} by the trace, {:x?} by QEMU", ours[at], qemu[at]);
        }
        ensure!(qemu.len() > 4, "only {} steps", qemu.len());
        same("steps", ours.len(), qemu.len())
    })
}

/// What the kernel counted is what the trace has.
fn counters_agree() -> Result<()> {
    traced(program("preempt"), 64, |ran, rings| {
        ran.ended(0)?;
        let counters = ran.counters()?;
        let records = all(rings)?;
        let count = |wanted: fn(&Event) -> bool| records.iter().filter(|record| wanted(&record.event)).count() as u64;
        let (mut entries, mut counted) = (BTreeMap::new(), BTreeMap::new());
        for record in records {
            if let Event::Enter { slot, .. } = record.event {
                *entries.entry(slot).or_insert(0) += 1;
            }
        }
        counters.exceptions.iter().for_each(|row| *counted.entry(row.slot).or_insert(0) += row.count);
        same("exceptions", &entries, &counted)?;
        same("switches", count(|event| matches!(event, Event::Switch { .. })), counters.switches)?;
        same("timer interrupts", count(|event| matches!(event, Event::Irq { intid: 27 })), {
            count(|event| matches!(event, Event::IrqEnd { intid: 27, handled: true }))
        })?;
        ensure!(count(|event| matches!(event, Event::Preempt)) >= counters.preemptions, "preemptions");
        ensure!(counters.preemptions > 0, "nothing was preempted");
        let calls = records.iter().filter(|record| match record.event {
            Event::Enter { slot: Slot::El0Sync, esr, .. } => esr >> 26 == 0x15,
            _ => false,
        });
        same("system calls", calls.count() as u64, counters.syscalls)
    })
}

/// IRQs are masked and unmasked in turn, and each exception masks them and leaves them as its PSTATE says; what is said to have
/// been the CPU's state is that.
fn irqs_alternate(line: &str) -> Result<()> {
    const I: u64 = 1 << 7;
    traced(program(line), 64, |ran, rings| {
        ran.ended(0)?;
        let names = Names::read(&images(false).elf)?;
        let (mut off, mut toggles, mut handling, mut inherits) = (true, 0, None, false);
        for (number, record) in all(rings)?.iter().enumerate() {
            let state = format!("record {number}, {:x?}", record.event);
            if std::mem::take(&mut inherits) {
                let unmasked = matches!(record.event, Event::IrqsOn { site } if names.holds(site, "el1h_sync_handler"));
                ensure!(unmasked || matches!(record.event, Event::Exit { .. }), "{state}: what el1h_sync does first");
            }
            match record.event {
                Event::Enter { slot, saved, .. } => {
                    same(&state, saved.pstate & I != 0, off)?;
                    inherits = slot == Slot::El1hSync && !off;
                    off = true;
                }
                Event::Exit { pstate, .. } => off = pstate & I != 0,
                Event::IrqsOff { .. } => {
                    ensure!(!off, "{state}: they were");
                    (off, toggles) = (true, toggles + 1);
                }
                Event::IrqsOn { .. } => {
                    ensure!(off && handling.is_none(), "{state}: they were, or must not");
                    off = false;
                }
                Event::Irq { intid } => {
                    ensure!(off && record.state.in_irq, "{state}: not in an interrupt");
                    same(&state, handling.replace(intid), None)?;
                    ensure!(record.state.preempt > 0, "{state}: it could be preempted");
                }
                Event::IrqEnd { intid, .. } => same(&state, handling.take(), Some(intid))?,
                Event::Preempt => same(&state, (record.state.need_resched, record.state.preempt), (true, 0))?,
                _ => {}
            }
            // What unmasks them is written down before it does.
            let unmasks = matches!(record.event, Event::IrqsOn { .. } | Event::Exit { .. });
            same(&state, record.state.irqs_off, off || unmasks)?;
        }
        ensure!(toggles > 100, "{toggles} times");
        Ok(())
    })
}

/// A system call's number, arguments and result are there, and the frame that it came and went by.
fn calls() -> Result<()> {
    traced(program("echo one two"), 8, |ran, rings| {
        ran.ended(0)?;
        let (mut open, mut written) = (BTreeMap::new(), 0);
        for record in all(rings)? {
            match record.event {
                Event::Enter { slot: Slot::El0Sync, frame, saved, .. } => {
                    same("frames in use", open.insert(frame, saved.regs), None)?;
                }
                Event::Exit { frame, x0, syscallno, .. } if syscallno != NO_SYSCALL => {
                    let regs = open.remove(&frame).context("no entry with this frame")?;
                    same("number", syscallno as u64, regs[8])?;
                    if regs[8] == 64 {
                        same("descriptor", regs[0], 1)?;
                        same("bytes written", x0, regs[2])?;
                        written += x0;
                    }
                }
                _ => {}
            }
        }
        same("bytes written in all", written, "one two\n".len() as u64)
    })
}

/// Each switch goes on from the task before to the next one, which the records behind it name; those that wait are woken first.
fn switches() -> Result<()> {
    traced(program("sleepers"), 64, |ran, rings| {
        ran.ended(0)?;
        let (mut running, mut asleep, mut names) = (0, BTreeMap::new(), BTreeMap::new());
        for record in all(rings)? {
            same("the task of a record", record.task, running)?;
            match record.event {
                Event::Switch { left, next, name } => {
                    asleep.insert(running, left);
                    ensure!(!matches!(asleep.get(&next), Some(Left::Sleeping | Left::Ended)), "{next} was not woken");
                    names.insert(next, name.as_str().to_owned());
                    running = next;
                }
                Event::Wake { task } => drop(asleep.insert(task, Left::Runnable)),
                _ => {}
            }
        }
        same("the first program's name", names.get(&1).map(String::as_str), Some("sleepers"))?;
        same("the idle task's name", names.get(&0).map(String::as_str), Some("idle"))?;
        ensure!(asleep.values().any(|left| *left == Left::Ended), "nobody ended");
        Ok(())
    })
}

/// Tracing changes no register: programs that look at theirs, and the kernel's own compiled code, while interrupts come at many
/// places.
fn registers() -> Result<()> {
    for (line, tick) in [("registers", 5_000), ("registers", 4_001), ("forktree", 3_011), ("memory", 4_001)] {
        traced(Config { append: format!("tick={tick}"), ..program(line) }, 8, |ran, _| ran.ended(0))
            .with_context(|| format!("{line}, tick={tick}"))?;
    }
    Ok(())
}

/// A trace point that is passed with a pattern in the registers and the flags, eight times another.
fn point() -> Result<()> {
    for seed in 0..8 {
        traced(
            Config { ktest: Some("trace.point".into()), append: format!("seed={seed}"), ..program("init") },
            1,
            |ran, rings| {
                ran.ended(0)?;
                let points = all(rings)?.iter().filter(|record| record.event == Event::Preempt);
                same("points", points.count(), 1)
            },
        )
        .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// What the ways in and out of the kernel itself take, inside of a window to user memory and outside, is what is told.
fn path(name: &str, in_window: bool) -> Result<()> {
    for cpu in ["cortex-a72", "max"] {
        let config = Config { ktest: Some(name.into()), cpu: cpu.into(), append: "tick=1".into(), ..program("init") };
        traced(config, 1, |ran, rings| {
            ran.ended(0)?;
            let time = |record: &Record| record.time - record.spent - record.calls * rings.uncounted;
            let records: Vec<_> = all(rings)?.iter().skip_while(|record| record.event != Event::Preempt).collect();
            let place = |wanted: fn(&Event) -> bool| {
                let found = records.iter().skip(1).find(|record| wanted(&record.event));
                found.map(|record| (time(record), record.event)).context("an event is missing")
            };
            let (entered, event) = place(|event| matches!(event, Event::Enter { .. }))?;
            let Event::Enter { window, .. } = event else { unreachable!() };
            same("window", window, in_window && cpu != "max")?;
            let (left, _) = place(|event| matches!(event, Event::Exit { .. }))?;
            let (end, _) = place(|event| *event == Event::Preempt)?;
            let way = Way::new(true, window) as usize;
            // The nop of the first trace point, and the BRK.
            let told = 2 + rings.entry[way] + (left - entered) + rings.exit[way];
            same(&format!("instructions on {cpu}"), told, end - time(records[0]))
        })?;
    }
    Ok(())
}

/// A report is what it would be if nobody traced, where tracing has no stack left, or would fault itself. What is not written down
/// then is counted.
fn same_report(name: &str, skips: bool, told: fn(&Ran, &Names) -> Result<()>) -> Result<()> {
    let names = Names::read(&images(true).elf)?;
    traced(Config { ktest: Some(name.into()), ..program("init") }, 1, |ran, rings| {
        same("some events were not written down", rings.cpus[0].skipped > 0, skips)?;
        told(ran, &names)
    })
}

/// Tracing itself has faulted: that is reported, and the machine ends.
fn tracing_has_faulted(ran: &Ran, names: &Names) -> Result<()> {
    same("exit code", ran.outcome.code, PANIC)?;
    let panic = ran.panics.first().context("no report")?;
    ensure!(names.holds(panic.pc.0, "write_down"), "PC is in {:?}", names.at(panic.pc.0));
    Ok(())
}

/// Each task is made before it runs, and its program's name is told.
fn names() -> Result<()> {
    traced(program("init"), 64, |_, rings| {
        let (mut made, mut programs) = (vec![0], Vec::new());
        for record in all(rings)? {
            ensure!(made.contains(&record.task), "task {} runs before it is made", record.task);
            match record.event {
                Event::Spawn { task, .. } => made.push(task),
                Event::Exec { name } => programs.push(name.as_str().to_owned()),
                _ => {}
            }
        }
        for program in ["hello", "registers", "preempt", "forktree", "crash"] {
            ensure!(programs.iter().any(|name| name == program), "{program} is not among {programs:?}");
        }
        Ok(())
    })
}

/// A task that is stopped, goes on and is killed.
fn stopped() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let path = compile(&folder, "stop", &["-nostdlib", "-ffreestanding"])?;
    traced(Config { program: Program::Host(path), ..program("init") }, 8, |ran, rings| {
        ran.ended(0)?;
        let events: Vec<_> = all(rings)?.iter().filter(|record| record.task == 2).map(|record| record.event).collect();
        let place = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted);
        let stop = place(&|event| *event == Event::Deliver { signal: 19 }).context("SIGSTOP is not acted on")?;
        let left =
            place(&|event| matches!(event, Event::Switch { left: Left::Stopped, .. })).context("it does not stop")?;
        let kill = place(&|event| *event == Event::Deliver { signal: 9 }).context("SIGKILL is not acted on")?;
        ensure!(stop < left && left < kill, "out of order: {stop} {left} {kill}");
        Ok(())
    })
}

/// No interrupt comes while an event is written down, or it would not be: wherever interrupts come, the kernel included.
fn masked() -> Result<()> {
    // The faster tick comes in the middle of what is written down at each call, sooner or later.
    let runs = [("sleepers", 5_000), ("sleepers", 4_001), ("badcalls", 20_011), ("badcalls", 15_013)];
    for (name, tick) in runs {
        traced(Config { append: format!("tick={tick}"), ..program(name) }, 64, |ran, rings| {
            ran.ended(0)?;
            let of_kernel = |record: &&Record| matches!(record.event, Event::Enter { slot: Slot::El1hIrq, .. });
            let interrupts = all(rings)?.iter().filter(of_kernel).count();
            ensure!(interrupts > 10, "{interrupts} interrupts of the kernel");
            Ok(())
        })
        .with_context(|| format!("{name}, tick={tick}"))?;
    }
    Ok(())
}

/// A program that dies: its signal, its report and its end.
fn signals() -> Result<()> {
    traced(program("crash null"), 8, |ran, rings| {
        ran.ended(139)?;
        let events: Vec<_> = all(rings)?.iter().map(|record| record.event).collect();
        let place = |event| events.iter().position(|found| *found == event).with_context(|| format!("no {event:?}"));
        let sent = place(Event::Signal { task: 1, signal: 11, code: 1 })?;
        let (report, end) = (place(Event::Report { index: 0 })?, place(Event::End { code: 139 })?);
        ensure!(sent < report && report < end, "out of order: {sent} {report} {end}");
        same("deaths", ran.deaths.len(), 1)
    })
}

/// The figures of the trace are those that a program measures while nobody traces: one instruction a tick.
fn cost() -> Result<()> {
    // getpid; and sched_yield, with locks inside of locks.
    for (cpu, number) in [("cortex-a72", 172), ("max", 172), ("cortex-a72", 124)] {
        let folder = tempfile::TempDir::new()?;
        let path = compile(&folder, "call", &["-nostdlib", "-ffreestanding", &format!("-DNUMBER={number}")])?;
        let config =
            Config { program: Program::Host(path), cpu: cpu.into(), append: "tick=1".into(), ..program("init") };
        let mut measured = 0;
        run(&Config { icount: Some(4), ..config.clone() }, |ran| {
            measured = u64::from(ran.outcome.code);
            Ok(())
        })?;
        traced(config, 8, |_, rings| {
            let (records, mut figures) = (all(rings)?, Vec::new());
            let time = |record: &Record| record.time - record.spent - record.calls * rings.uncounted;
            let mut entered = None;
            for record in records {
                match record.event {
                    Event::Enter { saved, .. } if saved.regs[8] == number as u64 => entered = Some(time(record)),
                    Event::Exit { syscallno, .. } if syscallno == number => {
                        let handler = time(record) - entered.take().context("no entry")?;
                        figures.push(handler + rings.entry[0] + rings.exit[0]);
                    }
                    _ => {}
                }
            }
            same("calls", figures.len(), 100)?;
            // The loop itself: svc, subs, b.ne.
            same(&format!("call {number} on {cpu}"), figures, vec![measured - 3; 100])
        })?;
    }
    Ok(())
}

/// A small ring keeps the newest events, and counts the others; none is torn.
fn overruns() -> Result<()> {
    traced(program("memory"), 1, |ran, rings| {
        ran.ended(0)?;
        let Cpu { lost, records, .. } = &rings.cpus[0];
        let (Some(first), Some(last)) = (records.first(), records.last()) else { anyhow::bail!("nothing is kept") };
        ensure!(*lost > 0 && first.calls >= *lost, "{lost} lost, before call {}", first.calls);
        ensure!(last.calls - first.calls >= records.len() as u64 - 1, "more records than calls");
        ensure!(records.is_sorted_by(|one, next| one.calls < next.calls && one.time < next.time), "not in order");
        let end = records.iter().rev().find_map(|record| match record.event {
            Event::End { code } => Some((record.task, code)),
            _ => None,
        });
        same("the last end of a task", end, Some((1, 0)))
    })
}

/// The trace of a kernel that panics ends in its report, from the exception that was its end.
fn panic() -> Result<()> {
    traced(Config { ktest: Some("panic".into()), ..program("init") }, 8, |ran, rings| {
        ran.panic()?;
        let records = all(rings)?;
        let last =
            records.iter().rev().find(|record| !matches!(record.event, Event::IrqsOff { .. } | Event::IrqsOn { .. }));
        same("the last event", last.map(|record| record.event), Some(Event::Report { index: 0 }))
    })
}

/// A stack overflow is in the trace by its slot, with the registers as they were.
fn overflow() -> Result<()> {
    traced(Config { ktest: Some("overflow".into()), ..program("init") }, 8, |ran, rings| {
        let report = ran.panic()?;
        let found = all(rings)?.iter().rev().find_map(|record| match record.event {
            Event::Enter { slot, saved, esr, far, .. } => Some((slot, saved, esr, far)),
            _ => None,
        });
        let (slot, saved, esr, far) = found.context("no exception")?;
        same("slot", Some(slot), report.slot)?;
        same("syndrome and address", (esr, far), (report.esr.0, report.far.0))?;
        same("registers", saved.regs, report.regs.map(|register| register.0))?;
        same("SP and PC", (saved.sp, saved.pc), (report.sp.0, report.pc.0))
    })
}

/// A machine that is ended from outside leaves a trace too.
fn hang() -> Result<()> {
    traced(Config { timeout: Some(Duration::from_secs(3)), ..program("spin") }, 1, |ran, rings| {
        same("exit code", ran.outcome.code, TIMED_OUT)?;
        ensure!(!rings.cpus[0].records.is_empty(), "nothing was written down");
        Ok(())
    })
}

/// While nobody traces, the trace points of the way in and out are the instructions that would stand there without it.
fn off() -> Result<()> {
    let code = Code::read()?;
    let text = code.names.address("_entry_text")?..code.names.address("_entry_text_end")?;
    for stub in ["el0_sync", "el0_irq", "el1h_sync", "el1h_irq"] {
        let start = code.names.address(stub)?;
        let words: Vec<_> = (start..text.end).step_by(4).map_while(|at| code.word(at)).take(200).collect();
        let place =
            |word, what| words.iter().position(|found| *found == word).with_context(|| format!("{stub}: no {what}"));
        // mov x0, sp; then the call of the handler; then msr daifset, #0xf.
        let argument = place(0x9100_03e0, "mov x0, sp")?;
        same(&format!("{stub}: behind it a call"), words[argument + 1] >> 26, 0b100101)?;
        same(&format!("{stub}: then DAIF is masked"), words[argument + 2], MASK_ALL)?;
    }
    Ok(())
}
