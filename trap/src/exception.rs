//! A syndrome as types: [`Esr::decode`] says which exception it was and with what particulars.
//!
//! Total: every one of the 2^64 values decodes; what the architecture does not allocate is kept raw. Positions of fields
//! come from [`crate::fields`]. "Lower" is EL0 in ESR_EL1.

use crate::esr::{Ec, Esr};
use crate::fault::{FaultStatus, Severity};
use crate::fields as part;
use crate::sysreg::SystemRegister;

/// A decoded syndrome, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// 00: an undefined instruction, or a cause without a class.
    Unknown,
    /// 01: WFI, WFE, WFIT or WFET.
    Wait {
        /// Which.
        instruction: Wait,
        /// The register with the time-out, for WFIT and WFET where the CPU tells it.
        timeout: Option<u8>,
    },
    /// 03, 05, 08: MCR, MRC or VMRS of coprocessor 15, 14 or 10.
    Coprocessor(CoprocessorAccess),
    /// 04, 0C: MCRR or MRRC of coprocessor 15 or 14.
    CoprocessorPair(CoprocessorPairAccess),
    /// 06: LDC or STC of coprocessor 14.
    CoprocessorMemory {
        /// LDC, a load from memory; else STC.
        load: bool,
        /// The base register, if the address is not relative to the PC.
        base: Option<u8>,
        /// Bytes from the base to the memory.
        offset: i16,
    },
    /// 07: the floating-point, SIMD or SVE registers are switched off.
    FpSimd,
    /// 09: a pointer authentication instruction or key register.
    PointerAuthentication,
    /// 0A: ST64BV (0), ST64BV0 (1), LD64B or ST64B (2).
    LoadStore64(u32),
    /// 0D: an indirect branch ended on an instruction that is no branch target; the value is PSTATE.BTYPE.
    BranchTarget(u8),
    /// 0E: PSTATE.IL was set.
    IllegalState,
    /// 11 to 13, 15 to 17: SVC, HVC or SMC.
    Call {
        /// Which.
        instruction: Call,
        /// From AArch32.
        aarch32: bool,
        /// The immediate, which SMC of AArch32 does not tell.
        immediate: Option<u16>,
    },
    /// 18: MSR, MRS or a system instruction.
    System(SystemAccess),
    /// 14: MSRR, MRRS or SYSP; the first of the two registers is told.
    System128(SystemAccess),
    /// 19: SVE is switched off.
    Sve,
    /// 1A: an exception return.
    Eret {
        /// ERETAA or ERETAB; else ERET.
        authenticated: bool,
        /// ERETAB.
        key_b: bool,
    },
    /// 1B: TSTART into this register.
    TransactionStart(u8),
    /// 1C: pointer authentication failed.
    AuthenticationFailure {
        /// With a data key; else an instruction key.
        data_key: bool,
        /// With key B; else key A.
        key_b: bool,
    },
    /// 1D: SME cannot be used now. The reason (SMTC): 0 off, 1 not in streaming mode, 2 only in streaming mode, 3 ZA off,
    /// 4 ZT0 off.
    Sme(u8),
    /// 1E: a granule protection check failed (taken to EL3).
    GranuleProtection(FaultStatus),
    /// 20, 21.
    InstructionAbort(Abort),
    /// 22.
    PcAlignment,
    /// 24, 25.
    DataAbort(Abort, DataAccess),
    /// 26.
    SpAlignment,
    /// 27: CPY* or SET* continued on a CPU that does them otherwise.
    MemoryOperation(MemoryOperation),
    /// 28, 2C: a trapped floating-point exception.
    Float {
        /// From AArch32.
        aarch32: bool,
        /// Which; none when the CPU does not tell (TFV).
        flags: Option<FloatFlags>,
    },
    /// 2D: a guarded control stack. The reason (ExType): 0 data check, 1 EXLOCK, 2 trapped store.
    GuardedControlStack(u8),
    /// 2F: SError.
    SError(SError),
    /// 30, 31: a hardware breakpoint.
    Breakpoint {
        /// From a lower level.
        lower: bool,
    },
    /// 32, 33: a single step.
    Step {
        /// From a lower level.
        lower: bool,
        /// Whether a load-exclusive was stepped, where the CPU tells.
        exclusive: Option<bool>,
    },
    /// 34, 35: a watchpoint.
    Watchpoint {
        /// From a lower level.
        lower: bool,
        /// The access was a write.
        write: bool,
        /// The watchpoint's number, where the CPU tells.
        number: Option<u8>,
    },
    /// 38: BKPT of AArch32 with this immediate.
    Bkpt32(u16),
    /// 3A: vector catch of AArch32.
    VectorCatch,
    /// 3C: BRK with this immediate.
    Brk(u16),
    /// 3D: a profiling exception.
    Profiling,
    /// 1F: what the implementation says.
    ImplementationDefined,
    /// A class that the architecture does not allocate, with the whole register.
    Unallocated(Esr),
}

