//! The life of one exception.
//!
//! A program executes `svc #0`. The CPU saves PC and PSTATE in ELR_EL1 and SPSR_EL1, says why in ESR_EL1, masks DAIF,
//! switches to SP_EL1 and jumps to slot 8 of the table in VBAR_EL1 ([`vectors.S`](../../src/exception/vectors.S)). There
//! `kernel_ventry` makes room for a frame on the task's kernel stack and looks whether that room exists. `entry.S` saves
//! the registers into a [`PtRegs`], clears them, and calls the slot's handler here with the frame. From here on it is Rust:
//!
//! 1. enter: count, read what the next exception would overwrite (ESR, FAR);
//! 2. unmask what may be unmasked;
//! 3. do the work: a system call, an interrupt, a page fault, a signal;
//! 4. mask;
//! 5. before EL0: loop over the work flags until none is set ([`el0::exit_to_user`]).
//!
//! Then `kernel_exit` restores and `eret`s. Why this order: a handler that unmasked before it had read ESR would read
//! another exception's; one that looked at the flags with IRQs unmasked could miss a wake-up that comes just after.
//!
//! | | debug | SError | IRQ | FIQ |
//! |---|---|---|---|---|
//! | `el0_sync` | on | on | on | on |
//! | `el0_irq`, `el1h_irq` | on | on | off | on |
//! | `el1h_sync` | as interrupted, off after a debug exception | as interrupted | as interrupted | as interrupted |
//! | `el0_error`, `el1h_error` | on | off | off | off |
//!
//! Before EL0's exit work, where another task may be switched to, `el0_error` unmasks SError and FIQ again.
//!
//! # Memory of programs
//!
//! In the kernel, user addresses fault. A CPU with FEAT_PAN sees to that by PSTATE.PAN, which every exception sets; on one without,
//! `kernel_entry_el0` puts an empty table into TTBR0 and `kernel_exit 0` the task's. A copy of user memory ([`uaccess`](crate::uaccess))
//! opens a window for itself; an exception in the middle of it finds the window open, notes that in its frame, closes it, and opens
//! it again when it returns. So no interrupt handler, and no other task that is switched to there, has a program's memory at hand.
//!
//! A fault at a user address may be none: memory that is touched for the first time, a stack that grows, a page to be copied
//! after a `fork`. Those are served, by the same code for the program and for a copy, before there is talk of a signal or a fixup.
//!
//! # The trace
//!
//! The last instruction of `kernel_entry` and the first of `kernel_exit` are trace points ([`site`](crate::site)), and so are those
//! that mask and unmask IRQs: while the machine is traced, branches to stubs that write the event down ([`trace`](crate::trace)); else
//! what they would be anyway.
//!
//! # Single steps
//!
//! MDSCR_EL1.KDE stays 0, so the CPU takes no step, breakpoint or watchpoint exception from EL1, whatever a program has armed; the
//! step that is due is in SPSR.SS, and so is saved and restored with the frame.

pub mod el0;
mod el1;
mod emulate;
mod stack;

use crate::mm::stacks::THREAD_SHIFT;
use crate::mm::user::Access;
use crate::percpu::{PerCpu, count, this_cpu};
use crate::report::{self, Taken};
use crate::site::{kind, point_macro};
use crate::uaccess::CURRENT_TTBR0;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use trap::esr::Esr;
use trap::exception::Exception;
use trap::frame::{NO_SYSCALL, PtRegs, S_FRAME_SIZE};
use trap::slot::Slot;

global_asm!(
    point_macro!(),
    include_str!("../uaccess/window.S"),
    include_str!("vectors.S"),
    include_str!("entry.S"),
    S_FRAME_SIZE = const S_FRAME_SIZE,
    S_LR = const offset_of!(PtRegs, regs) + 8 * 30,
    S_SP = const offset_of!(PtRegs, sp),
    S_PC = const offset_of!(PtRegs, pc),
    S_ORIG_X0 = const offset_of!(PtRegs, orig_x0),
    S_SYSCALLNO = const offset_of!(PtRegs, syscallno),
    S_ACCESS_WINDOW = const offset_of!(PtRegs, access_window),
    S_STACKFRAME = const offset_of!(PtRegs, stackframe),
    NO_SYSCALL = const NO_SYSCALL,
    THREAD_SHIFT = const THREAD_SHIFT,
    CPU_CURRENT = const offset_of!(PerCpu, current),
    CPU_EMPTY_TTBR0 = const offset_of!(PerCpu, empty_ttbr0),
    CURRENT_TTBR0 = const CURRENT_TTBR0,
    CPU_OVERFLOW_STACK = const offset_of!(PerCpu, overflow_stack),
    schedule_tail = sym el0::schedule_tail,
    exit_to_user = sym el0::exit_to_user,
    TRACE_ENTER = const kind::ENTER,
    TRACE_ENTER_BAD_STACK = const kind::ENTER_BAD_STACK,
    TRACE_EXIT = const kind::EXIT,
    bad_stack_handler = sym stack::bad_stack,
);

