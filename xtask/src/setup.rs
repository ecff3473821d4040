//! What the project needs on this machine: found out, and brought where it is missing.

use crate::linux::Linux;
use crate::machine;
use crate::tool::{Version, run, version_of};
use crate::toolchain::{self, Compiler, TARGET};
use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fmt, fs};

/// Something that must be on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The toolchain that builds the host's side.
    Rust,
    /// A compiler for the Arm target.
    Target,
    /// Clippy for the Arm target.
    Clippy,
    /// QEMU.
    Qemu,
    /// A gdb that knows AArch64 and Python.
    Gdb,
    /// A C compiler and static library for AArch64 Linux, whose programs the tests run too.
    C,
    /// A browser, in which the tests open the page of a trace.
    Browser,
    /// A Linux that the hypervisor runs as a guest.
    Linux,
}

/// Whether the machine has it; the text says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Found(String),
    /// It is there and too old.
    TooOld(String),
    /// It is not there.
    Missing,
}

/// The oldest compiler that will do.
const RUST: Version = Version(1, 95, 0);

/// The oldest QEMU that will do.
const QEMU: Version = Version(7, 2, 0);

/// The C compiler for AArch64 Linux.
pub const C_COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Names Chromium goes by, and Chrome, which does as well.
const BROWSERS: [&str; 6] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// Names a gdb for AArch64 goes by.
const GDBS: [&str; 4] = ["gdb-multiarch", "aarch64-elf-gdb", "aarch64-linux-gnu-gdb", "gdb"];

impl Need {
    const ALL: [Need; 8] =
        [Need::Rust, Need::Target, Need::Clippy, Need::Qemu, Need::Gdb, Need::C, Need::Browser, Need::Linux];

    /// All that this machine can have: what only tests need where it is there or a package brings it; elsewhere they go
    /// without.
    pub fn all(root: &Path) -> Vec<Need> {
        let possible = |need: &Need| match need {
            Need::C => has_c() || need.plan().is_some(),
            Need::Browser => browser().is_some() || need.plan().is_some(),
            // Ubuntu's packages for arm64 are not where those for other computers are.
            Need::Linux => Linux::new(root).is_there() || Manager::find() == Some(Manager::Apt) && !is_ubuntu(),
            _ => true,
        };
        Self::ALL.into_iter().filter(possible).collect()
    }

