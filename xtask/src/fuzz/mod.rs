//! `cargo xtask fuzz`: programs made of random calls, instructions, mappings and forks, against a kernel that audits itself.
//!
//! The program `fuzz` does the cases on the machine (`user/src/bin/fuzz.rs`), the test kernel's audit looks at what they leave behind
//! (`kernel/src/ktest/audit.rs`). Here machines are chosen, what they say is read ([`said`]), and what failed is made as small as it can be
//! ([`shrink`]) and written into a file ([`mod@file`]) that `--replay` runs again. Time on the machine is that of its instructions, and its
//! random numbers come from the seed: a machine does the same each time. docs/fuzz.md tells more.

mod damage;
pub mod file;
pub mod said;
pub mod shrink;

use crate::images::{self, Images};
use crate::machine::{self, Config, Program};
use crate::setup::{self, Need};
use crate::trace::syscall;
use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use file::{Cases, Replay};
use said::{Coverage, Failure, Said};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use user::fuzz::memory::DAMAGED;

/// What may be said on the command line.
#[derive(clap::Args)]
pub struct Args {
    /// Begin no machine after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 60, conflicts_with = "replay")]
    seconds: u64,
    /// What all that is random comes from
    #[arg(long, value_name = "SEED", default_value_t = 1, conflicts_with = "replay")]
    seed: u64,
    /// Run the cases of a file that a failure left, on its machine
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Where to write the file for --replay [default: fuzz-SEED-CASE.txt, in the current folder]
    #[arg(short, long, value_name = "FILE", conflicts_with = "replay")]
    output: Option<PathBuf>,
    /// Say what came of it as JSON
    #[arg(long)]
    json: bool,
    /// QEMU to use [default: $QEMU, else qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    qemu: Option<OsString>,
}

/// Cases that one machine does.
pub const CASES: u64 = 1000;
/// The machine's time: nanoseconds that an instruction takes, as a power of two.
const SHIFT: u8 = 4;
/// How long a machine may take, and how much longer for each case. A case has its time on the machine, so only a kernel that stands still
/// takes as long.
const LIMIT: Duration = Duration::from_secs(30);
const LIMIT_PER_CASE: Duration = Duration::from_millis(300);
/// For how long smaller programs are tried.
const PATIENCE: Duration = Duration::from_secs(600);

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    cpu: String,
    gic: u8,
    /// MiB.
    mem: u32,
    /// Frames that there are for programs; 0 for all of that.
    frames: u32,
    /// Ticks of the scheduler a second.
    tick: u32,
    /// How much the kernel logs: `off`, or `debug`, with a whole report, in words and as a record, for each program that dies.
    log: String,
    /// What its random numbers and its damaged programs come from.
    seed: u64,
}

/// `cortex-a53 2 64 0 4000 off 1`, as it stands in files.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, gic, mem, frames, tick, log, seed } = self;
        write!(f, "{cpu} {gic} {mem} {frames} {tick} {log} {seed}")
    }
}

impl FromStr for Machine {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Machine> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [cpu, gic, mem, frames, tick, log, seed] = words[..] else {
            anyhow::bail!("`{text}` is no CPU, GIC, MiB, frames, ticks, log level and seed")
        };
        let (gic, mem, frames) = (gic.parse()?, mem.parse()?, frames.parse()?);
        let (tick, seed) = (tick.parse()?, seed.parse()?);
        Ok(Machine { cpu: cpu.into(), gic, mem, frames, tick, log: log.into(), seed })
    }
}

impl Machine {
    /// The machine with this number of those of a seed: four in a row have each CPU, eight each with both controllers; every third
    /// has hardly any memory, every fifth switches tasks some 1500 instructions apart, every seventh reports all deaths.
    fn of(seed: u64, index: u64) -> Machine {
        const CPUS: [&str; 4] = ["cortex-a53", "cortex-a72", "cortex-a76", "max"];
        let place = seed.wrapping_add(index);
        let (turn, mut rng) = (place % 8, Rng::with_seed(place));
        Machine {
            cpu: CPUS[(turn % 4) as usize].into(),
            gic: 2 + ((turn + turn / 4) % 2) as u8,
            mem: 64 * rng.u32(1..=4),
            // The kernel keeps 256 for the first program.
            frames: if place.is_multiple_of(3) { rng.u32(320..420) } else { 0 },
            tick: if place.is_multiple_of(5) { 40_000 } else { 4000 },
            log: if place.is_multiple_of(7) { "debug" } else { "off" }.into(),
            seed: place % (1 << 31) + 1,
        }
    }
}

/// Where machines are run.
pub struct Bench<'a> {
    images: &'a Images,
    qemu: Option<OsString>,
    /// For archives.
    folder: TempDir,
}

