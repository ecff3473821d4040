//! How a process ends, as its parent's `wait4` tells it: keys `ends.WAY`, values the status word. What becomes of a process that
//! goes on is told too: its own exit code is 7.

use crate::world::call;
use linux_raw_sys::general as linux;
use user::{println, process, sys, time};

/// Exit codes of which only a part arrives.
const CODES: &[usize] = &[0, 1, 42, 127, 128, 255, 256, 257, 0x8000_0001, usize::MAX];

/// How often a process sleeps until another has noticed a signal. One long sleep could be over at once, on a host that stands
/// still.
const TURNS: usize = 30;

/// How a process sends itself a signal.
type Sender = (&'static str, fn(usize) -> usize);

const SENDERS: &[Sender] = &[
    ("kill", |signal| answer(linux::__NR_kill, [me(), signal, 0, 0, 0, 0])),
    ("tkill", |signal| answer(linux::__NR_tkill, [me(), signal, 0, 0, 0, 0])),
    ("tgkill", |signal| answer(linux::__NR_tgkill, [me(), me(), signal, 0, 0, 0])),
];

fn me() -> usize {
    sys::getpid() as usize
}

fn answer(number: u32, args: [usize; 6]) -> usize {
    call(number, args).unwrap_or(usize::MAX)
}

pub fn observe() -> i32 {
    for &code in CODES {
        println!("ends.exit.{code:#x} {:#x}", word_of(|| answer(linux::__NR_exit, [code, 0, 0, 0, 0, 0])));
        println!("ends.exit-group.{code:#x} {:#x}", word_of(|| answer(linux::__NR_exit_group, [code, 0, 0, 0, 0, 0])));
    }
    for &(name, send) in SENDERS {
        for signal in 1..=64 {
            println!("ends.{name}.{signal} {:#x}", word_of(|| send(signal)));
        }
    }
    // From another, whatever the process does.
    for signal in 1..=64u32 {
        let child = process::spawn(|| {
            loop {
                answer(linux::__NR_sched_yield, [0; 6]);
                if sys::getppid() == 1 {
                    return 1;
                }
            }
        });
        let child = child.expect("a child can be started");
        sys::kill(child, user::Signal(signal)).expect("a child can be sent signals");
        // What it becomes, if anything, it becomes when it has run a few times; one that goes on is killed.
        let mut seen = (0, false);
        for _ in 0..TURNS {
            seen = look(child, linux::WNOHANG);
            if seen.0 != 0 {
                break;
            }
            sys::nanosleep(time::MILLISECOND).expect("time passes");
        }
        let (word, ended) = seen;
        println!("ends.by-parent.{signal} {word:#x}");
        if !ended {
            sys::kill(child, user::Signal::SIGKILL).expect("a child can be killed");
            look(child, 0);
        }
    }
    let stopped = process::spawn(|| {
        answer(linux::__NR_kill, [me(), linux::SIGSTOP as usize, 0, 0, 0, 0]);
        7
    });
    let stopped = stopped.expect("a child can be started");
    println!("ends.stopped {:#x}", look(stopped, 0).0);
    println!("ends.stopped.again {:#x}", look(stopped, linux::WNOHANG).0);
    sys::kill(stopped, user::Signal::SIGCONT).expect("a child can be sent signals");
    println!("ends.continued {:#x}", look(stopped, linux::WCONTINUED).0);
    println!("ends.continued.end {:#x}", look(stopped, 0).0);
    0
}

/// The word of a process that does this, then ends with 7; one that stops is killed.
fn word_of(act: impl FnOnce() -> usize) -> u32 {
    let child = process::spawn(|| {
        act();
        7
    });
    let child = child.expect("a child can be started");
    let (word, ended) = look(child, 0);
    if !ended {
        sys::kill(child, user::Signal::SIGKILL).expect("a child can be killed");
        look(child, 0);
    }
    word
}

/// What `wait4` says of a child, 0 where it says nothing, and whether that is the last it says.
fn look(child: i32, options: u32) -> (u32, bool) {
    let mut word = 0u32;
    let options = if options & linux::WCONTINUED == 0 { options | linux::WUNTRACED } else { options };
    let place = (&raw mut word).expose_provenance();
    let id = answer(linux::__NR_wait4, [child as usize, place, options as usize, 0, 0, 0]);
    let (stopped, continued) = (word & 0xff == 0x7f, word == 0xffff);
    (word, id == child as usize && !stopped && !continued)
}
