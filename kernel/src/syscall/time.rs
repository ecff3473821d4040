//! Clocks and sleeping. There is no real-time clock: CLOCK_REALTIME counts from the epoch at boot.

use super::{Errno, Result};
use crate::irq::timer;
use crate::mm::heap;
use crate::sched::{self, sleep};
use crate::uaccess::{get_user, put_user};
use linux_raw_sys::general::*;
use trap::frame::PtRegs;

const NANOSECONDS: u64 = 1_000_000_000;

fn check_clock(clock: u64) -> Result<()> {
    match clock as u32 {
        CLOCK_REALTIME
        | CLOCK_MONOTONIC
        | CLOCK_MONOTONIC_RAW
        | CLOCK_REALTIME_COARSE
        | CLOCK_MONOTONIC_COARSE
        | CLOCK_BOOTTIME
        | CLOCK_TAI => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

fn timespec(nanoseconds: u64) -> [u64; 2] {
    [nanoseconds / NANOSECONDS, nanoseconds % NANOSECONDS]
}

/// clock_gettime(clock, timespec)
pub fn clock_gettime(regs: &mut PtRegs) -> Result {
    let [clock, address, ..] = regs.regs;
    check_clock(clock)?;
    put_user(address as usize, timespec(timer::to_nanoseconds(timer::now())))?;
    Ok(0)
}

/// clock_getres(clock, timespec)
pub fn clock_getres(regs: &mut PtRegs) -> Result {
    let [clock, address, ..] = regs.regs;
    check_clock(clock)?;
    if address != 0 {
        put_user(address as usize, timespec(timer::to_nanoseconds(1).max(1)))?;
    }
    Ok(0)
}

/// nanosleep(request, remaining)
pub fn nanosleep(regs: &mut PtRegs) -> Result {
    let [request, remaining, ..] = regs.regs;
    sleep_for(request, false, remaining)
}

/// clock_nanosleep(clock, flags, request, remaining)
pub fn clock_nanosleep(regs: &mut PtRegs) -> Result {
    let [clock, flags, request, remaining, ..] = regs.regs;
    check_clock(clock)?;
    // These can be read only.
    if matches!(clock as u32, CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE) {
        return Err(Errno::EOPNOTSUPP);
    }
    sleep_for(request, flags as u32 & TIMER_ABSTIME != 0, remaining)
}

/// Sleeps until the time at `request`, or for it. Interrupted, writes what remains of a relative one.
fn sleep_for(request: u64, absolute: bool, remaining: u64) -> Result {
    let [seconds, nanoseconds] = get_user::<[u64; 2]>(request as usize)?;
    if (seconds as i64) < 0 || nanoseconds >= NANOSECONDS {
        return Err(Errno::EINVAL);
    }
    heap::reserve()?;
    let ticks = timer::from_nanoseconds(u128::from(seconds) * u128::from(NANOSECONDS) + u128::from(nanoseconds));
    let deadline = if absolute { ticks } else { timer::now().saturating_add(ticks) };
    if timer::now() >= deadline {
        return Ok(0);
    }
    sleep::arm(deadline);
    timer::program();
    let done = sched::wait_until(|| timer::now() >= deadline);
    sleep::cancel(deadline);
    if done {
        return Ok(0);
    }
    let left = deadline.saturating_sub(timer::now());
    if remaining != 0 && !absolute {
        put_user(remaining as usize, timespec(timer::to_nanoseconds(left)))?;
    }
    Err(Errno::EINTR)
}
