//! The trace: every exception, interrupt, switch and signal written down as it happens, in this CPU's ring.
//!
//! Off, which it is unless the boot argument `trace=MIB` asks for it, there is none of it in the kernel's way: its points are
//! ordinary instructions ([`site`](crate::site)). On, each of them calls [`trace_event`], which allocates nothing, takes no lock and
//! waits for nobody: it runs with everything masked and writes to a ring that only this CPU writes ([`trap::trace::Ring`]).
//!
//! Who reads the rings is outside: `cargo xtask trace` takes them from the machine's memory when it has ended.

use crate::mm::stacks::THREAD_SIZE;
use crate::mm::{LINEAR_BASE, LINEAR_SIZE, OutOfMemory, PAGE_SIZE, frames, phys_to_virt};
use crate::percpu::{cpus, this_cpu};
use crate::sched::task::{State as TaskState, Task, flags};
use crate::site::{STUB_COST, kind};
use crate::{irq, sched};
use aarch64_cpu::registers::{CNTFRQ_EL0, ESR_EL1, FAR_EL1, Readable, SP_EL0};
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use trap::frame::PtRegs;
use trap::pstate::{Mode, Pstate};
use trap::slot::Slot;
use trap::trace::{Directory, Event, Left, MAGIC, Name, RECORD_WORDS, Record, Ring, SCHEMA, Saved, State, Way};

global_asm!(
    include_str!("call.S"),
    POINT_STUB = const offset_of!(Point, x16_x17),
    POINT_NZCV = const offset_of!(Point, nzcv),
    POINT_SITE = const offset_of!(Point, site),
    trace_event = sym trace_event,
);

// call.S and the stub save these as pairs.
const _: () = assert!(offset_of!(Point, daif) == offset_of!(Point, nzcv) + 8);
const _: () = assert!(offset_of!(Point, kind) == offset_of!(Point, site) + 8);
const _: () = assert!(offset_of!(Point, a) == offset_of!(Point, x16_x17) + 16 && size_of::<Point>().is_multiple_of(16));
const _: () = assert!(size_of::<Point>() == offset_of!(Point, x16_x17) + 48);

unsafe extern "C" {
    static trace_uncounted: u64;
    static vectors: u8;
    static _trace_stubs: u8;
    static _trace_stubs_end: u8;
}

/// Bytes of stack that writing an event down may use.
const ROOM: usize = 2048;

/// PSTATE.I, in DAIF and SPSR.
const I: u64 = 1 << 7;

/// Where the tool finds the rings.
#[unsafe(export_name = "trace_directory")]
static DIRECTORY: Directory = Directory::EMPTY;

/// A trace point that is passed: what its stub and `trace_call` saved, from SP on.
#[repr(C)]
struct Point {
    x0_x15: [u64; 16],
    x18_x30: [u64; 2],
    nzcv: u64,
    daif: u64,
    site: u64,
    kind: u64,
    /// From here on, the stub's part.
    x16_x17: [u64; 2],
    a: u64,
    b: u64,
    x30: [u64; 2],
}

/// What `trace_call` needs to add up the cost, in registers.
#[repr(C)]
struct Cost {
    spent: *const AtomicU64,
    began: u64,
}

/// Takes RAM for a ring of `mib` MiB a CPU, and lets the tool find them.
pub fn init(mib: usize) -> Result<(), OutOfMemory> {
    let size = mib << 20;
    for cpu in cpus() {
        let ring = &DIRECTORY.rings[cpu.index];
        ring.address.store(frames::take_contiguous(size / PAGE_SIZE)?, Relaxed);
        ring.size.store((size / 8) as u64, Relaxed);
    }
    DIRECTORY.schema.store(SCHEMA, Relaxed);
    DIRECTORY.frequency.store(CNTFRQ_EL0.get(), Relaxed);
    // SAFETY: written by the assembler.
    DIRECTORY.uncounted.store(STUB_COST + unsafe { trace_uncounted }, Relaxed);
    for way in [Way::El0, Way::El1, Way::El1Window] {
        let (entry, exit) = length(way);
        DIRECTORY.entry[way as usize].store(entry, Relaxed);
        DIRECTORY.exit[way as usize].store(exit, Relaxed);
    }
    DIRECTORY.magic.store(MAGIC, Relaxed);
    Ok(())
}

