//! The fields of ESR_EL1: the one place that says where each lies, when it means something, and what its values mean.
//!
//! [`Esr::decode`](crate::exception) takes its positions from here, and [`Esr::fields`] lays the whole register out for
//! readers. Source: Arm ARM, "ESR_EL1", the ISS and ISS2 encodings, by class.

use crate::esr::{Ec, Esr};
use crate::fault::FaultStatus;
use core::fmt::{self, Write};
use heapless::String;

/// A row of [`Esr::fields`]: bits `hi` to `lo` of the register.
#[derive(Clone, Copy)]
pub struct Field {
    /// The field's name in the Arm ARM, or `RES0` where no field has a meaning.
    pub name: &'static str,
    /// The uppermost bit, 63 to 0.
    pub hi: u8,
    /// The lowest bit.
    pub lo: u8,
    /// The bits, shifted down to bit 0.
    pub value: u64,
    /// What the value means; a [`Display`](fmt::Display).
    pub words: Words,
}

impl Field {
    /// Whether the field says something only when it is not 0: reserved bits, and what extensions added above bit 31.
    const fn is_optional(&self) -> bool {
        matches!(self.words.meaning, Nothing) || self.lo > 31
    }
}

/// What the value of a field means, in words.
#[derive(Clone, Copy)]
pub struct Words {
    meaning: Meaning,
    value: u64,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.meaning {
            Choice(choices) => f.write_str(choices.get(self.value as usize).copied().unwrap_or("reserved")),
            Register => match self.value {
                31 => f.write_str("xzr or sp"),
                number => write!(f, "x{number}"),
            },
            Number(label) => write!(f, "{label} {:#x}", self.value),
            Status => FaultStatus::decode(self.value as u8).fmt(f),
            ErrorStatus => f.write_str(match self.value {
                0 => "uncategorised error",
                SERROR_ASYNCHRONOUS => "asynchronous SError",
                _ => "reserved",
            }),
            Class => f.write_str(Ec::new(self.value as u8).title()),
            Nothing if self.value == 0 => f.write_str("reserved"),
            Nothing => f.write_str("reserved, or without meaning in this exception, but not 0"),
        }
    }
}

#[derive(Clone, Copy)]
enum Meaning {
    /// One text a value, from 0 on; values beyond are reserved.
    Choice(&'static [&'static str]),
    Register,
    /// A number, after this label.
    Number(&'static str),
    /// DFSC or IFSC.
    Status,
    /// DFSC of an SError.
    ErrorStatus,
    Class,
    Nothing,
}
use Meaning::*;

/// The DFSC of an SError that says how severe it is.
const SERROR_ASYNCHRONOUS: u64 = 0x11;

/// Where a field lies and what it means.
#[derive(Clone, Copy)]
pub(crate) struct Bits {
    name: &'static str,
    hi: u8,
    lo: u8,
    meaning: Meaning,
    valid: fn(Esr) -> bool,
}

impl Bits {
    const fn new(name: &'static str, hi: u8, lo: u8, meaning: Meaning) -> Bits {
        Bits { name, hi, lo, meaning, valid: |_| true }
    }

