//! A hostile guest: instructions of features that it was not told of, those by which a debugger or a semihosting host is called, and
//! words that are anything, in A64, A32 and T32 at EL0, where its memory is protected from them.
//!
//! Boot argument: `seed=N`.
#![no_std]
#![no_main]

use core::arch::asm;
use guest::attempt::{self, Attempt, Taken, class, pstate};
use guest::random::Random;
use guest::{Frame, canary, gic, hostile, mmu, slot, timer, write_sysreg};

guest::guest!(main, exception);

/// Two blocks of RAM that EL0 may do anything with: the first for its instructions, the second for data.
const CODE: u64 = 0x4300_0000;
const DATA: u64 = 0x4320_0000;
const BRK: u32 = 0xd420_0000;
const BKPT: u32 = 0xe120_0070;
const BKPT_T32: u32 = 0xbe00_be00;
/// PSTATE.I.
const I: u64 = 1 << 7;

/// What is undefined to a guest on every CPU.
const UNDEFINED: [(&str, u32); 13] = [
    ("mrs x0, lorc_el1", 0xd538_a460),
    ("hlt #0xf000", 0xd45e_0000),
    ("hlt #0", 0xd440_0000),
    ("dcps1", 0xd4a0_0001),
    ("dcps2", 0xd4a0_0002),
    ("dcps3", 0xd4a0_0003),
    ("drps", 0xd6bf_03e0),
    ("ptrue p0.b", 0x2518_e3e0),
    ("rdvl x0, #1", 0x04bf_5020),
    ("smstart", 0xd503_477f),
    ("ld64b x0, [x1]", 0xf83f_d020),
    ("tstart x0", 0xd523_3060),
    ("udf #0", 0),
];

/// CP14 and CP15 instructions of A32: MCR and MRC with all of opc1, CRn, CRm and opc2.
fn coprocessor(cp: u32, read: bool, code: u32) -> u32 {
    let (opc1, crn, crm, opc2) = (code >> 11 & 7, code >> 7 & 15, code >> 3 & 15, code & 7);
    0xee00_0010 | opc1 << 21 | u32::from(read) << 20 | crn << 16 | cp << 8 | opc2 << 5 | crm
}

fn exception(frame: &mut Frame) {
    if !attempt::caught(frame) {
        guest::unexpected(frame);
    }
}

fn main(dtb: u64) -> ! {
    let seed = guest::argument(dtb, b"seed=");
    let mut random = Random::new(seed);
    // SAFETY: everything that EL1 can allow EL0 is allowed: CPACR_EL1.FPEN, ZEN, SMEN; CNTKCTL_EL1; SCTLR_EL1's UCI, UCT, DZE,
    // UMA, EnTP2, without nTWE and nTWI.
    unsafe {
        write_sysreg!("cpacr_el1", 0b11 << 24 | 0b11 << 20 | 0b11 << 16);
        write_sysreg!("cntkctl_el1", 0b11_0000_0011);
        let sctlr = guest::read_sysreg!("sctlr_el1");
        write_sysreg!("sctlr_el1", sctlr | 1 << 26 | 1 << 18 | 1 << 16 | 1 << 15 | 1 << 14 | 1 << 9);
    }
    protect();
    gic::init();
    gic::enable(timer::VIRTUAL, 0x80);
    for (name, word) in UNDEFINED {
        let el1 = Attempt::new(0).run(pstate::EL1H, &[word]);
        let el0 = el0(&mut random, pstate::EL0, &[word]);
        for (taken, slot) in [(el1, slot::SYNC), (el0, slot::EL0_SYNC)] {
            if (taken.slot, taken.class(), taken.offset) != (slot, class::UNDEFINED, 0) {
                hostile::wrong(format_args!("{name} ended in {taken:x?}"));
            }
        }
    }
    let mut words = 0_u64;
    let mut done = 0_u64;
    let mut count = |taken: Taken| {
        words += 1;
        done += u64::from(taken.done());
    };
    for _ in 0..10_000 {
        let words = [a64(&mut random), a64(&mut random)];
        count(el0(&mut random, pstate::EL0, &words));
    }
    let aarch32 = guest::read_sysreg!("id_aa64pfr0_el1") & 15 == 2;
    if aarch32 {
        for code in 0..1 << 14 {
            // CP14 and CP15; always, and by a condition.
            let condition = if random.below(8) != 0 { 14 } else { random.below(14) as u32 };
            let words =
                [false, true].map(|read| coprocessor(14 | random.word() as u32 & 1, read, code) | condition << 28);
            words.into_iter().for_each(|word| count(el0(&mut random, pstate::A32, &[word])));
        }
        // SVC; HVC; SMC; HLT, also #0xf000; ERET; WFI; WFE; UDF; SETEND BE; LDM and LDRD of what R1 says.
        for word in [
            0xef00_0000,
            0xef12_3456,
            0xe140_0070,
            0xe160_0070,
            0xe100_0070,
            0xe10f_0070,
            0xe160_006e,
            0xe320_f003,
            0xe320_f002,
            0xe7f0_00f0,
            0xf101_0200,
            0xe891_003c,
            0xe1c1_20d0,
        ] {
            for _ in 0..8 {
                count(el0(&mut random, pstate::A32, &[word]));
            }
        }
        for _ in 0..10_000 {
            let word = random.word();
            // Most of A32 is conditional; always is what most do.
            let a32 = if random.below(4) == 0 { word as u32 } else { word as u32 & 0x0fff_ffff | 0xe000_0000 };
            count(el0(&mut random, pstate::A32, &[a32]));
            count(el0(&mut random, pstate::T32, &[(word >> 32) as u32]));
        }
    }
    hostile::finish(seed, format_args!("\"words\":{words},\"done\":{done},\"aarch32\":{aarch32}"))
}

