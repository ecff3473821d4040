//! The end of the machine: the result in RAM, where the tool on the host reads it, then power-off by PSCI.
//!
//! Never by semihosting: QEMU takes a guest's semihosting calls before any trap, so it is off while guests run.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use drivers::dt::Conduit;
use hyp::result::Page;
use smccc::{Hvc, Smc, psci};

/// Exit code when the hypervisor panicked; the kernel's for the same.
pub const PANIC_EXIT_CODE: u8 = 121;

/// The page that the tool reads, found by this name; no guest maps it.
#[unsafe(export_name = "result_page")]
static RESULT: Page = Page::new();

const PSCI_HVC: u8 = 1;
const PSCI_SMC: u8 = 2;

/// How this machine is ended; 0 when nobody can.
static METHOD: AtomicU8 = AtomicU8::new(0);

/// Learns how to end the machine.
pub fn init(psci: Option<Conduit>) {
    let method = match psci {
        Some(Conduit::Hvc) => PSCI_HVC,
        Some(Conduit::Smc) => PSCI_SMC,
        None => 0,
    };
    METHOD.store(method, Relaxed);
}

/// Starts another CPU (PSCI, CPU_ON) at a physical address, with `context` in x0.
pub fn cpu_on(affinity: u64, entry: u64, context: u64) -> Result<(), psci::Error> {
    match METHOD.load(Relaxed) {
        PSCI_HVC => psci::cpu_on::<Hvc>(affinity, entry, context),
        PSCI_SMC => psci::cpu_on::<Smc>(affinity, entry, context),
        _ => Err(psci::Error::NotSupported),
    }
}

/// Ends the machine.
pub fn off(code: u8, json: &[u8]) -> ! {
    RESULT.write(code, json);
    // An error leaves only the wait below.
    match METHOD.load(Relaxed) {
        PSCI_HVC => drop(psci::system_off::<Hvc>()),
        PSCI_SMC => drop(psci::system_off::<Smc>()),
        _ => {}
    }
    loop {
        // SAFETY: waiting harms nobody.
        unsafe { core::arch::asm!("wfi", options(nostack, preserves_flags)) };
    }
}
