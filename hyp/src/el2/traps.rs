//! The life of one trap.
//!
//! A guest does something that HCR_EL2 says is not its business, or a physical interrupt comes. The CPU saves PC and PSTATE in
//! ELR_EL2 and SPSR_EL2, says why in ESR_EL2, masks DAIF, and jumps to a slot of `hyp_traps_vector` ([`entry.S`](../entry.S)),
//! with SP_EL2 at the top of the vCPU's hypervisor stack. Then, in this order (`guest_vector`):
//!
//! 1. `entry` saves the [`CpuUserRegs`].
//! 2. `check_pending_guest_serror`: an SError that the guest left pending is taken now, while it can still be told from one of the
//!    hypervisor's own; [`do_trap_hyp_serror`] charges it to the guest, and step 5 is left out.
//! 3. Unmask what the slot allows: SError; and IRQ, but for interrupts.
//! 4. [`enter_hypervisor_from_guest`]: the List Registers are read back.
//! 5. [`do_trap_guest_sync`], [`do_trap_irq`] or [`do_trap_guest_serror`].
//! 6. [`leave_hypervisor_to_guest`]: with IRQs masked, work until there is none (another vCPU may run here for a while); write the
//!    List Registers; take an SError that is pending, so that it does not slip to the guest.
//! 7. `return_from_trap`: DAIF fully masked, restore, `eret`.

use crate::guest::{self, Guest};
use crate::vcpu::{SWITCH_FRAME, StackTop, State, Vcpu};
use crate::{gic, read_sysreg, report, sched, timer, vgic, write_sysreg};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use hyp::inject::{Features, Injected, Interrupted, inject};
use hyp::mmio::{self, Access, Instruction};
use hyp::result::End;
use hyp::smccc::{self, Call, Conduit};
use hyp::sysreg::{Action, SgiRegister};
use trap::esr::{Ec, Esr};
use trap::exception::{Abort, DataAccess, Exception, Wait};
use trap::frame::{CpuUserRegs, UREGS_SIZE};

/// HCR_EL2: stage 2 (VM, PTW); interrupts and SErrors come here, and virtual ones go to the guest (IMO, FMO, AMO); waits, SMC, ID
/// registers, ACTLR_EL1, set/way maintenance, implementation-defined registers, error records, and the registers of limited ordering
/// regions, which are not switched, trap (TWI, TWE, TSC, TID3, TACR, TSW, TIDCP, TERR, TLOR); maintenance is for all CPUs (FB, BSU:
/// inner-shareable), and set/way invalidation cleans too (SWIO); EL1 is AArch64 (RW).
pub const HCR_EL2: u64 = 1
    | 1 << 1
    | 1 << 2
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 9
    | 0b01 << 10
    | 1 << 13
    | 1 << 14
    | 1 << 18
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 22
    | 1 << 31
    | 1 << 35
    | 1 << 36;

/// HCR_EL2.VSE: an SError is pending for the guest.
pub const VSE: u64 = 1 << 8;

global_asm!(
    include_str!("entry.S"),
    UREGS_SIZE = const UREGS_SIZE,
    UREGS_LR = const offset_of!(CpuUserRegs, regs) + 8 * 30,
    UREGS_PC = const offset_of!(CpuUserRegs, pc),
    UREGS_HSR = const offset_of!(CpuUserRegs, hsr),
    UREGS_SPSR_EL1 = const offset_of!(CpuUserRegs, spsr_el1),
    TOP_SSBD = const offset_of!(StackTop, ssbd),
    TOP_SERROR_WINDOW = const offset_of!(StackTop, serror_window),
    SWITCH_FRAME = const SWITCH_FRAME,
    HVC_0 = const HVC_0,
    WORKAROUND_1 = const WORKAROUND_1,
    WORKAROUND_1_2 = const WORKAROUND_1 ^ WORKAROUND_2,
    WORKAROUND_2_3 = const WORKAROUND_2 ^ WORKAROUND_3,
);

/// ESR_EL2 of HVC #0 from AArch64.
const HVC_0: u32 = (Ec::HVC64.number() as u32) << 26 | 1 << 25;
const WORKAROUND_1: u32 = ::smccc::arch::SMCCC_ARCH_WORKAROUND_1;
const WORKAROUND_2: u32 = ::smccc::arch::SMCCC_ARCH_WORKAROUND_2;
const WORKAROUND_3: u32 = ::smccc::arch::SMCCC_ARCH_WORKAROUND_3;

unsafe extern "C" {
    /// The one instruction at which an SError is the guest's (`entry.S`).
    static abort_guest_exit_start: u8;
    static abort_guest_exit_end: u8;
}

/// The vCPU that was interrupted; there is one, as a guest was.
fn current() -> &'static Vcpu {
    sched::current().expect("a guest ran")
}

