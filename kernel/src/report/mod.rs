//! Reports: what was seen when the kernel cannot go on, when a program died, or when something is wrong that need not stop
//! anything. Gathered here, explained and laid out by [`trap::report`], written once for people and once, as a record, for
//! tools.
//!
//! A report trusts nothing: it takes no lock that it would wait for, reads only memory that it has looked up, and when it fails
//! itself a shorter one follows, and after that none.

mod chain;
mod place;

use crate::console;
use crate::irq;
use crate::mm::stacks::THREAD_SIZE;
use crate::mm::user::AddressSpace;
use crate::percpu::this_cpu;
use crate::power;
use crate::process::INIT;
use crate::sched::{self, task::Task};
use crate::site::trace_point;
use crate::{kprint, kprintln};
use core::arch::asm;
use core::ffi::c_void;
use core::fmt::{self, Write};
use core::ops::Range;
use core::panic::PanicInfo;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use heapless::String;
use log::{Level, log_enabled};
use spin::mutex::SpinMutex;
use trap::esr::Esr;
use trap::frame::{PtRegs, S_FRAME_SIZE};
use trap::place::StackKind;
use trap::pstate::{Mode, Pstate};
use trap::record::{Hex, Kind, Pointer, Report, Stack};
use trap::rules::hints;
use trap::signal::{SigInfo, untagged};
use trap::slot::Slot;

unsafe extern "C" {
    static boot_stack: u8;
}

/// How many reports that stop the machine have been begun.
static FATAL: AtomicU32 = AtomicU32::new(0);

/// The report being written: too large for a stack that may be nearly full.
static REPORT: SpinMutex<Report> = SpinMutex::new(Report::EMPTY);

/// An exception, as it was taken.
#[derive(Clone, Copy)]
pub struct Taken {
    /// The slot it came through.
    pub slot: Slot,
    /// Its syndrome.
    pub esr: Esr,
    /// FAR.
    pub far: u64,
    /// How often it was handled before, and came again at once.
    pub repeats: u32,
}

/// What is to be reported; the rest is there to be seen.
struct Event<'a> {
    kind: Kind,
    cause: fmt::Arguments<'a>,
    regs: &'a PtRegs,
    taken: Option<Taken>,
    signal: Option<SigInfo>,
    /// Bytes of stack below SP that were to be used.
    needed: usize,
}

/// Reports an exception that the kernel cannot go on from, and stops the machine. `what` comes before the syndrome's sentence;
/// empty when that says it all.
pub fn exception(what: &str, regs: &mut PtRegs, taken: Taken) -> ! {
    // With SP_EL0 as its stack, the interrupted code's SP was not the one that the frame was reserved on.
    if Pstate(regs.pstate).mode() == (Mode::A64 { el: 1, own_sp: false }) {
        regs.sp = read_sp_el0();
    }
    // Interrupts leave ESR as it was.
    let sentence = taken.slot.has_syndrome().then(|| taken.esr.sentence(Some(taken.far)));
    let (what, colon) = if sentence.is_some() && !what.is_empty() { (what, ": ") } else { (what, "") };
    match sentence {
        Some(sentence) => stop(format_args!("{what}{colon}{sentence}"), regs, taken),
        None => stop(format_args!("{what}"), regs, taken),
    }
}

/// Reports what is wrong, in the words of `cause`, and stops the machine.
pub fn stop(cause: fmt::Arguments<'_>, regs: &PtRegs, taken: Taken) -> ! {
    end(Event { kind: Kind::Panic, cause, regs, taken: Some(taken), signal: None, needed: 0 })
}

/// Reports that there was no room for a frame on the interrupted stack, and stops the machine.
pub fn overflow(regs: &PtRegs, taken: Taken) -> ! {
    let sentence: &dyn fmt::Display = match taken.slot.has_syndrome() {
        true => &taken.esr.sentence(Some(taken.far)),
        false => &taken.slot,
    };
    let needed = S_FRAME_SIZE;
    let stop = |cause| end(Event { kind: Kind::Panic, cause, regs, taken: Some(taken), signal: None, needed });
    let stacks = stacks_of(sched::reported_task());
    match stacks.into_iter().find_map(|(name, range)| Some((name, overrun(&range, regs.sp, needed)?))) {
        Some((name, by)) => {
            stop(format_args!("overflow of the {name} stack: {by} bytes short of room for an exception: {sentence}"))
        }
        None => stop(format_args!("SP {:#x} is in no kernel stack: no room for an exception: {sentence}", regs.sp)),
    }
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
    let stop = |cause| end(Event { kind: Kind::Panic, cause, regs: &regs, taken: None, signal: None, needed: 0 });
    match (info.location(), FATAL.load(Relaxed)) {
        (Some(at), 0) => stop(format_args!("{}, {}:{}", info.message(), at.file(), at.line())),
        // Its message may be what cannot be written.
        (Some(at), _) => stop(format_args!("panic at {}:{}", at.file(), at.line())),
        (None, _) => stop(format_args!("panic")),
    }
}

