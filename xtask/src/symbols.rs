//! Names for code addresses of the kernel, from its ELF file.

use anyhow::{Result, anyhow};
use std::fmt::Write;
use std::path::Path;

/// The names in one ELF file.
pub struct Symbols {
    loader: addr2line::Loader,
    /// What the names of our own source files begin with.
    root: String,
}

impl Symbols {
    /// Opens the ELF file at `elf`; file names below `root` are given relative to it.
    pub fn open(elf: &Path, root: &Path) -> Result<Self> {
        let loader =
            addr2line::Loader::new(elf).map_err(|error| anyhow!("no symbols from {}: {error}", elf.display()))?;
        Ok(Symbols { loader, root: format!("{}/", root.display()) })
    }

    /// `address` in words: `ffffffc080001234 function+0x34 (kernel/src/main.rs:12)`, as much of it as is known.
    pub fn describe(&self, address: u64) -> String {
        let mut text = format!("{address:016x}");
        if let Some(symbol) = self.loader.find_symbol_info(address) {
            // `#` leaves out the hash.
            let name = rustc_demangle::demangle(symbol.name());
            let _ = write!(text, " {name:#}+{:#x}", address - symbol.address());
        }
        if let Ok(Some(location)) = self.loader.find_location(address)
            && let Some(file) = location.file
        {
            let file = file.strip_prefix(&self.root).unwrap_or(file);
            let _ = match location.line {
                Some(line) => write!(text, " ({file}:{line})"),
                None => write!(text, " ({file})"),
            };
        }
        text
    }
}
