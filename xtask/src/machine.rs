//! One machine: QEMU's command line, and a run to its end.

use crate::console::{Filter, Piece};
use crate::images::Images;
use crate::symbols::Symbols;
use anyhow::{Context, Result, bail, ensure};
use drivers::bootargs::push_word;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

/// The program that is QEMU when nothing else is said.
pub const QEMU: &str = "qemu-system-aarch64";

/// The exit code when the machine did not end in its time.
pub const TIMED_OUT: u8 = 124;

/// How long QEMU may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(2);

/// How long the beginning of an address may stay off the screen when a person may be waiting for it.
const PROMPT_DELAY: Duration = Duration::from_millis(100);

/// What the machine runs first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// `init`, the demo suite.
    #[default]
    Init,
    /// A program of the initramfs, by name.
    Named(String),
    /// A static AArch64 ELF file of the host.
    Host(PathBuf),
}

/// What comes in at the UART.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    #[default]
    Nothing,
    /// This process's standard input; a terminal becomes the machine's (Ctrl-A X ends it).
    Stdin,
    /// What is typed at a new pseudo-terminal, which also gets the console; QEMU says its name.
    Pty,
    /// A dialogue: each answer is sent when the console has shown its cue after the last one.
    Dialogue(Vec<(String, String)>),
}

/// A machine and what it is to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// QEMU itself: a name in PATH, or a path.
    pub qemu: OsString,
    /// CPU model, as QEMU names it.
    pub cpu: String,
    /// Version of the interrupt controller: 2 or 3.
    pub gic: u8,
    /// CPUs the machine has.
    pub smp: u8,
    /// Memory in MiB.
    pub mem: u32,
    /// The exception level the kernel is entered at: 1, 2 or 3.
    pub entry_el: u8,
    /// Time by instructions, one every 2^this nanoseconds.
    pub icount: Option<u8>,
    /// How much the kernel logs: a `loglevel` boot argument.
    pub log: Option<String>,
    /// The in-kernel test to run; needs images with `ktest`.
    pub ktest: Option<String>,
    /// More boot arguments, as they are.
    pub append: String,
    /// What runs first.
    pub program: Program,
    /// The program's arguments after its name.
    pub args: Vec<String>,
    /// An archive to boot with instead of the one with the programs.
    pub initramfs: Option<PathBuf>,
    /// What comes in at the UART.
    pub input: Input,
    /// Whether the kernel emits records.
    pub records: bool,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// More arguments for QEMU.
    pub qemu_args: Vec<OsString>,
}

impl Default for Config {
    /// One Cortex-A72 with 256 MiB and a GICv3, `init`, records, sixty seconds.
    fn default() -> Self {
        Config {
            qemu: env::var_os("QEMU").unwrap_or_else(|| QEMU.into()),
            cpu: "cortex-a72".into(),
            gic: 3,
            smp: 1,
            mem: 256,
            entry_el: 1,
            icount: None,
            log: None,
            ktest: None,
            append: String::new(),
            program: Program::Init,
            args: Vec::new(),
            initramfs: None,
            input: Input::Nothing,
            records: true,
            timeout: Some(Duration::from_secs(60)),
            qemu_args: Vec::new(),
        }
    }
}

