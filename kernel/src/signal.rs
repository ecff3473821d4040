//! Signals: sending, what a fault sends, and the default actions. A signal is acted on before the task returns to EL0.

use crate::console;
use crate::mm::USER_VA_BITS;
use crate::process;
use crate::sched::task::{Exit, STOP_SIGNALS, Task, flags};
use crate::sched::{self, current};
use alloc::sync::Arc;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use heapless::String;
use linux_raw_sys::general::*;
use trap::esr::Esr;
use trap::frame::PtRegs;
use trap::record::{Death, Hex, Kind, SCHEMA};
use trap::signal::{Mapping, SigInfo, code_name, signal_name, signal_of};

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
        SIGCONT => Action::Continue,
        SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU => Action::Stop,
        _ => Action::Terminate,
    }
}

/// Sends a signal, 1 to [`MAX_SIGNAL`]. To the first program, which the machine ends with, only itself can send any.
pub fn send(task: &Arc<Task>, signal: u32) {
    if task.id == process::INIT && current().id != process::INIT {
        return;
    }
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
        match default_action(signal) {
            // SIGCONT takes the signal back, and SIGKILL comes first, until the task has stopped.
            Action::Stop => sched::stop_if(
                || {
                    let pending = task.pending.fetch_and(!bit(signal), Relaxed);
                    pending & bit(signal) != 0 && pending & bit(SIGKILL) == 0
                },
                signal << 8 | STOPPED,
            ),
            _ => die(regs, SigInfo { signal, code: SI_USER as i32, addr: 0 }, Esr(0), "sent by a task"),
        }
    }
}

/// A fault of the running program that nothing could serve.
pub fn fault(regs: &PtRegs, esr: Esr, far: u64, mapping: Mapping) {
    let info = signal_of::<USER_VA_BITS>(esr, far, regs.pc, mapping);
    let mut cause = String::<192>::new();
    // What does not fit is cut.
    let _ = write!(cause, "{}", esr.sentence(Some(far)));
    let place =
        current().space.try_lock().and_then(|space| space.as_ref().map(|space| space.describe(info.addr as usize)));
    if let (true, Some(place)) = (esr.far_valid(), place) {
        let _ = write!(cause, " ({place})");
    }
    die(regs, info, esr, &cause);
}

/// The running program's memory could not be served: there is none left.
pub fn out_of_memory(regs: &PtRegs, esr: Esr, far: u64) {
    die(regs, SigInfo { signal: SIGKILL, code: SI_KERNEL as i32, addr: far }, esr, "out of memory");
}

/// The kernel could not get at the running program's memory: there is none left. It dies before it returns to EL0.
pub fn out_of_memory_in_copy() {
    let task = sched::current_arc();
    log::warn!("task {} ({}): out of memory", task.id, *task.name.lock());
    send(&task, SIGKILL);
}

/// The running task dies of a signal.
fn die(regs: &PtRegs, info: SigInfo, esr: Esr, cause: &str) -> ! {
    let task = current();
    let name = task.name.lock().clone();
    log::warn!(
        "task {} ({name}) killed by {} ({}): {cause}; PC {:#x}",
        task.id,
        signal_name(info.signal),
        code_name(info.signal, info.code),
        regs.pc
    );
    let mut text = String::new();
    let _ = text.push_str(cause);
    console::record(&Death {
        schema: SCHEMA,
        kind: Kind::Death,
        task: task.id,
        name,
        signal: info.signal,
        code: info.code,
        addr: Hex(info.addr),
        esr: Hex(esr.0),
        pc: Hex(regs.pc),
        cause: text,
    });
    process::exit(Exit::Signal(info.signal));
}
