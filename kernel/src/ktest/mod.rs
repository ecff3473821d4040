//! In-kernel tests: states that no program can bring about. Compiled only into the test image; the boot argument
//! `ktest=NAME` runs one, on the idle task, with DAIF masked and nothing else running. It ends the machine: with a report
//! where that is what is tested, else with a verdict as a record and exit code 0 or 1.

use crate::mm::stacks::{MAX_STACKS, THREAD_SIZE};
use crate::mm::user::{AddressSpace, Rights};
use crate::mm::{PAGE_SIZE, STACKS_BASE};
use crate::percpu::this_cpu;
use crate::sched::{self, task::Task};
use crate::sync::{IrqLock, irqs_masked};
use crate::{console, irq, kprintln, power};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapless::String;
use linux_raw_sys::general::__NR_exit;
use trap::frame::PtRegs;
use trap::pattern;
use trap::record::{Kind, Ktest, SCHEMA};

/// BRK immediates that the EL1 handler hands to [`on_brk`].
pub const PROBE: u16 = 0x7e57;
/// As [`PROBE`]: an exception came back.
pub const RETURNED: u16 = 0x7e58;

global_asm!(include_str!("ktest.S"), RETURNED = const RETURNED);

unsafe extern "C" {
    fn ktest_recurse(pattern: *const u64, sp: usize) -> !;
    fn ktest_wild(pattern: *const u64, sp: usize) -> !;
    fn ktest_returned();
    static ktest_slots: [unsafe extern "C" fn(*const u64, usize) -> !; 16];
}

/// The running test's name, for its verdict.
static NAME: IrqLock<String<32>> = IrqLock::new(String::new());
/// The seed of the register pattern.
static SEED: AtomicU64 = AtomicU64::new(0);
/// DAIF as the last [`PROBE`] found it in the handler.
static PROBED: AtomicU64 = AtomicU64::new(0);

/// x0..x30 as ktest_returned found them.
#[unsafe(export_name = "ktest_registers")]
static REGISTERS: [AtomicU64; 31] = [const { AtomicU64::new(0) }; 31];

/// A syndrome that no exception wrote: undefined instruction, 32 bits long.
const ESR_UNKNOWN: u64 = 1 << 25;
/// An SError that cannot be contained (AET 0, DFSC 0x11).
const ESR_SERROR: u64 = 0x2f << 26 | 1 << 25 | 0x11;
/// An SError that has been corrected (AET 6).
const ESR_SERROR_CORRECTED: u64 = ESR_SERROR | 6 << 10;
/// AArch32 user mode.
const SPSR_A32_USR: u64 = 0x10;
const SPSR_EL1T: u64 = 0x3c4;
const SPSR_EL1H: u64 = 0x3c5;

/// The tests, by name; `slot.0` to `slot.15` besides.
const TESTS: [(&str, fn()); 15] = [
    ("overflow", || recurse(local_sp())),
    ("overflow.irq", || in_interrupt(|| recurse(local_sp()))),
    ("overflow.overflow", || recurse(this_cpu().overflow_stack.load(Relaxed) - 256)),
    ("wild.set", || wild(THREAD_SIZE)),
    ("wild.clear", || wild(0)),
    ("fault", || fault()),
    ("fault.irq", || in_interrupt(fault)),
    ("undefined", || {
        // SAFETY: reported; nothing comes after.
        unsafe { asm!("udf #0") }
    }),
    ("panic", || panic!("asked for by a test")),
    ("daif", daif),
    ("serror.el0.corrected", || in_program(11, ESR_SERROR_CORRECTED)),
    ("serror.el1.corrected", || enter_slot(7, ESR_SERROR_CORRECTED, SPSR_EL1H)),
    ("irq.spurious", spurious),
    ("irq.unexpected", unexpected),
    ("preempt", preempt),
];

/// Runs a test.
pub fn run(name: &str, seed: u64) -> ! {
    SEED.store(seed, Relaxed);
    let _ = NAME.lock().push_str(name);
    if let Some((_, test)) = TESTS.iter().find(|(known, _)| *known == name) {
        test();
        verdict(Ok(()));
    }
    if let Some(slot) = name.strip_prefix("slot.").and_then(|slot| slot.parse().ok()).filter(|slot| *slot < 16) {
        enter_made_up(slot);
    }
    kprintln!("there is no ktest `{name}`; there are slot.0 to slot.15 and");
    for (name, _) in TESTS {
        kprintln!("  {name}");
    }
    power::off(1)
}

