//! Every program of the initramfs ends as it should.

use crate::machine::{Ran, Test, archive, demo, images, program, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::io::Write;
use std::time::Duration;
use trap::record::Report;
use xtask::machine::{Config, Input, TIMED_OUT};

/// Programs that check themselves, and the code they end with.
const ENDS: &[(&str, u8)] = &[
    ("hello", 0),
    ("hello one two", 0),
    ("registers 40", 0),
    ("preempt", 0),
    ("sleepers", 0),
    ("forktree", 0),
    ("forktree 2 9", 0),
    ("badcalls", 0),
    ("memory", 0),
    ("crash all", 0),
    ("crash nonsense", 2),
    ("cat /nowhere", 1),
    ("ls /nowhere", 1),
];

/// What a signal's `si_addr` must be.
#[derive(Clone, Copy)]
enum Addr {
    Is(u64),
    /// The task's PC.
    Pc,
    /// Some page's first byte.
    Page,
    /// Some byte in the text, at this distance from a multiple of 4.
    Text(u64),
    /// Some byte of the stack, at this distance from a multiple of 16.
    Stack(u64),
}
use Addr::{Is, Page, Pc, Stack, Text};

const SIGILL: u32 = 4;
const SIGTRAP: u32 = 5;
const SIGBUS: u32 = 7;
const SIGKILL: u32 = 9;
const SIGSEGV: u32 = 11;
const SIGTERM: u32 = 15;

/// `si_code` as Linux numbers it (asm-generic/siginfo.h); each class of signals has its own 1.
const MAPERR: i32 = 1;
const ACCERR: i32 = 2;
const ADRALN: i32 = 1;
const ILLOPC: i32 = 1;
const BRKPT: i32 = 1;
const USER: i32 = 0;

const KERNEL: u64 = 0xffff_ffc0_8000_0000;

/// Ways to crash: signal, `si_code`, `si_addr`.
const CRASHES: &[(&str, u32, i32, Addr)] = &[
    ("null", SIGSEGV, MAPERR, Is(0)),
    ("unmapped", SIGSEGV, MAPERR, Page),
    ("kernel-address", SIGSEGV, MAPERR, Is(KERNEL)),
    ("non-canonical", SIGSEGV, MAPERR, Is(1 << 52)),
    ("no-access", SIGSEGV, ACCERR, Page),
    ("write-text", SIGSEGV, ACCERR, Text(0)),
    ("write-rodata", SIGSEGV, ACCERR, Text(0)),
    ("write-revoked", SIGSEGV, ACCERR, Page),
    ("jump-null", SIGSEGV, MAPERR, Is(0)),
    ("jump-kernel", SIGSEGV, MAPERR, Is(KERNEL)),
    ("jump-data", SIGSEGV, ACCERR, Page),
    ("jump-stack", SIGSEGV, ACCERR, Pc),
    ("unmapped-text", SIGSEGV, MAPERR, Pc),
    ("stack-overflow", SIGSEGV, MAPERR, Stack(0)),
    ("lost-stack", SIGSEGV, MAPERR, Is(0u64.wrapping_sub(16))),
    ("unaligned-pc", SIGBUS, ADRALN, Text(2)),
    ("unaligned-atomic", SIGBUS, ADRALN, Stack(12)),
    ("undefined", SIGILL, ILLOPC, Pc),
    ("unallocated", SIGILL, ILLOPC, Pc),
    ("hlt", SIGILL, ILLOPC, Pc),
    ("semihosting", SIGILL, ILLOPC, Pc),
    ("hvc", SIGILL, ILLOPC, Pc),
    ("smc", SIGILL, ILLOPC, Pc),
    ("eret", SIGILL, ILLOPC, Pc),
    ("mask-interrupts", SIGILL, ILLOPC, Pc),
    ("read-sctlr", SIGILL, ILLOPC, Pc),
    ("write-vbar", SIGILL, ILLOPC, Pc),
    ("write-timer", SIGILL, ILLOPC, Pc),
    ("read-pmu", SIGILL, ILLOPC, Pc),
    ("tlb-flush", SIGILL, ILLOPC, Pc),
    ("brk", SIGTRAP, BRKPT, Pc),
    ("terminate", SIGTERM, USER, Is(0)),
    ("kill", SIGKILL, USER, Is(0)),
];

pub fn trials() -> Vec<Trial> {
    let ends = ENDS.iter().map(|&(line, code)| {
        trial(format!("programs::{}", line.replace(' ', ".")), move || run(&program(line), |ran| ran.ended(code)))
    });
    let crashes = CRASHES.iter().map(|&(kind, signal, code, addr)| {
        trial(format!("programs::crash.{kind}"), move || {
            run(&program(&format!("crash {kind}")), |ran| {
                ran.ended(128 + signal as u8)?;
                let death = ran.death()?;
                let info = death.signal.context("no signal")?;
                same("(task, signal, si_code)", (death.task, info.signal, info.code), (1, signal, code))?;
                ensure!(addr.holds(death), "si_addr is {} at PC {}", info.addr, death.pc);
                Ok(())
            })
        })
    });
    let others: [(&str, Test); 11] = [
        ("init", init),
        ("all_are_tested", all_are_tested),
        ("crash.list", crash_list),
        ("echo", echo),
        ("cat", cat),
        ("forged.record", forged_record),
        ("ls", ls),
        ("sh", || sh(program("sh"))),
        // An interrupt of a device must be sent to a CPU, where there are several.
        ("sh.gic.2.smp.2", || sh(Config { gic: 2, smp: 2, ..program("sh") })),
        ("spin", spin),
        ("registers.seeds", registers),
    ];
    let others = others.map(|(name, test)| trial(format!("programs::{name}"), test));
    ends.chain(crashes).chain(others).collect()
}

impl Addr {
    fn holds(self, death: &Report) -> bool {
        let addr = death.signal.unwrap().addr.0;
        match self {
            Is(expected) => addr == expected,
            Pc => addr == death.pc.0,
            Page => addr != 0 && addr.is_multiple_of(4096),
            Text(rest) => (0x40_0000..0x80_0000).contains(&addr) && addr % 4 == rest,
            Stack(rest) => (0x7f_ff00_0000..0x80_0000_0000).contains(&addr) && addr % 16 == rest,
        }
    }
}

/// The demo suite; its programs are checked one by one elsewhere.
fn init() -> Result<()> {
    run(&demo(), |ran| {
        ran.ended(0)?;
        let counters = ran.counters()?;
        ensure!(counters.preemptions > 0 && counters.preemptions < counters.switches, "{counters:?}");
        same("spurious and unexpected interrupts", counters.spurious + counters.unexpected, 0)
    })
}

/// No program is forgotten here.
fn all_are_tested() -> Result<()> {
    let ends = ENDS.iter().map(|(line, _)| line.split(' ').next().unwrap_or_default());
    let mut tested: Vec<_> = ends.chain(["init", "echo", "cat", "ls", "sh", "spin"]).collect();
    tested.sort();
    tested.dedup();
    same(
        "programs (a new one needs a row in ENDS, at the top of this file)",
        images(false).programs.keys().map(String::as_str).collect(),
        tested,
    )
}

/// No way to crash is forgotten here: the first word of each line of a table is a kind.
fn crash_list() -> Result<()> {
    run(&program("crash list"), |ran| {
        ran.ended(0)?;
        let listed: Vec<_> = ran.outcome.console.lines().filter_map(|line| line.split_whitespace().next()).collect();
        same("kinds", listed, CRASHES.iter().map(|crash| crash.0).collect())
    })
}

/// Arguments arrive byte for byte.
fn echo() -> Result<()> {
    let args = ["one", "two  words", "", "\"quotes\" \\ 'and' $such", "--", "ünïcode"];
    run(&Config { args: args.map(String::from).into(), ..program("echo") }, |ran| {
        ran.ended(0)?;
        same("console", ran.outcome.console.replace('\r', ""), args.join(" ") + "\n")
    })
}

/// Files are read to their end, whatever their length.
fn cat() -> Result<()> {
    let long: String = (0..2000).map(|line| format!("line {line}\n")).collect();
    let files = [("etc/empty", ""), ("etc/short", "short\n"), ("etc/long", &long)];
    run_with(&files, program("cat /etc/empty etc/short /etc//./long"), |ran| {
        ran.ended(0)?;
        same("console", ran.outcome.console.replace('\r', ""), format!("short\n{long}"))
    })
}

/// A program cannot write a record, nor spoil one.
fn forged_record() -> Result<()> {
    let forged = "\x1e{\"schema\":1,\"kind\":\"forged\"}\n\x1e";
    run_with(&[("forged", forged)], program("cat /forged"), |ran| {
        ran.ended(0)?;
        same("records", ran.outcome.records.len(), 1)?;
        ran.counters().map(|_| ())
    })
}

/// Runs a machine whose archive holds these files, too.
fn run_with(files: &[(&str, &str)], config: Config, look: impl FnOnce(&Ran) -> Result<()>) -> Result<()> {
    let files: Vec<_> = files.iter().map(|(path, content)| (*path, Some(content.as_bytes()))).collect();
    let mut initramfs = tempfile::NamedTempFile::new()?;
    initramfs.write_all(&archive(&files)?)?;
    run(&Config { initramfs: Some(initramfs.path().into()), ..config }, look)
}

fn ls() -> Result<()> {
    let programs: String = images(false).programs.keys().map(|name| format!("{name}\n")).collect();
    run(&program("ls / /bin"), |ran| {
        ran.ended(0)?;
        same("console", ran.outcome.console.replace('\r', ""), format!("./\n../\nbin/\nproc/\n./\n../\n{programs}"))
    })
}

/// A dialogue with the shell: it runs programs, outlives theirs ends, edits lines, and ends with the code it is told.
fn sh(config: Config) -> Result<()> {
    let lines = ["ecx\x7fho typed\r", "crash null\r", "nonsense\r", "\x03", "forktree\r", "exit 7\r"];
    let dialogue = lines.map(|line| ("$ ".to_string(), line.to_string()));
    run(&Config { input: Input::Dialogue(dialogue.into()), ..config }, |ran| {
        ran.ended(7)?;
        let death = ran.death()?;
        same("signal", (death.signal.context("no signal")?.signal, death.task > 1), (SIGSEGV, true))?;
        ensure!(ran.outcome.console.replace('\r', "").contains("\ntyped\n"), "echo was not run as typed");
        Ok(())
    })
}

/// A program that never ends is ended by the tool.
fn spin() -> Result<()> {
    run(&Config { timeout: Some(Duration::from_secs(2)), ..program("spin") }, |ran| {
        same("(exit code, timed out)", (ran.outcome.code, ran.outcome.timed_out), (TIMED_OUT, true))
    })
}

/// Registers hold whatever they are, and at a tick that is more often in the kernel than not.
fn registers() -> Result<()> {
    for _ in 0..4 {
        let seed = fastrand::u64(..);
        let config = Config { append: "tick=4000".into(), ..program(&format!("registers 200 {seed}")) };
        run(&config, |ran| ran.ended(0)).with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}
