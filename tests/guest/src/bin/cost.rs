//! What a trap costs: loops of thousands of each kind, on a machine on which an instruction is a tick of the counter
//! (`-icount shift=4`). The instructions of the loops, two and what the row says, are in the figures, and those of the
//! handler of interrupts. The guest has the machine's PL031 to itself, whose clock must be the machine's (`-rtc clock=vm`).
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use guest::{gic, mmu, print, psci, record, timer, write_sysreg};

guest::guest!(main, guest::unexpected);

/// How often each thing is done.
const COUNT: u64 = 2000;
/// An SPI that no device has.
const SPI: u32 = 40;
const SGI: u32 = 5;
/// The PL031 (Arm DDI 0224): its registers DR, MR, IMSC and ICR are at 0, 4, 0x10 and 0x1c; and its SPI.
const RTC: u64 = 0x0901_0000;
const RTC_SPI: u32 = 34;
/// How long a vCPU waits, in ticks: enough to fall asleep.
const WAIT: u64 = 20_000;

// Vectors with the shortest handler there can be, for either version: x14 is the CPU interface of GICv2, x15 to x17 are the handler's,
// and x9 counts. Afterwards the virtual timer is quiet, or the PL031, whose registers x10 has; x11 is 1.
global_asm!(
    ".macro lean_vectors name, quieten:vararg",
    ".balign 2048",
    "\\name\\()_v3:",
    ".skip 0x280",
    "mrs x16, icc_iar1_el1; \\quieten; msr icc_eoir1_el1, x16; add x9, x9, #1; eret",
    ".balign 2048",
    "\\name\\()_v2:",
    ".skip 0x280",
    "ldr w16, [x14, #0xc]; \\quieten; str w16, [x14, #0x10]; add x9, x9, #1; eret",
    ".endm",
    "lean_vectors timer, msr cntv_ctl_el0, xzr",
    "lean_vectors rtc, str w11, [x10, #0x1c]",
);

unsafe extern "C" {
    static timer_v2: u8;
    static timer_v3: u8;
    static rtc_v2: u8;
    static rtc_v3: u8;
}

/// Does something [`COUNT`] times, and tells what it took, and how many interrupts came.
macro_rules! measure {
    ($row:literal, $($instruction:literal),+; $($register:tt = $value:expr),*) => {{
        let start = timer::now();
        let taken: u64;
        // SAFETY: the instructions trap, and change nothing but registers that are told.
        unsafe {
            asm!(
                "2:", $($instruction,)+ "subs x20, x20, #1", "b.ne 2b",
                inout("x20") COUNT => _, inout("x9") 0u64 => taken, inout("x14") gic::GICC => _,
                $(inout($register) $value => _,)*
                clobber_abi("C")
            )
        };
        tell($row, timer::now() - start, taken);
    }};
}

fn tell(row: &str, ticks: u64, interrupts: u64) {
    record!("cost", "\"row\":\"{row}\",\"count\":{COUNT},\"ticks\":{ticks},\"interrupts\":{interrupts}");
    print!("{:>6} {row}\n", ticks / COUNT);
}

