//! `cargo xtask sweep`: an interrupt at every instruction of the kernel's paths, and the proof that none is late.
//!
//! One machine does the scenarios (`user/src/bin/sweep.rs`): each again and again, a timer being due one instruction later each time. With
//! time by instructions that is an interrupt asserted at every instruction, and it is taken at each one where it can be. The
//! program and the kernel (`kernel/src/ktest/sweep.rs`) see to it that nothing changes by it. A second machine does one undisturbed
//! round, of which QEMU logs every instruction with its PSTATE ([`steps`]): where interrupts are masked, for how long, and so which
//! instruction each of the first machine's interrupts must have come before.

pub mod guest;

use crate::cli::{Cpu, typed};
use crate::images::{Hypervisor, Images};
use crate::machine::{self, Config, Event, Input, Program};
use crate::setup::{self, Need};
use crate::steps::{self, Step};
use crate::symbols::Names;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Something that is interrupted at every instruction.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, for the program too.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The most instructions that an interrupt may have to wait, on any CPU.
    pub bound: usize,
    /// The most instructions in a row at which none can come: no more than that, and less where the wait is for more than them.
    masked: usize,
    /// By how many instructions a round may be longer or shorter than another, where that is known: then it is known of each interrupt
    /// where it must come.
    pub drift: Option<usize>,
    /// Whether it is the hypervisor's: then the interrupts of the machine are masked at EL2 only, whatever the guest does.
    el2: bool,
    /// Where the undisturbed round ends: in the program, or where the kernel switches to another task, for a round that would wait
    /// for the interrupt.
    waits: bool,
    /// Instructions from one round's interrupt to the next round's, so that it takes seconds.
    pub every: u64,
}

const fn scenario(name: &'static str, about: &'static str, bound: usize, drift: Option<usize>, every: u64) -> Scenario {
    Scenario { name, about, bound, masked: bound, drift, el2: false, waits: false, every }
}

impl Scenario {
    /// Whether an interrupt has to wait at an instruction.
    fn is_masked(&self, step: &Step) -> bool {
        step.irqs_masked() && (step.el() == 2 || !self.el2)
    }
}

/// All scenarios of the kernel at EL1.
pub const SCENARIOS: &[Scenario] = &[
    scenario("null", "getpid", 120, Some(0), 1),
    scenario("efault", "write from an address where nothing is", 200, Some(8), 1),
    scenario("preempt", "getpid, and each interrupt has another task run", 120, Some(0), 1),
    scenario("switch", "sched_yield to a task that yields back", 250, Some(0), 1),
    scenario("sleep", "nanosleep, up to the wake-up", 750, None, 1),
    Scenario {
        waits: true,
        ..scenario("input", "read of the console, the byte comes with the interrupt", 600, None, 1)
    },
    scenario("exit", "exit_group, up to the parent's wait4", 1300, None, 41),
    scenario("fault", "a fault of a program, up to its parent's wait4", 1300, None, 43),
    scenario("fork", "clone, in the parent", 300, None, 47),
    scenario("exec", "execve, up to the new program's main", 400, None, 151),
];

/// What may be typed.
#[derive(clap::Args)]
pub struct Args {
    /// What to interrupt, by name [default: all]
    #[arg(value_name = "SCENARIO")]
    names: Vec<String>,
    /// Say it as JSON, every field
    #[arg(long)]
    json: bool,
    /// CPU model
    #[arg(long, value_enum, default_value_t = Cpu::CortexA72)]
    cpu: Cpu,
    /// Version of the interrupt controller
    #[arg(long, value_name = "VERSION", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: u8,
    /// Interrupt every Nth instruction only
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    every: u64,
    /// Give up on a machine after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// QEMU to use [default: $QEMU, else qemu-system-aarch64]
    #[arg(long, value_name = "PATH")]
    qemu: Option<OsString>,
}

