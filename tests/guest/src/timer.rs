//! The timers: PPI 27, virtual, and PPI 30, physical.

use crate::{read_sysreg, write_sysreg};

/// The virtual timer's interrupt.
pub const VIRTUAL: u32 = 27;
/// The physical timer's.
pub const PHYSICAL: u32 = 30;

/// The virtual counter.
pub fn now() -> u64 {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
    read_sysreg!("cntvct_el0")
}

/// Sets the virtual timer to this many ticks from now.
pub fn set_virtual(ticks: u64) {
    // SAFETY: the guest has the timer to itself.
    unsafe {
        write_sysreg!("cntv_cval_el0", now().wrapping_add(ticks));
        write_sysreg!("cntv_ctl_el0", 1);
    }
}

/// Sets the physical timer to this many ticks from now.
pub fn set_physical(ticks: u64) {
    // SAFETY: as above.
    unsafe {
        write_sysreg!("cntp_cval_el0", read_sysreg!("cntpct_el0").wrapping_add(ticks));
        write_sysreg!("cntp_ctl_el0", 1);
    }
}

/// Stops both.
pub fn stop() {
    // SAFETY: as above.
    unsafe {
        write_sysreg!("cntv_ctl_el0", 0);
        write_sysreg!("cntp_ctl_el0", 0);
    }
}