/// A trapped wait instruction, ISS.TI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of instructions")]
pub enum Wait {
    Wfi,
    Wfe,
    Wfit,
    Wfet,
}

/// A call to a higher level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of instructions")]
pub enum Call {
    Svc,
    Hvc,
    Smc,
}

/// MCR or MRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of the instruction; `read` is MRC")]
pub struct CoprocessorAccess {
    pub coprocessor: u8,
    pub opc1: u8,
    pub rt: u8,
    pub crn: u8,
    pub crm: u8,
    pub opc2: u8,
    pub read: bool,
}

/// MCRR or MRRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of the instruction; `read` is MRRC")]
pub struct CoprocessorPairAccess {
    pub coprocessor: u8,
    pub opc1: u8,
    pub rt: u8,
    pub rt2: u8,
    pub crm: u8,
    pub read: bool,
}

/// MSR, MRS, or a system instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemAccess {
    /// What is accessed.
    pub register: SystemRegister,
    /// The general-purpose register, 31 for xzr.
    pub rt: u8,
    /// MRS; else MSR or SYS.
    pub read: bool,
}

/// What instruction and data aborts have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// From a lower level.
    pub lower: bool,
    /// Why.
    pub status: FaultStatus,
    /// For an external abort: the state the CPU is left in (SET).
    pub severity: Option<Severity>,
    /// A second-stage fault on the table walk of the first stage.
    pub stage1_walk: bool,
    /// FAR holds the address.
    pub far_valid: bool,
}

/// The access of a data abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAccess {
    /// It was a write (also set for `maintenance`).
    pub write: bool,
    /// It was cache maintenance or an address translation instruction.
    pub maintenance: bool,
    /// It was made through VNCR_EL2.
    pub vncr: bool,
    /// The instruction, where ISV says that it is told: enough to emulate a device.
    pub transfer: Option<Transfer>,
}

/// A single-register load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// 1, 2, 4 or 8 bytes.
    pub bytes: u8,
    /// A load extends the sign.
    pub sign_extend: bool,
    /// The register, 31 for xzr.
    pub register: u8,
    /// The register is 64 bits wide.
    pub wide: bool,
    /// With acquire or release.
    pub ordered: bool,
}

/// A memory copy or memory set instruction (ISS of class 27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryOperation {
    /// SET*; else CPY*.
    pub set: bool,
    /// In the epilogue; else in the main part.
    pub epilogue: bool,
    /// The registers are in the form of the other option (A or B).
    pub wrong_option: bool,
    /// The registers are in the form of option A.
    pub option_a: bool,
    /// Number of the destination register.
    pub destination: u8,
    /// Number of the source register.
    pub source: u8,
    /// Number of the size register.
    pub size: u8,
}

/// The trapped floating-point exceptions (ISS of classes 28 and 2C).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloatFlags {
    /// IOF.
    pub invalid_operation: bool,
    /// DZF.
    pub division_by_zero: bool,
    /// OFF.
    pub overflow: bool,
    /// UFF.
    pub underflow: bool,
    /// IXF.
    pub inexact: bool,
    /// IDF.
    pub input_denormal: bool,
}

/// An SError.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SError {
    /// What it left behind.
    pub severity: Severity,
    /// EA, the type of external abort, which the implementation defines.
    pub external_type: bool,
    /// It was synchronised by an implicit error barrier (IESB).
    pub synchronised: bool,
}

impl DataAccess {
    /// Whether the access needed the right to write. Cache maintenance reports a write but needs no more than a read.
    pub const fn is_write(self) -> bool {
        self.write && !self.maintenance
    }
}

