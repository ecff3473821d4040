//! A synchronous exception that the hypervisor has a guest take at EL1, instead of what it tried.
//!
//! [`inject`] does what the CPU does when it takes one (Arm ARM, pseudo-code `AArch64.TakeException`): the caller
//! writes the result into the guest's registers, and enters it. A virtual SError is not of these: HCR_EL2.VSE has the
//! CPU deliver it.

use trap::esr::{Ec, Esr};
use trap::pstate::{Mode, Pstate};
use trap::slot::Slot;

/// An exception to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// The instruction is undefined: it was trapped, and is nothing that a guest may do.
    Undefined,
    /// A load or store at an address where nothing is: a synchronous external abort.
    DataAbort {
        /// Its virtual address, for FAR_EL1.
        address: u64,
        /// It was a write.
        write: bool,
    },
    /// An instruction fetch of the same kind.
    InstructionAbort {
        /// Its virtual address, for FAR_EL1.
        address: u64,
    },
    /// BRK, or BKPT of AArch32, which came to EL2: with its own syndrome.
    Break(Esr),
}

impl Injected {
    /// The names of the kinds, by number.
    pub const KINDS: [&str; 4] = ["undefined", "data_abort", "instruction_abort", "break"];

    /// Its kind's number.
    pub const fn kind(self) -> usize {
        match self {
            Injected::Undefined => 0,
            Injected::DataAbort { .. } => 1,
            Injected::InstructionAbort { .. } => 2,
            Injected::Break(_) => 3,
        }
    }
}

/// The guest as the trap found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// ELR_EL2, where it is the address of the instruction to blame: after a trap, not after an HVC.
    pub pc: u64,
    /// SPSR_EL2.
    pub pstate: u64,
    /// VBAR_EL1.
    pub vbar: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
}

/// The bits of PSTATE which this CPU has, of those that an exception may set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// FEAT_PAN.
    pub pan: bool,
    /// FEAT_SSBS.
    pub ssbs: bool,
    /// FEAT_MTE2: TCO. It is there even if the guest is not told of it.
    pub mte: bool,
}

impl Features {
    /// From the physical ID_AA64MMFR1_EL1 and ID_AA64PFR1_EL1.
    pub const fn new(mmfr1: u64, pfr1: u64) -> Features {
        Features { pan: mmfr1 >> 20 & 15 != 0, ssbs: pfr1 >> 4 & 15 != 0, mte: pfr1 >> 8 & 15 >= 2 }
    }
}

/// What the guest's registers become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// ELR_EL2: its vector.
    pub pc: u64,
    /// SPSR_EL2.
    pub pstate: u64,
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1, if it changes.
    pub far: Option<u64>,
}

const EL1H: u64 = 5;
const DAIF: u64 = 0xf << 6;
const SSBS: u64 = 1 << 12;
const PAN: u64 = 1 << 22;
const DIT: u64 = 1 << 24;
const TCO: u64 = 1 << 25;
const NZCV: u64 = 0xf << 28;

const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;

const IL: u64 = 1 << 25;
const WNR: u64 = 1 << 6;
/// DFSC and IFSC of a synchronous external abort that was not on a table walk. Of one that was we do not know the
/// level, and say this too.
const EXTERNAL: u64 = 0x10;

/// Has the guest take `exception`.
pub fn inject(exception: Injected, interrupted: &Interrupted, features: Features) -> Taken {
    let slot = match Pstate(interrupted.pstate).mode() {
        Mode::A32(_) => Slot::El032Sync,
        Mode::A64 { el: 0, .. } => Slot::El0Sync,
        Mode::A64 { own_sp: false, .. } => Slot::El1tSync,
        // A mode that is none cannot come from a guest.
        Mode::A64 { own_sp: true, .. } | Mode::Illegal(_) => Slot::El1hSync,
    };
    let class = |lower, same| if slot.from_el1() { same } else { lower };
    let (ec, iss, far) = match exception {
        Injected::Undefined => (Ec::UNKNOWN, 0, None),
        Injected::DataAbort { address, write } => {
            let iss = EXTERNAL | if write { WNR } else { 0 };
            (class(Ec::DATA_ABORT_LOWER, Ec::DATA_ABORT_CURRENT), iss, Some(address))
        }
        Injected::InstructionAbort { address } => {
            (class(Ec::INSTRUCTION_ABORT_LOWER, Ec::INSTRUCTION_ABORT_CURRENT), EXTERNAL, Some(address))
        }
        Injected::Break(esr) => (esr.ec(), esr.iss().into(), None),
    };
    // VBAR_EL1's lower 11 bits are RES0; a slot is 32 instructions.
    let pc = (interrupted.vbar & !0x7ff) + slot as u64 * 0x80;
    let esr = u64::from(ec.number()) << 26 | IL | iss;
    Taken { pc, pstate: pstate(interrupted, features), elr: interrupted.pc, spsr: interrupted.pstate, esr, far }
}

