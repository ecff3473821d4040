//! The hypervisor: its guests run what they run on a bare machine, and its result is told outside of their reach.

use crate::machine::{Test, images, same, trial};
use anyhow::{Context, Result, anyhow, ensure};
use hyp::result::{End, GuestSummary, Summary};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::NamedTempFile;
use trap::record::Counters;
use xtask::hyp::{Config, Device, Guest, Outcome, watch};
use xtask::images::Hypervisor;
use xtask::machine::{Event, TIMED_OUT};

/// Exit codes of the hypervisor.
pub(crate) const GUEST_DIED: u8 = 3;
const PANIC: u8 = 121;

/// Machines that the demo suite runs on, twice.
const MACHINES: [(&str, u8, u8); 11] = [
    ("cortex-a57", 2, 1),
    ("cortex-a57", 3, 1),
    ("cortex-a72", 2, 1),
    ("cortex-a72", 3, 1),
    ("max", 2, 1),
    ("max", 3, 1),
    ("cortex-a53", 3, 2),
    ("cortex-a53", 2, 2),
    ("cortex-a72", 3, 4),
    ("cortex-a72", 3, 8),
    ("cortex-a57", 2, 8),
];

pub fn trials() -> Vec<Trial> {
    let machines = MACHINES.map(|(cpu, gic, smp)| {
        trial(format!("hyp::suites.{cpu}.gic.{gic}.smp.{smp}"), move || {
            let config = Config { cpu: cpu.into(), gic, smp, ..two() };
            run(&config, suites)
        })
    });
    let rest: [(&str, Test); 22] = [
        ("one.guest", one_guest),
        ("image.is.the.bare.one", image_is_the_bare_one),
        ("off.by.all.is.no.power.off", || code("d4000002", CPU_OFF, GUEST_DIED, Some(End::Killed))),
        ("smc.is.trapped", || code("d4000003", SYSTEM_OFF, 0, Some(End::PoweredOff))),
        ("smc.is.trapped.twice", smc_twice),
        ("four.vcpus", four_vcpus),
        ("physical.timer", physical_timer),
        ("spinning.guests", spinning_guests),
        ("time.is.over", time_is_over),
        ("line.stays.up", line_stays_up),
        ("deactivate", deactivate),
        // msr disr_el1, x1; mrs x5, disr_el1
        ("deferred.error", || kept_apart(0xd518_c121, 0xd538_c125)),
        // msr tpidr2_el0, x1; mrs x5, tpidr2_el0
        ("tpidr2", || kept_apart(0xd51b_d0a1, 0xd53b_d0a5)),
        ("no.memory", no_memory),
        ("timers", timers),
        ("timer.disabled", timer_disabled),
        ("busy", busy),
        ("big", big),
        ("chaos", chaos),
        ("restart", restart),
        ("pass.through", pass_through),
        ("device.of.two", device_of_two),
    ];
    let rings = [(2, 1), (3, 1), (2, 2), (3, 2), (2, 4), (3, 4), (3, 3)].map(|(gic, smp)| {
        trial(format!("hyp::ring.gic.{gic}.smp.{smp}"), move || {
            let guests =
                vec![Guest { vcpus: 4, ..small("ring") }, Guest { vcpus: 4, name: "other".into(), ..small("ring") }];
            run(&Config { gic, smp, guests, timeout: Some(Duration::from_secs(120)), ..Config::default() }, |ran| {
                same("exit code", ran.outcome.code, 0)?;
                let taken =
                    ran.records.iter().filter(|record| record["kind"] == "ring").map(|record| record["taken"].as_u64());
                same("SGIs taken", taken.collect(), vec![Some(200); 8])?;
                nothing_leaked(&ran.summary()?)
            })
        })
    });
    machines.into_iter().chain(rings).chain(rest.map(|(name, test)| trial(format!("hyp::{name}"), test))).collect()
}

/// The hypervisor, built when it is first asked for.
pub(crate) fn hypervisor() -> &'static Hypervisor {
    static HYPERVISOR: OnceLock<Hypervisor> = OnceLock::new();
    HYPERVISOR.get_or_init(|| {
        Hypervisor::build().unwrap_or_else(|error| {
            eprintln!("the hypervisor does not build: {error:#}");
            process::exit(2)
        })
    })
}

