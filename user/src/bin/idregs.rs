//! What EL0 may know of the CPU, and do to it: identification registers (which the kernel emulates), cache maintenance,
//! waiting, counters. Prints the registers and what was wrong; as `idregs observe`, for `observe`, the registers alone.
#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use linux_raw_sys::{auxvec::AT_HWCAP, general as linux};
use user::{Args, Status, eprintln, println, process, sys};

user::entry!(main);

const PAGE: usize = 4096;
/// HWCAP_CPUID (Linux `asm/hwcap.h`): identification registers can be read.
const HWCAP_CPUID: u64 = 1 << 11;

/// A register that EL0 reads.
struct Register {
    name: &'static str,
    read: fn() -> u64,
    /// What its value must be: these bits of it, this.
    mask: u64,
    value: u64,
}

macro_rules! registers {
    ($($name:literal $register:literal $mask:literal $value:literal;)*) => {
        const REGISTERS: &[Register] = &[$(Register { name: $name, read: || read!($register), mask: $mask, value: $value },)*];
    };
}

/// Reads a system register.
macro_rules! read {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reading a register changes nothing.
        unsafe { asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack)) };
        value
    }};
}

// By encoding: assemblers know no newer register than they are old. What only the kernel can use is hidden.
registers! {
    "MIDR_EL1"         "s3_0_c0_c0_0" 0x000f_0000 0x000f_0000;
    "MPIDR_EL1"        "s3_0_c0_c0_5" 0xffff_ffff_ffff_ffff 0x8000_0000;
    "REVIDR_EL1"       "s3_0_c0_c0_6" 0 0;
    // EL0 and EL1 in AArch64 only, no word about EL2, EL3, the interrupt controller and RAS.
    "ID_AA64PFR0_EL1"  "s3_0_c0_c4_0" 0xff00_0000_ff00_ffff 0x11;
    "ID_AA64PFR1_EL1"  "s3_0_c0_c4_1" 0xffff_ffff_ffff_ff00 0;
    "ID_AA64ZFR0_EL1"  "s3_0_c0_c4_4" 0 0;
    "ID_AA64DFR0_EL1"  "s3_0_c0_c5_0" 0xffff_ffff_ffff_fff0 0;
    "ID_AA64DFR1_EL1"  "s3_0_c0_c5_1" 0xffff_ffff_ffff_ffff 0;
    "ID_AA64AFR0_EL1"  "s3_0_c0_c5_4" 0xffff_ffff_ffff_ffff 0;
    // No TLB instructions.
    "ID_AA64ISAR0_EL1" "s3_0_c0_c6_0" 0x0f00_0000_0000_000f 0;
    "ID_AA64ISAR1_EL1" "s3_0_c0_c6_1" 0x0000_0f00_0000_0000 0;
    "ID_AA64MMFR0_EL1" "s3_0_c0_c7_0" 0x0000_0000_000f_ffff 0;
    "ID_AA64MMFR1_EL1" "s3_0_c0_c7_1" 0x0000_0000_ffff_ffff 0;
    "ID_AA64MMFR2_EL1" "s3_0_c0_c7_2" 0x0000_0000_ffff_ffff 0;
    // Of none, but of that space.
    "RESERVED_C4_7"    "s3_0_c0_c4_7" 0xffff_ffff_ffff_ffff 0;
    "RESERVED_C5_7"    "s3_0_c0_c5_7" 0xffff_ffff_ffff_ffff 0;
    "RESERVED_C6_7"    "s3_0_c0_c6_7" 0xffff_ffff_ffff_ffff 0;
    "RESERVED_C7_7"    "s3_0_c0_c7_7" 0xffff_ffff_ffff_ffff 0;
    // Not emulated, unless the CPU has an erratum: bit 31 is 1.
    "CTR_EL0"          "ctr_el0"      0x8000_0000 0x8000_0000;
    // Zeroing is not prohibited.
    "DCZID_EL0"        "dczid_el0"    0xffff_ffff_ffff_fff0 0;
    "CNTFRQ_EL0"       "cntfrq_el0"   0xffff_ffff_0000_0000 0;
    "TPIDRRO_EL0"      "tpidrro_el0"  0xffff_ffff_ffff_ffff 0;
}

