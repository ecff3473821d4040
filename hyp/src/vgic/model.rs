//! What the virtual GIC is tested against: the hardware's side of the List Registers, a GIC without List Registers, and
//! guests that do anything in any order.

use super::tests::*;
use super::*;
use alloc::vec;
use proptest::prelude::*;

/// A physical CPU in a guest: List Registers, active priorities, and what the virtual CPU interface does with them.
#[derive(Clone, Debug)]
pub struct Hardware {
    pub lrs: Vec<Option<ListRegister>>,
    pub hcr: u32,
    pub eoi_count: u32,
    /// An interrupt with the EOI bit has ended.
    pub eoi: bool,
    /// When it was last left, all was ended that there had been.
    quiet: bool,
    /// Acknowledged and priority not dropped: the priority of each.
    pub running: Vec<u8>,
    /// Physical interrupts that the hardware has deactivated since this was last emptied.
    pub deactivated: Vec<u32>,
}

impl Hardware {
    pub fn new(lrs: usize) -> Hardware {
        Hardware {
            lrs: vec![None; lrs],
            hcr: 0,
            eoi_count: 0,
            eoi: false,
            quiet: false,
            running: vec![],
            deactivated: vec![],
        }
    }

    fn states(&self) -> impl Iterator<Item = State> {
        self.lrs.iter().map(|lr| lr.map_or(State::Invalid, |lr| lr.state))
    }

    /// GICH_MISR, ICH_MISR_EL2: why the maintenance interrupt is raised.
    pub fn misr(&self) -> u32 {
        let valid = self.states().filter(|&state| state != State::Invalid).count();
        let pending = self.states().filter(|&state| state == State::Pending).count();
        let misr = if valid <= 1 { UIE } else { 0 }
            | if self.eoi_count != 0 { LRENPIE } else { 0 }
            | if pending == 0 { NPIE } else { 0 };
        misr & self.hcr | u32::from(self.eoi)
    }

    /// The most urgent pending interrupt, the lowest INTID among equals.
    pub fn highest_pending(&self) -> Option<ListRegister> {
        self.lrs
            .iter()
            .flatten()
            .filter(|lr| lr.state == State::Pending)
            .min_by_key(|lr| (lr.priority, lr.intid))
            .copied()
    }

    /// Reads IAR: the interrupt that becomes active, if one is urgent enough.
    pub fn acknowledge(&mut self) -> Option<ListRegister> {
        let found = self.highest_pending()?;
        if self.running.iter().any(|&running| running <= found.priority) {
            return None;
        }
        self.running.push(found.priority);
        self.lrs.iter_mut().flatten().find(|lr| **lr == found).unwrap().state = State::Active;
        Some(found)
    }

    fn active_mut(&mut self, intid: u32, source: u8) -> Option<&mut Option<ListRegister>> {
        self.lrs.iter_mut().find(|lr| {
            lr.is_some_and(|lr| {
                let same_source = match lr.link {
                    Link::Software { source: of, .. } => of == source,
                    Link::Hw(_) => true,
                };
                lr.intid == intid && same_source && lr.state.is_active()
            })
        })
    }

    /// Writes EOIR: the priority drops; with EOImode 0 the interrupt is deactivated as well.
    pub fn end(&mut self, intid: u32, source: u8, deactivate: bool) {
        let dropped = self.running.pop().expect("the guest ends what it has acknowledged");
        if let Some(Some(lr)) = self.active_mut(intid, source) {
            assert_eq!(lr.priority, dropped, "hardware takes it for another interrupt");
        }
        if deactivate && !self.deactivate(intid, source) {
            self.eoi_count += 1;
        }
    }

    /// Deactivates what a List Register holds; false if none does.
    pub fn deactivate(&mut self, intid: u32, source: u8) -> bool {
        let Some(lr) = self.active_mut(intid, source).and_then(Option::take) else { return false };
        match lr.link {
            Link::Hw(physical) => self.deactivated.push(physical),
            Link::Software { eoi, .. } => self.eoi |= eoi,
        }
        true
    }

    /// A trap and the way back: what the hypervisor does between, without other work.
    pub fn exit(&mut self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        let kick = self.leave(vgic, vcpu);
        self.enter(vgic, vcpu);
        kick
    }

