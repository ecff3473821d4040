//! SErrors under the hypervisor: the window for those that a guest left pending, the test service, and this project's kernel under
//! SErrors in every state; the mitigation of speculative store bypass; stacks that are overrun.
//!
//! QEMU raises no physical SError: those in the window are made up, by a hypervisor that is built for that (`made-up`).

use crate::hyp::{GUEST_DIED, Ran, run, run_on, small, traps};
use crate::machine::{Names, PANIC, Test, images, same, trial};
use anyhow::{Context, Result, ensure};
use hyp::config::Serrors;
use hyp::service::Plan;
use libtest_mimic::Trial;
use object::{Object, ObjectSection};
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, process};
use trap::record::{Counters, Kind, Report};
use trap::slot::Slot;
use xtask::hyp::{Config, Guest};
use xtask::images::Hypervisor;

/// ESR_EL1 of a virtual SError of whose syndrome nothing is told.
const ESR: u64 = 0xbe00_0000;

const POLICIES: [(Serrors, &str); 2] = [(Serrors::Diverse, "diverse"), (Serrors::Panic, "panic")];

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (cpu, gic) in [("cortex-a57", 2), ("cortex-a72", 3), ("max", 3)] {
        for (serrors, policy) in POLICIES {
            let name = format!("hyp::window.{policy}.{cpu}.gic.{gic}");
            trials.push(trial(name, move || window(cpu, gic, serrors, true)));
        }
    }
    // The hypervisor as it is shipped.
    for (serrors, policy) in POLICIES {
        trials.push(trial(format!("hyp::no.serror.{policy}"), move || window("cortex-a72", 3, serrors, false)));
    }
    for state in &STATES {
        trials.push(trial(format!("hyp::kernel.serror.{}", state.name), || in_state(state)));
    }
    for (after, program) in SWEEP.into_iter().zip(["sleepers", "spin"].into_iter().cycle()) {
        trials.push(trial(format!("hyp::kernel.serror.sweep.{program}.{after}"), move || sweep(after, program)));
    }
    let rest: [(&str, Test); 11] = [
        ("window.outside", outside),
        ("service", || service("cortex-a72", ESR, None)),
        ("service.ras", || service("max", ESR | 0x11, Some(1 << 31 | 0x11))),
        ("service.off", service_off),
        ("ssbd.forced", || ssbd(true)),
        ("ssbd", || ssbd(false)),
        ("kernel.serror.idle", idle),
        ("kernel.serror.again", again),
        ("kernel.serror.harmless", harmless),
        ("stack.overrun", stack_overrun),
        ("set.way", set_way),
    ];
    trials.extend(rest.map(|(name, test)| trial(format!("hyp::{name}"), test)));
    trials.extend(INVALID.map(|slot| trial(format!("hyp::slot.{}", slot as u8), move || invalid(slot))));
    trials
}

/// The hypervisor that makes up SErrors, built when it is first asked for.
fn made_up() -> &'static Hypervisor {
    static HYPERVISOR: OnceLock<Hypervisor> = OnceLock::new();
    HYPERVISOR.get_or_init(|| {
        Hypervisor::build_made_up().unwrap_or_else(|error| {
            eprintln!("the hypervisor does not build: {error:#}");
            process::exit(2)
        })
    })
}

/// One guest.
fn config(guest: Guest) -> Config {
    Config { guests: vec![guest], timeout: Some(Duration::from_secs(120)), ..Config::default() }
}

fn records<'a>(ran: &'a Ran, kind: &str) -> Vec<&'a Value> {
    ran.records.iter().filter(|record| record["kind"] == kind).collect()
}

/// Cases of each instruction, but for 4 of HVC; and of all ten.
const EACH: usize = 20;
const CASES: usize = 10 * EACH - 4;

