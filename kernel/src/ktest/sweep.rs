//! An interrupt at every instruction (boot argument `sweep`, then an ordinary start): EL0 may set the EL1 physical timer, which nobody
//! else uses, and this handles its interrupt. The program `sweep` sets it for the 1st, 2nd, ... instruction of something, with time by
//! instructions, and sees to its own registers; what can be seen only in the kernel is seen to here, and a panic is the end of it.
//!
//! The handler tells the program by TPIDRRO_EL0, which is nobody's: the interrupted PC in bits 47:0, above it how many ticks after the
//! timer's time the handler began. The program tells the handler by TPIDR_EL0: [`PREEMPT`], [`INPUT`].
//!
//! Whether an interrupt of the kernel changed a register of the interrupted code is seen by a breakpoint at the instruction that it
//! returns to.

use super::irq::interrupted;
use super::read_daif;
use crate::percpu::this_cpu;
use crate::sched::current;
use crate::sched::task::{Task, flags};
use crate::sync::IrqLock;
use crate::{console, irq, kprintln, uaccess};
use aarch64_cpu::asm::barrier::{SY, isb};
use aarch64_cpu::registers::{
    CNTKCTL_EL1, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTPCT_EL0, ReadWriteable, Readable, TPIDR_EL0, TTBR0_EL1, Writeable,
};
use core::arch::asm;
use core::fmt::{self, Debug};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use trap::frame::{PtRegs, S_FRAME_SIZE};

/// INTID of the EL1 physical timer (Arm BSA, "PPI assignments").
const TIMER: u32 = 30;

/// In TPIDR_EL0: the interrupt asks for another task to run.
const PREEMPT: u64 = 1 << 0;
/// In TPIDR_EL0: the interrupt has a byte sent to the console, and waits until it is there.
const INPUT: u64 = 1 << 1;

/// DAIF, in PSTATE; and the mode.
const PSTATE_I: u64 = 1 << 7;
const PSTATE_DAIF: u64 = 0xf << 6;
const PSTATE_MODE: u64 = 0x1f;
const EL0T: u64 = 0;
const EL1H: u64 = 0b0101;

/// What an interrupt of the kernel found.
struct Found {
    frame: usize,
    regs: PtRegs,
    /// `preempt_count` in the handler.
    depth: u8,
}

/// What the last one found, until what it interrupted goes on.
static FOUND: IrqLock<Option<Found>> = IrqLock::new(None);

/// Where the last one came.
static PC: AtomicU64 = AtomicU64::new(0);

/// Lets EL0 have the timer.
pub fn init() {
    CNTKCTL_EL1.modify(CNTKCTL_EL1::EL0PTEN::SET);
    irq::register(TIMER, interrupt);
    // KDE and MDE: breakpoints, at EL1 too.
    // SAFETY: there are no breakpoints yet, and `on_breakpoint` handles those there will be.
    unsafe { asm!("msr mdscr_el1, {}", "isb", in(reg) 1u64 << 13 | 1 << 15, options(nostack, preserves_flags)) };
}

/// Ends the machine: something is not as it should be.
fn fail(what: fmt::Arguments<'_>) -> ! {
    let pc = PC.load(Relaxed);
    let program = if pc >> 63 == 0 { "sweep:" } else { "" };
    panic!("{what}; the interrupt came at [<{program}{pc:016x}>]")
}

/// Fails unless two values are the same.
fn same<T: PartialEq + Debug>(what: &str, found: T, wanted: T) {
    if found != wanted {
        fail(format_args!("{what}: {found:x?} instead of {wanted:x?}"));
    }
}

/// Fails unless a value is what it was the first time.
fn as_ever(what: &str, first: &AtomicU64, found: u64) {
    // No value here is 0.
    let wanted = first.compare_exchange(0, found, Relaxed, Relaxed).unwrap_or_else(|first| first);
    same(what, found, if wanted == 0 { found } else { wanted });
}