    pub fn leave(&mut self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        self.quiet = self.hcr == 0 && !self.eoi && self.states().all(|state| state == State::Invalid);
        let mut other = vgic.clone();
        let lrs = take(&mut self.lrs);
        let kick = vgic.sync(vcpu, |n| lrs[n].map_or(State::Invalid, |lr| lr.state), take(&mut self.eoi_count));
        if self.quiet {
            assert_eq!((other.sync_one(vcpu), other), (kick, vgic.clone()));
        }
        self.lrs = vec![None; lrs.len()];
        (self.eoi, self.hcr) = (false, 0);
        kick
    }

    pub fn enter(&mut self, vgic: &mut Vgic, vcpu: usize) {
        let version = vgic.version;
        let lrs = &mut self.lrs;
        let mut write = |n: usize, lr: ListRegister| {
            assert_ne!(lr.state, State::PendingActive, "one occurrence a List Register");
            assert_eq!(ListRegister::decode(version, lr.encode(version)), lr);
            assert!(lrs[n].replace(lr).is_none(), "one interrupt a List Register");
        };
        let flush = vgic.flush(vcpu, &mut write);
        let written = self.lrs.iter().enumerate().fold(0, |set, (n, lr)| set | u16::from(lr.is_some()) << n);
        assert_eq!(flush.used, written);
        self.hcr = flush.hcr;
        self.deactivated.extend((0..32).filter(|ppi| flush.deactivate >> ppi & 1 != 0));
        for (n, lr) in self.lrs.iter().flatten().enumerate() {
            assert!(self.lrs[..n].iter().flatten().all(|other| other.intid != lr.intid), "twice in List Registers");
        }
        assert_eq!(self.misr(), 0, "the guest would be left before its first instruction: {self:?}");
    }
}

/// A physical interrupt that a virtual one is linked to.
#[derive(Clone, Debug, Default)]
struct Physical {
    /// The device holds its line until it is served; else one edge.
    level: bool,
    raised: bool,
    active: bool,
}

/// One interrupt of a GIC without List Registers.
#[derive(Clone, Debug, Default)]
struct Simple {
    enabled: bool,
    level: bool,
    priority: u8,
    latch: bool,
    line: bool,
    sources: u8,
    /// On which CPU, and from which source.
    active: Option<(usize, u8)>,
    target: Option<usize>,
    physical: Option<Physical>,
    /// How often it became pending and, edges only, was acknowledged; whether an edge has not been acknowledged yet.
    sets: u32,
    acks: u32,
    owed: bool,
}

impl Simple {
    fn is_pending(&self) -> bool {
        self.latch || self.level && self.line || self.sources != 0
    }

    fn set(&mut self) {
        self.sets += 1;
        self.owed = true;
    }
}

