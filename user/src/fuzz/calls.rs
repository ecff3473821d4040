//! The system calls that cases make: what their arguments are, and what they may answer.
//!
//! A program here has no signal handlers, so no call is ever seen to be interrupted.

use super::memory::{USER_END, USER_START};
use crate::Errno;
use linux_raw_sys::general as linux;

/// A system call.
#[derive(Debug)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// Its number. On the host that of the host, which means nothing here.
    pub number: u32,
    /// What its arguments are; those beyond are not looked at.
    pub args: &'static [Arg],
    /// What it may fail with.
    pub errors: &'static [Errno],
    /// What it may give, if it does not fail.
    pub success: Success,
}

/// Equal when they are the same row.
impl PartialEq for Call {
    fn eq(&self, other: &Call) -> bool {
        self.name == other.name
    }
}
impl Eq for Call {}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// An open file. Without one the call fails, whatever else is wrong.
    File,
    /// An open directory, which matters for some paths only.
    Directory,
    /// A path. Without one the call fails.
    Path,
    /// Two words to read. Without them the call fails.
    Pair,
    /// Two words, or parts of a list, to read.
    MaybePair,
    /// A place to write to. Without one the call fails.
    Out,
    /// A place to read or write, depending on other arguments.
    MaybeOut,
    /// How many bytes.
    Length,
    /// A small number or some bits.
    Small,
    /// A process.
    Process,
    /// A signal.
    Signal,
    /// A clock. One that there is not is invalid, whatever else is wrong.
    Clock,
    /// The flags of `clone`.
    CloneFlags,
    /// Where memory is to be or is.
    Address,
    /// How much.
    Size,
    /// Its rights.
    Protection,
    /// The flags of `mmap`.
    MapFlags,
    /// An offset in a file.
    Offset,
}
use Arg::*;

/// What a call may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// It always fails.
    Never,
    /// 0.
    Zero,
    /// As much as this argument at most.
    AtMost(usize),
    /// A number from 0 to this, both included.
    Within(u64),
    /// A page's address.
    Page,
    /// The process's number.
    Me,
    /// Any number that is no error.
    Any,
}

/// The highest process number.
const MAX_ID: u64 = 32768;
/// The highest number of an open file.
const MAX_FILE: u64 = 63;

macro_rules! calls {
    ($($number:ident $name:literal ($($arg:ident),*) => $success:expr, [$($errno:ident)*];)*) => {
        /// All of them.
        pub const CALLS: &[Call] = &[$(Call {
            name: $name,
            number: linux::$number,
            args: &[$($arg),*],
            errors: &[$(Errno::$errno),*],
            success: $success,
        }),*];
    };
}

