//! The same at EL2: what traps to the hypervisor, and what it injects, under a small guest (`tests/guest/src/bin/sweep_guest.rs`).
//!
//! The guest's virtual timer interrupts the machine wherever that is, at EL1 or EL2; the hypervisor passes the interrupt on. The guest
//! tells when it came to it; where it came to the machine is in QEMU's log.

use super::{Failure, Options, Reader, Scenario, Swept, judge};
use crate::hyp::{self, Config, Guest};
use crate::images::{self, Hypervisor, Images};
use crate::machine::{Event, Input};
use crate::steps::{self, Step};
use crate::symbols::Symbols;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// All scenarios of the hypervisor at EL2, as the guest numbers them. An interrupt in the guest goes the short way into the first List
/// Register; one that is due while the hypervisor is in a trap goes the whole way behind it, which is most of the longer bound; the shorter is
/// of the instructions at which none can come.
pub const SCENARIOS: &[Scenario] = &[
    scenario("hvc", "a null hypercall", 100, 1000),
    scenario("mmio", "a trapped read of the interrupt controller", 200, 1200),
    scenario("sysreg", "a trapped read of an ID register", 100, 1000),
    scenario("sgi", "an SGI to itself, injected", 250, 1700),
    scenario("spi", "an SPI made pending, injected", 500, 1800),
];

const fn scenario(name: &'static str, about: &'static str, masked: usize, bound: usize) -> Scenario {
    Scenario { el2: true, masked, ..super::scenario(name, about, bound, None, 1) }
}

/// The guest's ELF file.
fn guest() -> Result<PathBuf> {
    images::guests()?.remove("sweep_guest").context("there is no guest `sweep_guest`")
}

fn config(options: &Options, elf: &Path, every: u64, scenarios: &[Scenario]) -> Result<Config> {
    let known = SCENARIOS.iter().enumerate();
    let which = known.filter(|(_, known)| scenarios.iter().any(|scenario| scenario.name == known.name));
    let which: u64 = which.map(|(number, _)| 1 << number).sum();
    let path = elf.to_str().context("the checkout's path is not UTF-8")?.replace(',', ",,");
    let guest = Guest::parse(&path).map_err(anyhow::Error::msg)?;
    let append = format!("every={every} which={which}");
    Ok(Config {
        qemu: options.qemu.clone(),
        cpu: options.cpu.clone(),
        gic: options.gic,
        icount: Some(4),
        guests: vec![Guest { name: "sweep".into(), append, ..guest }],
        input: Input::Nothing,
        timeout: Some(options.timeout),
        qemu_args: ["-M", "dtb-randomness=off"].map(Into::into).into(),
        ..Config::default()
    })
}

/// Sweeps scenarios of the hypervisor, in the order of [`SCENARIOS`].
pub fn sweep(
    hypervisor: &Hypervisor,
    images: &Images,
    options: &Options,
    scenarios: &[Scenario],
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Vec<Swept>> {
    let elf = guest()?;
    let (own, guests) = (Symbols::open(&hypervisor.elf, &images.root)?, Symbols::open(&elf, &images.root)?);
    let guest_text = steps::address(&elf, "_start")?..steps::address(&elf, "stacks")?;
    let mut describe = |pc: u64| if guest_text.contains(&pc) { guests.describe(pc) } else { own.describe(pc) };
    let mut all = Vec::new();
    for scenario in scenarios {
        let mut swept = boot(hypervisor, images, options, &elf, scenario, &mut describe, progress)?;
        match undisturbed(hypervisor, options, &elf, scenario) {
            Ok(steps) => judge(&mut swept, scenario, &steps, options.every, &mut describe),
            Err(error) => swept.fail(format!("an undisturbed round cannot be traced: {error:#}")),
        }
        all.push(swept);
    }
    Ok(all)
}

fn boot(
    hypervisor: &Hypervisor,
    images: &Images,
    options: &Options,
    elf: &Path,
    scenario: &Scenario,
    describe: &mut dyn FnMut(u64) -> String,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Swept> {
    let mut config = config(options, elf, options.every, &[*scenario])?;
    let log = tempfile::NamedTempFile::new()?;
    config.qemu_args.extend(["-d", "int", "-D"].map(Into::into));
    config.qemu_args.push(log.path().into());
    let mut reader = Reader::new(std::slice::from_ref(scenario));
    let outcome = hyp::watch(hypervisor, images, &config, |event| {
        if let Event::Console(text) = event {
            reader.push(text, describe)?;
            reader.tell(progress);
        }
        Ok(())
    })?;
    let n = reader.n;
    let mut swept = reader.all.pop().with_context(|| format!("the guest did nothing (exit code {})", outcome.code))?;
    if outcome.code != 0 || reader.done == 0 {
        let what = format!("the machine ended with {}", outcome.code);
        swept.failures.push(Failure { n, place: String::new(), what });
    }
    swept.at = interrupted(BufReader::new(log.reopen()?))?;
    Ok(swept)
}

/// Where interrupts to EL2 came, by QEMU's log of `-d int`.
fn interrupted(log: impl BufRead) -> Result<BTreeSet<u64>> {
    let (mut all, mut is_irq, mut elr) = (BTreeSet::new(), false, 0);
    for line in log.lines() {
        let line = line?;
        if line.starts_with("Taking exception") {
            is_irq = line.contains("[IRQ]");
        } else if let Some(text) = line.strip_prefix("...with ELR 0x") {
            elr = u64::from_str_radix(text.trim(), 16).context(line)?;
        } else if line.starts_with("...to EL2 PC ") && is_irq {
            all.insert(elr);
        }
    }
    ensure!(!all.is_empty(), "QEMU logged no interrupts");
    Ok(all)
}

/// The instructions of an undisturbed round.
fn undisturbed(hypervisor: &Hypervisor, options: &Options, elf: &Path, scenario: &Scenario) -> Result<Vec<Step>> {
    let begin = (steps::address(elf, "sweep_armed")?, super::WARM);
    let end = steps::address(elf, "sweep_disarm")?;
    let prepared = hyp::prepare(hypervisor, &config(options, elf, 0, &[*scenario])?)?;
    steps::between(prepared.command, begin, end, options.timeout)
}
