//! Each vCPU takes its virtual timer's interrupt a number of times, each exactly once.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use guest::{Frame, gic, mmu, psci, record, slot, timer};

guest::guest!(main, exception);

const TICKS: u64 = 20;
/// Counts of the virtual counter between two.
const PERIOD: u64 = 20_000;
const VCPUS: usize = 2;

static TAKEN: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

fn main(_: u64) -> ! {
    for cpu in 1..VCPUS {
        // One that the guest does not have is no error.
        psci::start(cpu, each);
    }
    each(0)
}

fn each(cpu: usize) -> ! {
    mmu::on();
    gic::init();
    gic::enable(timer::VIRTUAL, 0x80);
    timer::set_virtual(PERIOD);
    guest::wait_until(|| TAKEN[cpu].load(SeqCst) >= TICKS);
    if cpu != 0 {
        psci::call(psci::CPU_OFF, 0, 0, 0);
    }
    while (1..VCPUS).any(|cpu| psci::call(psci::AFFINITY_INFO, cpu as u64, 0, 0) == 0) {}
    // One after the other: they have one UART.
    for (cpu, taken) in TAKEN.iter().enumerate().take(VCPUS) {
        record!("ticks", "\"cpu\":{cpu},\"taken\":{}", taken.load(SeqCst));
    }
    psci::off()
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let irq = gic::acknowledge();
    if irq != timer::VIRTUAL {
        guest::fail(format_args!("interrupt {irq}"));
    }
    TAKEN[guest::cpu()].fetch_add(1, SeqCst);
    if TAKEN[guest::cpu()].load(SeqCst) < TICKS {
        timer::set_virtual(PERIOD);
    } else {
        timer::stop();
    }
    gic::end(irq);
}
