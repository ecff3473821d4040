//! The end of the machine: an exit code by semihosting where the boot arguments allow it, else power-off by PSCI, which cannot
//! carry one: then a hypervisor learns of a panic by a device for that.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering::Relaxed};
use drivers::dt::Conduit;
use smccc::{Hvc, Smc, psci};

/// Exit code of a kernel panic (101 is cargo's own).
const PANIC_EXIT_CODE: u8 = 121;

const NONE: u8 = 0;
const SEMIHOSTING: u8 = 1;
const PSCI_HVC: u8 = 2;
const PSCI_SMC: u8 = 3;

/// How this machine is ended.
static METHOD: AtomicU8 = AtomicU8::new(NONE);

/// The register of a pvpanic device (QEMU's `docs/specs/pvpanic.rst`), if there is one.
static PVPANIC: AtomicPtr<u8> = AtomicPtr::new(null_mut());

/// Its bit for a panic; the register reads as the bits that it takes.
const PVPANIC_PANICKED: u8 = 1 << 0;

/// Learns how to tell of a panic.
///
/// # Safety
/// `register` is that of a pvpanic device, mapped as Device memory for good.
pub unsafe fn init_pvpanic(register: NonNull<u8>) {
    PVPANIC.store(register.as_ptr(), Relaxed);
}

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

/// Ends the machine after a panic.
pub fn off_by_panic() -> ! {
    if let Some(register) = NonNull::new(PVPANIC.load(Relaxed)) {
        // SAFETY: as promised to `init_pvpanic`; there is nothing but this byte.
        unsafe { register.write_volatile(register.read_volatile() & PVPANIC_PANICKED) };
    }
    off(PANIC_EXIT_CODE)
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
