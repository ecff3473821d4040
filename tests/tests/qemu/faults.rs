//! Every cause: what can go wrong in the kernel, and what becomes of a program, each with the exact fields of its report. What
//! no emulated CPU raises is made up, and called so.

use crate::ktest::{self, Ends, OUT_OF_INTERRUPT, SERROR};
use crate::machine::{Names, Ran, Test, images, ktest as machine, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::fmt::Display;
use std::fs;
use trap::esr::{Ec, Esr};
use trap::hint::Hint;
use trap::place::{Area, Place, StackKind};
use trap::record::{Hex, Kind, Reached, Report};
use trap::signal::{code_name, signal_name};
use trap::slot::Slot;
use xtask::machine::Config;

/// The first address of the linear map.
const LINEAR: u64 = 0xffff_ff80_0000_0000;
/// Where programs of tests have their code, and data.
pub const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x60_0000;
/// The rights of these.
const CODE_PLACE: Place = Place::User { area: Area::Mapped, read: true, write: false, execute: true };
const DATA_PLACE: Place = Place::User { area: Area::Mapped, read: true, write: true, execute: false };

/// A syndrome of a class, the instruction being 32 bits long.
const fn esr(ec: Ec, iss: u64) -> u64 {
    (ec.number() as u64) << 26 | 1 << 25 | iss
}

// Parts of the syndrome of aborts: WnR, and the fault status with its level.
const WRITE: u64 = 1 << 6;
const TRANSLATION: u64 = 0b00_0100;
const PERMISSION: u64 = 0b00_1100;
const EXTERNAL: u64 = 0b01_0000;
const EXTERNAL_ON_WALK: u64 = 0b01_0100;
const TAG: u64 = 0b01_0001;
const ALIGNMENT: u64 = 0b10_0001;

/// What an exception of the kernel interrupted.
#[derive(Clone, Copy)]
enum At {
    /// A test's only faulting instruction: its function, and the word.
    Instruction(&'static str, u32),
    /// A jump there, by the function `ktest_jump`; and the word there, if it can be read.
    Target(Option<u32>),
}
use At::{Instruction, Target};

const LOAD: At = Instruction("ktest_load", 0xf940_0000);
const STORE: At = Instruction("ktest_store", 0xf900_001f);
const LOAD_EXCLUSIVE: At = Instruction("ktest_load_exclusive", 0xc85f_7c00);
const UNDEFINED: At = Instruction("ktest_undefined", 0);
const REGISTER: At = Instruction("ktest_register", 0xd538_ffe0);
const BRK: At = Instruction("ktest_brk", 0xd421_75a0);
const ILLEGAL: At = Instruction("ktest_illegal", 0xd503_201f);

/// What is at the fault address, which is x0; none where there is no fault address.
type PlaceOf = fn(u64) -> Option<Place>;
const NO_PLACE: PlaceOf = |_| None;
const UNMAPPED: PlaceOf = |_| Some(Place::KernelUnmapped);
const TEXT: PlaceOf = |_| Some(Place::KernelText);
const RODATA: PlaceOf = |_| Some(Place::KernelRodata);
const DATA_OF_KERNEL: PlaceOf = |_| Some(Place::KernelData);
const RAM: PlaceOf = |far| Some(Place::Ram { physical: Hex(far - LINEAR) });

/// Of the kernel, on the idle task: in-kernel test, instruction, syndrome, place.
const KERNEL: &[(&str, At, u64, PlaceOf)] = &[
    ("data.unmapped", LOAD, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION | 1), UNMAPPED),
    ("data.unmapped.write", STORE, esr(Ec::DATA_ABORT_CURRENT, WRITE | TRANSLATION | 1), UNMAPPED),
    ("data.guard", LOAD, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION | 3), |_| {
        Some(Place::Guard { stack: StackKind::Task, task: Some(0), below: 8 })
    }),
    ("data.null", LOAD, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION | 1), |_| Some(Place::Null)),
    ("data.noncanonical", LOAD, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION), |_| Some(Place::NonCanonical)),
    ("data.text", STORE, esr(Ec::DATA_ABORT_CURRENT, WRITE | PERMISSION | 3), TEXT),
    ("data.rodata", STORE, esr(Ec::DATA_ABORT_CURRENT, WRITE | PERMISSION | 3), RODATA),
    ("data.linear", STORE, esr(Ec::DATA_ABORT_CURRENT, WRITE | PERMISSION | 3), RAM),
    ("data.unaligned", LOAD_EXCLUSIVE, esr(Ec::DATA_ABORT_CURRENT, ALIGNMENT), DATA_OF_KERNEL),
    ("data.external", LOAD, esr(Ec::DATA_ABORT_CURRENT, EXTERNAL), |_| Some(Place::Device)),
    ("data.external.walk", LOAD, esr(Ec::DATA_ABORT_CURRENT, EXTERNAL_ON_WALK | 2), UNMAPPED),
    ("jump.unmapped", Target(None), esr(Ec::INSTRUCTION_ABORT_CURRENT, TRANSLATION | 1), UNMAPPED),
    ("jump.data", Target(None), esr(Ec::INSTRUCTION_ABORT_CURRENT, PERMISSION | 3), DATA_OF_KERNEL),
    ("jump.linear", Target(None), esr(Ec::INSTRUCTION_ABORT_CURRENT, PERMISSION | 3), RAM),
    ("jump.unaligned", Target(None), esr(Ec::PC_ALIGNMENT, 0), TEXT),
    ("undefined", UNDEFINED, esr(Ec::UNKNOWN, 0), NO_PLACE),
    ("register", REGISTER, esr(Ec::UNKNOWN, 0), NO_PLACE),
    ("brk", BRK, esr(Ec::BRK64, 0xbad), NO_PLACE),
    ("illegal.el2", ILLEGAL, esr(Ec::ILLEGAL_STATE, 0), NO_PLACE),
    ("illegal.mode", ILLEGAL, esr(Ec::ILLEGAL_STATE, 0), NO_PLACE),
];

