//! The life of one trap.
//!
//! A guest does something that HCR_EL2 says is not its business, or a physical interrupt comes. The CPU saves PC and PSTATE in
//! ELR_EL2 and SPSR_EL2, says why in ESR_EL2, masks DAIF, and jumps to a slot of `hyp_traps_vector` ([`entry.S`](../entry.S)),
//! with SP_EL2 at the top of the vCPU's hypervisor stack. Then, in this order (`guest_vector`):
//!
//! 1. `entry` saves the [`CpuUserRegs`].
//! 2. `check_pending_guest_serror`: an SError that the guest left pending is taken now, while it can still be told from one of the
//!    hypervisor's own; [`do_trap_hyp_serror`] charges it to the guest, and step 6 is left out.
//! 3. `enter_hypervisor_from_guest_preirq`: speculative store bypass is mitigated ([`ssbd`]), where that is needed.
//! 4. Unmask what the slot allows: SError; and IRQ, but for interrupts.
//! 5. [`enter_hypervisor_from_guest`]: the List Registers are read back, if they hold anything.
//! 6. [`do_trap_guest_sync`], [`do_trap_irq`] or [`do_trap_guest_serror`].
//! 7. [`leave_hypervisor_to_guest`]: with IRQs masked, work until there is none (another vCPU may run here for a while); write the
//!    List Registers, if anything has changed; take an SError that is pending, so that it does not slip to the guest.
//! 8. The mitigation is as the guest has chosen.
//! 9. `return_from_trap`: DAIF fully masked, restore, `eret`.
//!
//! A synchronous exception of the hypervisor's own is the end, and is reported on a stack of its own: the one that was in use may be
//! overrun ([`stacks`]).

use crate::guest::{self, Ending, Guest};
use crate::percpu::{PerCpu, count, this_cpu};
use crate::sync::IrqMask;
use crate::vcpu::{SWITCH_FRAME, StackTop, Vcpu};
use crate::{gic, read_sysreg, report, sched, service, ssbd, stacks, timer, trace, vgic, write_sysreg};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;
use hyp::aarch32;
use hyp::inject::{Features, Injected, Interrupted, inject};
use hyp::mmio::{self, Access, Instruction};
use hyp::psci;
use hyp::result::End;
use hyp::smccc::{self, Call, Conduit};
use hyp::sysreg::{Action, Gic, SgiRegister};
use hyp::vgic::Version;
use trap::esr::{Ec, Esr};
use trap::exception::{Exception, Wait};
use trap::frame::{CpuUserRegs, UREGS_SIZE};
use trap::sysreg::SystemRegister;

/// HCR_EL2: stage 2 (VM, PTW); interrupts and SErrors come here, and virtual ones go to the guest (IMO, FMO, AMO); waits, SMC, ID
/// registers, ACTLR_EL1, set/way maintenance, implementation-defined registers, LORegions and error records trap (TWI, TWE, TSC,
/// TID3, TACR, TSW, TIDCP, TLOR, TERR); maintenance is for all CPUs (FB, BSU: inner-shareable), and set/way invalidation cleans too (SWIO);
/// EL1 is AArch64 (RW).
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
    TOP_SSBD_DYNAMIC = const offset_of!(StackTop, ssbd_dynamic),
    CPU_REPORT_STACK = const offset_of!(PerCpu, report_stack),
    CPU_SOFTIRQS = const offset_of!(PerCpu, softirqs),
    CPU_LRS_USED = const offset_of!(PerCpu, lrs.used),
    MADE_UP = const cfg!(feature = "made-up") as u32,
    mitigate = sym ssbd::mitigate,
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

/// Takes back what the hardware holds of the guest's interrupts. Called if it holds anything, or somebody watches.
#[unsafe(no_mangle)]
extern "C" fn enter_hypervisor_from_guest(regs: &mut CpuUserRegs) {
    if trace::is_on() {
        trace::enter(regs);
        vgic::sync(current());
    } else {
        vgic::read_back(current());
    }
}

/// The last thing before `return_from_trap`, with IRQs masked. Called if there is work, or somebody watches.
#[unsafe(no_mangle)]
extern "C" fn leave_hypervisor_to_guest(regs: &mut CpuUserRegs) {
    loop {
        let work = this_cpu().softirqs.load(Relaxed);
        if work & sched::SCHEDULE != 0 {
            sched::do_softirqs();
        } else if work & sched::FLUSH != 0 {
            // What comes out of it may be another vCPU's turn.
            vgic::flush(current());
        } else {
            break;
        }
    }
    trace::exit(regs);
}