    const fn flag(name: &'static str, bit: u8, texts: &'static [&'static str; 2]) -> Bits {
        Bits::new(name, bit, bit, Choice(texts))
    }

    /// The field exists only in values for which `valid` holds.
    const fn only_if(self, valid: fn(Esr) -> bool) -> Bits {
        Bits { valid, ..self }
    }

    /// The field's bits, shifted down, whether they mean something or not.
    #[inline]
    pub(crate) const fn of(self, esr: Esr) -> u64 {
        esr.0 >> self.lo & (u64::MAX >> (63 - (self.hi - self.lo)))
    }

    /// A register that has this value in the field, and 0 elsewhere.
    pub(crate) const fn put(self, value: u8) -> u64 {
        (value as u64) << self.lo
    }

    /// The field as the small number that most are.
    #[inline]
    pub(crate) const fn small(self, esr: Esr) -> u8 {
        self.of(esr) as u8
    }

    /// Whether a one-bit field is 1.
    #[inline]
    pub(crate) const fn is_set(self, esr: Esr) -> bool {
        self.of(esr) != 0
    }

    /// The field, if it means something in this value.
    pub(crate) fn get(self, esr: Esr) -> Option<u8> {
        (self.valid)(esr).then(|| self.small(esr))
    }

    /// What the field says in this value.
    pub(crate) const fn words(self, esr: Esr) -> Words {
        Words { meaning: self.meaning, value: self.of(esr) }
    }
}

const NO_YES: &[&str; 2] = &["no", "yes"];

// All classes.
const EC: Bits = Bits::new("EC", 31, 26, Class);
const IL: Bits = Bits::flag("IL", 25, &["16-bit instruction", "32-bit instruction, or none in particular"]);
const OPAQUE: Bits = Bits::new("ISS", 24, 0, Number("not decoded:"));

// Trapped instructions.
pub(crate) const CV: Bits = Bits::flag("CV", 24, &["COND is not valid", "COND is valid"]);
pub(crate) const COND: Bits = Bits::new(
    "COND",
    23,
    20,
    Choice(&["EQ", "NE", "CS", "CC", "MI", "PL", "VS", "VC", "HI", "LS", "GE", "LT", "GT", "LE", "AL (always)"]),
)
.only_if(|esr| CV.is_set(esr));
pub(crate) const RV: Bits = Bits::flag("RV", 2, &["RN is not valid", "RN is valid"]);
pub(crate) const RN: Bits = Bits::new("RN", 9, 5, Register).only_if(|esr| RV.is_set(esr));
pub(crate) const TI: Bits = Bits::new("TI", 1, 0, Choice(&["WFI", "WFE", "WFIT", "WFET"]));
pub(crate) const OP0: Bits = Bits::new("Op0", 21, 20, Number("op0 ="));
pub(crate) const OP2: Bits = Bits::new("Op2", 19, 17, Number("op2 ="));
pub(crate) const OP1: Bits = Bits::new("Op1", 16, 14, Number("op1 ="));
pub(crate) const CRN: Bits = Bits::new("CRn", 13, 10, Number("CRn ="));
pub(crate) const RT: Bits = Bits::new("Rt", 9, 5, Register);
pub(crate) const CRM: Bits = Bits::new("CRm", 4, 1, Number("CRm ="));
pub(crate) const DIRECTION: Bits = Bits::flag("Direction", 0, &["write to the register", "read of the register"]);
pub(crate) const RT_PAIR: Bits = Bits::new("Rt", 9, 6, Number("number of the register pair:"));
pub(crate) const MCRR_OP1: Bits = Bits::new("Opc1", 19, 16, Number("opc1 ="));
pub(crate) const RT2: Bits = Bits::new("Rt2", 14, 10, Register);
pub(crate) const IMM8: Bits = Bits::new("imm8", 19, 12, Number("offset in words:"));
pub(crate) const ADD: Bits = Bits::flag("Offset", 4, &["subtract imm8", "add imm8"]);
pub(crate) const AM: Bits = Bits::new(
    "AM",
    3,
    1,
    Choice(&[
        "immediate, unindexed",
        "immediate, post-indexed",
        "immediate, offset",
        "immediate, pre-indexed",
        "literal, unindexed",
        "reserved",
        "literal, offset",
    ]),
);
pub(crate) const LS_RN: Bits = Bits::new("Rn", 9, 5, Register).only_if(|esr| AM.of(esr) < 4);
pub(crate) const LOAD: Bits = Bits::flag("Direction", 0, &["STC (store)", "LDC (load)"]);
pub(crate) const LS64_CAUSE: Bits = Bits::new("ISS", 24, 0, Choice(&["ST64BV", "ST64BV0", "LD64B or ST64B"]));
pub(crate) const BTYPE: Bits = Bits::new("BTYPE", 1, 0, Number("PSTATE.BTYPE was"));
pub(crate) const IMM16: Bits = Bits::new("imm16", 15, 0, Number("immediate"));
pub(crate) const CCKNOWNPASS: Bits = Bits::flag(
    "CCKNOWNPASS",
    19,
    &["was unconditional or has passed its check", "may have failed its condition check"],
);
pub(crate) const ERET: Bits = Bits::flag("ERET", 1, &["ERET", "ERETAA or ERETAB"]);
pub(crate) const ERETA: Bits = Bits::flag("ERETA", 0, &["ERETAA", "ERETAB"]).only_if(|esr| ERET.is_set(esr));
pub(crate) const RD: Bits = Bits::new("Rd", 9, 5, Register);
// The Arm ARM leaves the two bits of a pointer authentication failure without names.
pub(crate) const DATA_KEY: Bits = Bits::flag("DnI", 1, &["instruction key", "data key"]);
pub(crate) const B_KEY: Bits = Bits::flag("BnA", 0, &["key A", "key B"]);
pub(crate) const SMTC: Bits = Bits::new(
    "SMTC",
    2,
    0,
    Choice(&[
        "SME is switched off",
        "the instruction is not allowed in streaming mode",
        "the instruction needs streaming mode",
        "the ZA array is switched off",
        "the ZT0 register is switched off",
    ]),
);

// Aborts, watchpoints and other debug events.
const ASSURED_ONLY: Bits = Bits::flag("AssuredOnly", 39, NO_YES);
const OVERLAY: Bits =
    Bits::flag("Overlay", 38, &["not because of overlay permissions", "because of overlay permissions"]);
const TND: Bits = Bits::flag("TnD", 42, &["not a tag access", "a write of an allocation tag"]);
const TAG_ACCESS: Bits = Bits::flag("TagAccess", 41, &["not for lack of tag access", "memory allows no tag access"]);
const GCS: Bits = Bits::flag("GCS", 40, &["ordinary access", "access to a guarded control stack"]);
const DIRTY_BIT: Bits = Bits::flag("DirtyBit", 37, &["not because of dirty state", "because of dirty state"]);
const XS: Bits = Bits::new("Xs", 36, 32, Register);
pub(crate) const ISV: Bits = Bits::flag("ISV", 24, &["SAS to AR are not valid", "SAS to AR are valid"]);
pub(crate) const SAS: Bits =
    Bits::new("SAS", 23, 22, Choice(&["1 byte", "2 bytes", "4 bytes", "8 bytes"])).only_if(isv);
pub(crate) const SSE: Bits = Bits::flag("SSE", 21, &["no sign extension", "sign extension"]).only_if(isv);
pub(crate) const SRT: Bits = Bits::new("SRT", 20, 16, Register).only_if(isv);
pub(crate) const SF: Bits = Bits::flag("SF", 15, &["32-bit register", "64-bit register"]).only_if(isv);
pub(crate) const AR: Bits = Bits::flag("AR", 14, &["no ordering", "acquire or release"]).only_if(isv);
const FNP: Bits = Bits::flag("FnP", 15, &["FAR is precise", "FAR may not be precise"]);
const FNP_NO_ISV: Bits = FNP.only_if(|esr| !isv(esr));
pub(crate) const VNCR: Bits = Bits::flag("VNCR", 13, &["not through VNCR_EL2", "access through VNCR_EL2"]);
const SET_TEXTS: &[&str] = &["recoverable state (UER)", "reserved", "uncontainable (UC)", "restartable state (UEO)"];
pub(crate) const SET: Bits = Bits::new("SET", 12, 11, Choice(SET_TEXTS)).only_if(external);
pub(crate) const FNV: Bits = Bits::flag("FnV", 10, &["FAR is valid", "FAR is not valid"]);
const FNV_EXTERNAL: Bits = FNV.only_if(external);
pub(crate) const EA: Bits = Bits::flag("EA", 9, &["external abort type 0", "external abort type 1"]);
pub(crate) const CM: Bits =
    Bits::flag("CM", 8, &["not by cache maintenance", "by cache maintenance or address translation"]);
pub(crate) const S1PTW: Bits = Bits::flag("S1PTW", 7, &["not on a stage 1 walk", "stage 2 fault on a stage 1 walk"]);
pub(crate) const WNR: Bits = Bits::flag("WnR", 6, &["read", "write"]);
pub(crate) const DFSC: Bits = Bits::new("DFSC", 5, 0, Status);
pub(crate) const IFSC: Bits = Bits::new("IFSC", 5, 0, Status);
const S2PTW: Bits = Bits::flag("S2PTW", 21, &["not on a stage 2 walk", "on a stage 2 walk"]);
const IND: Bits = Bits::flag("InD", 20, &["data access", "instruction fetch"]);
const GPCSC: Bits = Bits::new("GPCSC", 19, 14, Number("granule protection check status"));
const XFSC: Bits = Bits::new("xFSC", 5, 0, Status);
pub(crate) const WPT: Bits = Bits::new("WPT", 23, 18, Number("watchpoint")).only_if(|esr| WPTV.is_set(esr));
pub(crate) const WPTV: Bits = Bits::flag("WPTV", 17, &["WPT is not valid", "WPT is valid"]);
const WPF: Bits = Bits::flag("WPF", 16, &["the address matched", "the address may not have matched"]);
pub(crate) const STEP_ISV: Bits = Bits::flag("ISV", 24, &["EX is not valid", "EX is valid"]);
pub(crate) const EX: Bits =
    Bits::flag("EX", 6, &["no exclusive load was stepped", "an exclusive load was stepped"]).only_if(isv);
pub(crate) const COMMENT: Bits = Bits::new("Comment", 15, 0, Number("immediate"));

// The rest.
pub(crate) const MEM_INST: Bits = Bits::flag("MemInst", 24, &["memory copy", "memory set"]);
const IS_SETG: Bits = Bits::flag("isSETG", 23, &["no tags set", "sets tags too"]).only_if(|esr| MEM_INST.is_set(esr));
const OPTIONS: Bits = Bits::new("Options", 22, 19, Number("options"));
pub(crate) const FROM_EPILOGUE: Bits = Bits::flag("FromEpilogue", 18, &["main part", "epilogue"]);
pub(crate) const WRONG_OPTION: Bits =
    Bits::flag("WrongOption", 17, &["the option fits this CPU", "another CPU's option"]);
pub(crate) const OPTION_A: Bits = Bits::flag("OptionA", 16, &["option B", "option A"]);
pub(crate) const DESTREG: Bits = Bits::new("destreg", 14, 10, Register);
pub(crate) const SRCREG: Bits = Bits::new("srcreg", 9, 5, Register);
pub(crate) const SIZEREG: Bits = Bits::new("sizereg", 4, 0, Register);
pub(crate) const TFV: Bits = Bits::flag("TFV", 23, &["the flags are not valid", "the flags are valid"]);
const VECITR: Bits = Bits::new("VECITR", 10, 8, Number("vector iteration count of AArch32:"));
pub(crate) const IDF: Bits = Bits::flag("IDF", 7, NO_YES).only_if(tfv);
pub(crate) const IXF: Bits = Bits::flag("IXF", 4, NO_YES).only_if(tfv);
pub(crate) const UFF: Bits = Bits::flag("UFF", 3, NO_YES).only_if(tfv);
pub(crate) const OFF: Bits = Bits::flag("OFF", 2, NO_YES).only_if(tfv);
pub(crate) const DZF: Bits = Bits::flag("DZF", 1, NO_YES).only_if(tfv);
pub(crate) const IOF: Bits = Bits::flag("IOF", 0, NO_YES).only_if(tfv);
pub(crate) const EX_TYPE: Bits = Bits::new(
    "ExType",
    23,
    20,
    Choice(&["the address on the stack does not match", "the exception return is locked", "trapped stack store"]),
);
const RADDR: Bits = Bits::new("Raddr", 14, 10, Register).only_if(|esr| EX_TYPE.of(esr) == 2);
const RVALUE: Bits = Bits::new("Rvalue", 9, 5, Register).only_if(|esr| EX_TYPE.of(esr) == 2);
const GCS_RN: Bits = Bits::new("Rn", 9, 5, Register).only_if(|esr| EX_TYPE.of(esr) == 0);
pub(crate) const IT: Bits = Bits::new("IT", 4, 0, Number("instruction type")).only_if(|esr| EX_TYPE.of(esr) == 0);
pub(crate) const IDS: Bits = Bits::flag("IDS", 24, &["as the architecture says", "implementation defined"]);
const IDS_ISS: Bits = Bits::new("ISS", 23, 0, Number("implementation defined:")).only_if(|esr| IDS.is_set(esr));
pub(crate) const IESB: Bits =
    Bits::flag("IESB", 13, &["not synchronised by an error barrier", "synchronised by an error barrier"]).only_if(aet);
const AET_TEXTS: &[&str] = &[
    "uncontainable (UC)",
    "unrecoverable state (UEU)",
    "restartable state (UEO)",
    "recoverable state (UER)",
    "reserved",
    "reserved",
    "corrected (CE)",
];
pub(crate) const AET: Bits = Bits::new("AET", 12, 10, Choice(AET_TEXTS)).only_if(aet);
pub(crate) const SERROR_EA: Bits = EA.only_if(aet);
pub(crate) const SERROR_DFSC: Bits = Bits::new("DFSC", 5, 0, ErrorStatus).only_if(|esr| !IDS.is_set(esr));

fn isv(esr: Esr) -> bool {
    ISV.is_set(esr)
}

fn tfv(esr: Esr) -> bool {
    TFV.is_set(esr)
}

/// An abort by the access itself: only then do SET and FnV mean something.
fn external(esr: Esr) -> bool {
    matches!(esr.fault_status(), FaultStatus::External)
}

/// An SError whose severity is told.
fn aet(esr: Esr) -> bool {
    !IDS.is_set(esr) && DFSC.of(esr) == SERROR_ASYNCHRONOUS
}

const CP_32: &[Bits] = &[CV, COND, OP2, OP1, CRN, RT, CRM, DIRECTION];
const CP_64: &[Bits] = &[CV, COND, MCRR_OP1, RT2, RT, CRM, DIRECTION];

/// The fields of ISS by class, from bit 24 down. Of two that overlap at most one is valid.
const fn iss(ec: Ec) -> &'static [Bits] {
    match ec {
        Ec::WFX => &[CV, COND, RN, RV, TI],
        Ec::CP15_32 | Ec::CP14_32 | Ec::VMRS => CP_32,
        Ec::CP15_64 | Ec::CP14_64 => CP_64,
        Ec::CP14_LS => &[CV, COND, IMM8, LS_RN, ADD, AM, LOAD],
        Ec::FP_SIMD => &[CV, COND],
        Ec::LS64 => &[LS64_CAUSE],
        Ec::BTI => &[BTYPE],
        Ec::SVC32 | Ec::HVC32 | Ec::SVC64 | Ec::HVC64 | Ec::SMC64 => &[IMM16],
        Ec::SMC32 => &[CV, COND, CCKNOWNPASS],
        Ec::SYSTEM128 => &[OP0, OP2, OP1, CRN, RT_PAIR, CRM, DIRECTION],
        Ec::SYSTEM => &[OP0, OP2, OP1, CRN, RT, CRM, DIRECTION],
        Ec::ERET => &[ERET, ERETA],
        Ec::TSTART => &[RD],
        Ec::FPAC => &[DATA_KEY, B_KEY],
        Ec::SME => &[SMTC],
        Ec::GRANULE_PROTECTION => &[S2PTW, IND, GPCSC, VNCR, CM, S1PTW, WNR, XFSC],
        Ec::IMPLEMENTATION_DEFINED | Ec::PROFILING => &[OPAQUE],
        Ec::INSTRUCTION_ABORT_LOWER | Ec::INSTRUCTION_ABORT_CURRENT => &[SET, FNV_EXTERNAL, EA, S1PTW, IFSC],
        Ec::DATA_ABORT_LOWER | Ec::DATA_ABORT_CURRENT => {
            &[ISV, SAS, SSE, SRT, SF, FNP_NO_ISV, AR, VNCR, SET, FNV_EXTERNAL, EA, CM, S1PTW, WNR, DFSC]
        }
        Ec::MOPS => &[MEM_INST, IS_SETG, OPTIONS, FROM_EPILOGUE, WRONG_OPTION, OPTION_A, DESTREG, SRCREG, SIZEREG],
        Ec::FP32 | Ec::FP64 => &[TFV, VECITR, IDF, IXF, UFF, OFF, DZF, IOF],
        Ec::GCS => &[EX_TYPE, RADDR, RVALUE, GCS_RN, IT],
        Ec::SERROR => &[IDS, IDS_ISS, IESB, AET, SERROR_EA, SERROR_DFSC],
        Ec::BREAKPOINT_LOWER | Ec::BREAKPOINT_CURRENT | Ec::VECTOR_CATCH32 => &[IFSC],
        Ec::STEP_LOWER | Ec::STEP_CURRENT => &[STEP_ISV, EX, IFSC],
        Ec::WATCHPOINT_LOWER | Ec::WATCHPOINT_CURRENT => &[WPT, WPTV, WPF, FNP, VNCR, FNV, CM, WNR, DFSC],
        Ec::BKPT32 | Ec::BRK64 => &[COMMENT],
        Ec::UNKNOWN | Ec::PAUTH | Ec::ILLEGAL_STATE | Ec::SVE | Ec::PC_ALIGNMENT | Ec::SP_ALIGNMENT => &[],
        _ => &[OPAQUE],
    }
}