/// Of the kernel, where the CPU does not do it: syndrome, fault address, place.
const MADE_UP_KERNEL: &[(&str, u64, u64, Option<Place>)] = &[
    ("device.alignment", esr(Ec::DATA_ABORT_CURRENT, ALIGNMENT), 0xffff_ffe0_0000_0004, Some(Place::Device)),
    ("tag.check", esr(Ec::DATA_ABORT_CURRENT, TAG), 0xffff_fff0_0000_0000, Some(Place::KernelUnmapped)),
    ("sp.alignment", esr(Ec::SP_ALIGNMENT, 0), 0, None),
    ("float", esr(Ec::FP64, 1 << 23 | 1), 0, None),
    ("fp.simd", esr(Ec::FP_SIMD, 0), 0, None),
    ("bti", esr(Ec::BTI, 0b01), 0, None),
    ("fpac", esr(Ec::FPAC, 0), 0, None),
    ("unallocated", esr(Ec::new(0x3f), 0x1234), 0, None),
];

/// What `si_addr` is.
#[derive(Clone, Copy)]
enum Addr {
    Far(u64),
    Pc,
}
use Addr::{Far, Pc};

/// In-kernel test, where its program begins and how many instructions on it is, signal and code, address, class.
type Armed = (&'static str, &'static str, i64, [&'static str; 2], Addr, Ec);

/// Of a program that an in-kernel test has armed.
const PROGRAMS: &[Armed] = &[
    ("el0.step", "ktest_user_load", 1, ["SIGTRAP", "TRAP_TRACE"], Pc, Ec::STEP_LOWER),
    ("el0.step.syscall", "ktest_user_call", 1, ["SIGTRAP", "TRAP_TRACE"], Pc, Ec::STEP_LOWER),
    ("el0.watchpoint.read", "ktest_user_load", 0, ["SIGTRAP", "TRAP_HWBKPT"], Far(DATA), Ec::WATCHPOINT_LOWER),
    ("el0.watchpoint.write", "ktest_user_store", 0, ["SIGTRAP", "TRAP_HWBKPT"], Far(DATA), Ec::WATCHPOINT_LOWER),
    ("el0.breakpoint", "ktest_user_load", 0, ["SIGTRAP", "TRAP_HWBKPT"], Pc, Ec::BREAKPOINT_LOWER),
    ("el0.illegal", "ktest_user_load", 0, ["SIGILL", "ILL_ILLOPC"], Pc, Ec::ILLEGAL_STATE),
    ("el0.external", "ktest_user_load", 0, ["SIGBUS", "BUS_OBJERR"], Far(DATA), Ec::DATA_ABORT_LOWER),
    ("el0.external.walk", "ktest_user_load", 0, ["SIGKILL", "SI_KERNEL"], Far(DATA), Ec::DATA_ABORT_LOWER),
];

/// Of a program, where the CPU does not do it: syndrome, signal, code, address.
const MADE_UP_PROGRAMS: &[(&str, u64, [&str; 2], Addr)] = &[
    ("device.alignment", esr(Ec::DATA_ABORT_LOWER, ALIGNMENT), ["SIGBUS", "BUS_ADRALN"], Far(DATA + 4)),
    ("tag.check", esr(Ec::DATA_ABORT_LOWER, TAG), ["SIGKILL", "SI_KERNEL"], Far(DATA)),
    ("external.fetch", esr(Ec::INSTRUCTION_ABORT_LOWER, EXTERNAL), ["SIGBUS", "BUS_OBJERR"], Far(CODE)),
    ("external.kernel", esr(Ec::DATA_ABORT_LOWER, EXTERNAL), ["SIGSEGV", "SEGV_MAPERR"], Far(LINEAR)),
    ("address.size", esr(Ec::DATA_ABORT_LOWER, 0), ["SIGKILL", "SI_KERNEL"], Far(DATA)),
    ("tlb.conflict", esr(Ec::DATA_ABORT_LOWER, 0b11_0000), ["SIGKILL", "SI_KERNEL"], Far(DATA)),
    ("sp.alignment", esr(Ec::SP_ALIGNMENT, 0), ["SIGBUS", "BUS_ADRALN"], Pc),
    ("float.invalid", esr(Ec::FP64, 1 << 23 | 1 << 0), ["SIGFPE", "FPE_FLTINV"], Pc),
    ("float.division", esr(Ec::FP64, 1 << 23 | 1 << 1), ["SIGFPE", "FPE_FLTDIV"], Pc),
    ("float.overflow", esr(Ec::FP64, 1 << 23 | 1 << 2), ["SIGFPE", "FPE_FLTOVF"], Pc),
    ("float.underflow", esr(Ec::FP64, 1 << 23 | 1 << 3), ["SIGFPE", "FPE_FLTUND"], Pc),
    ("float.inexact", esr(Ec::FP64, 1 << 23 | 1 << 4), ["SIGFPE", "FPE_FLTRES"], Pc),
    ("float.untold", esr(Ec::FP64, 1 << 1), ["SIGFPE", "FPE_FLTUNK"], Pc),
    ("fp.simd", esr(Ec::FP_SIMD, 0), ["SIGILL", "ILL_ILLOPC"], Pc),
    ("sve", esr(Ec::SVE, 0), ["SIGILL", "ILL_ILLOPC"], Pc),
    ("bti", esr(Ec::BTI, 0b01), ["SIGILL", "ILL_ILLOPC"], Pc),
    ("fpac", esr(Ec::FPAC, 0), ["SIGILL", "ILL_ILLOPN"], Pc),
    ("unallocated", esr(Ec::new(0x3f), 0x1234), ["SIGILL", "ILL_ILLOPC"], Pc),
];

/// SErrors by AET, by what the implementation alone understands (IDS), and without a category; and whether one may go on.
const SERRORS: &[(&str, u64, bool)] = &[
    ("uncontainable", SERROR, false),
    ("unrecoverable", SERROR | 1 << 10, false),
    ("restartable", SERROR | 2 << 10, true),
    ("recoverable", SERROR | 3 << 10, false),
    ("reserved", SERROR | 5 << 10, false),
    ("corrected", SERROR | 6 << 10, true),
    ("implementation", SERROR | 1 << 24 | 6 << 10, false),
    ("uncategorised", esr(Ec::SERROR, 6 << 10), false),
];

/// How the kernel keeps its hands off user memory depends on the CPU: tables without it, or PAN.
const CPUS: [(&str, u64); 4] = [
    ("cortex-a53", TRANSLATION | 1),
    ("cortex-a72", TRANSLATION | 1),
    ("cortex-a76", PERMISSION | 3),
    ("max", PERMISSION | 3),
];

/// Machines that a random test starts.
const MACHINES: usize = 10;

/// Whatever has no like.
const OTHERS: &[(&str, Test)] = &[
    ("el0.pc.unaligned", pc_unaligned),
    ("el0.stuck", stuck),
    ("el0.oom", out_of_memory),
    ("el0.oom.copy", out_of_memory_in_copy),
    ("copy.stuck", copy_stuck),
    ("copy.stuck.call", copy_stuck_in_call),
    ("data.irq", in_interrupt),
    ("irq.not_ended.gic.2", || not_ended(2)),
    ("irq.not_ended.gic.3", || not_ended(3)),
    ("bug", bug),
    ("warn", warn),
    ("made_up.el0.random", random_at_el0),
    ("made_up.el1.random", random_at_el1),
    ("panic", || panic("panic")),
    ("panic.oom", || panic("panic.oom")),
    ("panic.nested", nested),
    ("report.fault", report_faults),
    ("report.console", report_cannot_be_written),
    ("stack.low", stack_low),
    ("overflow.interrupt", interrupt_without_room),
];

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = OTHERS.iter().map(|&(name, test)| fault(name, test)).collect();
    trials.extend(of_kernel());
    trials.extend(of_programs());
    trials.extend(serrors());
    trials.extend(CPUS.into_iter().flat_map(|(cpu, status)| windows(cpu, status)));
    let well = ["extable", "copy.strings", "copy.refused", "memory.zero", "memory.none"];
    trials.extend(well.map(|name| fault(name, move || ktest::run_as(name, Ends::Well))));
    trials
}

fn fault(name: impl Display, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    trial(format!("faults::{name}"), test)
}

fn of_kernel() -> impl Iterator<Item = Trial> {
    let real = KERNEL.iter().map(|&(name, at, esr, place)| {
        fault(name, move || on(machine(name, 0), |ran, names| kernel(ran.panic()?, names, at, esr, place)))
    });
    let made_up = MADE_UP_KERNEL.iter().map(|&(name, esr, far, place)| {
        let ends = Ends::MadeUp(Slot::El1hSync, Some((esr, far, place)), ktest::EL1H);
        fault(format!("made_up.el1.{name}"), move || ktest::run_as(&format!("slot.4.{esr:x}.{far:x}"), ends))
    });
    real.chain(made_up)
}

fn of_programs() -> impl Iterator<Item = Trial> {
    let real = PROGRAMS.iter().map(|&(name, symbol, instructions, signal, addr, class)| {
        let place = if let Far(_) = addr { Some(DATA_PLACE) } else { None };
        let look = move |ran: &Ran, names: &Names| {
            let death = died(ran, signal, addr)?;
            same("PC", death.pc.0.wrapping_sub_signed(4 * instructions), in_program(names, symbol)?)?;
            same("(class, place)", (Esr(death.esr.0).ec(), death.place), (class, place))?;
            same("repeats", death.repeats, 0)
        };
        fault(name, move || on(machine(name, 0), look))
    });
    let made_up = MADE_UP_PROGRAMS.iter().map(|&(name, esr, signal, addr)| {
        let far = if let Far(far) = addr { far } else { 0 };
        let look = move |ran: &Ran, names: &Names| {
            let death = died(ran, signal, addr)?;
            same("(PC, ESR)", (death.pc.0, death.esr.0), (in_program(names, "ktest_exit")?, esr))
        };
        fault(format!("made_up.el0.{name}"), move || on(machine(&format!("slot.8.{esr:x}.{far:x}"), 0), look))
    });
    real.chain(made_up)
}

fn serrors() -> impl Iterator<Item = Trial> {
    SERRORS.iter().flat_map(|&(name, esr, goes_on)| {
        let (at_el1, at_el0) = match goes_on {
            true => (Ends::Warned(Slot::El1hError, esr), Ends::ProgramWarned(Slot::El0Error, esr)),
            false => (Ends::MadeUp(Slot::El1hError, Some((esr, 0, None)), ktest::EL1H), Ends::ProgramDies(9)),
        };
        [("el1", 7, at_el1), ("el0", 11, at_el0)].map(|(level, slot, ends)| {
            fault(format!("made_up.serror.{level}.{name}"), move || {
                ktest::run_as(&format!("slot.{slot}.{esr:x}"), ends)
            })
        })
    })
}

/// What depends on how the kernel is kept from user memory; `status` is the fault status of a touch outside a window.
fn windows(cpu: &'static str, status: u64) -> impl Iterator<Item = Trial> {
    // The timer interrupts at every instruction, and always at the same.
    let of_cpu = move |config| Config { cpu: cpu.into(), icount: Some(4), ..config };
    let well = ["copy.left", "copy.cow", "window.el0", "window.sweep", "window.preempted"];
    let well = well.map(|name| fault(format!("{name}.{cpu}"), move || ktest::run_on(name, Ends::Well, of_cpu)));
    let touched = "the kernel touched user memory outside an access window";
    let executed = "the kernel executed user memory";
    let [read, write] = [0, WRITE].map(|write| esr(Ec::DATA_ABORT_CURRENT, write | status));
    let fetch = esr(Ec::INSTRUCTION_ABORT_CURRENT, status);
    let outside = [
        ("data.user", touched, LOAD, read, DATA_PLACE),
        ("data.user.write", touched, STORE, write, DATA_PLACE),
        // `ktest_exit` is what programs of tests begin with.
        ("jump.user", executed, Target(Some(0xd280_0ba8)), fetch, CODE_PLACE),
    ];
    let outside = outside.map(|(name, cause, at, esr, place)| {
        let look = move |ran: &Ran, names: &Names| {
            let panic = ran.panic()?;
            ensure!(panic.cause.starts_with(cause), "cause: {}", panic.cause);
            kernel_in_task(panic, names, at, esr, place)
        };
        fault(format!("{name}.{cpu}"), move || on(of_cpu(machine(name, 0)), look))
    });
    let look = move |ran: &Ran, names: &Names| {
        let panic = ran.panic()?;
        ensure!(panic.cause.starts_with(touched), "cause: {}", panic.cause);
        window_in_interrupt(panic, names, read)
    };
    let interrupt = fault(format!("window.irq.{cpu}"), move || on(of_cpu(machine("window.irq", 0)), look));
    well.into_iter().chain(outside).chain([interrupt])
}

/// Runs a machine with an in-kernel test, and looks at it with the kernel's names.
fn on(config: Config, look: impl FnOnce(&Ran, &Names) -> Result<()>) -> Result<()> {
    let names = Names::read(&images(true).elf)?;
    run(&config, |ran| look(ran, &names))
}

/// An exception of the kernel on the idle task.
fn kernel(panic: &Report, names: &Names, at: At, esr: u64, place: PlaceOf) -> Result<()> {
    same("task", panic.task, 0)?;
    exception(panic, names, at, esr, place(panic.regs[0].0))?;
    in_use(panic, StackKind::Task)?;
    leads_through(panic, names, &["run"])
}

/// The same in a task that has a program's memory.
fn kernel_in_task(panic: &Report, names: &Names, at: At, esr: u64, place: Place) -> Result<()> {
    same("task", panic.task, 1)?;
    exception(panic, names, at, esr, Some(place))?;
    in_use(panic, StackKind::Task)?;
    leads_through(panic, names, &["work_of_task"])
}

fn exception(panic: &Report, names: &Names, at: At, esr: u64, place: Option<Place>) -> Result<()> {
    same("slot", panic.slot, Some(Slot::El1hSync))?;
    same("ESR", panic.esr.0, esr)?;
    same("fault address", panic.fault_address(), place.map(|_| panic.regs[0].0))?;
    same("place", panic.place, place)?;
    let word = match at {
        Instruction(function, word) => {
            same("PC", panic.pc.0, names.address(&format!("{function}_pc"))?)?;
            Some(word)
        }
        Target(word) => {
            same("PC", panic.pc, panic.regs[0])?;
            same("lr", panic.regs[30].0, names.address("ktest_jump_pc")? + 4)?;
            word
        }
    };
    same("instruction", panic.instruction, word.map(|word| Hex(word.into())))?;
    let illegal = if Esr(esr).ec() == Ec::ILLEGAL_STATE { 1 << 20 } else { 0 };
    // Without the flags, and what not every CPU has: PAN, SSBS, BTYPE.
    same("PSTATE", panic.pstate.0 & !(0xf << 28 | 1 << 22 | 1 << 12 | 0b11 << 10) | 0x3c0, ktest::EL1H | illegal)?;
    same("(signal, window, repeats)", (panic.signal, panic.window, panic.repeats), (None, false, 0))?;
    same("interrupt not ended", panic.not_ended, None)
}

fn in_use(report: &Report, stack: StackKind) -> Result<()> {
    let in_use: Vec<_> = report.stacks.iter().filter(|stack| stack.in_use).map(|stack| stack.name).collect();
    same("stacks in use", in_use, vec![stack])
}

/// The chain begins with PC, and goes through these functions, in this order.
pub fn leads_through(report: &Report, names: &Names, functions: &[&str]) -> Result<()> {
    let first = report.chain.first().context("the chain is empty")?;
    same("the chain's beginning", (first.address, first.reached), (report.pc, Reached::Call))?;
    let mut chain = report.chain.iter();
    for function in functions {
        let found = chain.any(|step| names.holds(step.address.0, function));
        let chain: Vec<_> = report.chain.iter().map(|step| names.at(step.address.0)).collect();
        ensure!(found, "no {function} there in {chain:?}");
    }
    Ok(())
}

/// The step of the chain that an exception interrupted.
pub fn interrupted(report: &Report, slot: Slot) -> Result<u64> {
    let found = report.chain.iter().find(|step| step.reached == Reached::Exception { slot, esr: None });
    Ok(found.with_context(|| format!("no {slot} in {:?}", report.chain))?.address.0)
}

/// Where the programs of tests have what the kernel's image calls `symbol`.
pub fn in_program(names: &Names, symbol: &str) -> Result<u64> {
    Ok(CODE + names.address(symbol)? - names.address("ktest_programs")?)
}

/// A program died, and its parent ended in order, with what it was told.
fn died<'a>(ran: &'a Ran, [signal, code]: [&str; 2], addr: Addr) -> Result<&'a Report> {
    let death = ran.death()?;
    let info = death.signal.context("no signal")?;
    ran.ended(128 + info.signal as u8)?;
    ran.counters()?;
    same("signal and code", [signal_name(info.signal), code_name(info.signal, info.code)], [signal, code])?;
    let addr = match addr {
        Far(far) => {
            same("FAR", death.far.0, far)?;
            far
        }
        Pc => death.pc.0,
    };
    same("si_addr", info.addr.0, addr)?;
    same("(kind, task, slot)", (death.kind, death.task, death.slot), (Kind::Death, 2, Some(Slot::El0Sync)))?;
    same("window", death.window, false)?;
    Ok(death)
}