/// A guest of `tests/guest`.
pub(crate) fn small(name: &str) -> Guest {
    static GUESTS: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let guests = GUESTS.get_or_init(|| {
        xtask::images::guests().unwrap_or_else(|error| {
            eprintln!("the small guests do not build: {error:#}");
            process::exit(2)
        })
    });
    Guest { name: name.into(), ..Guest::parse(guests[name].to_str().expect("a path in UTF-8")).expect("a path") }
}

/// Two kernels with their demo suites, which tell what they counted.
pub(crate) fn two() -> Config {
    let guest = |name| Guest { append: "records loglevel=off".into(), ..Guest::kernel(images(false), name) };
    Config { guests: ["left", "right"].map(guest).into(), timeout: Some(Duration::from_secs(180)), ..Config::default() }
}

/// What a machine left behind.
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) console: String,
    pub(crate) records: Vec<serde_json::Value>,
}

impl Ran {
    pub(crate) fn summary(&self) -> Result<Summary> {
        self.outcome.summary().with_context(|| format!("no summary, but {:?}", self.outcome.result))
    }
}

/// Runs a machine and looks at what it left; a failure shows that.
pub(crate) fn run(config: &Config, look: impl FnOnce(&Ran) -> Result<()>) -> Result<()> {
    run_on(hypervisor(), config, look)
}

/// The same, on a hypervisor.
pub(crate) fn run_on(hypervisor: &Hypervisor, config: &Config, look: impl FnOnce(&Ran) -> Result<()>) -> Result<()> {
    let (mut console, mut records) = (Vec::new(), Vec::new());
    let outcome = watch(hypervisor, images(false), config, |event| {
        match event {
            Event::Console(text) => console.extend(text),
            Event::Record(json) => records.push(serde_json::from_slice(json)?),
            Event::Started(_) | Event::Qemu(_) => {}
        }
        Ok(())
    })?;
    let console = String::from_utf8_lossy(&console).into_owned();
    let ran = Ran { outcome, console, records };
    look(&ran).map_err(|error| anyhow!("{error:#}\n{:?}\nconsole:\n{}", ran.outcome, ran.console))
}

/// The number of traps of a class.
pub(crate) fn traps(guest: &GuestSummary, class: &str) -> u64 {
    guest.traps.iter().find(|(name, _)| name == class).map_or(0, |&(_, count)| count)
}

/// Both suites held, and each guest had its interrupts and its turns.
fn suites(ran: &Ran) -> Result<()> {
    same("(exit code, timed out)", (ran.outcome.code, ran.outcome.timed_out), (0, false))?;
    let summary = ran.summary()?;
    same("guests", summary.guests.iter().map(|guest| &*guest.name).collect(), vec!["left", "right"])?;
    let counters: Vec<Counters> = ran
        .records
        .iter()
        .filter(|record| record["kind"] == "counters")
        .map(|record| serde_json::from_value(record.clone()))
        .collect::<Result<_, _>>()?;
    same("counters records", counters.len(), 2)?;
    same("panics", ran.records.iter().filter(|record| record["kind"] == "panic").count(), 0)?;
    // `init` says which program failed, and how many.
    same("programs that failed", ran.console.matches(" programs, 0 failed").count(), 2)?;
    for guest in &summary.guests {
        same("end", guest.end, Some(End::PoweredOff))?;
        ensure!(guest.injections > 0 && guest.switches > 1 && guest.irqs > 0, "nothing of one kind: {guest:?}");
        same("SErrors", guest.serrors, 0)?;
        same("hypercalls", traps(guest, "hvc64"), 1)?;
        ensure!(traps(guest, "wfx") > 0 && traps(guest, "data_abort_lower") > 0, "no traps of one kind: {guest:?}");
    }
    // Each interrupt that a kernel took was one that it acknowledged from a List Register.
    let taken: u64 = counters.iter().map(|counters| counters.ticks).sum();
    let injections: u64 = summary.guests.iter().map(|guest| guest.injections).sum();
    ensure!(injections >= taken && taken > 0, "{injections} interrupts injected, {taken} ticks");
    for counters in &counters {
        same("(unexpected, spurious)", (counters.unexpected, counters.spurious), (0, 0))?;
    }
    Ok(())
}

