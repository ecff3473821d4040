//! Which vCPU runs where: round-robin, by a softirq that is looked for before each entry to a guest.
//!
//! One queue for all CPUs. A vCPU is in the queue, among the sleepers, off, or a CPU's: from when that CPU takes it until the CPU is
//! on another stack ([`finish_switch`]), so that nobody else takes it before all of it is saved.

use crate::guest::Guest;
use crate::percpu::{self, count, this_cpu};
pub use crate::percpu::{FLUSH, SCHEDULE};
use crate::sync::{IrqLock, IrqMask};
use crate::vcpu::{self, State, Vcpu};
use crate::{control, cpu, gic, timer, trace, vgic};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::arch::asm;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::Ordering::Relaxed;
use trap::trace::Left;

/// vCPUs there can be.
pub const VCPUS_MAX: usize = hyp::config::GUESTS_MAX * *hyp::config::VCPUS.end() as usize;

struct Scheduler {
    /// Those that wait for their turn.
    queue: VecDeque<&'static Vcpu>,
    /// Those that wait for an interrupt.
    sleepers: Vec<&'static Vcpu>,
    /// CPUs that have nothing to do, one bit each.
    idle: u32,
    /// A guest has ended, and nobody has looked after it yet.
    ended: bool,
    /// CPU 0's idle context has something to do ([`control`]), in turn with the vCPUs.
    control: bool,
}

static SCHEDULER: IrqLock<Scheduler> =
    IrqLock::new(Scheduler { queue: VecDeque::new(), sleepers: Vec::new(), idle: 0, ended: false, control: false });

/// Makes room for all vCPUs, once.
pub fn init() {
    let mut scheduler = SCHEDULER.lock();
    scheduler.queue.reserve(VCPUS_MAX);
    scheduler.sleepers.reserve(VCPUS_MAX);
}

/// Asks for work before this CPU's next entry to a guest.
pub fn raise(softirq: u32) {
    this_cpu().softirqs.fetch_or(softirq, Relaxed);
}

/// The same of another CPU, which is interrupted for it.
fn raise_on(cpu: usize, softirq: u32) {
    percpu::all()[cpu].softirqs.fetch_or(softirq, Relaxed);
    if cpu != this_cpu().index {
        gic::kick(cpu);
    }
}

/// The vCPU that this CPU runs, if it is not idle.
pub fn current() -> Option<&'static Vcpu> {
    // SAFETY: a vCPU is not freed while it is a CPU's.
    unsafe { this_cpu().current.load(Relaxed).as_ref() }
}

/// Whether this CPU runs the vCPU.
pub fn is_current(vcpu: &Vcpu) -> bool {
    core::ptr::eq(this_cpu().current.load(Relaxed), vcpu)
}

impl Scheduler {
    /// A vCPU waits for its turn: on a CPU that has nothing to do; else, when it is `urgent`, on this one, next.
    fn enqueue(&mut self, vcpu: &'static Vcpu, urgent: bool) {
        self.queue.push_back(vcpu);
        let this = 1 << this_cpu().index;
        if self.idle & this != 0 {
            // Once: the next one is for another CPU.
            self.idle &= !this;
            raise(SCHEDULE);
        } else if self.idle != 0 {
            let cpu = self.idle.trailing_zeros() as usize;
            self.idle &= !(1 << cpu);
            raise_on(cpu, SCHEDULE);
        } else if urgent {
            raise(SCHEDULE);
        }
    }

    /// A vCPU can run.
    fn wake(&mut self, vcpu: &'static Vcpu) {
        vcpu.set_state(State::Runnable);
        trace::wake(vcpu.number());
        self.sleepers.retain(|other| !core::ptr::eq(*other, vcpu));
        // The CPU whose it still is sees it when it leaves it.
        if vcpu.cpu().is_none() {
            self.enqueue(vcpu, true);
        }
    }

    /// Has CPU 0 look after a guest that has ended, if no CPU runs it any more.
    fn look_after(&mut self, guest: &Guest) {
        if guest.has_ended() && guest.vcpus().iter().all(|vcpu| vcpu.cpu().is_none()) {
            self.ended = true;
            self.control = true;
            raise_on(0, SCHEDULE);
        }
    }
}

/// What this CPU's timer is to be set for: whether something waits for this CPU, and when the first sleeper is to be woken.
pub fn outlook() -> (bool, Option<u64>) {
    let scheduler = SCHEDULER.lock();
    let waits = !scheduler.queue.is_empty() || scheduler.control && this_cpu().index == 0;
    (waits, scheduler.sleepers.iter().filter_map(|vcpu| vcpu.deadline(false)).min())
}