    /// What the tests need, of those.
    pub fn tests(root: &Path) -> Vec<Need> {
        Self::all(root)
            .into_iter()
            .filter(|need| matches!(need, Need::Target | Need::Qemu | Need::C | Need::Browser | Need::Linux))
            .collect()
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Need::Rust => "Rust",
            Need::Target => "Arm target",
            Need::Clippy => "clippy for Arm",
            Need::Qemu => "QEMU",
            Need::Gdb => "gdb for AArch64",
            Need::C => "C for AArch64 Linux",
            Need::Browser => "Chromium",
            Need::Linux => "Linux for AArch64",
        }
    }

    /// What suffices, in words.
    pub fn needed(self) -> String {
        match self {
            Need::Rust | Need::Target => format!("{RUST} or later"),
            Need::Qemu => format!("{QEMU} or later"),
            Need::Clippy => "any".into(),
            Need::Gdb => "with Python".into(),
            Need::C => "with a static libc".into(),
            Need::Browser => "or Chrome".into(),
            Need::Linux => "kernel and busybox".into(),
        }
    }

    /// The one command that needs it, where not all do.
    pub fn only_for(self) -> Option<&'static str> {
        match self {
            Need::Clippy => Some("cargo xtask check"),
            Need::Gdb => Some("cargo xtask gdb"),
            Need::C => Some("one case of cargo xtask test"),
            Need::Browser => Some("cargo xtask test trace.page"),
            Need::Linux => Some("cargo xtask hyp --guest linux"),
            Need::Rust | Need::Target | Need::Qemu => None,
        }
    }

    /// Whether this machine has it. Takes some ten milliseconds; for gdb, some hundred.
    pub fn probe(self, root: &Path) -> Result<State> {
        Ok(match self {
            Need::Rust => State::of(toolchain::host_version(root)?, RUST),
            Need::Target => match Compiler::find(root)? {
                Some(compiler) => State::of(compiler.version(root)?, RUST),
                None => State::Missing,
            },
            Need::Clippy => match Compiler::find(root)? {
                Some(compiler) if compiler.has_clippy() => State::Found(compiler.version(root)?.to_string()),
                _ => State::Missing,
            },
            Need::Qemu => qemu_state(&machine::Config::default().qemu)?,
            Need::Gdb => match gdb() {
                Some(gdb) => State::Found(version_of(&mut Command::new(gdb))?.to_string()),
                None => State::Missing,
            },
            Need::C if has_c() => State::Found(version_of(&mut Command::new(C_COMPILER))?.to_string()),
            Need::C => State::Missing,
            Need::Linux if Linux::new(root).is_there() => State::Found("there".into()),
            Need::Linux => State::Missing,
            Need::Browser => match browser() {
                Some(browser) => State::Found(version_of(&mut Command::new(browser))?.to_string()),
                None => State::Missing,
            },
        })
    }

    /// The packages that bring it.
    fn packages(self, manager: Manager) -> &'static [&'static str] {
        use Manager::*;
        match (self, manager) {
            (Need::Target, Apt) => &["rustc-web", "rust-web-src"],
            (Need::Clippy, Apt) => &["rust-web-clippy"],
            (Need::Qemu, Apt) => &["qemu-system-arm"],
            (Need::Qemu, Dnf | Pacman) => &["qemu-system-aarch64"],
            (Need::Qemu, Brew) => &["qemu"],
            (Need::Gdb, Apt) => &["gdb-multiarch"],
            (Need::Gdb, Dnf) => &["gdb"],
            (Need::Gdb, Pacman) => &["aarch64-linux-gnu-gdb"],
            (Need::Gdb, Brew) => &["aarch64-elf-gdb"],
            (Need::C, Apt) => &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            (Need::C, Pacman) => &["aarch64-linux-gnu-gcc"],
            // Their compilers for this target come without a C library.
            (Need::C, Dnf | Brew) => &[],
            // Ubuntu's package of it is a snap, which sees neither every file nor every machine.
            (Need::Browser, Apt) if is_ubuntu() => &[],
            (Need::Browser, Apt | Dnf | Pacman) => &["chromium"],
            // An application, which is found where those are; Chromium's own does not start on its own there.
            (Need::Browser, Brew) => &["google-chrome"],
            (Need::Rust | Need::Target | Need::Clippy | Need::Linux, _) => &[],
        }
    }

    /// The commands that bring it, where a package does.
    fn plan(self) -> Option<Plan> {
        let manager = Manager::find()?;
        let packages = self.packages(manager);
        (!packages.is_empty()).then(|| manager.plan(packages, Rights::find()))
    }

    /// What a person does about it.
    pub fn cure(self) -> String {
        let packages = self.plan().map_or("install it with your system's packages".into(), |plan| plan.to_string());
        match self {
            Need::Rust => "rustup update; without rustup, see https://rustup.rs".into(),
            Need::Target => format!("rustup target add {TARGET}"),
            Need::Qemu => format!("{packages}; or name a newer one in the variable QEMU"),
            Need::Browser => format!("{packages}; or name one in the variable CHROMIUM"),
            Need::Linux => "cargo xtask setup".into(),
            Need::Clippy | Need::Gdb | Need::C => packages,
        }
    }

    fn bring(self, root: &Path) -> Result<()> {
        if self == Need::Target {
            match toolchain::add_target(root) {
                Ok(()) => return Ok(()),
                Err(error) => eprintln!("xtask: {error:#}; trying the compiler in the system's packages"),
            }
        }
        if self == Need::Linux {
            return Linux::new(root).bring();
        }
        let plan = self.plan();
        plan.with_context(|| format!("no package of this system is known to bring it; {}", self.cure()))?.run()
    }
}