/// Runs the in-kernel test that enters `slot` with random syndromes and fault addresses, of which some are the program's.
fn random(slot: u8, look: impl Fn(&Ran, u64) -> Result<()>) -> Result<()> {
    for _ in 0..MACHINES {
        let esr = u64::from(fastrand::u32(..));
        let far = fastrand::choice([0, CODE, DATA, LINEAR, u64::MAX]).unwrap_or_default() ^ fastrand::u64(..1 << 16);
        let name = format!("slot.{slot}.{esr:x}.{far:x}");
        run(&machine(&name, fastrand::u64(..)), |ran| look(ran, esr)).context(name)?;
    }
    Ok(())
}

/// Invariant 15: whatever a program's exception says of itself, it stops nobody else.
fn random_at_el0() -> Result<()> {
    random(8, |ran, _| {
        same("panics", ran.panics.len(), 0)?;
        ran.counters()?;
        match &ran.deaths[..] {
            [] => Ok(()),
            [death] => ran.ended(128 + death.signal.context("no signal")?.signal as u8),
            deaths => anyhow::bail!("{} deaths", deaths.len()),
        }
    })
}

/// Whatever an exception of the kernel says of itself, there is one report, with that.
fn random_at_el1() -> Result<()> {
    random(4, |ran, esr| {
        let panic = ran.panic()?;
        same("(slot, ESR)", (panic.slot, panic.esr.0), (Some(Slot::El1hSync), esr))
    })
}

