//! Clocks.

use crate::sys;
use core::arch::asm;

pub use crate::sys::SECOND;

/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds in a microsecond.
pub const MICROSECOND: u64 = 1_000;

/// The virtual counter, in ticks of [`frequency`]: time without a system call.
pub fn counter() -> u64 {
    let ticks;
    // SAFETY: reads a register that EL0 may read (CNTKCTL_EL1.EL0VCTEN). `isb` keeps the read in program order.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks
}

/// Ticks of [`counter`] in a second.
pub fn frequency() -> u64 {
    let hertz: u64;
    // SAFETY: reads a register that EL0 may read (CNTKCTL_EL1.EL0VCTEN).
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack, preserves_flags)) };
    hertz
}

/// Ticks of [`counter`] in this many nanoseconds.
pub fn ticks(nanoseconds: u64) -> u64 {
    (u128::from(nanoseconds) * u128::from(frequency()) / u128::from(SECOND)) as u64
}

/// The monotonic clock, in nanoseconds.
pub fn now() -> u64 {
    sys::clock_gettime(linux_raw_sys::general::CLOCK_MONOTONIC).expect("every kernel has a monotonic clock")
}
