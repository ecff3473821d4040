//! Memory comes zeroed, whoever had it before, and keeps what it holds while its neighbours and its rights change.
#![no_std]
#![no_main]

use core::hint::black_box;
use linux_raw_sys::general::{PROT_NONE, PROT_READ, PROT_WRITE};
use user::{Args, Signal, Status, eprintln, println, process, sys};

user::entry!(main);

const PAGE: usize = 4096;
/// Pages asked for at once.
const PAGES: usize = 64;
const READ_WRITE: u32 = PROT_READ | PROT_WRITE;
const DIRT: u8 = 0xaa;

/// What should be, and whether it is.
type Check = (&'static str, fn() -> bool);

fn main(_args: Args) -> i32 {
    let checks: [Check; 5] = [
        ("fresh pages are zero", fresh_pages),
        ("pages of another process come back zero", pages_of_the_dead),
        ("the heap grows by zeroes, and shrinks", heap),
        ("unmapping takes one page only", hole),
        ("rights change, content does not", rights),
    ];
    let mut wrong = 0;
    for (what, check) in checks {
        if !check() {
            eprintln!("memory: NOT SO: {what}");
            wrong += 1;
        }
    }
    println!("memory: {} checks, {wrong} failed", checks.len());
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
    // SAFETY: the callers mapped it for this.
    unsafe { start.write_bytes(DIRT, length) };
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
        let child = process::run(|| {
            let pages = map(PAGES);
            let zero = all(pages, PAGES * PAGE, 0);
            dirty(pages, PAGES * PAGE);
            i32::from(!zero)
        });
        child.is_ok_and(Status::success)
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
