//! A vCPU: its hypervisor stack, and what of EL1 is saved while another one runs.

use crate::gic::CpuInterface;
use crate::guest::Guest;
use crate::percpu::count;
use crate::stacks::{Guarded, STACK_SIZE};
use crate::sync::IrqLock;
use crate::traps::{HCR_EL2, VSE};
use crate::{read_sysreg, sched, service, ssbd, trace, vgic, write_sysreg};
use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use hyp::config::VCPUS;
use hyp::inject::Injected;
use hyp::timer::PhysicalTimer;
use smccc::psci::AffinityState;
use trap::frame::{CpuUserRegs, UREGS_SIZE};

/// What lies at the top of a vCPU's stack, just behind the frame: sp points here while the guest runs. The vector's assembly reads
/// it as one word.
#[repr(C, align(16))]
pub struct StackTop {
    /// Whether the window for SErrors that the guest left pending is opened at each trap (`serrors=diverse`).
    pub serror_window: u8,
    /// Whether the guest runs with speculative store bypass unsafe (ARCH_WORKAROUND_2), so that the mitigation is turned on at each
    /// trap, and off again. Only where it can be ([`ssbd::is_dynamic`]).
    pub ssbd_off: u8,
    /// [`ssbd::is_dynamic`]
    pub ssbd_dynamic: u8,
    /// [`trace::is_on`]
    pub watched: u8,
}

const _: () = assert!(offset_of!(StackTop, serror_window) == 0 && offset_of!(StackTop, ssbd_off) == 1);
const _: () = assert!(offset_of!(StackTop, watched) == 3);

/// Bytes that `switch_stacks` keeps on a stack: x19 to x30.
pub const SWITCH_FRAME: usize = 96;

#[repr(C, align(16))]
struct Stack {
    /// What `switch_stacks` left there is below the frame.
    rest: [u8; STACK_SIZE - UREGS_SIZE - size_of::<StackTop>()],
    frame: CpuUserRegs,
    top: StackTop,
}

const _: () = assert!(size_of::<Stack>() == STACK_SIZE && offset_of!(Stack, frame).is_multiple_of(16));

unsafe extern "C" {
    /// `entry.S`
    fn switch_stacks(from: *mut usize, to: usize);
    /// `entry.S`
    static return_to_new_vcpu: u8;
    /// Saves q0..q31, FPCR and FPSR (`fp.S`).
    fn save_fp(to: *mut Fp);
    /// Loads them (`fp.S`).
    fn load_fp(from: *const Fp);
}

global_asm!(include_str!("fp.S"));

/// The floating-point registers; nothing else in the hypervisor uses them.
#[repr(C, align(16))]
struct Fp {
    q: [u128; 32],
    fpcr: u64,
    fpsr: u64,
}

/// The system registers of EL1, by name.
macro_rules! el1_registers {
    ($($field:ident),* $(,)?) => {
        /// What EL1 has set of the CPU.
        #[derive(Clone, Default)]
        struct El1 {
            $($field: u64,)*
        }

        impl El1 {
            fn save(&mut self) {
                $(self.$field = read_sysreg!(stringify!($field));)*
            }

            /// # Safety
            /// No guest's state is in the registers that is not saved.
            unsafe fn load(&self) {
                // SAFETY: as promised by the caller; none of them changes what EL2 does.
                unsafe { $(write_sysreg!(stringify!($field), self.$field);)* }
            }
        }
    };
}

el1_registers! {
    vmpidr_el2, sctlr_el1, actlr_el1, cpacr_el1, ttbr0_el1, ttbr1_el1, tcr_el1, mair_el1, amair_el1, vbar_el1,
    contextidr_el1, tpidr_el0, tpidrro_el0, tpidr_el1, esr_el1, far_el1, afsr0_el1, afsr1_el1, par_el1, csselr_el1,
    cntkctl_el1, mdscr_el1, cntv_cval_el0,
}

/// What is saved of a vCPU that does not run.
struct Saved {
    /// Its hypervisor stack pointer.
    sp: usize,
    el1: El1,
    fp: Fp,
    /// CNTV_CTL_EL0, which is 0 while the vCPU does not run.
    cntv_ctl: u64,
    /// HCR_EL2.VSE: an SError waits for the guest to unmask it.
    vse: u64,
    /// VSESR_EL2, where the CPU has it: what is told of that SError.
    vsesr: u64,
    /// VDISR_EL2, where the CPU has it: an SError that the guest's ESB has deferred.
    vdisr: u64,
    /// TPIDR2_EL0, where the CPU has it.
    tpidr2: u64,
    interface: CpuInterface,
}

