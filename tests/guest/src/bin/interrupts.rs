//! One or two vCPUs that take every kind of virtual interrupt a number of times, each exactly once: both timers', SGIs from the other
//! vCPU, and SPIs that are made pending for each vCPU in turn.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use guest::{Frame, gic, mmu, psci, record, slot, timer};

guest::guest!(main, exception);

const ROUNDS: u64 = 10;
/// Counts of a timer until its interrupt.
const PERIOD: u64 = 5_000;
const SGI: u32 = 3;
/// The SPI of vCPU 0; the next is vCPU 1's.
const SPI: u32 = 40;
/// What is told of each vCPU.
const IRQS: [u32; 5] = [SGI, timer::VIRTUAL, timer::PHYSICAL, SPI, SPI + 1];

/// What each vCPU has taken, by INTID.
static TAKEN: [[AtomicU64; 64]; 2] = [const { [const { AtomicU64::new(0) }; 64] }; 2];
static VCPUS: AtomicU64 = AtomicU64::new(1);
/// vCPUs that are set up, and those that have done all.
static READY: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

fn main(_: u64) -> ! {
    mmu::on();
    gic::init();
    [SPI, SPI + 1].into_iter().for_each(|irq| gic::enable(irq, 0x80));
    VCPUS.store(2, SeqCst);
    // The second one, if the guest has it.
    if psci::start(1, each) != 0 {
        VCPUS.store(1, SeqCst);
    }
    each(0)
}

fn each(cpu: usize) -> ! {
    mmu::on();
    gic::init();
    [SGI, timer::VIRTUAL, timer::PHYSICAL].into_iter().for_each(|irq| gic::enable(irq, 0x80));
    guest::unmask_irqs();
    READY.fetch_add(1, SeqCst);
    while READY.load(SeqCst) < VCPUS.load(SeqCst) {}
    let other = if VCPUS.load(SeqCst) == 2 { 1 - cpu } else { cpu };
    let mine = SPI + cpu as u32;
    for round in 1..=ROUNDS {
        timer::set_virtual(PERIOD);
        sleep_until(cpu, timer::VIRTUAL, round);
        timer::set_physical(PERIOD);
        sleep_until(cpu, timer::PHYSICAL, round);
        let before = taken(other, SGI);
        gic::send_sgi(SGI, 1 << other);
        while taken(other, SGI) == before {}
        for target in [other, cpu] {
            let before = taken(target, mine);
            gic::route(mine, target);
            gic::set_pending(mine);
            while taken(target, mine) == before {}
        }
    }
    DONE.fetch_add(1, SeqCst);
    if cpu != 0 {
        // It takes what the other one still sends.
        loop {
            guest::wait();
        }
    }
    while DONE.load(SeqCst) < VCPUS.load(SeqCst) {}
    for cpu in 0..VCPUS.load(SeqCst) as usize {
        let [sgi, virtual_timer, physical_timer, spi, next] = IRQS.map(|irq| taken(cpu, irq));
        record!("taken", "\"cpu\":{cpu},\"irqs\":[{sgi},{virtual_timer},{physical_timer},{spi},{next}]");
    }
    psci::off()
}

fn taken(cpu: usize, irq: u32) -> u64 {
    TAKEN[cpu][irq as usize].load(SeqCst)
}

/// Waits for an interrupt of this vCPU's own. One that comes between the look and the wait is pending, and ends the wait.
fn sleep_until(cpu: usize, irq: u32, count: u64) {
    loop {
        guest::mask_irqs();
        let done = taken(cpu, irq) >= count;
        if !done {
            guest::wait();
        }
        guest::unmask_irqs();
        if done {
            return;
        }
    }
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let acknowledged = gic::acknowledge();
    let irq = acknowledged & 0x3ff;
    if !IRQS.contains(&irq) {
        guest::fail(format_args!("interrupt {irq}"));
    }
    if [timer::VIRTUAL, timer::PHYSICAL].contains(&irq) {
        timer::stop();
    }
    TAKEN[guest::cpu()][irq as usize].fetch_add(1, SeqCst);
    gic::end(acknowledged);
}