calls! {
    __NR_ioctl "ioctl" (File, Small, MaybeOut) => Success::Never, [EBADF ENOTTY];
    __NR_openat "openat" (Directory, Path, Small, Small) => Success::Within(MAX_FILE),
        [EFAULT ENOENT ENAMETOOLONG ENOTDIR EROFS EEXIST EISDIR EMFILE EBADF ENOMEM EINVAL];
    __NR_close "close" (File) => Success::Zero, [EBADF];
    __NR_getdents64 "getdents64" (File, MaybeOut, Length) => Success::AtMost(2), [EBADF ENOTDIR EINVAL EFAULT];
    __NR_lseek "lseek" (File, Offset, Small) => Success::Any, [EBADF ESPIPE EINVAL ENXIO];
    __NR_read "read" (File, MaybeOut, Length) => Success::AtMost(2), [EBADF EFAULT EISDIR];
    __NR_write "write" (File, MaybeOut, Length) => Success::AtMost(2), [EBADF EFAULT];
    __NR_writev "writev" (File, MaybePair, Small) => Success::Any, [EBADF EINVAL EFAULT];
    __NR_readlinkat "readlinkat" (Directory, Path, MaybeOut, Length) => Success::Never,
        [EINVAL EFAULT ENOENT ENAMETOOLONG EBADF ENOTDIR ENOMEM];
    __NR_newfstatat "newfstatat" (Directory, Path, Out, Small) => Success::Zero,
        [EINVAL EFAULT EBADF ENOENT ENOTDIR ENAMETOOLONG ENOMEM];
    __NR_fstat "fstat" (File, Out) => Success::Zero, [EBADF EFAULT];
    __NR_exit "exit" (Small) => Success::Never, [];
    __NR_exit_group "exit_group" (Small) => Success::Never, [];
    __NR_set_tid_address "set_tid_address" (MaybeOut) => Success::Me, [];
    __NR_set_robust_list "set_robust_list" (MaybeOut, Length) => Success::Zero, [EINVAL];
    __NR_sched_yield "sched_yield" () => Success::Zero, [];
    __NR_kill "kill" (Process, Signal) => Success::Zero, [EINVAL ESRCH];
    __NR_getpid "getpid" () => Success::Me, [];
    __NR_getppid "getppid" () => Success::Within(MAX_ID), [];
    __NR_gettid "gettid" () => Success::Me, [];
    __NR_clone "clone" (CloneFlags, MaybeOut, MaybeOut, Small, MaybeOut) => Success::Within(MAX_ID), [EINVAL EAGAIN];
    __NR_execve "execve" (Path, MaybePair, MaybePair) => Success::Never,
        [EFAULT ENOENT ENAMETOOLONG ENOTDIR E2BIG ENOMEM EACCES ENOEXEC];
    __NR_wait4 "wait4" (Process, MaybeOut, Small, MaybeOut) => Success::Within(MAX_ID), [EINVAL ESRCH ECHILD EFAULT];
    __NR_tkill "tkill" (Process, Signal) => Success::Zero, [EINVAL ESRCH];
    __NR_tgkill "tgkill" (Process, Process, Signal) => Success::Zero, [EINVAL ESRCH];
    __NR_nanosleep "nanosleep" (Pair, MaybeOut) => Success::Zero, [EFAULT EINVAL ENOMEM];
    __NR_clock_gettime "clock_gettime" (Clock, Out) => Success::Zero, [EINVAL EFAULT];
    __NR_clock_nanosleep "clock_nanosleep" (Clock, Small, Pair, MaybeOut) => Success::Zero, [EINVAL EFAULT ENOMEM EOPNOTSUPP];
    __NR_clock_getres "clock_getres" (Clock, MaybeOut) => Success::Zero, [EINVAL EFAULT];
    __NR_brk "brk" (Address) => Success::Within(USER_END), [];
    __NR_munmap "munmap" (Address, Size) => Success::Zero, [EINVAL ENOMEM];
    __NR_mmap "mmap" (Address, Size, Protection, MapFlags, File, Offset) => Success::Page,
        [EINVAL EBADF ENOSYS ENOMEM EPERM EEXIST];
    __NR_mprotect "mprotect" (Address, Size, Protection) => Success::Zero, [EINVAL ENOMEM];
    __NR_uname "uname" (Out) => Success::Zero, [EFAULT];
    __NR_getrandom "getrandom" (MaybeOut, Length, Small) => Success::AtMost(1), [EINVAL EFAULT];
    __NR_prlimit64 "prlimit64" (Process, Small, MaybePair, MaybeOut) => Success::Zero, [ESRCH EINVAL EFAULT EPERM];
    __NR_getuid "getuid" () => Success::Zero, [];
    __NR_geteuid "geteuid" () => Success::Zero, [];
    __NR_getgid "getgid" () => Success::Zero, [];
    __NR_getegid "getegid" () => Success::Zero, [];
}

