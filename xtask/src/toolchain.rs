//! The compiler for the Arm target.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What the kernel and the programs are built for.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// Who compiles for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// The toolchain that also builds the host's side, with the target added.
    Pinned,
    /// Debian's own compiler, where the target cannot be downloaded: it brings the source of `core`.
    Debian {
        /// Debian's rustc.
        rustc: PathBuf,
        /// The linker, which comes from the pinned toolchain.
        linker: PathBuf,
    },
}

impl Compiler {
    /// `cargo VERB` for the target, optimised.
    pub fn cargo(&self, root: &Path, verb: &str) -> Command {
        let mut command = crate::workspace::cargo(root);
        command.args([verb, "--release", "--target", TARGET]);
        // These would replace the target's own flags in .cargo/config.toml.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Compiler::Debian { rustc, linker } = self {
            command.args(["-Zbuild-std=core,alloc", "-Zbuild-std-features=compiler-builtins-mem"]);
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            command.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER", linker);
        }
        command
    }
}
