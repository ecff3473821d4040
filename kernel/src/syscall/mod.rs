//! System calls: Linux arm64's numbers, arguments and errors.
//!
//! The number is in x8, arguments in x0..x5, the result in x0: negative errno on an error. One table, one file a family.

mod fs;
mod memory;
mod process;
mod system;
mod time;

use crate::mm::OutOfMemory;
use crate::uaccess::{self, StringError};
use core::arch::asm;
use linux_raw_sys::errno;
use linux_raw_sys::general::*;
use trap::frame::PtRegs;

/// A Linux error number. As wide as a result, so that both come back in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(usize);

/// What a system call gives back: a value, or an error.
type Result<T = usize> = core::result::Result<T, Errno>;

/// A system call as the table has it: reads its arguments from the frame, and leaves its result there.
type Syscall = fn(&mut PtRegs);

/// The errors that calls return; values from linux-raw-sys.
macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(pub(crate) const $name: Errno = Errno(errno::$name as usize);)*
        }
    };
}
errnos!(E2BIG EACCES EAGAIN EBADF ECHILD EFAULT EINTR EINVAL EEXIST EISDIR EMFILE ENAMETOOLONG ENOENT ENOEXEC ENOMEM ENOSYS
    ENOTDIR ENOTTY ENXIO EOPNOTSUPP EPERM EROFS ESPIPE ESRCH);

impl From<OutOfMemory> for Errno {
    fn from(_: OutOfMemory) -> Self {
        Errno::ENOMEM
    }
}

impl StringError {
    /// The error of a call whose string is longer than `too_long` says.
    fn errno(self, too_long: Errno) -> Errno {
        match self {
            StringError::Fault => Errno::EFAULT,
            StringError::TooLong => too_long,
            StringError::OutOfMemory => Errno::ENOMEM,
        }
    }
}

impl From<uaccess::Fault> for Errno {
    fn from(_: uaccess::Fault) -> Self {
        Errno::EFAULT
    }
}

/// One above the highest number in the table.
const TABLE_SIZE: usize = 512;

/// The calls by number plus one. First, and where a number has none, [`unknown`].
static TABLE: [Syscall; TABLE_SIZE + 1] = {
    let mut table: [Syscall; TABLE_SIZE + 1] = [unknown; TABLE_SIZE + 1];
    let mut index = 0;
    while index < CALLS.len() {
        table[CALLS[index].0 as usize + 1] = CALLS[index].1;
        index += 1;
    }
    table
};

/// Numbers and calls. What a call gives back becomes its result, by a function of the same name, so that reports name it.
macro_rules! calls {
    ($(($number:ident, $family:ident::$call:ident),)*) => {
        &[$({
            fn $call(regs: &mut PtRegs) {
                let result = $family::$call(regs);
                set_result(regs, result);
            }
            ($number, $call as Syscall)
        }),*]
    };
}

const CALLS: &[(u32, Syscall)] = calls![
    (__NR_ioctl, fs::ioctl),
    (__NR_openat, fs::openat),
    (__NR_close, fs::close),
    (__NR_getdents64, fs::getdents64),
    (__NR_lseek, fs::lseek),
    (__NR_read, fs::read),
    (__NR_write, fs::write),
    (__NR_writev, fs::writev),
    (__NR_readlinkat, fs::readlinkat),
    (__NR_newfstatat, fs::newfstatat),
    (__NR_fstat, fs::fstat),
    (__NR_exit, process::exit),
    (__NR_exit_group, process::exit),
    (__NR_set_tid_address, process::set_tid_address),
    (__NR_set_robust_list, process::set_robust_list),
    (__NR_sched_yield, process::sched_yield),
    (__NR_kill, process::kill),
    (__NR_getpid, process::getpid),
    (__NR_getppid, process::getppid),
    (__NR_gettid, process::getpid),
    (__NR_clone, process::clone),
    (__NR_execve, process::execve),
    (__NR_wait4, process::wait4),
    (__NR_tkill, process::tkill),
    (__NR_tgkill, process::tgkill),
    (__NR_nanosleep, time::nanosleep),
    (__NR_clock_gettime, time::clock_gettime),
    (__NR_clock_nanosleep, time::clock_nanosleep),
    (__NR_clock_getres, time::clock_getres),
    (__NR_brk, memory::brk),
    (__NR_munmap, memory::munmap),
    (__NR_mmap, memory::mmap),
    (__NR_mprotect, memory::mprotect),
    (__NR_uname, system::uname),
    (__NR_getrandom, system::getrandom),
    (__NR_prlimit64, system::prlimit64),
    (__NR_getuid, system::root),
    (__NR_geteuid, system::root),
    (__NR_getgid, system::root),
    (__NR_getegid, system::root),
];

/// No such call. `rseq` is one of them: without it the C library does without restartable sequences, as on a Linux built
/// without them.
fn unknown(regs: &mut PtRegs) {
    set_result(regs, Err(Errno::ENOSYS));
}

#[inline(always)]
fn set_result(regs: &mut PtRegs, result: Result) {
    regs.regs[0] = match result {
        Ok(value) => value as u64,
        Err(Errno(number)) => (number as u64).wrapping_neg(),
    };
}

/// Does the system call that `regs` asks for. IRQs are unmasked. The entry has set `orig_x0`.
#[inline(always)]
pub fn handle(regs: &mut PtRegs) {
    let number = regs.regs[8] as u32;
    regs.syscallno = number as i32;
    #[cfg(feature = "ktest")]
    crate::ktest::coverage::asked(number);
    call(number)(regs);
    #[cfg(feature = "ktest")]
    crate::ktest::coverage::answered(number, regs.regs[0]);
}

/// The call with a number. An index beyond the table never reaches the load, not even by speculation: the CPU may guess
/// branches, but behind CSDB not the result of a conditional select (Arm ARM C6, "CSDB"), which makes it that of [`unknown`].
#[inline(always)]
fn call(number: u32) -> Syscall {
    let index: usize;
    // SAFETY: arithmetic only.
    unsafe {
        asm!(
            "cmp {number:w}, {size}",
            "csinc {index:w}, wzr, {number:w}, hs",
            "csdb",
            number = in(reg) number,
            size = const TABLE_SIZE,
            index = lateout(reg) index,
            options(pure, nomem, nostack)
        );
    }
    // SAFETY: 0, or one more than a number below TABLE_SIZE, and the table has one entry more.
    *unsafe { TABLE.get_unchecked(index) }
}