/// What a machine says while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It runs.
    Started(Started),
    /// Text on its console, with addresses named.
    Console(&'a [u8]),
    /// A record, as the JSON it is.
    Record(&'a [u8]),
    /// What QEMU itself says.
    Qemu(&'a [u8]),
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

/// How a machine ended, and all that it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code: the program's own; 128+n when signal n killed it; 121 when the kernel panicked; [`TIMED_OUT`].
    pub code: u8,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// The text of its console; bytes that are not UTF-8 are replaced.
    pub console: String,
    /// Its records, in order.
    pub records: Vec<serde_json::Value>,
}

/// Runs a machine to its end and keeps what it says.
pub fn run(images: &Images, config: &Config) -> Result<Outcome> {
    let (mut console, mut records) = (Vec::new(), Vec::new());
    let (code, timed_out) = watch(images, config, |event| {
        match event {
            Event::Console(text) => console.extend(text),
            Event::Record(json) => records.push(serde_json::from_slice(json).with_context(|| {
                format!("the kernel wrote a record that is not JSON: {}", String::from_utf8_lossy(json))
            })?),
            Event::Started(_) | Event::Qemu(_) => {}
        }
        Ok(())
    })?;
    Ok(Outcome { code, timed_out, console: String::from_utf8_lossy(&console).into_owned(), records })
}

/// Runs a machine to its end, gives `on` what it says as soon as it says it, and returns the exit code and whether time
/// was over. The machine is ended when `on` fails.
pub fn watch(images: &Images, config: &Config, mut on: impl FnMut(Event<'_>) -> Result<()>) -> Result<(u8, bool)> {
    let mut qemu = Running::start(command(images, config)?, &config.input)?;
    on(Event::Started(Started { target: qemu.target }))?;
    let mut symbols = None;
    let mut filter =
        Filter::new(|address| match symbols.get_or_insert_with(|| Symbols::open(&images.elf, &images.root)) {
            Ok(symbols) => symbols.describe(address),
            Err(_) => format!("{address:016x}"),
        });
    let mut deadline = config.timeout.map(|limit| Instant::now() + limit);
    let mut ending = [Signal::SIGTERM, Signal::SIGKILL].into_iter();
    let (mut timed_out, mut silent, mut complaint) = (false, true, Vec::new());
    loop {
        let prompt = filter.holds_text() && config.input != Input::Nothing;
        let patience = prompt.then_some(PROMPT_DELAY);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match qemu.next(patience.into_iter().chain(left).min()) {
            Ok(Said::Console(bytes)) => {
                if silent {
                    silent = false;
                    on(Event::Qemu(&complaint))?;
                }
                qemu.answer(&bytes);
                filter.push(&bytes, &mut |piece| match piece {
                    Piece::Text(text) => on(Event::Console(text)),
                    Piece::Record(json) => on(Event::Record(json)),
                })?;
            }
            // While the machine is silent this may be why it does not start.
            Ok(Said::Error(bytes)) if silent => complaint.extend(bytes),
            // That it was told to end is no news.
            Ok(Said::Error(_)) if timed_out => {}
            Ok(Said::Error(bytes)) => on(Event::Qemu(&bytes))?,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                timed_out = true;
                deadline = Some(Instant::now() + GRACE);
                match ending.next() {
                    Some(signal) => qemu.signal(signal),
                    None => bail!("QEMU cannot be ended"),
                }
            }
            Err(RecvTimeoutError::Timeout) => on(Event::Console(&filter.release()))?,
        }
    }
    let rest = filter.release();
    if !rest.is_empty() {
        on(Event::Console(&rest))?;
    }
    let status = qemu.wait()?;
    if timed_out {
        return Ok((TIMED_OUT, true));
    }
    match status.code() {
        Some(1) if silent && !complaint.is_empty() => {
            bail!("QEMU did not start: {}", String::from_utf8_lossy(&complaint).trim_end())
        }
        Some(code) => Ok((code as u8, false)),
        None => bail!("QEMU was ended by signal {}", status.signal().unwrap_or(0)),
    }
}

/// The QEMU command for a machine. Checks that the program exists, and makes the archive it needs.
pub fn command(images: &Images, config: &Config) -> Result<Command> {
    ensure!(config.ktest.is_none() || images.ktest, "an in-kernel test needs the kernel built with them");
    let (mut initramfs, mut init) = (images.initramfs.clone(), None);
    match &config.program {
        Program::Init => {}
        Program::Named(name) => {
            ensure!(
                images.programs.contains_key(name),
                "there is no program `{name}`; there are: {}",
                images.programs.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
            );
            init = Some(format!("/bin/{name}"));
        }
        Program::Host(path) => {
            let (archive, inside) = images.with_host_program(path)?;
            initramfs = archive;
            init = Some(format!("/{inside}"));
        }
    }
    let mut machine = format!("virt,gic-version={}", config.gic);
    match config.entry_el {
        1 => {}
        2 => machine.push_str(",virtualization=on"),
        _ => machine.push_str(",secure=on"),
    }
    let mut command = Command::new(&config.qemu);
    command.args(["-M", &machine, "-cpu", &config.cpu]);
    command.args(["-smp", &config.smp.to_string(), "-m", &format!("{}M", config.mem)]);
    command.args(["-nic", "none", "-display", "none", "-no-reboot"]);
    command.args(["-semihosting-config", "enable=on,target=native"]);
    let serial = match config.input {
        Input::Pty => "pty",
        _ if terminal(&config.input) => "mon:stdio",
        _ => "stdio",
    };
    command.args(["-serial", serial]);
    if let Some(shift) = config.icount {
        command.args(["-icount", &format!("shift={shift},sleep=off")]);
    }
    command.arg("-kernel").arg(&images.image);
    command.arg("-initrd").arg(config.initramfs.as_ref().unwrap_or(&initramfs));
    command.args(["-append", &boot_arguments(config, init.as_deref())]);
    command.args(&config.qemu_args);
    Ok(command)
}

/// The kernel's boot arguments ([`drivers::bootargs`]).
fn boot_arguments(config: &Config, init: Option<&str>) -> String {
    let mut line = "semihosting".to_string();
    if config.records {
        line.push_str(" records");
    }
    if let Some(level) = &config.log {
        let _ = write!(line, " loglevel={level}");
    }
    if let Some(test) = &config.ktest {
        let _ = write!(line, " ktest={}", word(test));
    }
    if !config.append.is_empty() {
        let _ = write!(line, " {}", config.append);
    }
    if let Some(path) = init {
        let _ = write!(line, " init={}", word(path));
    }
    if !config.args.is_empty() {
        line.push_str(" --");
        for argument in &config.args {
            let _ = write!(line, " {}", word(argument));
        }
    }
    line
}

/// A boot argument, quoted where it must be.
fn word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:,%@".contains(c)) {
        return text.into();
    }
    let mut quoted = String::new();
    let _ = push_word(&mut quoted, text);
    quoted.trim_start().into()
}