impl<'a> Bench<'a> {
    /// With the images of the test kernel.
    pub fn new(images: &'a Images, qemu: Option<OsString>) -> Result<Bench<'a>> {
        ensure!(images.ktest, "fuzzing needs the kernel built with its tests, for the audit");
        Ok(Bench { images, qemu, folder: TempDir::new().context("there is no place for temporary files")? })
    }

    /// What a machine says that does these cases.
    fn run(&self, machine: &Machine, cases: &Cases) -> Result<Said> {
        let text = match cases {
            Cases::Of { .. } => String::new(),
            Cases::Listed(cases) => file::text(cases),
        };
        let args = match cases {
            Cases::Of { seed, first, count } => [*seed, *first, *count].map(|number| number.to_string()).to_vec(),
            Cases::Listed(_) => ["replay", "/cases"].map(String::from).to_vec(),
        };
        let count = match cases {
            Cases::Of { count, .. } => *count as u32,
            Cases::Listed(cases) => cases.len() as u32,
        };
        let frames = if machine.frames == 0 { String::new() } else { format!(" frames={}", machine.frames) };
        let config = Config {
            cpu: machine.cpu.clone(),
            gic: machine.gic,
            mem: machine.mem,
            icount: Some(SHIFT),
            log: Some(machine.log.clone()),
            append: format!("tick={}{frames}", machine.tick),
            program: Program::Named("fuzz".into()),
            args,
            initramfs: Some(self.archive(machine, text)?),
            records: machine.log != "off",
            timeout: Some(LIMIT + LIMIT_PER_CASE * count),
            qemu_args: vec!["-seed".into(), machine.seed.to_string().into()],
            ..Config::default()
        };
        let qemu = self.qemu.clone().unwrap_or(config.qemu);
        let outcome = machine::run(self.images, &Config { qemu, ..config })?;
        Ok(Said::read(&outcome))
    }

    /// The programs, damaged ones, and a file of cases.
    fn archive(&self, machine: &Machine, cases: String) -> Result<PathBuf> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
        let program = read(self.images.programs.get("hello").context("there is no program `hello`")?)?;
        let program = crate::elf::strip(&program)?;
        let mut rng = Rng::with_seed(machine.seed);
        let damaged = (0..DAMAGED).map(|number| (format!("elf/{number}"), damage::damaged(&program, &mut rng)));
        let files: Vec<_> = damaged.chain([("cases".into(), cases.into_bytes())]).collect();
        let mut archive = read(&self.images.initramfs)?;
        // An archive ends in two blocks of zeroes.
        archive.truncate(archive.len() - 2 * 512);
        archive.extend(images::ustar(&files)?);
        let path = self.folder.path().join("initramfs.tar");
        fs::write(&path, archive).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

/// What came of many machines.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Machines that were run.
    pub machines: u64,
    /// Cases that were begun.
    pub cases: u64,
    /// What they reached.
    pub coverage: Coverage,
    /// What failed, and where; it ended the rest.
    pub failure: Option<(Machine, Failure)>,
}

/// Runs machines of a seed while `goes_on` says so, of the number of those begun, and none has failed.
pub fn campaign(bench: &Bench<'_>, seed: u64, cases: u64, mut goes_on: impl FnMut(u64) -> bool) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    while outcome.failure.is_none() && goes_on(outcome.machines) {
        let machine = Machine::of(seed, outcome.machines);
        let first = outcome.machines * cases;
        // Reports take most of the time.
        let count = if machine.log == "off" { cases } else { cases.div_ceil(10) };
        let said = bench.run(&machine, &Cases::Of { seed, first, count })?;
        outcome.machines += 1;
        outcome.cases += said.cases;
        outcome.coverage.add(&said.coverage);
        outcome.failure = said.failure.map(|failure| (machine, failure));
    }
    Ok(outcome)
}

/// Does what the command line says.
pub fn run(root: &Path, args: Args) -> Result<u8> {
    setup::ensure(root, &[Need::Target])?;
    let replay = args.replay.as_deref().map(Replay::open).transpose()?;
    setup::ensure_qemu(root, args.qemu.as_deref().unwrap_or(&Config::default().qemu))?;
    let images = Images::build(true)?;
    let bench = Bench::new(&images, args.qemu)?;
    if let Some(replay) = replay {
        let said = bench.run(&replay.machine, &replay.cases)?;
        let failure = said.failure.map(|failure| (replay.machine, failure));
        let outcome = Outcome { machines: 1, cases: said.cases, coverage: said.coverage, failure };
        return tell(&outcome, None, None, args.json);
    }
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let outcome = campaign(&bench, args.seed, CASES, |machines| {
        let goes_on = machines == 0 || Instant::now() < end;
        if goes_on {
            eprintln!("xtask: machine {machines}: {}", Machine::of(args.seed, machines));
        }
        goes_on
    })?;
    let mut written = None;
    if let Some((machine, failure)) = &outcome.failure {
        let number = failure.case.map_or("boot".into(), |case| case.to_string());
        let path = args.output.unwrap_or_else(|| format!("fuzz-{}-{number}.txt", args.seed).into());
        eprintln!("xtask: case {number} failed: {}; it is being made smaller", failure.why);
        let first = (outcome.machines - 1) * CASES;
        let replay = smaller(&bench, machine, failure, args.seed, first)?;
        fs::write(&path, replay.to_string()).with_context(|| format!("{} cannot be written", path.display()))?;
        written = Some((path, replay));
    }
    tell(&outcome, Some(args.seed), written.as_ref(), args.json)
}

