//! Linux as a guest of the hypervisor: Debian's kernel as it is packaged, with a shell on its emulated UART that the tests type
//! to. What the shell computes is told on lines `<name value>`.

use crate::commands::tool;
use crate::hyp::{Ran, run, traps};
use crate::machine::{Test, images, same, trial};
use anyhow::{Context, Result, ensure};
use hyp::result::{End, GuestSummary, Summary};
use libtest_mimic::Trial;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use xtask::hyp::{Config, Guest, LINUX};
use xtask::linux::Linux;
use xtask::machine::Input;
use xtask::workspace;

pub fn trials() -> Vec<Trial> {
    let machines = [("cortex-a72", 2, 1), ("cortex-a57", 3, 1), ("max", 2, 2), ("max", 3, 2)];
    let machines = machines.map(|(cpu, gic, vcpus)| {
        trial(format!("linux::shell.{cpu}.gic.{gic}.vcpus.{vcpus}"), move || shell(cpu, gic, vcpus))
    });
    let rest: [(&str, Test); 3] = [("two", two), ("beside.kernel", beside_kernel), ("by.pipe", by_pipe)];
    let there = workspace::root().is_ok_and(|root| Linux::new(&root).is_there());
    if !there {
        eprintln!(
            "tests of Linux as a guest are left out: there is none here, and no apt with Debian's packages to bring one"
        );
    }
    let trials = machines.into_iter().chain(rest.map(|(name, test)| trial(format!("linux::{name}"), test)));
    trials.map(|trial| trial.with_ignored_flag(!there)).collect()
}

/// What the shell says when it waits for a command.
const PROMPT: &str = "/ # ";

/// Machines with a Linux called `name` for each name; `dialogue` is typed, each text once its cue was seen.
fn config(names: &[&str], dialogue: &[(&str, &str)]) -> Result<Config> {
    let linux = Linux::new(&workspace::root()?);
    linux.make_initramfs()?;
    let guest = |name: &&str| {
        let mut guest = Guest::parse(LINUX).map_err(anyhow::Error::msg)?;
        guest.find_files(images(false), &linux);
        Ok(Guest { name: name.to_string(), ..guest })
    };
    let dialogue = dialogue.iter().map(|(cue, text)| (cue.to_string(), text.to_string()));
    Ok(Config {
        guests: names.iter().map(guest).collect::<Result<_>>()?,
        input: Input::Dialogue(dialogue.collect()),
        timeout: Some(Duration::from_secs(240)),
        ..Config::default()
    })
}

/// The number that a shell told under a name.
fn value(ran: &Ran, name: &str) -> Result<u64> {
    let found = ran.console.lines().find_map(|line| line.strip_prefix('<')?.strip_suffix('>')?.strip_prefix(name));
    let number = found.with_context(|| format!("no <{name}>"))?.trim();
    number.parse().with_context(|| format!("<{name}{number}>"))
}

/// A guest that did what guests do, and powered off.
fn worked(guest: &GuestSummary) -> Result<()> {
    same("(end, SErrors)", (guest.end, guest.serrors), (Some(End::PoweredOff), 0))?;
    let counts = [guest.injections, guest.irqs, guest.switches].into_iter();
    let traps = ["hvc64", "data_abort_lower"].map(|class| traps(guest, class));
    ensure!(counts.chain(traps).all(|count| count > 0), "nothing of one kind: {guest:?}");
    Ok(())
}