/// The instructions of an exception outside of its two events, as this CPU executes them: from the first one of its slot on, and up
/// to `eret`.
fn length(way: Way) -> (u64, u64) {
    const ERET: u32 = 0xd69f_03e0;
    let stubs = (&raw const _trace_stubs).addr()..(&raw const _trace_stubs_end).addr();
    // Before the first event, between the two, and behind the second.
    let slot = if way == Way::El0 { Slot::El0Irq } else { Slot::El1hIrq };
    let (mut pc, mut counts, mut part) = ((&raw const vectors).addr() + slot as usize * 128, [0; 3], 0);
    loop {
        // SAFETY: the text of the way in and out, which ends in an eret.
        let instruction = unsafe { with_exposed_provenance::<u32>(pc).read() };
        // B, and CBZ, by which all is skipped that a window needs; how far, in instructions.
        let distance = match instruction >> 24 {
            0x14..0x18 => (instruction << 6) as i32 >> 6,
            0xb4 if way != Way::El1Window => (instruction << 8) as i32 >> 13,
            _ => 1,
        };
        let next = pc.wrapping_add_signed(4 * distance as isize);
        if stubs.contains(&next) {
            // A trace point, whose instruction is executed between the two events.
            part += 1;
            pc += 4;
            continue;
        }
        counts[part] += 1;
        if instruction == ERET {
            return (counts[0], counts[2]);
        }
        pc = next;
    }
}

/// A trace point is passed. Everything is masked. Writes its event down, but where that would hide what is going on: on a stack that
/// it would overflow, and in the middle of another, which then has faulted.
extern "C" fn trace_event(point: &Point, time: u64) -> Cost {
    let cpu = this_cpu();
    let ring = &DIRECTORY.rings[cpu.index];
    let room = core::ptr::from_ref(point).addr() % THREAD_SIZE;
    if room < ROOM || cpu.tracing.swap(true, Relaxed) {
        ring.skipped.store(ring.skipped.load(Relaxed) + 1, Relaxed);
    } else {
        write_down(point, time, ring);
        cpu.tracing.store(false, Relaxed);
    }
    ring.calls.store(ring.calls.load(Relaxed) + 1, Relaxed);
    Cost { spent: &ring.spent, began: time }
}

/// The event of a trace point goes into the ring, if there is one.
#[inline(never)]
fn write_down(point: &Point, time: u64, ring: &Ring) {
    if let Some(event) = event(point) {
        let task = running();
        let (flags, preempt) = task.map_or((0, 0), |task| (task.flags.load(Relaxed), task.preempt.depth()));
        let record = Record {
            time,
            spent: ring.spent.load(Relaxed),
            calls: ring.calls.load(Relaxed),
            task: task.map_or(0, |task| task.id),
            state: State {
                irqs_off: point.daif & I != 0,
                need_resched: flags & flags::NEED_RESCHED != 0,
                in_irq: irq::handling().is_some(),
                preempt,
            },
            event,
        };
        let mut words = [0; RECORD_WORDS];
        let length = record.write(&mut words);
        let size = ring.size.load(Relaxed) as usize;
        let storage = phys_to_virt::<AtomicU64>(ring.address.load(Relaxed));
        // SAFETY: the ring's RAM, in the linear map for good, of which only this CPU makes use; before it is there, no bytes.
        let storage = unsafe { core::slice::from_raw_parts(storage, size) };
        ring.push(storage, &words[..length]);
    }
}

