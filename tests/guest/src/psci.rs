//! What the guest asks of its firmware: SMCCC and PSCI, by HVC.

use core::arch::asm;

/// PSCI functions (DEN0022).
pub const CPU_OFF: u32 = 0x8400_0002;
/// Starts a vCPU.
pub const CPU_ON: u32 = 0xc400_0003;
/// Whether a vCPU is on.
pub const AFFINITY_INFO: u32 = 0xc400_0004;
/// Ends the guest in order.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// Begins it again.
pub const SYSTEM_RESET: u32 = 0x8400_0009;

/// A call with three arguments; x0 and x1 of its result. A null hypercall costs little more than this.
#[inline(always)]
pub fn call2(function: u32, x1: u64, x2: u64, x3: u64) -> (u64, u64) {
    let (result, second);
    // SAFETY: SMCCC: x0 to x17 may change.
    unsafe {
        asm!(
            "hvc #0",
            inlateout("x0") u64::from(function) => result,
            inlateout("x1") x1 => second,
            inlateout("x2") x2 => _,
            inlateout("x3") x3 => _,
            out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
            out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _,
            options(nostack)
        )
    };
    (result, second)
}

/// A call with three arguments, and its result.
#[inline(always)]
pub fn call(function: u32, x1: u64, x2: u64, x3: u64) -> u64 {
    call2(function, x1, x2, x3).0
}

unsafe extern "C" {
    /// `start.S`
    static secondary: u8;
}

/// What a vCPU that was started runs: a function that never returns.
pub type Main = fn(usize) -> !;

/// Starts vCPU `cpu`, which runs `main` with its own number; PSCI's result.
pub fn start(cpu: usize, main: Main) -> u64 {
    call(CPU_ON, cpu as u64, &raw const secondary as u64, main as usize as u64)
}

#[unsafe(no_mangle)]
extern "C" fn secondary_boot(main: usize) -> ! {
    // SAFETY: `start` has passed a function of this type.
    let main = unsafe { core::mem::transmute::<usize, Main>(main) };
    main(crate::cpu())
}

/// Ends the guest in order.
pub fn off() -> ! {
    loop {
        call(SYSTEM_OFF, 0, 0, 0);
    }
}

/// Begins the guest again.
pub fn reset() -> ! {
    loop {
        call(SYSTEM_RESET, 0, 0, 0);
    }
}
