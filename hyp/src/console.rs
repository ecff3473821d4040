//! The one console of the machine, which all guests share: what they write, and who is typed to.
//!
//! Without a keyboard, each guest's lines come out whole, with its name before each. With one, the guest that has it writes
//! as if it were alone: at once, so that its prompt is seen, and as it is. What others write then comes between, on lines of
//! its own; a line that was interrupted so is written again once its guest goes on with it.
//!
//! A record ([`trap::record`]) is for tools: it comes out whole, on a line of its own, with the name of the guest whose it is.

use alloc::vec::Vec;
use heapless::String;
use trap::record::{RECORD_MAX, RECORD_SEPARATOR};

/// Bytes of a line that are kept: a record, or a longer line than anybody reads.
const LINE_BYTES: usize = RECORD_MAX + 2;

/// A guest's line that is not ended.
struct Line {
    name: String<16>,
    text: Vec<u8>,
    /// Where in it a record begins.
    record: Option<usize>,
}

/// The screen. What it has written goes out byte by byte, by a function that is given with each call.
#[derive(Default)]
pub struct Screen {
    guests: Vec<Line>,
    keyboard: Option<usize>,
    /// Whether the last line on the screen is the one that the keyboard's guest has begun.
    open: bool,
}

impl Screen {
    /// An empty screen without a keyboard.
    pub const fn new() -> Screen {
        Screen { guests: Vec::new(), keyboard: None, open: false }
    }

    /// Adds a guest, and gives its number. Nothing is allocated after that.
    pub fn add(&mut self, name: &str) -> usize {
        // All that it will ever hold: what a guest writes takes nothing from the heap.
        let text = Vec::with_capacity(LINE_BYTES + 1);
        self.guests.push(Line { name: name.chars().take(16).collect(), text, record: None });
        self.guests.len() - 1
    }

    /// Who has the keyboard.
    pub const fn keyboard(&self) -> Option<usize> {
        self.keyboard
    }

    /// A guest writes a byte.
    pub fn put(&mut self, guest: usize, byte: u8, out: &mut dyn FnMut(u8)) {
        let own = self.keyboard == Some(guest);
        let line = &mut self.guests[guest];
        match (byte, line.record) {
            (b'\n', Some(at)) => {
                self.interrupt(out);
                let line = &mut self.guests[guest];
                line.name.bytes().chain(*b"| ").for_each(&mut *out);
                line.text.drain(at..).for_each(&mut *out);
                line.record = None;
                out(b'\n');
            }
            (b'\n', None) => self.end_line(guest, out),
            _ => {
                if line.text.len() == LINE_BYTES {
                    // Where all is shown, it only cannot be shown again.
                    if own && line.record.is_none() { line.text.clear() } else { self.end_line(guest, out) }
                }
                let line = &mut self.guests[guest];
                if byte == RECORD_SEPARATOR {
                    line.record = Some(line.text.len());
                }
                line.text.push(byte);
                if own && line.record.is_none() {
                    if self.open { out(byte) } else { self.reopen(out) }
                }
            }
        }
    }

    /// Whoever is no guest is about to write a line.
    pub fn interrupt(&mut self, out: &mut dyn FnMut(u8)) {
        if core::mem::take(&mut self.open) {
            b"\r\n".iter().copied().for_each(out);
        }
    }

    /// A guest has ended: what is left of its line is written.
    pub fn finish(&mut self, guest: usize, out: &mut dyn FnMut(u8)) {
        if !self.guests[guest].text.is_empty() {
            self.end_line(guest, out);
        }
    }

    /// The keyboard is this guest's now, and the line that it may have begun is shown.
    pub fn give_keyboard(&mut self, to: Option<usize>, out: &mut dyn FnMut(u8)) {
        self.interrupt(out);
        self.keyboard = to;
        if to.is_some_and(|guest| !self.guests[guest].shown().is_empty()) {
            self.reopen(out);
        }
    }

