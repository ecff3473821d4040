//! Faults of programs: for each way to crash the exact signal, and what the kernel reports of it.

use crate::machine::{CPUS, Test, program, run, same, trial};
use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use trap::esr::{Ec, Esr};
use trap::place::{Area, Place};
use trap::record::{Hex, Report};
use trap::slot::Slot;
use xtask::machine::{Config, Input};

/// What a signal's `si_addr` must be.
#[derive(Clone, Copy)]
enum Addr {
    Is(u64),
    /// The task's PC.
    Pc,
    /// Some byte that was mapped, at this distance from the beginning of a page.
    Page(u64),
    /// Some byte of the program's file, at this distance from a multiple of 4.
    Image(u64),
    /// Some word of the stack.
    Stack,
}
use Addr::{Image, Is, Page, Pc, Stack};

/// A signal and its `si_code`, as Linux numbers them (asm-generic/signal.h, siginfo.h).
type Signal = (u32, i32);
const MAPERR: Signal = (11, 1);
const ACCERR: Signal = (11, 2);
const ADRALN: Signal = (7, 1);
const ILLOPC: Signal = (4, 1);
const BRKPT: Signal = (5, 1);
const TERM: Signal = (15, 0);
const KILL: Signal = (9, 0);

const KERNEL: u64 = 0xffff_ffc0_8000_0000;
/// The lowest address of a stack.
const STACK_LIMIT: u64 = 0x7f_ffff_f000 - (8 << 20);

const DATA: Ec = Ec::DATA_ABORT_LOWER;
const FETCH: Ec = Ec::INSTRUCTION_ABORT_LOWER;

const fn user(area: Area, read: bool, write: bool, execute: bool) -> Place {
    Place::User { area, read, write, execute }
}
const CLOSED: Place = user(Area::Mapped, false, false, false);
const READ_ONLY: Place = user(Area::Mapped, true, false, false);
const WRITABLE: Place = user(Area::Mapped, true, true, false);
const TEXT: Place = user(Area::Image, true, false, true);
const RODATA: Place = user(Area::Image, true, false, false);
const ON_STACK: Place = user(Area::Stack, true, true, false);

/// Aborts and misaligned accesses: signal, `si_addr`, class of the syndrome, what is there.
const ABORTS: &[(&str, Signal, Addr, Ec, Place)] = &[
    ("null", MAPERR, Is(0), DATA, Place::Null),
    ("null-offset", MAPERR, Is(16), DATA, Place::Null),
    ("unmapped", MAPERR, Page(0), DATA, Place::Unmapped),
    ("write-unmapped", MAPERR, Page(0), DATA, Place::Unmapped),
    ("page-crossing", MAPERR, Page(0), DATA, Place::Unmapped),
    ("zero-unmapped", MAPERR, Page(0), DATA, Place::Unmapped),
    ("tagged", MAPERR, Page(0), DATA, Place::Unmapped),
    ("kernel-address", MAPERR, Is(KERNEL), DATA, Place::KernelText),
    ("write-kernel", MAPERR, Is(KERNEL), DATA, Place::KernelText),
    ("non-canonical", MAPERR, Is(1 << 52), DATA, Place::NonCanonical),
    ("no-access", ACCERR, Page(0), DATA, CLOSED),
    ("read-revoked", ACCERR, Page(0), DATA, CLOSED),
    ("write-readonly", ACCERR, Page(0), DATA, READ_ONLY),
    ("write-revoked", ACCERR, Page(0), DATA, READ_ONLY),
    ("zero-readonly", ACCERR, Page(0), DATA, READ_ONLY),
    ("write-text", ACCERR, Image(0), DATA, TEXT),
    ("write-rodata", ACCERR, Image(0), DATA, RODATA),
    ("jump-null", MAPERR, Is(0), FETCH, Place::Null),
    ("jump-unmapped", MAPERR, Page(0), FETCH, Place::Unmapped),
    ("jump-kernel", MAPERR, Is(KERNEL), FETCH, Place::KernelText),
    ("jump-data", ACCERR, Page(0), FETCH, WRITABLE),
    ("jump-no-access", ACCERR, Page(0), FETCH, CLOSED),
    ("jump-stack", ACCERR, Stack, FETCH, ON_STACK),
    ("unmapped-text", MAPERR, Page(16), FETCH, Place::Unmapped),
    ("stack-overflow", MAPERR, Is(STACK_LIMIT - 16), DATA, Place::UserGuard { below: 16 }),
    ("stack-guard", MAPERR, Is(STACK_LIMIT - 8), DATA, Place::UserGuard { below: 8 }),
    ("lost-stack", MAPERR, Is(0u64.wrapping_sub(16)), DATA, Place::KernelUnmapped),
    ("unaligned-pc", ADRALN, Image(2), Ec::PC_ALIGNMENT, TEXT),
    ("unaligned-atomic", ADRALN, Page(4096 - 20), DATA, WRITABLE),
    ("unaligned-pair", ADRALN, Page(4096 - 24), DATA, WRITABLE),
    ("atomic-crossing", ADRALN, Page(4096 - 4), DATA, WRITABLE),
];

