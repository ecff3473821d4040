use super::model::Hardware;
use super::*;
use alloc::vec;
use proptest::prelude::*;

const V2: Version = Version::V2;
const V3: Version = Version::V3;

pub const ISENABLER: u64 = 0x100;
pub const ICENABLER: u64 = 0x180;
pub const ISPENDR: u64 = 0x200;
pub const ICPENDR: u64 = 0x280;
pub const ISACTIVER: u64 = 0x300;
pub const ICACTIVER: u64 = 0x380;

/// The bit of `intid` in one of the registers with a bit for each.
pub fn bit(vgic: &mut Vgic, vcpu: usize, register: u64, intid: u32) -> VcpuSet {
    let (region, base) = frame(vgic, vcpu, intid);
    vgic.write(vcpu, region, base + register + u64::from(intid / 32 * 4), 4, 1 << (intid % 32)).unwrap()
}

pub fn is_set(vgic: &Vgic, vcpu: usize, register: u64, intid: u32) -> bool {
    let (region, base) = frame(vgic, vcpu, intid);
    vgic.read(vcpu, region, base + register + u64::from(intid / 32 * 4), 4).unwrap() >> (intid % 32) & 1 != 0
}

fn frame(vgic: &Vgic, vcpu: usize, intid: u32) -> (Region, u64) {
    if vgic.version == V3 && intid < 32 { (Region::Gicr(vcpu), 0x1_0000) } else { (Region::Gicd, 0) }
}

pub fn set_priority(vgic: &mut Vgic, vcpu: usize, intid: u32, priority: u8) -> VcpuSet {
    let (region, base) = frame(vgic, vcpu, intid);
    vgic.write(vcpu, region, base + 0x400 + u64::from(intid), 1, priority.into()).unwrap()
}

pub fn set_level(vgic: &mut Vgic, vcpu: usize, intid: u32, level: bool) -> VcpuSet {
    let (region, base) = frame(vgic, vcpu, intid);
    let (offset, shift) = (base + 0xc00 + u64::from(intid / 16 * 4), intid % 16 * 2);
    let others = vgic.read(vcpu, region, offset, 4).unwrap() & !(0b11 << shift);
    vgic.write(vcpu, region, offset, 4, others | u64::from(!level) << (shift + 1)).unwrap()
}

pub fn route(vgic: &mut Vgic, intid: u32, target: usize) -> VcpuSet {
    match vgic.version {
        V2 => vgic.write(0, Region::Gicd, 0x800 + u64::from(intid), 1, 1 << target),
        V3 => vgic.write(0, Region::Gicd, 0x6000 + 8 * u64::from(intid), 8, target as u64),
    }
    .unwrap()
}

/// A GIC whose distributor forwards both groups, with the SPIs edge-triggered, enabled and for vCPU 0.
pub fn vgic(version: Version, vcpus: usize, lrs: usize) -> Vgic {
    let mut vgic = Vgic::new(version, vcpus, 32, lrs);
    vgic.write(0, Region::Gicd, 0, 4, 3).unwrap();
    for intid in 32..64 {
        set_level(&mut vgic, 0, intid, false);
        route(&mut vgic, intid, 0);
        bit(&mut vgic, 0, ISENABLER, intid);
        set_priority(&mut vgic, 0, intid, 0x80);
    }
    vgic
}

/// The List Registers as the guest has them, by INTID.
fn visible(cpu: &Hardware) -> Vec<(u32, State)> {
    let mut all: Vec<_> = cpu.lrs.iter().flatten().map(|lr| (lr.intid, lr.state)).collect();
    all.sort_by_key(|(intid, _)| *intid);
    all
}

use State::{Active, Pending};

#[test]
fn an_edge_is_acknowledged_and_ended_once() {
    let (mut vgic, mut cpu) = (vgic(V3, 1, 4), Hardware::new(4));
    assert_eq!(vgic.inject(0, 40), 1);
    assert!(vgic.has_pending(0));
    cpu.enter(&mut vgic, 0);
    assert_eq!(cpu.acknowledge().unwrap().intid, 40);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(40, Active)]);
    cpu.end(40, 0, true);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
    assert!(!vgic.has_pending(0));
}

