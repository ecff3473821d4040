//! Programs: starting, forking, ending and waiting for them.

pub mod exec;

use crate::counters;
use crate::mm::OutOfMemory;
use crate::power;
use crate::sched::task::{Exit, Id, State, Task};
use crate::sched::{self, current, family};
use crate::site::trace_point;
use crate::sync::IrqMask;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter;
use core::sync::atomic::Ordering::Relaxed;
use trap::frame::PtRegs;

unsafe extern "C" {
    /// Where a new task starts, to return to EL0 with the registers at the top of its stack (`exception/entry.S`).
    fn ret_from_fork();
}

/// The first program; when it ends, the machine ends, with its exit code. Tasks whose parent ended are its children.
pub const INIT: Id = 1;

/// A copy of the running program, which gets 0 as the result of its system call. `stack` and `tls` replace its own.
pub fn fork(regs: &PtRegs, stack: Option<u64>, tls: Option<u64>) -> Result<Arc<Task>, OutOfMemory> {
    let parent = current();
    let id = sched::new_id()?;
    let space = parent.space.lock().as_mut().ok_or(OutOfMemory)?.duplicate()?;
    let mut child_regs = *regs;
    child_regs.regs[0] = 0;
    child_regs.sp = stack.unwrap_or(regs.sp);
    let name = parent.name.lock().clone();
    let child = Task::new(id, &name, ret_from_fork as *const () as usize, &child_regs, Some(space))?;
    child.parent.store(parent.id, Relaxed);
    *child.files.lock() = parent.files.lock().duplicate();
    sched::copy_user_registers(&child, tls);
    Ok(child)
}

/// Ends the running task.
pub fn exit(exit: Exit) -> ! {
    let task = current();
    // SAFETY: a nop, unless traced.
    unsafe { trace_point!(END, u32::from(exit_code(exit))) };
    if task.id == INIT {
        // What is counted is all that happens: no interrupt comes after.
        let _mask = IrqMask::new();
        counters::emit();
        power::off(exit_code(exit));
    }
    #[cfg(feature = "ktest")]
    crate::ktest::audit::task_ends();
    drop(core::mem::replace(&mut *task.files.lock(), crate::fs::Files::new()));
    sched::set_space(None);
    if let Some(init) = sched::find(INIT) {
        for child in iter::from_fn(|| family::children().next()) {
            family::leave(task, child);
            family::adopt(&init, child);
        }
        // Among the children may be zombies that their new parent waits for.
        sched::wake(&init);
    }
    *task.exit.lock() = Some(exit);
    sched::end()
}

/// The exit code of the machine: the program's own, or 128 and the signal that killed it.
fn exit_code(exit: Exit) -> u8 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal as u8,
    }
}

/// What a wait found.
pub enum Waited {
    /// A child that ended; it is forgotten now.
    Ended(Id, Exit),
    /// A child that was stopped or goes on again, as `wait4` tells it.
    Changed(Id, u32),
    /// Children, but none to tell of.
    Running,
    /// No such child.
    None,
}

/// Looks for a child of the running task, a certain one or any, that ended, or whose change is one of those wanted.
pub fn poll_children(which: Option<Id>, wants: impl Fn(u32) -> bool) -> Waited {
    let mut waited = Waited::None;
    if let Some(id) = which {
        if let Some(child) = sched::find(id).filter(|child| child.parent.load(Relaxed) == current().id) {
            waited = poll(&child, wants);
        }
    } else {
        for child in family::children() {
            waited = poll(child, &wants);
            if !matches!(waited, Waited::Running) {
                break;
            }
        }
    }
    waited
}

/// Looks at one child.
fn poll(child: &Task, wants: impl Fn(u32) -> bool) -> Waited {
    let (id, report) = (child.id, child.report.load(Relaxed));
    let exit = *child.exit.lock();
    if let (State::Zombie, Some(exit)) = (child.state(), exit) {
        sched::forget(id);
        Waited::Ended(id, exit)
    } else if report != 0 && wants(report) {
        // Stopped or resumed meanwhile, it has something else to tell.
        match child.report.compare_exchange(report, 0, Relaxed, Relaxed) {
            Ok(_) => Waited::Changed(id, report),
            Err(_) => poll(child, wants),
        }
    } else {
        Waited::Running
    }
}

/// Waits until [`poll_children`] finds something; [`Waited::Running`] when a signal came first.
pub fn wait_for_child(which: Option<Id>, wants: impl Fn(u32) -> bool) -> Waited {
    let mut found = Waited::Running;
    // What was found tells whether the wait was cut short.
    let _ = sched::wait_until(|| {
        found = poll_children(which, &wants);
        !matches!(found, Waited::Running)
    });
    found
}

/// Makes the first program.
pub fn start_init(path: &str, arguments: impl Iterator<Item = Vec<u8>>) -> Result<(), exec::Error> {
    let argv: Vec<_> = [path.into()].into_iter().chain(arguments).collect();
    let (mut space, regs) = exec::load(path, &argv, &[b"PATH=/bin".into()])?;
    space.set_first_program();
    let id = sched::new_id().map_err(|_| exec::Error::OutOfMemory)?;
    debug_assert_eq!(id, INIT);
    let task = Task::new(id, path, ret_from_fork as *const () as usize, &regs, Some(space))
        .map_err(|_| exec::Error::OutOfMemory)?;
    task.files.lock().open_console().map_err(|_| exec::Error::OutOfMemory)?;
    sched::spawn(task).map_err(|_| exec::Error::OutOfMemory)
}
