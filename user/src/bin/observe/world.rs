//! What system calls are tried on: pages, texts, files; and how answers are told.

use core::ffi::CStr;
use core::fmt;
use linux_raw_sys::general as linux;
use user::{Errno, sys};

pub const PAGE: usize = 4096;
pub const READ_WRITE: u32 = linux::PROT_READ | linux::PROT_WRITE;
/// An address in the kernel's half.
pub const KERNEL: usize = 0xffff_ffc0_8000_0000;
/// This program.
pub const REGULAR: &CStr = c"/bin/observe";
/// What the pages are full of: it does nothing to a console, and is no path's or list's end.
const FILL: u8 = b'\r';
/// Bytes of a word longer than Linux takes (MAX_ARG_STRLEN, 32 pages).
const LONG: usize = 33 * PAGE;

pub struct World {
    /// A page that may be written; behind it is a hole.
    pub good: usize,
    /// Where that hole begins.
    pub hole: usize,
    pub read_only: usize,
    /// A page without any right.
    pub closed: usize,
    /// The last byte, a NUL, of a text longer than any may be.
    pub long_end: usize,
    /// A page for lists and structures.
    desk: usize,
    /// Open files.
    pub regular: i32,
    pub directory: i32,
    /// A descriptor that is not open any more.
    pub shut: i32,
    /// What was made for this call alone: a child.
    pub child: i32,
}

impl World {
    pub fn new() -> World {
        let pages = sys::mmap(6 * PAGE, READ_WRITE).expect("pages can be mapped");
        let long = sys::mmap(LONG, READ_WRITE).expect("pages can be mapped");
        let [good, hole, read_only, closed, desk] = core::array::from_fn(|page| pages.wrapping_add(page * PAGE));
        // SAFETY: the pages are fresh and no Rust value's. The last byte of the text stays NUL.
        unsafe {
            long.write_bytes(b'a', LONG - 1);
            pages.write_bytes(FILL, 4 * PAGE);
            sys::munmap(hole, PAGE).expect("a page can be unmapped");
            sys::mprotect(read_only, PAGE, linux::PROT_READ).expect("rights can be taken");
            sys::mprotect(closed, PAGE, linux::PROT_NONE).expect("rights can be taken");
        }
        let open = |path| sys::open(path).unwrap_or_else(|errno| panic!("{path:?} cannot be opened: {errno}"));
        let (regular, directory, shut) = (open(REGULAR), open(c"/bin"), open(REGULAR));
        sys::close(shut).expect("an open file can be closed");
        let [good, hole, read_only, closed, desk] =
            [good, hole, read_only, closed, desk].map(|page| page.expose_provenance());
        let long_end = long.expose_provenance() + LONG - 1;
        World { good, hole, read_only, closed, long_end, desk, regular, directory, shut, child: 0 }
    }

    /// Puts `value` on the desk, at word `at`; gives its address.
    pub fn put<T>(&self, at: usize, value: T) -> usize {
        let place = self.desk + 8 * at;
        // SAFETY: the page is aligned, big enough for what is put here, and no Rust value's.
        unsafe { core::ptr::with_exposed_provenance_mut::<T>(place).write(value) };
        place
    }

    /// Puts `value` at the end of the good page.
    pub fn put_before_hole<T>(&self, value: T) -> usize {
        let place = self.hole - size_of::<T>();
        // SAFETY: as above; nothing is aligned to more than its size here.
        unsafe { core::ptr::with_exposed_provenance_mut::<T>(place).write(value) };
        place
    }
}

/// Makes a call.
pub fn call(number: u32, args: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: what a call writes to is scratch memory, or it is expected to refuse, or the process that tries it ends next.
    Errno::check(unsafe { sys::raw(number, args) })
}

/// An answer as it is told: the error's name, or the number.
pub struct Told(pub Result<usize, Errno>);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(value) => value.fmt(f),
            Err(errno) => errno.fmt(f),
        }
    }
}
