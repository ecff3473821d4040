//! Two vCPUs that never wait by WFI send each other SGIs: on two CPUs nothing but a kick brings them.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use guest::{Frame, gic, mmu, psci, record, slot};

guest::guest!(main, exception);

const SGI: u32 = 5;
const ROUNDS: u32 = 50;

static READY: AtomicU32 = AtomicU32::new(0);
static TAKEN: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

fn main(_: u64) -> ! {
    psci::start(1, each);
    each(0)
}

fn each(cpu: usize) -> ! {
    mmu::on();
    gic::init();
    gic::enable(SGI, 0x80);
    READY.fetch_add(1, SeqCst);
    while READY.load(SeqCst) < 2 {}
    guest::unmask_irqs();
    for round in 1..=ROUNDS {
        if cpu == 0 {
            gic::send_sgi(SGI, 1 << 1);
        }
        while TAKEN[cpu].load(SeqCst) < round {}
        if cpu == 1 {
            gic::send_sgi(SGI, 1 << 0);
        }
    }
    if cpu == 1 {
        psci::call(psci::CPU_OFF, 0, 0, 0);
    }
    while psci::call(psci::AFFINITY_INFO, 1, 0, 0) != 1 {}
    record!("busy", "\"taken\":[{},{}]", TAKEN[0].load(SeqCst), TAKEN[1].load(SeqCst));
    psci::off()
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let irq = gic::acknowledge();
    if irq & 0x3ff != SGI {
        guest::fail(format_args!("interrupt {irq}"));
    }
    TAKEN[guest::cpu()].fetch_add(1, SeqCst);
    gic::end(irq);
}
