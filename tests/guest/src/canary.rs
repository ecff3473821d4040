//! What the honest guest ([`canary`](../src/bin/canary.rs)) puts where it may, so that a hostile one knows it when it sees it.

use crate::random::Random;

const MARK: u64 = 0xca7a;

/// The value of number `index` in a round: marked in both its halves.
pub fn value(seed: u64, round: u64, index: u64) -> u64 {
    let random = Random::new(seed << 48 ^ round << 24 ^ index).word();
    random & 0xffff_0000_ffff | MARK << 48 | MARK << 16
}

/// Whether a value is one of those, or half of one.
pub fn is_marked(value: u64) -> bool {
    value >> 48 == MARK || value >> 16 & 0xffff == MARK
}

/// Whether it is a whole one: of what is made of random numbers halves are too many.
pub fn is_wholly_marked(value: u64) -> bool {
    value >> 48 == MARK && value >> 16 & 0xffff == MARK
}
