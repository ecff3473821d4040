//! The scheduler: one round-robin run queue a CPU, preemptive in the kernel too.
//!
//! Whoever wants another task to run says so ([`Task::set_need_resched`]); the switch is made where it is safe: on the way out of an
//! exception, or where a task waits. Nothing here knows of exceptions: a new task's first pc comes from its creator.

#[cfg(feature = "ktest")]
pub mod audit;
pub mod family;
pub mod sleep;
pub mod task;

use crate::mm::stacks::MAX_STACKS;
use crate::mm::{OutOfMemory, heap};
use crate::percpu::{self, MAX_CPUS, PerCpu, count, this_cpu};
use crate::site::{kind, point_macro, trace_point};
use crate::sync::{IrqLock, IrqMask, irqs_masked};
use crate::uaccess;
use crate::{bug_on, warn_on};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::Ordering::Relaxed;
use task::{CONTEXT_FP, CONTEXT_PC, CONTEXT_REGS, Context, FpState, Id, State, Task};

global_asm!(
    point_macro!(),
    include_str!("switch.S"),
    CONTEXT_REGS = const CONTEXT_REGS,
    CONTEXT_FP = const CONTEXT_FP,
    CONTEXT_PC = const CONTEXT_PC,
    CPU_CURRENT = const offset_of!(PerCpu, current),
    TRACE_SWITCH = const kind::SWITCH,
);

unsafe extern "C" {
    fn cpu_switch_to(prev: *mut Context, next: *const Context, task: *const ());
    fn fp_save(state: *mut FpState);
    fn fp_load(state: *const FpState);
}

/// Tasks there can be, the idle one included, where there is enough RAM.
pub const MAX_TASKS: usize = 1200;
// A few stacks more: of each CPU's interrupts and overflow reports, and of tasks that are just being made.
const _: () = assert!(MAX_TASKS + 3 * MAX_CPUS <= MAX_STACKS);

/// The highest task identifier (Linux's default `pid_max`).
const MAX_ID: Id = 32768;

/// One CPU's tasks.
struct RunQueue {
    ready: VecDeque<Arc<Task>>,
    running: Option<Arc<Task>>,
    idle: Option<Arc<Task>>,
    /// The task that was switched away from and is in no queue: its stack is in use until the switch is over.
    leaving: Option<Arc<Task>>,
}

static RUN_QUEUES: [IrqLock<RunQueue>; MAX_CPUS] =
    [const { IrqLock::new(RunQueue { ready: VecDeque::new(), running: None, idle: None, leaving: None }) }; MAX_CPUS];

/// All tasks but the idle one, until they are waited for.
static TASKS: IrqLock<BTreeMap<Id, Arc<Task>>> = IrqLock::new(BTreeMap::new());

fn run_queue() -> &'static IrqLock<RunQueue> {
    &RUN_QUEUES[this_cpu().index]
}

/// The running task.
#[inline(always)]
pub fn current() -> &'static Task {
    let task: *const Task;
    // SAFETY: in the kernel SP_EL0 holds the running task, which lives at least while it runs; `init` put the first one
    // there before anything asks. It is the same for a task wherever it goes on, so repeated reads may fold.
    unsafe {
        asm!("mrs {}, sp_el0", out(reg) task, options(nomem, nostack, preserves_flags, pure));
        &*task
    }
}

/// Makes the caller the idle task of this CPU. `stack` is the one it runs on.
pub fn init(idle: Arc<Task>) {
    let _mask = IrqMask::new();
    set_current(&idle);
    let mut queue = run_queue().lock();
    // Each has a stack; those just being made are not counted as tasks yet.
    queue.ready.reserve(MAX_STACKS);
    queue.running = Some(idle.clone());
    queue.idle = Some(idle);
}

/// The two places that say which task runs, for the kernel and for entry from EL0.
fn set_current(task: &Task) {
    let pointer = core::ptr::from_ref(task);
    this_cpu().current.store(pointer.addr(), Relaxed);
    // SAFETY: the task is kept by its run queue while it runs.
    unsafe { asm!("msr sp_el0, {}", in(reg) pointer, options(nostack, preserves_flags)) };
}

/// Tasks there can be on this machine.
pub fn max_tasks() -> usize {
    MAX_TASKS.min(heap::max_calls())
}

/// An identifier for a new task, not used by any other that was [`spawn`]ed; they count up, and start again at [`MAX_ID`].
pub fn new_id() -> Result<Id, OutOfMemory> {
    static LAST: IrqLock<Id> = IrqLock::new(0);
    let tasks = TASKS.lock();
    if tasks.len() + 1 >= max_tasks() {
        return Err(OutOfMemory);
    }
    let mut last = LAST.lock();
    loop {
        *last = *last % MAX_ID + 1;
        if !tasks.contains_key(&*last) {
            return Ok(*last);
        }
    }
}

