//! Who is whose child. Each task links its children in the order in which they came to it, so that a wait and an end cost what the
//! task has of children, however many tasks there are.

use super::task::Task;
use crate::sync::IrqLock;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// A task's links; null where there is none.
pub struct Links {
    first_child: AtomicPtr<Task>,
    last_child: AtomicPtr<Task>,
    next: AtomicPtr<Task>,
    prev: AtomicPtr<Task>,
}

/// Held while links change.
static FAMILIES: IrqLock<()> = IrqLock::new(());

impl Links {
    /// Of a task that nobody is parent or child of.
    pub const fn new() -> Self {
        Links {
            first_child: AtomicPtr::new(null_mut()),
            last_child: AtomicPtr::new(null_mut()),
            next: AtomicPtr::new(null_mut()),
            prev: AtomicPtr::new(null_mut()),
        }
    }
}

/// The task that a link leads to.
fn follow(link: &AtomicPtr<Task>) -> Option<&'static Task> {
    // SAFETY: null, or a task that is a child until it is forgotten, or that is a parent and so not forgotten: it has ended with
    // its children given away.
    unsafe { link.load(Relaxed).as_ref() }
}

/// Makes `child`, which is nobody's, the last child of `parent`.
pub fn adopt(parent: &Task, child: &Task) {
    let _held = FAMILIES.lock();
    child.parent.store(parent.id, Relaxed);
    let pointer = from_ref(child).cast_mut();
    let last = follow(&parent.links.last_child);
    child.links.prev.store(last.map_or(null_mut(), |last| from_ref(last).cast_mut()), Relaxed);
    last.map_or(&parent.links.first_child, |last| &last.links.next).store(pointer, Relaxed);
    parent.links.last_child.store(pointer, Relaxed);
}

/// `child` is no child of `parent` any more.
pub fn leave(parent: &Task, child: &Task) {
    let _held = FAMILIES.lock();
    let (prev, next) = (child.links.prev.swap(null_mut(), Relaxed), child.links.next.swap(null_mut(), Relaxed));
    // SAFETY: as in `follow`.
    let (before, behind) = unsafe { (prev.as_ref(), next.as_ref()) };
    before.map_or(&parent.links.first_child, |before| &before.links.next).store(next, Relaxed);
    behind.map_or(&parent.links.last_child, |behind| &behind.links.prev).store(prev, Relaxed);
}

/// The children of the running task, which alone makes them leave.
pub fn children() -> impl Iterator<Item = &'static Task> {
    let first = follow(&super::current().links.first_child);
    core::iter::successors(first, |child| follow(&child.links.next))
}
