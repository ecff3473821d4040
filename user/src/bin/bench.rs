//! `bench [--short] [ROW]...`: what system calls, faults, interrupts and switches cost, seen from EL0.
//!
//! It is made for time by instructions, one a nanosecond (QEMU's `-icount shift=0`): then a time is a number of instructions. The
//! counter moves in steps of some instructions, so a batch is many operations, and there are several batches. Each row is told as one
//! JSON line, with the nanoseconds that an operation took in the fastest batch and in the one in the middle; or why it cannot be had.
//! Linux runs it as well, as init too. `--short` does one small batch a row, for a trace. `cargo xtask bench` runs it, and says what
//! the rows are.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::ffi::CStr;
use core::fmt;
use linux_raw_sys::auxvec::AT_EXECFN;
use linux_raw_sys::general::{__NR_getpid, __NR_sched_yield, PROT_READ, PROT_WRITE};
use user::{Args, Errno, Signal, println, process, sys, time};

user::entry!(main);

/// As the first argument: one small batch a row.
const SHORT: &CStr = c"--short";
/// As the first argument: be replaced by this program again, as often as the next one says.
const EXEC: &CStr = c"--exec";

/// Batches of a row.
const BATCHES: usize = 9;
/// As many do when they have taken this long, in nanoseconds: on a kernel that ticks seldom, interrupts are long in coming.
const FEW_BATCHES: usize = 3;
const LONG: u64 = 100 * time::MILLISECOND;
/// How often a short batch repeats at most.
const SHORT_REPEATS: u64 = 1;

/// A call that no kernel has.
const UNKNOWN: u32 = 4000;
/// Pages that are written, besides the program's own, for a fork to copy.
const PAGES: u64 = 64;
const PAGE_SIZE: u64 = 4096;

// What a trace finds the rows by: functions that do nothing. What an operation executes is what is in the sections less what is in the
// baselines.
global_asm!(
    ".irp name, row_begin, section_begin, section_end, baseline_begin, baseline_end",
    ".global \\name",
    "\\name:",
    "ret",
    ".endr",
);

unsafe extern "C" {
    safe fn row_begin();
    safe fn section_begin();
    safe fn section_end();
    safe fn baseline_begin();
    safe fn baseline_end();
}

/// What a batch took: nanoseconds, and how many operations it was.
type Batch = Result<(i64, u64), Errno>;

fn main(mut args: Args) -> i32 {
    let boot = nanoseconds(time::counter());
    let path = args.auxiliary(AT_EXECFN).expect("every kernel tells a program its path");
    // SAFETY: a string on the stack, where nobody writes.
    let path = unsafe { CStr::from_ptr(core::ptr::with_exposed_provenance(path as usize)) };
    args.next();
    let mut words = args.clone();
    let short = match words.next() {
        Some(word) if word == EXEC => return exec(path, words.number_or(0)),
        Some(word) if word == SHORT => {
            args.next();
            true
        }
        _ => false,
    };
    let bench = Bench { short, wanted: args };

    bench.row("boot", 1, &|_| Ok((boot, 1)));
    bench.row("getpid", 2000, &|n| Ok((section(&mut || calls(__NR_getpid, n)), n)));
    bench.row("unknown", 2000, &|n| Ok((section(&mut || calls(UNKNOWN, n)), n)));
    bench.row("page", 256, &first_writes);
    bench.row("fork", 20, &|n| children(n, || 0));
    bench.row("fork.page", 8, &fork_pages);
    bench.row("fault", 20, &|n| children(n, null_write));
    bench.row("exec", 20, &|n| execs(path, n));
    for (row, others, rounds) in
        [("yield.1", 1, 500), ("yield.10", 10, 100), ("yield.100", 100, 10), ("yield.1000", 1000, 4)]
    {
        let helper = || loop {
            calls(__NR_sched_yield, 1);
        };
        bench.row_beside(others, helper, row, rounds, &|n| {
            Ok((section(&mut || calls(__NR_sched_yield, n)), n * (others as u64 + 1)))
        });
    }
    for (row, sleepers) in [("timer", 0), ("timer.1", 1), ("timer.10", 10), ("timer.100", 100), ("timer.1000", 1000)] {
        let helper = || sys::nanosleep(1000 * time::SECOND).map_or(1, |()| 0);
        bench.row_beside(sleepers, helper, row, 20, &|n| Ok((timer(n), n)));
    }
    bench.row("preempt", 20, &preemptions);
    0
}

