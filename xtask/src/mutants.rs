//! Mutations: small faults put into the code one at a time, each of which named tests must notice.
//!
//! `tests/mutants.toml` lists them. Each is tried in a copy of the checkout's tracked files, so the checkout itself is
//! never touched; all share one target folder, so that only what a mutation changes is built again.

use crate::linux::{self, Linux};
use crate::{test, workspace};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The list, relative to the top folder.
const LIST: &str = "tests/mutants.toml";

/// In `kills`: the compiler notices.
const BUILD: &str = "build";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// One mutation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// What it is called.
    name: String,
    /// Which invariant it breaks.
    why: String,
    /// The file it changes, relative to the top folder.
    file: String,
    /// The text it replaces, which occurs once.
    find: String,
    /// What it puts there.
    replace: String,
    /// The tests that must fail, by their whole names; or `build`: it must not compile.
    kills: Vec<String>,
}

/// `cargo xtask mutants`: tries the mutations whose name holds `filter`, each `every`th of them. That all of them can be put
/// into the code is seen in any case.
pub fn mutants(root: &Path, filter: Option<&str>, every: usize) -> Result<u8> {
    let list = fs::read_to_string(root.join(LIST)).with_context(|| format!("{LIST} cannot be read"))?;
    let mut list: List = toml::from_str(&list).with_context(|| format!("{LIST} is not as it should be"))?;
    list.mutant.retain(|mutant| filter.is_none_or(|filter| mutant.name.contains(filter)));
    ensure!(!list.mutant.is_empty(), "no mutant's name holds `{}`; {LIST} names all", filter.unwrap_or_default());
    for mutant in &list.mutant {
        let text = fs::read_to_string(root.join(&mutant.file));
        let text = text.with_context(|| format!("mutant {}: {} cannot be read", mutant.name, mutant.file))?;
        mutate(&text, mutant).with_context(|| format!("mutant {} does not fit the code any more", mutant.name))?;
    }
    let sample: Vec<_> = list.mutant.iter().step_by(every).collect();
    let copy = Copy::new(root)?;
    let mut failed = 0;
    for mutant in &sample {
        eprintln!("xtask: mutant {}: {}", mutant.name, mutant.why);
        let verdict = match copy.attempt(mutant) {
            Ok(()) => "killed".into(),
            Err(error) => {
                failed += 1;
                format!("NOT KILLED: {error:#}")
            }
        };
        println!("mutant {} ... {verdict}", mutant.name);
    }
    println!("{} passed, {failed} failed", sample.len() - failed);
    Ok(u8::from(failed > 0))
}

/// The copy of the checkout that the mutations are tried in.
struct Copy {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    /// The Linux that was brought for the checkout.
    linux: PathBuf,
    files: BTreeSet<PathBuf>,
}

impl Copy {
    fn new(root: &Path) -> Result<Copy> {
        let folder = workspace::target_dir(root).join("mutants");
        let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
        let output = output.context("git cannot be started")?;
        ensure!(output.status.success(), "{} is no git checkout, whose tracked files could be copied", root.display());
        let names = String::from_utf8(output.stdout).context("a tracked file's name is not UTF-8")?;
        // A tracked file may be deleted and not committed yet.
        let files = names.split_terminator('\0').map(PathBuf::from).filter(|file| root.join(file).is_file()).collect();
        let linux = Linux::new(root).folder;
        Ok(Copy { root: root.into(), tree: folder.join("tree"), target: folder.join("target"), linux, files })
    }

    /// Makes the copy equal to the checkout; files that are equal keep their time, so that cargo builds nothing anew.
    fn restore(&self) -> Result<()> {
        remove_others(&self.tree, Path::new(""), &self.files)?;
        for file in &self.files {
            let from = self.root.join(file);
            let bytes = fs::read(&from).with_context(|| format!("{} cannot be read", from.display()))?;
            workspace::write(&self.tree.join(file), &bytes)?;
        }
        Ok(())
    }

