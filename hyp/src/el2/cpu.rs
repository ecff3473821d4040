//! Registers of this CPU.

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

/// Writes a system register. An unsafe block around it says why the new value is right there.
#[macro_export]
macro_rules! write_sysreg {
    ($register:expr, $value:expr) => {{
        let value: u64 = $value;
        core::arch::asm!(concat!("msr ", $register, ", {}"), in(reg) value, options(nostack, preserves_flags))
    }};
}

/// Has what was written to system registers be seen by what follows.
#[inline(always)]
pub fn isb() {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// Waits until an interrupt is pending, masked or not, or for less long.
#[inline(always)]
pub fn wait_for_interrupt() {
    // SAFETY: nothing is changed by it.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
}

/// The physical counter, read where it is written.
pub fn counter() -> u64 {
    isb();
    read_sysreg!("cntpct_el0")
}

/// Reads an ID register (op0 = 3, op1 = 0, CRn = 0, CRm = 1 to 7), which has no name in an instruction that is not known when it is
/// compiled: a table of instructions, one for each.
pub fn id_register(register: trap::sysreg::SystemRegister) -> u64 {
    macro_rules! read {
        ($($crm:literal),*) => {
            match (register.crm, register.op2) {
                $(
                    ($crm, 0) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_0")),
                    ($crm, 1) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_1")),
                    ($crm, 2) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_2")),
                    ($crm, 3) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_3")),
                    ($crm, 4) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_4")),
                    ($crm, 5) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_5")),
                    ($crm, 6) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_6")),
                    ($crm, 7) => read_sysreg!(concat!("S3_0_C0_C", $crm, "_7")),
                )*
                _ => 0,
            }
        };
    }
    read!(1, 2, 3, 4, 5, 6, 7)
}
