//! Stacks that have no room for a frame.

use super::el1::UNMAPPED;
use super::irq::in_interrupt;
use super::{SEED, Test, local_sp, seeded};
use crate::mm::STACKS_BASE;
use crate::mm::stacks::{MAX_STACKS, THREAD_SIZE};
use crate::percpu::this_cpu;
use crate::{irq, sched};
use core::sync::atomic::Ordering::Relaxed;
use trap::frame::S_FRAME_SIZE;

pub(super) const TESTS: &[Test] = &[
    ("overflow", || recurse(local_sp())),
    ("overflow.irq", || in_interrupt(|| recurse(local_sp()))),
    ("overflow.overflow", || recurse(this_cpu().overflow_stack.load(Relaxed) - 256)),
    ("overflow.interrupt", interrupt_without_room),
    ("stack.low", || {
        // SAFETY: a fault with little room on the stack: reported, and nothing comes after.
        unsafe { ktest_load_at(UNMAPPED, sched::current().stack.range().start + 1600) }
    }),
    ("wild.set", || wild(THREAD_SIZE)),
    ("wild.clear", || wild(0)),
];

unsafe extern "C" {
    fn ktest_recurse(pattern: *const u64, sp: usize) -> !;
    fn ktest_wild(pattern: *const u64, sp: usize) -> !;
    fn ktest_load_at(address: usize, sp: usize) -> !;
    fn ktest_unmask_at(_: usize, sp: usize) -> !;
}

/// An interrupt comes where the stack has room for no frame.
fn interrupt_without_room() {
    const SGI: u32 = 6;
    irq::register(SGI, || ());
    irq::controller().lock().send_sgi(SGI, this_cpu().index);
    // SAFETY: never comes back.
    unsafe { ktest_unmask_at(0, sched::current().stack.range().start + S_FRAME_SIZE - 16) }
}

fn recurse(sp: usize) {
    // SAFETY: never comes back; the stack at `sp` is not used by anyone who runs again.
    unsafe { ktest_recurse(seeded().as_ptr(), sp) }
}

/// With SP where nothing is mapped, bit THREAD_SHIFT of it as in `bit`, after a frame has been reserved.
fn wild(bit: usize) {
    let beyond = STACKS_BASE + MAX_STACKS * 2 * THREAD_SIZE;
    let offset = (SEED.load(Relaxed) as usize % (THREAD_SIZE / 2)) & !15;
    // SAFETY: never comes back.
    unsafe { ktest_wild(seeded().as_ptr(), beyond + bit + THREAD_SIZE / 2 + offset) }
}
