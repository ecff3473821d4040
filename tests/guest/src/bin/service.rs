//! Has the hypervisor's test service give it SErrors: at once, later, at an instruction; masked and not.
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use guest::{Frame, psci, record, slot};

guest::guest!(main, exception);

const PLAN_SERROR: u32 = 0xc600_0000;

static SERRORS: AtomicU64 = AtomicU64::new(0);
static ESR: AtomicU64 = AtomicU64::new(0);
static ELR: AtomicU64 = AtomicU64::new(0);
static BREAKS: AtomicU64 = AtomicU64::new(0);

/// Told of one case: what the call returned, how many SErrors came while they were masked and in all, the last one's syndrome, and
/// another value.
fn tell(name: &str, result: u64, early: u64, value: u64) {
    record!(
        "service",
        "\"name\":\"{name}\",\"result\":{},\"early\":{early},\"serrors\":{},\"esr\":{},\"value\":{value}",
        result as i64,
        SERRORS.load(SeqCst),
        ESR.load(SeqCst)
    );
    [&SERRORS, &ESR, &ELR, &BREAKS].iter().for_each(|value| value.store(0, SeqCst));
}

fn serrors() -> u64 {
    SERRORS.load(SeqCst)
}

fn mask() {
    // SAFETY: masking is always allowed.
    unsafe { asm!("msr daifset, #4", options(nostack, preserves_flags)) };
}

fn unmask() {
    // SAFETY: SErrors have a handler.
    unsafe { asm!("msr daifclr, #4", "isb", options(nostack, preserves_flags)) };
}

fn main(_: u64) -> ! {
    // An SError, told by its syndrome where the CPU has it told.
    const ISS: u64 = 0x11;
    let result = psci::call(PLAN_SERROR, 0, 0, 1 << 25);
    if result as i64 == -1 {
        tell("off", result, 0, 0);
        psci::off();
    }
    tell("invalid", result, serrors(), 0);

    unmask();
    let result = psci::call(PLAN_SERROR, 0, 0, ISS);
    tell("now", result, serrors(), 0);

    mask();
    let result = psci::call(PLAN_SERROR, 0, 0, ISS);
    // A second one is the same.
    psci::call(PLAN_SERROR, 0, 0, ISS);
    let (early, pending) = (serrors(), guest::read_sysreg!("isr_el1") >> 8 & 1);
    unmask();
    tell("masked", result, early, pending);

    // ID_AA64PFR0_EL1.RAS: ESB defers one that is masked.
    if guest::read_sysreg!("id_aa64pfr0_el1") >> 28 & 0xf != 0 {
        mask();
        let result = psci::call(PLAN_SERROR, 0, 0, ISS);
        let disr: u64;
        // SAFETY: ESB, and DISR_EL1, which is the guest's own.
        unsafe {
            asm!("hint #16", "mrs {}, S3_0_C12_C1_1", "msr S3_0_C12_C1_1, xzr", out(reg) disr, options(nostack, preserves_flags));
        }
        let early = serrors();
        unmask();
        tell("deferred", result, early, disr);
    }

    let result = psci::call(PLAN_SERROR, 10_000, 0, ISS);
    let early = serrors();
    while serrors() == 0 {}
    tell("later", result, early, 0);

    mask();
    let result = psci::call(PLAN_SERROR, 10_000, 0, ISS);
    // The wait ends for an SError that is masked.
    guest::wait();
    let early = serrors();
    unmask();
    tell("wait", result, early, 0);

    let (result, at, breaks);
    // SAFETY: SMCCC; BRK and the SError have a handler.
    unsafe {
        asm!(
            "adr x2, 2f",
            "adr {at}, 2f",
            "hvc #0",
            "brk #7",
            "ldr {breaks}, [{count}]",
            "nop",
            "2:",
            "nop",
            at = out(reg) at,
            breaks = out(reg) breaks,
            count = in(reg) &raw const BREAKS,
            inlateout("x0") u64::from(PLAN_SERROR) => result,
            inlateout("x1") 0_u64 => _,
            out("x2") _,
            inlateout("x3") ISS => _,
            options(nostack)
        )
    };
    let (at, breaks): (u64, u64) = (at, breaks);
    tell("at", result, breaks, u64::from(ELR.load(SeqCst) == at));
    psci::off()
}

fn exception(frame: &mut Frame) {
    /// ESR_EL1 of `brk #7`.
    const BRK_7: u64 = 0xf200_0007;
    match frame.slot {
        slot::SERROR => {
            SERRORS.fetch_add(1, SeqCst);
            ESR.store(frame.esr, SeqCst);
            ELR.store(frame.elr, SeqCst);
        }
        slot::SYNC if frame.esr == BRK_7 => {
            BREAKS.fetch_add(1, SeqCst);
            frame.elr += 4;
        }
        _ => guest::unexpected(frame),
    }
}