#[test]
fn an_edge_during_the_handler_comes_after_it() {
    let (mut vgic, mut cpu) = (vgic(V2, 1, 4), Hardware::new(4));
    vgic.inject(0, 40);
    cpu.enter(&mut vgic, 0);
    cpu.acknowledge().unwrap();
    // While the vCPU runs: nobody knows yet that the first was acknowledged.
    assert_eq!(vgic.inject(0, 40), 1);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(40, Active)]);
    cpu.end(40, 0, true);
    assert_ne!(cpu.misr(), 0, "the end of the first must bring the hypervisor back");
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(40, Pending)]);
}

#[test]
fn two_edges_before_the_acknowledge_are_one() {
    let (mut vgic, mut cpu) = (vgic(V2, 1, 4), Hardware::new(4));
    vgic.inject(0, 40);
    cpu.enter(&mut vgic, 0);
    vgic.inject(0, 40);
    cpu.exit(&mut vgic, 0);
    cpu.acknowledge().unwrap();
    cpu.end(40, 0, true);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
}

#[test]
fn a_high_line_is_pending_again_after_the_end_and_a_low_one_is_taken_back() {
    let (mut vgic, mut cpu) = (vgic(V3, 1, 4), Hardware::new(4));
    set_level(&mut vgic, 0, 33, true);
    vgic.set_line(0, 33, true);
    cpu.enter(&mut vgic, 0);
    cpu.acknowledge().unwrap();
    cpu.end(33, 0, true);
    assert_ne!(cpu.misr(), 0);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(33, Pending)]);
    assert_eq!(vgic.set_line(0, 33, false), 1);
    assert_eq!(vgic.set_line(0, 33, false), 0, "nothing changed");
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);

    // A latch set by software survives the line, until it is acknowledged.
    bit(&mut vgic, 0, ISPENDR, 33);
    vgic.set_line(0, 33, true);
    vgic.set_line(0, 33, false);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(33, Pending)]);
    cpu.acknowledge().unwrap();
    cpu.end(33, 0, true);
    assert_eq!(cpu.misr(), 0);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
}

#[test]
fn a_more_urgent_interrupt_evicts_and_underflow_refills() {
    let (mut vgic, mut cpu) = (vgic(V3, 1, 4), Hardware::new(4));
    (40..44).for_each(|intid| _ = vgic.inject(0, intid));
    cpu.enter(&mut vgic, 0);
    assert_eq!((cpu.hcr, visible(&cpu).len()), (0, 4));
    set_priority(&mut vgic, 0, 50, 0x40);
    assert_eq!(vgic.inject(0, 50), 1);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [40, 41, 42, 50].map(|intid| (intid, Pending)));
    assert_eq!(cpu.hcr, UIE | NPIE);
    for intid in [50, 40] {
        assert_eq!(cpu.acknowledge().unwrap().intid, intid);
        cpu.end(intid, 0, true);
        assert_eq!(cpu.misr(), 0);
    }
    assert_eq!(cpu.acknowledge().unwrap().intid, 41);
    cpu.end(41, 0, true);
    assert_eq!(cpu.misr(), UIE);
    cpu.exit(&mut vgic, 0);
    assert_eq!((cpu.hcr, visible(&cpu)), (0, vec![(42, Pending), (43, Pending)]));
}

#[test]
fn active_interrupts_do_not_keep_out_a_pending_one() {
    // EOImode 1: the guest drops the priority and deactivates later, in its own order.
    for (version, hcr) in [(V2, LRENPIE), (V3, LRENPIE | TDIR)] {
        let (mut vgic, mut cpu) = (vgic(version, 1, 2), Hardware::new(2));
        (40..45).for_each(|intid| _ = vgic.inject(0, intid));
        cpu.enter(&mut vgic, 0);
        for intid in 40..45 {
            if cpu.misr() != 0 {
                cpu.exit(&mut vgic, 0);
            }
            assert_eq!(cpu.acknowledge().unwrap().intid, intid);
            cpu.end(intid, 0, false);
        }
        cpu.exit(&mut vgic, 0);
        assert_eq!((cpu.hcr, visible(&cpu)), (hcr, vec![(40, Active), (41, Active)]));
        assert_eq!(vgic.deactivate(0, 43), 0);
        cpu.leave(&mut vgic, 0);
        let actives = |vgic: &Vgic| (40..45).filter(|&intid| is_set(vgic, 0, ISACTIVER, intid)).collect::<Vec<_>>();
        assert_eq!(actives(&vgic), [40, 41, 42, 44]);
        // What no List Register held and the hardware counted: the most urgent.
        cpu.enter(&mut vgic, 0);
        cpu.eoi_count = 1;
        cpu.leave(&mut vgic, 0);
        assert_eq!(actives(&vgic), [40, 41, 44]);
        assert_eq!(vgic.deactivate(0, 5000), 0, "an INTID that does not exist");
    }
}

