//! An interrupt at every instruction around a trap to the hypervisor and around a virtual interrupt, with time by instructions
//! (`cargo xtask sweep`). Boot arguments: `every=N`, instructions from one round's interrupt to the next round's, 0 for a few rounds
//! without one; `which=BITS`, the scenarios, a bit each.
//!
//! The virtual timer's interrupt comes to the hypervisor, wherever that or the guest is, and goes on to the guest by a List Register. Each
//! time it must come exactly once, the scenario's own too, and all registers must hold. What is printed is as of the program `sweep`.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use guest::random::Random;
use guest::{Frame, gic, mmu, print, psci, read_sysreg, slot, timer, write_sysreg};

guest::guest!(main, exception);

#[repr(C)]
#[derive(Clone)]
struct Registers {
    x: [u64; 31],
    sp: u64,
    nzcv: u64,
    v: [[u64; 2]; 32],
}

global_asm!(
    include_str!("sweep_guest.S"),
    SP = const offset_of!(Registers, sp),
    NZCV = const offset_of!(Registers, nzcv),
    V = const offset_of!(Registers, v),
);

type Round = unsafe extern "C" fn(*mut Registers, *mut Registers);

unsafe extern "C" {
    safe fn sweep_arm(ticks: u64);
    safe fn sweep_disarm();
    fn sweep_hvc(before: *mut Registers, after: *mut Registers);
    fn sweep_read(before: *mut Registers, after: *mut Registers);
    fn sweep_register(before: *mut Registers, after: *mut Registers);
    fn sweep_write(before: *mut Registers, after: *mut Registers);
    fn sweep_sgi_v3(before: *mut Registers, after: *mut Registers);
}

const SGI: u32 = 5;
/// An SPI that no device has.
const SPI: u32 = 40;

/// Rounds without an interrupt after which there will be none any more.
const PAST_THE_END: u32 = 3;
const QUIET_ROUNDS: u64 = 6;
const NEVER: u64 = 1 << 40;
/// Counts within which an interrupt that was made pending must have come.
const PATIENCE: u64 = 20_000;

/// What the timer's interrupt found: how often it came, where, and how late its handler was.
static TAKEN: AtomicU64 = AtomicU64::new(0);
static PC: AtomicU64 = AtomicU64::new(0);
static LATE: AtomicU64 = AtomicU64::new(0);
/// Interrupts of [`SGI`] and [`SPI`].
static OTHERS: AtomicU64 = AtomicU64::new(0);

/// Something that traps.
struct Scenario {
    name: &'static str,
    round: Round,
    /// x10 and x12.
    address: u64,
    value: u64,
    /// Interrupts that it makes.
    others: u64,
}

fn main(dtb: u64) -> ! {
    let (every, which) = (guest::argument(dtb, b"every="), guest::argument(dtb, b"which="));
    mmu::on();
    gic::init();
    // SAFETY: FPEN: FP and SIMD registers are not trapped.
    unsafe { write_sysreg!("cpacr_el1", 0b11 << 20) };
    for irq in [timer::VIRTUAL, SGI, SPI] {
        gic::enable(irq, 0x80);
    }
    guest::unmask_irqs();
    let sgi: (Round, _, _) = match gic::version() {
        3 => (sweep_sgi_v3, 0, u64::from(SGI) << 24 | 1),
        _ => (sweep_write, gic::GICD + 0xf00, u64::from(SGI) | 1 << 16),
    };
    let pending = gic::GICD + gic::ISPENDR + u64::from(SPI / 32 * 4);
    let scenarios = [
        Scenario { name: "hvc", round: sweep_hvc, address: 0, value: 0, others: 0 },
        Scenario { name: "mmio", round: sweep_read, address: gic::GICD + 4, value: 0, others: 0 },
        Scenario { name: "sysreg", round: sweep_register, address: 0, value: 0, others: 0 },
        Scenario { name: "sgi", round: sgi.0, address: sgi.1, value: sgi.2, others: 1 },
        Scenario { name: "spi", round: sweep_write, address: pending, value: 1 << (SPI % 32), others: 1 },
    ];
    for (number, scenario) in scenarios.iter().enumerate() {
        if which >> number & 1 != 0 {
            sweep(scenario, every);
        }
    }
    psci::off()
}

