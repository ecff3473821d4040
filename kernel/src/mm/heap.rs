//! The kernel heap: `linked_list_allocator` behind a lock that masks IRQs, so that a handler may free what it must.
//!
//! EL0 can neither exhaust nor fragment it: what grows with what a program asks is allocated by [`grow`], which can fail; and
//! calls that allocate a few small blocks ask [`reserve`] first. Small blocks that find no hole that is large enough come out of a
//! piece of their own, and once half of that is gone `reserve` refuses. Another allocation that fails is a broken invariant.

use super::{OutOfMemory, PAGE_SIZE, frames, phys_to_virt};
use crate::sync::{IrqLock, IrqMask};
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use linked_list_allocator::Heap;

/// The heap's share of RAM, one in so many. A program's page costs about 32 bytes of it.
const SHARE: usize = 32;

/// What the small blocks of one call take at most.
const CALL_BYTES: usize = 2 << 10;

/// What is allocated from, and the reserve, one piece for small blocks that find no room in its holes.
struct LockedHeap(IrqLock<[Heap; 2]>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(IrqLock::new([Heap::empty(), Heap::empty()]));

// SAFETY: linked_list_allocator hands out disjoint blocks that fit their layout; the lock makes each call whole.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heaps = self.0.lock();
        let block = heaps.iter_mut().find_map(|heap| heap.allocate_first_fit(layout).ok());
        block.map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let block = NonNull::new(block).expect("an allocation is never null");
        let mut heaps = self.0.lock();
        let [main, reserve] = &mut *heaps;
        let heap = if block.as_ptr() < reserve.bottom() { main } else { reserve };
        // SAFETY: the caller gives back what `alloc` returned, with its layout; the reserve lies behind all the rest.
        unsafe { heap.deallocate(block, layout) }
    }
}

/// Makes room for `additional` elements more, or fails.
pub fn grow<T>(vec: &mut Vec<T>, additional: usize) -> Result<(), OutOfMemory> {
    // Nobody comes between the look at what is free and the allocation.
    let _mask = IrqMask::new();
    // A vector that grows may double, in a new place.
    let bytes = vec.len().saturating_add(additional).saturating_mul(2 * size_of::<T>());
    let is_room = {
        let [main, reserve] = &*HEAP.0.lock();
        main.free() >= bytes.saturating_add(reserve.size())
    };
    if !is_room {
        return Err(OutOfMemory);
    }
    vec.try_reserve(additional).map_err(|_| OutOfMemory)
}

/// How many tasks at once may have called [`reserve`] and not have allocated yet; so many the machine can have.
pub fn max_calls() -> usize {
    HEAP.0.lock()[1].size() / CALL_BYTES
}

/// Starts the heap with its share of the free frames. The reserve is large enough for `calls` at once, or, with little RAM, a third.
pub fn init(calls: usize) {
    let pages = frames::free() / SHARE;
    let memory = frames::take_contiguous(pages).expect("the machine has RAM in one piece for the heap");
    // SAFETY: the frames are ours for good and in the linear map.
    unsafe {
        let mut heaps = HEAP.0.lock();
        let reserve = (calls * CALL_BYTES).min(pages * PAGE_SIZE / 3).next_multiple_of(PAGE_SIZE);
        let size = pages * PAGE_SIZE - reserve;
        heaps[0].init(phys_to_virt(memory), size);
        heaps[1].init(phys_to_virt(memory + size as u64), reserve);
    }
}

/// Bytes that are allocated.
#[cfg(feature = "ktest")]
pub fn used() -> usize {
    HEAP.0.lock().iter().map(Heap::used).sum()
}

/// Fails when the heap is too full for EL0 to start another operation that allocates.
pub fn reserve() -> Result<(), OutOfMemory> {
    let [main, reserve] = &*HEAP.0.lock();
    if main.free() < reserve.size() || reserve.free() < reserve.size() / 2 { Err(OutOfMemory) } else { Ok(()) }
}
