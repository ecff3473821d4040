//! Every program of the initramfs ends as it should.

use crate::machine::{CPUS, Ran, Test, archive, demo, images, program, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::io::Write;
use std::time::Duration;
use xtask::machine::{Config, Input, TIMED_OUT};

/// Programs that check themselves, and the code they end with.
const ENDS: &[(&str, u8)] = &[
    ("hello", 0),
    ("hello one two", 0),
    ("bench --short getpid", 0),
    ("registers 40", 0),
    ("preempt", 0),
    ("sleepers", 0),
    ("forktree", 0),
    ("forktree 2 9", 0),
    ("crash nonsense", 2),
    ("memory nonsense", 2),
    ("sweep nonsense", 2),
    ("fuzz nonsense", 2),
    ("cat /nowhere", 1),
    ("ls /nowhere", 1),
    // What it shows is compared with Linux in differ.rs.
    ("observe", 41),
    ("observe nonsense", 2),
];

/// Programs that must end with 0 on every CPU: with a window to user memory by PAN (a76, max) and by TTBR0 (a53, a72), with
/// more and with fewer instructions. The command line, and the machine's memory in MiB.
const EVERYWHERE: &[(&str, u32)] = &[
    ("badcalls", 256),
    ("crash all", 256),
    ("idregs", 256),
    ("memory", 256),
    ("memory hog", 64),
    ("memory shared", 64),
    ("pointers", 256),
];

pub fn trials() -> Vec<Trial> {
    let ends = ENDS.iter().map(|&(line, code)| {
        trial(format!("programs::{}", line.replace(' ', ".")), move || run(&program(line), |ran| ran.ended(code)))
    });
    let everywhere = CPUS.iter().flat_map(|&cpu| {
        EVERYWHERE.iter().map(move |&(line, mem)| {
            trial(format!("programs::{}.{cpu}", line.replace(' ', ".")), move || {
                run(&Config { cpu: cpu.into(), mem, ..program(line) }, |ran| ran.ended(0))
            })
        })
    });
    let others: [(&str, Test); 10] = [
        ("init", init),
        ("all_are_tested", all_are_tested),
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
    ends.chain(everywhere).chain(others).collect()
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
    let lines = ENDS.iter().map(|row| row.0).chain(EVERYWHERE.iter().map(|row| row.0));
    let ends = lines.map(|line| line.split(' ').next().unwrap_or_default());
    let mut tested: Vec<_> = ends.chain(["init", "echo", "cat", "ls", "sh", "spin"]).collect();
    tested.sort();
    tested.dedup();
    same(
        "programs (a new one needs a row in ENDS, at the top of this file)",
        images(false).programs.keys().map(String::as_str).collect(),
        tested,
    )
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
        let signal = death.signal.context("a death without a signal")?;
        same("signal", (signal.signal, death.task > 1), (11, true))?;
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
