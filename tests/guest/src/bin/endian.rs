//! A device's registers, read and written while data is big-endian.
#![no_std]
#![no_main]

use core::arch::asm;
use guest::{gic, psci, read, read_sysreg, record};

guest::guest!(main, guest::unexpected);

/// SCTLR_EL1.EE.
const EE: u64 = 1 << 25;

fn main(_: u64) -> ! {
    let typer: u32 = read(gic::GICD + 4);
    let little = read_sysreg!("sctlr_el1");
    let swapped: u32;
    // SAFETY: nothing but the device is accessed while data is big-endian: a plain access, and one that writes back.
    unsafe {
        asm!(
            "msr sctlr_el1, {big}",
            "isb",
            "ldr {swapped:w}, [{typer}]",
            "str {enable:w}, [{enabler}], #4",
            "msr sctlr_el1, {little}",
            "isb",
            big = in(reg) little | EE,
            little = in(reg) little,
            typer = in(reg) gic::GICD + 4,
            enabler = inout(reg) gic::GICD + gic::ISENABLER + 4 => _,
            enable = in(reg) 0x0804_0201u32,
            swapped = out(reg) swapped,
            options(nostack)
        )
    };
    let enabled: u32 = read(gic::GICD + gic::ISENABLER + 4);
    record!("endian", "\"typer\":{typer},\"swapped\":{},\"enabled\":{enabled}", swapped.swap_bytes());
    psci::off()
}
