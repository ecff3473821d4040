//! The guest's own translation: everything mapped to itself.

use crate::write_sysreg;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A table of level 1: one entry a gigabyte.
#[repr(C, align(4096))]
pub struct Table(pub [AtomicU64; 512]);

/// The table that [`on`] uses.
pub static TABLE: Table = Table([const { AtomicU64::new(0) }; 512]);

/// MAIR_EL1: index 0 Device-nGnRE, index 1 Normal write-back.
const MAIR: u64 = 0xff << 8 | 0x04;
/// TCR_EL1: 39 bits by TTBR0, 4 KiB granule, inner-shareable, cacheable; no TTBR1; IPS 40 bits.
pub const TCR: u64 = 0b010 << 32 | 1 << 23 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 25;
/// Valid, accessed block; EL1 and EL0 may do everything but what WXN forbids.
const BLOCK: u64 = 1 << 10 | 0b01;
/// Nobody executes it.
pub const XN: u64 = 1 << 54 | 1 << 53;
const DEVICE: u64 = BLOCK | XN;
const NORMAL: u64 = BLOCK | 0b11 << 8 | 1 << 2;

/// Turns the MMU and caches on for this vCPU: the first gigabyte as Device memory, the others as Normal.
pub fn on() {
    for (gigabyte, entry) in TABLE.0.iter().enumerate() {
        entry.store((gigabyte as u64) << 30 | if gigabyte == 0 { DEVICE } else { NORMAL }, Relaxed);
    }
    // SAFETY: everything in use is mapped to itself.
    unsafe {
        write_sysreg!("mair_el1", MAIR);
        write_sysreg!("tcr_el1", TCR);
        write_sysreg!("ttbr0_el1", &raw const TABLE as u64);
        core::arch::asm!("dsb sy", "tlbi vmalle1", "dsb sy", "isb", options(nostack, preserves_flags));
        let sctlr = crate::read_sysreg!("sctlr_el1");
        write_sysreg!("sctlr_el1", sctlr | 1 | 1 << 2 | 1 << 12);
    }
}