fn one_guest() -> Result<()> {
    let mut config = two();
    config.guests.truncate(1);
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        same("guests", ran.summary()?.guests.len(), 1)
    })
}

/// What a guest gets is to the byte what a bare machine boots.
fn image_is_the_bare_one() -> Result<()> {
    let guest = Guest::kernel(images(false), "kernel");
    let archive = xtask::hyp::pack(&[guest], 3)?;
    let mut archive = tar::Archive::new(&archive[..]);
    let mut seen = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let bare = match path.as_str() {
            "0/image" => &images(false).image,
            "0/initrd" => &images(false).initramfs,
            _ => continue,
        };
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        ensure!(bytes == fs::read(bare)?, "{path} is not {}", bare.display());
        seen += 1;
    }
    same("files", seen, 2)
}

/// PSCI functions.
const SYSTEM_OFF: u16 = 8;
const CPU_OFF: u16 = 2;

/// A flat image of these instructions.
pub(crate) fn flat(instructions: &[u32]) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    for word in instructions {
        file.write_all(&word.to_le_bytes())?;
    }
    Ok(file)
}

fn guest(image: &Path) -> Config {
    let guest = Guest { name: "guest".into(), initrd: None, image: image.into(), ..Guest::kernel(images(false), "") };
    Config { guests: vec![guest], timeout: Some(Duration::from_secs(60)), ..Config::default() }
}

/// A guest that calls a PSCI function by this instruction ends so.
fn code(instruction: &str, function: u16, code: u8, end: Option<End>) -> Result<()> {
    // movz w0, #FUNCTION; movk w0, #0x8400, lsl #16
    let movz = 0x5280_0000 | u32::from(function) << 5;
    let image = flat(&[movz, 0x72b0_8000, u32::from_str_radix(instruction, 16)?, 0x1400_0000])?;
    run(&guest(image.path()), |ran| {
        same("exit code", ran.outcome.code, code)?;
        same("end", ran.summary()?.guests[0].end, end)
    })
}

/// The guest goes on behind an SMC: the second ends it.
fn smc_twice() -> Result<()> {
    let image = flat(&[
        0x52b0_8000, // mov w0, #0x84000000: PSCI_VERSION
        0xd400_0003, // smc #0
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd400_0003, // smc #0
        0x1400_0000, // b .
    ])?;
    run(&guest(image.path()), |ran| {
        same("exit code", ran.outcome.code, 0)?;
        same("SMCs", traps(&ran.summary()?.guests[0], "smc64"), 2)
    })
}

/// Each vCPU but the last starts the next and waits for its sum, to which it adds its own number and one. The first looks at
/// the whole.
fn four_vcpus() -> Result<()> {
    const CODE: [u32; 32] = [
        0xd280_0009, // mov x9, #0
        0xd2a8_600a, // every: movz x10, #0x4300, lsl #16
        0x8b09_0d4b, // add x11, x10, x9, lsl #3
        0xd280_000c, // mov x12, #0
        0xf100_0d3f, // cmp x9, #3
        0x5400_0160, // b.eq store
        0x5280_0060, // mov w0, #3
        0x72b8_8000, // movk w0, #0xc400, lsl #16
        0x9100_0521, // add x1, x9, #1
        0x1000_02a2, // adr x2, other
        0xaa01_03e3, // mov x3, x1
        0xd400_0002, // hvc #0
        0xb500_0180, // cbnz x0, fail
        0xd503_205f, // wait: wfe
        0xf940_056c, // ldr x12, [x11, #8]
        0xb4ff_ffcc, // cbz x12, wait
        0x8b09_018c, // store: add x12, x12, x9
        0x9100_058c, // add x12, x12, #1
        0xf900_016c, // str x12, [x11]
        0xb500_00e9, // cbnz x9, off
        0xf100_299f, // cmp x12, #10
        0x5400_0061, // b.ne fail
        0x5280_0100, // mov w0, #8
        0x1400_0004, // b call
        0x5280_0120, // fail: mov w0, #9
        0x1400_0002, // b call
        0x5280_0040, // off: mov w0, #2
        0x72b0_8000, // call: movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
        0xaa00_03e9, // other: mov x9, x0
        0x17ff_ffe2, // b every
    ];
    let image = flat(&CODE)?;
    for gic in [2, 3] {
        let mut config = Config { gic, ..guest(image.path()) };
        config.guests[0].vcpus = 4;
        run(&config, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            let summary = ran.summary()?;
            let guest = &summary.guests[0];
            // Three are started, three switch themselves off, one all.
            same("(end, hypercalls)", (guest.end, traps(guest, "hvc64")), (Some(End::PoweredOff), 7))?;
            ensure!(guest.switches >= 4, "{} switches", guest.switches);
            Ok(())
        })?;
    }
    Ok(())
}