/// Enters a new task, a child of the one that is its parent, and makes it ready. Not, when others came first while it was made: there
/// are too many, or, all identifiers having been given out meanwhile, one that has its own.
pub fn spawn(task: Arc<Task>) -> Result<(), OutOfMemory> {
    // SAFETY: a nop, unless traced; the task is held here.
    unsafe { trace_point!(SPAWN, Arc::as_ptr(&task)) };
    // Who is known and runnable is in the queue, whenever one looks.
    let _mask = IrqMask::new();
    {
        let mut tasks = TASKS.lock();
        if tasks.len() + 1 >= max_tasks() || tasks.contains_key(&task.id) {
            return Err(OutOfMemory);
        }
        tasks.insert(task.id, task.clone());
    }
    find(task.parent.load(Relaxed)).iter().for_each(|parent| family::adopt(parent, &task));
    run_queue().lock().ready.push_back(task);
    Ok(())
}

/// The task with this identifier.
pub fn find(id: Id) -> Option<Arc<Task>> {
    TASKS.lock().get(&id).cloned()
}

/// All tasks but the idle one, each looked up when it is its turn.
pub fn tasks() -> impl Iterator<Item = Arc<Task>> {
    let next = |last: Id| TASKS.lock().range(last + 1..).next().map(|(_, task)| task.clone());
    core::iter::successors(next(0), move |last| next(last.id))
}

/// The task whose kernel stack is `stack`, for reports.
pub fn owner_of_stack(stack: &core::ops::Range<usize>) -> Option<Id> {
    TASKS.try_lock()?.values().find(|task| task.stack.range() == *stack).map(|task| task.id)
}

/// Forgets a zombie child of the running task, which has waited for it.
pub fn forget(id: Id) {
    let task = TASKS.lock().remove(&id);
    task.iter().for_each(|task| family::leave(current(), task));
    warn_on!(task.is_none_or(|task| task.state() != State::Zombie));
}

/// Makes a waiting task ready; for one that is not in `from`, nothing.
fn make_ready(task: &Arc<Task>, from: State) {
    let mut queue = run_queue().lock();
    if task.state() != from {
        return;
    }
    task.state.store(State::Runnable as u8, Relaxed);
    // SAFETY: a nop, unless traced.
    unsafe { trace_point!(WAKE, Arc::as_ptr(task)) };
    // A task that is about to wait but has not been switched out yet just goes on.
    if queue.running.as_ref().is_some_and(|running| Arc::ptr_eq(running, task)) {
        return;
    }
    queue.ready.push_back(task.clone());
    // The idle task yields at once; a program's turn ends with its tick.
    if let (Some(running), Some(idle)) = (&queue.running, &queue.idle)
        && Arc::ptr_eq(running, idle)
    {
        running.set_need_resched();
    }
}

/// Wakes a sleeping task.
pub fn wake(task: &Arc<Task>) {
    make_ready(task, State::Sleeping);
}

/// Lets a stopped task go on, and its parent see `report`.
pub fn resume(task: &Arc<Task>, report: u32) {
    let _mask = IrqMask::new();
    if task.state() == State::Stopped {
        task.report.store(report, Relaxed);
        make_ready(task, State::Stopped);
        find(task.parent.load(Relaxed)).iter().for_each(wake);
    }
}

/// Wakes the running task's parent, if it waits.
fn wake_parent() {
    find(current().parent.load(Relaxed)).iter().for_each(wake);
}

/// The running task waits until it is woken and `done` holds, which it returns; not, when a signal is to be acted on
/// first. Spurious wake-ups are fine.
#[must_use]
pub fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let task = current();
    loop {
        let _mask = IrqMask::new();
        task.state.store(State::Sleeping as u8, Relaxed);
        let is_done = done();
        if is_done || task.is_interrupted() {
            task.state.store(State::Runnable as u8, Relaxed);
            return is_done;
        }
        schedule();
    }
}

/// The running task stops until [`resume`]d, and its parent can see `report`; if `still` holds once nothing can come between.
pub fn stop_if(still: impl FnOnce() -> bool, report: u32) {
    let _mask = IrqMask::new();
    if still() {
        current().state.store(State::Stopped as u8, Relaxed);
        current().report.store(report, Relaxed);
        wake_parent();
        schedule();
    }
}

/// The running task is a zombie from here on and never runs again; its parent is woken to see it.
pub fn end() -> ! {
    // Not unmasked any more: the next task's own mask takes over. The parent is looked up behind it, or another one could
    // have become the parent in between.
    core::mem::forget(IrqMask::new());
    current().state.store(State::Zombie as u8, Relaxed);
    wake_parent();
    schedule();
    unreachable!("a zombie ran")
}

/// A reference to the running task.
pub fn current_arc() -> Arc<Task> {
    run_queue().lock().running.clone().expect("a task runs")
}

