//! Numbers that look random, and are the same for the same seed (SplitMix64).

/// Where the sequence is.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    /// A number of any magnitude: as many of its upper bits are 0, or 1, as it happens.
    pub fn any(&mut self) -> u64 {
        let shift = self.below(64);
        let value = self.word() >> shift;
        if self.below(4) == 0 { !value } else { value }
    }
}
