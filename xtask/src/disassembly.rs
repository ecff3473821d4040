//! One A64 instruction as assemblers write it.
//!
//! The decoder knows few system registers and no system instruction by its name; those come from [`trap::sysreg`].

use trap::sysreg::SystemRegister;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::InstDecoder;

/// The instruction `word`; one that does not decode is told as the directive that assembles to it.
pub fn disassemble(word: u32) -> String {
    if let Some(text) = system(word) {
        return text;
    }
    match InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes())) {
        Ok(instruction) => instruction.to_string(),
        Err(_) => format!(".inst {word:#010x}"),
    }
}

/// The register of a load's or store's address, `[x3, #0x8]`: 31 is SP. None for what is no load or store.
pub fn base_register(word: u32) -> Option<u8> {
    // Arm ARM, "Loads and Stores": bit 27 is 1 and bit 25 is 0 in all; the literal ones, which alone have no Rn in bits 9:5,
    // have 0b01 in bits 29:28 and 0 in bit 24.
    let bit = |number: u32| word >> number & 1 == 1;
    let literal = !bit(29) && bit(28) && !bit(24);
    (bit(27) && !bit(25) && !literal).then_some((word >> 5 & 31) as u8)
}

/// MSR, MRS, SYS and SYSL of what has a name, and the hints and barriers that the decoder does not name.
fn system(word: u32) -> Option<String> {
    let hint = match word {
        0xd503_241f => "bti",
        0xd503_245f => "bti c",
        0xd503_249f => "bti j",
        0xd503_24df => "bti jc",
        0xd503_309f => "ssbb",
        0xd503_349f => "pssbb",
        0xd503_30ff => "sb",
        0xd503_3f5f => "clrex",
        _ => "",
    };
    if !hint.is_empty() {
        return Some(hint.into());
    }
    // "System instructions with register argument" and their neighbours: L is bit 21.
    if word >> 22 != 0b11_0101_0100 {
        return None;
    }
    let field = |lo: u32, bits: u32| (word >> lo & ((1 << bits) - 1)) as u8;
    let (op0, op1, crn, crm, op2, rt) =
        (field(19, 2), field(16, 3), field(12, 4), field(8, 4), field(5, 3), field(0, 5));
    let general = if rt == 31 { "xzr".to_string() } else { format!("x{rt}") };
    let register = SystemRegister { op0, op1, crn, crm, op2 };
    let read = field(21, 1) == 1;
    match (op0, read) {
        (0, false) if crn == 4 && rt == 31 => {
            let name = match (op1, op2) {
                (0, 3) => "uao",
                (0, 4) => "pan",
                (0, 5) => "spsel",
                (3, 1) => "ssbs",
                (3, 2) => "dit",
                (3, 4) => "tco",
                (3, 6) => "daifset",
                (3, 7) => "daifclr",
                _ => return None,
            };
            Some(format!("msr {name}, #{crm:#x}"))
        }
        (1, false) => {
            let name = register.name()?.to_ascii_lowercase();
            Some(if rt == 31 { name } else { format!("{name}, {general}") })
        }
        (2 | 3, true) => Some(format!("mrs {general}, {}", register.to_string().to_ascii_lowercase())),
        (2 | 3, false) => Some(format!("msr {}, {general}", register.to_string().to_ascii_lowercase())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instructions_that_reports_are_about() {
        for (word, text) in [
            (0x0000_0000, "udf #0x0"),
            (0xffff_ffff, ".inst 0xffffffff"),
            (0xd65f_03c0, "ret"),
            (0xd69f_03e0, "eret"),
            (0xd421_0000, "brk #0x800"),
            (0xd400_0001, "svc #0x0"),
            (0xb940_0001, "ldr w1, [x0]"),
            (0xb840_0841, "ldtr w1, [x2]"),
            (0xc85f_7c41, "ldxr x1, [x2]"),
            (0xd538_4100, "mrs x0, sp_el0"),
            (0xd518_c000, "msr vbar_el1, x0"),
            (0xd518_cc20, "msr icc_eoir1_el1, x0"),
            (0xd53b_0020, "mrs x0, ctr_el0"),
            (0xd53f_fee0, "mrs x0, s3_7_c15_c14_7"),
            (0xd503_42df, "msr daifset, #0x2"),
            (0xd500_419f, "msr pan, #0x1"),
            (0xd50b_7424, "dc zva, x4"),
            (0xd508_831f, "tlbi vmalle1is"),
            (0xd503_30ff, "sb"),
            (0xd503_3fdf, "isb"),
            (0xd503_3f9f, "dsb sy"),
            (0xd503_207f, "wfi"),
        ] {
            assert_eq!(disassemble(word), text, "{word:#010x}");
        }
    }

    #[test]
    fn base_registers() {
        for (word, base) in [
            (0xb940_0041, Some(2)),  // ldr w1, [x2]
            (0xf840_8483, Some(4)),  // ldr x3, [x4], #8
            (0xb840_0841, Some(2)),  // ldtr w1, [x2]
            (0xc802_7c41, Some(2)),  // stxr w2, x1, [x2]
            (0xa9bf_7bfd, Some(31)), // stp x29, x30, [sp, #-16]!
            (0x3d80_0020, Some(1)),  // str q0, [x1]
            (0xb860_6820, Some(1)),  // ldr w0, [x1, x0]
            (0xf820_0041, Some(2)),  // ldadd x0, x1, [x2]
            (0x88df_fc41, Some(2)),  // ldar w1, [x2]
            (0x1900_0841, Some(2)),  // stlur w1, [x2]
            (0x5800_0040, None),     // ldr x0, label
            (0x9c00_0040, None),     // ldr q0, label
            (0x9100_0400, None),     // add x0, x0, #1
            (0xd65f_03c0, None),     // ret
            (0x0000_0000, None),
        ] {
            assert_eq!(base_register(word), base, "{word:#010x}: {}", disassemble(word));
        }
    }

    proptest! {
        #[test]
        fn any_word_is_one_line(word: u32) {
            let text = disassemble(word);
            prop_assert!(!text.is_empty() && !text.contains('\n'));
        }
    }
}
