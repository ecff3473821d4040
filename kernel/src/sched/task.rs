//! A task: what the scheduler switches between, and what a system call finds behind `current`.

use super::family::Links;
use crate::fs::Files;
use crate::mm::stacks::KernelStack;
use crate::mm::user::AddressSpace;
use crate::mm::{OutOfMemory, heap, kernel_map};
use crate::site::trace_point;
use crate::sync::IrqLock;
use crate::uaccess::CURRENT_TTBR0;
use alloc::sync::Arc;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use heapless::String;
use linux_raw_sys::general::{SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
use spin::mutex::SpinMutex;
use trap::frame::PtRegs;

/// A task's identifier; 0 is the idle task, 1 the first program.
pub type Id = u32;

/// Callee-saved registers of a task that is switched out, its SP and where it goes on.
#[repr(C)]
pub struct Context {
    regs: [u64; 10],
    fp: u64,
    sp: u64,
    pc: u64,
}

/// Offsets for switch.S.
pub const CONTEXT_REGS: usize = offset_of!(Context, regs);
/// fp and sp, a pair.
pub const CONTEXT_FP: usize = offset_of!(Context, fp);
/// Where the task goes on.
pub const CONTEXT_PC: usize = offset_of!(Context, pc);
const _: () = assert!(offset_of!(Task, ttbr0) == CURRENT_TTBR0);
const _: () = assert!(offset_of!(Context, sp) == CONTEXT_FP + 8);

/// v0..v31, FPSR and FPCR, as switch.S stores them.
#[repr(C, align(16))]
pub struct FpState {
    v: [[u64; 2]; 32],
    fpsr: u32,
    fpcr: u32,
}

const _: () = assert!(offset_of!(FpState, fpsr) == 512 && offset_of!(FpState, fpcr) == 516);

impl FpState {
    /// What a program starts with.
    pub const ZERO: FpState = FpState { v: [[0; 2]; 32], fpsr: 0, fpcr: 0 };
}

/// What the exception exit looks at: 0 means there is nothing to do.
pub mod flags {
    /// Another task should run.
    pub const NEED_RESCHED: u64 = 1 << 0;
    /// A signal is pending.
    pub const SIGNAL_PENDING: u64 = 1 << 1;
}

/// Preemption counter and, above it, a word that is 0 when a switch is wanted: both zero is "preempt now", which one
/// 64-bit load tells.
#[repr(C, align(8))]
pub struct Preempt {
    count: AtomicU32,
    not_wanted: AtomicU32,
}

impl Preempt {
    /// Forbids preemption until [`enable`](Self::enable); nests.
    #[inline(always)]
    pub fn disable(&self) {
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
    }

    /// Ends a [`disable`](Self::disable).
    #[inline(always)]
    pub fn enable(&self) {
        self.count.store(self.count.load(Relaxed) - 1, Relaxed);
    }

    /// How often it is forbidden; 255 for more.
    pub fn depth(&self) -> u8 {
        self.count.load(Relaxed).try_into().unwrap_or(u8::MAX)
    }

    /// Whether a switch is allowed here.
    pub fn is_enabled(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Whether the task may be preempted here and another should run.
    #[inline(always)]
    pub fn now(&self) -> bool {
        let both: u64;
        // SAFETY: reads the two aligned words as one, both written by this CPU only; assembly, as Rust has no atomic
        // access of mixed size.
        unsafe { asm!("ldr {}, [{}]", out(reg) both, in(reg) self, options(nostack, preserves_flags, readonly)) };
        both == 0
    }
}

/// The signals whose default action is to stop, as bits of [`Task::pending`].
pub const STOP_SIGNALS: u64 = 1 << (SIGSTOP - 1) | 1 << (SIGTSTP - 1) | 1 << (SIGTTIN - 1) | 1 << (SIGTTOU - 1);

/// What a task is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Running or in a run queue.
    Runnable,
    /// Waiting; a wake-up or a signal makes it runnable.
    Sleeping,
    /// Stopped by a signal; SIGCONT or SIGKILL makes it runnable.
    Stopped,
    /// Ended; waits to be waited for.
    Zombie,
}

/// How a task ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(u32),
}

