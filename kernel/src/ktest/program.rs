//! Programs, and kernel tasks that own a program's memory; and causes of signals that a program cannot bring about by itself.
//!
//! A program that is to die runs as the child of another, which waits for it and ends the machine as the shell would tell it:
//! with its code, or 128 and its signal. So the machine's exit code shows that the kernel served the next program.

use super::{SEED, Test, verdict};
use crate::mm::user::{AddressSpace, Rights};
use crate::mm::{PAGE_SIZE, phys_to_virt};
use crate::process::{self, Waited};
use crate::sched;
use crate::sched::task::{Exit, Task};
use alloc::sync::Arc;
use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::{__NR_getpid, __NR_getrandom};
use trap::frame::PtRegs;

/// Where the programs' code is.
pub(super) const CODE: usize = 0x40_0000;
/// Some pages to read and write, the first of which has been touched; not in the same table of the last level as the code.
pub(super) const DATA: usize = 0x60_0000;
/// Bytes there.
pub(super) const DATA_SIZE: usize = 64 * PAGE_SIZE;
/// More than there is RAM.
const LARGE: usize = 0x4000_0000;
const LARGE_SIZE: usize = 0x4000_0000;
/// A physical address where QEMU's `virt` machine has nothing, between its virtio and its platform bus.
pub(super) const HOLE: u64 = 0x0b00_0000;

pub(super) const TESTS: &[Test] = &[
    ("el0.step", || {
        debug_control(MDSCR_SS);
        run(&PtRegs { pstate: PSTATE_SS, ..load() });
    }),
    ("el0.step.syscall", || {
        debug_control(MDSCR_SS);
        let mut regs = PtRegs { pstate: PSTATE_SS, ..entry(&raw const ktest_user_call) };
        regs.regs[8] = __NR_getpid.into();
        run(&regs);
    }),
    ("el0.watchpoint.read", || watchpoint(load())),
    ("el0.watchpoint.write", || watchpoint(at_data(entry(&raw const ktest_user_store)))),
    ("el0.breakpoint", || {
        let regs = load();
        // SAFETY: a breakpoint on an instruction of EL0.
        unsafe { asm!("msr dbgbvr0_el1, {}", "msr dbgbcr0_el1, {}", in(reg) regs.pc, in(reg) DBGBCR) };
        debug_control(MDSCR_MDE);
        run(&regs);
    }),
    ("el0.illegal", || run(&PtRegs { pstate: PSTATE_IL, ..load() })),
    ("el0.pc.unaligned", || run(&PtRegs { pc: CODE as u64 + 2, ..load() })),
    ("el0.external", || foreign(3, HOLE | 0b11)),
    ("el0.external.walk", || foreign(2, HOLE | 0b11)),
    ("el0.stuck", || {
        let mut regs = load();
        regs.regs[0] += PAGE_SIZE as u64;
        detach(&spawn(space(), &regs));
        go();
    }),
    ("copy.stuck.call", || {
        let mut regs = entry(&raw const ktest_user_call);
        regs.regs[..2].copy_from_slice(&[(DATA + PAGE_SIZE) as u64, 8]);
        regs.regs[8] = __NR_getrandom.into();
        detach(&spawn(space(), &regs));
        go();
    }),
    ("el0.oom", || {
        let mut regs = entry(&raw const ktest_user_fill);
        regs.regs[..2].copy_from_slice(&[LARGE as u64, (LARGE + LARGE_SIZE) as u64]);
        run_large(&regs);
    }),
    ("el0.oom.copy", || {
        let mut regs = entry(&raw const ktest_user_call);
        regs.regs[..2].copy_from_slice(&[LARGE as u64, LARGE_SIZE as u64]);
        regs.regs[8] = __NR_getrandom.into();
        run_large(&regs);
    }),
];

unsafe extern "C" {
    static ktest_programs: u8;
    static ktest_programs_end: u8;
    static ktest_exit: u8;
    static ktest_user_load: u8;
    static ktest_user_store: u8;
    static ktest_user_call: u8;
    static ktest_user_fill: u8;
    fn ret_from_fork();
}

/// MDSCR_EL1.SS: software step; .MDE: breakpoints and watchpoints.
const MDSCR_SS: u64 = 1;
const MDSCR_MDE: u64 = 1 << 15;
/// PSTATE.SS, PSTATE.IL.
const PSTATE_SS: u64 = 1 << 21;
const PSTATE_IL: u64 = 1 << 20;
/// DBGWCR_EL1: eight bytes, loads and stores, of EL0, enabled.
const DBGWCR: u64 = 0xff << 5 | 0b11 << 3 | 0b10 << 1 | 1;
/// DBGBCR_EL1: one instruction, of EL0, enabled.
const DBGBCR: u64 = 0xf << 5 | 0b10 << 1 | 1;

/// What all programs of tests have: code and data.
pub(super) fn space() -> AddressSpace {
    let mut space = AddressSpace::new().expect("memory for a test");
    let mut map = |start, size, rights| space.map(start..start + size, rights).expect("memory for a test");
    map(CODE, PAGE_SIZE, Rights { read: true, write: false, execute: true });
    map(DATA, DATA_SIZE, Rights::READ_WRITE);
    let (start, end) = (&raw const ktest_programs, &raw const ktest_programs_end);
    // SAFETY: constants between two symbols of ktest.S.
    let code = unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) };
    space.write(CODE, code).expect("the page is mapped");
    space.write(DATA, &SEED.load(Relaxed).to_le_bytes()).expect("the page is mapped");
    space
}

/// The registers of a program that begins at a label of ktest.S.
pub(super) fn entry(label: *const u8) -> PtRegs {
    let offset = label.addr() - (&raw const ktest_programs).addr();
    PtRegs { pc: (CODE + offset) as u64, ..PtRegs::ZERO }
}

