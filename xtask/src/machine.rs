//! One machine: QEMU's command line, and a run to its end.

use crate::console::{Filter, Piece};
use crate::images::Images;
pub use crate::process::{Input, Started};
use crate::process::{Running, Said, terminal};
use crate::symbols::Names;
use anyhow::{Context, Result, bail, ensure};
use drivers::bootargs::push_word;
use nix::sys::signal::Signal;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// The program that is QEMU when nothing else is said.
pub const QEMU: &str = "qemu-system-aarch64";

/// The exit code when the machine did not end in its time.
pub const TIMED_OUT: u8 = 124;

/// How long QEMU may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(2);

/// How long the beginning of a token may stay off the screen when a person may be waiting for it.
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
    /// The exception level the kernel is entered at: 1, 2 or 3. At 3 it gets neither boot arguments nor the archive.
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
    /// Whether the kernel is traced, and where to.
    pub tracing: Option<Tracing>,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// More arguments for QEMU.
    pub qemu_args: Vec<OsString>,
}

/// How a kernel is traced.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// The file that is the machine's memory: as large, and zeroes.
    pub memory: PathBuf,
    /// MiB of it for each CPU's ring.
    pub ring: u32,
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
            tracing: None,
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
    /// Text on its console, with its tokens in words.
    Console(&'a [u8]),
    /// A record, as the JSON it is; in that of a guest, `guest` is the guest's name, whatever the guest says.
    Record(&'a [u8]),
    /// What QEMU itself says.
    Qemu(&'a [u8]),
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
    keep(|on| watch(images, config, on))
}

/// Keeps what a machine says that `watch` runs to its end.
pub(crate) fn keep(
    watch: impl FnOnce(&mut dyn FnMut(Event<'_>) -> Result<()>) -> Result<(u8, bool)>,
) -> Result<Outcome> {
    let (mut console, mut records) = (Vec::new(), Vec::new());
    let (code, timed_out) = watch(&mut |event| {
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
pub fn watch(images: &Images, config: &Config, on: impl FnMut(Event<'_>) -> Result<()>) -> Result<(u8, bool)> {
    watch_command(command(images, config)?, &config.input, config.timeout, config.program.names(images), on)
}

/// The same for a QEMU command, with names for what its console speaks of.
pub fn watch_command(
    command: Command,
    input: &Input,
    timeout: Option<Duration>,
    mut names: Names,
    mut on: impl FnMut(Event<'_>) -> Result<()>,
) -> Result<(u8, bool)> {
    let mut qemu = Running::start(command, input)?;
    on(Event::Started(qemu.started()))?;
    let mut filter = Filter::new(names.guests(), |guest, token| names.describe(guest, token));
    let mut deadline = timeout.map(|limit| Instant::now() + limit);
    let mut ending = [Signal::SIGTERM, Signal::SIGKILL].into_iter();
    let (mut timed_out, mut silent, mut complaint) = (false, true, Vec::new());
    loop {
        let prompt = filter.holds_text() && *input != Input::Nothing;
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
                    Piece::Record { guest: None, json } => on(Event::Record(json)),
                    Piece::Record { guest: Some(guest), json } => match stamped(guest, json) {
                        Some(json) => on(Event::Record(&json)),
                        None => on(Event::Console(&[guest.as_bytes(), b"| ", json, b"\n"].concat())),
                    },
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

/// A guest's record with the guest's name in it; none when it is no record.
fn stamped(guest: &str, json: &[u8]) -> Option<Vec<u8>> {
    let mut record: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json).ok()?;
    record.insert("guest".into(), guest.into());
    serde_json::to_vec(&record).ok()
}

/// The QEMU command for a machine. Checks that the program exists, and makes the archive it needs.
pub fn command(images: &Images, config: &Config) -> Result<Command> {
    ensure!(config.ktest.is_none() || images.ktest, "an in-kernel test needs the kernel built with them");
    let (archive, init) = config.program.find(images)?;
    let mut command = hardware(config)?;
    command.args(["-semihosting-config", "enable=on,target=native"]);
    if config.entry_el == 3 {
        boot_at_el3(&mut command, images.image.to_str().context("the checkout's path is not UTF-8")?);
    } else {
        command.arg("-kernel").arg(&images.image);
        command.arg("-initrd").arg(config.initramfs.as_ref().unwrap_or(&archive));
        command.args(["-append", &boot_arguments(config, init.as_deref())]);
    }
    command.args(&config.qemu_args);
    Ok(command)
}

impl Program {
    /// The archive that has it, and where it is in that; nowhere where the kernel knows by itself. Checks that it exists.
    pub(crate) fn find(&self, images: &Images) -> Result<(PathBuf, Option<String>)> {
        match self {
            Program::Init => Ok((images.initramfs.clone(), None)),
            Program::Named(name) => {
                ensure!(
                    images.programs.contains_key(name),
                    "there is no program `{name}`; there are: {}",
                    images.programs.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
                );
                Ok((images.initramfs.clone(), Some(format!("/bin/{name}"))))
            }
            Program::Host(path) => {
                let (archive, inside) = images.with_host_program(path)?;
                Ok((archive, Some(format!("/{inside}"))))
            }
        }
    }

    /// Names for what a machine that runs it speaks of.
    pub(crate) fn names(&self, images: &Images) -> Names {
        let host = match self {
            Program::Host(path) => Some(path.as_path()),
            Program::Init | Program::Named(_) => None,
        };
        Names::new(images, host)
    }
}

/// The QEMU command for a machine that has nothing to boot yet.
pub(crate) fn hardware(config: &Config) -> Result<Command> {
    let mut machine = format!("virt,gic-version={}", config.gic);
    match config.entry_el {
        1 => {}
        2 => machine.push_str(",virtualization=on"),
        _ => machine.push_str(",secure=on"),
    }
    let mut command = Command::new(&config.qemu);
    if let Some(Tracing { memory, .. }) = &config.tracing {
        machine.push_str(",memory-backend=ram");
        let path = option_value(memory.to_str().context("the memory file's path is not UTF-8")?);
        let backend = format!("memory-backend-file,id=ram,size={}M,mem-path={path},share=on", config.mem);
        command.args(["-object", &backend]);
    }
    command.args(["-M", &machine, "-cpu", &config.cpu]);
    command.args(["-smp", &config.smp.to_string(), "-m", &format!("{}M", config.mem)]);
    command.args(["-nic", "none", "-display", "none", "-no-reboot"]);
    let serial = match config.input {
        Input::Pty => "pty",
        _ if terminal(&config.input) => "mon:stdio",
        _ => "stdio",
    };
    command.args(["-serial", serial]);
    if let Some(shift) = config.icount {
        command.args(["-icount", &format!("shift={shift},sleep=off")]);
    }
    Ok(command)
}

/// Plays a firmware that leaves the CPU at EL3, as QEMU's own way to boot a kernel never does: the image 2 MiB into memory,
/// the device tree, which QEMU then puts at its beginning, in x0; no boot arguments and no archive.
fn boot_at_el3(command: &mut Command, image: &str) {
    let firmware = [
        // movz x0, #0x4000, lsl #16; movz x1, #0x4020, lsl #16
        "loader,addr=0x40100000,data=0xd2a80401d2a80000,data-len=8",
        // br x1
        "loader,addr=0x40100008,data=0xd61f0020,data-len=4",
        "loader,addr=0x40100000,cpu-num=0",
    ];
    let kernel = format!("loader,file={},addr=0x40200000,force-raw=on", option_value(image));
    for device in [&*kernel].into_iter().chain(firmware) {
        command.args(["-device", device]);
    }
}

/// A file's name within an option of QEMU's, where a comma is doubled.
pub(crate) fn option_value(path: &str) -> String {
    path.replace(',', ",,")
}

/// The kernel's boot arguments ([`drivers::bootargs`]).
fn boot_arguments(config: &Config, init: Option<&str>) -> String {
    let mut line = "semihosting".to_string();
    if config.records {
        line.push_str(" records");
    }
    if let Some(Tracing { ring, .. }) = &config.tracing {
        let _ = write!(line, " trace={ring}");
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
    push_arguments(&mut line, &config.args);
    line
}

/// Appends the arguments of the first program to boot arguments.
pub(crate) fn push_arguments(line: &mut String, args: &[String]) {
    if !args.is_empty() {
        line.push_str(" --");
        for argument in args {
            let _ = write!(line, " {}", word(argument));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn images(folder: &Path) -> Images {
        Images {
            root: folder.into(),
            ktest: false,
            elf: folder.join("kernel"),
            image: folder.join("my Image"),
            programs: [("hello".to_string(), folder.join("hello"))].into(),
            initramfs: folder.join("initramfs.tar"),
        }
    }

    fn hello() -> Config {
        Config { program: Program::Named("hello".into()), ..Config::default() }
    }

    /// The words of the command line for a machine.
    fn line(config: &Config) -> Vec<String> {
        let command = command(&images(Path::new("/images")), config).unwrap();
        command.get_args().map(|word| word.to_str().unwrap().to_string()).collect()
    }

    /// The word behind `option`.
    fn value<'a>(line: &'a [String], option: &str) -> Option<&'a str> {
        line.iter().skip_while(|word| *word != option).nth(1).map(String::as_str)
    }

    #[test]
    fn a_machine_as_a_command_line() {
        let small = Config { gic: 2, cpu: "max".into(), mem: 64, entry_el: 2, icount: Some(4), ..hello() };
        let small = line(&Config { initramfs: Some("bad.tar".into()), ..small });
        assert_eq!(value(&small, "-M"), Some("virt,gic-version=2,virtualization=on"));
        assert_eq!((value(&small, "-cpu"), value(&small, "-m")), (Some("max"), Some("64M")));
        assert_eq!(value(&small, "-icount"), Some("shift=4,sleep=off"));
        assert_eq!(value(&small, "-kernel"), Some("/images/my Image"));
        assert_eq!(value(&small, "-initrd"), Some("bad.tar"));
        let plain = line(&hello());
        assert_eq!((value(&plain, "-icount"), value(&plain, "-initrd")), (None, Some("/images/initramfs.tar")));
        let other = Config { entry_el: 3, qemu_args: vec!["-S".into()], ..hello() };
        let other = line(&other);
        assert_eq!(value(&other, "-M"), Some("virt,gic-version=3,secure=on"));
        assert_eq!((value(&other, "-kernel"), value(&other, "-append")), (None, None));
        assert_eq!(value(&other, "-device"), Some("loader,file=/images/my Image,addr=0x40200000,force-raw=on"));
        assert_eq!(other.last().unwrap(), "-S");
        let tracing = Some(Tracing { memory: "/a,b".into(), ring: 8 });
        let traced = line(&Config { tracing, mem: 64, ..hello() });
        assert_eq!(value(&traced, "-M"), Some("virt,gic-version=3,memory-backend=ram"));
        let backend = "memory-backend-file,id=ram,size=64M,mem-path=/a,,b,share=on";
        assert_eq!(value(&traced, "-object"), Some(backend));
        assert_eq!(value(&traced, "-append"), Some("semihosting records trace=8 init=/bin/hello"));
    }

    #[test]
    fn boot_arguments_come_back_as_words() {
        let args = ["null", "a b", "", "it's \"x\" \\"].map(String::from).to_vec();
        let config = Config { log: Some("debug".into()), append: "tick=1000".into(), args: args.clone(), ..hello() };
        let line = line(&config);
        let line = value(&line, "-append").unwrap();
        let words: Vec<String> = drivers::bootargs::words(line).map(|word| word.chars().collect()).collect();
        let kernel = ["semihosting", "records", "loglevel=debug", "tick=1000", "init=/bin/hello", "--"];
        assert_eq!(words[..6], kernel);
        assert_eq!(words[6..], args);
        let path = boot_arguments(&Config::default(), Some("/exec/a b"));
        let init = drivers::bootargs::words(&path).find_map(|word| word.value_of("init")).unwrap();
        assert_eq!(init.chars().collect::<String>(), "/exec/a b");
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let images = images(Path::new("/images"));
        let refusal = |config| command(&images, &config).unwrap_err().to_string();
        let missing = refusal(Config { program: Program::Named("helo".into()), ..Config::default() });
        assert_eq!(missing, "there is no program `helo`; there are: hello");
        assert!(refusal(Config { ktest: Some("overflow".into()), ..hello() }).contains("in-kernel test"));
        let host = Config { program: Program::Host("/no/such/file".into()), ..Config::default() };
        assert!(refusal(host).contains("/no/such/file cannot be read"));
    }

    #[test]
    fn a_guest_cannot_write_anothers_record() {
        let record = stamped("left", br#"{"kind":"counters","guest":"right"}"#).unwrap();
        assert_eq!(String::from_utf8(record).unwrap(), r#"{"guest":"left","kind":"counters"}"#);
        for none in ["", "1", "[]", "{", "{}{}", "\u{1e}{}"] {
            assert_eq!(stamped("left", none.as_bytes()), None, "{none}");
        }
    }

    /// One test, because a script cannot be started while another thread that starts one has inherited it open.
    #[test]
    fn how_machines_end() {
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path());
        let run = |script: &str, config: Config| {
            let qemu = folder.path().join("fake qemu");
            fs::write(&qemu, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
            run(&images, &Config { qemu: qemu.into(), ..config })
        };

        let outcome = run(r#"printf 'one\036{"a":1}\n two'; exit 139"#, hello()).unwrap();
        assert_eq!((outcome.code, outcome.timed_out, &*outcome.console), (139, false, "one two"));
        assert_eq!(outcome.records, [serde_json::json!({ "a": 1 })]);

        // The whole script ends, with what it started and what ignores a polite end.
        let short = Config { timeout: Some(Duration::from_millis(300)), ..hello() };
        let before = Instant::now();
        let outcome = run("trap '' TERM; echo up; sleep 100 & sleep 100; sleep 100", short.clone()).unwrap();
        assert_eq!((outcome.code, outcome.timed_out, &*outcome.console), (TIMED_OUT, true, "up\n"));
        assert!(before.elapsed() < GRACE * 3);

        let error = |script| run(script, hello()).unwrap_err().to_string();
        assert_eq!(error("echo 'no such CPU' >&2; exit 1"), "QEMU did not start: no such CPU");
        assert_eq!(error("kill -9 $$"), "QEMU was ended by signal 9");
        assert!(error(r"printf '\036{half\n'").contains("not JSON: {half"));
        assert_eq!(run("echo 'exit 1' is no error", hello()).unwrap().code, 0);
        assert_eq!(run("exit 1", hello()).unwrap().code, 1, "a silent program's own code");

        let exchanges = [("$ ", "first\n"), ("$ ", "second\n")].map(|(cue, answer)| (cue.into(), answer.into()));
        let talk = Config { input: Input::Dialogue(exchanges.to_vec()), ..hello() };
        let outcome = run("printf '$ '; read a; printf '$ '; read b; echo $a-$b; exit 5", talk).unwrap();
        assert_eq!((outcome.code, &*outcome.console), (5, "$ $ first-second\n"));

        let failing =
            watch(&images, &Config { qemu: folder.path().join("fake qemu").into(), ..hello() }, |_| bail!("no"));
        assert_eq!(failing.unwrap_err().to_string(), "no");
        assert!(crate::process::running().is_empty());
    }
}