/// A task. The exception path reads its first fields.
#[repr(C)]
pub struct Task {
    /// Whether the kernel may be preempted here, and should be.
    pub preempt: Preempt,
    /// Work for the exit to EL0, see [`flags`].
    pub flags: AtomicU64,
    /// TTBR0_EL1 of its address space.
    pub(super) ttbr0: AtomicU64,
    pub(super) context: UnsafeCell<Context>,
    pub(super) fp: UnsafeCell<FpState>,
    /// TPIDR_EL0 while it is switched out.
    pub(super) tls: AtomicU64,
    pub(super) state: AtomicU8,
    /// Identifier.
    pub id: Id,
    /// The task that waits for it.
    pub parent: AtomicU32,
    pub(super) links: Links,
    /// Name of its program.
    pub name: IrqLock<String<16>>,
    /// Its kernel stack.
    pub stack: KernelStack,
    /// Its memory; none for the idle task and after its end. Only the task itself takes this lock.
    pub space: SpinMutex<Option<AddressSpace>>,
    /// Its open files. Only the task itself takes this lock.
    pub files: SpinMutex<Files>,
    /// Pending signals: bit n-1 is signal n.
    pub pending: AtomicU64,
    /// A stop or continuation that its parent has not seen yet, as `wait4` tells it; 0 for none.
    pub report: AtomicU32,
    /// Whether the SIGKILL that is pending was sent because there is no memory for it.
    pub out_of_memory: AtomicBool,
    /// How it ended, once it is a zombie.
    pub exit: IrqLock<Option<Exit>>,
}

// SAFETY: `context` and `fp` are touched only by the CPU that switches the task in or out, with IRQs masked; a task is in
// one run queue or on one CPU at a time. Everything else locks or is atomic.
unsafe impl Sync for Task {}

impl Task {
    /// A task that will start at `pc` with an empty kernel stack but for `regs` at its top, which it is to return to EL0 with.
    pub fn new(
        id: Id,
        name: &str,
        pc: usize,
        regs: &PtRegs,
        space: Option<AddressSpace>,
    ) -> Result<Arc<Task>, OutOfMemory> {
        heap::reserve()?;
        let stack = KernelStack::new()?;
        let frame = stack.range().end - size_of::<PtRegs>();
        // SAFETY: the top of a stack that nothing runs on yet.
        unsafe { core::ptr::with_exposed_provenance_mut::<PtRegs>(frame).write(*regs) };
        let ttbr0 = space.as_ref().map_or_else(kernel_map::empty_ttbr0, AddressSpace::activate);
        Ok(Arc::new(Task {
            preempt: Preempt { count: AtomicU32::new(0), not_wanted: AtomicU32::new(1) },
            flags: AtomicU64::new(0),
            context: UnsafeCell::new(Context { regs: [0; 10], fp: 0, sp: frame as u64, pc: pc as u64 }),
            fp: UnsafeCell::new(FpState::ZERO),
            tls: AtomicU64::new(0),
            ttbr0: AtomicU64::new(ttbr0),
            state: AtomicU8::new(State::Runnable as u8),
            id,
            parent: AtomicU32::new(0),
            links: Links::new(),
            name: IrqLock::new(short_name(name)),
            stack,
            space: SpinMutex::new(space),
            files: SpinMutex::new(Files::new()),
            pending: AtomicU64::new(0),
            report: AtomicU32::new(0),
            out_of_memory: AtomicBool::new(false),
            exit: IrqLock::new(None),
        }))
    }

    /// The registers that it is to return to EL0 with: the frame at the top of its kernel stack.
    pub fn user_regs(&self) -> *mut PtRegs {
        core::ptr::with_exposed_provenance_mut(self.stack.range().end - size_of::<PtRegs>())
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Runnable,
            1 => State::Sleeping,
            2 => State::Stopped,
            _ => State::Zombie,
        }
    }

    /// Whether a signal is pending that ends a wait. One that only stops the task does so when the wait is over.
    pub fn is_interrupted(&self) -> bool {
        self.pending.load(Relaxed) & !STOP_SIGNALS != 0
    }

    /// Asks for a switch at the next chance.
    pub fn set_need_resched(&self) {
        self.flags.fetch_or(flags::NEED_RESCHED, Relaxed);
        self.preempt.not_wanted.store(0, Relaxed);
    }

    /// The switch that was asked for is being made. Returns whether one was.
    pub(super) fn clear_need_resched(&self) -> bool {
        self.preempt.not_wanted.store(1, Relaxed);
        self.flags.fetch_and(!flags::NEED_RESCHED, Relaxed) & flags::NEED_RESCHED != 0
    }
}

/// The last part of a path, cut to what a task's name holds.
fn short_name(path: &str) -> String<16> {
    let mut name = String::new();
    for c in path.rsplit('/').next().unwrap_or(path).chars() {
        if name.push(c).is_err() {
            break;
        }
    }
    name
}

/// Sets the name a task goes by in reports.
pub fn set_name(task: &Task, path: &str) {
    *task.name.lock() = short_name(path);
    // SAFETY: a nop, unless traced.
    unsafe { trace_point!(EXEC) };
}
