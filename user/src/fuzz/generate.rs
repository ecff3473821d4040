//! How cases are made.

use super::calls::{Arg, CALLS, Call};
use super::memory::*;
use super::step::{Step, Value, WORDS_MAX};
use super::{Case, STEPS_MAX};
use fastrand::Rng;

/// The case with this number of those of a seed.
pub fn case(seed: u64, number: u64) -> Case {
    // Neighbours must not look alike.
    let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut case = Case::new(number);
    for _ in 0..rng.usize(4..=STEPS_MAX) {
        let step = step(&mut rng);
        case.push(step);
    }
    case
}

fn step(rng: &mut Rng) -> Step {
    match rng.u8(..32) {
        0..=20 => {
            let call = &CALLS[rng.usize(..CALLS.len())];
            // These end the case.
            let ends = call.name.starts_with("exit") && rng.u8(..4) != 0;
            let call = if ends { &CALLS[rng.usize(..CALLS.len())] } else { call };
            Step::Call { call, args: arguments(call, rng) }
        }
        21 => {
            let args = core::array::from_fn(|_| Value::Number(anything(rng)));
            // Beyond the table, and behind all that there is in it.
            let number = if rng.bool() { rng.u32(451..600) } else { rng.u32(600..) };
            Step::Unknown { number, args }
        }
        22..=27 => {
            let mut words = [0; WORDS_MAX];
            let used = rng.usize(1..=WORDS_MAX);
            words[..used].fill_with(|| instruction(rng));
            Step::Code { seed: rng.u64(..), words, used }
        }
        28 | 29 => Step::Fork,
        _ if rng.u8(..4) == 0 => Step::Fresh(rng.u64(1..40)),
        _ => Step::Fresh(rng.u64(1..6)),
    }
}

fn arguments(call: &Call, rng: &mut Rng) -> [Value; 6] {
    let mut args = [Value::Number(0); 6];
    for (index, value) in args.iter_mut().enumerate() {
        *value = match call.args.get(index) {
            // Beyond the arguments, as well.
            None if rng.u8(..4) != 0 => continue,
            Some(&arg) if rng.u8(..8) != 0 => argument(arg, rng),
            _ => Value::Number(anything(rng)),
        };
    }
    args
}

/// A value such as this argument may well have.
fn argument(arg: Arg, rng: &mut Rng) -> Value {
    Value::Number(match arg {
        Arg::File if rng.u8(..4) == 0 => return Value::Result,
        // Without the first three a case tells nothing any more.
        Arg::File => {
            let fds = [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 63, 64, 65, 1 << 31, 1 << 32, u64::MAX];
            let first = if rng.u8(..4) == 0 { 0 } else { 3 };
            fds[rng.usize(first..fds.len())]
        }
        Arg::Directory => {
            // AT_FDCWD, mostly.
            let directories = [-100, -100, -100, 3, 4, -1, 64].map(i64::cast_unsigned);
            directories[rng.usize(..directories.len())]
        }
        Arg::Path if rng.u8(..4) != 0 => STRINGS_AT + STRING_SIZE * rng.u64(..STRINGS.len() as u64),
        Arg::Pair | Arg::MaybePair if rng.u8(..4) != 0 => PAIRS_AT + 16 * rng.u64(..PAIRS.len() as u64),
        Arg::Path | Arg::Pair | Arg::MaybePair | Arg::Out | Arg::MaybeOut => pointer(rng),
        Arg::Length => match rng.u8(..8) {
            0 => 0,
            1..=4 => rng.u64(..64),
            5 => rng.u64(..3 * PAGE),
            6 => 1 << rng.u8(..64),
            _ => anything(rng),
        },
        Arg::Small => match rng.u8(..4) {
            0 | 1 => rng.u64(..8),
            2 => 1 << rng.u8(..64),
            _ => rng.u64(..0x1000),
        },
        Arg::Process => match rng.u8(..8) {
            0 | 1 => return Value::Me,
            2 | 3 => return Value::Child,
            4 => u64::MAX,
            5 => 0,
            6 => 1,
            _ => rng.u64(..64),
        },
        // SIGKILL and SIGSTOP of all only now and then.
        Arg::Signal => [0, 0, 0, 17, 18, 18, 20, 19, 9, 15, 10, 64, 65, u64::MAX, 28, 23][rng.usize(..16)],
        Arg::Clock => rng.u64(..14),
        Arg::CloneFlags => match rng.u8(..4) {
            0..=2 => 17 | [0, 1 << 19, 1 << 20, 1 << 21, 1 << 24][rng.usize(..5)],
            _ => rng.u64(..),
        },
        Arg::Address => address(rng),
        Arg::Size => match rng.u8(..8) {
            0..=3 => PAGE * rng.u64(1..8),
            4 => rng.u64(..PAGE * 8),
            5 => PAGE << rng.u8(..16),
            6 => 0,
            _ => anything(rng),
        },
        Arg::Protection => [0, 1, 2, 3, 3, 4, 5, 7, 8][rng.usize(..9)],
        Arg::MapFlags => {
            // Private and anonymous, mostly; MAP_FIXED, MAP_FIXED_NOREPLACE.
            let flags = [0x22, 0x22, 0x22, 0x32, 0x32, 0x32, 0x10_0022, 0x21, 0x02, 0x20, 0x3];
            flags[rng.usize(..flags.len())]
        }
        Arg::Offset => match rng.u8(..4) {
            0 | 1 => 0,
            2 => PAGE * rng.u64(..16),
            _ => anything(rng),
        },
    })
}

