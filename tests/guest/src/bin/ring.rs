//! Each vCPU waits for its predecessor's SGI and sends one to its successor: on several CPUs each of them is a kick.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use guest::{Frame, gic, mmu, psci, record, slot};

guest::guest!(main, exception);

const SGI: u32 = 3;
const ROUNDS: u32 = 200;
const VCPUS: usize = 4;

static READY: AtomicU32 = AtomicU32::new(0);
static TAKEN: [AtomicU32; VCPUS] = [const { AtomicU32::new(0) }; VCPUS];

fn main(_: u64) -> ! {
    for cpu in 1..VCPUS {
        let result = psci::start(cpu, each);
        if result != 0 {
            guest::fail(format_args!("CPU_ON {cpu}: {result:#x}"));
        }
    }
    each(0)
}

fn each(cpu: usize) -> ! {
    mmu::on();
    gic::init();
    gic::enable(SGI, 0x80);
    READY.fetch_add(1, SeqCst);
    while READY.load(SeqCst) < VCPUS as u32 {}
    if cpu == 0 {
        gic::send_sgi(SGI, 1 << 1);
    }
    // The handler passes it on.
    guest::wait_until(|| TAKEN[cpu].load(SeqCst) >= ROUNDS);
    if cpu != 0 {
        psci::call(psci::CPU_OFF, 0, 0, 0);
    }
    while (1..VCPUS).any(|cpu| psci::call(psci::AFFINITY_INFO, cpu as u64, 0, 0) != 1) {}
    for (cpu, taken) in TAKEN.iter().enumerate() {
        record!("ring", "\"cpu\":{cpu},\"taken\":{}", taken.load(SeqCst));
    }
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
    let cpu = guest::cpu();
    let taken = TAKEN[cpu].fetch_add(1, SeqCst) + 1;
    gic::end(irq);
    // The last one of the last round ends with the first.
    if cpu != 0 || taken < ROUNDS {
        gic::send_sgi(SGI, 1 << ((cpu + 1) % VCPUS));
    }
}
