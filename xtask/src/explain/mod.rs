//! Syndromes, and whole reports of any AArch64 kernel, in words: from the crate that the kernel itself uses.
//!
//! [`log`] finds what a log says of each exception; [`report`] says what that means; [`address`] what a fault address
//! shows by itself.

pub mod address;
pub mod log;
pub mod report;

use std::fmt::Write;
use trap::esr::Esr;
use trap::pstate::Pstate;

/// A hexadecimal number as reports print it: with or without `0x`, digits perhaps parted by `_`.
pub fn parse_hex(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text).replace('_', "");
    // `from_str_radix` would take a sign.
    if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("not a hexadecimal number of 64 bits".into());
    }
    u64::from_str_radix(&digits, 16).map_err(|_| "not a hexadecimal number of 64 bits".into())
}

/// The exception in one sentence.
pub fn sentence(esr: u64, far: Option<u64>) -> String {
    Esr(esr).sentence(far).to_string()
}

/// The exception in one sentence, what FAR shows, then the syndrome bit by bit.
pub fn syndrome(esr: u64, far: Option<u64>) -> String {
    let mut text = format!("ESR {esr:#018x}: {}\n", sentence(esr, far));
    for (far, shows) in
        far.into_iter().flat_map(|far| address::shows(far, Some(esr)).into_iter().map(move |s| (far, s)))
    {
        let _ = writeln!(text, "FAR {far:#018x}: {shows}");
    }
    let _ = write!(text, "\n{:#}", Esr(esr).table());
    text
}

/// A saved PSTATE in words.
pub fn pstate(value: u64) -> String {
    Pstate(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_paste_them() {
        assert_eq!(parse_hex("0x96000045"), Ok(0x9600_0045));
        assert_eq!(parse_hex("96000045"), Ok(0x9600_0045));
        assert_eq!(parse_hex("0xffff_ffc0_8000_0000"), Ok(0xffff_ffc0_8000_0000));
        for bad in ["", "0x", "-1", "+1", "esr", "0x1_0000_0000_0000_0000"] {
            assert!(parse_hex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_bit_is_told() {
        let text = syndrome(0x9600_0045, Some(0xdead_0000));
        assert!(text.starts_with("ESR 0x0000000096000045: data abort from EL1"), "{text}");
        assert!(text.contains("FAR 0x00000000dead0000: in the lower half"), "{text}");
        assert!(text.contains("31:26  EC "), "{text}");
        assert!(syndrome(0x5600_0000, Some(1)).contains("without meaning"));
    }
}
