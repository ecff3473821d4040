//! The EL2 physical timer of each CPU: the scheduler's tick while vCPUs wait for their turn, the timers of vCPUs that sleep, and the
//! emulated timer of the one that runs.

use crate::percpu::this_cpu;
use crate::sync::IrqMask;
use crate::vcpu::{State, Vcpu};
use crate::{cpu, read_sysreg, sched, service, vgic, write_sysreg};
use core::sync::atomic::Ordering::Relaxed;
use hyp::timer::Register;

/// How often another vCPU gets its turn.
const TICK_HZ: u64 = 100;

/// The physical counter, which is the guests' virtual one too.
pub fn now() -> u64 {
    cpu::counter()
}

/// Starts this CPU's timer; nothing is due yet.
pub fn init() {
    // SAFETY: the timer is the hypervisor's own.
    unsafe {
        write_sysreg!("cnthp_cval_el2", u64::MAX);
        write_sysreg!("cnthp_ctl_el2", 1);
    }
}

/// A vCPU's turn begins, or one sleeps: sets the timer for what comes first. IRQs are masked.
pub fn program() {
    let now = now();
    this_cpu().next_tick.store(now + read_sysreg!("cntfrq_el0") / TICK_HZ, Relaxed);
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
    if vcpu.timer_line.swap(high, Relaxed) != high {
        vgic::set_line(vcpu, PHYSICAL_TIMER, high);
    }
}

/// Sets the timer for what comes first: the end of a turn, the timers of a vCPU that sleeps, the emulated timer of the one that
/// runs.
fn set(now: u64) {
    let (others_wait, sleeper) = sched::outlook();
    let tick = others_wait.then(|| this_cpu().next_tick.load(Relaxed));
    // One that is past would never come: whoever runs has had its turn.
    if tick.is_some_and(|tick| tick <= now) {
        sched::raise(sched::SCHEDULE);
    }
    let tick = tick.filter(|&tick| tick > now);
    let running = sched::current().and_then(|vcpu| {
        update_line(vcpu, now);
        // One that waits in place with its virtual timer's interrupt active, so that it cannot come: its deadline is seen here, past
        // or not.
        if vcpu.state() == State::Blocked && vgic::holds_timer(vcpu) {
            return vcpu.deadline(true);
        }
        // One that is due already is seen by its line.
        vcpu.physical_timer.lock().deadline().filter(|&deadline| deadline > now)
    });
    let first = sleeper.into_iter().chain(tick).chain(running).chain(service::deadline()).min();
    // SAFETY: the timer is the hypervisor's own.
    unsafe { write_sysreg!("cnthp_cval_el2", first.unwrap_or(u64::MAX)) };
    cpu::isb();
}

/// The timer interrupt: wakes the vCPUs whose timers are due, and ends the turn of the current one if it is over.
pub fn interrupt() {
    let now = now();
    service::tick(now);
    sched::wake_due(now);
    set(now);
}
