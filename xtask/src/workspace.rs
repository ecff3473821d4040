//! Where things are: the checkout, its target folder, and cargo.

use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

/// The top folder of the checkout: found upwards from the package that cargo runs, else from the current folder.
pub fn root() -> Result<PathBuf> {
    let start = match env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => package.into(),
        None => env::current_dir().context("the current folder cannot be read")?,
    };
    let root = start.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file());
    Ok(root.with_context(|| format!("{} is not inside a checkout of Ventry", start.display()))?.to_path_buf())
}

/// Where cargo and this tool put what they make.
pub fn target_dir(root: &Path) -> PathBuf {
    root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The cargo that runs this tool, else the one in PATH; started in the top folder of the checkout.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Replaces the file at `path` in one step, so that who reads it meanwhile sees all of the old or all of the new.
/// Leaves a file that already holds `bytes` alone.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static WRITES: AtomicU32 = AtomicU32::new(0);
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let mut name = OsString::from(path);
    name.push(format!(".{}-{}", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    let new = PathBuf::from(name);
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&new, bytes))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}
