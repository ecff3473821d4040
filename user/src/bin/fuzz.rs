//! `fuzz SEED FIRST COUNT` tries so many cases of a seed, from the first on; `fuzz replay FILE` those that the file holds. It is to be
//! the machine's first program: nobody else is safe from its children.
//!
//! A case is done by a child, which may do anything at all, with all its children. When it has ended, or had its time, all are killed; then
//! the kernel's own audit (`/proc/audit`, which the test image has) must find what it found before. What is wrong is told in a line
//! `fuzz: failed NUMBER: WHY`, and ends the machine with 1. `cargo xtask fuzz` reads these lines (docs/fuzz.md).
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::fmt::Display;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use linux_raw_sys::general::{self as linux, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE};
use user::fuzz::calls::CALLS;
use user::fuzz::memory::*;
use user::fuzz::{self, Case, Step, Value, generate};
use user::{Args, Errno, Signal, counters::Counters, eprintln, io, println, process, sys, time};

user::entry!(main);

/// How long a case has, of the machine's time.
const PATIENCE: u64 = 4 * time::MILLISECOND;
/// How long a task that was killed may still be there.
const DYING: u64 = 400 * time::MILLISECOND;
/// Processes that fork on purpose, of one case.
const FORKS_MAX: u32 = 3;

/// Bytes of a file of cases, at most.
const CASES_MAX: usize = 1 << 18;

#[repr(C)]
struct Registers([u64; 33]);
const SP: usize = 31;
const NZCV: usize = 32;

global_asm!(include_str!("fuzz.S"));

unsafe extern "C" {
    fn fuzz_call(registers: *mut Registers);
    fn fuzz_go(registers: *mut Registers);
    static fuzz_back: u8;
}

fn main(args: Args) -> i32 {
    let words: [&str; 4] = core::array::from_fn(|index| {
        args.clone().nth(index + 1).and_then(|word| word.to_str().ok()).unwrap_or_default()
    });
    let number = |text: &str| text.parse::<u64>().ok();
    match (words, number(words[0]), number(words[1]), number(words[2])) {
        _ if sys::getpid() != 1 => {}
        (["replay", _, "", ""], ..) => return replay(args),
        ([.., ""], Some(seed), Some(first), Some(count)) => {
            let watcher = Watcher::new(seed);
            let whole =
                (first..first.saturating_add(count)).all(|number| watcher.attempt(&generate::case(seed, number)));
            return watcher.end(whole);
        }
        _ => {}
    }
    eprintln!("usage, as the machine's first program: fuzz SEED FIRST COUNT, or fuzz replay FILE");
    2
}

fn replay(args: Args) -> i32 {
    let memory = sys::mmap(CASES_MAX, PROT_READ | PROT_WRITE).expect("memory for a file can be had");
    // SAFETY: mapped just now, for nothing else, and zero.
    let text = unsafe { core::slice::from_raw_parts_mut(memory, CASES_MAX) };
    let text = args.clone().nth(2).map(|path| io::read_file(path, text));
    let Some(Ok(Ok(text))) = text.map(|text| text.map(core::str::from_utf8)) else {
        eprintln!("fuzz: the file of cases cannot be read");
        return 2;
    };
    let watcher = Watcher::new(0);
    let mut whole = true;
    match fuzz::read(text, |case| {
        whole = watcher.attempt(case);
        whole
    }) {
        Err(line) if whole => {
            eprintln!("fuzz: line {line} of the file of cases means nothing");
            2
        }
        _ => watcher.end(whole),
    }
}

/// Does cases, and looks after them.
struct Watcher {
    seed: u64,
    /// What the audit found before the first case.
    audit: Option<Audit>,
}

#[derive(Clone, Copy, PartialEq)]
struct Audit {
    text: [u8; 256],
    used: usize,
}

impl Audit {
    /// None if the kernel has no audit.
    fn read() -> Option<Audit> {
        let mut audit = Audit { text: [0; 256], used: 0 };
        audit.used = io::read_file(c"/proc/audit", &mut audit.text).ok()?.len();
        Some(audit)
    }

    fn text(&self) -> &str {
        core::str::from_utf8(&self.text[..self.used]).unwrap_or_default()
    }
}

