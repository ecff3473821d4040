//! Trapped system registers and instructions: what becomes of a guest's MSR, MRS or SYS (class 0x18), and what it reads
//! in the ID registers.
//!
//! The ID registers are read once, at boot, and shown through a filter ([`SystemRegisters::new`]): a guest is told of
//! those features only that the hypervisor virtualises or that need nothing from it. The filter lists what stays, so
//! that what a later architecture adds is hidden. What is hidden is also switched off, by traps: they end in an
//! undefined instruction.
//!
//! Source: Arm ARM, the page of each register, for its encoding and fields.

use crate::timer;
use trap::exception::SystemAccess;
use trap::sysreg::SystemRegister;

/// Which interrupt controller the guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gic {
    /// GICv2: its CPU interface is memory, and there are no registers for it.
    V2,
    /// GICv3: with system registers.
    V3,
}

/// A register of a CPU's interface that sends SGIs, by a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiRegister {
    /// ICC_SGI1R_EL1: group 1 of this security state.
    Sgi1r,
    /// ICC_ASGI1R_EL1: group 1 of the other security state.
    Asgi1r,
    /// ICC_SGI0R_EL1: group 0.
    Sgi0r,
}

/// What becomes of a trapped access. Afterwards the guest goes on with the next instruction, but for
/// [`Undefined`](Action::Undefined).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Rt becomes this.
    Read(u64),
    /// A write without effect.
    Ignore,
    /// An SGI is to be sent: the virtual GIC knows what the value says.
    SendSgi(SgiRegister, u64),
    /// Rt becomes what the emulated physical timer's register reads.
    ReadTimer(timer::Register),
    /// The register of the emulated physical timer is written.
    WriteTimer(timer::Register, u64),
    /// Rt becomes the physical count.
    ReadCount,
    /// DC ISW, CSW or CISW. What a guest means by it is "all my memory", which sets and ways cannot say of a machine
    /// that it shares: its RAM is to be cleaned and invalidated by address.
    SetWay,
    /// The guest is to take an undefined instruction exception.
    Undefined,
}

/// The system registers of a guest, as far as they are the same on all its vCPUs.
#[derive(Clone, Debug)]
pub struct SystemRegisters {
    gic: Gic,
    /// By CRm - 1 and op2.
    id: [[u64; 8]; 7],
}

impl SystemRegisters {
    /// The registers of a guest with this GIC on a CPU whose ID registers read as `physical` says. It is asked for all
    /// of op0 = 3, op1 = 0, CRn = 0, CRm = 1 to 7, op2 = 0 to 7, which read as 0 where they are not allocated.
    pub fn new(gic: Gic, physical: impl Fn(SystemRegister) -> u64) -> SystemRegisters {
        let shown = |crm: usize, op2: usize| {
            let register = SystemRegister { op0: 3, op1: 0, crn: 0, crm: crm as u8, op2: op2 as u8 };
            filter(register, physical(register), gic)
        };
        SystemRegisters { gic, id: core::array::from_fn(|row| core::array::from_fn(|op2| shown(row + 1, op2))) }
    }

    /// Which GIC the guest has.
    #[inline]
    pub fn gic(&self) -> Gic {
        self.gic
    }

    /// What becomes of `access`, which writes `written` (the value of Rt, or 0 of xzr) if it is a write.
    #[inline]
    pub fn access(&self, access: SystemAccess, written: u64) -> Action {
        if let Some(value) = self.id_of(access) {
            return Action::Read(value);
        }
        let SystemRegister { op0, op1, crn, crm, op2 } = access.register;
        let zero = if access.read { Action::Read(0) } else { Action::Ignore };
        match (op0, op1, crn, crm, op2) {
            // DC ISW, CSW and CISW (HCR_EL2.TSW).
            (1, 0, 7, 6 | 10 | 14, 2) => Action::SetWay,
            // OSLSR_EL1.OSLM: there is an OS lock; and it is open.
            (2, 0, 1, 1, 4) if access.read => Action::Read(1 << 3),
            // The debug registers (MDCR_EL2.TDA, TDOSA, TDRA): no breakpoint hits, nothing steps, no debugger is there.
            (2, 0 | 3, ..) => zero,
            // ACTLR_EL1 (HCR_EL2.TACR) is the implementation's.
            (3, 0, 1, 0, 1) => zero,
            // ERRIDR_EL1 and the records it counts, none (HCR_EL2.TERR).
            (3, 0, 5, 3..=5, _) => zero,
            // The PMU (MDCR_EL2.TPM, TPMCR): PMINTENSET_EL1 and its like, PMCR_EL0 and its like, the event counters.
            (3, 0, 9, 14, _) | (3, 3, 9, 12..=14, _) | (3, 3, 14, 8..=15, _) => zero,
            (3, 0, 12, ..) if self.gic == Gic::V3 => cpu_interface(access, written, zero),
            // CNTPCT_EL0 and CNTPCTSS_EL0 (CNTHCTL_EL2.EL1PCTEN).
            (3, 3, 14, 0, 1 | 5) if access.read => Action::ReadCount,
            // CNTP_TVAL_EL0, CNTP_CTL_EL0 and CNTP_CVAL_EL0 (CNTHCTL_EL2.EL1PCEN).
            (3, 3, 14, 2, 0..=2) => {
                let register = [timer::Register::Tval, timer::Register::Ctl, timer::Register::Cval][usize::from(op2)];
                if access.read { Action::ReadTimer(register) } else { Action::WriteTimer(register, written) }
            }
            _ => Action::Undefined,
        }
    }

