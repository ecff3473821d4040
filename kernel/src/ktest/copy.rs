//! Copies between the kernel and user memory: what is left of them, the exception table, and the window: it is open in a copy
//! only, closed by whatever interrupts one, and open again when that goes on.

use super::el1::{UNMAPPED, fault, ktest_load};
use super::irq::interrupted;
use super::program::{CODE, DATA, DATA_SIZE, detach, entry, go, in_task, space, spawn, spawn_kernel_task};
use super::{Test, check, verdict};
use crate::mm::user::{AddressSpace, Rights};
use crate::mm::{PAGE_SIZE, USER_END, frames, kernel_map};
use crate::percpu::this_cpu;
use crate::uaccess::{self, Fault, StringError, copy_from_user, copy_to_user, get_user, put_user};
use crate::{extable, irq, sched};
use aarch64_cpu::registers::{CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTPCT_EL0, Readable, TTBR0_EL1, Writeable};
use alloc::vec::Vec;
use core::arch::asm;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) const TESTS: &[Test] = &[
    ("extable", extable),
    ("copy.left", || in_task(left)),
    ("copy.strings", || in_task(strings)),
    ("copy.refused", || in_task(refused)),
    ("copy.stuck", || {
        detach(&spawn_kernel_task(|| _ = get_user::<u64>(DATA + PAGE_SIZE)));
        go();
    }),
    ("copy.cow", || in_task(copy_on_write)),
    ("memory.zero", || in_task(fresh_memory)),
    ("memory.none", none_left),
    ("window.sweep", || in_task(sweep)),
    ("window.preempted", || {
        for work in [preempted::<0x11>, preempted::<0x22>] {
            spawn_kernel_task(work);
        }
        irq::register(TIMER, || {
            on_timer();
            sched::current().set_need_resched();
        });
        go();
    }),
    ("window.el0", || {
        const TICKS: u64 = 1000;
        irq::register(TIMER, || {
            if interrupted().from_el0() {
                window_is_closed();
                verdict(Ok(()));
            }
            set_timer(TICKS);
        });
        spawn(space(), &entry(&raw const ktest_user_spin));
        arm(TICKS);
        go();
    }),
    ("window.irq", || {
        irq::register(TIMER, || fault(ktest_load, DATA));
        in_task(|| copy_for_long(5000));
    }),
];

/// To take memory away, or rights, needs none.
fn none_left() {
    // Two tables of its own: what was set aside for the next is used up.
    const FAR: usize = 0x10_0000_0000;
    let mut space = space();
    space.map(FAR..FAR + PAGE_SIZE, Rights::READ_WRITE).expect("memory for a test");
    space.write(FAR, &[1]).expect("the page is mapped");
    while let Ok(frame) = frames::alloc() {
        core::mem::forget(frame);
    }
    check(
        "made read-only",
        (space.protect(FAR..FAR + PAGE_SIZE, Rights { write: false, ..Rights::READ_WRITE }) == Ok(true)).into(),
        1,
    );
    check("unmapped", space.unmap(FAR..FAR + PAGE_SIZE).is_ok().into(), 1);
    check("frames free", frames::free() as u64, 1);
}

unsafe extern "C" {
    fn ktest_peek_first(address: usize) -> u64;
    fn ktest_peek_second(address: usize) -> u64;
    static ktest_user_spin: u8;
    static _ex_table: [i32; 3];
    static _ex_table_end: [i32; 3];
    static _text: u8;
    static _rodata: u8;
}

/// One past the memory at [`DATA`]: there is nothing.
const END: usize = DATA + DATA_SIZE;

/// Bytes that a property is tried with.
const ROOM: usize = 64;

