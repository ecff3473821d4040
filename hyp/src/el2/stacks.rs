//! The stacks of vCPUs, each with unmapped memory below it: what overruns one is a data abort at the first byte, which `hyp_sync`
//! reports on a stack of its own.
//!
//! They lie in one block of RAM, in slots of which the lower half is not mapped.

use crate::memory::BLOCK;
use core::ops::Range;
use core::ptr::{NonNull, addr_of, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use drivers::dt::Region;

/// Bytes of a vCPU's stack.
pub const STACK_SIZE: usize = 16 << 10;
/// From one to the next.
const SLOT_SIZE: usize = 2 * STACK_SIZE;
/// Each has a bit in [`FREE`].
const SLOTS: usize = 64;

const _: () = assert!(SLOTS * SLOT_SIZE == BLOCK as usize);

/// Where they are; 0 before [`init`].
static BASE: AtomicU64 = AtomicU64::new(0);
/// The slots that nobody has.
static FREE: AtomicU64 = AtomicU64::new(!0);

unsafe extern "C" {
    /// Below the stack of the boot CPU (`boot.S`).
    static boot_stack_guard: u8;
}

/// Has the stacks lie in `block`.
pub fn init(block: Region) {
    assert!(block.size == BLOCK, "one block");
    BASE.store(block.base, Relaxed);
}

/// What is not to be mapped: the memory below each stack.
pub fn guards() -> impl Iterator<Item = Range<u64>> {
    let boot = addr_of!(boot_stack_guard) as u64;
    let base = BASE.load(Relaxed);
    let slots = (0..SLOTS).map(move |slot| base + (slot * SLOT_SIZE) as u64);
    slots.map(|start| start..start + (SLOT_SIZE - STACK_SIZE) as u64).chain(core::iter::once(boot..boot + 4096))
}

/// Whether what is at `address` is below a stack, so that it was overrun.
pub fn is_guard(address: u64) -> bool {
    guards().any(|guard| guard.contains(&address))
}

/// A stack, as a `T` that is as large; given back when it is dropped.
pub struct Guarded<T> {
    at: NonNull<T>,
    slot: usize,
}

impl<T> Guarded<T> {
    /// Takes a stack that nobody has, and zeroes it.
    ///
    /// # Safety
    /// Zeroes are a value of `T`.
    pub unsafe fn zeroed() -> Self {
        const { assert!(size_of::<T>() == STACK_SIZE && align_of::<T>() <= 4096) };
        let taken = FREE.fetch_update(Relaxed, Relaxed, |free| (free != 0).then_some(free & free.wrapping_sub(1)));
        let slot = taken.expect("there are as many stacks as there can be vCPUs").trailing_zeros() as usize;
        let start = BASE.load(Relaxed) as usize + slot * SLOT_SIZE + SLOT_SIZE - STACK_SIZE;
        let at = NonNull::new(with_exposed_provenance_mut::<T>(start)).expect("there is RAM for stacks");
        // SAFETY: mapped memory that is this slot's, which is nobody else's.
        unsafe { at.write_bytes(0, 1) };
        Guarded { at, slot }
    }

    /// Where it is. Who may touch it, whoever owns it says.
    pub fn as_ptr(&self) -> *mut T {
        self.at.as_ptr()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        FREE.fetch_or(1 << self.slot, Relaxed);
    }
}