impl Esr {
    /// The exception with its particulars.
    pub fn decode(self) -> Exception {
        let lower = |lower_class| self.ec() == lower_class;
        match self.ec() {
            Ec::UNKNOWN => Exception::Unknown,
            Ec::WFX => Exception::Wait {
                instruction: [Wait::Wfi, Wait::Wfe, Wait::Wfit, Wait::Wfet][part::TI.of(self) as usize],
                timeout: part::RN.get(self),
            },
            Ec::CP15_32 => self.coprocessor(15),
            Ec::CP14_32 => self.coprocessor(14),
            Ec::VMRS => self.coprocessor(10),
            Ec::CP15_64 => self.coprocessor_pair(15),
            Ec::CP14_64 => self.coprocessor_pair(14),
            Ec::CP14_LS => {
                let bytes = part::IMM8.of(self) as i16 * 4;
                Exception::CoprocessorMemory {
                    load: part::LOAD.is_set(self),
                    base: part::LS_RN.get(self),
                    offset: if part::ADD.is_set(self) { bytes } else { -bytes },
                }
            }
            Ec::FP_SIMD => Exception::FpSimd,
            Ec::PAUTH => Exception::PointerAuthentication,
            Ec::LS64 => Exception::LoadStore64(self.iss()),
            Ec::BTI => Exception::BranchTarget(part::BTYPE.small(self)),
            Ec::ILLEGAL_STATE => Exception::IllegalState,
            Ec::SVC32 => self.call(Call::Svc, true),
            Ec::HVC32 => self.call(Call::Hvc, true),
            Ec::SMC32 => Exception::Call { instruction: Call::Smc, aarch32: true, immediate: None },
            Ec::SVC64 => self.call(Call::Svc, false),
            Ec::HVC64 => self.call(Call::Hvc, false),
            Ec::SMC64 => self.call(Call::Smc, false),
            Ec::SYSTEM => Exception::System(self.system_access()),
            Ec::SYSTEM128 => Exception::System128(self.system(part::RT_PAIR.small(self) * 2)),
            Ec::SVE => Exception::Sve,
            Ec::ERET => {
                Exception::Eret { authenticated: part::ERET.is_set(self), key_b: part::ERETA.get(self) == Some(1) }
            }
            Ec::TSTART => Exception::TransactionStart(part::RD.small(self)),
            Ec::FPAC => Exception::AuthenticationFailure {
                data_key: part::DATA_KEY.is_set(self),
                key_b: part::B_KEY.is_set(self),
            },
            Ec::SME => Exception::Sme(part::SMTC.small(self)),
            Ec::GRANULE_PROTECTION => Exception::GranuleProtection(self.fault_status()),
            Ec::IMPLEMENTATION_DEFINED => Exception::ImplementationDefined,
            Ec::INSTRUCTION_ABORT_LOWER | Ec::INSTRUCTION_ABORT_CURRENT => {
                Exception::InstructionAbort(self.abort(lower(Ec::INSTRUCTION_ABORT_LOWER)))
            }
            Ec::PC_ALIGNMENT => Exception::PcAlignment,
            Ec::DATA_ABORT_LOWER | Ec::DATA_ABORT_CURRENT => {
                Exception::DataAbort(self.abort(lower(Ec::DATA_ABORT_LOWER)), self.data_access())
            }
            Ec::SP_ALIGNMENT => Exception::SpAlignment,
            Ec::MOPS => Exception::MemoryOperation(MemoryOperation {
                set: part::MEM_INST.is_set(self),
                epilogue: part::FROM_EPILOGUE.is_set(self),
                wrong_option: part::WRONG_OPTION.is_set(self),
                option_a: part::OPTION_A.is_set(self),
                destination: part::DESTREG.small(self),
                source: part::SRCREG.small(self),
                size: part::SIZEREG.small(self),
            }),
            Ec::FP32 | Ec::FP64 => Exception::Float {
                aarch32: self.ec() == Ec::FP32,
                flags: part::TFV.is_set(self).then(|| FloatFlags {
                    invalid_operation: part::IOF.is_set(self),
                    division_by_zero: part::DZF.is_set(self),
                    overflow: part::OFF.is_set(self),
                    underflow: part::UFF.is_set(self),
                    inexact: part::IXF.is_set(self),
                    input_denormal: part::IDF.is_set(self),
                }),
            },
            Ec::GCS => Exception::GuardedControlStack(part::EX_TYPE.small(self)),
            Ec::SERROR => Exception::SError(SError {
                severity: self.serror_severity(),
                external_type: part::SERROR_EA.get(self) == Some(1),
                synchronised: part::IESB.get(self) == Some(1),
            }),
            Ec::BREAKPOINT_LOWER | Ec::BREAKPOINT_CURRENT => {
                Exception::Breakpoint { lower: lower(Ec::BREAKPOINT_LOWER) }
            }
            Ec::STEP_LOWER | Ec::STEP_CURRENT => Exception::Step {
                lower: lower(Ec::STEP_LOWER),
                exclusive: part::EX.get(self).map(|exclusive| exclusive != 0),
            },
            Ec::WATCHPOINT_LOWER | Ec::WATCHPOINT_CURRENT => Exception::Watchpoint {
                lower: lower(Ec::WATCHPOINT_LOWER),
                write: part::WNR.is_set(self),
                number: part::WPT.get(self),
            },
            Ec::BKPT32 => Exception::Bkpt32(part::COMMENT.of(self) as u16),
            Ec::VECTOR_CATCH32 => Exception::VectorCatch,
            Ec::BRK64 => Exception::Brk(part::COMMENT.of(self) as u16),
            Ec::PROFILING => Exception::Profiling,
            _ => Exception::Unallocated(self),
        }
    }