/// Takes back what the hardware holds of the guest's interrupts.
#[unsafe(no_mangle)]
extern "C" fn enter_hypervisor_from_guest(_: &mut CpuUserRegs) {
    vgic::sync(current());
}

/// The last thing before `return_from_trap`. Returns with IRQs masked.
#[unsafe(no_mangle)]
extern "C" fn leave_hypervisor_to_guest(_: &mut CpuUserRegs) {
    // SAFETY: masking is always allowed. Not `nomem`: what was done with them unmasked stays before.
    unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) };
    sched::do_softirqs();
    vgic::flush(current());
    // SAFETY: an SError that is pending is taken here, by the hypervisor.
    unsafe { asm!("dsb sy", "isb", options(nostack, preserves_flags)) };
}

/// A synchronous trap.
#[unsafe(no_mangle)]
extern "C" fn do_trap_guest_sync(regs: &mut CpuUserRegs) {
    let vcpu = current();
    let esr = Esr(regs.hsr);
    guest::count(&vcpu.guest.counters.traps[esr.ec().number() as usize]);
    match esr.decode() {
        Exception::Wait { instruction, .. } => {
            step(regs);
            match instruction {
                Wait::Wfi | Wait::Wfit => wait_for_interrupt(vcpu),
                // The event may be another vCPU's to send.
                Wait::Wfe | Wait::Wfet => sched::raise(sched::SCHEDULE),
            }
        }
        Exception::Call { aarch32: false, immediate, .. } if esr.ec() == Ec::HVC64 => {
            call(vcpu, regs, Conduit::Hvc, immediate);
        }
        Exception::Call { aarch32: false, immediate, .. } if esr.ec() == Ec::SMC64 => {
            call(vcpu, regs, Conduit::Smc, immediate);
        }
        Exception::System(access) => system_register(vcpu, regs, access),
        Exception::DataAbort(abort, access) => data_abort(vcpu, regs, abort, access),
        Exception::InstructionAbort(_) => {
            inject_exception(regs, Injected::InstructionAbort { address: read_sysreg!("far_el2") });
        }
        _ => undefined(regs),
    }
}

/// WFI: the vCPU waits, unless something is there to wake it: an interrupt, or an SError, masked or not.
fn wait_for_interrupt(vcpu: &'static Vcpu) {
    let _mask = crate::sync::IrqMask::new();
    let due = vcpu.deadline(true).is_some_and(|deadline| deadline <= timer::now());
    let serror = read_sysreg!("hcr_el2") & VSE != 0;
    if !due && !serror && !vcpu.guest.vgic.lock().has_pending(vcpu.id) {
        vcpu.set_state(State::Blocked);
        sched::raise(sched::SCHEDULE);
    }
}

/// HVC and SMC.
fn call(vcpu: &'static Vcpu, regs: &mut CpuUserRegs, conduit: Conduit, immediate: Option<u16>) {
    let guest = vcpu.guest;
    let call = Call::new(conduit, immediate.unwrap_or(0), core::array::from_fn(|index| regs.regs[index]));
    regs.pc = regs.pc.wrapping_add(conduit.pc_step());
    let vcpus: heapless::Vec<smccc::Vcpu, 16> = guest
        .vcpus()
        .iter()
        .map(|vcpu| smccc::Vcpu { affinity: vcpu.affinity(), state: vcpu.affinity_state() })
        .collect();
    let view = smccc::Caller { vcpus: &vcpus, ram: guest.ram.base..guest.ram.end(), workarounds: guest::WORKAROUNDS };
    regs.regs[0] = match smccc::call(&call, &view) {
        smccc::Action::Return(value) => value as u64,
        smccc::Action::Mitigate(safe) => {
            vcpu.set_ssbd(safe);
            0
        }
        smccc::Action::CpuOn { vcpu, entry, context } => {
            let vcpu = &guest.vcpus()[vcpu];
            // SAFETY: it is off, as `smccc::call` has seen; on this CPU nobody else looks.
            unsafe { vcpu.reset(entry, context) };
            sched::start(vcpu);
            0
        }
        smccc::Action::CpuOff => {
            vcpu.set_state(State::Off);
            sched::raise(sched::SCHEDULE);
            if guest.vcpus().iter().all(|vcpu| vcpu.state() == State::Off) {
                guest.end(End::Killed);
            }
            0
        }
        smccc::Action::CpuSuspend => {
            wait_for_interrupt(vcpu);
            0
        }
        smccc::Action::SystemOff => {
            guest.end(End::PoweredOff);
            0
        }
        smccc::Action::SystemReset => {
            guest.end(End::Reset);
            0
        }
        smccc::Action::Vendor => return regs.regs[0] = u64::MAX,
    };
}