/// What guests, devices and the hypervisor do. Numbers are taken modulo what there is; the last vCPU is the one who does it.
#[derive(Clone, Debug)]
enum Op {
    Inject(usize),
    Line(usize, bool),
    Physical(usize, bool),
    Enable(usize, bool, usize),
    Pend(usize, bool, usize),
    ClearActive(usize, usize),
    SetActive(usize, usize),
    Priority(usize, u8, usize),
    Level(usize, bool, usize),
    Route(usize, usize),
    Forward(bool, usize),
    Sgi(u16, usize),
    Acknowledge(usize),
    End(usize),
    Deactivate(usize, usize),
    Wait(usize),
    /// A trap that changes nothing, and the moment for a kicked vCPU to notice it.
    Trap(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (irq, cpu) = (0usize..64, 0usize..4);
    prop_oneof![
        4 => irq.clone().prop_map(Op::Inject),
        2 => (irq.clone(), any::<bool>()).prop_map(|(irq, high)| Op::Line(irq, high)),
        3 => (irq.clone(), any::<bool>()).prop_map(|(irq, high)| Op::Physical(irq, high)),
        2 => (irq.clone(), any::<bool>(), cpu.clone()).prop_map(|(irq, on, by)| Op::Enable(irq, on, by)),
        1 => (irq.clone(), any::<bool>(), cpu.clone()).prop_map(|(irq, on, by)| Op::Pend(irq, on, by)),
        1 => (irq.clone(), cpu.clone()).prop_map(|(irq, by)| Op::ClearActive(irq, by)),
        1 => (irq.clone(), cpu.clone()).prop_map(|(irq, by)| Op::SetActive(irq, by)),
        1 => (irq.clone(), 0u8..8, cpu.clone()).prop_map(|(irq, priority, by)| Op::Priority(irq, priority << 5, by)),
        1 => (irq.clone(), any::<bool>(), cpu.clone()).prop_map(|(irq, level, by)| Op::Level(irq, level, by)),
        2 => (irq.clone(), 0usize..5).prop_map(|(irq, to)| Op::Route(irq, to)),
        1 => (prop::bool::weighted(0.8), cpu.clone()).prop_map(|(on, by)| Op::Forward(on, by)),
        2 => (any::<u16>(), cpu.clone()).prop_map(|(targets, from)| Op::Sgi(targets, from)),
        8 => cpu.clone().prop_map(Op::Acknowledge),
        6 => cpu.clone().prop_map(Op::End),
        3 => (cpu.clone(), 0usize..8).prop_map(|(cpu, which)| Op::Deactivate(cpu, which)),
        1 => cpu.clone().prop_map(Op::Wait),
        3 => cpu.prop_map(Op::Trap),
    ]
}

const SGI: u32 = 5;
const TIMER: u32 = 27;
/// Of these SPIs the first two are linked: of a device that holds its line, and one that sends edges.
const SPIS: core::ops::Range<u32> = 34..42;
const PHYSICAL: u32 = 100;

/// The virtual GIC under test, its hardware, and the same interrupts without List Registers.
struct World {
    vgic: Vgic,
    cpus: Vec<Hardware>,
    /// In the guest; else waiting for an interrupt.
    inside: Vec<bool>,
    /// What each guest has acknowledged and whose priority it has not dropped.
    handlers: Vec<Vec<(usize, u8)>>,
    /// EOImode 1.
    split: bool,
    /// Kicks are noticed at once, and the guest sees exactly what it would see without List Registers. Else they are noticed
    /// some time, and edges are counted.
    strict: bool,
    kicks: VcpuSet,
    forward: bool,
    /// vCPU (of an SGI or PPI) and INTID.
    names: Vec<(usize, u32)>,
    irqs: Vec<Simple>,
}

impl World {
    fn new(version: Version, vcpus: usize, lrs: usize, split: bool, strict: bool) -> World {
        let private = (0..vcpus).flat_map(|vcpu| [SGI, 20, TIMER].map(|intid| (vcpu, intid)));
        let names: Vec<_> = private.chain(SPIS.map(|intid| (0, intid))).collect();
        let mut world = World {
            vgic: vgic(version, vcpus, lrs),
            cpus: vec![Hardware::new(lrs); vcpus],
            inside: vec![true; vcpus],
            handlers: vec![vec![]; vcpus],
            split,
            strict,
            kicks: 0,
            forward: true,
            irqs: vec![Simple::default(); names.len()],
            names,
        };
        for n in 0..world.names.len() {
            let (vcpu, intid) = world.names[n];
            let linked = intid == TIMER || (SPIS.start..SPIS.start + 2).contains(&intid);
            if linked {
                let physical = if intid == TIMER { TIMER } else { PHYSICAL + intid };
                world.vgic.link(vcpu, intid, Some(physical));
                let level = intid == SPIS.start && strict;
                world.irqs[n].physical = Some(Physical { level, ..Physical::default() });
                if level {
                    set_level(&mut world.vgic, 0, intid, true);
                    world.irqs[n].level = true;
                }
            }
            if intid < 32 && intid != SGI {
                set_level(&mut world.vgic, vcpu, intid, false);
            }
            bit(&mut world.vgic, vcpu, ISENABLER, intid);
            set_priority(&mut world.vgic, vcpu, intid, 0x80);
            (world.irqs[n].enabled, world.irqs[n].priority, world.irqs[n].target) = (true, 0x80, Some(vcpu));
        }
        world.settle();
        world
    }

    fn find(&self, vcpu: usize, intid: u32) -> usize {
        self.names.iter().position(|&name| name == (if intid < 32 { vcpu } else { 0 }, intid)).unwrap()
    }