    fn coprocessor(self, coprocessor: u8) -> Exception {
        Exception::Coprocessor(CoprocessorAccess {
            coprocessor,
            opc1: part::OP1.small(self),
            rt: part::RT.small(self),
            crn: part::CRN.small(self),
            crm: part::CRM.small(self),
            opc2: part::OP2.small(self),
            read: part::DIRECTION.is_set(self),
        })
    }

    fn coprocessor_pair(self, coprocessor: u8) -> Exception {
        Exception::CoprocessorPair(CoprocessorPairAccess {
            coprocessor,
            opc1: part::MCRR_OP1.small(self),
            rt: part::RT.small(self),
            rt2: part::RT2.small(self),
            crm: part::CRM.small(self),
            read: part::DIRECTION.is_set(self),
        })
    }

    fn call(self, instruction: Call, aarch32: bool) -> Exception {
        Exception::Call { instruction, aarch32, immediate: Some(part::IMM16.of(self) as u16) }
    }

    /// What [`Exception::System`] holds, of an exception known to be one.
    #[inline]
    pub fn system_access(self) -> SystemAccess {
        self.system(part::RT.small(self))
    }

    /// Of class 18: whether it was this access, by whatever general-purpose register. Cheaper than [`Esr::system_access`].
    #[inline]
    pub const fn is_access(self, register: SystemRegister, read: bool) -> bool {
        let SystemRegister { op0, op1, crn, crm, op2 } = register;
        let encoding = part::OP0.put(op0) | part::OP1.put(op1) | part::CRN.put(crn) | part::CRM.put(crm);
        let iss = encoding | part::OP2.put(op2) | part::DIRECTION.put(read as u8);
        self.iss() as u64 & !part::RT.put(31) == iss
    }

    /// Of class 18: CRm and op2 of a read with op0 = 3, op1 = 0 and CRn = 0, where the ID registers are.
    #[inline]
    pub const fn id_register(self) -> Option<(u8, u8)> {
        let (crm, op2) = (part::CRM.small(self), part::OP2.small(self));
        let register = SystemRegister { op0: 3, op1: 0, crn: 0, crm, op2 };
        if self.is_access(register, true) { Some((crm, op2)) } else { None }
    }

    /// [`Abort::stage1_walk`] of an exception known to be an abort.
    #[inline]
    pub fn stage1_walk(self) -> bool {
        part::S1PTW.is_set(self)
    }

    #[inline]
    fn system(self, rt: u8) -> SystemAccess {
        let register = SystemRegister {
            op0: part::OP0.small(self),
            op1: part::OP1.small(self),
            crn: part::CRN.small(self),
            crm: part::CRM.small(self),
            op2: part::OP2.small(self),
        };
        SystemAccess { register, rt, read: part::DIRECTION.is_set(self) }
    }

    fn abort(self, lower: bool) -> Abort {
        Abort {
            lower,
            status: self.fault_status(),
            severity: part::SET.get(self).map(Severity::from_set),
            stage1_walk: self.stage1_walk(),
            far_valid: self.far_valid(),
        }
    }

    /// The access of an exception known to be a data abort.
    #[inline]
    pub fn data_access(self) -> DataAccess {
        let transfer = part::ISV.is_set(self).then(|| Transfer {
            bytes: 1 << part::SAS.small(self),
            sign_extend: part::SSE.is_set(self),
            register: part::SRT.small(self),
            wide: part::SF.is_set(self),
            ordered: part::AR.is_set(self),
        });
        DataAccess {
            write: part::WNR.is_set(self),
            maintenance: part::CM.is_set(self),
            vncr: part::VNCR.is_set(self),
            transfer,
        }
    }

    fn serror_severity(self) -> Severity {
        match (part::AET.get(self), part::SERROR_DFSC.get(self)) {
            (Some(aet), _) => Severity::from_aet(aet),
            (None, Some(0)) => Severity::Uncategorised,
            (None, Some(_)) => Severity::Reserved,
            (None, None) => Severity::ImplementationDefined,
        }
    }
}
