//! Runs the machines that the figures come from.

use super::rows::{Row, Source, Steps};
use crate::elf;
use crate::hyp::{self, Device, Guest};
use crate::images::{self, Hypervisor, Images};
use crate::linux::{self, Linux};
use crate::machine::{self, Config, Event, Program, hardware, watch_command};
use crate::process::Input;
use crate::steps::{self, Step};
use crate::symbols::Names;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSegment};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A machine to measure on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// QEMU itself: a name in PATH, or a path.
    pub qemu: OsString,
    /// CPU model, as QEMU names it.
    pub cpu: String,
    /// Version of the interrupt controller: 2 or 3.
    pub gic: u8,
}

impl Machine {
    /// Its name, which the committed figures know it by.
    pub fn name(&self) -> String {
        format!("{}, GICv{}", self.cpu, self.gic)
    }

    /// Whether its CPU has FEAT_PAN.
    pub fn has_pan(&self) -> bool {
        !["cortex-a53", "cortex-a57", "cortex-a72"].contains(&self.cpu.as_str())
    }
}

/// What an operation costs, in instructions; bytes, where memory is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// In the fastest batch.
    pub min: f64,
    /// In the one in the middle.
    pub median: f64,
}

impl Figure {
    /// Of what is measured once.
    fn once(value: f64) -> Figure {
        Figure { min: value, median: value }
    }
}

/// By row, its figure, or why there is none.
pub type Found = BTreeMap<String, Result<Figure, String>>;

/// No machine of ours takes a minute, but on a busy host.
const LIMIT: Duration = Duration::from_secs(240);
/// Linux takes as long to boot as everything of ours to run.
const LINUX_LIMIT: Duration = Duration::from_secs(1800);

/// The program at EL0.
const PROGRAM: &str = "bench";
/// Ticks a second, for rows that the tick disturbs and for those that measure it.
const QUIET: &str = "tick=1";
const TICKING: &str = "tick=10000";

/// A machine on which an instruction takes a nanosecond (0) or a tick of the counter (4), and the same each time.
fn config(machine: &Machine, shift: u8) -> Config {
    Config {
        qemu: machine.qemu.clone(),
        cpu: machine.cpu.clone(),
        gic: machine.gic,
        // For a thousand processes.
        mem: 512,
        icount: Some(shift),
        log: Some("off".into()),
        records: false,
        timeout: Some(LIMIT),
        qemu_args: ["-M", "dtb-randomness=off"].map(Into::into).into(),
        ..Config::default()
    }
}

/// A machine that runs rows at EL0.
fn program(images: &Images, machine: &Machine, append: &str, words: &[&str]) -> Result<Config> {
    Ok(Config {
        program: Program::Named(PROGRAM.into()),
        initramfs: Some(archive(images)?),
        append: append.into(),
        args: words.iter().map(ToString::to_string).collect(),
        ..config(machine, 0)
    })
}

/// An archive with that program alone, as a kernel takes longer to boot the more there are.
fn archive(images: &Images) -> Result<PathBuf> {
    let elf = elf::strip(&elf::read_program(program_elf(images)?)?)?;
    let path = images.initramfs.with_file_name("bench.tar");
    workspace::write(&path, &images::ustar(&[(format!("bin/{PROGRAM}"), elf)])?)?;
    Ok(path)
}

fn program_elf(images: &Images) -> Result<&PathBuf> {
    images.programs.get(PROGRAM).with_context(|| format!("there is no program `{PROGRAM}`"))
}

