//! `memory`: memory comes zeroed, whoever had it before, keeps what it holds while its neighbours and its rights change, and
//! is a process's own, although fork copies nothing until it must.
//!
//! `memory shared` forks more children that hold memory than would fit, had each a copy. `memory hog` has children use up all
//! memory: they die, and nobody else. Both are for a machine with 64 MiB.
#![no_std]
#![no_main]

use core::hint::black_box;
use linux_raw_sys::general::{
    self as linux, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE, RLIMIT_STACK, SI_KERNEL, WNOHANG,
};
use user::{Args, Signal, Status, deaths, deaths::Death, eprintln, println, process, sys};

user::entry!(main);

const PAGE: usize = 4096;
/// Pages asked for at once.
const PAGES: usize = 64;
const READ_WRITE: u32 = PROT_READ | PROT_WRITE;
const DIRT: u8 = 0xaa;

/// What should be, and whether it is.
type Check = (&'static str, fn() -> bool);

const CHECKS: &[Check] = &[
    ("fresh pages are zero", fresh_pages),
    ("pages of another process come back zero", pages_of_the_dead),
    ("the heap grows by zeroes, and shrinks", heap),
    ("what the heap lost comes back zero, what it kept as it was", heap_again),
    ("unmapping takes one page only", hole),
    ("what is mapped anew is zero", mapped_again),
    ("rights change, content does not", rights),
    ("what can be written or executed can be read", implied_rights),
    ("a tag is no part of an address", tags),
    ("the stack grows by zeroes, to its limit", stack),
    ("the kernel makes the stack grow", stack_by_kernel),
    ("nothing comes close below the stack", guard),
    ("parent, child and grandchild see what they wrote themselves", copies),
    ("so do processes in a row", row),
    ("what the kernel writes reaches one process only", copies_by_kernel),
    ("memory that a fork made read-only is as writable as before", rights_of_copies),
    ("what a child unmaps its parent keeps", unmapped_copies),
];

fn main(mut args: Args) -> i32 {
    let all: &[Check] = match args.nth(1).and_then(|word| word.to_str().ok()) {
        None => CHECKS,
        Some("shared") => &[("a fork shares memory", shared)],
        Some("hog") => &[
            ("who uses up memory dies, alone, and leaves it to others", || hog(|page| dirty(page, 1))),
            ("also who has the kernel use it up", || hog(ask_kernel)),
            ("and who wants copies of what it shares", hog_of_copies),
        ],
        Some(_) => {
            eprintln!("usage: memory [shared|hog]");
            return 2;
        }
    };
    let mut wrong = 0;
    for (what, check) in all {
        if !check() {
            eprintln!("memory: NOT SO: {what}");
            wrong += 1;
        }
    }
    println!("memory: {} checks, {wrong} failed", all.len());
    i32::from(wrong != 0)
}

fn map(pages: usize) -> *mut u8 {
    sys::mmap(pages * PAGE, READ_WRITE).expect("pages can be mapped")
}

/// Whether all of `length` bytes from `start`, which must be mapped, are `value`.
fn all(start: *const u8, length: usize, value: u8) -> bool {
    // SAFETY: the callers mapped it, and no Rust value changes it meanwhile.
    unsafe { core::slice::from_raw_parts(start, length) }.iter().all(|&byte| byte == value)
}

/// Writes `length` bytes from `start`, which must be mapped and nobody's.
fn dirty(start: *mut u8, length: usize) {
    fill(start, length, DIRT);
}

/// As [`dirty`], with `value`.
fn fill(start: *mut u8, length: usize, value: u8) {
    // SAFETY: the callers mapped it for this.
    unsafe { start.write_bytes(value, length) };
}

/// Whether a copy of this process finds `check` to hold.
fn child(check: impl FnOnce() -> bool) -> bool {
    process::run(|| i32::from(!check())).is_ok_and(Status::success)
}

fn fresh_pages() -> bool {
    (0..4).all(|_| {
        let pages = map(PAGES);
        let zero = all(pages, PAGES * PAGE, 0);
        dirty(pages, PAGES * PAGE);
        // SAFETY: nothing lives there.
        zero && unsafe { sys::munmap(pages, PAGES * PAGE) }.is_ok()
    })
}

fn pages_of_the_dead() -> bool {
    (0..4).all(|_| {
        child(|| {
            let pages = map(PAGES);
            let zero = all(pages, PAGES * PAGE, 0);
            dirty(pages, PAGES * PAGE);
            zero
        })
    })
}

fn heap() -> bool {
    let start = sys::brk(core::ptr::null_mut());
    (0..4).all(|_| {
        let grown = sys::brk(start.wrapping_add(PAGES * PAGE));
        let zero = grown == start.wrapping_add(PAGES * PAGE) && all(start, PAGES * PAGE, 0);
        dirty(start, PAGES * PAGE);
        zero && sys::brk(start) == start && dies(|| dirty(start, PAGE))
    })
}

fn heap_again() -> bool {
    let start = sys::brk(core::ptr::null_mut());
    let [middle, end] = [PAGE, 2 * PAGE].map(|size| start.wrapping_add(size));
    let grown = sys::brk(end) == end;
    dirty(start, 2 * PAGE);
    let changed = sys::brk(middle) == middle && sys::brk(end) == end;
    grown && changed && all(start, PAGE, DIRT) && all(middle, PAGE, 0) && sys::brk(start) == start
}

/// Whether a copy of this process dies of SIGSEGV doing this.
fn dies(act: impl FnOnce()) -> bool {
    let child = process::run(|| {
        act();
        0
    });
    child == Ok(Status::Killed(Signal::SIGSEGV))
}

fn hole() -> bool {
    let pages = map(3);
    dirty(pages, 3 * PAGE);
    let [first, middle, last] = [0, 1, 2].map(|index| pages.wrapping_add(index * PAGE));
    // SAFETY: nothing lives there.
    let unmapped = unsafe { sys::munmap(middle, PAGE) }.is_ok();
    unmapped && dies(|| dirty(middle, 1)) && all(first, PAGE, DIRT) && all(last, PAGE, DIRT)
}

fn mapped_again() -> bool {
    let pages = map(3);
    dirty(pages, 3 * PAGE);
    let middle = pages.wrapping_add(PAGE);
    let flags = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS | linux::MAP_FIXED;
    let args = [middle.expose_provenance(), PAGE, READ_WRITE as usize, flags as usize, usize::MAX, 0];
    // SAFETY: nothing lives there.
    let mapped = unsafe { sys::raw(linux::__NR_mmap, args) };
    mapped == middle.addr() as isize
        && all(middle, PAGE, 0)
        && all(pages, PAGE, DIRT)
        && all(middle.wrapping_add(PAGE), PAGE, DIRT)
}

fn rights() -> bool {
    let page = map(1);
    dirty(page, PAGE);
    // SAFETY: the page is no Rust value's, and used as its rights allow.
    let change = |rights| unsafe { sys::mprotect(page, PAGE, rights) }.is_ok();
    change(PROT_READ)
        && all(page, PAGE, DIRT)
        && dies(|| dirty(page, 1))
        && change(PROT_NONE)
        && dies(|| _ = black_box(all(page, 1, DIRT)))
        && change(READ_WRITE)
        && all(page, PAGE, DIRT)
        && !dies(|| dirty(page, 1))
}

fn implied_rights() -> bool {
    [PROT_WRITE, PROT_EXEC].into_iter().all(|rights| {
        let page = sys::mmap(PAGE, rights).expect("a page can be mapped");
        child(|| all(page, PAGE, 0))
    })
}

/// First touched by a tagged pointer, bits 63:56.
fn tags() -> bool {
    let page = map(1);
    child(|| {
        dirty(page.map_addr(|address| address | 0x5a << 56), PAGE);
        all(page, PAGE, DIRT)
    })
}

/// The lowest address that the stack may reach, but for what lies above the caller's frame: at most [`STACK_MARGIN`].
fn stack_end() -> usize {
    let mut limit = [0usize; 2];
    let args = [0, RLIMIT_STACK as usize, 0, (&raw mut limit).expose_provenance(), 0, 0];
    // SAFETY: writes `limit`.
    let result = unsafe { sys::raw(linux::__NR_prlimit64, args) };
    assert_eq!(result, 0, "the limit of the stack can be read");
    (&raw const limit).addr() - limit[0] + STACK_MARGIN
}

/// More than arguments, environment and the frames of these functions take.
const STACK_MARGIN: usize = 64 << 10;

/// First far apart, then page by page what is between. In a child, whose stack may stay grown.
fn stack() -> bool {
    child(|| {
        let low = stack_end() & !(PAGE - 1);
        let high = (&raw const low).addr() - STACK_MARGIN;
        let fresh = |address: usize| {
            let word = core::ptr::with_exposed_provenance_mut::<usize>(address);
            // SAFETY: below the frames of this and what it calls, and no lower than the stack may grow.
            unsafe {
                let zero = word.read_volatile() == 0;
                word.write_volatile(address);
                zero && word.read_volatile() == address
            }
        };
        let far = (low..high).step_by(512 * PAGE).all(fresh);
        far && (low..high).step_by(PAGE).skip(1).filter(|page| !(page - low).is_multiple_of(512 * PAGE)).all(fresh)
    })
}

fn stack_by_kernel() -> bool {
    child(|| {
        // Across a page boundary.
        let buffer = core::ptr::with_exposed_provenance_mut((stack_end() & !(PAGE - 1)) + PAGE - 128);
        // SAFETY: as above: the stack's, and nobody's yet.
        let buffer = unsafe { core::slice::from_raw_parts_mut(buffer, 256) };
        sys::getrandom(buffer).is_ok() && buffer[..128] != [0; 128] && buffer[128..] != [0; 128]
    })
}

/// Where there is room, `mmap` puts memory where it is asked to; but not into the last MiB below a stack.
fn guard() -> bool {
    const GUARD: usize = 1 << 20;
    child(|| {
        let low = stack_end() & !(PAGE - 1);
        // SAFETY: as above. From now on the stack reaches down to here.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(low).write_volatile(DIRT) };
        let flags = linux::MAP_PRIVATE | linux::MAP_ANONYMOUS;
        [PAGE, STACK_MARGIN + PAGE, GUARD / 2, GUARD - PAGE].into_iter().all(|below| {
            let args = [low - below, PAGE, READ_WRITE as usize, flags as usize, usize::MAX, 0];
            // SAFETY: without MAP_FIXED the kernel picks addresses that nothing uses.
            let page = unsafe { sys::raw(linux::__NR_mmap, args) } as usize;
            !(low - GUARD..low).contains(&page)
        })
    })
}

/// Long enough that others come to run.
fn wait_a_little() {
    sys::nanosleep(sys::SECOND / 200).expect("a process can sleep");
}

/// Each generation changes its first page, and after the fork its second; the third nobody changes.
fn copies() -> bool {
    const LENGTH: usize = 3 * PAGE;
    let pages = map(3);
    let second = pages.wrapping_add(PAGE);
    let holds = |values: [u8; 3]| {
        (0..LENGTH).step_by(PAGE).zip(values).all(|(at, value)| all(pages.wrapping_add(at), PAGE, value))
    };
    fill(pages, LENGTH, 1);
    let family = process::spawn(|| {
        // The parent changes its second page meanwhile.
        wait_a_little();
        let inherited = holds([1; 3]);
        fill(pages, PAGE, 2);
        let grandchild = child(|| {
            let inherited = holds([2, 1, 1]);
            fill(pages, 2 * PAGE, 3);
            inherited && holds([3, 3, 1])
        });
        let kept = holds([2, 1, 1]);
        fill(second, PAGE, 4);
        i32::from(!(inherited && grandchild && kept && holds([2, 4, 1])))
    });
    fill(second, PAGE, 5);
    let right = family.and_then(process::wait).is_ok_and(Status::success);
    let kept = holds([1, 5, 1]);
    // Nobody else has it any more.
    fill(pages, LENGTH, 6);
    right && kept && holds([6; 3])
}

/// A process in the middle of a row of forks; each has its own value in the one page, and a page more that it has dirtied.
fn link(page: *mut u8, depth: u8) -> bool {
    const DEPTH: u8 = 12;
    let own = map(1);
    fill(own, PAGE, depth);
    fill(page, PAGE, depth);
    let below = depth == DEPTH || child(|| all(own, PAGE, depth) && all(page, PAGE, depth) && link(page, depth + 1));
    below && all(own, PAGE, depth) && all(page, PAGE, depth)
}

fn row() -> bool {
    link(map(1), 1)
}

/// Calls that write to memory: at least the first byte becomes another than [`DIRT`], most of the time.
const WRITERS: &[fn(*mut u8) -> bool] = &[
    |at| {
        let file = sys::open(c"/bin/memory").expect("the file can be opened");
        // SAFETY: the callers mapped it for this.
        sys::read(file, unsafe { core::slice::from_raw_parts_mut(at, 64) }) == Ok(64) && sys::close(file).is_ok()
    },
    // SAFETY: as above.
    |at| sys::getrandom(unsafe { core::slice::from_raw_parts_mut(at, 64) }).is_ok(),
    |at| {
        let child = process::spawn(|| 3).expect("a child can be started");
        // SAFETY: writes where the callers mapped memory for it.
        let waited = unsafe { sys::raw(linux::__NR_wait4, [child as usize, at.expose_provenance(), 0, 0, 0, 0]) };
        waited == child as isize
    },
    |at| {
        // SAFETY: as above.
        unsafe { sys::raw(linux::__NR_clock_gettime, [1, at.expose_provenance(), 0, 0, 0, 0]) == 0 }
    },
];

/// Once the child has the kernel write, once the parent; the other finds its page as it was.
fn copies_by_kernel() -> bool {
    WRITERS.iter().all(|write| {
        let page = map(1);
        dirty(page, PAGE);
        let by_child = child(|| write(page) && !all(page, 64, DIRT)) && all(page, PAGE, DIRT);
        let other = process::spawn(|| {
            wait_a_little();
            i32::from(!all(page, PAGE, DIRT))
        });
        let by_parent = write(page) && !all(page, 64, DIRT);
        by_child && by_parent && other.and_then(process::wait).is_ok_and(Status::success)
    })
}

fn rights_of_copies() -> bool {
    let page = map(1);
    dirty(page, PAGE);
    // SAFETY: the page is no Rust value's, and used as its rights allow.
    let change = |rights| unsafe { sys::mprotect(page, PAGE, rights) }.is_ok();
    let changed = child(|| {
        let dies = change(PROT_READ) && dies(|| dirty(page, 1)) && all(page, PAGE, DIRT);
        let writable = change(READ_WRITE);
        fill(page, PAGE, 1);
        dies && writable && all(page, PAGE, 1)
    });
    // Rights given while the page is shared do not let writes through to the other.
    let read_only = change(PROT_READ);
    let shared = child(|| {
        let writable = change(READ_WRITE);
        fill(page, PAGE, 2);
        writable && all(page, PAGE, 2)
    });
    changed && read_only && shared && all(page, PAGE, DIRT) && dies(|| dirty(page, 1))
}

fn unmapped_copies() -> bool {
    let page = map(1);
    dirty(page, PAGE);
    // SAFETY: the page is no Rust value's.
    child(|| unsafe { sys::munmap(page, PAGE) }.is_ok() && dies(|| _ = black_box(all(page, 1, DIRT))))
        && all(page, PAGE, DIRT)
}

/// Sixteen children, all alive at once, with 8 MiB each that are one.
fn shared() -> bool {
    const SIZE: usize = 8 << 20;
    let memory = map(SIZE / PAGE);
    dirty(memory, SIZE);
    let children: [_; 16] = core::array::from_fn(|number| {
        process::spawn(move || {
            // A page of its own each.
            fill(memory.wrapping_add(number * PAGE), PAGE, number as u8);
            sys::nanosleep(sys::SECOND / 10).expect("a process can sleep");
            i32::from(!all(memory.wrapping_add(number * PAGE), PAGE, number as u8))
        })
    });
    let right = children.map(|child| child.and_then(process::wait).is_ok_and(Status::success));
    right == [true; 16] && all(memory, SIZE, DIRT)
}

/// One child uses up memory, by `touch`ing page after page; another lives on with what it has, and so does this process.
fn hog(touch: fn(*mut u8)) -> bool {
    let bystander = process::spawn(|| {
        let page = map(1);
        dirty(page, PAGE);
        while all(page, PAGE, DIRT) && sys::nanosleep(sys::SECOND / 1000).is_ok() {}
        1
    })
    .expect("a child can be started");
    // Until it has all that it needs.
    wait_a_little();
    let hog = process::spawn(|| {
        loop {
            let pages = map(PAGES);
            (0..PAGES).for_each(|page| touch(pages.wrapping_add(page * PAGE)));
        }
    })
    .expect("a child can be started");
    let status = loop {
        match sys::wait4(hog, WNOHANG).expect("a child can be waited for") {
            (0, _) => sys::nanosleep(sys::SECOND / 1000).expect("a process can sleep"),
            (_, status) => break status,
        }
    };
    let death = deaths::of(hog).expect("the kernel lists deaths");
    let by_kernel =
        death.is_some_and(|Death { signal, code, .. }| (signal, code) == (Signal::SIGKILL, SI_KERNEL as i32));
    let lives = sys::kill(bystander, Signal::SIGTERM).is_ok();
    let bystander = process::wait(bystander);
    status == Status::Killed(Signal::SIGKILL) && by_kernel && lives && bystander == Ok(Status::Killed(Signal::SIGTERM))
}

/// Has the kernel write to a page.
fn ask_kernel(page: *mut u8) {
    // SAFETY: the page is no Rust value's, and longer than what is written.
    let result = unsafe { sys::raw(linux::__NR_uname, [page.expose_provenance(), 0, 0, 0, 0, 0]) };
    assert_eq!(result, 0, "a name can be written to a page");
}

/// As much as half of the machine's memory is this process's; a child cannot have a copy of all of it.
fn hog_of_copies() -> bool {
    const SIZE: usize = 40 << 20;
    let memory = map(SIZE / PAGE);
    dirty(memory, SIZE);
    let status = process::run(|| {
        fill(memory, SIZE, 1);
        0
    });
    // SAFETY: nothing lives there.
    status == Ok(Status::Killed(Signal::SIGKILL))
        && all(memory, SIZE, DIRT)
        && unsafe { sys::munmap(memory, SIZE) }.is_ok()
}