#[test]
fn an_active_interrupt_is_not_evicted_while_there_is_another_way() {
    let (mut vgic, mut cpu) = (vgic(V3, 1, 4), Hardware::new(4));
    vgic.inject(0, 63);
    cpu.enter(&mut vgic, 0);
    cpu.acknowledge().unwrap();
    (40..45).for_each(|intid| _ = (set_priority(&mut vgic, 0, intid, 0x40), vgic.inject(0, intid)));
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(40, Pending), (41, Pending), (42, Pending), (63, Active)]);
}

#[test]
fn an_active_interrupt_keeps_the_priority_it_was_acknowledged_with() {
    let (mut vgic, mut cpu) = (vgic(V2, 1, 4), Hardware::new(4));
    vgic.inject(0, 40);
    cpu.enter(&mut vgic, 0);
    cpu.acknowledge().unwrap();
    set_priority(&mut vgic, 0, 40, 0x10);
    vgic.inject(0, 40);
    cpu.exit(&mut vgic, 0);
    assert_eq!(cpu.lrs[0].unwrap().priority, 0x80);
    cpu.end(40, 0, true);
    cpu.exit(&mut vgic, 0);
    assert_eq!(cpu.lrs[0].unwrap().priority, 0x10);
}

#[test]
fn one_list_register_is_enough() {
    let (mut vgic, mut cpu) = (vgic(V3, 1, 1), Hardware::new(1));
    vgic.inject(0, 40);
    cpu.enter(&mut vgic, 0);
    cpu.acknowledge().unwrap();
    set_priority(&mut vgic, 0, 41, 0x40);
    vgic.inject(0, 41);
    cpu.exit(&mut vgic, 0);
    assert_eq!((cpu.hcr, visible(&cpu)), (LRENPIE | TDIR, vec![(41, Pending)]));
    cpu.acknowledge().unwrap();
    cpu.end(41, 0, true);
    cpu.end(40, 0, true);
    assert_eq!(cpu.misr(), LRENPIE);
    cpu.exit(&mut vgic, 0);
    assert_eq!((cpu.hcr, visible(&cpu)), (0, vec![]));
    (40..42).for_each(|intid| _ = vgic.inject(0, intid));
    cpu.exit(&mut vgic, 0);
    assert_eq!(cpu.hcr, NPIE, "UIE would fire at once");
}

#[test]
fn disabling_takes_back_and_enabling_gives_again() {
    let (mut vgic, mut cpu) = (vgic(V2, 2, 4), Hardware::new(4));
    vgic.inject(0, 40);
    cpu.enter(&mut vgic, 0);
    // By another vCPU, while it is in a List Register.
    assert_eq!(bit(&mut vgic, 1, ICENABLER, 40), 0b01);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
    assert!(is_set(&vgic, 1, ISPENDR, 40));
    assert_eq!(bit(&mut vgic, 1, ISENABLER, 40), 0b01);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(40, Pending)]);
    // The same by the group, and by the distributor.
    vgic.write(0, Region::Gicd, 0, 4, 2).unwrap();
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
    assert_eq!(vgic.write(0, Region::Gicd, 0x84, 4, 1 << 8).unwrap(), 0b01);
    cpu.exit(&mut vgic, 0);
    assert!(cpu.lrs[0].unwrap().group1);
    // What was acknowledged stays active, disabled or not.
    cpu.acknowledge().unwrap();
    bit(&mut vgic, 1, ICENABLER, 40);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(40, Active)]);
}

#[test]
fn clearing_takes_back_what_was_not_acknowledged() {
    let (mut vgic, mut cpu) = (vgic(V3, 2, 4), Hardware::new(4));
    vgic.inject(0, 40);
    vgic.inject(0, 41);
    cpu.enter(&mut vgic, 0);
    cpu.acknowledge().unwrap();
    assert_eq!(bit(&mut vgic, 1, ICPENDR, 40) | bit(&mut vgic, 1, ICPENDR, 41), 0b01);
    assert!(!is_set(&vgic, 1, ISPENDR, 41));
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), [(40, Active)]);
    bit(&mut vgic, 1, ICACTIVER, 40);
    assert!(!is_set(&vgic, 1, ISACTIVER, 40));
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
    // Active, which is not known yet.
    vgic.inject(0, 42);
    cpu.exit(&mut vgic, 0);
    cpu.running.clear();
    cpu.acknowledge().unwrap();
    assert_eq!(bit(&mut vgic, 1, ICACTIVER, 42), 0b01);
    cpu.exit(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
}

