//! Programs that this project did not make: of a C library, and of random instructions.

use crate::machine::{PANIC, demo, run, same, trial};
use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use libtest_mimic::Trial;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use xtask::machine::{Config, Program};
use xtask::setup::{C_COMPILER, has_c};

/// Random programs a test.
const MACHINES: usize = 10;

pub fn trials() -> Vec<Trial> {
    let random = ["cortex-a53", "cortex-a72", "max"];
    let random = random.map(|cpu| trial(format!("strangers::random.{cpu}"), move || random_programs(cpu)));
    let exhaust = ["unmapping", "first", "holes", "chain"];
    let exhaust = exhaust.map(|mode| trial(format!("strangers::exhaust.{mode}"), move || exhausting(mode)));
    let c = [trial("strangers::static.c", static_c)].into_iter().chain(exhaust);
    random.into_iter().chain(c.filter(|_| has_c())).collect()
}

/// A static program as glibc starts it prints through stdio, uses its heap, forks, and ends with its own exit code.
fn static_c() -> Result<()> {
    let folder = TempDir::new()?;
    let program = compile(&folder, "static", &[])?;
    let args = vec!["one".into(), "two".into()];
    let config = Config { program: Program::Host(program), args, log: Some("off".into()), ..demo() };
    run(&config, |ran| {
        ran.ended(7)?;
        let written = "x".repeat((1..=24).sum());
        same("console", ran.outcome.console.replace('\r', ""), format!("3 two 0.667\n1048576\n5\n{written}"))
    })
}

/// Builds `tests/qemu/NAME.c` in `folder`.
pub fn compile(folder: &TempDir, name: &str, options: &[&str]) -> Result<PathBuf> {
    let program = folder.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/qemu/{name}.c"));
    let mut compiler = Command::new(C_COMPILER);
    compiler.args(["-static", "-no-pie", "-O2", "-Wall"]).args(options).arg("-o").arg(&program).arg(source);
    ensure!(compiler.status()?.success(), "{C_COMPILER} failed");
    Ok(program)
}

/// Invariant 15: a program that uses up what the kernel has neither stops it nor sees what is not its own. Time is that of the
/// guest's instructions, so sleeping costs nothing, and how long others waited is the same on every host.
fn exhausting(mode: &str) -> Result<()> {
    let folder = TempDir::new()?;
    let program = compile(&folder, "exhaust", &["-nostdlib", "-ffreestanding", "-fno-stack-protector"])?;
    let config = Config {
        program: Program::Host(program),
        args: vec![mode.into()],
        mem: 64,
        icount: Some(0),
        log: Some("off".into()),
        timeout: Some(Duration::from_secs(60)),
        ..demo()
    };
    run(&config, |ran| ran.ended(0))
}

