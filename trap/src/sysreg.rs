//! Names of system registers and system instructions, by their encoding (Arm ARM, "System register encoding" and the
//! pages of each).

use core::fmt;

/// What `MSR`, `MRS` or `SYS` names: a system register (op0 = 2, 3), a system instruction (op0 = 1), or an immediate
/// write to PSTATE (op0 = 0, where CRm is the immediate).
///
/// Displayed by its name where this module knows it, else as assemblers write it: `S3_0_C1_C0_0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are the fields of the instruction encoding")]
pub struct SystemRegister {
    pub op0: u8,
    pub op1: u8,
    pub crn: u8,
    pub crm: u8,
    pub op2: u8,
}

macro_rules! names {
    ($($name:literal $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal,)*) => {
        const NAMES: &[(SystemRegister, &str)] =
            &[$((SystemRegister { op0: $op0, op1: $op1, crn: $crn, crm: $crm, op2: $op2 }, $name),)*];
    };
}

// In the order of the encoding: op0, op1, CRn, CRm, op2. The caches' and TLBs' instructions come first.
names! {
    "IC IALLUIS" 1 0 7 1 0, "IC IALLU" 1 0 7 5 0, "DC IVAC" 1 0 7 6 1, "DC ISW" 1 0 7 6 2,
    "AT S1E1R" 1 0 7 8 0, "AT S1E1W" 1 0 7 8 1, "AT S1E0R" 1 0 7 8 2, "AT S1E0W" 1 0 7 8 3,
    "AT S1E1RP" 1 0 7 9 0, "AT S1E1WP" 1 0 7 9 1, "DC CSW" 1 0 7 10 2, "DC CISW" 1 0 7 14 2,
    "TLBI VMALLE1IS" 1 0 8 3 0, "TLBI VAE1IS" 1 0 8 3 1, "TLBI ASIDE1IS" 1 0 8 3 2, "TLBI VAAE1IS" 1 0 8 3 3,
    "TLBI VALE1IS" 1 0 8 3 5, "TLBI VAALE1IS" 1 0 8 3 7, "TLBI VMALLE1" 1 0 8 7 0, "TLBI VAE1" 1 0 8 7 1,
    "TLBI ASIDE1" 1 0 8 7 2, "TLBI VAAE1" 1 0 8 7 3, "TLBI VALE1" 1 0 8 7 5, "TLBI VAALE1" 1 0 8 7 7,
    "CFP RCTX" 1 3 7 3 4, "DVP RCTX" 1 3 7 3 5, "CPP RCTX" 1 3 7 3 7, "DC ZVA" 1 3 7 4 1,
    "DC GVA" 1 3 7 4 3, "DC GZVA" 1 3 7 4 4, "IC IVAU" 1 3 7 5 1, "DC CVAC" 1 3 7 10 1,
    "DC CVAU" 1 3 7 11 1, "DC CVAP" 1 3 7 12 1, "DC CVADP" 1 3 7 13 1, "DC CIVAC" 1 3 7 14 1,

    "OSDTRRX_EL1" 2 0 0 0 2, "MDCCINT_EL1" 2 0 0 2 0, "MDSCR_EL1" 2 0 0 2 2, "OSDTRTX_EL1" 2 0 0 3 2,
    "MDRAR_EL1" 2 0 1 0 0, "OSLAR_EL1" 2 0 1 0 4, "OSLSR_EL1" 2 0 1 1 4, "OSDLR_EL1" 2 0 1 3 4,
    "DBGPRCR_EL1" 2 0 1 4 4, "MDCCSR_EL0" 2 3 0 1 0, "DBGDTR_EL0" 2 3 0 4 0, "DBGDTRTX_EL0" 2 3 0 5 0,

    "MIDR_EL1" 3 0 0 0 0, "MPIDR_EL1" 3 0 0 0 5, "REVIDR_EL1" 3 0 0 0 6, "ID_PFR0_EL1" 3 0 0 1 0,
    "ID_PFR1_EL1" 3 0 0 1 1, "ID_DFR0_EL1" 3 0 0 1 2, "ID_AFR0_EL1" 3 0 0 1 3, "ID_MMFR0_EL1" 3 0 0 1 4,
    "ID_MMFR1_EL1" 3 0 0 1 5, "ID_MMFR2_EL1" 3 0 0 1 6, "ID_MMFR3_EL1" 3 0 0 1 7, "ID_ISAR0_EL1" 3 0 0 2 0,
    "ID_ISAR1_EL1" 3 0 0 2 1, "ID_ISAR2_EL1" 3 0 0 2 2, "ID_ISAR3_EL1" 3 0 0 2 3, "ID_ISAR4_EL1" 3 0 0 2 4,
    "ID_ISAR5_EL1" 3 0 0 2 5, "ID_MMFR4_EL1" 3 0 0 2 6, "ID_ISAR6_EL1" 3 0 0 2 7, "MVFR0_EL1" 3 0 0 3 0,
    "MVFR1_EL1" 3 0 0 3 1, "MVFR2_EL1" 3 0 0 3 2, "ID_PFR2_EL1" 3 0 0 3 4, "ID_AA64PFR0_EL1" 3 0 0 4 0,
    "ID_AA64PFR1_EL1" 3 0 0 4 1, "ID_AA64PFR2_EL1" 3 0 0 4 2, "ID_AA64ZFR0_EL1" 3 0 0 4 4,
    "ID_AA64SMFR0_EL1" 3 0 0 4 5, "ID_AA64FPFR0_EL1" 3 0 0 4 7, "ID_AA64DFR0_EL1" 3 0 0 5 0,
    "ID_AA64DFR1_EL1" 3 0 0 5 1, "ID_AA64AFR0_EL1" 3 0 0 5 4, "ID_AA64AFR1_EL1" 3 0 0 5 5,
    "ID_AA64ISAR0_EL1" 3 0 0 6 0, "ID_AA64ISAR1_EL1" 3 0 0 6 1, "ID_AA64ISAR2_EL1" 3 0 0 6 2,
    "ID_AA64ISAR3_EL1" 3 0 0 6 3, "ID_AA64MMFR0_EL1" 3 0 0 7 0, "ID_AA64MMFR1_EL1" 3 0 0 7 1,
    "ID_AA64MMFR2_EL1" 3 0 0 7 2, "ID_AA64MMFR3_EL1" 3 0 0 7 3, "ID_AA64MMFR4_EL1" 3 0 0 7 4,
    "SCTLR_EL1" 3 0 1 0 0, "ACTLR_EL1" 3 0 1 0 1, "CPACR_EL1" 3 0 1 0 2, "RGSR_EL1" 3 0 1 0 5,
    "GCR_EL1" 3 0 1 0 6, "ZCR_EL1" 3 0 1 2 0, "SMCR_EL1" 3 0 1 2 6, "TTBR0_EL1" 3 0 2 0 0,
    "TTBR1_EL1" 3 0 2 0 1, "TCR_EL1" 3 0 2 0 2, "APIAKeyLo_EL1" 3 0 2 1 0, "APIAKeyHi_EL1" 3 0 2 1 1,
    "APIBKeyLo_EL1" 3 0 2 1 2, "APIBKeyHi_EL1" 3 0 2 1 3, "APDAKeyLo_EL1" 3 0 2 2 0, "APDAKeyHi_EL1" 3 0 2 2 1,
    "APDBKeyLo_EL1" 3 0 2 2 2, "APDBKeyHi_EL1" 3 0 2 2 3, "APGAKeyLo_EL1" 3 0 2 3 0, "APGAKeyHi_EL1" 3 0 2 3 1,
    "SPSR_EL1" 3 0 4 0 0, "ELR_EL1" 3 0 4 0 1, "SP_EL0" 3 0 4 1 0, "SPSel" 3 0 4 2 0,
    "CurrentEL" 3 0 4 2 2, "PAN" 3 0 4 2 3, "UAO" 3 0 4 2 4, "ICC_PMR_EL1" 3 0 4 6 0,
    "AFSR0_EL1" 3 0 5 1 0, "AFSR1_EL1" 3 0 5 1 1, "ESR_EL1" 3 0 5 2 0, "ERRIDR_EL1" 3 0 5 3 0,
    "ERRSELR_EL1" 3 0 5 3 1, "TFSR_EL1" 3 0 5 6 0, "TFSRE0_EL1" 3 0 5 6 1, "FAR_EL1" 3 0 6 0 0,
    "PAR_EL1" 3 0 7 4 0, "PMINTENSET_EL1" 3 0 9 14 1, "PMINTENCLR_EL1" 3 0 9 14 2, "MAIR_EL1" 3 0 10 2 0,
    "AMAIR_EL1" 3 0 10 3 0, "VBAR_EL1" 3 0 12 0 0, "RVBAR_EL1" 3 0 12 0 1, "RMR_EL1" 3 0 12 0 2,
    "ISR_EL1" 3 0 12 1 0, "DISR_EL1" 3 0 12 1 1, "ICC_IAR0_EL1" 3 0 12 8 0, "ICC_EOIR0_EL1" 3 0 12 8 1,
    "ICC_HPPIR0_EL1" 3 0 12 8 2, "ICC_BPR0_EL1" 3 0 12 8 3, "ICC_AP0R0_EL1" 3 0 12 8 4, "ICC_AP1R0_EL1" 3 0 12 9 0,
    "ICC_DIR_EL1" 3 0 12 11 1, "ICC_RPR_EL1" 3 0 12 11 3, "ICC_SGI1R_EL1" 3 0 12 11 5, "ICC_ASGI1R_EL1" 3 0 12 11 6,
    "ICC_SGI0R_EL1" 3 0 12 11 7, "ICC_IAR1_EL1" 3 0 12 12 0, "ICC_EOIR1_EL1" 3 0 12 12 1,
    "ICC_HPPIR1_EL1" 3 0 12 12 2, "ICC_BPR1_EL1" 3 0 12 12 3, "ICC_CTLR_EL1" 3 0 12 12 4,
    "ICC_SRE_EL1" 3 0 12 12 5, "ICC_IGRPEN0_EL1" 3 0 12 12 6, "ICC_IGRPEN1_EL1" 3 0 12 12 7,
    "CONTEXTIDR_EL1" 3 0 13 0 1, "TPIDR_EL1" 3 0 13 0 4, "SCXTNUM_EL1" 3 0 13 0 7, "CNTKCTL_EL1" 3 0 14 1 0,
    "CCSIDR_EL1" 3 1 0 0 0, "CLIDR_EL1" 3 1 0 0 1, "CCSIDR2_EL1" 3 1 0 0 2, "GMID_EL1" 3 1 0 0 4,
    "AIDR_EL1" 3 1 0 0 7, "CSSELR_EL1" 3 2 0 0 0, "CTR_EL0" 3 3 0 0 1, "DCZID_EL0" 3 3 0 0 7,
    "RNDR" 3 3 2 4 0, "RNDRRS" 3 3 2 4 1, "NZCV" 3 3 4 2 0, "DAIF" 3 3 4 2 1,
    "SVCR" 3 3 4 2 2, "DIT" 3 3 4 2 5, "SSBS" 3 3 4 2 6, "TCO" 3 3 4 2 7,
    "FPCR" 3 3 4 4 0, "FPSR" 3 3 4 4 1, "FPMR" 3 3 4 4 2, "DSPSR_EL0" 3 3 4 5 0,
    "DLR_EL0" 3 3 4 5 1, "PMCR_EL0" 3 3 9 12 0, "PMCNTENSET_EL0" 3 3 9 12 1, "PMCNTENCLR_EL0" 3 3 9 12 2,
    "PMOVSCLR_EL0" 3 3 9 12 3, "PMSWINC_EL0" 3 3 9 12 4, "PMSELR_EL0" 3 3 9 12 5, "PMCEID0_EL0" 3 3 9 12 6,
    "PMCEID1_EL0" 3 3 9 12 7, "PMCCNTR_EL0" 3 3 9 13 0, "PMXEVTYPER_EL0" 3 3 9 13 1, "PMXEVCNTR_EL0" 3 3 9 13 2,
    "PMUSERENR_EL0" 3 3 9 14 0, "PMOVSSET_EL0" 3 3 9 14 3, "TPIDR_EL0" 3 3 13 0 2, "TPIDRRO_EL0" 3 3 13 0 3,
    "TPIDR2_EL0" 3 3 13 0 5, "SCXTNUM_EL0" 3 3 13 0 7, "CNTFRQ_EL0" 3 3 14 0 0, "CNTPCT_EL0" 3 3 14 0 1,
    "CNTVCT_EL0" 3 3 14 0 2, "CNTPCTSS_EL0" 3 3 14 0 5, "CNTVCTSS_EL0" 3 3 14 0 6, "CNTP_TVAL_EL0" 3 3 14 2 0,
    "CNTP_CTL_EL0" 3 3 14 2 1, "CNTP_CVAL_EL0" 3 3 14 2 2, "CNTV_TVAL_EL0" 3 3 14 3 0, "CNTV_CTL_EL0" 3 3 14 3 1,
    "CNTV_CVAL_EL0" 3 3 14 3 2, "PMCCFILTR_EL0" 3 3 14 15 7, "VPIDR_EL2" 3 4 0 0 0, "VMPIDR_EL2" 3 4 0 0 5,
    "SCTLR_EL2" 3 4 1 0 0, "HCR_EL2" 3 4 1 1 0, "MDCR_EL2" 3 4 1 1 1, "CPTR_EL2" 3 4 1 1 2,
    "HSTR_EL2" 3 4 1 1 3, "TTBR0_EL2" 3 4 2 0 0, "TCR_EL2" 3 4 2 0 2, "VTTBR_EL2" 3 4 2 1 0,
    "VTCR_EL2" 3 4 2 1 2, "SPSR_EL2" 3 4 4 0 0, "ELR_EL2" 3 4 4 0 1, "ESR_EL2" 3 4 5 2 0,
    "FAR_EL2" 3 4 6 0 0, "HPFAR_EL2" 3 4 6 0 4, "VBAR_EL2" 3 4 12 0 0, "TPIDR_EL2" 3 4 13 0 2,
    "CNTVOFF_EL2" 3 4 14 0 3, "CNTHCTL_EL2" 3 4 14 1 0,
}