#[test]
fn migration_moves_what_is_pending_and_not_what_is_active() {
    for version in [V2, V3] {
        let (mut vgic, mut cpus) = (vgic(version, 2, 4), [Hardware::new(4), Hardware::new(4)]);
        // Queued.
        vgic.inject(0, 40);
        assert_eq!(route(&mut vgic, 40, 1), 0b10);
        assert!(!vgic.has_pending(0) && vgic.has_pending(1));
        // Visible.
        cpus[1].enter(&mut vgic, 1);
        assert_eq!(route(&mut vgic, 40, 0), 0b10);
        assert_eq!(cpus[1].exit(&mut vgic, 1), 0b01);
        assert_eq!(visible(&cpus[1]), []);
        cpus[0].enter(&mut vgic, 0);
        assert_eq!(visible(&cpus[0]), [(40, Pending)]);
        // Active; the next occurrence goes to the new target when this one has ended.
        cpus[0].acknowledge().unwrap();
        route(&mut vgic, 40, 1);
        vgic.inject(0, 40);
        assert_eq!(cpus[0].exit(&mut vgic, 0), 0b01);
        assert_eq!(visible(&cpus[0]), [(40, Active)]);
        cpus[0].end(40, 0, true);
        assert_ne!(cpus[0].misr(), 0);
        assert_eq!(cpus[0].exit(&mut vgic, 0), 0b10);
        cpus[1].exit(&mut vgic, 1);
        assert_eq!((visible(&cpus[0]), visible(&cpus[1])), (vec![], vec![(40, Pending)]));
        // Ended before the vCPU notices that it is no longer the target.
        cpus[1].acknowledge().unwrap();
        route(&mut vgic, 40, 0);
        cpus[1].end(40, 0, true);
        assert_eq!(cpus[1].exit(&mut vgic, 1), 0);
        assert!(!vgic.has_pending(0));
    }
}

#[test]
fn targets_and_routers() {
    let mut vgic2 = vgic(V2, 2, 4);
    vgic2.write(0, Region::Gicd, 0x800 + 40, 4, 0xff_fe_00_03).unwrap();
    assert_eq!(vgic2.read(0, Region::Gicd, 0x800 + 40, 4), Ok(0x03_02_00_03), "there are two vCPUs");
    assert_eq!(vgic2.inject(0, 40), 0b01, "the lowest");
    assert_eq!(vgic2.inject(0, 41), 0, "none");
    assert_eq!(vgic2.inject(0, 42), 0b10);
    assert_eq!([0, 1].map(|vcpu| vgic2.read(vcpu, Region::Gicd, 0x81c, 1)), [Ok(1), Ok(2)]);
    assert_eq!(vgic(V2, 1, 4).read(0, Region::Gicd, 0x800 + 40, 4), Ok(0));

    let mut vgic3 = vgic(V3, 2, 4);
    vgic3.write(0, Region::Gicd, 0x6000 + 8 * 40, 8, u64::MAX).unwrap();
    assert_eq!(vgic3.read(0, Region::Gicd, 0x6000 + 8 * 40, 8), Ok(0xff_80ff_ffff));
    assert_eq!(vgic3.inject(0, 40), 0b01, "one of all");
    vgic3.write(0, Region::Gicd, 0x6000 + 8 * 40, 4, 1).unwrap();
    assert_eq!(vgic3.read(0, Region::Gicd, 0x6004 + 8 * 40, 4), Ok(0xff));
    assert!(!vgic3.has_pending(0) && !vgic3.has_pending(1), "no vCPU has this affinity");
    assert_eq!(vgic3.write(0, Region::Gicd, 0x6004 + 8 * 40, 4, 0), Ok(0b10));
}

/// Linked SPI 34, injected and acknowledged.
fn linked(version: Version, level: bool) -> (Vgic, Hardware) {
    let (mut vgic, mut cpu) = (vgic(version, 1, 4), Hardware::new(4));
    set_level(&mut vgic, 0, 34, level);
    vgic.link(0, 34, Some(77));
    vgic.inject(0, 34);
    cpu.enter(&mut vgic, 0);
    assert_eq!(cpu.lrs[0].unwrap().link, Link::Hw(77));
    cpu.acknowledge().unwrap();
    (vgic, cpu)
}