/// Wakes the vCPUs whose timers are due, whether or not their guests have the interrupts enabled: the one that waits in place, and the
/// sleepers.
pub fn wake_due(now: u64) {
    let mut scheduler = SCHEDULER.lock();
    let current = current().filter(|vcpu| vcpu.state() == State::Blocked);
    if let Some(vcpu) = current.filter(|vcpu| vcpu.deadline(true).is_some_and(|deadline| deadline <= now)) {
        scheduler.wake(vcpu);
    }
    let due = |vcpu: &&Vcpu| vcpu.deadline(false).is_some_and(|deadline| deadline <= now);
    while let Some(&vcpu) = scheduler.sleepers.iter().find(|vcpu| due(vcpu)) {
        scheduler.wake(vcpu);
    }
}

/// Takes a vCPU that is off, to be set up and then [`start`]ed; not if it is somebody else's, or on.
pub fn claim(vcpu: &Vcpu) -> bool {
    let _scheduler = SCHEDULER.lock();
    let free = vcpu.state() == State::Off && vcpu.cpu().is_none() && !vcpu.guest.has_ended();
    if free {
        vcpu.set_state(State::OnPending);
    }
    free
}

/// Has a vCPU run from now on that was claimed.
pub fn start(vcpu: &'static Vcpu) {
    let mut scheduler = SCHEDULER.lock();
    // Else its guest has ended meanwhile.
    if vcpu.state() == State::OnPending {
        scheduler.wake(vcpu);
    }
}

/// The current vCPU waits for an interrupt from now on, unless `due` says, when that is known, that one is there already.
pub fn block(vcpu: &'static Vcpu, due: impl FnOnce() -> bool) {
    {
        let _scheduler = SCHEDULER.lock();
        if vcpu.state() != State::Runnable {
            return;
        }
        vcpu.set_state(State::Blocked);
    }
    // Whoever has an interrupt for it from here on wakes it.
    if due() {
        wake(vcpu);
    } else {
        raise(SCHEDULE);
    }
}

/// Does something with a vCPU that no CPU runs, and none does while it lasts. Not if one runs it: says whether it was done.
pub fn while_stopped(vcpu: &Vcpu, work: impl FnOnce()) -> bool {
    let _scheduler = SCHEDULER.lock();
    let stopped = vcpu.cpu().is_none();
    if stopped {
        work();
    }
    stopped
}

/// Wakes a vCPU if it is blocked.
pub fn wake(vcpu: &'static Vcpu) {
    let mut scheduler = SCHEDULER.lock();
    if vcpu.state() == State::Blocked {
        scheduler.wake(vcpu);
    }
}

/// Something has changed of a vCPU's interrupts: its List Registers are written before it goes on. It is woken if it waits, and taken
/// out of its guest for a moment if another CPU runs it.
pub fn kick(vcpu: &'static Vcpu) {
    if is_current(vcpu) {
        raise(FLUSH);
        // One that has just said that it waits is not gone yet, and needs to be told.
        if vcpu.state() != State::Blocked {
            return;
        }
    }
    wake(vcpu);
    if let Some(cpu) = vcpu.cpu().filter(|&cpu| cpu != this_cpu().index) {
        raise_on(cpu, FLUSH);
    }
}

/// The current vCPU is off from now on. Whether all of its guest are.
pub fn off(vcpu: &Vcpu) -> bool {
    let _scheduler = SCHEDULER.lock();
    vcpu.set_state(State::Off);
    raise(SCHEDULE);
    vcpu.guest.vcpus().iter().all(|vcpu| vcpu.state() == State::Off)
}

/// None of the vCPUs of a guest that has ended runs again.
pub fn stop(guest: &'static Guest) {
    let mut scheduler = SCHEDULER.lock();
    let others = |vcpu: &&Vcpu| !core::ptr::eq(vcpu.guest, guest);
    scheduler.queue.retain(others);
    scheduler.sleepers.retain(others);
    for vcpu in guest.vcpus() {
        vcpu.set_state(State::Off);
        if let Some(cpu) = vcpu.cpu() {
            raise_on(cpu, SCHEDULE);
        }
    }
    scheduler.look_after(guest);
}

/// Whether a guest has ended and no CPU runs it any more.
pub fn has_left(guest: &Guest) -> bool {
    let _scheduler = SCHEDULER.lock();
    guest.has_ended() && guest.vcpus().iter().all(|vcpu| vcpu.cpu().is_none())
}

/// Does what was asked for by [`raise`]; IRQs are masked.
pub fn do_softirqs() {
    while this_cpu().softirqs.load(Relaxed) & SCHEDULE != 0 {
        this_cpu().softirqs.fetch_and(!SCHEDULE, Relaxed);
        if !wait_in_place() {
            schedule();
        }
    }
}