/// The EL1 physical timer, which is emulated, wakes a guest that waits for it; an interrupt need not be enabled for that.
fn physical_timer() -> Result<()> {
    let image = flat(&[
        0xd2a0_0200, // mov x0, #0x100000
        0xd51b_e200, // msr cntp_tval_el0, x0
        0xd280_0020, // mov x0, #1
        0xd51b_e220, // msr cntp_ctl_el0, x0
        0xd503_207f, // 0: wfi
        0xd53b_e220, // mrs x0, cntp_ctl_el0
        0x3617_ffc0, // tbz w0, #2, 0b
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    run(&guest(image.path()), |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let summary = ran.summary()?;
        let guest = &summary.guests[0];
        ensure!(traps(guest, "wfx") >= 1 && traps(guest, "system") >= 3, "{guest:?}");
        ensure!(summary.host_irqs >= 1, "{} interrupts of the hypervisor's own", summary.host_irqs);
        Ok(())
    })
}

/// Guests that never end, one of which sets a timer all the time, do not keep another from it; and in the end there is no result.
fn spinning_guests() -> Result<()> {
    // b .
    let image = flat(&[0x1400_0000])?;
    // 0: msr cntp_cval_el0, xzr; b 0b
    let timer = flat(&[0xd51b_e25f, 0x17ff_ffff])?;
    let mut config = guest(image.path());
    config.guests.push(Guest { name: "timer".into(), image: timer.path().into(), ..config.guests[0].clone() });
    config.guests.push(Guest::kernel(images(false), "kernel"));
    // As soon as the kernel has done its work the machine is ended.
    config.timeout = Some(Duration::from_secs(180));
    let (mut console, mut done) = (Vec::new(), false);
    let outcome = watch(hypervisor(), images(false), &config, |event| {
        if let Event::Console(text) = event {
            console.extend(text);
        }
        done = String::from_utf8_lossy(&console).contains(" programs, 0 failed");
        if done { Err(anyhow!("done")) } else { Ok(()) }
    });
    ensure!(done, "{outcome:?}\n{}", String::from_utf8_lossy(&console));
    Ok(())
}

/// A guest that never ends leaves no result, and its machine is ended when its time is over.
fn time_is_over() -> Result<()> {
    // b .
    let image = flat(&[0x1400_0000])?;
    run(&Config { timeout: Some(Duration::from_secs(3)), ..guest(image.path()) }, |ran| {
        same("(exit code, timed out)", (ran.outcome.code, ran.outcome.timed_out), (TIMED_OUT, true))?;
        ensure!(ran.outcome.result.is_none(), "a result");
        Ok(())
    })
}

/// A guest ends an interrupt whose line stays up, of the emulated timer: it has it again, and the hypervisor is not kept busy by what
/// the List Register asks for.
fn line_stays_up() -> Result<()> {
    const VECTORS: usize = 0x800;
    let mut code = vec![
        0x1000_4000, // adr x0, #0x800
        0xd518_c000, // msr vbar_el1, x0
        0xd2a1_0001, // mov x1, #0x08000000
        0x5280_0042, // mov w2, #2
        0xb900_0022, // str w2, [x1]: GICD_CTLR
        0xd2a1_0161, // mov x1, #0x080b0000
        0x1280_0002, // mov w2, #-1
        0xb900_8022, // str w2, [x1, #0x80]: GICR_IGROUPR0
        0x52a8_0002, // mov w2, #1 << 30
        0xb901_0022, // str w2, [x1, #0x100]: GICR_ISENABLER0
        0xd280_1fe2, // mov x2, #0xff
        0xd518_4602, // msr icc_pmr_el1, x2
        0xd280_0022, // mov x2, #1
        0xd518_cce2, // msr icc_igrpen1_el1, x2
        0xd503_3fdf, // isb
        0xd280_0014, // mov x20, #0
        0xd51b_e25f, // msr cntp_cval_el0, xzr
        0xd51b_e222, // msr cntp_ctl_el0, x2
        0xd503_42ff, // msr daifclr, #2
        0x1400_0000, // b .
    ];
    code.resize((VECTORS + 0x280) / 4, 0xd503_201f);
    code.extend([
        0xd538_cc03, // mrs x3, icc_iar1_el1
        0xd518_cc23, // msr icc_eoir1_el1, x3
        0x9100_0694, // add x20, x20, #1
        0xf100_169f, // cmp x20, #5
        0x5400_0083, // b.lo eret
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0xd69f_03e0, // eret
    ]);
    let image = flat(&code)?;
    run(&guest(image.path()), |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let injections = ran.summary()?.guests[0].injections;
        ensure!(injections >= 5, "{injections} injections");
        Ok(())
    })
}