fn pc_unaligned() -> Result<()> {
    on(machine("el0.pc.unaligned", 0), |ran, _| {
        let death = died(ran, ["SIGBUS", "BUS_ADRALN"], Far(CODE + 2))?;
        same("(PC, class)", (death.pc.0, Esr(death.esr.0).ec()), (CODE + 2, Ec::PC_ALIGNMENT))?;
        same("(place, instruction)", (death.place, death.instruction), (Some(CODE_PLACE), None))
    })
}

/// A fault in an interrupt handler: its report knows the interrupt and what it interrupted.
fn in_interrupt() -> Result<()> {
    on(machine("data.irq", 0), |ran, names| {
        let panic = ran.panic()?;
        let unmapped = Some(Place::KernelUnmapped);
        exception(panic, names, LOAD, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION | 1), unmapped)?;
        in_use(panic, StackKind::Irq)?;
        same("interrupt", panic.irq, Some(5))?;
        leads_through(panic, names, OUT_OF_INTERRUPT)?;
        let interrupted = interrupted(panic, Slot::El1hIrq)?;
        ensure!(names.holds(interrupted, "in_interrupt"), "it interrupted {:?}", names.at(interrupted));
        Ok(())
    })
}

/// A fault that is served and comes again is told from one that takes several rounds.
fn stuck() -> Result<()> {
    on(machine("el0.stuck", 0), |ran, _| {
        let death = died(ran, ["SIGSEGV", "SEGV_ACCERR"], Far(DATA + 0x1000))?;
        same("(repeats, place)", (death.repeats, death.place), (8, Some(DATA_PLACE)))
    })
}

