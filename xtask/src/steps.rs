//! Which instructions a machine executes: a trace of QEMU's between two places, each instruction with the PSTATE it was executed in.
//!
//! QEMU runs at its usual speed up to the first place, told by its debugger's stub to stop there; from there to the second it executes
//! one instruction at a time and logs each. A machine whose time is by instructions does the same as one that nobody looks at.
//!
//! ```no_run
//! use std::time::Duration;
//! use xtask::{images::Images, machine::{self, Config, Program}, steps};
//! let images = Images::build(false)?;
//! let config = Config { program: Program::Named("hello".into()), icount: Some(4), ..Config::default() };
//! let main = steps::address(&images.programs["hello"], "_start")?;
//! let first_system_call = steps::address(&images.elf, "el0_sync")?;
//! let command = machine::command(&images, &config)?;
//! let steps = steps::between(command, (main, 0), first_system_call, Duration::from_secs(20))?;
//! # anyhow::Ok(())
//! ```

use crate::process::{Input, Running};
use anyhow::{Context, Result, anyhow, bail, ensure};
use object::{Object, ObjectSymbol};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// An instruction that was executed, or that was begun and raised an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its address.
    pub pc: u64,
    /// PSTATE before it, as SPSR_ELx would hold it.
    pub pstate: u32,
}

impl Step {
    /// Whether an interrupt had to wait here.
    pub fn irqs_masked(self) -> bool {
        self.pstate & 1 << 7 != 0
    }

    /// The exception level.
    pub fn el(self) -> u8 {
        (self.pstate >> 2 & 3) as u8
    }
}

/// The address of what is called exactly `name` in the ELF file at `elf`.
pub fn address(elf: &Path, name: &str) -> Result<u64> {
    let bytes = fs::read(elf).with_context(|| format!("{} cannot be read", elf.display()))?;
    let file = object::File::parse(&*bytes).with_context(|| format!("{} is no ELF file", elf.display()))?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
    Ok(symbol.with_context(|| format!("{} has no symbol `{name}`", elf.display()))?.address())
}

/// Starts the machine of a QEMU command line and gives what it executes from `begin`, once that was passed `passes` times, up to `end`,
/// which is not in it. The machine is ended then; it must come there within `limit`. Interrupts must not be masked at `begin`, or one
/// that QEMU's stop there brings comes later.
pub fn between(command: Command, (begin, passes): (u64, usize), end: u64, limit: Duration) -> Result<Vec<Step>> {
    let folder = tempfile::tempdir()?;
    let (socket, log) = (folder.path().join("gdb"), folder.path().join("log"));
    let mut command = asleep(&command);
    command.args(["-S", "-gdb", &format!("unix:{},server=on,wait=off", socket.display())]).arg("-D").arg(&log);
    let mut qemu = Running::start(command, &Input::Nothing)?;
    let mut stub = Stub::connect(&mut qemu, &socket, Instant::now() + limit)?;
    stub.run_to(begin)?;
    for _ in 0..passes {
        stub.step()?;
        stub.run_to(begin)?;
    }
    // The first was called the second before QEMU 8.1; the wrong one is answered in words, and changes nothing.
    stub.monitor("one-insn-per-tb on")?;
    stub.monitor("singlestep on")?;
    stub.monitor("log exec,cpu,nochain")?;
    stub.run_to(end)?;
    stub.monitor("log none")?;
    drop(qemu);
    let mut steps = read(BufReader::new(File::open(&log)?))?;
    // The stop may have made a timer due.
    let first = steps.iter().position(|step| step.pc == begin).context("QEMU logged no instructions")?;
    steps.drain(..first);
    Ok(steps)
}

/// The same machine, in which time by instructions passes as they do while it waits, too. Where it does not (`sleep=off`), a machine that
/// is stopped is taken for one that waits: its time goes on to the next timer, or, without one, it never goes on.
fn asleep(command: &Command) -> Command {
    let mut asleep = Command::new(command.get_program());
    let changed = |word: &OsStr| match word.to_str() {
        Some(word) if word.starts_with("shift=") => word.replace("sleep=off", "sleep=on").into(),
        _ => word.to_os_string(),
    };
    asleep.args(command.get_args().map(changed));
    asleep
}