/// Ends the test.
fn verdict(result: Result<(), fmt::Arguments<'_>>) -> ! {
    let mut why = String::new();
    if let Err(text) = result {
        // What does not fit is cut.
        let _ = why.write_fmt(text);
    }
    let name = NAME.lock().clone();
    let passed = result.is_ok();
    kprintln!("ktest {name}: {}{why}", if passed { "passed" } else { "FAILED: " });
    console::record(&Ktest { schema: SCHEMA, kind: Kind::Ktest, name, passed, why });
    power::off(if passed { 0 } else { 1 })
}

/// Fails the test unless two values are the same.
fn check(what: &str, found: u64, wanted: u64) {
    if found != wanted {
        verdict(Err(format_args!("{what} is {found:#x} instead of {wanted:#x}")));
    }
}

/// The EL1 handler's way here, DAIF as it set it.
pub fn on_brk(regs: &mut PtRegs, immediate: u16) {
    match immediate {
        PROBE => {
            PROBED.store(read_daif(), Relaxed);
            regs.pc += 4;
        }
        _ => returned(),
    }
}

/// Some room below the caller's frame, for code that does not come back.
fn local_sp() -> usize {
    let local = 0u64;
    (addr_of!(local).addr() & !15) - 512
}

fn seeded() -> [u64; 31] {
    pattern::registers(SEED.load(Relaxed))
}

fn recurse(sp: usize) {
    // SAFETY: never comes back; the stack at `sp` is not used by anyone who runs again.
    unsafe { ktest_recurse(seeded().as_ptr(), sp) }
}

/// With SP where nothing is mapped, bit THREAD_SHIFT of it as in `bit`, after a frame has been reserved.
fn wild(bit: usize) {
    let beyond = STACKS_BASE + MAX_STACKS * 2 * THREAD_SIZE;
    let offset = (SEED.load(Relaxed) as usize % (THREAD_SIZE / 2)) & !15;
    // SAFETY: never comes back.
    unsafe { ktest_wild(seeded().as_ptr(), beyond + bit + THREAD_SIZE / 2 + offset) }
}

fn fault() {
    // SAFETY: reported; nothing comes after.
    unsafe { core::ptr::with_exposed_provenance::<u64>(STACKS_BASE - 8).read_volatile() };
}

/// Runs `work` in an interrupt handler: that of the first call.
fn in_interrupt(work: fn()) {
    const SGI: u32 = 5;
    irq::register(SGI, work);
    irq::controller().lock().send_sgi_to_self(SGI);
    with_interrupts();
}

/// Lets pending interrupts in.
fn with_interrupts() {
    // SAFETY: interrupts have handlers.
    unsafe { asm!("msr daifclr, #0xf", "nop", "nop", "isb", "msr daifset, #0xf", options(nostack, preserves_flags)) };
}

fn read_daif() -> u64 {
    let daif: u64;
    // SAFETY: a read of DAIF.
    unsafe { asm!("mrs {}, daif", out(reg) daif, options(nostack, preserves_flags)) };
    daif >> 6
}

/// A synchronous exception from EL1 runs its handler with DAIF as interrupted; after a debug exception, debug masked.
fn daif() {
    for daif in 0..16u64 {
        // SAFETY: the handler steps over the BRK; DAIF is masked again behind it.
        unsafe {
            asm!("msr daif, {}", "brk #{}", "msr daifset, #0xf", in(reg) daif << 6, const PROBE, options(nostack, preserves_flags));
        }
        check("DAIF in the handler", PROBED.load(Relaxed), daif | 0b1000);
    }
}

/// Writes what the CPU would write for an exception, and goes into a slot.
fn enter_slot(slot: usize, esr: u64, spsr: u64) {
    let elr = ktest_returned as *const () as u64;
    // SAFETY: DAIF is masked, so nothing overwrites the registers; what returns goes to ktest_returned.
    unsafe {
        asm!(
            "msr elr_el1, {elr}",
            "msr spsr_el1, {spsr}",
            "msr esr_el1, {esr}",
            "isb",
            elr = in(reg) elr, spsr = in(reg) spsr, esr = in(reg) esr,
            options(nostack, preserves_flags)
        );
        ktest_slots[slot](seeded().as_ptr(), local_sp())
    }
}

/// One of the sixteen, with the state its name says. From AArch64 EL0, a program is interrupted.
fn enter_made_up(slot: usize) -> ! {
    let esr = if slot % 4 == 3 { ESR_SERROR } else { ESR_UNKNOWN };
    match slot / 4 {
        0 => enter_slot(slot, esr, SPSR_EL1T),
        1 => enter_slot(slot, esr, SPSR_EL1H),
        2 => in_program(slot, esr),
        _ => enter_slot(slot, esr, SPSR_A32_USR),
    }
    unreachable!("a slot does not return here")
}