/// What cases find: memory of all kinds, and open files from number 3 on.
fn set_up() {
    for path in [c"/bin/hello", c"/bin", c"/proc/counters", c"/"] {
        sys::open(path).unwrap_or_else(|errno| panic!("{path:?} cannot be opened: {errno}"));
    }
    let map = |start: u64, size: u64, rights: u32| {
        let flags = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_FIXED;
        let args = [start, size, rights.into(), flags.into(), u64::MAX, 0].map(|word| word as usize);
        // SAFETY: no Rust value is there.
        let mapped = unsafe { sys::raw(linux::__NR_mmap, args) };
        assert!(mapped as u64 == start, "the memory of a case can be mapped");
    };
    map(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
    map(CLOSED, PAGE, PROT_NONE);
    map(READ_ONLY, PAGE, PROT_READ);
    map(CODE, PAGE, PROT_READ | PROT_EXEC);
    let at = |address: u64| core::ptr::with_exposed_provenance_mut::<u8>(address as usize);
    // SAFETY: memory mapped above, where no Rust value is.
    unsafe { at(DATA).write_bytes(0, DATA_SIZE as usize) };
    for (place, string) in STRINGS.iter().enumerate() {
        // SAFETY: as above; each string is shorter than its place, which is zero.
        unsafe { at(STRINGS_AT + STRING_SIZE * place as u64).copy_from(string.as_ptr(), string.len()) };
    }
    for (place, pair) in PAIRS.iter().enumerate() {
        // SAFETY: as above.
        unsafe { at(PAIRS_AT + 16 * place as u64).cast::<[u64; 2]>().write(*pair) };
    }
}

impl Watcher {
    fn new(seed: u64) -> Watcher {
        set_up();
        let mut watcher = Watcher { seed, audit: None };
        // What the first of a kind leaves behind: lists that were once in use, pages that were once written to.
        let mut first = Case::new(0);
        let nanosleep = CALLS.iter().find(|call| call.name == "nanosleep");
        let args = [PAIRS_AT + 2 * 16, 0, 0, 0, 0, 0].map(Value::Number);
        nanosleep.map(|call| first.push(Step::Call { call, args }));
        first.push(Step::Fork);
        for _ in 0..3 {
            let _ = watcher.look_after(&first);
        }
        watcher.audit = Audit::read();
        watcher
    }

    /// Does a case; false when the machine is to end, as something came of it, which is told.
    fn attempt(&self, case: &Case) -> bool {
        println!("\nfuzz: case {}", case.number);
        self.look_after(case)
    }

    /// Starts a case and sees it end, or ends it.
    fn look_after(&self, case: &Case) -> bool {
        let number = case.number;
        let failed = |why: &dyn Display| {
            println!("\nfuzz: failed {number}: {why}");
            false
        };
        let intact = digest();
        let child = match process::spawn(|| Child::new(case, self.seed, intact).run()) {
            Ok(child) => child,
            Err(errno) => return failed(&format_args!("no child can be started: {errno}")),
        };
        // That it takes longer is no failure.
        let _ = within(PATIENCE, || !matches!(sys::wait4(child, linux::WNOHANG), Ok((0, _))));
        let gone = within(DYING, || {
            // Whoever was being made while all were killed is left.
            let _ = sys::kill(-1, Signal::SIGKILL);
            while matches!(sys::wait4(-1, linux::WNOHANG), Ok((1.., _))) {}
            sys::wait4(-1, linux::WNOHANG).err() == Some(Errno::ECHILD)
        });
        match (self.audit, Audit::read()) {
            _ if !gone => failed(&"a task does not die of SIGKILL"),
            (Some(before), Some(after)) if before != after => {
                failed(&format_args!("left behind: {} instead of {}", Line(after.text()), Line(before.text())))
            }
            // Of the cases before the first, nothing is said.
            (_, Some(_)) => true,
            (_, None) => failed(&"the kernel has no audit"),
        }
    }

    /// Tells what was reached, and that this was all.
    fn end(&self, whole: bool) -> i32 {
        if let Ok(counters) = Counters::read() {
            counters.rows().for_each(|(name, count)| println!("fuzz: counter {name} {count}"));
        }
        let mut text = [0; 4096];
        let text = io::read_file(c"/proc/coverage", &mut text).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default().lines().for_each(|line| println!("fuzz: call {line}"));
        println!("fuzz: end");
        i32::from(!whole)
    }
}

/// Whether `done` holds within so many nanoseconds; it is asked more seldom as time goes by.
fn within(limit: u64, done: impl Fn() -> bool) -> bool {
    let (mut waited, mut nap) = (0, 50 * time::MICROSECOND);
    while !done() {
        if waited >= limit {
            return false;
        }
        let _ = sys::nanosleep(nap);
        waited += nap;
        nap += nap / 2;
    }
    true
}

/// The lines of a text as one.
struct Line<'a>(&'a str);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0
            .lines()
            .enumerate()
            .try_for_each(|(number, line)| write!(f, "{}{line}", if number == 0 { "" } else { ", " }))
    }
}

/// A digest of what this program's constants hold: a case may put other memory in their place, and what it tells then is no
/// failure of the kernel's.
fn digest() -> u64 {
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for call in CALLS {
        let words = [call.number as usize, call.args.len(), call.errors.len(), call.name.len()];
        let errors = call.errors.iter().map(|errno| errno.as_result() as usize);
        for word in words.into_iter().chain(errors) {
            digest = (digest ^ word as u64).wrapping_mul(0x100_0000_01b3);
        }
    }
    digest
}

/// A process of a case.
struct Child<'a> {
    case: &'a Case,
    seed: u64,
    intact: u64,
    /// Its last child.
    child: u64,
    /// What the last call answered.
    result: u64,
}

