//! The frame allocator: 4 KiB frames of RAM, by a list of those given back and, behind it, ranges never used yet.

#[cfg(feature = "ktest")]
pub mod audit;

use super::{LINEAR_SIZE, OutOfMemory, PAGE_SIZE, phys_to_virt};
use crate::sync::IrqLock;
use core::arch::global_asm;
use core::mem::ManuallyDrop;
use drivers::dt::Region;
use heapless::Vec;

global_asm!(include_str!("mem.S"), PAGE_SIZE = const PAGE_SIZE);

unsafe extern "C" {
    fn clear_page(page: *mut u8);
    fn copy_page(to: *mut u8, from: *const u8);
}

/// A frame, ours alone or [shared](Frame::share); when the last of its owners drops it, it is free again.
pub struct Frame {
    address: u64,
}

impl Frame {
    /// Its physical address.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Where the linear map has it.
    pub fn as_ptr(&self) -> *mut u8 {
        phys_to_virt(self.address)
    }

    /// Another owner of the same frame; nobody writes to it from now on, until there is only one owner again.
    pub fn share(&self) -> Frame {
        *FRAMES.lock().other_owners(self.address) += 1;
        Frame { address: self.address }
    }

    /// Whether it has other owners.
    pub fn is_shared(&self) -> bool {
        *FRAMES.lock().other_owners(self.address) > 0
    }

    /// Gives it up to a page table; [`Frame::from_raw`] takes it back.
    pub fn into_raw(self) -> u64 {
        ManuallyDrop::new(self).address
    }

    /// Takes back a frame.
    ///
    /// # Safety
    /// `address` came from [`Frame::into_raw`] and nothing uses the frame any more.
    pub unsafe fn from_raw(address: u64) -> Self {
        Frame { address }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut frames = FRAMES.lock();
        let others = frames.other_owners(self.address);
        if *others > 0 {
            *others -= 1;
            return;
        }
        // SAFETY: the frame is in the linear map and was ours alone.
        unsafe { phys_to_virt::<u64>(self.address).write(frames.freed) };
        frames.freed = self.address;
        frames.free += 1;
    }
}

/// How often a frame can be shared: each time by one more program.
pub const MAX_SHARES: usize = u16::MAX as usize;

struct Frames {
    /// Head of the list of frames given back, each holding the address of the next; [`END`] ends it.
    freed: u64,
    /// RAM never handed out yet.
    unused: Vec<Region, 32>,
    /// How many frames can be had.
    free: usize,
    /// How many other owners each frame has; the ranges together are all the RAM that was ever `unused`.
    owners: Vec<Owners, 32>,
}

/// Counts of other owners, for the frames from `base` on. At most [`MAX_SHARES`].
struct Owners {
    base: u64,
    counts: &'static mut [u16],
}

impl Frames {
    fn other_owners(&mut self, address: u64) -> &mut u16 {
        let owners = self
            .owners
            .iter_mut()
            .find(|owners| owners.base <= address && address < owners.base + (owners.counts.len() * PAGE_SIZE) as u64);
        let owners = owners.expect("a frame is of RAM that was counted");
        &mut owners.counts[((address - owners.base) / PAGE_SIZE as u64) as usize]
    }
}

const END: u64 = u64::MAX;

static FRAMES: IrqLock<Frames> = IrqLock::new(Frames { freed: END, unused: Vec::new(), free: 0, owners: Vec::new() });

/// Starts the allocator with `memory` less what is `kept`, all in whole frames.
pub fn init(memory: impl Iterator<Item = Region>, kept: impl Iterator<Item = Region> + Clone) {
    let mut frames = FRAMES.lock();
    for region in memory {
        let mut start = region.base.next_multiple_of(PAGE_SIZE as u64);
        let end = region.end().min(LINEAR_SIZE) & !(PAGE_SIZE as u64 - 1);
        while start < end {
            // The first kept region that ends above `start`, by its own start.
            let next = kept.clone().filter(|kept| kept.size > 0 && kept.end() > start).min_by_key(|kept| kept.base);
            let stop = next.map_or(end, |kept| (kept.base & !(PAGE_SIZE as u64 - 1)).clamp(start, end));
            if stop > start && frames.unused.push(Region { base: start, size: stop - start }).is_err() {
                log::warn!("memory: too many separate ranges; the RAM from {start:#x} on is not used");
                return;
            }
            frames.free += ((stop - start) / PAGE_SIZE as u64) as usize;
            start = next.map_or(end, |kept| kept.end().next_multiple_of(PAGE_SIZE as u64).max(stop));
        }
    }
}

/// Makes room, at the beginning of each range of unused RAM, to count owners. Called once the linear map stands, before the
/// first frame is shared or dropped.
pub fn init_owners() {
    let mut frames = FRAMES.lock();
    let Frames { unused, free, owners, .. } = &mut *frames;
    for region in unused {
        let frames = (region.size / PAGE_SIZE as u64) as usize;
        let pages = (frames * size_of::<u16>()).div_ceil(PAGE_SIZE);
        // SAFETY: unused RAM in the linear map, for good.
        let counts = unsafe {
            let counts = phys_to_virt::<u8>(region.base);
            (0..pages).for_each(|page| clear_page(counts.add(page * PAGE_SIZE)));
            core::slice::from_raw_parts_mut(counts.cast(), frames)
        };
        // There are as many as there are unused ranges.
        let _ = owners.push(Owners { base: region.base, counts });
        let taken = (pages * PAGE_SIZE) as u64;
        *region = Region { base: region.base + taken, size: region.size - taken };
        *free -= pages;
    }
}

/// One frame, holding whatever it held.
pub fn alloc() -> Result<Frame, OutOfMemory> {
    let mut frames = FRAMES.lock();
    let address = if frames.freed != END {
        let address = frames.freed;
        // SAFETY: a frame on the list is free, and its first word is the link written when it was given back.
        frames.freed = unsafe { phys_to_virt::<u64>(address).read() };
        address
    } else {
        take(&mut frames.unused, 1).ok_or(OutOfMemory)?
    };
    frames.free -= 1;
    Ok(Frame { address })
}

/// One frame of zeroes.
pub fn alloc_zeroed() -> Result<Frame, OutOfMemory> {
    let frame = alloc()?;
    // SAFETY: a page of normal memory that is ours alone.
    unsafe { clear_page(frame.as_ptr()) };
    Ok(frame)
}

/// One frame with the content of another.
pub fn alloc_copy(of: &Frame) -> Result<Frame, OutOfMemory> {
    let frame = alloc()?;
    // SAFETY: two pages of normal memory, the first of which is ours alone.
    unsafe { copy_page(frame.as_ptr(), of.as_ptr()) };
    Ok(frame)
}

/// `count` frames in a row, for good; only while booting, when RAM is still in large pieces.
pub fn take_contiguous(count: usize) -> Result<u64, OutOfMemory> {
    let mut frames = FRAMES.lock();
    let address = take(&mut frames.unused, count).ok_or(OutOfMemory)?;
    frames.free -= count;
    Ok(address)
}

/// How many frames can be had.
pub fn free() -> usize {
    FRAMES.lock().free
}

fn take(unused: &mut [Region], count: usize) -> Option<u64> {
    let size = (count * PAGE_SIZE) as u64;
    let region = unused.iter_mut().find(|region| region.size >= size)?;
    let address = region.base;
    *region = Region { base: region.base + size, size: region.size - size };
    Some(address)
}