/// What is to be run, and how.
struct Bench {
    short: bool,
    /// The rows' names; none for all.
    wanted: Args,
}

impl Bench {
    /// Does a row, if it is wanted. `batch` repeats its operation so often, or does so many times several.
    fn row(&self, name: &str, repeats: u64, batch: &dyn Fn(u64) -> Batch) {
        self.row_beside(0, || 0, name, repeats, batch);
    }

    /// The same while so many other processes do `helper`.
    fn row_beside(&self, helpers: usize, helper: fn() -> i32, name: &str, repeats: u64, batch: &dyn Fn(u64) -> Batch) {
        let mut wanted = self.wanted.clone().peekable();
        if wanted.peek().is_some() && !wanted.any(|word| word.to_bytes() == name.as_bytes()) {
            return;
        }
        let (batches, repeats) = if self.short { (1, repeats.min(SHORT_REPEATS)) } else { (BATCHES, repeats) };
        // Hundredths of a nanosecond.
        let mut costs = [0; BATCHES];
        let (mut done, mut count) = (0, 0);
        let result = Helpers::start(helpers, helper).and_then(|_helpers| {
            row_begin();
            let start = time::counter();
            let is_long = || time::counter() - start > time::ticks(LONG);
            while done < batches && (done < FEW_BATCHES || !is_long()) {
                let (time, operations) = batch(repeats).map_err(Failure::Batch)?;
                costs[done] = time * 100 / operations as i64;
                done += 1;
                count += operations;
            }
            Ok(())
        });
        let costs = &mut costs[..done];
        costs.sort_unstable();
        match result {
            Ok(()) => {
                let (min, median) = (Decimal(costs[0]), Decimal(costs[done / 2]));
                println!(
                    r#"{{"schema":1,"kind":"bench","row":"{name}","count":{count},"min":{min},"median":{median}}}"#
                );
            }
            Err(why) => println!(r#"{{"schema":1,"kind":"bench","row":"{name}","error":"{why}"}}"#),
        }
    }
}

/// Hundredths.
struct Decimal(i64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}.{:02}", self.0.abs() / 100, self.0.abs() % 100)
    }
}

/// Why there is no figure.
enum Failure {
    /// There are only so many other processes, of how many.
    Helpers(usize, usize, Errno),
    /// The operation itself.
    Batch(Errno),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Helpers(started, wanted, errno) => write!(f, "{started} of {wanted} processes, then {errno}"),
            Failure::Batch(errno) => write!(f, "{errno}"),
        }
    }
}

/// Other processes; killed when dropped. Their numbers are in memory of its own, as what is on the stack would cost each fork.
struct Helpers {
    pids: *mut i32,
    count: usize,
}

impl Helpers {
    /// Starts them, and gives each time to get where it stays.
    fn start(count: usize, helper: fn() -> i32) -> Result<Helpers, Failure> {
        let mut helpers = Helpers { pids: core::ptr::null_mut(), count: 0 };
        if count > 0 {
            helpers.pids = sys::mmap(count * size_of::<i32>(), PROT_READ | PROT_WRITE).map_err(Failure::Batch)?.cast();
        }
        while helpers.count < count {
            let pid = process::spawn(helper).map_err(|errno| Failure::Helpers(helpers.count, count, errno))?;
            // SAFETY: there is room for `count`.
            unsafe { helpers.pids.add(helpers.count).write(pid) };
            helpers.count += 1;
        }
        if count > 0 {
            sys::nanosleep(count as u64 * 50 * time::MICROSECOND).map_err(Failure::Batch)?;
        }
        Ok(helpers)
    }

    fn pids(&self) -> impl Iterator<Item = i32> {
        // SAFETY: so many are written.
        (0..self.count).map(|index| unsafe { self.pids.add(index).read() })
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.pids().for_each(|pid| sys::kill(pid, Signal::SIGKILL).expect("a child can be killed"));
        self.pids().for_each(|pid| _ = process::wait(pid).expect("a child can be waited for"));
        if self.count > 0 {
            // SAFETY: nobody looks there any more.
            unsafe { sys::munmap(self.pids.cast(), self.count * size_of::<i32>()) }.expect("it is mapped");
        }
    }
}