#[test]
fn the_hardware_deactivates_the_physical_interrupt() {
    for level in [false, true] {
        let (mut vgic, mut cpu) = linked(V2, level);
        cpu.exit(&mut vgic, 0);
        assert!(vgic.holds_physical_of(0, 34));
        cpu.end(34, 0, true);
        assert_eq!(cpu.deactivated, [77]);
        // It fires again before the vCPU is back.
        vgic.inject(0, 34);
        cpu.exit(&mut vgic, 0);
        assert_eq!((cpu.lrs[0].unwrap().link, cpu.lrs[0].unwrap().state), (Link::Hw(77), Pending));
        assert_eq!(vgic.pop_deactivation(), None);
    }
}

#[test]
fn a_linked_interrupt_is_never_pending_and_active() {
    let (mut vgic, mut cpu) = linked(V3, false);
    cpu.leave(&mut vgic, 0);
    bit(&mut vgic, 0, ISPENDR, 34);
    cpu.enter(&mut vgic, 0);
    let lr = cpu.lrs[0].unwrap();
    assert_eq!((lr.state, lr.link), (Active, Link::Software { eoi: true, source: 0 }));
    cpu.end(34, 0, true);
    assert_ne!(cpu.misr(), 0);
    cpu.exit(&mut vgic, 0);
    let lr = cpu.lrs[0].unwrap();
    assert_eq!((lr.state, lr.link), (Pending, Link::Hw(77)));
    cpu.acknowledge().unwrap();
    cpu.end(34, 0, true);
    cpu.exit(&mut vgic, 0);
    assert_eq!((cpu.deactivated.as_slice(), vgic.pop_deactivation()), ([77].as_slice(), None));
    // One that software has set pending has no physical interrupt to deactivate.
    bit(&mut vgic, 0, ISPENDR, 34);
    cpu.exit(&mut vgic, 0);
    assert_eq!(cpu.lrs[0].unwrap().link, Link::Software { eoi: false, source: 0 });
}

#[test]
fn a_physical_interrupt_that_the_guest_drops_is_let_go() {
    // Cleared while pending in a List Register.
    let (mut vgic, mut cpu) = (vgic(V2, 2, 4), Hardware::new(4));
    vgic.link(0, 34, Some(77));
    vgic.inject(0, 34);
    cpu.enter(&mut vgic, 0);
    bit(&mut vgic, 1, ICPENDR, 34);
    assert_eq!(vgic.pop_deactivation(), None, "not before it is known that it was not acknowledged");
    cpu.exit(&mut vgic, 0);
    assert_eq!([vgic.pop_deactivation(), vgic.pop_deactivation()], [Some(77), None]);
    assert!(!vgic.holds_physical_of(0, 34));
    // Cleared while active.
    let (mut vgic, mut cpu) = linked(V2, true);
    cpu.leave(&mut vgic, 0);
    bit(&mut vgic, 0, ICACTIVER, 34);
    assert_eq!([vgic.pop_deactivation(), vgic.pop_deactivation()], [Some(77), None]);
    // Configured as an edge, which the line was not.
    let (mut vgic, _) = linked(V2, true);
    vgic.reset();
    assert_eq!([vgic.pop_deactivation(), vgic.pop_deactivation()], [Some(77), None]);
    set_level(&mut vgic, 0, 34, true);
    vgic.inject(0, 34);
    set_level(&mut vgic, 0, 34, false);
    assert_eq!(vgic.pop_deactivation(), Some(77));
    // No longer linked.
    vgic.inject(0, 34);
    vgic.link(0, 34, None);
    assert_eq!(vgic.pop_deactivation(), Some(77));
}

#[test]
fn enabling_samples_a_physical_line_again() {
    // A threaded handler: disable, end; the line is still high and it fires again; the device is served; enable.
    let (mut vgic, mut cpu) = linked(V3, true);
    cpu.leave(&mut vgic, 0);
    bit(&mut vgic, 0, ICENABLER, 34);
    cpu.enter(&mut vgic, 0);
    cpu.end(34, 0, true);
    assert_eq!(cpu.deactivated, [77]);
    vgic.inject(0, 34);
    cpu.leave(&mut vgic, 0);
    assert_eq!(vgic.pop_deactivation(), None, "held off while disabled");
    bit(&mut vgic, 0, ISENABLER, 34);
    assert_eq!(vgic.pop_deactivation(), Some(77));
    cpu.enter(&mut vgic, 0);
    assert_eq!(visible(&cpu), [], "the line is low by now");
    // An edge is not forgotten.
    set_level(&mut vgic, 0, 34, false);
    bit(&mut vgic, 0, ICENABLER, 34);
    vgic.inject(0, 34);
    bit(&mut vgic, 0, ISENABLER, 34);
    cpu.exit(&mut vgic, 0);
    assert_eq!((visible(&cpu), vgic.pop_deactivation()), (vec![(34, Pending)], None));
}