/// The shell runs what is typed, on a system whose timer and UART interrupt, whose CPUs are all there and go off and on, and which
/// finds nothing wrong with its machine. What is typed while it boots is not lost.
fn shell(cpu: &str, gic: u8, vcpus: u8) -> Result<()> {
    let commands = "t() { awk \"/$1/\"' { print $2 + $3 }' /proc/interrupts; }\n\
        a=$(t arch_timer); sleep 1; b=$(t arch_timer)\n\
        echo \"<ticks $((b-a))>\"\n\
        echo \"<nproc $(nproc)>\"\n\
        cpu1() { echo $1 > /sys/devices/system/cpu/cpu1/online; } 2> /dev/null\n\
        cpu1 0; echo \"<off $(nproc)>\"; cpu1 1; echo \"<on $(nproc)>\"\n\
        echo \"<typed $(t uart)>\"\n\
        echo \"<wrong $(dmesg | grep -Eci 'warning|unable|unexpected|failed|bug:|error')>\"\n\
        poweroff -f\n";
    // The hypervisor says whose the keyboard is before any guest runs.
    let mut config = config(&["linux"], &[("keyboard", commands)])?;
    (config.cpu, config.gic, config.guests[0].vcpus) = (cpu.into(), gic, vcpus);
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        worked(&ran.summary()?.guests[0])?;
        let cpus = ["nproc", "off", "on"].map(|name| value(ran, name).unwrap_or(0));
        same("CPUs, without the second, and with it again", cpus, [vcpus.into(), 1, vcpus.into()])?;
        same("complaints", value(ran, "wrong")?, 0)?;
        let (ticks, typed) = (value(ran, "ticks")?, value(ran, "typed")?);
        ensure!(ticks > 0 && typed > 0, "{ticks} timer interrupts in a second, {typed} interrupts of the UART");
        // It sleeps.
        ensure!(traps(&ran.summary()?.guests[0], "wfx") > 0, "no WFI");
        Ok(())
    })
}

/// Two of them, each with a shell that keeps what it was told while the other has the keyboard. When the second ends, the
/// keyboard is the first's again.
fn two() -> Result<()> {
    let dialogue = [
        (PROMPT, "x=40\n\x01\x01\x01"),
        (PROMPT, "x=30; echo \"<right $((x+1))>\"\n"),
        ("<right 31>\r\n", "poweroff -f\n"),
        ("keyboard", "echo \"<left $((x+2))>\"; poweroff -f\n"),
    ];
    run(&config(&["left", "right"], &dialogue)?, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        ran.summary()?.guests.iter().try_for_each(worked)?;
        same("(left, right)", (value(ran, "left")?, value(ran, "right")?), (42, 31))
    })
}

/// One beside this project's kernel, whose suite holds and whose lines come between.
fn beside_kernel() -> Result<()> {
    let mut config = config(&["linux"], &[(PROMPT, "echo \"<sum $((20+22))>\"; poweroff -f\n")])?;
    let kernel = Guest { append: "records loglevel=off".into(), ..Guest::kernel(images(false), "kernel") };
    config.guests.push(kernel);
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let summary = ran.summary()?;
        worked(&summary.guests[0])?;
        same("end of the kernel", summary.guests[1].end, Some(End::PoweredOff))?;
        same("sum", value(ran, "sum")?, 42)?;
        same("counters records", ran.records.iter().filter(|record| record["kind"] == "counters").count(), 1)?;
        same("programs that failed", ran.console.matches(" programs, 0 failed").count(), 1)
    })
}

/// What comes in at the tool's standard input comes in at the first guest, as it is and all of it, though it is more than is kept
/// for a guest that does not listen yet; and its end is not the machine's.
fn by_pipe() -> Result<()> {
    let comment = format!("# {}\n", "x".repeat(70));
    let commands = format!("{}sleep 1; poweroff -f\n", comment.repeat(20));
    let mut tool = Command::new(tool());
    tool.args(["hyp", "--json", "--timeout", "240", "--guest", "linux"]);
    let mut tool = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut input = tool.stdin.take().context("it has a standard input")?;
    input.write_all(commands.as_bytes())?;
    drop(input);
    let output = tool.wait_with_output()?;
    same("exit code", output.status.code(), Some(0))?;
    worked(&serde_json::from_slice::<Summary>(&output.stdout)?.guests[0])
}
