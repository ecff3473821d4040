//! A hostile guest of many vCPUs, none of which ever does anything but cost time: interrupts that always come, waits that never
//! wait, calls and maintenance in loops. The first one ends it all, in its own time.
//!
//! Boot arguments: `seed=N`, `vcpus=N`, `set=N`: which of the sets of storms; `turns=N`: how often the first one yields.
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use guest::console::UART;
use guest::{Frame, gic, hostile, psci, slot, timer, write_sysreg};

guest::guest!(main, exception);

/// The UART's interrupt.
const UART_IRQ: u32 = 33;
const SGI: u32 = 3;
/// PSCI's CPU_SUSPEND.
const CPU_SUSPEND: u32 = 0xc400_0001;

/// Assembly that never ends.
macro_rules! forever {
    ($($code:tt)*) => {
        // SAFETY: it costs time, and nothing else.
        unsafe { asm!($($code)*, options(noreturn)) }
    };
}

/// Interrupts by vCPU.
static TAKEN: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Whom an SGI sends its next to, by vCPU.
static TARGETS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

const INTERRUPTS: [psci::Main; 7] = [
    |cpu| interrupts(|| TARGETS[cpu].store(1 << cpu, Relaxed), Some(SGI)),
    // To all but the first, which would not wait then.
    |cpu| interrupts(|| TARGETS[cpu].store(0xfe, Relaxed), Some(SGI)),
    // Due, and ended without being served.
    |_| interrupts(|| timer::set_virtual(0), None),
    |_| interrupts(|| timer::set_physical(0), None),
    // Its line stays up: UARTIMSC.TXIM, once something was sent.
    |_| {
        let send = || {
            guest::write(UART + 0x38, 1_u32 << 5);
            guest::write(UART, u32::from(b'\n'));
        };
        interrupts(send, None)
    },
    |_| loop {
        hostile::yield_now();
    },
    |_| {
        timer::set_virtual(0);
        loop {
            guest::wait();
            psci::call(CPU_SUSPEND, 0, 0, 0);
            // SAFETY: a hint.
            unsafe { asm!("wfe", options(nostack, preserves_flags)) };
        }
    },
];

const LOOPS: [psci::Main; 7] = [
    |_| forever!("b ."),
    // DC CISW.
    |_| forever!("0: dc cisw, xzr", "b 0b"),
    |_| forever!("0: tlbi vmalle1is", "ic ialluis", "dsb sy", "isb", "b 0b"),
    |_| loop {
        psci::call(0, 0, 0, 0);
    },
    |_| forever!("0: msr cntp_cval_el0, xzr", "msr cntp_ctl_el0, {0}", "b 0b", in(reg) 1_u64),
    |_| loop {
        guest::write(gic::GICD + gic::ISPENDR + 4, !0_u32);
        guest::write(gic::GICD + gic::ISENABLER + 4, !0_u32);
        guest::write(gic::GICD + gic::ICENABLER + 4, !0_u32);
    },
    |cpu| loop {
        // Of itself, which is on.
        psci::start(cpu, INTERRUPTS[0]);
    },
];

fn main(dtb: u64) -> ! {
    let argument = |key: &[u8]| guest::argument(dtb, key);
    let (vcpus, turns) = (argument(b"vcpus="), argument(b"turns="));
    let storms = if argument(b"set=") == 0 { INTERRUPTS } else { LOOPS };
    gic::init();
    let started =
        storms.into_iter().zip(1..vcpus as usize).filter(|&(storm, cpu)| psci::start(cpu, storm) == 0).count();
    for _ in 0..turns {
        hostile::yield_now();
    }
    let [_, a, b, c, d, e, ..] = TAKEN.each_ref().map(|taken| taken.load(Relaxed));
    hostile::finish(argument(b"seed="), format_args!("\"started\":{started},\"taken\":[{a},{b},{c},{d},{e}]"))
}

/// Has interrupts enabled, and one begin that never ends.
fn interrupts(begin: impl FnOnce(), sgi: Option<u32>) -> ! {
    gic::init();
    for irq in [SGI, timer::VIRTUAL, timer::PHYSICAL] {
        gic::enable(irq, 0x80);
    }
    begin();
    if guest::read::<u32>(UART + 0x38) != 0 {
        gic::enable(UART_IRQ, 0x80);
    }
    if let Some(sgi) = sgi {
        gic::send_sgi(sgi, TARGETS[guest::cpu()].load(Relaxed) as u8);
    }
    guest::unmask_irqs();
    forever!("b .")
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let irq = gic::acknowledge();
    let cpu = guest::cpu();
    TAKEN[cpu].fetch_add(1, Relaxed);
    gic::end(irq);
    match TARGETS[cpu].load(Relaxed) {
        0 => {}
        targets => gic::send_sgi(SGI, targets as u8),
    }
    // SAFETY: a barrier.
    unsafe { write_sysreg!("tpidr_el1", u64::from(irq)) };
}
