//! ESR_EL1, the exception syndrome register: the raw value and its class.
//!
//! The hot path compares classes and decodes nothing: `esr.ec() == Ec::SVC64`. What the rest of the register says is
//! told as types by [`Esr::decode`](crate::exception) and in words by [`crate::words`].
//!
//! Source: Arm ARM, "ESR_EL1, Exception Syndrome Register (EL1)". Classes that only EL2 or EL3 can take are included:
//! the same numbers mean the same there.

use crate::fault::FaultStatus;
use core::fmt;

/// The value of ESR_EL1. Every value is allowed; none makes a method panic.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Esr(pub u64);

impl Esr {
    /// EC, bits 31:26: what kind of exception this is.
    pub const fn ec(self) -> Ec {
        Ec((self.0 >> 26) as u8 & 0x3f)
    }

    /// IL, bit 25: the trapped instruction is 32 bits long. Also set by exceptions that have no instruction.
    pub const fn il(self) -> bool {
        self.0 >> 25 & 1 != 0
    }

    /// ISS, bits 24:0: the syndrome; its layout depends on the class.
    pub const fn iss(self) -> u32 {
        self.0 as u32 & 0x1ff_ffff
    }

    /// ISS2, bits 55:32: more syndrome, from the extensions that ran out of ISS.
    pub const fn iss2(self) -> u32 {
        (self.0 >> 32) as u32 & 0xff_ffff
    }

    /// DFSC or IFSC, ISS bits 5:0. Only aborts, watchpoints, breakpoints, steps and SErrors have one.
    #[inline]
    pub const fn fault_status(self) -> FaultStatus {
        FaultStatus::decode(self.0 as u8)
    }
}

impl fmt::Debug for Esr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Esr({:#x})", self.0)
    }
}

/// An exception class, ESR_EL1.EC: 6 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ec(u8);

/// The one table of classes: constant, number, name in counters, title in words.
macro_rules! classes {
    ($($constant:ident = $number:literal, $name:literal, $title:literal;)*) => {
        impl Ec {
            $(#[doc = concat!("`", stringify!($number), "`: ", $title, ".")] pub const $constant: Ec = Ec($number);)*

            const fn entry(self) -> Option<(&'static str, &'static str)> {
                match self.0 {
                    $($number => Some(($name, $title)),)*
                    _ => None,
                }
            }
        }
    };
}

classes! {
    UNKNOWN = 0x00, "unknown", "undefined instruction, or a cause that has no class of its own";
    WFX = 0x01, "wfx", "trapped wait instruction";
    CP15_32 = 0x03, "cp15_32", "trapped AArch32 access to CP15";
    CP15_64 = 0x04, "cp15_64", "trapped AArch32 access to a 64-bit register of CP15";
    CP14_32 = 0x05, "cp14_32", "trapped AArch32 access to CP14";
    CP14_LS = 0x06, "cp14_ls", "trapped AArch32 load or store of CP14";
    FP_SIMD = 0x07, "fp_simd", "use of floating-point, SIMD or SVE registers while they are switched off";
    VMRS = 0x08, "vmrs", "trapped AArch32 VMRS";
    PAUTH = 0x09, "pauth", "trapped pointer authentication instruction or key";
    LS64 = 0x0a, "ls64", "trapped 64-byte load or store, or other instruction without a class";
    CP14_64 = 0x0c, "cp14_64", "trapped AArch32 access to a 64-bit register of CP14";
    BTI = 0x0d, "bti", "branch to a place that is no branch target";
    ILLEGAL_STATE = 0x0e, "illegal_state", "illegal execution state (PSTATE.IL is set)";
    SVC32 = 0x11, "svc32", "SVC from AArch32";
    HVC32 = 0x12, "hvc32", "HVC from AArch32";
    SMC32 = 0x13, "smc32", "SMC from AArch32";
    SYSTEM128 = 0x14, "system128", "trapped 128-bit system register or instruction";
    SVC64 = 0x15, "svc64", "SVC (system call)";
    HVC64 = 0x16, "hvc64", "HVC (hypervisor call)";
    SMC64 = 0x17, "smc64", "SMC (secure monitor call)";
    SYSTEM = 0x18, "system", "trapped system register or instruction";
    SVE = 0x19, "sve", "use of SVE while it is switched off";
    ERET = 0x1a, "eret", "trapped exception return";
    TSTART = 0x1b, "tstart", "trapped TSTART";
    FPAC = 0x1c, "fpac", "pointer authentication failure";
    SME = 0x1d, "sme", "use of SME that is not possible now";
    GRANULE_PROTECTION = 0x1e, "granule_protection", "granule protection check";
    IMPLEMENTATION_DEFINED = 0x1f, "implementation_defined", "implementation-defined exception to EL3";
    INSTRUCTION_ABORT_LOWER = 0x20, "instruction_abort_lower", "instruction abort from EL0";
    INSTRUCTION_ABORT_CURRENT = 0x21, "instruction_abort_current", "instruction abort from EL1";
    PC_ALIGNMENT = 0x22, "pc_alignment", "PC alignment fault";
    DATA_ABORT_LOWER = 0x24, "data_abort_lower", "data abort from EL0";
    DATA_ABORT_CURRENT = 0x25, "data_abort_current", "data abort from EL1";
    SP_ALIGNMENT = 0x26, "sp_alignment", "SP alignment fault";
    MOPS = 0x27, "mops", "memory copy or memory set that began on another kind of CPU";
    FP32 = 0x28, "fp32", "floating-point exception from AArch32";
    FP64 = 0x2c, "fp64", "floating-point exception";
    GCS = 0x2d, "gcs", "guarded control stack exception";
    SERROR = 0x2f, "serror", "SError (asynchronous external abort)";
    BREAKPOINT_LOWER = 0x30, "breakpoint_lower", "hardware breakpoint in EL0";
    BREAKPOINT_CURRENT = 0x31, "breakpoint_current", "hardware breakpoint in EL1";
    STEP_LOWER = 0x32, "step_lower", "single step in EL0";
    STEP_CURRENT = 0x33, "step_current", "single step in EL1";
    WATCHPOINT_LOWER = 0x34, "watchpoint_lower", "watchpoint in EL0";
    WATCHPOINT_CURRENT = 0x35, "watchpoint_current", "watchpoint in EL1";
    BKPT32 = 0x38, "bkpt32", "BKPT from AArch32";
    VECTOR_CATCH32 = 0x3a, "vector_catch32", "vector catch from AArch32";
    BRK64 = 0x3c, "brk64", "BRK (software breakpoint)";
    PROFILING = 0x3d, "profiling", "profiling exception";
}

impl Ec {
    /// The class with number `number`; its upper two bits are ignored, as the register has no room for them.
    pub const fn new(number: u8) -> Ec {
        Ec(number & 0x3f)
    }

    /// The number, 0 to 0x3f.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The class in a few words, for the reader of a report. "Lower" is called EL0 and "current" EL1, as in ESR_EL1.
    pub const fn title(self) -> &'static str {
        match self.entry() {
            Some((_, title)) => title,
            None => "exception of a class that is not allocated",
        }
    }

    /// The class's stable name in counters and records; [`ec_name`] of its number.
    pub const fn name(self) -> &'static str {
        match self.entry() {
            Some((name, _)) => name,
            // One name each, so that no two rows of counters look alike.
            None => match self.0 {
                0x02 => "ec_02",
                0x0b => "ec_0b",
                0x0f => "ec_0f",
                0x10 => "ec_10",
                0x23 => "ec_23",
                0x29 => "ec_29",
                0x2a => "ec_2a",
                0x2b => "ec_2b",
                0x2e => "ec_2e",
                0x36 => "ec_36",
                0x37 => "ec_37",
                0x39 => "ec_39",
                0x3b => "ec_3b",
                0x3e => "ec_3e",
                _ => "ec_3f",
            },
        }
    }

    /// Whether this is an instruction or data abort, from either level.
    pub const fn is_abort(self) -> bool {
        matches!(
            self,
            Ec::INSTRUCTION_ABORT_LOWER | Ec::INSTRUCTION_ABORT_CURRENT | Ec::DATA_ABORT_LOWER | Ec::DATA_ABORT_CURRENT
        )
    }

    /// Whether exceptions of this class write FAR: aborts, PC alignment faults, watchpoints, granule protection checks.
    pub const fn writes_far(self) -> bool {
        self.is_abort()
            || matches!(self, Ec::PC_ALIGNMENT | Ec::WATCHPOINT_LOWER | Ec::WATCHPOINT_CURRENT | Ec::GRANULE_PROTECTION)
    }
}