/// What a vCPU did. The CPU whose it is writes.
pub struct Counters {
    /// Synchronous traps by class.
    pub traps: [AtomicU64; 64],
    /// Physical interrupts while it ran.
    pub irqs: AtomicU64,
    /// SErrors that are its.
    pub serrors: AtomicU64,
    /// Virtual interrupts that it acknowledged from List Registers.
    pub injections: AtomicU64,
    /// How often it was switched to.
    pub switches: AtomicU64,
    /// Exceptions that it had to take for what it tried, by [`Injected::kind`].
    pub exceptions: [AtomicU64; Injected::KINDS.len()],
}

/// A vCPU.
pub struct Vcpu {
    /// Whose it is.
    pub guest: &'static Guest,
    /// Its number in the guest.
    pub id: usize,
    /// What it did.
    pub counters: Counters,
    /// [`State`], which the scheduler's lock guards.
    state: AtomicU8,
    /// The CPU whose it is, which the same lock guards.
    cpu: AtomicUsize,
    /// The EL1 physical timer, which is emulated.
    pub physical_timer: IrqLock<PhysicalTimer>,
    /// Its interrupt line, as the virtual GIC knows it.
    pub timer_line: AtomicBool,
    stack: Guarded<Stack>,
    saved: UnsafeCell<Saved>,
}

// SAFETY: what is in cells is used by the CPU that runs the vCPU, or that switches to or from it, with IRQs masked.
unsafe impl Sync for Vcpu {}
// SAFETY: as above.
unsafe impl Send for Vcpu {}

/// Where a vCPU is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not started, or ended.
    Off,
    /// Runs, or waits for its turn.
    Runnable,
    /// Waits for an interrupt (WFI).
    Blocked,
    /// Off, and somebody sets it up to be started.
    OnPending,
}

/// No CPU's.
const NONE: usize = usize::MAX;

/// CNTV_CTL_EL0: ENABLE without IMASK.
const TIMER_ON: u64 = 0b01;
const TIMER_MASKED: u64 = 0b10;
/// DAIF masked, EL1h.
const SPSR_EL1H: u64 = 0xf << 6 | 0b0101;
/// SCTLR_EL1 out of reset: the bits that are RES1 in Armv8.0.
const SCTLR_RESET: u64 = 0x30d0_0800;

impl Vcpu {
    /// A vCPU that is off. Its guest sees `affinity` as its MPIDR_EL1.
    pub fn new(guest: &'static Guest, id: usize, serror_window: bool) -> Self {
        // SAFETY: bytes and words, for which zeroes are values.
        let stack = unsafe { Guarded::<Stack>::zeroed() };
        let top = StackTop {
            serror_window: serror_window.into(),
            ssbd_off: 0,
            ssbd_dynamic: ssbd::is_dynamic().into(),
            watched: trace::is_on().into(),
        };
        // SAFETY: nobody else knows of it yet.
        unsafe { (*stack.as_ptr()).top = top };
        // SAFETY: words, for which zeroes are values.
        let fp = unsafe { core::mem::zeroed() };
        let saved = Saved {
            sp: 0,
            el1: El1::default(),
            fp,
            cntv_ctl: 0,
            vse: 0,
            vsesr: 0,
            vdisr: 0,
            tpidr2: 0,
            interface: CpuInterface::default(),
        };
        Vcpu {
            guest,
            id,
            counters: Counters {
                traps: [const { AtomicU64::new(0) }; 64],
                irqs: AtomicU64::new(0),
                serrors: AtomicU64::new(0),
                injections: AtomicU64::new(0),
                switches: AtomicU64::new(0),
                exceptions: [const { AtomicU64::new(0) }; Injected::KINDS.len()],
            },
            state: AtomicU8::new(State::Off as u8),
            cpu: AtomicUsize::new(NONE),
            physical_timer: IrqLock::new(PhysicalTimer::default()),
            timer_line: AtomicBool::new(false),
            stack,
            saved: UnsafeCell::new(saved),
        }
    }

