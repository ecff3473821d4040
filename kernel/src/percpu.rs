//! What each CPU has of its own. TPIDR_EL1 points at it from the first Rust instruction on.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// CPUs that the per-CPU arrays have room for.
pub const MAX_CPUS: usize = 8;

/// In [`PerCpu::handling`]: no interrupt.
pub const NO_IRQ: u32 = u32::MAX;

/// One CPU's data. The exception entry reads its first fields.
#[repr(C)]
pub struct PerCpu {
    /// The task this CPU runs (`*const Task`), for entry from EL0, where SP_EL0 is the user's; 0 before there is one.
    pub current: AtomicUsize,
    /// TTBR0_EL1 while no window to user memory is open, on a CPU without FEAT_PAN.
    pub empty_ttbr0: AtomicU64,
    /// Top of the stack that interrupt handlers run on.
    pub irq_stack: AtomicUsize,
    /// Top of the stack that a stack overflow is reported on.
    pub overflow_stack: AtomicUsize,
    /// Index of this CPU.
    pub index: usize,
    /// The INTID of the interrupt that is being handled; [`NO_IRQ`] when none is. For reports.
    pub handling: AtomicU32,
    /// When the next tick is due, by the counter.
    pub next_tick: AtomicU64,
    /// What this CPU counted.
    pub counters: Counters,
    /// While it is traced: whether IRQs were masked at the last event.
    pub irqs_traced_off: AtomicBool,
    /// While it is traced: whether an event is being written down.
    pub tracing: AtomicBool,
    /// While it is traced: how many reports were written.
    pub reports_traced: AtomicU32,
}

/// Event counters of one CPU. Written by their CPU only, so a plain load and store counts.
pub struct Counters {
    /// Exceptions by vector slot.
    pub slots: [AtomicU64; 16],
    /// Synchronous exceptions from EL1 by class (ESR_EL1.EC).
    pub el1_sync: [AtomicU64; 64],
    /// Synchronous exceptions from EL0 by class.
    pub el0_sync: [AtomicU64; 64],
    /// Timer ticks.
    pub ticks: AtomicU64,
    /// Acknowledges that returned a special INTID.
    pub spurious: AtomicU64,
    /// Interrupts without a handler.
    pub unexpected: AtomicU64,
    /// Context switches.
    pub switches: AtomicU64,
    /// Context switches that the running task did not ask for.
    pub preemptions: AtomicU64,
}

impl Counters {
    const fn new() -> Self {
        Counters {
            slots: [const { AtomicU64::new(0) }; 16],
            el1_sync: [const { AtomicU64::new(0) }; 64],
            el0_sync: [const { AtomicU64::new(0) }; 64],
            ticks: AtomicU64::new(0),
            spurious: AtomicU64::new(0),
            unexpected: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            preemptions: AtomicU64::new(0),
        }
    }
}

/// Adds one to a counter of this CPU. IRQs may be unmasked: an interrupt between load and store can lose one count of an
/// event that both raise, so callers that share a counter with a handler mask them.
#[inline(always)]
pub fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

impl PerCpu {
    const fn new(index: usize) -> Self {
        PerCpu {
            current: AtomicUsize::new(0),
            irq_stack: AtomicUsize::new(0),
            overflow_stack: AtomicUsize::new(0),
            empty_ttbr0: AtomicU64::new(0),
            index,
            handling: AtomicU32::new(NO_IRQ),
            next_tick: AtomicU64::new(0),
            counters: Counters::new(),
            irqs_traced_off: AtomicBool::new(true),
            tracing: AtomicBool::new(false),
            reports_traced: AtomicU32::new(0),
        }
    }
}

/// CPU 0 by the name that the boot code knows.
#[unsafe(export_name = "boot_cpu")]
static BOOT_CPU: PerCpu = PerCpu::new(0);

/// This CPU's data. A task may be moved to another CPU between two calls unless IRQs are masked.
#[inline(always)]
pub fn this_cpu() -> &'static PerCpu {
    let base: *const PerCpu;
    // SAFETY: TPIDR_EL1 holds the address of a static PerCpu from before the first Rust instruction and never changes on
    // one CPU; `nomem` and `pure` let repeated reads fold.
    unsafe {
        asm!("mrs {}, tpidr_el1", out(reg) base, options(nomem, nostack, preserves_flags, pure));
        &*base
    }
}

/// The CPUs that have been started.
pub fn cpus() -> impl Iterator<Item = &'static PerCpu> {
    core::iter::once(&BOOT_CPU)
}