    fn kick(&mut self, kick: VcpuSet) {
        self.kicks |= kick;
        while let Some(physical) = self.vgic.pop_deactivation() {
            self.physical_deactivated(0, physical);
        }
    }

    fn physical_deactivated(&mut self, cpu: usize, physical: u32) {
        let n = self.find(cpu, if physical < 32 { physical } else { physical - PHYSICAL });
        let physical = self.irqs[n].physical.as_mut().unwrap();
        assert!(take(&mut physical.active), "{:?}: its physical interrupt is not active", self.names[n]);
    }

    fn hardware_deactivated(&mut self, cpu: usize) {
        for physical in take(&mut self.cpus[cpu].deactivated) {
            self.physical_deactivated(cpu, physical);
        }
    }

    fn leave(&mut self, cpu: usize) {
        if take(&mut self.inside[cpu]) {
            let kick = self.cpus[cpu].leave(&mut self.vgic, cpu);
            self.kick(kick);
        }
    }

    fn enter(&mut self, cpu: usize) {
        let kicked = self.kicks >> cpu & 1 != 0;
        self.kicks &= !(1 << cpu);
        self.inside[cpu] = true;
        let quiet = self.cpus[cpu].quiet;
        self.cpus[cpu].enter(&mut self.vgic, cpu);
        let Hardware { hcr, lrs, deactivated, .. } = &self.cpus[cpu];
        let nothing = *hcr == 0 && lrs.iter().all(Option::is_none) && deactivated.is_empty();
        assert!(kicked || !quiet || nothing, "was not kicked for what there was to do: {:?}", self.cpus[cpu]);
        self.hardware_deactivated(cpu);
    }

    fn exit(&mut self, cpu: usize) {
        self.leave(cpu);
        self.enter(cpu);
    }

    /// On behalf of a guest's trap.
    fn trap(&mut self, cpu: usize, does: impl FnOnce(&mut Vgic) -> VcpuSet) {
        self.leave(cpu);
        let kick = does(&mut self.vgic);
        self.kick(kick);
        self.enter(cpu);
    }

    /// Physical interrupts that are asserted and not active are taken.
    fn take_physical(&mut self) {
        for n in 0..self.irqs.len() {
            let irq = &mut self.irqs[n];
            if let Some(physical) = irq.physical.as_mut().filter(|physical| physical.raised && !physical.active) {
                physical.active = true;
                physical.raised = physical.level;
                if irq.level {
                    irq.line = true;
                    irq.sets += 1;
                } else {
                    irq.latch = true;
                    irq.set();
                }
                let (vcpu, intid) = self.names[n];
                let kick = self.vgic.inject(vcpu, intid);
                self.kick(kick);
            }
        }
    }

    /// What is asked of a vCPU is done until nothing is asked, which must be soon.
    fn settle(&mut self) {
        for _ in 0..4 + 4 * self.cpus.len() {
            self.take_physical();
            let asked = |cpu: &usize| self.kicks >> cpu & 1 != 0 || self.inside[*cpu] && self.cpus[*cpu].misr() != 0;
            match (0..self.cpus.len()).find(asked) {
                Some(cpu) => self.exit(cpu),
                None => return,
            }
        }
        panic!("no end of kicks and maintenance interrupts");
    }

    fn best(&self, cpu: usize) -> Option<(u8, u32)> {
        let forwarded = self.names.iter().zip(&self.irqs).filter(|_| self.forward);
        let here = forwarded
            .filter(|(_, irq)| irq.enabled && irq.is_pending() && irq.active.is_none() && irq.target == Some(cpu));
        here.map(|(&(_, intid), irq)| (irq.priority, intid)).min()
    }