impl SystemRegister {
    /// The name, where this module knows it.
    pub fn name(self) -> Option<&'static str> {
        match self {
            // Their CRm is the immediate.
            SystemRegister { op0: 0, op1: 3, crn: 4, op2: 6, .. } => Some("DAIFSet"),
            SystemRegister { op0: 0, op1: 3, crn: 4, op2: 7, .. } => Some("DAIFClr"),
            _ => NAMES.iter().find(|(register, _)| *register == self).map(|&(_, name)| name),
        }
    }
}

impl fmt::Display for SystemRegister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SystemRegister { op0, op1, crn, crm, op2 } = self;
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "S{op0}_{op1}_C{crn}_C{crm}_{op2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, string::ToString};

    #[test]
    fn the_table_is_sorted_so_no_encoding_comes_twice() {
        let keys = NAMES.iter().map(|(r, _)| (r.op0, r.op1, r.crn, r.crm, r.op2));
        assert!(keys.is_sorted_by(|a, b| a < b));
        let names: BTreeSet<_> = NAMES.iter().map(|(_, name)| name).collect();
        assert_eq!(names.len(), NAMES.len());
    }

    #[test]
    fn known_and_unknown_registers() {
        for (op0, op1, crn, crm, op2, text) in [
            (3, 0, 1, 0, 0, "SCTLR_EL1"),
            (3, 3, 14, 0, 2, "CNTVCT_EL0"),
            (3, 3, 4, 2, 1, "DAIF"),
            (1, 3, 7, 4, 1, "DC ZVA"),
            (0, 3, 4, 15, 6, "DAIFSet"),
            (3, 7, 15, 14, 7, "S3_7_C15_C14_7"),
        ] {
            assert_eq!(SystemRegister { op0, op1, crn, crm, op2 }.to_string(), text);
        }
    }
}