fn sweep(scenario: &Scenario, every: u64) {
    print!("scenario {}\n", scenario.name);
    let mut random = Random::new(1);
    let (mut past, mut n, mut result) = (0, 1, None);
    while if every == 0 { n <= QUIET_ROUNDS } else { past < PAST_THE_END } {
        print!("n {n}\n");
        let mut before = Registers {
            x: core::array::from_fn(|_| random.word()),
            sp: 0,
            nzcv: random.word() & 0xf << 28,
            v: core::array::from_fn(|_| [random.word(), random.word()]),
        };
        (before.x[10], before.x[12]) = (scenario.address, scenario.value);
        let mut after = Registers { x: [0; 31], sp: 0, nzcv: !0, v: [[0; 2]; 32] };
        TAKEN.store(0, SeqCst);
        OTHERS.store(0, SeqCst);
        sweep_arm(if every == 0 { NEVER } else { n });
        // SAFETY: it changes `after`, and registers that are told.
        unsafe { (scenario.round)(&raw mut before, &raw mut after) };
        let due = read_sysreg!("cntv_cval_el0");
        let lost = loop {
            let now = timer::now();
            if now < due || TAKEN.load(SeqCst) != 0 {
                break false;
            } else if now > due + PATIENCE {
                break true;
            }
        };
        sweep_disarm();
        let taken = TAKEN.load(SeqCst);
        if taken == 0 {
            past += 1;
        } else {
            past = 0;
            print!("taken {:x} {:x}\n", PC.load(SeqCst), LATE.load(SeqCst));
        }
        if lost || taken > 1 {
            print!("wrong {taken} interrupts of the timer\n");
        }
        let due = timer::now() + PATIENCE;
        while OTHERS.load(SeqCst) < scenario.others && timer::now() < due {}
        let others = OTHERS.load(SeqCst);
        if others != scenario.others {
            print!("wrong {others} other interrupts instead of {}\n", scenario.others);
        }
        // The same each time, where there is a result.
        if scenario.others == 0 && *result.get_or_insert(after.x[0]) != after.x[0] {
            print!("wrong x0 {:x} instead of {result:x?}\n", after.x[0]);
        }
        if scenario.others == 0 {
            before.x[0] = after.x[0];
        }
        compare(&before, &after);
        n += every.max(1);
    }
    print!("done\n");
}

/// Tells each register that did not hold.
fn compare(before: &Registers, after: &Registers) {
    for (number, (before, after)) in before.x.iter().zip(&after.x).enumerate() {
        if before != after {
            print!("wrong x{number} was {before:x}, became {after:x}\n");
        }
    }
    for (number, (before, after)) in before.v.iter().zip(&after.v).enumerate() {
        if before != after {
            print!("wrong v{number} was {before:x?}, became {after:x?}\n");
        }
    }
    if (before.sp, before.nzcv) != (after.sp, after.nzcv) {
        print!("wrong SP, NZCV were {:x?}, became {:x?}\n", (before.sp, before.nzcv), (after.sp, after.nzcv));
    }
}

fn exception(frame: &mut Frame) {
    if frame.slot != slot::IRQ {
        guest::unexpected(frame);
    }
    let acknowledged = gic::acknowledge();
    // Not before: another's interrupt may have brought us here, and the timer's have come since.
    let late = timer::now().wrapping_sub(read_sysreg!("cntv_cval_el0"));
    match acknowledged & 0x3ff {
        timer::VIRTUAL => {
            timer::stop();
            PC.store(frame.elr, SeqCst);
            LATE.store(late, SeqCst);
            TAKEN.fetch_add(1, SeqCst);
        }
        SGI | SPI => drop(OTHERS.fetch_add(1, SeqCst)),
        irq => guest::fail(format_args!("interrupt {irq}")),
    }
    gic::end(acknowledged);
}
