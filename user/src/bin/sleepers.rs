//! Children sleep for different times, relative and absolute; none may wake early, and they wake in the order of their times.
#![no_std]
#![no_main]

use linux_raw_sys::general::TIMER_ABSTIME;
use user::{Args, Errno, Status, eprintln, println, process, sys, time};

user::entry!(main);

/// The place of each child in the order of waking: not the order they are started in.
const PLACES: [u64; 6] = [3, 0, 5, 1, 4, 2];
/// Time between two wakings, in the first attempt.
const SPACING: u64 = 10 * time::MILLISECOND;
/// On a loaded host a child may start, or end, too late to keep the order: then all try again, twice as far apart.
const ATTEMPTS: u32 = 4;

/// Woke early, or could not sleep.
const FAILED: i32 = 1;
const LATE_START: i32 = 2;

enum Outcome {
    InOrder,
    OutOfOrder,
    Failed,
}

fn main(_args: Args) -> i32 {
    for attempt in 0..ATTEMPTS {
        match sleep_all(SPACING << attempt).expect("children can be started and waited for") {
            Outcome::InOrder => {
                println!("sleepers: {} children woke in order, none early", PLACES.len());
                return 0;
            }
            Outcome::Failed => return 1,
            Outcome::OutOfOrder => eprintln!("sleepers: ended out of order, or started late"),
        }
    }
    1
}

fn sleep_all(spacing: u64) -> Result<Outcome, Errno> {
    let begin = time::now();
    let mut children = [0; PLACES.len()];
    for place in PLACES {
        children[place as usize] = process::spawn(|| sleep_until(begin + (place + 2) * spacing, place))?;
    }
    let mut outcome = Outcome::InOrder;
    for child in children {
        let (pid, status) = sys::wait4(-1, 0)?;
        match status {
            Status::Exited(code) if i32::from(code) == FAILED => outcome = Outcome::Failed,
            Status::Exited(0) if pid == child => {}
            _ if matches!(outcome, Outcome::InOrder) => outcome = Outcome::OutOfOrder,
            _ => {}
        }
    }
    Ok(outcome)
}

/// Sleeps until `deadline` on the monotonic clock, each place in one of three ways.
fn sleep_until(deadline: u64, place: u64) -> i32 {
    let now = time::now();
    if now >= deadline {
        return LATE_START;
    }
    let (way, slept) = match place % 3 {
        0 => ("nanosleep", sys::nanosleep(deadline - now)),
        1 => ("clock_nanosleep", sys::clock_nanosleep(0, deadline - now)),
        _ => ("clock_nanosleep until", sys::clock_nanosleep(TIMER_ABSTIME, deadline)),
    };
    // Nothing is printed when all is well: that would take longer than the order allows.
    let woke = time::now();
    match slept {
        Ok(()) if woke >= deadline => return 0,
        Ok(()) => eprintln!("sleepers: {place} by {way}: woke {} ns early", deadline - woke),
        Err(errno) => eprintln!("sleepers: {place} by {way}: {errno}"),
    }
    FAILED
}