/// `cargo xtask sweep`; the exit code.
pub fn run(args: Args) -> Result<u8> {
    let root = workspace::root()?;
    let [kernels, hypervisors] = scenarios(&args.names)?;
    let options = Options {
        cpu: typed(args.cpu),
        gic: args.gic,
        qemu: args.qemu.unwrap_or_else(|| Config::default().qemu),
        every: args.every,
        timeout: Duration::from_secs(args.timeout),
    };
    setup::ensure(&root, &[Need::Target])?;
    setup::ensure_qemu(&root, &options.qemu)?;
    let images = Images::build(true)?;
    let mut progress = |name: &str, n| eprintln!("xtask: {name}: n = {n}");
    let begun = Instant::now();
    let mut all = sweep(&images, &options, &kernels, &mut progress)?;
    if !hypervisors.is_empty() {
        all.extend(guest::sweep(&Hypervisor::build()?, &images, &options, &hypervisors, &mut progress)?);
    }
    eprintln!("xtask: it took {} s", begun.elapsed().as_secs());
    match args.json {
        true => println!("{}", serde_json::json!({ "schema": 1, "scenarios": all })),
        false => print!("{}", words(&all)),
    }
    Ok(u8::from(all.iter().any(|swept| !swept.failures.is_empty())))
}

/// How to sweep.
#[derive(Clone, Debug)]
pub struct Options {
    /// CPU model, as QEMU names it.
    pub cpu: String,
    /// Version of the interrupt controller.
    pub gic: u8,
    /// QEMU itself.
    pub qemu: OsString,
    /// Instructions from one round's interrupt to the next round's.
    pub every: u64,
    /// When to give up on a machine.
    pub timeout: Duration,
}

/// An interrupt that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Instructions from the timer's setting to its time.
    pub n: u64,
    /// The instruction that it came before.
    pub pc: u64,
    /// Instructions from the timer's time to the handler.
    pub late: u64,
}

/// Something that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The round's number of instructions; 0 where it is no round's.
    pub n: u64,
    /// Where the interrupt came, in words; empty where that is not known.
    pub place: String,
    /// What was wrong.
    pub what: String,
}

/// A stretch of instructions through which interrupts were masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Masked {
    /// How many.
    pub instructions: usize,
    /// The address of the first.
    pub pc: u64,
    /// The same in words.
    pub place: String,
}

/// What became of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Swept {
    /// Its name.
    pub scenario: String,
    /// How often it was done.
    pub rounds: u64,
    /// Interrupts that came before it was over.
    pub interrupts: usize,
    /// Different instructions that one came before.
    pub places: usize,
    /// Different instructions of an undisturbed round at which one can come.
    pub unmasked: usize,
    /// How many of these one came before.
    pub covered: usize,
    /// Instructions of an undisturbed round.
    pub instructions: usize,
    /// Interrupts that came before the very instruction that the undisturbed round says, of those that had to.
    pub as_predicted: usize,
    /// The longest stretch in which none can come, of an undisturbed round.
    pub longest_masked: Option<Masked>,
    /// The most instructions that one may have to wait.
    pub bound: usize,
    /// The longest time from the timer's to its handler, in instructions, over the shortest.
    pub longest_wait: u64,
    /// What was wrong.
    pub failures: Vec<Failure>,
    /// Every interrupt, as the scenario's program or guest tells it.
    #[serde(skip)]
    pub taken: Vec<Taken>,
    /// The instructions that the machine's interrupts came before.
    #[serde(skip)]
    pub at: BTreeSet<u64>,
}

impl Swept {
    fn new(name: &str, bound: usize) -> Swept {
        Swept {
            scenario: name.into(),
            rounds: 0,
            interrupts: 0,
            places: 0,
            unmasked: 0,
            covered: 0,
            instructions: 0,
            as_predicted: 0,
            longest_masked: None,
            bound,
            longest_wait: 0,
            failures: Vec::new(),
            taken: Vec::new(),
            at: BTreeSet::new(),
        }
    }

    /// Something is wrong that is no round's.
    fn fail(&mut self, what: String) {
        self.failures.push(Failure { n: 0, place: String::new(), what });
    }
}

