//! What all tests need: the images, built once; machines, and what they leave behind.

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Trial;
use object::{Object, ObjectSymbol, SymbolKind};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, process};
use trap::record::{Counters, Ktest, Report};
use xtask::images::Images;
use xtask::machine::{self, Config, Outcome, Program};

/// The exit code of a kernel panic.
pub const PANIC: u8 = 121;

/// CPUs that differ in what matters here: the last two have PAN; the last has what QEMU has.
pub const CPUS: [&str; 4] = ["cortex-a53", "cortex-a72", "cortex-a76", "max"];

/// A test of its own.
pub type Test = fn() -> Result<()>;
/// How to make a file.
pub type Bytes = fn() -> Result<Vec<u8>>;

/// A test called `qemu::NAME`.
pub fn trial(name: impl AsRef<str>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(format!("qemu::{}", name.as_ref()), move || test().map_err(|error| format!("{error:#}").into()))
}

/// The kernel and the programs; with `ktest`, the kernel that holds the in-kernel tests. Built when they are first asked for.
/// No test can tell anything when they do not build, so that ends all.
pub fn images(ktest: bool) -> &'static Images {
    static IMAGES: [OnceLock<Images>; 2] = [OnceLock::new(), OnceLock::new()];
    IMAGES[usize::from(ktest)].get_or_init(|| {
        Images::build(ktest).unwrap_or_else(|error| {
            eprintln!("the images do not build: {error:#}");
            process::exit(2)
        })
    })
}

/// What a machine left behind.
#[derive(Debug)]
pub struct Ran {
    /// How it ended and what it said.
    pub outcome: Outcome,
    /// Reports of the kernel's end.
    pub panics: Vec<Report>,
    /// Reports of tasks that a signal killed.
    pub deaths: Vec<Report>,
    /// Reports of what the kernel found wrong and went on from.
    pub warnings: Vec<Report>,
    /// What it counted, if it came to power off.
    pub counters: Vec<Counters>,
    /// Verdicts of in-kernel tests.
    pub verdicts: Vec<Ktest>,
}

impl Ran {
    /// The only report, of a machine that ended with it.
    pub fn panic(&self) -> Result<&Report> {
        same("exit code", self.outcome.code, PANIC)?;
        let [panic] = &self.panics[..] else { anyhow::bail!("{} panic records", self.panics.len()) };
        Ok(panic)
    }

    /// The only task that was killed.
    pub fn death(&self) -> Result<&Report> {
        let [death] = &self.deaths[..] else { anyhow::bail!("{} death records", self.deaths.len()) };
        Ok(death)
    }

    /// What the machine counted; of one that ended in order.
    pub fn counters(&self) -> Result<&Counters> {
        let [counters] = &self.counters[..] else { anyhow::bail!("{} counters records", self.counters.len()) };
        Ok(counters)
    }

    /// That the machine ended in order with `code`.
    pub fn ended(&self, code: u8) -> Result<()> {
        same("exit code", self.outcome.code, code)?;
        same("panic records", self.panics.len(), 0)?;
        same("timed out", self.outcome.timed_out, false)
    }
}

/// An error unless the two are equal.
pub fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Result<()> {
    ensure!(found == expected, "{what}: {found:x?} instead of {expected:x?}");
    Ok(())
}

/// Runs a machine and looks at what it left; a failure shows that.
pub fn run(config: &Config, look: impl FnOnce(&Ran) -> Result<()>) -> Result<()> {
    let outcome = machine::run(images(config.ktest.is_some()), config)?;
    let records: Vec<_> = outcome.records.iter().map(Value::to_string).collect();
    let shown = format!("exit code {}, records:\n{}\nconsole:\n{}", outcome.code, records.join("\n"), outcome.console);
    sort(outcome).and_then(|ran| look(&ran)).map_err(|error| anyhow!("{error:#}\n{shown}"))
}