    /// Its number among all that there can be, counted from 1.
    pub fn number(&self) -> u32 {
        (self.guest.number * usize::from(*VCPUS.end()) + self.id + 1) as u32
    }

    /// MPIDR_EL1 as the guest sees it, without its RES1 bit.
    pub fn affinity(&self) -> u64 {
        self.id as u64
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Off,
            1 => State::Runnable,
            2 => State::Blocked,
            _ => State::OnPending,
        }
    }

    /// Says where it is in its life, for the scheduler.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    /// The CPU whose it is: the one that runs it, or has not quite left it.
    pub fn cpu(&self) -> Option<usize> {
        Some(self.cpu.load(Relaxed)).filter(|&cpu| cpu != NONE)
    }

    /// Says whose it is, for the scheduler.
    pub fn set_cpu(&self, cpu: Option<usize>) {
        self.cpu.store(cpu.unwrap_or(NONE), Relaxed);
    }

    /// Its state as PSCI tells it.
    pub fn affinity_state(&self) -> AffinityState {
        match self.state() {
            // Until it has left its CPU it cannot be started again.
            State::Off if self.cpu().is_none() => AffinityState::Off,
            State::OnPending => AffinityState::OnPending,
            _ => AffinityState::On,
        }
    }

    /// Sets it up as after a reset, to begin at `entry` with `x0`.
    ///
    /// # Safety
    /// It is claimed ([`crate::sched`]): off, and no CPU's.
    pub unsafe fn reset(&self, entry: u64, x0: u64) {
        // SAFETY: as promised by the caller.
        let (stack, saved) = unsafe { (&mut *self.stack.as_ptr(), &mut *self.saved.get()) };
        stack.frame = CpuUserRegs { pc: entry, cpsr: SPSR_EL1H, ..CpuUserRegs::default() };
        stack.frame.regs[0] = x0;
        let link = stack.rest.len() - size_of::<u64>();
        stack.rest[link..].copy_from_slice(&(&raw const return_to_new_vcpu as u64).to_le_bytes());
        saved.sp = (&raw const stack.frame) as usize - SWITCH_FRAME;
        saved.el1 = El1 { sctlr_el1: SCTLR_RESET, vmpidr_el2: 1 << 31 | self.affinity(), ..El1::default() };
        (saved.cntv_ctl, saved.vse, saved.vsesr, saved.vdisr, saved.tpidr2) = (0, 0, 0, 0, 0);
        stack.top.ssbd_off = 0;
        saved.interface = CpuInterface::default();
        *self.physical_timer.lock() = PhysicalTimer::default();
    }

    /// The registers that the guest left; valid while the vCPU is current.
    pub fn frame(&self) -> *mut CpuUserRegs {
        // SAFETY: only the address is taken.
        unsafe { &raw mut (*self.stack.as_ptr()).frame }
    }

    /// Whether the guest wants speculative store bypass to be safe while it runs.
    pub fn set_ssbd(&self, safe: bool) {
        let off = ssbd::is_dynamic() && !safe;
        // SAFETY: a byte that only the assembly of the vCPU's own trap reads, on the way out.
        unsafe { (&raw mut (*self.stack.as_ptr()).top.ssbd_off).write_volatile(off.into()) };
    }

    /// Has an SError be pending for the guest, which takes it once it has SErrors unmasked; the CPU forgets it then. `iss` is what
    /// its syndrome tells, where the CPU has it told. The vCPU is current, or no CPU runs it; IRQs are masked.
    pub fn raise_serror(&self, iss: u32) {
        if sched::is_current(self) {
            let hcr = read_sysreg!("hcr_el2");
            // SAFETY: about the guest alone.
            unsafe {
                if has_ras() {
                    write_sysreg!("S3_4_C5_C2_3", iss.into());
                }
                write_sysreg!("hcr_el2", hcr | VSE);
            }
            self.count_serror(hcr);
        } else {
            // SAFETY: no CPU runs it.
            let saved = unsafe { &mut *self.saved.get() };
            self.count_serror(saved.vse);
            (saved.vse, saved.vsesr) = (VSE, iss.into());
        }
    }

    /// An SError is pending now; in `before`, HCR_EL2.VSE as it was.
    fn count_serror(&self, before: u64) {
        if before & VSE == 0 {
            count(&self.counters.serrors);
        }
    }

    /// When its own timers are due: the count to wake it at; none when they are off. Of a vCPU that sleeps, or is current.
    pub fn deadline(&self, current: bool) -> Option<u64> {
        let (ctl, cval) = if current {
            (read_sysreg!("cntv_ctl_el0"), read_sysreg!("cntv_cval_el0"))
        } else {
            // SAFETY: it is no CPU's, and the scheduler's lock is held.
            let saved = unsafe { &*self.saved.get() };
            (saved.cntv_ctl, saved.el1.cntv_cval_el0)
        };
        let due = (ctl & (TIMER_ON | TIMER_MASKED) == TIMER_ON).then_some(cval);
        due.into_iter().chain(self.physical_timer.lock().deadline()).min()
    }
}

