//! `sweep EVERY SCENARIO...`: an interrupt at every instruction of something, on a test kernel that was booted with `sweep`, with
//! time by instructions (`cargo xtask sweep`).
//!
//! A scenario is done again and again, with a timer that is due 1, 1 + EVERY, 1 + 2 EVERY... instructions after it was set, until it is
//! not due before the scenario is over. Each time all registers must hold, and the result must be as ever. With 0 instead of EVERY
//! it is done a few times, and no interrupt comes.
//!
//! What it prints is for the tool, a line each: `scenario NAME`; `n N`, before each round; `taken PC LATE`, hexadecimal, when there was
//! an interrupt; `wrong ...`, what was not as it should be; `done`.
#![no_std]
#![no_main]

#[path = "../rounds.rs"]
mod rounds;

use core::{arch::global_asm, fmt::Display};
use fastrand::Rng;
use linux_raw_sys::general as linux;
use rounds::{Base, CALL, Round};
use user::{Args, Errno, Signal, Status, println, process, sys, time};

user::entry!(main);

global_asm!(include_str!("sweep.S"));

unsafe extern "C" {
    safe fn sweep_arm(ticks: u64, wishes: u64);
    safe fn sweep_disarm() -> u64;
}

/// In TPIDR_EL0, as the kernel's handler reads it: another task is to run.
const PREEMPT: u64 = 1 << 0;
/// The same: a byte is to come in at the console.
const INPUT: u64 = 1 << 1;

/// Rounds without an interrupt after which there will be none any more: the path may differ by some instructions.
const PAST_THE_END: u32 = 3;
/// Rounds that are interrupted at one place, as soon as the timer is due, after which the task waits there for the interrupt.
const WAITING: u32 = 8;
/// Rounds that nothing interrupts, for whoever looks at one; far off for them.
const QUIET_ROUNDS: u64 = 6;
const NEVER: u64 = 1 << 40;

/// One round.
struct Swept<'a> {
    rng: &'a mut Rng,
    /// In how many ticks the timer is due.
    ticks: u64,
    /// Whether all is well so far.
    right: bool,
}

impl Swept<'_> {
    /// Makes a system call in all of whose instructions an interrupt may come; gives x0, and what [`sweep_disarm`] gives. Whether
    /// the registers held is looked at in the child too, if there is one.
    fn call(&mut self, number: u32, args: &[usize], wishes: u64) -> (isize, u64) {
        let mut round = Round::random(self.rng);
        round.before.tpidr = round.before.tpidr & !(PREEMPT | INPUT) | wishes;
        round.before.x[8] = number.into();
        for (x, &arg) in round.before.x.iter_mut().zip(args) {
            *x = arg as u64;
        }
        sweep_arm(self.ticks, wishes);
        round.run(Base::Sp, CALL);
        let taken = sweep_disarm();
        let (x0, held) = round.outcome(&"wrong");
        self.right &= held;
        (x0 as isize, taken)
    }

    /// That something is as it should be.
    fn same<T: PartialEq + core::fmt::Debug>(&mut self, what: &dyn Display, found: T, wanted: T) {
        if found != wanted {
            println!("wrong {what}: {found:?} instead of {wanted:?}");
            self.right = false;
        }
    }

    /// Runs `child` in a child, which ends as said; gives what [`sweep_disarm`] gives when that has been waited for.
    fn child(&mut self, end: Status, child: impl FnOnce(&mut Self) -> i32) -> u64 {
        let pid = process::spawn(|| child(self)).expect("a child can be started");
        let status = process::wait(pid);
        let taken = sweep_disarm();
        self.same(&"the child's end", status, Ok(end));
        taken
    }
}

/// Does one round; gives what [`sweep_disarm`] gave.
type Scenario = fn(&mut Swept<'_>) -> u64;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("null", |swept| null(swept, 0)),
    ("efault", |swept| {
        let (result, taken) = swept.call(linux::__NR_write, &[1, UNMAPPED, 8], 0);
        swept.same(&"write", result, Errno::EFAULT.as_result());
        taken
    }),
    ("fault", |swept| {
        swept.child(Status::Killed(Signal::SIGSEGV), |swept| {
            sweep_arm(swept.ticks, 0);
            // SAFETY: none; it is there to fault.
            unsafe { core::ptr::with_exposed_provenance::<u8>(UNMAPPED).read_volatile() }.into()
        })
    }),
    ("fork", fork),
    ("exec", |swept| {
        let argv = process::Argv::new([c"sweep", c"fresh"]).expect("two words fit");
        swept.child(Status::Exited(0), |swept| {
            let environment = [0usize];
            let [path, argv] = [c"/bin/sweep".as_ptr().expose_provenance(), argv.as_ptr().expose_provenance()];
            let (result, _) =
                swept.call(linux::__NR_execve, &[path, argv, environment.as_ptr().expose_provenance()], 0);
            result as i32
        })
    }),
    ("exit", |swept| {
        swept.child(Status::Exited(EXIT_CODE), |swept| {
            swept.call(linux::__NR_exit_group, &[EXIT_CODE.into()], 0).0 as i32
        })
    }),
    ("switch", |swept| {
        let (result, taken) = swept.call(linux::__NR_sched_yield, &[], 0);
        swept.same(&"sched_yield", result, 0);
        taken
    }),
    ("preempt", |swept| null(swept, PREEMPT)),
    ("sleep", sleep),
    ("input", |swept| {
        let mut byte = 0u8;
        let (result, taken) = swept.call(linux::__NR_read, &[0, (&raw mut byte).expose_provenance(), 1], INPUT);
        swept.same(&"read", (result, byte), (1, b'x'));
        taken
    }),
];

