//! Traps of every kind, each with an SError that the hypervisor is asked to make up in its window: the guest takes it exactly once, and
//! what it tried is done exactly once. A hypervisor that makes up none is asked in vain.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use guest::console::UART;
use guest::{Frame, gic, psci, record, slot, timer};

guest::guest!(main, exception);

global_asm!(include_str!("window.S"));

/// The hypervisor's functions (`hyp::service`).
const MAKE_UP: u32 = 0xc600_ff00;

/// UARTPeriphID0, which is 0x11.
const UART_ID: u64 = UART + 0xfe0;
/// Ticks until an interrupt, an instruction each: after the call that comes first.
const SOON: u64 = 5000;
/// PSTATE of EL0 in AArch32, and its A and I.
const A32: u64 = 0x10;
const A: u64 = 1 << 8;
const I: u64 = 1 << 7;
const EL1H: u64 = 0x3c5;

#[repr(C)]
struct Done {
    result: u64,
    x19: u64,
}

type Op = unsafe extern "C" fn(x19: u64, argument: u64, pstate: u64) -> Done;

macro_rules! ops {
    ($($op:ident $trap:ident $argument:expr, $timer:expr;)*) => {
        unsafe extern "C" {
            $(
                fn $op(x19: u64, argument: u64, pstate: u64) -> Done;
                static $trap: u8;
            )*
            static a32_back: u8;
        }
        /// The name, the function, the instruction, the argument, and whether an interrupt comes.
        fn ops() -> [(&'static str, Op, u64, u64, bool); 10] {
            [$((&stringify!($op)[3..], $op, &raw const $trap as u64, $argument, $timer)),*]
        }
    };
}

ops! {
    op_hvc trap_hvc 0, false;
    op_smc trap_smc 0, false;
    op_system trap_system 0, false;
    op_load trap_load UART_ID, false;
    op_store trap_store UART, false;
    op_wait trap_wait 0, true;
    op_irq trap_irq &raw const IRQS as u64, true;
    op_a32_load trap_a32_load UART_ID, false;
    op_a32_wait trap_a32_wait 0, true;
    op_a32_irq trap_a32_irq &raw const IRQS as u64, true;
}

/// Interrupts and SErrors of the instruction under test.
static IRQS: AtomicU32 = AtomicU32::new(0);
static SERRORS: AtomicU64 = AtomicU64::new(0);
static ESR: AtomicU64 = AtomicU64::new(0);
static ELR: AtomicU64 = AtomicU64::new(0);

fn main(_: u64) -> ! {
    gic::init();
    gic::enable(timer::VIRTUAL, 0x80);
    // SAFETY: EL0 may use WFI (SCTLR_EL1.nTWI).
    unsafe { guest::write_sysreg!("sctlr_el1", guest::read_sysreg!("sctlr_el1") | 1 << 16) };
    for (name, op, trap, argument, timed) in ops() {
        for variant in 0..4_u64 {
            let (x19, masked) = ((variant & 1) * 0x1_8000_0001, variant >> 1 != 0);
            // Before the instruction in the window and behind it, once and twice; and in the guest, where an HVC is past already.
            let calls = [(0, 1), (0, 2), (1, 1), (1, 2), (3, 1)];
            for (place, count) in calls.into_iter().filter(|&(place, _)| place != 3 || name != "hvc") {
                one(name, op, trap, argument, timed, x19, masked, place, count);
            }
        }
    }
    psci::off()
}

#[expect(clippy::too_many_arguments, reason = "one row of a table")]
fn one(name: &str, op: Op, trap: u64, argument: u64, timed: bool, x19: u64, masked: bool, place: u64, count: u64) {
    [&SERRORS, &ESR, &ELR].iter().for_each(|value| value.store(0, SeqCst));
    IRQS.store(0, SeqCst);
    // WFI ends for an interrupt that is masked too, which comes behind it.
    guest::mask_irqs();
    let mut pstate = if name == "a32_irq" { A32 } else { A32 | I };
    if masked {
        // SAFETY: masking is always allowed.
        unsafe { asm!("msr daifset, #4", options(nostack, preserves_flags)) };
        pstate |= A;
    } else {
        unmask_serrors();
    }
    if timed {
        timer::set_virtual(SOON);
    }
    let windows = psci::call(MAKE_UP, 1, count, place);
    if name == "irq" {
        guest::unmask_irqs();
    }
    // SAFETY: functions of the assembly; they do what they are for.
    let done = unsafe { op(x19, argument, pstate) };
    let pending = guest::read_sysreg!("isr_el1") >> 8 & 1;
    let early = SERRORS.load(SeqCst);
    unmask_serrors();
    guest::unmask_irqs();
    while timed && IRQS.load(SeqCst) == 0 {}
    guest::mask_irqs();
    record!(
        "window",
        "\"name\":\"{name}\",\"x19\":{},\"masked\":{masked},\"place\":{place},\"count\":{count},\"windows\":{},\"result\":{},\
         \"kept\":{},\"pending\":{pending},\"early\":{early},\"serrors\":{},\"irqs\":{},\"esr\":{},\"offset\":{}",
        x19 != 0,
        windows as i64,
        done.result,
        done.x19 as u32 == x19 as u32,
        SERRORS.load(SeqCst),
        IRQS.load(SeqCst),
        ESR.load(SeqCst),
        ELR.load(SeqCst).wrapping_sub(trap) as i64,
    );
}

fn unmask_serrors() {
    // SAFETY: SErrors have a handler.
    unsafe { asm!("msr daifclr, #4", "isb", options(nostack, preserves_flags)) };
}

fn exception(frame: &mut Frame) {
    /// Of AArch32 at EL0.
    const A32_SYNC: u64 = 12;
    const A32_IRQ: u64 = 13;
    const A32_ERROR: u64 = 15;
    match frame.slot {
        slot::IRQ | A32_IRQ => {
            let irq = gic::acknowledge();
            if irq != timer::VIRTUAL {
                guest::fail(format_args!("interrupt {irq}"));
            }
            IRQS.fetch_add(1, SeqCst);
            timer::stop();
            gic::end(irq);
        }
        slot::SERROR | A32_ERROR => {
            SERRORS.fetch_add(1, SeqCst);
            ESR.store(frame.esr, SeqCst);
            ELR.store(frame.elr, SeqCst);
        }
        A32_SYNC => {
            frame.elr = &raw const a32_back as u64;
            // SErrors as they were.
            frame.spsr = EL1H & !A | frame.spsr & A;
        }
        _ => guest::unexpected(frame),
    }
}
