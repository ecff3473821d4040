//! System calls in words.

use syscalls::Errno;
use syscalls::aarch64::Sysno;

/// How many arguments a call has, for those that the kernel knows.
const ARGUMENTS: &[(Sysno, usize)] = &[
    (Sysno::brk, 1),
    (Sysno::clock_getres, 2),
    (Sysno::clock_gettime, 2),
    (Sysno::clock_nanosleep, 4),
    (Sysno::clone, 5),
    (Sysno::close, 1),
    (Sysno::execve, 3),
    (Sysno::exit, 1),
    (Sysno::exit_group, 1),
    (Sysno::fstat, 2),
    (Sysno::fstatat, 4),
    (Sysno::getdents64, 3),
    (Sysno::getegid, 0),
    (Sysno::geteuid, 0),
    (Sysno::getgid, 0),
    (Sysno::getpid, 0),
    (Sysno::getppid, 0),
    (Sysno::getrandom, 3),
    (Sysno::gettid, 0),
    (Sysno::getuid, 0),
    (Sysno::ioctl, 3),
    (Sysno::kill, 2),
    (Sysno::lseek, 3),
    (Sysno::mmap, 6),
    (Sysno::mprotect, 3),
    (Sysno::munmap, 2),
    (Sysno::nanosleep, 2),
    (Sysno::openat, 4),
    (Sysno::prlimit64, 4),
    (Sysno::read, 3),
    (Sysno::readlinkat, 4),
    (Sysno::sched_yield, 0),
    (Sysno::set_robust_list, 2),
    (Sysno::set_tid_address, 1),
    (Sysno::tgkill, 3),
    (Sysno::tkill, 2),
    (Sysno::uname, 1),
    (Sysno::wait4, 4),
    (Sysno::write, 3),
    (Sysno::writev, 3),
];

/// The call's name, such as `getpid`; `syscall 500` for a number that Linux does not have.
pub fn name(number: i32) -> String {
    match usize::try_from(number).ok().and_then(Sysno::new) {
        // As Linux and its manual call it; the table has the C library's name.
        Some(Sysno::fstatat) => "newfstatat".into(),
        Some(call) => call.name().into(),
        None => format!("syscall {number}"),
    }
}

/// The call with its arguments: `write(1, 0x400d20, 14)`.
pub fn call(number: i32, arguments: &[u64; 6]) -> String {
    let known = usize::try_from(number).ok().and_then(Sysno::new);
    let count =
        known.and_then(|call| ARGUMENTS.iter().find(|(known, _)| *known == call)).map_or(6, |&(_, count)| count);
    let arguments: Vec<_> = arguments[..count].iter().map(|&argument| value(argument)).collect();
    format!("{}({})", name(number), arguments.join(", "))
}

/// What it returned: `14`, `-14 EFAULT`.
pub fn result(x0: u64) -> String {
    match x0 as i64 {
        error @ -4095..0 => {
            let name = Errno::new(-error as i32).name();
            name.map_or(error.to_string(), |name| format!("{error} {name}"))
        }
        _ => value(x0),
    }
}

/// A small number in decimal, anything else, such as an address, in hexadecimal.
fn value(value: u64) -> String {
    match value as i64 {
        small @ -4095..4096 => small.to_string(),
        _ => format!("{value:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_words() {
        assert_eq!(call(64, &[1, 0x40_0d20, 14, 4, 5, 6]), "write(1, 0x400d20, 14)");
        assert_eq!(call(172, &[1; 6]), "getpid()");
        assert_eq!(call(56, &[-100i64 as u64, 0x1000, 0, 0, 9, 9]), "openat(-100, 0x1000, 0, 0)");
        assert_eq!(call(5000, &[0; 6]), "syscall 5000(0, 0, 0, 0, 0, 0)");
        assert_eq!((name(-1), name(79)), ("syscall -1".into(), "newfstatat".into()));
        let results = [0, 14, -14, -4095, -4096, 0x7f_0000].map(|x0: i64| result(x0 as u64));
        assert_eq!(results, ["0", "14", "-14 EFAULT", "-4095", "0xfffffffffffff000", "0x7f0000"]);
    }

    #[test]
    fn the_arguments_of_all_calls_that_the_kernel_has_are_known() {
        let table = include_str!("../../../kernel/src/syscall/mod.rs");
        let calls: Vec<_> =
            table.lines().filter_map(|line| line.trim().strip_prefix("(__NR_")?.split(',').next()).collect();
        assert!(calls.len() > 20, "{calls:?}");
        for call in calls {
            assert!(ARGUMENTS.iter().any(|(known, _)| name(*known as i32) == call), "{call}");
        }
    }
}
