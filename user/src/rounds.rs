//! Rounds: every register is loaded with a value, something happens, every register is looked at. For the programs that are about
//! registers, each of which has this as a module of its own.

use core::{arch::global_asm, fmt::Display, mem::offset_of};
use fastrand::Rng;
use user::eprintln;

/// All that a program can hold in registers.
#[repr(C)]
#[derive(Default)]
pub struct Registers {
    pub x: [u64; 31],
    pub sp: u64,
    pub nzcv: u64,
    fpcr: u64,
    fpsr: u64,
    pub tpidr: u64,
    v: [u128; 32],
}

/// What they hold before something happens, and after it.
#[repr(C)]
#[derive(Default)]
pub struct Round {
    pub before: Registers,
    pub after: Registers,
}

global_asm!(
    include_str!("rounds.S"),
    BEFORE = const offset_of!(Round, before),
    AFTER = const offset_of!(Round, after),
    X = const offset_of!(Registers, x),
    SP = const offset_of!(Registers, sp),
    NZCV = const offset_of!(Registers, nzcv),
    FPCR = const offset_of!(Registers, fpcr),
    FPSR = const offset_of!(Registers, fpsr),
    TPIDR = const offset_of!(Registers, tpidr),
    V = const offset_of!(Registers, v),
);

/// What happens; by each [`Base`].
pub type Routine = unsafe extern "C" fn(*mut Round);
/// One system call.
pub const CALL: [Routine; 2] = [call_by_sp, call_by_x30];

unsafe extern "C" {
    fn call_by_sp(round: *mut Round);
    fn call_by_x30(round: *mut Round);
}

/// Which register points to the round; all others hold random values. Everything is done with both, each in a process of its
/// own: where the one dies because its base did not hold, the other names that register.
#[derive(Clone, Copy, PartialEq)]
pub enum Base {
    Sp,
    X30,
}

impl Registers {
    /// Random values.
    pub fn random(rng: &mut Rng) -> Registers {
        Registers {
            x: core::array::from_fn(|_| rng.u64(..)),
            sp: rng.u64(..),
            // The four flags.
            nzcv: rng.u64(..) & 0xf << 28,
            // AHP, DN, FZ and the rounding mode; the trap enables may be read-as-zero.
            fpcr: rng.u64(..) & 0x1f << 22,
            // QC and the cumulative exception flags.
            fpsr: rng.u64(..) & (1 << 27 | 0x9f),
            tpidr: rng.u64(..),
            v: core::array::from_fn(|_| rng.u128(..)),
        }
    }

    /// Says on standard error what differs in `found`; whether nothing does.
    pub fn holds(&self, found: &Registers, context: &dyn Display) -> bool {
        let mut holds = true;
        let mut compare = |name: &dyn Display, expected: u128, found: u128| {
            if expected != found {
                holds = false;
                eprintln!("{context}: {name} was {expected:#x}, became {found:#x}");
            }
        };
        for (n, (&expected, &found)) in self.x.iter().zip(&found.x).enumerate() {
            compare(&format_args!("x{n}"), expected.into(), found.into());
        }
        for (n, (&expected, &found)) in self.v.iter().zip(&found.v).enumerate() {
            compare(&format_args!("v{n}"), expected, found);
        }
        compare(&"SP", self.sp.into(), found.sp.into());
        compare(&"NZCV", self.nzcv.into(), found.nzcv.into());
        compare(&"FPCR", self.fpcr.into(), found.fpcr.into());
        compare(&"FPSR", self.fpsr.into(), found.fpsr.into());
        compare(&"TPIDR_EL0", self.tpidr.into(), found.tpidr.into());
        holds
    }
}

impl Round {
    /// Random values before, and other ones after: what is not stored is found to differ.
    pub fn random(rng: &mut Rng) -> Round {
        Round { before: Registers::random(rng), after: Registers::random(rng) }
    }

    /// Has it happen.
    pub fn run(&mut self, base: Base, [by_sp, by_x30]: [Routine; 2]) {
        let here = (&raw mut *self).expose_provenance() as u64;
        let routine = match base {
            Base::Sp => {
                self.before.sp = here;
                by_sp
            }
            Base::X30 => {
                self.before.x[30] = here;
                by_x30
            }
        };
        // SAFETY: the routine changes the round and, by the C ABI, nothing that Rust relies on; the system calls made through it
        // write only to memory that is kept for that.
        unsafe { routine(&raw mut *self) };
    }

    /// x0 as it became, and whether all other registers held.
    pub fn outcome(&mut self, context: &dyn Display) -> (u64, bool) {
        let x0 = self.after.x[0];
        self.before.x[0] = x0;
        (x0, self.before.holds(&self.after, context))
    }
}
