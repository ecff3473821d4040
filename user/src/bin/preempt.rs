//! `preempt [GAP]`: two busy tasks that never call the kernel share the machine.
//!
//! One, *busy*, spins until it is killed. The other, *watched*, spins until it has found itself interrupted some times for at
//! least GAP microseconds (default 1000), by the counter alone, and ends. That it ends while busy still runs shows that busy
//! was preempted; the gaps, that busy got on meanwhile. A kernel that only switches when asked runs one of the two to its
//! end first, whichever order it keeps, so they are started in both orders.
#![no_std]
#![no_main]

use user::{Args, Errno, Signal, Status, counters::Counters, eprintln, println, process, sys, time};

user::entry!(main);

/// How often the watched task wants to be interrupted.
const GAPS: u64 = 2;
/// When a task ends that should have been preempted, or killed, by then.
const LIMIT: u64 = 10 * time::SECOND;

fn main(mut args: Args) -> i32 {
    args.next();
    let gap = args.number_or(1000) * time::MICROSECOND;
    let before = Counters::read();

    let busy = || process::spawn(|| spin(gap, u64::MAX));
    let watched = || process::spawn(|| spin(gap, GAPS));
    let first = share(|| Ok((busy()?, watched()?)), "busy first");
    let second = share(|| watched().and_then(|watched| Ok((busy()?, watched))), "watched first");

    // The kernel must have seen at least the preemptions that its tasks saw.
    let counted = match (before, Counters::read()) {
        (Ok(before), Ok(after)) => {
            let preemptions = after.get("preemptions") - before.get("preemptions");
            println!("preempt: the kernel counted {preemptions} preemptions");
            preemptions >= 2 * GAPS
        }
        _ => true,
    };
    i32::from(!(first && second && counted))
}

/// Starts both, which `start` does and gives (busy, watched); whether they shared the machine.
fn share(start: impl FnOnce() -> Result<(i32, i32), Errno>, order: &str) -> bool {
    let (busy, watched) = start().expect("two children can be started");
    let watched = process::wait(watched).expect("the watched child ends");
    // A busy that ended by itself is there to be killed until it is waited for, but keeps its own status.
    sys::kill(busy, Signal::SIGKILL).expect("a child can be killed");
    let busy = process::wait(busy).expect("the busy child ends");
    let shared = watched.success() && busy == Status::Killed(Signal::SIGKILL);
    println!("preempt: {order}: watched {watched}, busy {busy}{}", if shared { "" } else { ": NOT SHARED" });
    shared
}

/// Spins until it was interrupted `gaps` times for at least `gap` nanoseconds.
fn spin(gap: u64, gaps: u64) -> i32 {
    let (gap, limit) = (time::ticks(gap), time::ticks(LIMIT));
    let begin = time::counter();
    let (mut last, mut seen) = (begin, 0);
    while seen < gaps {
        let now = time::counter();
        seen += u64::from(now - last >= gap);
        last = now;
        if now - begin > limit {
            eprintln!("preempt: a task was interrupted {seen} times in {} s", LIMIT / time::SECOND);
            return 1;
        }
    }
    0
}
