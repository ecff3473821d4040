//! Numbers that are given out and come back: of stacks, of address spaces. Each in constant time.

use heapless::Vec;

/// Numbers from 0 on, at most `N` of them.
pub struct Numbers<const N: usize> {
    /// Those given back.
    free: Vec<u16, N>,
    /// The lowest one never given out.
    next: usize,
}

impl<const N: usize> Numbers<N> {
    /// All of them free.
    pub const fn new() -> Self {
        Numbers { free: Vec::new(), next: 0 }
    }

    /// A number below `end`, the one given back last if there is one.
    pub fn take(&mut self, end: usize) -> Option<usize> {
        if let Some(number) = self.free.pop() {
            return Some(number.into());
        }
        let number = self.next;
        if number >= end.min(N) {
            return None;
        }
        self.next += 1;
        Some(number)
    }

    /// How many are given out.
    #[cfg(feature = "ktest")]
    pub fn in_use(&self) -> usize {
        self.next - self.free.len()
    }

    /// A number that [`take`](Self::take) gave out is free again.
    pub fn give_back(&mut self, number: usize) {
        self.free.push(number as u16).expect("no more numbers come back than were given out");
    }
}
