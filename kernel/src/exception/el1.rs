//! Exceptions from EL1: from the kernel itself.

use super::{read_esr, read_far, taken, unmask};
use crate::bug::{self, BUG_BRK_IMM, Bug};
use crate::extable::{self, Kind};
#[cfg(feature = "ktest")]
use crate::ktest;
use crate::mm::USER_END;
use crate::mm::user::{Fault, USER_START};
use crate::percpu::{count, this_cpu};
use crate::report::{self, Taken};
use crate::sched;
use crate::site::trace_point;
use crate::{irq, signal, uaccess};
use trap::esr::{Ec, Esr};
use trap::frame::PtRegs;
use trap::signal::untagged;
use trap::slot::Slot;

/// A synchronous exception. DAIF is inherited from the interrupted code, never blindly unmasked; after a debug exception
/// debug stays masked.
#[unsafe(no_mangle)]
extern "C" fn el1h_sync_handler(regs: &mut PtRegs) {
    let (esr, far) = (read_esr(), read_far());
    count(&this_cpu().counters.el1_sync[esr.ec().number() as usize]);
    regs.esr = esr.0;
    match esr.ec() {
        Ec::DATA_ABORT_CURRENT => data_abort(regs, esr, far),
        Ec::INSTRUCTION_ABORT_CURRENT => outside_window("the kernel executed user memory", regs, esr, far),
        Ec::BRK64 if esr.iss() as u16 == BUG_BRK_IMM => on_bug(regs, esr, far),
        #[cfg(feature = "ktest")]
        Ec::BRK64 if matches!(esr.iss() as u16, ktest::PROBE | ktest::RETURNED) => {
            inherit_daif(regs, esr);
            ktest::on_brk(regs, esr.iss() as u16);
        }
        #[cfg(feature = "ktest")]
        Ec::BREAKPOINT_CURRENT => ktest::sweep::on_breakpoint(regs),
        _ => report::exception("", regs, taken(Slot::El1hSync, esr, far)),
    }
}

/// An abort in the kernel: of a copy routine, which the task's memory may serve or a fixup end; or a fault of the kernel.
fn data_abort(regs: &mut PtRegs, esr: Esr, far: u64) {
    let fixup = match extable::fixup(regs.pc as usize) {
        Some((fixup, Kind::Kernel)) => {
            regs.pc = fixup as u64;
            return;
        }
        Some((fixup, Kind::User)) if uaccess::has_pan() || regs.access_window != 0 => {
            // With FEAT_PAN these instructions are window enough.
            regs.access_window = 1;
            fixup
        }
        _ => outside_window("the kernel touched user memory outside an access window", regs, esr, far),
    };
    inherit_daif(regs, esr);
    match super::el0::serve_fault(regs, esr, far, super::data_access(esr)) {
        Ok(()) => return,
        Err(Fault::OutOfMemory) => signal::out_of_memory_in_copy(),
        Err(Fault::Refused(_)) => {}
        Err(Fault::Stuck(repeats)) => report::exception(
            "a fault was served and comes again",
            regs,
            Taken { repeats, ..taken(Slot::El1hSync, esr, far) },
        ),
    }
    regs.pc = fixup as u64;
}

/// A BUG or a WARN.
fn on_bug(regs: &mut PtRegs, esr: Esr, far: u64) {
    let taken = taken(Slot::El1hSync, esr, far);
    match bug::find(regs.pc as usize) {
        Some(Bug { file, line, goes_on: true }) => {
            inherit_daif(regs, esr);
            report::warning(format_args!("WARN at {file}:{line}"), regs, taken);
            regs.pc += 4;
        }
        Some(Bug { file, line, .. }) => report::stop(format_args!("BUG at {file}:{line}"), regs, taken),
        None => report::exception("", regs, taken),
    }
}

/// Reports an abort that no copy of user memory made; `what` if it was at a user address all the same.
fn outside_window(what: &str, regs: &mut PtRegs, esr: Esr, far: u64) -> ! {
    let refused = esr.fault_status().is_of_mapping();
    let of_user = (USER_START..USER_END).contains(&(untagged(far) as usize));
    report::exception(if refused && of_user { what } else { "" }, regs, taken(Slot::El1hSync, esr, far))
}

/// DAIF as the interrupted code had it; debug stays masked after a debug exception, or it would be taken again.
fn inherit_daif(regs: &PtRegs, esr: Esr) {
    const DAIF: u64 = 0xf << 6;
    const D: u64 = 1 << 9;
    let debug = if esr.ec() >= Ec::BREAKPOINT_LOWER { D } else { 0 };
    // SAFETY: the frame is saved and ESR and FAR are read; what was unmasked before may be so again.
    unsafe { trace_point!(DAIF, last "msr daif, {a}", regs.pstate & DAIF | debug) };
}

/// An interrupt. On the way out the kernel itself may be preempted, if the interrupted code allows it.
#[unsafe(no_mangle)]
extern "C" fn el1h_irq_handler(_regs: &mut PtRegs) {
    count(&this_cpu().counters.slots[Slot::El1hIrq as usize]);
    unmask!(0b1101);
    irq::handle();
    // There is a current task: before the scheduler is up IRQs are masked.
    if sched::current().preempt.now() {
        sched::preempt();
    }
    #[cfg(feature = "ktest")]
    ktest::sweep::before_return(_regs);
}

/// An SError.
#[unsafe(no_mangle)]
extern "C" fn el1h_error_handler(regs: &mut PtRegs) {
    let (esr, far) = (read_esr(), read_far());
    count(&this_cpu().counters.slots[Slot::El1hError as usize]);
    unmask!(0b1000);
    regs.esr = esr.0;
    if !super::serror_is_harmless(esr) {
        report::exception("", regs, taken(Slot::El1hError, esr, far));
    }
    report::warning(format_args!("nothing was lost: {}", esr.sentence(None)), regs, taken(Slot::El1hError, esr, far));
}