    /// What the guest reads, if `access` reads an ID register, allocated or not (HCR_EL2.TID3).
    #[inline]
    pub fn id_of(&self, access: SystemAccess) -> Option<u64> {
        match access.register {
            SystemRegister { op0: 3, op1: 0, crn: 0, crm, op2 } if access.read => self.id(crm, op2),
            _ => None,
        }
    }

    /// The same, by its CRm and op2; none if CRm is not that of an ID register that traps.
    #[inline]
    pub fn id(&self, crm: u8, op2: u8) -> Option<u64> {
        self.id.get(usize::from(crm).wrapping_sub(1))?.get(usize::from(op2)).copied()
    }
}

/// The registers of the GIC's CPU interface that are trapped: the SGIs because IMO is set, and those of group 0, which
/// no guest has an interrupt in (GIC specification IHI 0069, "AArch64 System register descriptions").
#[inline]
fn cpu_interface(access: SystemAccess, written: u64, zero: Action) -> Action {
    /// What ICC_IAR0_EL1 and ICC_HPPIR0_EL1 read when nothing is pending.
    const SPURIOUS: u64 = 1023;
    let SystemRegister { crm, op2, .. } = access.register;
    match (crm, op2) {
        (11, 5) if !access.read => Action::SendSgi(SgiRegister::Sgi1r, written),
        (11, 6) if !access.read => Action::SendSgi(SgiRegister::Asgi1r, written),
        (11, 7) if !access.read => Action::SendSgi(SgiRegister::Sgi0r, written),
        (8, 0 | 2) if access.read => Action::Read(SPURIOUS),
        // EOIR0, BPR0, AP0R0 to AP0R3; IGRPEN0.
        (8, 1 | 3..=7) | (12, 6) => zero,
        _ => Action::Undefined,
    }
}

/// What a guest sees of an ID register, whose fields are 4 bits wide each.
struct Shown {
    /// The bits of fields shown as they are: those that need nothing from the hypervisor.
    keep: u64,
    /// The lowest bits of fields shown up to a value, where greater ones tell of more.
    limit: &'static [(u32, u64)],
    /// What is shown whatever the CPU says.
    fixed: u64,
}

