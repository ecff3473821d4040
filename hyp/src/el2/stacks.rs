//! The stacks of vCPUs, each with unmapped memory below it: what overruns one is a data abort at the first byte, which `hyp_sync`
//! reports on a stack of its own.
//!
//! They lie in RAM of their own, in slots of which the lower half is not mapped. The CPUs other than the first have such a stack too, to
//! idle on.

use crate::memory::BLOCK;
use crate::percpu::MAX_CPUS;
use crate::sched::VCPUS_MAX;
use crate::sync::IrqLock;
use core::ops::Range;
use core::ptr::{NonNull, addr_of, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use drivers::dt::Region;

/// Bytes of a vCPU's stack.
pub const STACK_SIZE: usize = 16 << 10;
/// From one to the next.
const SLOT_SIZE: usize = 2 * STACK_SIZE;
/// Each has a bit in [`FREE`].
const SLOTS: usize = 128;
/// Bytes of all.
pub const SIZE: u64 = (SLOTS * SLOT_SIZE) as u64;

const _: () = assert!(SIZE.is_multiple_of(BLOCK) && SLOTS >= VCPUS_MAX + MAX_CPUS);

/// Where they are; 0 before [`init`].
static BASE: AtomicU64 = AtomicU64::new(0);
/// The slots that nobody has.
static FREE: IrqLock<u128> = IrqLock::new(!0);

unsafe extern "C" {
    /// Below the stack of the boot CPU (`boot.S`).
    static boot_stack_guard: u8;
}

/// Has the stacks lie in `region`.
pub fn init(region: Region) {
    assert!(region.size == SIZE, "room for all");
    BASE.store(region.base, Relaxed);
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
        let mut free = FREE.lock();
        let slot = free.trailing_zeros() as usize;
        assert!(slot < SLOTS, "there are as many stacks as there can be vCPUs and CPUs");
        *free &= *free - 1;
        drop(free);
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
        *FREE.lock() |= 1 << self.slot;
    }
}