/// What the rows of `source` among `rows` cost on a machine; of the kernel's own image.
pub fn source(images: &Images, source: Source, machine: &Machine, rows: &[Row]) -> Result<Found> {
    let names: Vec<_> = rows.iter().filter(|row| row.source == source).map(|row| row.name).collect();
    let tick = match source {
        _ if names.is_empty() => return Ok(Found::new()),
        Source::Quiet => QUIET,
        Source::Ticking => TICKING,
        Source::Kernel => {
            let config =
                Config { ktest: Some(PROGRAM.into()), append: QUIET.into(), records: true, ..config(machine, 4) };
            let outcome = machine::run(images, &config)?;
            ensure!(
                outcome.code == 0,
                "the in-kernel test `{PROGRAM}` ended with code {}:\n{}",
                outcome.code,
                outcome.console
            );
            let found = costs(&outcome.records)?;
            return Ok(found.into_iter().filter(|(row, _)| names.contains(&row.as_str())).collect());
        }
        Source::Image => return Ok([("image".into(), Ok(size(&images.image)?))].into()),
        Source::El2 | Source::HypImage => return Ok(Found::new()),
    };
    let outcome = machine::run(images, &program(images, machine, tick, &names)?)?;
    ensure!(!outcome.timed_out, "`{PROGRAM}` did not end in its time; it said:\n{}", outcome.console);
    ensure!(outcome.code == 0, "`{PROGRAM}` ended with code {}:\n{}", outcome.code, outcome.console);
    rows_of(&outcome.console)
}

/// The bytes of a file.
pub fn size(path: &Path) -> Result<Figure> {
    let file = fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(Figure::once(file.len() as f64))
}

/// A line of the program at EL0.
#[derive(Deserialize)]
struct Line {
    kind: String,
    row: String,
    min: Option<f64>,
    median: Option<f64>,
    error: Option<String>,
}

/// The rows among the lines of a console.
fn rows_of(console: &str) -> Result<Found> {
    let lines = console.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines
        .filter(|line| line.kind == "bench")
        .map(|line| {
            let figure = match (line.min, line.median, line.error) {
                (Some(min), Some(median), None) => Ok(Figure { min, median }),
                (None, None, Some(error)) => Err(error),
                _ => bail!("row {} has neither figures nor an error", line.row),
            };
            Ok((line.row, figure))
        })
        .collect()
}

/// The costs that records tell: of the in-kernel test, and of the small guests.
fn costs(records: &[serde_json::Value]) -> Result<Found> {
    let costs = records.iter().filter(|record| record["kind"] == "cost");
    costs
        .map(|record| {
            let number = |name: &str| record[name].as_u64().with_context(|| format!("no {name} in {record}"));
            let row = record["row"].as_str().with_context(|| format!("no row in {record}"))?;
            let cost = number("ticks")? as f64 / number("count")?.max(1) as f64;
            Ok((row.into(), Ok(Figure::once(cost))))
        })
        .collect()
}

/// What the least that can be done costs, on the bare machine.
pub fn floor(images: &Images, machine: &Machine) -> Result<Found> {
    let floor = guest("floor")?;
    let mut command = hardware(&config(machine, 4))?;
    command.arg("-kernel").arg(floor);
    let mut records = Vec::new();
    let (code, timed_out) = watch_command(command, &Input::Nothing, Some(LIMIT), Names::new(images, None), |event| {
        if let Event::Record(json) = event {
            records.push(serde_json::from_slice(json)?);
        }
        Ok(())
    })?;
    ensure!(code == 0 && !timed_out, "the program `floor` ended with code {code}");
    costs(&records)
}

fn guest(name: &str) -> Result<PathBuf> {
    images::guests()?.remove(name).with_context(|| format!("there is no guest `{name}`"))
}

/// What traps to the hypervisor cost, and its boot.
pub fn el2(hypervisor: &Hypervisor, images: &Images, machine: &Machine) -> Result<Found> {
    let run = |name: &str, vcpus: u8, device: Option<Device>| -> Result<Found> {
        let path = guest(name)?;
        let parsed = Guest::parse(&path.display().to_string().replace(',', ",,")).map_err(anyhow::Error::msg)?;
        let Config { qemu, cpu, gic, icount, timeout, mut qemu_args, .. } = config(machine, 4);
        // The PL031's clock is the machine's.
        qemu_args.extend(["-rtc", "clock=vm"].map(Into::into));
        let config = hyp::Config {
            qemu,
            cpu,
            gic,
            icount,
            guests: vec![Guest { name: name.into(), vcpus, device, ..parsed }],
            timeout,
            qemu_args,
            ..hyp::Config::default()
        };
        let mut records = Vec::new();
        let outcome = hyp::watch(hypervisor, images, &config, |event| {
            if let Event::Record(json) = event {
                records.push(serde_json::from_slice(json)?);
            }
            Ok(())
        })?;
        ensure!(outcome.code == 0, "the hypervisor with the guest `{name}` ended with code {}", outcome.code);
        costs(&records)
    };
    let mut found: Found =
        run("cost", 2, Some(Device::Pl031))?.into_iter().map(|(row, figure)| (format!("el2.{row}"), figure)).collect();
    if let Some(first) = run("floor", 1, None)?.remove("first") {
        found.insert("el2.boot".into(), first);
    }
    Ok(found)
}

