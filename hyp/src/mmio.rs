//! A guest's load or store that hit no memory: what it would transfer, so that an emulated device can stand in.
//!
//! The syndrome of a stage-2 data abort tells it all for a plain load or store of one register
//! ([`Access::from_syndrome`], and [`address`] for where). For the others (write-back, pairs) ISV is 0, and the caller
//! reads the instruction from the guest's memory and has it decoded here ([`Instruction::decode`]):
//!
//! ```
//! use hyp::mmio::Instruction;
//!
//! let (mut x, mut sp) = ([0; 31], 0);
//! x[2] = 0x0900_0000;
//! let instruction = Instruction::decode(0xb800_4441).unwrap(); // str w1, [x2], #4
//! assert_eq!(instruction.address(&x, sp), 0x0900_0000); // must be what FAR_EL2 says
//! for access in instruction.accesses() {
//!     access.stored(&x); // to the device; or access.load(&mut x, value) from it
//! }
//! instruction.write_back(&mut x, &mut sp);
//! assert_eq!(x[2], 0x0900_0004);
//! ```
//!
//! That is for AArch64: of a program in AArch32 only the syndrome counts, and the caller goes on by its IL. Devices are
//! little-endian; where a guest is not ([`is_big_endian`]), its values go through [`Access::swapped`]. SIMD
//! registers, exclusives, atomics, LDTR and the like are not emulated: no driver uses them on a device.

use trap::esr::Esr;
use trap::exception::DataAccess;
use trap::fault::FaultStatus;

/// The guest's physical address (IPA) that an access which aborted was to, from ESR_EL2, FAR_EL2 and HPFAR_EL2. None where the
/// CPU does not tell it, or the access was the CPU's own, to a translation table of the guest: nothing to emulate.
///
/// HPFAR_EL2 is UNKNOWN but after certain faults of stage 2 (Arm ARM, pseudo-code `IPAValid`).
#[inline]
pub fn address(esr: Esr, far: u64, hpfar: u64) -> Option<u64> {
    use FaultStatus::{AccessFlag, AddressSize, Translation};
    // FIPA, bits 43:4, is the page's number.
    let page = (hpfar & 0xfff_ffff_fff0) << 8;
    let told = matches!(esr.fault_status(), AddressSize(_) | Translation(_) | AccessFlag(_)) && !esr.stage1_walk();
    told.then_some(page | far & 0xfff)
}

/// Whether the guest's data accesses are big-endian, by its PSTATE and SCTLR_EL1: PSTATE.E in AArch32, E0E at EL0, EE at EL1.
#[inline]
pub const fn is_big_endian(pstate: u64, sctlr: u64) -> bool {
    let bit = match pstate >> 2 & 0b111 {
        0b000 => sctlr >> 24,
        0b001 => sctlr >> 25,
        _ => pstate >> 9,
    };
    bit & 1 != 0
}

/// x0 to x30.
type X = [u64; 31];

/// One register's transfer from or to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The register, 31 for xzr.
    pub register: u8,
    /// 1, 2, 4 or 8.
    pub bytes: u8,
    /// A store; else a load.
    pub write: bool,
    /// A load extends the sign.
    pub sign_extend: bool,
    /// A load fills all 64 bits of the register; else the lower 32, and the upper become 0.
    pub wide: bool,
}

impl Access {
    /// What ESR_EL2 says of the access (Arm ARM, "ISS encoding for an exception from a Data Abort": SAS, SSE, SRT, SF,
    /// WnR); none if it is not told (ISV), or was no load or store but cache maintenance.
    #[inline]
    pub fn from_syndrome(access: DataAccess) -> Option<Access> {
        let transfer = access.transfer.filter(|_| !access.maintenance)?;
        Some(Access {
            register: transfer.register,
            bytes: transfer.bytes,
            write: access.write,
            sign_extend: transfer.sign_extend,
            wide: transfer.wide,
        })
    }

    /// What a store writes, cut to its size.
    #[inline]
    pub fn stored(&self, x: &X) -> u64 {
        or_zero(x, self.register) & (u64::MAX >> self.unused())
    }

