//! What small guests of the hypervisor's tests are made of: they run at EL1 and do one thing that a whole kernel does not.
//!
//! A guest is a program of this package (`src/bin/NAME.rs`): [`guest!`] names its first function and the one that takes its
//! exceptions. It is an ELF file that the hypervisor loads at 0x4008_0000, entered by the arm64 boot protocol with the MMU
//! off; [`mmu::on`] maps the first 512 GiB to themselves. It has up to eight vCPUs ([`psci::start`]).
//!
//! What it has found it tells as records, JSON lines that tests read ([`record!`]); it ends with [`psci::off`], or with [`fail`],
//! which makes the hypervisor's exit code 3. A panic is such a failure.
#![no_std]

use core::arch::global_asm;
use core::mem::size_of;

pub mod attempt;
pub mod canary;
pub mod console;
pub mod gic;
pub mod hostile;
pub mod mmu;
pub mod psci;
pub mod random;
pub mod registers;
pub mod timer;

/// Bytes of a vCPU's stack.
const STACK_SIZE: usize = 16 << 10;

/// What an exception interrupted; what is changed here is what the guest goes on with.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// ELR_EL1.
    pub elr: u64,
    /// SPSR_EL1.
    pub spsr: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// The vector slot, from 0: four of EL1t, EL1h, EL0 in AArch64, EL0 in AArch32; sync, IRQ, FIQ, SError.
    pub slot: u64,
}

/// Slots of the vector table.
pub mod slot {
    /// A synchronous exception of EL1.
    pub const SYNC: u64 = 4;
    /// An interrupt at EL1.
    pub const IRQ: u64 = 5;
    /// An SError at EL1.
    pub const SERROR: u64 = 7;
    /// A synchronous exception of EL0.
    pub const EL0_SYNC: u64 = 8;
    /// An interrupt at EL0.
    pub const EL0_IRQ: u64 = 9;
}

global_asm!(include_str!("start.S"), STACK_SIZE = const STACK_SIZE, FRAME_SIZE = const size_of::<Frame>());

/// Says what a guest is made of: its first function, which gets the device tree's address, and what takes its exceptions.
#[macro_export]
macro_rules! guest {
    ($main:path, $exception:path) => {
        const _: () = {
            #[unsafe(export_name = "boot")]
            extern "C" fn boot(dtb: u64) -> ! {
                let main: fn(u64) -> ! = $main;
                main(dtb)
            }

            #[unsafe(export_name = "exception")]
            extern "C" fn take(frame: &mut $crate::Frame) {
                let handler: fn(&mut $crate::Frame) = $exception;
                handler(frame)
            }
        };
    };
}

/// Reads a system register.
#[macro_export]
macro_rules! read_sysreg {
    ($register:expr) => {{
        let value: u64;
        // SAFETY: a read of a register; not `nomem`, so that it stays where it was written.
        #[allow(unused_unsafe, reason = "it may be used among writes")]
        unsafe { core::arch::asm!(concat!("mrs {}, ", $register), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register, and has it take effect. An unsafe block around it says why the new value is right there.
#[macro_export]
macro_rules! write_sysreg {
    ($register:expr, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $register, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags))
    }};
}

/// This vCPU's number.
pub fn cpu() -> usize {
    (read_sysreg!("mpidr_el1") & 0xff) as usize
}

/// Unmasks IRQs.
pub fn unmask_irqs() {
    // SAFETY: the guest has said what takes its exceptions.
    unsafe { core::arch::asm!("msr daifclr, #2", options(nostack, preserves_flags)) };
}

/// Masks IRQs.
pub fn mask_irqs() {
    // SAFETY: masking is always allowed.
    unsafe { core::arch::asm!("msr daifset, #2", options(nostack, preserves_flags)) };
}

/// WFI.
pub fn wait() {
    // SAFETY: waiting harms nobody.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// Reads a device register of 1, 2, 4 or 8 bytes by one plain load.
pub fn read<T: Copy>(address: u64) -> T {
    // SAFETY: the guests of tests access what they like: what goes wrong is an exception that they asked for.
    unsafe { core::ptr::with_exposed_provenance::<T>(address as usize).read_volatile() }
}

/// Writes one, by one plain store.
pub fn write<T: Copy>(address: u64, value: T) {
    // SAFETY: as above; the guests write to devices, and to RAM that no Rust object is in.
    unsafe { core::ptr::with_exposed_provenance_mut::<T>(address as usize).write_volatile(value) };
}

/// The number behind `key` in the boot arguments of the device tree at this address, which is not understood otherwise; or 0.
pub fn argument(dtb: u64, key: &[u8]) -> u64 {
    let size = u64::from(u32::from_be(read(dtb + 4)));
    let byte = |at: u64| read::<u8>(dtb + at);
    let is_key = |&at: &u64| key.iter().zip(at..).all(|(wanted, at)| byte(at) == *wanted);
    let found = (0..size - key.len() as u64).find(is_key).map_or(size, |at| at + key.len() as u64);
    (found..size)
        .map(byte)
        .take_while(u8::is_ascii_digit)
        .fold(0, |number, digit| 10 * number + u64::from(digit - b'0'))
}

/// Tells the test what went wrong, and ends this vCPU; with the last one the guest is killed.
pub fn fail(what: core::fmt::Arguments<'_>) -> ! {
    record!("guest_failure", "\"cpu\":{},\"what\":\"{what}\"", cpu());
    loop {
        psci::call(psci::CPU_OFF, 0, 0, 0);
    }
}

/// For guests that take no exceptions, and for those that they do not expect.
pub fn unexpected(frame: &mut Frame) {
    fail(format_args!(
        "slot {} esr {:#x} elr {:#x} far {:#x} spsr {:#x}",
        frame.slot, frame.esr, frame.elr, frame.far, frame.spsr
    ))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, core::panic::Location::line);
    fail(format_args!("panic in line {line}"))
}
