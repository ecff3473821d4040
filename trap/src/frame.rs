//! The register frame that exception entry builds and exit consumes.

use core::mem::{offset_of, size_of};

/// `syscallno` of a frame that is not a system call (Linux `NO_SYSCALL`).
pub const NO_SYSCALL: i32 = -1;

/// The interrupted context, saved on the kernel stack: byte for byte Linux arm64's `struct pt_regs`
/// (`arch/arm64/include/asm/ptrace.h`, v5.0). Its first 272 bytes are `struct user_pt_regs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtRegs {
    /// x0..x30 as they were when the exception was taken.
    pub regs: [u64; 31],
    /// The interrupted stack pointer: SP_EL0 from EL0; from EL1 the value SP_EL1 had before the frame was reserved.
    pub sp: u64,
    /// ELR_EL1: where `eret` returns to.
    pub pc: u64,
    /// SPSR_EL1: the interrupted PSTATE.
    pub pstate: u64,
    /// x0 at the entry of a system call, which the result overwrites; a restart needs it.
    pub orig_x0: u64,
    /// The system call number (w8), or [`NO_SYSCALL`].
    pub syscallno: i32,
    /// Keeps the layout.
    pub unused2: u32,
    /// Bit 0: a user-access window was open when the exception was taken (Linux: `orig_addr_limit`).
    pub access_window: u64,
    /// The syndrome of a synchronous exception other than a system call, for reports; else 0 (Linux: `unused`).
    pub esr: u64,
    /// The frame record {fp, lr} that chains this frame into the interrupted function's; {0, 0} from EL0.
    pub stackframe: [u64; 2],
}

/// Size of [`PtRegs`] in bytes (Linux `S_FRAME_SIZE`).
pub const S_FRAME_SIZE: usize = size_of::<PtRegs>();

const _: () = {
    assert!(S_FRAME_SIZE == 320 && S_FRAME_SIZE.is_multiple_of(16));
    assert!(offset_of!(PtRegs, regs) == 0);
    assert!(offset_of!(PtRegs, sp) == 248);
    assert!(offset_of!(PtRegs, pc) == 256);
    assert!(offset_of!(PtRegs, pstate) == 264);
    assert!(offset_of!(PtRegs, orig_x0) == 272);
    assert!(offset_of!(PtRegs, syscallno) == 280);
    assert!(offset_of!(PtRegs, unused2) == 284);
    assert!(offset_of!(PtRegs, access_window) == 288);
    assert!(offset_of!(PtRegs, esr) == 296);
    assert!(offset_of!(PtRegs, stackframe) == 304);
};

impl PtRegs {
    /// A frame of zeroes that is no system call.
    pub const ZERO: PtRegs = PtRegs {
        regs: [0; 31],
        sp: 0,
        pc: 0,
        pstate: 0,
        orig_x0: 0,
        syscallno: NO_SYSCALL,
        unused2: 0,
        access_window: 0,
        esr: 0,
        stackframe: [0; 2],
    };

    /// Whether the exception was taken from EL0: `PSTATE.M[3:2]` is the exception level (Arm ARM, SPSR_EL1).
    pub fn from_el0(&self) -> bool {
        self.pstate & 0b1100 == 0
    }
}

/// What EL2 interrupted, saved on the hypervisor stack of the vCPU, after Xen's `struct cpu_user_regs`
/// (`xen/include/asm-arm/arm64/processor.h`). From `spsr_el1` on the fields are only valid in a frame of a guest; a frame of
/// the hypervisor itself leaves them as they were.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUserRegs {
    /// x0..x30 as they were when the exception was taken.
    pub regs: [u64; 31],
    /// SP_EL2 before the frame was reserved; only valid in a frame of the hypervisor.
    pub sp: u64,
    /// ELR_EL2: where `eret` returns to.
    pub pc: u64,
    /// SPSR_EL2: the interrupted PSTATE.
    pub cpsr: u64,
    /// ESR_EL2: the syndrome, of the hypervisor's classes.
    pub hsr: u64,
    /// Keeps 16 bytes.
    pub pad: u64,
    /// The guest's saved PSTATE.
    pub spsr_el1: u64,
    /// The saved PSTATEs of an AArch32 EL1: FIQ, IRQ, undefined, abort.
    pub spsr_banked: [u64; 4],
    /// The guest's stack pointer at EL0.
    pub sp_el0: u64,
    /// The guest's stack pointer at EL1.
    pub sp_el1: u64,
    /// Where the guest's EL1 returns to.
    pub elr_el1: u64,
}

/// Size of [`CpuUserRegs`] in bytes.
pub const UREGS_SIZE: usize = size_of::<CpuUserRegs>();

const _: () = {
    assert!(UREGS_SIZE == 352 && UREGS_SIZE.is_multiple_of(16));
    assert!(offset_of!(CpuUserRegs, regs) == 0);
    assert!(offset_of!(CpuUserRegs, sp) == 248);
    assert!(offset_of!(CpuUserRegs, pc) == 256);
    assert!(offset_of!(CpuUserRegs, cpsr) == 264);
    assert!(offset_of!(CpuUserRegs, hsr) == 272);
    assert!(offset_of!(CpuUserRegs, spsr_el1) == 288);
    assert!(offset_of!(CpuUserRegs, spsr_banked) == 296);
    assert!(offset_of!(CpuUserRegs, sp_el0) == 328);
    assert!(offset_of!(CpuUserRegs, sp_el1) == 336);
    assert!(offset_of!(CpuUserRegs, elr_el1) == 344);
};

impl CpuUserRegs {
    /// Whether the interrupted code was AArch32's (`PSTATE.M[4]`).
    pub fn is_aarch32(&self) -> bool {
        self.cpsr & 0b1_0000 != 0
    }

    /// Whether the exception was taken from a guest: EL0 and EL1 are its, and AArch32 (Arm ARM, SPSR_EL2).
    pub fn from_guest(&self) -> bool {
        self.is_aarch32() || self.cpsr & 0b1100 != 0b1000
    }
}