/// MSR, MRS and system instructions.
fn system_register(vcpu: &'static Vcpu, regs: &mut CpuUserRegs, access: trap::exception::SystemAccess) {
    // 31 is xzr.
    let written = regs.regs.get(usize::from(access.rt)).copied().unwrap_or(0);
    let read = match vcpu.guest.registers.access(access, written) {
        Action::Read(value) => value,
        Action::Ignore => 0,
        Action::SendSgi(register, value) => {
            let group0 = register != SgiRegister::Sgi1r;
            vgic::with(vcpu.guest, |vgic| ((), vgic.write_sgir(vcpu.id, value, group0)));
            0
        }
        Action::ReadTimer(register) => vcpu.physical_timer.lock().read(register, timer::now()),
        Action::WriteTimer(register, value) => {
            vcpu.physical_timer.lock().write(register, value, timer::now());
            timer::physical_timer_changed(vcpu);
            0
        }
        Action::ReadCount => timer::now(),
        Action::SetWay => {
            vcpu.guest.clean_ram();
            0
        }
        // ICC_DIR_EL1 traps only while more interrupts are active than there are List Registers.
        Action::Undefined if is_dir(access) => {
            vgic::with(vcpu.guest, |vgic| ((), vgic.deactivate(vcpu.id, written as u32)));
            0
        }
        Action::Undefined => return undefined(regs),
    };
    if access.read
        && let Some(register) = regs.regs.get_mut(usize::from(access.rt))
    {
        *register = read;
    }
    step(regs);
}

/// A write to ICC_DIR_EL1.
fn is_dir(access: trap::exception::SystemAccess) -> bool {
    const ICC_DIR_EL1: trap::sysreg::SystemRegister =
        trap::sysreg::SystemRegister { op0: 3, op1: 0, crn: 12, crm: 11, op2: 1 };
    access.register == ICC_DIR_EL1 && !access.read && gic::version() == hyp::vgic::Version::V3
}

/// A data abort at stage 2: an access to an emulated device, or to nothing.
fn data_abort(vcpu: &'static Vcpu, regs: &mut CpuUserRegs, abort: Abort, access: DataAccess) {
    let far = read_sysreg!("far_el2");
    let refused = |regs: &mut CpuUserRegs| {
        inject_exception(regs, Injected::DataAbort { address: far, write: access.is_write() });
    };
    let Some(address) = mmio::address(&abort, far, read_sysreg!("hpfar_el2")) else { return refused(regs) };
    let (mut x, mut sp) = (regs.regs, stack_pointer(regs));
    let done = match Access::from_syndrome(access) {
        Some(access) => emulate(vcpu, address, access, &mut x),
        // Cache maintenance is for memory; and AArch32 is not decoded.
        None if access.maintenance || regs.is_aarch32() => None,
        None => fetch(vcpu.guest, regs.pc).and_then(Instruction::decode).and_then(|instruction| {
            if instruction.address(&x, sp) != far {
                return None;
            }
            for (access, address) in instruction.accesses().zip((address..).step_by(instruction.first.bytes.into())) {
                emulate(vcpu, address, access, &mut x)?;
            }
            instruction.write_back(&mut x, &mut sp);
            Some(())
        }),
    };
    if done.is_none() {
        return refused(regs);
    }
    regs.regs = x;
    set_stack_pointer(regs, sp);
    step(regs);
}

/// Goes on behind the trapped instruction.
fn step(regs: &mut CpuUserRegs) {
    // Of AArch32 it may be one of 16 bits.
    regs.pc = regs.pc.wrapping_add(if Esr(regs.hsr).il() { 4 } else { 2 });
}

/// Carries out one access to a device; none when there is none, or it will not have it.
fn emulate(vcpu: &'static Vcpu, address: u64, access: Access, x: &mut [u64; 31]) -> Option<()> {
    let bytes = usize::from(access.bytes);
    if access.write {
        vcpu.guest.write_device(vcpu, address, bytes, access.stored(x))
    } else {
        access.load(x, vcpu.guest.read_device(vcpu, address, bytes)?);
        Some(())
    }
}

/// The instruction at `pc`, by the guest's own translation as it is now.
fn fetch(guest: &Guest, pc: u64) -> Option<u32> {
    if !pc.is_multiple_of(4) {
        return None;
    }
    let par: u64;
    // SAFETY: a translation of both stages for a read from EL1, whose result is a register, which is the guest's.
    unsafe {
        asm!(
            "mrs {saved}, par_el1",
            "at s12e1r, {pc}",
            "isb",
            "mrs {par}, par_el1",
            "msr par_el1, {saved}",
            pc = in(reg) pc,
            par = out(reg) par,
            saved = out(reg) _,
            options(nostack, preserves_flags)
        )
    };
    let address = (par & 1 == 0).then_some(par & 0xffff_ffff_f000 | pc & 0xfff)?;
    // The guest may have changed its tables since, so that it is something else now.
    if !(guest.host.base..guest.host.end()).contains(&address) {
        return None;
    }
    // SAFETY: RAM of the guest.
    Some(unsafe { core::ptr::with_exposed_provenance::<u32>(address as usize).read_volatile() })
}

