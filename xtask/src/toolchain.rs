//! The compiler for the Arm target: the pinned toolchain with the target added, or, where the target cannot be
//! downloaded, Debian's own compiler with the source of `core`.

use crate::tool::{self, Version};
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the kernel and the programs are built for.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// Where Debian's packages put their files.
const DEBIAN: &str = "/usr";

/// Who compiles for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// The toolchain that also builds the host's side, with the target added.
    Pinned,
    /// Debian's packages `rustc-web` and `rust-web-src`.
    Debian {
        /// The folder with Debian's `rustc`, `rustdoc` and, perhaps, `clippy-driver`.
        bin: PathBuf,
        /// The linker, which is the pinned toolchain's.
        linker: PathBuf,
    },
}

impl Compiler {
    /// The compiler that this machine has, if any.
    pub fn find(root: &Path) -> Result<Option<Compiler>> {
        Ok(Self::find_in(&sysroot(root)?, Path::new(DEBIAN)))
    }

    /// The compiler among a toolchain and Debian's packages below `debian`.
    fn find_in(sysroot: &Path, debian: &Path) -> Option<Compiler> {
        let rustlib = sysroot.join("lib/rustlib");
        if entries(&rustlib.join(TARGET).join("lib")).any(|path| path.extension() == Some(OsStr::new("rlib"))) {
            return Some(Compiler::Pinned);
        }
        let bin = debian.join("bin");
        let source = debian.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists();
        let linker = entries(&rustlib).map(|host| host.join("bin/rust-lld")).find(|path| path.exists())?;
        (source && bin.join("rustc").exists()).then_some(Compiler::Debian { bin, linker })
    }

    /// Its version.
    pub fn version(&self, root: &Path) -> Result<Version> {
        match self {
            Compiler::Pinned => rustc_version(Path::new("rustc"), root),
            Compiler::Debian { bin, .. } => rustc_version(&bin.join("rustc"), root),
        }
    }

    /// `cargo VERB` for the target, optimised.
    pub fn cargo(&self, root: &Path, verb: &str) -> Command {
        let mut command = crate::workspace::cargo(root);
        command.args([verb, "--release", "--target", TARGET]);
        // These would replace the target's own flags in .cargo/config.toml.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Compiler::Debian { bin, linker } = self {
            command.args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=compiler-builtins-mem"]);
            command.env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc")).env("RUSTC_BOOTSTRAP", "1");
            // What it says about the source of `core` is not ours to mend.
            command.env("CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY", "never");
            command.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", linker);
        }
        command
    }

    /// `cargo clippy ARGS` for the target, with warnings denied.
    pub fn clippy(&self, root: &Path, args: &[&str]) -> Command {
        match self {
            Compiler::Pinned => {
                let mut command = self.cargo(root, "clippy");
                command.args(args).args(["--", "-Dwarnings"]);
                command
            }
            // What `cargo clippy` does, by hand: it would find the pinned toolchain's driver.
            Compiler::Debian { bin, .. } => {
                let mut command = self.cargo(root, "check");
                command.args(args).env("RUSTC_WORKSPACE_WRAPPER", bin.join("clippy-driver"));
                command.env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
                command
            }
        }
    }

    /// Whether it has clippy.
    pub fn has_clippy(&self) -> bool {
        match self {
            // rust-toolchain.toml asks for it.
            Compiler::Pinned => true,
            Compiler::Debian { bin, .. } => bin.join("clippy-driver").exists(),
        }
    }
}

/// Adds the target to the pinned toolchain; rustup says what it does on standard error.
pub fn add_target(root: &Path) -> Result<()> {
    let mut rustup = Command::new("rustup");
    tool::run(rustup.args(["target", "add", TARGET]).current_dir(root))
}

/// The folder of the toolchain that builds the host's side.
fn sysroot(root: &Path) -> Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).current_dir(root).output();
    let output = output.context("rustc cannot be started; install Rust by the steps at https://rustup.rs")?;
    Ok(String::from_utf8(output.stdout).context("the toolchain lies in a folder without a UTF-8 name")?.trim().into())
}

/// The version of the toolchain that builds the host's side.
pub fn host_version(root: &Path) -> Result<Version> {
    rustc_version(Path::new("rustc"), root)
}

fn rustc_version(rustc: &Path, root: &Path) -> Result<Version> {
    tool::version_of(Command::new(rustc).current_dir(root))
        .with_context(|| format!("{} does not tell its version", rustc.display()))
}

/// What lies in a folder; nothing in one that is not there.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_looked_for_in_both_places() {
        let machine = tempfile::tempdir().unwrap();
        let touch = |path: &str| {
            let path = machine.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let (sysroot, debian) = (machine.path().join("my toolchain"), machine.path().join("usr"));
        let find = || Compiler::find_in(&sysroot, &debian);
        assert_eq!(find(), None);
        touch("usr/bin/rustc");
        touch("my toolchain/lib/rustlib/host/bin/rust-lld");
        assert_eq!(find(), None, "without the source of core");
        touch("usr/lib/rustlib/src/rust/library/core/Cargo.toml");
        let linker = sysroot.join("lib/rustlib/host/bin/rust-lld");
        let fallback = Compiler::Debian { bin: debian.join("bin"), linker };
        assert_eq!(find(), Some(fallback.clone()));
        assert!(!fallback.has_clippy());
        touch("usr/bin/clippy-driver");
        assert!(fallback.has_clippy());
        fs::create_dir_all(sysroot.join("lib/rustlib").join(TARGET).join("lib")).unwrap();
        assert_eq!(find(), Some(fallback), "a download that was cut short");
        touch(&format!("my toolchain/lib/rustlib/{TARGET}/lib/libcore-1.rlib"));
        assert_eq!(find(), Some(Compiler::Pinned));
    }
}
