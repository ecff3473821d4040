//! System calls.
//!
//! [`raw`] is the only `svc` of the library. The functions below it are the calls that programs make, in their own types.

use crate::{Signal, Status, errno::Errno};
use core::{
    arch::asm,
    ffi::{CStr, c_char},
    mem::MaybeUninit,
};
use linux_raw_sys::{
    general::{self as linux, AT_FDCWD},
    system::new_utsname,
};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Calls the kernel: number in x8, arguments in x0..x5, result in x0 (negative: an error number). All other registers are
/// preserved.
///
/// # Safety
/// What the call does to this process's memory must suit its Rust code.
pub unsafe fn raw(number: u32, args: [usize; 6]) -> isize {
    let result;
    // SAFETY: the kernel changes no register but x0, and memory only as the caller vouches for.
    unsafe {
        asm!(
            "svc #0",
            in("x8") u64::from(number),
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack, preserves_flags),
        );
    }
    result
}

/// [`raw`] with the missing arguments zero and the result taken apart.
///
/// # Safety
/// As [`raw`].
unsafe fn call<const N: usize>(number: u32, args: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    // SAFETY: passed on.
    Errno::check(unsafe { raw(number, all) })
}

/// Writes to `fd`; gives how many bytes it took.
pub fn write(fd: i32, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: only reads `bytes`.
    unsafe { call(linux::__NR_write, [fd as usize, bytes.as_ptr().expose_provenance(), bytes.len()]) }
}

/// Reads from `fd`; gives how many bytes came, 0 at the end.
pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: writes `buffer` only, where any byte is valid.
    unsafe { call(linux::__NR_read, [fd as usize, buffer.as_mut_ptr().expose_provenance(), buffer.len()]) }
}

/// Opens the file `path` for reading.
pub fn open(path: &CStr) -> Result<i32, Errno> {
    // SAFETY: only reads `path`.
    unsafe {
        call(linux::__NR_openat, [AT_FDCWD as usize, path.as_ptr().expose_provenance(), linux::O_RDONLY as usize, 0])
    }
    .map(|fd| fd as i32)
}

/// Closes `fd`.
pub fn close(fd: i32) -> Result<(), Errno> {
    // SAFETY: touches no memory.
    unsafe { call(linux::__NR_close, [fd as usize]) }.map(drop)
}

/// Fills `buffer` with entries of the directory `fd`, to be read by [`dirent::entries`](crate::dirent::entries); gives how
/// many bytes came, 0 at the end.
pub fn getdents64(fd: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: writes `buffer` only, where any byte is valid.
    unsafe { call(linux::__NR_getdents64, [fd as usize, buffer.as_mut_ptr().expose_provenance(), buffer.len()]) }
}

/// Ends this process.
pub fn exit_group(code: i32) -> ! {
    loop {
        // SAFETY: does not come back.
        let _ = unsafe { call(linux::__NR_exit_group, [code as usize]) };
    }
}

/// This process's identifier.
pub fn getpid() -> i32 {
    // SAFETY: touches no memory.
    unsafe { raw(linux::__NR_getpid, [0; 6]) as i32 }
}

/// The identifier of this process's parent.
pub fn getppid() -> i32 {
    // SAFETY: touches no memory.
    unsafe { raw(linux::__NR_getppid, [0; 6]) as i32 }
}

/// Copies this process; gives the copy's identifier to the parent and 0 to the copy.
pub fn fork() -> Result<i32, Errno> {
    // SAFETY: the copy has its own memory and, by a null stack argument, continues on its copy of this stack.
    unsafe { call(linux::__NR_clone, [linux::SIGCHLD as usize]) }.map(|pid| pid as i32)
}

/// Replaces the program by the one in the file `path`. Returns only on failure.
///
/// # Safety
/// `argv` and `envp` must point to arrays of string pointers ended by null.
pub unsafe fn execve(path: &CStr, argv: *const *const c_char, envp: *const *const c_char) -> Errno {
    // SAFETY: on success nothing of this program is left; on failure the kernel has only read.
    match unsafe {
        call(
            linux::__NR_execve,
            [path.as_ptr().expose_provenance(), argv.expose_provenance(), envp.expose_provenance()],
        )
    } {
        Err(errno) => errno,
        Ok(_) => unreachable!("execve returns only to fail"),
    }
}

