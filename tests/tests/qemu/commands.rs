//! What a person types: exit codes, and what standard output carries.

use crate::machine::{Bytes, Test, images, program, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;
use xtask::machine::Config;
use xtask::trace::perfetto::check;
use xtask::workspace;

/// Command lines, parted by spaces, and their exit codes.
const CODES: &[(&str, &str, u8)] = &[
    ("program.ends", "qemu hello", 0),
    ("program.fails", "qemu cat /nowhere", 1),
    ("program.options", "qemu echo --help --gic 9", 0),
    ("program.dies", "qemu crash null", 139),
    ("program.killed", "qemu crash kill", 137),
    ("kernel.panics", "qemu --ktest panic", 121),
    ("time.over", "qemu --timeout 1 spin", 124),
    ("machine", "qemu --gic 2 --cpu cortex-a53 --smp 2 --mem 64 --append tick=100 hello", 0),
    ("icount", "qemu --icount hello", 0),
    ("icount.shift", "qemu --icount=3 hello", 0),
    ("no.program", "qemu nonsense", 1),
    ("no.qemu", "qemu --qemu /nowhere/qemu hello", 1),
    ("no.test", "test no::test::is::called::this", 1),
    ("no.file", "qemu --exec /nowhere/a.out", 1),
    ("no.verb", "", 2),
    ("wrong.verb", "nonsense", 2),
    ("wrong.option", "qemu --nonsense hello", 2),
    ("wrong.gic", "qemu --gic 4 hello", 2),
    ("wrong.cpu", "qemu --cpu z80 hello", 2),
    ("wrong.timeout", "qemu --timeout 0 hello", 2),
    ("wrong.smp", "qemu --smp 2 --icount hello", 2),
    ("wrong.ktest", "qemu --ktest panic hello", 2),
    ("trace.no.folder", "trace -o /nowhere/name hello", 1),
    ("trace.no.program", "trace -o /tmp/name nonsense", 1),
    ("trace.too.large", "trace --text --ring 256 hello", 2),
    ("trace.no.room", "trace --text --ring 200 hello", 1),
    ("trace.nothing", "trace --text --ring 0 hello", 2),
    ("trace.el3", "trace --text --entry-el 3 hello", 2),
    ("hyp.no.file", "hyp --guest /nowhere/image", 1),
    ("hyp.wrong.key", "hyp --guest kernel,cpus=2", 2),
    ("hyp.wrong.smp", "hyp --smp 2 --icount", 2),
    ("hyp.guest", "hyp --guest kernel,append=init=/bin/hello", 0),
    ("hyp.guest.panics", "hyp --guest kernel,append=init=/bin/nothing", 3),
    ("hyp.panics", "hyp --append crash=9", 121),
    ("hyp.time.over", "hyp --timeout 1 --guest kernel,append=init=/bin/spin", 124),
    ("explain", "explain 0x96000045 0xdead0000", 0),
    ("explain.pstate", "explain --pstate 3c5", 0),
    ("explain.nothing", "explain", 1),
    ("explain.nonsense", "explain nonsense", 2),
];

/// Files for `--exec` that are refused before any machine starts.
const NO_PROGRAMS: &[(&str, Bytes)] = &[
    ("empty", || Ok(Vec::new())),
    ("text", || Ok(b"#!/bin/sh\n".into())),
    ("cut.in.header", || Ok(hello()?[..40].into())),
    ("cut.in.segment", || Ok(hello()?[..5000].into())),
    // This host's: where that is an Arm machine it is at least dynamic.
    ("foreign", || Ok(fs::read(env::current_exe()?)?)),
    // The first program header's type: PT_INTERP.
    ("dynamic", || changed(64, 3)),
    // e_type: an object file; a position-independent program.
    ("object", || changed(16, 1)),
    ("pie", || changed(16, 3)),
    // EI_CLASS: 32 bits. EI_DATA: big-endian.
    ("32.bits", || changed(4, 1)),
    ("big.endian", || changed(5, 2)),
];

const VERBS: &[&str] = &["setup", "doctor", "qemu", "trace", "gdb", "hyp", "explain", "test", "mutants", "check"];

pub fn trials() -> Vec<Trial> {
    let codes = CODES.iter().map(|&(name, line, code)| {
        trial(format!("commands::{name}"), move || {
            let output = xtask(line.split_whitespace())?;
            exited(&output, code)?;
            ensure!(code != 2 || output.stdout.is_empty() && !output.stderr.is_empty(), "not told on standard error");
            Ok(())
        })
    });
    let no_programs = NO_PROGRAMS.iter().map(|&(name, bytes)| {
        trial(format!("commands::exec.{name}"), move || {
            let folder = TempDir::new()?;
            let path = folder.path().join("program");
            fs::write(&path, bytes()?)?;
            let output = xtask([OsStr::new("qemu"), OsStr::new("--exec"), path.as_os_str()])?;
            exited(&output, 1)?;
            ensure!(output.stdout.is_empty(), "a machine started");
            Ok(())
        })
    });
    let others: [(&str, Test); 11] = [
        ("trace", trace),
        ("trace.text", trace_text),
        ("trace.interrupted", trace_interrupted),
        ("explain.log", explain_log),
        ("help", help),
        ("documents", documents),
        ("exec", exec),
        ("dry.run", dry_run),
        ("standard.output", standard_output),
        ("json", json),
        ("interactive", interactive),
    ];
    let others = others.map(|(name, test)| trial(format!("commands::{name}"), test));
    codes.chain(no_programs).chain(others).collect()
}

/// Two files for a machine that crashes, and its exit code; Perfetto's is strictly nested. The console goes where `qemu` has it.
fn trace() -> Result<()> {
    let folder = TempDir::new()?;
    let name = folder.path().join("c");
    let name = name.to_str().context("a path in UTF-8")?;
    let output = xtask(["trace", "-o", name, "crash", "null"])?;
    exited(&output, 139)?;
    ensure!(!output.stdout.is_empty(), "no console");
    let mut files: Vec<_> = fs::read_dir(&folder)?.map(|file| Ok(file?.file_name())).collect::<Result<_>>()?;
    files.sort();
    same("files", files, ["c.html", "c.json"].map(Into::into).into())?;
    let json = serde_json::from_slice(&fs::read(folder.path().join("c.json"))?)?;
    ensure!(check(&json).map_err(anyhow::Error::msg)? > 4, "hardly any events");
    let page = fs::read_to_string(folder.path().join("c.html"))?;
    for loads in ["src=", "href=\"http", "@import", "url("] {
        ensure!(!page.contains(loads), "the page loads something: {loads}");
    }
    Ok(())
}

/// As text, it is all that is on standard output, and no file is written: each line is a task, a CPU, four flags, a time that does not
/// go back, and an event.
fn trace_text() -> Result<()> {
    let folder = TempDir::new()?;
    let output = Command::new(tool()).args(["trace", "--text", "hello"]).current_dir(&folder).output()?;
    exited(&output, 0)?;
    let text = String::from_utf8(output.stdout)?;
    let (mut last, mut calls) = (0.0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [task, cpu, flags, time, event] = line.split_whitespace().take(5).collect::<Vec<_>>()[..] else {
            anyhow::bail!("a line of fewer words: {line}");
        };
        ensure!(task.rsplit_once('-').is_some_and(|(_, id)| id.parse::<u32>().is_ok()), "no task: {line}");
        same("CPU", cpu, "[000]")?;
        same("flags", flags.len(), 4)?;
        let time: f64 = time.trim_end_matches(':').parse()?;
        ensure!(time >= last && event.ends_with(':'), "out of order: {line}");
        (last, calls) = (time, calls + usize::from(event == "sys_enter:"));
    }
    ensure!(calls > 3, "{calls} system calls");
    same("files", fs::read_dir(&folder)?.count(), 0)
}

/// Ctrl-C ends the machine; what it did until then is written all the same.
fn trace_interrupted() -> Result<()> {
    let folder = TempDir::new()?;
    let mut command = Command::new(tool());
    command.args(["trace", "--timeout", "60", "-o"]).arg(folder.path().join("name")).arg("spin");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut console = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut line = String::new();
    while !line.starts_with("spinning") {
        line.clear();
        ensure!(console.read_line(&mut line)? > 0, "the program did not start");
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
    exited(&child.wait_with_output()?, 130)?;
    same("files", fs::read_dir(&folder)?.count(), 2)
}

/// What a crashed machine said, pasted, is explained as the record of the same crash says it.
fn explain_log() -> Result<()> {
    run(&Config { log: Some("info".into()), ..program("crash null") }, |ran| {
        let mut log = tempfile::tempfile()?;
        log.write_all(ran.outcome.console.as_bytes())?;
        log.rewind()?;
        let output = Command::new(tool()).args(["explain", "--json"]).stdin(log).output()?;
        exited(&output, 0)?;
        let explained: Value = serde_json::from_slice(&output.stdout)?;
        let death = ran.death()?;
        for (field, value) in [("esr", death.esr), ("far", death.far), ("pc", death.pc)] {
            same(field, explained[field].as_str(), Some(value.to_string().as_str()))?;
        }
        Ok(())
    })
}

/// What the documents point to in the tree is there.
fn documents() -> Result<()> {
    let root = workspace::root()?;
    let docs = fs::read_dir(root.join("docs"))?.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    let texts = docs.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut links = 0;
    for path in texts.chain([root.join("README.md")]) {
        let text = fs::read_to_string(&path)?;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            links += 1;
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let there = link.contains("://") || {
                let file = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
                let is_it = |line: &str| line.split_once("# ").is_some_and(|(_, line)| Some(&*anchor(line)) == heading);
                file.exists() && (heading.is_none() || fs::read_to_string(file)?.lines().any(is_it))
            };
            ensure!(there, "{} points to {link}, which is not there", path.display());
        }
    }
    ensure!(links > 5, "{links} links");
    Ok(())
}

/// What a link to a heading says.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The tool, built once.
pub(crate) fn tool() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        let root = workspace::root().expect("tests run inside the checkout");
        let built = workspace::cargo(&root).args(["build", "--quiet", "--package", "xtask"]).status();
        assert!(built.is_ok_and(|status| status.success()), "the tool does not build");
        workspace::target_dir(&root).join("debug/xtask")
    })
}

