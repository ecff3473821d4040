//! Speculative store bypass (ARCH_WORKAROUND_2, SMCCC DEN0028): where firmware says that this machine needs it, the mitigation is on
//! while the hypervisor runs, and, while a guest runs, as the guest has asked for.
//!
//! No machine of QEMU needs it: the boot argument `ssbd=force` has this module count the calls that firmware would get.

use crate::sched;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use smccc::Smc;
use smccc::arch::{self, SMCCC_ARCH_WORKAROUND_2};

/// Nothing is to be done.
const NONE: u8 = 0;
/// Firmware is called.
const FIRMWARE: u8 = 1;
/// The calls are counted.
const FORCED: u8 = 2;

static METHOD: AtomicU8 = AtomicU8::new(NONE);

/// Asks firmware, which there is if it answers by SMC.
pub fn init(firmware: bool) {
    let required = || arch::version::<Smc>().is_ok() && arch::features::<Smc>(SMCCC_ARCH_WORKAROUND_2) == Ok(0);
    if firmware && required() {
        METHOD.store(FIRMWARE, Relaxed);
    }
}

/// Has the calls be counted instead.
pub fn force() {
    METHOD.store(FORCED, Relaxed);
}

/// Whether the mitigation can be turned on and off.
pub fn is_dynamic() -> bool {
    METHOD.load(Relaxed) != NONE
}

/// Turns the mitigation on or off, at the entry from the guest that is current, or at the return to it. DAIF as there.
pub extern "C" fn mitigate(on: bool) {
    if METHOD.load(Relaxed) == FIRMWARE {
        // It has said that there is the call.
        let _ = arch::arch_workaround_2::<Smc>(on);
    } else if let Some(vcpu) = sched::current() {
        let mut calls = vcpu.guest.ssbd.lock();
        calls.count += 1;
        // The first ones only.
        let _ = calls.first.push(on);
    }
}
