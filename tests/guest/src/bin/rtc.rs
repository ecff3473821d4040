//! Has the machine's PL031 to itself: sets its alarm to the next second, and takes the interrupt a number of times, each exactly once
//! for each alarm.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use guest::{Frame, gic, mmu, psci, record, slot};

guest::guest!(main, exception);

const RTC: u64 = 0x0901_0000;
// Registers (Arm DDI 0224).
const DR: u64 = RTC;
const MR: u64 = RTC + 4;
const IMSC: u64 = RTC + 0x10;
const ICR: u64 = RTC + 0x1c;
const IRQ: u32 = 34;

const ALARMS: u32 = 3;
static TAKEN: AtomicU32 = AtomicU32::new(0);

fn main(_: u64) -> ! {
    mmu::on();
    gic::init();
    gic::enable(IRQ, 0x80);
    guest::write(ICR, 1u32);
    guest::write(IMSC, 1u32);
    for alarm in 1..=ALARMS {
        // A match in the present second is one at once.
        guest::write(MR, guest::read::<u32>(DR) + u32::from(alarm == ALARMS));
        guest::wait_until(|| TAKEN.load(SeqCst) >= alarm);
    }
    record!("alarms", "\"taken\":{}", TAKEN.load(SeqCst));
    psci::off()
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let irq = gic::acknowledge();
    if irq != IRQ {
        guest::fail(format_args!("interrupt {irq}"));
    }
    TAKEN.fetch_add(1, SeqCst);
    guest::write(ICR, 1u32);
    gic::end(irq);
}
