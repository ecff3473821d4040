//! Signals: sending, what a fault sends, and the default actions. A signal is acted on before the task returns to EL0.

use crate::mm::USER_VA_BITS;
use crate::process;
use crate::report::{self, Taken};
use crate::sched::task::{Exit, Id, STOP_SIGNALS, Task, flags};
use crate::sched::{self, current};
use crate::site::trace_point;
use crate::sync::IrqLock;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;
use heapless::Deque;
use linux_raw_sys::general::*;
use trap::frame::PtRegs;
use trap::record::Hex;
use trap::signal::{Mapping, SigInfo, signal_of, untagged};

/// Highest signal number.
pub const MAX_SIGNAL: u32 = 64;

/// What `wait4` tells of a task that was stopped (with the signal in bits 15:8) and of one that goes on again.
pub const STOPPED: u32 = 0x7f;
/// As [`STOPPED`].
pub const CONTINUED: u32 = 0xffff;

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// What a signal does to a task that has no handler for it (Linux signal(7)).
enum Action {
    Ignore,
    Continue,
    Stop,
    Terminate,
}

fn default_action(signal: u32) -> Action {
    match signal {
        SIGCHLD | SIGURG | SIGWINCH => Action::Ignore,
        // A terminal's do not stop tasks whom no shell in another process group could make go on: there is one group.
        SIGTSTP | SIGTTIN | SIGTTOU => Action::Ignore,
        SIGCONT => Action::Continue,
        SIGSTOP => Action::Stop,
        _ => Action::Terminate,
    }
}

/// Sends a signal, 1 to [`MAX_SIGNAL`]. To the first program, which the machine ends with, only itself can send any.
pub fn send(task: &Arc<Task>, signal: u32) {
    if task.id == process::INIT && current().id != process::INIT {
        return;
    }
    traced_signal(task.id, signal, SI_USER as i32);
    match default_action(signal) {
        // Without handlers, nobody could see it pending.
        Action::Ignore => {}
        Action::Continue => {
            task.pending.fetch_and(!STOP_SIGNALS, Relaxed);
            sched::resume(task, CONTINUED);
        }
        Action::Stop => {
            task.pending.fetch_or(bit(signal), Relaxed);
            task.flags.fetch_or(flags::SIGNAL_PENDING, Relaxed);
        }
        Action::Terminate => {
            task.pending.fetch_or(bit(signal), Relaxed);
            task.flags.fetch_or(flags::SIGNAL_PENDING, Relaxed);
            if signal == SIGKILL {
                sched::resume(task, 0);
            }
            sched::wake(task);
        }
    }
}

/// The trace learns of a signal that is sent.
fn traced_signal(task: Id, signal: u32, code: i32) {
    // SAFETY: a nop, unless traced.
    unsafe { trace_point!(SIGNAL, u64::from(task) | u64::from(signal) << 32, code as u32) };
}

/// Acts on the running task's pending signals.
pub fn deliver(regs: &PtRegs) {
    let task = current();
    loop {
        task.flags.fetch_and(!flags::SIGNAL_PENDING, Relaxed);
        let pending = task.pending.load(Relaxed);
        if pending == 0 {
            return;
        }
        // SIGKILL before all others, then the lowest number.
        let signal = if pending & bit(SIGKILL) != 0 { SIGKILL } else { pending.trailing_zeros() + 1 };
        // SAFETY: a nop, unless traced.
        unsafe { trace_point!(DELIVER, signal) };
        match default_action(signal) {
            // SIGCONT takes the signal back, and SIGKILL comes first, until the task has stopped.
            Action::Stop => sched::stop_if(
                || {
                    let pending = task.pending.fetch_and(!bit(signal), Relaxed);
                    pending & bit(signal) != 0 && pending & bit(SIGKILL) == 0
                },
                signal << 8 | STOPPED,
            ),
            _ => die_of(regs, signal),
        }
    }
}

/// A fault of the running program that nothing could serve.
pub fn fault(regs: &PtRegs, taken: Taken, mapping: Mapping) {
    let info = signal_of::<USER_VA_BITS>(taken.esr, taken.far, regs.pc, mapping);
    traced_signal(current().id, info.signal, info.code);
    die(regs, info, Some(taken), format_args!("{}", taken.esr.sentence(Some(taken.far))));
}

/// The running program's memory could not be served: there is none left.
pub fn out_of_memory(regs: &PtRegs, taken: Taken) {
    let info = SigInfo { signal: SIGKILL, code: SI_KERNEL as i32, addr: Hex(untagged(taken.far)) };
    traced_signal(current().id, info.signal, info.code);
    die(regs, info, Some(taken), format_args!("out of memory: {}", taken.esr.sentence(Some(taken.far))));
}

/// The kernel could not get at the running program's memory: there is none left. It dies before it returns to EL0.
pub fn out_of_memory_in_copy() {
    let task = sched::current_arc();
    traced_signal(task.id, SIGKILL, SI_KERNEL as i32);
    task.out_of_memory.store(true, Relaxed);
    task.pending.fetch_or(bit(SIGKILL), Relaxed);
    task.flags.fetch_or(flags::SIGNAL_PENDING, Relaxed);
}

/// Signals sent by tasks, and by the kernel to itself: none of them is a fault.
fn die_of(regs: &PtRegs, signal: u32) -> ! {
    let by_kernel = signal == SIGKILL && current().out_of_memory.load(Relaxed);
    let (code, cause) =
        if by_kernel { (SI_KERNEL, "out of memory, in a system call") } else { (SI_USER, "sent by a task") };
    let info = SigInfo { signal, code: code as i32, addr: Hex(0) };
    die(regs, info, None, format_args!("{cause}"))
}

/// The running task dies of a signal.
fn die(regs: &PtRegs, info: SigInfo, taken: Option<Taken>, cause: fmt::Arguments<'_>) -> ! {
    let task = current();
    let mut deaths = DEATHS.lock();
    if deaths.is_full() {
        deaths.pop_front();
    }
    // There is room now.
    let _ = deaths.push_back((task.id, info));
    drop(deaths);
    report::death(cause, regs, info, taken);
    process::exit(Exit::Signal(info.signal));
}

/// The last tasks that died of signals.
static DEATHS: IrqLock<Deque<(Id, SigInfo), 16>> = IrqLock::new(Deque::new());

/// The text of `/proc/deaths`: a line each, task, signal, code and address, the oldest first.
pub fn deaths() -> String {
    // Copied, so that nothing is allocated under the lock.
    let deaths = DEATHS.lock().clone();
    let mut text = String::new();
    for (task, SigInfo { signal, code, addr }) in &deaths {
        // A String takes everything.
        let _ = writeln!(text, "{task} {signal} {code} {:#x}", addr.0);
    }
    text
}
