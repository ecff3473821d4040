//! `registers [INTERRUPTS [SEED]]`: every register holds across every system call, and across interrupts and switches to
//! another task that fills them differently. `registers observe` is for `observe`.
//!
//! A round loads x0..x30, SP, NZCV, TPIDR_EL0, v0..v31, FPCR and FPSR with random values, makes one system call or spins,
//! stores them all and compares. `registers fresh` is for the program's own use: that a new program inherits no register.
#![no_std]
#![no_main]

#[path = "../rounds.rs"]
mod rounds;

use core::{fmt::Display, mem::size_of};
use fastrand::Rng;
use linux_raw_sys::{general as linux, ioctl};
use rounds::{Base, CALL, Round, Routine};
use user::{Args, Errno, Status, counters::Counters, eprintln, println, process, sys, time};

user::entry!(main);

/// A loop.
const SPIN: [Routine; 2] = [spin_by_sp, spin_by_x30];

unsafe extern "C" {
    fn spin_by_sp(round: *mut Round);
    fn spin_by_x30(round: *mut Round);
    fn look(round: *mut Round);
}

/// Runs one round in which x0.. hold what `set` puts there. Gives x0 as it became, and whether all other registers held.
fn round(
    rng: &mut Rng,
    base: Base,
    routines: [Routine; 2],
    context: &dyn Display,
    set: impl FnOnce(&mut [u64; 31]),
) -> (u64, bool) {
    let mut round = Round::random(rng);
    set(&mut round.before.x);
    round.run(base, routines);
    round.outcome(context)
}

/// What a call may return.
enum Expect {
    Exactly(isize),
    Success,
    Anything,
}
use Expect::{Anything, Exactly, Success};

const fn error(errno: Errno) -> Expect {
    Exactly(errno.as_result())
}

struct Call {
    name: &'static str,
    number: u32,
    args: [u64; 6],
    /// How many of `args` the call takes; the further registers hold random values.
    used: usize,
    expect: Expect,
}

macro_rules! call {
    ($name:ident($($arg:expr),*) $expect:expr) => {{
        let given: &[u64] = &[$($arg as i64 as u64),*];
        let mut args = [0; 6];
        args[..given.len()].copy_from_slice(given);
        Call { name: stringify!($name).trim_start_matches("__NR_"), number: linux::$name, args, used: given.len(), expect: $expect }
    }};
}

const PAGE: usize = 4096;
/// Rounds a call and base.
const REPEAT: usize = 8;

