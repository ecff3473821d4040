//! A line typed on a terminal, byte by byte.

use core::str;

/// Longest line, in bytes.
pub const LINE: usize = 256;

/// What a byte made of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing to show.
    Nothing,
    /// This character was added.
    Added(u8),
    /// The last character was removed.
    Removed,
    /// Enter: the line is complete.
    Entered,
    /// Ctrl-C: the line was thrown away.
    Cleared,
    /// Ctrl-D in an empty line: there will be no more.
    Ended,
}

/// A line being typed: printable ASCII, with backspace, Ctrl-C and Ctrl-D.
pub struct Editor {
    line: [u8; LINE],
    used: usize,
    escape: Escape,
}

/// Where in the escape sequence of an arrow or function key (ECMA-48) we are; such keys do nothing.
#[derive(Clone, Copy, PartialEq)]
enum Escape {
    None,
    Begun,
    Inside,
}

impl Default for Editor {
    fn default() -> Editor {
        Editor { line: [0; LINE], used: 0, escape: Escape::None }
    }
}

impl Editor {
    /// Takes the next byte from the terminal.
    pub fn push(&mut self, byte: u8) -> Event {
        self.escape = match (self.escape, byte) {
            (Escape::None, 0x1b) => Escape::Begun,
            (Escape::Begun, b'[' | b'O') => Escape::Inside,
            // A parameter; the sequence ends at the first other byte.
            (Escape::Inside, 0x20..=0x3f) => Escape::Inside,
            (Escape::None, _) => return self.key(byte),
            _ => Escape::None,
        };
        Event::Nothing
    }

    fn key(&mut self, byte: u8) -> Event {
        const CTRL_C: u8 = 3;
        const CTRL_D: u8 = 4;
        const BACKSPACE: u8 = 8;
        const DELETE: u8 = 0x7f;
        match byte {
            b'\r' | b'\n' => Event::Entered,
            CTRL_C => {
                self.used = 0;
                Event::Cleared
            }
            CTRL_D if self.used == 0 => Event::Ended,
            BACKSPACE | DELETE if self.used > 0 => {
                self.used -= 1;
                Event::Removed
            }
            b' '..=b'~' if self.used < LINE => {
                self.line[self.used] = byte;
                self.used += 1;
                Event::Added(byte)
            }
            _ => Event::Nothing,
        }
    }

    /// The line as typed so far.
    pub fn line(&self) -> &str {
        str::from_utf8(&self.line[..self.used]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line and the last event after these keys.
    fn typed(keys: &[u8]) -> (Editor, Event) {
        let mut editor = Editor::default();
        let last = keys.iter().map(|&key| editor.push(key)).last();
        (editor, last.unwrap_or(Event::Nothing))
    }

    fn check(keys: &[u8], line: &str, event: Event) {
        let (editor, last) = typed(keys);
        assert_eq!((editor.line(), last), (line, event), "{keys:?}");
    }

    #[test]
    fn keys() {
        check(b"hello", "hello", Event::Added(b'o'));
        check(b"hello\r", "hello", Event::Entered);
        check(b"\n", "", Event::Entered);
        check(b"helo\x7flo", "hello", Event::Added(b'o'));
        check(b"ab\x08", "a", Event::Removed);
        check(b"\x7f", "", Event::Nothing);
        check(b"ab\x03", "", Event::Cleared);
        check(b"\x04", "", Event::Ended);
        check(b"a\x04", "a", Event::Nothing);
        check(b"a\x00\xc3\xa9\x1eb", "ab", Event::Added(b'b'));
    }

    #[test]
    fn arrows_do_nothing() {
        check(b"a\x1b[A\x1b[1;5Cb\x1bOPc", "abc", Event::Added(b'c'));
    }

    #[test]
    fn a_full_line_takes_no_more() {
        check(&[b'x'; LINE + 1], str::from_utf8(&[b'x'; LINE]).unwrap(), Event::Nothing);
    }
}