fn at_data(mut regs: PtRegs) -> PtRegs {
    regs.regs[0] = DATA as u64;
    regs
}

/// A program that loads from [`DATA`].
fn load() -> PtRegs {
    at_data(entry(&raw const ktest_user_load))
}

fn task(first_pc: usize, space: AddressSpace, regs: &PtRegs) -> Arc<Task> {
    let id = sched::new_id().expect("there are few tasks");
    Task::new(id, "ktest", first_pc, regs, Some(space)).expect("memory for a test")
}

/// Makes a task for a program, the child of [`parent`]. It runs once the test [`go`]es.
pub(super) fn spawn(space: AddressSpace, regs: &PtRegs) -> Arc<Task> {
    spawn_from(ret_from_fork as *const () as usize, space, regs)
}

/// The same, but the task begins at `first_pc`, in the kernel.
pub(super) fn spawn_from(first_pc: usize, space: AddressSpace, regs: &PtRegs) -> Arc<Task> {
    let mut parent_space = self::space();
    parent_space.set_first_program();
    let parent = task(parent as *const () as usize, parent_space, &entry(&raw const ktest_exit));
    let child = task(first_pc, space, regs);
    child.parent.store(parent.id, Relaxed);
    sched::spawn(parent).expect("few tasks");
    sched::spawn(child.clone()).expect("few tasks");
    child
}

/// Lets the tasks run; one of them ends the test.
pub(super) fn go() {
    sched::yield_now();
    unreachable!("the machine ends with a task");
}

/// Runs a program.
fn run(regs: &PtRegs) {
    spawn(space(), regs);
    go();
}

/// Runs a program that has [`LARGE`] memory besides.
fn run_large(regs: &PtRegs) {
    let mut space = space();
    space.map(LARGE..LARGE + LARGE_SIZE, Rights::READ_WRITE).expect("memory for a test");
    spawn(space, regs);
    go();
}

/// The first code of the first program's task: waits for its child, and goes to EL0 with what the shell would say of it.
extern "C" fn parent() -> ! {
    sched::finish_switch();
    let Waited::Ended(_, exit) = process::wait_for_child(None, |_| false) else { unreachable!("it has a child") };
    // What was armed was not for it.
    debug_control(0);
    let frame =
        core::ptr::with_exposed_provenance_mut::<PtRegs>(sched::current().stack.range().end - size_of::<PtRegs>());
    // SAFETY: the frame of this task, which ret_from_fork returns to EL0 with; nothing of this function is used again.
    unsafe {
        (*frame).regs[0] = match exit {
            Exit::Code(code) => code.into(),
            Exit::Signal(signal) => 128 + u64::from(signal),
        };
        asm!("mov sp, {}", "b {}", in(reg) frame, sym ret_from_fork, options(noreturn))
    }
}

/// Runs `work` in a task that has a program's memory and stays in the kernel, and ends the test.
pub(super) fn in_task(work: fn()) {
    spawn_kernel_task(work);
    go();
}

/// Makes that task.
pub(super) fn spawn_kernel_task(work: fn()) -> Arc<Task> {
    let mut regs = PtRegs::ZERO;
    regs.regs[0] = work as usize as u64;
    let task = task(work_of_task as *const () as usize, space(), &regs);
    sched::spawn(task.clone()).expect("few tasks");
    task
}

extern "C" fn work_of_task() -> ! {
    sched::finish_switch();
    let frame = sched::current().stack.range().end - size_of::<PtRegs>();
    // SAFETY: its frame, whose x0 is the function that spawn_kernel_task put there.
    let work: fn() =
        unsafe { core::mem::transmute((*core::ptr::with_exposed_provenance::<PtRegs>(frame)).regs[0] as usize) };
    work();
    verdict(Ok(()))
}

/// Gives a task another address space that looks the same, while the CPU goes on with the tables of the old one: what the
/// kernel serves has no effect any more.
pub(super) fn detach(task: &Task) {
    core::mem::forget(task.space.lock().replace(space()));
}

/// The entry for `address` in a table of level 1 to 3.
///
/// # Safety
/// `root` is a table register that is or was in use, and has tables for the address down to that level.
pub(super) unsafe fn descriptor(root: u64, address: usize, level: usize) -> *mut u64 {
    const TABLE: u64 = 0xffff_ffff_f000;
    let mut entry = root;
    let mut place = core::ptr::null_mut();
    for level in 1..=level {
        place = phys_to_virt::<u64>(entry & TABLE).wrapping_add(address >> (39 - 9 * level) & 511);
        // SAFETY: as promised by the caller.
        entry = unsafe { place.read_volatile() };
    }
    place
}

/// A program whose entry for [`DATA`] at `level` has other address bits and type.
fn foreign(level: usize, entry: u64) {
    let space = space();
    // SAFETY: the page has been touched, so it has all tables; nobody has run with them.
    unsafe {
        let place = descriptor(space.activate(), DATA, level);
        place.write_volatile(place.read_volatile() & !0xffff_ffff_f003 | entry);
    }
    // Its own address space could not be dropped.
    detach(&spawn(space, &load()));
    go();
}

fn debug_control(mdscr: u64) {
    // SAFETY: debug exceptions, which only EL0 takes.
    unsafe { asm!("msr mdscr_el1, {}", "isb", in(reg) mdscr, options(nostack, preserves_flags)) };
}

fn watchpoint(regs: PtRegs) {
    // SAFETY: a watchpoint on data of EL0.
    unsafe { asm!("msr dbgwvr0_el1, {}", "msr dbgwcr0_el1, {}", in(reg) regs.regs[0], in(reg) DBGWCR) };
    debug_control(MDSCR_MDE);
    run(&regs);
}
