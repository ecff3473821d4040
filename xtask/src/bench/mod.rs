//! `cargo xtask bench`: what each path costs, in instructions, beside the least it can cost, beside Linux, and beside what it did cost
//! when the figures were last committed (`tests/bench.json`).
//!
//! Machines count instructions (QEMU's `-icount`), so that everybody gets the same figures, to the byte. What runs on them:
//! `user/src/bin/bench.rs` at EL0, on our kernel and on Linux; the in-kernel test `bench`; and the small guests `floor`, on the bare
//! machine, and `cost`, on the hypervisor (`tests/guest`).

pub mod figures;
pub mod measure;
pub mod rows;
pub mod table;

use self::figures::{FILE, Figures, Verdict};
use self::measure::{Figure, Found, Machine, Slow};
use self::rows::{ROWS, Row, Source};
use self::table::{Entry, number};
use crate::images::{Hypervisor, Images};
use crate::linux::Linux;
use crate::machine::Config;
use crate::setup::{self, Need};
use crate::toolchain::Compiler;
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What may be typed.
#[derive(clap::Args)]
pub struct Args {
    /// Only these rows; what is no row's name stands for all that hold it
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write everything to standard output as one JSON text
    #[arg(long)]
    json: bool,
    /// CPU model, for the rows of EL1; those of EL2 are measured on a cortex-a53
    #[arg(long, default_value = "cortex-a72", value_parser = ["cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "max"])]
    cpu: String,
    /// Version of the interrupt controller, for the rows of EL1; those of EL2 are measured with both
    #[arg(long, value_name = "VERSION", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: u8,
    /// Run the same program on Debian's Linux as well; may be repeated
    #[arg(long, value_enum, value_name = "KERNEL")]
    against: Vec<Against>,
    /// Commit to the figures that were found: writes them to tests/bench.json
    #[arg(long)]
    update: bool,
    /// QEMU to use [default: $QEMU, else qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    qemu: Option<OsString>,
}

/// A Linux to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Against {
    /// As Debian ships it
    Linux,
    /// Without mitigations, randomisation, zeroing of memory and auditing
    LinuxLean,
}

impl Against {
    /// As a heading.
    fn name(self) -> &'static str {
        match self {
            Against::Linux => "Linux",
            Against::LinuxLean => "lean Linux",
        }
    }
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Request {
    /// The rows.
    pub rows: Vec<Row>,
    /// The machine for those of EL1.
    pub machine: Machine,
    /// What to compare with.
    pub against: Vec<Against>,
}

/// Measures, and tells; 1 when something costs more than it did.
pub fn run(root: &Path, args: Args) -> Result<u8> {
    let rows: Vec<_> = ROWS.iter().filter(|row| row.is_wanted(&args.names)).copied().collect();
    for name in &args.names {
        ensure!(
            ROWS.iter().any(|row| row.name.contains(name)),
            "no row's name holds `{name}`; there are: {}",
            ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
        );
    }
    let qemu = args.qemu.unwrap_or_else(|| Config::default().qemu);
    setup::ensure(root, &[Need::Target])?;
    setup::ensure_qemu(root, &qemu)?;
    if !args.against.is_empty() {
        setup::ensure(root, &[Need::Linux])?;
    }
    let compiler = compiler(root)?;
    let mut figures = Figures::read(root)?;
    let request = Request { rows, machine: Machine { qemu, cpu: args.cpu, gic: args.gic }, against: args.against };
    let entries = entries(root, &figures, &request)?;

    let text = if args.json { format!("{}\n", table::json(&compiler, &entries)) } else { table::table(&entries) };
    io::stdout().write_all(text.as_bytes())?;
    if !figures.know(&compiler) {
        let known: Vec<_> = figures.compilers().collect();
        eprintln!(
            "xtask: {FILE} has no figures of rustc {compiler}, only of {}: nothing is compared",
            known.join(", ")
        );
    }
    entries.iter().filter_map(told).for_each(|line| eprintln!("xtask: {line}"));
    let regressed = entries.iter().any(|entry| entry.verdict() == Verdict::Worse);
    if args.update {
        for entry in &entries {
            if let Ok(found) = &entry.found {
                figures.set(&compiler, &entry.machine, entry.row.name, found.min);
            }
        }
        figures.write(root)?;
        eprintln!("xtask: {FILE} has these figures now");
        return Ok(0);
    }
    Ok(u8::from(regressed))
}

/// The version of the compiler that the kernel is built with, which the figures depend on.
pub fn compiler(root: &Path) -> Result<String> {
    let compiler = Compiler::find(root)?.context("there is no compiler for the Arm target")?;
    Ok(compiler.version(root)?.to_string())
}