/// PSTATE in the handler: the flags, PAN and DIT stay; what follows is set; all else (SS, IL, UAO, BTYPE, SSBS) is
/// cleared.
fn pstate(interrupted: &Interrupted, features: Features) -> u64 {
    let Interrupted { pstate, sctlr, .. } = *interrupted;
    let set = |condition, bit| if condition { bit } else { 0 };
    pstate & (NZCV | PAN | DIT)
        | EL1H
        | DAIF
        | set(features.pan && sctlr & SCTLR_SPAN == 0, PAN)
        | set(features.ssbs && sctlr & SCTLR_DSSBS != 0, SSBS)
        | set(features.mte, TCO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Features = Features { pan: true, ssbs: true, mte: true };
    const NONE: Features = Features { pan: false, ssbs: false, mte: false };
    const VBAR: u64 = 0xffff_ffc0_8000_0800;

    fn from(pstate: u64) -> Interrupted {
        Interrupted { pc: 0x40_1000, pstate, vbar: VBAR, sctlr: SCTLR_SPAN }
    }

    #[test]
    fn the_vector_is_by_level_stack_pointer_and_width() {
        for (pstate, offset) in [(0x4, 0), (0x5, 0x200), (0x0, 0x400), (0x10, 0x600), (0x30, 0x600)] {
            let taken = inject(Injected::Undefined, &from(pstate), NONE);
            assert_eq!(taken.pc - VBAR, offset, "{pstate:#x}");
            assert_eq!(inject(Injected::Undefined, &Interrupted { vbar: VBAR | 0x7ff, ..from(pstate) }, NONE), taken);
        }
    }

    #[test]
    fn what_the_guest_reads() {
        let (data, fetch) =
            (Injected::DataAbort { address: 0xdead_0000, write: true }, Injected::InstructionAbort { address: 0xbad0 });
        for (exception, pstate, esr, far) in [
            (Injected::Undefined, 0x5, 0x0200_0000, None),
            (data, 0, 0x9200_0050, Some(0xdead_0000)),
            (data, 4, 0x9600_0050, Some(0xdead_0000)),
            (fetch, 0x10, 0x8200_0010, Some(0xbad0)),
            (fetch, 5, 0x8600_0010, Some(0xbad0)),
            (Injected::Break(Esr(0xf200_0800)), 5, 0xf200_0800, None),
            (Injected::Break(Esr(0xe200_0012)), 0x30, 0xe200_0012, None),
        ] {
            let taken = inject(exception, &from(pstate), NONE);
            assert_eq!((taken.esr, taken.far), (esr, far), "{exception:?}");
            assert_eq!((taken.elr, taken.spsr), (0x40_1000, pstate));
        }
        let read = inject(Injected::DataAbort { address: 0, write: false }, &from(0), NONE);
        assert_eq!(read.esr, 0x9200_0010);
    }

    #[test]
    fn pstate_in_the_handler() {
        // Every bit of AArch64 PSTATE but the mode, at EL0.
        let every = 0xf3f0_1fc0;
        let sctlr =
            |sctlr, features| inject(Injected::Undefined, &Interrupted { sctlr, ..from(every) }, features).pstate;
        assert_eq!(sctlr(SCTLR_SPAN, NONE), 0xf140_03c5, "NZCV, DIT, PAN as they were");
        assert_eq!(sctlr(SCTLR_SPAN | SCTLR_DSSBS, ALL), 0xf340_13c5, "TCO, SSBS");
        assert_eq!(inject(Injected::Undefined, &from(0), ALL).pstate, TCO | 0x3c5);
        let span = |features| inject(Injected::Undefined, &Interrupted { sctlr: 0, ..from(0) }, features).pstate;
        assert_eq!(
            (span(NONE), span(Features { mte: false, ..ALL })),
            (0x3c5, 0x40_03c5),
            "SPAN 0 sets PAN, if there is one"
        );
    }

    #[test]
    fn features() {
        assert_eq!(Features::new(0, 0), NONE);
        assert_eq!(Features::new(0x10_0000, 0x210), ALL);
        assert_eq!(Features::new(!0xf0_0000, 0x100), NONE, "MTE of EL0 only has no checks to override");
    }

    proptest! {
        #[test]
        fn whatever_was_interrupted_the_handler_is_el1_masked(
            pc: u64, pstate: u64, vbar: u64, sctlr: u64, pan: bool, ssbs: bool, mte: bool,
        ) {
            let interrupted = Interrupted { pc, pstate, vbar, sctlr };
            let taken = inject(Injected::Undefined, &interrupted, Features { pan, ssbs, mte });
            prop_assert_eq!(taken.pstate & 0x3f_ffff & !SSBS, 0x3c5);
            prop_assert_eq!((taken.pc & !0x7ff, taken.pc & 0x1ff), (vbar & !0x7ff, 0));
            prop_assert_eq!((taken.elr, taken.spsr), (pc, pstate));
        }
    }
}