/// Each trap of every kind is done once. With an SError in its window the guest takes that once, before it or, masked, behind it;
/// where the policy has no window, or no SError comes, none.
fn window(cpu: &str, gic: u8, serrors: Serrors, make_up: bool) -> Result<()> {
    let guest = Guest { serrors, service: Some(Plan::default()), ..small("window") };
    // Time by instructions: an interrupt comes where it is to come.
    let config = Config { cpu: cpu.into(), gic, icount: Some(4), ..config(guest) };
    let hypervisor = if make_up { made_up() } else { crate::hyp::hypervisor() };
    run_on(hypervisor, &config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let windows = records(ran, "window");
        same("cases", windows.len(), CASES)?;
        let come = make_up && serrors == Serrors::Diverse;
        for case in &windows {
            let look = |key: &str| case[key].as_i64().with_context(|| format!("{key} in {case}"));
            let name = case["name"].as_str().context("a name")?;
            let masked = case["masked"] == true;
            let result = match name {
                "hvc" | "smc" => Some(0x1_0001),
                "system" => Some(8),
                "load" | "a32_load" => Some(0x11),
                _ => None,
            };
            if let Some(result) = result {
                same("result", look("result")?, result).with_context(|| case.to_string())?;
            }
            let interrupts = i64::from(name.ends_with("irq") || name.ends_with("wait"));
            let found = (case["kept"].as_bool(), look("serrors")?, look("early")?, look("irqs")?);
            let expected = (Some(true), i64::from(come), i64::from(come && !masked), interrupts);
            same("(x19 kept, SErrors, SErrors before they were unmasked, interrupts)", found, expected)
                .with_context(|| case.to_string())?;
            same("pending", look("pending")?, i64::from(come && masked)).with_context(|| case.to_string())?;
            if come {
                same("ESR", look("esr")?, ESR as i64).with_context(|| case.to_string())?;
            }
            // The instruction itself, which is executed again.
            if come && !masked {
                let offset = look("offset")?;
                let within = if name.ends_with("irq") { 0..=8 } else { 0..=0 };
                ensure!(within.contains(&offset), "PC at {offset} from the instruction: {case}");
            }
            match (make_up, serrors) {
                (true, Serrors::Diverse) => ensure!(look("windows")? > 0, "no window: {case}"),
                (true, Serrors::Panic) => same("windows", look("windows")?, 0)?,
                (false, _) => same("the call", look("windows")?, -1)?,
            }
        }
        let summary = ran.summary()?;
        let guest = &summary.guests[0];
        same("SErrors", guest.serrors, if come { CASES as u64 } else { 0 })?;
        same("stores", ran.console.matches('~').count(), EACH)?;
        // Each was carried out once: PSCI_VERSION and MAKE_UP, and the end.
        same("HVCs", traps(guest, "hvc64"), (EACH - 4 + CASES + 1) as u64)?;
        same("SMCs", traps(guest, "smc64"), EACH as u64)
    })
}

/// An SError that comes when the window is closed is the hypervisor's own.
fn outside() -> Result<()> {
    let image = crate::hyp::flat(&[
        0x529f_e000, // mov w0, #0xff00
        0x72b8_c000, // movk w0, #0xc600, lsl #16
        0xd280_0021, // mov x1, #1
        0xd280_0022, // mov x2, #1
        0xd280_0043, // mov x3, #2
        0xd400_0002, // hvc #0
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    let guest = Guest { service: Some(Plan::default()), ..Guest::parse(&image.path().display().to_string()).unwrap() };
    run_on(made_up(), &config(Guest { name: "guest".into(), ..guest }), |ran| {
        same("exit code", ran.outcome.code, PANIC)?;
        let result = ran.outcome.result.as_ref().context("no result")?;
        same(
            "(kind, slot)",
            (result["kind"].as_str(), result["slot"].as_str()),
            (Some("hyp_panic"), Some("el1h_error")),
        )?;
        same("ESR", result["esr"].clone(), "0x00000000be000000".into())
    })
}

/// What the guest `service` tells, on a CPU where its SErrors have this syndrome, and DISR_EL1 this value.
fn service(cpu: &str, esr: u64, disr: Option<u64>) -> Result<()> {
    let guest = Guest { service: Some(Plan::default()), ..small("service") };
    // Time by instructions: what is to come later does not come before the call has returned.
    run(&Config { cpu: cpu.into(), icount: Some(4), ..config(guest) }, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let told = records(ran, "service");
        let mut expected = vec![("invalid", -3, 0, 0, 0, 0), ("now", 0, 1, 1, esr, 0), ("masked", 0, 0, 1, esr, 1)];
        expected.extend(disr.map(|disr| ("deferred", 0, 0, 0, 0, disr)));
        expected.extend([("later", 0, 0, 1, esr, 0), ("wait", 0, 0, 1, esr, 0), ("at", 0, 1, 1, esr, 1)]);
        let number = |case: &Value, key: &str| case[key].as_u64().unwrap_or(u64::MAX);
        let found = told.iter().map(|case| {
            let [early, serrors, esr, value] = ["early", "serrors", "esr", "value"].map(|key| number(case, key));
            (case["name"].as_str().unwrap_or(""), case["result"].as_i64().unwrap_or(1), early, serrors, esr, value)
        });
        same("(case, result, early, SErrors, ESR, value)", found.collect(), expected)?;
        let injected = 5 + u64::from(disr.is_some());
        same("SErrors", ran.summary()?.guests[0].serrors, injected)
    })
}

/// A guest without the service has no such calls.
fn service_off() -> Result<()> {
    run(&config(small("service")), |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let told: Vec<_> =
            records(ran, "service").iter().map(|case| (case["name"].clone(), case["result"].as_i64())).collect();
        same("cases", told, vec![("off".into(), Some(-1))])
    })
}