/// How often this process and those that it comes from have forked on purpose.
static FORKS: AtomicU32 = AtomicU32::new(0);

impl<'a> Child<'a> {
    fn new(case: &'a Case, seed: u64, intact: u64) -> Child<'a> {
        Child { case, seed, intact, child: 1, result: 0 }
    }

    /// Does all steps, if it lives as long.
    fn run(mut self) -> i32 {
        for step in self.case.steps() {
            if let Err(why) = self.step(step)
                && digest() == self.intact
            {
                println!(
                    "\nfuzz: failed {}: {step}: {why}, answered {:#x} (seed {})",
                    self.case.number, self.result, self.seed
                );
                return 1;
            }
        }
        0
    }

    fn value(&self, value: Value) -> u64 {
        match value {
            Value::Number(number) => number,
            Value::Me => sys::getpid() as u64,
            Value::Child => self.child,
            Value::Result => self.result,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), &'static str> {
        match step {
            Step::Call { call, args } => {
                let args = args.map(|value| self.value(value));
                let answer = self.call(call.number, args)?;
                let wrong = call.judge(&args, sys::getpid() as u64, answer);
                if call.name == "clone" && answer > 0 {
                    self.child = answer as u64;
                }
                wrong.map_or(Ok(()), Err)
            }
            Step::Unknown { number, args } => {
                let args = args.map(|value| self.value(value));
                let answer = self.call(*number, args)?;
                if answer == Errno::ENOSYS.as_result() { Ok(()) } else { Err("not ENOSYS") }
            }
            Step::Code { seed, words, used } => {
                let go = || go(*seed, &words[..*used]);
                // Few instructions come back: mostly a child of this process is to die of them.
                if seed.is_multiple_of(4) {
                    go();
                } else if let Ok(child) = process::spawn(|| {
                    go();
                    0
                }) {
                    self.child = child as u64;
                    let _ = process::wait(child);
                }
                Ok(())
            }
            Step::Fork => {
                if FORKS.fetch_add(1, Relaxed) < FORKS_MAX
                    && let Ok(child @ 1..) = sys::fork()
                {
                    self.child = child as u64;
                }
                Ok(())
            }
            Step::Fresh(pages) => fresh((*pages).min(64) as usize),
        }
    }

    /// A system call, of which all registers but x0 come back as they were.
    fn call(&mut self, number: u32, args: [u64; 6]) -> Result<isize, &'static str> {
        let mut rng = fastrand::Rng::with_seed(u64::from(number) ^ args[0]);
        let mut before: [u64; 33] = core::array::from_fn(|_| rng.u64(..));
        before[..6].copy_from_slice(&args);
        before[8] = number.into();
        before[NZCV] &= 0xf << 28;
        let mut after = Registers(before);
        // SAFETY: what the call does to memory is this process's own risk.
        unsafe { fuzz_call(&mut after) };
        self.result = after.0[0];
        let stack = number == linux::__NR_clone && after.0[0] == 0 && args[1] != 0;
        let is_same = |index: usize| after.0[index] == before[index] || index == SP && stack && after.0[SP] == args[1];
        if (1..before.len()).all(is_same) { Ok(after.0[0] as isize) } else { Err("a register is not as it was") }
    }
}

/// Executes instructions, which may come back.
fn go(seed: u64, words: &[u32]) {
    let page = core::ptr::with_exposed_provenance_mut::<u32>(CODE as usize);
    // ldr x30, the address behind the next instruction; br x30
    let back = [0x5800_005e, 0xd61f_03c0];
    let address = (&raw const fuzz_back).expose_provenance() as u64;
    let end = [address as u32, (address >> 32) as u32];
    // SAFETY: the page is for nothing else.
    let written = unsafe {
        sys::mprotect(page.cast(), PAGE as usize, PROT_READ | PROT_WRITE).is_ok() && {
            let words = words.iter().chain(&back).chain(&end);
            words.enumerate().for_each(|(index, word)| page.add(index).write_volatile(*word));
            sys::mprotect(page.cast(), PAGE as usize, PROT_READ | PROT_EXEC).is_ok()
        }
    };
    // A case may have unmapped it.
    if written {
        let mut registers = Registers([0; 33]);
        registers.0[..32].copy_from_slice(&generate::registers(seed));
        // SAFETY: what they do is this process's own risk.
        unsafe { fuzz_go(&mut registers) };
    }
}

/// Fresh memory is zero.
fn fresh(pages: usize) -> Result<(), &'static str> {
    let Ok(start) = sys::mmap(pages * PAGE as usize, PROT_READ | PROT_WRITE) else { return Ok(()) };
    // SAFETY: mapped just now, for nothing else.
    let words = unsafe { core::slice::from_raw_parts_mut(start.cast::<u64>(), pages * PAGE as usize / 8) };
    let zero = words.iter().all(|word| *word == 0);
    words.fill(0xa5a5_5a5a_dead_f00d);
    if zero { Ok(()) } else { Err("fresh memory that is not zero") }
}