/// Boot arguments of a Linux without what is on for safety's sake, and for tracing.
const LEAN: &str = "mitigations=off nokaslr kpti=off init_on_alloc=0 audit=0 randomize_kstack_offset=off";

/// What the same program's rows among `rows` cost on Debian's Linux.
pub fn linux(images: &Images, linux: &Linux, machine: &Machine, rows: &[Row], lean: bool) -> Result<Found> {
    let is_programs = |row: &&Row| [Source::Quiet, Source::Ticking].contains(&row.source);
    let names: Vec<_> = rows.iter().filter(is_programs).map(|row| row.name).collect();
    let append = if lean { LEAN } else { "" };
    let mut config = Config { timeout: Some(LINUX_LIMIT), ..program(images, machine, append, &names)? };
    // Without the seed in the device tree each system call would wait for a random number that is not ready.
    config.qemu_args.clear();
    let outcome = linux::run(images, linux, &config)?;
    ensure!(!outcome.timed_out, "Linux did not end in its time; it said:\n{}", outcome.console);
    rows_of(&outcome.console)
}

/// What an operation executes that instructions do not tell the cost of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slow {
    /// ISB, DSB and DMB.
    pub barriers: f64,
    /// Writes to system registers.
    pub writes: f64,
}

/// Counts them in one short batch of a row's operation; none where a row is not looked at.
pub fn slow(images: &Images, machine: &Machine, row: &Row) -> Result<Option<Slow>> {
    let (operations, less_baseline) = match row.steps {
        Steps::None => return Ok(None),
        Steps::Batch(operations) => (operations, false),
        Steps::LessBaseline(operations) => (operations, true),
    };
    let tick = if row.source == Source::Ticking { TICKING } else { QUIET };
    let program_elf = program_elf(images)?;
    let code = Code::read(&images.elf)?;
    let count = |part: &str| -> Result<(f64, f64)> {
        let address = |edge: &str| steps::address(program_elf, &format!("{part}_{edge}"));
        let command = machine::command(images, &program(images, machine, tick, &["--short", row.name])?)?;
        let begin = address("begin")?;
        let steps = steps::between(command, (begin, 0), address("end")?, LIMIT)?;
        // When QEMU stops a machine with time by instructions its clock goes on to the next timer, whose interrupt is taken first.
        let first = steps.iter().position(|step| step.el() == 0 && step.pc != begin).unwrap_or_default();
        Ok(code.count(&steps[first..]))
    };
    let (barriers, writes) = count("section")?;
    let (less_barriers, less_writes) = if less_baseline { count("baseline")? } else { (0.0, 0.0) };
    let each = |with: f64, without: f64| (with - without) / operations as f64;
    Ok(Some(Slow { barriers: each(barriers, less_barriers), writes: each(writes, less_writes) }))
}

/// The kernel's code, by address.
struct Code(Vec<(u64, Vec<u8>)>);

impl Code {
    fn read(elf: &Path) -> Result<Code> {
        let bytes = fs::read(elf).with_context(|| format!("{} cannot be read", elf.display()))?;
        let file = object::File::parse(&*bytes)?;
        let segments = file.segments().map(|segment| Ok((segment.address(), segment.data()?.to_vec())));
        Ok(Code(segments.collect::<Result<_>>()?))
    }

    fn word(&self, address: u64) -> Option<u32> {
        self.0.iter().find_map(|(start, bytes)| {
            let offset = address.checked_sub(*start)? as usize;
            Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
        })
    }

