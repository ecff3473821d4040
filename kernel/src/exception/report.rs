//! The report of an exception that the kernel cannot go on from, and of a panic: why, where, the registers, the stacks, the
//! way there. On the console for people, code addresses as `[<...>]` for a symboliser; and as one record for tools.

use crate::console;
use crate::irq;
use crate::mm::stacks::THREAD_SIZE;
use crate::percpu::this_cpu;
use crate::power::{self, PANIC_EXIT_CODE};
use crate::sched::{self, task::Task};
use crate::{kprint, kprintln};
use core::arch::asm;
use core::fmt::{self, Write};
use core::ops::Range;
use core::panic::PanicInfo;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use heapless::{String, Vec};
use trap::esr::Esr;
use trap::frame::{PtRegs, S_FRAME_SIZE};
use trap::pstate::{Mode, Pstate};
use trap::record::{BACKTRACE_DEPTH, Hex, Kind, Panic, SCHEMA, Stack};
use trap::slot::Slot;

unsafe extern "C" {
    static boot_stack: u8;
    static _entry_text: u8;
    static _entry_text_end: u8;
}

/// Positions in each group of four slots.
const SYNC: u8 = 0;
const ERROR: u8 = 3;

/// How many reports have been begun: a report that fails is followed by a shorter one, and that by none.
static REPORTS: AtomicU32 = AtomicU32::new(0);

/// Reports an exception and stops the machine. `what` comes before the syndrome's sentence; empty when that says it all.
pub fn exception(what: &str, slot: Slot, regs: &mut PtRegs, esr: Esr, far: u64) -> ! {
    // With SP_EL0 as its stack, the interrupted code's SP was not the one that the frame was reserved on.
    if Pstate(regs.pstate).mode() == (Mode::A64 { el: 1, own_sp: false }) {
        regs.sp = read_sp_el0();
    }
    let mut cause = String::<192>::new();
    // What does not fit is cut. Interrupts leave ESR as it was.
    let has_syndrome = matches!(slot as u8 % 4, SYNC | ERROR);
    let _ = match (what, has_syndrome) {
        ("", _) => write!(cause, "{}", esr.sentence(Some(far))),
        (what, true) => write!(cause, "{what}: {}", esr.sentence(Some(far))),
        (what, false) => write!(cause, "{what}"),
    };
    stop(&cause, Some(slot), regs, esr, far, 0)
}

/// Reports that there was no room for a frame on the interrupted stack, and stops the machine.
pub fn overflow(slot: Slot, regs: &PtRegs, esr: Esr, far: u64) -> ! {
    let task = sched::reported_task();
    let mut cause = String::<192>::new();
    let overrun = stacks_of(task).find_map(|(name, range)| Some((name, overrun(&range, regs.sp, S_FRAME_SIZE)?)));
    let _ = match overrun {
        Some((name, by)) => write!(cause, "overflow of the {name} stack: {by} bytes short of room for an exception"),
        None => write!(cause, "SP {:#x} is in no kernel stack: no room for an exception", regs.sp),
    };
    let _ = write!(cause, ": {}", esr.sentence(Some(far)));
    stop(&cause, Some(slot), regs, esr, far, S_FRAME_SIZE)
}

/// How far `needed` bytes below `sp` are below a stack, where they are below this one and not in the one before.
fn overrun(stack: &Range<usize>, sp: u64, needed: usize) -> Option<usize> {
    stack.start.checked_sub((sp as usize).wrapping_sub(needed)).filter(|by| (1..=THREAD_SIZE).contains(by))
}

/// Reports a panic of Rust code and stops the machine.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut regs = PtRegs::ZERO;
    // SAFETY: reads of registers: this function's own pc, sp, fp and PSTATE.
    unsafe {
        asm!(
            "adr {pc}, .",
            "mov {sp}, sp",
            "mov {fp}, x29",
            "mrs {daif}, daif",
            pc = out(reg) regs.pc,
            sp = out(reg) regs.sp,
            fp = out(reg) regs.regs[29],
            daif = out(reg) regs.pstate,
            options(nostack, preserves_flags)
        );
    }
    // EL1h
    regs.pstate |= 0b0101;
    let mut cause = String::<192>::new();
    let _ = write!(cause, "panic: {}", info.message());
    if let Some(location) = info.location() {
        let _ = write!(cause, ", {}:{}", location.file(), location.line());
    }
    stop(&cause, None, &regs, Esr(0), 0, 0)
}