/// Makes every call, harmless, and gives `tell` its name, its answer and whether all other registers held; whether all did,
/// and were answered as they should.
fn calls(rng: &mut Rng, base: Base, mut tell: impl FnMut(&dyn Display, u64, bool)) -> bool {
    let page = || sys::mmap(PAGE, linux::PROT_READ | linux::PROT_WRITE).expect("a page can be mapped");
    let (scratch, spare) = (page(), page().expose_provenance());
    // SAFETY: the page is fresh and no Rust value's.
    unsafe { scratch.cast::<linux::timespec>().write(linux::timespec { tv_sec: 0, tv_nsec: 1 }) };
    let moment = scratch.expose_provenance();
    let out = moment + PAGE / 2;
    let root = c"/".as_ptr().expose_provenance();
    let nowhere = c"/no such file".as_ptr().expose_provenance();
    let directory = sys::open(c"/").expect("the root directory can be opened");
    let here = linux::AT_FDCWD;
    let rights = linux::PROT_READ | linux::PROT_WRITE;
    let sharing = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS;

    // All but those that do not come back: exit, exit_group, and an execve that works.
    let calls = [
        call!(__NR_write(1, out, 0) Exactly(0)),
        call!(__NR_writev(1, out, 0) Exactly(0)),
        call!(__NR_read(0, out, 0) Exactly(0)),
        call!(__NR_openat(here, nowhere, linux::O_RDONLY) error(Errno::ENOENT)),
        call!(__NR_openat(here, root, linux::O_RDONLY) Success),
        call!(__NR_close(-1) error(Errno::EBADF)),
        call!(__NR_fstat(directory, out) Exactly(0)),
        call!(__NR_newfstatat(here, root, out, 0) Exactly(0)),
        call!(__NR_readlinkat(here, root, out, 64) error(Errno::EINVAL)),
        call!(__NR_lseek(directory, 0, linux::SEEK_SET) Exactly(0)),
        call!(__NR_getdents64(directory, out, PAGE / 2) Success),
        call!(__NR_ioctl(directory, ioctl::TCGETS, out) error(Errno::ENOTTY)),
        call!(__NR_getpid() Success),
        call!(__NR_getppid() Success),
        call!(__NR_gettid() Success),
        call!(__NR_sched_yield() Exactly(0)),
        call!(__NR_nanosleep(moment, 0) Exactly(0)),
        call!(__NR_clock_nanosleep(linux::CLOCK_MONOTONIC, 0, moment, 0) Exactly(0)),
        call!(__NR_clock_gettime(linux::CLOCK_MONOTONIC, out) Exactly(0)),
        call!(__NR_clone(linux::SIGCHLD, 0) Success),
        call!(__NR_execve(nowhere, 0, 0) error(Errno::ENOENT)),
        call!(__NR_wait4(-1, out, 0, 0) error(Errno::ECHILD)),
        call!(__NR_kill(sys::getpid(), 0) Exactly(0)),
        call!(__NR_brk(0) Success),
        call!(__NR_mmap(0, PAGE, rights, sharing, -1, 0) Success),
        call!(__NR_munmap(spare, PAGE) Exactly(0)),
        call!(__NR_mprotect(moment, PAGE, rights) Exactly(0)),
        call!(__NR_uname(out) Exactly(0)),
        call!(__NR_getrandom(out, 16, 0) Exactly(16)),
        call!(__NR_set_tid_address(out) Success),
        call!(__NR_set_robust_list(out, size_of::<linux::robust_list_head>()) Exactly(0)),
        call!(__NR_rseq(out, 0, 0, 0) Anything),
        call!(__NR_prlimit64(0, linux::RLIMIT_STACK, 0, out) Exactly(0)),
        Call { name: "unknown", number: u32::MAX, args: [0; 6], used: 0, expect: error(Errno::ENOSYS) },
    ];
    let mut all_held = true;
    for (row, call) in calls.iter().enumerate() {
        let mut last = (0, true);
        for _ in 0..REPEAT {
            let (x0, held) = round(rng, base, CALL, &format_args!("registers: {}", call.name), |x| {
                x[..call.used].copy_from_slice(&call.args[..call.used]);
                // The kernel looks at w8 only.
                x[8] = x[8] & !u64::from(u32::MAX) | u64::from(call.number);
            });
            let mut right = held & call.expect.matches(x0, call.name);
            match call.number {
                // The copy of this process: its registers came back as well.
                linux::__NR_clone if x0 == 0 => sys::exit_group(i32::from(!held)),
                linux::__NR_clone => right &= process::wait(x0 as i32).is_ok_and(Status::success),
                linux::__NR_openat if x0 as i64 >= 0 => sys::close(x0 as i32).expect("an open file can be closed"),
                _ => {}
            }
            last = (x0, held);
            all_held &= right;
            if !right {
                break;
            }
        }
        tell(&format_args!("{row}-{}", call.name), last.0, last.1);
    }
    println!("registers: {} system calls, {REPEAT} rounds each", calls.len());
    all_held
}

/// For `observe`: what each call leaves in the registers.
fn observe() -> i32 {
    for (name, base) in [("sp", Base::Sp), ("x30", Base::X30)] {
        let tell = |call: &dyn Display, x0: u64, held: bool| {
            let answer = Errno::check(x0 as isize).err();
            println!("registers.{call}.{name} error: {answer:?}, others held: {held}");
        };
        let status = process::run(|| {
            // What of it is wrong is told.
            calls(&mut Rng::with_seed(1), base, tell);
            0
        });
        println!("registers.{name} {}", status.expect("a child can be started and waited for"));
    }
    0
}

impl Expect {
    /// Whether `x0` is what was expected; says on standard error when it is not.
    fn matches(&self, x0: u64, context: &str) -> bool {
        let result = x0 as isize;
        let matches = match *self {
            Exactly(value) => result == value,
            Success => Errno::check(result).is_ok(),
            Anything => true,
        };
        if !matches {
            eprintln!("registers: {context}: returned {:?}", Errno::check(result));
        }
        matches
    }
}