/// What happened, if it did.
fn event(point: &Point) -> Option<Event> {
    let irqs = &this_cpu().irqs_traced_off;
    let Point { site, a, b, .. } = *point;
    let frame = core::ptr::from_ref(point).wrapping_add(1).cast::<PtRegs>();
    Some(match point.kind as u16 {
        number @ ..=kind::ENTER_BAD_STACK => {
            irqs.store(true, Relaxed);
            let slot = if number == kind::ENTER_BAD_STACK { a as usize } else { number as usize };
            // SAFETY: at this kind of point, SP is that of a frame that has been saved.
            let regs = unsafe { &*frame };
            // With SP_EL0 as its stack, the interrupted code's SP was not the one that the frame was reserved on.
            let el1t = Pstate(regs.pstate).mode() == (Mode::A64 { el: 1, own_sp: false });
            Event::Enter {
                slot: Slot::ALL[slot & 0xf],
                frame: frame.addr() as u64,
                esr: ESR_EL1.get(),
                far: FAR_EL1.get(),
                window: regs.access_window != 0,
                saved: Saved {
                    regs: regs.regs,
                    sp: if el1t { SP_EL0.get() } else { regs.sp },
                    pc: regs.pc,
                    pstate: regs.pstate,
                },
            }
        }
        kind::EXIT => {
            // SAFETY: as above.
            let PtRegs { pc, pstate, syscallno, regs: [x0, ..], .. } = *unsafe { &*frame };
            irqs.store(pstate & I != 0, Relaxed);
            Event::Exit { frame: frame.addr() as u64, pc, pstate, x0, syscallno }
        }
        kind::IRQS_OFF => {
            if irqs.swap(true, Relaxed) {
                return None;
            }
            Event::IrqsOff { site }
        }
        // Written as it was, masked, DAIF unmasks nothing.
        kind::DAIF if a & I != 0 => return None,
        kind::IRQS_ON | kind::DAIF => {
            if !irqs.swap(false, Relaxed) {
                return None;
            }
            Event::IrqsOn { site }
        }
        kind::IRQ => Event::Irq { intid: a as u32 },
        kind::IRQ_END => irq::handling().map(|intid| Event::IrqEnd { intid, handled: irq::is_handled(intid) })?,
        kind::PREEMPT => Event::Preempt,
        kind::SWITCH => {
            // SAFETY: `schedule` passes the next task, which its run queue keeps.
            let next = unsafe { &*with_exposed_provenance::<Task>(a as usize) };
            let left = match running().map_or(TaskState::Runnable, Task::state) {
                TaskState::Runnable => Left::Runnable,
                TaskState::Sleeping => Left::Sleeping,
                TaskState::Stopped => Left::Stopped,
                TaskState::Zombie => Left::Ended,
            };
            Event::Switch { left, next: next.id, name: name(next) }
        }
        // SAFETY: `make_ready` passes a task that it holds.
        kind::WAKE => Event::Wake { task: unsafe { &*with_exposed_provenance::<Task>(a as usize) }.id },
        kind::SIGNAL => Event::Signal { task: a as u32, signal: (a >> 32) as u32, code: b as i32 },
        kind::DELIVER => Event::Deliver { signal: a as u32 },
        kind::SPAWN => {
            // SAFETY: `spawn` passes the new task, which it holds.
            let task = unsafe { &*with_exposed_provenance::<Task>(a as usize) };
            Event::Spawn { task: task.id, name: name(task) }
        }
        kind::EXEC => Event::Exec { name: running().map_or_else(Name::default, name) },
        kind::END => Event::End { code: a as u8 },
        kind::REPORT => Event::Report { index: this_cpu().reports_traced.fetch_add(1, Relaxed) },
        _ => return None,
    })
}

/// The running task. A fault of the kernel may have been that this is none: what is nowhere near a task is not looked at, as a fault
/// of tracing would hide the other.
fn running() -> Option<&'static Task> {
    let in_ram = LINEAR_BASE..LINEAR_BASE + LINEAR_SIZE as usize;
    sched::reported_task().filter(|task| in_ram.contains(&core::ptr::from_ref(*task).addr()))
}

/// A task's name; none while somebody changes it.
fn name(task: &Task) -> Name {
    task.name.try_lock_masked().map_or_else(Name::default, |name| Name::from(name.as_str()))
}
