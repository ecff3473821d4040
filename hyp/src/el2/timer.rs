//! The EL2 physical timer: the scheduler's tick while vCPUs wait for their turn, and the timers of vCPUs that are blocked.

use crate::sync::IrqMask;
use crate::vcpu::{State, Vcpu};
use crate::{cpu, guest, read_sysreg, sched, vgic, write_sysreg};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use hyp::timer::Register;

/// How often another vCPU gets its turn.
const TICK_HZ: u64 = 100;

/// When the running vCPU's turn is over.
static NEXT_TICK: AtomicU64 = AtomicU64::new(0);

/// The physical counter, which is the guests' virtual one too.
pub fn now() -> u64 {
    cpu::isb();
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
    let now = now();
    NEXT_TICK.store(now + read_sysreg!("cntfrq_el0") / TICK_HZ, Relaxed);
    set(now);
}

/// The guest reads its physical timer.
#[inline(never)]
pub fn read_physical(vcpu: &'static Vcpu, register: Register) -> u64 {
    vcpu.physical_timer.lock().read(register, now())
}

/// The guest writes its physical timer.
#[inline(never)]
pub fn write_physical(vcpu: &'static Vcpu, register: Register, value: u64) {
    vcpu.physical_timer.lock().write(register, value, now());
    let _mask = IrqMask::new();
    let now = now();
    update_line(vcpu, now);
    set(now);
}

/// The interrupt line of a vCPU's emulated physical timer, whenever it may have changed.
fn update_line(vcpu: &'static Vcpu, now: u64) {
    /// Its PPI.
    const PHYSICAL_TIMER: u32 = 30;
    let high = vcpu.physical_timer.lock().line(now);
    vgic::set_line(vcpu, PHYSICAL_TIMER, high);
}

/// Sets the timer for what comes first: the end of a turn, the timers of a vCPU that is blocked, the emulated timer of the one
/// that runs.
fn set(now: u64) {
    let tick = sched::others_wait().then(|| NEXT_TICK.load(Relaxed));
    // One that is past would never come: whoever runs has had its turn.
    if tick.is_some_and(|tick| tick <= now) {
        sched::raise(sched::SCHEDULE);
    }
    let tick = tick.filter(|&tick| tick > now);
    let blocked = blocked().filter_map(|vcpu| vcpu.deadline(false));
    // One that is due already is seen by its line.
    let running = sched::current().and_then(|vcpu| {
        update_line(vcpu, now);
        vcpu.physical_timer.lock().deadline().filter(|&deadline| deadline > now)
    });
    let first = blocked.chain(tick).chain(running).min();
    // SAFETY: the timer is the hypervisor's own.
    unsafe { write_sysreg!("cnthp_cval_el2", first.unwrap_or(u64::MAX)) };
    cpu::isb();
}

/// The vCPUs that wait for an interrupt.
fn blocked() -> impl Iterator<Item = &'static Vcpu> {
    guest::vcpus().filter(|vcpu| vcpu.state() == State::Blocked && !sched::is_current(vcpu))
}

/// The timer interrupt: wakes the vCPUs whose timers are due, and ends the turn of the current one if it is over.
pub fn interrupt() {
    let now = now();
    for vcpu in blocked().filter(|vcpu| vcpu.deadline(false).is_some_and(|deadline| deadline <= now)) {
        update_line(vcpu, now);
        sched::start(vcpu);
    }
    set(now);
}