    /// Tries one mutation; an error when it survives or cannot be tried.
    fn attempt(&self, mutant: &Mutant) -> Result<()> {
        ensure!(!mutant.kills.is_empty(), "`kills` names no test");
        self.restore()?;
        let file = self.tree.join(&mutant.file);
        let text = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", mutant.file))?;
        workspace::write(&file, mutate(&text, mutant)?.as_bytes())?;
        let cargo = |words: &[&str]| {
            let mut cargo = workspace::cargo(&self.tree);
            cargo.args(words).env("CARGO_TARGET_DIR", &self.target).env(linux::FOLDER, &self.linux);
            cargo
        };
        if mutant.kills == [BUILD] {
            let commands: [&[&str]; 2] = [&["test", "--no-run"], &["xtask", "qemu", "--ktest", "none", "--dry-run"]];
            for words in commands {
                let status = cargo(words).stdin(Stdio::null()).stdout(Stdio::null()).status();
                if !status.context("cargo cannot be started")?.success() {
                    return Ok(());
                }
            }
            bail!("it compiles");
        }
        let names: Vec<_> = mutant.kills.iter().map(String::as_str).collect();
        let report = test::run(cargo(&["test", "--tests"]), &[&names[..], &["--exact"]].concat(), |_| Ok(()))?;
        for name in names {
            match report.tests.get(name) {
                Some(false) => {}
                Some(true) => bail!("{name} passes"),
                None => bail!("{name} did not run; is that its whole name?"),
            }
        }
        Ok(())
    }
}

/// Removes the files below `tree`/`folder` that are not among `files`.
fn remove_others(tree: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(tree.join(folder)).into_iter().flatten() {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(tree, &path, files)?;
        } else if !files.contains(&path) {
            fs::remove_file(entry.path()).with_context(|| format!("{} cannot be removed", entry.path().display()))?;
        }
    }
    Ok(())
}

/// `text` with the mutation.
fn mutate(text: &str, mutant: &Mutant) -> Result<String> {
    match text.matches(&mutant.find).count() {
        1 => Ok(text.replacen(&mutant.find, &mutant.replace, 1)),
        count => bail!("`find` occurs {count} times in {}, not once", mutant.file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(list: &str) -> Mutant {
        toml::from_str::<List>(list).unwrap().mutant.remove(0)
    }

    const LIST: &str = r#"
        [[mutant]]
        name = "no barrier"
        why = "invariant 7"
        file = "a.S"
        find = "dsb nsh\nisb"
        replace = ""
        kills = ["barriers::after_eret"]
    "#;

    #[test]
    fn a_mutation_changes_exactly_one_place() {
        let mutant = one(LIST);
        assert_eq!(mutate("eret\ndsb nsh\nisb\n", &mutant).unwrap(), "eret\n\n");
        assert!(mutate("eret", &mutant).unwrap_err().to_string().contains("0 times in a.S"));
        assert!(mutate("dsb nsh\nisb dsb nsh\nisb", &mutant).unwrap_err().to_string().contains("2 times"));
    }

    #[test]
    fn a_misspelt_list_is_refused() {
        assert!(toml::from_str::<List>(&LIST.replace("kills", "kill")).is_err());
    }

    #[test]
    fn the_copy_follows_the_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let copy = Copy {
            root: folder.path().join("root"),
            tree: folder.path().join("tree"),
            target: folder.path().join("target"),
            linux: PathBuf::new(),
            files: ["src/a", "b"].map(PathBuf::from).into(),
        };
        for file in &copy.files {
            workspace::write(&copy.root.join(file), b"as it is").unwrap();
        }
        workspace::write(&copy.tree.join("src/old"), b"").unwrap();
        workspace::write(&copy.tree.join("b"), b"mutated").unwrap();
        copy.restore().unwrap();
        let time = |file| fs::metadata(copy.tree.join(file)).unwrap().modified().unwrap();
        let before = time("src/a");
        copy.restore().unwrap();
        assert_eq!(before, time("src/a"));
        assert_eq!(fs::read(copy.tree.join("b")).unwrap(), b"as it is");
        assert!(!copy.tree.join("src/old").exists());
    }
}
