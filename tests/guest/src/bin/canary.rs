//! An honest guest beside hostile ones: whatever it can write it fills with values of its own (system registers of EL1 and EL0,
//! floating-point registers, those that an exception leaves, device registers, RAM), lets others run, and looks whether they are
//! still there. And it has its timers' interrupts and an SGI, each exactly once a round.
//!
//! Boot arguments: `seed=N`, of which no other guest has the same; `rounds=N`.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use guest::attempt::pstate::EL1H;
use guest::canary::value;
use guest::registers::{Register, SCTLR_EL1};
use guest::{Frame, attempt, gic, psci, record, slot, timer};

guest::guest!(main, exception);

global_asm!(
    ".arch_extension fp",
    ".arch_extension simd",
    ".section .text.fp, \"ax\"",
    ".global load_fp",
    "load_fp:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "ldr q\\n, [x0], #16",
    ".endr",
    "ret",
    ".global save_fp",
    "save_fp:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "str q\\n, [x0], #16",
    ".endr",
    "ret",
    ".arch_extension nosimd",
    ".arch_extension nofp",
);

unsafe extern "C" {
    fn load_fp(from: *const [u64; 64]);
    fn save_fp(to: *mut [u64; 64]);
}

/// More registers than any CPU lets a guest write.
const REGISTERS: usize = 512;
/// RAM that is filled: 2 MiB, behind the image.
const RAM: u64 = 0x4200_0000;
const RAM_WORDS: u64 = (2 << 20) / 8;
/// From one round to the next, in counts of the timers: others have many turns meanwhile.
const PERIOD: u64 = 10_000_000;
/// How long everything is held: a turn and more, if an instruction takes 32 ns; so that the others have theirs.
const SPINS: u64 = 200_000;
/// An SGI to itself.
const SGI: u32 = 5;
/// Device registers that keep what is written: the UART's UARTIBRD, UARTFBRD and UARTIFLS; enables and priorities of SPIs.
const DEVICES: [u64; 5] = [0x0900_0024, 0x0900_0028, 0x0900_0034, gic::GICD + 0x104, gic::GICD + 0x420];

static TAKEN: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static WRONG: AtomicU64 = AtomicU64::new(0);

/// Something is not as it was left.
fn compare(round: u64, what: core::fmt::Arguments<'_>, expected: u64, found: u64) {
    if expected != found && WRONG.fetch_add(1, SeqCst) < 8 {
        record!(
            "wrong",
            "\"round\":{round},\"what\":\"{what}\",\"expected\":\"{expected:#x}\",\"found\":\"{found:#x}\""
        );
    }
}

/// A register, what it is between rounds, and what it is in one.
#[derive(Clone, Copy)]
struct Kept {
    register: Register,
    original: u64,
    now: u64,
}

fn read(register: Register) -> u64 {
    register.read(EL1H).unwrap_or(0)
}

fn write(register: Register, value: u64) {
    // What could be written once can be again.
    let _ = register.write(EL1H, value);
}

fn main(dtb: u64) -> ! {
    let (seed, rounds) = (guest::argument(dtb, b"seed="), guest::argument(dtb, b"rounds="));
    // SAFETY: CPACR_EL1.FPEN: floating point may be used.
    unsafe { guest::write_sysreg!("cpacr_el1", 0b11 << 20) };
    gic::init();
    for (irq, priority) in [(timer::VIRTUAL, 0x80), (timer::PHYSICAL, 0x90), (SGI, 0xa0)] {
        gic::enable(irq, priority);
    }
    let mut kept = [Kept { register: SCTLR_EL1, original: 0, now: 0 }; REGISTERS];
    let mut count = 0;
    for register in Register::all().filter(|register| register.is_kept()) {
        let Ok(original) = register.read(EL1H) else { continue };
        let changed = original ^ register.free_bits();
        // One that has nothing to write, or ignores it, keeps nothing.
        if register.write(EL1H, changed).is_ok() && read(register) != original {
            kept[count] = Kept { register, original, now: 0 };
            count += 1;
        }
        let _ = register.write(EL1H, original);
    }
    let kept = &mut kept[..count];
    for index in 0..RAM_WORDS {
        guest::write(RAM + 8 * index, value(seed, 0, index));
    }
    for round in 1..=rounds {
        registers(seed, round, kept);
        ram(seed, round, RAM_WORDS / 16 * (round % 16)..RAM_WORDS / 16 * (round % 16 + 1));
        interrupts(round);
    }
    ram(seed, rounds, 0..RAM_WORDS);
    let wrong = WRONG.load(SeqCst);
    record!("canary", "\"seed\":{seed},\"registers\":{count},\"rounds\":{rounds},\"wrong\":{wrong}");
    psci::off()
}