/// Brings what is missing of `needs`, saying so on standard error.
pub fn ensure(root: &Path, needs: &[Need]) -> Result<()> {
    for &need in needs {
        let name = need.name();
        match need.probe(root)? {
            State::Found(_) => continue,
            State::TooOld(found) => bail!("{name} {found} is too old, {} is needed; {}", need.needed(), need.cure()),
            State::Missing => eprintln!("xtask: {name} is missing; bringing it"),
        }
        need.bring(root).with_context(|| format!("{name} is missing"))?;
        if need.probe(root)? == State::Missing {
            bail!("{name} is still missing after that; {}", need.cure());
        }
    }
    Ok(())
}

/// Brings QEMU where it is missing; one that a person named must be there.
pub fn ensure_qemu(root: &Path, qemu: &OsStr) -> Result<()> {
    if qemu == machine::QEMU {
        return ensure(root, &[Need::Qemu]);
    }
    match qemu_state(qemu)? {
        State::Found(_) => Ok(()),
        State::TooOld(found) => bail!("{} is QEMU {found}; {} is needed", qemu.display(), Need::Qemu.needed()),
        State::Missing => {
            bail!("there is no QEMU at {}; without --qemu and the variable QEMU the system's is taken", qemu.display())
        }
    }
}

impl State {
    fn of(found: Version, needed: Version) -> State {
        if found < needed { State::TooOld(found.to_string()) } else { State::Found(found.to_string()) }
    }
}

fn qemu_state(qemu: &OsStr) -> Result<State> {
    if which::which(qemu).is_err() {
        return Ok(State::Missing);
    }
    Ok(State::of(version_of(&mut Command::new(qemu))?, QEMU))
}

/// Whether there is a C compiler for AArch64 Linux with a library to link statically.
pub fn has_c() -> bool {
    // Told a library that it does not find, gcc gives the bare name back.
    let library = Command::new(C_COMPILER).arg("-print-file-name=libc.a").stderr(Stdio::null()).output();
    library.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_absolute())
}

/// The browser to use, if there is one; one that a person names in the variable CHROMIUM, or none.
fn browser() -> Option<PathBuf> {
    match env::var_os("CHROMIUM") {
        Some(named) => which::which(named).ok(),
        None => BROWSERS.iter().find_map(|name| which::which(name).ok()),
    }
}

/// The Chromium, or Chrome, for tests of pages; the error says how to get one.
pub fn chromium() -> Result<PathBuf> {
    browser().with_context(|| format!("there is no {}; {}", Need::Browser.name(), Need::Browser.cure()))
}

/// Whether this is Ubuntu.
fn is_ubuntu() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"))
}

/// The gdb to use, if there is one.
pub fn gdb() -> Option<PathBuf> {
    GDBS.iter().filter_map(|name| which::which(name).ok()).find(|gdb| {
        let mut probe = Command::new(gdb);
        // Its exit status is that of the last command: one must tell of both, Python and the architecture.
        probe.args(["-nx", "-batch", "-ex", "python gdb.execute('set architecture aarch64')"]);
        probe
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// A system's package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Pacman,
    Brew,
}

/// How this process may act as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    /// It is root.
    Root,
    /// By sudo, which asks or need not.
    Sudo,
    /// Not at all.
    None,
}

/// Commands to run one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    commands: Vec<Vec<&'static str>>,
    /// Whether this process may run them.
    allowed: bool,
}

impl Manager {
    fn find() -> Option<Manager> {
        let managers =
            [("apt-get", Manager::Apt), ("dnf", Manager::Dnf), ("pacman", Manager::Pacman), ("brew", Manager::Brew)];
        managers.into_iter().find(|(program, _)| which::which(program).is_ok()).map(|(_, manager)| manager)
    }