/// The fields of ISS2 by class, from bit 55 down.
const fn iss2(ec: Ec) -> &'static [Bits] {
    match ec {
        Ec::INSTRUCTION_ABORT_LOWER | Ec::INSTRUCTION_ABORT_CURRENT => &[ASSURED_ONLY, OVERLAY],
        Ec::DATA_ABORT_LOWER | Ec::DATA_ABORT_CURRENT => &[TND, TAG_ACCESS, GCS, ASSURED_ONLY, OVERLAY, DIRTY_BIT, XS],
        _ => &[],
    }
}

impl Esr {
    /// Whether FAR_EL1 holds this exception's address (Arm ARM, "FAR_EL1"): its class must write it, and FnV must not
    /// say otherwise. FnV counts only for a watchpoint and for an external abort that was not on a table walk.
    pub const fn far_valid(self) -> bool {
        let fnv_counts = !self.ec().is_abort() || matches!(self.fault_status(), FaultStatus::External);
        match self.ec() {
            Ec::PC_ALIGNMENT | Ec::GRANULE_PROTECTION => true,
            ec => ec.writes_far() && !(fnv_counts && FNV.is_set(self)),
        }
    }

    /// The whole register field by field, from bit 63 down to bit 0; every bit is in exactly one row. Bits that mean
    /// nothing in this value are rows named `RES0`.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        let ec = self.ec();
        let known = iss2(ec).iter().chain(&[EC, IL]).chain(iss(ec));
        let mut known = known.copied().filter(move |bits| (bits.valid)(self)).peekable();
        // All bits from this one up have been told.
        let mut told = 64;
        core::iter::from_fn(move || {
            if told == 0 {
                return None;
            }
            let bits = known.next_if(|bits| bits.hi + 1 == told).unwrap_or_else(|| {
                let lo = known.peek().map_or(0, |next| next.hi + 1);
                Bits::new("RES0", told - 1, lo, Nothing)
            });
            told = bits.lo;
            let Bits { name, hi, lo, .. } = bits;
            Some(Field { name, hi, lo, value: bits.of(self), words: bits.words(self) })
        })
    }

    /// The fields as aligned lines under a heading; see [`Table`].
    pub fn table(self) -> Table {
        Table(self)
    }
}

/// A syndrome field by field, one a line. `{}` leaves out reserved bits and ISS2 where they are 0; `{:#}` tells every bit.
#[derive(Clone, Copy, Debug)]
pub struct Table(Esr);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = f.alternate();
        let fields = || self.0.fields().filter(|field| all || field.value != 0 || !field.is_optional());
        let width = fields().map(|field| field.name.len()).fold("FIELD".len(), usize::max);
        writeln!(f, "{:>7}  {:<width$}  {:>10}  MEANING", "BITS", "FIELD", "VALUE")?;
        fields().try_for_each(|Field { name, hi, lo, value, words }| {
            let mut bits = String::<5>::new();
            write!(bits, "{hi}")?;
            if hi != lo {
                write!(bits, ":{lo}")?;
            }
            writeln!(f, "{bits:>7}  {name:<width$}  {value:>#10x}  {words}")
        })
    }
}
