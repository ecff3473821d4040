//! Whether the sources are in order: format, clippy, documentation.

use crate::tool::run;
use crate::toolchain::Compiler;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Runs all checks, and fails with the names of those that found something.
pub fn check(root: &Path) -> Result<()> {
    let compiler = Compiler::find(root)?.context("there is no compiler for the Arm target")?;
    let cargo = |words: &[&str]| {
        let mut command = workspace::cargo(root);
        command.args(words);
        command
    };
    let mut host_docs = cargo(&["doc", "--no-deps"]);
    host_docs.env("RUSTDOCFLAGS", "-Dwarnings");
    let mut target_docs = compiler.cargo(root, "doc");
    target_docs.args(["--no-deps", "--document-private-items", "--package", "kernel", "--package", "user"]);
    target_docs.env("RUSTDOCFLAGS", "-Dwarnings");
    let checks = [
        ("format", cargo(&["fmt", "--all", "--check"])),
        ("clippy for the host", cargo(&["clippy", "--all-targets", "--", "-Dwarnings"])),
        ("clippy for the kernel", compiler.clippy(root, &["--package", "kernel"])),
        ("clippy for the test kernel", compiler.clippy(root, &["--package", "kernel", "--features", "ktest"])),
        ("clippy for the hypervisor", compiler.clippy(root, &["--package", "hyp", "--features", "el2"])),
        ("clippy for the programs", compiler.clippy(root, &["--package", "user"])),
        ("clippy for the tests' guests", compiler.clippy(root, &["--package", "guest"])),
        ("documentation of the host's side", host_docs),
        ("documentation of the kernel and the programs", target_docs),
    ];
    let mut failed = Vec::new();
    for (name, mut command) in checks {
        eprintln!("xtask: checking {name}");
        if let Err(error) = run(&mut command) {
            eprintln!("xtask: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("not in order: {}", failed.join(", "));
    }
    Ok(())
}