/// What should be, and whether it is.
type Check = (&'static str, fn() -> bool);

const CHECKS: &[Check] = &[
    ("floating point and Advanced SIMD are there, of one kind", float_and_simd),
    ("there is no word about vectors that are not there", vectors),
    ("what is announced can be executed", announced),
    ("a read into XZR is let through", zero_register),
    ("only the destination changes", destination),
    ("the immediate of SVC is ignored", || svc() == sys::getpid()),
    ("new instructions are executed after cache maintenance", new_instructions),
    ("data stays under cache maintenance", data_stays),
    ("DC ZVA zeroes its block and nothing else", zero_block),
    ("WFI, WFE and YIELD come back", waits),
    ("the counter counts the clock's time", counter),
];

fn main(args: Args) -> i32 {
    if args.clone().nth(1) == Some(c"observe") {
        REGISTERS.iter().for_each(|register| println!("idregs.{} {:#x}", register.name, (register.read)()));
        return 0;
    }
    let mut wrong = 0;
    let mut check = |what: &str, right: bool| {
        if !right {
            eprintln!("idregs: NOT SO: {what}");
            wrong += 1;
        }
    };
    for register in REGISTERS {
        let value = (register.read)();
        println!("{:<18}{value:#018x}", register.name);
        check(register.name, value & register.mask == register.value);
        check("it reads the same twice", value == (register.read)());
    }
    let capabilities = args.auxiliary(AT_HWCAP).unwrap_or_default();
    check("HWCAP_CPUID says that registers can be read", capabilities & HWCAP_CPUID != 0);
    for (what, holds) in CHECKS {
        check(what, holds());
    }
    println!("idregs: {} registers, {wrong} checks failed", REGISTERS.len());
    i32::from(wrong != 0)
}

/// A four-bit field of a register.
fn field(register: u64, bit: u32) -> u64 {
    register >> bit & 0xf
}

/// FP and AdvSIMD are the same (Arm ARM D19, "ID_AA64PFR0_EL1"); 15 would be none.
fn float_and_simd() -> bool {
    let register = read!("s3_0_c0_c4_0");
    let (float, simd) = (field(register, 16), field(register, 20));
    float == simd && float <= 1
}

/// ID_AA64ZFR0_EL1 tells of SVE, which ID_AA64PFR0_EL1 announces.
fn vectors() -> bool {
    field(read!("s3_0_c0_c4_0"), 32) != 0 || read!("s3_0_c0_c4_4") == 0
}

/// An instruction, and the field that announces it: register, bit.
type Feature = (fn() -> u64, u32, extern "C" fn());

macro_rules! instruction {
    ($text:literal) => {{
        #[unsafe(naked)]
        extern "C" fn instruction() {
            naked_asm!($text, "ret")
        }
        instruction
    }};
}

const FEATURES: &[Feature] = &[
    (|| read!("s3_0_c0_c4_0"), 32, instruction!(".inst 0x04bf5020")), // rdvl x0, #1
    (|| read!("s3_0_c0_c4_0"), 48, instruction!(".inst 0xd53b42a0")), // mrs x0, dit
    (|| read!("s3_0_c0_c6_0"), 4, instruction!(".inst 0x4e284800")),  // aese v0.16b, v0.16b
    (|| read!("s3_0_c0_c6_0"), 8, instruction!(".inst 0x5e280800")),  // sha1h s0, s0
    (|| read!("s3_0_c0_c6_0"), 12, instruction!(".inst 0x5e282800")), // sha256su0 v0.4s, v0.4s
    (|| read!("s3_0_c0_c6_0"), 16, instruction!(".inst 0x1ac04000")), // crc32b w0, w0, w0
    (|| read!("s3_0_c0_c6_0"), 20, instruction!("mov x1, sp; .inst 0xf83f003f")), // ldadd xzr, xzr, [x1]
    (|| read!("s3_0_c0_c6_0"), 44, instruction!(".inst 0x6e809400")), // udot v0.4s, v0.16b, v0.16b
    (|| read!("s3_0_c0_c6_0"), 52, instruction!(".inst 0xd500401f")), // cfinv
    (|| read!("s3_0_c0_c6_1"), 0, instruction!("mov x1, sp; .inst 0xd50b7c21")), // dc cvap, x1
    (|| read!("s3_0_c0_c6_1"), 12, instruction!(".inst 0x1e7e0000")), // fjcvtzs w0, d0
    (|| read!("s3_0_c0_c6_1"), 20, instruction!("mov x1, sp; .inst 0xf8bfc022")), // ldapr x2, [x1]
    (|| read!("s3_0_c0_c6_1"), 32, instruction!(".inst 0x1e284000")), // frint32z s0, s0
    (|| read!("s3_0_c0_c6_1"), 36, instruction!(".inst 0xd50330ff")), // sb
    (|| read!("s3_0_c0_c4_1"), 4, instruction!(".inst 0xd53b42c0")),  // mrs x0, ssbs
];

fn announced() -> bool {
    FEATURES.iter().all(|(register, bit, instruction)| {
        field(register(), *bit) == 0
            || process::run(|| {
                instruction();
                0
            }) == Ok(Status::Exited(0))
    })
}

fn zero_register() -> bool {
    // SAFETY: changes nothing.
    unsafe { asm!("mrs xzr, midr_el1", "mrs xzr, s3_0_c0_c7_7", options(nostack)) };
    true
}

/// Emulated reads in a row, between registers that hold something.
fn destination() -> bool {
    let (before, midr, revidr, after, flags): (u64, u64, u64, u64, u64);
    // SAFETY: changes its outputs only.
    unsafe {
        asm!(
            "cmp xzr, xzr",
            "mrs x10, midr_el1",
            "mrs x11, revidr_el1",
            "mrs x13, nzcv",
            inlateout("x9") 1u64 => before,
            lateout("x10") midr,
            lateout("x11") revidr,
            inlateout("x12") 2u64 => after,
            lateout("x13") flags,
            options(nostack)
        );
    }
    (before, after, flags) == (1, 2, 6 << 28) && midr == read!("midr_el1") && revidr == read!("revidr_el1")
}

/// getpid by another immediate.
fn svc() -> i32 {
    let id: u64;
    // SAFETY: the call touches no memory.
    unsafe { asm!("svc #0xffff", in("x8") u64::from(linux::__NR_getpid), lateout("x0") id, options(nostack)) };
    id as i32
}

/// Code that is written to a page that can be executed already, and then done anew, is what is executed.
fn new_instructions() -> bool {
    let rights = linux::PROT_READ | linux::PROT_WRITE | linux::PROT_EXEC;
    let page = sys::mmap(PAGE, rights).expect("a page can be mapped");
    (0..64).all(|value: u32| {
        // mov w0, #value; ret
        let code = [0x5280_0000 | value << 5, 0xd65f_03c0];
        // SAFETY: the page is no Rust value's; what is called is a function as the ABI has it, after what the Arm ARM asks
        // for (B2, "Synchronization of instruction and data accesses").
        unsafe {
            page.cast::<[u32; 2]>().write_volatile(code);
            asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) page, options(nostack));
            core::mem::transmute::<*mut u8, extern "C" fn() -> u32>(page)() == value
        }
    })
}

