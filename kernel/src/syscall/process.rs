//! Processes: making, ending, waiting for and signalling them.

use super::fs::read_path;
use super::{Errno, Result};
use crate::mm::heap;
use crate::process::exec::{self, ARG_MAX};
use crate::process::{self, Waited};
use crate::sched::task::{self, Exit, State, Task};
use crate::sched::{self, current};
use crate::signal;
use crate::uaccess::{self, clear_user, put_user};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use trap::frame::PtRegs;

/// exit(code), exit_group(code): a process has one thread.
pub fn exit(regs: &mut PtRegs) -> Result {
    process::exit(Exit::Code(regs.regs[0] as u8))
}

/// getpid(), gettid()
pub fn getpid(_: &mut PtRegs) -> Result {
    Ok(current().id as usize)
}

/// getppid()
pub fn getppid(_: &mut PtRegs) -> Result {
    Ok(current().parent.load(Relaxed) as usize)
}

/// sched_yield()
pub fn sched_yield(_: &mut PtRegs) -> Result {
    sched::yield_now();
    Ok(0)
}

/// set_tid_address(address): nobody shares the memory that would be cleared at exit, so the address is of no use.
pub fn set_tid_address(regs: &mut PtRegs) -> Result {
    getpid(regs)
}

/// set_robust_list(head, length): without threads there is no lock to hand on.
pub fn set_robust_list(regs: &mut PtRegs) -> Result {
    if regs.regs[1] as usize == size_of::<robust_list_head>() { Ok(0) } else { Err(Errno::EINVAL) }
}

/// clone(flags, stack, parent_tid, tls, child_tid), as fork: only what shares nothing.
pub fn clone(regs: &mut PtRegs) -> Result {
    let [flags, stack, parent_tid, tls, child_tid, ..] = regs.regs;
    let flags = flags as u32;
    let known = CSIGNAL | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    // There is nothing of what these share or ask for.
    let moot = CLONE_FS | CLONE_SYSVSEM | CLONE_IO | CLONE_PTRACE | CLONE_UNTRACED | CLONE_DETACHED;
    if flags & !(known | moot) != 0 {
        return Err(Errno::EINVAL);
    }
    let has = |flag| flags & flag != 0;
    let child = process::fork(regs, (stack != 0).then_some(stack), has(CLONE_SETTLS).then_some(tls))
        .map_err(|_| Errno::EAGAIN)?;
    let id = child.id;
    if has(CLONE_CHILD_SETTID)
        && let Some(space) = &mut *child.space.lock()
    {
        // As on Linux, an address that cannot be written is the program's own loss.
        let _ = space.write_as_user(child_tid as usize, id);
    }
    if has(CLONE_PARENT_SETTID) {
        let _ = put_user(parent_tid as usize, id);
    }
    sched::spawn(child).map_err(|_| Errno::EAGAIN)?;
    Ok(id as usize)
}

/// The strings of a NULL-terminated array of pointers; `room` is what is left of [`ARG_MAX`].
fn read_strings(array: u64, room: &mut usize) -> Result<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    if array == 0 {
        return Ok(strings);
    }
    for index in 0.. {
        let pointer: u64 = uaccess::get_user((array as usize).wrapping_add(index * size_of::<u64>()))?;
        if pointer == 0 {
            break;
        }
        let mut string = Vec::new();
        *room = room.checked_sub(size_of::<u64>()).ok_or(Errno::E2BIG)?;
        uaccess::strncpy_from_user(&mut string, pointer as usize, *room).map_err(|why| why.errno(Errno::E2BIG))?;
        *room = room.checked_sub(string.len() + 1).ok_or(Errno::E2BIG)?;
        heap::grow(&mut strings, 1)?;
        strings.push(string);
    }
    Ok(strings)
}