/// Where memory may be, or be put. The program's own, its stack included, is left alone: without it a case tells nothing any more.
fn address(rng: &mut Rng) -> u64 {
    match rng.u8(..16) {
        0 => 0,
        1..=5 => DATA + PAGE * rng.u64(..16),
        6..=9 => 0x1000_0000 + PAGE * rng.u64(..16),
        // Where a table of the last level ends, and one of the second.
        10 => 0x1020_0000 - PAGE * rng.u64(..4),
        11 => 0x4000_0000 - PAGE * rng.u64(..4),
        12 => USER_END - PAGE * rng.u64(..2),
        13 => USER_START + PAGE * rng.u64(..4) - PAGE * 2,
        14 => 0x1000_0000 + rng.u64(..0x1_0000),
        _ => anything(rng),
    }
}

/// A pointer of any sort.
pub fn pointer(rng: &mut Rng) -> u64 {
    let near = rng.u64(..32);
    match rng.u8(..32) {
        0..=9 => DATA + rng.u64(0x1000..DATA_SIZE - 0x400),
        // Across the edges of what may be written, of what may be read, and of nothing.
        10..=12 => CLOSED - near,
        13 => CLOSED + near,
        14 => READ_ONLY - near,
        15 => READ_ONLY + near,
        16 => READ_ONLY + PAGE - near,
        17 => DATA - near,
        18 => CODE + PAGE - near,
        19 => near,
        20 => USER_START - near,
        21 => USER_END - near,
        22 => USER_END + near,
        // Above a stack, and into it.
        23 => USER_END - PAGE - near,
        // A tag; neither half.
        24 => 0x5a << 56 | (DATA + near),
        25 => 1 << rng.u8(40..56) | near,
        // The kernel's: image, linear map, stacks, devices, the end.
        26 => 0xffff_ffc0_8000_0000 + (near << 12),
        27 => 0xffff_ff80_4000_0000 + (near << 12),
        28 => 0xffff_ffd0_0000_0000 + (near << 10),
        29 => 0xffff_ffe0_0000_0000 + near,
        30 => u64::MAX - near,
        _ => rng.u64(..),
    }
}

/// A number or an address.
fn anything(rng: &mut Rng) -> u64 {
    match rng.u8(..8) {
        0..=3 => pointer(rng),
        4 => rng.u64(..256),
        5 => rng.u64(..4096).wrapping_neg(),
        6 => 1 << rng.u8(..64),
        _ => rng.u64(..),
    }
}

/// x0..x30 and SP, for instructions. x30 is where they begin.
pub fn registers(seed: u64) -> [u64; 32] {
    let mut rng = Rng::with_seed(seed);
    let mut registers = core::array::from_fn(|_| anything(&mut rng));
    if rng.bool() {
        // The number of some call; Linux's are below 300.
        registers[8] = rng.u64(..300);
    }
    registers[30] = CODE;
    registers[31] = if rng.u8(..4) == 0 { anything(&mut rng) } else { DATA + DATA_SIZE / 2 };
    registers
}

