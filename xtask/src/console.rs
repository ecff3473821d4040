//! What the machine writes to its console, split as it streams by: records for tools, everything else for people.
//!
//! A record is RS, JSON, LF ([`trap::record`]) and may begin in mid-line. In the text, a code address that the kernel
//! prints as `[<ffffffc080001234>]` is given its name. All other bytes pass as they are and at once: only what may be
//! the beginning of such an address is held back until it is decided.

use trap::record::RECORD_SEPARATOR;

/// A piece of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text for people.
    Text(&'a [u8]),
    /// One record, without its frame.
    Record(&'a [u8]),
}

/// An address as the kernel prints it; `h` stands for a hexadecimal digit.
const TOKEN: &[u8; 20] = b"[<hhhhhhhhhhhhhhhh>]";

/// A record longer than this is none: some program's byte was lost on the way.
const RECORD_LIMIT: usize = 1 << 16;

/// The splitter; `describe` gives an address in words.
pub struct Filter<D> {
    describe: D,
    /// A part of a record (then it begins with RS) or of a token, else empty.
    held: Vec<u8>,
}

impl<D: FnMut(u64) -> String> Filter<D> {
    /// A filter at the beginning of a console.
    pub fn new(describe: D) -> Self {
        Filter { describe, held: Vec::new() }
    }

    /// Takes the next bytes and gives the pieces they complete to `out`.
    pub fn push<E>(&mut self, bytes: &[u8], out: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut text = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte == RECORD_SEPARATOR {
                text.append(&mut self.held);
                self.held.push(byte);
            } else if self.held.first() == Some(&RECORD_SEPARATOR) {
                if byte == b'\n' {
                    if !text.is_empty() {
                        out(Piece::Text(&text))?;
                        text.clear();
                    }
                    out(Piece::Record(&self.held[1..]))?;
                    self.held.clear();
                } else {
                    self.held.push(byte);
                    if self.held.len() > RECORD_LIMIT {
                        text.append(&mut self.held);
                    }
                }
            } else if fits(self.held.len(), byte) {
                self.held.push(byte);
                if self.held.len() == TOKEN.len() {
                    text.extend((self.describe)(address(&self.held)).bytes());
                    self.held.clear();
                }
            } else {
                text.append(&mut self.held);
                // A token's first byte occurs nowhere else in it, so only this byte can begin another.
                if fits(0, byte) { &mut self.held } else { &mut text }.push(byte);
            }
        }
        if text.is_empty() { Ok(()) } else { out(Piece::Text(&text)) }
    }

    /// Whether the beginning of an address is held back, as a prompt may end in it.
    pub fn holds_text(&self) -> bool {
        self.held.first().is_some_and(|&byte| byte != RECORD_SEPARATOR)
    }

    /// Takes what is held back as text: nothing more comes, or not soon.
    pub fn release(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Whether `byte` may stand at `at` in a token.
fn fits(at: usize, byte: u8) -> bool {
    match TOKEN[at] {
        b'h' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        exact => byte == exact,
    }
}

/// The address in a whole token.
fn address(token: &[u8]) -> u64 {
    token[2..18].iter().fold(0, |value, &digit| value << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text and records of a console that arrives in `chunks`.
    fn filter<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut text, mut records) = (Vec::new(), Vec::new());
        let mut filter = Filter::new(|address| format!("<{address:x}>"));
        for chunk in chunks {
            filter
                .push(chunk, &mut |piece| {
                    match piece {
                        Piece::Text(bytes) => text.extend(bytes),
                        Piece::Record(bytes) => records.push(bytes.to_vec()),
                    }
                    Ok::<_, ()>(())
                })
                .unwrap();
        }
        text.extend(filter.release());
        (text, records)
    }

    fn one(console: &[u8]) -> (String, Vec<String>) {
        let (text, records) = filter([console]);
        let string = |bytes| String::from_utf8(bytes).unwrap();
        (string(text), records.into_iter().map(string).collect())
    }

    #[test]
    fn records_are_taken_out_of_the_text() {
        assert_eq!(one(b"a\x1e{}\nb\n"), ("ab\n".into(), vec!["{}".into()]));
        assert_eq!(one(b"\x1e1\n\x1e2\n"), ("".into(), vec!["1".into(), "2".into()]));
        // Whatever was cut short is shown.
        assert_eq!(one(b"\x1e{\"cut\x1e{}\nx"), ("\x1e{\"cutx".into(), vec!["{}".into()]));
        assert_eq!(one(b"x\x1e{\"cut"), ("x\x1e{\"cut".into(), vec![]));
        let endless = [&b"\x1e"[..], &[b'x'; RECORD_LIMIT + 5]].concat();
        assert_eq!(filter([&endless[..]]), (endless.clone(), vec![]));
    }

    #[test]
    fn addresses_are_named() {
        assert_eq!(one(b"at [<ffffffc080001234>]\n").0, "at <ffffffc080001234>\n");
        assert_eq!(one(b"[[<0000000000000001>][<0000000000000002>]").0, "[<1><2>");
        for as_it_is in ["[<ffffffc08000123>]", "[<FFFFFFC080001234>]", "[<", "[<[<ffff", "[<ffffffc080001234>)", "$ ["]
        {
            assert_eq!(one(as_it_is.as_bytes()).0, as_it_is);
        }
    }

    #[test]
    fn text_is_not_held_back() {
        let mut filter = Filter::new(|_| String::new());
        let mut seen = Vec::<u8>::new();
        let mut push = |bytes: &[u8]| {
            let mut out = |piece: Piece<'_>| {
                if let Piece::Text(bytes) = piece {
                    seen.extend(bytes);
                }
                Ok::<_, ()>(())
            };
            filter.push(bytes, &mut out).unwrap();
            filter.holds_text()
        };
        assert!(!push(b"$ "));
        assert!(push(b"[<12"));
        assert!(!push(b" "));
        assert!(!push(b"\x1e{"));
        assert_eq!(seen, b"$ [<12 ");
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            console in proptest::collection::vec(
                prop_oneof![
                    Just(b"[<ffffffc080001234>]".to_vec()),
                    Just(b"\x1e{\"kind\":\"x\"}\n".to_vec()),
                    proptest::collection::vec(prop_oneof![Just(b'['), Just(b'<'), Just(0x1e), Just(b'\n'), any::<u8>()], 0..8),
                ],
                0..12,
            ),
            cut in 1usize..9,
        ) {
            let console = console.concat();
            prop_assert_eq!(filter(console.chunks(cut)), filter([&console[..]]));
        }

        #[test]
        fn bytes_without_records_and_addresses_pass_exactly(mut console: Vec<u8>) {
            console.retain(|&byte| byte != RECORD_SEPARATOR);
            prop_assume!(!console.contains(&b'<'));
            prop_assert_eq!(filter([&console[..]]), (console.clone(), vec![]));
        }
    }
}