/// The interrupt.
fn interrupt() {
    isb(SY);
    let late = CNTPCT_EL0.get() - CNTP_CVAL_EL0.get();
    CNTP_CTL_EL0.set(0);
    let (task, regs) = (current(), interrupted());
    PC.store(regs.pc, Relaxed);
    same("DAIF in the handler", read_daif(), PSTATE_I >> 6);
    same("current", this_cpu().current.load(Relaxed), core::ptr::from_ref(task).addr());
    check_frame(task, regs);
    check_stacks(task, regs);
    if !uaccess::has_pan() {
        same("ASID in the kernel", TTBR0_EL1.get() >> 48, 0);
    }
    let told = late.min(u16::MAX.into()) << 48 | regs.pc & ((1 << 48) - 1);
    // SAFETY: a register that EL0 can read, and that the kernel uses only when a stack has overflowed.
    unsafe { asm!("msr tpidrro_el0, {}", in(reg) told, options(nostack, preserves_flags)) };
    let (frame, depth) = (core::ptr::from_ref(regs).addr(), task.preempt.depth());
    *FOUND.lock() = (!regs.from_el0()).then_some(Found { frame, regs: *regs, depth });
    // What the last program wished, where it sleeps.
    static WISHES: AtomicU64 = AtomicU64::new(0);
    if task.id != 0 {
        WISHES.store(TPIDR_EL0.get(), Relaxed);
    }
    let wishes = WISHES.load(Relaxed);
    if wishes & INPUT != 0 {
        kprintln!("a byte");
        while !console::is_receiving() {}
    }
    if wishes & PREEMPT != 0 {
        task.set_need_resched();
    }
}

/// The interrupted PSTATE, and where the frame and its record are.
fn check_frame(task: &Task, regs: &PtRegs) {
    let frame = core::ptr::from_ref(regs).addr();
    let behind = (frame + S_FRAME_SIZE) as u64;
    let stack = task.stack.range();
    same("whether the frame is on the task's stack", stack.contains(&frame), true);
    if regs.from_el0() {
        same("PSTATE of EL0 (DAIF, mode)", regs.pstate & (PSTATE_DAIF | PSTATE_MODE), EL0T);
        same("the end of EL0's frame", behind, stack.end as u64);
        same("EL0's frame record", regs.stackframe, [0; 2]);
    } else {
        same("PSTATE of EL1 (I, mode)", regs.pstate & (PSTATE_I | PSTATE_MODE), EL1H);
        same("SP of EL1", regs.sp, behind);
        same("EL1's frame record", regs.stackframe, [regs.regs[29], regs.pc]);
    }
}

/// Nothing is left behind on the stack, or in `preempt_count`, by all the interrupts before this one.
fn check_stacks(task: &Task, regs: &PtRegs) {
    static DEPTH: AtomicU64 = AtomicU64::new(0);
    static USED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    let (local, stack) = (0u8, task.stack.range());
    let sp = core::ptr::from_ref(&local).addr();
    // On the interrupt stack, or from EL0 on the task's own, which is empty but for the frame.
    let top = if stack.contains(&sp) { stack.end } else { this_cpu().irq_stack.load(Relaxed) };
    as_ever("bytes of stack in use", &USED[usize::from(regs.from_el0())], (top - sp) as u64);
    // The kernel itself may be where it must not be preempted.
    if regs.from_el0() {
        as_ever("preempt_count, and 1", &DEPTH, u64::from(task.preempt.depth()) + 1);
    }
}

/// An interrupt of EL1 was handled, and what it interrupted goes on: with every register as it was, which a breakpoint there will tell.
pub fn before_return(regs: &PtRegs) {
    static MORE: AtomicU64 = AtomicU64::new(0);
    if let Some(found) = &*FOUND.lock()
        && found.frame == core::ptr::from_ref(regs).addr()
    {
        let task = current();
        let more = found.depth.wrapping_sub(task.preempt.depth());
        as_ever("preempt_count in the handler, over that behind it, and 1", &MORE, u64::from(more) + 1);
        // What the interrupt asked for is done here, and not only on the way to EL0.
        if task.preempt.is_enabled() {
            same("whether a switch is wanted still", task.flags.load(Relaxed) & flags::NEED_RESCHED, 0);
        }
        set_breakpoint(found.regs.pc, BREAKPOINT);
    }
}

/// DBGBCR: one instruction, of EL1, enabled.
const BREAKPOINT: u64 = 0xf << 5 | 0b01 << 1 | 1;

fn set_breakpoint(pc: u64, control: u64) {
    // SAFETY: `on_breakpoint` handles it.
    unsafe {
        asm!("msr dbgbvr0_el1, {}", "msr dbgbcr0_el1, {}", "isb", in(reg) pc, in(reg) control, options(nostack, preserves_flags))
    };
}

/// The breakpoint: the interrupted code goes on.
pub fn on_breakpoint(regs: &PtRegs) {
    set_breakpoint(0, 0);
    let Some(Found { regs: found, .. }) = FOUND.lock().take() else {
        fail(format_args!("a breakpoint that nobody set"))
    };
    for (number, (&now, &then)) in regs.regs.iter().zip(&found.regs).enumerate() {
        if now != then {
            fail(format_args!("x{number} became {now:#x} and was {then:#x}"));
        }
    }
    let rest = |regs: &PtRegs| [regs.sp, regs.pc, regs.pstate, regs.access_window];
    same("SP, PC, PSTATE and the window", rest(regs), rest(&found));
}
