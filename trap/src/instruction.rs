//! Instruction words, as far as the kernel emulates or tells of them.

use crate::sysreg::SystemRegister;

/// The register that an `MRS` reads, and the general-purpose register it goes to (31 for xzr); none for another instruction
/// (Arm ARM C6, "MRS").
pub const fn mrs(word: u32) -> Option<(SystemRegister, u8)> {
    const fn field(word: u32, at: u32, bits: u32) -> u8 {
        (word >> at & ((1 << bits) - 1)) as u8
    }
    if word >> 20 != 0xd53 {
        return None;
    }
    let register = SystemRegister {
        op0: 2 + field(word, 19, 1),
        op1: field(word, 16, 3),
        crn: field(word, 12, 4),
        crm: field(word, 8, 4),
        op2: field(word, 5, 3),
    };
    Some((register, field(word, 0, 5)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn mrs_and_others() {
        let named = |word| mrs(word).map(|(register, rt)| (register.to_string(), rt));
        assert_eq!(named(0xd538_0000), Some(("MIDR_EL1".into(), 0)));
        assert_eq!(named(0xd538_0601), Some(("ID_AA64ISAR0_EL1".into(), 1)));
        assert_eq!(named(0xd53b_e05f), Some(("CNTVCT_EL0".into(), 31)), "xzr");
        assert_eq!(named(0xd530_0242), Some(("MDSCR_EL1".into(), 2)), "op0 is 2");
        // MSR, NOP, UDF, SVC
        for word in [0xd518_1000, 0xd503_201f, 0, 0xd400_0001] {
            assert_eq!(named(word), None, "{word:#x}");
        }
    }
}