/// The table is in order, each of its entries is found, and nothing else is.
fn extable() {
    let (start, end) = (addr_of!(_ex_table), addr_of!(_ex_table_end));
    // SAFETY: the linker's symbols around the table.
    let table = unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) };
    let text = addr_of!(_text).addr()..addr_of!(_rodata).addr();
    let mut last = 0;
    for [instruction, fixup, kind] in table {
        let (instruction, fixup) = (extable::target(instruction), extable::target(fixup));
        check("out of order", (instruction <= last).into(), 0);
        check("outside of the text", (!text.contains(&instruction) || !text.contains(&fixup)).into(), 0);
        let Some((found, found_kind)) = extable::fixup(instruction) else {
            verdict(Err(format_args!("no fixup for {instruction:#x}")))
        };
        check("fixup", found as u64, fixup as u64);
        check("kind", found_kind as u64, *kind as u64);
        last = instruction;
    }
    check("fixup of what needs none", extable::fixup(UNMAPPED).is_some().into(), 0);
    check("fixup of the next instruction", extable::fixup(last + 4).is_some().into(), 0);
    // SAFETY: each has its entry; they stand in the wrong order in ktest.S.
    unsafe {
        check("the first's fixup", ktest_peek_first(UNMAPPED), 1);
        check("the second's fixup", ktest_peek_second(UNMAPPED), 2);
    }
}

/// A copy left this, and no window.
#[track_caller]
fn expect(what: &str, found: Result<(), Fault>, left: usize) {
    let found = found.map_or_else(|Fault { left }| left, |()| 0);
    check(what, found as u64, left as u64);
    window_is_closed();
}

/// Byte `index` of what a test copies.
fn byte(index: usize) -> u8 {
    (index as u8).wrapping_mul(37).wrapping_add(11)
}

/// What is in user memory from `start` on.
fn user_bytes(start: usize) -> [u8; ROOM] {
    let mut bytes = [0; ROOM];
    expect("left of what is there", copy_from_user(&mut bytes, start), 0);
    bytes
}

fn same_bytes(what: &str, found: &[u8], wanted: impl Fn(usize) -> u8) {
    for (index, &found) in found.iter().enumerate() {
        check(what, found.into(), wanted(index).into());
    }
}

/// Copies that end behind the memory there is do all that they can, to the byte, and say what is left; whatever the alignment and
/// the length.
fn left() {
    const OLD: u8 = 0xee;
    let source: [u8; 2 * ROOM] = core::array::from_fn(byte);
    let last = END - ROOM;
    for start in (END - 17..=END).chain(DATA - 9..DATA) {
        for length in 0..=24 {
            for aligned in 0..8 {
                let there = if start < DATA { 0 } else { length.min(END - start) };
                let inside = |at: usize| (start..start + there).contains(&(last + at));

                expect("to fill it", copy_to_user(last, &source[..ROOM]), 0);
                let mut buffer = [OLD; ROOM];
                expect("left to read", copy_from_user(&mut buffer[aligned..aligned + length], start), length - there);
                same_bytes("what was read", &buffer, |at| match at.wrapping_sub(aligned) {
                    read if read < there => byte(start + read - last),
                    read if read < length => 0,
                    _ => OLD,
                });

                let written = copy_to_user(start, &source[ROOM + aligned..ROOM + aligned + length]);
                expect("left to write", written, length - there);
                same_bytes("what was written", &user_bytes(last), |at| {
                    if inside(at) { byte(ROOM + aligned + last + at - start) } else { byte(at) }
                });

                expect("to fill it", copy_to_user(last, &source[..ROOM]), 0);
                expect("left to clear", uaccess::clear_user(start, length), length - there);
                same_bytes("what was cleared", &user_bytes(last), |at| if inside(at) { 0 } else { byte(at) });
            }
        }
    }
}