    fn check(&self) {
        for intid in SPIS {
            let holders = self.cpus.iter().filter(|cpu| cpu.lrs.iter().flatten().any(|lr| lr.intid == intid));
            assert!(holders.count() <= 1, "SPI {intid} is visible on two vCPUs");
        }
        for (name, irq) in self.names.iter().zip(&self.irqs) {
            assert!(irq.acks <= irq.sets, "{name:?} was delivered too often");
        }
        if !self.strict {
            return;
        }
        for (cpu, hardware) in self.cpus.iter().enumerate().filter(|(cpu, _)| self.inside[*cpu]) {
            let visible = hardware.highest_pending().map(|lr| (lr.priority, lr.intid));
            assert_eq!(visible, self.best(cpu), "what vCPU {cpu} would acknowledge {hardware:#?}");
        }
        for (&(vcpu, intid), irq) in self.names.iter().zip(&self.irqs) {
            let Some(physical) = &irq.physical else { continue };
            assert!(!physical.active || irq.is_pending() || irq.active.is_some(), "{intid}: active for ever");
            // Until `sync` it is not known what the hardware has deactivated.
            assert!(!physical.active || self.vgic.holds_physical_of(vcpu, intid), "{intid}: nobody's");
        }
    }

    /// The short way to inject, for a vCPU that has left its guest, does what the long one does, or nothing.
    fn check_inject_one(&self, here: usize) {
        for &(vcpu, intid) in &self.names {
            let (mut one, mut other) = (self.vgic.clone(), self.vgic.clone());
            if let Some(lr) = one.inject_one(here, vcpu, intid) {
                let kick = match intid {
                    SGI => other.raise_sgi(here, intid, 1 << vcpu, false),
                    _ => other.inject(vcpu, intid),
                };
                assert_eq!(kick, 1 << here);
                let flush =
                    other.flush(here, &mut |n, register| assert_eq!((n, register.encode(one.version)), (0, lr)));
                assert_eq!(flush, Flush { used: 0b1, ..Flush::default() });
            }
            assert_eq!(one, other);
        }
    }

    fn acknowledge(&mut self, cpu: usize) {
        let Some(lr) = self.inside[cpu].then(|| self.cpus[cpu].acknowledge()).flatten() else { return };
        let n = self.find(cpu, lr.intid);
        let source = match lr.link {
            Link::Software { source, .. } => source,
            Link::Hw(_) => 0,
        };
        let irq = &mut self.irqs[n];
        assert!(irq.active.is_none(), "{} is active already", lr.intid);
        if irq.sources != 0 {
            assert!(!self.strict || irq.sources >> source & 1 != 0);
            irq.sources &= !(1 << source);
        } else {
            irq.latch = false;
            irq.line &= irq.physical.is_none();
        }
        irq.active = Some((cpu, source));
        irq.acks += u32::from(!irq.level);
        irq.owed = false;
        self.handlers[cpu].push((n, source));
    }

    fn end(&mut self, cpu: usize) {
        if !self.inside[cpu] {
            return;
        }
        let Some((n, source)) = self.handlers[cpu].pop() else { return };
        self.cpus[cpu].end(self.names[n].1, source, !self.split);
        if !self.split {
            self.irqs[n].active = None;
        }
        self.hardware_deactivated(cpu);
    }

    /// Active and in no handler.
    fn deferred(&self, n: usize) -> Option<(usize, u8)> {
        let handled = self.handlers.iter().flatten().any(|(handled, _)| *handled == n);
        self.irqs[n].active.filter(|_| !handled)
    }

    fn deactivate(&mut self, cpu: usize, which: usize) {
        let mut here = (0..self.irqs.len()).filter(|&n| self.deferred(n).is_some_and(|(on, _)| on == cpu));
        let Some(n) = here.nth(which).filter(|_| self.inside[cpu]) else { return };
        let (intid, source) = (self.names[n].1, self.irqs[n].active.take().unwrap().1);
        if self.vgic.version == Version::V2 || self.cpus[cpu].hcr & TDIR != 0 {
            self.trap(cpu, |vgic| vgic.deactivate(cpu, intid));
        } else {
            assert!(self.cpus[cpu].deactivate(intid, source), "an active interrupt in no List Register, and no trap");
            self.hardware_deactivated(cpu);
        }
    }