/// Reads QEMU's log of `-d exec,cpu`.
fn read(log: impl BufRead) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut pc = None;
    for line in log.lines() {
        let line = line?;
        if let Some(rest) = line.strip_prefix("Trace ") {
            // Trace 0: HOST [CS_BASE/PC/FLAGS/CFLAGS] NAME
            pc = Some(rest.split('/').nth(1).and_then(|pc| u64::from_str_radix(pc, 16).ok()).context(line)?);
        } else if let Some(rest) = line.strip_prefix("PSTATE=") {
            let pstate = rest.split_whitespace().next().and_then(|word| u32::from_str_radix(word, 16).ok());
            let (pc, pstate) = pc.take().zip(pstate).context(line)?;
            steps.push(Step { pc, pstate });
        } else if line.starts_with("Stopped execution of TB chain before ") {
            // It was about to be executed when something else came first.
            steps.pop();
        }
    }
    Ok(steps)
}

/// The debugger's stub of a QEMU (the GDB Remote Serial Protocol), whose machine is stopped.
struct Stub {
    socket: UnixStream,
    deadline: Instant,
}

impl Stub {
    fn connect(qemu: &mut Running, path: &Path, deadline: Instant) -> Result<Stub> {
        loop {
            match UnixStream::connect(path) {
                Ok(socket) => return Ok(Stub { socket, deadline }),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error).context("QEMU's stub for debuggers cannot be reached"),
            }
            ensure!(qemu.is_running() && Instant::now() < deadline, "QEMU did not start");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs until `pc` is about to be executed.
    fn run_to(&mut self, pc: u64) -> Result<()> {
        self.ask(&format!("Z1,{pc:x},4"), "OK")?;
        self.ask("c", "T05").with_context(|| format!("the machine did not come to {pc:#x}"))?;
        self.ask(&format!("z1,{pc:x},4"), "OK")
    }

    /// Executes one instruction.
    fn step(&mut self) -> Result<()> {
        self.ask("s", "T05")
    }

    /// Gives QEMU's monitor a command.
    fn monitor(&mut self, command: &str) -> Result<()> {
        let hex: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.ask(&format!("qRcmd,{hex}"), "OK")
    }

    /// Sends a packet; the answer must begin as said.
    fn ask(&mut self, packet: &str, answer: &str) -> Result<()> {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        self.send(&format!("${packet}#{sum:02x}"))?;
        loop {
            let found = self.packet()?;
            // What the monitor says comes first, as `O` and hexadecimal digits.
            if answer == "OK" && found != "OK" && found.starts_with('O') {
                continue;
            }
            ensure!(found.starts_with(answer), "QEMU answers `{packet}` with `{found}`");
            return Ok(());
        }
    }

    /// The next packet of QEMU's, acknowledged.
    fn packet(&mut self) -> Result<String> {
        let mut text = Vec::new();
        loop {
            match self.byte()? {
                // An acknowledgement.
                b'+' if text.is_empty() => {}
                b'#' => break,
                byte => text.push(byte),
            }
        }
        // The sum: nothing is lost on the way.
        self.byte()?;
        self.byte()?;
        self.send("+")?;
        Ok(String::from_utf8_lossy(&text).trim_start_matches('$').into())
    }

    fn send(&mut self, text: &str) -> Result<()> {
        self.socket.write_all(text.as_bytes()).map_err(|_| anyhow!("the machine has ended"))
    }

    fn byte(&mut self) -> Result<u8> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut byte = [0];
        match self.socket.read(&mut byte) {
            Ok(1) => Ok(byte[0]),
            Ok(_) => bail!("the machine has ended"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => bail!("time is over"),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read() {
        let log = "\
Trace 0: 0x7f [0000000000005001/ffffffc0800432e8/00000021/ff020201] \n PC=ffffffc0800432e8 X00=0000000000000001
X01=0000000000000000  SP=ffffffd000014000\nPSTATE=400003c5 -Z-- EL1h
Trace 0: 0x7f [0000000000005001/0000000000400844/00000021/ff020201] main\nPSTATE=80000000 N--- EL0t
Trace 0: 0x7f [0000000000005001/0000000000400848/00000021/ff020201] main\nPSTATE=80000000 N--- EL0t
Stopped execution of TB chain before 0x7f [0000000000400848] main
";
        let steps = read(log.as_bytes()).unwrap();
        let expected = [(0xffff_ffc0_8004_32e8, 0x4000_03c5), (0x40_0844, 0x8000_0000)];
        assert_eq!(steps, expected.map(|(pc, pstate)| Step { pc, pstate }));
        assert_eq!(
            steps.iter().map(|step| (step.el(), step.irqs_masked())).collect::<Vec<_>>(),
            [(1, true), (0, false)]
        );
        assert!(read("PSTATE=0 \n".as_bytes()).is_err());
    }
}
