//! A syndrome in one sentence, for people: `data abort from EL1: translation fault, level 1, while writing, at 0xdead0000`.

use crate::esr::Esr;
use crate::exception::{Abort, CoprocessorAccess, CoprocessorPairAccess, Exception, FloatFlags, SystemAccess};
use crate::fault::Severity;
use crate::fields as part;
use core::fmt;

/// The longest sentence, in bytes; so that a fixed buffer can hold any.
pub const SENTENCE_MAX: usize = 160;

/// A syndrome, and FAR where it is known; its [`Display`](fmt::Display) is the sentence, without a full stop.
#[derive(Clone, Copy, Debug)]
pub struct Sentence {
    esr: Esr,
    far: Option<u64>,
    el2: bool,
}

impl Esr {
    /// The exception in one sentence of at most [`SENTENCE_MAX`] bytes. `far` is FAR_EL1, if it is known; it is told
    /// only where the syndrome says that it is valid.
    pub fn sentence(self, far: Option<u64>) -> Sentence {
        Sentence { esr: self, far: far.filter(|_| self.far_valid()), el2: false }
    }
}

impl Sentence {
    /// The exception was taken at EL2, so that what came from the same level came from there.
    pub fn at_el2(self) -> Sentence {
        Sentence { el2: true, ..self }
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.esr.ec().title();
        match title.strip_suffix("from EL1") {
            Some(what) if self.el2 => write!(f, "{what}from EL2")?,
            _ => f.write_str(title)?,
        }
        particulars(self.esr, f)?;
        self.far.map_or(Ok(()), |far| write!(f, ", at {far:#x}"))
    }
}

/// What follows the title of the class; nothing, where the title says all.
fn particulars(esr: Esr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match esr.decode() {
        Exception::Wait { .. } => write!(f, ": {}", part::TI.words(esr)),
        Exception::Coprocessor(CoprocessorAccess { coprocessor, opc1, rt, crn, crm, opc2, read }) => {
            let name = if read { "MRC" } else { "MCR" };
            write!(f, ": {name} p{coprocessor}, {opc1}, r{rt}, c{crn}, c{crm}, {opc2}")
        }
        Exception::CoprocessorPair(CoprocessorPairAccess { coprocessor, opc1, rt, rt2, crm, read }) => {
            let name = if read { "MRRC" } else { "MCRR" };
            write!(f, ": {name} p{coprocessor}, {opc1}, r{rt}, r{rt2}, c{crm}")
        }
        Exception::CoprocessorMemory { .. } => write!(f, ": {}", part::LOAD.words(esr)),
        Exception::LoadStore64(_) => write!(f, ": {}", part::LS64_CAUSE.words(esr)),
        Exception::BranchTarget(btype) => write!(f, ": PSTATE.BTYPE was {btype}"),
        Exception::Call { immediate, .. } => immediate.map_or(Ok(()), |value| write!(f, ", immediate {value:#x}")),
        Exception::System(SystemAccess { register, rt, read }) => {
            let rt = General(rt);
            match (register.op0, read) {
                (0, _) => write!(f, ": MSR {register}, #{:#x}", register.crm),
                (1, _) => write!(f, ": {register}, {rt}"),
                (_, true) => write!(f, ": read of {register} into {rt}"),
                (_, false) => write!(f, ": write of {rt} to {register}"),
            }
        }
        Exception::System128(SystemAccess { register, rt, read }) => {
            let (low, high) = (General(rt), General(rt + 1));
            let name = if read { "read of" } else { "write to" };
            write!(f, ": {name} {register}, registers {low} and {high}")
        }
        Exception::Eret { authenticated, key_b } => f.write_str(match (authenticated, key_b) {
            (false, _) => ": ERET",
            (true, false) => ": ERETAA",
            (true, true) => ": ERETAB",
        }),
        Exception::AuthenticationFailure { .. } => {
            write!(f, ": {}, {}", part::DATA_KEY.words(esr), part::B_KEY.words(esr))
        }
        Exception::Sme(_) => write!(f, ": {}", part::SMTC.words(esr)),
        Exception::GranuleProtection(status) => write!(f, ": {status}"),
        Exception::InstructionAbort(abort) => fault(esr, abort, f),
        Exception::DataAbort(abort, access) => {
            fault(esr, abort, f)?;
            f.write_str(match (access.maintenance, access.write) {
                (true, _) => ", by a cache or AT instruction",
                (false, true) => ", while writing",
                (false, false) => ", while reading",
            })
        }
        Exception::MemoryOperation(_) => {
            write!(f, ": {}, {}", part::MEM_INST.words(esr), part::FROM_EPILOGUE.words(esr))
        }
        Exception::Float { flags, .. } => float(flags, f),
        Exception::GuardedControlStack(_) => write!(f, ": {}", part::EX_TYPE.words(esr)),
        Exception::SError(_) if part::IDS.is_set(esr) => {
            write!(f, ": implementation-defined syndrome {:#x}", esr.iss() & 0xff_ffff)
        }
        Exception::SError(_) if part::AET.get(esr).is_some() => write!(f, ": {}", part::AET.words(esr)),
        Exception::SError(_) => write!(f, ": {}", part::SERROR_DFSC.words(esr)),
        Exception::Watchpoint { write, .. } => f.write_str(if write { ", while writing" } else { ", while reading" }),
        Exception::Bkpt32(comment) | Exception::Brk(comment) => write!(f, ", immediate {comment:#x}"),
        Exception::Unallocated(_) => write!(f, ": class {:#x}, syndrome {:#x}", esr.ec().number(), esr.iss()),
        // Their titles say all.
        Exception::Unknown
        | Exception::FpSimd
        | Exception::PointerAuthentication
        | Exception::IllegalState
        | Exception::Sve
        | Exception::TransactionStart(_)
        | Exception::PcAlignment
        | Exception::SpAlignment
        | Exception::Breakpoint { .. }
        | Exception::Step { .. }
        | Exception::VectorCatch
        | Exception::Profiling
        | Exception::ImplementationDefined => Ok(()),
    }
}

