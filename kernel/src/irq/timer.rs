//! The generic timer: time, the tick, and the deadlines of sleeping tasks (Arm ARM D11; the EL1 virtual timer, which a
//! hypervisor leaves to its guest).

use crate::percpu::{count, this_cpu};
use crate::sched::{self, sleep};
use crate::sync::IrqMask;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTKCTL_EL1, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counter ticks between two ticks of the scheduler.
static PERIOD: AtomicU64 = AtomicU64::new(0);

/// Starts the tick, `hz` times a second.
pub fn init(irq: u32, hz: u64) {
    let period = (frequency() / hz).max(1);
    PERIOD.store(period, Relaxed);
    // EL0 may read the virtual counter, and nothing else of the timer.
    CNTKCTL_EL1.write(CNTKCTL_EL1::EL0VCTEN::SET);
    this_cpu().next_tick.store(now() + period, Relaxed);
    super::register(irq, interrupt);
    program();
    CNTV_CTL_EL0.write(CNTV_CTL_EL0::ENABLE::SET);
}

/// The counter, in ticks since some time before boot.
pub fn now() -> u64 {
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
    CNTVCT_EL0.get()
}

/// Counter ticks a second.
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get()
}

/// A counter value in nanoseconds.
pub fn to_nanoseconds(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(frequency())) as u64
}

/// The first counter value that is not before a time in nanoseconds; the last one when that is too far away.
pub fn from_nanoseconds(nanoseconds: u128) -> u64 {
    (nanoseconds * u128::from(frequency())).div_ceil(1_000_000_000).try_into().unwrap_or(u64::MAX)
}

/// A deadline was added to those of sleeping tasks: sets the timer for whatever comes first.
pub fn program() {
    let _mask = IrqMask::new();
    set(this_cpu().next_tick.load(Relaxed), sleep::expire(now()));
}

/// The timer interrupt: CVAL was reached. Setting the next CVAL also withdraws the interrupt.
fn interrupt() {
    let now = now();
    let cpu = this_cpu();
    let mut next = cpu.next_tick.load(Relaxed);
    if now >= next {
        let period = PERIOD.load(Relaxed);
        next += period;
        if next <= now {
            // Ticks that were missed are not made up for.
            next = now + period;
        }
        cpu.next_tick.store(next, Relaxed);
        count(&cpu.counters.ticks);
        sched::tick();
    }
    set(next, sleep::expire(now));
}

/// Sets the timer for the tick or the first sleeper. IRQs are masked.
fn set(tick: u64, sleeper: u64) {
    CNTV_CVAL_EL0.set(tick.min(sleeper));
}