/// execve(path, argv, envp)
pub fn execve(regs: &mut PtRegs) -> Result {
    let [path, argv, envp, ..] = regs.regs;
    {
        let path = read_path(path)?;
        let mut room = ARG_MAX;
        let mut argv = read_strings(argv, &mut room)?;
        let envp = read_strings(envp, &mut room)?;
        // No program starts without an argument, which many do not expect.
        if argv.is_empty() {
            heap::grow(&mut argv, 1)?;
            argv.push(Vec::new());
        }
        // Up to here, and inside, a failure leaves the old program as it was.
        let (mut space, new) = exec::load(&path, &argv, &envp).map_err(|why| match why {
            exec::Error::Path(why) => why.into(),
            exec::Error::NotAFile => Errno::EACCES,
            exec::Error::Format(_) => Errno::ENOEXEC,
            exec::Error::TooLong => Errno::E2BIG,
            exec::Error::OutOfMemory => Errno::ENOMEM,
        })?;
        if current().id == process::INIT {
            space.set_first_program();
        }
        sched::set_space(Some(space));
        sched::reset_user_registers();
        current().files.lock().close_for_exec();
        task::set_name(current(), &path);
        let stackframe = regs.stackframe;
        *regs = PtRegs { stackframe, ..new };
    }
    Ok(0)
}

/// wait4(pid, status, options, rusage)
pub fn wait4(regs: &mut PtRegs) -> Result {
    let [pid, status, options, rusage, ..] = regs.regs;
    let options = options as u32;
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WALL | __WCLONE) != 0 {
        return Err(Errno::EINVAL);
    }
    // Every child tells of its end by SIGCHLD, and is none of those.
    if options & (__WALL | __WCLONE) == __WCLONE {
        return Err(Errno::ECHILD);
    }
    let which = match pid as i32 {
        // Every task is in one process group.
        -1 | 0 => None,
        id if id > 0 => Some(id as u32),
        i32::MIN => return Err(Errno::ESRCH),
        _ => return Err(Errno::ECHILD),
    };
    let wants = |report| match report {
        signal::CONTINUED => options & WCONTINUED != 0,
        _ => options & WUNTRACED != 0,
    };
    let no_hang = options & WNOHANG != 0;
    let waited = if no_hang { process::poll_children(which, wants) } else { process::wait_for_child(which, wants) };
    let (id, word) = match waited {
        Waited::Ended(id, Exit::Code(code)) => (id, u32::from(code) << 8),
        Waited::Ended(id, Exit::Signal(signal)) => (id, signal),
        Waited::Changed(id, report) => (id, report),
        Waited::Running if no_hang => return Ok(0),
        Waited::Running => return Err(Errno::EINTR),
        Waited::None => return Err(Errno::ECHILD),
    };
    if status != 0 {
        put_user(status as usize, word)?;
    }
    if rusage != 0 {
        // No use of resources is measured.
        clear_user(rusage as usize, 18 * size_of::<u64>())?;
    }
    Ok(id as usize)
}

/// kill(pid, signal)
pub fn kill(regs: &mut PtRegs) -> Result {
    let [pid, signal, ..] = regs.regs;
    let (pid, signal) = (pid as i32, signal as u32);
    let me = current().id;
    let send = |target: Arc<Task>| {
        if (1..=signal::MAX_SIGNAL).contains(&signal) && target.state() != State::Zombie {
            signal::send(&target, signal);
        }
    };
    let sent = match pid {
        // All, but the first program and the caller.
        -1 => sched::tasks().filter(|task| task.id != process::INIT && task.id != me).map(send).count(),
        // Every task is in one process group.
        0 => sched::tasks().map(send).count(),
        id if id > 0 => sched::find(id as u32).into_iter().map(send).count(),
        _ => 0,
    };
    if sent == 0 {
        return Err(Errno::ESRCH);
    }
    if signal > signal::MAX_SIGNAL { Err(Errno::EINVAL) } else { Ok(0) }
}

/// tkill(tid, signal)
pub fn tkill(regs: &mut PtRegs) -> Result {
    let [tid, signal, ..] = regs.regs;
    signal_thread(tid, tid, signal)
}

/// tgkill(pid, tid, signal)
pub fn tgkill(regs: &mut PtRegs) -> Result {
    let [pid, tid, signal, ..] = regs.regs;
    signal_thread(pid, tid, signal)
}

/// A process's one thread has its number.
fn signal_thread(pid: u64, tid: u64, signal: u64) -> Result {
    if pid as i32 <= 0 || tid as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let target = sched::find(tid as u32).filter(|_| pid as i32 == tid as i32).ok_or(Errno::ESRCH)?;
    if signal as u32 > signal::MAX_SIGNAL {
        return Err(Errno::EINVAL);
    }
    if signal != 0 && target.state() != State::Zombie {
        signal::send(&target, signal as u32);
    }
    Ok(0)
}
