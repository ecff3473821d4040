//! The machines it boots on, what it is booted with, and what it refuses.

use crate::ktest;
use crate::machine::{Bytes, Ran, Test, archive, demo, images, program, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::{NamedTempFile, TempDir};
use xtask::machine::{Config, QEMU};

/// Machines of the matrix: each runs the demo suite and the overflow test.
const GICS: [u8; 2] = [2, 3];
const CPUS: [&str; 3] = ["cortex-a53", "cortex-a72", "max"];

/// Makes another machine of the default one.
type Change = fn(&mut Config);

/// Further machines for the demo suite.
const OTHERS: &[(&str, Change)] = &[
    ("cortex-a57", |config| config.cpu = "cortex-a57".into()),
    ("cortex-a76", |config| config.cpu = "cortex-a76".into()),
    ("smp.2", |config| config.smp = 2),
    ("smp.4.gic.2", |config| (config.smp, config.gic) = (4, 2)),
    ("smp.8", |config| config.smp = 8),
    ("mem.64", |config| config.mem = 64),
    ("mem.2048", |config| config.mem = 2048),
    ("mem.8192", |config| config.mem = 8192),
    ("tick.100", |config| config.append = "tick=100".into()),
    ("tick.1000", |config| config.append = "tick=1000".into()),
    ("icount", |config| config.icount = Some(0)),
    ("log.trace", |config| config.log = Some("trace".into())),
    // The kernel says that it does not know it, and goes on.
    ("unknown.argument", |config| config.append = "nonsense=\"a b\" tick=never".into()),
    ("el2.gic.2", |config| (config.entry_el, config.gic) = (2, 2)),
    ("el2.gic.3", |config| config.entry_el = 2),
    ("el2.cortex-a53", |config| (config.entry_el, config.cpu) = (2, "cortex-a53".into())),
    ("el2.max", |config| (config.entry_el, config.cpu) = (2, "max".into())),
];

/// What may be wrong with an archive that the kernel refuses.
const REFUSED: &[(&str, Bytes)] = &[
    ("empty", || Ok(Vec::new())),
    ("zeroes", || Ok(vec![0; 4096])),
    ("noise", || Ok((0..65536).map(|_| fastrand::u8(..)).collect())),
    ("cut.in.header", || Ok(archive(&[])?[..300].into())),
    ("cut.in.file", || Ok(archive(&[])?[..5000].into())),
    ("checksum", || {
        let mut bytes = archive(&[])?;
        bytes[150] ^= 1;
        Ok(bytes)
    }),
    ("without.init", || archive(&[("bin/init", None)])),
    ("init.is.text", || archive(&[("bin/init", Some(b"#!/bin/sh\n"))])),
    ("init.is.empty", || archive(&[("bin/init", Some(b""))])),
    ("init.is.cut", || archive(&[("bin/init", Some(&init()?[..4000]))])),
    ("init.is.foreign", || {
        let mut init = init()?;
        // e_machine: x86-64.
        init[18] = 62;
        archive(&[("bin/init", Some(&init))])
    }),
];

pub fn trials() -> Vec<Trial> {
    let matrix = GICS.iter().flat_map(|&gic| CPUS.iter().map(move |&cpu| (gic, cpu))).flat_map(|(gic, cpu)| {
        let on = move |config| Config { gic, cpu: cpu.into(), ..config };
        [
            trial(format!("boot::gic.{gic}.{cpu}"), move || run(&on(demo()), suite)),
            trial(format!("boot::gic.{gic}.{cpu}.overflow"), move || ktest::check("overflow", on)),
            trial(format!("boot::gic.{gic}.{cpu}.unexpected"), move || ktest::check("irq.unexpected", on)),
        ]
    });
    let others = OTHERS.iter().map(|&(name, change)| {
        trial(format!("boot::{name}"), move || {
            let mut config = demo();
            change(&mut config);
            run(&config, suite)
        })
    });
    let refused = REFUSED
        .iter()
        .map(|&(name, archive)| trial(format!("boot::refused.{name}"), move || run_with(&archive()?, demo(), refuses)));
    let rest: [(&str, Test); 6] = [
        ("init.by.argument", init_by_argument),
        ("refused.no.archive", no_archive),
        ("refused.init.missing", || run(&without_program("init=/bin/nothing"), refuses)),
        ("damaged.archives", damaged),
        ("without.semihosting", without_semihosting),
        ("el3", el3),
    ];
    let rest = rest.map(|(name, test)| trial(format!("boot::{name}"), test));
    matrix.chain(others).chain(refused).chain(rest).collect()
}

/// The demo suite held, at the pace that was asked for.
fn suite(ran: &Ran) -> Result<()> {
    ran.ended(0)?;
    let counters = ran.counters()?;
    same("unexpected interrupts", counters.unexpected, 0)?;
    ensure!(counters.preemptions > 0, "no preemptions");
    Ok(())
}

/// The kernel says why it does not start: no exception is behind it.
fn refuses(ran: &Ran) -> Result<()> {
    let panic = ran.panic()?;
    // Nor did anything panic: nothing was looked at.
    same("(slot, PC, chain)", (panic.slot, panic.pc.0, panic.chain.len()), (None, 0, 0))?;
    ensure!(!panic.cause.is_empty(), "no cause");
    same("counters records", ran.counters.len(), 0)
}

/// The demo suite's first program.
fn init() -> Result<Vec<u8>> {
    Ok(fs::read(&images(false).programs["init"])?)
}

fn run_with(archive: &[u8], config: Config, look: impl FnOnce(&Ran) -> Result<()>) -> Result<()> {
    let mut file = NamedTempFile::new()?;
    file.write_all(archive)?;
    run(&Config { initramfs: Some(file.path().into()), ..config }, look)
}

/// The default machine with other boot arguments than xtask would choose: of several `-append`s QEMU takes the last.
fn without_program(arguments: &str) -> Config {
    let arguments = format!("semihosting records {arguments}");
    Config { qemu_args: vec!["-append".into(), arguments.into()], ..demo() }
}

fn init_by_argument() -> Result<()> {
    run(&without_program("init=bin/crash loglevel=off -- null"), |ran| {
        ran.ended(139)?;
        same("signal", ran.death()?.signal.context("no signal")?.signal, 11)
    })
}

/// Without `-initrd`, which xtask always gives: a script in QEMU's place leaves it out.
fn no_archive() -> Result<()> {
    let folder = TempDir::new()?;
    let qemu = std::env::var("QEMU").unwrap_or(QEMU.into());
    let script = format!(
        "#!/bin/sh\nfor word; do shift\n[ \"$last\" = -initrd ] || [ \"$word\" = -initrd ] || set -- \"$@\" \"$word\"\n\
         last=$word\ndone\nexec '{qemu}' \"$@\"\n"
    );
    run(&Config { qemu: executable(folder.path(), &script)?.into(), ..demo() }, refuses)
}

fn executable(folder: &Path, script: &str) -> Result<std::path::PathBuf> {
    let path = folder.join("qemu");
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Archives with damage anywhere in their headers: whatever the kernel makes of them, it neither hangs nor falls.
fn damaged() -> Result<()> {
    let whole = archive(&[])?;
    for _ in 0..12 {
        let seed = fastrand::u64(..);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = whole.clone();
        // The first two files' headers; what they are damaged with is more often a character that headers hold.
        let second = 512 + usize::from_str_radix(std::str::from_utf8(&whole[124..135])?, 8)?.next_multiple_of(512);
        for _ in 0..rng.usize(1..4) {
            let at = rng.choice([0, second]).unwrap_or_default() + rng.usize(..512);
            bytes[at] = if rng.bool() { rng.u8(b'0'..b'8') } else { rng.u8(..) };
        }
        run_with(&bytes, program("init"), |ran| match ran.panics.len() {
            0 => ran.ended(ran.outcome.code),
            _ => refuses(ran),
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// PSCI ends the machine, with exit code 0 whatever the program's was.
fn without_semihosting() -> Result<()> {
    for entry_el in [1, 2] {
        let arguments = "records loglevel=off init=/bin/crash -- null";
        let qemu_args = vec!["-append".into(), arguments.into()];
        run(&Config { entry_el, qemu_args, ..demo() }, |ran| {
            ran.ended(0)?;
            same("signal", ran.death()?.signal.context("no signal")?.signal, 11)?;
            ran.counters().map(|_| ())
        })?;
    }
    Ok(())
}

/// Entered at EL3 there are no boot arguments, so no records and no end: only its words say that it refused.
fn el3() -> Result<()> {
    for gic in GICS {
        let config = Config { entry_el: 3, gic, timeout: Some(Duration::from_secs(2)), ..demo() };
        run(&config, |ran| {
            same("timed out", ran.outcome.timed_out, true)?;
            ensure!(ran.outcome.console.contains("entered at EL3"), "the console does not say so");
            same("lines on the console", ran.outcome.console.lines().count(), 1)
        })?;
    }
    Ok(())
}
