//! Boot arguments: the string `/chosen/bootargs` of the device tree, as words.
//!
//! Words are separated by white space. `"` groups, `\` takes the next character as it is, both anywhere in a word. The
//! kernel takes the words before `--`; those after it are the arguments of the first program (as on Linux).

/// One word, still quoted as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a>(&'a str);

/// The words of `line`, in order.
pub fn words(line: &str) -> impl Iterator<Item = Word<'_>> {
    let mut rest = line;
    core::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.find(|c: char| {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == '"' {
                quoted = !quoted;
            } else {
                return !quoted && c.is_ascii_whitespace();
            }
            false
        });
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(Word(word))
    })
}

impl<'a> Word<'a> {
    /// The word without its quoting.
    pub fn chars(self) -> impl Iterator<Item = char> + Clone + 'a {
        let mut escaped = false;
        self.0.chars().filter(move |&c| {
            let syntax = !escaped && (c == '\\' || c == '"');
            escaped = syntax && c == '\\';
            !syntax
        })
    }

    /// The value of a `name=value` word.
    pub fn value_of(self, name: &str) -> Option<Word<'a>> {
        self.0.strip_prefix(name)?.strip_prefix('=').map(Word)
    }
}

impl PartialEq<str> for Word<'_> {
    fn eq(&self, other: &str) -> bool {
        self.chars().eq(other.chars())
    }
}

/// Appends `word` to `line`, quoted so that [`words`] gives it back whole.
pub fn push_word(line: &mut impl core::fmt::Write, word: &str) -> core::fmt::Result {
    line.write_str(" \"")?;
    for c in word.chars() {
        if c == '"' || c == '\\' {
            line.write_char('\\')?;
        }
        line.write_char(c)?;
    }
    line.write_char('"')
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::{string::String, vec::Vec};
    use proptest::prelude::*;

    fn split(line: &str) -> Vec<String> {
        words(line).map(|word| word.chars().collect()).collect()
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(split(r#"  a "b c" d\ e "" x="1 2" "#), ["a", "b c", "d e", "", "x=1 2"]);
        assert_eq!(split(r#"open "never closed"#), ["open", "never closed"]);
    }

    proptest! {
        #[test]
        fn pushed_words_come_back(list in proptest::collection::vec("\\PC*", 0..6)) {
            let mut line = String::new();
            for word in &list {
                push_word(&mut line, word).unwrap();
            }
            prop_assert_eq!(split(&line), list);
        }
    }
}
