//! What mappings become: each scenario does something to eight pages that may be read and written, and tells the answers, then
//! for each page whether it may be written (`w`), read (`r`) or neither (`-`), and in capitals whether it lost what it held.

use crate::world::{PAGE, READ_WRITE, Told, call};
use linux_raw_sys::general as linux;
use user::{Errno, println, process, sys};

const PAGES: usize = 8;
/// What each page holds at first: a path that is not there.
const HELD: &[u8] = b"/absent\0";

/// What is done, from the address of the first page.
type Scenario = (&'static str, fn(usize) -> [Result<usize, Errno>; 2]);

const NOTHING: Result<usize, Errno> = Ok(0);
const READ: u32 = linux::PROT_READ;
const NONE: u32 = linux::PROT_NONE;

fn unmap(start: usize, length: usize) -> Result<usize, Errno> {
    call(linux::__NR_munmap, [start, length, 0, 0, 0, 0])
}

fn protect(start: usize, length: usize, rights: u32) -> Result<usize, Errno> {
    call(linux::__NR_mprotect, [start, length, rights as usize, 0, 0, 0])
}

fn map(start: usize, length: usize, rights: u32, flags: u32) -> Result<usize, Errno> {
    let flags = flags | linux::MAP_PRIVATE | linux::MAP_ANONYMOUS;
    let placed = call(linux::__NR_mmap, [start, length, rights as usize, flags as usize, usize::MAX, 0]);
    placed.map(|address| usize::from(address == start))
}

const SCENARIOS: &[Scenario] = &[
    ("as-they-are", |_| [NOTHING; 2]),
    ("unmap-one", |p| [unmap(p + 2 * PAGE, PAGE), NOTHING]),
    ("unmap-a-byte", |p| [unmap(p + 2 * PAGE, 1), NOTHING]),
    ("unmap-a-page-and-a-byte", |p| [unmap(p, PAGE + 1), NOTHING]),
    ("unmap-unaligned", |p| [unmap(p + 1, PAGE), NOTHING]),
    ("unmap-twice", |p| [unmap(p, PAGE), unmap(p, PAGE)]),
    ("unmap-over-hole", |p| [unmap(p + PAGE, PAGE), unmap(p, 3 * PAGE)]),
    ("protect-one", |p| [protect(p + PAGE, PAGE, READ), NOTHING]),
    ("protect-a-byte", |p| [protect(p + PAGE, 1, READ), NOTHING]),
    ("protect-and-back", |p| [protect(p, 2 * PAGE, NONE), protect(p + PAGE, PAGE, READ_WRITE)]),
    ("protect-over-hole", |p| [unmap(p + 2 * PAGE, PAGE), protect(p, 4 * PAGE, READ)]),
    ("protect-from-hole", |p| [unmap(p, PAGE), protect(p, 4 * PAGE, READ)]),
    ("protect-to-write", |p| [protect(p, PAGE, linux::PROT_WRITE), NOTHING]),
    ("protect-to-execute", |p| [protect(p, PAGE, linux::PROT_EXEC), NOTHING]),
    ("protect-bad-rights-over-hole", |p| [unmap(p + PAGE, PAGE), protect(p, 2 * PAGE, 0x100)]),
    ("map-over", |p| [map(p + PAGE, 2 * PAGE, READ_WRITE, linux::MAP_FIXED), NOTHING]),
    ("map-over-read-only", |p| [map(p + PAGE, 2 * PAGE, READ, linux::MAP_FIXED), NOTHING]),
    ("map-over-without-rights", |p| [map(p + PAGE, 2 * PAGE, NONE, linux::MAP_FIXED), NOTHING]),
    ("map-a-byte-over", |p| [map(p + PAGE, 1, READ_WRITE, linux::MAP_FIXED), NOTHING]),
    ("map-into-hole", |p| [unmap(p, PAGE), map(p, PAGE, READ_WRITE, linux::MAP_FIXED_NOREPLACE)]),
    ("map-partly-over", |p| [unmap(p, PAGE), map(p, 2 * PAGE, READ_WRITE, linux::MAP_FIXED_NOREPLACE)]),
    ("hint-into-hole", |p| [unmap(p, PAGE), map(p, PAGE, READ_WRITE, 0)]),
    ("hint-over", |p| [map(p, PAGE, READ_WRITE, 0), NOTHING]),
    ("hint-unaligned", |p| [unmap(p, PAGE), map(p + 1, PAGE, READ_WRITE, 0)]),
];

pub fn observe() -> i32 {
    for &(name, act) in SCENARIOS {
        process::run(|| {
            scenario(name, act);
            0
        })
        .expect("a child can be started and waited for");
    }
    process::run(heap).expect("a child can be started and waited for");
    0
}

fn scenario(name: &str, act: impl FnOnce(usize) -> [Result<usize, Errno>; 2]) {
    // With holes around them.
    let around = sys::mmap((PAGES + 2) * PAGE, READ_WRITE).expect("pages can be mapped").expose_provenance();
    let first = around + PAGE;
    for hole in [around, first + PAGES * PAGE] {
        unmap(hole, PAGE).expect("a page can be unmapped");
    }
    for page in 0..PAGES {
        // SAFETY: fresh pages, and no Rust value's.
        unsafe {
            core::ptr::with_exposed_provenance_mut::<u8>(first + page * PAGE).copy_from(HELD.as_ptr(), HELD.len())
        };
    }
    let [one, two] = act(first);
    let states: [u8; PAGES] = core::array::from_fn(|page| state(first + page * PAGE));
    println!("memory.{name} {} {} {}", Told(one), Told(two), core::str::from_utf8(&states).unwrap_or_default());
}

/// What may be done with a page, found out by system calls, which do not die of it.
fn state(page: usize) -> u8 {
    let open = |place| call(linux::__NR_openat, [linux::AT_FDCWD as usize, place, 0, 0, 0, 0]);
    let readable = open(page) != Err(Errno::EFAULT);
    // SAFETY: it may be read.
    let holds = readable && unsafe { core::ptr::with_exposed_provenance::<u8>(page).read_volatile() == HELD[0] };
    let writable = readable && call(linux::__NR_clock_gettime, [1, page + 16, 0, 0, 0, 0]).is_ok();
    match (readable, writable, holds) {
        (false, ..) => b'-',
        (_, true, true) => b'w',
        (_, true, false) => b'W',
        (_, false, true) => b'r',
        (_, false, false) => b'R',
    }
}

/// The heap's end, relative to where it was: keys `memory.brk.WHERE`.
fn heap() -> i32 {
    let brk = |end: usize| call(linux::__NR_brk, [end, 0, 0, 0, 0, 0]).unwrap_or_default();
    let start = brk(0);
    let moves: &[(&str, isize)] = &[
        ("as-it-is", 0),
        ("a-byte-on", 1),
        ("a-page-on", PAGE as isize),
        ("nine-pages-on", 9 * PAGE as isize),
        ("back", 0),
        ("below", -(PAGE as isize)),
        ("below-by-a-byte", -1),
        ("far-below", -(1 << 40)),
        ("half-a-page-on", PAGE as isize / 2),
        ("a-terabyte-on", 1 << 40),
        ("into-the-kernel", isize::MAX),
    ];
    println!("memory.brk.aligned {}", start.is_multiple_of(16));
    for &(name, offset) in moves {
        println!("memory.brk.{name} {}", brk(start.wrapping_add_signed(offset)).wrapping_sub(start));
    }
    brk(start + PAGE);
    println!("memory.brk.state {}", char::from(state((start + PAGE - 1) & !(PAGE - 1))));
    0
}