/// The fewest cases and steps that fail in the same way, as far as tries go.
fn smaller(bench: &Bench<'_>, machine: &Machine, failure: &Failure, seed: u64, first: u64) -> Result<Replay> {
    let fails = |cases: &Cases| -> Result<bool> {
        let said = bench.run(machine, cases)?;
        Ok(said.failure.is_some_and(|other| other.is_like(failure)))
    };
    let replay = |cases| Replay { machine: machine.clone(), why: failure.why.clone(), cases };
    let whole = |first, last| Cases::Of { seed, first, count: last - first + 1 };
    let Some(last) = failure.case else { return Ok(replay(whole(first, first + CASES - 1))) };
    // The failing case alone, or as few before it as must be.
    let mut before = 0;
    while before < last - first && !fails(&whole(last - before, last))? {
        before = (before * 2 + 1).min(last - first);
    }
    if before > file::LISTED_MAX {
        return Ok(replay(whole(last - before, last)));
    }
    let listed = |steps: &[shrink::Step]| Cases::Listed(shrink::cases(steps));
    let steps = shrink::steps(seed, last - before..=last);
    if !fails(&listed(&steps))? {
        return Ok(replay(whole(last - before, last)));
    }
    let (end, mut tries) = (Instant::now() + PATIENCE, 0);
    let steps = shrink::fewest(steps, |fewer| {
        tries += 1;
        if tries % 10 == 0 {
            eprintln!("xtask: try {tries}, of {} steps", fewer.len());
        }
        Ok(Instant::now() < end && fails(&listed(fewer))?)
    })?;
    Ok(replay(listed(&steps)))
}

/// A call's name; those that there are not are one.
fn name(number: u32) -> String {
    if number == said::OTHERS { "others".into() } else { syscall::name(number as i32) }
}

/// Prints what came of it; gives the exit code.
fn tell(outcome: &Outcome, seed: Option<u64>, written: Option<&(PathBuf, Replay)>, json: bool) -> Result<u8> {
    let text = if json { format!("{}\n", json_of(outcome, seed, written)) } else { words_of(outcome, seed, written) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(outcome.failure.is_some().into())
}

fn json_of(outcome: &Outcome, seed: Option<u64>, written: Option<&(PathBuf, Replay)>) -> Value {
    let calls = outcome.coverage.calls.iter().map(|(&number, call)| {
        (name(number), json!({ "count": call.count, "answers": call.answers().collect::<Vec<_>>() }))
    });
    let failure = outcome.failure.as_ref().map(|(machine, failure)| {
        json!({
            "case": failure.case,
            "machine": machine.to_string(),
            "why": failure.why,
            "file": written.map(|(path, _)| path),
        })
    });
    json!({
        "schema": 1,
        "seed": seed,
        "machines": outcome.machines,
        "cases": outcome.cases,
        "calls": calls.collect::<serde_json::Map<_, _>>(),
        "counters": outcome.coverage.counters,
        "failure": failure,
    })
}

fn words_of(outcome: &Outcome, seed: Option<u64>, written: Option<&(PathBuf, Replay)>) -> String {
    let mut text = String::new();
    let mut line = |line: fmt::Arguments<'_>| {
        // A String takes everything.
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("{} cases on {} machines", outcome.cases, outcome.machines));
    line(format_args!("\n{:<20}{:>10}  answers", "call", "times"));
    for (&number, call) in &outcome.coverage.calls {
        let answers: Vec<_> = call.answers().collect();
        line(format_args!("{:<20}{:>10}  {}", name(number), call.count, answers.join(" ")));
    }
    line(format_args!("\n{:<40}{:>10}", "exception", "times"));
    for (name, count) in outcome.coverage.exceptions() {
        line(format_args!("{name:<40}{count:>10}"));
    }
    match (&outcome.failure, written) {
        (None, _) => line(format_args!("\n0 failures")),
        (Some((machine, failure)), written) => {
            let case = failure.case.map_or("no case".into(), |case| format!("case {case}"));
            let seed = seed.map_or(String::new(), |seed| format!(" of seed {seed}"));
            line(format_args!("\nFAILED in {case}{seed} on {machine}: {}", failure.why));
            if let Some((path, replay)) = written {
                line(format_args!("\n{replay}\nrun it again: cargo xtask fuzz --replay {}", path.display()));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_take_turns() {
        let machines: Vec<_> = (0..8).map(|index| Machine::of(9, index)).collect();
        let mut kinds: Vec<_> = machines.iter().map(|machine| (&*machine.cpu, machine.gic)).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), 8);
        for machine in machines {
            assert!((64..=256).contains(&machine.mem), "{machine:?}");
            assert_eq!(machine.to_string().parse::<Machine>().unwrap(), machine);
        }
        assert!("max 3 64 0 1 off".parse::<Machine>().is_err() && "max 3 64 0 1 off x".parse::<Machine>().is_err());
        assert_ne!(Machine::of(u64::MAX, 0).seed, 0);
    }
}