fn xtask<I: AsRef<OsStr>>(words: impl IntoIterator<Item = I>) -> Result<Output> {
    Command::new(tool()).args(words).stdin(Stdio::null()).output().context("the tool cannot be started")
}

fn exited(output: &Output, code: u8) -> Result<()> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    same("exit code", output.status.code(), Some(code.into()))
        .with_context(|| format!("stdout:\n{}\nstderr:\n{}", text(&output.stdout), text(&output.stderr)))
}

fn hello() -> Result<Vec<u8>> {
    Ok(fs::read(&images(false).programs["hello"])?)
}

/// A good program with one byte of it changed.
fn changed(at: usize, byte: u8) -> Result<Vec<u8>> {
    let mut program = hello()?;
    program[at] = byte;
    Ok(program)
}

/// Every verb has help, with examples.
fn help() -> Result<()> {
    for verb in VERBS {
        let output = xtask([verb, "--help"])?;
        exited(&output, 0)?;
        let example = format!("cargo xtask {verb}");
        ensure!(String::from_utf8_lossy(&output.stdout).contains(&example), "{verb} has no example");
    }
    Ok(())
}

/// A program of the host runs under its own name, with its own arguments and exit code.
fn exec() -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("my program");
    fs::copy(&images(false).programs["echo"], &path)?;
    let words = ["qemu", "--log", "off", "--exec"].map(OsStr::new).into_iter().chain([path.as_os_str()]);
    let output = xtask(words.chain(["a  b", "--gic"].map(OsStr::new)))?;
    exited(&output, 0)?;
    same("console", String::from_utf8_lossy(&output.stdout).replace('\r', ""), "a  b --gic\n".into())
}

