//! `cargo xtask differ`: Linux as the oracle. The program `observe` (`user/src/bin/observe/`) tells what it can observe of the
//! kernel below it; it runs on ours and, the same ELF file on the same machine, on Debian's arm64 kernel. What differs is wrong,
//! unless `tests/differ.toml` lists it with the reason.

pub mod known;

use self::known::Known;
use crate::images::Images;
use crate::linux::{self, Linux};
use crate::machine::{self, Config, Outcome, Program};
use crate::setup::{self, Need};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// The program that observes.
const OBSERVE: &str = "observe";
/// The last thing that it tells: how many groups failed.
const END: &str = "observe.end";
/// What is told where a kernel showed nothing.
const NOTHING: &str = "(nothing)";

/// What may be typed.
#[derive(clap::Args)]
pub struct Args {
    /// Only these groups of observations: calls, results, memory, ends, start, registers, crash, idregs [default: all]
    names: Vec<String>,
    /// Say it as JSON
    #[arg(long)]
    json: bool,
    /// QEMU to use [default: $QEMU, else qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    qemu: Option<OsString>,
}

/// Does it; the exit code is 1 where a difference is not explained, or an explanation not needed.
pub fn run(root: &Path, args: Args) -> Result<u8> {
    let mut config = Config::default();
    config.qemu = args.qemu.unwrap_or(config.qemu);
    setup::ensure(root, &[Need::Target, Need::Linux])?;
    setup::ensure_qemu(root, &config.qemu)?;
    let known = Known::read(root)?;
    let images = Images::build(false)?;
    let judged = observe(&images, &args.names, &config)?.judge(&known);
    if args.json {
        println!("{}", serde_json::to_string(&judged)?);
    } else {
        print!("{}", judged.words());
    }
    Ok(u8::from(!judged.is_right()))
}

/// What one kernel showed: values by key.
pub type Observed = BTreeMap<String, String>;

/// What both showed.
#[derive(Clone, Debug)]
pub struct Both {
    ours: Observed,
    theirs: Observed,
}

/// Runs `observe` on both kernels; of `config` the machine counts. All groups, when `groups` names none.
pub fn observe(images: &Images, groups: &[String], config: &Config) -> Result<Both> {
    let mut args = groups.to_vec();
    if args.is_empty() {
        args.push("all".into());
    }
    let config = Config {
        program: Program::Named(OBSERVE.into()),
        args,
        log: Some("off".into()),
        timeout: Some(Duration::from_secs(240)),
        ..config.clone()
    };
    eprintln!("xtask: observing this kernel");
    let ours = machine::run(images, &config)?;
    if ours.code == 2 {
        bail!("{}", ours.console.trim());
    }
    eprintln!("xtask: observing Linux");
    // Where its mappings are is not to be left to chance.
    let config = Config { append: "norandmaps".into(), ..config };
    let theirs = linux::run(images, &Linux::new(&images.root), &config)?;
    let (ours, theirs) = (observed(&ours).context("on this kernel")?, observed(&theirs).context("on Linux")?);
    ensure!(theirs[END] == "0", "groups that failed on Linux: {}", theirs[END]);
    Ok(Both { ours, theirs })
}

/// Reads what a machine told. Other programs may have written between: only what looks like an observation is one.
fn observed(outcome: &Outcome) -> Result<Observed> {
    let mut observed = Observed::new();
    for line in outcome.console.lines() {
        let line = line.trim_matches('\r');
        let Some((key, value)) = line.split_once(' ').filter(|(key, _)| is_key(key)) else { continue };
        let old = observed.insert(key.into(), value.into());
        ensure!(old.is_none(), "two observations are called {key}");
    }
    ensure!(
        observed.contains_key(END),
        "`{OBSERVE}` did not come to its end (exit code {}):\n{}",
        outcome.code,
        tail(&outcome.console)
    );
    Ok(observed)
}

/// `group.rest`
fn is_key(word: &str) -> bool {
    let group = word.split_once('.').map_or("", |(group, _)| group);
    !group.is_empty() && group.chars().all(|c| c.is_ascii_lowercase())
}

/// The last lines of a console.
fn tail(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// What is told differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What.
    pub key: String,
    /// What this project's kernel shows.
    pub ours: String,
    /// What Linux shows.
    pub theirs: String,
    /// Why that is so, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// All differences, judged.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Of this layout.
    pub schema: u32,
    /// Observations that both kernels made, or one.
    pub observations: usize,
    /// Differences that are listed.
    pub known: Vec<Difference>,
    /// Those that are not.
    pub unexplained: Vec<Difference>,
    /// Keys of the list that explain nothing any more.
    pub stale: Vec<String>,
}