/// Instructions that EL0 has not, or may not use: signal, class of the syndrome, and the instruction itself. `si_addr` is its
/// address.
const INSTRUCTIONS: &[(&str, Signal, Ec, u32)] = &[
    ("undefined", ILLOPC, Ec::UNKNOWN, 0),
    ("reserved", ILLOPC, Ec::UNKNOWN, 0x0001_0000),
    ("unallocated-1", ILLOPC, Ec::UNKNOWN, 0x0200_0000),
    ("unallocated-3", ILLOPC, Ec::UNKNOWN, 0x0600_0000),
    ("unallocated-imm", ILLOPC, Ec::UNKNOWN, 0x7300_0000),
    ("unallocated-br", ILLOPC, Ec::UNKNOWN, 0xd4e0_0000),
    ("unallocated-ld", ILLOPC, Ec::UNKNOWN, 0xb9c0_0000),
    ("unallocated-reg", ILLOPC, Ec::UNKNOWN, 0x1ac0_7c00),
    ("unallocated-fp", ILLOPC, Ec::UNKNOWN, 0xffff_ffff),
    ("hlt", ILLOPC, Ec::UNKNOWN, 0xd440_0000),
    ("semihosting", ILLOPC, Ec::UNKNOWN, 0xd45e_0000),
    ("hvc", ILLOPC, Ec::UNKNOWN, 0xd400_0002),
    ("smc", ILLOPC, Ec::UNKNOWN, 0xd400_0003),
    ("eret", ILLOPC, Ec::UNKNOWN, 0xd69f_03e0),
    ("mask-interrupts", ILLOPC, Ec::SYSTEM, 0xd503_4fdf),
    ("read-daif", ILLOPC, Ec::SYSTEM, 0xd53b_4220),
    ("kernel-stack", ILLOPC, Ec::UNKNOWN, 0xd500_41bf),
    ("read-level", ILLOPC, Ec::UNKNOWN, 0xd538_4240),
    ("read-sctlr", ILLOPC, Ec::UNKNOWN, 0xd538_1000),
    ("write-ttbr", ILLOPC, Ec::UNKNOWN, 0xd518_2000),
    ("write-vbar", ILLOPC, Ec::UNKNOWN, 0xd518_c000),
    ("write-id", ILLOPC, Ec::UNKNOWN, 0xd518_0000),
    ("reserved-id", ILLOPC, Ec::UNKNOWN, 0xd538_0020),
    ("aarch32-id", ILLOPC, Ec::UNKNOWN, 0xd538_0100),
    ("cache-size", ILLOPC, Ec::UNKNOWN, 0xd539_0000),
    ("write-timer", ILLOPC, Ec::SYSTEM, 0xd51b_e33f),
    ("physical-timer", ILLOPC, Ec::SYSTEM, 0xd53b_e200),
    ("physical-count", ILLOPC, Ec::SYSTEM, 0xd53b_e020),
    ("write-frequency", ILLOPC, Ec::UNKNOWN, 0xd51b_e000),
    ("read-pmu", ILLOPC, Ec::SYSTEM, 0xd53b_9d00),
    ("write-pmu", ILLOPC, Ec::UNKNOWN, 0xd51b_9e00),
    ("tlb-flush", ILLOPC, Ec::UNKNOWN, 0xd508_871f),
    ("cache-invalidate", ILLOPC, Ec::UNKNOWN, 0xd508_7620),
    ("cache-set-way", ILLOPC, Ec::UNKNOWN, 0xd508_7a40),
    ("cache-all", ILLOPC, Ec::UNKNOWN, 0xd508_751f),
    ("translate", ILLOPC, Ec::UNKNOWN, 0xd508_7840),
    ("brk", BRKPT, Ec::BRK64, 0xd420_0020),
];