/// ID_AA64PFR0_EL1.RAS: ESB defers SErrors to DISR_EL1, which is VDISR_EL2 for a guest.
pub fn has_ras() -> bool {
    read_sysreg!("id_aa64pfr0_el1") >> 28 & 0xf != 0
}

/// ID_AA64PFR1_EL1.SME, which guests do not see, but a register of which EL0 can reach.
fn has_sme() -> bool {
    read_sysreg!("id_aa64pfr1_el1") >> 24 & 0xf != 0
}

/// Saves what the CPU holds of one vCPU, and loads another; none is idling, which needs nothing.
///
/// # Safety
/// IRQs are masked; `from` is what this CPU runs; `to` is run by none. Both go on to [`switch_stacks_of`].
pub unsafe fn switch_registers(from: Option<&Vcpu>, to: Option<&'static Vcpu>) {
    // SAFETY: what is loaded is saved, what is not is loaded.
    unsafe {
        if let Some(vcpu) = from {
            let saved = &mut *vcpu.saved.get();
            saved.el1.save();
            saved.cntv_ctl = read_sysreg!("cntv_ctl_el0") & (TIMER_ON | TIMER_MASKED);
            write_sysreg!("cntv_ctl_el0", 0);
            saved.vse = read_sysreg!("hcr_el2") & VSE;
            if has_ras() {
                saved.vsesr = read_sysreg!("S3_4_C5_C2_3");
                saved.vdisr = read_sysreg!("S3_4_C12_C1_1");
            }
            if has_sme() {
                saved.tpidr2 = read_sysreg!("S3_3_C13_C0_5");
            }
            saved.interface.save();
            save_fp(&mut saved.fp);
            // What it has told caches and TLBs is done, wherever it goes on.
            core::arch::asm!("dsb ish", options(nostack, preserves_flags));
        }
        // Now that no timer asserts it.
        vgic::switch_timer(to);
        // No guest's tables: the registers of one that are loaded one by one would go with those of another.
        crate::stage2::leave();
        if let Some(vcpu) = to {
            let saved = &*vcpu.saved.get();
            saved.el1.load();
            write_sysreg!("hcr_el2", HCR_EL2 | saved.vse);
            if has_ras() {
                write_sysreg!("S3_4_C5_C2_3", saved.vsesr);
                write_sysreg!("S3_4_C12_C1_1", saved.vdisr);
            }
            if has_sme() {
                write_sysreg!("S3_3_C13_C0_5", saved.tpidr2);
            }
            saved.interface.load();
            load_fp(&saved.fp);
            vcpu.guest.stage2.enter(vcpu.id);
            write_sysreg!("cntv_ctl_el0", saved.cntv_ctl);
            service::switched_to(vcpu);
        }
    }
}

/// Goes from one vCPU's stack to another's; none is the idle stack, whose pointer is at `idle`. Returns when `from` is switched to
/// again.
///
/// # Safety
/// As for [`switch_registers`].
pub unsafe fn switch_stacks_of(from: Option<&Vcpu>, to: Option<&Vcpu>, idle: *mut usize) {
    // SAFETY: whoever was switched away goes on here when it is switched to.
    unsafe {
        let from = from.map_or(idle, |vcpu| &raw mut (*vcpu.saved.get()).sp);
        let to = to.map_or(*idle, |vcpu| (*vcpu.saved.get()).sp);
        switch_stacks(from, to);
    }
}
