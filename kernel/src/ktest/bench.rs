//! What cannot be measured from EL0, for `cargo xtask bench`: interrupts of the kernel, copies from user memory, the memory of a task.
//! Told as records; for an instruction a tick of the counter (`-icount shift=4`), with the few instructions of each loop.

use super::program::{DATA, in_task, space};
use super::{Test, check};
use crate::mm::{PAGE_SIZE, frames};
use crate::percpu::this_cpu;
use crate::sched::task::Task;
use crate::uaccess::copy_from_user;
use crate::{console, irq, sched};
use alloc::vec::Vec;
use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::Ordering::Relaxed;
use trap::frame::PtRegs;
use trap::record::{Cost, Kind, SCHEMA};
use trap::slot::Slot;

pub(super) const TESTS: &[Test] = &[("bench", || {
    interrupts();
    memory();
    in_task(copies);
})];

/// How often each thing is done.
const COUNT: u64 = 4000;
/// Tasks that are made.
const TASKS: u64 = 16;

fn tell(row: &str, count: u64, total: u64) {
    let row = row.chars().collect();
    console::record(&Cost { schema: SCHEMA, kind: Kind::Cost, row, count, ticks: total });
}

/// The timer's interrupt, due at once each time; its handler sets it to the next tick.
fn interrupts() {
    let taken = || this_cpu().counters.slots[Slot::El1hIrq as usize].load(Relaxed);
    let before = taken();
    let start = irq::timer::now();
    // SAFETY: interrupts have handlers; nothing waits for the timer but the tick, which its handler brings back.
    unsafe {
        asm!(
            "msr daifclr, #2",
            "2:",
            "msr cntv_cval_el0, xzr",
            "subs {0}, {0}, #1",
            "b.ne 2b",
            "msr daifset, #2",
            inout(reg) COUNT => _,
            options(nostack)
        );
    }
    tell("irq.el1", COUNT, irq::timer::now() - start);
    check("interrupts", taken() - before, COUNT);
}

/// Bytes that a task takes which has a stack, an address space and code, less its pages.
fn memory() {
    let mut tasks = Vec::with_capacity(TASKS as usize);
    let before = frames::free();
    for _ in 0..TASKS {
        let id = sched::new_id().expect("few tasks");
        tasks.push(Task::new(id, "bench", 0, &PtRegs::ZERO, Some(space())).expect("memory for a test"));
    }
    // The pages of `space`: one of code, one of data.
    let frames = (before - frames::free()) as u64 - 2 * TASKS;
    tell("memory.task", TASKS, frames * PAGE_SIZE as u64 + TASKS * size_of::<Task>() as u64);
}

/// Copies from a page that is there.
fn copies() {
    let mut buffer = [0; PAGE_SIZE];
    for (row, length) in [("copy.1", 1), ("copy.64", 64), ("copy.4096", 4096)] {
        let start = irq::timer::now();
        for _ in 0..COUNT {
            check("left", copy_from_user(black_box(&mut buffer[..length]), DATA).is_err().into(), 0);
        }
        tell(row, COUNT, irq::timer::now() - start);
    }
}