    fn apply(&mut self, op: Op) {
        let (count, cpus) = (self.irqs.len(), self.cpus.len());
        let strict = self.strict;
        let mut kick = 0;
        match op {
            Op::Inject(n) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                if self.irqs[n].physical.is_none() && intid != SGI {
                    self.irqs[n].latch = true;
                    self.irqs[n].set();
                    kick = self.vgic.inject(vcpu, intid);
                }
            }
            Op::Line(n, high) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                let irq = &mut self.irqs[n];
                if irq.physical.is_none() && intid != SGI {
                    if high && !irq.line && !irq.level {
                        irq.latch = true;
                        irq.set();
                    }
                    irq.line = high;
                    kick = self.vgic.set_line(vcpu, intid, high);
                }
            }
            Op::Physical(n, high) => {
                if let Some(physical) = &mut self.irqs[n % count].physical {
                    physical.raised = high;
                }
                self.take_physical();
            }
            Op::Enable(n, on, by) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                let irq = &mut self.irqs[n];
                if intid != SGI {
                    irq.line &= irq.physical.is_none() || irq.enabled || !on;
                    irq.enabled = on;
                    let by = if intid < 32 { vcpu } else { by % cpus };
                    self.trap(by, |vgic| bit(vgic, by, if on { ISENABLER } else { ICENABLER }, intid));
                }
            }
            Op::Pend(n, on, by) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                let irq = &mut self.irqs[n];
                if intid != SGI {
                    irq.latch = on;
                    if on {
                        irq.set();
                    } else {
                        irq.owed = false;
                        irq.line &= irq.physical.is_none();
                    }
                    let by = if intid < 32 { vcpu } else { by % cpus };
                    self.trap(by, |vgic| bit(vgic, by, if on { ISPENDR } else { ICPENDR }, intid));
                }
            }
            Op::ClearActive(n, by) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                if strict && self.deferred(n).is_some() {
                    self.irqs[n].active = None;
                    let by = if intid < 32 { vcpu } else { by % cpus };
                    self.trap(by, |vgic| bit(vgic, by, ICACTIVER, intid));
                }
            }
            Op::SetActive(n, by) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                // The end of it would be counted as that of another if its order were not free.
                if strict && self.split && self.irqs[n].active.is_none() {
                    let by = if intid < 32 { vcpu } else { by % cpus };
                    self.irqs[n].active = Some((self.irqs[n].target.unwrap_or(by), 0));
                    self.trap(by, |vgic| bit(vgic, by, ISACTIVER, intid));
                }
            }
            Op::Priority(n, priority, by) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                self.irqs[n].priority = priority;
                let by = if intid < 32 { vcpu } else { by % cpus };
                self.trap(by, |vgic| set_priority(vgic, by, intid, priority));
            }
            Op::Level(n, level, by) => {
                let (n, (vcpu, intid)) = (n % count, self.names[n % count]);
                if strict && intid != SGI {
                    self.irqs[n].level = level;
                    let by = if intid < 32 { vcpu } else { by % cpus };
                    self.trap(by, |vgic| set_level(vgic, by, intid, level));
                }
            }
            Op::Route(n, to) => {
                let (n, (_, intid)) = (n % count, self.names[n % count]);
                if intid >= 32 {
                    // Of GICv2 a single vCPU is always the target.
                    let only = self.vgic.version == Version::V2 && cpus == 1;
                    self.irqs[n].target = (to < cpus).then_some(to).or(only.then_some(0));
                    self.trap(0, |vgic| route(vgic, intid, to));
                }
            }
            Op::Forward(on, by) => {
                self.forward = on;
                self.trap(by % cpus, |vgic| vgic.write(by % cpus, Region::Gicd, 0, 4, if on { 3 } else { 0 }).unwrap());
            }
            Op::Sgi(targets, from) => {
                let from = from % cpus;
                let targets = targets & ((1 << cpus) - 1);
                for target in (0..cpus).filter(|target| targets >> target & 1 != 0) {
                    let n = self.find(target, SGI);
                    match self.vgic.version {
                        Version::V2 => self.irqs[n].sources |= 1 << from,
                        Version::V3 => self.irqs[n].latch = true,
                    }
                    self.irqs[n].set();
                }
                let (targets, version) = (u64::from(targets), self.vgic.version);
                self.trap(from, |vgic| match version {
                    Version::V2 => vgic.write(from, Region::Gicd, 0xf00, 4, targets << 16 | u64::from(SGI)).unwrap(),
                    Version::V3 => vgic.write_sgir(from, u64::from(SGI) << 24 | targets, false),
                });
            }
            Op::Acknowledge(cpu) => self.acknowledge(cpu % cpus),
            Op::End(cpu) => self.end(cpu % cpus),
            Op::Deactivate(cpu, which) => self.deactivate(cpu % cpus, which),
            Op::Wait(cpu) => {
                let cpu = cpu % cpus;
                if self.inside[cpu] {
                    self.leave(cpu);
                    assert!(!strict || self.vgic.has_pending(cpu) == self.best(cpu).is_some());
                    self.inside[cpu] = false;
                    if self.vgic.has_pending(cpu) {
                        self.enter(cpu);
                    }
                }
            }
            Op::Trap(cpu) => {
                let cpu = cpu % cpus;
                self.leave(cpu);
                self.check_inject_one(cpu);
                for (&(vcpu, intid), irq) in self.names.iter().zip(&self.irqs).filter(|_| strict) {
                    let key = self.vgic.known_key(vcpu, intid);
                    let elsewhere = matches!(self.vgic.irqs[usize::from(key)].place, Place::Lr(..));
                    if !elsewhere {
                        assert_eq!(is_set(&self.vgic, vcpu, ISPENDR, intid), irq.is_pending(), "{intid} is pending");
                        assert_eq!(
                            is_set(&self.vgic, vcpu, ISACTIVER, intid),
                            irq.active.is_some(),
                            "{intid} is active"
                        );
                    }
                }
                self.enter(cpu);
            }
        }
        self.kick(kick);
        if strict {
            self.settle();
        }
        self.check();
    }

    /// Everything is enabled, every line is low: everything that is pending is delivered, and then nothing is left anywhere.
    fn drain(&mut self) {
        for n in 0..self.irqs.len() {
            self.apply(Op::Line(n, false));
            self.apply(Op::Physical(n, false));
            self.apply(Op::Route(n, 0));
            self.apply(Op::Enable(n, true, 0));
        }
        self.apply(Op::Forward(true, 0));
        for _ in 0..8 * self.irqs.len() {
            self.settle();
            for cpu in 0..self.cpus.len() {
                self.apply(Op::Acknowledge(cpu));
                self.settle();
                self.apply(Op::End(cpu));
                self.settle();
                self.apply(Op::Deactivate(cpu, 0));
            }
        }
        self.settle();
        for (n, irq) in self.irqs.iter().enumerate() {
            let name = self.names[n];
            assert!(!irq.owed || irq.level, "{name:?} was lost");
            assert!(irq.active.is_none() && irq.physical.as_ref().is_none_or(|physical| !physical.active), "{name:?}");
        }
        for cpu in 0..self.cpus.len() {
            self.leave(cpu);
            assert!(!self.vgic.has_pending(cpu) && self.vgic.vcpus[cpu].active.is_empty());
        }
    }
}

