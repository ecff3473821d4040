//! Register contents for tests: values that depend on a seed, so that what a test finds again cannot be left over.

/// x0..x30 for `seed`: the SplitMix64 sequence (Steele, Lea, Flood, 2014).
pub fn registers(seed: u64) -> [u64; 31] {
    let mut state = seed;
    core::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_the_published_sequence() {
        let first = super::registers(1_234_567);
        assert_eq!(first[..3], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