/// Waits for the child `pid` (-1: any) to end; gives which and how. With `WNOHANG` in `options`, identifier 0 says that none
/// has ended yet.
pub fn wait4(pid: i32, options: u32) -> Result<(i32, Status), Errno> {
    let mut word = 0u32;
    // SAFETY: writes `word`.
    let pid =
        unsafe { call(linux::__NR_wait4, [pid as usize, (&raw mut word).expose_provenance(), options as usize, 0]) }?;
    Ok((pid as i32, Status::from_wait(word)))
}

/// Sends `signal` to the process `pid`.
pub fn kill(pid: i32, signal: Signal) -> Result<(), Errno> {
    // SAFETY: programs here install no handlers, so a signal changes no memory.
    unsafe { call(linux::__NR_kill, [pid as usize, signal.0 as usize]) }.map(drop)
}

/// The clock `clock` in nanoseconds.
pub fn clock_gettime(clock: u32) -> Result<u64, Errno> {
    let mut time = linux::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes `time`.
    unsafe { call(linux::__NR_clock_gettime, [clock as usize, (&raw mut time).expose_provenance()]) }?;
    Ok(time.tv_sec as u64 * SECOND + time.tv_nsec as u64)
}

fn timespec(nanoseconds: u64) -> linux::timespec {
    let second = SECOND;
    linux::timespec { tv_sec: (nanoseconds / second) as i64, tv_nsec: (nanoseconds % second) as i64 }
}

/// Sleeps for this many nanoseconds.
pub fn nanosleep(nanoseconds: u64) -> Result<(), Errno> {
    let request = timespec(nanoseconds);
    // SAFETY: only reads `request`.
    unsafe { call(linux::__NR_nanosleep, [(&raw const request).expose_provenance(), 0]) }.map(drop)
}

/// Sleeps on the monotonic clock: until the time `nanoseconds` with `TIMER_ABSTIME` in `flags`, for that long without.
pub fn clock_nanosleep(flags: u32, nanoseconds: u64) -> Result<(), Errno> {
    let request = timespec(nanoseconds);
    let args = [linux::CLOCK_MONOTONIC as usize, flags as usize, (&raw const request).expose_provenance(), 0];
    // SAFETY: only reads `request`.
    unsafe { call(linux::__NR_clock_nanosleep, args) }.map(drop)
}

/// Maps `length` bytes of fresh memory with the rights `protection` (`PROT_READ`, ...), where the kernel likes.
pub fn mmap(length: usize, protection: u32) -> Result<*mut u8, Errno> {
    let flags = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS;
    // SAFETY: without MAP_FIXED the kernel picks addresses that nothing uses.
    unsafe { call(linux::__NR_mmap, [0, length, protection as usize, flags as usize, usize::MAX, 0]) }
        .map(core::ptr::with_exposed_provenance_mut)
}

/// Moves the end of the heap to `end` if it can be there (null cannot); gives where it is now.
pub fn brk(end: *mut u8) -> *mut u8 {
    // SAFETY: no Rust value lives in the heap, which only callers of this use.
    core::ptr::with_exposed_provenance_mut(
        unsafe { raw(linux::__NR_brk, [end.expose_provenance(), 0, 0, 0, 0, 0]) } as usize
    )
}

/// Unmaps the pages of `start..start + length`.
///
/// # Safety
/// No Rust value may live there.
pub unsafe fn munmap(start: *mut u8, length: usize) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { call(linux::__NR_munmap, [start.expose_provenance(), length]) }.map(drop)
}

/// Changes the rights of the pages of `start..start + length` to `protection`.
///
/// # Safety
/// Rust values that live there must be used only as the new rights allow.
pub unsafe fn mprotect(start: *mut u8, length: usize, protection: u32) -> Result<(), Errno> {
    // SAFETY: passed on.
    unsafe { call(linux::__NR_mprotect, [start.expose_provenance(), length, protection as usize]) }.map(drop)
}

/// The kernel's name, release, version and machine.
pub fn uname() -> Result<new_utsname, Errno> {
    let mut name = MaybeUninit::<new_utsname>::uninit();
    // SAFETY: writes `name`.
    unsafe { call(linux::__NR_uname, [name.as_mut_ptr().expose_provenance()]) }?;
    // SAFETY: the kernel filled it.
    Ok(unsafe { name.assume_init() })
}

/// Fills `buffer` with random bytes.
pub fn getrandom(buffer: &mut [u8]) -> Result<(), Errno> {
    // SAFETY: writes `buffer` only, where any byte is valid. Up to 256 bytes come whole (getrandom(2)).
    unsafe { call(linux::__NR_getrandom, [buffer.as_mut_ptr().expose_provenance(), buffer.len(), 0]) }.map(drop)
}
