//! Reports that fail.

use super::Test;
use super::el1::UNMAPPED;
use super::program::descriptor;
use crate::mm::{DEVICES_BASE, LINEAR_BASE};
use crate::percpu::this_cpu;
use alloc::vec::Vec;
use core::arch::asm;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

pub(super) const TESTS: &[Test] = &[
    ("panic", || panic!("asked for by a test")),
    ("panic.nested", || panic!("{}", Bomb)),
    ("panic.oom", || drop(core::hint::black_box(Vec::<u8>::with_capacity(1 << 40)))),
    ("report.fault", || {
        this_cpu().current.store(UNMAPPED, Relaxed);
        panic!("asked for by a test")
    }),
    ("trace.fault", || {
        // The linear map has nothing there: `virt` has no RAM at 0.
        this_cpu().current.store(LINEAR_BASE, Relaxed);
        panic!("asked for by a test")
    }),
    ("report.console", || {
        // SAFETY: nobody uses devices any more but the report that is to fail.
        unsafe {
            descriptor(super::el1::ttbr1(), DEVICES_BASE, 2).write_volatile(0);
            asm!("dsb ishst", "tlbi vmalle1", "dsb ish", "isb", options(nostack, preserves_flags));
        }
        panic!("asked for by a test")
    }),
];

/// Panics while it is written.
struct Bomb;

impl fmt::Display for Bomb {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("asked for by a test, inside a panic")
    }
}
