//! What the hypervisor says when it cannot go on: a [`Report`] on the console, and as its result.

use crate::percpu::this_cpu;
use crate::sync::IrqLock;
use crate::vcpu::Vcpu;
use crate::{console, power, print, println, read_sysreg, sched};
use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use heapless::String;
use hyp::config::OWN_NAME;
use trap::esr::Esr;
use trap::frame::CpuUserRegs;
use trap::record::{Hex, Kind, RECORD_MAX, Reached, Report, Running};
use trap::slot::Slot;

/// Says why there is nothing to run, and ends the machine: nothing is broken but what the hypervisor was given.
pub fn refuse(cause: fmt::Arguments<'_>) -> ! {
    println!("hypervisor stopped: {cause}");
    let mut report = REPORT.lock();
    report.kind = Kind::HypPanic;
    set_cause(&mut report, cause);
    end(&report)
}

/// The report that is being written; too large for a stack.
static REPORT: IrqLock<Report> = IrqLock::new(Report::EMPTY);

/// The CPU that reports, from 1; 0 while none does. A report may itself go wrong.
static REPORTER: AtomicUsize = AtomicUsize::new(0);

/// Reports an exception that the hypervisor cannot go on from, and ends the machine. `what` comes before the syndrome's sentence.
pub fn exception(what: &str, regs: &CpuUserRegs, slot: u8) -> ! {
    let far = read_sysreg!("far_el2");
    let slot = Slot::ALL[usize::from(slot & 0xf)];
    match slot.has_syndrome() {
        true => stop(format_args!("{what}: {}", Esr(regs.hsr).sentence(Some(far)).at_el2()), regs, Some(slot), far),
        false => stop(format_args!("{what}"), regs, Some(slot), far),
    }
}

/// The cause, as far as there is room.
fn set_cause(report: &mut Report, cause: fmt::Arguments<'_>) {
    struct Cut<'a>(&'a mut String<192>);
    impl Write for Cut<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars().try_for_each(|c| self.0.push(c)).map_err(|_| fmt::Error)
        }
    }
    report.cause.clear();
    let _ = Cut(&mut report.cause).write_fmt(cause);
}

fn stop(cause: fmt::Arguments<'_>, regs: &CpuUserRegs, slot: Option<Slot>, far: u64) -> ! {
    // SAFETY: masking is always allowed; nothing else is to run on this CPU any more.
    unsafe { asm!("msr daifset, #0xf", options(nostack, preserves_flags)) };
    let this = this_cpu().index + 1;
    match REPORTER.compare_exchange(0, this, Relaxed, Relaxed) {
        Ok(_) => {}
        Err(reporter) if reporter == this => power::off(
            power::PANIC_EXIT_CODE,
            b"{\"schema\":1,\"kind\":\"hyp_panic\",\"cause\":\"a panic while reporting another\"}",
        ),
        // Another one reports, and ends the machine.
        Err(_) => loop {
            // SAFETY: waiting harms nobody.
            unsafe { asm!("wfi", options(nostack, preserves_flags)) };
        },
    }
    console::take_over();
    let mut report = REPORT.lock();
    report.kind = Kind::HypPanic;
    set_cause(&mut report, cause);
    gather(&mut report, regs, slot, far);
    print!("\n{}", *report);
    end(&report)
}

/// Puts into a report what there is to be seen.
fn gather(report: &mut Report, regs: &CpuUserRegs, slot: Option<Slot>, far: u64) {
    let current = sched::current();
    let from_guest = current.filter(|_| regs.from_guest());
    let name = from_guest.map_or(OWN_NAME, |vcpu| &vcpu.guest.name);
    report.name = name.chars().take(16).collect();
    (report.slot, report.cpu) = (slot, this_cpu().index as u32);
    (report.esr, report.far) = (Hex(regs.hsr), Hex(far));
    (report.pc, report.pstate, report.sp) = (Hex(regs.pc), Hex(regs.cpsr), Hex(regs.sp));
    report.regs = regs.regs.map(Hex);
    report.running = current.map(running);
    report.push_step(regs.pc, Reached::Call);
    if from_guest.is_none() {
        callers(report, regs.regs[29]);
    }
}

/// What a vCPU was at when the hypervisor was last entered from it.
fn running(vcpu: &'static Vcpu) -> Running {
    // SAFETY: the frame is at the top of the stack of the vCPU that this CPU runs, and nobody else writes it.
    let regs = unsafe { &*vcpu.frame() };
    Running {
        guest: vcpu.guest.number as u32 + 1,
        name: vcpu.guest.name.clone(),
        vcpu: vcpu.id as u32,
        pc: Hex(regs.pc),
        pstate: Hex(regs.cpsr),
        esr: Hex(read_sysreg!("esr_el1")),
        elr: Hex(regs.elr_el1),
        hpfar: Hex(read_sysreg!("hpfar_el2")),
    }
}

/// Who called whom in the hypervisor, by the frame records from `fp` on.
fn callers(report: &mut Report, mut fp: u64) {
    let image = crate::memory::image();
    while fp.is_multiple_of(16) && fp >= image.base {
        // SAFETY: an aligned address that a frame pointer held; all RAM behind the image's beginning is mapped.
        let [next, lr] = unsafe { core::ptr::with_exposed_provenance::<[u64; 2]>(fp as usize).read_volatile() };
        // The call is before where it returns to.
        if !crate::memory::is_text(lr) || !report.push_step(lr - 4, Reached::Call) || next <= fp {
            break;
        }
        fp = next;
    }
}

fn end(report: &Report) -> ! {
    static JSON: IrqLock<[u8; RECORD_MAX]> = IrqLock::new([0; RECORD_MAX]);
    let mut json = JSON.lock();
    let length = serde_json_core::to_slice(report, &mut *json).unwrap_or(0);
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
        Some(at) => stop(format_args!("{}, {}:{}", info.message(), at.file(), at.line()), &regs, None, 0),
        None => stop(format_args!("{}", info.message()), &regs, None, 0),
    }
}