fn run(v3: bool, vcpus: usize, lrs: usize, split: bool, strict: bool, ops: Vec<Op>) {
    let mut world = World::new(if v3 { Version::V3 } else { Version::V2 }, vcpus, lrs, split, strict);
    ops.into_iter().for_each(|op| world.apply(op));
    world.drain();
}

proptest! {
    /// At every moment a vCPU's hardware would acknowledge what a GIC without List Registers would give it.
    #[test]
    fn as_without_list_registers(
        v3: bool, vcpus in 1usize..=4, lrs in 1usize..=16, split: bool, ops in proptest::collection::vec(op(), 0..120),
    ) {
        run(v3, vcpus, lrs, split, true, ops);
    }

    /// The same where it is hardest: more interrupts than List Registers.
    #[test]
    fn as_without_list_registers_with_few(
        v3: bool, vcpus in 1usize..=2, lrs in 1usize..=3, split: bool, ops in proptest::collection::vec(op(), 0..200),
    ) {
        run(v3, vcpus, lrs, split, true, ops);
    }

    /// However late kicks and maintenance interrupts are: nothing is lost, nothing is delivered twice, no physical interrupt
    /// stays active.
    #[test]
    fn late_kicks_lose_nothing(
        v3: bool, vcpus in 1usize..=4, lrs in 1usize..=16, split: bool, ops in proptest::collection::vec(op(), 0..160),
    ) {
        run(v3, vcpus, lrs, split, false, ops);
    }
}