/// A synchronous trap.
#[unsafe(no_mangle)]
extern "C" fn do_trap_guest_sync(regs: &mut CpuUserRegs) {
    let vcpu = current();
    let esr = Esr(regs.hsr);
    count(&vcpu.counters.traps[esr.ec().number() as usize]);
    if regs.is_aarch32() && !aarch32::condition_holds(esr, regs.cpsr) {
        return pass_over(regs);
    }
    HANDLERS[usize::from(esr.ec().number())](vcpu, regs);
}

type Handler = fn(&'static Vcpu, &mut CpuUserRegs);

/// What becomes of a synchronous trap, by its class.
static HANDLERS: [Handler; 64] = {
    let mut handlers: [Handler; 64] = [|_, regs| undefined(regs); 64];
    let known: [(Ec, Handler); 9] = [
        (Ec::WFX, wait),
        (Ec::HVC64, |vcpu, regs| call(vcpu, regs, Conduit::Hvc)),
        (Ec::SMC64, |vcpu, regs| call(vcpu, regs, Conduit::Smc)),
        (Ec::SYSTEM, system_register),
        (Ec::DATA_ABORT_LOWER, data_abort),
        (Ec::INSTRUCTION_ABORT_LOWER, |_, regs| instruction_abort(regs)),
        (Ec::BREAKPOINT_LOWER, service::debug_exception),
        (Ec::BRK64, service::debug_exception),
        (Ec::BKPT32, service::debug_exception),
    ];
    let mut n = 0;
    while n < known.len() {
        handlers[known[n].0.number() as usize] = known[n].1;
        n += 1;
    }
    handlers
};

/// An instruction of AArch32 whose condition does not hold.
#[cold]
fn pass_over(regs: &mut CpuUserRegs) {
    step(regs);
}

/// WFI, WFE and their like.
fn wait(vcpu: &'static Vcpu, regs: &mut CpuUserRegs) {
    step(regs);
    match Esr(regs.hsr).decode() {
        // The event may be another vCPU's to send.
        Exception::Wait { instruction: Wait::Wfe | Wait::Wfet, .. } => sched::raise(sched::SCHEDULE),
        _ => wait_for_interrupt(vcpu),
    }
}

/// WFI: the vCPU waits, unless something is there to wake it: an interrupt, or an SError, masked or not.
fn wait_for_interrupt(vcpu: &'static Vcpu) {
    let _mask = IrqMask::new();
    sched::block(vcpu, || {
        vcpu.deadline(true).is_some_and(|deadline| deadline <= timer::now())
            || read_sysreg!("hcr_el2") & VSE != 0
            || vgic::has_pending(vcpu)
    });
}

/// HVC and SMC.
#[inline(always)]
fn call(vcpu: &'static Vcpu, regs: &mut CpuUserRegs, conduit: Conduit) {
    regs.pc = regs.pc.wrapping_add(conduit.pc_step());
    let call = call_of(regs, conduit);
    match psci::answer(&call).or_else(|| smccc::call(&call, guest::workarounds())) {
        Some(smccc::Action::Return(value)) => regs.regs[0] = value as u64,
        _ => carry_out(vcpu, regs, conduit),
    }
}

/// The call that the guest's registers hold.
#[inline]
fn call_of(regs: &CpuUserRegs, conduit: Conduit) -> Call {
    let [x0, x1, x2, x3, ..] = regs.regs;
    Call::new(conduit, Esr(regs.hsr).iss() as u16, [x0, x1, x2, x3])
}

impl psci::Guest for Guest {
    fn vcpu(&self, index: usize) -> Option<psci::Vcpu> {
        let vcpu = self.vcpus().get(index)?;
        Some(psci::Vcpu { affinity: vcpu.affinity(), state: vcpu.affinity_state() })
    }

    fn ram(&self) -> Range<u64> {
        self.ram.base..self.ram.end()
    }
}

/// Does what a call asks for that is not just answered.
#[inline(never)]
fn carry_out(vcpu: &'static Vcpu, regs: &mut CpuUserRegs, conduit: Conduit) {
    let guest = vcpu.guest;
    let call = call_of(regs, conduit);
    let action = smccc::call(&call, guest::workarounds()).unwrap_or_else(|| psci::call(&call, guest));
    regs.regs[0] = match action {
        smccc::Action::Return(value) => value as u64,
        smccc::Action::Mitigate(safe) => {
            vcpu.set_ssbd(safe);
            0
        }
        smccc::Action::CpuOn { vcpu, entry, context } => {
            let vcpu = &guest.vcpus()[vcpu];
            if sched::claim(vcpu) {
                // SAFETY: it is claimed.
                unsafe { vcpu.reset(entry, context) };
                sched::start(vcpu);
                0
            } else {
                // Another one was first.
                i64::from(::smccc::psci::error::ALREADY_ON) as u64
            }
        }
        smccc::Action::CpuOff => {
            if sched::off(vcpu) {
                guest.end(Ending::Finished(End::Killed));
            }
            0
        }
        smccc::Action::CpuSuspend => {
            wait_for_interrupt(vcpu);
            0
        }
        smccc::Action::SystemOff => {
            guest.end(Ending::Finished(End::PoweredOff));
            0
        }
        smccc::Action::SystemReset => {
            guest.end(Ending::Reset);
            0
        }
        smccc::Action::Vendor => service::call(vcpu, &call) as u64,
    };
}

/// MSR, MRS and system instructions. What it calls is not inlined: what is short saves no registers for it.
fn system_register(vcpu: &'static Vcpu, regs: &mut CpuUserRegs) {
    let esr = Esr(regs.hsr);
    match esr.id_register().and_then(|(crm, op2)| vcpu.guest.registers.id(crm, op2)) {
        Some(value) => {
            set_register(regs, esr.system_access().rt, value);
            step(regs);
        }
        // What guests write most; SGIs are short.
        None if esr.is_access(ICC_SGI1R_EL1, false) && vcpu.guest.registers.gic() == Gic::V3 => send_sgi(vcpu, regs),
        None => emulate_register(vcpu, regs),
    }
}

/// A write to ICC_SGI1R_EL1.
#[inline(never)]
fn send_sgi(vcpu: &'static Vcpu, regs: &mut CpuUserRegs) {
    let value = regs.regs.get(usize::from(Esr(regs.hsr).system_access().rt)).copied().unwrap_or(0);
    step(regs);
    vgic::send_sgi(vcpu, Version::V3, value, |vgic| vgic.write_sgir(vcpu.id, value, false));
}

const ICC_SGI1R_EL1: SystemRegister = SystemRegister { op0: 3, op1: 0, crn: 12, crm: 11, op2: 5 };
const ICC_DIR_EL1: SystemRegister = SystemRegister { op0: 3, op1: 0, crn: 12, crm: 11, op2: 1 };

/// A register that is no ID register.
#[inline(never)]
fn emulate_register(vcpu: &'static Vcpu, regs: &mut CpuUserRegs) {
    let access = Esr(regs.hsr).system_access();
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
        Action::ReadTimer(register) => timer::read_physical(vcpu, register),
        Action::WriteTimer(register, value) => {
            timer::write_physical(vcpu, register, value);
            0
        }
        Action::ReadCount => timer::now(),
        Action::SetWay => {
            clean_ram(vcpu.guest);
            0
        }
        // ICC_DIR_EL1 traps only while more interrupts are active than there are List Registers.
        Action::Undefined if is_dir(access) => {
            deactivate(vcpu, written as u32);
            0
        }
        Action::Undefined => return undefined(regs),
    };
    if access.read {
        set_register(regs, access.rt, read);
    }
    step(regs);
}

