//! What the hypervisor says when it cannot go on.

use crate::percpu::this_cpu;
use crate::{console, power, println};
use core::arch::asm;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use heapless::String;
use serde::Serialize;
use trap::esr::Esr;
use trap::frame::CpuUserRegs;
use trap::pstate::Pstate;
use trap::record::Hex;

/// Says why there is nothing to run, and ends the machine: nothing is broken but what the hypervisor was given.
pub fn refuse(cause: fmt::Arguments<'_>) -> ! {
    println!("hypervisor stopped: {cause}");
    end(&Panic { cause: text(cause), ..Panic::EMPTY })
}

/// What is left of a hypervisor that stopped.
#[derive(Serialize)]
struct Panic {
    schema: u32,
    kind: &'static str,
    cause: String<192>,
    /// The vector slot, by its index in the table.
    slot: Option<u8>,
    /// The guest and the vCPU that ran.
    guest: Option<String<16>>,
    vcpu: Option<u32>,
    hsr: Hex,
    far: Hex,
    hpfar: Hex,
    pc: Hex,
    cpsr: Hex,
    sp: Hex,
    regs: [Hex; 31],
}

impl Panic {
    const EMPTY: Panic = Panic {
        schema: 1,
        kind: "hyp_panic",
        cause: String::new(),
        slot: None,
        guest: None,
        vcpu: None,
        hsr: Hex(0),
        far: Hex(0),
        hpfar: Hex(0),
        pc: Hex(0),
        cpsr: Hex(0),
        sp: Hex(0),
        regs: [Hex(0); 31],
    };
}

/// How many times this was called: a report may itself go wrong.
static FATAL: AtomicU32 = AtomicU32::new(0);

/// Reports an exception that the hypervisor cannot go on from, and ends the machine. `what` comes before the syndrome's sentence.
pub fn exception(what: &str, regs: &CpuUserRegs, slot: u8) -> ! {
    let (far, hpfar) = (crate::read_sysreg!("far_el2"), crate::read_sysreg!("hpfar_el2"));
    // Interrupts leave HSR as it was.
    match matches!(slot % 4, 0 | 3) {
        true => {
            let (title, ec) = (Esr(regs.hsr).ec().title(), Esr(regs.hsr).ec().number());
            stop(format_args!("{what}: HSR {:#010x}, class {ec:#04x}: {title}", regs.hsr), regs, Some(slot), far, hpfar)
        }
        false => stop(format_args!("{what}"), regs, Some(slot), far, hpfar),
    }
}

fn text(cause: fmt::Arguments<'_>) -> String<192> {
    let mut text = String::new();
    // What does not fit is cut.
    let _ = fmt::Write::write_fmt(&mut text, cause);
    text
}

fn stop(cause: fmt::Arguments<'_>, regs: &CpuUserRegs, slot: Option<u8>, far: u64, hpfar: u64) -> ! {
    // SAFETY: masking is always allowed; nothing else is to run on this CPU any more.
    unsafe { asm!("msr daifset, #0xf", options(nostack, preserves_flags)) };
    if FATAL.fetch_add(1, Relaxed) > 0 {
        power::off(
            power::PANIC_EXIT_CODE,
            b"{\"schema\":1,\"kind\":\"hyp_panic\",\"cause\":\"a panic while reporting another\"}",
        );
    }
    // SAFETY: whoever holds it was interrupted by what is reported and will not run again.
    unsafe { console::force_unlock() };
    // SAFETY: a vCPU is never freed while it is current.
    let current = unsafe { this_cpu().current.load(Relaxed).as_ref() };
    println!("\nhypervisor panic: {cause}");
    match current {
        Some(vcpu) => println!("  CPU {}, running {}, vCPU {}", this_cpu().index, vcpu.guest.name, vcpu.id),
        None => println!("  CPU {}, idle", this_cpu().index),
    }
    println!("  PC [<{:016x}>], {}", regs.pc, Pstate(regs.cpsr));
    if slot.is_some() {
        println!("  HSR {:#x}, FAR {far:#x}, HPFAR {hpfar:#x}, SP {:#x}", regs.hsr, regs.sp);
        for (index, pair) in regs.regs.chunks(3).enumerate() {
            let mut line: String<96> = String::new();
            for (offset, value) in pair.iter().enumerate() {
                let _ = fmt::Write::write_fmt(&mut line, format_args!("  x{:<2} {value:016x}", index * 3 + offset));
            }
            println!("{line}");
        }
    }
    backtrace(regs);
    end(&Panic {
        cause: text(cause),
        slot,
        guest: current.map(|vcpu| vcpu.guest.name.clone()),
        vcpu: current.map(|vcpu| vcpu.id as u32),
        hsr: Hex(regs.hsr),
        far: Hex(far),
        hpfar: Hex(hpfar),
        pc: Hex(regs.pc),
        cpsr: Hex(regs.cpsr),
        sp: Hex(regs.sp),
        regs: regs.regs.map(Hex),
        ..Panic::EMPTY
    })
}

/// Says who called whom, by the frame records, if it was the hypervisor that was interrupted.
fn backtrace(regs: &CpuUserRegs) {
    if regs.from_guest() {
        return;
    }
    let image = crate::memory::image();
    let mut fp = regs.regs[29];
    for _ in 0..24 {
        if !fp.is_multiple_of(16) || fp == 0 || fp < image.base {
            break;
        }
        // SAFETY: an aligned address that a frame pointer held; all RAM behind the image's beginning is mapped.
        let [next, lr] = unsafe { core::ptr::with_exposed_provenance::<[u64; 2]>(fp as usize).read_volatile() };
        if !crate::memory::is_text(lr) || next <= fp {
            break;
        }
        println!("  called from [<{lr:016x}>]");
        fp = next;
    }
}

fn end(panic: &Panic) -> ! {
    let mut json = [0; 4096];
    let length = serde_json_core::to_slice(panic, &mut json).unwrap_or(0);
    power::off(power::PANIC_EXIT_CODE, &json[..length])
}

/// Reports a panic of Rust code and ends the machine.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut regs = CpuUserRegs::default();
    // SAFETY: reads of registers: this function's own pc, sp, fp and PSTATE.
    unsafe {
        asm!(
            "adr {pc}, .",
            "mov {sp}, sp",
            "mov {fp}, x29",
            "mrs {daif}, daif",
            pc = out(reg) regs.pc,
            sp = out(reg) regs.sp,
            fp = out(reg) regs.regs[29],
            daif = out(reg) regs.cpsr,
            options(nostack, preserves_flags)
        );
    }
    // EL2h
    regs.cpsr |= 0b1001;
    match info.location() {
        Some(at) => stop(format_args!("{}, {}:{}", info.message(), at.file(), at.line()), &regs, None, 0, 0),
        None => stop(format_args!("{}", info.message()), &regs, None, 0, 0),
    }
}