/// What a guest reads in an ID register that physically reads `value`.
fn filter(register: SystemRegister, value: u64, gic: Gic) -> u64 {
    let show = |keep, limit, fixed| Shown { keep, limit, fixed };
    // ID_PFR1_EL1.GIC and ID_AA64PFR0_EL1.GIC: the system registers of the CPU interface.
    let gic_registers = u64::from(gic == Gic::V3);
    let Shown { keep, limit, fixed } = match (register.crm, register.op2) {
        // ID_PFR0_EL1: State0 to State3, DIT; CSV2 and RAS as in ID_AA64PFR0_EL1. Not AMU.
        (1, 0) => show(0x0f00_ffff, &[(16, 1), (28, 1)], 0),
        // ID_PFR1_EL1: ProgMod, MProgMod, GenTimer. Not Security, Virtualization and their fractions: no EL3, no EL2.
        (1, 1) => show(0x000f_0f0f, &[], gic_registers << 28),
        // ID_DFR0_EL1: CopDbg, of Armv8.0. Not trace, PMU.
        (1, 2) => show(0, &[(0, 6)], 0),
        // ID_MMFR0_EL1 to ID_MMFR3_EL1: how AArch32 EL1, which no guest has, would see memory. ID_ISAR0_EL1 to
        // ID_ISAR6_EL1: instructions. MVFR0_EL1 to MVFR2_EL1: floating point of AArch32.
        (1, 4..=7) | (2, 0..=5 | 7) | (3, 0..=2) => show(0xffff_ffff, &[], 0),
        // ID_MMFR4_EL1: all but XNX and EVT, which are about stage 2 and EL2's traps.
        (2, 6) => show(0x0fff_f0ff, &[], 0),
        // ID_PFR2_EL1: CSV3, SSBS. Not RAS_frac.
        (3, 4) => show(0xff, &[], 0),
        // ID_MMFR5_EL1: ETS, nTLBPA.
        (3, 6) => show(0xff, &[], 0),
        // ID_AA64PFR0_EL1: EL0, in AArch32 too if it can; EL1 in AArch64 only, as HCR_EL2.RW is 1; FP, AdvSIMD; RAS,
        // for ESB and DISR_EL1, which work on virtual SErrors, but no later version of it, whose fault injection is the
        // machine's; DIT; CSV2 without SCXTNUM_ELx, which are not switched; CSV3. Not EL2, EL3, secure EL2, SVE (its
        // registers are not switched), MPAM, AMU, realms.
        (4, 0) => show(0xf00f_0000_00ff_0000, &[(0, 2), (4, 1), (28, 1), (56, 1)], gic_registers << 24),
        // ID_AA64PFR1_EL1: BT and SSBS, which are in PSTATE and so switched. Not MTE (tags are memory that a guest
        // would have to be given), SME, NMI, guarded control stacks.
        (4, 1) => show(0xf, &[(4, 2)], 0),
        // ID_AA64DFR0_EL1: DoubleLock; the debug architecture of Armv8.0 with the fewest breakpoints and watchpoints it
        // allows, two each, of which none is ever hit. Not the PMU, trace, statistical profiling.
        (5, 0) => show(0xf0_0000_0000, &[], 6 | 1 << 12 | 1 << 20),
        // ID_AA64ISAR0_EL1: all but TME.
        (6, 0) => show(0xffff_ffff_f0ff_fff0, &[], 0),
        // ID_AA64ISAR1_EL1: DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, SPECRES, BF16, DGH, I8MM. Not pointer authentication
        // (APA, API, GPA, GPI), whose ten key registers are not switched; not XS and LS64, which HCRX_EL2 would have to
        // allow.
        (6, 1) => show(0x00ff_ffff_00ff_f00f, &[], 0),
        // ID_AA64ISAR2_EL1: RPRES, BC, CLRBHB, CSSC. Not WFxT (a trapped wait has no time-out here), pointer
        // authentication, MOPS (HCRX_EL2).
        (6, 2) => show(0x00f0_0000_f0f0_00f0, &[], 0),
        // ID_AA64MMFR0_EL1: ASIDBits, BigEnd, BigEndEL0, TGran64, ExS; PARange to 48 bits, which is what stage 2 can
        // map; TGran16 and TGran4 without their 52-bit forms. Not SNSMem, the granules of stage 2, FGT, ECV.
        (7, 0) => {
            // 15: no 4 KiB granule.
            let tgran4 = if value >> 28 & 15 == 15 { 15 } else { 0 };
            show(0xf000_0f0f_0ff0, &[(0, 5), (20, 1)], tgran4 << 28)
        }
        // ID_AA64MMFR1_EL1: HPDS, PAN, SpecSEI, ETS, AFP, nTLBPA, ECBHB; HAFDBS without what is in TCR2_EL1. Not
        // VMIDBits, VH, XNX, TWED, HCX, TIDCP1, CMOW, which are EL2's, nor LO.
        (7, 1) => show(0xf00f_f0f0_0ff0_f000, &[(0, 2)], 0),
        // ID_AA64MMFR2_EL1: all but NV, FWB, EVT, which are EL2's, and VARange: addresses have 48 bits.
        (7, 2) => show(0xf0ff_00ff_f0f0_ffff, &[], 0),
        // All others, allocated or not: particulars of SVE, SME and FP8, what implementations define, and whatever
        // comes.
        _ => show(0, &[], 0),
    };
    limit.iter().fold(value & keep | fixed, |shown, &(at, highest)| shown | (value >> at & 15).min(highest) << at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    const fn register(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> SystemRegister {
        SystemRegister { op0, op1, crn, crm, op2 }
    }

    const AA64PFR0: SystemRegister = register(3, 0, 0, 4, 0);
    const AA64PFR1: SystemRegister = register(3, 0, 0, 4, 1);
    const AA64DFR0: SystemRegister = register(3, 0, 0, 5, 0);
    const AA64ISAR0: SystemRegister = register(3, 0, 0, 6, 0);
    const AA64ISAR1: SystemRegister = register(3, 0, 0, 6, 1);
    const AA64ISAR2: SystemRegister = register(3, 0, 0, 6, 2);
    const AA64MMFR0: SystemRegister = register(3, 0, 0, 7, 0);
    const AA64MMFR1: SystemRegister = register(3, 0, 0, 7, 1);
    const AA64MMFR2: SystemRegister = register(3, 0, 0, 7, 2);

    fn guest(gic: Gic) -> SystemRegisters {
        SystemRegisters::new(gic, |_| 0)
    }

    fn read(register: SystemRegister) -> Action {
        guest(Gic::V3).access(SystemAccess { register, rt: 1, read: true }, 0)
    }

    fn write(register: SystemRegister, value: u64) -> Action {
        guest(Gic::V3).access(SystemAccess { register, rt: 1, read: false }, value)
    }

    #[test]
    fn reads_as_zero_and_ignores_writes() {
        for (op0, op1, crn, crm, op2, name) in [
            (2, 0, 0, 2, 2, "MDSCR_EL1"),
            (2, 0, 0, 0, 5, "S2_0_C0_C0_5"), // DBGBCR0_EL1
            (2, 0, 1, 0, 4, "OSLAR_EL1"),
            (2, 0, 1, 3, 4, "OSDLR_EL1"),
            (2, 3, 0, 1, 0, "MDCCSR_EL0"),
            (3, 0, 1, 0, 1, "ACTLR_EL1"),
            (3, 0, 5, 3, 1, "ERRSELR_EL1"),
            (3, 0, 5, 4, 2, "S3_0_C5_C4_2"), // ERXSTATUS_EL1
            (3, 0, 9, 14, 1, "PMINTENSET_EL1"),
            (3, 3, 9, 12, 0, "PMCR_EL0"),
            (3, 3, 9, 13, 0, "PMCCNTR_EL0"),
            (3, 3, 9, 14, 0, "PMUSERENR_EL0"),
            (3, 3, 14, 8, 0, "S3_3_C14_C8_0"), // PMEVCNTR0_EL0
            (3, 3, 14, 15, 7, "PMCCFILTR_EL0"),
            (3, 0, 12, 8, 3, "ICC_BPR0_EL1"),
            (3, 0, 12, 8, 4, "ICC_AP0R0_EL1"),
            (3, 0, 12, 12, 6, "ICC_IGRPEN0_EL1"),
        ] {
            let register = register(op0, op1, crn, crm, op2);
            assert_eq!(register.to_string(), name);
            assert_eq!((read(register), write(register, u64::MAX)), (Action::Read(0), Action::Ignore), "{name}");
        }
    }

    #[test]
    fn emulated() {
        use SgiRegister::*;
        use timer::Register::*;
        for (op1, crn, crm, op2, name, reads, writes) in [
            (0, 12, 11, 5, "ICC_SGI1R_EL1", Action::Undefined, Action::SendSgi(Sgi1r, 7)),
            (0, 12, 11, 6, "ICC_ASGI1R_EL1", Action::Undefined, Action::SendSgi(Asgi1r, 7)),
            (0, 12, 11, 7, "ICC_SGI0R_EL1", Action::Undefined, Action::SendSgi(Sgi0r, 7)),
            (0, 12, 8, 0, "ICC_IAR0_EL1", Action::Read(1023), Action::Undefined),
            (3, 14, 0, 1, "CNTPCT_EL0", Action::ReadCount, Action::Undefined),
            (3, 14, 0, 5, "CNTPCTSS_EL0", Action::ReadCount, Action::Undefined),
            (3, 14, 2, 0, "CNTP_TVAL_EL0", Action::ReadTimer(Tval), Action::WriteTimer(Tval, 7)),
            (3, 14, 2, 1, "CNTP_CTL_EL0", Action::ReadTimer(Ctl), Action::WriteTimer(Ctl, 7)),
            (3, 14, 2, 2, "CNTP_CVAL_EL0", Action::ReadTimer(Cval), Action::WriteTimer(Cval, 7)),
            // EL2's business, the virtual timer's, an implementation's, and those of features that are hidden.
            (4, 1, 1, 0, "HCR_EL2", Action::Undefined, Action::Undefined),
            (3, 14, 3, 1, "CNTV_CTL_EL0", Action::Undefined, Action::Undefined),
            (0, 2, 1, 0, "APIAKeyLo_EL1", Action::Undefined, Action::Undefined),
            (0, 1, 2, 0, "ZCR_EL1", Action::Undefined, Action::Undefined),
            (1, 15, 2, 0, "S3_1_C15_C2_0", Action::Undefined, Action::Undefined),
        ] {
            let register = register(3, op1, crn, crm, op2);
            assert_eq!(register.to_string(), name);
            assert_eq!((read(register), write(register, 7)), (reads, writes), "{name}");
        }
        assert_eq!(read(register(2, 0, 1, 1, 4)), Action::Read(8), "OSLSR_EL1: there is a lock, and it is open");
        assert_eq!(read(register(2, 1, 0, 0, 1)), Action::Undefined, "trace");
    }

    #[test]
    fn set_way_maintenance_and_no_other() {
        for (crm, op2, name, action) in [
            (6, 2, "DC ISW", Action::SetWay),
            (10, 2, "DC CSW", Action::SetWay),
            (14, 2, "DC CISW", Action::SetWay),
            (6, 1, "DC IVAC", Action::Undefined),
            (6, 4, "S1_0_C7_C6_4", Action::Undefined), // DC IGSW of MTE
        ] {
            let register = register(1, 0, 7, crm, op2);
            assert_eq!((register.to_string().as_str(), write(register, 0)), (name, action));
        }
    }

    #[test]
    fn without_system_registers_for_the_gic_there_are_none() {
        let access = SystemAccess { register: register(3, 0, 12, 11, 5), rt: 0, read: false };
        assert_eq!(guest(Gic::V2).access(access, 0), Action::Undefined);
    }

    /// What a guest reads in `register` on a CPU where it reads `physical`.
    fn shown(register: SystemRegister, physical: u64) -> u64 {
        let guest = SystemRegisters::new(Gic::V3, |r| if r == register { physical } else { u64::MAX });
        let access = SystemAccess { register, rt: 0, read: true };
        let value = guest.id_of(access).unwrap();
        assert_eq!(guest.access(access, 0), Action::Read(value));
        value
    }

    /// As Cortex-A72 and Cortex-A76 have them, and with more of everything.
    #[test]
    fn id_registers_of_known_cpus() {
        for (register, physical, guest) in [
            (AA64PFR0, 0x2222, 0x0100_0012),                          // Cortex-A72
            (AA64PFR0, 0x1100_0000_1111_2222, 0x1100_0000_1111_0012), // Cortex-A76
            (AA64PFR0, 0x1201_1111_2122_2222, 0x1101_0000_1122_0012),
            (AA64PFR1, 0x0000_0000_0100_0321, 0x21),
            (AA64DFR0, 0x1030_5106, 0x0010_1006), // Cortex-A72
            (AA64DFR0, 0x0000_011f_1230_5619, 0x10_0010_1006),
            (AA64ISAR0, 0x1_1120, 0x1_1120), // Cortex-A72
            (AA64ISAR0, 0x1021_1111_1121_2120, 0x1021_1111_1021_2120),
            (AA64ISAR1, 0x1011_1121_1021_1512, 0x0011_1121_0021_1002),
            (AA64MMFR0, 0x1124, 0x124), // Cortex-A72
            (AA64MMFR0, 0x1000_0322_1020_1126, 0x0010_0125),
            (AA64MMFR0, 0xf000_0000, 0xf000_0000), // no 4 KiB granule
            (AA64MMFR1, 0x1021_2122, 0x20_2002),   // as Cortex-A76, with HAFDBS
            (AA64MMFR2, 0x1221_0111_1101_1011, 0x1021_0011_1000_1011),
        ] {
            assert_eq!(shown(register, physical), guest, "{register} {physical:#x}: {:#x}", shown(register, physical));
        }
    }

    #[test]
    fn the_gic_is_told_by_what_the_guest_has() {
        for (gic, field) in [(Gic::V2, 0), (Gic::V3, 1)] {
            let guest = SystemRegisters::new(gic, |_| 0x3300_0000);
            let read = |register| guest.id_of(SystemAccess { register, rt: 0, read: true }).unwrap();
            assert_eq!(read(AA64PFR0) >> 24 & 15, field);
            assert_eq!(read(register(3, 0, 0, 1, 1)) >> 28, field);
        }
    }

    /// Fields that must not be told, whatever the CPU has.
    const HIDDEN: &[(SystemRegister, &[u32])] = &[
        (register(3, 0, 0, 1, 0), &[20]),                             // AMU
        (register(3, 0, 0, 1, 1), &[4, 12, 20, 24]),                  // Security, Virtualization
        (register(3, 0, 0, 1, 2), &[4, 8, 12, 16, 20, 24, 28]),       // trace, PerfMon
        (AA64PFR0, &[8, 12, 32, 36, 40, 44, 52]),                     // EL2, EL3, SVE, SEL2, MPAM, AMU, RME
        (AA64PFR1, &[8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52]), // MTE and all beyond
        (AA64DFR0, &[4, 8, 28, 32, 40, 44, 48, 52, 56, 60]), // TraceVer, PMUVer, PMSVer, TraceFilt, TraceBuffer
        (AA64ISAR0, &[24]),                                  // TME
        (AA64ISAR1, &[4, 8, 24, 28, 56, 60]),                // APA, API, GPA, GPI, XS, LS64
        (AA64ISAR2, &[0, 8, 12, 16, 24, 32, 36]),            // WFxT, GPA3, APA3, MOPS, PAC_frac, 128-bit
        (AA64MMFR0, &[12, 32, 36, 40, 56, 60]),              // SNSMem, TGran*_2, FGT, ECV
        (AA64MMFR1, &[4, 8, 16, 28, 32, 40, 52, 56]),        // VMIDBits, VH, LO, XNX, TWED, HCX, TIDCP1, CMOW
        (AA64MMFR2, &[16, 24, 40, 56]),                      // VARange, NV, FWB, EVT
    ];

    proptest! {
        #[test]
        fn hidden_fields_are_hidden(physical: u64) {
            for (register, fields) in HIDDEN {
                for field in *fields {
                    prop_assert_eq!(shown(*register, physical) >> field & 15, 0, "{} bit {}", register, field);
                }
            }
            // ZFR0, SMFR0, FPFR0, DFR1, AFR0, ISAR3, MMFR3, MMFR4 and those without a name.
            let hidden =
                [(4, 2), (4, 4), (4, 5), (4, 7), (5, 1), (5, 4), (6, 3), (6, 7), (7, 3), (7, 4), (1, 3), (3, 7)];
            for (crm, op2) in hidden {
                prop_assert_eq!(shown(register(3, 0, 0, crm, op2), physical), 0);
            }
        }

        /// But for what is fixed, a guest is told of nothing that the CPU does not have.
        #[test]
        fn no_field_is_raised(physical: u64, crm in 1_u8..8, op2 in 0_u8..8) {
            let register = register(3, 0, 0, crm, op2);
            let fixed = |at| match register {
                AA64PFR0 => at == 24,
                AA64DFR0 => matches!(at, 0 | 12 | 20),
                SystemRegister { crm: 1, op2: 1, .. } => at == 28,
                _ => false,
            };
            let value = shown(register, physical);
            for at in (0..64).step_by(4).filter(|&at| !fixed(at)) {
                prop_assert!(value >> at & 15 <= physical >> at & 15, "{register} bit {at}: {value:#x}");
            }
        }

        #[test]
        fn any_access_has_an_outcome(
            op0 in 0_u8..4, op1 in 0_u8..8, crn in 0_u8..16, crm in 0_u8..16, op2 in 0_u8..8, is_read: bool, v3: bool,
            value: u64,
        ) {
            let access = SystemAccess { register: register(op0, op1, crn, crm, op2), rt: 0, read: is_read };
            let action = guest(if v3 { Gic::V3 } else { Gic::V2 }).access(access, value);
            let fits = match action {
                Action::Read(_) | Action::ReadTimer(_) | Action::ReadCount => is_read,
                Action::Ignore | Action::SendSgi(..) | Action::WriteTimer(..) => !is_read,
                Action::SetWay | Action::Undefined => true,
            };
            prop_assert!(fits, "{:?}: {:?}", access, action);
            // EL2's and EL3's registers, by op1 (Arm ARM, "System register encoding").
            if matches!(op1, 4..=7) {
                prop_assert_eq!(action, Action::Undefined);
            }
        }
    }
}