    /// Shows what the keyboard's guest has begun.
    fn reopen(&mut self, out: &mut dyn FnMut(u8)) {
        self.open = true;
        if let Some(guest) = self.keyboard {
            self.guests[guest].shown().iter().copied().for_each(out);
        }
    }

    fn end_line(&mut self, guest: usize, out: &mut dyn FnMut(u8)) {
        let own = self.keyboard == Some(guest);
        if own {
            if !self.open {
                self.reopen(out);
            }
        } else {
            self.interrupt(out);
        }
        let line = &mut self.guests[guest];
        if own {
            // A record that was cut short.
            line.text[line.shown().len()..].iter().copied().for_each(&mut *out);
        } else {
            line.name.bytes().chain(*b"| ").for_each(&mut *out);
            line.text.iter().copied().filter(|&byte| byte != b'\r').for_each(&mut *out);
        }
        if !own || line.text.last() != Some(&b'\r') {
            out(b'\r');
        }
        out(b'\n');
        line.text.clear();
        line.record = None;
        if own {
            self.open = false;
        }
    }
}

impl Line {
    /// The part that the keyboard's guest has on the screen.
    fn shown(&self) -> &[u8] {
        &self.text[..self.record.unwrap_or(self.text.len())]
    }
}

/// What a byte that was typed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Not yet known.
    Held,
    /// The keyboard is to be the next guest's.
    Next,
    /// It is for the guest, behind so many Ctrl-A that were held back.
    Type(u8, u8),
}

/// Looks for Ctrl-A three times in a row, as Xen does.
#[derive(Default)]
pub struct Keys {
    held: u8,
}

impl Keys {
    /// Ctrl-A.
    pub const SWITCH: u8 = 1;
    /// The most bytes that one is made into.
    pub const BYTES_MAX: usize = 3;

    /// Nothing was typed yet.
    pub const fn new() -> Keys {
        Keys { held: 0 }
    }