/// A program that uses up all memory is killed while its fault is handled, and not its parent.
fn out_of_memory() -> Result<()> {
    on(Config { mem: 64, ..machine("el0.oom", 0) }, |ran, names| {
        let death = ran.death()?;
        died(ran, ["SIGKILL", "SI_KERNEL"], Far(death.far.0))?;
        same("PC", death.pc.0, in_program(names, "ktest_user_fill")?)?;
        same("place", death.place, Some(DATA_PLACE))
    })
}

/// The same in a system call, which writes to its memory.
fn out_of_memory_in_copy() -> Result<()> {
    on(Config { mem: 64, ..machine("el0.oom.copy", 0) }, |ran, names| {
        let death = ran.death()?;
        let info = death.signal.context("no signal")?;
        same("signal and code", (signal_name(info.signal), code_name(9, info.code)), ("SIGKILL", "SI_KERNEL"))?;
        same("(task, slot)", (death.task, death.slot), (2, None))?;
        same("PC", death.pc.0, in_program(names, "ktest_user_call")? + 4)?;
        ran.ended(128 + 9)
    })
}

/// A copy that faults again and again, whatever is served, is a fault of the kernel's, and told so.
fn copy_stuck() -> Result<()> {
    on(machine("copy.stuck", 0), |ran, names| {
        let panic = ran.panic()?;
        same("(repeats, window)", (panic.repeats, panic.window), (8, true))?;
        same("ESR", panic.esr.0, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION | 3))?;
        same("(fault address, place)", (panic.fault_address(), panic.place), (Some(DATA + 0x1000), Some(DATA_PLACE)))?;
        same("function", names.at(panic.pc.0), vec!["raw_copy_from_user"])
    })
}

