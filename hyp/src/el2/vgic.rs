//! Virtual interrupts: between what guests and devices do, the planner ([`hyp::vgic`]) and the List Registers ([`gic`]).

use crate::guest::Guest;
use crate::percpu::{add, count, this_cpu};
use crate::vcpu::Vcpu;
use crate::{gic, sched, trace};
use core::sync::atomic::Ordering::Relaxed;
use hyp::vgic::{LRENPIE, Link, ListRegister, State, VcpuSet, Vgic};

/// A vCPU whose List Registers were not written since it came to its CPU.
pub const NEVER: u64 = u64::MAX;

/// Works with a guest's virtual GIC, and does what comes out of it: physical SPIs are deactivated, vCPUs woken. Which are to be
/// woken, `work` says.
pub fn with<T>(guest: &'static Guest, work: impl FnOnce(&mut Vgic) -> (T, VcpuSet)) -> T {
    let mut vgic = guest.vgic.lock();
    // For all of its vCPUs: what they find in List Registers may not be what is wanted there.
    count(&guest.vgic_changes);
    let (result, kick) = work(&mut vgic);
    while let Some(irq) = vgic.pop_deactivation() {
        gic::deactivate(irq);
    }
    if kick != 0 {
        wake(guest, kick);
    }
    result
}

#[inline(never)]
fn wake(guest: &'static Guest, mut kick: VcpuSet) {
    while kick != 0 {
        sched::kick(&guest.vcpus()[kick.trailing_zeros() as usize]);
        kick &= kick - 1;
    }
}

/// A physical interrupt was taken for a vCPU, to whose virtual one it is linked.
pub fn inject(vcpu: &'static Vcpu, irq: u32) {
    trace::inject(vcpu.number(), irq);
    with(vcpu.guest, |vgic| ((), vgic.inject(vcpu.id, irq)));
}

/// A physical SPI was taken that is the guest's.
pub fn inject_spi(guest: &'static Guest, irq: u32) {
    trace::inject(guest.vcpus()[0].number(), irq);
    with(guest, |vgic| ((), vgic.inject(0, irq)));
}

/// The line of an emulated device.
pub fn set_line(vcpu: &'static Vcpu, irq: u32, high: bool) {
    if high {
        trace::inject(vcpu.number(), irq);
    }
    with(vcpu.guest, |vgic| ((), vgic.set_line(vcpu.id, irq, high)));
}

/// Reads the List Registers back, if they hold anything: what the guest has acknowledged and ended since it was entered.
pub fn sync(vcpu: &'static Vcpu) {
    if this_cpu().lrs.used.load(Relaxed) != 0 {
        read_back(vcpu);
    }
}

/// Not inlined, so that a trap with nothing to read back saves no registers for it.
#[inline(never)]
fn read_back(vcpu: &'static Vcpu) {
    let lrs = &this_cpu().lrs;
    let control = lrs.control.load(Relaxed);
    let eoi_count = if control & LRENPIE != 0 { gic::eoi_count() } else { 0 };
    // A maintenance interrupt would stay pending while the hypervisor takes interrupts.
    if control != 0 {
        lrs.control.store(0, Relaxed);
        gic::set_control(0);
    }
    let pending = lrs.pending.load(Relaxed);
    let mut acknowledged = 0;
    let read = |n| {
        let value = gic::read_list_register(n);
        trace::read_back(n, value);
        let ListRegister { state, link, .. } = value;
        // Ended, it keeps a maintenance interrupt pending that was asked for with it.
        match link {
            Link::Software { eoi: true, .. } if state == State::Invalid => gic::clear_list_register(n),
            Link::Hw(_) if state == State::Invalid => gic::look_again(),
            _ => {}
        }
        // What was pending and is no more the guest has acknowledged.
        acknowledged += u64::from(pending >> n & 1 != 0 && !state.is_pending());
        state
    };
    with(vcpu.guest, |vgic| ((), vgic.sync(vcpu.id, read, eoi_count)));
    add(&vcpu.counters.injections, acknowledged);
    lrs.pending.store(0, Relaxed);
}

/// Whether the List Registers may not hold what the planner wants in them for the vCPU that is about to run.
pub fn is_stale(vcpu: &Vcpu) -> bool {
    vcpu.flushed.load(Relaxed) != vcpu.guest.vgic_changes.load(Relaxed)
}

/// Writes the List Registers of the vCPU that is about to run. IRQs are masked.
#[inline(never)]
pub fn flush(vcpu: &'static Vcpu) {
    if !is_stale(vcpu) {
        return;
    }
    let mut pending = 0;
    let mut vgic = vcpu.guest.vgic.lock();
    vcpu.flushed.store(vcpu.guest.vgic_changes.load(Relaxed), Relaxed);
    let flush = vgic.flush(vcpu.id, |n, register| {
        pending |= u32::from(register.state.is_pending()) << n;
        gic::write_list_register(n, Some(register));
        trace::list_register(n, register);
    });
    drop(vgic);
    let lrs = &this_cpu().lrs;
    lrs.pending.store(pending, Relaxed);
    let mut stale = lrs.used.load(Relaxed) & !u32::from(flush.used);
    lrs.used.store(flush.used.into(), Relaxed);
    while stale != 0 {
        gic::clear_list_register(stale.trailing_zeros() as usize);
        stale &= stale - 1;
    }
    let mut ppis = flush.deactivate;
    while ppis != 0 {
        gic::set_active(ppis.trailing_zeros(), false);
        ppis &= ppis - 1;
    }
    if lrs.control.load(Relaxed) != flush.hcr {
        lrs.control.store(flush.hcr, Relaxed);
        gic::set_control(flush.hcr);
    }
}

/// The virtual timer's physical interrupt is each CPU's one, and each vCPU has its own idea of whether it is active: when another vCPU
/// runs it is made so.
pub fn switch_timer(to: Option<&'static Vcpu>) {
    if let Some(vcpu) = to {
        vcpu.flushed.store(NEVER, Relaxed);
    }
    gic::set_active(gic::virtual_timer(), to.is_some_and(holds_timer));
}

/// Whether the virtual timer's physical interrupt is active for a vCPU.
pub fn holds_timer(vcpu: &'static Vcpu) -> bool {
    vcpu.guest.vgic.lock().holds_physical_of(vcpu.id, gic::virtual_timer())
}
