//! Wrong system calls: numbers that do not exist, and for every call wrong descriptors, flags, names and numbers, each with the
//! one answer Linux gives (wrong pointers: `pointers.rs`). Prints the failures and a count.
#![no_std]
#![no_main]

use core::fmt::Display;
use linux_raw_sys::general::{self as linux, timespec};
use user::{Args, Errno, eprintln, println, process, sys, time};

user::entry!(main);

const PAGE: usize = 4096;
/// Bytes of a word longer than Linux takes (MAX_ARG_STRLEN, 32 pages).
const LONG: usize = 33 * PAGE;
const HERE: i32 = linux::AT_FDCWD;
const READ_WRITE: u32 = linux::PROT_READ | linux::PROT_WRITE;
const ANONYMOUS: u32 = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS;

/// Ok is a number of bytes or other success, Err the error.
type Answer = Result<usize, Errno>;

#[derive(Default)]
struct Tally {
    calls: u32,
    wrong: u32,
}

impl Tally {
    /// Makes the call, of which `call` and `about` tell, and judges the answer.
    fn check(&mut self, call: &str, about: &dyn Display, number: u32, args: &[usize], expected: Answer) {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        // SAFETY: whatever a call writes to is scratch memory, or it is expected to refuse.
        let answer = Errno::check(unsafe { sys::raw(number, all) });
        self.judge(call, about, answer, expected);
    }

    fn judge(&mut self, call: &str, about: &dyn Display, answer: Answer, expected: Answer) {
        self.calls += 1;
        if answer != expected {
            self.wrong += 1;
            eprintln!("badcalls: {call}{about}: {answer:?} instead of {expected:?}");
        }
    }
}

/// `expect!(tally, number(args...) => answer)`: makes a call.
macro_rules! expect {
    ($tally:ident, $name:ident($($arg:expr),*) => $answer:expr) => {
        $tally.check(stringify!($name($($arg),*)), &"", linux::$name, &[$($arg as i64 as usize),*], $answer)
    };
}

/// An address as a number for a call.
fn at<T: ?Sized>(place: *const T) -> usize {
    place.expose_provenance()
}

fn main(_args: Args) -> i32 {
    let mut tally = Tally::default();
    let memory = Memory::new();
    let files = Files::open();
    numbers(&mut tally);
    descriptors(&mut tally, &memory, &files);
    reading(&mut tally, &memory, &files);
    paths(&mut tally, &memory, &files);
    directories(&mut tally, &memory, &files);
    processes(&mut tally, &memory);
    programs(&mut tally, &memory);
    mappings(&mut tally, &memory);
    clocks(&mut tally, &memory);
    the_rest(&mut tally, &memory);
    println!("badcalls: {} calls, {} answered wrongly", tally.calls, tally.wrong);
    i32::from(tally.wrong != 0)
}

/// A page to use, an unmapped one, and a long text.
struct Memory {
    /// Where calls may write.
    good: usize,
    /// Where nothing is.
    hole: usize,
    /// More than one word of a new program may be, ended by NUL.
    long: usize,
}

impl Memory {
    fn new() -> Memory {
        let pages = sys::mmap(2 * PAGE, READ_WRITE).expect("pages can be mapped");
        let long = sys::mmap(LONG, READ_WRITE).expect("pages can be mapped");
        // SAFETY: the pages are fresh and no Rust value's. The last byte of the text stays NUL.
        unsafe {
            long.write_bytes(b'a', LONG - 1);
            sys::munmap(pages.add(PAGE), PAGE).expect("a page can be unmapped");
        }
        Memory { good: at(pages), hole: at(pages) + PAGE, long: at(long) }
    }

    /// A path whose one name is longer than any may be, and a path longer than any may be.
    fn long_name_and_path(&self) -> [usize; 2] {
        [self.long + LONG - 1 - (linux::NAME_MAX as usize + 1), self.long]
    }

    /// Puts `value` in the good page; gives its address.
    fn put<T>(&self, value: T) -> usize {
        // SAFETY: the page is aligned, big enough for what is put here, and no Rust value's.
        unsafe { core::ptr::with_exposed_provenance_mut::<T>(self.good).write(value) };
        self.good
    }
}

/// Open files.
struct Files {
    /// A regular file, longer than a page.
    regular: i32,
    directory: i32,
}