/// Ticks of the counter in nanoseconds.
fn nanoseconds(ticks: u64) -> i64 {
    (u128::from(ticks) * u128::from(time::SECOND) / u128::from(time::frequency())) as i64
}

/// The time that `work` takes.
fn section(work: &mut dyn FnMut()) -> i64 {
    section_begin();
    let time = time_of(work);
    section_end();
    time
}

/// The same, for what is taken off.
fn baseline(work: &mut dyn FnMut()) -> i64 {
    baseline_begin();
    let time = time_of(work);
    baseline_end();
    time
}

fn time_of(work: &mut dyn FnMut()) -> i64 {
    let start = time::counter();
    work();
    nanoseconds(time::counter() - start)
}

/// A call without arguments, `times` times: four instructions each, its own included.
fn calls(number: u32, times: u64) {
    // SAFETY: the calls that are made change no memory.
    unsafe {
        asm!(
            "2:",
            "mov w8, {number:w}",
            "svc #0",
            "subs {times}, {times}, #1",
            "b.ne 2b",
            number = in(reg) number,
            times = inout(reg) times => _,
            out("x8") _,
            inout("x0") 0u64 => _,
            options(nostack)
        );
    }
}

/// The first write to each of so many pages of fresh memory: four instructions each.
fn first_writes(pages: u64) -> Batch {
    // Less than Linux makes one huge page of.
    let memory = sys::mmap((pages * PAGE_SIZE) as usize, PROT_READ | PROT_WRITE)?;
    let time = section(&mut || write_pages(memory, pages));
    // SAFETY: nothing else lives there.
    unsafe { sys::munmap(memory, (pages * PAGE_SIZE) as usize) }?;
    Ok((time, pages))
}

fn write_pages(memory: *mut u8, pages: u64) {
    // SAFETY: the pages are mapped, and no Rust value lives there.
    unsafe {
        asm!(
            "2:",
            "strb wzr, [{page}]",
            "add {page}, {page}, #1, lsl #12",
            "subs {pages}, {pages}, #1",
            "b.ne 2b",
            page = inout(reg) memory => _,
            pages = inout(reg) pages => _,
            options(nostack)
        );
    }
}

/// Children that do `work` and end, one after the other, each waited for.
fn children(times: u64, work: fn() -> i32) -> Batch {
    let mut result = Ok(());
    let time = section(&mut || result = run_children(times, work));
    result.map(|()| (time, times))
}

fn run_children(times: u64, work: fn() -> i32) -> Result<(), Errno> {
    (0..times).try_for_each(|_| process::run(work).map(drop))
}

/// Children of a process that has so many pages more, less those of one that has not.
fn fork_pages(times: u64) -> Batch {
    let child = || 0;
    let mut result = Ok(());
    let without = baseline(&mut || result = run_children(times, child));
    result?;
    let memory = sys::mmap((PAGES * PAGE_SIZE) as usize, PROT_READ | PROT_WRITE)?;
    write_pages(memory, PAGES);
    let with = section(&mut || result = run_children(times, child));
    // SAFETY: nothing else lives there.
    unsafe { sys::munmap(memory, (PAGES * PAGE_SIZE) as usize) }?;
    result.map(|()| (with - without, times * PAGES))
}

/// Dies of it.
fn null_write() -> i32 {
    // SAFETY: nothing is mapped there.
    unsafe { asm!("strb wzr, [{}]", in(reg) 0u64, options(nostack)) };
    0
}

/// A child that is replaced by this program so often, one that ends at once taken off.
fn execs(path: &'static CStr, times: u64) -> Batch {
    let mut result = Ok(user::Status::Exited(0));
    let mut replaced = |times| result = process::run(|| exec(path, times));
    let without = baseline(&mut || replaced(1));
    let with = section(&mut || replaced(times + 1));
    result.map(|_| (with - without, times))
}

/// Becomes this program again, `times` times.
fn exec(path: &'static CStr, times: u64) -> i32 {
    if times == 0 {
        return 0;
    }
    // A number in decimal, behind zeroes.
    let mut digits = *b"00\0";
    digits[0] += ((times - 1) / 10) as u8;
    digits[1] += ((times - 1) % 10) as u8;
    let number = CStr::from_bytes_with_nul(&digits).expect("there is one NUL, at the end");
    process::Argv::new([path, EXEC, number]).expect("there are three").exec(path);
    process::EXEC_FAILED
}

