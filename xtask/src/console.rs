//! What the machine writes to its console, split as it streams by: records for tools, everything else for people.
//!
//! A record is RS, JSON, LF ([`trap::record`]) and may begin in mid-line. In the text, a [`Token`] that the kernel prints
//! is put in words. All other bytes pass as they are and at once: only what may be the beginning of a token is held back
//! until it is decided.
//!
//! A hypervisor's console has lines of guests too: each begins with `NAME| `, which the hypervisor writes, so that whatever
//! a guest prints is known to be that guest's. Tokens and records in its lines are its own.

use trap::record::RECORD_SEPARATOR;

/// A piece of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text for people.
    Text(&'a [u8]),
    /// One record, without its frame.
    Record {
        /// The guest that wrote it; none when the machine itself did.
        guest: Option<&'a str>,
        /// What it says.
        json: &'a [u8],
    },
}

/// What the kernel leaves to be put in words; here `h` stands for a hexadecimal digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// `[<hhhhhhhhhhhhhhhh>]`: an address in the kernel.
    Kernel(u64),
    /// `[<NAME:hhhhhhhhhhhhhhhh>]`: an address in a task's program; the name is the task's.
    Program(&'a str, u64),
    /// `[<insn:hhhhhhhh>]`: an A64 instruction.
    Instruction(u32),
}

/// Bytes that a task's name has at most.
pub const NAME_MAX: usize = 16;

/// A record longer than this is none: some program's byte was lost on the way.
const RECORD_LIMIT: usize = 1 << 16;

/// What the hypervisor writes between a guest's name and what the guest wrote.
const PREFIX_END: &str = "| ";

/// Whose the line is that the console is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Not known yet: it has just begun.
    Begins,
    /// The machine's own.
    Own,
    /// That of a guest.
    Guest(usize),
}

/// The splitter; `describe` puts a token in words, and is told which guest's it is.
pub struct Filter<D> {
    describe: D,
    guests: Vec<String>,
    line: Line,
    /// What may be the beginning of a guest's line; or that, until it is known whether a record follows, which has none for people.
    prefix: Vec<u8>,
    /// A part of a record (then it begins with RS) or of a token, else empty.
    held: Vec<u8>,
}

impl<D: FnMut(Option<&str>, Token<'_>) -> String> Filter<D> {
    /// A filter at the beginning of a console, on which there may be lines of `guests`.
    pub fn new(guests: Vec<String>, describe: D) -> Self {
        let line = if guests.is_empty() { Line::Own } else { Line::Begins };
        Filter { describe, guests, line, prefix: Vec::new(), held: Vec::new() }
    }

    /// Takes the next bytes and gives the pieces they complete to `out`.
    pub fn push<E>(&mut self, bytes: &[u8], out: &mut impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut text = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.line == Line::Begins {
                self.prefix.push(byte);
                let prefix = &self.prefix;
                let named = |guest: &String| {
                    guest.bytes().chain(PREFIX_END.bytes()).take(prefix.len()).eq(prefix.iter().copied())
                };
                match self.guests.iter().position(named) {
                    Some(guest) if prefix.len() == self.guests[guest].len() + PREFIX_END.len() => {
                        self.line = Line::Guest(guest)
                    }
                    Some(_) => {}
                    None => {
                        self.line = Line::Own;
                        for byte in std::mem::take(&mut self.prefix) {
                            self.take(byte, &mut text, out)?;
                        }
                    }
                }
            } else {
                self.take(byte, &mut text, out)?;
            }
        }
        if text.is_empty() { Ok(()) } else { out(Piece::Text(&text)) }
    }

    /// Takes a byte of a line that is known to be somebody's.
    fn take<E>(
        &mut self,
        byte: u8,
        text: &mut Vec<u8>,
        out: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if byte == RECORD_SEPARATOR {
            if !self.held.is_empty() {
                text.append(&mut self.prefix);
                text.append(&mut self.held);
            }
            self.held.push(byte);
        } else if self.held.first() == Some(&RECORD_SEPARATOR) {
            if byte == b'\n' {
                if !text.is_empty() {
                    out(Piece::Text(text))?;
                    text.clear();
                }
                let guest = if let Line::Guest(guest) = self.line { Some(&*self.guests[guest]) } else { None };
                out(Piece::Record { guest, json: &self.held[1..] })?;
                self.prefix.clear();
                self.held.clear();
            } else {
                self.held.push(byte);
                if self.held.len() > RECORD_LIMIT {
                    text.append(&mut self.prefix);
                    text.append(&mut self.held);
                }
            }
        } else {
            text.append(&mut self.prefix);
            self.held.push(byte);
            self.settle(text);
        }
        if byte == b'\n' && !self.guests.is_empty() {
            self.line = Line::Begins;
        }
        Ok(())
    }

    /// Moves from what is held to `text` all that is decided.
    fn settle(&mut self, text: &mut Vec<u8>) {
        while !self.held.is_empty() {
            match progress(&self.held) {
                Progress::Part => return,
                Progress::Whole(token) => {
                    let guest = if let Line::Guest(guest) = self.line { Some(&*self.guests[guest]) } else { None };
                    text.extend((self.describe)(guest, token).bytes());
                    self.held.clear();
                }
                Progress::No => {
                    // A name may hold the byte that begins a token.
                    let next = self.held.iter().skip(1).position(|&byte| byte == b'[');
                    text.extend(self.held.drain(..next.map_or(self.held.len(), |at| at + 1)));
                }
            }
        }
    }

    /// Whether the beginning of a token is held back, as a prompt may end in it.
    pub fn holds_text(&self) -> bool {
        self.held.first().is_some_and(|&byte| byte != RECORD_SEPARATOR)
    }

    /// Takes what is held back as text: nothing more comes, or not soon.
    pub fn release(&mut self) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.prefix);
        text.append(&mut self.held);
        text
    }
}

