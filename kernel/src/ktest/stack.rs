//! Stacks that have no room for a frame.

use super::irq::in_interrupt;
use super::{SEED, Test, local_sp, seeded};
use crate::mm::STACKS_BASE;
use crate::mm::stacks::{MAX_STACKS, THREAD_SIZE};
use crate::percpu::this_cpu;
use core::sync::atomic::Ordering::Relaxed;

pub(super) const TESTS: &[Test] = &[
    ("overflow", || recurse(local_sp())),
    ("overflow.irq", || in_interrupt(|| recurse(local_sp()))),
    ("overflow.overflow", || recurse(this_cpu().overflow_stack.load(Relaxed) - 256)),
    ("wild.set", || wild(THREAD_SIZE)),
    ("wild.clear", || wild(0)),
];

unsafe extern "C" {
    fn ktest_recurse(pattern: *const u64, sp: usize) -> !;
    fn ktest_wild(pattern: *const u64, sp: usize) -> !;
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
