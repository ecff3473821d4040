//! Interrupts: those that nobody handles, and what an interrupt may do to the code that it interrupts.

use super::el1::{UNMAPPED, fault, ktest_load};
use super::{Test, check};
use crate::irq;
use crate::percpu::this_cpu;
use crate::sched::{self, task::Task};
use crate::sync::irqs_masked;
use aarch64_cpu::registers::{CNTV_CTL_EL0, Writeable};
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use trap::frame::PtRegs;
use trap::slot::Slot;

pub(super) const TESTS: &[Test] = &[
    ("data.irq", || in_interrupt(|| fault(ktest_load, UNMAPPED))),
    ("irq.not_ended", not_ended),
    ("irq.spurious", spurious),
    ("irq.unexpected", unexpected),
    ("preempt", preempt),
];

/// Raises software-generated interrupt `sgi`, and lets it in.
pub(super) fn raise(sgi: u32) {
    irq::controller().lock().send_sgi(sgi, this_cpu().index);
    // SAFETY: interrupts have handlers.
    unsafe { asm!("msr daifclr, #0xf", "nop", "nop", "isb", "msr daifset, #0xf", options(nostack, preserves_flags)) };
}

/// The frame of the interrupt being handled, by the frame records from here to the slot's stub.
pub(super) fn interrupted() -> &'static PtRegs {
    unsafe extern "C" {
        static entry_stubs: [u64; 16];
    }
    // SAFETY: a table that the assembly made.
    let stub = |slot: Slot| unsafe { entry_stubs[slot as usize]..entry_stubs[slot as usize + 1] };
    let stubs = [stub(Slot::El1hIrq), stub(Slot::El0Irq)];
    let mut record: usize;
    // SAFETY: a read of the frame pointer.
    unsafe { asm!("mov {}, x29", out(reg) record, options(nomem, nostack, preserves_flags)) };
    loop {
        // SAFETY: the frame records of a handler lead to the stub that called it, and from there into its frame, which stays
        // as it is while the handler runs.
        unsafe {
            let [next, lr] = *core::ptr::with_exposed_provenance::<[u64; 2]>(record);
            if stubs.iter().any(|stub| stub.contains(&lr)) {
                return &*core::ptr::with_exposed_provenance(next as usize - offset_of!(PtRegs, stackframe));
            }
            record = next as usize;
        }
    }
}

/// Runs `work` in an interrupt handler: that of the first call.
pub(super) fn in_interrupt(work: fn()) {
    const SGI: u32 = 5;
    irq::register(SGI, work);
    raise(SGI);
}

/// An interrupt that is gone when it is acknowledged is counted, and nothing else.
fn spurious() {
    // No tick may be pending.
    CNTV_CTL_EL0.set(0);
    let counters = &this_cpu().counters;
    irq::handle();
    check("spurious", counters.spurious.load(Relaxed), 1);
    check("unexpected", counters.unexpected.load(Relaxed), 0);
}

/// An interrupt without a handler is counted and ended: others come after it.
fn unexpected() {
    const SGI: u32 = 7;
    let counters = &this_cpu().counters;
    irq::controller().lock().enable(SGI, this_cpu().index);
    raise(SGI);
    check("unexpected", counters.unexpected.load(Relaxed), 1);
    static CAME: AtomicU64 = AtomicU64::new(0);
    in_interrupt(|| CAME.store(1, Relaxed));
    check("another interrupt", CAME.load(Relaxed), 1);
    check("spurious", counters.spurious.load(Relaxed), 0);
}

/// The kernel is preempted on the way out of an interrupt, but not where that is forbidden.
fn preempt() {
    static RAN: AtomicU64 = AtomicU64::new(0);
    extern "C" fn other() -> ! {
        sched::finish_switch();
        RAN.store(1, Relaxed);
        sched::end()
    }
    let first_pc = other as *const () as usize;
    let id = sched::new_id().expect("the first task");
    let task = Task::new(id, "other", first_pc, &PtRegs::ZERO, None).expect("memory for a test");
    sched::spawn(task).expect("few tasks");
    let wanted = || sched::current().set_need_resched();
    sched::current().preempt.disable();
    in_interrupt(wanted);
    check("the other task", RAN.load(Relaxed), 0);
    sched::current().preempt.enable();
    in_interrupt(wanted);
    check("the other task", RAN.load(Relaxed), 1);
    check("IRQs masked", irqs_masked().into(), 1);
    check("preemptions", this_cpu().counters.preemptions.load(Relaxed), 1);
}

/// An interrupt is acknowledged and never ended, and then the kernel faults.
fn not_ended() {
    const SGI: u32 = 7;
    let mut controller = irq::controller().lock();
    controller.enable(SGI, this_cpu().index);
    controller.send_sgi(SGI, this_cpu().index);
    check("acknowledged", controller.acknowledge().is_some().into(), 1);
    drop(controller);
    fault(ktest_load, UNMAPPED);
}