/// Whether a person's terminal becomes the machine's.
fn terminal(input: &Input) -> bool {
    *input == Input::Stdin && io::stdin().is_terminal()
}

/// What QEMU's two outputs bring.
enum Said {
    Console(Vec<u8>),
    Error(Vec<u8>),
}

/// A QEMU that runs; ended when dropped.
struct Running {
    child: Child,
    /// As in [`Started`].
    target: Pid,
    said: mpsc::Receiver<Said>,
    stdin: Option<ChildStdin>,
    relay_stdin: bool,
    dialogue: VecDeque<(String, String)>,
    /// What the console has shown since the last answer.
    shown: Vec<u8>,
}

/// Whom to end when this process is told to end.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn running() -> std::sync::MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Set while the terminal's Ctrl-C is gdb's to act on.
static INTERRUPTS_ARE_GDBS: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C stops the machine, as gdb does it, and ends nothing.
pub fn leave_interrupts_to_gdb() {
    INTERRUPTS_ARE_GDBS.store(true, Ordering::Relaxed);
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
                std::process::exit(128 + signal);
            }
        });
    });
}

impl Running {
    fn start(mut command: Command, input: &Input) -> Result<Running> {
        end_machines_with_us();
        let terminal = terminal(input);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(match input {
            Input::Nothing | Input::Pty => Stdio::null(),
            Input::Stdin if terminal => Stdio::inherit(),
            Input::Stdin | Input::Dialogue(_) => Stdio::piped(),
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
        let relay_stdin = *input == Input::Stdin && stdin.is_some();
        Ok(Running { child, target, said, stdin, relay_stdin, dialogue, shown: Vec::new() })
    }

    /// What QEMU says next, within `limit`; disconnected when it has said all.
    fn next(&self, limit: Option<Duration>) -> Result<Said, RecvTimeoutError> {
        match limit {
            Some(limit) => self.said.recv_timeout(limit),
            None => self.said.recv().map_err(RecvTimeoutError::from),
        }
    }

    /// Sends what is due now that the console shows `bytes`. A machine that is gone takes nothing, which is no error.
    fn answer(&mut self, bytes: &[u8]) {
        if self.relay_stdin {
            // Not before the machine has spoken: setting up the UART empties its FIFO.
            self.relay_stdin = false;
            if let Some(mut stdin) = self.stdin.take() {
                thread::spawn(move || {
                    let _ = io::copy(&mut io::stdin(), &mut stdin);
                    // End of transmission, as a terminal says it.
                    let _ = stdin.write_all(b"\x04");
                });
            }
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

    fn signal(&self, signal: Signal) {
        let _ = kill(self.target, signal);
    }

    fn wait(mut self) -> Result<ExitStatus> {
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
