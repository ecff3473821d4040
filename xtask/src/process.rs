//! QEMU as a process: started with its input and outputs in hand, and ended in every way that this process ends.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

/// What comes in at the UART.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    #[default]
    Nothing,
    /// This process's standard input; a terminal becomes the machine's (Ctrl-A X ends it).
    Stdin,
    /// The same, for several who share it: its end is nobody's.
    SharedStdin,
    /// What is typed at a new pseudo-terminal, which also gets the console; QEMU says its name.
    Pty,
    /// A dialogue: each answer is sent when the console has shown its cue after the last one.
    Dialogue(Vec<(String, String)>),
}

/// A machine that was started, to end it by.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// Whom signals go to: negative, a process group (`kill(2)`).
    target: Pid,
}

impl Started {
    /// Ends the machine, unless it has ended.
    pub fn end(self) {
        let running = running();
        if running.contains(&self.target) {
            let _ = kill(self.target, Signal::SIGTERM);
        }
    }
}

/// Whether a person's terminal becomes the machine's.
pub(crate) fn terminal(input: &Input) -> bool {
    matches!(input, Input::Stdin | Input::SharedStdin) && io::stdin().is_terminal()
}

/// What QEMU's two outputs bring.
pub(crate) enum Said {
    Console(Vec<u8>),
    Error(Vec<u8>),
}

/// A QEMU that runs; ended when dropped.
pub(crate) struct Running {
    child: Child,
    /// As in [`Started`].
    target: Pid,
    said: mpsc::Receiver<Said>,
    stdin: Option<ChildStdin>,
    /// Whether standard input is yet to be relayed, and what comes at its end.
    relay_stdin: Option<&'static [u8]>,
    dialogue: VecDeque<(String, String)>,
    /// What the console has shown since the last answer.
    shown: Vec<u8>,
}

/// Whom to end when this process is told to end.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

pub(crate) fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Set while the terminal's Ctrl-C is gdb's to act on.
static INTERRUPTS_ARE_GDBS: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C stops the machine, as gdb does it, and ends nothing.
pub fn leave_interrupts_to_gdb() {
    INTERRUPTS_ARE_GDBS.store(true, Ordering::Relaxed);
}

/// Set while the next Ctrl-C is to end the machines only.
static INTERRUPT_ENDS_MACHINES_ONLY: AtomicBool = AtomicBool::new(false);

/// Set when one did.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The next Ctrl-C ends the machines, and not this process, which has something to do yet; the one after that does.
pub fn let_interrupt_end_machines_only() {
    INTERRUPT_ENDS_MACHINES_ONLY.store(true, Ordering::Relaxed);
}

/// The exit code after Ctrl-C, as shells have it.
pub const INTERRUPT_CODE: u8 = 130;

/// Whether Ctrl-C has ended the machines.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Makes the signals that end this process end the machines with it.
fn end_machines_with_us() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails where signals cannot be caught at all: then they end this process alone.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        thread::spawn(move || {
            for signal in signals.forever() {
                if signal == SIGINT && INTERRUPTS_ARE_GDBS.load(Ordering::Relaxed) {
                    continue;
                }
                for &target in running().iter() {
                    let _ = kill(target, Signal::SIGTERM);
                }
                if signal == SIGINT && INTERRUPT_ENDS_MACHINES_ONLY.swap(false, Ordering::Relaxed) {
                    INTERRUPTED.store(true, Ordering::Relaxed);
                    continue;
                }
                std::process::exit(128 + signal);
            }
        });
    });
}

impl Running {
    /// Starts QEMU; its input is `input`, its outputs come by [`Running::next`].
    pub(crate) fn start(mut command: Command, input: &Input) -> Result<Running> {
        end_machines_with_us();
        let terminal = terminal(input);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(match input {
            Input::Nothing | Input::Pty => Stdio::null(),
            _ if terminal => Stdio::inherit(),
            Input::Stdin | Input::SharedStdin | Input::Dialogue(_) => Stdio::piped(),
        });
        // A process group of its own, so that a script that wraps QEMU ends as a whole; but only the terminal's own
        // group may read from it.
        if !terminal {
            command.process_group(0);
        }
        let name = command.get_program().to_os_string();
        let (sender, said) = mpsc::channel();
        // Registered before anyone can be told to end it.
        let mut registered = running();
        let mut child = command.spawn().with_context(|| format!("{} cannot be started", name.display()))?;
        let pid = child.id() as i32;
        let target = Pid::from_raw(if terminal { pid } else { -pid });
        registered.push(target);
        drop(registered);
        if let Some(stdout) = child.stdout.take() {
            pump(stdout, sender.clone(), Said::Console);
        }
        if let Some(stderr) = child.stderr.take() {
            pump(stderr, sender, Said::Error);
        }
        let dialogue = match input {
            Input::Dialogue(exchanges) => exchanges.iter().cloned().collect(),
            _ => VecDeque::new(),
        };
        let stdin = child.stdin.take();
        let relay_stdin = match input {
            // End of transmission, as a terminal says it.
            Input::Stdin => Some(&b"\x04"[..]),
            Input::SharedStdin => Some(&b""[..]),
            _ => None,
        };
        Ok(Running { child, target, said, stdin, relay_stdin, dialogue, shown: Vec::new() })
    }

    /// To end it by.
    pub(crate) fn started(&self) -> Started {
        Started { target: self.target }
    }

    /// What QEMU says next, within `limit`; disconnected when it has said all.
    pub(crate) fn next(&self, limit: Option<Duration>) -> Result<Said, RecvTimeoutError> {
        match limit {
            Some(limit) => self.said.recv_timeout(limit),
            None => self.said.recv().map_err(RecvTimeoutError::from),
        }
    }

    /// Sends what is due now that the console shows `bytes`. A machine that is gone takes nothing, which is no error.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        // Not before the machine has spoken: setting up the UART empties its FIFO.
        if let Some(end) = self.relay_stdin.take()
            && let Some(mut stdin) = self.stdin.take()
        {
            thread::spawn(move || {
                let _ = io::copy(&mut io::stdin(), &mut stdin);
                let _ = stdin.write_all(end);
            });
        }
        self.shown.extend(bytes);
        while let Some((cue, answer)) = self.dialogue.front() {
            let mut windows = self.shown.windows(cue.len().max(1));
            let Some(at) = windows.position(|window| window.starts_with(cue.as_bytes())) else { break };
            self.shown.drain(..at + cue.len());
            if let Some(stdin) = &mut self.stdin {
                let _ = stdin.write_all(answer.as_bytes()).and_then(|()| stdin.flush());
            }
            self.dialogue.pop_front();
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Sends it a signal; one that is gone takes none, which is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill(self.target, signal);
    }

    /// Its exit status, once it has ended.
    pub(crate) fn wait(mut self) -> Result<ExitStatus> {
        running().retain(|&target| target != self.target);
        self.child.wait().context("QEMU's end cannot be awaited")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut registered = running();
        if registered.contains(&self.target) {
            registered.retain(|&target| target != self.target);
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Sends what comes from `source` until it ends.
fn pump(mut source: impl Read + Send + 'static, to: mpsc::Sender<Said>, said: fn(Vec<u8>) -> Said) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            match source.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(len) if len > 0 && to.send(said(buffer[..len].to_vec())).is_ok() => {}
                _ => break,
            }
        }
    });
}