impl Call {
    /// What is wrong with an answer to a process with the number `me`; none when it can be right. Whatever the process did
    /// before.
    pub fn judge(&self, args: &[u64; 6], me: u64, answer: isize) -> Option<&'static str> {
        let args = || self.args.iter().zip(args);
        // `mmap` looks at its file last.
        let no_file = args().next().is_some_and(|(&arg, &value)| arg == File && value as u32 as u64 > MAX_FILE);
        let hopeless = args().any(|(arg, &value)| match arg {
            Path | Pair | Out => !(USER_START..USER_END).contains(&value),
            // That there is no such process is noticed first.
            Signal => value as u32 > 64,
            _ => false,
        });
        let no_clock = args().any(|(&arg, &value)| arg == Clock && !matches!(value as u32, 0 | 1 | 4..=7 | 11));
        match Errno::check(answer) {
            Err(Errno::EBADF) if no_file => None,
            _ if no_file => Some("not EBADF, where there is no such file"),
            Err(Errno::EINVAL) if no_clock => None,
            _ if no_clock => Some("not EINVAL, where there is no such clock"),
            Err(errno) if !self.errors.contains(&errno) => Some("an error that this call has not"),
            Err(_) => None,
            Ok(_) if hopeless => Some("success, where a pointer leads nowhere or there is no such signal"),
            Ok(value) => self.judge_success(value as u64, me, |index| args().nth(index).map_or(0, |(_, &value)| value)),
        }
    }

    fn judge_success(&self, value: u64, me: u64, arg: impl Fn(usize) -> u64) -> Option<&'static str> {
        let (right, why) = match self.success {
            Success::Never => (false, "success, which this call has not"),
            Success::Zero => (value == 0, "not 0"),
            Success::AtMost(index) => (value <= arg(index), "more than was asked for"),
            Success::Within(highest) => (value <= highest, "a number that it never gives"),
            Success::Page => {
                let range = USER_START..USER_END;
                (value.is_multiple_of(super::memory::PAGE) && range.contains(&value), "no page of programs")
            }
            Success::Me => (value == me, "not the process's number"),
            Success::Any => (true, ""),
        };
        (!right).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(name: &str, args: &[u64], answer: isize) -> Option<&'static str> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        CALLS.iter().find(|call| call.name == name).unwrap().judge(&all, 7, answer)
    }

    #[test]
    fn answers_are_judged() {
        const GOOD: u64 = 0x200_0000;
        const KERNEL: u64 = 0xffff_ffc0_8000_0000;
        let is_right = |name, args: &[u64], answer| judge(name, args, answer).is_none();
        let error = |errno: Errno| errno.as_result();
        assert!(is_right("read", &[0, GOOD, 8], 8) && !is_right("read", &[0, GOOD, 8], 9));
        assert!(is_right("read", &[64, KERNEL, 8], error(Errno::EBADF)));
        assert!(!is_right("read", &[64, KERNEL, 8], error(Errno::EFAULT)));
        assert!(!is_right("close", &[u64::MAX], 0));
        // Only the low half is looked at.
        assert!(is_right("close", &[1 << 32], 0));
        assert!(!is_right("uname", &[KERNEL], 0) && is_right("uname", &[KERNEL], error(Errno::EFAULT)));
        assert!(!is_right("uname", &[0], 0) && !is_right("uname", &[USER_END], 0) && is_right("uname", &[GOOD], 0));
        assert!(!is_right("uname", &[KERNEL], error(Errno::EINVAL)));
        assert!(!is_right("getpid", &[], 8) && is_right("getpid", &[], 7));
        assert!(!is_right("mmap", &[0, 1], 0x1_0001) && is_right("mmap", &[0, 1], 0x2_0000));
        assert!(!is_right("mmap", &[0, 1], 0x1000));
        assert!(!is_right("kill", &[7, 65], 0) && is_right("kill", &[7, 65], error(Errno::ESRCH)));
        assert!(!is_right("clock_gettime", &[2, KERNEL], error(Errno::EFAULT)));
        assert!(is_right("clock_gettime", &[2, KERNEL], error(Errno::EINVAL)));
        assert!(!is_right("execve", &[GOOD], 0) && !is_right("brk", &[0], -1));
        assert!(is_right("lseek", &[0, 5, 0], isize::MAX));
    }
}
