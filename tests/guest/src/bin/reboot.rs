//! Wants a reset in each of its first lives, in the handler of an interrupt that it has not ended, of the machine's PL031; in each
//! it looks whether its RAM and registers are new. Which life it is the PL031 keeps, as the time of day.
#![no_std]
#![no_main]

use guest::{Frame, gic, mmu, psci, read_sysreg, slot};

guest::guest!(main, exception);

/// RAM that nothing else uses: after the image, before the device tree.
const CANARY: u64 = 0x4300_0000;

const RTC: u64 = 0x0901_0000;
// Registers (Arm DDI 0224). The time, in seconds: DR reads it, LR sets it, MR is the alarm.
const DR: u64 = RTC;
const MR: u64 = RTC + 4;
const LR: u64 = RTC + 8;
const IMSC: u64 = RTC + 0x10;
const IRQ: u32 = 34;

const LIVES: u32 = 4;
/// More seconds than a life has.
const LIFE: u32 = 1000;

fn main(_: u64) -> ! {
    if guest::read::<u64>(CANARY) != 0 {
        guest::fail(format_args!("RAM of an earlier life"));
    }
    if read_sysreg!("tpidr_el1") != 0 {
        guest::fail(format_args!("registers of an earlier life"));
    }
    guest::write(CANARY, 1u64);
    // SAFETY: a register of the guest's own.
    unsafe { guest::write_sysreg!("tpidr_el1", 1) };
    mmu::on();
    gic::init();
    gic::enable(IRQ, 0x80);
    guest::write(IMSC, 1u32);
    guest::write(MR, guest::read::<u32>(DR));
    guest::wait_until(|| false);
    psci::off()
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ || gic::acknowledge() != IRQ {
        guest::unexpected(frame);
    }
    // At first it is many years after 1970.
    let life = match guest::read::<u32>(DR) / LIFE {
        life if life <= LIVES => life,
        _ => 0,
    };
    guest::write(LR, (life + 1) * LIFE);
    if life < LIVES { psci::reset() } else { psci::off() }
}