/// The cause of an abort.
fn fault(esr: Esr, abort: Abort, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, ": {}", abort.status)?;
    // Without FEAT_RAS the field is 0, which with it means UER: then nothing is said.
    if abort.severity.is_some_and(|severity| severity != Severity::Recoverable) {
        write!(f, ", {}", part::SET.words(esr))?;
    }
    f.write_str(if abort.stage1_walk { ", in stage 2 of a stage 1 walk" } else { "" })
}

/// The floating-point exceptions that happened, as a list.
fn float(flags: Option<FloatFlags>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(flags) = flags else { return f.write_str(": the CPU does not say which") };
    let named = [
        (flags.invalid_operation, "invalid operation"),
        (flags.division_by_zero, "division by zero"),
        (flags.overflow, "overflow"),
        (flags.underflow, "underflow"),
        (flags.inexact, "inexact result"),
        (flags.input_denormal, "denormal input"),
    ];
    let mut separator = ": ";
    for (_, name) in named.iter().filter(|(set, _)| *set) {
        write!(f, "{separator}{name}")?;
        separator = ", ";
    }
    Ok(())
}

/// The name of a general-purpose register where number 31 is the zero register.
struct General(u8);

impl fmt::Display for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            31 => f.write_str("xzr"),
            number => write!(f, "x{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, string::ToString};

    fn words(esr: u64) -> std::string::String {
        Esr(esr).sentence(None).to_string()
    }

    /// A syndrome of class `ec`.
    fn class(ec: u64, iss: u64) -> u64 {
        ec << 26 | 1 << 25 | iss
    }

    #[test]
    fn aborts() {
        let with_far = |esr, far| Esr(esr).sentence(Some(far)).to_string();
        assert_eq!(
            with_far(0x9600_0045, 0xdead_0000),
            "data abort from EL1: translation fault, level 1, while writing, at 0xdead0000"
        );
        assert_eq!(with_far(0x9200_000f, 0), "data abort from EL0: permission fault, level 3, while reading, at 0x0");
        assert_eq!(words(0x9600_0045), "data abort from EL1: translation fault, level 1, while writing");
        let at_el2 = Esr(0x9600_0045).sentence(None).at_el2().to_string();
        assert_eq!(at_el2, "data abort from EL2: translation fault, level 1, while writing");
        assert_eq!(with_far(0x8200_0007, 8), "instruction abort from EL0: translation fault, level 3, at 0x8");
        assert_eq!(
            with_far(class(0x25, 0x410), 0x1234),
            "data abort from EL1: external abort, while reading",
            "FnV is set"
        );
        assert_eq!(
            words(class(0x24, 0x1c0 | 0x2b)),
            "data abort from EL0: translation fault, level -1, in stage 2 of a stage 1 walk, \
             by a cache or AT instruction"
        );
        assert_eq!(with_far(class(0x22, 0), 0x4001), "PC alignment fault, at 0x4001");
        assert_eq!(with_far(class(0x26, 0), 0x4001), "SP alignment fault", "no FAR");
        assert_eq!(with_far(class(0x35, 1 << 6 | 0x22), 0x4000), "watchpoint in EL1, while writing, at 0x4000");
    }

    #[test]
    fn instructions() {
        for (esr, sentence) in [
            (class(0x00, 0), "undefined instruction, or a cause that has no class of its own"),
            (class(0x01, 1), "trapped wait instruction: WFE"),
            (class(0x05, 0x2_8061), "trapped AArch32 access to CP14: MRC p14, 2, r3, c0, c0, 1"),
            (class(0x04, 0x9_08a4), "trapped AArch32 access to a 64-bit register of CP15: MCRR p15, 9, r5, r2, c2"),
            (class(0x06, 1), "trapped AArch32 load or store of CP14: LDC (load)"),
            (class(0x15, 7), "SVC (system call), immediate 0x7"),
            (class(0x13, 0), "SMC from AArch32"),
            (
                class(0x18, 3 << 20 | 3 << 14 | 1 << 17 | 3 << 5 | 1),
                "trapped system register or instruction: read of CTR_EL0 into x3",
            ),
            (
                class(0x18, 3 << 20 | 1 << 10 | 31 << 5),
                "trapped system register or instruction: write of xzr to SCTLR_EL1",
            ),
            (
                class(0x18, 1 << 20 | 1 << 17 | 3 << 14 | 7 << 10 | 2 << 5 | 4 << 1),
                "trapped system register or instruction: DC ZVA, x2",
            ),
            (
                class(0x18, 7 << 17 | 3 << 14 | 4 << 10 | 31 << 5 | 2 << 1),
                "trapped system register or instruction: MSR DAIFClr, #0x2",
            ),
            (
                class(0x14, 3 << 20 | 2 << 10 | 1 << 6 | 1),
                "trapped 128-bit system register or instruction: read of TTBR0_EL1, \
                 registers x2 and x3",
            ),
            (class(0x1a, 3), "trapped exception return: ERETAB"),
            (class(0x1c, 3), "pointer authentication failure: data key, key B"),
            (class(0x1d, 2), "use of SME that is not possible now: the instruction needs streaming mode"),
            (class(0x2c, 1 << 23 | 3), "floating-point exception: invalid operation, division by zero"),
            (class(0x2c, 3), "floating-point exception: the CPU does not say which"),
            (class(0x3c, 0xf000), "BRK (software breakpoint), immediate 0xf000"),
            (class(0x3f, 5), "exception of a class that is not allocated: class 0x3f, syndrome 0x5"),
        ] {
            assert_eq!(words(esr), sentence);
        }
    }

    #[test]
    fn errors() {
        for (iss, rest) in [
            (0x11, "uncontainable (UC)"),
            (1 << 10 | 0x11, "unrecoverable state (UEU)"),
            (2 << 10 | 0x11, "restartable state (UEO)"),
            (3 << 10 | 0x11, "recoverable state (UER)"),
            (6 << 10 | 0x11, "corrected (CE)"),
            (7 << 10 | 0x11, "reserved"),
            (0, "uncategorised error"),
            (1 << 24 | 5, "implementation-defined syndrome 0x5"),
        ] {
            assert_eq!(words(class(0x2f, iss)), std::format!("SError (asynchronous external abort): {rest}"));
        }
    }

    #[test]
    fn every_class_and_status_has_its_own_words() {
        let mut sentences = BTreeSet::new();
        for ec in 0..64 {
            let sentence = words(class(ec, 0));
            assert!(!sentence.is_empty() && sentences.insert(sentence.clone()), "{ec:#x}: {sentence}");
        }
        for ec in [0x20, 0x21, 0x24, 0x25] {
            let of_class: BTreeSet<_> = (0..64).map(|status| words(class(ec, status))).collect();
            assert_eq!(of_class.len(), 64, "EC {ec:#x}");
        }
    }

    #[test]
    fn no_class_and_status_makes_a_sentence_too_long() {
        for (ec, status) in (0..64).flat_map(|ec| (0..64).map(move |status| (ec, status))) {
            for rest in [0, 0x1ff_ffc0, 0x0ff_ffc0, 0x0bf_ffc0, 0x0fc_ffc0] {
                let sentence = Esr(class(ec, rest | status)).sentence(Some(u64::MAX)).to_string();
                assert!(sentence.len() <= SENTENCE_MAX, "{} bytes: {sentence}", sentence.len());
            }
        }
    }

    proptest! {
        #[test]
        fn any_value_has_a_sentence(esr: u64, far: u64) {
            let sentence = Esr(esr).sentence(Some(far)).to_string();
            prop_assert!(!sentence.is_empty() && sentence.len() <= SENTENCE_MAX);
            prop_assert_eq!(sentence.ends_with(&std::format!(", at {far:#x}")), Esr(esr).far_valid());
        }
    }
}