#[test]
fn the_timer_belongs_to_its_vcpu() {
    let (mut vgic, mut cpu) = (vgic(V3, 2, 4), Hardware::new(4));
    (0..2).for_each(|vcpu| _ = vgic.link(vcpu, 27, Some(27)));
    bit(&mut vgic, 1, ISENABLER, 27);
    assert_eq!(vgic.inject(1, 27), 0b10);
    cpu.enter(&mut vgic, 1);
    cpu.acknowledge().unwrap();
    cpu.leave(&mut vgic, 1);
    assert!(vgic.holds_physical_of(1, 27) && !vgic.holds_physical_of(0, 27));
    // Let go on the CPU that the vCPU enters next, by no other.
    bit(&mut vgic, 1, ICACTIVER, 27);
    assert_eq!(vgic.pop_deactivation(), None);
    assert_eq!(vgic.flush(0, &mut |_, _| {}).deactivate, 0);
    assert_eq!(vgic.flush(1, &mut |_, _| {}).deactivate, 1 << 27);
    // Let go while the vCPU was on no CPU; then it fires on one.
    vgic.inject(1, 27);
    vgic.write(0, Region::Gicr(1), 0x1_0000 + ICPENDR, 4, 1 << 27).unwrap();
    vgic.inject(1, 27);
    assert_eq!(vgic.flush(1, &mut |_, lr| assert_eq!(lr.link, Link::Hw(27))).deactivate, 0);
    vgic.sync(1, |_| State::Pending, 0);
    vgic.write(1, Region::Gicr(1), 0x1_0000 + ICPENDR, 4, 1 << 27).unwrap();
    assert_eq!(vgic.flush(1, &mut |_, _| {}).deactivate, 1 << 27);
    // Not asserted any more when the vCPU is about to enter.
    vgic.inject(1, 27);
    vgic.set_line(1, 27, false);
    assert!(!vgic.has_pending(1) && !vgic.holds_physical_of(1, 27));
    assert_eq!(vgic.flush(1, &mut |_, _| {}).deactivate, 1 << 27);
}

#[test]
fn sgis_of_gicv2_are_pending_once_a_source() {
    let (mut vgic, mut cpu) = (vgic(V2, 3, 4), Hardware::new(4));
    assert_eq!(vgic.write(0, Region::Gicd, 0xf00, 4, 0x04_0005), Ok(0b100));
    assert_eq!(vgic.write(1, Region::Gicd, 0xf00, 4, 0x100_0005), Ok(0b101), "all but itself");
    assert_eq!(vgic.write(2, Region::Gicd, 0xf00, 4, 0x200_0005), Ok(0b100), "itself");
    assert_eq!(vgic.write(2, Region::Gicd, 0xf00, 4, 0x300_0005), Ok(0), "reserved");
    assert_eq!(vgic.read(2, Region::Gicd, 0xf15, 1), Ok(0b111));
    for source in 0..3 {
        cpu.exit(&mut vgic, 2);
        assert_eq!(vgic.read(2, Region::Gicd, 0xf25, 1).unwrap() as u8, 0b111u8 << source & 0b111);
        let lr = cpu.acknowledge().unwrap();
        assert_eq!((lr.intid, lr.link), (5, Link::Software { eoi: source < 2, source }));
        cpu.exit(&mut vgic, 2);
        cpu.end(5, source, true);
        assert_eq!(cpu.misr() != 0, source < 2);
    }
    cpu.leave(&mut vgic, 2);
    // One source cleared, in a List Register, while another is set.
    vgic.write(2, Region::Gicd, 0xf25, 1, 0b001).unwrap();
    cpu.enter(&mut vgic, 2);
    vgic.write(2, Region::Gicd, 0xf24, 4, 0x0400).unwrap();
    vgic.write(2, Region::Gicd, 0xf14, 4, 0x0100).unwrap();
    cpu.exit(&mut vgic, 2);
    assert_eq!(cpu.lrs[0].unwrap().link, Link::Software { eoi: false, source: 2 });
}