/// Signals that are sent.
const SENT: &[(&str, Signal)] = &[("terminate", TERM), ("kill", KILL)];

/// One way to crash, and all that must be seen of it. None: nobody can tell, or there is none.
#[derive(Clone, Copy)]
struct Crash {
    kind: &'static str,
    signal: Signal,
    addr: Addr,
    class: Option<Ec>,
    place: Option<Place>,
    instruction: Option<u32>,
}

/// All, in the program's order.
fn crashes() -> impl Iterator<Item = Crash> {
    let aborts = ABORTS.iter().map(|&(kind, signal, addr, class, place)| Crash {
        kind,
        signal,
        addr,
        class: Some(class),
        place: Some(place),
        instruction: None,
    });
    let instructions = INSTRUCTIONS.iter().map(|&(kind, signal, class, word)| Crash {
        kind,
        signal,
        addr: Pc,
        class: Some(class),
        place: None,
        instruction: Some(word),
    });
    let sent = SENT.iter().map(|&(kind, signal)| Crash {
        kind,
        signal,
        addr: Is(0),
        class: None,
        place: None,
        instruction: None,
    });
    aborts.chain(instructions).chain(sent)
}

pub fn trials() -> Vec<Trial> {
    let one = crashes().map(|crash| {
        trial(format!("user_faults::{}", crash.kind), move || {
            run(&program(&format!("crash {}", crash.kind)), |ran| {
                ran.ended(128 + crash.signal.0 as u8)?;
                let death = ran.death()?;
                same("(task, name)", (death.task, &death.name[..]), (1, "crash"))?;
                crash.check(death)
            })
        })
    });
    let all = CPUS.iter().map(|&cpu| trial(format!("user_faults::all.{cpu}"), move || all(cpu)));
    let others: [(&str, Test); 3] =
        [("list", list), ("deaths.listed", deaths_listed), ("out.of.memory", out_of_memory)];
    let others = others.map(|(name, test)| trial(format!("user_faults::{name}"), test));
    one.chain(all).chain(others).collect()
}

impl Crash {
    /// With FEAT_IDST, a read in the space of the identification registers is no unknown instruction.
    fn on(self, cpu: &str) -> Crash {
        let reads_id = self.instruction.is_some_and(|word| word & 0xfffe_f000 == 0xd538_0000);
        if cpu == "max" && reads_id { Crash { class: Some(Ec::SYSTEM), ..self } } else { self }
    }

    fn check(self, death: &Report) -> Result<()> {
        let info = death.signal.context("a death without a signal")?;
        same("(signal, si_code)", (info.signal, info.code), self.signal)?;
        ensure!(self.addr.holds(info.addr.0, death.pc.0), "si_addr is {} at PC {}", info.addr, death.pc);
        same("slot", death.slot, self.class.map(|_| Slot::El0Sync))?;
        if let Some(class) = self.class {
            same("class", Esr(death.esr.0).ec(), class)?;
        }
        same("place", death.place, self.place)?;
        if let Some(word) = self.instruction {
            same("instruction", death.instruction, Some(Hex(word.into())))?;
        }
        same("(window, repeats)", (death.window, death.repeats), (false, 0))
    }
}

