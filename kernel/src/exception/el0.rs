//! Exceptions from EL0: system calls, interrupts and faults of programs; and the way back.

use super::emulate::emulate;
use super::{mask_irqs, read_esr, read_far, taken, unmask};
use crate::mm::user::{Access, Fault, Taken};
use crate::percpu::{count, this_cpu};
use crate::sched::{self, current, task::flags};
use crate::{irq, report, signal, syscall};
use core::sync::atomic::Ordering::Relaxed;
use trap::esr::{Ec, Esr};
use trap::frame::PtRegs;
use trap::signal::{Mapping, untagged};
use trap::slot::Slot;

/// A synchronous exception: a system call, or a fault.
#[unsafe(no_mangle)]
extern "C" fn el0_sync_handler(regs: *mut PtRegs) {
    // SAFETY: the frame that the entry has just made. It is nobody else's until the exit work.
    let regs = unsafe { &mut *regs };
    let esr = read_esr();
    if esr.ec() == Ec::SVC64 {
        count(&this_cpu().counters.el0_sync[Ec::SVC64.number() as usize]);
        unmask!(0b1111);
        syscall::handle(regs);
    } else {
        fault(regs, esr);
    }
    exit_to_user();
}

/// Anything but a system call: memory that is served, or a signal.
#[cold]
fn fault(regs: &mut PtRegs, esr: Esr) {
    count(&this_cpu().counters.el0_sync[esr.ec().number() as usize]);
    let far = read_far();
    unmask!(0b1111);
    regs.esr = esr.0;
    let access = match esr.ec() {
        Ec::DATA_ABORT_LOWER => Some(super::data_access(esr)),
        Ec::INSTRUCTION_ABORT_LOWER => Some(Access::Execute),
        _ => None,
    };
    let (mapping, repeats) = match access.map(|access| serve_fault(regs, esr, far, access)) {
        Some(Ok(())) => return,
        Some(Err(Fault::OutOfMemory)) => return signal::out_of_memory(regs, taken(Slot::El0Sync, esr, far)),
        Some(Err(Fault::Refused(mapping))) => (mapping, 0),
        Some(Err(Fault::Stuck(times))) => (Mapping::Forbids, times),
        None => {
            let pc = regs.pc;
            let emulated = matches!(esr.ec(), Ec::UNKNOWN | Ec::SYSTEM) && emulate(regs);
            if emulated && regs.pc != pc {
                return;
            }
            // An instruction that was done but not stepped over would be done for ever.
            (Mapping::None, emulated.into())
        }
    };
    signal::fault(regs, report::Taken { repeats, ..taken(Slot::El0Sync, esr, far) }, mapping);
}

/// Has the running task's memory serve an abort at `far`. Only faults of translation, access flag and permission can be.
pub(super) fn serve_fault(regs: &PtRegs, esr: Esr, far: u64, access: Access) -> Result<(), Fault> {
    let task = current();
    let mut space = task.space.try_lock().expect("only its own task uses an address space, and not twice");
    let Some(space) = &mut *space else { return Err(Fault::Refused(Mapping::None)) };
    if !esr.fault_status().is_of_mapping() {
        return Err(Fault::Refused(Mapping::Forbids));
    }
    space.serve(Taken::new(regs, esr, far), untagged(far) as usize, access)
}

/// An interrupt.
#[unsafe(no_mangle)]
extern "C" fn el0_irq_handler(_: *mut PtRegs) {
    count(&this_cpu().counters.slots[Slot::El0Irq as usize]);
    unmask!(0b1101);
    irq::handle();
    exit_to_user();
}

/// An SError.
#[unsafe(no_mangle)]
extern "C" fn el0_error_handler(regs: *mut PtRegs) {
    // SAFETY: as in el0_sync_handler.
    let regs = unsafe { &mut *regs };
    let (esr, far) = (read_esr(), read_far());
    count(&this_cpu().counters.slots[Slot::El0Error as usize]);
    unmask!(0b1000);
    if super::serror_is_harmless(esr) {
        report::warning(
            format_args!("nothing was lost: {}", esr.sentence(None)),
            regs,
            taken(Slot::El0Error, esr, far),
        );
    } else {
        regs.esr = esr.0;
        signal::fault(regs, taken(Slot::El0Error, esr, far), Mapping::None);
    }
    // Another task may run from here on, and has nothing masked.
    unmask!(0b0101);
    exit_to_user();
}

/// The last thing before `kernel_exit 0`: all that is to be done first, looked for with IRQs masked, so that what an
/// interrupt asks for is seen. Returns with IRQs masked.
#[inline(always)]
pub(super) extern "C" fn exit_to_user() {
    mask_irqs!();
    if current().flags.load(Relaxed) != 0 {
        exit_work();
    }
}

/// Does what the flags ask for, until none is set. IRQs are masked whenever it looks.
#[cold]
fn exit_work() {
    loop {
        let work = current().flags.load(Relaxed);
        if work == 0 {
            return;
        }
        if work & flags::NEED_RESCHED != 0 {
            sched::preempt();
        }
        if work & flags::SIGNAL_PENDING != 0 {
            unmask!(0b1111);
            // SAFETY: the frame of the exception from EL0, which the handler is done with.
            signal::deliver(unsafe { &*current().user_regs() });
        }
        mask_irqs!();
    }
}

/// The first thing that a new task does.
pub(super) extern "C" fn schedule_tail() {
    sched::finish_switch();
}
