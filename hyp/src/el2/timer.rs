//! The EL2 physical timer: the scheduler's tick while vCPUs wait for their turn, and the timers of vCPUs that are blocked.

use crate::vcpu::State;
use crate::{guest, read_sysreg, sched, write_sysreg};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often another vCPU gets its turn.
const TICK_HZ: u64 = 100;

/// When the running vCPU's turn is over.
static NEXT_TICK: AtomicU64 = AtomicU64::new(0);

/// The physical counter, which is the guests' virtual one too.
pub fn now() -> u64 {
    crate::cpu::isb();
    read_sysreg!("cntpct_el0")
}

/// Starts the timer; nothing is due yet.
pub fn init() {
    // SAFETY: the timer is the hypervisor's own.
    unsafe {
        write_sysreg!("cnthp_cval_el2", u64::MAX);
        write_sysreg!("cnthp_ctl_el2", 1);
    }
}

/// A vCPU's turn begins, or one is blocked: sets the timer for what comes first. IRQs are masked.
pub fn program() {
    let period = read_sysreg!("cntfrq_el0") / TICK_HZ;
    let now = now();
    NEXT_TICK.store(now + period, Relaxed);
    let tick = sched::others_wait().then_some(now + period);
    set(tick);
}

/// Sets the timer for the tick, if there is to be one, or the first timer of a blocked vCPU.
fn set(tick: Option<u64>) {
    let blocked = guest::vcpus().filter(|vcpu| vcpu.state() == State::Blocked && !sched::is_current(vcpu));
    let first = blocked.filter_map(|vcpu| vcpu.deadline(false)).chain(tick).min();
    // SAFETY: as above.
    unsafe { write_sysreg!("cnthp_cval_el2", first.unwrap_or(u64::MAX)) };
}

/// The timer interrupt: wakes the vCPUs whose timers are due, and ends the turn of the current one if it is over.
pub fn interrupt() {
    let now = now();
    for vcpu in guest::vcpus().filter(|vcpu| vcpu.state() == State::Blocked && !sched::is_current(vcpu)) {
        if vcpu.deadline(false).is_some_and(|deadline| deadline <= now) {
            sched::start(vcpu);
        }
    }
    let mut tick = sched::others_wait().then(|| NEXT_TICK.load(Relaxed));
    if tick.is_some_and(|tick| tick <= now) {
        sched::raise(sched::SCHEDULE);
        tick = None;
    }
    set(tick);
    crate::cpu::isb();
}