/// The same in a system call: the way there leads through it, and through the exception, to the program.
fn copy_stuck_in_call() -> Result<()> {
    on(machine("copy.stuck.call", 0), |ran, names| {
        let panic = ran.panic()?;
        same("(repeats, window, task)", (panic.repeats, panic.window, panic.task), (8, true, 2))?;
        same("first hint", panic.hints.first(), Some(&Hint::ServedInVain))?;
        let found = |name| panic.chain.iter().position(|step| names.holds(step.address.0, name));
        let ways = ["raw_copy_to_user", "getrandom", "el0_sync_handler", "el0_sync"].map(found);
        ensure!(ways.is_sorted() && ways[0] == Some(0), "the chain goes by {ways:?}: {:?}", panic.chain);
        let last = panic.chain.last().context("no chain")?;
        let reached = Reached::Exception { slot: Slot::El0Sync, esr: Some(Hex(esr(Ec::SVC64, 0))) };
        same("program", (last.address.0, last.reached), (in_program(names, "ktest_user_call")? + 4, reached))
    })
}

/// An interrupt handler that touches user memory in the middle of a copy finds the window closed.
fn window_in_interrupt(panic: &Report, names: &Names, esr: u64) -> Result<()> {
    exception(panic, names, LOAD, esr, Some(DATA_PLACE))?;
    in_use(panic, StackKind::Irq)?;
    same("interrupt", panic.irq, Some(30))?;
    same("interrupted", names.at(interrupted(panic, Slot::El1hIrq)?), vec!["raw_copy_from_user"])
}