/// The scenarios of these names, all when there is none: of the kernel, and of the hypervisor.
pub fn scenarios(names: &[String]) -> Result<[Vec<Scenario>; 2]> {
    let all = [SCENARIOS, guest::SCENARIOS];
    let known = || all.into_iter().flatten();
    if let Some(name) = names.iter().find(|name| !known().any(|known| known.name == *name)) {
        let list: Vec<_> = known().map(|known| format!("\n  {:<8} {}", known.name, known.about)).collect();
        anyhow::bail!("there is no scenario `{name}`; there are:{}", list.concat());
    }
    let wanted = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(all.map(|scenarios| scenarios.iter().filter(wanted).copied().collect()))
}

/// Sweeps scenarios of the kernel; `images` holds the in-kernel tests. `progress` is told now and then which round of which it is.
pub fn sweep(
    images: &Images,
    options: &Options,
    scenarios: &[Scenario],
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Vec<Swept>> {
    let mut names = Names::new(images, None);
    let mut all = Vec::new();
    while all.len() < scenarios.len() {
        // After what ends a machine, another one does the rest.
        let rest = &scenarios[all.len()..];
        all.extend(boot(images, options, rest, &mut names, progress)?);
    }
    for (swept, scenario) in all.iter_mut().zip(scenarios) {
        match undisturbed(images, options, scenario) {
            Ok(steps) => judge(swept, scenario, &steps, options.every, &mut |pc| place(&mut names, pc)),
            Err(error) => swept.fail(format!("an undisturbed round cannot be traced: {error:#}")),
        }
    }
    Ok(all)
}

/// An address of the kernel or of the program in words.
fn place(names: &mut Names, pc: u64) -> String {
    let token =
        if pc >> 63 == 0 { crate::console::Token::Program("sweep", pc) } else { crate::console::Token::Kernel(pc) };
    names.describe(None, token)
}

fn config(options: &Options, every: u64, scenarios: &[Scenario]) -> Config {
    let names = scenarios.iter().map(|scenario| scenario.name.to_string());
    Config {
        qemu: options.qemu.clone(),
        cpu: options.cpu.clone(),
        gic: options.gic,
        icount: Some(4),
        log: Some("off".into()),
        // Hardly any tick comes between.
        append: "tick=1 sweep".into(),
        program: Program::Named("sweep".into()),
        args: [every.to_string()].into_iter().chain(names).collect(),
        records: false,
        timeout: Some(options.timeout),
        qemu_args: ["-M", "dtb-randomness=off"].map(Into::into).into(),
        ..Config::default()
    }
}

/// More bytes than the scenario `input` can ask for.
const BYTES: usize = 100_000;

/// Does scenarios on one machine, up to the last or to the one that ended it.
fn boot(
    images: &Images,
    options: &Options,
    scenarios: &[Scenario],
    names: &mut Names,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Vec<Swept>> {
    let mut config = config(options, options.every, scenarios);
    if scenarios.iter().any(|scenario| scenario.waits) {
        config.input = Input::Dialogue(vec![("a byte\r\n".into(), "x".into()); BYTES]);
    }
    let mut reader = Reader::new(scenarios);
    let mut qemu = Vec::new();
    let (code, timed_out) = machine::watch(images, &config, |event| {
        match event {
            Event::Console(text) => {
                reader.push(text, &mut |pc| place(names, pc))?;
                reader.tell(progress);
            }
            Event::Qemu(text) => qemu.extend_from_slice(text),
            Event::Started(_) | Event::Record(_) => {}
        }
        Ok(())
    })?;
    ensure!(
        !reader.all.is_empty(),
        "the machine did no scenario (exit code {code}): {}",
        String::from_utf8_lossy(&qemu)
    );
    let n = reader.n;
    let over = reader.done == reader.all.len();
    if let (Some(last), false) = (reader.all.last_mut(), over) {
        let what =
            if timed_out { "it was not over in its time".into() } else { format!("the machine ended with {code}") };
        // A panic has said more.
        if last.failures.last().is_none_or(|failure| failure.n != n) {
            last.failures.push(Failure { n, place: String::new(), what });
        }
    }
    Ok(reader.all)
}

/// Reads what the program prints, and the kernel's panic.
struct Reader<'a> {
    scenarios: &'a [Scenario],
    /// The beginning of a line.
    rest: Vec<u8>,
    all: Vec<Swept>,
    /// The round.
    n: u64,
    /// Scenarios that are over.
    done: usize,
    /// When somebody was told how far it is.
    told: Instant,
}

impl Reader<'_> {
    fn new(scenarios: &[Scenario]) -> Reader<'_> {
        Reader { scenarios, rest: Vec::new(), all: Vec::new(), n: 0, done: 0, told: Instant::now() }
    }

    /// Tells how far it is, now and then.
    fn tell(&mut self, progress: &mut dyn FnMut(&str, u64)) {
        if self.told.elapsed() > Duration::from_secs(2)
            && let Some(swept) = self.all.last()
        {
            progress(&swept.scenario, self.n);
            self.told = Instant::now();
        }
    }

    fn push(&mut self, text: &[u8], describe: &mut dyn FnMut(u64) -> String) -> Result<()> {
        self.rest.extend_from_slice(text);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end(), describe)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, describe: &mut dyn FnMut(u64) -> String) -> Result<()> {
        // A guest's lines have its name.
        let line = line.strip_prefix("sweep| ").unwrap_or(line);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "scenario" {
            let bound =
                self.scenarios.iter().find(|scenario| scenario.name == rest).map_or(0, |scenario| scenario.bound);
            self.all.push(Swept::new(rest, bound));
            self.n = 0;
        }
        let Some(swept) = self.all.last_mut() else { return Ok(()) };
        match word {
            "n" => {
                self.n = rest.parse().context("a round's number")?;
                swept.rounds += 1;
            }
            "taken" => {
                let mut numbers = rest.split(' ').map(|word| u64::from_str_radix(word, 16));
                let (Some(Ok(pc)), Some(Ok(late))) = (numbers.next(), numbers.next()) else {
                    anyhow::bail!("`{line}` is not what the program says")
                };
                swept.taken.push(Taken { n: self.n, pc, late });
                swept.at.insert(pc);
                // What was found wrong before this was said, was so behind this interrupt.
                for failure in swept.failures.iter_mut().rev().take_while(|failure| failure.n == self.n) {
                    failure.place = describe(pc);
                }
            }
            "done" => self.done += 1,
            _ if line.starts_with("wrong") || line.starts_with("kernel panic: ") => {
                let what = line.trim_start_matches("wrong").trim_start_matches([':', ',', ' ']);
                swept.failures.push(Failure { n: self.n, place: String::new(), what: what.into() });
            }
            _ => {}
        }
        Ok(())
    }
}