/// All registers at once.
fn registers(seed: u64, round: u64, kept: &mut [Kept]) {
    let mut devices = DEVICES.map(guest::read::<u32>);
    let mut fp: [u64; 64] = core::array::from_fn(|index| value(seed, round, 1000 + index as u64));
    for (index, Kept { register, original, .. }) in kept.iter().enumerate() {
        write(*register, original ^ (original ^ value(seed, round, index as u64)) & register.free_bits());
    }
    kept.iter_mut().for_each(|kept| kept.now = read(kept.register));
    let originals = devices;
    for (device, address) in devices.iter_mut().zip(DEVICES) {
        guest::write(address, value(seed, round, address) as u32);
        *device = guest::read(address);
    }
    // SAFETY: nothing else uses them.
    unsafe { load_fp(&fp) };
    exception_registers(seed, round);
    let expected = fp;
    // SAFETY: as above.
    unsafe { save_fp(&mut fp) };
    for (index, (expected, found)) in expected.into_iter().zip(fp).enumerate() {
        compare(round, format_args!("q{}", index / 2), expected, found);
    }
    for Kept { register, now, .. } in kept.iter() {
        compare(round, format_args!("{register}"), *now, read(*register));
    }
    for ((now, original), address) in devices.into_iter().zip(originals).zip(DEVICES) {
        compare(round, format_args!("device {address:#x}"), now.into(), guest::read::<u32>(address).into());
        guest::write(address, original);
    }
    kept.iter().rev().for_each(|kept| write(kept.register, kept.original));
}

/// Those that any exception changes, and the general ones, while others run.
fn exception_registers(seed: u64, round: u64) {
    let x: [u64; 8] = core::array::from_fn(|index| value(seed, round, 2000 + index as u64));
    let mut y = x;
    let [spsr, elr, esr, far, ..] = &mut y;
    // SAFETY: no exception comes in between.
    unsafe {
        asm!(
            "msr spsr_el1, {spsr}", "msr elr_el1, {elr}", "msr esr_el1, {esr}", "msr far_el1, {far}",
            "mrs {spsr}, spsr_el1", "mrs {esr}, esr_el1",
            spsr = inout(reg) *spsr, elr = in(reg) *elr, esr = inout(reg) *esr, far = in(reg) *far,
            options(nostack, preserves_flags)
        );
    }
    let expected = y;
    let [spsr, elr, esr, far, a, b, c, d] = &mut y;
    // SAFETY: as above.
    unsafe {
        asm!(
            "0:", "subs {spins}, {spins}, #1", "b.ne 0b",
            "mrs {spsr}, spsr_el1", "mrs {elr}, elr_el1", "mrs {esr}, esr_el1", "mrs {far}, far_el1",
            spsr = out(reg) *spsr, elr = out(reg) *elr, esr = out(reg) *esr, far = out(reg) *far,
            inout("x8") *a, inout("x12") *b, inout("x17") *c, inout("x30") *d, spins = inout(reg) SPINS => _,
            options(nostack)
        );
    }
    let names = ["SPSR_EL1", "ELR_EL1", "ESR_EL1", "FAR_EL1", "x8", "x12", "x17", "x30"];
    for (name, (expected, found)) in names.into_iter().zip(expected.into_iter().zip(y)) {
        compare(round, format_args!("{name}"), expected, found);
    }
}

fn ram(seed: u64, round: u64, words: core::ops::Range<u64>) {
    for index in words {
        let address = RAM + 8 * index;
        compare(round, format_args!("RAM {address:#x}"), value(seed, 0, index), guest::read(address));
    }
}

/// One interrupt of each kind.
fn interrupts(round: u64) {
    let taken = || TAKEN.each_ref().map(|taken| taken.load(SeqCst));
    timer::set_virtual(PERIOD);
    timer::set_physical(PERIOD + 10);
    gic::send_sgi(SGI, 1 << guest::cpu());
    // Masked while it looks, so that none comes between that and the wait: it ends the wait all the same.
    while taken().into_iter().any(|taken| taken < round) {
        guest::wait();
        guest::unmask_irqs();
        guest::mask_irqs();
    }
    guest::unmask_irqs();
    // What is left of interrupts comes.
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
    guest::mask_irqs();
    for (number, taken) in taken().into_iter().enumerate() {
        compare(round, format_args!("interrupts {number}"), round, taken);
    }
}

fn exception(frame: &mut Frame) {
    if attempt::caught(frame) {
        return;
    }
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let irq = gic::acknowledge();
    let number = match irq & 0x3ff {
        timer::VIRTUAL => {
            // SAFETY: the guest's own timer.
            unsafe { guest::write_sysreg!("cntv_ctl_el0", 0) };
            0
        }
        timer::PHYSICAL => {
            // SAFETY: the same.
            unsafe { guest::write_sysreg!("cntp_ctl_el0", 0) };
            1
        }
        SGI => 2,
        other => guest::fail(format_args!("interrupt {other}")),
    };
    TAKEN[number].fetch_add(1, SeqCst);
    gic::end(irq);
}
