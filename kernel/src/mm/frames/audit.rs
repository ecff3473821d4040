//! The allocator's books against what is found in use.

use super::{END, FRAMES, Frames, PAGE_SIZE, alloc};
use crate::mm::phys_to_virt;
use crate::sync::IrqLockGuard;
use alloc::vec::Vec;

/// Takes all free frames but so many, for good, so that programs use up what there is.
pub fn leave(frames: usize) {
    while FRAMES.lock().free > frames {
        let Ok(frame) = alloc() else { return };
        frame.into_raw();
    }
}

/// In the free list.
const FREE: u16 = u16::MAX;
/// Found where it must be the only use: a table, or the kernel's own.
const SOLE: u16 = u16::MAX - 1;

/// A count of frames by where they are found. Nobody else comes to the allocator meanwhile.
pub struct Census<'a> {
    frames: IrqLockGuard<'static, Frames>,
    /// For each frame, in the order of the owners' counts: how many programs have it, or one of the above.
    found: &'a mut Vec<u16>,
}

impl<'a> Census<'a> {
    /// Begins with the free list. `found` is memory to count in: as long, from the second time on.
    ///
    /// # Panics
    /// A frame is not RAM, twice in the list, or free and shared; or there are not as many as there should be.
    pub fn begin(found: &'a mut Vec<u16>) -> Self {
        let all = FRAMES.lock().owners.iter().map(|owners| owners.counts.len()).sum();
        found.clear();
        found.resize(all, 0);
        let mut census = Census { frames: FRAMES.lock(), found };
        let mut address = census.frames.freed;
        let mut free: usize = census.frames.unused.iter().map(|region| region.size as usize / PAGE_SIZE).sum();
        while address != END {
            let index =
                census.index(address).unwrap_or_else(|| panic!("audit: {address:#x} in the free list is no frame"));
            assert!(census.found[index] == 0, "audit: frame {address:#x} is twice in the free list");
            assert!(*census.frames.other_owners(address) == 0, "audit: frame {address:#x} is free and shared");
            census.found[index] = FREE;
            free += 1;
            // SAFETY: a frame in the list holds the next one's address.
            address = unsafe { phys_to_virt::<u64>(address).read() };
        }
        let counted = census.frames.free;
        assert!(free == counted, "audit: {free} frames are free, not {counted}");
        census
    }

    /// A frame's place in `found`, if it was ever handed out.
    fn index(&self, address: u64) -> Option<usize> {
        let mut before = 0;
        for (owners, unused) in self.frames.owners.iter().zip(&self.frames.unused) {
            if (owners.base..unused.base).contains(&address) && address.is_multiple_of(PAGE_SIZE as u64) {
                return Some(before + (address - owners.base) as usize / PAGE_SIZE);
            }
            before += owners.counts.len();
        }
        None
    }

    /// A frame found as `what`, where it can be nothing else. What is no frame is the image's.
    ///
    /// # Panics
    /// It is free, or something else, too.
    pub fn sole(&mut self, address: u64, what: &str) {
        let Some(index) = self.index(address) else { return };
        let before = core::mem::replace(&mut self.found[index], SOLE);
        assert!(before != FREE, "audit: frame {address:#x} is free, and {what}");
        assert!(before == 0, "audit: frame {address:#x} is {what}, and something else");
    }

    /// A frame found behind a page of a program.
    ///
    /// # Panics
    /// It is free, or no program's, or more programs have it than it says.
    pub fn page(&mut self, address: u64) {
        let index = self.index(address).unwrap_or_else(|| panic!("audit: {address:#x} behind a page is no frame"));
        let found = self.found[index];
        assert!(found != FREE, "audit: frame {address:#x} is free, and behind a page");
        assert!(found != SOLE, "audit: frame {address:#x} is a table or the kernel's, and behind a page");
        self.found[index] += 1;
        let others = *self.frames.other_owners(address);
        assert!(
            found <= others,
            "audit: frame {address:#x} is behind {} pages, and counted {} times",
            found + 1,
            others + 1
        );
    }

    /// [`Frame::is_shared`](super::Frame::is_shared).
    pub fn is_shared(&mut self, address: u64) -> bool {
        self.index(address).is_some() && *self.frames.other_owners(address) > 0
    }

    /// How many frames were handed out and are nowhere. With `all` tables and pages found, as many pages have each frame as it
    /// says.
    ///
    /// # Panics
    /// They have not.
    pub fn end(self, all: bool) -> usize {
        let mut lost = 0;
        let mut found = self.found.iter();
        for (owners, unused) in self.frames.owners.iter().zip(&self.frames.unused) {
            let handed_out = (unused.base - owners.base) as usize / PAGE_SIZE;
            for (index, (&others, &found)) in owners.counts.iter().zip(&mut found).enumerate() {
                lost += usize::from(index < handed_out && found == 0);
                let counted = found.max(1) == others + 1 || found == FREE || found == SOLE;
                let address = owners.base + (index * PAGE_SIZE) as u64;
                assert!(
                    !all || counted,
                    "audit: frame {address:#x} is behind {found} pages, and counted {} times",
                    others + 1
                );
            }
        }
        lost
    }
}