/// A guest of GICv2 may write GICC_DIR.
fn deactivate() -> Result<()> {
    let image = flat(&[
        0xd2a1_0021, // mov x1, #0x08010000
        0xf282_0001, // movk x1, #0x1000
        0x5280_0022, // mov w2, #1
        0xb900_0022, // str w2, [x1]
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    run(&Config { gic: 2, ..guest(image.path()) }, |ran| same("exit code", ran.outcome.code, 0))
}

/// What one guest writes to a register from x1, another does not read into x5, where it is 0 at first.
fn kept_apart(write: u32, read: u32) -> Result<()> {
    let writer = flat(&[
        0xd2b0_0001, // mov x1, #0x80000000
        write,
        0xd280_8009, // mov x9, #0x400
        0xd503_205f, // 0: wfe
        0xf100_0529, // subs x9, x9, #1
        0x54ff_ffc1, // b.ne 0b
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    let reader = flat(&[
        0xd280_6009, // mov x9, #0x300
        0xd503_205f, // 0: wfe
        read,
        0xb500_00a5, // cbnz x5, 1f
        0xf100_0529, // subs x9, x9, #1
        0x54ff_ff81, // b.ne 0b
        0x5280_0100, // mov w0, #8
        0x1400_0002, // b 2f
        0x5280_0120, // 1: mov w0, #9
        0x72b0_8000, // 2: movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    let mut config = Config { cpu: "max".into(), ..guest(writer.path()) };
    config.guests.push(Guest { name: "reader".into(), image: reader.path().into(), ..config.guests[0].clone() });
    run(&config, |ran| same("exit code", ran.outcome.code, 0))
}

/// The hypervisor says why it does not start.
fn no_memory() -> Result<()> {
    let mut config = two();
    (config.guests[1].mem, config.mem) = (1024, Some(512));
    run(&config, |ran| {
        same("exit code", ran.outcome.code, PANIC)?;
        let result = ran.outcome.result.as_ref().context("no result")?;
        same("(kind, slot)", (result["kind"].as_str(), result["slot"].is_null()), (Some("hyp_panic"), true))
    })
}

/// Two vCPUs on one CPU take their own timer's interrupts.
fn timers() -> Result<()> {
    for gic in [2, 3] {
        let guests = vec![Guest { vcpus: 2, ..small("timers") }];
        run(&Config { gic, guests, timeout: Some(Duration::from_secs(60)), ..Config::default() }, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            let taken =
                ran.records.iter().filter(|record| record["kind"] == "ticks").map(|record| record["taken"].as_u64());
            same("interrupts taken", taken.collect(), vec![Some(20), Some(20)])
        })?;
    }
    Ok(())
}

/// A timer that is due ends a wait though the guest has its interrupt disabled, and active since the first time.
fn timer_disabled() -> Result<()> {
    for gic in [2, 3] {
        let config =
            Config { gic, guests: vec![small("deaf")], timeout: Some(Duration::from_secs(60)), ..Config::default() };
        run(&config, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            same("waits", ran.records.first().map(|record| record["waits"].as_u64()), Some(Some(3)))?;
            same("injections", ran.summary()?.guests[0].injections, 0)
        })?;
    }
    Ok(())
}

/// All memory was given back.
fn nothing_leaked(summary: &Summary) -> Result<()> {
    same("leaked (RAM, heap)", (summary.leaked_ram, summary.leaked_heap), (0, 0))
}

/// A guest that is reset begins again, with nothing of the life before, while another runs, on one CPU and on two.
fn restart() -> Result<()> {
    for (gic, smp) in [(2, 1), (3, 1), (3, 2)] {
        let mut config = Config { gic, smp, ..two() };
        config.guests[0] = Guest { device: Some(Device::Pl031), ..small("reboot") };
        run(&config, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            same("programs that failed", ran.console.matches(" programs, 0 failed").count(), 1)?;
            let summary = ran.summary()?;
            same("restarts", (summary.guests[0].restarts, summary.guests[1].restarts), (4, 0))?;
            nothing_leaked(&summary)
        })?;
    }
    Ok(())
}

/// A guest has a device of the machine to itself: each of its interrupts comes once, by a List Register.
fn pass_through() -> Result<()> {
    for (gic, smp) in [(2, 1), (3, 1), (3, 2)] {
        let guests = vec![Guest { device: Some(Device::Pl031), ..small("rtc") }, two().guests.remove(0)];
        run(&Config { gic, smp, guests, ..two() }, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            let taken =
                ran.records.iter().filter(|record| record["kind"] == "alarms").map(|record| record["taken"].as_u64());
            same("alarms", taken.collect(), vec![Some(3)])?;
            let summary = ran.summary()?;
            same("injections", summary.guests[0].injections, 3)?;
            nothing_leaked(&summary)
        })?;
    }
    Ok(())
}

/// No two guests have one device.
fn device_of_two() -> Result<()> {
    let guests = ["one", "two"].map(|name| Guest { name: name.into(), device: Some(Device::Pl031), ..small("rtc") });
    run(&Config { guests: guests.into(), ..two() }, |ran| {
        same("exit code", ran.outcome.code, PANIC)?;
        let result = ran.outcome.result.as_ref().context("no result")?;
        same("(kind, slot)", (result["kind"].as_str(), result["slot"].is_null()), (Some("hyp_panic"), true))
    })
}

/// An SGI reaches a vCPU that another CPU runs and that never traps of itself.
fn busy() -> Result<()> {
    for gic in [2, 3] {
        let guests = vec![Guest { vcpus: 2, ..small("busy") }];
        run(&Config { gic, smp: 2, guests, timeout: Some(Duration::from_secs(60)), ..Config::default() }, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            let taken = ran.records.iter().find(|record| record["kind"] == "busy").context("no record")?;
            same("SGIs taken", taken["taken"].to_string(), "[50,50]".into())?;
            // Each has a CPU to itself: they do not take turns.
            let switches = ran.summary()?.guests[0].switches;
            ensure!(switches <= 4, "{switches} switches");
            Ok(())
        })?;
    }
    Ok(())
}

/// Guests of several vCPUs that are reset in the middle of everything do not disturb others, nor each other, and all comes back.
fn chaos() -> Result<()> {
    for (gic, smp) in [(2, 1), (3, 2), (2, 4), (3, 4)] {
        let chaos = |name: &str| Guest { name: name.into(), vcpus: 4, ..small("chaos") };
        let guests = vec![chaos("one"), Guest { vcpus: 4, ..small("ring") }, chaos("two")];
        run(&Config { gic, smp, guests, timeout: Some(Duration::from_secs(180)), ..Config::default() }, |ran| {
            same("exit code", ran.outcome.code, 0)?;
            let taken =
                ran.records.iter().filter(|record| record["kind"] == "ring").map(|record| record["taken"].as_u64());
            same("SGIs taken", taken.collect(), vec![Some(200); 4])?;
            nothing_leaked(&ran.summary()?)
        })?;
    }
    Ok(())
}

/// The largest guest beside the smallest.
fn big() -> Result<()> {
    let mut config = two();
    (config.guests[0].mem, config.guests[1].mem) = (1024, 64);
    config.timeout = Some(Duration::from_secs(180));
    run(&config, |ran| {
        suites(ran)?;
        nothing_leaked(&ran.summary()?)
    })
}