    /// A byte was typed.
    pub fn push(&mut self, byte: u8) -> Key {
        if byte != Self::SWITCH {
            return Key::Type(core::mem::take(&mut self.held), byte);
        }
        self.held = (self.held + 1) % 3;
        if self.held == 0 { Key::Next } else { Key::Held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::String;

    /// Two guests; what `steps` writes.
    fn screen(keyboard: Option<usize>, steps: &[(usize, &str)]) -> String {
        let (mut screen, mut written) = (Screen::new(), Vec::new());
        let mut out = |byte| written.push(byte);
        assert_eq!(["a", "b"].map(|name| screen.add(name)), [0, 1]);
        screen.give_keyboard(keyboard, &mut out);
        for &(guest, text) in steps {
            match guest {
                0 | 1 => text.bytes().for_each(|byte| screen.put(guest, byte, &mut out)),
                2 => {
                    screen.interrupt(&mut out);
                    text.bytes().for_each(&mut out);
                }
                3 => screen.give_keyboard(text.parse().ok(), &mut out),
                _ => (0..2).for_each(|guest| screen.finish(guest, &mut out)),
            }
        }
        String::from_utf8(written).unwrap()
    }

    /// In [`screen`]: the hypervisor writes; the keyboard is given; all end.
    const HYP: usize = 2;
    const GIVE: usize = 3;
    const END: usize = 4;

    #[test]
    fn without_a_keyboard_lines_are_whole_and_named() {
        assert_eq!(screen(None, &[(0, "x"), (1, "y\r\n"), (0, "z\n1"), (END, "")]), "b| y\r\na| xz\r\na| 1\r\n");
    }

    #[test]
    fn who_has_the_keyboard_writes_at_once() {
        assert_eq!(screen(Some(0), &[(0, "one\r\n\x1b[1m# ")]), "one\r\n\x1b[1m# ");
    }

    #[test]
    fn others_come_between_and_the_line_comes_again() {
        let steps = [(0, "# l"), (1, "y"), (1, "\n1\n"), (HYP, "hyp| t\r\n"), (0, "s\n"), (1, "2\n")];
        assert_eq!(screen(Some(0), &steps), "# l\r\nb| y\r\nb| 1\r\nhyp| t\r\n# ls\r\nb| 2\r\n");
        // Interrupted and then ended at once.
        assert_eq!(screen(Some(0), &[(0, "x"), (1, "\n"), (0, "\n")]), "x\r\nb| \r\nx\r\n");
    }

    #[test]
    fn the_keyboard_passes() {
        let steps = [(0, "# "), (1, "$ "), (GIVE, "1"), (1, "w"), (0, "z\n"), (1, "\n"), (END, "")];
        assert_eq!(screen(Some(0), &steps), "# \r\n$ w\r\na| # z\r\n$ w\r\n");
        assert_eq!(screen(Some(0), &[(0, "# "), (GIVE, "none"), (END, "")]), "# \r\na| # \r\n");
        assert_eq!(screen(Some(0), &[(0, "# "), (END, "")]), "# \r\n");
    }

    #[test]
    fn records_come_whole_with_their_guests_name() {
        let steps = [(0, "x\x1e{"), (1, "y\x1e[\n"), (0, "}\ny\n")];
        assert_eq!(screen(Some(0), &steps), "x\r\nb| \x1e[\na| \x1e{}\nxy\r\n");
        assert_eq!(screen(None, &steps), "b| \x1e[\na| \x1e{}\na| xy\r\n");
        // Cut short.
        assert_eq!(screen(Some(0), &[(0, "x\x1e{"), (END, "")]), "x\x1e{\r\n");
    }

    #[test]
    fn an_endless_line_is_survived() {
        let long = "x".repeat(3 * LINE_BYTES);
        assert_eq!(screen(Some(0), &[(0, &long)]), long);
        assert_eq!(screen(None, &[(0, &long)]), format!("a| {}\r\n", &long[..LINE_BYTES]).repeat(2));
    }

    #[test]
    fn three_in_a_row_are_for_the_next_guest() {
        let mut keys = Keys::new();
        let keys = b"a\x01\x01b\x01\x01\x01\x01c".map(|byte| keys.push(byte));
        use Key::*;
        assert_eq!(keys, [Type(0, b'a'), Held, Held, Type(2, b'b'), Held, Held, Next, Held, Type(1, b'c')]);
    }

    proptest! {
        /// However guests take turns, each one's lines are all there, in order, and nothing is mixed into one.
        #[test]
        fn every_line_arrives(
            steps in prop::collection::vec((0_usize..4, "[0-9]{0,3}\n?"), 0..60), keyboard in prop::option::of(0_usize..2),
        ) {
            let mut expected = [String::new(), String::new()];
            let steps: Vec<(usize, String)> = steps
                .into_iter()
                .map(|(guest, text)| match guest {
                    // Each guest has letters of its own.
                    0 | 1 => (guest, text.replace(|c: char| c.is_ascii_digit(), if guest == 0 { "x" } else { "y" })),
                    HYP => (HYP, "h\r\n".into()),
                    _ => (GIVE, text.trim().into()),
                })
                .filter(|(guest, text)| *guest != GIVE || ["0", "1", ""].contains(&&**text))
                .collect();
            steps.iter().filter(|(guest, _)| *guest < 2).for_each(|(guest, text)| expected[*guest].push_str(text));
            let steps: Vec<(usize, &str)> = steps.iter().map(|(guest, text)| (*guest, &**text)).chain([(END, "")]).collect();
            let written = screen(keyboard, &steps);
            for (guest, letter, prefix) in [(0, 'x', "a| "), (1, 'y', "b| ")] {
                let lines = written.split("\r\n").map(|line| line.strip_prefix(prefix).unwrap_or(line));
                let lines: Vec<_> = lines.filter(|line| line.contains(letter)).collect();
                prop_assert!(lines.iter().all(|line| line.chars().all(|c| c == letter)), "{:?}", written);
                // An interrupted line comes several times, each time longer or the same.
                let mut found = lines.iter().peekable();
                for line in expected[guest].lines().filter(|line| !line.is_empty()) {
                    prop_assert!(found.any(|found| *found == line), "{:?}: no {:?}", written, line);
                }
            }
        }
    }
}
