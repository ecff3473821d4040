//! The test service ([`hyp::service`]): when SErrors come, and at which instruction.
//!
//! A time is the EL2 physical timer's, whose interrupt comes wherever the guest is, masked or not. An address is a hardware breakpoint,
//! with MDCR_EL2.TDE, which has debug exceptions come to EL2 whatever the guest masks; while it is set, the guest's own BRKs
//! come here too, and are given back.

use crate::percpu::this_cpu;
use crate::sync::{IrqLock, IrqMask};
use crate::traps::inject_exception;
use crate::vcpu::{State, Vcpu};
use crate::{cpu, guest, read_sysreg, sched, timer, write_sysreg};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hyp::inject::Injected;
#[cfg(feature = "made-up")]
use hyp::service::{ENTER_SLOT, MAKE_UP, OVERRUN};
use hyp::service::{INVALID, PLAN_SERROR, Plan};
use hyp::smccc::Call;
use smccc::arch::error::NOT_SUPPORTED;
use trap::esr::{Ec, Esr};
use trap::frame::CpuUserRegs;

/// MDCR_EL2.TDE.
const TDE: u64 = 1 << 8;
/// MDSCR_EL1.MDE.
const MDE: u64 = 1 << 15;
/// DBGBCR0_EL1: an address (BT 0), all four bytes (BAS), EL1 and EL0 (PMC), enabled.
const BREAKPOINT: u64 = 0b1111 << 5 | 0b11 << 1 | 1;

/// What is to come for one guest.
struct Next {
    plan: Plan,
    /// The vCPU it is for.
    vcpu: usize,
    /// The count at which it is due; none when it is past.
    due: Option<u64>,
    /// The breakpoint is set.
    armed: bool,
}

/// A guest's part in the service.
pub struct Service {
    next: IrqLock<Next>,
}

/// Whether any guest ever had it.
static IN_USE: AtomicBool = AtomicBool::new(false);

impl Service {
    /// For a guest that begins with `plan`.
    pub fn new(plan: Plan) -> Service {
        IN_USE.store(true, Relaxed);
        Service { next: IrqLock::new(Next { plan, vcpu: 0, due: None, armed: false }) }
    }

    /// The guest begins.
    pub fn begin(&self) {
        let mut next = self.next.lock();
        next.due = next.plan.is_some().then(|| timer::now().saturating_add(next.plan.after.unwrap_or(0)));
    }
}

/// Whether what comes for a vCPU is this CPU's to do: another one that runs it does it itself.
fn is_ours(vcpu: &Vcpu) -> bool {
    vcpu.cpu().is_none_or(|cpu| cpu == this_cpu().index)
}

/// When the next SError is due that is this CPU's to bring.
pub fn deadline() -> Option<u64> {
    if !IN_USE.load(Relaxed) {
        return None;
    }
    let mut first = None;
    guest::for_each(|guest| {
        let Some(service) = &guest.service else { return };
        let next = service.next.lock();
        let due = next.due.filter(|_| is_ours(&guest.vcpus()[next.vcpu]));
        first = first.into_iter().chain(due).min();
    });
    first
}

/// Time has passed: the SErrors that are due come, or their breakpoints are set. IRQs are masked.
pub fn tick(now: u64) {
    if !IN_USE.load(Relaxed) {
        return;
    }
    guest::for_each(|guest| {
        let Some(service) = &guest.service else { return };
        let mut next = service.next.lock();
        let vcpu = &guest.vcpus()[next.vcpu];
        if next.due.is_none_or(|due| due > now) || !is_ours(vcpu) {
            return;
        }
        if vcpu.state() == State::Off {
            next.due = None;
            return;
        }
        let again = next.plan.every.map(|every| now.saturating_add(every));
        if next.plan.at.is_some() {
            (next.due, next.armed) = (again, true);
            set_breakpoint(sched::current().and_then(|current| armed(&next, current, vcpu)));
            return;
        }
        let iss = next.plan.iss;
        if sched::is_current(vcpu) {
            vcpu.raise_serror(iss);
        } else if !sched::while_stopped(vcpu, || vcpu.raise_serror(iss)) {
            // Another CPU runs it now, and does it there.
            return;
        }
        next.due = again;
        // Even a current one may be on its way to sleep.
        sched::wake(vcpu);
    });
}

/// The address of the breakpoint that is for `vcpu`, if it is the one that runs.
fn armed(next: &Next, current: &Vcpu, vcpu: &Vcpu) -> Option<u64> {
    next.plan.at.filter(|_| next.armed && core::ptr::eq(current, vcpu))
}

/// A vCPU is about to run: with its breakpoint, and without another's.
pub fn switched_to(vcpu: &Vcpu) {
    if IN_USE.load(Relaxed) {
        set_breakpoint(vcpu.guest.service.as_ref().and_then(|service| {
            let next = service.next.lock();
            armed(&next, vcpu, &vcpu.guest.vcpus()[next.vcpu])
        }));
    }
}

fn set_breakpoint(at: Option<u64>) {
    let mdcr = read_sysreg!("mdcr_el2") & !TDE;
    // SAFETY: guests' accesses to debug registers are trapped; with TDE what comes of them comes here. A reset leaves the OS lock closed,
    // which keeps breakpoints from being hit.
    unsafe {
        write_sysreg!("oslar_el1", 0);
        write_sysreg!("dbgbvr0_el1", at.unwrap_or(0));
        write_sysreg!("dbgbcr0_el1", if at.is_some() { BREAKPOINT } else { 0 });
        write_sysreg!("mdscr_el1", if at.is_some() { MDE } else { 0 });
        write_sysreg!("mdcr_el2", if at.is_some() { mdcr | TDE } else { mdcr });
    }
    cpu::isb();
}

/// A call of the vendor's hypervisor services; its result.
pub fn call(vcpu: &'static Vcpu, call: &Call) -> i64 {
    let Some(service) = &vcpu.guest.service else { return NOT_SUPPORTED.into() };
    match call.function {
        PLAN_SERROR => match Plan::from_call(call.arguments) {
            Some(plan) => plan_serror(vcpu, service, plan),
            None => return INVALID,
        },
        #[cfg(feature = "made-up")]
        MAKE_UP => return crate::made_up::plan(call.arguments),
        #[cfg(feature = "made-up")]
        OVERRUN => crate::made_up::overrun(),
        #[cfg(feature = "made-up")]
        ENTER_SLOT => crate::made_up::enter_slot(call.arguments[0]),
        _ => return NOT_SUPPORTED.into(),
    }
    0
}

fn plan_serror(vcpu: &'static Vcpu, service: &Service, plan: Plan) {
    let _mask = IrqMask::new();
    if (plan.after, plan.at) == (Some(0), None) {
        return vcpu.raise_serror(plan.iss);
    }
    *service.next.lock() = Next { plan, vcpu: vcpu.id, due: None, armed: false };
    service.begin();
    timer::program();
}

/// A debug exception of a guest, which only a breakpoint makes come here: the SError comes, before the instruction, or what the guest did
/// itself is the guest's again.
#[inline(never)]
pub fn debug_exception(vcpu: &'static Vcpu, regs: &mut CpuUserRegs) {
    let esr = Esr(regs.hsr);
    if esr.ec() != Ec::BREAKPOINT_LOWER {
        return inject_exception(regs, Injected::Break(esr));
    }
    let _mask = IrqMask::new();
    set_breakpoint(None);
    if let Some(service) = &vcpu.guest.service {
        let mut next = service.next.lock();
        next.armed = false;
        vcpu.raise_serror(next.plan.iss);
    }
}