/// Cleans and invalidates a guest's RAM, which may take longer than its turn: between slices another vCPU may have its own. (KVM does it
/// all at once, then watches the guest switch its caches, so as not to do it again for each set and way. Here a guest that still
/// walks them pays for each, out of its own time.)
fn clean_ram(guest: &Guest) {
    /// Bytes at a time.
    const SLICE: u64 = 1 << 20;
    for start in (0..guest.host.size).step_by(SLICE as usize) {
        let _mask = IrqMask::new();
        guest.clean(start..guest.host.size.min(start + SLICE));
        sched::do_softirqs();
    }
}

/// Sets x0 to x30; 31 is xzr.
fn set_register(regs: &mut CpuUserRegs, number: u8, value: u64) {
    if let Some(register) = regs.regs.get_mut(usize::from(number)) {
        *register = value;
    }
}

#[inline(never)]
fn deactivate(vcpu: &'static Vcpu, irq: u32) {
    vgic::with(vcpu.guest, |vgic| ((), vgic.deactivate(vcpu.id, irq)));
}

/// A write to ICC_DIR_EL1.
fn is_dir(access: trap::exception::SystemAccess) -> bool {
    access.register == ICC_DIR_EL1 && !access.read && gic::version() == Version::V3
}

/// A data abort at stage 2: an access to an emulated device, or to nothing.
fn data_abort(vcpu: &'static Vcpu, regs: &mut CpuUserRegs) {
    let esr = Esr(regs.hsr);
    let access = esr.data_access();
    let address = mmio::address(esr, read_sysreg!("far_el2"), read_sysreg!("hpfar_el2"));
    let done = match (address, Access::from_syndrome(access)) {
        (Some(address), Some(access)) if access.write => store(vcpu, address, access, &regs.regs, swaps(regs)),
        (Some(address), Some(access)) => {
            let swap = swaps(regs);
            load(vcpu, address, access, &mut regs.regs, swap)
        }
        (Some(address), None) if !access.maintenance => emulate_instruction(vcpu, regs, address),
        // Cache maintenance is for memory.
        _ => None,
    };
    match done {
        Some(()) => step(regs),
        None => refuse(regs, access.is_write()),
    }
}