/// Says why the kernel does not start, and stops the machine: nothing is broken but what it was given.
pub fn refuse(cause: fmt::Arguments<'_>) -> ! {
    kprintln!("kernel stopped: {cause}");
    let mut text = String::<192>::new();
    let _ = write!(text, "{cause}");
    console::record(&gather(&text, None, &PtRegs::ZERO, Esr(0), 0, 0));
    power::off(PANIC_EXIT_CODE)
}

/// Prints, records, and ends the machine.
/// `needed` is how many bytes of stack below SP were to be used.
fn stop(cause: &str, slot: Option<Slot>, regs: &PtRegs, esr: Esr, far: u64, needed: usize) -> ! {
    // SAFETY: masking is always allowed; nothing else is to run on this CPU any more.
    unsafe { asm!("msr daifset, #0xf", options(nostack, preserves_flags)) };
    let earlier = REPORTS.fetch_add(1, Relaxed);
    if earlier >= 2 {
        power::off(PANIC_EXIT_CODE);
    }
    // SAFETY: whoever holds the console was interrupted by what is reported and will not run again.
    unsafe { console::force_unlock() };
    if earlier == 1 {
        kprintln!("\nkernel panic while reporting another: {cause}; PC [<{:016x}>]", regs.pc);
        power::off(PANIC_EXIT_CODE);
    }
    let report = gather(cause, slot, regs, esr, far, needed);
    print(&report, regs);
    console::record(&report);
    power::off(PANIC_EXIT_CODE)
}

fn gather(cause: &str, slot: Option<Slot>, regs: &PtRegs, esr: Esr, far: u64, needed: usize) -> Panic {
    let cpu = this_cpu();
    let task = sched::reported_task();
    let mut stacks = Vec::new();
    for (name, range) in stacks_of(task) {
        let overrun = overrun(&range, regs.sp, needed);
        let mut text = String::new();
        let _ = text.push_str(name);
        let stack = Stack {
            name: text,
            low: Hex(range.start as u64),
            high: Hex(range.end as u64),
            overrun: overrun.unwrap_or(0) as u64,
            in_use: overrun.is_some() || (range.start < regs.sp as usize && regs.sp as usize <= range.end),
        };
        // There is room for the four.
        let _ = stacks.push(stack);
    }
    let mut text = String::new();
    let _ = text.push_str(cause);
    Panic {
        schema: SCHEMA,
        kind: Kind::Panic,
        cause: text,
        slot,
        cpu: cpu.index as u32,
        task: task.map_or(0, |task| task.id),
        name: task.and_then(|task| task.name.try_lock().map(|name| name.clone())).unwrap_or_default(),
        esr: Hex(esr.0),
        far: Hex(far),
        pc: Hex(regs.pc),
        pstate: Hex(regs.pstate),
        sp: Hex(regs.sp),
        regs: regs.regs.map(Hex),
        stacks,
        backtrace: backtrace(task, regs),
    }
}

fn read_sp_el0() -> u64 {
    let sp;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, sp_el0", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

/// The stacks that this CPU and task may run on.
fn stacks_of(task: Option<&Task>) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    let cpu = this_cpu();
    let below = |name, top: usize| (top != 0).then(|| (name, top - THREAD_SIZE..top));
    let boot = addr_of!(boot_stack) as usize;
    [
        task.map(|task| ("task", task.stack.range())),
        below("irq", cpu.irq_stack.load(Relaxed)),
        below("overflow", cpu.overflow_stack.load(Relaxed)),
        Some(("boot", boot..boot + THREAD_SIZE)),
    ]
    .into_iter()
    .flatten()
}

/// One step of a backtrace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A call will return behind this address.
    Call(u64),
    /// An exception interrupted the code at this address.
    Interrupted(u64),
}

