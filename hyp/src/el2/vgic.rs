//! Virtual interrupts: between what guests and devices do, the planner ([`hyp::vgic`]) and the List Registers ([`gic`]).

use crate::guest::Guest;
use crate::vcpu::Vcpu;
use crate::{gic, guest, sched};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use hyp::vgic::{LRENPIE, VcpuSet, Vgic};

/// The List Registers of this CPU that hold something, one bit each.
static USED: AtomicU32 = AtomicU32::new(0);
/// Those of them that were written with a pending interrupt.
static PENDING: AtomicU32 = AtomicU32::new(0);
/// Whether the planner may want something else in them than they hold. If not, a trap leaves them alone.
static STALE: AtomicBool = AtomicBool::new(true);
/// What ICH_HCR_EL2 or GICH_HCR was told besides En.
static CONTROL: AtomicU32 = AtomicU32::new(0);

/// Works with a guest's virtual GIC, and does what comes out of it: physical SPIs are deactivated, vCPUs woken. Which are to be
/// woken, `work` says.
pub fn with<T>(guest: &'static Guest, work: impl FnOnce(&mut Vgic) -> (T, VcpuSet)) -> T {
    let mut vgic = guest.vgic.lock();
    STALE.store(true, Relaxed);
    let (result, kick) = work(&mut vgic);
    while let Some(irq) = vgic.pop_deactivation() {
        gic::deactivate(irq);
    }
    guest.vcpus().iter().enumerate().filter(|(id, _)| kick >> id & 1 != 0).for_each(|(_, vcpu)| sched::wake(vcpu));
    result
}

/// A physical interrupt was taken for a vCPU, to whose virtual one it is linked.
pub fn inject(vcpu: &'static Vcpu, irq: u32) {
    with(vcpu.guest, |vgic| ((), vgic.inject(vcpu.id, irq)));
}

/// The line of an emulated device.
pub fn set_line(vcpu: &'static Vcpu, irq: u32, high: bool) {
    with(vcpu.guest, |vgic| ((), vgic.set_line(vcpu.id, irq, high)));
}

/// Reads the List Registers back, if they hold anything: what the guest has acknowledged and ended since it was entered.
pub fn sync(vcpu: &'static Vcpu) {
    if USED.load(Relaxed) == 0 {
        return;
    }
    let eoi_count = if CONTROL.load(Relaxed) & LRENPIE != 0 { gic::eoi_count() } else { 0 };
    // A maintenance interrupt would stay pending while the hypervisor takes interrupts.
    if CONTROL.swap(0, Relaxed) != 0 {
        gic::set_control(0);
    }
    // What was pending and is no more the guest has acknowledged.
    let mut acknowledged = PENDING.load(Relaxed);
    let read = |n| {
        let state = gic::read_list_register(n);
        // Ended, it would keep a maintenance interrupt pending that was asked for with it.
        if state == hyp::vgic::State::Invalid {
            gic::write_list_register(n, None);
            gic::look_again();
        }
        acknowledged &= !(u32::from(state.is_pending()) << n);
        state
    };
    with(vcpu.guest, |vgic| ((), vgic.sync(vcpu.id, read, eoi_count)));
    guest::add(&vcpu.guest.counters.injections, acknowledged.count_ones().into());
    PENDING.store(0, Relaxed);
}

/// Writes the List Registers of the vCPU that is about to run. IRQs are masked.
pub fn flush(vcpu: &'static Vcpu) {
    if !STALE.load(Relaxed) {
        return;
    }
    STALE.store(false, Relaxed);
    let mut pending = 0;
    let flush = vcpu.guest.vgic.lock().flush(vcpu.id, |n, register| {
        pending |= u32::from(register.state.is_pending()) << n;
        gic::write_list_register(n, Some(register));
    });
    PENDING.store(pending, Relaxed);
    let mut stale = USED.swap(flush.used.into(), Relaxed) & !u32::from(flush.used);
    while stale != 0 {
        gic::write_list_register(stale.trailing_zeros() as usize, None);
        stale &= stale - 1;
    }
    let mut ppis = flush.deactivate;
    while ppis != 0 {
        gic::set_active(ppis.trailing_zeros(), false);
        ppis &= ppis - 1;
    }
    if CONTROL.swap(flush.hcr, Relaxed) != flush.hcr {
        gic::set_control(flush.hcr);
    }
}

/// The virtual timer's physical interrupt is each CPU's one, and each vCPU has its own idea of whether it is active: when another vCPU
/// runs it is made so.
pub fn switch_timer(to: Option<&'static Vcpu>) {
    STALE.store(true, Relaxed);
    let timer = gic::virtual_timer();
    gic::set_active(timer, to.is_some_and(|vcpu| vcpu.guest.vgic.lock().holds_physical_of(vcpu.id, timer)));
}