impl Both {
    /// The part of it in one group.
    pub fn group(&self, group: &str) -> Both {
        let part = |observed: &Observed| {
            let of_group = |key: &str| key.split_once('.').is_some_and(|(first, _)| first == group);
            observed.iter().filter(|(key, _)| of_group(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        Both { ours: part(&self.ours), theirs: part(&self.theirs) }
    }

    /// Compares by key.
    pub fn judge(&self, known: &Known) -> Judged {
        let keys: BTreeSet<_> = self.ours.keys().chain(self.theirs.keys()).collect();
        let groups: BTreeSet<_> = keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
        let mut used = BTreeSet::new();
        let (mut explained, mut unexplained) = (Vec::new(), Vec::new());
        for key in &keys {
            let value = |observed: &Observed| observed.get(*key).map_or(NOTHING, String::as_str).to_string();
            let (ours, theirs) = (value(&self.ours), value(&self.theirs));
            if ours == theirs {
                continue;
            }
            let entry = known.find(key, &ours, &theirs);
            used.extend(entry.map(|entry| entry.key.clone()));
            let why = entry.map(|entry| entry.why.clone());
            let into = if why.is_some() { &mut explained } else { &mut unexplained };
            into.push(Difference { key: key.to_string(), ours, theirs, why });
        }
        let stale = known.keys().filter(|key| {
            let observed = key.split_once('.').is_none_or(|(group, _)| groups.contains(group));
            observed && !used.contains(*key)
        });
        let stale = stale.map(String::from).collect();
        Judged { schema: 1, observations: keys.len(), known: explained, unexplained, stale }
    }
}

impl Judged {
    /// Whether every difference is listed, and nothing else is.
    pub fn is_right(&self) -> bool {
        self.unexplained.is_empty() && self.stale.is_empty()
    }

    /// For people.
    pub fn words(&self) -> String {
        let mut text = String::new();
        let mut reasons: Vec<(&str, Vec<&Difference>)> = Vec::new();
        for difference in &self.known {
            let why = difference.why.as_deref().unwrap_or_default();
            match reasons.iter_mut().find(|(other, _)| *other == why) {
                Some((_, differences)) => differences.push(difference),
                None => reasons.push((why, vec![difference])),
            }
        }
        // Writing to a String cannot fail.
        for (why, differences) in reasons {
            let _ = writeln!(text, "known, {}: {why}", differences.len());
        }
        if !self.unexplained.is_empty() {
            let _ = writeln!(text, "{:<40} {:<32} {:<32}", "DIFFERENT", "THIS KERNEL", "LINUX");
        }
        for Difference { key, ours, theirs, .. } in &self.unexplained {
            let _ = writeln!(text, "{key:<40} {ours:<32} {theirs:<32}");
        }
        for key in &self.stale {
            let _ = writeln!(text, "listed in {}, but no difference (any more): {key}", known::FILE);
        }
        let _ = writeln!(
            text,
            "{} observations, {} different as is known, {} unexplained, {} listed in vain",
            self.observations,
            self.known.len(),
            self.unexplained.len(),
            self.stale.len()
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(console: &str) -> Outcome {
        Outcome { code: 0, timed_out: false, console: console.into(), records: vec![] }
    }

    fn both(ours: &str, theirs: &str) -> Both {
        let [ours, theirs] =
            [ours, theirs].map(|text| observed(&outcome(&format!("{text}\nobserve.end 0\n"))).unwrap());
        Both { ours, theirs }
    }

    fn known(text: &str) -> Known {
        Known::parse(text).unwrap()
    }

    #[test]
    fn observations_are_read_from_a_console() {
        let text = "hello\r\n\rcalls.read.good 8\r\nwhatever: 1.2 3\n.a b\nends.x 0x100 y\nobserve.end 0\n";
        let read = observed(&outcome(text)).unwrap();
        let expected = [("calls.read.good", "8"), ("ends.x", "0x100 y"), (END, "0")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_string(), value.to_string())).into());
        for bad in ["calls.a 1\n", "calls.a 1\ncalls.a 1\nobserve.end 0\n", ""] {
            assert!(observed(&outcome(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_difference_is_explained_or_not() {
        let list = known("[[known]]\nkey = 'a.*'\nours = '1'\ntheirs = '*'\nwhy = 'so'");
        let judged = both("a.x 1\na.y 2\nb.z 3", "a.x 9\na.y 9\nb.z 3\nb.only 4").judge(&list);
        let difference = |key: &str, ours: &str, theirs: &str, why: Option<&str>| Difference {
            key: key.into(),
            ours: ours.into(),
            theirs: theirs.into(),
            why: why.map(String::from),
        };
        assert_eq!(judged.known, [difference("a.x", "1", "9", Some("so"))]);
        assert_eq!(judged.unexplained, [difference("a.y", "2", "9", None), difference("b.only", NOTHING, "4", None)]);
        assert_eq!((judged.observations, judged.is_right()), (5, false));
        assert!(judged.stale.is_empty());
    }

    #[test]
    fn what_explains_nothing_is_stale_where_it_could() {
        let list = known(
            "[[known]]\nkey = 'a.x'\nours = '1'\ntheirs = '2'\nwhy = 'so'\n\
             [[known]]\nkey = 'c.x'\nours = '1'\ntheirs = '2'\nwhy = 'so'",
        );
        let judged = both("a.x 1\nb.x 1", "a.x 1\nb.x 1").judge(&list);
        assert_eq!(judged.stale, ["a.x"], "nothing was observed of group c");
        assert!(!judged.is_right());
        assert!(both("a.x 1", "a.x 2").judge(&list).is_right());
        assert!(both("a.x 1\nb.x 1", "a.x 2\nb.x 2").group("a").judge(&list).is_right());
    }
}
