//! A hostile guest: translation tables that are nowhere, in devices, or full of anything; and vCPUs that lose themselves in it for
//! good, so that each instruction they would execute is an exception.
//!
//! Boot arguments: `seed=N`, `vcpus=N`; `set=1`: only vCPUs that are lost in such a way that no instruction is ever executed; no time
//! passes by them where it is counted in instructions.
#![no_std]
#![no_main]

use core::arch::asm;
use guest::attempt::{Attempt, class, pstate};
use guest::mmu;
use guest::random::Random;
use guest::{canary, gic, hostile, psci, slot, timer, write_sysreg};

guest::guest!(main, hostile::exception);

/// What TTBR1_EL1 translates, by 39 bits.
const UPPER: u64 = 0xffff_ff80_0000_0000;
/// Pages of RAM for tables; and RAM that is 0, which is undefined.
const TABLE: u64 = 0x4300_0000;
const ZERO: u64 = 0x4310_0000;
/// LDR x0 and STR x0 at x1; AT S1E1R, S1E1W and S1E0R of x1.
const ACCESSES: [u32; 5] = [0xf940_0020, 0xf900_0020, 0xd508_7801, 0xd508_7821, 0xd508_7841];

fn main(dtb: u64) -> ! {
    let (seed, vcpus) = (guest::argument(dtb, b"seed="), guest::argument(dtb, b"vcpus="));
    if guest::argument(dtb, b"set=") == 1 {
        let lost = lose(&TIMELESS, vcpus);
        hostile::finish(seed, format_args!("\"lost\":{lost}"));
    }
    let mut random = Random::new(seed);
    mmu::on();
    // SAFETY: T1SZ 25, 4 KiB granule, cacheable; walks by TTBR1_EL1 too. What is used is translated by TTBR0_EL1.
    unsafe {
        let tcr = guest::read_sysreg!("tcr_el1") & !(1 << 23);
        write_sysreg!("tcr_el1", tcr | 0b10 << 30 | 0b11 << 28 | 0b01 << 26 | 0b01 << 24 | 25 << 16);
    }
    let devices = (gic::GICD..0x0a00_0000).step_by(0x1_0000).chain([gic::GICC, gic::GICC + 0x1000]);
    let beyond = (0..64).map(|_| random.word() & 0xffff_ffff_f000).collect();
    let nowhere = (0..48).map(|bit| 1_u64 << bit & !0xfff).filter(|&at| at != 1 << 30);
    let mut aborts = 0_u64;
    for table in devices.chain(nowhere).chain(Numbers::into_iter(beyond)) {
        // At the first level and, by a table of its own, at the second and third.
        aborts += walk(table);
        let descriptor = table & 0xffff_ffff_f000 | 0b11;
        guest::write(TABLE, descriptor);
        aborts += walk(TABLE);
        guest::write(TABLE, (TABLE + 0x1000) | 0b11);
        guest::write(TABLE + 0x1000, descriptor);
        aborts += walk(TABLE);
    }
    let mapped = anything(&mut random);
    let lost = lose(&LOST, vcpus);
    hostile::finish(seed, format_args!("\"aborts\":{aborts},\"mapped\":{mapped},\"lost\":{lost}"))
}

/// A few numbers, made before their maker is used for others.
struct Numbers([u64; 64]);

impl FromIterator<u64> for Numbers {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Numbers {
        let mut all = [0; 64];
        all.iter_mut().zip(numbers).for_each(|(slot, number)| *slot = number);
        Numbers(all)
    }
}

impl Numbers {
    fn into_iter(self) -> impl Iterator<Item = u64> {
        self.0.into_iter()
    }
}

fn set_table(table: u64) {
    // SAFETY: nothing that is used is translated by it.
    unsafe {
        write_sysreg!("ttbr1_el1", table);
        asm!("dsb ish", "tlbi vmalle1", "dsb ish", "isb", options(nostack, preserves_flags));
    }
}