/// How often a round is done before the one that is looked at, so that no page is touched for the first time.
const WARM: usize = 3;

/// The instructions of an undisturbed round.
fn undisturbed(images: &Images, options: &Options, scenario: &Scenario) -> Result<Vec<Step>> {
    let program = images.programs.get("sweep").context("there is no program `sweep`")?;
    let begin = steps::address(program, "sweep_armed")?;
    let (passes, end) = match scenario.waits {
        true => (0, steps::address(&images.elf, "cpu_switch_to")?),
        false => (WARM, steps::address(program, "sweep_disarm")?),
    };
    let command = machine::command(images, &config(options, 0, &[*scenario]))?;
    steps::between(command, (begin, passes), end, options.timeout)
}

/// The first rounds' timer is due before it is on: `sweep_arm` (`user/src/bin/sweep.S`).
const ARMED: u64 = 4;

/// Holds what was taken against the undisturbed round.
fn judge(swept: &mut Swept, scenario: &Scenario, steps: &[Step], every: u64, describe: &mut dyn FnMut(u64) -> String) {
    let steps: Vec<_> = steps.iter().map(|step| (step.pc, scenario.is_masked(step))).collect();
    let armed = steps.iter().skip(ARMED as usize);
    let unmasked: BTreeSet<u64> = armed.filter(|step| !step.1).map(|step| step.0).collect();
    swept.interrupts = swept.taken.len();
    swept.places = swept.at.len();
    swept.instructions = steps.len();
    swept.unmasked = unmasked.len();
    swept.covered = unmasked.intersection(&swept.at).count();
    let waits =
        |el0: bool| swept.taken.iter().filter(move |taken| (taken.pc >> 63 == 0) == el0).map(|taken| taken.late);
    let wait = |el0: bool| waits(el0).max().zip(waits(el0).min()).map_or(0, |(most, least)| most - least);
    swept.longest_wait = wait(true).max(wait(false));
    swept.longest_masked = longest_masked(&steps).map(|(pc, instructions)| {
        let place = describe(pc);
        Masked { instructions, pc, place }
    });
    let longest = swept.longest_masked.as_ref().map_or(0, |masked| masked.instructions) as u64;
    let (bound, most) = (scenario.bound as u64, scenario.masked as u64);
    if longest > most || swept.longest_wait > bound {
        swept.fail(format!(
            "interrupts are masked for {longest} instructions, at most {most} are allowed, and one waited for {}, of {bound}",
            swept.longest_wait
        ));
    }
    // Where every round goes one way, who waits longest was due at the first instruction of the longest stretch.
    if scenario.drift == Some(0) && every == 1 && longest != swept.longest_wait {
        swept.fail(format!(
            "interrupts are masked for {longest} instructions at most, and one waited for {}",
            swept.longest_wait
        ));
    }
    let mut wrong = Vec::new();
    let mut as_predicted = 0;
    let drift = scenario.drift.unwrap_or(0);
    for taken in swept.taken.iter().filter(|taken| taken.n >= ARMED) {
        let n = taken.n as usize;
        let Some(pc) = next_unmasked(&steps, n + drift) else { continue };
        if (n.saturating_sub(drift)..=n + drift).any(|index| next_unmasked(&steps, index) == Some(taken.pc)) {
            as_predicted += 1;
        } else if scenario.drift.is_some() {
            wrong.push((*taken, pc));
        }
    }
    swept.as_predicted = as_predicted;
    for (taken, pc) in wrong {
        let what = format!("it should have come at {}", describe(pc));
        swept.failures.push(Failure { n: taken.n, place: describe(taken.pc), what });
    }
    if (scenario.drift == Some(0) || scenario.el2) && every == 1 && swept.covered < swept.unmasked {
        let missing = unmasked.difference(&swept.at).next().map(|&pc| describe(pc)).unwrap_or_default();
        swept.fail(format!(
            "no interrupt came at {} instructions, of which one is {missing}",
            swept.unmasked - swept.covered
        ));
    }
}

