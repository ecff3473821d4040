//! The machine under gdb: QEMU stopped at its first instruction, gdb attached with symbols and with commands of ours.

use crate::images::Images;
use crate::machine::{self, Config, Event, Program};
use crate::{process, setup};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::{env, thread};

/// The commands of ours, relative to the top folder.
const COMMANDS: &str = "xtask/src/ventry.py";

/// Runs gdb on a machine until the person leaves it; `on` gets what the machine says.
pub fn debug(images: &Images, mut config: Config, mut on: impl FnMut(Event<'_>) -> Result<()> + Send) -> Result<()> {
    let gdb = setup::gdb().context("there is no gdb for AArch64; `cargo xtask setup` brings one")?;
    let port = free_port().context("no port of this machine is free")?;
    config.qemu_args.extend(["-S".into(), "-gdb".into(), format!("tcp:127.0.0.1:{port}").into()]);
    let mut gdb = Command::new(gdb);
    gdb.arg("-q").arg(&images.elf).arg("-x").arg(images.root.join(COMMANDS));
    if let Some(program) = program(images, &config) {
        gdb.arg("-ex").arg(add_symbols(program));
    }
    gdb.arg("-ex").arg(format!("target remote 127.0.0.1:{port}"));
    // The commands ask this tool for words.
    gdb.env("VENTRY_XTASK", env::current_exe().context("the tool does not know its own path")?);

    process::leave_interrupts_to_gdb();
    let (started, starts) = mpsc::channel();
    thread::scope(|scope| {
        let machine = scope.spawn(|| {
            // Moved here, so that it is gone when the machine never starts.
            let started = started;
            machine::watch(images, &config, |event| {
                if let Event::Started(machine) = event {
                    let _ = started.send(machine);
                }
                on(event)
            })
        });
        let attached = starts.recv().ok().map(|machine| {
            let status = gdb.status().context("gdb cannot be started");
            machine.end();
            status
        });
        // Why the machine did not start says more than that there was none to attach to.
        let ended = machine.join().map_err(|_| anyhow::anyhow!("the machine's thread panicked"))?;
        match attached {
            Some(status) => status.map(|_| ()),
            None => ended.map(|_| ()),
        }
    })
}

/// The ELF file of the program that runs first.
fn program<'a>(images: &'a Images, config: &'a Config) -> Option<&'a Path> {
    match &config.program {
        Program::Init => images.programs.get("init").map(|path| path.as_path()),
        Program::Named(name) => images.programs.get(name).map(|path| path.as_path()),
        Program::Host(path) => Some(path),
    }
}

fn add_symbols(program: &Path) -> OsString {
    let mut command = OsString::from("add-symbol-file \"");
    command.push(program);
    command.push("\"");
    command
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