/// Calls `visit` with each step outwards from the frame record at `record`, until it has had enough. Records are read only
/// where they lie whole in a stack, upwards in each, and no stack is come back to, so that no chain can run in circles.
fn walk(task: Option<&Task>, mut record: usize, mut visit: impl FnMut(Step) -> bool) {
    let entry_text = addr_of!(_entry_text) as u64..addr_of!(_entry_text_end) as u64;
    let mut stack = 0..0;
    let mut walked = Vec::<usize, 4>::new();
    let mut interrupted = false;
    loop {
        if !stack.contains(&record) {
            let next = stacks_of(task).map(|(_, range)| range).find(|range| range.contains(&record));
            match next {
                Some(range) if !walked.contains(&range.start) && walked.push(range.start).is_ok() => stack = range,
                _ => return,
            }
        }
        if !record.is_multiple_of(16) || !stack.contains(&(record + 15)) {
            return;
        }
        // SAFETY: 16 aligned bytes in a mapped stack.
        let [next, address] = unsafe { core::ptr::with_exposed_provenance::<[u64; 2]>(record).read_volatile() };
        if address == 0 {
            return;
        }
        // The record that a handler's stub chains to is the one in the exception's frame: it holds the interrupted PC.
        let step = if interrupted { Step::Interrupted(address) } else { Step::Call(address.wrapping_sub(4)) };
        interrupted = entry_text.contains(&address);
        if !visit(step) {
            return;
        }
        stack.start = record + 1;
        record = next as usize;
    }
}

/// [`walk`], with a step that comes again and again (a recursion) only twice.
fn walk_briefly(task: Option<&Task>, record: usize, mut visit: impl FnMut(Step) -> bool) {
    let mut last = [None; 2];
    walk(task, record, |step| {
        let repeated = last == [Some(step); 2];
        last = [last[1], Some(step)];
        repeated || visit(step)
    });
}

/// The interrupted PC, then what it was called by.
fn backtrace(task: Option<&Task>, regs: &PtRegs) -> Vec<Hex, BACKTRACE_DEPTH> {
    let mut trace = Vec::new();
    let _ = trace.push(Hex(regs.pc));
    walk_briefly(task, regs.regs[29] as usize, |step| match step {
        Step::Call(address) | Step::Interrupted(address) => trace.push(Hex(address)).is_ok(),
    });
    trace
}

/// The report for people.
fn print(report: &Panic, regs: &PtRegs) {
    kprintln!("\nkernel panic: {}", report.cause);
    kprintln!("  at [<{:016x}>]", report.pc.0);
    if let Some(slot) = report.slot {
        kprintln!("  slot {slot}, ESR {}, FAR {}", report.esr, report.far);
    }
    kprintln!("  PSTATE {}: {}", report.pstate, Pstate(report.pstate.0));
    kprintln!("  CPU {}, task {} ({}){}", report.cpu, report.task, report.name, Interrupt(irq::handling()));
    // Of a panic in Rust code only where it was is known.
    let registers = if report.slot.is_some() { &report.regs[..] } else { &[] };
    for (index, value) in registers.iter().enumerate() {
        let end = if index % 4 == 3 { "\n" } else { "" };
        kprint!("  {:>3} {:016x}{end}", Name(index), value.0);
    }
    kprintln!("   sp {:016x}", report.sp.0);
    kprintln!("stacks:");
    for stack in &report.stacks {
        let state = match (stack.in_use, stack.overrun) {
            (_, 1..) => "OVERRUN",
            (true, 0) => "in use",
            (false, 0) => "",
        };
        kprint!("  {:<8} {:016x}..{:016x}  {state}", stack.name, stack.low.0, stack.high.0);
        if stack.overrun > 0 {
            kprint!(" by {} bytes", stack.overrun);
        }
        kprintln!("");
    }
    kprintln!("called from (a recursion only twice):");
    let mut left = BACKTRACE_DEPTH;
    walk_briefly(sched::reported_task(), regs.regs[29] as usize, |step| {
        match step {
            Step::Call(address) => kprintln!("  [<{address:016x}>]"),
            Step::Interrupted(address) => kprintln!("  -- exception, which interrupted --\n  [<{address:016x}>]"),
        }
        left -= 1;
        left > 0
    });
    if regs.from_el0() {
        kprintln!("  -- exception from EL0 --");
    }
}

/// A register's name.
struct Name(usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = String::<4>::new();
        write!(name, "x{}", self.0)?;
        f.pad(if self.0 == 30 { "lr" } else { &name })
    }
}

/// The interrupt being handled, if one is.
struct Interrupt(Option<u32>);

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |irq| write!(f, ", handling interrupt {irq}"))
    }
}
