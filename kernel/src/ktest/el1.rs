//! What can go wrong in the kernel itself, one cause a test.

use super::program::{DATA, HOLE, descriptor, in_task};
use super::{Test, slot};
use crate::mm::{LINEAR_BASE, kernel_map};
use crate::{bug_on, sched, warn_on};
use core::arch::asm;
use core::ptr::addr_of;
use drivers::dt::Region;

/// Where the kernel's half has nothing.
pub(super) const UNMAPPED: usize = 0xffff_fff0_0000_0000;

pub(super) const TESTS: &[Test] = &[
    ("data.unmapped", || fault(ktest_load, UNMAPPED)),
    ("data.unmapped.write", || fault(ktest_store, UNMAPPED)),
    ("data.guard", || fault(ktest_load, sched::current().stack.range().start - 8)),
    ("data.null", || fault(ktest_load, 8)),
    ("data.noncanonical", || fault(ktest_load, 0x0123_4567_89ab_cde8)),
    ("data.user", || in_task(|| fault(ktest_load, DATA))),
    ("data.user.write", || in_task(|| fault(ktest_store, DATA))),
    ("data.text", || fault(ktest_store, ktest_load as *const () as usize)),
    ("data.rodata", || fault(ktest_store, addr_of!(ktest_programs) as usize)),
    ("data.linear", || fault(ktest_store, linear(ktest_load as *const () as usize))),
    ("data.unaligned", || fault(ktest_load_exclusive, slot::registers() + 4)),
    ("data.external", || fault(ktest_load, nothing())),
    ("data.external.walk", || {
        // SAFETY: an entry of the root that is not used.
        unsafe { descriptor(ttbr1(), UNMAPPED, 1).write_volatile(HOLE | 0b11) };
        fault(ktest_load, UNMAPPED)
    }),
    ("jump.unmapped", || fault(ktest_jump, UNMAPPED)),
    ("jump.data", || fault(ktest_jump, slot::registers())),
    ("jump.linear", || fault(ktest_jump, linear(ktest_load as *const () as usize))),
    ("jump.user", || in_task(|| fault(ktest_jump, super::program::CODE))),
    ("jump.unaligned", || fault(ktest_jump, ktest_load as *const () as usize + 2)),
    ("undefined", || fault(ktest_undefined, 0)),
    ("register", || fault(ktest_register, 0)),
    ("bug", || bug_on!(true)),
    ("warn", || {
        warn_on!(true);
        warn_on!(false);
    }),
    ("brk", || fault(ktest_brk, 0)),
    // To EL2h, and to a mode of EL1 that there is not.
    ("illegal.el2", || fault(ktest_illegal_return, 0x3c9)),
    ("illegal.mode", || fault(ktest_illegal_return, 0x3c7)),
];

unsafe extern "C" {
    pub(super) fn ktest_load(address: usize);
    fn ktest_store(address: usize);
    fn ktest_load_exclusive(address: usize);
    fn ktest_jump(address: usize);
    fn ktest_undefined(_: usize);
    fn ktest_register(_: usize);
    fn ktest_brk(_: usize);
    fn ktest_illegal_return(spsr: usize);
    static ktest_programs: u8;
}

/// Calls a function of ktest.S that faults.
pub(super) fn fault(function: unsafe extern "C" fn(usize), argument: usize) {
    // SAFETY: reported; nothing comes after.
    unsafe { function(argument) }
    unreachable!("no fault")
}

/// Where the linear map has an address of the image.
fn linear(address: usize) -> usize {
    LINEAR_BASE + kernel_map::physical(address).expect("the image is mapped") as usize
}

/// Registers of a device that is not there.
fn nothing() -> usize {
    kernel_map::map_device(Region { base: HOLE, size: 8 }).addr().get()
}

pub(super) fn ttbr1() -> u64 {
    let ttbr1;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, ttbr1_el1", out(reg) ttbr1, options(nomem, nostack, preserves_flags)) };
    ttbr1
}
