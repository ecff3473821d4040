//! Wrong pointers: every call that takes one is tried with every sort there is, and must answer as Linux does, write nothing
//! but what it reports, and tell nothing else. Prints a line a pointer argument, and what was wrong.
//!
//! What a pointer leads to is prepared anew for each call: a page of [`FILL`], in which the object lies that the call reads or
//! writes; afterwards whatever is neither [`FILL`] nor the true result at its true place has been disclosed or destroyed.
#![no_std]
#![no_main]

use core::{ffi::CStr, slice};
use linux_raw_sys::{general as linux, ioctl};
use user::{Args, Errno, eprintln, println, process, sys};

user::entry!(main);

const PAGE: usize = 4096;
/// In the kernel's half, where our kernel is linked (linker/kernel.ld).
const KERNEL: usize = 0xffff_ffc0_8000_0000;
const HERE: usize = linux::AT_FDCWD as usize;
const READ_WRITE: u32 = linux::PROT_READ | linux::PROT_WRITE;
/// What memory holds before a call.
const FILL: u8 = 0xa5;
const STDOUT: usize = 1;

/// Ok is a number of bytes or other success, Err the error.
type Answer = Result<usize, Errno>;

/// What a pointer leads to.
#[derive(Clone, Copy)]
enum Object {
    /// A path or text, to be read.
    Text(&'static [u8]),
    /// A structure of two words, to be read.
    Words(fn(&Memory) -> [usize; 2]),
    /// So many bytes, to be written, always with the same.
    Result(usize),
    /// So many bytes, to be written with what cannot be foretold.
    Varying(usize),
    /// So many bytes, which are neither read nor written.
    Ignored(usize),
}
use Object::{Ignored, Text, Varying, Words};

/// How much of the object a pointer reaches.
#[derive(Clone, Copy, PartialEq)]
enum Reach {
    All,
    /// All, if it is only read.
    Read,
    /// So many bytes at its beginning.
    Some(usize),
    None,
}

/// An argument that is a pointer.
struct Argument {
    call: &'static str,
    object: Object,
    /// The answer when all of the object can be reached, none of it, or when the pointer is null.
    good: Answer,
    bad: Answer,
    null: Answer,
    /// Whether what can be reached is moved, and told.
    partial: bool,
    act: fn(&Memory, usize) -> Answer,
}

impl Argument {
    const fn new(call: &'static str, object: Object, good: Answer, act: fn(&Memory, usize) -> Answer) -> Argument {
        let bad = Err(Errno::EFAULT);
        Argument { call, object, good, bad, null: bad, partial: false, act }
    }

    /// Null says that nothing is given or wanted.
    const fn or_null(self) -> Argument {
        Argument { null: SUCCESS, ..self }
    }

    /// The call succeeds, whatever the pointer.
    const fn in_any_case(self) -> Argument {
        Argument { bad: self.good, null: self.good, ..self }
    }

    /// Null is an empty list.
    const fn or_empty(self) -> Argument {
        Argument { null: self.good, ..self }
    }

    const fn partial(self) -> Argument {
        Argument { partial: true, ..self }
    }

    fn size(&self) -> usize {
        match self.object {
            Text(bytes) => bytes.len(),
            Words(_) => size_of::<[usize; 2]>(),
            Object::Result(size) | Varying(size) | Ignored(size) => size,
        }
    }

