//! Asks for speculative store bypass to be unsafe, makes a few calls, asks for it to be safe again; then tells what firmware said.
#![no_std]
#![no_main]

use guest::{psci, record};

guest::guest!(main, guest::unexpected);

const ARCH_FEATURES: u32 = 0x8000_0001;
const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
const PSCI_VERSION: u32 = 0x8400_0000;

fn main(_: u64) -> ! {
    let features = psci::call(ARCH_FEATURES, ARCH_WORKAROUND_2.into(), 0, 0);
    // Safe, as it is.
    let safe = psci::call(ARCH_WORKAROUND_2, 1, 0, 0);
    psci::call(PSCI_VERSION, 0, 0, 0);
    let unsafe_ = psci::call(ARCH_WORKAROUND_2, 0, 0, 0);
    for _ in 0..3 {
        psci::call(PSCI_VERSION, 0, 0, 0);
    }
    psci::call(ARCH_WORKAROUND_2, 1, 0, 0);
    psci::call(PSCI_VERSION, 0, 0, 0);
    record!("ssbd", "\"features\":{},\"safe\":{safe},\"unsafe\":{unsafe_}", features as i64);
    psci::off()
}
