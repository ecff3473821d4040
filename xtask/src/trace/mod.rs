//! `cargo xtask trace`: a machine is run with its kernel tracing itself, and what it wrote down is put into files for people.
//!
//! | module | what it does |
//! |---|---|
//! | [`memory`] | finds the kernel's records in the machine's memory, after its end |
//! | [`timeline`] | puts those of all CPUs in one order, on a clock without the cost of tracing |
//! | [`model`] | makes of them spans that nest, what each was and what it cost |
//! | [`page`] | the page for a browser, with the viewer in `xtask/viewer` |
//! | [`perfetto`] | the trace events for Perfetto |
//! | [`text`] | the same events as ftrace prints them |

pub mod memory;
pub mod model;
pub mod page;
pub mod perfetto;
pub mod syscall;
pub mod text;
pub mod timeline;

#[cfg(test)]
mod tests;

use crate::images::Images;
use crate::machine::{self, Config, Event, Program, Tracing};
use crate::symbols::Names;
use anyhow::{Context, Result, bail, ensure};
use memory::Memory;
use model::Model;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use timeline::Timeline;
use trap::record::{Kind, Report};

/// The instructions take 2^this nanoseconds where nothing else is said: then each is one tick of the counter.
pub const SHIFT: u8 = 4;

/// MiB of a CPU's ring where nothing else is said.
const RING: u32 = 32;

/// A machine's run, and what its kernel wrote down.
pub struct Recording {
    /// The exit code, as [`machine::watch`] gives it.
    pub code: u8,
    /// Whether the machine was ended because its time was over.
    pub timed_out: bool,
    /// The events.
    pub timeline: Timeline,
    /// The reports on its console, in order.
    pub reports: Vec<Report>,
    /// What went wrong with the machine, from outside of it.
    pub error: Option<anyhow::Error>,
    names: Names,
}

/// What a trace is of.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// In a word or two.
    pub title: String,
    /// The command that made it.
    pub command: String,
    /// The machine's exit code.
    pub exit: u8,
    /// Whether the machine was ended because its time was over.
    pub timed_out: bool,
    /// The machine.
    pub machine: String,
}

/// The size of a ring that suits a machine with `mem` MiB of memory, of which the kernel needs some itself.
pub fn ring_for(mem: u32) -> u32 {
    RING.min(mem / 4)
}

/// Why such a machine cannot be traced, if it cannot.
pub fn refusal(config: &Config, ring: u32) -> Option<String> {
    if config.entry_el == 3 {
        return Some("a kernel entered at EL3 gets no boot arguments, so it cannot be told to trace".into());
    }
    let mem = config.mem;
    (ring >= mem).then(|| format!("a ring of {ring} MiB (--ring) does not fit into {mem} MiB of memory (--mem)"))
}

/// Runs a machine with a ring of `ring` MiB for each CPU to its end; `on` gets what it says. `config` tells the instructions'
/// time ([`Config::icount`]), or they take 2^[`SHIFT`] nanoseconds.
pub fn record(
    images: &Images,
    config: &Config,
    ring: u32,
    mut on: impl FnMut(Event<'_>) -> Result<()>,
) -> Result<Recording> {
    if let Some(why) = refusal(config, ring) {
        bail!(why);
    }
    let memory = Memory::new(config.mem)?;
    let shift = config.icount.unwrap_or(SHIFT);
    let tracing = Tracing { memory: memory.path(), ring };
    let config = Config { tracing: Some(tracing), icount: Some(shift), records: true, ..config.clone() };
    let mut reports = Vec::new();
    let watched = machine::watch(images, &config, |event| {
        if let Event::Record(json) = event {
            reports.extend(report(json));
        }
        on(event)
    });
    let (rings, code, timed_out, error) = match (memory.rings(&images.elf), watched) {
        (Ok(rings), Ok((code, timed_out))) => (rings, code, timed_out, None),
        // Somebody ended QEMU: all that was written down until then is there.
        (Ok(rings), Err(error)) => (rings, 1, false, Some(error)),
        (Err(_), Err(error)) | (Err(error), Ok(_)) => return Err(error),
    };
    let host = match &config.program {
        Program::Host(path) => Some(path.as_path()),
        _ => None,
    };
    let (timeline, names) = (Timeline::new(rings, shift), Names::new(images, host));
    Ok(Recording { code, timed_out, timeline, reports, error, names })
}

/// The report in a record of the console, if it is one.
fn report(json: &[u8]) -> Option<Report> {
    let report: Report = serde_json::from_slice(json).ok()?;
    matches!(report.kind, Kind::Panic | Kind::Death | Kind::Warning).then_some(report)
}

impl Recording {
    /// What it shows.
    pub fn model(&mut self) -> Model {
        Model::new(&self.timeline, &self.reports, |token| self.names.describe(None, token))
    }

    /// It as ftrace's text.
    pub fn text(&mut self) -> String {
        text::text(&self.timeline, &self.reports, |token| self.names.describe(None, token))
    }
}

/// Where a trace is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The page.
    pub html: PathBuf,
    /// The trace events for Perfetto.
    pub json: PathBuf,
}

impl Files {
    /// NAME.html and NAME.json, for a `name` with or without one of these endings. Refused where they cannot be written.
    pub fn new(name: &Path) -> Result<Files> {
        let ours = name.extension().is_some_and(|ending| ending == "html" || ending == "json");
        let stem = if ours { name.with_extension("") } else { name.to_path_buf() };
        let file = stem.file_name().filter(|_| !stem.is_dir());
        let file =
            file.with_context(|| format!("{} is a folder: say what the files in it are called", name.display()))?;
        let folder = match stem.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        ensure!(folder.is_dir(), "there is no folder {}", folder.display());
        access(folder, AccessFlags::W_OK).with_context(|| format!("nothing can be written to {}", folder.display()))?;
        let with = |ending: &str| {
            let mut file = file.to_os_string();
            file.push(ending);
            stem.with_file_name(file)
        };
        Ok(Files { html: with(".html"), json: with(".json") })
    }

    /// Whether a name asks for neither of them but for text, as ftrace prints it.
    pub fn is_text(name: &Path) -> bool {
        name.extension().is_some_and(|ending| ending == "txt")
    }

    /// Writes both.
    pub fn write(&self, about: &About, model: &Model) -> Result<()> {
        let write = |path: &Path, text: String| {
            fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
        };
        write(&self.html, page::html(about, model)?)?;
        write(&self.json, perfetto::json(model)?)
    }
}