    fn is_written(&self) -> bool {
        matches!(self.object, Object::Result(_) | Varying(_))
    }
}

const SUCCESS: Answer = Ok(0);
const ABSENT: Answer = Err(Errno::ENOENT);
const NOWHERE: &[u8] = b"/no such file\0";
/// Where paths are read, the answer that tells that they were.
const fn path(call: &'static str, act: fn(&Memory, usize) -> Answer) -> Argument {
    Argument::new(call, Text(NOWHERE), ABSENT, act)
}

/// A moment, of which a sleep is over at once.
const MOMENT: Object = Words(|_| [0, 1]);
/// A list of one word, ended by null.
const LIST: Object = Words(|memory| [memory.word, 0]);
const MONOTONIC: usize = linux::CLOCK_MONOTONIC as usize;
const STACK: usize = linux::RLIMIT_STACK as usize;
const STAT: usize = size_of::<linux::stat>();

const ARGUMENTS: &[Argument] = &[
    Argument::new("read, buffer", Object::Result(64), Ok(64), |m, p| {
        call(linux::__NR_lseek, [m.file, 0, 0])?;
        call(linux::__NR_read, [m.file, p, 64])
    })
    .partial(),
    Argument::new("write, buffer", Text(RETURNS), Ok(RETURNS.len()), |_, p| {
        call(linux::__NR_write, [STDOUT, p, RETURNS.len()])
    })
    .partial(),
    Argument::new("writev, vector", Words(|m| [m.word, 1]), Ok(1), |_, p| call(linux::__NR_writev, [STDOUT, p, 1])),
    Argument::new("writev, first part", Text(RETURNS), Ok(RETURNS.len() + 1), |m, p| {
        call(linux::__NR_writev, [STDOUT, m.list([p, RETURNS.len(), m.word, 1]), 2])
    })
    .partial(),
    Argument::new("writev, second part", Text(RETURNS), Ok(RETURNS.len()), |m, p| {
        call(linux::__NR_writev, [STDOUT, m.list([m.word, 0, p, RETURNS.len()]), 2])
    })
    .partial(),
    path("openat, path", |_, p| call(linux::__NR_openat, [HERE, p, 0])),
    path("newfstatat, path", |m, p| call(linux::__NR_newfstatat, [HERE, p, m.spare, 0])),
    path("readlinkat, path", |m, p| call(linux::__NR_readlinkat, [HERE, p, m.spare, 64])),
    path("execve, path", |_, p| call(linux::__NR_execve, [p, 0, 0])),
    Argument::new("execve, arguments", LIST, ABSENT, |m, p| call(linux::__NR_execve, [m.nowhere, p, 0])).or_empty(),
    Argument::new("execve, environment", LIST, ABSENT, |m, p| call(linux::__NR_execve, [m.nowhere, 0, p])).or_empty(),
    Argument::new("execve, an argument", Text(NOWHERE), ABSENT, |m, p| {
        call(linux::__NR_execve, [m.nowhere, m.list([m.word, p, 0, 0]), 0])
    })
    .or_empty(),
    Argument::new("execve, a variable", Text(NOWHERE), ABSENT, |m, p| {
        call(linux::__NR_execve, [m.nowhere, 0, m.list([m.word, p, 0, 0])])
    })
    .or_empty(),
    // There are no links.
    Argument::new("readlinkat, buffer", Ignored(64), Err(Errno::EINVAL), |m, p| {
        call(linux::__NR_readlinkat, [HERE, m.root, p, 64])
    })
    .in_any_case(),
    Argument::new("newfstatat, stat", Object::Result(STAT), SUCCESS, |m, p| {
        call(linux::__NR_newfstatat, [HERE, m.root, p, 0])
    }),
    Argument::new("fstat, stat", Object::Result(STAT), SUCCESS, |m, p| call(linux::__NR_fstat, [m.file, p])),
    // No file is a terminal.
    Argument::new("ioctl, argument", Ignored(60), Err(Errno::ENOTTY), |m, p| {
        call(linux::__NR_ioctl, [m.file, ioctl::TCGETS as usize, p])
    })
    .in_any_case(),
    // The first entry of a directory is `.`, of 24 bytes.
    Argument::new("getdents64, buffer", Object::Result(24), Ok(24), |m, p| {
        call(linux::__NR_lseek, [m.directory, 0, 0])?;
        call(linux::__NR_getdents64, [m.directory, p, 24 + 7])
    }),
    Argument::new("wait4, status", Object::Result(4), SUCCESS, |_, p| wait([p, 0])).or_null(),
    Argument::new("wait4, usage", Varying(size_of::<linux::rusage>()), SUCCESS, |_, p| wait([0, p])).or_null(),
    Argument::new("clone, parent's number", Varying(4), SUCCESS, |_, p| {
        clone(linux::CLONE_PARENT_SETTID, [0, p, 0, 0])
    })
    .in_any_case(),
    // The child's memory is its own.
    Argument::new("clone, child's number", Ignored(4), SUCCESS, |_, p| {
        clone(linux::CLONE_CHILD_SETTID | linux::CLONE_CHILD_CLEARTID, [0, 0, 0, p])
    })
    .in_any_case(),
    Argument::new("set_tid_address", Ignored(4), SUCCESS, |_, p| {
        call(linux::__NR_set_tid_address, [p]).map(|id| id - sys::getpid() as usize)
    })
    .in_any_case(),
    Argument::new("set_robust_list", Ignored(24), SUCCESS, |_, p| call(linux::__NR_set_robust_list, [p, 24]))
        .in_any_case(),
    Argument::new("nanosleep, time", MOMENT, SUCCESS, |_, p| call(linux::__NR_nanosleep, [p, 0])),
    // Told only to a sleeper that was woken.
    Argument::new("nanosleep, rest", Ignored(16), SUCCESS, |m, p| {
        call(linux::__NR_nanosleep, [m.list([0, 1, 0, 0]), p])
    })
    .in_any_case(),
    Argument::new("clock_nanosleep, time", MOMENT, SUCCESS, |_, p| {
        call(linux::__NR_clock_nanosleep, [MONOTONIC, 0, p, 0])
    }),
    Argument::new("clock_nanosleep, rest", Ignored(16), SUCCESS, |m, p| {
        call(linux::__NR_clock_nanosleep, [MONOTONIC, 0, m.list([0, 1, 0, 0]), p])
    })
    .in_any_case(),
    Argument::new("clock_gettime, time", Varying(16), SUCCESS, |_, p| call(linux::__NR_clock_gettime, [MONOTONIC, p])),
    Argument::new("clock_getres, time", Object::Result(16), SUCCESS, |_, p| {
        call(linux::__NR_clock_getres, [MONOTONIC, p])
    })
    .or_null(),
    Argument::new("uname, name", Object::Result(6 * 65), SUCCESS, |_, p| call(linux::__NR_uname, [p])),
    Argument::new("getrandom, buffer", Varying(16), Ok(16), |_, p| call(linux::__NR_getrandom, [p, 16, 0])).partial(),
    // The soft limit is above the hard one.
    Argument::new("prlimit64, new", Words(|_| [1, 0]), Err(Errno::EINVAL), |_, p| {
        call(linux::__NR_prlimit64, [0, STACK, p, 0])
    })
    .or_null(),
    Argument::new("prlimit64, old", Object::Result(16), SUCCESS, |_, p| call(linux::__NR_prlimit64, [0, STACK, 0, p]))
        .or_null(),
];

/// What is written to the console, where it is not seen.
const RETURNS: &[u8] = b"\r\r\r\r\r\r\r\r";

/// Pointers: their names, what they are for an object of a size, and what they reach of it.
type Pointer = (&'static str, fn(&Memory, usize) -> usize, fn(usize) -> Reach);

const POINTERS: &[Pointer] = &[
    ("good", |m, _| m.good, |_| Reach::All),
    ("misaligned", |m, _| m.good + 1, |_| Reach::All),
    ("up to a hole", |m, size| m.edge - size, |_| Reach::All),
    ("to fresh memory", |m, _| m.fresh(), |_| Reach::All),
    ("read-only", |m, _| m.read_only, |_| Reach::Read),
    ("half in a hole", |m, size| m.edge - size / 2, |size| Reach::Some(size / 2)),
    ("one byte before a hole", |m, _| m.edge - 1, |_| Reach::Some(1)),
    ("null", |_, _| 0, |_| Reach::None),
    ("to a hole", |m, _| m.edge, |_| Reach::None),
    ("without rights", |m, _| m.closed, |_| Reach::None),
    ("with a tag", |m, _| m.good | 0x5a << 56, |_| Reach::None),
    ("to the kernel", |_, _| KERNEL, |_| Reach::None),
    ("to the kernel's last bytes", |_, size| 0usize.wrapping_sub(size), |_| Reach::None),
    ("that wraps around", |_, size| 0usize.wrapping_sub(size / 2), |_| Reach::None),
    ("between the halves", |_, _| 1 << 52, |_| Reach::None),
    ("above the lower half", |_, _| 1 << 39, |_| Reach::None),
];

/// Calls whose lengths or ranges reach further than anything may: what they do, and their answers.
type Range = (&'static str, fn(&Memory) -> Answer, Answer);

const FIXED: usize = (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_FIXED) as usize;
const ANYWHERE: usize = (linux::MAP_PRIVATE | linux::MAP_ANONYMOUS) as usize;
const RIGHTS: usize = READ_WRITE as usize;
/// The last page of all addresses.
const LAST_PAGE: usize = 0usize.wrapping_sub(PAGE);

const REFUSED: Answer = Err(Errno::EFAULT);
const INVALID: Answer = Err(Errno::EINVAL);
const NO_ROOM: Answer = Err(Errno::ENOMEM);

const RANGES: &[Range] = &[
    ("read nothing", |m| call(linux::__NR_read, [m.file, 0, 0]), Ok(0)),
    ("read nothing into the kernel", |m| call(linux::__NR_read, [m.file, KERNEL, 0]), REFUSED),
    ("read beyond all addresses", |m| call(linux::__NR_read, [m.file, m.good, usize::MAX]), REFUSED),
    ("read beyond the lower half", |m| call(linux::__NR_read, [m.file, m.good, 1 << 52]), REFUSED),
    ("read far into a hole", |m| call(linux::__NR_read, [m.file, m.edge - 8, 1 << 29]), Ok(8)),
    ("write nothing", |_| call(linux::__NR_write, [STDOUT, 0, 0]), Ok(0)),
    ("write nothing of the kernel", |_| call(linux::__NR_write, [STDOUT, KERNEL, 0]), REFUSED),
    ("write beyond all addresses", |m| call(linux::__NR_write, [STDOUT, m.good, usize::MAX]), REFUSED),
    ("write beyond the lower half", |m| call(linux::__NR_write, [STDOUT, m.good, 1 << 52]), REFUSED),
    ("writev of no part", |m| call(linux::__NR_writev, [STDOUT, m.edge, 0]), Ok(0)),
    ("writev of too many parts", |m| call(linux::__NR_writev, [STDOUT, m.good, 1 << 31]), INVALID),
    (
        "writev of a negative length",
        |m| call(linux::__NR_writev, [STDOUT, m.list([m.word, 1, m.word, usize::MAX]), 2]),
        INVALID,
    ),
    (
        "writev with a part of the kernel",
        |m| call(linux::__NR_writev, [STDOUT, m.list([m.word, 1, KERNEL, 1]), 2]),
        REFUSED,
    ),
    ("getdents64 into less than an entry", |m| call(linux::__NR_getdents64, [m.directory, m.good, 8]), INVALID),
    ("getrandom of nothing", |_| call(linux::__NR_getrandom, [0, 0, 0]), Ok(0)),
    ("getrandom beyond all addresses", |m| call(linux::__NR_getrandom, [m.edge - 8, 1 << 29, 0]), Ok(8)),
    ("mmap at the kernel", |_| call(linux::__NR_mmap, [KERNEL, PAGE, RIGHTS, FIXED, 0, 0]), NO_ROOM),
    ("mmap at the last page", |_| call(linux::__NR_mmap, [LAST_PAGE, PAGE, RIGHTS, FIXED, 0, 0]), NO_ROOM),
    ("mmap of the lower half", |_| call(linux::__NR_mmap, [0, 1 << 52, RIGHTS, ANYWHERE, 0, 0]), NO_ROOM),
    ("mmap of all addresses", |_| call(linux::__NR_mmap, [0, usize::MAX, RIGHTS, ANYWHERE, 0, 0]), NO_ROOM),
    ("mmap within a page", |m| call(linux::__NR_mmap, [m.edge + 1, PAGE, RIGHTS, FIXED, 0, 0]), INVALID),
    ("munmap of the kernel", |_| call(linux::__NR_munmap, [KERNEL, PAGE]), INVALID),
    ("munmap of the last page", |_| call(linux::__NR_munmap, [LAST_PAGE, PAGE]), INVALID),
    ("munmap beyond the lower half", |m| call(linux::__NR_munmap, [m.good, 1 << 52]), INVALID),
    ("munmap beyond all addresses", |m| call(linux::__NR_munmap, [m.good, LAST_PAGE]), INVALID),
    ("munmap within a page", |m| call(linux::__NR_munmap, [m.good + 1, PAGE]), INVALID),
    ("munmap of a hole", |m| call(linux::__NR_munmap, [m.edge, PAGE]), Ok(0)),
    ("mprotect of the kernel", |_| call(linux::__NR_mprotect, [KERNEL, PAGE, RIGHTS]), NO_ROOM),
    ("mprotect beyond all addresses", |m| call(linux::__NR_mprotect, [m.good, LAST_PAGE, RIGHTS]), NO_ROOM),
    ("mprotect of a hole", |m| call(linux::__NR_mprotect, [m.edge, PAGE, RIGHTS]), NO_ROOM),
    ("mprotect into a hole", |m| call(linux::__NR_mprotect, [m.good, 2 * PAGE, RIGHTS]), NO_ROOM),
    ("mprotect within a page", |m| call(linux::__NR_mprotect, [m.good + 1, PAGE, RIGHTS]), INVALID),
    ("brk below the heap", |_| moves_heap(1), Ok(0)),
    ("brk into the kernel", |_| moves_heap(KERNEL), Ok(0)),
    ("brk to the last address", |_| moves_heap(usize::MAX), Ok(0)),
];

/// How far `brk` moves the heap's end when it is asked to put it where it cannot be.
fn moves_heap(end: usize) -> Answer {
    let old = call(linux::__NR_brk, [0])?;
    call(linux::__NR_brk, [end]).map(|new| new.abs_diff(old))
}

fn main(_args: Args) -> i32 {
    let memory = Memory::new();
    let (mut calls, mut wrong) = (0, 0);
    println!("{:<24}{:>8}{:>8}", "POINTER", "CALLS", "WRONG");
    for argument in ARGUMENTS {
        let failures = argument.check(&memory);
        println!("{:<24}{:>8}{failures:>8}", argument.call, POINTERS.len());
        (calls, wrong) = (calls + POINTERS.len(), wrong + failures);
    }
    let mut failures = 0;
    for (what, act, expected) in RANGES {
        memory.refill();
        let answer = act(&memory);
        if answer != *expected {
            eprintln!("pointers: {what}: {answer:?} instead of {expected:?}");
            failures += 1;
        }
    }
    println!("{:<24}{:>8}{failures:>8}", "lengths and ranges", RANGES.len());
    (calls, wrong) = (calls + RANGES.len(), wrong + failures);
    println!("pointers: {calls} calls, {wrong} answered wrongly");
    i32::from(wrong != 0)
}

impl Argument {
    /// Makes the call with every pointer; gives how many were wrong.
    fn check(&self, memory: &Memory) -> usize {
        let size = self.size();
        // The true result, as it came by the first, good pointer.
        let mut truth = [FILL; PAGE];
        let mut wrong = 0;
        for (index, (what, pointer, reach)) in POINTERS.iter().enumerate() {
            memory.refill();
            let (pointer, reach) = (pointer(memory, size), reach(size));
            let written = match reach {
                Reach::All => size,
                Reach::Some(size) => size,
                Reach::Read | Reach::None => 0,
            };
            memory.place(self.object, pointer, reach);
            let before = [memory.good, memory.read_only].map(copy);
            let answer = (self.act)(memory, pointer);
            let after = [memory.good, memory.read_only].map(copy);

            let mut complain = |why: &dyn core::fmt::Display| {
                eprintln!("pointers: {}, {what}, {pointer:#x}: {why}", self.call);
                wrong += 1;
            };
            let expected = self.answer(pointer, reach);
            if answer != expected {
                complain(&format_args!("{answer:?} instead of {expected:?}"));
            }
            let result = bytes(pointer, if self.is_written() { written } else { 0 });
            if index == 0 {
                truth[..result.len()].copy_from_slice(result);
            }
            // All of it after a success, but padding, which Linux leaves as it was; what came before the fault after a failure.
            let is_true = |(&byte, &truth): (&u8, &u8)| {
                byte == truth || (answer.is_err() || truth == FILL) && (byte == FILL || byte == 0)
            };
            if !matches!(self.object, Varying(_)) && !result.iter().zip(&truth).all(is_true) {
                complain(&"the result is not the true one");
            }
            if matches!(self.object, Varying(_)) && reach == Reach::All && result.iter().all(|&byte| byte == FILL) {
                complain(&"there is no result");
            }
            let window = pointer..pointer + result.len();
            for (page, (before, after)) in [memory.good, memory.read_only].iter().zip(before.iter().zip(&after)) {
                let changed = |at: &usize| before[*at] != after[*at] && !window.contains(&(page + at));
                if let Some(at) = (0..PAGE).find(changed) {
                    complain(&format_args!("the byte at {:#x} was changed", page + at));
                }
            }
        }
        wrong
    }

    fn answer(&self, pointer: usize, reach: Reach) -> Answer {
        match reach {
            Reach::All => self.good,
            Reach::Read if !self.is_written() => self.good,
            Reach::Some(size) if self.partial => Ok(size),
            Reach::None if pointer == 0 => self.null,
            _ => self.bad,
        }
    }
}

/// Pages to point to, and what calls need besides.
struct Memory {
    /// A page of [`FILL`] that may be written; behind it is a hole.
    good: usize,
    /// Where the hole begins.
    edge: usize,
    /// A page of [`FILL`] that may be read only.
    read_only: usize,
    /// A page without any right.
    closed: usize,
    /// A page that is mapped anew for each call.
    fresh: usize,
    /// A page for what is not looked at: lists, results of other arguments.
    desk: usize,
    /// A page for results that nobody looks at.
    spare: usize,
    /// Texts: a path that leads nowhere, one that does not, a word.
    nowhere: usize,
    root: usize,
    word: usize,
    /// Open files: a regular one, longer than a page, and a directory.
    file: usize,
    directory: usize,
}

impl Memory {
    fn new() -> Memory {
        let pages = sys::mmap(7 * PAGE, READ_WRITE).expect("pages can be mapped").expose_provenance();
        let [good, hole, read_only, closed, fresh, desk, spare] = core::array::from_fn(|page| pages + page * PAGE);
        // SAFETY: the pages are fresh and no Rust value's.
        unsafe {
            sys::munmap(at(hole), PAGE).expect("a page can be unmapped");
            sys::mprotect(at(closed), PAGE, linux::PROT_NONE).expect("a page can be closed");
        }
        let open = |path| sys::open(path).unwrap_or_else(|errno| panic!("{path:?} cannot be opened: {errno}")) as usize;
        let text = |text: &'static CStr| text.as_ptr().expose_provenance();
        Memory {
            good,
            edge: hole,
            read_only,
            closed,
            fresh,
            desk,
            spare,
            nowhere: NOWHERE.as_ptr().expose_provenance(),
            root: text(c"/"),
            word: text(c"\r"),
            file: open(c"/bin/pointers"),
            directory: open(c"/"),
        }
    }

    /// Makes all as it was.
    fn refill(&self) {
        // SAFETY: the page is no Rust value's.
        unsafe { at(self.good).write_bytes(FILL, PAGE) };
        self.change_read_only(|page| page.fill(FILL));
    }

    fn change_read_only(&self, change: impl FnOnce(&mut [u8])) {
        let page = at(self.read_only);
        // SAFETY: the page is no Rust value's but the slice's, which is gone when its rights are.
        unsafe {
            sys::mprotect(page, PAGE, READ_WRITE).expect("the rights of a page can be changed");
            change(slice::from_raw_parts_mut(page, PAGE));
            sys::mprotect(page, PAGE, linux::PROT_READ).expect("the rights of a page can be changed");
        }
    }

    /// Puts what a call is to read behind `pointer`, as much as it reaches.
    fn place(&self, object: Object, pointer: usize, reach: Reach) {
        let words;
        let content = match object {
            Text(text) => text,
            Words(make) => {
                words = make(self).map(usize::to_ne_bytes);
                words.as_flattened()
            }
            _ => return,
        };
        let length = match reach {
            Reach::All => content.len(),
            Reach::Some(length) => length,
            Reach::Read => return self.change_read_only(|page| page[..content.len()].copy_from_slice(content)),
            Reach::None => 0,
        };
        // SAFETY: what is reached may be written and is no Rust value's.
        unsafe { at(pointer).copy_from(content.as_ptr(), length) };
    }

    /// A page that nobody has touched yet.
    fn fresh(&self) -> usize {
        call(linux::__NR_mmap, [self.fresh, PAGE, RIGHTS, FIXED, 0, 0]).expect("a page can be mapped again")
    }

    /// Puts a list of words where no result will be; gives its address.
    fn list(&self, words: [usize; 4]) -> usize {
        // SAFETY: the page is aligned, long enough and no Rust value's.
        unsafe { at(self.desk).cast::<[usize; 4]>().write(words) };
        self.desk
    }
}

fn at(address: usize) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address)
}

/// The bytes of memory that may be read and does not change while they are looked at.
fn bytes(address: usize, length: usize) -> &'static [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: the callers have mapped it, and let go of it before the next call.
    unsafe { slice::from_raw_parts(at(address), length) }
}

fn copy(page: usize) -> [u8; PAGE] {
    bytes(page, PAGE).try_into().expect("a page is as long as a page")
}

/// Makes a call, with the missing arguments zero.
fn call<const N: usize>(number: u32, args: [usize; N]) -> Answer {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&args);
    // SAFETY: whatever a call writes to is scratch memory, or it is expected to refuse.
    Errno::check(unsafe { sys::raw(number, all) })
}

/// Waits for a child that ends at once.
fn wait([status, usage]: [usize; 2]) -> Answer {
    process::spawn(|| 0).expect("a child can be started");
    call(linux::__NR_wait4, [usize::MAX, status, 0, usage]).map(|_| 0)
}

/// Forks with these flags; the child ends at once.
fn clone(flags: u32, [stack, parent_tid, tls, child_tid]: [usize; 4]) -> Answer {
    match call(linux::__NR_clone, [(flags | linux::SIGCHLD) as usize, stack, parent_tid, tls, child_tid])? {
        0 => sys::exit_group(0),
        child => call(linux::__NR_wait4, [child, 0, 0, 0]).map(|_| 0),
    }
}