/// An instruction: of each class some that get further than most words do, which are undefined.
fn instruction(rng: &mut Rng) -> u32 {
    let [d, n, m, t] = [(); 4].map(|()| rng.u32(..32));
    match rng.u8(..41) {
        // svc #0, mostly after mov x8, #number
        0..=3 => 0xd400_0001,
        4..=7 => 0xd280_0008 | rng.u32(..300) << 5,
        // svc, hvc, smc, brk, hlt and more with any immediate
        8 => {
            [0xd400_0001, 0xd400_0002, 0xd400_0003, 0xd420_0000, 0xd440_0000, 0xd4a0_0001][rng.usize(..6)]
                | rng.u32(..0x1_0000) << 5
        }
        // Loads and stores of all sizes: an offset in units, an unscaled one, before and after, unprivileged, of pairs, of literals
        9..=11 => {
            0x3900_0000 | rng.u32(..16) << 28 & 0xc000_0000 | rng.u32(..4) << 22 | rng.u32(..4096) << 10 | n << 5 | d
        }
        12 | 13 => {
            0x3800_0000
                | rng.u32(..4) << 30
                | rng.u32(..4) << 22
                | rng.u32(..512) << 12
                | rng.u32(..4) << 10
                | n << 5
                | d
        }
        14 => 0x2800_0000 | rng.u32(..4) << 30 | rng.u32(..8) << 22 | rng.u32(..128) << 15 | m << 10 | n << 5 | d,
        15 => 0x1800_0000 | rng.u32(..4) << 30 | rng.u32(..1 << 19) << 5 | d,
        // Exclusives and ordered ones; atomics
        16 | 17 => {
            0x0800_0000 | rng.u32(..4) << 30 | rng.u32(..8) << 21 | m << 16 | rng.u32(..2) << 15 | t << 10 | n << 5 | d
        }
        18 => 0x3820_0000 | rng.u32(..4) << 30 | rng.u32(..4) << 22 | m << 16 | rng.u32(..16) << 12 | n << 5 | d,
        // The same of SIMD and FP registers; structures
        19 | 20 => 0x3d00_0000 | rng.u32(..4) << 30 | rng.u32(..4) << 22 | rng.u32(..4096) << 10 | n << 5 | d,
        21 => {
            0x0c00_0000
                | rng.u32(..2) << 30
                | rng.u32(..4) << 22
                | rng.u32(..16) << 12
                | rng.u32(..4) << 10
                | n << 5
                | d
        }
        // Arithmetic of SIMD and FP
        22 | 23 => 0x0e20_0400 | rng.u32(..8) << 28 | rng.u32(..4) << 22 | m << 16 | rng.u32(..32) << 11 | n << 5 | d,
        // mrs, msr and sys of any register; dc zva, dc cvau, dc civac, ic ivau
        24 => 0xd530_0000 | rng.u32(..1 << 20),
        25 => 0xd510_0000 | rng.u32(..1 << 20),
        26 => 0xd508_0000 | rng.u32(..1 << 19),
        27 => [0xd50b_7420, 0xd50b_7b20, 0xd50b_7e20, 0xd50b_7520][rng.usize(..4)] | d,
        // mrs of what EL0 may read or the kernel makes up: identification registers, counters, thread pointers, flags
        28 => 0xd538_0000 | rng.u32(..128) << 5 | d,
        29 => [0xd53b_e040, 0xd53b_d040, 0xd51b_d040, 0xd53b_4200, 0xd51b_4400, 0xd53b_0020][rng.usize(..6)] | d,
        // Branches near: always, by a condition, by a register; to a register
        30 => 0x1400_0000 | rng.u32(..16),
        31 => 0x5400_0000 | rng.u32(..16) << 5 | rng.u32(..16),
        32 => 0xb400_0000 | rng.u32(..2) << 24 | rng.u32(..16) << 5 | d,
        33 | 39 => [0xd61f_0000, 0xd63f_0000, 0xd65f_0000][rng.usize(..3)] | n << 5,
        // A loop, now and then
        34 if rng.u8(..8) == 0 => 0x17ff_fff8 | rng.u32(..8),
        // Hints (wfi, wfe and pointer authentication among them) and barriers
        34 => 0xd503_201f | rng.u32(..128) << 5,
        35 => 0xd503_309f | rng.u32(..16) << 8 | rng.u32(..4) << 5,
        // Moves: of registers, of and to SP; arithmetic
        36 => 0xaa00_03e0 | m << 16 | d,
        37 => [0x9100_001f | n << 5, 0x9100_03e0 | d][rng.usize(..2)],
        38 => 0x8b00_0000 | rng.u32(..2) << 30 | m << 16 | n << 5 | d,
        _ => rng.u32(..),
    }
}
