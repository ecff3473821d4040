//! Tasks against the run queue.

use super::task::{State, Task};
use super::{TASKS, run_queue};
use alloc::sync::Arc;

/// Shows each task but the idle one to `look`. Nobody enters or leaves meanwhile.
pub fn each_task(look: &mut dyn FnMut(&Task)) {
    TASKS.lock().values().for_each(|task| look(task));
}

/// That whoever is runnable runs or is ready, once, and nobody else is ready.
///
/// # Panics
/// It is not so.
pub fn check_queue() {
    let (tasks, queue) = (TASKS.lock(), run_queue().lock());
    let mut known = 0;
    for task in tasks.values() {
        let ready = queue.ready.iter().filter(|ready| Arc::ptr_eq(ready, task)).count();
        let runs = queue.running.as_ref().is_some_and(|running| Arc::ptr_eq(running, task));
        let (id, state) = (task.id, task.state());
        match state {
            State::Runnable => {
                assert!(
                    ready + usize::from(runs) == 1,
                    "audit: task {id} is runnable, {ready} times ready; runs: {runs}"
                );
            }
            _ => assert!(ready == 0, "audit: task {id} is {state:?}, and ready"),
        }
        known += ready;
    }
    assert!(known == queue.ready.len(), "audit: a task is ready that is not known");
}