fn main(_: u64) -> ! {
    mmu::on();
    gic::init();
    let v3 = gic::version() == 3;
    let (timer, rtc) =
        if v3 { (&raw const timer_v3, &raw const rtc_v3) } else { (&raw const timer_v2, &raw const rtc_v2) };
    // SAFETY: interrupts come only where `measure` leaves the handler its registers.
    unsafe { write_sysreg!("vbar_el1", timer as u64) };

    measure!("loop", "nop";);
    measure!("workaround_1", "mov w0, #0x8000", "movk w0, #0x8000, lsl #16", "hvc #0";);
    measure!("null_hypercall", "hvc #1";);
    measure!("psci_version", "mov w0, #0x84000000", "hvc #0";);
    measure!("id_register", "mrs x0, id_aa64pfr0_el1";);
    measure!("gicd_typer", "ldr w0, [x10, #4]"; "x10" = gic::GICD);
    measure!("gicd_isenabler", "ldr w0, [x10, #4]"; "x10" = gic::GICD + gic::ISENABLER);
    measure!("gicd_ispendr", "ldr w0, [x10, #4]"; "x10" = gic::GICD + gic::ISPENDR);
    gic::enable(SPI, 0x80);
    let (on, off) = (gic::GICD + gic::ISENABLER, gic::GICD + gic::ICENABLER);
    measure!("gicd_disable_enable", "str w12, [x11, #4]", "str w12, [x10, #4]";
        "x10" = on, "x11" = off, "x12" = 1u64 << (SPI % 32));
    measure!("uart_flags", "ldr w0, [x10, #0x18]"; "x10" = 0x0900_0000u64);

    guest::unmask_irqs();
    measure!("spi", "str w12, [x10, #4]"; "x10" = gic::GICD + gic::ISPENDR, "x12" = 1u64 << (SPI % 32));
    gic::enable(SGI, 0x80);
    if v3 {
        measure!("sgi", "msr icc_sgi1r_el1, x10"; "x10" = u64::from(SGI) << 24 | 1);
    } else {
        measure!("sgi", "str w10, [x11]"; "x10" = u64::from(SGI) | 1 << 16, "x11" = gic::GICD + 0xf00);
    }
    gic::enable(timer::VIRTUAL, 0x80);
    measure!("virtual_timer", "msr cntv_cval_el0, xzr", "msr cntv_ctl_el0, x10"; "x10" = 1u64);
    guest::mask_irqs();

    // SAFETY: as above.
    unsafe { write_sysreg!("vbar_el1", rtc as u64) };
    gic::enable(RTC_SPI, 0x80);
    guest::write(RTC + 0x1c, 1u32);
    guest::write(RTC + 0x10, 1u32);
    guest::unmask_irqs();
    // An alarm for the present second is one at once.
    measure!("device_spi", "ldr w12, [x10]", "str w12, [x10, #4]"; "x10" = RTC, "x11" = 1u64, "x12" = 0u64);
    guest::mask_irqs();

    wake_up();
    two_vcpus();
    psci::off()
}

/// From the moment that the timer is due to the first instruction behind WFI; interrupts are masked.
fn wake_up() {
    let mut ticks = 0;
    for _ in 0..COUNT {
        let due = timer::now() + WAIT;
        // SAFETY: the guest has the timer to itself.
        unsafe {
            write_sysreg!("cntv_cval_el0", due);
            write_sysreg!("cntv_ctl_el0", 1);
        }
        guest::wait();
        ticks += timer::now() - due;
        timer::stop();
        gic::end(gic::acknowledge());
    }
    tell("wake_up", ticks, COUNT);
}

/// When the other vCPU last began to wait.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// Whether it sends back what it gets.
static ECHO: AtomicBool = AtomicBool::new(false);

/// With another vCPU, on the same CPU:
/// - a world switch: the other one has its turn as soon as it is sent what it waits for, and it waits again; from its WFI to the
///   instruction behind what has sent;
/// - a round trip, an SGI to it and one back: twice a sent SGI, a trapped WFI, a world switch, an acknowledge and an end.
fn two_vcpus() {
    let started = psci::start(1, |_| {
        gic::init();
        gic::enable(SGI, 0x80);
        loop {
            await_sgi();
            if ECHO.load(Relaxed) {
                gic::send_sgi(SGI, 0b01);
            } else {
                // By this trap the List Register is read back of what was ended, and not by that of the switch.
                psci::call(psci::AFFINITY_INFO, 0, 0, 0);
            }
        }
    });
    if started != 0 {
        return;
    }
    while LEFT.load(Relaxed) == 0 {}
    let mut ticks = 0;
    for _ in 0..COUNT {
        gic::send_sgi(SGI, 0b10);
        ticks += timer::now() - LEFT.load(Relaxed);
    }
    tell("world_switch", ticks, 0);
    ECHO.store(true, Relaxed);
    let start = timer::now();
    for _ in 0..COUNT {
        gic::send_sgi(SGI, 0b10);
        await_sgi();
    }
    tell("round_trip", timer::now() - start, COUNT);
}

/// Waits for [`SGI`], with interrupts masked.
fn await_sgi() {
    loop {
        let acknowledged = gic::acknowledge();
        if acknowledged & 0x3ff == SGI {
            return gic::end(acknowledged);
        }
        LEFT.store(timer::now(), Relaxed);
        guest::wait();
    }
}
