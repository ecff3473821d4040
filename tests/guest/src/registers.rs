//! System registers by encoding: op0, op1, CRn, CRm and op2 as one number, as instructions have it from bit 5 on.

use crate::attempt::{Attempt, Taken, pstate};
use core::fmt;

/// A system register of op0 2 or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u16);

/// How many there can be.
const COUNT: u16 = 1 << 15;

/// A register by its fields.
pub const fn register(op0: u16, op1: u16, crn: u16, crm: u16, op2: u16) -> Register {
    Register((op0 - 2) << 14 | op1 << 11 | crn << 7 | crm << 3 | op2)
}

/// By which a guest finds its way: they change only as it says.
pub const SCTLR_EL1: Register = register(3, 0, 1, 0, 0);
/// The same.
pub const CPACR_EL1: Register = register(3, 0, 1, 0, 2);
/// The same.
pub const VBAR_EL1: Register = register(3, 0, 12, 0, 0);
/// Acknowledge an interrupt when read.
const ACKNOWLEDGE: [Register; 2] = [register(3, 0, 12, 12, 0), register(3, 0, 12, 8, 0)];
/// What any exception changes: SPSR_EL1, ELR_EL1, ESR_EL1, FAR_EL1.
const EXCEPTION: [Register; 4] =
    [register(3, 0, 4, 0, 0), register(3, 0, 4, 0, 1), register(3, 0, 5, 2, 0), register(3, 0, 6, 0, 0)];
/// Distances from the counter.
const TVAL: [Register; 2] = [register(3, 3, 14, 2, 0), register(3, 3, 14, 3, 0)];
/// CNTP_CTL_EL0 and CNTV_CTL_EL0, where ISTATUS, of an enabled timer, depends on the counter.
const TIMER_CONTROL: [Register; 2] = [register(3, 3, 14, 2, 1), register(3, 3, 14, 3, 1)];

impl Register {
    /// All encodings.
    pub fn all() -> impl Iterator<Item = Register> {
        (0..COUNT).map(Register)
    }

    /// op1: from 4 on a register is that of EL2 or EL3.
    pub fn op1(self) -> u16 {
        self.0 >> 11 & 7
    }

    /// MRS x0.
    pub fn mrs(self) -> u32 {
        0xd530_0000 | u32::from(self.0) << 5
    }

    /// MSR x0.
    pub fn msr(self) -> u32 {
        0xd510_0000 | u32::from(self.0) << 5
    }

    /// A part of PSTATE: SPSel, PAN, UAO and ALLINT; NZCV, DAIF, DIT, SSBS and TCO.
    fn is_pstate(self) -> bool {
        matches!((self.0 >> 14, self.op1(), self.0 >> 7 & 15), (1, 0 | 3, 4))
            && !(EXCEPTION.contains(&self) || self == register(3, 0, 4, 1, 0))
            && !matches!(self, FPCR | FPSR)
    }

    /// Whether it reads the same as long as nobody writes it: none that depends on what is executed, or on time.
    pub fn is_kept(self) -> bool {
        !(self.is_pstate() || EXCEPTION.contains(&self) || TVAL.contains(&self) || ACKNOWLEDGE.contains(&self))
    }

    /// The bits that a guest may write as it likes, and go on.
    pub fn free_bits(self) -> u64 {
        match self {
            CPACR_EL1 | VBAR_EL1 => 0,
            // UCI, nTWE, nTWI, UCT, DZE, UMA.
            SCTLR_EL1 => 1 << 26 | 1 << 18 | 1 << 16 | 1 << 15 | 1 << 14 | 1 << 9,
            // IMASK, not ENABLE.
            _ if TIMER_CONTROL.contains(&self) => 1 << 1,
            _ => !0,
        }
    }

    /// Reads it: none if that is undefined.
    pub fn read(self, level: u64) -> Result<u64, Taken> {
        let mut attempt = Attempt::new(0);
        let taken = attempt.run(level, &[self.mrs()]);
        if taken.done() { Ok(attempt.x[0]) } else { Err(taken) }
    }

    /// Writes it.
    pub fn write(self, level: u64, value: u64) -> Result<(), Taken> {
        let mut attempt = Attempt::new(value);
        let taken = match level {
            // Wherever the vectors are now, they are needed.
            pstate::EL1H => {
                attempt.x[27] = crate::read_sysreg!("vbar_el1");
                attempt.run(level, &[self.msr(), 0xd518_c01b, 0xd503_3fdf])
            }
            _ => attempt.run(level, &[self.msr()]),
        };
        if taken.done() { Ok(()) } else { Err(taken) }
    }
}

/// FPCR and FPSR, which look like a part of PSTATE.
const FPCR: Register = register(3, 3, 4, 4, 0);
const FPSR: Register = register(3, 3, 4, 4, 1);

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Register(code) = self;
        write!(f, "S{}_{}_C{}_C{}_{}", 2 + (code >> 14), self.op1(), code >> 7 & 15, code >> 3 & 15, code & 7)
    }
}
