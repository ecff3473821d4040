//! The differences that are known: `tests/differ.toml`.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// Where they are listed.
pub const FILE: &str = "tests/differ.toml";

/// A known difference. In all but the reason, `*` stands for any text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What differs; with a `*`, more of its kind.
    pub key: String,
    /// What this project's kernel shows.
    pub ours: String,
    /// What Linux shows.
    pub theirs: String,
    /// The reason.
    pub why: String,
}

/// The list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    known: Vec<Entry>,
}

impl Known {
    /// That of a checkout.
    pub fn read(root: &Path) -> Result<Known> {
        let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("{FILE} cannot be read"))?;
        Known::parse(&text).with_context(|| FILE.to_string())
    }

    /// From its text.
    pub fn parse(text: &str) -> Result<Known> {
        let list: Known = toml::from_str(text)?;
        for (index, entry) in list.known.iter().enumerate() {
            if entry.why.trim().is_empty() {
                bail!("{}: there is no reason", entry.key);
            }
            if list.known[..index].iter().any(|other| other.key == entry.key) {
                bail!("{}: it is listed twice", entry.key);
            }
        }
        Ok(list)
    }

    /// The first entry that explains a difference.
    pub fn find(&self, key: &str, ours: &str, theirs: &str) -> Option<&Entry> {
        self.known
            .iter()
            .find(|entry| matches(&entry.key, key) && matches(&entry.ours, ours) && matches(&entry.theirs, theirs))
    }

    /// The keys, as they are listed.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|entry| entry.key.as_str())
    }
}

/// Whether `text` is as `pattern` says, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.", true),
            ("a.*", "a.b.c", true),
            ("a.*.c", "a.b.c.c", true),
            ("a.*.c", "a.c", false),
            ("*", "", true),
            ("*b*", "abc", true),
            ("*é", "aé", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_list_is_sound() {
        let parse = |text: &str| Known::parse(text).map(|_| ());
        let entry = "[[known]]\nkey = 'a'\nours = '1'\ntheirs = '2'\nwhy = 'so'\n";
        assert!(parse(entry).is_ok());
        assert!(parse(&entry.repeat(2)).is_err());
        assert!(parse(&entry.replace("so", " ")).is_err());
        assert!(parse(&entry.replace("ours", "mine")).is_err());
        Known::read(&crate::workspace::root().unwrap()).unwrap();
    }
}