fn data_stays() -> bool {
    let mut word = 0x5a5a_u64;
    let address = &raw mut word;
    // SAFETY: cleaning and invalidating (which cleans first) changes no value.
    unsafe {
        asm!("dc cvac, {0}", "dc cvau, {0}", "dc civac, {0}", "dsb ish", in(reg) address, options(nostack));
        address.read_volatile() == 0x5a5a
    }
}

fn zero_block() -> bool {
    let size = 4 << (read!("dczid_el0") & 0xf);
    let page = sys::mmap(PAGE, linux::PROT_READ | linux::PROT_WRITE).expect("a page can be mapped");
    let block = PAGE / 2..PAGE / 2 + size;
    // SAFETY: the page is no Rust value's but the slice's.
    let page = unsafe {
        page.write_bytes(0xa5, PAGE);
        // Anywhere in the block.
        asm!("dc zva, {}", in(reg) page.add(block.end - 1), options(nostack));
        core::slice::from_raw_parts(page, PAGE)
    };
    page.iter().enumerate().all(|(at, &byte)| byte == if block.contains(&at) { 0 } else { 0xa5 })
}

/// Whatever they wait for, the tick comes.
fn waits() -> bool {
    for _ in 0..8 {
        // SAFETY: waiting changes nothing.
        unsafe { asm!("wfi", "wfe", "wfe", "sevl", "wfe", "yield", options(nomem, nostack)) };
    }
    true
}

/// CNTVCT_EL0 goes on by a sleep's length at least.
fn counter() -> bool {
    let frequency = read!("cntfrq_el0");
    let start = read!("cntvct_el0");
    let slept = sys::nanosleep(sys::SECOND / 500).is_ok();
    slept && frequency != 0 && read!("cntvct_el0") - start >= frequency / 500
}