    /// Has a load put `value`, of which its size counts, into its register.
    #[inline]
    pub fn load(&self, x: &mut X, value: u64) {
        let unused = self.unused();
        let value = value << unused;
        let value = if self.sign_extend { (value as i64 >> unused) as u64 } else { value >> unused };
        if let Some(register) = x.get_mut(usize::from(self.register)) {
            *register = if self.wide { value } else { u64::from(value as u32) };
        }
    }

    /// A value of its size with the bytes in the other order.
    #[inline]
    pub const fn swapped(&self, value: u64) -> u64 {
        value.swap_bytes() >> self.unused()
    }

    /// The bits of 64 that are not transferred.
    #[inline]
    const fn unused(&self) -> u32 {
        64_u32.wrapping_sub(8 * self.bytes as u32) % 64
    }
}

/// How an instruction makes its address, and what it does to the base register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `[base, #imm]`.
    Offset(i64),
    /// `[base, #imm]!`: the base becomes the address.
    PreIndex(i64),
    /// `[base], #imm`: the base is the address, and then changes.
    PostIndex(i64),
    /// `[base, index, extend #shift]`.
    Register {
        /// The index register, 31 for xzr.
        index: u8,
        /// Its lower 32 bits count (UXTW, SXTW); else all 64.
        word: bool,
        /// It is signed (SXTW; of 64 bits without effect).
        signed: bool,
        /// Bits to shift it left by.
        shift: u8,
    },
}

/// A decoded load or store of one general-purpose register or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The first register's transfer.
    pub first: Access,
    /// Of a pair the second register, transferred next, at the address behind the first.
    pub second: Option<u8>,
    /// The base register, 31 for sp.
    pub base: u8,
    /// The address.
    pub addressing: Addressing,
}

impl Instruction {
    /// Decodes an instruction word (Arm ARM C4, "Loads and Stores"). None for what is not emulated; so are forms whose
    /// result the architecture leaves open (write-back into a transferred register, a pair loaded into one register).
    pub fn decode(word: u32) -> Option<Instruction> {
        let bits = |at: u32, count: u32| word >> at & ((1 << count) - 1);
        let register = |at| bits(at, 5) as u8;
        // Bits 29:27 say which class of loads and stores, V (bit 26) that it is of SIMD registers.
        let instruction = match (bits(27, 3), bits(26, 1)) {
            (0b111, 0) => Instruction {
                first: single(bits(30, 2), bits(22, 2), register(0))?,
                second: None,
                base: register(5),
                addressing: single_addressing(bits)?,
            },
            (0b101, 0) => {
                let first = pair(bits(30, 2), bits(22, 1) != 0, register(0))?;
                let offset = signed(bits(15, 7), 7) * i64::from(first.bytes);
                let addressing = match bits(23, 3) {
                    0b001 => Addressing::PostIndex(offset),
                    0b010 => Addressing::Offset(offset),
                    0b011 => Addressing::PreIndex(offset),
                    _ => return None,
                };
                Instruction { first, second: Some(register(10)), base: register(5), addressing }
            }
            _ => return None,
        };
        let Instruction { first, second, base, addressing } = instruction;
        let writes_back = matches!(addressing, Addressing::PreIndex(_) | Addressing::PostIndex(_));
        let transfers_base = base != 31 && (first.register == base || second == Some(base));
        let loads_twice = !first.write && second == Some(first.register);
        (!(writes_back && transfers_base || loads_twice)).then_some(instruction)
    }

    /// The transfers in their order; the second is [`Access::bytes`] behind the first.
    pub fn accesses(&self) -> impl Iterator<Item = Access> + use<> {
        let first = self.first;
        core::iter::once(first).chain(self.second.map(|register| Access { register, ..first }))
    }

    /// The virtual address of the first transfer, where `sp` is the stack pointer in use. If FAR_EL2 is another, the
    /// instruction's first part hit memory and only its second a device: not to be emulated.
    pub fn address(&self, x: &X, sp: u64) -> u64 {
        let base = x.get(usize::from(self.base)).copied().unwrap_or(sp);
        match self.addressing {
            Addressing::Offset(offset) | Addressing::PreIndex(offset) => base.wrapping_add_signed(offset),
            Addressing::PostIndex(_) => base,
            Addressing::Register { index, word, signed, shift } => {
                let index = or_zero(x, index);
                let index = match (word, signed) {
                    (true, true) => index as i32 as u64,
                    (true, false) => u64::from(index as u32),
                    (false, _) => index,
                };
                base.wrapping_add(index << shift)
            }
        }
    }

