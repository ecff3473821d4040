//! Virtual interrupts: between what guests and devices do, the planner ([`hyp::vgic`]) and the List Registers ([`gic`]).

use crate::guest::Guest;
use crate::percpu::{FLUSH, ListRegisters, PerCpu, count, this_cpu};
use crate::vcpu::{State as Life, Vcpu};
use crate::{cpu, gic, sched, trace};
use core::sync::atomic::Ordering::Relaxed;
use hyp::vgic::{LRENPIE, Link, ListRegister, State, VcpuSet, Version, Vgic};

/// Works with a guest's virtual GIC, and does what comes out of it: physical SPIs are deactivated, vCPUs kicked. Which are to be
/// kicked, `work` says.
///
/// If the guest is the one that this CPU runs, its List Registers are read back first.
pub fn with<T>(guest: &'static Guest, work: impl FnOnce(&mut Vgic) -> (T, VcpuSet)) -> T {
    with_locked(guest, &mut guest.vgic.lock(), work)
}

#[inline(always)]
fn with_locked<T>(guest: &'static Guest, vgic: &mut Vgic, work: impl FnOnce(&mut Vgic) -> (T, VcpuSet)) -> T {
    let cpu = this_cpu();
    let before = if cpu.lrs.used.load(Relaxed) == 0 { 0 } else { take_back(cpu, guest, vgic) };
    let (result, kick) = work(vgic);
    settle(guest, vgic, before | kick);
    result
}

/// What comes out of work with a virtual GIC, with its lock held: whoever switches to one of the kicked vCPUs, so that it is another
/// CPU's than is seen here, takes the lock to write its List Registers, and finds what has changed.
#[inline(always)]
fn settle(guest: &'static Guest, vgic: &mut Vgic, kick: VcpuSet) {
    if kick != 0 || vgic.has_deactivations() {
        settle_all(guest, vgic, kick);
    }
}

#[inline(never)]
fn settle_all(guest: &'static Guest, vgic: &mut Vgic, mut kick: VcpuSet) {
    while let Some(irq) = vgic.pop_deactivation() {
        gic::deactivate(irq);
    }
    while kick != 0 {
        sched::kick(&guest.vcpus()[kick.trailing_zeros() as usize]);
        kick &= kick - 1;
    }
}

/// An interrupt of a guest has happened, of the vCPU of this number if it is an SGI or PPI. Mostly it is for the vCPU that runs here, and
/// the only one: then it is in the first List Register at once. If it is not, `inject` is what to do.
#[inline(always)]
fn happened(guest: &'static Guest, vcpu: usize, irq: u32, inject: impl FnOnce(&mut Vgic) -> VcpuSet) {
    let mut vgic = guest.vgic.lock();
    let lrs = &this_cpu().lrs;
    if let Some(here) = sched::current()
        && core::ptr::eq(here.guest, guest)
        && lrs.used.load(Relaxed) | lrs.stale.load(Relaxed) == 0
        && let Some(register) = vgic.inject_one(here.id, vcpu, irq)
    {
        gic::interface().write_raw(0, register);
        // It may be read back before the guest is entered, and whether it is empty in another register.
        cpu::isb();
        if trace::is_on() {
            trace::list_register(0, ListRegister::decode(gic::version(), register));
        }
        lrs.used.store(0b1, Relaxed);
        count(&here.counters.injections);
        if here.state() == Life::Blocked {
            sched::wake(here);
        }
    } else {
        with_locked(guest, &mut vgic, |vgic| ((), inject(vgic)));
    }
}

/// A physical interrupt was taken for a vCPU, to whose virtual one it is linked.
pub fn inject(vcpu: &'static Vcpu, irq: u32) {
    trace::inject(vcpu.number(), irq);
    happened(vcpu.guest, vcpu.id, irq, |vgic| vgic.inject(vcpu.id, irq));
}

/// A physical SPI was taken that is the guest's.
pub fn inject_spi(guest: &'static Guest, irq: u32) {
    trace::inject(guest.vcpus()[0].number(), irq);
    happened(guest, 0, irq, |vgic| vgic.inject(0, irq));
}

/// A vCPU writes to what sends SGIs: ICC_SGI1R_EL1, or of GICv2 GICD_SGIR. `send` is what to do unless it is to itself alone.
#[inline(always)]
pub fn send_sgi(vcpu: &'static Vcpu, version: Version, value: u64, send: impl FnOnce(&mut Vgic) -> VcpuSet) {
    match Vgic::sgi_to_itself(version, vcpu.id, value) {
        Some(sgi) => happened(vcpu.guest, vcpu.id, sgi, send),
        None => with(vcpu.guest, |vgic| ((), send(vgic))),
    }
}

/// The line of an emulated device.
pub fn set_line(vcpu: &'static Vcpu, irq: u32, high: bool) {
    if high {
        trace::inject(vcpu.number(), irq);
    }
    with(vcpu.guest, |vgic| ((), vgic.set_line(vcpu.id, irq, high)));
}

/// Reads the List Registers back, if they were written: what the guest has acknowledged and ended since it was entered.
pub fn sync(vcpu: &'static Vcpu) {
    if this_cpu().lrs.used.load(Relaxed) != 0 {
        read_back(vcpu);
    }
}