/// The regular file: this program.
const REGULAR: &core::ffi::CStr = c"/bin/badcalls";

impl Files {
    fn open() -> Files {
        let open = |path| sys::open(path).unwrap_or_else(|errno| panic!("{path:?} cannot be opened: {errno}"));
        Files { regular: open(REGULAR), directory: open(c"/") }
    }
}

fn numbers(t: &mut Tally) {
    // Between the generic and the last number, beyond, and negative ones.
    for number in [245, 1000, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX] {
        t.check("call number ", &number, number, &[], Err(Errno::ENOSYS));
    }
}

/// Descriptors that are not open.
fn descriptors(t: &mut Tally, memory: &Memory, files: &Files) {
    let closed = sys::open(REGULAR).expect("the file can be opened once more");
    sys::close(closed).expect("an open file can be closed");
    let (good, fault) = (memory.good, memory.hole);
    for fd in [-1, closed, 100_000, i32::MAX, i32::MIN] {
        let bad = Err(Errno::EBADF);
        expect!(t, __NR_read(fd, good, 1) => bad);
        expect!(t, __NR_read(fd, fault, 1) => bad);
        expect!(t, __NR_write(fd, good, 1) => bad);
        expect!(t, __NR_write(fd, fault, 0) => bad);
        expect!(t, __NR_writev(fd, good, 0) => bad);
        expect!(t, __NR_close(fd) => bad);
        expect!(t, __NR_fstat(fd, good) => bad);
        expect!(t, __NR_fstat(fd, fault) => bad);
        expect!(t, __NR_lseek(fd, 0, 99) => bad);
        expect!(t, __NR_getdents64(fd, good, 0) => bad);
        expect!(t, __NR_ioctl(fd, 0, 0) => bad);
        expect!(t, __NR_openat(fd, at(c"bin".as_ptr()), 0) => bad);
        expect!(t, __NR_newfstatat(fd, at(c"bin".as_ptr()), good, 0) => bad);
        expect!(t, __NR_readlinkat(fd, at(c"bin".as_ptr()), good, 1) => bad);
        expect!(t, __NR_mmap(0, PAGE, linux::PROT_READ, linux::MAP_PRIVATE, fd, 0) => bad);
    }
    expect!(t, __NR_write(files.regular, good, 1) => Err(Errno::EBADF));
    expect!(t, __NR_write(files.directory, good, 1) => Err(Errno::EBADF));
    expect!(t, __NR_ioctl(files.regular, linux_raw_sys::ioctl::TCGETS, good) => Err(Errno::ENOTTY));
    expect!(t, __NR_ioctl(1, u32::MAX, good) => Err(Errno::ENOTTY));
}

fn reading(t: &mut Tally, memory: &Memory, files: &Files) {
    let good = memory.good;
    let file = files.regular;
    expect!(t, __NR_read(files.directory, good, 1) => Err(Errno::EISDIR));
    // The position moves by what was read; a refused read does not move it.
    expect!(t, __NR_lseek(file, 0, linux::SEEK_SET) => Ok(0));
    expect!(t, __NR_read(file, good, 9) => Ok(9));
    expect!(t, __NR_read(file, memory.hole - 8, PAGE) => Ok(8));
    expect!(t, __NR_read(file, memory.hole, 1) => Err(Errno::EFAULT));
    expect!(t, __NR_lseek(file, 0, linux::SEEK_CUR) => Ok(17));

    expect!(t, __NR_lseek(file, -1, linux::SEEK_SET) => Err(Errno::EINVAL));
    expect!(t, __NR_lseek(file, i64::MIN, linux::SEEK_CUR) => Err(Errno::EINVAL));
    expect!(t, __NR_lseek(file, i64::MIN, linux::SEEK_END) => Err(Errno::EINVAL));
    expect!(t, __NR_lseek(file, 0, 99) => Err(Errno::EINVAL));
    expect!(t, __NR_lseek(file, 0, -1) => Err(Errno::EINVAL));
    expect!(t, __NR_lseek(1, 0, linux::SEEK_SET) => Err(Errno::ESPIPE));
    // Beyond the end is a place where nothing is.
    expect!(t, __NR_lseek(file, 1u64 << 40, linux::SEEK_SET) => Ok(1 << 40));
    expect!(t, __NR_read(file, good, 1) => Ok(0));
}

