//! Instructions that may do anything at all, one after another, and what became of each: for hostile guests.
//!
//! [`Attempt::run`] executes a few instruction words, in any state of the CPU, with x0 to x30 as given. It comes back by the
//! exception that the words end in; a breakpoint instruction behind them means that none of them had another. The guest's
//! handler of exceptions calls [`caught`] first. The stack pointer is to be left alone, and so are the vectors.

use crate::{Frame, cpu};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

global_asm!(include_str!("attempt.S"));

unsafe extern "C" {
    fn attempt_enter(x: *const [u64; 31], entry: u64, spsr: u64, saved: *mut [u64; 13]);
    static attempt_return: u8;
}

/// Values of PSTATE to execute in, all of DAIF masked.
pub mod pstate {
    /// EL1 with its own stack pointer.
    pub const EL1H: u64 = 0x3c5;
    /// EL0.
    pub const EL0: u64 = 0x3c0;
    /// EL0 in AArch32: A32 instructions.
    pub const A32: u64 = 0x1d0;
    /// EL0 in AArch32: T32 instructions.
    pub const T32: u64 = 0x1f0;
}

/// Classes of exceptions (ESR_EL1.EC).
pub mod class {
    /// The instruction is undefined.
    pub const UNDEFINED: u64 = 0;
    /// An instruction fetch of EL0.
    pub const FETCH_LOWER: u64 = 0x20;
    /// An instruction fetch of EL1.
    pub const FETCH: u64 = 0x21;
    /// A load or store of EL0.
    pub const DATA_LOWER: u64 = 0x24;
    /// A load or store of EL1.
    pub const DATA: u64 = 0x25;
    /// BKPT.
    pub const BKPT: u64 = 0x38;
    /// BRK.
    pub const BRK: u64 = 0x3c;
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The vector slot.
    pub slot: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// ELR_EL1, counted from the first word.
    pub offset: u64,
}

impl Taken {
    /// ESR_EL1.EC.
    pub fn class(&self) -> u64 {
        self.esr >> 26 & 0x3f
    }

    /// The words ran to their end.
    pub fn done(&self) -> bool {
        matches!(self.class(), class::BRK | class::BKPT)
    }

    /// The fault's status: the lower six bits of the syndrome.
    pub fn status(&self) -> u64 {
        self.esr & 0x3f
    }
}

/// The most words of an attempt.
const WORDS: usize = 12;
/// BRK #0; BKPT #0; twice BKPT #0 of T32.
const BRK: u32 = 0xd420_0000;
const BKPT: u32 = 0xe120_0070;
const BKPT_T32: u32 = 0xbe00_be00;

/// One vCPU's.
#[repr(align(64))]
struct Slot {
    code: [AtomicU32; WORDS + 4],
    state: UnsafeCell<State>,
}

struct State {
    running: bool,
    saved: [u64; 13],
    x: [u64; 31],
    taken: Taken,
}

// SAFETY: each vCPU uses the one of its own number, and its handler only while `run` waits for it.
unsafe impl Sync for Slot {}

static SLOTS: [Slot; 8] = [const {
    Slot {
        code: [const { AtomicU32::new(0) }; WORDS + 4],
        state: UnsafeCell::new(State {
            running: false,
            saved: [0; 13],
            x: [0; 31],
            taken: Taken { slot: 0, esr: 0, far: 0, offset: 0 },
        }),
    }
}; 8];

/// Registers to begin with, and then as they were left.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// x0 to x30; of AArch32 r0 to r14.
    pub x: [u64; 31],
}

impl Attempt {
    /// All registers hold this.
    pub fn new(value: u64) -> Attempt {
        Attempt { x: [value; 31] }
    }

    /// Executes the words in this state.
    pub fn run(&mut self, pstate: u64, words: &[u32]) -> Taken {
        let code = &SLOTS[cpu()].code;
        let end = match pstate & 0x30 {
            0x30 => BKPT_T32,
            0x10 => BKPT,
            _ => BRK,
        };
        for (at, word) in code.iter().zip(words.iter().chain(&[end; 4])) {
            at.store(*word, Relaxed);
        }
        let address = code.as_ptr() as u64;
        // SAFETY: maintenance of the lines that were written: two of 64 bytes at most.
        unsafe {
            asm!(
                "dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb",
                in(reg) address, options(nostack, preserves_flags)
            );
        }
        self.jump(pstate, address)
    }

    /// Goes to an address in this state.
    pub fn jump(&mut self, pstate: u64, address: u64) -> Taken {
        let state = SLOTS[cpu()].state.get();
        // SAFETY: the slot is this vCPU's; `caught` brings it back here.
        unsafe {
            (*state).running = true;
            attempt_enter(&raw const self.x, address, pstate, &raw mut (*state).saved);
            self.x = (*state).x;
            let mut taken = (*state).taken;
            taken.offset = taken.offset.wrapping_sub(address);
            taken
        }
    }
}

/// Whether an exception is the end of an attempt, which then goes on.
pub fn caught(frame: &mut Frame) -> bool {
    // SAFETY: `run` of this vCPU does not go on before this returns.
    let state = unsafe { &mut *SLOTS[cpu()].state.get() };
    if !core::mem::take(&mut state.running) {
        return false;
    }
    state.x = frame.x;
    state.taken = Taken { slot: frame.slot, esr: frame.esr, far: frame.far, offset: frame.elr };
    frame.x[0] = (&raw mut state.saved) as u64;
    frame.elr = &raw const attempt_return as u64;
    frame.spsr = pstate::EL1H;
    true
}