/// Where the mitigation is by call, each entry from the guest that has it off turns it on, each return off, and there is none
/// where the guest has it on; else there are no calls at all.
fn ssbd(forced: bool) -> Result<()> {
    let mut config = config(small("ssbd"));
    if forced {
        config.qemu_args = ["-append", "ssbd=force"].map(Into::into).into();
    }
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let [told] = records(ran, "ssbd")[..] else { anyhow::bail!("not one record") };
        let found = ["features", "safe", "unsafe"].map(|key| told[key].as_i64());
        same("(features, safe, unsafe)", found, [Some(i64::from(!forced)), Some(0), Some(0)])?;
        let calls = ran.summary()?.guests[0].ssbd.clone();
        let (on, off) = (true, false);
        let expected = if forced { vec![off, on, off, on, off, on, off, on] } else { vec![] };
        same("calls", calls.count, expected.len() as u64)?;
        same("what for", calls.first.to_vec(), expected)
    })
}

/// The slots that nothing comes through: SP_EL0 is never used at EL2, and FIQs are never unmasked.
const INVALID: [Slot; 7] =
    [Slot::El1tSync, Slot::El1tIrq, Slot::El1tFiq, Slot::El1tError, Slot::El1hFiq, Slot::El0Fiq, Slot::El032Fiq];

/// Whatever comes through one is reported, by the slot's name.
fn invalid(slot: Slot) -> Result<()> {
    let image = crate::hyp::flat(&[
        0x529f_e040,                      // mov w0, #0xff02
        0x72b8_c000,                      // movk w0, #0xc600, lsl #16
        0xd280_0001 | (slot as u32) << 5, // mov x1, #slot
        0xd400_0002,                      // hvc #0
        0x1400_0000,                      // b .
    ])?;
    let guest = Guest { service: Some(Plan::default()), ..Guest::parse(&image.path().display().to_string()).unwrap() };
    run_on(made_up(), &config(Guest { name: "guest".into(), ..guest }), |ran| {
        same("exit code", ran.outcome.code, PANIC)?;
        let result = ran.outcome.result.as_ref().context("no result")?;
        same("kind", result["kind"].as_str(), Some("hyp_panic"))?;
        same("slot", &result["slot"], &serde_json::to_value(slot)?)
    })
}

