//! What each CPU has of its own. TPIDR_EL2 points at it from the first Rust instruction on.

use crate::vcpu::Vcpu;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};

/// One CPU's data.
pub struct PerCpu {
    /// Index of this CPU.
    pub index: usize,
    /// The vCPU this CPU runs; null while it is idle.
    pub current: AtomicPtr<Vcpu>,
    /// Work that is to be done before the next entry to a guest, one bit each ([`crate::sched`]).
    pub softirqs: AtomicU32,
    /// Switches from one vCPU to another, or to and from idling.
    pub switches: AtomicU64,
    /// Interrupts of the hypervisor's own.
    pub host_irqs: AtomicU64,
    /// Where the stack begins that this CPU reports its own synchronous exceptions on.
    pub report_stack: AtomicPtr<ReportStack>,
}

/// A stack for [`PerCpu::report_stack`], which points behind it.
#[repr(C, align(16))]
pub struct ReportStack(UnsafeCell<[u8; 32 << 10]>);

// SAFETY: one CPU has it as its stack, and no Rust code has a reference into it.
unsafe impl Sync for ReportStack {}

static BOOT_REPORT_STACK: ReportStack = ReportStack(UnsafeCell::new([0; 32 << 10]));

/// Adds one to a counter that only this CPU writes.
#[inline(always)]
pub fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

/// CPU 0 by the name that the boot code knows.
#[unsafe(export_name = "boot_cpu")]
static BOOT_CPU: PerCpu = PerCpu {
    index: 0,
    current: AtomicPtr::new(null_mut()),
    softirqs: AtomicU32::new(0),
    switches: AtomicU64::new(0),
    host_irqs: AtomicU64::new(0),
    report_stack: AtomicPtr::new((&raw const BOOT_REPORT_STACK).wrapping_add(1).cast_mut()),
};

/// This CPU's data.
#[inline(always)]
pub fn this_cpu() -> &'static PerCpu {
    let base: *const PerCpu;
    // SAFETY: TPIDR_EL2 holds the address of a static PerCpu from before the first Rust instruction and never changes on
    // one CPU; `nomem` and `pure` let repeated reads fold.
    unsafe {
        asm!("mrs {}, tpidr_el2", out(reg) base, options(nomem, nostack, preserves_flags, pure));
        &*base
    }
}