    /// Barriers and writes to system registers among what the kernel executed.
    fn count(&self, steps: &[Step]) -> (f64, f64) {
        // What was not gone past, but a little further, is a branch since the kernel found that the CPU has FEAT_PAN.
        let is_patched = |next: &Step, pc: u64| (8..64).contains(&next.pc.wrapping_sub(pc));
        let executed = steps.iter().enumerate().filter(|(_, step)| step.el() > 0);
        let executed = executed.filter(|(at, step)| !steps.get(at + 1).is_some_and(|next| is_patched(next, step.pc)));
        let words: Vec<_> = executed.filter_map(|(_, step)| self.word(step.pc)).collect();
        let count = |is: fn(u32) -> bool| words.iter().filter(|&&word| is(word)).count() as f64;
        (count(is_barrier), count(is_register_write))
    }
}

/// ISB, DSB and DMB (Arm ARM, "Barriers"), whatever they wait for.
fn is_barrier(word: u32) -> bool {
    word & 0xffff_f01f == 0xd503_301f && [4, 5, 6].contains(&(word >> 5 & 7))
}

/// MSR of a register, or of a field of PSTATE.
fn is_register_write(word: u32) -> bool {
    word >> 20 == 0xd51 || word & 0xfff8_f01f == 0xd500_401f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_program_are_read() {
        let console = "boot text\r\n\
            {\"schema\":1,\"kind\":\"bench\",\"row\":\"getpid\",\"count\":9,\"min\":145.00,\"median\":145.25}\r\n\
            {\"schema\":1,\"kind\":\"bench\",\"row\":\"yield.1000\",\"error\":\"118 of 1000 processes, then EAGAIN\"}\r\n\
            {\"schema\":1,\"kind\":\"other\",\"row\":\"x\",\"min\":1,\"median\":2}\r\n";
        let found = rows_of(console).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found["getpid"], Ok(Figure { min: 145.0, median: 145.25 }));
        assert_eq!(found["yield.1000"], Err("118 of 1000 processes, then EAGAIN".into()));
        assert!(rows_of("{\"kind\":\"bench\",\"row\":\"x\",\"min\":1}").is_err());
    }

    #[test]
    fn costs_are_a_mean() {
        let record = |text: &str| serde_json::from_str(text).unwrap();
        let records = [
            record(r#"{"kind":"cost","row":"a","count":4,"ticks":10}"#),
            record(r#"{"kind":"ktest","name":"bench","passed":true}"#),
        ];
        assert_eq!(costs(&records).unwrap(), [("a".into(), Ok(Figure::once(2.5)))].into());
        assert!(costs(&[record(r#"{"kind":"cost","row":"a","count":4}"#)]).is_err());
    }

    #[test]
    fn barriers_and_register_writes_are_known() {
        for (word, barrier, write) in [
            (0xd503_3fdf, true, false),  // isb
            (0xd503_379f, true, false),  // dsb nsh
            (0xd503_3bbf, true, false),  // dmb ish
            (0xd503_3f5f, false, false), // clrex
            (0xd503_201f, false, false), // nop
            (0xd518_2000, false, true),  // msr ttbr0_el1, x0
            (0xd503_42df, false, true),  // msr daifset, #2
            (0xd500_419f, false, true),  // msr pan, #1
            (0xd538_2000, false, false), // mrs x0, ttbr0_el1
            (0xd508_831f, false, false), // tlbi vmalle1is
            (0xd69f_03e0, false, false), // eret
        ] {
            assert_eq!((is_barrier(word), is_register_write(word)), (barrier, write), "{word:#010x}");
        }
    }

    #[test]
    fn only_the_kernels_steps_count() {
        let bytes = [0xd503_3fdfu32, 0xd518_2000, 0xd503_201f].iter().flat_map(|word| word.to_le_bytes()).collect();
        let code = Code(vec![(0x1000, bytes)]);
        let step = |pc, pstate| Step { pc, pstate };
        let steps =
            [step(0x1000, 5), step(0x1004, 0x3c5), step(0x1004, 5), step(0x1000, 0), step(0x1008, 5), step(0x4000, 5)];
        assert_eq!(code.count(&steps), (1.0, 2.0));
    }
}