/// A stack that is overrun is found at its first byte, and reported.
fn stack_overrun() -> Result<()> {
    let image = crate::hyp::flat(&[
        0x529f_e020, // mov w0, #0xff01
        0x72b8_c000, // movk w0, #0xc600, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    let guest = Guest { service: Some(Plan::default()), ..Guest::parse(&image.path().display().to_string()).unwrap() };
    run_on(made_up(), &config(Guest { name: "guest".into(), ..guest }), |ran| {
        same("exit code", ran.outcome.code, PANIC)?;
        let result = ran.outcome.result.as_ref().context("no result")?;
        same(
            "(kind, slot)",
            (result["kind"].as_str(), result["slot"].as_str()),
            (Some("hyp_panic"), Some("el1h_sync")),
        )?;
        let hex = |key: &str| -> Result<u64> {
            let text = result[key].as_str().with_context(|| format!("{key} is no number"))?;
            Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
        };
        // A write, translation fault at level 3.
        same("class, WnR and DFSC", (hex("esr")? >> 26, hex("esr")? & 0x7f), (0x25, 0x47))?;
        const STACK: u64 = 16 << 10;
        let (far, sp) = (hex("far")?, hex("sp")?);
        ensure!(
            far % (2 * STACK) < STACK && STACK - far % (2 * STACK) <= 512,
            "FAR {far:#x} is not just below a stack"
        );
        ensure!(sp.abs_diff(far) <= 1024, "SP {sp:#x}, FAR {far:#x}");
        Ok(())
    })
}

/// Where this project's kernel has an SError, that loses something, and what comes of it.
struct State {
    name: &'static str,
    /// The first program.
    program: &'static str,
    /// From which tick on.
    after: u64,
    /// The place: from a symbol of the kernel on, the first instruction that is this; the symbol itself if it is 0.
    at: Option<(&'static str, u32)>,
    /// Where it is taken.
    taken: Taken,
}

enum Taken {
    /// At the place itself, which has SErrors unmasked.
    There,
    /// Where they are unmasked again: in a function of this name, or the one of this symbol.
    In(&'static str),
    /// In the kernel, elsewhere.
    Kernel,
    /// In a program.
    Program,
}

const ERET: u32 = 0xd69f_03e0;
/// mov sp, x9
const MOV_SP_X9: u32 = 0x9100_013f;

const STATES: [State; 12] = [
    State { name: "boot", program: "hello", after: 1, at: None, taken: Taken::Kernel },
    State {
        name: "el0.sync.entry",
        program: "hello",
        after: 0,
        at: Some(("el0_sync", 0)),
        taken: Taken::In("el0_sync_handler"),
    },
    State { name: "el0.sync.exit", program: "hello", after: 0, at: Some(("el0_sync", ERET)), taken: Taken::Program },
    State {
        name: "el0.irq.entry",
        program: "spin",
        after: 0,
        at: Some(("el0_irq", 0)),
        taken: Taken::In("el0_irq_handler"),
    },
    State { name: "el0.irq.exit", program: "spin", after: 0, at: Some(("el0_irq", ERET)), taken: Taken::Program },
    State {
        name: "el1.irq.entry",
        program: "sleepers",
        after: 0,
        at: Some(("el1h_irq", 0)),
        taken: Taken::In("el1h_irq_handler"),
    },
    State { name: "el1.irq.exit", program: "sleepers", after: 0, at: Some(("el1h_irq", ERET)), taken: Taken::Kernel },
    State { name: "irq.stack", program: "sleepers", after: 0, at: Some(("call_on_irq_stack", 0)), taken: Taken::There },
    State { name: "switch", program: "sleepers", after: 0, at: Some(("cpu_switch_to", 0)), taken: Taken::There },
    State {
        name: "switch.masked",
        program: "sleepers",
        after: 0,
        at: Some(("cpu_switch_to", MOV_SP_X9)),
        taken: Taken::In("cpu_switch_to"),
    },
    State { name: "fork", program: "sleepers", after: 0, at: Some(("ret_from_fork", 0)), taken: Taken::There },
    State { name: "copy", program: "hello", after: 0, at: Some(("raw_copy_from_user", 0)), taken: Taken::There },
];

fn kernel(program: &str, plan: Plan) -> Config {
    let append = format!("records loglevel=off init=/bin/{program}");
    let guest = Guest { append, service: Some(plan), ..Guest::kernel(images(false), "kernel") };
    Config { icount: Some(4), ..config(guest) }
}

/// The reports of what ended something, in order.
fn reports(ran: &Ran) -> Result<Vec<Report>> {
    // Programs that kill each other are none of these.
    let by_exception = |record: &Value| record["kind"] == "death" && !record["slot"].is_null();
    let of = |record: &&Value| record["kind"] == "panic" || by_exception(record);
    ran.records.iter().filter(of).map(|record| Ok(serde_json::from_value(record.clone())?)).collect()
}

/// What the kernel's image has at an address, to the end of its section.
fn section_from(elf: &[u8], address: u64) -> Result<&[u8]> {
    let file = object::File::parse(elf)?;
    let holds = |section: &object::Section| (section.address()..section.address() + section.size()).contains(&address);
    let section = file.sections().find(holds).with_context(|| format!("{address:#x} is in no section"))?;
    Ok(&section.data()?[(address - section.address()) as usize..])
}

/// One instruction of the kernel.
fn kernel_bytes(address: u64) -> Result<[u8; 4]> {
    let elf = fs::read(&images(false).elf)?;
    section_from(&elf, address)?.first_chunk().copied().context("the section ends")
}

/// The address of a state's place.
fn place(symbol: &str, instruction: u32) -> Result<u64> {
    let elf = &images(false).elf;
    let start = Names::read(elf)?.address(symbol)?;
    if instruction == 0 {
        return Ok(start);
    }
    let elf = fs::read(elf)?;
    let (words, _) = section_from(&elf, start)?.as_chunks::<4>();
    let found = words.iter().position(|word| u32::from_le_bytes(*word) == instruction);
    Ok(start + 4 * found.with_context(|| format!("no {instruction:#x} behind {symbol}"))? as u64)
}

/// A report that an SError ended something: the kernel, or a program by SIGKILL.
fn is_of_serror(report: &Report, esr: u64) -> Result<()> {
    same("ESR", report.esr.0, esr)?;
    match report.kind {
        Kind::Death => {
            same("slot", report.slot, Some(Slot::El0Error))?;
            same("signal", report.signal.map(|signal| signal.signal), Some(9))
        }
        _ => same("slot", report.slot, Some(Slot::El1hError)),
    }
}

/// A panic of the kernel is told, and the death of a program is none of the hypervisor's business.
fn exit_code(reports: &[Report]) -> u8 {
    if reports.iter().any(|report| report.kind == Kind::Panic) { GUEST_DIED } else { 0 }
}

/// The report is as it should be, and the machine ends.
fn in_state(state: &State) -> Result<()> {
    let at = state.at.map(|(symbol, instruction)| place(symbol, instruction)).transpose()?;
    let plan = Plan { after: Some(state.after), at, ..Plan::default() };
    let names = Names::read(&images(false).elf)?;
    run(&kernel(state.program, plan), |ran| {
        let reports = reports(ran)?;
        same("exit code", ran.outcome.code, exit_code(&reports))?;
        let report = reports.first().context("no report")?;
        is_of_serror(report, ESR)?;
        let pc = report.pc.0;
        let user = pc >> 63 == 0;
        same("SErrors", ran.summary()?.guests[0].serrors, 1)?;
        same(
            "(kind, reports, PC in a program)",
            (report.kind, reports.len(), user),
            match state.taken {
                Taken::Program => (Kind::Death, 1, true),
                _ => (Kind::Panic, 1, false),
            },
        )?;
        match state.taken {
            Taken::There => same("PC", Some(pc), at),
            Taken::In(name) => {
                ensure!(names.holds(pc, name), "PC {pc:#x} in {:?}, not in {name}", names.at(pc));
                Ok(())
            }
            Taken::Kernel | Taken::Program => Ok(()),
        }
    })
}

/// Ticks from the kernel's first instruction on: where an SError comes when nobody has chosen the place.
const SWEEP: [u64; 10] =
    [20_011, 150_053, 400_009, 650_011, 900_001, 1_203_457, 1_550_003, 1_900_009, 2_300_003, 2_718_281];

/// Wherever it comes, in boot, in the kernel, in a program, or while the guest waits for an interrupt, there is a report, and one only.
fn sweep(after: u64, program: &str) -> Result<()> {
    run(&kernel(program, Plan { after: Some(after), ..Plan::default() }), |ran| {
        same("SErrors", ran.summary()?.guests[0].serrors, 1)?;
        let reports = reports(ran)?;
        same("exit code", ran.outcome.code, exit_code(&reports))?;
        same("reports", reports.len(), 1)?;
        is_of_serror(&reports[0], ESR)
    })
}

/// One that comes while the guest waits for an interrupt: it is woken, and reports it as of its idle task, behind the WFI.
fn idle() -> Result<()> {
    const WFI: [u8; 4] = 0xd503_207f_u32.to_le_bytes();
    let names = Names::read(&images(false).elf)?;
    run(&kernel("sleepers", Plan { after: Some(2_000_003), ..Plan::default() }), |ran| {
        same("exit code", ran.outcome.code, GUEST_DIED)?;
        let [report] = &reports(ran)?[..] else { anyhow::bail!("not one report") };
        is_of_serror(report, ESR)?;
        let pc = report.pc.0;
        same("(task, in the idle loop)", (report.task, names.holds(pc, "run")), (0, true))?;
        same("the instruction before", kernel_bytes(pc - 4)?, WFI)
    })
}

/// SErrors that come while the first is reported change nothing: they stay masked.
fn again() -> Result<()> {
    run(&kernel("sleepers", Plan { after: Some(1_000_003), every: Some(3001), ..Plan::default() }), |ran| {
        let reports = reports(ran)?;
        same("exit code", ran.outcome.code, exit_code(&reports))?;
        let panics = reports.iter().filter(|report| report.kind == Kind::Panic).count();
        ensure!(panics <= 1 && !reports.is_empty(), "{} reports, {panics} panics", reports.len());
        ensure!(ran.summary()?.guests[0].serrors > reports.len() as u64, "none came during a report");
        reports.iter().try_for_each(|report| is_of_serror(report, ESR))
    })
}

/// SErrors that lose nothing, all the time: each is taken once, and the demo suite does not notice.
fn harmless() -> Result<()> {
    /// DFSC 0x11: the severity (AET) is told; 6 is "corrected".
    const CORRECTED: u32 = 6 << 10 | 0x11;
    let plan = Plan { after: Some(2_000_003), every: Some(20_000_003), iss: CORRECTED, ..Plan::default() };
    let config = Config { cpu: "max".into(), timeout: Some(Duration::from_secs(240)), ..kernel("init", plan) };
    run(&config, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        same("programs that failed", ran.console.matches(" programs, 0 failed").count(), 1)?;
        same("panics", records(ran, "panic").len(), 0)?;
        let [counters] = records(ran, "counters")[..] else { anyhow::bail!("not one record of counters") };
        let counters: Counters = serde_json::from_value(counters.clone())?;
        let taken = |slot| counters.exceptions.iter().find(|count| count.slot == slot).map_or(0, |count| count.count);
        let (user, kernel) = (taken(Slot::El0Error), taken(Slot::El1hError));
        ensure!(user > 0 && kernel > 0, "{user} in programs, {kernel} in the kernel");
        let given = ran.summary()?.guests[0].serrors;
        // One may come after they were counted.
        ensure!((user + kernel..=user + kernel + 1).contains(&given), "{given} given, {user} and {kernel} taken");
        // One that comes while a report is written is told in a line only.
        let warnings = records(ran, "warning");
        ensure!(!warnings.is_empty(), "no warnings");
        for warning in &warnings {
            let report: Report = serde_json::from_value((*warning).clone())?;
            same("ESR", report.esr.0, ESR | u64::from(CORRECTED))?;
            ensure!(matches!(report.slot, Some(Slot::El0Error | Slot::El1hError)), "slot {:?}", report.slot);
        }
        Ok(())
    })
}

/// Maintenance by set and way, which is of all the guest's RAM, does not keep another guest from its turns.
fn set_way() -> Result<()> {
    let image = crate::hyp::flat(&[
        0xd508_7e40, // dc cisw, x0
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    let other = crate::hyp::flat(&[
        0xd2a0_2009, // mov x9, #0x1000000
        0xf100_0529, // 0: subs x9, x9, #1
        0x54ff_ffe1, // b.ne 0b
        0x5280_0100, // mov w0, #8
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        0xd400_0002, // hvc #0
        0x1400_0000, // b .
    ])?;
    let guest = |name: &str, image: &Path| Guest {
        name: name.into(),
        ..Guest::parse(&image.display().to_string()).expect("a path without commas")
    };
    let guests = vec![guest("cleaner", image.path()), guest("other", other.path())];
    run(&Config { guests, icount: Some(4), ..config(small("service")) }, |ran| {
        same("exit code", ran.outcome.code, 0)?;
        let summary = ran.summary()?;
        same("traps", traps(&summary.guests[0], "system"), 1)?;
        // At 100 Hz: a million lines are some turns.
        ensure!(summary.guests[0].switches >= 3, "{} switches", summary.guests[0].switches);
        Ok(())
    })
}
