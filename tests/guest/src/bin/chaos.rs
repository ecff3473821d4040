//! Four vCPUs do whatever comes to them, SGIs to all, both timers, waits, CPU_ON, CPU_OFF, device registers, until one of them wants
//! a reset, in the middle of what the others do; for some seconds.
#![no_std]
#![no_main]

use guest::{Frame, gic, mmu, psci, random::Random, read_sysreg, slot, timer};

guest::guest!(main, exception);

/// RAM that nothing else uses: after the image, before the device tree.
const CANARY: u64 = 0x4300_0000;
const VCPUS: usize = 4;
const SECONDS: u64 = 4;
/// The most counts until a timer is due.
const SHORT: u64 = 20_000;

fn main(_: u64) -> ! {
    if guest::read::<u64>(CANARY) != 0 {
        guest::fail(format_args!("RAM of an earlier life"));
    }
    guest::write(CANARY, 1u64);
    for cpu in 1..VCPUS {
        psci::start(cpu, each);
    }
    each(0)
}

fn each(cpu: usize) -> ! {
    mmu::on();
    gic::init();
    for irq in (0..VCPUS as u32).chain([timer::VIRTUAL, timer::PHYSICAL]) {
        gic::enable(irq, 0x80);
    }
    let frequency = read_sysreg!("cntfrq_el0");
    let mut random = Random::new(timer::now() ^ (cpu as u64) << 20);
    let end = timer::now() + random.word() % (frequency / 20);
    loop {
        match random.word() % 8 {
            0 => gic::send_sgi(cpu as u32, 0xf),
            1 => wait_for(timer::set_virtual, random.word()),
            2 => wait_for(timer::set_physical, random.word()),
            3 => drop(psci::call(psci::AFFINITY_INFO, random.word() % VCPUS as u64, 0, 0)),
            4 => drop(psci::start((random.word() % VCPUS as u64) as usize, each)),
            5 if cpu != 0 && random.word().is_multiple_of(16) => drop(psci::call(psci::CPU_OFF, 0, 0, 0)),
            _ => drop(guest::read::<u32>(gic::GICD + 4)),
        }
        guest::unmask_irqs();
        if timer::now() > SECONDS * frequency {
            psci::off()
        }
        if timer::now() > end {
            psci::reset()
        }
    }
}

fn wait_for(set: fn(u64), random: u64) {
    guest::mask_irqs();
    set(random % SHORT);
    guest::wait();
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let irq = gic::acknowledge();
    match irq & 0x3ff {
        // Taken back meanwhile.
        1020.. => return,
        timer::VIRTUAL | timer::PHYSICAL => timer::stop(),
        _ => {}
    }
    gic::end(irq);
}