/// Whether SP is SP_EL1: the guest was in EL1h.
fn own_stack_pointer(regs: &CpuUserRegs) -> bool {
    regs.cpsr & 0b1_1111 == 0b0_0101
}

fn stack_pointer(regs: &CpuUserRegs) -> u64 {
    if own_stack_pointer(regs) { regs.sp_el1 } else { regs.sp_el0 }
}

fn set_stack_pointer(regs: &mut CpuUserRegs, sp: u64) {
    if own_stack_pointer(regs) {
        regs.sp_el1 = sp;
    } else {
        regs.sp_el0 = sp;
    }
}

/// Has the guest take an undefined instruction exception.
fn undefined(regs: &mut CpuUserRegs) {
    inject_exception(regs, Injected::Undefined);
}

/// Has the guest take an exception at its EL1 instead of what it tried.
fn inject_exception(regs: &mut CpuUserRegs, exception: Injected) {
    let interrupted = Interrupted {
        pc: regs.pc,
        pstate: regs.cpsr,
        vbar: read_sysreg!("vbar_el1"),
        sctlr: read_sysreg!("sctlr_el1"),
    };
    let features = Features::new(read_sysreg!("id_aa64mmfr1_el1"), read_sysreg!("id_aa64pfr1_el1"));
    let taken = inject(exception, &interrupted, features);
    (regs.pc, regs.cpsr, regs.elr_el1, regs.spsr_el1) = (taken.pc, taken.pstate, taken.elr, taken.spsr);
    // SAFETY: registers of the guest, which is current.
    unsafe {
        write_sysreg!("esr_el1", taken.esr);
        if let Some(far) = taken.far {
            write_sysreg!("far_el1", far);
        }
    }
}

/// A physical interrupt, whoever was interrupted.
#[unsafe(no_mangle)]
extern "C" fn do_trap_irq(regs: &mut CpuUserRegs) {
    if regs.from_guest() {
        guest::count(&current().guest.counters.irqs);
    }
    gic::handle();
}

/// An SError that came while a guest ran.
#[unsafe(no_mangle)]
extern "C" fn do_trap_guest_serror(regs: &mut CpuUserRegs) {
    serror(regs);
}

/// Whose an SError is that is the guest's: by policy the guest takes it, or everything ends.
fn serror(regs: &mut CpuUserRegs) {
    let vcpu = current();
    guest::count(&vcpu.guest.counters.serrors);
    if !vcpu.guest.serrors_diverse {
        report::exception("an SError while a guest ran", regs, GUEST_ERROR);
    }
    // The trap that it came before is left out. An HVC was already stepped over, and is to be executed again.
    if matches!(Esr(regs.hsr).ec(), Ec::HVC64 | Ec::HVC32) {
        regs.pc = regs.pc.wrapping_sub(4);
        // Once.
        regs.hsr = u64::from(Ec::SERROR.number()) << 26;
    }
    // SAFETY: it is delivered once the guest has SErrors unmasked, and the CPU clears it then.
    unsafe { write_sysreg!("hcr_el2", HCR_EL2 | VSE) };
}

/// Slots of the table, by index.
const HYP_SYNC: u8 = 4;
const HYP_ERROR: u8 = 7;
const GUEST_ERROR: u8 = 11;

/// A synchronous exception of the hypervisor's own.
#[unsafe(no_mangle)]
extern "C" fn do_trap_hyp_sync(regs: &mut CpuUserRegs) -> ! {
    report::exception("the hypervisor took an exception", regs, HYP_SYNC)
}

/// An SError in the hypervisor: at the window it is the guest's.
#[unsafe(no_mangle)]
extern "C" fn do_trap_hyp_serror(regs: &mut CpuUserRegs) {
    let window = &raw const abort_guest_exit_start as u64..=&raw const abort_guest_exit_end as u64;
    if !window.contains(&regs.pc) {
        report::exception("an SError in the hypervisor", regs, HYP_ERROR);
    }
    // The flag that `guest_vector` looks at.
    regs.regs[19] = 1;
    // SAFETY: the frame of the trap that the window was opened in; its code does not run before this returns.
    serror(unsafe { &mut *current().frame() });
}

/// A slot that nothing may use.
#[unsafe(no_mangle)]
extern "C" fn do_bad_mode(regs: &mut CpuUserRegs, slot: usize) -> ! {
    report::exception("bad mode: no exception should come through this slot", regs, slot as u8)
}