/// The running task's turn is over.
pub fn yield_now() {
    let _mask = IrqMask::new();
    schedule();
}

/// A switch that the running task did not ask for, if one is wanted still. IRQs are masked.
pub fn preempt() {
    // SAFETY: a nop, unless traced.
    unsafe { trace_point!(PREEMPT) };
    if schedule() {
        count(&this_cpu().counters.preemptions);
    }
}

/// Switches to the next ready task; returns when this one runs again, with whether it had stopped running. IRQs are masked.
fn schedule() -> bool {
    bug_on!(!irqs_masked() || !current().preempt.is_enabled());
    let mut queue = run_queue().lock();
    let queue_mut = &mut *queue;
    let prev = queue_mut.running.as_ref().expect("a task runs");
    prev.clear_need_resched();
    let runnable = prev.state() == State::Runnable;
    let idle = queue_mut.idle.as_ref().expect("init was called");
    let next = match queue_mut.ready.pop_front() {
        Some(next) => next,
        None if runnable => return false,
        None => idle.clone(),
    };
    let is_idle = Arc::ptr_eq(prev, idle);
    let next_pointer = Arc::as_ptr(&next);
    let prev = queue_mut.running.replace(next).expect("a task runs");
    let prev_pointer = Arc::as_ptr(&prev);
    if runnable && !is_idle {
        queue_mut.ready.push_back(prev);
    } else {
        queue_mut.leaving = Some(prev);
    }
    drop(queue);
    count(&this_cpu().counters.switches);
    // SAFETY: both are kept by the run queue (`running`, `ready` or `leaving`) until finish_switch; IRQs are masked.
    unsafe { switch(&*prev_pointer, &*next_pointer) };
    finish_switch();
    true
}

/// From `prev` to `next`: address space, TLS, FP registers, then stack and registers.
///
/// # Safety
/// IRQs are masked, `prev` runs, `next` is ready and neither goes before [`finish_switch`].
unsafe fn switch(prev: &Task, next: &Task) {
    // SAFETY: the FP and TLS registers are the user's, `prev`'s until here; each state belongs to its task.
    unsafe {
        fp_save(prev.fp.get());
        fp_load(next.fp.get());
        let tls: u64;
        asm!("mrs {}, tpidr_el0", out(reg) tls, options(nomem, nostack, preserves_flags));
        prev.tls.store(tls, Relaxed);
        asm!("msr tpidr_el0, {}", in(reg) next.tls.load(Relaxed), options(nomem, nostack, preserves_flags));
        uaccess::set_user_table(next.ttbr0.load(Relaxed));
        cpu_switch_to(prev.context.get(), next.context.get(), core::ptr::from_ref(next).cast());
    }
}

/// What the new task does first: lets go of the one it came from. Called with IRQs masked, by a task's first code too.
pub fn finish_switch() {
    let leaving = run_queue().lock().leaving.take();
    drop(leaving);
}

/// Gives the running task another address space, or none, and drops the old one.
pub fn set_space(space: Option<crate::mm::user::AddressSpace>) {
    let task = current();
    let ttbr0 = space.as_ref().map_or_else(crate::mm::kernel_map::empty_ttbr0, |space| space.activate());
    let old = {
        let _mask = IrqMask::new();
        task.ttbr0.store(ttbr0, Relaxed);
        uaccess::set_user_table(ttbr0);
        core::mem::replace(&mut *task.space.lock(), space)
    };
    drop(old);
}

/// The running program's FP registers and TLS become those of a fresh program.
pub fn reset_user_registers() {
    let _mask = IrqMask::new();
    // SAFETY: they are the running task's.
    unsafe {
        fp_load(&FpState::ZERO);
        asm!("msr tpidr_el0, xzr", options(nomem, nostack, preserves_flags));
    }
}

/// A new task starts with the running one's FP registers, and with `tls`, or the running one's.
pub fn copy_user_registers(to: &Task, tls: Option<u64>) {
    let _mask = IrqMask::new();
    // SAFETY: `to` does not run yet.
    unsafe { fp_save(to.fp.get()) };
    let own: u64;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) own, options(nomem, nostack, preserves_flags)) };
    to.tls.store(tls.unwrap_or(own), Relaxed);
}

/// The timer's tick: whoever runs has had its turn, if another is ready. IRQs are masked.
pub fn tick() {
    let queue = run_queue().lock_masked();
    if let Some(running) = &queue.running
        && !queue.ready.is_empty()
    {
        running.set_need_resched();
    }
}

/// The task this CPU runs, for reports: from the per-CPU data, as SP_EL0 may be anything.
pub fn reported_task() -> Option<&'static Task> {
    let pointer = percpu::this_cpu().current.load(Relaxed);
    // SAFETY: 0 or the running task, which is kept while it runs.
    unsafe { core::ptr::with_exposed_provenance::<Task>(pointer).as_ref() }
}