/// Says why the kernel does not start, and stops the machine: nothing is broken but what it was given.
pub fn refuse(cause: fmt::Arguments<'_>) -> ! {
    kprintln!("kernel stopped: {cause}");
    let mut report = REPORT.lock();
    set_cause(&mut report, cause);
    write_record(&report);
    power::off_by_panic()
}

/// Reports that the running task dies of `signal`, by an exception or because another task sent it.
pub fn death(cause: fmt::Arguments<'_>, regs: &PtRegs, signal: SigInfo, taken: Option<Taken>) {
    write(Event { kind: Kind::Death, cause, regs, taken, signal: Some(signal), needed: 0 });
}

/// Reports something wrong in the kernel that it can go on from.
pub fn warning(cause: fmt::Arguments<'_>, regs: &PtRegs, taken: Taken) {
    write(Event { kind: Kind::Warning, cause, regs, taken: Some(taken), signal: None, needed: 0 });
}

/// Writes a report that does not stop the machine; in full if the machine ends with this task or the log level asks for it.
fn write(event: Event<'_>) {
    let in_full = event.kind == Kind::Warning || log::max_level() >= Level::Debug;
    // IRQs stay as they are: this takes long. What another exception reports meanwhile finds the report locked.
    let preempt = sched::reported_task().map(|task| &task.preempt);
    preempt.inspect(|preempt| preempt.disable());
    match REPORT.try_lock() {
        Some(mut report) => {
            gather(&mut report, &event);
            match log_enabled!(Level::Warn) {
                true if in_full || report.task == INIT => kprint!("{}", *report),
                true => kprint!("{}", report.brief()),
                false => {}
            }
            write_record(&report);
        }
        None => log::warn!("{}", event.cause),
    }
    preempt.inspect(|preempt| preempt.enable());
}

/// Writes a report, and ends the machine. On the overflow stack, as the one in use may be nearly full.
fn end(event: Event<'_>) -> ! {
    // SAFETY: masking is always allowed; nothing else is to run on this CPU any more.
    unsafe { trace_point!(IRQS_OFF, first "msr daifset, #0xf") };
    let event = addr_of!(event);
    let top = this_cpu().overflow_stack.load(Relaxed);
    if (top - THREAD_SIZE..top).contains(&event.addr()) {
        end_here(event.cast());
    } else {
        // SAFETY: nobody uses the overflow stack, and nobody comes back from it to this one.
        unsafe { irq::call_on_irq_stack(event.cast(), top, end_here) };
    }
    unreachable!("the machine has ended")
}