/// Loops of two instructions in one spin.
const LOOPS: u64 = 50_000;
/// Spins between two looks at the counters.
const BATCH: u64 = 8;
/// The kernel's default tick, where there are no counters to look at.
const TICK: u64 = 4 * time::MILLISECOND;
/// When to give up waiting for interrupts.
const LIMIT: u64 = 60 * time::SECOND;

/// Spins until the machine has taken this many more interrupts from EL0; whether all registers held.
fn spins(rng: &mut Rng, base: Base, interrupts: u64) -> bool {
    let taken = || Counters::read().ok().map(|counters| counters.get("el0_irq"));
    let (begin, taken_before) = (time::counter(), taken());
    let mut spins = 0;
    loop {
        for _ in 0..BATCH {
            let (x0, held) = round(rng, base, SPIN, &"registers: spin", |x| x[0] = LOOPS);
            if !held || !Exactly(0).matches(x0, "spin") {
                return false;
            }
        }
        spins += BATCH;
        let waited = time::counter() - begin;
        let enough = match taken_before.zip(taken()) {
            Some((before, now)) => now - before >= interrupts,
            None => waited >= time::ticks(interrupts * TICK),
        };
        if enough {
            println!("registers: {spins} spins of {LOOPS} loops, at least {interrupts} interrupts");
            return true;
        }
        if waited >= time::ticks(LIMIT) {
            eprintln!("registers: fewer than {interrupts} interrupts in a minute of spinning");
            return false;
        }
    }
}

/// A new program finds the registers that code could not know of zero. Those that a process of its own filled before are
/// the ones it gets to see.
fn fresh() -> i32 {
    let mut seen = Round::default();
    // SAFETY: stores to `seen`.
    unsafe { look(&raw mut seen) };
    seen.before.sp = seen.after.sp;
    // The code since `_start` has used the flags.
    seen.before.nzcv = seen.after.nzcv;
    i32::from(!seen.before.holds(&seen.after, &"registers: new program"))
}

/// Fills all registers and becomes a new program. Returns only where that cannot be.
fn exec(rng: &mut Rng) -> i32 {
    let path = c"/bin/registers";
    let argv = process::Argv::new([c"registers", c"fresh"]).expect("two words fit");
    let environment = [0usize];
    let (x0, _) = round(rng, Base::Sp, CALL, &"registers: execve", |x| {
        x[0] = path.as_ptr().expose_provenance() as u64;
        x[1] = argv.as_ptr().expose_provenance() as u64;
        x[2] = environment.as_ptr().expose_provenance() as u64;
        x[8] = linux::__NR_execve.into();
    });
    eprintln!("registers: {path:?}: {:?}", Errno::check(x0 as isize));
    process::EXEC_FAILED
}

fn main(mut args: Args) -> i32 {
    args.next();
    match args.clone().next() {
        Some(word) if word == c"fresh" => return fresh(),
        Some(word) if word == c"observe" => return observe(),
        _ => {}
    }
    let interrupts = args.number_or(10);
    let mut random = [0; 8];
    sys::getrandom(&mut random).expect("eight random bytes can be had");
    let seed = args.number_or(u64::from_ne_bytes(random));
    println!("registers: seed {seed}");
    let rng = |base| Rng::with_seed(if base == Base::Sp { seed } else { !seed });

    let calls = |base| process::spawn(move || i32::from(!calls(&mut rng(base), base, |_, _, _| {})));
    let spins = |base| process::spawn(move || i32::from(!spins(&mut rng(base), base, interrupts)));
    let ended =
        |child: Result<i32, Errno>| child.and_then(process::wait).expect("a child can be started and waited for");

    let in_calls = [Base::Sp, Base::X30].map(|base| ended(calls(base)));
    let in_exec = ended(process::spawn(|| exec(&mut rng(Base::Sp))));
    // Both at once: each finds its registers after the other had the machine.
    let in_spins = [Base::Sp, Base::X30].map(spins).map(ended);

    println!(
        "registers: across system calls {} {}, in a new program {in_exec}, across interrupts {} {}",
        in_calls[0], in_calls[1], in_spins[0], in_spins[1]
    );
    let all_held = in_calls.iter().chain([&in_exec]).chain(&in_spins).all(|status| status.success());
    i32::from(!all_held)
}