    /// Changes the base register, if the instruction does; once all transfers are done.
    pub fn write_back(&self, x: &mut X, sp: &mut u64) {
        if let Addressing::PreIndex(offset) | Addressing::PostIndex(offset) = self.addressing {
            let base = x.get_mut(usize::from(self.base)).unwrap_or(sp);
            *base = base.wrapping_add_signed(offset);
        }
    }
}

/// Register `number`, where 31 is xzr.
#[inline]
fn or_zero(x: &X, number: u8) -> u64 {
    x.get(usize::from(number)).copied().unwrap_or(0)
}

/// The transfer of a load or store of one register: `size` and `opc`.
fn single(size: u32, opc: u32, register: u8) -> Option<Access> {
    let (write, sign_extend, wide) = match (opc, size) {
        (0b00, _) => (true, false, false),
        (0b01, _) => (false, false, size == 3),
        // Of size 3 this is PRFM.
        (0b10, 0..=2) => (false, true, true),
        (0b11, 0 | 1) => (false, true, false),
        _ => return None,
    };
    Some(Access { register, bytes: 1 << size, write, sign_extend, wide })
}

/// The transfer of each register of a pair: `opc` and L.
fn pair(opc: u32, load: bool, register: u8) -> Option<Access> {
    let (bytes, sign_extend) = match (opc, load) {
        (0b00, _) => (4, false),
        // LDPSW; as a store this is STGP.
        (0b01, true) => (4, true),
        (0b10, _) => (8, false),
        _ => return None,
    };
    Some(Access { register, bytes, write: !load, sign_extend, wide: load && (bytes == 8 || sign_extend) })
}

/// The addressing of a load or store of one register: bits 25:24, 21 and 11:10 say which.
fn single_addressing(bits: impl Fn(u32, u32) -> u32) -> Option<Addressing> {
    let scale = bits(30, 2);
    let imm9 = signed(bits(12, 9), 9);
    match (bits(24, 2), bits(21, 1), bits(10, 2)) {
        (0b01, _, _) => Some(Addressing::Offset(i64::from(bits(10, 12) << scale))),
        (0b00, 0, 0b00) => Some(Addressing::Offset(imm9)),
        (0b00, 0, 0b01) => Some(Addressing::PostIndex(imm9)),
        (0b00, 0, 0b11) => Some(Addressing::PreIndex(imm9)),
        // Bit 14 of `option` is 1, or it is not allocated; bit 13: 64 bits; bit 15: signed.
        (0b00, 1, 0b10) if bits(14, 1) == 1 => Some(Addressing::Register {
            index: bits(16, 5) as u8,
            word: bits(13, 1) == 0,
            signed: bits(15, 1) == 1,
            shift: (bits(12, 1) * scale) as u8,
        }),
        _ => None,
    }
}