/// What a person is to know of a row beside its figure.
fn told(entry: &Entry) -> Option<String> {
    let committed = entry.committed?;
    let (row, machine) = (entry.row.name, &entry.machine);
    let was = number(committed);
    let change = |found: &Figure| {
        let percent = (found.min / committed - 1.0) * 100.0;
        format!("{} instead of {was} ({percent:+.1} %)", number(found.min))
    };
    match (entry.verdict(), &entry.found) {
        (Verdict::Worse, Ok(found)) => Some(format!("{row} on {machine} has REGRESSED: {}", change(found))),
        (Verdict::Worse, Err(why)) => Some(format!("{row} on {machine} has REGRESSED: {why} instead of {was}")),
        (Verdict::Better, Ok(found)) => {
            Some(format!("{row} on {machine} is better: {}; `cargo xtask bench --update` keeps that", change(found)))
        }
        _ => None,
    }
}

/// What one machine told.
enum Told {
    /// Of ours, on this machine.
    Ours(String, Found),
    Floor(Found),
    Other(&'static str, Found),
    Slow(&'static str, Slow),
}

/// A machine to run, and in words what it measures.
type Job<'a> = (String, Box<dyn FnOnce() -> Result<Vec<Told>> + Send + 'a>);

/// Measures all of `request`, as many machines at a time as there are CPUs, and puts the committed figures beside it.
pub fn entries(root: &Path, figures: &Figures, request: &Request) -> Result<Vec<Entry>> {
    let Request { rows, machine, against } = request;
    let needs = |sources: &[Source]| rows.iter().any(|row| sources.contains(&row.source));
    let at_el1 = needs(&[Source::Quiet, Source::Ticking]);
    let ktest = needs(&[Source::Kernel]).then(|| Images::build(true)).transpose()?;
    let hypervisor = needs(&[Source::El2, Source::HypImage]).then(Hypervisor::build).transpose()?;
    let images = Images::build(false)?;
    let images = &images;

    let mut jobs: Vec<Job<'_>> = Vec::new();
    if at_el1 {
        let linux = Linux::new(root);
        for &against in against {
            let linux = linux.clone();
            jobs.push((
                format!("{}, which may take minutes", against.name()),
                Box::new(move || {
                    let found = measure::linux(images, &linux, machine, rows, against == Against::LinuxLean)?;
                    Ok(vec![Told::Other(against.name(), found)])
                }),
            ));
        }
    }
    let sources = [
        (images, Source::Quiet, "what programs do"),
        (images, Source::Ticking, "the timer's interrupts"),
        (images, Source::Image, "the boot image"),
    ];
    let kernel = ktest.as_ref().map(|ktest| (ktest, Source::Kernel, "the kernel from inside"));
    for (images, source, what) in sources.into_iter().chain(kernel) {
        if needs(&[source]) {
            jobs.push((
                format!("{what} on {}", machine.name()),
                Box::new(move || Ok(vec![Told::Ours(machine.name(), measure::source(images, source, machine, rows)?)])),
            ));
        }
    }
    if let Some(hypervisor) = &hypervisor {
        for gic in [2, 3] {
            let machine = Machine { cpu: EL2_CPU.into(), gic, ..machine.clone() };
            jobs.push((
                format!("the hypervisor on {}", machine.name()),
                Box::new(move || {
                    let mut found =
                        if needs(&[Source::El2]) { measure::el2(hypervisor, images, &machine)? } else { Found::new() };
                    found.insert("el2.image".into(), Ok(measure::size(&hypervisor.image)?));
                    Ok(vec![Told::Ours(machine.name(), found)])
                }),
            ));
        }
    }
    if rows.iter().any(|row| !row.floor.is_empty()) {
        jobs.push((
            "what it costs at least".into(),
            Box::new(move || Ok(vec![Told::Floor(measure::floor(images, machine)?)])),
        ));
    }
    for row in rows {
        if row.steps != rows::Steps::None {
            jobs.push((
                format!("what {} executes", row.name),
                Box::new(move || {
                    let slow = measure::slow(images, machine, row)?;
                    Ok(slow.map(|slow| Told::Slow(row.name, slow)).into_iter().collect())
                }),
            ));
        }
    }
    let told = all(jobs)?;
    let compiler = compiler(root)?;
    Ok(sorted(request, told, |machine, row| figures.get(&compiler, machine, row)))
}

/// The CPU that the rows of EL2 are measured on.
const EL2_CPU: &str = "cortex-a53";

/// Does the jobs, as many at a time as there are CPUs. None is begun any more once one has failed.
fn all(jobs: Vec<Job<'_>>) -> Result<Vec<Told>> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let jobs = Mutex::new(VecDeque::from(jobs));
    let told = Mutex::new(Ok(Vec::new()));
    // A function, so that the lock is not held while a job is done.
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((what, job)) = next() {
                    eprintln!("xtask: measuring {what}");
                    let result = job().with_context(|| format!("measuring {what}"));
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    match (&mut *told, result) {
                        (Ok(told), Ok(new)) => told.extend(new),
                        (Ok(_), Err(error)) => {
                            jobs.lock().unwrap_or_else(PoisonError::into_inner).clear();
                            *told = Err(error);
                        }
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    told.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What was told, as entries: by machine, in the order of the rows.
fn sorted(request: &Request, told: Vec<Told>, committed: impl Fn(&str, &str) -> Option<f64>) -> Vec<Entry> {
    let (mut ours, mut others) = (BTreeMap::<String, Found>::new(), BTreeMap::new());
    let (mut floor, mut slow) = (Found::new(), BTreeMap::new());
    for told in told {
        match told {
            Told::Ours(machine, found) => ours.entry(machine).or_default().extend(found),
            Told::Floor(found) => floor = found,
            Told::Other(name, found) => drop(others.insert(name, found)),
            Told::Slow(row, counts) => drop(slow.insert(row, counts)),
        }
    }
    let figure = |found: &Found, row: &str| found.get(row).and_then(|found| found.as_ref().ok()).copied();
    let pan = usize::from(request.machine.has_pan());
    let mut machines: Vec<_> = ours.keys().cloned().collect();
    // That of EL1 first.
    machines.sort_by_key(|name| *name != request.machine.name());
    let mut entries = Vec::new();
    for machine in machines {
        for row in &request.rows {
            let Some(found) = ours[&machine].get(row.name) else { continue };
            entries.push(Entry {
                row: *row,
                machine: machine.clone(),
                found: found.clone(),
                floor: row.floor.iter().filter_map(|name| figure(&floor, name)).map(|floor| floor.min).collect(),
                aim: row.aim.map(|aim| aim[pan]),
                others: request
                    .against
                    .iter()
                    .map(|against| {
                        let name = against.name();
                        (name.to_string(), others.get(name).and_then(|found| figure(found, row.name)))
                    })
                    .collect(),
                slow: slow.get(row.name).copied(),
                committed: committed(&machine, row.name),
            });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(against: Vec<Against>) -> Request {
        let machine = Machine { qemu: "qemu".into(), cpu: "cortex-a53".into(), gic: 3 };
        let rows = ROWS.iter().filter(|row| ["getpid", "el2.image"].contains(&row.name)).copied().collect();
        Request { rows, machine, against }
    }

    fn found(row: &str, min: f64) -> Found {
        [(row.to_string(), Ok(Figure { min, median: min }))].into()
    }

    #[test]
    fn what_machines_tell_comes_together() {
        let ours = |machine: &str, row, min| Told::Ours(machine.into(), found(row, min));
        let parts = vec![
            ours("cortex-a53, GICv2", "el2.image", 7.0),
            ours("cortex-a53, GICv3", "el2.image", 7.0),
            ours("cortex-a53, GICv3", "getpid", 150.0),
            ours("cortex-a53, GICv3", "no row", 1.0),
            Told::Floor([found("getpid", 60.0), found("getpid.full", 100.0)].into_iter().flatten().collect()),
            Told::Other("Linux", found("getpid", 300.0)),
            Told::Slow("getpid", Slow { barriers: 1.0, writes: 2.0 }),
        ];
        let committed = |machine: &str, row: &str| (machine.ends_with('3') && row == "getpid").then_some(145.0);
        let entries = sorted(&request(vec![Against::Linux]), parts, committed);
        let names: Vec<_> = entries.iter().map(|entry| (&*entry.machine, entry.row.name)).collect();
        let v3 = "cortex-a53, GICv3";
        assert_eq!(names, [(v3, "getpid"), (v3, "el2.image"), ("cortex-a53, GICv2", "el2.image")]);
        let getpid = &entries[0];
        assert_eq!((getpid.floor.as_slice(), getpid.aim), (&[60.0, 100.0][..], Some(145.0)));
        assert_eq!(getpid.others, [("Linux".into(), Some(Figure { min: 300.0, median: 300.0 }))]);
        assert_eq!((getpid.slow.unwrap().writes, getpid.verdict()), (2.0, Verdict::Worse));
        assert!(told(getpid).unwrap().contains("getpid on cortex-a53, GICv3 has REGRESSED"));
        assert_eq!((entries[1].verdict(), told(&entries[1])), (Verdict::New, None));
    }

    #[test]
    fn jobs_are_all_done_until_one_fails() {
        let job = |row: &'static str, fails: bool| -> Job<'static> {
            let work = move || {
                ensure!(!fails, "no machine");
                Ok(vec![Told::Ours("m".into(), found(row, 1.0))])
            };
            (row.into(), Box::new(work))
        };
        assert_eq!(all(vec![job("a", false), job("b", false), job("c", false)]).unwrap().len(), 3);
        let error = all(vec![job("a", false), job("b", true), job("c", false)]).err().unwrap();
        assert_eq!(format!("{error:#}"), "measuring b: no machine");
    }
}