/// A text with its tokens in words.
pub fn in_words(text: &str, mut describe: impl FnMut(Token<'_>) -> String) -> String {
    let mut filter = Filter::new(Vec::new(), |_, token| describe(token));
    let mut words = Vec::new();
    let Ok(()) = filter.push(text.as_bytes(), &mut |piece| {
        if let Piece::Text(bytes) = piece {
            words.extend(bytes);
        }
        Ok::<_, std::convert::Infallible>(())
    });
    words.extend(filter.release());
    String::from_utf8_lossy(&words).into_owned()
}

/// How far some bytes are a token.
enum Progress<'a> {
    No,
    /// More bytes may make them one.
    Part,
    Whole(Token<'a>),
}

fn progress(bytes: &[u8]) -> Progress<'_> {
    let body = match bytes {
        [b'['] => return Progress::Part,
        [b'[', b'<', body @ ..] => body,
        _ => return Progress::No,
    };
    if let Some(end) = body.iter().position(|&byte| byte == b'>') {
        return match (token(&body[..end]), &body[end + 1..]) {
            (Some(_), b"") => Progress::Part,
            (Some(token), b"]") => Progress::Whole(token),
            _ => Progress::No,
        };
    }
    let part = match body.iter().position(|&byte| byte == b':') {
        None => begins_name(body),
        Some(colon) => name(&body[..colon]).is_some() && begins_number(&body[colon + 1..]),
    };
    if part { Progress::Part } else { Progress::No }
}

/// The token with `body` between its brackets.
fn token(body: &[u8]) -> Option<Token<'_>> {
    let Some(colon) = body.iter().position(|&byte| byte == b':') else {
        return number(body, 16).map(Token::Kernel);
    };
    let (name, digits) = (name(&body[..colon])?, &body[colon + 1..]);
    match number(digits, 8) {
        Some(word) if name == "insn" => Some(Token::Instruction(word as u32)),
        _ => Some(Token::Program(name, number(digits, 16)?)),
    }
}

/// A task's name, as tokens have it.
fn name(bytes: &[u8]) -> Option<&str> {
    let name = str::from_utf8(bytes).ok()?;
    (!name.is_empty() && name.len() <= NAME_MAX && !name.contains(|c: char| c.is_control() || c == '<')).then_some(name)
}