/// The lower `count` bits as a signed number.
fn signed(value: u32, count: u32) -> i64 {
    (i64::from(value) << (64 - count)) >> (64 - count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, string::String, string::ToString, vec::Vec};
    use yaxpeax_arch::{Decoder, U8Reader};
    use yaxpeax_arm::armv8::a64::InstDecoder;

    /// The instruction as an assembler writes it.
    fn assembly(instruction: &Instruction) -> String {
        let Instruction { first, second, base, addressing } = *instruction;
        let name = match (second, first.write) {
            (None, true) => "str",
            (None, false) => "ldr",
            (Some(_), true) => "stp",
            (Some(_), false) => "ldp",
        };
        let sign = if first.sign_extend { "s" } else { "" };
        // Words have a suffix only where the register is larger.
        let size = match first.bytes {
            1 => "b",
            2 => "h",
            4 if first.sign_extend => "w",
            _ => "",
        };
        let letter = if first.wide || first.bytes == 8 { 'x' } else { 'w' };
        let register = |number| if number == 31 { format!("{letter}zr") } else { format!("{letter}{number}") };
        let base = if base == 31 { "sp".to_string() } else { format!("x{base}") };
        let hex = |offset: i64| format!("#{}{:#x}", if offset < 0 { "-" } else { "" }, offset.unsigned_abs());
        let address = match addressing {
            Addressing::Offset(0) => format!("[{base}]"),
            Addressing::Offset(offset) => format!("[{base}, {}]", hex(offset)),
            Addressing::PreIndex(offset) => format!("[{base}, {}]!", hex(offset)),
            Addressing::PostIndex(offset) => format!("[{base}], {}", hex(offset)),
            Addressing::Register { index, word, signed, shift } => {
                let letter = if word { 'w' } else { 'x' };
                let index = if index == 31 { format!("{letter}zr") } else { format!("{letter}{index}") };
                let extend = match (word, signed) {
                    (true, true) => "sxtw",
                    (true, false) => "uxtw",
                    (false, true) => "sxtx",
                    (false, false) => "lsl",
                };
                match (extend, shift) {
                    ("lsl", 0) => format!("[{base}, {index}]"),
                    (_, 0) => format!("[{base}, {index}, {extend}]"),
                    _ => format!("[{base}, {index}, {extend} #{shift}]"),
                }
            }
        };
        let second = second.map(|number| format!("{}, ", register(number))).unwrap_or_default();
        format!("{name}{sign}{size} {}, {second}{address}", register(first.register))
    }

    /// What a disassembler by others says of the word, as [`assembly`] writes it: it tells unscaled offsets by another
    /// name, and shifts by 0.
    fn disassembly(word: u32) -> Option<String> {
        let text = InstDecoder::default().decode(&mut U8Reader::new(&word.to_le_bytes())).ok()?.to_string();
        Some(text.replace("ldur", "ldr").replace("stur", "str").replace("xtw #0]", "xtw]").replace("xtx #0]", "xtx]"))
    }

    /// Whether the text is that of a load or store to be emulated, as far as text tells: the name is one of them, there
    /// is an address in registers, and no SIMD register.
    fn is_emulated(text: &str) -> bool {
        let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
        let names = ["str", "strb", "strh", "ldr", "ldrb", "ldrh", "ldrsb", "ldrsh", "ldrsw", "stp", "ldp", "ldpsw"];
        names.contains(&name) && operands.contains('[') && operands.starts_with(['x', 'w'])
    }

    /// Words of the classes that are decoded, and of the others.
    fn words() -> impl Strategy<Value = u32> {
        prop_oneof![
            any::<u32>(),
            any::<u32>().prop_map(|word| word & !(0b111 << 27) | 0b111 << 27),
            any::<u32>().prop_map(|word| word & !(0b1111 << 26) | 0b1110 << 26),
            any::<u32>().prop_map(|word| word & !(0b1111 << 26) | 0b1010 << 26),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn decodes_what_a_disassembler_does(word in words()) {
            let text = disassembly(word);
            match Instruction::decode(word) {
                Some(instruction) => prop_assert_eq!(Some(assembly(&instruction)), text),
                None => if let Some(text) = text.filter(|text| is_emulated(text)) {
                    prop_assert!(is_unpredictable(word), "{:#010x} {} is not decoded", word, text);
                },
            }
        }
    }

    /// Of a word that is a load or store: whether its result is left open. Written from the pages of LDP, STP, LDR and
    /// STR.
    fn is_unpredictable(word: u32) -> bool {
        let [t, t2, n] = [word & 31, word >> 10 & 31, word >> 5 & 31];
        if word >> 27 & 7 == 0b101 {
            let writes_back = word >> 23 & 1 == 1;
            let load = word >> 22 & 1 == 1;
            load && t == t2 || writes_back && n != 31 && (t == n || t2 == n)
        } else {
            let writes_back = word >> 24 & 3 == 0 && word >> 21 & 1 == 0 && word >> 10 & 1 == 1;
            writes_back && n != 31 && t == n
        }
    }

    #[test]
    fn what_is_not_emulated() {
        for word in [
            0x0000_0000, // udf
            0xd503_201f, // nop
            0x5800_0041, // ldr x1, label
            0x3d80_0020, // str q0, [x1]
            0xad00_0440, // stp q0, q1, [x2]
            0xc85f_7c41, // ldxr x1, [x2]
            0x88df_fc41, // ldar w1, [x2]
            0xb840_0841, // ldtr w1, [x2]
            0xf820_0041, // ldadd x0, x1, [x2]
            0xf880_0040, // prfm pldl1keep, [x2]
            0xf8a0_6840, // prfm pldl1keep, [x2, x0]
            0xa840_0841, // ldnp x1, x2, [x2]
            0x6900_0841, // stgp x1, x2, [x2]
            0xf840_8442, // ldr x2, [x2], #8
            0xf800_8c42, // str x2, [x2, #8]!
            0xa8c1_0841, // ldp x1, x2, [x2], #16
            0xa940_0441, // ldp x1, x1, [x2]
            0xb860_2841, // option 0b001
        ] {
            assert_eq!(Instruction::decode(word), None, "{word:#010x} {:?}", disassembly(word));
        }
    }

    #[test]
    fn addresses_and_write_back() {
        let mut x = [0; 31];
        x[2] = 0x1000;
        x[3] = 0xffff_ffff_ffff_fffc;
        for (word, address, base) in [
            (0xb940_0441, 0x1004, 0x1000),        // ldr w1, [x2, #4]
            (0xf85f_8041, 0xff8, 0x1000),         // ldur x1, [x2, #-8]
            (0xb840_4c41, 0x1004, 0x1004),        // ldr w1, [x2, #4]!
            (0xb840_4441, 0x1000, 0x1004),        // ldr w1, [x2], #4
            (0xb863_6841, 0xffc, 0x1000),         // ldr w1, [x2, x3]
            (0xb863_7841, 0xff0, 0x1000),         // ldr w1, [x2, x3, lsl #2]
            (0xb863_4841, 0x1_0000_0ffc, 0x1000), // ldr w1, [x2, w3, uxtw]
            (0xb863_d841, 0xff0, 0x1000),         // ldr w1, [x2, w3, sxtw #2]
            (0xb87f_6841, 0x1000, 0x1000),        // ldr w1, [x2, xzr]
            (0xa9bf_0440, 0xff0, 0xff0),          // stp x0, x1, [x2, #-16]!
            (0xa8c1_0440, 0x1000, 0x1010),        // ldp x0, x1, [x2], #16
            (0x2940_8440, 0x1004, 0x1000),        // ldp w0, w1, [x2, #4]
        ] {
            let (mut after, mut sp) = (x, 0x8000);
            let instruction = Instruction::decode(word).unwrap();
            assert_eq!(instruction.address(&x, sp), address, "{word:#010x}");
            instruction.write_back(&mut after, &mut sp);
            assert_eq!((after[2], sp), (base, 0x8000), "{word:#010x}");
            after[2] = x[2];
            assert_eq!(after, x);
        }
        let push = Instruction::decode(0xa9bf_7bfd).unwrap(); // stp x29, x30, [sp, #-16]!
        let (mut after, mut sp) = (x, 0x8000);
        assert_eq!(push.address(&x, sp), 0x7ff0);
        push.write_back(&mut after, &mut sp);
        assert_eq!((after, sp), (x, 0x7ff0));
    }

    #[test]
    fn pairs_are_two_accesses() {
        let store = |register| Access { register, bytes: 8, write: true, sign_extend: false, wide: false };
        let load = |register| Access { register, bytes: 4, write: false, sign_extend: true, wide: true };
        let accesses = |word| Instruction::decode(word).unwrap().accesses().collect::<Vec<_>>();
        assert_eq!(accesses(0xa9bf_7bfd), [store(29), store(30)]);
        assert_eq!(accesses(0x6940_0440), [load(0), load(1)], "ldpsw x0, x1, [x2]");
        assert_eq!(accesses(0xf800_0c5f), [store(31)], "str xzr, [x2, #0]!");
    }

    #[test]
    fn loads_extend_and_stores_cut() {
        let mut x = [0x1122_3344_5566_7788; 31];
        for (bytes, sign_extend, wide, value) in [
            (1, false, false, 0xf8),
            (1, true, false, 0xffff_fff8),
            (1, true, true, 0xffff_ffff_ffff_fff8),
            (2, false, false, 0xe6f8),
            (2, true, false, 0xffff_e6f8),
            (4, false, false, 0xd4d5_e6f8),
            (4, true, true, 0xffff_ffff_d4d5_e6f8),
            (8, false, true, 0x9090_9090_d4d5_e6f8),
        ] {
            let access = Access { register: 3, bytes, write: false, sign_extend, wide };
            access.load(&mut x, 0x9090_9090_d4d5_e6f8);
            assert_eq!(x[3], value, "{access:?}");
        }
        let before = x;
        Access { register: 31, bytes: 8, write: false, sign_extend: false, wide: true }.load(&mut x, 1);
        assert_eq!(x, before, "xzr takes nothing");
        for (register, bytes, value) in
            [(4, 1, 0x88), (4, 2, 0x7788), (4, 4, 0x5566_7788), (4, 8, 0x1122_3344_5566_7788), (31, 8, 0)]
        {
            let access = Access { register, bytes, write: true, sign_extend: false, wide: false };
            assert_eq!(access.stored(&x), value);
        }
    }

    #[test]
    fn big_endian_guests() {
        const EE: u64 = 1 << 25;
        const E0E: u64 = 1 << 24;
        const E: u64 = 1 << 9;
        for (mode, of_mode) in [(0b0_0000, E0E), (0b0_0100, EE), (0b0_0101, EE)] {
            assert!(is_big_endian(mode, of_mode) && !is_big_endian(mode | E, !of_mode), "{mode:#b}");
        }
        assert!(is_big_endian(0b1_0000 | E, 0) && !is_big_endian(0b1_0000, EE | E0E));
        for (bytes, value) in [(1, 0x88), (2, 0x8877), (4, 0x8877_6655), (8, 0x8877_6655_4433_2211)] {
            let access = Access { register: 0, bytes, write: true, sign_extend: false, wide: false };
            assert_eq!(access.swapped(access.stored(&[0x1122_3344_5566_7788; 31])), value);
        }
    }

    /// The access that this syndrome of a data abort from a lower level tells.
    fn syndrome(iss: u64) -> Option<Access> {
        Access::from_syndrome(Esr(0x24 << 26 | iss).data_access())
    }

    #[test]
    fn syndromes() {
        const ISV: u64 = 1 << 24;
        let (size, sign, register, wide, maintenance, write) = (22, 1 << 21, 16, 1 << 15, 1 << 8, 1 << 6);
        let access = |bytes, write, sign_extend, wide| Some(Access { register: 9, bytes, write, sign_extend, wide });
        let nine = 9 << register;
        assert_eq!(syndrome(ISV | nine | 2 << size | write | 7), access(4, true, false, false));
        assert_eq!(syndrome(ISV | nine | sign | wide | 7), access(1, false, true, true));
        assert_eq!(syndrome(ISV | nine | 3 << size | wide | 7), access(8, false, false, true));
        assert_eq!(syndrome(nine | 2 << size | 7), None, "not told");
        assert_eq!(syndrome(ISV | nine | maintenance | write | 7), None, "cache maintenance");
    }

    #[test]
    fn addresses_of_aborts() {
        // HPFAR_EL2.NS is no part of it.
        let address = |iss: u64| address(Esr(0x24 << 26 | iss), 0xffff_ffc0_0000_0abc, 1 << 63 | 0x9_0000);
        for status in 0..64 {
            // Levels -2 to 3 of each: address size, translation, access flag.
            let told = matches!(status, 0x00..=0x0b | 0x29..=0x2c);
            assert_eq!(address(status), told.then_some(0x0900_0abc), "{status:#x}");
            assert_eq!(address(1 << 7 | status), None, "on a table walk");
        }
        assert_eq!(super::address(Esr(0x9200_0007), 0, u64::MAX), Some(0xf_ffff_ffff_f000), "52 bits");
    }

    proptest! {
        #[test]
        fn any_word_and_syndrome_are_survived(
            word: u32, iss in 0_u64..1 << 25, mut x: [u64; 31], mut sp: u64, value: u64,
        ) {
            let decoded = Instruction::decode(word);
            for access in decoded.iter().flat_map(Instruction::accesses).chain(syndrome(iss)) {
                access.load(&mut x, value);
                prop_assert!(access.bytes == 8 || access.stored(&x) >> (8 * access.bytes) == 0);
            }
            if let Some(instruction) = decoded {
                instruction.address(&x, sp);
                instruction.write_back(&mut x, &mut sp);
            }
        }
    }
}