/// While the current vCPU is blocked and nobody else needs this CPU, the CPU idles on the vCPU's stack: what is loaded of the guest
/// stays, as most waits end with an interrupt for the same one. Whether it goes on with it.
fn wait_in_place() -> bool {
    let cpu = this_cpu();
    let Some(vcpu) = current() else { return false };
    let mut waited = false;
    loop {
        let (state, needed) = {
            let mut scheduler = SCHEDULER.lock();
            let needed = !scheduler.queue.is_empty() || scheduler.control && cpu.index == 0;
            let idle = vcpu.state() == State::Blocked && !needed;
            scheduler.idle = scheduler.idle & !(1 << cpu.index) | u32::from(idle) << cpu.index;
            (vcpu.state(), needed)
        };
        if state != State::Blocked || needed {
            if waited {
                count_switch(State::Runnable, Some(vcpu));
            }
            return waited && !needed && state == State::Runnable;
        }
        if waited {
            // Whoever has something for this CPU from here on interrupts it, which ends the wait though IRQs are masked.
            cpu::wait_for_interrupt();
            gic::handle();
            cpu.softirqs.fetch_and(!SCHEDULE, Relaxed);
            // The virtual timer's own interrupt wakes nobody where the guest has it disabled.
            if vcpu.state() == State::Blocked {
                wake_due(timer::now());
            }
        } else {
            waited = true;
            count_switch(State::Blocked, None);
            // This may wake it.
            timer::program();
        }
    }
}

/// Lets others run, in the middle of something long that holds nothing.
pub fn yield_now() {
    let _mask = IrqMask::new();
    raise(SCHEDULE);
    do_softirqs();
}

/// Gives the CPU to the vCPU that has waited longest. Returns when the current one has its turn again, maybe on another CPU.
fn schedule() {
    let cpu = this_cpu();
    let previous = current();
    // What is in the List Registers is that one's.
    previous.inspect(|vcpu| vgic::sync(vcpu));
    let next = {
        let mut scheduler = SCHEDULER.lock();
        let control = scheduler.control && cpu.index == 0;
        // The idle context of CPU 0 has its turn, too.
        let next = match previous {
            Some(_) if control => None,
            _ => scheduler.queue.pop_front().or(previous.filter(|vcpu| vcpu.state() == State::Runnable)),
        };
        match next {
            Some(vcpu) => vcpu.set_cpu(Some(cpu.index)),
            None if control => {}
            None => scheduler.idle |= 1 << cpu.index,
        }
        if next.is_some() {
            scheduler.idle &= !(1 << cpu.index);
        }
        next
    };
    if previous.map(from_ref) == next.map(from_ref) {
        return timer::program();
    }
    count_switch(previous.map_or(State::Runnable, Vcpu::state), next);
    let pointer = |vcpu: Option<&Vcpu>| vcpu.map_or(null_mut(), |vcpu| from_ref(vcpu).cast_mut());
    cpu.current.store(pointer(next), Relaxed);
    cpu.previous.store(pointer(previous), Relaxed);
    // SAFETY: IRQs are masked; a vCPU that waited for its turn is nobody's but this CPU's now.
    unsafe {
        vcpu::switch_registers(previous, next);
        vcpu::switch_stacks_of(previous, next, cpu.idle_sp.as_ptr());
    }
    finish_switch();
}

/// This CPU goes on with another vCPU, or idling, what it leaves being in `state`.
fn count_switch(state: State, next: Option<&'static Vcpu>) {
    count(&this_cpu().switches);
    let left = match state {
        State::Blocked => Left::Sleeping,
        State::Off | State::OnPending => Left::Ended,
        State::Runnable => Left::Runnable,
    };
    trace::switch(left, next.map(|vcpu| (vcpu.number(), &*vcpu.guest.name, vcpu.id)));
    if let Some(vcpu) = next {
        count(&vcpu.counters.switches);
    }
}

/// The first thing on a stack that was switched to: the vCPU that this CPU has left is no more this CPU's.
#[unsafe(no_mangle)]
extern "C" fn finish_switch() {
    let previous = this_cpu().previous.swap(null_mut(), Relaxed);
    // SAFETY: it is still this CPU's.
    if let Some(vcpu) = unsafe { previous.as_ref() } {
        let mut scheduler = SCHEDULER.lock();
        vcpu.set_cpu(None);
        match vcpu.state() {
            State::Runnable => scheduler.enqueue(vcpu, false),
            State::Blocked => scheduler.sleepers.push(vcpu),
            State::Off | State::OnPending => scheduler.look_after(vcpu.guest),
        }
    }
    // The timers of one that sleeps are known now.
    timer::program();
}

/// What a CPU does while it has no vCPU to run; on its boot stack.
pub fn idle_loop() -> ! {
    loop {
        // SAFETY: masking is always allowed; nothing is held when IRQs are unmasked. A pending interrupt ends the wait even if
        // it is masked, so that none can come between the look at the softirqs and the wait unseen.
        unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) };
        if this_cpu().softirqs.load(Relaxed) & SCHEDULE != 0 {
            do_softirqs();
        } else {
            cpu::wait_for_interrupt();
        }
        // SAFETY: as above.
        unsafe { asm!("msr daifclr, #6", "isb", options(nostack, preserves_flags)) };
        if this_cpu().index == 0 {
            while core::mem::take(&mut SCHEDULER.lock().ended) {
                control::look_after_guests();
                // Its turn is over: for what waits, or to be known as idle.
                raise(SCHEDULE);
            }
            let mut scheduler = SCHEDULER.lock();
            scheduler.control = scheduler.ended;
        }
    }
}