/// An exception that was entered by [`enter_slot`] returned: no register may have changed.
fn returned() {
    for (index, (found, wanted)) in REGISTERS.iter().zip(seeded()).enumerate() {
        if found.load(Relaxed) != wanted {
            verdict(Err(format_args!("x{index} is {:#x} instead of {wanted:#x}", found.load(Relaxed))));
        }
    }
    verdict(Ok(()))
}

/// The first program is interrupted before its first instruction, through a slot that QEMU would not take it through.
fn in_program(slot: usize, esr: u64) {
    const CODE: usize = 0x40_0000;
    // mov x8, #__NR_exit; svc #0: ends with exit code x0, of the pattern.
    let code = [0xd280_0008 | __NR_exit << 5, 0xd400_0001].map(u32::to_le_bytes);
    let mut space = AddressSpace::new().expect("memory for a test");
    space.map(CODE..CODE + PAGE_SIZE, Rights { read: true, write: false, execute: true }).expect("memory for a test");
    space.write(CODE, code.as_flattened()).expect("the page is mapped");
    SLOT.store(slot as u64, Relaxed);
    ESR.store(esr, Relaxed);
    let regs = PtRegs { pc: CODE as u64, ..PtRegs::ZERO };
    let id = sched::new_id().expect("the first task");
    let first_pc = enter_slot_of_program as *const () as usize;
    sched::spawn(Task::new(id, "ktest", first_pc, &regs, Some(space)).expect("memory for a test"));
    sched::yield_now();
}

/// The slot and the syndrome of the program's exception.
static SLOT: AtomicU64 = AtomicU64::new(0);
static ESR: AtomicU64 = AtomicU64::new(0);

/// The first code of that program's task: as if it had been in EL0 already.
extern "C" fn enter_slot_of_program() -> ! {
    sched::finish_switch();
    let top = sched::current().stack.range().end;
    let regs = core::ptr::with_exposed_provenance::<PtRegs>(top - size_of::<PtRegs>());
    // SAFETY: its frame; DAIF is masked. The slot is entered with SP as EL0 leaves it, at the top of the stack; SPSR says
    // EL0t, nothing masked.
    unsafe {
        asm!(
            "msr elr_el1, {elr}",
            "msr spsr_el1, xzr",
            "msr esr_el1, {esr}",
            "isb",
            elr = in(reg) (*regs).pc, esr = in(reg) ESR.load(Relaxed),
            options(nostack, preserves_flags)
        );
        ktest_slots[SLOT.load(Relaxed) as usize](seeded().as_ptr(), top)
    }
}

/// An interrupt that is gone when it is acknowledged is counted, and nothing else.
fn spurious() {
    let counters = &this_cpu().counters;
    let mut regs = PtRegs::ZERO;
    irq::handle(&mut regs);
    check("spurious", counters.spurious.load(Relaxed), 1);
    check("unexpected", counters.unexpected.load(Relaxed), 0);
}

/// An interrupt without a handler is counted and ended: others come after it.
fn unexpected() {
    const SGI: u32 = 7;
    let counters = &this_cpu().counters;
    irq::controller().lock().enable(SGI, this_cpu().index);
    irq::controller().lock().send_sgi_to_self(SGI);
    with_interrupts();
    check("unexpected", counters.unexpected.load(Relaxed), 1);
    static CAME: AtomicU64 = AtomicU64::new(0);
    in_interrupt(|| CAME.store(1, Relaxed));
    check("another interrupt", CAME.load(Relaxed), 1);
    check("spurious", counters.spurious.load(Relaxed), 0);
}

/// The kernel is preempted on the way out of an interrupt, but not where that is forbidden.
fn preempt() {
    static RAN: AtomicU64 = AtomicU64::new(0);
    extern "C" fn other() -> ! {
        sched::finish_switch();
        RAN.store(1, Relaxed);
        sched::end()
    }
    let first_pc = other as *const () as usize;
    let id = sched::new_id().expect("the first task");
    sched::spawn(Task::new(id, "other", first_pc, &PtRegs::ZERO, None).expect("memory for a test"));
    let wanted = || sched::current().set_need_resched();
    sched::current().preempt.disable();
    in_interrupt(wanted);
    check("the other task", RAN.load(Relaxed), 0);
    sched::current().preempt.enable();
    in_interrupt(wanted);
    check("the other task", RAN.load(Relaxed), 1);
    check("IRQs masked", irqs_masked().into(), 1);
    check("preemptions", this_cpu().counters.preemptions.load(Relaxed), 1);
}