/// Reads the List Registers back, which were written.
pub fn read_back(vcpu: &'static Vcpu) {
    let (interface, cpu) = (gic::interface(), this_cpu());
    let mut vgic = vcpu.guest.vgic.lock();
    let one = cpu.lrs.used.load(Relaxed) == 0b1 && cpu.lrs.control.load(Relaxed) == 0 && !trace::is_on();
    if !one || interface.empty_list_registers() & 0b1 == 0 {
        let kick = take_back(cpu, vcpu.guest, &mut vgic);
        return settle(vcpu.guest, &mut vgic, kick);
    }
    // What there mostly is: the guest has ended the only interrupt it had.
    cpu.lrs.used.store(0, Relaxed);
    interface.look_again();
    let kick = vgic.sync_one(vcpu.id);
    settle(vcpu.guest, &mut vgic, kick);
}

/// Whether something is pending for a vCPU that this CPU runs.
pub fn has_pending(vcpu: &'static Vcpu) -> bool {
    with(vcpu.guest, |vgic| (vgic.has_pending(vcpu.id), 0))
}

/// Reads the List Registers back, if the guest is the one that runs here. Which vCPUs are to be kicked.
#[inline(never)]
fn take_back(cpu: &PerCpu, guest: &'static Guest, vgic: &mut Vgic) -> VcpuSet {
    let Some(vcpu) = sched::current().filter(|vcpu| core::ptr::eq(vcpu.guest, guest)) else { return 0 };
    let (interface, lrs) = (gic::interface(), &cpu.lrs);
    if trace::is_on() {
        gic::bits(lrs.used.load(Relaxed)).for_each(|n| trace::read_back(n, interface.read_list_register(n)));
    }
    let empty = interface.empty_list_registers();
    let eoi_count = if lrs.control.load(Relaxed) != 0 { stop_maintenance(lrs) } else { 0 };
    let read = |n| if empty >> n & 1 != 0 { State::Invalid } else { read_one(vcpu, lrs, n) };
    let kick = vgic.sync(vcpu.id, read, eoi_count);
    lrs.used.store(0, Relaxed);
    interface.look_again();
    kick
}

/// Reads a List Register that holds something, or has the end of its interrupt be told.
#[inline(never)]
fn read_one(vcpu: &Vcpu, lrs: &ListRegisters, n: usize) -> State {
    let interface = gic::interface();
    let ListRegister { state, link, .. } = interface.read_list_register(n);
    match link {
        // Ended, it keeps a maintenance interrupt pending that was asked for with it.
        Link::Software { eoi: true, .. } if state == State::Invalid => interface.write_list_register(n, None),
        _ if state == State::Invalid => {}
        _ => {
            // It stays what it is until something else is written.
            lrs.stale.fetch_or(1 << n, Relaxed);
            sched::raise(FLUSH);
        }
    }
    // None is written as pending and active: the guest has not acknowledged it.
    if state.is_pending() {
        vcpu.counters.injections.fetch_sub(1, Relaxed);
    }
    state
}

/// A maintenance interrupt would stay pending while the hypervisor takes interrupts. How many interrupts were ended that no List
/// Register held.
#[cold]
fn stop_maintenance(lrs: &ListRegisters) -> u32 {
    let control = lrs.control.swap(0, Relaxed);
    let eoi_count = if control & LRENPIE != 0 { gic::interface().eoi_count() } else { 0 };
    gic::interface().set_control(0);
    // What was left over may fit now.
    sched::raise(FLUSH);
    eoi_count
}

/// Writes the List Registers of the vCPU that is about to run. IRQs are masked.
#[inline(never)]
pub fn flush(vcpu: &'static Vcpu) {
    let cpu = this_cpu();
    let (interface, lrs) = (gic::interface(), &cpu.lrs);
    sync(vcpu);
    // Who asks for it from here on has changed something before, which is seen below; or comes with an interrupt.
    cpu.softirqs.fetch_and(!FLUSH, Relaxed);
    let mut vgic = vcpu.guest.vgic.lock();
    let flush = vgic.flush(vcpu.id, &mut |n, register| {
        interface.write_list_register(n, Some(register));
        trace::list_register(n, register);
        if register.state.is_pending() {
            count(&vcpu.counters.injections);
        }
    });
    drop(vgic);
    let used = u32::from(flush.used);
    for n in gic::bits(lrs.stale.swap(0, Relaxed) & !used) {
        interface.write_list_register(n, None);
    }
    lrs.used.store(used, Relaxed);
    for ppi in gic::bits(flush.deactivate) {
        gic::set_active(ppi as u32, false);
    }
    // It is 0 since they were read back.
    if flush.hcr != 0 {
        lrs.control.store(flush.hcr, Relaxed);
        interface.set_control(flush.hcr);
    }
}

/// The virtual timer's physical interrupt is each CPU's one, and each vCPU has its own idea of whether it is active: when another vCPU
/// runs it is made so.
pub fn switch_timer(to: Option<&'static Vcpu>) {
    sched::raise(FLUSH);
    gic::set_active(gic::virtual_timer(), to.is_some_and(holds_timer));
}

/// Whether the virtual timer's physical interrupt is active for a vCPU.
pub fn holds_timer(vcpu: &'static Vcpu) -> bool {
    vcpu.guest.vgic.lock().holds_physical_of(vcpu.id, gic::virtual_timer())
}
