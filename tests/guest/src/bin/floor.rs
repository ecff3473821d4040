//! What the ways from EL0 into a kernel and back cost at least: the leanest possible ones, for `cargo xtask bench` to show beside our own.
//!
//! A program for the bare machine, with an instruction a tick of the counter (`-icount shift=4`). Each row is one of the operations
//! that `user/src/bin/bench.rs` measures, counted in the same way: `.checks` looks for what is to be done before it goes back, and runs
//! the handler with interrupts unmasked; `.full` clears registers and looks for room on the stack, too. The first row is the
//! instructions from reset to the first one here, which are a guest's own when the hypervisor runs it.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::fmt::Display;
use guest::{gic, mmu, psci, read_sysreg, record, timer, write_sysreg};

guest::guest!(main, guest::unexpected);

global_asm!(include_str!("floor.S"), GICC = const gic::GICC);

/// How often each thing is done.
const COUNT: u64 = 4000;
/// Ticks between two interrupts.
const PERIOD: u64 = 1000;
/// Calls by number; there are no others.
const GETPID: u64 = 0;
const YIELD: u64 = 1;
const UNKNOWN: u64 = 2;

/// A task, as `floor.S` lays it out.
#[repr(C, align(16))]
struct Task {
    pid: u64,
    flags: u64,
    next: u64,
    sp: u64,
    tls: u64,
    ttbr0: u64,
    saved: [u64; 11],
    lr: u64,
}

/// Two tasks, and the second one's stack with its frame at the end.
#[repr(C, align(16))]
struct Tasks {
    tasks: [Task; 2],
    stack: [u64; 512],
}

struct Cell(UnsafeCell<Tasks>);

// SAFETY: there is one vCPU, and no handler in Rust.
unsafe impl Sync for Cell {}

const TASK: Task = Task { pid: 1, flags: 0, next: 0, sp: 0, tls: 0, ttbr0: 0, saved: [0; 11], lr: 0 };

static TASKS: Cell = Cell(UnsafeCell::new(Tasks { tasks: [TASK; 2], stack: [0; 512] }));

/// Bytes of a frame, and in 8-byte words where the PC is in it.
const FRAME: usize = 272;
const FRAME_PC: usize = 31;

unsafe extern "C" {
    static lean: u8;
    static checks: u8;
    static full: u8;
    static interrupts_v2: u8;
    static interrupts_v3: u8;
    static caller: u8;
    static caller_for_ever: u8;
    static counter: u8;
    static begin_task: u8;
    static ticks: u64;
    fn enter(program: *const u8, number: u64, count: u64, period: u64) -> u64;
}

fn tell(row: impl Display, count: u64, cost: u64) {
    record!("cost", "\"row\":\"{row}\",\"count\":{count},\"ticks\":{cost},\"interrupts\":0");
}

fn main(_: u64) -> ! {
    // The physical counter is the machine's also where a hypervisor keeps another one for the guest.
    tell("first", 1, read_sysreg!("cntpct_el0"));
    mmu::on();
    // SAFETY: EL0 reads the counter.
    unsafe { write_sysreg!("cntkctl_el1", 0b10) };
    make_tasks();

    for (row, vectors) in [("", &raw const lean), (".checks", &raw const checks), (".full", &raw const full)] {
        // SAFETY: vectors for EL0, where the programs run.
        unsafe { write_sysreg!("vbar_el1", vectors as u64) };
        for (name, number) in [("getpid", GETPID), ("unknown", UNKNOWN)] {
            // SAFETY: the program changes nothing.
            let cost = unsafe { enter(&raw const caller, number, COUNT, 0) };
            tell(format_args!("{name}{row}"), COUNT, cost);
        }
    }
    // SAFETY: as above; the other task has nothing but its registers.
    unsafe { write_sysreg!("vbar_el1", &raw const lean as u64) };
    // SAFETY: as above.
    tell("yield.1", 2 * COUNT, unsafe { enter(&raw const caller, YIELD, COUNT, 0) });

    gic::init();
    gic::enable(timer::VIRTUAL, 0x80);
    let vectors = if gic::version() == 3 { &raw const interrupts_v3 } else { &raw const interrupts_v2 };
    let count = COUNT * PERIOD / 2;
    timer::set_virtual(PERIOD);
    // SAFETY: as above.
    let time = unsafe {
        write_sysreg!("vbar_el1", vectors as u64);
        enter(&raw const counter, 0, count, PERIOD)
    };
    timer::stop();
    // SAFETY: interrupts are masked.
    let interrupts = unsafe { (&raw const ticks).read_volatile() };
    tell("timer", interrupts, time - 2 * count);
    psci::off()
}

/// The first task is the one that is entered; the second calls YIELD for ever.
fn make_tasks() {
    let tasks = TASKS.0.get();
    // SAFETY: nobody else uses them yet.
    unsafe {
        let [first, second] = &mut (*tasks).tasks;
        let ttbr0 = read_sysreg!("ttbr0_el1");
        (first.ttbr0, second.ttbr0) = (ttbr0, ttbr0);
        first.next = &raw const *second as u64;
        second.next = &raw const *first as u64;
        let stack = &mut (*tasks).stack;
        let frame = stack.len() - FRAME / 8;
        stack[frame + FRAME_PC] = &raw const caller_for_ever as u64;
        second.sp = &raw const stack[frame] as u64;
        second.lr = &raw const begin_task as u64;
        write_sysreg!("tpidr_el1", &raw const *first as u64);
    }
}
