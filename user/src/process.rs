//! Starting other processes and learning how they ended.

use crate::{Status, errno::Errno, sys};
use core::ffi::{CStr, c_char};

/// What a child ends with that was to become another program and could not, as of a shell on Linux.
pub const EXEC_FAILED: i32 = 127;

/// Runs `child` in a copy of this process, which ends with the code `child` returns; gives the copy's process identifier.
pub fn spawn(child: impl FnOnce() -> i32) -> Result<i32, Errno> {
    match sys::fork()? {
        0 => sys::exit_group(child()),
        pid => Ok(pid),
    }
}

/// Waits until the child `pid` has ended.
pub fn wait(pid: i32) -> Result<Status, Errno> {
    sys::wait4(pid, 0).map(|(_, status)| status)
}

/// Runs `child` in a copy of this process and waits for its end.
pub fn run(child: impl FnOnce() -> i32) -> Result<Status, Errno> {
    wait(spawn(child)?)
}

/// Words an argument vector has room for, its closing null included.
pub const ARGV_MAX: usize = 32;

/// An argument vector as `execve` reads it: pointers to strings, ended by null.
pub struct Argv<'a> {
    used: usize,
    pointers: [*const c_char; ARGV_MAX],
    strings: core::marker::PhantomData<&'a CStr>,
}

impl<'a> Argv<'a> {
    /// A vector of `words`; none when they are more than fit.
    pub fn new(words: impl IntoIterator<Item = &'a CStr>) -> Option<Argv<'a>> {
        let mut argv = Argv { used: 0, pointers: [core::ptr::null(); ARGV_MAX], strings: core::marker::PhantomData };
        for word in words {
            if argv.used == ARGV_MAX - 1 {
                return None;
            }
            argv.pointers[argv.used] = word.as_ptr();
            argv.used += 1;
        }
        Some(argv)
    }

    /// The pointers.
    pub fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    /// Replaces this process's program by the one in the file `path`, with an empty environment. Returns only on failure.
    pub fn exec(&self, path: &CStr) -> Errno {
        let empty = [core::ptr::null()];
        // SAFETY: both vectors end with null and their strings live as long as `self`.
        unsafe { sys::execve(path, self.as_ptr(), empty.as_ptr()) }
    }
}
