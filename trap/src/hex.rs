//! 64-bit values in records.

use core::fmt;
use heapless::String;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A 64-bit value, written in JSON as a string `"0x..."`: a JSON number holds 53 bits in many tools.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String<18>>::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("a hexadecimal string begins with 0x"))?;
        if digits.starts_with('+') {
            return Err(D::Error::custom("a hexadecimal string has no sign"));
        }
        u64::from_str_radix(digits, 16).map(Hex).map_err(D::Error::custom)
    }
}