/// An instruction, and whether an interrupt has to wait there.
type Place = (u64, bool);

/// The first instruction from the `index`th on at which an interrupt can come.
fn next_unmasked(steps: &[Place], index: usize) -> Option<u64> {
    steps.get(index..)?.iter().find(|step| !step.1).map(|step| step.0)
}

/// Where the longest stretch begins in which no interrupt can come, and how many instructions it is.
fn longest_masked(steps: &[Place]) -> Option<(u64, usize)> {
    let stretches = steps.chunk_by(|a, b| a.1 == b.1);
    let masked = stretches.filter(|stretch| stretch[0].1);
    masked.map(|stretch| (stretch[0].0, stretch.len())).max_by_key(|stretch| stretch.1)
}

/// The report, for people.
pub fn words(all: &[Swept]) -> String {
    let mut text = format!(
        "{:<10} {:>7} {:>10} {:>8} {:>8} {:>9} {:>7} {:>7} {:>6}\n",
        "scenario", "rounds", "interrupts", "places", "covered", "predicted", "masked", "waited", "bound"
    );
    for swept in all {
        let masked = swept.longest_masked.as_ref().map_or(0, |masked| masked.instructions);
        let covered = format!("{}/{}", swept.covered, swept.unmasked);
        let _ = writeln!(
            text,
            "{:<10} {:>7} {:>10} {:>8} {covered:>8} {:>9} {masked:>7} {:>7} {:>6}",
            swept.scenario,
            swept.rounds,
            swept.interrupts,
            swept.places,
            swept.as_predicted,
            swept.longest_wait,
            swept.bound
        );
    }
    for swept in all {
        if let Some(masked) = &swept.longest_masked {
            let _ = writeln!(
                text,
                "{}: masked for {} instructions from {} on",
                swept.scenario, masked.instructions, masked.place
            );
        }
    }
    for swept in all {
        for Failure { n, place, what } in &swept.failures {
            let _ = match (n, place.as_str()) {
                (0, _) => writeln!(text, "FAILED {}: {what}", swept.scenario),
                (n, "") => writeln!(text, "FAILED {}, n = {n}: {what}", swept.scenario),
                (n, place) => writeln!(text, "FAILED {}, n = {n}, interrupted at {place}: {what}", swept.scenario),
            };
        }
    }
    let failures: usize = all.iter().map(|swept| swept.failures.len()).sum();
    let interrupts: usize = all.iter().map(|swept| swept.interrupts).sum();
    let _ = writeln!(text, "{} scenarios, {interrupts} interrupts, {failures} failures", all.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_and_what_comes_behind() {
        let steps = [(0, false), (4, true), (8, true), (12, false), (16, true), (20, false)];
        assert_eq!(longest_masked(&steps), Some((4, 2)));
        assert_eq!(longest_masked(&steps[..1]), None);
        let next: Vec<_> = (0..7).map(|index| next_unmasked(&steps, index)).collect();
        assert_eq!(next, [Some(0), Some(12), Some(12), Some(12), Some(20), Some(20), None]);
    }

    #[test]
    fn a_sweep_is_judged() {
        let steps: Vec<_> = (0..12).map(|index| (index * 4, (5..8).contains(&index))).collect();
        let trace: Vec<_> = steps.iter().map(|&(pc, masked)| Step { pc, pstate: u32::from(masked) << 7 | 4 }).collect();
        let taken = |n: u64| Taken {
            n,
            pc: next_unmasked(&steps, n as usize).unwrap(),
            late: 10 + (5..8).contains(&n) as u64 * 8u64.saturating_sub(n),
        };
        let judged = |taken: Vec<Taken>, bound| {
            let at = taken.iter().map(|taken| taken.pc).collect();
            let mut swept = Swept { taken, at, ..Swept::new("null", bound) };
            judge(&mut swept, &Scenario { bound, masked: bound, ..SCENARIOS[0] }, &trace, 1, &mut |pc| {
                format!("{pc:#x}")
            });
            swept
        };
        let all: Vec<_> = (0..12).map(taken).collect();
        let swept = judged(all.clone(), 3);
        assert_eq!(swept.failures, []);
        assert_eq!((swept.covered, swept.unmasked, swept.as_predicted, swept.longest_wait), (5, 5, 8, 3));
        assert_eq!(swept.longest_masked, Some(Masked { instructions: 3, pc: 20, place: "0x14".into() }));
        assert_eq!(judged(all.clone(), 2).failures.len(), 1, "longer than the bound");
        let one_misses = [&all[..9], &all[10..]].concat();
        assert_eq!(judged(one_misses, 3).failures.len(), 1);
        let mut late = all;
        late[6].pc = 36;
        let failures = judged(late, 3).failures;
        assert_eq!((failures[0].n, failures[0].place.as_str()), (6, "0x24"));
    }

    #[test]
    fn what_the_program_says_is_read() {
        let text = "boot\r\nscenario null\r\nn 7\r\nwrong: x3 was 0x1, became 0x2\r\ntaken ffffffc080001234 a6\r\nn 8\r\nkernel panic: no\r\n";
        let mut reader = Reader::new(SCENARIOS);
        for part in text.as_bytes().chunks(5) {
            reader.push(part, &mut |pc| format!("{pc:#x}")).unwrap();
        }
        let [swept] = &reader.all[..] else { panic!("{:?}", reader.all) };
        assert_eq!(swept.taken, [Taken { n: 7, pc: 0xffff_ffc0_8000_1234, late: 0xa6 }]);
        let failures = [(7, "0xffffffc080001234", "x3 was 0x1, became 0x2"), (8, "", "kernel panic: no")];
        let failures = failures.map(|(n, place, what)| Failure { n, place: place.into(), what: what.into() });
        assert_eq!((swept.failures.as_slice(), swept.rounds, reader.done), (&failures[..], 2, 0));
    }
}