    fn plan(self, packages: &[&'static str], rights: Rights) -> Plan {
        let commands: &[&[&str]] = match self {
            Manager::Apt => &[&["apt-get", "update"], &["apt-get", "install", "--yes", "--no-install-recommends"]],
            Manager::Dnf => &[&["dnf", "install", "--assumeyes"]],
            Manager::Pacman => &[&["pacman", "-Sy", "--needed", "--noconfirm"]],
            Manager::Brew => &[&["brew", "install"]],
        };
        let sudo = (self != Manager::Brew && rights != Rights::Root).then_some("sudo");
        let mut commands: Vec<Vec<_>> =
            commands.iter().map(|words| sudo.into_iter().chain(words.iter().copied()).collect()).collect();
        if let Some(last) = commands.last_mut() {
            last.extend(packages);
        }
        Plan { commands, allowed: self == Manager::Brew || rights != Rights::None }
    }
}

impl Rights {
    fn find() -> Rights {
        if geteuid().is_root() {
            return Rights::Root;
        }
        let silent = || Command::new("sudo").args(["-n", "true"]).stderr(Stdio::null()).status();
        let able = which::which("sudo").is_ok() && (io::stdin().is_terminal() || silent().is_ok_and(|s| s.success()));
        if able { Rights::Sudo } else { Rights::None }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>().join(" && "))
    }
}

impl Plan {
    fn run(&self) -> Result<()> {
        if !self.allowed {
            bail!("to install it takes root, which cannot be had from here; type\n    {self}");
        }
        for (number, words) in self.commands.iter().enumerate() {
            let mut command = Command::new(words[0]);
            // No questions from packages that configure themselves.
            let result = run(command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive"));
            match result {
                // One list of packages that cannot be had now need not be the one that matters.
                Err(error) if number + 1 < self.commands.len() => eprintln!("xtask: {error:#}; going on"),
                other => other?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_tools_tell_them() {
        let parse = Version::parse;
        assert_eq!(parse("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)"), Some(Version(7, 2, 22)));
        assert_eq!(parse("GNU gdb (Debian 13.1-3) 13.1"), Some(Version(13, 1, 0)));
        assert_eq!(parse("rustc 1.95.0 (59807616e 2026-04-14)"), Some(Version(1, 95, 0)));
        assert_eq!(parse("QEMU emulator version 10.0.2"), Some(Version(10, 0, 2)));
        assert_eq!(parse("no such tool"), None);
        assert!(Version(10, 0, 0) > QEMU && Version(6, 2, 9) < QEMU);
        assert_eq!(State::of(Version(6, 2, 0), QEMU), State::TooOld("6.2.0".into()));
    }

    #[test]
    fn root_rights_are_asked_for_where_they_are_needed() {
        let line = |manager: Manager, rights| {
            let plan = manager.plan(&["gdb"], rights);
            (plan.to_string(), plan.allowed)
        };
        let install = "apt-get install --yes --no-install-recommends gdb";
        assert_eq!(line(Manager::Apt, Rights::Root), (format!("apt-get update && {install}"), true));
        let sudo = format!("sudo apt-get update && sudo {install}");
        assert_eq!(line(Manager::Apt, Rights::Sudo), (sudo.clone(), true));
        assert_eq!(line(Manager::Apt, Rights::None), (sudo, false));
        assert_eq!(line(Manager::Brew, Rights::None), ("brew install gdb".into(), true));
        assert_eq!(line(Manager::Dnf, Rights::Sudo).0, "sudo dnf install --assumeyes gdb");
        assert_eq!(line(Manager::Pacman, Rights::Root).0, "pacman -Sy --needed --noconfirm gdb");
    }

    #[test]
    fn every_manager_has_qemu_and_gdb() {
        for manager in [Manager::Apt, Manager::Dnf, Manager::Pacman, Manager::Brew] {
            assert!(!Need::Qemu.packages(manager).is_empty() && !Need::Gdb.packages(manager).is_empty());
        }
    }
}
