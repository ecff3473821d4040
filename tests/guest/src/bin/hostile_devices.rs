//! A hostile guest: reads and writes of random values, of all sizes and at all alignments, to every register of its interrupt
//! controller and UART, and in between interrupts to itself. Whether it still has those is its own business.
//!
//! Boot argument: `seed=N`.
#![no_std]
#![no_main]

use guest::attempt::{Attempt, class, pstate};
use guest::console::UART;
use guest::random::Random;
use guest::{canary, gic, hostile, slot, timer};

guest::guest!(main, hostile::exception);

/// Loads and stores of x0 at x1: by size, 1, 2, 4 and 8 bytes.
const LOADS: [u32; 4] = [0x3940_0020, 0x7940_0020, 0xb940_0020, 0xf940_0020];
const STORES: [u32; 4] = [0x3900_0020, 0x7900_0020, 0xb900_0020, 0xf900_0020];
/// Pairs of x0 and x2: LDP and STP of 4 and of 8 bytes.
const PAIRS: [u32; 4] = [0x2940_0820, 0x2900_0820, 0xa940_0820, 0xa900_0820];

fn main(dtb: u64) -> ! {
    let seed = guest::argument(dtb, b"seed=");
    let mut random = Random::new(seed);
    let frames: &[(u64, u64)] = match gic::version() {
        3 => &[(gic::GICD, 0x1_0000), (gic::GICR, 0x2_0000), (UART, 0x1000)],
        _ => &[(gic::GICD, 0x1000), (gic::GICC, 0x2000), (UART, 0x1000)],
    };
    gic::init();
    let (mut answers, mut aborts) = (0_u64, 0_u64);
    let mut count = |done: bool| if done { answers += 1 } else { aborts += 1 };
    // Each register once, in order, with all bits set; then by chance.
    for &(frame, size) in frames {
        for address in (frame..frame + size).step_by(4).filter(|&address| address != UART) {
            for word in [LOADS[2], STORES[2]] {
                count(access(address, word, !0));
            }
        }
    }
    for number in 0..60_000_u32 {
        let (frame, size) = frames[random.below(frames.len() as u64) as usize];
        let align = !0 << random.below(4);
        let address = frame + (random.below(size) & align);
        // One that would write to the console.
        if address & !3 == UART {
            continue;
        }
        let word = match random.below(16) {
            0..2 => PAIRS[random.below(4) as usize],
            2..6 => LOADS[random.below(4) as usize],
            _ => STORES[random.below(4) as usize],
        };
        count(access(address, word, random.any()));
        if number % 16 == 0 {
            timer::set_virtual(0);
            gic::send_sgi(random.below(16) as u32, 0xff);
            // What comes is acknowledged, and ended, or not.
            let acknowledged = gic::acknowledge();
            if random.below(2) == 0 {
                gic::end(acknowledged);
            }
        }
    }
    // UARTCR: the UART works again, to say so.
    guest::write(UART + 0x30, 0x301_u32);
    hostile::finish(seed, format_args!("\"answers\":{answers},\"aborts\":{aborts}"))
}

/// Whether an access was answered; else it ended in an abort.
fn access(address: u64, word: u32, value: u64) -> bool {
    let mut attempt = Attempt::new(value);
    attempt.x[1] = address;
    let taken = attempt.run(pstate::EL1H, &[word]);
    let aborted = (taken.slot, taken.class(), taken.offset) == (slot::SYNC, class::DATA, 0);
    if !(taken.done() || aborted && taken.far.wrapping_sub(address) < 16) {
        hostile::wrong(format_args!("{word:#x} of {address:#x} ended in {taken:x?}"));
    }
    if taken.done() && attempt.x[0] != value && canary::is_marked(attempt.x[0]) {
        hostile::wrong(format_args!("{address:#x} reads another guest's {:#x}", attempt.x[0]));
    }
    taken.done()
}
