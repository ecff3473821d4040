//! What each CPU has of its own. TPIDR_EL2 points at it from the first Rust instruction on.

use crate::vcpu::Vcpu;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// CPUs that can be used: GICv2 has no more.
pub const MAX_CPUS: usize = 8;

/// A softirq: another vCPU may have to run ([`crate::sched`]).
pub const SCHEDULE: u32 = 1 << 0;
/// A softirq: the List Registers may not hold what the planner wants in them ([`crate::vgic`]).
pub const FLUSH: u32 = 1 << 1;

/// One CPU's data. What other CPUs use too says so.
pub struct PerCpu {
    /// Index of this CPU.
    pub index: usize,
    /// The vCPU this CPU runs; null while it is idle.
    pub current: AtomicPtr<Vcpu>,
    /// The vCPU that it has just left, until it is known to have left ([`crate::sched`]).
    pub previous: AtomicPtr<Vcpu>,
    /// The stack pointer of its idle context while it runs a vCPU.
    pub idle_sp: AtomicUsize,
    /// Work that is to be done before the next entry to a guest: [`SCHEDULE`], [`FLUSH`]. Others ask for it too.
    pub softirqs: AtomicU32,
    /// When the running vCPU's turn is over.
    pub next_tick: AtomicU64,
    /// What its List Registers hold.
    pub lrs: ListRegisters,
    /// Switches from one vCPU to another, or to and from idling.
    pub switches: AtomicU64,
    /// Interrupts of the hypervisor's own.
    pub host_irqs: AtomicU64,
    /// Where the stack begins that this CPU reports its own synchronous exceptions on.
    pub report_stack: AtomicPtr<ReportStack>,
}

/// What a CPU's List Registers hold.
pub struct ListRegisters {
    /// Those that were written and not read back since, one bit each.
    pub used: AtomicU32,
    /// Those that were read back and still hold something.
    pub stale: AtomicU32,
    /// What ICH_HCR_EL2 or GICH_HCR was told besides En.
    pub control: AtomicU32,
}

impl PerCpu {
    const fn new(index: usize) -> Self {
        PerCpu {
            index,
            current: AtomicPtr::new(null_mut()),
            previous: AtomicPtr::new(null_mut()),
            idle_sp: AtomicUsize::new(0),
            softirqs: AtomicU32::new(0),
            next_tick: AtomicU64::new(0),
            lrs: ListRegisters { used: AtomicU32::new(0), stale: AtomicU32::new(0), control: AtomicU32::new(0) },
            switches: AtomicU64::new(0),
            host_irqs: AtomicU64::new(0),
            report_stack: AtomicPtr::new((&raw const REPORT_STACKS[index]).wrapping_add(1).cast_mut()),
        }
    }
}
/// A stack for [`PerCpu::report_stack`], which points behind it.
#[repr(C, align(16))]
pub struct ReportStack(UnsafeCell<[u8; 32 << 10]>);

// SAFETY: one CPU has it as its stack, and no Rust code has a reference into it.
unsafe impl Sync for ReportStack {}

static REPORT_STACKS: [ReportStack; MAX_CPUS] = [const { ReportStack(UnsafeCell::new([0; 32 << 10])) }; MAX_CPUS];

/// Adds one to a counter that only this CPU writes.
#[inline(always)]
pub fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds to such a counter.
#[inline(always)]
pub fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed) + number, Relaxed);
}

/// All CPUs; the boot code knows the first by the array's name.
#[unsafe(export_name = "per_cpu")]
static CPUS: [PerCpu; MAX_CPUS] = [
    PerCpu::new(0),
    PerCpu::new(1),
    PerCpu::new(2),
    PerCpu::new(3),
    PerCpu::new(4),
    PerCpu::new(5),
    PerCpu::new(6),
    PerCpu::new(7),
];

/// All CPUs, whether there or not.
pub fn all() -> &'static [PerCpu; MAX_CPUS] {
    &CPUS
}

/// This CPU's data. A vCPU's handler may go on elsewhere after [`crate::sched`] has run another: it is asked for anew then.
#[inline(always)]
pub fn this_cpu() -> &'static PerCpu {
    let base: *const PerCpu;
    // SAFETY: TPIDR_EL2 holds the address of a static PerCpu from before the first Rust instruction and never changes on one CPU.
    // Neither `pure` nor `nomem`: reads do not move over a switch.
    unsafe {
        asm!("mrs {}, tpidr_el2", out(reg) base, options(nostack, preserves_flags));
        &*base
    }
}
