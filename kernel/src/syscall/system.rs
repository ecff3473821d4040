//! The system: its name, its limits, its random numbers.

use super::fs::{FILE_LIMIT, MAX_RW, check_user};
use super::{Errno, Result};
use crate::process::exec::STACK_SIZE;
use crate::random;
use crate::sched::{self, current, max_tasks};
use crate::uaccess::{copy_to_user, get_user, put_user};
use linux_raw_sys::general::*;
use trap::frame::PtRegs;

/// Bytes of each field of `struct new_utsname` (Linux `__NEW_UTS_LEN` and a NUL).
const FIELD: usize = 65;

/// uname(name). The release is what C libraries compare with the oldest Linux they support.
pub fn uname(regs: &mut PtRegs) -> Result {
    let fields =
        ["Linux", "ventry", "5.10.0-ventry", concat!("Ventry ", env!("CARGO_PKG_VERSION")), "aarch64", "(none)"];
    let mut name = [0u8; FIELD * 6];
    for (room, text) in name.chunks_exact_mut(FIELD).zip(fields) {
        room[..text.len()].copy_from_slice(text.as_bytes());
    }
    copy_to_user(regs.regs[0] as usize, &name)?;
    Ok(0)
}

/// getrandom(buffer, length, flags)
pub fn getrandom(regs: &mut PtRegs) -> Result {
    let [buffer, length, flags, ..] = regs.regs;
    let flags = flags as u32;
    let unclear = GRND_RANDOM | GRND_INSECURE;
    if flags & !(GRND_NONBLOCK | unclear) != 0 || flags & unclear == unclear {
        return Err(Errno::EINVAL);
    }
    let length = (length as usize).min(MAX_RW);
    check_user(buffer, length as u64)?;
    let mut done = 0;
    while done < length {
        if current().is_interrupted() {
            return if done > 0 { Ok(done) } else { Err(Errno::EINTR) };
        }
        let mut chunk = [0; 256];
        let chunk = &mut chunk[..(length - done).min(256)];
        random::fill(chunk);
        match copy_to_user((buffer as usize).wrapping_add(done), chunk) {
            Ok(()) => done += chunk.len(),
            Err(fault) => {
                done += chunk.len() - fault.left;
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
            }
        }
    }
    Ok(done)
}

/// prlimit64(pid, resource, new, old): limits can be read, not changed.
pub fn prlimit64(regs: &mut PtRegs) -> Result {
    let [pid, resource, new, old, ..] = regs.regs;
    let new = if new != 0 { Some(get_user::<[u64; 2]>(new as usize)?) } else { None };
    if pid as u32 != 0 && sched::find(pid as u32).is_none() {
        return Err(Errno::ESRCH);
    }
    const INFINITY: u64 = u64::MAX;
    let limit = match resource as u32 {
        RLIMIT_STACK => STACK_SIZE as u64,
        RLIMIT_NOFILE => FILE_LIMIT,
        RLIMIT_NPROC => max_tasks() as u64,
        RLIMIT_CORE => 0,
        0..RLIM_NLIMITS => INFINITY,
        _ => return Err(Errno::EINVAL),
    };
    if let Some([soft, hard]) = new {
        return Err(if soft > hard { Errno::EINVAL } else { Errno::EPERM });
    }
    if old != 0 {
        put_user(old as usize, [limit, limit])?;
    }
    Ok(0)
}

/// getuid() and its like: there is one user.
pub fn root(_: &mut PtRegs) -> Result {
    Ok(0)
}
