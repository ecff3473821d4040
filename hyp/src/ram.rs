//! Which RAM nobody has: regions, from which guests' memory is taken in one piece, and to which it is given back.
//!
//! ```
//! let mut free = hyp::ram::Free::new();
//! free.give_back(0x4000_0000..0x4800_0000);
//! let taken = free.take(0x400_0000).unwrap();
//! assert_eq!((taken.clone(), free.size()), (0x4000_0000..0x4400_0000, 0x400_0000));
//! free.give_back(taken);
//! assert_eq!(free.take(0x800_0000), Some(0x4000_0000..0x4800_0000));
//! ```

use core::ops::Range;
use heapless::Vec;

/// Pieces that are kept: more than a machine's memory map and its guests can make.
const PIECES: usize = 64;

/// RAM that nobody has, by address; no two pieces touch, and none is empty.
#[derive(Clone, Debug, Default)]
pub struct Free(Vec<Range<u64>, PIECES>);

impl Free {
    /// None.
    pub const fn new() -> Free {
        Free(Vec::new())
    }

    /// Takes `size` bytes, more than none, from the lowest piece that has as many.
    pub fn take(&mut self, size: u64) -> Option<Range<u64>> {
        let index = self.0.iter().position(|piece| piece.end - piece.start >= size)?;
        let piece = &mut self.0[index];
        let taken = piece.start..piece.start + size;
        piece.start = taken.end;
        if piece.is_empty() {
            self.0.remove(index);
        }
        Some(taken)
    }

    /// Adds a region, or one that was taken; none of it is here. What there is no room for is lost.
    pub fn give_back(&mut self, region: Range<u64>) {
        if region.is_empty() {
            return;
        }
        let at = self.0.iter().take_while(|piece| piece.start < region.start).count();
        let joins_next = self.0.get(at).is_some_and(|next| next.start == region.end);
        let before = at.checked_sub(1).filter(|&before| self.0[before].end == region.start);
        match (before, joins_next) {
            (Some(before), true) => self.0[before].end = self.0.remove(at).end,
            (Some(before), false) => self.0[before].end = region.end,
            (None, true) => self.0[at].start = region.start,
            (None, false) => drop(self.0.insert(at, region)),
        }
    }

    /// Bytes of all pieces.
    pub fn size(&self) -> u64 {
        self.0.iter().map(|piece| piece.end - piece.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is taken and given back, in whatever order: no byte is had twice, and in the end all are there, in one piece.
        #[test]
        fn everything_comes_back(steps in prop::collection::vec((any::<bool>(), 1_u64..40, any::<prop::sample::Index>()), 0..80)) {
            const ALL: Range<u64> = 100..300;
            let mut free = Free::new();
            free.give_back(ALL.start..150);
            free.give_back(200..ALL.end);
            free.give_back(150..200);
            let mut taken = std::vec::Vec::<Range<u64>>::new();
            for (take, size, which) in steps {
                if take {
                    let Some(region) = free.take(size) else { continue };
                    prop_assert_eq!(region.end - region.start, size);
                    prop_assert!(ALL.start <= region.start && region.end <= ALL.end);
                    let overlaps = |other: &Range<u64>| other.start < region.end && region.start < other.end;
                    prop_assert!(!taken.iter().any(overlaps), "{region:?} twice");
                    taken.push(region);
                } else if !taken.is_empty() {
                    free.give_back(taken.swap_remove(which.index(taken.len())));
                }
                let had: u64 = taken.iter().map(|region| region.end - region.start).sum();
                prop_assert_eq!(free.size() + had, ALL.end - ALL.start);
            }
            taken.into_iter().for_each(|region| free.give_back(region));
            prop_assert_eq!(free.take(ALL.end - ALL.start), Some(ALL));
            prop_assert_eq!(free.take(1), None);
        }
    }
}