/// A word: anything, or of a class of instructions that is rare among all words.
fn a64(random: &mut Random) -> u32 {
    let word = random.word() as u32;
    match random.below(4) {
        // System; exceptions; loads and stores.
        0 => word & 0x003f_ffff | 0xd500_0000,
        1 => word & 0x00ff_ffff | 0xd400_0000,
        2 => word & 0xf5ff_ffff | 0x0800_0000,
        _ => word,
    }
}

/// The MMU on: EL0 may use its two blocks of RAM, the devices but for the interrupt controller, which ends what it does, and
/// everything that is not there.
fn protect() {
    use core::sync::atomic::Ordering::Relaxed;
    const BLOCKS: [u64; 2] = [0x4340_0000, 0x4340_1000];
    /// AP: EL0 too.
    const EL0: u64 = 1 << 6;
    mmu::on();
    for address in (0..2 << 30).step_by(2 << 20) {
        let (gigabyte, block) = (address >> 30, address >> 21 & 511);
        let own = (0x4000_0000..CODE).contains(&address) || (DATA + (2 << 20)..0x4400_0000).contains(&address);
        let gic = (gic::GICD..0x0900_0000).contains(&address);
        let kind = mmu::TABLE.0[gigabyte as usize].load(Relaxed) & 0xfff | if gigabyte == 0 { mmu::XN } else { 0 };
        let user = if own || gic { 0 } else { EL0 };
        guest::write(BLOCKS[gigabyte as usize] + 8 * block, address | kind | user);
    }
    for (gigabyte, entry) in mmu::TABLE.0.iter().enumerate() {
        let all = entry.load(Relaxed) | EL0;
        entry.store(BLOCKS.get(gigabyte).map_or(all, |table| table | 0b11), Relaxed);
    }
    // SAFETY: what EL1 uses is as it was.
    unsafe { asm!("dsb sy", "tlbi vmalle1", "dsb sy", "isb", options(nostack, preserves_flags)) };
}

/// Executes words at EL0, for a while at most.
fn el0(random: &mut Random, state: u64, words: &[u32]) -> Taken {
    let end = match state {
        pstate::T32 => BKPT_T32,
        pstate::A32 => BKPT,
        _ => BRK,
    };
    // Behind them, and where they may jump to, is the end.
    for at in 0..8_usize {
        guest::write(CODE + 4 * at as u64, words.get(at).copied().unwrap_or(end));
    }
    // SAFETY: maintenance of what was written.
    unsafe {
        asm!("dc cvau, {0}", "dsb ish", "ic ialluis", "dsb ish", "isb", in(reg) CODE, options(nostack, preserves_flags));
    }
    let mut attempt = Attempt {
        x: core::array::from_fn(|_| match random.below(8) {
            0 => random.any(),
            1 => gic::GICD + random.below(0x1_0000),
            2 => gic::GICC + random.below(0x2000),
            3 => 0x0900_0000 + random.below(0x1000),
            4 => 0x4400_0000 + random.below(1 << 30),
            5 => CODE,
            _ => DATA + (random.below(1 << 20) & !7),
        }),
    };
    // SAFETY: EL0's own.
    unsafe { write_sysreg!("sp_el0", DATA) };
    timer::set_virtual(200);
    let taken = attempt.jump(state & !I, CODE);
    timer::stop();
    if taken.slot < slot::EL0_SYNC {
        hostile::wrong(format_args!("{words:x?} ended in {taken:x?}"));
    }
    for (number, &value) in attempt.x.iter().enumerate() {
        if canary::is_wholly_marked(value) {
            hostile::wrong(format_args!("{words:x?} reads {value:#x} into x{number}"));
        }
    }
    // Whatever interrupts there are.
    loop {
        let irq = gic::acknowledge();
        if irq & 0x3ff >= 1020 {
            return taken;
        }
        gic::end(irq);
    }
}