/// Whether a name, or a number, may begin so.
fn begins_name(bytes: &[u8]) -> bool {
    let whole = match str::from_utf8(bytes) {
        // The last character's other bytes may come.
        Err(error) if error.error_len().is_none() && bytes.len() < NAME_MAX => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    whole.is_empty() || name(whole).is_some()
}

fn begins_number(digits: &[u8]) -> bool {
    digits.len() <= 16 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// The number of exactly `len` digits.
fn number(digits: &[u8], len: usize) -> Option<u64> {
    let digits = str::from_utf8(digits).ok().filter(|_| digits.len() == len && begins_number(digits))?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text and records of a console that arrives in `chunks`.
    fn filter<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Vec<u8>>) {
        filter_with(&[], chunks)
    }

    /// The same with lines of `guests`; what is one's says so.
    fn filter_with<'a>(guests: &[&str], chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut text, mut records) = (Vec::new(), Vec::new());
        let guests = guests.iter().map(|guest| guest.to_string()).collect();
        let of = |guest: Option<&str>| guest.map(|guest| format!("{guest}/")).unwrap_or_default();
        let mut filter = Filter::new(guests, |guest, token| match token {
            Token::Kernel(address) => format!("<{}{address:x}>", of(guest)),
            Token::Program(name, address) => format!("<{}{name} {address:x}>", of(guest)),
            Token::Instruction(word) => format!("<insn {word:x}>"),
        });
        for chunk in chunks {
            filter
                .push(chunk, &mut |piece| {
                    match piece {
                        Piece::Text(bytes) => text.extend(bytes),
                        Piece::Record { guest, json } => records.push([of(guest).as_bytes(), json].concat()),
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
        assert_eq!(one(b"[<crash:0000000000400844>]").0, "<crash 400844>");
        assert_eq!(one("[<a [é] b:0000000000000001>]".as_bytes()).0, "<a [é] b 1>");
        assert_eq!(one(b"[<insn:d65f03c0>], [<insn:00000000d65f03c0>]").0, "<insn d65f03c0>, <insn d65f03c0>");
        assert_eq!(one(b"[<[<insn:d65f03c0>]").0, "[<<insn d65f03c0>");
        assert_eq!(one(b"[<16 bytes of name:0000000000000001>]").0, "<16 bytes of name 1>");
        for as_it_is in [
            "[<:0000000000000001>]",
            "[<seventeen bytes..:0000000000000001>]",
            "[<fifteen bytes..é:0000000000000001>]",
            "[<insn:d65f03c>]",
            "[<insn2:d65f03c0>]",
            "[<crash:000000000040084>]",
            "[<a:b:0000000000400844>]",
            "[<a\n:0000000000400844>]",
            "[<ffffffc08000123>]",
            "[<FFFFFFC080001234>]",
            "[<",
            "[<[<ffff",
            "[<ffffffc080001234>)",
            "$ [",
        ] {
            assert_eq!(one(as_it_is.as_bytes()).0, as_it_is);
        }
    }

    /// Whatever a guest prints, its name too, is in a line of its own and told as its.
    #[test]
    fn a_line_is_one_guests() {
        let guests = ["left", "le", "[<a"];
        let one = |console: &str| {
            let (text, records) = filter_with(&guests, [console.as_bytes()]);
            (
                String::from_utf8(text).unwrap(),
                records.into_iter().map(|json| String::from_utf8(json).unwrap()).collect(),
            )
        };
        let none = Vec::<String>::new;
        assert_eq!(one("left| at [<0000000000000001>]\n").0, "left| at <left/1>\n");
        assert_eq!(one("le| [<a:0000000000000001>]\nlef| [<0000000000000001>]").0, "le| <le/a 1>\nlef| <1>");
        assert_eq!(one("[<a| [<0000000000000001>]\n[<0000000000000001>]").0, "[<a| <[<a/1>\n<1>");
        assert_eq!(one("[<left:0000000000000001>]\n"), ("<left 1>\n".into(), none()));
        assert_eq!(one("x\nleft| le| [<0000000000000001>]\n").0, "x\nleft| le| <left/1>\n");
        // A record alone in its line leaves nothing of it.
        assert_eq!(
            one("left| \x1e{}\nle| \x1e1\n\x1e2\n"),
            ("".into(), vec!["left/{}".into(), "le/1".into(), "2".into()])
        );
        assert_eq!(one("left| a\x1e{}\nle| b\n"), ("left| ale| b\n".into(), vec!["left/{}".into()]));
        assert_eq!(one("left| \x1e{\x1e{}\n"), ("left| \x1e{".into(), vec!["left/{}".into()]));
        for cut in ["left| \x1e{", "lef", "left| "] {
            assert_eq!(one(cut), (cut.into(), none()));
        }
    }

    #[test]
    fn text_is_not_held_back() {
        let mut filter = Filter::new(Vec::new(), |_, _| String::new());
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
        assert!(!push(b"\n"));
        assert!(push(b"[<a program"));
        assert!(!push(b" of 17.."));
        assert!(push(b"[<insn:d65f"));
        assert!(!push(b"x"));
        assert!(push(b"[<insn:d65f03c0>"));
        assert!(!push(b" "));
        assert!(!push(b"\x1e{"));
        assert_eq!(seen, b"$ [<12\n[<a program of 17..[<insn:d65fx[<insn:d65f03c0> ");
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            console in proptest::collection::vec(
                prop_oneof![
                    Just(b"[<ffffffc080001234>]".to_vec()),
                    Just("[<a [é] b:0000000000400844>]".as_bytes().to_vec()),
                    Just(b"[<insn:d65f03c0>]".to_vec()),
                    Just(b"\x1e{\"kind\":\"x\"}\n".to_vec()),
                    Just(b"\nleft| ".to_vec()),
                    proptest::collection::vec(prop_oneof![Just(b'['), Just(b'<'), Just(0x1e), Just(b'\n'), any::<u8>()], 0..8),
                ],
                0..12,
            ),
            cut in 1usize..9,
        ) {
            let console = console.concat();
            prop_assert_eq!(filter(console.chunks(cut)), filter([&console[..]]));
            let guests = ["left", "le"];
            prop_assert_eq!(filter_with(&guests, console.chunks(cut)), filter_with(&guests, [&console[..]]));
        }

        #[test]
        fn bytes_without_records_and_addresses_pass_exactly(mut console: Vec<u8>) {
            console.retain(|&byte| byte != RECORD_SEPARATOR);
            prop_assume!(!console.contains(&b'<'));
            prop_assert_eq!(filter([&console[..]]), (console.clone(), vec![]));
            prop_assert_eq!(filter_with(&["left", "le"], [&console[..]]), (console.clone(), vec![]));
        }
    }
}
