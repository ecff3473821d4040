//! In-kernel tests: states that no program can bring about. Compiled only into the test image; the boot argument
//! `ktest=NAME` runs one, on the idle task, with DAIF masked and nothing else running. It ends the machine: with a report
//! where that is what is tested, else with a verdict as a record and exit code 0 or 1, or with a program's exit code.
//!
//! What the CPU of an emulator never raises is made up: `slot.N.ESR.FAR` enters a slot of the vector table as the CPU would.

pub mod audit;
mod bench;
mod copy;
pub mod coverage;
mod el1;
mod irq;
mod program;
mod report;
mod slot;
mod stack;
pub mod sweep;

use crate::percpu::PerCpu;
use crate::site::{kind, point_macro};
use crate::sync::IrqLock;
use crate::uaccess::CURRENT_TTBR0;
use crate::{console, extable, kprintln, power};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use core::mem::offset_of;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapless::String;
use linux_raw_sys::general::__NR_exit;
pub use slot::on_brk;
use trap::pattern;
use trap::record::{Kind, Ktest, SCHEMA};

/// BRK immediates that the EL1 handler hands to [`on_brk`].
pub const PROBE: u16 = 0x7e57;
/// As [`PROBE`]: an exception came back.
pub const RETURNED: u16 = 0x7e58;

global_asm!(
    point_macro!(),
    include_str!("../uaccess/window.S"),
    include_str!("ktest.S"),
    PROBE = const PROBE,
    CURRENT_TTBR0 = const CURRENT_TTBR0,
    CPU_EMPTY_TTBR0 = const offset_of!(PerCpu, empty_ttbr0),
    RETURNED = const RETURNED,
    NR_EXIT = const __NR_exit,
    TRACE_PREEMPT = const kind::PREEMPT,
    KERNEL = const extable::Kind::Kernel as u32,
);

/// A test by its name; when it returns it has passed.
type Test = (&'static str, fn());

/// All tests but those of [`slot::by_name`].
const TESTS: [&[Test]; 8] =
    [stack::TESTS, slot::TESTS, el1::TESTS, program::TESTS, copy::TESTS, irq::TESTS, report::TESTS, bench::TESTS];

/// The running test's name, for its verdict.
static NAME: IrqLock<String<32>> = IrqLock::new(String::new());
/// The seed of the register pattern.
static SEED: AtomicU64 = AtomicU64::new(0);

/// Runs a test.
pub fn run(name: &str, seed: u64) -> ! {
    SEED.store(seed, Relaxed);
    let _ = NAME.lock().push_str(name);
    let tests = || TESTS.into_iter().flatten();
    if let Some((_, test)) = tests().find(|(known, _)| *known == name) {
        test();
        verdict(Ok(()));
    }
    if let Some(rest) = name.strip_prefix("slot.") {
        slot::by_name(rest);
    }
    kprintln!("there is no ktest `{name}`; there are slot.0 to slot.15, slot.N.ESR.FAR, and");
    for (name, _) in tests() {
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
#[track_caller]
fn check(what: &str, found: u64, wanted: u64) {
    if found != wanted {
        let line = core::panic::Location::caller().line();
        verdict(Err(format_args!("{what} is {found:#x} instead of {wanted:#x}, line {line}")));
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

fn read_daif() -> u64 {
    let daif: u64;
    // SAFETY: a read of DAIF.
    unsafe { asm!("mrs {}, daif", out(reg) daif, options(nostack, preserves_flags)) };
    daif >> 6
}
