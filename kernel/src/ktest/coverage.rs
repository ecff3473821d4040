//! Which system calls were made, and what they answered.

use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use linux_raw_sys::errno::ENOSYS;

/// Calls with this number or a higher one are counted together.
const LAST: usize = 512;

/// By number: how often it was called, and its answers: bit 0 for success, bit n for error n, the last for all from 63 on.
static CALLS: [[AtomicU64; 2]; LAST + 1] = [const { [AtomicU64::new(0), AtomicU64::new(0)] }; LAST + 1];

fn call(number: u32) -> &'static [AtomicU64; 2] {
    &CALLS[(number as usize).min(LAST)]
}

/// A call begins.
pub fn asked(number: u32) {
    call(number)[0].fetch_add(1, Relaxed);
}

/// A call ends with this in x0.
pub fn answered(number: u32, x0: u64) {
    let errno = match x0.wrapping_neg() {
        errno @ 1..=4095 => errno,
        _ => 0,
    };
    call(number)[1].fetch_or(1 << errno.min(63), Relaxed);
}

/// The text of `/proc/coverage`: a line for each number called that there is: it, how often, and its answers in hexadecimal; and one for
/// all others together.
pub fn text() -> String {
    const NO_SUCH_CALL: u64 = 1 << ENOSYS;
    let mut text = String::new();
    let mut line = |number: usize, times: u64, answers: u64| {
        // A String takes everything.
        let _ = writeln!(text, "{number} {times} {answers:x}");
    };
    let mut others = 0;
    for (number, [times, answers]) in CALLS.iter().enumerate() {
        let (times, answers) = (times.load(Relaxed), answers.load(Relaxed));
        if answers == NO_SUCH_CALL {
            others += times;
        } else if times != 0 {
            line(number, times, answers);
        }
    }
    line(LAST, others, NO_SUCH_CALL);
    text
}