/// Invariant 15: programs of random instructions, with random registers, end as they may; the kernel neither panics nor
/// hangs, and the machine goes on to end as it should.
fn random_programs(cpu: &str) -> Result<()> {
    let folder = TempDir::new()?;
    let path = folder.path().join("random");
    for _ in 0..MACHINES {
        let seed = fastrand::u64(..);
        fs::write(&path, program(&mut Rng::with_seed(seed)))?;
        let config = Config {
            cpu: cpu.into(),
            program: Program::Host(path.clone()),
            log: Some("off".into()),
            append: "tick=1000".into(),
            ..demo()
        };
        run(&config, |ran| {
            same("timed out", ran.outcome.timed_out, false)?;
            same("panic records", ran.panics.len(), 0)?;
            // A child may well kill its parent, but the kernel counts on to the end.
            ensure!(ran.outcome.code != PANIC, "the exit code of a panic");
            ran.counters().map(|_| ())
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

/// For each block a child is forked that runs into it; after 2 ms it is killed, and waited for.
const DRIVER: [u32; 40] = [
    0xd280_0013, // mov x19, #0
    0xd280_1b88, // mov x8, #220            clone(SIGCHLD, 0, ..)
    0xd280_0220, // mov x0, #17
    0xd280_0001, // mov x1, #0
    0xd280_0002, // mov x2, #0
    0xd280_0003, // mov x3, #0
    0xd280_0004, // mov x4, #0
    0xd400_0001, // svc #0
    0xb400_02c0, // cbz x0, child
    0xaa00_03f4, // mov x20, x0
    0x1000_0340, // adr x0, time            nanosleep(time, 0)
    0xd280_0001, // mov x1, #0
    0xd280_0ca8, // mov x8, #101
    0xd400_0001, // svc #0
    0xaa14_03e0, // mov x0, x20             kill(child, SIGKILL)
    0xd280_0121, // mov x1, #9
    0xd280_1028, // mov x8, #129
    0xd400_0001, // svc #0
    0xaa14_03e0, // mov x0, x20             wait4(child, 0, 0, 0)
    0xd280_0001, // mov x1, #0
    0xd280_0002, // mov x2, #0
    0xd280_0003, // mov x3, #0
    0xd280_2088, // mov x8, #260
    0xd400_0001, // svc #0
    0x9100_0673, // add x19, x19, #1
    0xf100_427f, // cmp x19, #BLOCKS
    0x54ff_fce1, // b.ne clone
    0xd280_0000, // mov x0, #0              exit_group(0)
    0xd280_0bc8, // mov x8, #94
    0xd400_0001, // svc #0
    0x1000_0440, // child: adr x0, blocks
    0x8b13_2800, // add x0, x0, x19, lsl #10
    0x9104_0000, // add x0, x0, #256
    0xd61f_0000, // br x0
    0,           // to an even word
    0,           // (the padding goes on below)
    0,           // time: 0 s
    0,           //
    2_000_000,   // and 2 ms
    0,           //
];
const BLOCKS: u64 = 16;
/// System calls that the kernel has, but exit, and two that it has not (Linux, asm-generic/unistd.h).
const CALLS: [u32; 36] = [
    17, 29, 56, 57, 61, 62, 63, 64, 66, 78, 79, 80, 96, 99, 101, 113, 114, 115, 124, 129, 131, 160, 172, 173, 178, 214,
    215, 220, 221, 222, 226, 260, 261, 278, 293, 511,
];
/// Bytes of a block: 32 values for registers, code that loads them, and random code.
const BLOCK: usize = 1024;
/// Where the first block is, from the start of the driver.
const FIRST_BLOCK: usize = 256;

/// An ELF file of one segment, which may be written and executed.
fn program(rng: &mut Rng) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const CODE: u64 = 64 + 56;
    let mut code: Vec<u8> = DRIVER.iter().flat_map(|word| word.to_le_bytes()).collect();
    code.resize(FIRST_BLOCK, 0);
    for _ in 0..BLOCKS {
        let end = code.len() + BLOCK;
        code.extend((0..32).flat_map(|_| value(rng, BASE).to_le_bytes()));
        // ldr x<register>, its value: by words, from here back to the block's beginning and on to two a value.
        let begin = end - BLOCK;
        let load = |code: &mut Vec<u8>, register: u32, value: usize| {
            let words = 2 * value as i32 - ((code.len() - begin) / 4) as i32;
            code.extend((0x5800_0000 | (words as u32 & 0x7_ffff) << 5 | register).to_le_bytes());
        };
        (0..31).for_each(|register| load(&mut code, register, register as usize));
        // Either instructions, or system calls with any of the values as arguments.
        let calls = rng.bool();
        while code.len() + 32 <= end {
            if calls {
                (0..6).for_each(|register| load(&mut code, register, rng.usize(..32)));
                let number = rng.choice(CALLS.iter().copied()).unwrap_or_default();
                // mov x8, #number; svc #0
                code.extend([0xd280_0008 | number << 5, 0xd400_0001].map(u32::to_le_bytes).as_flattened());
            } else {
                code.extend(instruction(rng).to_le_bytes());
            }
        }
        code.resize(end, 0);
    }
    let length = CODE + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_EXEC, AArch64, version; entry, program headers, no sections.
    file.extend([2u16, 183].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    file.extend([BASE + CODE, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // PT_LOAD, all rights; offset, addresses, sizes, alignment.
    file.extend([1u32, 7].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([0, BASE, BASE, length, length, 4096].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(code);
    file
}

/// What a register holds at first: an address of each sort, a small number, or anything.
fn value(rng: &mut Rng, base: u64) -> u64 {
    match rng.u8(..8) {
        0 | 1 => base + rng.u64(..0x4000),
        2 => 0x7f_ffff_0000 + rng.u64(..0x1_0000),
        3 => 0xffff_ffc0_8000_0000 + rng.u64(..0x10_0000),
        4 => 0xffff_ff80_0000_0000 + rng.u64(..0x1_0000_0000),
        5 => rng.u64(..256),
        6 => rng.u64(..4096).wrapping_neg(),
        _ => rng.u64(..),
    }
}

/// Any word, or one that gets further than most do: an undefined one ends the program.
fn instruction(rng: &mut Rng) -> u32 {
    let [d, n, m] = [(); 3].map(|()| rng.u32(..32));
    match rng.u8(..16) {
        // svc #0, mostly after
        0 | 1 => 0xd400_0001,
        // mov x8, #number of a call that is there or not
        2..=4 => 0xd280_0008 | rng.u32(..320) << 5,
        // Loads, stores and moves of registers.
        5 => 0xf940_0000 | rng.u32(..4096) << 10 | n << 5 | d,
        6 => 0xf900_0000 | rng.u32(..4096) << 10 | n << 5 | d,
        7 => 0xa9bf_0000 | m << 10 | n << 5 | d,
        8 | 9 => 0xaa00_03e0 | m << 16 | d,
        // mrs and msr of any register, and SYS
        10 => 0xd530_0000 | rng.u32(..1 << 20),
        11 => 0xd510_0000 | rng.u32(..1 << 20),
        12 => 0xd508_0000 | rng.u32(..1 << 19),
        // mov sp, x<n>; arithmetic
        13 => 0x9100_001f | n << 5,
        14 => 0x8b00_0000 | m << 16 | n << 5 | d,
        _ => rng.u32(..),
    }
}
