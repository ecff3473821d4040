//! Instructions that trap at EL0 and are done for the program: reads of the ID registers, as Linux's CPUID emulation does them
//! (Documentation/arch/arm64/cpu-feature-registers): what a program may use is shown, what is the kernel's is hidden.

use crate::uaccess::get_user;
use core::arch::asm;
use trap::frame::PtRegs;
use trap::instruction::mrs;
use trap::sysreg::SystemRegister;

/// PSTATE.SS and PSTATE.BTYPE.
const SS: u64 = 1 << 21;
const BTYPE: u64 = 0b11 << 10;

/// Does the instruction at the frame's PC, and steps over it; false when it is none of those.
pub(super) fn emulate(regs: &mut PtRegs) -> bool {
    let Some((register, rt)) = get_user(regs.pc as usize).ok().and_then(mrs) else { return false };
    let Some(value) = id_register(register) else { return false };
    // Number 31 is xzr.
    if let Some(register) = regs.regs.get_mut(usize::from(rt)) {
        *register = value;
    }
    regs.pc += 4;
    // As the CPU leaves it behind an instruction: a step that was begun is over.
    regs.pstate &= !(SS | BTYPE);
    true
}

/// Reads an ID register of this CPU.
macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: a read of a register.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }};
}

/// The four-bit fields that begin at these bits.
const fn fields(at: &[u32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < at.len() {
        mask |= 0xf << at[index];
        index += 1;
    }
    mask
}

/// ID_AA64PFR0_EL1: FP and AdvSIMD; EL0 and EL1 are AArch64 only.
const PFR0: (u64, u64) = (fields(&[16, 20]), 0x11);
/// ID_AA64ISAR0_EL1: all but TME and TLB, which EL0 cannot use.
const ISAR0: u64 = !fields(&[24, 56]) & !0xf;
/// ID_AA64ISAR1_EL1: DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, BF16, DGH, I8MM. No pointer authentication: nobody sets keys.
const ISAR1: u64 = fields(&[0, 12, 16, 20, 32, 36, 44, 48, 52]);
/// ID_AA64MMFR0_EL1: no granule is told of, at either stage.
const MMFR0: u64 = 0x111_ff00_0000;
/// ID_AA64MMFR2_EL1: AT, unaligned atomics.
const MMFR2: u64 = fields(&[32]);
/// ID_AA64DFR0_EL1: the debug architecture of Armv8.0.
const DFR0: u64 = 6;
/// MPIDR_EL1: its RES1 bit; which CPU it is, is not told.
const MPIDR: u64 = 1 << 31;

/// What EL0 reads in an ID register; those that are not allocated read as 0 (Arm ARM D17, "reserved ID registers").
fn id_register(register: SystemRegister) -> Option<u64> {
    let SystemRegister { op0: 3, op1: 0, crn: 0, crm, op2 } = register else { return None };
    Some(match (crm, op2) {
        (0, 0) => read!("midr_el1"),
        (0, 5) => MPIDR,
        (0, 6) => read!("revidr_el1"),
        (4, 0) => read!("id_aa64pfr0_el1") & PFR0.0 | PFR0.1,
        (5, 0) => DFR0,
        (6, 0) => read!("id_aa64isar0_el1") & ISAR0,
        (6, 1) => read!("id_aa64isar1_el1") & ISAR1,
        (7, 0) => MMFR0,
        (7, 2) => read!("id_aa64mmfr2_el1") & MMFR2,
        (4..=7, _) => 0,
        _ => return None,
    })
}
