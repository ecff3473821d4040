//! What a fault address shows by itself, on a kernel of which nothing else is known.

use trap::esr::Esr;

/// The end of the page that a kernel leaves unmapped so that null pointers fault.
const NULL_END: u64 = 4096;

/// Values that Linux writes where nothing should be read (its `poison.h`), and what they stand for.
const POISON: &[(u64, &str)] = &[
    (0xdead_0000_0000_0100, "the `next` of a list entry that Linux has removed"),
    (0xdead_0000_0000_0122, "the `prev` of a list entry that Linux has removed"),
    (0x6b6b_6b6b_6b6b_6b6b, "memory that Linux has freed"),
    (0x5a5a_5a5a_5a5a_5a5a, "memory that Linux has allocated and nobody has written"),
];

/// How far behind a poison value an access still is one through it.
const NEAR: u64 = 4096;

/// What FAR shows, the plainest first; `esr` is the syndrome, if it is known.
pub fn shows(far: u64, esr: Option<u64>) -> Vec<String> {
    if esr.is_some_and(|esr| !Esr(esr).far_valid()) {
        return vec!["without meaning in this exception".into()];
    }
    let mut shows = Vec::new();
    let mut say = |text: String| shows.push(text);
    match (far >> 48, far) {
        (_, 0) => say("a null pointer".into()),
        (_, 1..NULL_END) => say(format!("in the first page: {far:#x} bytes behind a null pointer")),
        (0, _) => say("in the lower half, of programs (TTBR0)".into()),
        (0xffff, _) if far > u64::MAX - NULL_END => {
            say(format!("in the last page: a small negative number, {}, used as an address", far as i64))
        }
        (0xffff, _) => say("in the upper half, the kernel's (TTBR1)".into()),
        // A tag may stand in the upper byte, if TCR_EL1.TBI says so.
        (top, _) if top & 0xff == 0 || top & 0xff == 0xff => {
            say(format!("of neither half, unless {:#x} is a tag in its upper byte", far >> 56))
        }
        _ => say("of neither half: bits 63:48 are neither all 0 nor all 1".into()),
    }
    if let Some((value, what)) = POISON.iter().find(|(value, _)| far.wrapping_sub(*value) < NEAR) {
        let behind = far - value;
        say(if behind == 0 { what.to_string() } else { format!("{behind:#x} bytes behind {value:#x}, {what}") });
    }
    if let Some(text) = text(far) {
        say(format!("its bytes, in the order they lie in memory, read as text: {text:?}"));
    }
    shows
}

/// The text in an address that is full of it.
fn text(address: u64) -> Option<String> {
    let bytes = address.to_le_bytes();
    let end = bytes.iter().rposition(|&byte| byte != 0)? + 1;
    let text = &bytes[..end];
    // Six characters and a zero look like an address by chance; poison is one byte again and again.
    let varied = text.iter().any(|byte| *byte != text[0]);
    (end >= 7 && varied && text.iter().all(|byte| matches!(byte, b' '..=b'~')))
        .then(|| String::from_utf8_lossy(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_addresses_show() {
        for (far, text) in [
            (0, "a null pointer"),
            (0x18, "in the first page: 0x18 bytes behind a null pointer"),
            (0x1000, "in the lower half, of programs (TTBR0)"),
            (0xffff_ffc0_8000_0000, "in the upper half, the kernel's (TTBR1)"),
            (0xffff_ffff_ffff_ffea, "in the last page: a small negative number, -22, used as an address"),
            (0x3400_ffff_8000_1000, "of neither half, unless 0x34 is a tag in its upper byte"),
            (
                0xdead_0000_0000_0108,
                "of neither half: bits 63:48 are neither all 0 nor all 1; \
                 0x8 bytes behind 0xdead000000000100, the `next` of a list entry that Linux has removed",
            ),
            (
                u64::from_le_bytes(*b"password"),
                "of neither half: bits 63:48 are neither all 0 nor all 1; \
                 its bytes, in the order they lie in memory, read as text: \"password\"",
            ),
        ] {
            assert_eq!(shows(far, None).join("; "), text, "{far:#x}");
        }
        assert_eq!(shows(5, Some(0x5600_0000)), ["without meaning in this exception"]);
        assert_eq!(text(0x6b6b_6b6b_6b6b_6b6b), None);
        assert_eq!(text(0x0000_4141_4242), None);
    }

    proptest! {
        #[test]
        fn any_address_shows_something(far: u64, esr: Option<u64>) {
            prop_assert!(!shows(far, esr).is_empty());
        }
    }
}
