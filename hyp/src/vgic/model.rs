//! What the virtual GIC is tested against: the hardware's side of the List Registers, and a GIC without List Registers.

use super::*;
use alloc::vec;

/// A physical CPU in a guest: List Registers, active priorities, and what the virtual CPU interface does with them.
#[derive(Clone, Debug)]
pub struct Hardware {
    pub lrs: Vec<Option<ListRegister>>,
    pub hcr: u32,
    pub eoi_count: u32,
    /// An interrupt with the EOI bit has ended.
    pub eoi: bool,
    /// Acknowledged and priority not dropped: the priority of each.
    pub running: Vec<u8>,
    /// Physical interrupts that the hardware has deactivated since this was last emptied.
    pub deactivated: Vec<u32>,
}

impl Hardware {
    pub fn new(lrs: usize) -> Hardware {
        Hardware { lrs: vec![None; lrs], hcr: 0, eoi_count: 0, eoi: false, running: vec![], deactivated: vec![] }
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

    /// Writes EOIR: the priority drops; with EOImode 0 the interrupt is deactivated as well.
    pub fn end(&mut self, intid: u32, source: u8, deactivate: bool) {
        self.running.pop().expect("the guest ends what it has acknowledged");
        if deactivate && !self.deactivate(intid, source) {
            self.eoi_count += 1;
        }
    }

    /// Deactivates what a List Register holds; false if none does.
    pub fn deactivate(&mut self, intid: u32, source: u8) -> bool {
        let found = self.lrs.iter_mut().find(|lr| {
            lr.is_some_and(|lr| {
                let same_source = match lr.link {
                    Link::Software { source: of, .. } => of == source,
                    Link::Hw(_) => true,
                };
                lr.intid == intid && same_source && lr.state.is_active()
            })
        });
        let Some(slot) = found else { return false };
        let lr = slot.as_mut().unwrap();
        match lr.link {
            Link::Hw(physical) => self.deactivated.push(physical),
            Link::Software { eoi, .. } => self.eoi |= eoi,
        }
        *slot = None;
        true
    }

    /// A trap and the way back: what the hypervisor does between, without other work.
    pub fn exit(&mut self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        let kick = self.leave(vgic, vcpu);
        kick | self.enter(vgic, vcpu)
    }

    pub fn leave(&mut self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        let lrs = take(&mut self.lrs);
        let kick = vgic.sync(vcpu, |n| lrs[n].map_or(State::Invalid, |lr| lr.state), take(&mut self.eoi_count));
        self.lrs = vec![None; lrs.len()];
        (self.eoi, self.hcr) = (false, 0);
        kick
    }

    pub fn enter(&mut self, vgic: &mut Vgic, vcpu: usize) -> VcpuSet {
        let version = vgic.version;
        let lrs = &mut self.lrs;
        let flush = vgic.flush(vcpu, |n, lr| {
            assert_ne!(lr.state, State::PendingActive, "one occurrence a List Register");
            assert_eq!(ListRegister::decode(version, lr.encode(version)), lr);
            assert!(lrs[n].replace(lr).is_none(), "one interrupt a List Register");
        });
        let written = self.lrs.iter().enumerate().fold(0, |set, (n, lr)| set | u16::from(lr.is_some()) << n);
        assert_eq!(flush.used, written);
        self.hcr = flush.hcr;
        for (n, lr) in self.lrs.iter().flatten().enumerate() {
            assert!(self.lrs[..n].iter().flatten().all(|other| other.intid != lr.intid), "twice in List Registers");
        }
        assert_eq!(self.misr(), 0, "the guest would be left before its first instruction: {self:?}");
        0
    }
}

/// One interrupt of the reference.
#[derive(Clone, Debug, Default)]
pub struct Simple {
    pub enabled: bool,
    pub level: bool,
    pub priority: u8,
    pub latch: bool,
    pub line: bool,
    pub sources: u8,
    /// By which CPU, and from which source.
    pub active: Option<(usize, u8)>,
    pub target: Option<usize>,
    /// The device's line of a linked interrupt, and whether the physical interrupt is active.
    pub physical: Option<(bool, bool)>,
}

impl Simple {
    pub fn is_pending(&self) -> bool {
        self.latch || self.level && self.line || self.sources != 0
    }
}

/// The interrupt that a CPU of a GIC without List Registers would be given: the most urgent that is pending, enabled, for this
/// CPU and not active.
pub fn best<'a>(irqs: impl Iterator<Item = (u32, &'a Simple)>, cpu: usize) -> Option<(u8, u32)> {
    irqs.filter(|(_, irq)| irq.enabled && irq.is_pending() && irq.active.is_none() && irq.target == Some(cpu))
        .map(|(intid, irq)| (irq.priority, intid))
        .min()
}
