//! Other people's tools: their versions, and running them.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fmt, io};

/// A version, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// The first version in a text like `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
    pub fn parse(text: &str) -> Option<Version> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
            let mut parts = word.split('.').map(str::parse);
            let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else { return None };
            Some(Version(major, minor, parts.next().and_then(Result::ok).unwrap_or(0)))
        })
    }
}

/// The version a tool tells when asked with `--version`.
pub fn version_of(tool: &mut Command) -> Result<Version> {
    let name = tool.get_program().to_os_string();
    let output = tool.arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{} cannot be started", name.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Version::parse(&text).with_context(|| format!("{} does not tell its version", name.display()))
}

/// Runs a command, saying so; whatever it prints goes to standard error.
pub fn run(command: &mut Command) -> Result<()> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words: Vec<_> = std::iter::once(program).chain(command.get_args()).collect();
    let line = words.join(OsStr::new(" ")).display().to_string();
    eprintln!("xtask: running `{line}`");
    let stderr = io::stderr().as_fd().try_clone_to_owned().context("standard error is closed")?;
    let status = command.stdout(stderr).status().with_context(|| format!("`{line}` cannot be started"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}
