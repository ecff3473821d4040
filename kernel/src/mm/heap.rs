//! The kernel heap: `linked_list_allocator` behind a lock that masks IRQs, so that a handler may free what it must.
//!
//! EL0 cannot exhaust it: what grows with what a program asks is allocated by [`grow`], which can fail and always leaves
//! [`RESERVE_BYTES`]; and calls that allocate a few small blocks ask [`reserve`] first, which refuses while there is less than
//! twice that. Another allocation that fails is a broken invariant.

use super::{OutOfMemory, PAGE_SIZE, frames, phys_to_virt};
use crate::sync::{IrqLock, IrqMask};
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use linked_list_allocator::Heap;

/// The heap's share of RAM, one in so many. A program's page costs about 32 bytes of it.
const SHARE: usize = 32;

/// Enough for the small blocks of one call of every task at once, 2 KiB each.
const RESERVE_BYTES: usize = 256 << 10;

struct LockedHeap(IrqLock<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(IrqLock::new(Heap::empty()));

// SAFETY: linked_list_allocator hands out disjoint blocks that fit their layout; the lock makes each call whole.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let block = NonNull::new(block).expect("an allocation is never null");
        // SAFETY: the caller gives back what `alloc` returned, with its layout.
        unsafe { self.0.lock().deallocate(block, layout) }
    }
}

/// Makes room for `additional` elements more, or fails.
pub fn grow<T>(vec: &mut Vec<T>, additional: usize) -> Result<(), OutOfMemory> {
    // Nobody comes between the look at what is free and the allocation.
    let _mask = IrqMask::new();
    // A vector that grows may double, in a new place.
    let bytes = vec.len().saturating_add(additional).saturating_mul(2 * size_of::<T>());
    if HEAP.0.lock().free() < bytes.saturating_add(RESERVE_BYTES) {
        return Err(OutOfMemory);
    }
    vec.try_reserve(additional).map_err(|_| OutOfMemory)
}

/// Starts the heap with its share of the free frames.
pub fn init() {
    let pages = frames::free() / SHARE;
    let memory = frames::take_contiguous(pages).expect("the machine has RAM in one piece for the heap");
    // SAFETY: the frames are ours for good and in the linear map.
    unsafe { HEAP.0.lock().init(phys_to_virt(memory), pages * PAGE_SIZE) };
}

/// Fails when the heap is too full for EL0 to start another operation that allocates.
pub fn reserve() -> Result<(), OutOfMemory> {
    if HEAP.0.lock().free() < 2 * RESERVE_BYTES { Err(OutOfMemory) } else { Ok(()) }
}
