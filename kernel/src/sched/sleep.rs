//! Waiting for a time: sleeping tasks by deadline, in counter ticks.

use super::task::Task;
use crate::sync::IrqLock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

/// Deadline and task identifier, so that equal deadlines stay apart.
type Key = (u64, u32);

static SLEEPERS: IrqLock<BTreeMap<Key, Arc<Task>>> = IrqLock::new(BTreeMap::new());

/// The running task will be woken at `deadline`; call [`cancel`] when it no longer waits.
pub fn arm(deadline: u64) {
    let task = super::current_arc();
    SLEEPERS.lock().insert((deadline, task.id), task);
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

/// Wakes every task whose deadline has come, and returns the earliest that has not. Who was woken stays listed until it
/// cancels: nothing is freed in an interrupt.
pub fn expire(now: u64) -> Option<u64> {
    for ((deadline, _), task) in SLEEPERS.lock().iter() {
        if *deadline > now {
            return Some(*deadline);
        }
        super::wake(task);
    }
    None
}
