//! Made-up exceptions: what the CPU would write is written, then a slot of the vector table is entered. And what becomes of
//! DAIF in a real one.

use super::program::{self, DATA, entry};
use super::{PROBE, Test, check, local_sp, read_daif, seeded, verdict};
use crate::sched;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use trap::frame::PtRegs;

pub(super) const TESTS: &[Test] = &[
    ("daif", daif),
    ("trace.point", trace_point),
    // SAFETY: the handler steps over the BRK.
    ("trace.path", || unsafe { ktest_path() }),
    // SAFETY: the same, in a task that has user memory.
    ("trace.path.window", || program::in_task(|| unsafe { ktest_path_in_window() })),
];

unsafe extern "C" {
    fn ktest_returned();
    fn ktest_path();
    fn ktest_path_in_window();
    fn ktest_trace_point(pattern: *const u64, sp: usize, nzcv: u64, daif: u64) -> !;
    static ktest_exit: u8;
    static ktest_slots: [unsafe extern "C" fn(*const u64, usize) -> !; 16];
}

/// A syndrome that no exception wrote: undefined instruction, 32 bits long.
const ESR_UNKNOWN: u64 = 1 << 25;
/// An SError that cannot be contained (AET 0, DFSC 0x11).
const ESR_SERROR: u64 = 0x2f << 26 | 1 << 25 | 0x11;
/// AArch32 user mode.
const SPSR_A32_USR: u64 = 0x10;
const SPSR_EL1T: u64 = 0x3c4;
const SPSR_EL1H: u64 = 0x3c5;
/// NZCV and DAIF, in SPSR.
const NZCV_DAIF: u64 = 0xf << 28 | 0xf << 6;

/// DAIF as the last [`PROBE`] found it in the handler.
static PROBED: AtomicU64 = AtomicU64::new(0);

/// NZCV and DAIF as ktest_returned is to find them.
static RETURNED_PSTATE: AtomicU64 = AtomicU64::new(SPSR_EL1H & NZCV_DAIF);

/// x0..x30 as ktest_returned found them.
#[unsafe(export_name = "ktest_registers")]
static REGISTERS: [AtomicU64; 31] = [const { AtomicU64::new(0) }; 31];

/// What the CPU writes when it takes an exception.
#[derive(Clone, Copy)]
struct State {
    slot: usize,
    esr: u64,
    far: u64,
}

/// Enters the slot of `N[.ESR[.FAR]]`, hexadecimal but for N; from AArch64 EL0, a program is interrupted. Returns if that means
/// nothing.
pub(super) fn by_name(name: &str) {
    let mut parts = name.split('.');
    let Some(slot) = parts.next().and_then(|slot| slot.parse().ok()).filter(|slot| *slot < 16) else { return };
    let mut value = || parts.next().map(|digits| u64::from_str_radix(digits, 16));
    let usual = if slot % 4 == 3 { ESR_SERROR } else { ESR_UNKNOWN };
    let (Ok(esr), Ok(far)) = (value().unwrap_or(Ok(usual)), value().unwrap_or(Ok(DATA as u64))) else { return };
    let state = State { slot, esr, far };
    match slot / 4 {
        0 => enter(state, ktest_returned as *const () as u64, SPSR_EL1T, local_sp()),
        1 => enter(state, ktest_returned as *const () as u64, SPSR_EL1H, local_sp()),
        2 => in_program(state),
        _ => enter(state, ktest_returned as *const () as u64, SPSR_A32_USR, local_sp()),
    }
    unreachable!("a slot does not return here")
}

/// Writes what the CPU would write, and goes into the slot.
fn enter(State { slot, esr, far }: State, elr: u64, spsr: u64, sp: usize) {
    // SAFETY: DAIF is masked, so nothing overwrites the registers; what returns goes to `elr`.
    unsafe {
        asm!(
            "msr elr_el1, {elr}",
            "msr spsr_el1, {spsr}",
            "msr esr_el1, {esr}",
            "msr far_el1, {far}",
            "isb",
            elr = in(reg) elr, spsr = in(reg) spsr, esr = in(reg) esr, far = in(reg) far,
            options(nostack, preserves_flags)
        );
        ktest_slots[slot](seeded().as_ptr(), sp)
    }
}

/// What the program of [`in_program`] is interrupted by.
static STATE: spin::Once<State> = spin::Once::new();

/// A program is interrupted before its first instruction; if it goes on, it ends with x0, of the pattern.
fn in_program(state: State) {
    STATE.call_once(|| state);
    let first_pc = enter_from_program as *const () as usize;
    program::spawn_from(first_pc, program::space(), &entry(&raw const ktest_exit));
    program::go();
}

/// The first code of that program's task: as if it had been in EL0 already.
extern "C" fn enter_from_program() -> ! {
    sched::finish_switch();
    let top = sched::current().stack.range().end;
    let regs = core::ptr::with_exposed_provenance::<PtRegs>(top - size_of::<PtRegs>());
    // SAFETY: its frame, which is not overwritten before the slot is entered.
    let pc = unsafe { (*regs).pc };
    // With SP as EL0 leaves it, at the top of the stack; SPSR says EL0t, nothing masked.
    enter(*STATE.get().expect("set before the task was made"), pc, 0, top);
    unreachable!("a slot does not return here")
}

/// The EL1 handler's way here, DAIF as it set it.
pub fn on_brk(regs: &mut PtRegs, immediate: u16) {
    match immediate {
        PROBE => {
            PROBED.store(read_daif(), Relaxed);
            regs.pc += 4;
        }
        _ => returned(regs.pstate),
    }
}

/// An exception that was entered by [`enter`] returned: no register may have changed.
fn returned(pstate: u64) {
    check("PSTATE", pstate & NZCV_DAIF, RETURNED_PSTATE.load(Relaxed));
    for (index, (found, wanted)) in REGISTERS.iter().zip(seeded()).enumerate() {
        if found.load(Relaxed) != wanted {
            verdict(Err(format_args!("x{index} is {:#x} instead of {wanted:#x}", found.load(Relaxed))));
        }
    }
    verdict(Ok(()))
}

/// A trace point changes nothing, of whatever is in the registers and the flags, and with SErrors unmasked alone.
fn trace_point() {
    let (nzcv, daif) = (seeded()[0] & 0xf << 28, 0b1011 << 6);
    RETURNED_PSTATE.store(nzcv | daif, Relaxed);
    // SAFETY: it goes on at ktest_returned, which does not come back either.
    unsafe { ktest_trace_point(seeded().as_ptr(), local_sp(), nzcv, daif) }
}

/// A synchronous exception from EL1 runs its handler with DAIF as interrupted; after a debug exception, debug masked.
fn daif() {
    for daif in 0..16u64 {
        // SAFETY: the handler steps over the BRK; DAIF is masked again behind it.
        unsafe {
            asm!("msr daif, {}", "brk #{}", "msr daifset, #0xf", in(reg) daif << 6, const PROBE, options(nostack, preserves_flags));
        }
        check("DAIF in the handler", PROBED.load(Relaxed), daif | 0b1000);
    }
}

/// Some data of the kernel that may be written.
pub(super) fn registers() -> usize {
    REGISTERS.as_ptr().addr()
}
