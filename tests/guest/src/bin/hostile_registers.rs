//! A hostile guest: every encoding of a system register and of a system instruction, read and written, at EL1 and EL0.
//!
//! What belongs to EL2 and EL3 must be undefined; what can be read must not be another guest's; and the guest goes on. Boot
//! argument: `seed=N`.
#![no_std]
#![no_main]

use guest::attempt::{Attempt, Taken, class, pstate};
use guest::registers::{Register, SCTLR_EL1};
use guest::{canary, hostile, random::Random, record};

guest::guest!(main, hostile::exception);

/// Where instructions that take an address may do what they do.
const SCRATCH: u64 = 0x4300_0000;

fn main(dtb: u64) -> ! {
    let seed = guest::argument(dtb, b"seed=");
    let mut random = Random::new(seed);
    for level in [pstate::EL1H, pstate::EL0] {
        let (mut readable, mut writable) = (0, 0);
        for register in Register::all() {
            let original = register.read(level);
            match original {
                Ok(value) => {
                    readable += 1;
                    look(register, value);
                }
                Err(taken) => refused(register, taken, level),
            }
            for value in [0, !0, random.word()] {
                let value = match (original, register) {
                    (Ok(original), SCTLR_EL1) => original ^ (original ^ value) & register.free_bits(),
                    _ => value,
                };
                match register.write(level, value) {
                    Ok(()) => writable += 1,
                    Err(taken) => refused(register, taken, level),
                }
            }
            // What it needs is as it was; the others stay so, for the honest guest to stumble over.
            if let Ok(original) = original
                && register.free_bits() != !0
            {
                // It may be one that is read only.
                let _ = register.write(level, original);
            }
        }
        let instructions = instructions(level, &mut random);
        let name = if level == pstate::EL0 { "EL0" } else { "EL1" };
        record!(
            "registers",
            "\"seed\":{seed},\"level\":\"{name}\",\"readable\":{readable},\"writable\":{},\"instructions\":{instructions}",
            writable / 3
        );
    }
    hostile::finish(seed, format_args!("\"levels\":2"))
}

/// A value that was read.
fn look(register: Register, value: u64) {
    if register.op1() >= 4 {
        hostile::wrong(format_args!("{register} can be read: {value:#x}"));
    }
    if canary::is_marked(value) {
        hostile::wrong(format_args!("{register} is another guest's: {value:#x}"));
    }
}

/// An access that ended in an exception: the instruction's own, and an undefined one or one that EL1 has asked for.
fn refused(register: Register, taken: Taken, level: u64) {
    // Floating point, SVE and SME, which CPACR_EL1 does not allow; 0x18: a trap that EL1 has asked for, or (FEAT_IDST) an ID
    // register that there is not.
    let known = matches!(taken.class(), class::UNDEFINED | 0x07 | 0x18 | 0x19 | 0x1d);
    let slot = if level == pstate::EL0 { guest::slot::EL0_SYNC } else { guest::slot::SYNC };
    if !known || taken.slot != slot || taken.offset != 0 {
        hostile::wrong(format_args!("{register} ended in {taken:x?}"));
    }
}

/// SYS and SYSL with every encoding; how many were done.
fn instructions(level: u64, random: &mut Random) -> u64 {
    let mut done = 0;
    for code in 0..1 << 14 {
        for base in [0xd508_0000, 0xd528_0000] {
            // DC ZVA and its like fill what they are given.
            let fills = matches!(code, 0x1ba1 | 0x1ba3 | 0x1ba4);
            let values = if fills { [SCRATCH; 3] } else { [SCRATCH, !0, random.word()] };
            for value in values {
                let mut attempt = Attempt::new(value);
                let taken = attempt.run(level, &[base | code << 5]);
                done += u64::from(taken.done());
                if canary::is_marked(attempt.x[0]) && attempt.x[0] != value {
                    hostile::wrong(format_args!("SYSL {code:#x} reads another guest's {:#x}", attempt.x[0]));
                }
            }
        }
    }
    done
}