/// The stable snake_case name of an exception class by number: `svc64`, `data_abort_lower`, `unknown` (class 0), `ec_02`
/// (not allocated). The upper two bits of `ec` are ignored.
pub const fn ec_name(ec: u8) -> &'static str {
    Ec::new(ec).name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn parts_of_the_register_do_not_overlap() {
        let esr = Esr(0xff_ffff_ffff_ffff);
        assert_eq!((esr.ec().number(), esr.il(), esr.iss(), esr.iss2()), (0x3f, true, 0x1ff_ffff, 0xff_ffff));
        assert_eq!(Esr(1 << 25).ec(), Ec::UNKNOWN);
        assert!(Esr(1 << 25).il() && !Esr(!(1 << 25)).il());
        assert_eq!(Esr(0x5600_0000).ec(), Ec::SVC64);
    }

    #[test]
    fn every_class_has_its_own_snake_case_name() {
        let names: BTreeSet<_> = (0..64).map(ec_name).collect();
        assert_eq!(names.len(), 64);
        for name in names {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        }
        for ec in (0..64).map(Ec::new).filter(|ec| ec.entry().is_none()) {
            assert_eq!(ec.name(), std::format!("ec_{:02x}", ec.number()));
        }
        assert_eq!([0, 0x15, 0x24, 0x3c].map(ec_name), ["unknown", "svc64", "data_abort_lower", "brk64"]);
    }

    #[test]
    fn far_is_valid_where_the_arm_arm_says_so() {
        let with_far = [0x1e, 0x20, 0x21, 0x22, 0x24, 0x25, 0x34, 0x35];
        for ec in 0..64 {
            for status in 0..64 {
                for fnv in [0, 1] {
                    let esr = Esr(ec << 26 | fnv << 10 | status);
                    let fnv_counts =
                        matches!(ec, 0x34 | 0x35) || matches!(ec, 0x20..=0x25 if ec != 0x22) && status == 0x10;
                    assert_eq!(esr.far_valid(), with_far.contains(&ec) && !(fnv == 1 && fnv_counts), "{esr:?}");
                }
            }
        }
    }
}