// The pairs of kernel_entry: of a CPU, the task with the table for when there is none; of the frame, lr with sp, ELR with SPSR, the
// first argument with the system call, and the window with the syndrome.
const _: () = assert!(offset_of!(PerCpu, empty_ttbr0) == offset_of!(PerCpu, current) + 8);
const _: () = assert!(offset_of!(PtRegs, syscallno) == offset_of!(PtRegs, orig_x0) + 8);
const _: () = assert!(offset_of!(PtRegs, sp) == offset_of!(PtRegs, regs) + 8 * 31);
const _: () = assert!(offset_of!(PtRegs, esr) == offset_of!(PtRegs, access_window) + 8);
const _: () = assert!(offset_of!(PtRegs, pstate) == offset_of!(PtRegs, pc) + 8);

/// Reads ESR_EL1, before anything is unmasked.
#[inline(always)]
fn read_esr() -> Esr {
    let esr;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, esr_el1", out(reg) esr, options(nostack, preserves_flags)) };
    Esr(esr)
}

/// Reads FAR_EL1, before anything is unmasked.
#[inline(always)]
fn read_far() -> u64 {
    let far;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, far_el1", out(reg) far, options(nostack, preserves_flags)) };
    far
}

/// Unmasks the DAIF bits of `$mask` (debug 8, SError 4, IRQ 2, FIQ 1).
#[collapse_debuginfo(yes)]
macro_rules! unmask {
    (0b1111) => {
        // SAFETY: as below.
        unsafe { crate::site::trace_point!(IRQS_ON, last "msr daifclr, #0b1111") }
    };
    ($mask:literal) => {
        const { assert!($mask & 0b0010 == 0, "IRQs are unmasked by 0b1111, which is a trace point") };
        // SAFETY: the frame is saved and ESR and FAR are read; see the table in the module's documentation. Not `nomem`.
        unsafe { core::arch::asm!(concat!("msr daifclr, #", $mask), options(nostack, preserves_flags)) }
    };
}

/// Masks IRQs; `kernel_exit` masks the rest.
#[collapse_debuginfo(yes)]
macro_rules! mask_irqs {
    () => {
        // SAFETY: masking is always allowed. Not `nomem`: what was done with them unmasked stays before.
        unsafe { crate::site::trace_point!(IRQS_OFF, first "msr daifset, #2") }
    };
}
use {mask_irqs, unmask};

/// An exception that comes for the first time.
fn taken(slot: Slot, esr: Esr, far: u64) -> Taken {
    Taken { slot, esr, far, repeats: 0 }
}

/// What a data abort was doing.
fn data_access(esr: Esr) -> Access {
    match esr.decode() {
        Exception::DataAbort(_, access) if access.is_write() => Access::Write,
        _ => Access::Read,
    }
}

/// An SError: the CPU or the memory system found an error that belongs to no instruction. Goes on only where the syndrome
/// says that nothing was lost (Arm ARM, ESR_EL1, "ISS encoding for an SError exception": AET restartable or corrected).
fn serror_is_harmless(esr: Esr) -> bool {
    matches!(esr.decode(), Exception::SError(error) if error.severity.may_resume())
}

/// A slot that nothing may use.
#[unsafe(no_mangle)]
extern "C" fn bad_mode(regs: &mut PtRegs, slot: usize) -> ! {
    let slot = Slot::ALL[slot & 0xf];
    count(&this_cpu().counters.slots[slot as usize]);
    report::exception("bad mode: no exception should come through this slot", regs, taken(slot, read_esr(), read_far()))
}