/// The interrupt that nobody ended is named, and so it is in a hint.
fn not_ended(gic: u8) -> Result<()> {
    on(Config { gic, ..machine("irq.not_ended", 0) }, |ran, _| {
        let panic = ran.panic()?;
        same("(not ended, handled)", (panic.not_ended, panic.irq), (Some(7), None))?;
        ensure!(panic.hints.contains(&Hint::NotEnded(7)), "hints: {:?}", panic.hints);
        Ok(())
    })
}

/// A BUG is the kernel's end, at a file and line.
fn bug() -> Result<()> {
    on(machine("bug", 0), |ran, names| {
        let panic = ran.panic()?;
        asserted(panic, names, "bug_on!(true)")
    })
}

/// A WARN is reported, and the kernel goes on behind it; one that does not hold is nothing.
fn warn() -> Result<()> {
    on(machine("warn", 0), |ran, names| {
        ran.ended(0)?;
        let [warning] = &ran.warnings[..] else { anyhow::bail!("{} warnings", ran.warnings.len()) };
        same("kind", warning.kind, Kind::Warning)?;
        asserted(warning, names, "warn_on!(true)")
    })
}

/// A report of the BRK that stands for `assertion` in the source.
fn asserted(report: &Report, names: &Names, assertion: &str) -> Result<()> {
    const FILE: &str = "kernel/src/ktest/el1.rs";
    let source = fs::read_to_string(images(true).root.join(FILE))?;
    let line = source.lines().position(|line| line.contains(assertion)).context("it is not there")? + 1;
    ensure!(report.cause.ends_with(&format!("{FILE}:{line}")), "cause: {}", report.cause);
    same("(slot, ESR)", (report.slot, report.esr.0), (Some(Slot::El1hSync), esr(Ec::BRK64, 0x800)))?;
    same("instruction", report.instruction, Some(Hex(0xd421_0000)))?;
    in_use(report, StackKind::Task)?;
    leads_through(report, names, &["run"])
}

