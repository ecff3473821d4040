//! What a fault of a program becomes: the signal, its code and its address, as Linux arm64 has them.

use crate::esr::{Ec, Esr};
use crate::fault::FaultStatus;
use crate::fields::{self as part, Bits};
use crate::hex::Hex;
use linux_raw_sys::general::*;
use serde::{Deserialize, Serialize};

/// What the user address space holds at the fault address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing.
    None,
    /// A mapping, which did not allow the access (it may allow none at all: PROT_NONE).
    Forbids,
}

/// The part of Linux's `siginfo_t` that a fault fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigInfo {
    /// `si_signo`.
    pub signal: u32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`: the fault address for aborts, watchpoints and PC alignment faults (0 when the syndrome says that FAR is
    /// not valid), else the PC.
    pub addr: Hex,
}

/// A user address without its tag (Linux `untagged_addr`): bits 63:56 are cleared where bit 55 is clear, which is what
/// memory accesses see under TCR_EL1.TBI0. Kernel addresses stay as they are.
pub const fn untagged(address: u64) -> u64 {
    const TAG: u64 = 0xff << 56;
    if address >> 55 & 1 == 0 { address & !TAG } else { address }
}

/// The signal for a synchronous exception or SError from EL0 that nobody could serve.
///
/// `far` and `pc` are FAR_EL1 and the interrupted PC; `mapping` is what the address space holds at `untagged(far)`, and only
/// matters for a translation, access flag or permission fault. User addresses are those below
/// `1 << USER_VA_BITS`: an abort on any other is SIGSEGV / SEGV_MAPERR whatever its status, so that a program learns
/// nothing about the kernel's mappings.
pub fn signal_of<const USER_VA_BITS: u32>(esr: Esr, far: u64, pc: u64, mapping: Mapping) -> SigInfo {
    let addr = match (esr.ec().writes_far(), esr.far_valid()) {
        (true, true) => untagged(far),
        (true, false) => 0,
        (false, _) => pc,
    };
    let (signal, code) = match esr.ec() {
        ec if ec.is_abort() && addr >> USER_VA_BITS != 0 => (SIGSEGV, SEGV_MAPERR),
        ec if ec.is_abort() => abort(esr.fault_status(), mapping),
        Ec::PC_ALIGNMENT | Ec::SP_ALIGNMENT => (SIGBUS, BUS_ADRALN),
        Ec::BRK64 | Ec::BKPT32 => (SIGTRAP, TRAP_BRKPT),
        Ec::STEP_LOWER | Ec::STEP_CURRENT => (SIGTRAP, TRAP_TRACE),
        Ec::WATCHPOINT_LOWER | Ec::WATCHPOINT_CURRENT | Ec::BREAKPOINT_LOWER | Ec::BREAKPOINT_CURRENT => {
            (SIGTRAP, TRAP_HWBKPT)
        }
        Ec::FP64 | Ec::FP32 => (SIGFPE, float(esr)),
        Ec::FPAC => (SIGILL, ILL_ILLOPN),
        Ec::GCS => (SIGSEGV, SEGV_CPERR),
        Ec::SERROR => (SIGKILL, SI_KERNEL),
        // Undefined and illegal state; whatever is trapped and not emulated; classes nobody has heard of.
        _ => (SIGILL, ILL_ILLOPC),
    };
    SigInfo { signal, code: code as i32, addr: Hex(addr) }
}

/// An abort at a user address.
const fn abort(status: FaultStatus, mapping: Mapping) -> (u32, u32) {
    match (status, mapping) {
        (FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_), Mapping::None) => {
            (SIGSEGV, SEGV_MAPERR)
        }
        (FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_), Mapping::Forbids) => {
            (SIGSEGV, SEGV_ACCERR)
        }
        // A parity or ECC error is an external abort that the CPU reports itself.
        (FaultStatus::External | FaultStatus::Parity, _) => (SIGBUS, BUS_OBJERR),
        (FaultStatus::Alignment, _) => (SIGBUS, BUS_ADRALN),
        _ => (SIGKILL, SI_KERNEL),
    }
}

/// The code of a floating-point exception: of the flags that are set and valid, the first in Linux's order.
fn float(esr: Esr) -> u32 {
    const CODES: [(Bits, u32); 5] = [
        (part::IOF, FPE_FLTINV),
        (part::DZF, FPE_FLTDIV),
        (part::OFF, FPE_FLTOVF),
        (part::UFF, FPE_FLTUND),
        (part::IXF, FPE_FLTRES),
    ];
    CODES.iter().find(|(flag, _)| flag.get(esr) == Some(1)).map_or(FPE_FLTUNK, |&(_, code)| code)
}

/// Finds the first constant of the list that equals a value, by its own name.
macro_rules! name_of {
    ($value:expr, $($constant:ident)*) => {
        match $value {
            $(value if value == $constant as i32 => Some(stringify!($constant)),)*
            _ => None,
        }
    };
}

/// The name of a signal, such as `SIGSEGV`; `SIGRT` for the real-time signals 32 to 64, `SIG?` for what is none.
pub const fn signal_name(signal: u32) -> &'static str {
    let name = name_of!(signal as i32,
        SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM
        SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO
        SIGPWR SIGSYS);
    match (name, signal) {
        (Some(name), _) => name,
        (None, 32..=64) => "SIGRT",
        (None, _) => "SIG?",
    }
}

/// The name of a `si_code`, such as `SEGV_MAPERR`, which depends on the signal; `?` when it has none.
pub const fn code_name(signal: u32, code: i32) -> &'static str {
    let own = match signal {
        SIGILL => name_of!(code,
            ILL_ILLOPC ILL_ILLOPN ILL_ILLADR ILL_ILLTRP ILL_PRVOPC ILL_PRVREG ILL_COPROC ILL_BADSTK),
        SIGTRAP => name_of!(code, TRAP_BRKPT TRAP_TRACE TRAP_BRANCH TRAP_HWBKPT TRAP_UNK),
        SIGBUS => name_of!(code, BUS_ADRALN BUS_ADRERR BUS_OBJERR),
        SIGFPE => name_of!(code,
            FPE_INTDIV FPE_INTOVF FPE_FLTDIV FPE_FLTOVF FPE_FLTUND FPE_FLTRES FPE_FLTINV FPE_FLTSUB FPE_FLTUNK),
        SIGSEGV => name_of!(code, SEGV_MAPERR SEGV_ACCERR SEGV_BNDERR SEGV_PKUERR SEGV_MTEAERR SEGV_MTESERR SEGV_CPERR),
        _ => None,
    };
    match own {
        Some(name) => name,
        None => match name_of!(code, SI_USER SI_KERNEL SI_QUEUE SI_TIMER SI_MESGQ SI_ASYNCIO SI_SIGIO SI_TKILL) {
            Some(name) => name,
            None => "?",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USER: u64 = 0x40_0000;
    const KERNEL: u64 = 0xffff_ffc0_8000_0000;
    const PC: u64 = 0x1_0000;
    const ABORTS: [u64; 4] = [0x20, 0x21, 0x24, 0x25];

    fn signal(ec: u64, iss: u64, far: u64, mapping: Mapping) -> (&'static str, &'static str, u64) {
        let info = signal_of::<39>(Esr(ec << 26 | iss), far, PC, mapping);
        (signal_name(info.signal), code_name(info.signal, info.code), info.addr.0)
    }

    /// All statuses, or classes, except those listed.
    fn all_but(except: &[u64]) -> impl Iterator<Item = u64> {
        (0..64).filter(|status| !except.contains(status))
    }

    /// Translation, access flag and permission faults: what a program causes by addresses and rights.
    const MAPPING_FAULTS: [u64; 14] =
        [0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x2a, 0x2b];

    #[test]
    fn nothing_mapped_is_maperr() {
        for (ec, status) in ABORTS.into_iter().flat_map(|ec| MAPPING_FAULTS.map(|status| (ec, status))) {
            assert_eq!(signal(ec, status, USER, Mapping::None), ("SIGSEGV", "SEGV_MAPERR", USER));
        }
    }

    #[test]
    fn any_abort_at_a_kernel_address_is_maperr() {
        let beyond_user = [KERNEL, u64::MAX, 1 << 39, 1 << 55, 0x00ff_0000_0000_0000];
        for far in beyond_user {
            for (ec, status) in ABORTS.into_iter().flat_map(|ec| (0..64).map(move |status| (ec, status))) {
                for mapping in [Mapping::None, Mapping::Forbids] {
                    assert_eq!(signal(ec, status, far, mapping), ("SIGSEGV", "SEGV_MAPERR", far));
                }
            }
        }
    }

    #[test]
    fn a_mapping_without_the_right_is_accerr() {
        for (ec, status) in ABORTS.into_iter().flat_map(|ec| MAPPING_FAULTS.map(|status| (ec, status))) {
            assert_eq!(signal(ec, status, USER, Mapping::Forbids), ("SIGSEGV", "SEGV_ACCERR", USER));
        }
    }

    #[test]
    fn an_external_abort_is_objerr() {
        for (ec, status) in ABORTS.into_iter().flat_map(|ec| [(ec, 0x10), (ec, 0x18)]) {
            assert_eq!(signal(ec, status, USER, Mapping::Forbids), ("SIGBUS", "BUS_OBJERR", USER));
        }
        let fnv = 1 << 10;
        assert_eq!(signal(0x24, fnv | 0x10, KERNEL, Mapping::Forbids), ("SIGBUS", "BUS_OBJERR", 0), "FAR is not valid");
    }

    #[test]
    fn an_abort_on_a_table_walk_or_of_another_status_kills() {
        let named = [&MAPPING_FAULTS[..], &[0x10, 0x18, 0x21]].concat();
        for ec in ABORTS {
            for status in all_but(&named) {
                assert_eq!(signal(ec, status, USER, Mapping::None), ("SIGKILL", "SI_KERNEL", USER));
            }
        }
        assert_eq!(signal(0x2f, 0x11, USER, Mapping::None), ("SIGKILL", "SI_KERNEL", PC), "SError");
    }

    #[test]
    fn misalignment_is_adraln() {
        assert_eq!(signal(0x24, 0x21, USER + 1, Mapping::Forbids), ("SIGBUS", "BUS_ADRALN", USER + 1));
        assert_eq!(signal(0x22, 0, USER + 1, Mapping::None), ("SIGBUS", "BUS_ADRALN", USER + 1), "PC alignment");
        assert_eq!(signal(0x26, 0, USER, Mapping::None), ("SIGBUS", "BUS_ADRALN", PC), "SP alignment has no FAR");
    }

    #[test]
    fn undefined_trapped_and_unknown_are_illopc() {
        let named = [
            0x1c, 0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x28, 0x2c, 0x2d, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x38,
            0x3c,
        ];
        for ec in all_but(&named) {
            let addr = if ec == 0x1e { KERNEL } else { PC };
            assert_eq!(signal(ec, 0x1ff_ffff, KERNEL, Mapping::None), ("SIGILL", "ILL_ILLOPC", addr), "EC {ec:#x}");
        }
    }

    #[test]
    fn debug_events_are_traps() {
        for (ec, code, addr) in [
            (0x3c, "TRAP_BRKPT", PC),
            (0x38, "TRAP_BRKPT", PC),
            (0x32, "TRAP_TRACE", PC),
            (0x33, "TRAP_TRACE", PC),
            (0x30, "TRAP_HWBKPT", PC),
            (0x31, "TRAP_HWBKPT", PC),
            (0x34, "TRAP_HWBKPT", USER),
            (0x35, "TRAP_HWBKPT", USER),
        ] {
            assert_eq!(signal(ec, 0x22, USER, Mapping::None), ("SIGTRAP", code, addr), "EC {ec:#x}");
        }
    }

    #[test]
    fn floating_point_exceptions_say_which() {
        let flag_codes = ["FPE_FLTINV", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES"];
        for (ec, (bit, code)) in
            [0x28, 0x2c].into_iter().flat_map(|ec| flag_codes.iter().enumerate().map(move |x| (ec, x)))
        {
            assert_eq!(signal(ec, 1 << 23 | 1 << bit, USER, Mapping::None), ("SIGFPE", *code, PC));
            assert_eq!(signal(ec, 1 << bit, USER, Mapping::None), ("SIGFPE", "FPE_FLTUNK", PC), "TFV is clear");
        }
    }

    #[test]
    fn extensions_have_codes_of_their_own() {
        assert_eq!(signal(0x1c, 0, USER, Mapping::None), ("SIGILL", "ILL_ILLOPN", PC), "pointer authentication");
        assert_eq!(signal(0x2d, 0, USER, Mapping::None), ("SIGSEGV", "SEGV_CPERR", PC), "guarded control stack");
    }

    #[test]
    fn names_of_signals_and_codes() {
        assert_eq!(
            [11, 7, 31, 32, 64, 0, 65, u32::MAX].map(signal_name),
            ["SIGSEGV", "SIGBUS", "SIGSYS", "SIGRT", "SIGRT", "SIG?", "SIG?", "SIG?"]
        );
        assert_eq!(code_name(SIGSEGV, 2), "SEGV_ACCERR");
        assert_eq!(code_name(SIGBUS, 2), "BUS_ADRERR");
        assert_eq!(code_name(SIGKILL, 0x80), "SI_KERNEL");
        assert_eq!(code_name(SIGINT, -6), "SI_TKILL");
        assert_eq!(code_name(SIGINT, 1), "?");
    }

    proptest! {
        #[test]
        fn every_fault_has_a_named_signal(esr: u64, far: u64, pc: u64, forbids: bool) {
            let mapping = if forbids { Mapping::Forbids } else { Mapping::None };
            let info = signal_of::<48>(Esr(esr), far, pc, mapping);
            prop_assert_ne!(signal_name(info.signal), "SIG?");
            prop_assert_ne!(code_name(info.signal, info.code), "?");
        }

        #[test]
        fn tags_go_and_nothing_else(address: u64) {
            let plain = untagged(address);
            prop_assert_eq!(plain << 8, address << 8);
            prop_assert_eq!(plain >> 56, if address >> 55 & 1 == 1 { address >> 56 } else { 0 });
        }
    }
}