/// A string may end with the last byte there is, but not behind it.
fn strings() {
    let read = |start, limit| {
        let mut string = Vec::new();
        uaccess::strncpy_from_user(&mut string, start, limit).map(|()| string.len())
    };
    let same = |what, found: Result<usize, StringError>, wanted| check(what, (found == wanted).into(), 1);
    expect("to fill it", copy_to_user(END - 100, &[b'x'; 100]), 0);
    for length in 0..100 {
        same("a string without an end", read(END - length, 4096), Err(StringError::Fault));
    }
    expect("to end it", put_user(END - 1, 0u8), 0);
    for length in 1..100 {
        same("a string", read(END - length, 4096), Ok(length - 1));
        same("a string as long as may be", read(END - length, length), Ok(length - 1));
        same("a string that is too long", read(END - length, length - 1), Err(StringError::TooLong));
    }
    check("a value that crosses the end", get_user::<u64>(END - 7).is_err().into(), 1);
    check("a value up to the end", get_user::<u64>(END - 8).is_ok().into(), 1);
}

/// What is not all the program's is refused before it is tried; what it may not write to is not written.
fn refused() {
    let mut buffer = [0xee; 16];
    for start in [USER_END - 8, usize::MAX - 7, addr_of!(buffer).addr(), 0xff << 56 | DATA] {
        expect("left to read", copy_from_user(&mut buffer, start), 16);
        same_bytes("what was read", &buffer, |_| 0);
        expect("left to write", copy_to_user(start, &[1; 16]), 16);
        expect("left to clear", uaccess::clear_user(start, 16), 16);
        buffer = [0xee; 16];
    }
    let before = user_bytes(CODE);
    expect("left to write to code", copy_to_user(CODE, &[1; 16]), 16);
    expect("left to clear of code", uaccess::clear_user(CODE, 16), 16);
    same_bytes("code", &user_bytes(CODE), |at| before[at]);
}

/// The kernel writes for a program to a page that it shares since a fork: the other does not see it.
fn copy_on_write() {
    let fork = || {
        let mut space = sched::current().space.lock();
        space.as_mut().expect("this task has memory").duplicate().expect("memory for a test")
    };
    let peek = |space: &AddressSpace, address| space.peek(address).expect("it has been touched");
    expect("to write", put_user(DATA, 1u64), 0);
    // From here on this task has all tables that it needs, and those that it keeps in store.
    expect("to write", put_user(DATA + 2 * PAGE_SIZE, 1u64), 0);
    let free = frames::free();
    let other = fork();
    let third = fork();
    // The middle of this copy meets the second page, which nobody has touched.
    let bytes = [7; PAGE_SIZE];
    expect("left to write", copy_to_user(DATA + 8, &bytes), 0);
    check("what was there before", get_user::<u64>(DATA).unwrap_or(0), 1);
    expect("to write", put_user(DATA, 2u64), 0);
    check("this task's", get_user::<u64>(DATA).unwrap_or(0), 2);
    for space in [&other, &third] {
        check("the other's", peek(space, DATA), 1);
        check("the other's, not touched", space.peek(DATA + PAGE_SIZE).is_some().into(), 0);
    }
    drop(other);
    drop(third);
    expect("to write to what is this task's alone", put_user(DATA, 3u64), 0);
    // But for the second page's.
    check("free frames", frames::free() as u64 + 1, free as u64);
}

/// Memory that one program gives back is zero when another gets it.
fn fresh_memory() {
    let pages = || (DATA + PAGE_SIZE..END).step_by(PAGE_SIZE);
    for page in pages() {
        expect("left to write", copy_to_user(page, &[0xa5; PAGE_SIZE]), 0);
    }
    let before = frames::free();
    let fresh = space();
    sched::set_space(Some(fresh));
    let after = frames::free();
    for page in pages() {
        let mut bytes = [1; PAGE_SIZE];
        expect("left to read", copy_from_user(&mut bytes, page), 0);
        same_bytes("fresh memory", &bytes, |_| 0);
    }
    check("the frames were given back", (after >= before + pages().count() - 8).into(), 1);
}

/// The EL1 physical timer, which the kernel does not use.
const TIMER: u32 = 30;