#[test]
fn sgis_of_gicv3_by_affinity() {
    let mut vgic = vgic(V3, 3, 4);
    for vcpu in 0..3 {
        vgic.write(vcpu, Region::Gicr(vcpu), 0x1_0100, 4, 0xffff).unwrap();
        vgic.write(vcpu, Region::Gicr(vcpu), 0x1_0080, 4, 1 << 5).unwrap();
    }
    let sgi = |vgic: &mut Vgic, value, group0| {
        let kick = vgic.write_sgir(1, value, group0);
        (0..3).for_each(|vcpu| _ = vgic.write(0, Region::Gicr(vcpu), 0x1_0280, 4, u64::MAX).unwrap());
        kick
    };
    assert_eq!(sgi(&mut vgic, 0x0500_0006, false), 0b110);
    assert_eq!(sgi(&mut vgic, 0x0500_ffff, false), 0b111, "there are three");
    assert_eq!(sgi(&mut vgic, 1 << 40 | 0x0500_0000, false), 0b101, "all but itself");
    for elsewhere in [1 << 16, 1 << 32, 1 << 48, 1 << 44] {
        assert_eq!(sgi(&mut vgic, elsewhere | 0x0500_0007, false), 0);
    }
    assert_eq!(sgi(&mut vgic, 0x0500_0007, true), 0, "SGI 5 is in Group 1");
    assert_eq!(sgi(&mut vgic, 0x0600_0007, true), 0b111);
    assert_eq!(sgi(&mut vgic, 0x0600_0007, false), 0b111);
}

#[test]
fn identification() {
    let two = Vgic::new(V2, 3, 96, 4);
    assert_eq!(two.read(0, Region::Gicd, 0x4, 4), Ok(0x43));
    assert_eq!(two.read(0, Region::Gicd, 0xfe8, 4).unwrap() >> 4 & 0xf, 2);
    assert_eq!(two.read(0, Region::Gicd, 0x100, 4), Ok(0xffff), "SGIs are always enabled");
    assert_eq!(two.read(0, Region::Gicd, 0xc00, 4), Ok(0xaaaa_aaaa));
    assert_eq!(two.read(0, Region::Gicr(0), 0x8, 8), Err(Refused));
    let mut three = Vgic::new(V3, 3, 96, 4);
    assert_eq!(three.read(0, Region::Gicd, 0x4, 4), Ok(9 << 19 | 3));
    assert_eq!(three.read(0, Region::Gicd, 0x0, 4), Ok(0x50), "ARE and DS; RWP is 0");
    three.write(0, Region::Gicd, 0x0, 4, 0xffff_ffff).unwrap();
    assert_eq!(three.read(0, Region::Gicd, 0x0, 4), Ok(0x53));
    for region in [Region::Gicd, Region::Gicr(0), Region::Gicr(2)] {
        assert_eq!(three.read(0, region, 0xffe8, 4).unwrap() >> 4 & 0xf, 3);
    }
    assert_eq!(three.read(0, Region::Gicr(1), 0x8, 8), Ok(0x1_0000_0100));
    assert_eq!(three.read(0, Region::Gicr(2), 0x8, 4), Ok(0x210), "the last one");
    assert_eq!(three.read(0, Region::Gicr(2), 0xc, 4), Ok(2));
    assert_eq!(three.read(0, Region::Gicr(3), 0x8, 8), Err(Refused));
    assert_eq!(three.read(0, Region::Gicr(1), 0x14, 4), Ok(0b110));
    three.write(0, Region::Gicr(1), 0x14, 4, 0).unwrap();
    assert_eq!([1, 2].map(|n| three.read(0, Region::Gicr(n), 0x14, 4)), [Ok(0), Ok(0b110)]);
    // With affinity routing a redistributor has the first 32 and the distributor has not.
    three.write(0, Region::Gicd, 0x100, 4, u64::MAX).unwrap();
    three.write(0, Region::Gicr(1), 0x1_0104, 4, u64::MAX).unwrap();
    assert_eq!([0x100, 0x104].map(|offset| three.read(0, Region::Gicd, offset, 4)), [Ok(0), Ok(0)]);
    three.write(0, Region::Gicr(1), 0x1_0100, 4, 0xffff_0000).unwrap();
    assert_eq!([1, 2].map(|n| three.read(0, Region::Gicr(n), 0x1_0100, 4)), [Ok(0xffff_0000), Ok(0)]);
}

