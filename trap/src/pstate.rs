//! PSTATE as SPSR_EL1 saves it (Arm ARM, "SPSR_EL1, Saved Program Status Register (EL1)").

use core::fmt;

/// A value of SPSR_ELx.
///
/// Displayed as `EL1h, nZCv, DAif, PAN`: a capital letter is a bit that is set (in DAIF: masked); then the names of the
/// other bits that are set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pstate(pub u64);

/// M, bits 4:0: the state, level and stack pointer that `eret` goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// AArch64 at exception level `el`, with its own stack pointer (`h`) or with SP_EL0 (`t`).
    A64 {
        /// 0 to 3.
        el: u8,
        /// SP_ELx is in use (PSTATE.SP).
        own_sp: bool,
    },
    /// An AArch32 mode, by its short name: `usr`, `fiq`, `irq`, `svc`, `mon`, `abt`, `hyp`, `und`, `sys`.
    A32(&'static str),
    /// An encoding that is none; `eret` to it is an illegal return.
    Illegal(u8),
}

/// The single bits of AArch64 beyond NZCV and DAIF, in the order they are shown.
const A64_BITS: [(u8, &str); 11] = [
    (21, "SS"),
    (20, "IL"),
    (22, "PAN"),
    (23, "UAO"),
    (24, "DIT"),
    (25, "TCO"),
    (12, "SSBS"),
    (13, "ALLINT"),
    (32, "PM"),
    (33, "PPEND"),
    (34, "EXLOCK"),
];

/// The single bits of AArch32.
const A32_BITS: [(u8, &str); 8] =
    [(5, "T"), (9, "E"), (27, "Q"), (21, "SS"), (20, "IL"), (22, "PAN"), (24, "DIT"), (23, "SSBS")];

impl Pstate {
    const fn bit(self, bit: u8) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// The mode to return to.
    pub const fn mode(self) -> Mode {
        let m = self.0 as u8 & 0x1f;
        match m {
            // M[1] is RES0 in AArch64, and EL0 has no stack pointer of its own.
            0 | 4 | 5 | 8 | 9 | 12 | 13 => Mode::A64 { el: m >> 2, own_sp: m & 1 != 0 },
            0x10 => Mode::A32("usr"),
            0x11 => Mode::A32("fiq"),
            0x12 => Mode::A32("irq"),
            0x13 => Mode::A32("svc"),
            0x16 => Mode::A32("mon"),
            0x17 => Mode::A32("abt"),
            0x1a => Mode::A32("hyp"),
            0x1b => Mode::A32("und"),
            0x1f => Mode::A32("sys"),
            _ => Mode::Illegal(m),
        }
    }

    /// N, Z, C, V as the low bits 3 to 0.
    pub const fn nzcv(self) -> u8 {
        (self.0 >> 28) as u8 & 0xf
    }

    /// D, A, I, F as the low bits 3 to 0; a set bit masks. AArch32 has no D: its bit is E there.
    pub const fn daif(self) -> u8 {
        (self.0 >> 6) as u8 & 0xf
    }

    /// BTYPE: 0, or what kind of indirect branch has just been taken (1 to 3). AArch64 only.
    pub const fn btype(self) -> u8 {
        (self.0 >> 10) as u8 & 3
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::A64 { el, own_sp } => write!(f, "EL{el}{}", if *own_sp { 'h' } else { 't' }),
            Mode::A32(name) => write!(f, "AArch32 {name}"),
            Mode::Illegal(m) => write!(f, "illegal mode {m:#x}"),
        }
    }
}

impl fmt::Display for Pstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a32 = self.bit(4);
        write!(f, "{}, ", self.mode())?;
        letters(f, "NZCV", self.nzcv())?;
        f.write_str(", ")?;
        if a32 {
            letters(f, "AIF", self.daif())?;
        } else {
            letters(f, "DAIF", self.daif())?;
        }
        let bits: &[(u8, &str)] = if a32 { &A32_BITS } else { &A64_BITS };
        for (_, name) in bits.iter().filter(|(bit, _)| self.bit(*bit)) {
            write!(f, ", {name}")?;
        }
        match self.btype() {
            btype if btype != 0 && !a32 => write!(f, ", BTYPE {btype}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Pstate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pstate({:#x})", self.0)
    }
}

/// Writes `names` with those letters small whose bit is 0; the last letter is bit 0.
fn letters(f: &mut fmt::Formatter<'_>, names: &str, bits: u8) -> fmt::Result {
    names.char_indices().try_for_each(|(at, letter)| {
        let set = bits >> (names.len() - 1 - at) & 1 != 0;
        write!(f, "{}", if set { letter } else { letter.to_ascii_lowercase() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn words() {
        for (value, words) in [
            (0, "EL0t, nzcv, daif"),
            (0x6000_0305, "EL1h, nZCv, DAif"),
            (0x3c5, "EL1h, nzcv, DAIF"),
            (0x8000_03c9, "EL2h, Nzcv, DAIF"),
            (0x0070_1004, "EL1t, nzcv, daif, SS, IL, PAN, SSBS"),
            (0x0380_0c00, "EL0t, nzcv, daif, UAO, DIT, TCO, BTYPE 3"),
            (0x2000_01b0, "AArch32 usr, nzCv, AIf, T"),
            (0x6, "illegal mode 0x6, nzcv, daif"),
        ] {
            assert_eq!(Pstate(value).to_string(), words);
        }
    }

    #[test]
    fn modes() {
        let legal = (0..32).map(Pstate).filter(|pstate| !matches!(pstate.mode(), Mode::Illegal(_)));
        assert!(
            legal
                .map(|pstate| pstate.0)
                .eq([0, 4, 5, 8, 9, 12, 13, 0x10, 0x11, 0x12, 0x13, 0x16, 0x17, 0x1a, 0x1b, 0x1f])
        );
        assert_eq!(Pstate(5).mode(), Mode::A64 { el: 1, own_sp: true });
    }

    proptest! {
        #[test]
        fn any_value_has_words(value: u64) {
            let words = Pstate(value).to_string();
            prop_assert!(words.len() < 128);
        }

        #[test]
        fn capital_letters_tell_the_bits(nzcv in 0_u64..16, daif in 0_u64..16) {
            let words = Pstate(nzcv << 28 | daif << 6).to_string();
            let bits = |text: &str| text.chars().fold(0, |bits, c| bits << 1 | u64::from(c.is_uppercase()));
            let mut parts = words.split(", ").skip(1);
            prop_assert_eq!((bits(parts.next().unwrap()), bits(parts.next().unwrap())), (nzcv, daif));
        }
    }
}