fn paths(t: &mut Tally, memory: &Memory, files: &Files) {
    let good = memory.good;
    let text = |path: &'static core::ffi::CStr| at(path.as_ptr());
    for path in [text(c""), text(c"/no such file"), text(c"/no such directory/file")] {
        let absent = Err(Errno::ENOENT);
        expect!(t, __NR_openat(HERE, path, 0) => absent);
        expect!(t, __NR_newfstatat(HERE, path, good, 0) => absent);
        expect!(t, __NR_readlinkat(HERE, path, good, 1) => absent);
        expect!(t, __NR_execve(path, 0, 0) => absent);
    }
    for path in memory.long_name_and_path() {
        let long = Err(Errno::ENAMETOOLONG);
        expect!(t, __NR_openat(HERE, path, 0) => long);
        expect!(t, __NR_newfstatat(HERE, path, good, 0) => long);
        expect!(t, __NR_readlinkat(HERE, path, good, 1) => long);
        expect!(t, __NR_execve(path, 0, 0) => long);
    }
    let below_file = text(c"/bin/badcalls/file");
    expect!(t, __NR_openat(HERE, below_file, 0) => Err(Errno::ENOTDIR));
    expect!(t, __NR_newfstatat(HERE, below_file, good, 0) => Err(Errno::ENOTDIR));
    expect!(t, __NR_execve(below_file, 0, 0) => Err(Errno::ENOTDIR));
    expect!(t, __NR_openat(files.regular, text(c"bin"), 0) => Err(Errno::ENOTDIR));
    expect!(t, __NR_openat(HERE, at(REGULAR.as_ptr()), linux::O_DIRECTORY) => Err(Errno::ENOTDIR));
    expect!(t, __NR_openat(HERE, text(c"/bin"), linux::O_WRONLY) => Err(Errno::EISDIR));
    expect!(t, __NR_openat(HERE, text(c"/bin"), linux::O_RDWR) => Err(Errno::EISDIR));
    expect!(t, __NR_openat(HERE, at(REGULAR.as_ptr()), linux::O_CREAT | linux::O_EXCL) => Err(Errno::EEXIST));

    expect!(t, __NR_newfstatat(HERE, text(c"/bin"), good, 1 << 31) => Err(Errno::EINVAL));
    expect!(t, __NR_newfstatat(files.regular, text(c""), good, linux::AT_EMPTY_PATH) => Ok(0));
    // An absolute path needs no descriptor.
    expect!(t, __NR_newfstatat(-1, text(c"/bin"), good, 0) => Ok(0));
    expect!(t, __NR_readlinkat(HERE, text(c"/bin"), good, 64) => Err(Errno::EINVAL));
    expect!(t, __NR_readlinkat(HERE, text(c"/bin"), good, 0) => Err(Errno::EINVAL));
    expect!(t, __NR_readlinkat(HERE, text(c"/bin"), good, -1) => Err(Errno::EINVAL));
}

fn directories(t: &mut Tally, memory: &Memory, files: &Files) {
    let good = memory.good;
    expect!(t, __NR_getdents64(files.regular, good, PAGE) => Err(Errno::ENOTDIR));
    // Too small for the first entry.
    expect!(t, __NR_getdents64(files.directory, good, 0) => Err(Errno::EINVAL));
}

fn processes(t: &mut Tally, memory: &Memory) {
    let (good, me) = (memory.good, sys::getpid());
    expect!(t, __NR_kill(me, 65) => Err(Errno::EINVAL));
    expect!(t, __NR_kill(me, -1) => Err(Errno::EINVAL));
    expect!(t, __NR_kill(i32::MAX, 0) => Err(Errno::ESRCH));
    expect!(t, __NR_kill(i32::MAX, linux::SIGKILL) => Err(Errno::ESRCH));

    expect!(t, __NR_clone(linux::SIGCHLD | linux::CLONE_SIGHAND, 0, 0, 0, 0) => Err(Errno::EINVAL));
    expect!(t, __NR_clone(linux::SIGCHLD | linux::CLONE_THREAD, 0, 0, 0, 0) => Err(Errno::EINVAL));

    expect!(t, __NR_wait4(-1, good, 0, 0) => Err(Errno::ECHILD));
    expect!(t, __NR_wait4(me, good, 0, 0) => Err(Errno::ECHILD));
    expect!(t, __NR_wait4(-1, good, 1 << 8, 0) => Err(Errno::EINVAL));
    // The child is gone even if its parent could not be told how it ended.
    let child = process::spawn(|| 0).expect("a child can be started");
    expect!(t, __NR_wait4(child, memory.hole, 0, 0) => Err(Errno::EFAULT));
    expect!(t, __NR_wait4(child, 0, 0, 0) => Err(Errno::ECHILD));
    let child = process::spawn(|| sys::nanosleep(100 * time::SECOND).is_err().into()).expect("a child can be started");
    expect!(t, __NR_wait4(child, good, linux::WNOHANG, 0) => Ok(0));
    expect!(t, __NR_kill(child, linux::SIGKILL) => Ok(0));
    expect!(t, __NR_wait4(child, 0, 0, 0) => Ok(child as usize));
    expect!(t, __NR_kill(child, 0) => Err(Errno::ESRCH));
}