extern "C" fn end_here(event: *const c_void) {
    // SAFETY: `end` passes its event, which it never lets go of.
    let event = unsafe { &*event.cast::<Event<'_>>() };
    let earlier = FATAL.fetch_add(1, Relaxed);
    if earlier < 2 {
        // SAFETY: whoever holds them was interrupted by what is reported and will not run again.
        unsafe {
            console::force_unlock();
            REPORT.force_unlock();
        }
        let mut report = REPORT.lock();
        if earlier == 0 {
            gather(&mut report, event);
            kprint!("\n{}", *report);
        } else {
            // What was to be told of the first has failed, but for its cause.
            let cause =
                if report.cause.is_empty() { "(a message that cannot be written)" } else { report.cause.as_str() };
            kprintln!("\nkernel panic: {cause}");
            *report = Report::EMPTY;
            set_cause(&mut report, format_args!("while reporting another: {}", event.cause));
            report.pc = Hex(event.regs.pc);
            set_taken(&mut report, event.taken);
            kprintln!("{}; PC [<{:016x}>]", report.cause, report.pc.0);
        }
        write_record(&report);
    }
    power::off_by_panic()
}

/// Writes a report for tools.
fn write_record(report: &Report) {
    if console::record(report) {
        // SAFETY: a nop, unless traced.
        unsafe { trace_point!(REPORT) };
    }
}

fn set_cause(report: &mut Report, cause: fmt::Arguments<'_>) {
    report.cause = String::new();
    // What does not fit is cut.
    let _ = report.cause.write_fmt(cause);
}

fn set_taken(report: &mut Report, taken: Option<Taken>) {
    if let Some(Taken { slot, esr, far, repeats }) = taken {
        report.slot = Some(slot);
        (report.esr, report.far, report.repeats) = (Hex(esr.0), Hex(far), repeats);
    }
}

fn gather(report: &mut Report, event: &Event<'_>) {
    let &Event { kind, cause, regs, taken, signal, needed } = event;
    *report = Report::EMPTY;
    // First, so that there is something to tell should the rest fail.
    set_cause(report, cause);
    let cpu = this_cpu();
    let task = sched::reported_task();
    report.kind = kind;
    set_taken(report, taken);
    report.signal = signal;
    report.cpu = cpu.index as u32;
    report.task = task.map_or(0, |task| task.id);
    report.name = task.and_then(|task| task.name.try_lock().map(|name| name.clone())).unwrap_or_default();
    report.irq = irq::handling();
    report.not_ended = irq::not_ended();
    (report.pc, report.pstate, report.sp) = (Hex(regs.pc), Hex(regs.pstate), Hex(regs.sp));
    report.regs = regs.regs.map(Hex);
    report.window = taken.is_some() && !regs.from_el0() && regs.access_window != 0;
    for (name, range) in stacks_of(task) {
        let overrun = overrun(&range, regs.sp, needed);
        let in_use = overrun.is_some() || (range.start < regs.sp as usize && regs.sp as usize <= range.end);
        let (low, high) = (Hex(range.start as u64), Hex(range.end as u64));
        // There is room for the four.
        let _ = report.stacks.push(Stack { name, low, high, overrun: overrun.unwrap_or(0) as u64, in_use });
    }
    // The task itself may have been changing its address space.
    let space = task.and_then(|task| task.space.try_lock());
    let space = space.as_ref().and_then(|space| space.as_ref());
    report.instruction = read_code(regs, space).map(|word| Hex(word.into()));
    report.place = report.fault_address().map(|far| place::of(untagged(far), task, space));
    // Of a panic of Rust code, only where it was is known.
    if taken.is_some() || signal.is_some() {
        for (register, value) in regs.regs.into_iter().chain([regs.sp]).enumerate() {
            let place = place::of(untagged(value), task, space);
            if place::is_something(place) {
                // There is room for all registers.
                let _ = report.pointers.push(Pointer { register: register as u8, place });
            }
        }
    }
    chain::walk(report, regs, task, space);
    report.hints = hints(report);
}

/// The interrupted instruction, if whoever was interrupted could read it.
fn read_code(regs: &PtRegs, space: Option<&AddressSpace>) -> Option<u32> {
    let pc = regs.pc;
    if !pc.is_multiple_of(4) {
        return None;
    }
    if !regs.from_el0() && place::is_kernel_text(pc as usize) {
        // SAFETY: four aligned bytes of the image's code.
        return Some(unsafe { core::ptr::with_exposed_provenance::<u32>(pc as usize).read_volatile() });
    }
    let word = space?.peek(pc as usize & !7)?;
    Some((word >> (pc % 8 * 8)) as u32)
}

fn read_sp_el0() -> u64 {
    let sp;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, sp_el0", out(reg) sp, options(nomem, nostack, preserves_flags)) };
    sp
}

/// The stacks that this CPU and task may run on.
fn stacks_of(task: Option<&Task>) -> impl Iterator<Item = (StackKind, Range<usize>)> {
    let cpu = this_cpu();
    let below = |kind, top: usize| (top != 0).then(|| (kind, top - THREAD_SIZE..top));
    let boot = addr_of!(boot_stack) as usize;
    [
        task.map(|task| (StackKind::Task, task.stack.range())),
        below(StackKind::Irq, cpu.irq_stack.load(Relaxed)),
        below(StackKind::Overflow, cpu.overflow_stack.load(Relaxed)),
        Some((StackKind::Boot, boot..boot + THREAD_SIZE)),
    ]
    .into_iter()
    .flatten()
}
