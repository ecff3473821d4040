//! Which vCPU runs: round-robin, by a softirq that is looked for before each entry to a guest.

use crate::percpu::{count, this_cpu};
use crate::sync::IrqLock;
use crate::vcpu::{self, State, Vcpu};
use crate::{guest, timer, trace};
use alloc::collections::VecDeque;
use core::arch::asm;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use trap::trace::Left;

/// A softirq: another vCPU may have to run.
pub const SCHEDULE: u32 = 1 << 0;

/// The vCPUs that wait for their turn.
static QUEUE: IrqLock<VecDeque<&'static Vcpu>> = IrqLock::new(VecDeque::new());

/// The stack pointer of the idle CPU while it runs a vCPU.
static IDLE_SP: AtomicUsize = AtomicUsize::new(0);

/// Asks for work before the next entry to a guest.
pub fn raise(softirq: u32) {
    this_cpu().softirqs.fetch_or(softirq, Relaxed);
}

/// The vCPU that this CPU runs, if it is not idle.
pub fn current() -> Option<&'static Vcpu> {
    // SAFETY: vCPUs are never freed.
    unsafe { this_cpu().current.load(Relaxed).as_ref() }
}

/// Whether another vCPU waits for this CPU.
pub fn others_wait() -> bool {
    !QUEUE.lock().is_empty()
}

/// Has a vCPU run from now on that was off or blocked.
pub fn start(vcpu: &'static Vcpu) {
    let mut queue = QUEUE.lock();
    vcpu.set_state(State::Runnable);
    trace::wake(vcpu.number());
    // The current one was just about to be switched away from.
    if !is_current(vcpu) {
        queue.push_back(vcpu);
    }
    raise(SCHEDULE);
}

/// Wakes a vCPU if it is blocked.
pub fn wake(vcpu: &'static Vcpu) {
    if vcpu.state() == State::Blocked {
        start(vcpu);
    }
}

/// Whether this CPU runs the vCPU.
pub fn is_current(vcpu: &Vcpu) -> bool {
    core::ptr::eq(this_cpu().current.load(Relaxed), vcpu)
}

/// Does what was asked for by [`raise`]; IRQs are masked.
pub fn do_softirqs() {
    while this_cpu().softirqs.load(Relaxed) & SCHEDULE != 0 {
        this_cpu().softirqs.fetch_and(!SCHEDULE, Relaxed);
        schedule();
    }
}

/// Gives the CPU to the vCPU that has waited longest. Returns when the current one has its turn again.
fn schedule() {
    let cpu = this_cpu();
    let previous = current();
    let next = {
        let mut queue = QUEUE.lock();
        if let Some(vcpu) = previous.filter(|vcpu| vcpu.state() == State::Runnable) {
            queue.push_back(vcpu);
        }
        // Those of a guest that ended may still wait.
        loop {
            match queue.pop_front() {
                Some(vcpu) if vcpu.state() != State::Runnable => {}
                next => break next,
            }
        }
    };
    if previous.map(core::ptr::from_ref) == next.map(core::ptr::from_ref) {
        return timer::program();
    }
    count(&cpu.switches);
    let left = match previous.map(Vcpu::state) {
        Some(State::Blocked) => Left::Sleeping,
        Some(State::Off) => Left::Ended,
        Some(State::Runnable) | None => Left::Runnable,
    };
    trace::switch(left, next.map(|vcpu| (vcpu.number(), &*vcpu.guest.name, vcpu.id)));
    let current = next.map_or(null_mut(), |vcpu| core::ptr::from_ref(vcpu).cast_mut());
    cpu.current.store(current, Relaxed);
    if let Some(vcpu) = next {
        guest::count(&vcpu.guest.counters.switches);
    }
    // SAFETY: IRQs are masked; a vCPU that waits for its turn is run by nobody.
    unsafe {
        vcpu::switch_registers(previous, next);
        // The timer of one that is blocked is known now.
        timer::program();
        vcpu::switch_stacks_of(previous, next, IDLE_SP.as_ptr());
    }
}

/// What the CPU does while no vCPU can run; on the boot stack.
pub fn idle_loop() -> ! {
    loop {
        guest::finish_if_all_ended();
        // SAFETY: masking is always allowed; nothing is held when IRQs are unmasked. A pending interrupt ends the wait even if
        // it is masked, so that none can come between the look at the softirqs and the wait unseen.
        unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) };
        if this_cpu().softirqs.load(Relaxed) != 0 {
            do_softirqs();
        } else {
            // SAFETY: as above.
            unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
        }
        // SAFETY: as above.
        unsafe { asm!("msr daifclr, #6", "isb", options(nostack, preserves_flags)) };
    }
}
