//! Kernel stacks.
//!
//! A stack is [`THREAD_SIZE`] bytes at a multiple of twice that, so bit [`THREAD_SHIFT`] of every SP in it is 0, once a
//! frame has been reserved; `kernel_ventry` tests that bit. The upper half of each slot is mapped to nothing: it is the
//! guard below the next slot's stack. Stacks given back stay mapped and are used again.

use super::frames::MAX_SHARES;
use super::numbers::Numbers;
use super::{OutOfMemory, PAGE_SIZE, STACKS_BASE, kernel_map};
use crate::sync::IrqLock;
use core::ops::Range;

/// log2 of the bytes in a stack.
pub const THREAD_SHIFT: u32 = 14;
/// Bytes in a stack.
pub const THREAD_SIZE: usize = 1 << THREAD_SHIFT;
/// Stacks there can be: what the tasks, and each CPU's interrupts and overflow reports, run on.
pub const MAX_STACKS: usize = 1280;
// Each program has one, and shares a frame once at most.
const _: () = assert!(MAX_STACKS <= MAX_SHARES + 1);

const SLOT_SIZE: usize = 2 * THREAD_SIZE;

/// A kernel stack; dropped, it can be used again.
pub struct KernelStack {
    slot: usize,
}

struct Stacks {
    slots: Numbers<MAX_STACKS>,
    /// Slots below this one have memory.
    mapped: usize,
}

static STACKS: IrqLock<Stacks> = IrqLock::new(Stacks { slots: Numbers::new(), mapped: 0 });

impl KernelStack {
    /// A stack, holding whatever its last user left.
    pub fn new() -> Result<Self, OutOfMemory> {
        let mut stacks = STACKS.lock();
        let slot = stacks.slots.take(MAX_STACKS).ok_or(OutOfMemory)?;
        if slot == stacks.mapped {
            // The lower half of slot 0 has nothing mapped below it either: the device area and the stacks are far apart.
            if let Err(why) = kernel_map::map_frames(STACKS_BASE + slot * SLOT_SIZE, THREAD_SIZE / PAGE_SIZE) {
                stacks.slots.give_back(slot);
                return Err(why);
            }
            stacks.mapped += 1;
        }
        Ok(KernelStack { slot })
    }

    /// Its addresses; the end is the SP of an empty stack.
    pub fn range(&self) -> Range<usize> {
        Self::range_of(self.slot)
    }

    fn range_of(slot: usize) -> Range<usize> {
        let low = STACKS_BASE + slot * SLOT_SIZE;
        low..low + THREAD_SIZE
    }
}

/// The stack whose slot, or the guard below which, `address` is in.
pub fn slot_of(address: usize) -> Option<Range<usize>> {
    // The guard below a stack is the upper half of the slot before.
    let slot = address.checked_sub(STACKS_BASE - THREAD_SIZE)? / SLOT_SIZE;
    (slot < STACKS.try_lock()?.mapped).then(|| KernelStack::range_of(slot))
}

/// How many stacks are in use.
#[cfg(feature = "ktest")]
pub fn in_use() -> usize {
    STACKS.lock().slots.in_use()
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        STACKS.lock().slots.give_back(self.slot);
    }
}