/// A panic of Rust code, by itself or where memory for the kernel ran out: where it was is known, and no register.
fn panic(name: &str) -> Result<()> {
    on(machine(name, 0), |ran, names| {
        let panic = ran.panic()?;
        same("(slot, ESR, task)", (panic.slot, panic.esr.0, panic.task), (None, 0, 0))?;
        in_use(panic, StackKind::Task)?;
        leads_through(panic, names, &["rust_begin_unwind", "run"])
    })
}

/// What a report that follows one that failed tells: no more than where and why.
fn second(ran: &Ran) -> Result<&Report> {
    let panic = ran.panic()?;
    ensure!(panic.cause.starts_with("while reporting another: "), "cause: {}", panic.cause);
    same("(chain, stacks)", (panic.chain.len(), panic.stacks.len()), (0, 0))?;
    Ok(panic)
}

/// What is to be reported panics while it is written.
fn nested() -> Result<()> {
    on(machine("panic.nested", 0), |ran, names| {
        let panic = second(ran)?;
        same("slot", panic.slot, None)?;
        ensure!(names.holds(panic.pc.0, "rust_begin_unwind"), "PC is in {:?}", names.at(panic.pc.0));
        Ok(())
    })
}

/// The report faults: its task is where nothing is mapped.
fn report_faults() -> Result<()> {
    on(machine("report.fault", 0), report_has_faulted)
}

pub fn report_has_faulted(ran: &Ran, names: &Names) -> Result<()> {
    let panic = second(ran)?;
    same("slot", panic.slot, Some(Slot::El1hSync))?;
    same("ESR", panic.esr.0, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION | 1))?;
    same("fault address, page", panic.fault_address().map(|far| far >> 12), Some(0xf_ffff_ff00_0000))?;
    ensure!(names.holds(panic.pc.0, "gather"), "PC is in {:?}", names.at(panic.pc.0));
    Ok(())
}

/// A fault where the stack has little room left is reported in full: the report is written on another stack.
fn stack_low() -> Result<()> {
    on(machine("stack.low", 0), stack_was_low)
}

pub fn stack_was_low(ran: &Ran, names: &Names) -> Result<()> {
    let panic = ran.panic()?;
    let at = Instruction("ktest_load_at", 0xf940_0000);
    exception(panic, names, at, esr(Ec::DATA_ABORT_CURRENT, TRANSLATION | 1), Some(Place::KernelUnmapped))?;
    in_use(panic, StackKind::Task)
}

/// An interrupt that finds no room for a frame has no syndrome, whatever the last exception left.
fn interrupt_without_room() -> Result<()> {
    on(machine("overflow.interrupt", 0), |ran, names| {
        let panic = ran.panic()?;
        same("(slot, syndrome)", (panic.slot, panic.syndrome()), (Some(Slot::El1hIrq), None))?;
        same("overrun", panic.stacks.iter().find(|stack| stack.in_use).map(|stack| stack.overrun), Some(16))?;
        ensure!(names.holds(panic.pc.0, "ktest_unmask_at"), "PC is in {:?}", names.at(panic.pc.0));
        Ok(())
    })
}

/// No report can be written, as the console faults: the machine ends all the same.
fn report_cannot_be_written() -> Result<()> {
    on(machine("report.console", 0), |ran, _| {
        same("exit code", ran.outcome.code, crate::machine::PANIC)?;
        same("(panics, timed out)", (ran.panics.len(), ran.outcome.timed_out), (0, false))
    })
}