/// An instruction abort at stage 2: there is nothing to execute.
#[inline(never)]
fn instruction_abort(regs: &mut CpuUserRegs) {
    inject_exception(regs, Injected::InstructionAbort { address: read_sysreg!("far_el2") });
}

/// There is nothing at the address.
#[inline(never)]
fn refuse(regs: &mut CpuUserRegs, write: bool) {
    inject_exception(regs, Injected::DataAbort { address: read_sysreg!("far_el2"), write });
}

/// Carries out the instruction that the guest was at, of which the syndrome does not tell enough; none of it if not all.
#[inline(never)]
fn emulate_instruction(vcpu: &'static Vcpu, regs: &mut CpuUserRegs, address: u64) -> Option<()> {
    // AArch32 is not decoded.
    if regs.is_aarch32() {
        return None;
    }
    let (mut x, mut sp) = (regs.regs, stack_pointer(regs));
    let (far, swap) = (read_sysreg!("far_el2"), swaps(regs));
    let instruction = Instruction::decode(fetch(vcpu.guest, regs.pc)?)?;
    if instruction.address(&x, sp) != far {
        return None;
    }
    for (access, address) in instruction.accesses().zip((address..).step_by(instruction.first.bytes.into())) {
        if access.write {
            store(vcpu, address, access, &x, swap)?;
        } else {
            load(vcpu, address, access, &mut x, swap)?;
        }
    }
    instruction.write_back(&mut x, &mut sp);
    regs.regs = x;
    set_stack_pointer(regs, sp);
    Some(())
}

/// Goes on behind the trapped instruction.
fn step(regs: &mut CpuUserRegs) {
    /// PSTATE.BTYPE, which each instruction of AArch64 clears.
    const BTYPE: u64 = 0b11 << 10;
    if !regs.is_aarch32() {
        regs.pc = regs.pc.wrapping_add(4);
        regs.cpsr &= !BTYPE;
        return;
    }
    regs.pc = regs.pc.wrapping_add(if Esr(regs.hsr).il() { 4 } else { 2 });
    regs.cpsr = aarch32::advance_it(regs.cpsr);
}

/// Carries out a load from a device; none when there is none, or it will not have it.
#[inline(always)]
fn load(vcpu: &'static Vcpu, address: u64, access: Access, x: &mut [u64; 31], swap: bool) -> Option<()> {
    let value = vcpu.guest.read_device(vcpu, address, access.bytes.into())?;
    access.load(x, if swap { access.swapped(value) } else { value });
    Some(())
}

/// Carries out a store, the same.
#[inline(always)]
fn store(vcpu: &'static Vcpu, address: u64, access: Access, x: &[u64; 31], swap: bool) -> Option<()> {
    let value = access.stored(x);
    vcpu.guest.write_device(vcpu, address, access.bytes.into(), if swap { access.swapped(value) } else { value })
}

/// Whether the guest's values have to be swapped.
fn swaps(regs: &CpuUserRegs) -> bool {
    mmio::is_big_endian(regs.cpsr, read_sysreg!("sctlr_el1"))
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
#[inline(never)]
fn undefined(regs: &mut CpuUserRegs) {
    inject_exception(regs, Injected::Undefined);
}

/// Has the guest take an exception at its EL1 instead of what it tried.
pub fn inject_exception(regs: &mut CpuUserRegs, exception: Injected) {
    count(&current().counters.exceptions[exception.kind()]);
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
        count(&current().counters.irqs);
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
    if !vcpu.guest.serrors_diverse {
        report::exception("an SError while a guest ran", regs, GUEST_ERROR);
    }
    // The trap that it came before is left out. An HVC was already stepped over, and is to be executed again.
    if matches!(Esr(regs.hsr).ec(), Ec::HVC64 | Ec::HVC32) {
        regs.pc = regs.pc.wrapping_sub(4);
        // Once.
        regs.hsr = u64::from(Ec::SERROR.number()) << 26;
    }
    vcpu.raise_serror(0);
}

/// Slots of the table, by index.
const HYP_SYNC: u8 = 4;
const HYP_ERROR: u8 = 7;
const GUEST_ERROR: u8 = 11;

/// A synchronous exception of the hypervisor's own. `regs` is on this CPU's report stack.
#[unsafe(no_mangle)]
extern "C" fn do_trap_hyp_sync(regs: &mut CpuUserRegs) -> ! {
    let overrun = Esr(regs.hsr).ec() == Ec::DATA_ABORT_CURRENT && stacks::is_guard(read_sysreg!("far_el2"));
    let what = if overrun { "the hypervisor's stack is overrun" } else { "the hypervisor took an exception" };
    report::exception(what, regs, HYP_SYNC)
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
