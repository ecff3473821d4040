//! `forktree [DEPTH [WIDTH]]`: a tree of processes, all alive at once, in which each parent checks how each child ended, and
//! that what the children wrote to their memory did not reach its own.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use linux_raw_sys::general::{PROT_READ, PROT_WRITE};
use user::{Args, Status, eprintln, println, process, sys};

user::entry!(main);

/// Initialised data, zeroed data and (below) a mapped page: each process writes its own number to all three.
static DATA: AtomicU64 = AtomicU64::new(u64::MAX);
static BSS: AtomicU64 = AtomicU64::new(0);

/// The most children a process can have here.
const MAX_WIDTH: usize = 16;

struct Tree {
    depth: u64,
    width: usize,
    page: &'static AtomicU64,
}

fn main(mut args: Args) -> i32 {
    args.next();
    let (depth, width) = (args.number_or(3), args.number_or(3) as usize);
    assert!(width <= MAX_WIDTH, "a process can have {MAX_WIDTH} children here, not {width}");
    let page = sys::mmap(size_of::<AtomicU64>(), PROT_READ | PROT_WRITE).expect("a page can be mapped");
    // SAFETY: the page is fresh, aligned, zeroed and never unmapped.
    let page = unsafe { AtomicU64::from_ptr(page.cast()) };
    let right = Tree { depth, width, page }.grow(1, 0);
    let processes: usize = (0..=depth).map(|level| width.pow(level as u32)).sum();
    println!("forktree: {processes} processes, {}", if right { "all as expected" } else { "some WRONG" });
    i32::from(!right)
}

/// The exit code of the process `number` when all is right; never 0, which one gives that went wrong.
fn code(number: usize) -> u8 {
    1 + (number * 37 % 200) as u8
}

impl Tree {
    /// What the process `number` on `level` does; whether it and all below it are right. Children are numbered like those of
    /// a heap, the root being 1.
    fn grow(&self, number: usize, level: u64) -> bool {
        let places = [("data", &DATA), ("bss", &BSS), ("mapped page", self.page)];
        for (_, place) in places {
            place.store(number as u64, Relaxed);
        }
        let right = level == self.depth || self.branch(number, level);
        let kept = places.map(|(name, place)| {
            let found = place.load(Relaxed);
            let kept = found == number as u64;
            if !kept {
                eprintln!("forktree: {number}: its {name} became {found}");
            }
            kept
        });
        right && kept == [true; 3]
    }

    /// Starts the children of the process `number`, all before the first is waited for; whether all ended as they should.
    fn branch(&self, number: usize, level: u64) -> bool {
        let me = sys::getpid();
        let first = (number - 1) * self.width + 2;
        let mut children = [0; MAX_WIDTH];
        for (child, pid) in (first..first + self.width).zip(&mut children) {
            let started = process::spawn(|| {
                let right = sys::getppid() == me && self.grow(child, level + 1);
                if right { code(child).into() } else { 0 }
            });
            *pid = started.unwrap_or_else(|errno| panic!("process {child} could not be started: {errno}"));
        }
        let mut right = true;
        for (child, &pid) in (first..first + self.width).zip(&children) {
            let status = process::wait(pid).expect("a child can be waited for");
            if status != Status::Exited(code(child)) {
                eprintln!("forktree: {child} ended with {status} instead of exit {}", code(child));
                right = false;
            }
        }
        right
    }
}