/// Accesses by tables that cannot be read: how many ended in aborts; translations that are asked for may fail instead.
fn walk(table: u64) -> u64 {
    set_table(table);
    let mut aborts = 0;
    for word in ACCESSES {
        let mut attempt = Attempt::new(0);
        attempt.x[1] = UPPER;
        let taken = attempt.run(pstate::EL1H, &[word]);
        let aborted = (taken.slot, taken.class(), taken.far, taken.offset) == (slot::SYNC, class::DATA, UPPER, 0);
        let failed = word >> 24 == 0xd5 && taken.done() && guest::read_sysreg!("par_el1") & 1 != 0;
        if !aborted && !failed {
            hostile::wrong(format_args!("{word:#x} by tables at {table:#x} ended in {taken:x?}"));
        }
        aborts += u64::from(aborted);
    }
    let taken = Attempt::new(0).jump(pstate::EL1H, UPPER);
    if (taken.slot, taken.class(), taken.far) != (slot::SYNC, class::FETCH, UPPER) {
        hostile::wrong(format_args!("a fetch by tables at {table:#x} ended in {taken:x?}"));
    }
    aborts + 1
}

/// Reads by tables full of anything; how many found memory.
fn anything(random: &mut Random) -> u64 {
    let mut mapped = 0;
    for _ in 0..200 {
        for entry in 0..1024 {
            // Half of them lead on: to a table, or to a block or page of RAM or of something else.
            let descriptor = match random.below(4) {
                0 => (TABLE + (random.below(2) << 12)) | 0b11,
                1 => {
                    (0x4000_0000 + (random.word() & 0x3fff_f000))
                        | random.word() & 0xfc
                        | 1 << 10
                        | 0b01
                        | random.below(2) << 1
                }
                _ => random.word(),
            };
            guest::write(TABLE + 8 * entry, descriptor);
        }
        set_table(TABLE);
        for _ in 0..50 {
            let mut attempt = Attempt::new(0);
            let address = UPPER | random.word() >> 25;
            attempt.x[1] = address & !7;
            let taken = attempt.run(pstate::EL1H, &[ACCESSES[0]]);
            mapped += u64::from(taken.done());
            let aborted = (taken.slot, taken.class(), taken.far) == (slot::SYNC, class::DATA, attempt.x[1]);
            if !taken.done() && !aborted || taken.done() && canary::is_marked(attempt.x[0]) {
                hostile::wrong(format_args!("{address:#x} ended in {taken:x?} with {:#x}", attempt.x[0]));
            }
        }
    }
    mapped
}

/// What vCPUs do that never come to an end; each exception takes them to EL2.
const LOST: [psci::Main; 6] = [
    |_| tables(0x80_0000_0000),
    |_| tables(gic::GICD),
    |_| tables(0x0900_0000),
    |_| vectors(0x80_0000_0000),
    |_| vectors(gic::GICD),
    |_| interrupted(),
];

/// The same within EL1: a table beyond the addresses that there are, and vectors that are undefined.
const TIMELESS: [psci::Main; 2] = [|_| tables(1 << 40), |_| vectors(ZERO)];

/// Starts the other vCPUs, and lets them have their turns; how many were started.
fn lose(mains: &[psci::Main], vcpus: u64) -> usize {
    let lost = mains.iter().zip(1..vcpus as usize).filter(|&(&main, cpu)| psci::start(cpu, main) == 0).count();
    for _ in 0..30 {
        hostile::yield_now();
    }
    lost
}

/// The MMU on, and its tables there.
fn tables(at: u64) -> ! {
    // SAFETY: it never ends.
    unsafe {
        write_sysreg!("tcr_el1", guest::mmu::TCR);
        write_sysreg!("ttbr0_el1", at);
        let sctlr = guest::read_sysreg!("sctlr_el1");
        write_sysreg!("sctlr_el1", sctlr | 1);
        asm!("b .", options(noreturn))
    }
}

/// The vectors there, and an exception.
fn vectors(at: u64) -> ! {
    // SAFETY: it never ends.
    unsafe {
        write_sysreg!("vbar_el1", at);
        asm!("udf #0", "b .", options(noreturn))
    }
}

/// The vectors nowhere, and an interrupt that is always due.
fn interrupted() -> ! {
    gic::init();
    gic::enable(timer::VIRTUAL, 0);
    // SAFETY: it never ends.
    unsafe {
        write_sysreg!("vbar_el1", 1_u64 << 39);
        timer::set_virtual(0);
        asm!("msr daifclr, #0xf", "b .", options(noreturn))
    }
}
