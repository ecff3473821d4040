//! Wants a reset in each of its first lives, and looks each time whether its RAM and registers are new. Which life it is it keeps in
//! the machine's PL031, that it has to itself, as the time of day.
#![no_std]
#![no_main]

use guest::{psci, read_sysreg, timer};

guest::guest!(main, guest::unexpected);

/// RAM that nothing else uses: after the image, before the device tree.
const CANARY: u64 = 0x4300_0000;

const RTC: u64 = 0x0901_0000;
/// RTCDR and RTCLR (Arm DDI 0224): the time in seconds.
const DR: u64 = RTC;
const LR: u64 = RTC + 8;

const LIVES: u32 = 4;
/// More seconds than a life has.
const LIFE: u32 = 1000;

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
    // At first it is many years after 1970.
    let life = match guest::read::<u32>(DR) / LIFE {
        life if life <= LIVES => life,
        _ => 0,
    };
    guest::write(LR, (life + 1) * LIFE);
    if life < LIVES {
        psci::reset();
    }
    psci::off()
}