impl Addr {
    fn holds(self, addr: u64, pc: u64) -> bool {
        match self {
            Is(expected) => addr == expected,
            Pc => addr == pc,
            Page(rest) => (0x40_0000_0000..0x80_0000_0000).contains(&addr) && addr % 4096 == rest,
            Image(rest) => (0x40_0000..0x80_0000).contains(&addr) && addr % 4 == rest,
            Stack => (STACK_LIMIT..0x80_0000_0000).contains(&addr) && addr.is_multiple_of(4),
        }
    }
}

/// One after the other, in one machine, which goes on to its end.
fn all(cpu: &str) -> Result<()> {
    run(&Config { cpu: cpu.into(), ..program("crash all") }, |ran| {
        ran.ended(0)?;
        ran.counters()?;
        same("deaths", ran.deaths.len(), crashes().count())?;
        for (death, crash) in ran.deaths.iter().zip(crashes()) {
            crash.on(cpu).check(death).with_context(|| crash.kind)?;
        }
        ensure!(ran.deaths.is_sorted_by_key(|death| death.task), "a task died twice");
        Ok(())
    })
}

/// No way to crash is forgotten here: the first word of each line of a table is a kind.
fn list() -> Result<()> {
    run(&program("crash list"), |ran| {
        ran.ended(0)?;
        let listed: Vec<_> = ran.outcome.console.lines().filter_map(|line| line.split_whitespace().next()).collect();
        same("kinds", listed, crashes().map(|crash| crash.kind).collect())
    })
}

/// The last sixteen deaths can be read, the oldest first.
fn deaths_listed() -> Result<()> {
    let lines = crashes().take(20).map(|crash| format!("crash {}\r", crash.kind));
    let lines = lines.chain(["cat /proc/deaths\r", "exit 0\r"].map(String::from));
    let dialogue = lines.map(|line| ("$ ".to_string(), line)).collect();
    run(&Config { input: Input::Dialogue(dialogue), ..program("sh") }, |ran| {
        ran.ended(0)?;
        same("deaths", ran.deaths.len(), 20)?;
        let row = |death: &Report| {
            let info = death.signal.context("a death without a signal")?;
            Ok(format!("{} {} {} {:#x}", death.task, info.signal, info.code, info.addr.0))
        };
        let expected = ran.deaths[4..].iter().map(row).collect::<Result<Vec<_>>>()?;
        let lines = ran.outcome.console.lines().map(|line| line.trim_end_matches('\r'));
        let begins = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
        same("lines", lines.filter(begins).collect(), expected.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

/// Who wants memory when there is none is killed by the kernel, at the access that wanted it or in the system call.
fn out_of_memory() -> Result<()> {
    run(&Config { mem: 64, ..program("memory hog") }, |ran| {
        ran.ended(0)?;
        let signal = |death: &Report| death.signal.map(|info| (info.signal, info.code));
        let deaths: Vec<_> = ran.deaths.iter().map(|death| (signal(death), death.slot)).collect();
        let by_kernel = Some((9, 0x80));
        // The bystanders are ended by their parent.
        let bystander = (Some(TERM), None);
        let access = (by_kernel, Some(Slot::El0Sync));
        same("deaths", deaths, vec![access, bystander, (by_kernel, None), bystander, access])?;
        for death in ran.deaths.iter().filter(|death| death.slot.is_some()) {
            same("class", Esr(death.esr.0).ec(), DATA)?;
            same("place", death.place, Some(WRITABLE))?;
            same("si_addr", death.signal.map(|info| info.addr), Some(death.far))?;
        }
        Ok(())
    })
}
