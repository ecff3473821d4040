//! Every system call with good arguments, with each argument wrong in every way there is, and with each two wrong: which error
//! comes first. Each in a process of its own, for which everything is as it was.
//!
//! Keys are `calls.NAME.good`, `calls.NAME.POSITION.WHAT` and `calls.NAME.POSITION+POSITION`; values the error's name, or what
//! the call gives: a number, `there` and `elsewhere` for addresses, `child` for the child's identifier.

use crate::world::{KERNEL, PAGE, READ_WRITE, REGULAR, Told, World, call};
use core::arch::naked_asm;
use core::ffi::CStr;
use core::fmt;
use linux_raw_sys::general::{self as linux, timespec};
use linux_raw_sys::ioctl;
use user::{Errno, println, process, sys, time};

/// What an argument can be: a number, or what the world makes.
#[derive(Clone, Copy)]
enum Value {
    Number(i64),
    Made(&'static str, fn(&World) -> usize),
}
use Value::{Made, Number};

impl Value {
    fn of(self, world: &World) -> usize {
        match self {
            Number(number) => number as usize,
            Made(_, make) => make(world),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number(number @ -1..=9999) => number.fmt(f),
            Number(number) => write!(f, "{number:#x}"),
            Made(name, _) => f.write_str(name),
        }
    }
}

/// An argument: what it is when all is well, and what else is tried, of which the first is wrong.
type Arg = (Value, &'static [Value]);

/// How a result is told.
#[derive(Clone, Copy, PartialEq)]
enum Gives {
    Number,
    /// An address, maybe that of argument 0.
    Address,
    /// The process's own identifier, a relative's, or another number.
    Process,
}

struct Call {
    name: &'static str,
    number: u32,
    args: &'static [Arg],
    gives: Gives,
}

/// `name(argument, ...) gives;` rows.
macro_rules! calls {
    ($($name:ident($($arg:expr),*) $gives:ident;)*) => {
        const CALLS: &[Call] = &[$(Call {
            name: stringify!($name).split_at(5).1,
            number: linux::$name,
            args: &[$($arg),*],
            gives: Gives::$gives,
        },)*];
    };
}

fn at(text: &'static CStr) -> usize {
    text.as_ptr().expose_provenance()
}

const FDS: &[Value] = &[
    Made("shut", |w| w.shut as usize),
    Number(-1),
    Number(100_000),
    Number(i32::MIN as i64),
    Number(i32::MAX as i64),
    Number(linux::AT_FDCWD as i64),
    Made("regular", |w| w.regular as usize),
    Made("regular-and-upper-half", |w| w.regular as usize | 1 << 32),
    Made("directory", |w| w.directory as usize),
];
const REGULAR_FD: Value = Made("regular", |w| w.regular as usize);
const DIRECTORY_FD: Value = Made("directory", |w| w.directory as usize);

/// Pointers to what is read or written.
const POINTERS: &[Value] = &[
    Made("hole", |w| w.hole),
    Number(0),
    Made("half-in-hole", |w| w.hole - 4),
    Made("last-byte", |w| w.hole - 1),
    Made("read-only", |w| w.read_only),
    Made("closed", |w| w.closed),
    Made("kernel", |_| KERNEL),
    Made("end-of-all", |_| usize::MAX),
    Made("tagged", |w| w.good | 0x5a << 56),
    Made("of-no-half", |_| 1 << 52),
    Made("unaligned", |w| w.good + 1),
];
const GOOD: Value = Made("good", |w| w.good);
const POINTER: Arg = (GOOD, POINTERS);

const LENGTHS: &[Value] =
    &[Number(-1), Number(0), Number(1), Number(4095), Number(4097), Number(1 << 31), Number(1 << 52), Number(i64::MIN)];
const LENGTH: Arg = (Number(8), LENGTHS);

const PATHS: &[Value] = &[
    Made("absent", |_| at(c"/absent")),
    Made("hole", |w| w.hole),
    Number(0),
    Made("closed", |w| w.closed),
    Made("kernel", |_| KERNEL),
    Made("end-of-all", |_| usize::MAX),
    Made("tagged", |_| at(REGULAR) | 0x5a << 56),
    Made("without-end", |w| w.put_before_hole(*b"/bin")),
    Made("up-to-hole", |w| w.put_before_hole(*b"/bin\0")),
    Made("empty", |_| at(c"")),
    Made("root", |_| at(c"/")),
    Made("directory", |_| at(c"/bin")),
    Made("relative", |_| at(c"bin/observe")),
    Made("relative-to-directory", |_| at(c"observe")),
    Made("below-absent", |_| at(c"/absent/observe")),
    Made("below-file", |_| at(c"/bin/observe/below")),
    Made("file-with-slash", |_| at(c"/bin/observe/")),
    Made("file-with-dot", |_| at(c"/bin/observe/.")),
    Made("file-with-dots", |_| at(c"/bin/observe/..")),
    Made("directory-with-slash", |_| at(c"/bin/")),
    Made("slashes", |_| at(c"//bin///observe")),
    Made("dots", |_| at(c"/./bin/../bin/./observe")),
    Made("above-root", |_| at(c"/../../bin/observe")),
    Made("below-absent-and-up", |_| at(c"/absent/../bin/observe")),
    Made("below-file-and-up", |_| at(c"/bin/observe/../observe")),
    Made("not-utf8", |_| at(c"/\xff")),
    Made("another-case", |_| at(c"/BIN/observe")),
    Made("name-of-255", |w| w.long_end - 255),
    Made("name-of-256", |w| w.long_end - 256),
    Made("path-of-4095", |w| w.long_end - 4095),
    Made("path-of-4096", |w| w.long_end - 4096),
];
const PATH: Arg = (Made("observe", |_| at(REGULAR)), PATHS);

/// Small numbers: clocks, limits, ways to seek.
const NUMBERS: &[Value] = &[
    Number(i32::MAX as i64),
    Number(-1),
    Number(0),
    Number(1),
    Number(2),
    Number(3),
    Number(4),
    Number(5),
    Number(7),
    Number(8),
    Number(9),
    Number(10),
    Number(11),
    Number(12),
    Number(15),
    Number(16),
    Number(17),
    Number(99),
    Number(i32::MIN as i64),
    Number(1 << 32),
];

const OPEN_FLAGS: &[Value] = &[
    Number(linux::O_DIRECTORY as i64),
    Number(linux::O_WRONLY as i64),
    Number(3),
    Number(linux::O_CLOEXEC as i64),
    Number(linux::O_CREAT as i64 | linux::O_EXCL as i64),
    Number(linux::O_CREAT as i64),
    Number(linux::O_EXCL as i64),
    Number(linux::O_NOFOLLOW as i64),
    Number(linux::O_PATH as i64),
    Number(linux::O_NONBLOCK as i64),
    Number(linux::O_APPEND as i64),
    Number(linux::O_NOCTTY as i64),
    Number(linux::O_DIRECTORY as i64 | linux::O_CREAT as i64),
    Number(1 << 30),
    Number(-1),
    Number(1 << 32),
];

const PIDS: &[Value] = &[
    Number(i32::MAX as i64),
    Number(0),
    Number(-1),
    Number(i32::MIN as i64),
    Number(-(i32::MAX as i64)),
    Made("itself", |_| sys::getpid() as usize),
    Made("itself-and-upper-half", |_| sys::getpid() as usize | 1 << 32),
    Made("parent", |_| sys::getppid() as usize),
    Made("group-of-itself", |_| -sys::getpid() as usize),
    Made("group-of-child", |w| -w.child as usize),
    Number(1),
];
const CHILD: Value = Made("child", |w| w.child as usize);

const SIGNALS: &[Value] =
    &[Number(65), Number(-1), Number(64), Number(32), Number(9), Number(17), Number(1 << 32), Number(i32::MIN as i64)];

const TIMES: &[Value] = &[
    Made("hole", |w| w.hole),
    Number(0),
    Made("kernel", |_| KERNEL),
    Made("half-in-hole", |w| w.hole - 8),
    Made("closed", |w| w.closed),
    Made("zero", |w| moment(w, 0, 0)),
    Made("a-second-of-ns", |w| moment(w, 0, 1_000_000_000)),
    Made("almost-a-second", |w| moment(w, -1, 999_999_999)),
    Made("negative-ns", |w| moment(w, 0, -1)),
    Made("negative", |w| moment(w, -1, 0)),
    Made("least", |w| moment(w, i64::MIN, 0)),
    Made("most-ns", |w| moment(w, 0, i64::MAX)),
];
const TIME: Arg = (Made("short", |w| moment(w, 0, 1)), TIMES);

fn moment(world: &World, tv_sec: i64, tv_nsec: i64) -> usize {
    world.put(0, timespec { tv_sec, tv_nsec })
}

/// Pointers that may be null.
const OPTIONAL: Arg = (Number(0), POINTERS);

const PARTS: &[Value] = &[
    Made("hole", |w| w.hole),
    Number(0),
    Made("half-in-hole", |w| w.hole - 8),
    Made("to-hole", |w| w.put(0, [w.good, 1, w.hole, 1])),
    Made("first-to-hole", |w| w.put(0, [w.hole, 1, w.good, 1])),
    Made("negative", |w| w.put(0, [w.good, 1, w.good, usize::MAX])),
    Made("to-kernel", |w| w.put(0, [w.good, 1, KERNEL, 1])),
    Made("first-into-hole", |w| w.put(0, [w.hole - 1, 2, w.good, 1])),
    Made("empty-in-hole", |w| w.put(0, [w.hole, 0, w.good, 1])),
    Made("empty-in-kernel", |w| w.put(0, [KERNEL, 0, w.good, 1])),
    Made("more-than-most", |w| w.put(0, [w.good, 0x7fff_ffff, w.good, 0x7fff_ffff])),
];

const LISTS: &[Value] = &[
    Made("hole", |w| w.hole),
    Number(0),
    Made("kernel", |_| KERNEL),
    Made("without-end", |w| w.put_before_hole([at(c"observe")])),
    Made("with-hole", |w| w.put(8, [w.hole, 0])),
    Made("with-kernel", |w| w.put(8, [KERNEL, 0])),
    Made("empty", |w| w.put(8, [0usize])),
    Made("three", |w| w.put(8, [at(c""), at(c""), at(c""), 0])),
    Made("of-131071", |w| w.put(8, [w.long_end - 131_071, 0])),
    Made("of-131072", |w| w.put(8, [w.long_end - 131_072, 0])),
    Made("unaligned", |w| w.put(8, [0usize; 3]) + 1),
];

const PROTECTIONS: &[Value] = &[
    Number(1 << 8),
    Number(0),
    Number(1),
    Number(2),
    Number(4),
    Number(7),
    Number(8),
    Number(0x10),
    Number(0x20),
    Number(linux::PROT_GROWSDOWN as i64),
    Number(linux::PROT_GROWSUP as i64),
    Number(-1),
    Number(1 << 32),
];

const ADDRESSES: &[Value] = &[
    Made("unaligned", |w| w.good + 1),
    Number(0),
    Number(4096),
    Number(0x1_0000),
    Made("hole", |w| w.hole),
    Made("desk", |w| w.put(0, 0)),
    Made("kernel", |_| KERNEL),
    Made("last-page", |_| 0usize.wrapping_sub(PAGE)),
    Made("tagged", |w| w.good | 0x5a << 56),
    Number(1 << 48),
];

const SIZES: &[Value] = &[
    Number(-1),
    Number(0),
    Number(1),
    Number(4097),
    Number(8192),
    Number(1 << 48),
    Number(1 << 52),
    Number(i64::MIN),
    Number(-4096),
];
const SIZE: Arg = (Number(4096), SIZES);

const ANONYMOUS: i64 = (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS) as i64;
const FIXED: i64 = ANONYMOUS | linux::MAP_FIXED as i64;
const NO_REPLACE: i64 = ANONYMOUS | linux::MAP_FIXED_NOREPLACE as i64;
const MAP_FLAGS: &[Value] = &[
    Number(0),
    Number(linux::MAP_ANONYMOUS as i64),
    Number(linux::MAP_PRIVATE as i64),
    Number(linux::MAP_SHARED as i64),
    Number(ANONYMOUS | linux::MAP_SHARED as i64),
    Number(FIXED),
    Number(NO_REPLACE),
    Number(ANONYMOUS | linux::MAP_STACK as i64),
    Number(ANONYMOUS | linux::MAP_NORESERVE as i64),
    Number(ANONYMOUS | linux::MAP_POPULATE as i64),
    Number(ANONYMOUS | linux::MAP_LOCKED as i64),
    Number(ANONYMOUS | linux::MAP_GROWSDOWN as i64),
    Number(ANONYMOUS | linux::MAP_HUGETLB as i64),
    Number(ANONYMOUS | 1 << 30),
    Number(ANONYMOUS | 1 << 32),
    Number(-1),
];

const CLONE_FLAGS: &[Value] = &[
    Number(linux::CLONE_SIGHAND as i64 | 17),
    Number(linux::CLONE_THREAD as i64 | 17),
    Number(0),
    Number(9),
    Number(64),
    Number(65),
    Number(255),
    Number(linux::CLONE_VM as i64 | 17),
    Number(linux::CLONE_VFORK as i64 | 17),
    Number(linux::CLONE_FS as i64 | 17),
    Number(linux::CLONE_FILES as i64 | 17),
    Number(linux::CLONE_PTRACE as i64 | 17),
    Number(linux::CLONE_PARENT as i64 | 17),
    Number(linux::CLONE_SYSVSEM as i64 | 17),
    Number(linux::CLONE_SETTLS as i64 | 17),
    Number(linux::CLONE_PARENT_SETTID as i64 | 17),
    Number(linux::CLONE_CHILD_SETTID as i64 | 17),
    Number(linux::CLONE_CHILD_CLEARTID as i64 | 17),
    Number(linux::CLONE_DETACHED as i64 | 17),
    Number(linux::CLONE_UNTRACED as i64 | 17),
    Number(linux::CLONE_PIDFD as i64 | linux::CLONE_PARENT_SETTID as i64 | 17),
    Number(linux::CLONE_NEWNS as i64 | linux::CLONE_FS as i64 | 17),
    Number(linux::CLONE_NEWUSER as i64 | linux::CLONE_FS as i64 | 17),
    Number(linux::CLONE_IO as i64 | 17),
    Number(17 | 1 << 32),
    Number(17 | 1 << 33),
];

calls! {
    __NR_read((REGULAR_FD, FDS), POINTER, LENGTH) Number;
    __NR_write((Number(1), FDS), POINTER, LENGTH) Number;
    __NR_writev((Number(1), FDS), (Made("two", |w| w.put(0, [w.good, 1, w.good, 2])), PARTS), (Number(2), &[Number(-1), Number(0), Number(1), Number(1024), Number(1025), Number(1 << 31), Number(1 << 32)])) Number;
    __NR_openat((Number(linux::AT_FDCWD as i64), FDS), PATH, (Number(0), OPEN_FLAGS)) Number;
    __NR_close((REGULAR_FD, FDS)) Number;
    __NR_fstat((REGULAR_FD, FDS), POINTER) Number;
    __NR_newfstatat((Number(linux::AT_FDCWD as i64), FDS), PATH, POINTER, (Number(0), &[Number(1 << 31), Number(0x100), Number(0x200), Number(0x400), Number(0x800), Number(0x1000), Number(0x2000), Number(0x4000), Number(0x8000), Number(-1), Number(1 << 32)])) Number;
    __NR_readlinkat((Number(linux::AT_FDCWD as i64), FDS), PATH, POINTER, (Number(64), LENGTHS)) Number;
    __NR_lseek((REGULAR_FD, FDS), (Number(5), &[Number(-1), Number(i64::MIN), Number(i64::MAX), Number(1 << 40), Number(0)]), (Number(0), NUMBERS)) Number;
    __NR_getdents64((DIRECTORY_FD, FDS), POINTER, (Number(24), &[Number(0), Number(1), Number(23), Number(1 << 32), Number(i32::MIN as i64)])) Number;
    __NR_ioctl((REGULAR_FD, FDS), (Number(ioctl::TCGETS as i64), &[Number(-1), Number(0), Number(ioctl::FIONREAD as i64), Number(ioctl::FIOCLEX as i64), Number(ioctl::FIONBIO as i64), Number(ioctl::TIOCGWINSZ as i64)]), POINTER) Number;
    __NR_set_tid_address(POINTER) Process;
    __NR_set_robust_list(POINTER, (Number(24), &[Number(0), Number(23), Number(25), Number(-1), Number(1 << 32 | 24)])) Number;
    __NR_nanosleep(TIME, OPTIONAL) Number;
    __NR_clock_nanosleep((Number(1), NUMBERS), (Number(0), &[Number(2), Number(1), Number(3), Number(-1), Number(1 << 32)]), TIME, OPTIONAL) Number;
    __NR_clock_gettime((Number(1), NUMBERS), POINTER) Number;
    __NR_clock_getres((Number(1), NUMBERS), POINTER) Number;
    __NR_sched_yield() Number;
    __NR_kill((CHILD, PIDS), (Number(0), SIGNALS)) Number;
    __NR_tkill((CHILD, PIDS), (Number(0), SIGNALS)) Number;
    __NR_tgkill((CHILD, PIDS), (CHILD, PIDS), (Number(0), SIGNALS)) Number;
    __NR_wait4((CHILD, PIDS), POINTER, (Number(0), &[Number(1 << 8), Number(1), Number(2), Number(4), Number(8), Number(0x0100_0000), Number(1 << 29), Number(1 << 30), Number(1 << 31), Number(-1), Number(1 << 32)]), OPTIONAL) Process;
    __NR_getpid() Process;
    __NR_getppid() Process;
    __NR_gettid() Process;
    __NR_getuid() Number;
    __NR_geteuid() Number;
    __NR_getgid() Number;
    __NR_getegid() Number;
    __NR_clone((Number(17), CLONE_FLAGS), (Number(0), &[Made("good", |w| w.good + 64), Made("unaligned", |w| w.good + 65), Made("hole", |w| w.hole), Made("kernel", |_| KERNEL)]), (Number(0), POINTERS), (Number(0), POINTERS), (Number(0), POINTERS)) Process;
    __NR_execve(PATH, (Made("word", |w| w.put(0, [at(c"observe"), 0])), LISTS), (Number(0), LISTS)) Number;
    __NR_brk((Number(0), &[Number(-1), Number(1), Number(4096), Made("good", |w| w.good), Made("kernel", |_| KERNEL)])) Address;
    __NR_mmap((Number(0), ADDRESSES), SIZE, (Number(READ_WRITE as i64), PROTECTIONS), (Number(ANONYMOUS), MAP_FLAGS), (Number(-1), FDS), (Number(0), &[Number(1), Number(4096), Number(-4096), Number(i64::MIN)])) Address;
    __NR_munmap((GOOD, ADDRESSES), SIZE) Number;
    __NR_mprotect((GOOD, ADDRESSES), SIZE, (Number(READ_WRITE as i64), PROTECTIONS)) Number;
    __NR_uname(POINTER) Number;
    __NR_getrandom(POINTER, LENGTH, (Number(0), &[Number(1 << 8), Number(1), Number(2), Number(3), Number(4), Number(5), Number(6), Number(7), Number(8), Number(-1), Number(1 << 32)])) Number;
    __NR_prlimit64((Number(0), PIDS), (Number(linux::RLIMIT_STACK as i64), NUMBERS), OPTIONAL, OPTIONAL) Number;
}

/// Places where a mapping is made over what is there, or not: flags that change what the address means.
const PLACES: [(&str, i64); 2] = [("fixed", FIXED), ("no-replace", NO_REPLACE)];

/// How often others are let run until a process is said to wait: by turns, as time passes on a host that stands still.
const TURNS: usize = 50_000;

pub fn observe() -> i32 {
    let mut world = World::new();
    for row in CALLS {
        let good = row.good();
        row.observe(&mut world, &good, format_args!("good"));
        for (position, (_, others)) in row.args.iter().enumerate() {
            for &value in *others {
                let mut values = good;
                values[position] = value;
                row.observe(&mut world, &values, format_args!("{position}.{value}"));
            }
        }
        // The first of each list is wrong: of two, one comes first.
        for first in 0..row.args.len() {
            for second in first + 1..row.args.len() {
                let mut values = good;
                [first, second].iter().for_each(|&position| values[position] = row.args[position].1[0]);
                row.observe(&mut world, &values, format_args!("{first}+{second}"));
            }
        }
        if row.number == linux::__NR_mmap {
            for (name, flags) in PLACES {
                for &address in ADDRESSES {
                    let mut values = good;
                    (values[0], values[3]) = (address, Number(flags));
                    row.observe(&mut world, &values, format_args!("{name}.{address}"));
                }
            }
        }
    }
    for number in [244, 245, 259, 511, 512, 1000, i32::MAX as u32, 1 << 31, u32::MAX - 1, u32::MAX] {
        println!("calls.number.{number} {}", Told(call(number, [0; 6])));
    }
    0
}

impl Call {
    fn good(&self) -> [Value; 6] {
        let mut values = [Number(0); 6];
        values.iter_mut().zip(self.args).for_each(|(value, arg)| *value = arg.0);
        values
    }

    /// Makes the call in a process of its own, and tells the answer.
    fn observe(&self, world: &mut World, values: &[Value; 6], about: fmt::Arguments<'_>) {
        // Open files have one position in all processes.
        for fd in [world.regular, world.directory] {
            call(linux::__NR_lseek, [fd as usize, 0, 0, 0, 0, 0]).expect("a file can be wound back");
        }
        let child = process::spawn(|| {
            let has_child = self.args.iter().any(|arg| matches!(arg.0, Made("child", _)));
            if has_child {
                world.child = process::spawn(|| 3).expect("a child can be started");
                let_children_end();
            }
            let args = values.map(|value| value.of(world));
            let answer = if self.number == linux::__NR_clone {
                let [flags, stack, parent_tid, tls, child_tid, _] = args;
                // SAFETY: the child ends at once, on whatever stack.
                let answer = Errno::check(unsafe { clone(flags, stack, parent_tid, tls, child_tid) });
                // It may be this process's end as well.
                let_children_end();
                answer
            } else {
                call(self.number, args)
            };
            let me = sys::getpid() as usize;
            match (self.gives, answer) {
                (Gives::Address, Ok(address)) if address == args[0] & !(PAGE - 1) && address != 0 => {
                    self.tell(about, "there")
                }
                (Gives::Address, Ok(_)) => self.tell(about, "elsewhere"),
                (Gives::Process, Ok(id)) if id == me => self.tell(about, "itself"),
                (Gives::Process, Ok(id)) if id == sys::getppid() as usize => self.tell(about, "parent"),
                (Gives::Process, Ok(id)) if id > me => self.tell(about, "child"),
                (_, answer) => self.tell(about, Told(answer)),
            }
            while sys::wait4(-1, 0).is_ok() {}
            0
        });
        let child = child.expect("a child can be started");
        // It may have stopped, or wait for ever.
        let mut word = 0u32;
        for turn in 0.. {
            let place = (&raw mut word).expose_provenance();
            let options = (linux::WNOHANG | linux::WUNTRACED) as usize;
            match call(linux::__NR_wait4, [child as usize, place, options, 0, 0, 0]) {
                Ok(0) if turn == TURNS => {
                    sys::kill(child, user::Signal::SIGKILL).expect("a child can be killed");
                    self.tell(about, "waits");
                    process::wait(child).expect("a child can be waited for");
                    return;
                }
                Ok(0) => drop(call(linux::__NR_sched_yield, [0; 6])),
                Ok(_) if word == 0 => return,
                // It did not come back to tell.
                _ => return self.tell(about, format_args!("ends {word:#x}")),
            }
        }
    }

    fn tell(&self, about: fmt::Arguments<'_>, value: impl fmt::Display) {
        println!("calls.{}.{about} {value}", self.name);
    }
}

/// Time for them to. One long sleep could be over at once, on a host that stands still.
fn let_children_end() {
    (0..20).for_each(|_| sys::nanosleep(time::MILLISECOND).expect("time passes"));
}

/// clone, whose child ends with 0 and touches no memory.
#[unsafe(naked)]
unsafe extern "C" fn clone(_flags: usize, _stack: usize, _parent_tid: usize, _tls: usize, _child_tid: usize) -> isize {
    naked_asm!(
        "mov x8, #{clone}",
        "svc #0",
        "cbnz x0, 2f",
        "mov x8, #{exit}",
        "svc #0",
        "2: ret",
        clone = const linux::__NR_clone,
        exit = const linux::__NR_exit,
    )
}
