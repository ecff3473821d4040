//! Physical memory: RAM in 2 MiB blocks, the hypervisor's heap, and its own translation tables, which map everything to itself.

use crate::stacks;
use crate::sync::IrqLock;
use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El23Attributes as Attributes, PhysicalAddress};
use aarch64_paging::idmap::IdTranslation;
use aarch64_paging::paging::{Constraints, El2, MemoryRegion};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, addr_of, null_mut};
use drivers::dt::Region;
use hyp::ram::Free;
use linked_list_allocator::Heap;

/// RAM is given to guests in blocks of this size.
pub const BLOCK: u64 = 2 << 20;

/// Bytes of the heap: translation tables, and the state of guests.
const HEAP_BYTES: u64 = 8 << 20;

/// MAIR_EL2: index 0 Device-nGnRE, index 1 Normal write-back (Arm ARM D19, MAIR_EL2).
pub const MAIR: u64 = 0xff << 8 | 0x04;

/// Valid, accessed, and what is reserved where there is no EL0.
const MAPPED: Attributes = Attributes::VALID.union(Attributes::ACCESSED).union(Attributes::USER_RES1);
const NORMAL: Attributes = MAPPED.union(Attributes::ATTRIBUTE_INDEX_1).union(Attributes::INNER_SHAREABLE);
const DEVICE: Attributes = MAPPED.union(Attributes::ATTRIBUTE_INDEX_0).union(Attributes::XN);

/// Level of the root table: 39 bits of address.
const ROOT_LEVEL: usize = 1;

unsafe extern "C" {
    static _text: u8;
    static _rodata: u8;
    static _data: u8;
    static _end: u8;
    /// `boot.S`
    safe static early_table: [core::sync::atomic::AtomicU64; 512];
    /// `boot.S`
    fn replace_ttbr0(ttbr0: usize);
}

struct LockedHeap(IrqLock<Heap>);

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(IrqLock::new(Heap::empty()));

// SAFETY: linked_list_allocator hands out disjoint blocks that fit their layout; the lock makes each call whole.
unsafe impl GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lock().allocate_first_fit(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let block = NonNull::new(block).expect("an allocation is never null");
        // SAFETY: the caller gives back what `alloc` returned, with its layout.
        unsafe { self.0.lock().deallocate(block, layout) }
    }
}

/// RAM that nobody has, in whole blocks.
static FREE: IrqLock<Free> = IrqLock::new(Free::new());

/// Takes `size` bytes of RAM, whole blocks in a row.
pub fn take(size: u64) -> Option<Region> {
    let taken = FREE.lock().take(size)?;
    Some(Region { base: taken.start, size })
}

/// Takes back what [`take`] gave.
pub fn give_back(region: Region) {
    FREE.lock().give_back(region.base..region.end());
}

/// Bytes of RAM that nobody has, and of the heap that are in use.
pub fn usage() -> (u64, u64) {
    (FREE.lock().size(), HEAP.0.lock().used() as u64)
}

/// The image.
pub fn image() -> Region {
    let start = addr_of!(_text) as u64;
    Region { base: start, size: addr_of!(_end) as u64 - start }
}

/// Whether code of the hypervisor is at `address`.
pub fn is_text(address: u64) -> bool {
    (addr_of!(_text) as u64..addr_of!(_rodata) as u64).contains(&address)
}

/// Maps the gigabyte around device registers, until the final tables stand.
///
/// # Safety
/// The early table is in use, and there are devices only in that gigabyte.
pub unsafe fn map_device_early(device: Region) {
    /// A block of level 1: Device memory (MAIR index 0), accessed, valid.
    const DEVICE_BLOCK: u64 = 1 << 54 | 1 << 10 | 1 << 6 | 0b01;
    let gigabyte = device.base >> 30;
    early_table[gigabyte as usize].store(gigabyte << 30 | DEVICE_BLOCK, core::sync::atomic::Ordering::Relaxed);
    // SAFETY: barriers; the entry was invalid until now, so no TLB holds it.
    unsafe { core::arch::asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// Finds the RAM that is free, starts the heap, and switches to the final tables. `kept` is RAM that others use.
///
/// # Safety
/// Called once while booting; the regions are what they are said to be.
pub unsafe fn init(memory: &[Region], kept: impl Iterator<Item = Region> + Clone, devices: &[Region]) {
    let kept = kept.chain([image()]);
    for region in memory {
        let mut start = region.base.next_multiple_of(BLOCK);
        let end = region.end() & !(BLOCK - 1);
        while start < end {
            // The first kept region that ends above `start`, by its own start.
            let next = kept.clone().filter(|kept| kept.size > 0 && kept.end() > start).min_by_key(|kept| kept.base);
            let stop = next.map_or(end, |kept| (kept.base & !(BLOCK - 1)).clamp(start, end));
            FREE.lock().give_back(start..stop);
            start = next.map_or(end, |kept| kept.end().next_multiple_of(BLOCK).max(stop));
        }
    }
    let heap = take(HEAP_BYTES).expect("the machine has RAM for the heap");
    // SAFETY: RAM that is nobody's, mapped by the early table: the first that is free is in the image's gigabyte.
    unsafe { HEAP.0.lock().init(core::ptr::with_exposed_provenance_mut(heap.base as usize), HEAP_BYTES as usize) };
    stacks::init(take(stacks::SIZE).expect("the machine has RAM for stacks"));

    let mut map = Mapping::new(IdTranslation::new(), ROOT_LEVEL, El2);
    let mut add = |start: u64, end: u64, attributes| {
        if start < end {
            let region = MemoryRegion::new(start as usize, end as usize);
            map.map_range(&region, PhysicalAddress(start as usize), attributes, Constraints::empty())
                .expect("39 bits of address hold the machine");
        }
    };
    // W^X: nothing is both writable and executable. All RAM is mapped: guests' memory is zeroed and loaded here.
    let [text, rodata, data] = [addr_of!(_text), addr_of!(_rodata), addr_of!(_data)].map(|symbol| symbol as u64);
    for region in memory {
        let (start, end) = (region.base.next_multiple_of(4096), region.end() & !4095);
        add(start, text.clamp(start, end), NORMAL | Attributes::XN);
        add(data.clamp(start, end), end, NORMAL | Attributes::XN);
    }
    add(text, rodata, NORMAL | Attributes::READ_ONLY);
    add(rodata, data, NORMAL | Attributes::READ_ONLY | Attributes::XN);
    for (index, device) in devices.iter().enumerate() {
        if !devices[..index].contains(device) {
            add(device.base, device.end(), DEVICE);
        }
    }
    for guard in stacks::guards() {
        add(guard.start, guard.end, Attributes::empty());
    }
    // SAFETY: the new tables map what the early ones did of what is in use, with the rights it needs.
    unsafe { replace_ttbr0(map.root_address().0) };
    map.mark_active();
    core::mem::forget(map);
}