fn sort(outcome: Outcome) -> Result<Ran> {
    let mut ran = Ran { outcome, panics: vec![], deaths: vec![], warnings: vec![], counters: vec![], verdicts: vec![] };
    for record in &ran.outcome.records {
        let read = |record: &Value| record.clone();
        match record["kind"].as_str() {
            Some("panic") => ran.panics.push(serde_json::from_value(read(record))?),
            Some("warning") => ran.warnings.push(serde_json::from_value(read(record))?),
            Some("death") => ran.deaths.push(serde_json::from_value(read(record))?),
            Some("counters") => ran.counters.push(serde_json::from_value(read(record))?),
            Some("ktest") => ran.verdicts.push(serde_json::from_value(read(record))?),
            _ => anyhow::bail!("unknown record {record}"),
        }
    }
    Ok(ran)
}

/// How long a machine may take; on a quiet host none takes two seconds.
const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

/// The default machine, with the demo suite.
pub fn demo() -> Config {
    Config { timeout: LIMIT, ..Config::default() }
}

/// The default machine with a program and its arguments, parted by spaces; the kernel says nothing, so that the console is
/// the programs'.
pub fn program(line: &str) -> Config {
    let mut words = line.split(' ').map(String::from);
    let name = words.next().unwrap_or_default();
    Config { program: Program::Named(name), args: words.collect(), log: Some("off".into()), ..demo() }
}

/// The default machine with an in-kernel test.
pub fn ktest(name: &str, seed: u64) -> Config {
    Config { ktest: Some(name.into()), append: format!("seed={seed}"), ..demo() }
}

/// The archive that machines boot with, with the files of `change`: some bytes replace or add one, none removes it.
pub fn archive(change: &[(&str, Option<&[u8]>)]) -> Result<Vec<u8>> {
    let bytes = fs::read(&images(false).initramfs)?;
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content)?;
        files.insert(entry.path()?.display().to_string(), content);
    }
    for (path, content) in change {
        match content {
            Some(content) => drop(files.insert(path.to_string(), content.to_vec())),
            None => drop(files.remove(*path)),
        }
    }
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, path, &content[..])?;
    }
    Ok(archive.into_inner()?)
}

/// The names in a kernel's ELF file.
pub struct Names {
    /// By address.
    sorted: Vec<(u64, String)>,
}

impl Names {
    /// Reads them.
    pub fn read(elf: &Path) -> Result<Names> {
        let bytes = fs::read(elf)?;
        let file = object::File::parse(&*bytes)?;
        let named = file.symbols().filter(|symbol| symbol.is_definition() && symbol.kind() != SymbolKind::Section);
        let named = named.filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?.to_string())));
        // Not the marks of code and data (`$x`, `$d`), nor the compiler's own labels.
        let mut sorted: Vec<_> = named.filter(|(_, name)| !name.starts_with(['$', '.']) && !name.is_empty()).collect();
        sorted.sort();
        Ok(Names { sorted })
    }

    /// The address of what is called exactly `name`.
    pub fn address(&self, name: &str) -> Result<u64> {
        let found = self.sorted.iter().find(|entry| entry.1 == name);
        Ok(found.with_context(|| format!("the kernel has no symbol `{name}`"))?.0)
    }

    /// All names of the last place at or before `address`; those of Rust are mangled, but whole words in them.
    pub fn at(&self, address: u64) -> Vec<&str> {
        let end = self.sorted.partition_point(|entry| entry.0 <= address);
        let Some(last) = end.checked_sub(1) else { return Vec::new() };
        let begin = self.sorted.partition_point(|entry| entry.0 < self.sorted[last].0);
        self.sorted[begin..end].iter().map(|entry| entry.1.as_str()).collect()
    }

    /// Whether `address` is in what is called `name`, or holds that word in its mangled name.
    pub fn holds(&self, address: u64, name: &str) -> bool {
        let word = format!("{}{name}", name.len());
        self.at(address).iter().any(|found| *found == name || found.contains(&word))
    }
}