/// The timer's interrupts, and those of them that came while a window was open.
static CAME: AtomicU64 = AtomicU64::new(0);
static IN_WINDOW: AtomicU64 = AtomicU64::new(0);

/// Has the timer interrupt in so many ticks.
fn set_timer(ticks: u64) {
    CNTP_CVAL_EL0.set(CNTPCT_EL0.get() + ticks);
    CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::SET);
}

/// The same, and lets interrupts in.
fn arm(ticks: u64) {
    set_timer(ticks);
    // SAFETY: interrupts have handlers.
    unsafe { asm!("msr daifclr, #0xf", options(nostack, preserves_flags)) };
}

fn disarm() {
    CNTP_CTL_EL0.set(0);
    // SAFETY: masking is always allowed.
    unsafe { asm!("isb", "msr daifset, #0xf", options(nostack, preserves_flags)) };
}

/// Outside of a window the kernel cannot get at user memory: PSTATE.PAN is set, or TTBR0 holds the empty table.
#[track_caller]
fn window_is_closed() {
    if uaccess::has_pan() {
        let pan: u64;
        // SAFETY: a read of PSTATE.PAN, by its encoding.
        unsafe { asm!("mrs {}, s3_0_c4_c2_3", out(reg) pan, options(nomem, nostack, preserves_flags)) };
        check("PAN", pan >> 22 & 1, 1);
    } else {
        check("TTBR0", TTBR0_EL1.get(), kernel_map::empty_ttbr0());
    }
}

/// The timer's interrupt: it withdraws itself, and sees a closed window, whatever it interrupted.
fn on_timer() {
    CNTP_CTL_EL0.set(0);
    window_is_closed();
    CAME.fetch_add(1, Relaxed);
    IN_WINDOW.fetch_add(interrupted().access_window, Relaxed);
}

/// Copies to and from user memory, across pages and over its end, and looks at what comes of it.
fn copy_and_check(fill: u8) {
    let (mut out, mut back) = ([fill; 21], [0; 21]);
    out[20] ^= 0xff;
    expect("left to write", copy_to_user(DATA + PAGE_SIZE - 13, &out), 0);
    expect("left to read", copy_from_user(&mut back, DATA + PAGE_SIZE - 13), 0);
    same_bytes("what came back", &back, |at| out[at]);
    expect("left to clear", uaccess::clear_user(END - 11, 16), 5);
    expect("left to write", copy_to_user(END - 3, &out), 18);
}

/// An interrupt at every instruction of copies, of the faults that they meet, and of the way back.
fn sweep() {
    irq::register(TIMER, on_timer);
    for ticks in 0.. {
        let before = CAME.load(Relaxed);
        arm(ticks);
        copy_and_check(ticks as u8);
        disarm();
        if CAME.load(Relaxed) == before {
            break;
        }
    }
    check("most were in the copies", (CAME.load(Relaxed) > 500).into(), 1);
    let in_window = IN_WINDOW.load(Relaxed);
    check("windows were open", (in_window > 50).into(), (!uaccess::has_pan()).into());
}

/// Two tasks at the same addresses, each preempted by the other at every instruction of a copy.
fn preempted<const FILL: u8>() {
    const ROUNDS: u64 = 6000;
    for round in 0..ROUNDS {
        arm(round % (ROUNDS / 4));
        copy_and_check(FILL.wrapping_add(round as u8));
        disarm();
    }
    check("preemptions", (this_cpu().counters.preemptions.load(Relaxed) > ROUNDS / 2).into(), 1);
    check("windows were open", (IN_WINDOW.load(Relaxed) > 100).into(), (!uaccess::has_pan()).into());
}

/// A copy of all there is, with the timer's interrupt after so many ticks.
fn copy_for_long(ticks: u64) {
    let mut buffer = alloc::vec![0; DATA_SIZE];
    expect("left to read", copy_from_user(&mut buffer, DATA), 0);
    arm(ticks);
    expect("left to read", copy_from_user(&mut buffer, DATA), 0);
    disarm();
}