/// Prints one command, which a shell runs to the same end, and starts no machine.
fn dry_run() -> Result<()> {
    let options = "--gic 2 --cpu cortex-a53 --mem 128 --log off --append tick=100";
    let line = format!("qemu --dry-run {options} crash null");
    let output = xtask(line.split(' '))?;
    exited(&output, 0)?;
    let command = String::from_utf8(output.stdout)?;
    same("lines", command.lines().count(), 1)?;
    for part in ["gic-version=2", "cortex-a53", "128M", "tick=100", "loglevel=off", "init=/bin/crash"] {
        ensure!(command.contains(part), "{part} is not in {command}");
    }
    let output = Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).output()?;
    exited(&output, 139)
}

/// Standard output carries the machine's console and nothing else; no record is in it.
fn standard_output() -> Result<()> {
    let output = xtask(["qemu", "--log", "off", "echo", "one", "two words"])?;
    exited(&output, 0)?;
    same("console", String::from_utf8_lossy(&output.stdout).replace('\r', ""), "one two words\n".into())?;
    let output = xtask(["qemu", "--log", "off", "crash", "null"])?;
    exited(&output, 139)?;
    same("console", String::from_utf8_lossy(&output.stdout), "".into())
}

/// With `--json`, it carries the records, one a line.
fn json() -> Result<()> {
    let output = xtask(["qemu", "--json", "crash", "null"])?;
    exited(&output, 139)?;
    let lines = output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let records = lines.map(serde_json::from_slice).collect::<Result<Vec<serde_json::Value>, _>>()?;
    let kinds: Vec<_> = records.iter().map(|record| record["kind"].as_str().unwrap_or_default()).collect();
    same("records", kinds, vec!["death", "counters"])
}

/// What is piped in is typed at the shell.
fn interactive() -> Result<()> {
    let mut command = Command::new(tool());
    command.args(["qemu", "--interactive", "--timeout", "60"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(b"echo typed\rexit 3\r")?;
    let output = child.wait_with_output()?;
    exited(&output, 3)?;
    ensure!(String::from_utf8_lossy(&output.stdout).replace('\r', "").contains("\ntyped\n"), "echo did not run");
    Ok(())
}
