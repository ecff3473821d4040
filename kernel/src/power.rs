//! The end of the machine: an exit code by semihosting where the boot arguments allow it, else power-off by PSCI.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use drivers::dt::Conduit;
use smccc::{Hvc, Smc, psci};

/// Exit code of a kernel panic (101 is cargo's own).
pub const PANIC_EXIT_CODE: u8 = 121;

const NONE: u8 = 0;
const SEMIHOSTING: u8 = 1;
const PSCI_HVC: u8 = 2;
const PSCI_SMC: u8 = 3;

/// How this machine is ended.
static METHOD: AtomicU8 = AtomicU8::new(NONE);

/// Learns how to end the machine. Semihosting is used only when the boot arguments ask for it: without a host behind it,
/// its HLT is an undefined instruction.
pub fn init(semihosting: bool, psci: Option<Conduit>) {
    let method = match (semihosting, psci) {
        (true, _) => SEMIHOSTING,
        (false, Some(Conduit::Hvc)) => PSCI_HVC,
        (false, Some(Conduit::Smc)) => PSCI_SMC,
        (false, None) => NONE,
    };
    METHOD.store(method, Relaxed);
}

/// Ends the machine. PSCI cannot carry the code.
pub fn off(code: u8) -> ! {
    match METHOD.load(Relaxed) {
        SEMIHOSTING => semihosting::process::exit(code.into()),
        // An error leaves only the wait below.
        PSCI_HVC => drop(psci::system_off::<Hvc>()),
        PSCI_SMC => drop(psci::system_off::<Smc>()),
        _ => {}
    }
    loop {
        aarch64_cpu::asm::wfi();
    }
}
