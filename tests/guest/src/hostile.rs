//! What hostile guests (`src/bin/hostile_*.rs`) have in common: they tell what should not have been, and go on.

use crate::{Frame, attempt, psci, read_sysreg, record, timer};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

static WRONG: AtomicU64 = AtomicU64::new(0);

/// Tells of something that must not be; of the first few times.
pub fn wrong(what: core::fmt::Arguments<'_>) {
    if WRONG.fetch_add(1, Relaxed) < 8 {
        record!("wrong", "\"what\":\"{what}\"");
    }
}

/// Says that it came to its end, with what it counted, and ends the guest in order.
pub fn finish(seed: u64, counts: core::fmt::Arguments<'_>) -> ! {
    record!("hostile", "\"seed\":{seed},\"wrong\":{},{counts}", WRONG.load(Relaxed));
    psci::off()
}

/// Takes the exceptions of a guest that has them in attempts only.
pub fn exception(frame: &mut Frame) {
    if !attempt::caught(frame) {
        crate::unexpected(frame);
    }
}

/// Lets others have a turn: waits for its virtual timer, whose interrupt need not be enabled. (QEMU's WFE is no more than a hint.)
pub fn yield_now() {
    timer::set_virtual(read_sysreg!("cntfrq_el0") / 100);
    crate::wait();
    timer::stop();
}
