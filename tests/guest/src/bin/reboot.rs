//! Wants a reset until a third of a second has passed, and looks each time whether its RAM is new.
#![no_std]
#![no_main]

use guest::{psci, read_sysreg, timer};

guest::guest!(main, guest::unexpected);

/// RAM that nothing else uses: after the image, before the device tree.
const CANARY: u64 = 0x4300_0000;

fn main(_: u64) -> ! {
    if guest::read::<u64>(CANARY) != 0 {
        guest::fail(format_args!("RAM of an earlier life"));
    }
    if read_sysreg!("tpidr_el1") != 0 || read_sysreg!("cntv_ctl_el0") != 0 {
        guest::fail(format_args!("registers of an earlier life"));
    }
    guest::write(CANARY, 1u64);
    // SAFETY: a register of the guest's own.
    unsafe { guest::write_sysreg!("tpidr_el1", 1) };
    timer::set_virtual(0);
    if timer::now() < read_sysreg!("cntfrq_el0") / 3 {
        psci::reset();
    }
    psci::off()
}
