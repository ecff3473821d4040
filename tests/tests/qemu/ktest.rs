//! In-kernel tests of what the exception path does whatever the cause: stacks, slots, interrupts. The registers of each are a
//! pattern drawn anew for each run.

use crate::faults;
use crate::machine::{Names, Ran, images, ktest, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use trap::esr::Ec;
use trap::frame::S_FRAME_SIZE;
use trap::hint::{Hint, Recursion};
use trap::pattern;
use trap::place::{Place, StackKind};
use trap::record::{Hex, Report, Stack};
use trap::slot::Slot;
use xtask::machine::Config;

/// What an in-kernel test must leave behind. Numbers are exit codes.
#[derive(Clone, Copy)]
pub enum Ends {
    /// Its own verdict: all is well.
    Well,
    /// A report of a stack that was overrun.
    Overflow(StackKind),
    /// A report of an SP in no stack.
    Lost(fn(&Report, &Names, u64) -> Result<()>),
    /// A report through this slot, with this syndrome, fault address and place (none: left over), PSTATE, and ktest_returned as PC.
    MadeUp(Slot, Option<(u64, u64, Option<Place>)>, u64),
    /// Its own verdict, and a report of what this slot brought, with this syndrome.
    Warned(Slot, u64),
    /// The program goes on, and ends with x0 of the pattern.
    ProgramWell,
    /// The same, and a report as of [`Warned`](Ends::Warned).
    ProgramWarned(Slot, u64),
    /// The program is killed by this signal.
    ProgramDies(u32),
}
use Ends::{Lost, MadeUp, Overflow, ProgramDies, ProgramWarned, ProgramWell, Warned, Well};

/// The syndrome of an undefined instruction.
const UNKNOWN: Option<(u64, u64, Option<Place>)> = Some((0x0200_0000, 0, None));
/// That of an SError which cannot be contained.
pub const SERROR: u64 = 0xbe00_0011;
const EL0T: u64 = 0;
const EL1T: u64 = 0x3c4;
/// DAIF masked, at EL1, on its own stack.
pub const EL1H: u64 = 0x3c5;
const A32_USR: u64 = 0x10;
const SIGILL: u32 = 4;
const SIGKILL: u32 = 9;

/// The way out of an interrupt handler of a test, through both stacks.
pub const OUT_OF_INTERRUPT: &[&str] =
    &["handle_pending", "call_on_irq_stack", "el1h_irq_handler", "el1h_irq", "in_interrupt", "run"];

const TESTS: &[(&str, Ends)] = &[
    ("overflow", Overflow(StackKind::Task)),
    ("overflow.irq", Overflow(StackKind::Irq)),
    ("overflow.overflow", Overflow(StackKind::Overflow)),
    ("wild.set", Lost(wild_set)),
    ("wild.clear", Lost(wild_clear)),
    ("slot.0", MadeUp(Slot::El1tSync, UNKNOWN, EL1T)),
    ("slot.1", MadeUp(Slot::El1tIrq, None, EL1T)),
    ("slot.2", MadeUp(Slot::El1tFiq, None, EL1T)),
    ("slot.3", MadeUp(Slot::El1tError, Some((SERROR, 0, None)), EL1T)),
    ("slot.4", MadeUp(Slot::El1hSync, UNKNOWN, EL1H)),
    ("slot.5", Well),
    ("slot.6", MadeUp(Slot::El1hFiq, None, EL1H)),
    ("slot.7", MadeUp(Slot::El1hError, Some((SERROR, 0, None)), EL1H)),
    ("slot.8", ProgramDies(SIGILL)),
    ("slot.9", ProgramWell),
    ("slot.10", MadeUp(Slot::El0Fiq, None, EL0T)),
    ("slot.11", ProgramDies(SIGKILL)),
    ("slot.12", MadeUp(Slot::El032Sync, UNKNOWN, A32_USR)),
    ("slot.13", MadeUp(Slot::El032Irq, None, A32_USR)),
    ("slot.14", MadeUp(Slot::El032Fiq, None, A32_USR)),
    ("slot.15", MadeUp(Slot::El032Error, Some((SERROR, 0, None)), A32_USR)),
    ("daif", Well),
    ("trace.point", Well),
    ("trace.path", Well),
    ("trace.path.window", Well),
    ("irq.spurious", Well),
    ("irq.unexpected", Well),
    ("preempt", Well),
];

pub fn trials() -> Vec<Trial> {
    let tests = TESTS.iter().map(|&(name, ends)| trial(format!("ktest::{name}"), move || run_as(name, ends)));
    let unknown = trial("ktest::unknown", || run(&ktest("nonsense", 0), |ran| ran.ended(1)));
    tests.chain([unknown]).collect()
}

/// Runs the in-kernel test `name` of the table on the machine that `on` makes of the default one.
pub fn check(name: &str, on: impl FnOnce(Config) -> Config) -> Result<()> {
    let (_, ends) = TESTS.iter().find(|test| test.0 == name).context("no such test")?;
    run_on(name, *ends, on)
}

/// Runs the in-kernel test `name`.
pub fn run_as(name: &str, ends: Ends) -> Result<()> {
    run_on(name, ends, |config| config)
}

/// Runs the in-kernel test `name` on the machine that `on` makes of the default one.
pub fn run_on(name: &str, ends: Ends, on: impl FnOnce(Config) -> Config) -> Result<()> {
    let seed = fastrand::u64(..);
    let names = Names::read(&images(true).elf)?;
    run(&on(ktest(name, seed)), |ran| ends.check(ran, &names, seed)).with_context(|| format!("seed {seed}"))
}

impl Ends {
    fn check(self, ran: &Ran, names: &Names, seed: u64) -> Result<()> {
        let pattern = pattern::registers(seed);
        let pc_of_program = || faults::in_program(names, "ktest_exit");
        match self {
            Well => passed(ran, &[]),
            Warned(slot, esr) => passed(ran, &[(slot, esr)]),
            ProgramWell => went_on(ran, &pattern, &[]),
            ProgramWarned(slot, esr) => went_on(ran, &pattern, &[(slot, esr)]),
            ProgramDies(signal) => {
                ran.ended(128 + signal as u8)?;
                let death = ran.death()?;
                let info = death.signal.context("no signal")?;
                same("(task, signal, PC)", (death.task, info.signal, death.pc.0), (2, signal, pc_of_program()?))
            }
            Overflow(name) => overflow(ran.panic()?, names, &pattern, name),
            Lost(check) => {
                let panic = ran.panic()?;
                same("registers", panic.regs, pattern.map(Hex))?;
                ensure!(panic.stacks.iter().all(|stack| stack.overrun == 0 && !stack.in_use), "a stack is blamed");
                check(panic, names, seed)
            }
            MadeUp(slot, exception, pstate) => {
                let panic = ran.panic()?;
                same("slot", panic.slot, Some(slot))?;
                same("registers", panic.regs, pattern.map(Hex))?;
                same("PSTATE", panic.pstate.0, pstate)?;
                let pc = if pstate == EL0T { pc_of_program()? } else { names.address("ktest_returned")? };
                same("PC", panic.pc.0, pc)?;
                same("window", panic.window, false)?;
                let Some((esr, far, place)) = exception else { return Ok(()) };
                same("ESR", panic.esr.0, esr)?;
                same("place", panic.place, place)?;
                same("fault address", panic.fault_address(), place.map(|_| far))
            }
        }
    }
}

/// A verdict, and these warnings.
fn passed(ran: &Ran, warnings: &[(Slot, u64)]) -> Result<()> {
    ran.ended(0)?;
    let [verdict] = &ran.verdicts[..] else { anyhow::bail!("{} verdicts", ran.verdicts.len()) };
    same("passed", verdict.passed, true)?;
    warned(ran, warnings)
}

/// A program that ended as it would have anyway, and these warnings.
fn went_on(ran: &Ran, pattern: &[u64; 31], warnings: &[(Slot, u64)]) -> Result<()> {
    ran.ended(pattern[0] as u8)?;
    same("deaths", ran.deaths.len(), 0)?;
    warned(ran, warnings)
}

fn warned(ran: &Ran, warnings: &[(Slot, u64)]) -> Result<()> {
    let found: Vec<_> = ran.warnings.iter().map(|report| (report.slot, report.esr.0)).collect();
    same("warnings", found, warnings.iter().map(|&(slot, esr)| (Some(slot), esr)).collect())
}

fn size(stack: &Stack) -> u64 {
    stack.high.0 - stack.low.0
}

/// The recursion's registers, the stack it ran on, and where it was.
fn overflow(panic: &Report, names: &Names, pattern: &[u64; 31], name: StackKind) -> Result<()> {
    same("registers", &panic.regs[..29], &pattern.map(Hex)[..29])?;
    // The push that faulted changed neither.
    same("x29", panic.regs[29], panic.sp)?;
    // It returns to behind its call, its last instruction.
    for address in [panic.pc.0, panic.regs[30].0 - 4] {
        same("function", names.at(address), vec!["ktest_recurse"])?;
    }
    for stack in &panic.stacks {
        let overrun = if stack.name == name { S_FRAME_SIZE as u64 } else { 0 };
        same(
            &format!("{:?} stack (overrun, in use)", stack.name),
            (stack.overrun, stack.in_use),
            (overrun, overrun > 0),
        )?;
        ensure!(overrun == 0 || panic.sp == stack.low, "SP is not at the stack's end");
        ensure!(stack.low.0 % (2 * size(stack)) == 0, "the stack is not aligned to twice its size");
    }
    ensure!(panic.stacks.iter().any(|stack| stack.name == name), "there is no {name:?} stack");
    same("slot", panic.slot, Some(Slot::El1hSync))?;
    same("class", panic.esr.0 >> 26, Ec::DATA_ABORT_CURRENT.number().into())?;
    // Each call pushed a frame record of 16 bytes; what called the recursion is told behind it.
    let at = panic.chain.iter().position(|step| step.cycle == 1).context("no recursion in the chain")?;
    let recursion = panic.chain[at];
    same("function", names.at(recursion.address.0), vec!["ktest_recurse"])?;
    // The overflow stack is where the report is made, so there what called the recursion is gone.
    let outside = panic.chain[at + 1..].iter().any(|step| names.holds(step.address.0, "run"));
    let whole = if name == StackKind::Overflow { panic.chain.len() == at + 1 } else { outside };
    ensure!(recursion.times > 500 && whole, "chain: {:?}", panic.chain);
    let recursion = Recursion { address: recursion.address, cycle: 1, frames: recursion.times };
    same("first hint", panic.hints.first(), Some(&Hint::Overflow(Some(recursion))))
}

/// How far above a multiple of two stacks' sizes the test puts SP, but for bit THREAD_SHIFT: half a stack and what the seed
/// says.
fn place(size: u64, seed: u64) -> u64 {
    (size / 2 + seed % (size / 2)) & !15
}

/// The first exception found bit THREAD_SHIFT set: it is reported itself.
fn wild_set(panic: &Report, names: &Names, seed: u64) -> Result<()> {
    same("PC", panic.pc.0, names.address("ktest_wild_pc")?)?;
    same("class", panic.esr.0 >> 26, Ec::UNKNOWN.number().into())?;
    let size = size(&panic.stacks[0]);
    same("SP's place", panic.sp.0 % (2 * size), size + place(size, seed))
}

/// It found the bit clear; saving the registers faults, again and again further down, until it is set.
fn wild_clear(panic: &Report, names: &Names, seed: u64) -> Result<()> {
    ensure!(names.holds(panic.pc.0, "el1h_sync"), "PC is in {:?}", names.at(panic.pc.0));
    same("class", panic.esr.0 >> 26, Ec::DATA_ABORT_CURRENT.number().into())?;
    let (size, frame) = (size(&panic.stacks[0]), S_FRAME_SIZE as u64);
    // The bit is looked at when a frame has been reserved.
    same("SP's place", panic.sp.0 % (2 * size), place(size, seed) % frame)
}
