//! The reference checker: whether frames, tables, tasks and queues are what they must be, whatever programs did.
//!
//! It begins when `/proc/audit` is opened for the first time. From then on it looks at the end of each task at all that holds at any time;
//! and whenever that file is opened by the only task there is, at all there is: then every frame has its place, and the file says what is
//! in use, which is the same whenever the same program is alone. What does not hold is a panic that names it.

use crate::mm::{frames::audit::Census, heap, kernel_map, stacks, tables};
use crate::sched::{self, sleep};
use crate::sync::{IrqLock, IrqMask};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What is kept between two looks.
struct Books {
    /// Memory to count frames in.
    found: Vec<u16>,
    /// Frames that were nowhere when the first task was alone for the first time: the heap's, and what else is taken for good.
    elsewhere: Option<usize>,
}

static BOOKS: IrqLock<Option<Books>> = IrqLock::new(None);

/// The text of `/proc/audit`: what is in use, a name and a number a line.
pub fn text() -> String {
    BOOKS.lock().get_or_insert(Books { found: Vec::new(), elsewhere: None });
    let (tasks, pages) = look();
    let (stacks, asids, sleepers) = (stacks::in_use(), tables::asids(), sleep::sleepers());
    let heap = heap::used();
    format!("tasks {tasks}\npages {pages}\nstacks {stacks}\nasids {asids}\nsleepers {sleepers}\nheap {heap}\n")
}

/// A task is about to give back what it has.
pub fn task_ends() {
    if BOOKS.lock().is_some() {
        look();
    }
}

/// Returns how many tasks there are, and how many pages they have.
fn look() -> (usize, usize) {
    let _mask = IrqMask::new();
    let mut books = BOOKS.lock();
    let Books { found, elsewhere } = books.as_mut().expect("the audit has begun");
    sched::audit::check_queue();
    let (mut tasks, mut pages) = (0, 0);
    let mut census = Census::begin(found);
    sched::audit::each_task(&mut |task| {
        tasks += 1;
        // One that was preempted while it used its memory is looked at another time.
        if let Some(space) = task.space.try_lock()
            && let Some(space) = &*space
        {
            pages += space.audit(&mut census);
        }
    });
    let alone = tasks == 1;
    if alone {
        kernel_map::audit::check(&mut census);
    }
    let lost = census.end(alone);
    if alone {
        let before = *elsewhere.get_or_insert(lost);
        assert!(lost == before, "audit: {lost} frames are nowhere, not {before}");
    }
    (tasks, pages)
}