/// An address where nothing is.
const UNMAPPED: usize = 8;
const EXIT_CODE: u8 = 42;
/// How long the scenario `sleep` sleeps, in nanoseconds, and how much later at most it goes on, interrupt and all.
const NAP: u64 = 40_000;
const OVERSLEPT: u64 = 160_000;

fn null(swept: &mut Swept<'_>, wishes: u64) -> u64 {
    let (result, taken) = swept.call(linux::__NR_getpid, &[], wishes);
    swept.same(&"getpid", result, sys::getpid() as isize);
    taken
}

fn fork(swept: &mut Swept<'_>) -> u64 {
    let (result, taken) = swept.call(linux::__NR_clone, &[linux::SIGCHLD as usize, 0], 0);
    match result {
        0 => sys::exit_group(i32::from(!swept.right)),
        pid => {
            let status = process::wait(pid as i32);
            swept.same(&"the child's end", status, Ok(Status::Exited(0)));
        }
    }
    taken
}

fn sleep(swept: &mut Swept<'_>) -> u64 {
    let nap = linux::timespec { tv_sec: 0, tv_nsec: NAP as i64 };
    let before = time::now();
    let (result, taken) = swept.call(linux::__NR_nanosleep, &[(&raw const nap).expose_provenance(), 0], 0);
    let slept = time::now() - before;
    swept.same(&"nanosleep", result, 0);
    if !(NAP..NAP + OVERSLEPT).contains(&slept) {
        println!("wrong a nap of {NAP} ns took {slept} ns");
        swept.right = false;
    }
    taken
}

/// Yields for ever; all its registers hold.
fn yielder() -> i32 {
    let mut round = Round::random(&mut Rng::with_seed(2));
    round.before.tpidr &= !(PREEMPT | INPUT);
    loop {
        round.before.x[8] = linux::__NR_sched_yield.into();
        round.run(Base::X30, CALL);
        if round.outcome(&"wrong, in the other task") != (0, true) {
            return 1;
        }
    }
}

/// The interrupted PC in what [`sweep_disarm`] gave.
fn pc(taken: u64) -> u64 {
    ((taken << 16) as i64 >> 16) as u64
}

/// Sweeps a scenario; whether all was well.
fn sweep(name: &str, scenario: Scenario, every: u64) -> bool {
    println!("scenario {name}");
    let other = ["switch", "preempt"].contains(&name).then(|| process::spawn(yielder).expect("a child can be started"));
    let mut rng = Rng::with_seed(1);
    let (mut right, mut past, mut last, mut waiting, mut n) = (true, 0, 0, 0, 1);
    let goes_on = |past, waiting, n| match every {
        0 => n <= QUIET_ROUNDS,
        _ => past < PAST_THE_END && waiting < WAITING,
    };
    while goes_on(past, waiting, n) {
        println!("n {n}");
        let mut swept = Swept { rng: &mut rng, ticks: if every == 0 { NEVER } else { n }, right: true };
        let taken = scenario(&mut swept);
        right &= swept.right;
        if taken == 0 {
            past += 1;
        } else {
            println!("taken {:x} {:x}", pc(taken), taken >> 48);
            past = 0;
        }
        waiting = if name == "input" && taken == last { waiting + 1 } else { 0 };
        last = taken;
        n += every.max(1);
    }
    if let Some(pid) = other {
        sys::kill(pid, Signal::SIGKILL).expect("a child can be killed");
        if process::wait(pid) != Ok(Status::Killed(Signal::SIGKILL)) {
            println!("wrong, the other task has ended");
            right = false;
        }
    }
    println!("done");
    right
}

fn main(mut args: Args) -> i32 {
    args.next();
    if args.clone().next() == Some(c"fresh") {
        // Not one instruction more than it must be is swept.
        sweep_disarm();
        return 0;
    }
    let every = args.clone().next().and_then(|word| word.to_str().ok()?.parse().ok());
    let Some(every) = every else {
        println!("sweep EVERY SCENARIO...; of these there are:");
        SCENARIOS.iter().for_each(|(name, _)| println!("  {name}"));
        return 2;
    };
    args.next();
    let mut right = true;
    for word in args {
        match SCENARIOS.iter().find(|(name, _)| word.to_str() == Ok(name)) {
            Some((name, scenario)) => right &= sweep(name, *scenario, every),
            None => {
                println!("there is no scenario {word:?}");
                return 2;
            }
        }
    }
    i32::from(!right)
}
