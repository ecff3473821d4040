//! Waiting for a time: sleeping tasks by deadline, in counter ticks.

use super::task::Task;
use crate::sync::IrqLock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Deadline and task identifier, so that equal deadlines stay apart.
type Key = (u64, u32);

static SLEEPERS: IrqLock<BTreeMap<Key, Arc<Task>>> = IrqLock::new(BTreeMap::new());

/// No deadline that has yet to come is before this one; `u64::MAX` when there is none. Written under the lock.
static NEXT: AtomicU64 = AtomicU64::new(u64::MAX);

/// The running task will be woken at `deadline`; call [`cancel`] when it no longer waits.
pub fn arm(deadline: u64) {
    let task = super::current_arc();
    let mut sleepers = SLEEPERS.lock();
    sleepers.insert((deadline, task.id), task);
    NEXT.fetch_min(deadline, Relaxed);
}

/// The running task waits for `deadline` no more.
pub fn cancel(deadline: u64) {
    let task = SLEEPERS.lock().remove(&(deadline, super::current().id));
    drop(task);
}

/// How many tasks wait for a time.
#[cfg(feature = "ktest")]
pub fn sleepers() -> usize {
    SLEEPERS.lock().len()
}

/// Wakes every task whose deadline has come, and returns when to look again: with the earliest that has not. However many sleep, a
/// tick that wakes none looks at none.
#[inline]
pub fn expire(now: u64) -> u64 {
    let next = NEXT.load(Relaxed);
    if now < next { next } else { wake_until(now) }
}

/// [`expire`], when it is time. Who was woken stays listed until it cancels, as nothing is freed in an interrupt, and is before `NEXT`.
fn wake_until(now: u64) -> u64 {
    let sleepers = SLEEPERS.lock();
    let mut next = u64::MAX;
    for ((deadline, _), task) in sleepers.range((NEXT.load(Relaxed), 0)..) {
        if *deadline > now {
            next = *deadline;
            break;
        }
        super::wake(task);
    }
    NEXT.store(next, Relaxed);
    next
}