fn programs(t: &mut Tally, memory: &Memory) {
    expect!(t, __NR_execve(at(c"/bin".as_ptr()), 0, 0) => Err(Errno::EACCES));
    // A word longer than any may be.
    let words = memory.put([memory.long, 0]);
    expect!(t, __NR_execve(at(REGULAR.as_ptr()), words, 0) => Err(Errno::E2BIG));
}

fn mappings(t: &mut Tally, memory: &Memory) {
    let good = memory.good;
    let invalid = Err(Errno::EINVAL);
    expect!(t, __NR_mmap(0, 0, READ_WRITE, ANONYMOUS, -1, 0) => invalid);
    expect!(t, __NR_mmap(0, PAGE, READ_WRITE, ANONYMOUS, -1, 1) => invalid);
    expect!(t, __NR_mmap(0, PAGE, READ_WRITE, linux::MAP_ANONYMOUS, -1, 0) => invalid);
    let over = ANONYMOUS | linux::MAP_FIXED_NOREPLACE;
    expect!(t, __NR_mmap(good, PAGE, READ_WRITE, over, -1, 0) => Err(Errno::EEXIST));
    expect!(t, __NR_munmap(good, 0) => invalid);
    expect!(t, __NR_mprotect(good, PAGE, 1 << 8) => invalid);
    expect!(t, __NR_mprotect(good, 0, READ_WRITE) => Ok(0));
}

fn clocks(t: &mut Tally, memory: &Memory) {
    let (good, hole) = (memory.good, memory.hole);
    let monotonic = linux::CLOCK_MONOTONIC;
    for (tv_sec, tv_nsec) in [(0, 1_000_000_000), (0, -1), (-1, 0), (0, i64::MAX), (i64::MIN, 0)] {
        let time = memory.put(timespec { tv_sec, tv_nsec });
        expect!(t, __NR_nanosleep(time, 0) => Err(Errno::EINVAL));
        expect!(t, __NR_clock_nanosleep(monotonic, 0, time, 0) => Err(Errno::EINVAL));
        expect!(t, __NR_clock_nanosleep(monotonic, linux::TIMER_ABSTIME, time, 0) => Err(Errno::EINVAL));
    }
    let time = memory.put(timespec { tv_sec: 0, tv_nsec: 1 });
    expect!(t, __NR_clock_nanosleep(99, 0, time, 0) => Err(Errno::EINVAL));
    expect!(t, __NR_clock_nanosleep(99, 0, hole, 0) => Err(Errno::EINVAL));
    expect!(t, __NR_clock_gettime(99, good) => Err(Errno::EINVAL));
    expect!(t, __NR_clock_gettime(99, hole) => Err(Errno::EINVAL));
}

fn the_rest(t: &mut Tally, memory: &Memory) {
    let good = memory.good;
    expect!(t, __NR_getrandom(good, 1, 1 << 8) => Err(Errno::EINVAL));
    expect!(t, __NR_getrandom(good, 1, linux::GRND_RANDOM | linux::GRND_INSECURE) => Err(Errno::EINVAL));

    expect!(t, __NR_set_robust_list(good, 1) => Err(Errno::EINVAL));
    let stack = linux::RLIMIT_STACK;
    expect!(t, __NR_prlimit64(0, 99, 0, good) => Err(Errno::EINVAL));
    expect!(t, __NR_prlimit64(i32::MAX, stack, 0, good) => Err(Errno::ESRCH));
}
