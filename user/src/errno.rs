//! Error numbers, with their names.

use core::fmt;
use linux_raw_sys::errno;

/// An error a system call returned: a Linux error number, 1..=4095.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(u32);

macro_rules! names {
    ($($name:ident)*) => {
        #[expect(missing_docs, reason = "each name is Linux's, see errno(3)")]
        impl Errno {
            $(pub const $name: Errno = Errno(errno::$name);)*

            /// The name, for the errors that the kernel is known to return.
            fn name(self) -> Option<&'static str> {
                match self {
                    $(Errno::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST ENODEV ENOTDIR EISDIR
    EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EPIPE ERANGE ENAMETOOLONG ENOSYS ELOOP EOVERFLOW
    EOPNOTSUPP
}

impl Errno {
    /// Takes a system call's result apart: -4095..=-1 is an error (Linux `MAX_ERRNO`), all else a value.
    pub fn check(result: isize) -> Result<usize, Errno> {
        match result {
            -4095..=-1 => Err(Errno(result.unsigned_abs() as u32)),
            value => Ok(value as usize),
        }
    }

    /// What a system call returns in x0 for this error.
    pub const fn as_result(self) -> isize {
        -(self.0 as isize)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_end_at_4095() {
        assert_eq!(Errno::check(0), Ok(0));
        assert_eq!(Errno::check(-14), Err(Errno::EFAULT));
        assert_eq!(Errno::check(-4095), Err(Errno(4095)));
        assert_eq!(Errno::check(-4096), Ok(-4096isize as usize));
        assert_eq!(Errno::check(isize::MIN), Ok(isize::MIN as usize));
        assert_eq!(Errno::check(Errno::ENOSYS.as_result()), Err(Errno::ENOSYS));
    }
}