/// A time between two reads of the counter in which something else ran, in nanoseconds: more than the loop's instructions.
const GAP: i64 = 48;
/// One in which another process had its turn: more than an interrupt.
const AWAY: i64 = 4_000;

/// Instructions of the loop that reads the counter, and how many more there are after a gap.
const LOOP: i64 = 6;
const AFTER_GAP: i64 = 3;

/// What that loop saw.
struct Spun {
    /// From its beginning to its end, in nanoseconds, less its own instructions.
    lost: i64,
    /// From its beginning to its end.
    time: i64,
}

/// Reads the counter again and again until it was interrupted for as often as there is room in `gaps`, which then has how long, in ticks.
fn spin(gaps: &mut [u64]) -> Spun {
    let threshold = time::ticks(GAP as u64).max(1);
    let range = gaps.as_mut_ptr_range();
    let (first, last, rounds): (u64, u64, u64);
    // SAFETY: writes `gaps`.
    unsafe {
        asm!(
            "mrs {first}, cntvct_el0",
            "mov {last}, {first}",
            "2:",
            "mrs {now}, cntvct_el0",
            "add {rounds}, {rounds}, #1",
            "sub {gap}, {now}, {last}",
            "mov {last}, {now}",
            "cmp {gap}, {threshold}",
            "b.lo 2b",
            "str {gap}, [{next}], #8",
            "cmp {next}, {end}",
            "b.lo 2b",
            first = out(reg) first,
            last = out(reg) last,
            now = out(reg) _,
            gap = out(reg) _,
            rounds = inout(reg) 0u64 => rounds,
            threshold = in(reg) threshold,
            next = inout(reg) range.start => _,
            end = in(reg) range.end,
            options(nostack)
        );
    }
    let time = nanoseconds(last - first);
    Spun { time, lost: time - LOOP * rounds as i64 - AFTER_GAP * (gaps.len() as i64 - 1) }
}

/// Interrupts by the timer, of a process that has the machine to itself.
fn timer(interrupts: u64) -> i64 {
    let mut room = [0; 32];
    let mut lost = 0;
    section(&mut || lost = spin(&mut room[..interrupts as usize]).lost);
    lost
}

/// Switches that an interrupt makes, back and forth between two processes that do nothing but count; a child's beginning and end are
/// taken off.
fn preemptions(times: u64) -> Batch {
    spin(&mut [0]);
    // Two instructions each; the child's end is in the last turn, which must be as well to be told from an interrupt.
    let turn = spin(&mut [0]).time as u64 / 2;
    let turns = (times / 2).max(1);
    let (little, much) = (turn / 4, turns * turn);
    // A turn may end between the fork and the first look at the counter.
    let without =
        (0..10).map(|_| away(baseline, little, 4)).find(|found| !matches!(found, Ok((_, turns)) if *turns != 1));
    let (without, one) = without.unwrap_or(Err(Errno::EAGAIN))?;
    let (with, all) = away(section, much, turns as usize + 4)?;
    let turns = all.saturating_sub(one).max(1);
    Ok((with - without - 2 * (much - little) as i64 - LOOP * turns as i64, 2 * turns))
}

/// Looks at the counter beside a child that counts to `work`, by two instructions each time, until it was interrupted `gaps` times;
/// the time that the child's turns took, and how many they were.
fn away(part: fn(&mut dyn FnMut()) -> i64, work: u64, gaps: usize) -> Batch {
    let child = process::spawn(|| {
        // SAFETY: changes a register.
        unsafe { asm!("2:", "subs {0}, {0}, #1", "b.hi 2b", inout(reg) work => _, options(nomem, nostack)) };
        0
    })?;
    let mut room = [0; 32];
    let gaps = &mut room[..gaps];
    part(&mut || _ = spin(gaps));
    process::wait(child)?;
    let turns = gaps.iter().map(|&ticks| nanoseconds(ticks)).filter(|&gap| gap > AWAY);
    Ok((turns.clone().sum(), turns.count() as u64))
}