#[test]
fn sizes_and_widths() {
    let mut vgic = vgic(V2, 2, 4);
    vgic.write(0, Region::Gicd, 0x400 + 40, 4, 0x12_34_56_7f).unwrap();
    assert_eq!(vgic.read(0, Region::Gicd, 0x400 + 41, 1), Ok(0x50), "the top five bits");
    assert_eq!(vgic.read(0, Region::Gicd, 0x400 + 40, 4), Ok(0x10_30_50_78));
    for (offset, size) in [(0x400, 2), (0x100, 1), (0x100, 8), (0x102, 4), (0x1000, 4), (0xfff, 2), (0, 3), (0x80c, 16)]
    {
        assert_eq!(vgic.read(0, Region::Gicd, offset, size), Err(Refused), "{offset:#x} {size}");
        assert_eq!(vgic.write(0, Region::Gicd, offset, size, 1), Err(Refused));
    }
    // Banked for each vCPU; not there; read-only.
    vgic.write(1, Region::Gicd, 0x100, 4, 1 << 27).unwrap();
    assert_eq!([0, 1].map(|vcpu| vgic.read(vcpu, Region::Gicd, 0x180, 4)), [Ok(0xffff), Ok(0x0800_ffff)]);
    vgic.write(0, Region::Gicd, 0x108, 4, u64::MAX).unwrap();
    assert_eq!(vgic.read(0, Region::Gicd, 0x108, 4), Ok(0));
    vgic.write(0, Region::Gicd, 0x180, 4, u64::MAX).unwrap();
    assert_eq!(vgic.read(0, Region::Gicd, 0x100, 4), Ok(0xffff));
    vgic.write(0, Region::Gicd, 0xc00, 4, 0).unwrap();
    assert_eq!(vgic.read(0, Region::Gicd, 0xc00, 4), Ok(0xaaaa_aaaa));
}

#[test]
fn reset_returns_everything() {
    let (mut vgic, mut cpu) = linked(V3, true);
    vgic.link(0, 35, Some(1019));
    vgic.inject(0, 35);
    vgic.inject(0, 36);
    cpu.leave(&mut vgic, 0);
    vgic.reset();
    let mut physical = [vgic.pop_deactivation(), vgic.pop_deactivation(), vgic.pop_deactivation()];
    physical.sort();
    assert_eq!(physical, [None, Some(77), Some(1019)]);
    assert!(!vgic.has_pending(0) && !vgic.holds_physical_of(0, 34));
    let mut cpu = Hardware::new(4);
    cpu.enter(&mut vgic, 0);
    assert_eq!(visible(&cpu), []);
    assert_eq!(vgic.read(0, Region::Gicd, 0x304, 4), Ok(0));
    // The links stay.
    vgic.write(0, Region::Gicd, 0, 4, 3).unwrap();
    route(&mut vgic, 34, 0);
    vgic.inject(0, 34);
    assert!(vgic.holds_physical_of(0, 34));
}

proptest! {
    #[test]
    fn no_access_panics(
        v3: bool, vcpus in 1usize..=4,
        accesses in proptest::collection::vec(
            (0usize..4, proptest::option::of(0usize..6), prop_oneof![0u64..0x1100, 0u64..0x2_1000, any::<u64>()],
                prop_oneof![Just(1usize), Just(2), Just(4), Just(8), any::<usize>()], any::<u64>(), any::<bool>()), 1..300),
    ) {
        let mut vgic = vgic(if v3 { V3 } else { V2 }, vcpus, 2);
        let mut cpu = Hardware::new(2);
        for (vcpu, frame, offset, size, value, sync) in accesses {
            let (vcpu, region) = (vcpu % vcpus, frame.map_or(Region::Gicd, Region::Gicr));
            if let Ok(read) = vgic.read(vcpu, region, offset, size) {
                prop_assert!(size == 8 || read >> (8 * size) == 0);
                prop_assert!(vgic.write(vcpu, region, offset, size, value).unwrap() >> vcpus == 0);
            } else {
                prop_assert_eq!(vgic.write(vcpu, region, offset, size, value), Err(Refused));
            }
            vgic.write_sgir(vcpu, value, sync);
            vgic.deactivate(vcpu, value as u32);
            if sync {
                cpu.leave(&mut vgic, vcpu);
                cpu.enter(&mut vgic, vcpu);
                cpu.acknowledge();
                cpu.leave(&mut vgic, vcpu);
                cpu.running.clear();
            }
        }
    }
}
