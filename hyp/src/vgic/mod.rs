//! The virtual GIC of one guest: distributor, redistributors, and what is in the List Registers. It touches no hardware.
//!
//! The guest's CPU interface is hardware: it acknowledges and ends interrupts without a trap. What it can acknowledge is what
//! the hypervisor wrote into the **List Registers** of the physical CPU (often four) before it entered the guest:
//!
//! ```text
//!      software, all of it in this module          │  hardware, while the vCPU runs
//!                                                  │
//!  devices,   Irq: enabled, priority, route, ...   │        ┌──────────────────────┐  the guest
//!  SGIs,   ─▶   latch, line, active                │  LR 0  │ 27  prio 80  active  │  reads IAR:  pending ─▶ active
//!  guest's         │ update                        │  LR 1  │ 33  prio a0  pending │  writes EOIR: active ─▶ invalid;
//!  writes          ▼                               │  LR 2  │ invalid              │    with HW = 1 the physical
//!             Vcpu: lr_pending [33, 40]  ── flush ─┼─▶ ...  │ ...                  │    interrupt is deactivated too
//!                   active     [27]     ◀── sync ──┼──      └──────────────────────┘  empty, or as we asked:
//!                                                  │                                  maintenance interrupt, a trap
//! ```
//!
//! # Who holds an occurrence
//! An occurrence of an interrupt is in one place. [`Vgic::flush`] moves it out of the software state into a List Register (the
//! latch is cleared as it goes); [`Vgic::sync`] brings back what the guest has not consumed. So an edge that arrives while the
//! vCPU runs is a new occurrence if the guest has acknowledged the one before and the same one if not, although nobody knows
//! which until `sync`. What another vCPU does to an interrupt that is in a List Register (disable it, clear it, route it
//! elsewhere) changes the software state at once and *kicks* the vCPU; its `sync` finds what is left and `update` puts
//! it where it now belongs. Until the kick arrives the guest may still acknowledge it, as it may on hardware.
//!
//! Every interrupt of a vCPU that is queued or visible is *inflight*: in `lr_pending`, in `active` or in a List Register
//! (`Place`). One that is disabled, or that nobody is the target of, is pending in its `Irq` alone.
//!
//! # Rules of the planner ([`Vgic::flush`])
//! 1. The most urgent pending interrupt always gets a List Register: otherwise a guest that defers deactivation (EOImode 1),
//!    or nests deeply, fills them with active interrupts and waits for ever for the one that does not fit.
//! 2. Then the active ones, most urgent first: the guest ends them in this order, and the hardware knows only those that are
//!    in a List Register.
//! 3. Then the other pending ones, most urgent first; a less urgent one that was in a List Register is evicted by this.
//!
//! If a pending one is left over, all List Registers are in use and we must be called back. UIE does it when at most one is
//! still valid, in time to refill. It is not enough: active interrupts keep it from firing, and with a single List Register
//! it would fire before the guest's first instruction. NPIE fires when nothing pending is in a List Register, and rule 1
//! makes that exact: what is left over is less urgent than all that is pending inside, so the guest misses
//! nothing until then, and on entry something pending is inside, so it does not fire at once. With two or more both are armed.
//!
//! If an active one is left over, its end is counted (EOIcount) and LRENPIE calls us: what ends first is the most urgent.
//! With EOImode 1 the order is free: the write to DIR must be trapped and given to [`Vgic::deactivate`].
//!
//! # One occurrence per List Register
//! Pending-and-active is forbidden with HW = 1, and says too little for an SGI of two sources. So no List Register ever gets
//! it: the second occurrence stays in software, and the register of the first has HW = 0 and the EOI bit, which brings us
//! back at the right moment. A level-sensitive interrupt whose line stays high is the same case: it is pending again.
//!
//! # The physical interrupt behind a virtual one
//! `hw` links a virtual interrupt to a physical one. From [`Vgic::inject`] on the physical one is active (`phys_active`), so it
//! cannot fire again. It is let go by the hardware (HW = 1), or, as soon as nothing of it is pending or active any more, by
//! the caller, whom [`Vgic::pop_deactivation`] tells. If its device still asserts it then, it fires and is injected again.
//! A disabled one stays pending, physically active; when it is enabled again, a level-sensitive one is let go, to
//! sample its line afresh.

extern crate alloc;

mod list_register;
mod mmio;
#[cfg(test)]
mod model;
mod plan;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::{replace, take};
use core::ops::{Deref, DerefMut};

pub use list_register::{Link, ListRegister, State, Version};
pub use mmio::{Refused, Region};
pub use plan::{Flush, LRENPIE, NPIE, TDIR, UIE};

/// A set of vCPUs: bit n is vCPU n. As a result: those to kick, that is, to wake up if they wait, and to send an interrupt if
/// they run on another CPU, so that they come to [`Vgic::sync`] and [`Vgic::flush`]; the calling vCPU may be one of them.
pub type VcpuSet = u16;

/// SGIs and PPIs: each vCPU has its own.
const PRIVATE: usize = 32;
const SGIS: u32 = 16;
const SGI_BITS: u32 = 0xffff;
/// The top five bits of a priority exist, as in a List Register of GICv2 and most of GICv3.
const PRIORITY_BITS: u8 = 0xf8;
/// GICD_IROUTER: one of all, not the one whose affinity is given (bits 39:32 and 23:0).
const ROUTER_IRM: u64 = 1 << 31;
const ROUTER_BITS: u64 = 0xff_00ff_ffff | ROUTER_IRM;

/// An interrupt of the guest: its index in [`Vgic::irqs`].
type Key = u16;

/// All bits or none.
fn mask(all: bool) -> u32 {
    u32::from(all).wrapping_neg()
}

/// Where an interrupt that is pending and deliverable, or active, waits or is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Nowhere,
    /// In `lr_pending` of a vCPU.
    Pending(u8),
    /// In `active` of a vCPU.
    Active(u8),
    /// Visible to the guest: in List Register `.1` of vCPU `.0`.
    Lr(u8, u8),
}

/// What of 32 interrupts is a bit each, as the distributor's registers have it: a vCPU's SGIs and PPIs, or 32 SPIs.
#[derive(Clone, Debug, Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Word {
    enabled: u32,
    group1: u32,
    /// Level-sensitive; else edge-triggered.
    level: u32,
    /// Pending by an edge, by a write to GICD_ISPENDR, or as an SGI (of GICv2: from one of its `sources`).
    latch: u32,
    /// The line is high. Of a linked interrupt: it was when the physical one was taken, and the guest has not seen it yet.
    line: u32,
    /// Acknowledged and not ended, and in no List Register.
    active: u32,
    /// Linked to a physical interrupt.
    linked: u32,
    /// The physical interrupt is active and it is for us to let it go.
    phys_active: u32,
    /// Enabled, and the group is in GICD_CTLR ([`Word::forward`]).
    forwarded: u32,
}

impl Word {
    /// Itself, and the bit of an interrupt in it.
    fn bit(&mut self, key: Key) -> (&mut Word, u32) {
        (self, 1 << (usize::from(key) % PRIVATE))
    }

    /// An occurrence waits in software.
    fn pending(&self) -> u32 {
        self.latch | self.level & self.line
    }

    /// There is something to it in software: pending, by a line that does not count too, active, or the physical interrupt to let go.
    fn held(&self) -> u32 {
        self.latch | self.line | self.active | self.phys_active
    }

    /// Pending in software, enabled, and the group is in GICD_CTLR.
    fn deliverable(&self) -> u32 {
        self.pending() & self.forwarded
    }

    /// To be called after any change of `enabled`, `group1` or GICD_CTLR.
    fn forward(&mut self, ctlr: u32) {
        let groups = self.group1 & mask(ctlr & 0b10 != 0) | !self.group1 & mask(ctlr & 0b01 != 0);
        self.forwarded = self.enabled & groups;
    }

    /// Forgets what waits, but for the lines of emulated devices, which are not ours to change.
    fn clear_pending(&mut self, which: u32) {
        self.latch &= !which;
        self.line &= !(which & self.linked);
    }
}

/// What else there is of one virtual interrupt.
#[derive(Clone, Debug, Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Irq {
    intid: u16,
    priority: u8,
    /// SPIs. GICv2: the CPU targets, one bit each; GICv3: GICD_IROUTER.
    route: u64,
    /// The vCPU that `route` means, the lowest if several; of SGIs and PPIs their own.
    target: Option<u8>,
    /// SGIs of GICv2: the CPUs whose SGI is pending.
    sources: u8,
    /// While it is active: on which vCPU, with the priority and (SGIs of GICv2) the source it was acknowledged with. The guest's
    /// end of interrupt must find them as they were.
    active_on: u8,
    active_priority: u8,
    active_source: u8,
    /// The physical interrupt it is linked to.
    hw: Option<u16>,
    place: Place,
}

/// What is in a List Register while the vCPU runs, and what comes back at `sync` for each part that is still there.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq))]
struct Loaded {
    key: Key,
    /// As written: the priority, the source of an SGI of GICv2, HW.
    priority: u8,
    source: u8,
    hw: bool,
    /// It was written as active.
    was_active: bool,
    /// If it is still pending: by the latch (an SGI of GICv2: from the source), by the line of a linked interrupt.
    latch: bool,
    line: bool,
    /// If it is found active it counts as active.
    active: bool,
}

/// One virtual CPU.
#[derive(Clone, Debug, Default)]
#[cfg_attr(test, derive(PartialEq))]
struct Vcpu {
    /// Pending, deliverable, not in a List Register; the most urgent last.
    lr_pending: Queue,
    /// Acknowledged by this vCPU, not in a List Register; the most urgent last.
    active: Queue,
    /// What the List Registers hold, while the vCPU runs.
    lrs: heapless::Vec<Loaded, 16>,
    /// GICR_WAKER.ProcessorSleep.
    asleep: bool,
    /// Physical PPIs to be deactivated on the CPU where this vCPU runs next.
    deactivate: u32,
}

/// Interrupts in a row, with room for all that there are: it never grows.
#[derive(Clone, Debug, Default)]
struct Queue {
    keys: Box<[Key]>,
    length: usize,
}

impl Queue {
    fn new(room: usize) -> Queue {
        Queue { keys: alloc::vec![0; room].into(), length: 0 }
    }

    #[inline(always)]
    fn push(&mut self, key: Key) {
        // An interrupt is in one place, so that there is room.
        if let Some(free) = self.keys.get_mut(self.length) {
            *free = key;
            self.length += 1;
        }
    }

    fn pop(&mut self) -> Option<Key> {
        let last = self.last().copied()?;
        self.length -= 1;
        Some(last)
    }

    fn remove(&mut self, key: Key) {
        if let Some(at) = self.iter().position(|&other| other == key) {
            self[at..].rotate_left(1);
            self.length -= 1;
        }
    }
}

#[cfg(test)]
impl PartialEq for Queue {
    fn eq(&self, other: &Queue) -> bool {
        **self == **other
    }
}

impl Deref for Queue {
    type Target = [Key];

    fn deref(&self) -> &[Key] {
        &self.keys[..self.length]
    }
}

impl DerefMut for Queue {
    fn deref_mut(&mut self) -> &mut [Key] {
        &mut self.keys[..self.length]
    }
}

/// The virtual GIC of one guest. It allocates when it is made and never after.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub struct Vgic {
    version: Version,
    /// How many List Registers there are.
    lrs: usize,
    /// GICD_CTLR: bit 0 enables Group 0, bit 1 Group 1.
    ctlr: u32,
    vcpus: Vec<Vcpu>,
    /// One for each vCPU, then those of the SPIs.
    words: Vec<Word>,
    /// In the same order, 32 for each word.
    irqs: Vec<Irq>,
    kick: VcpuSet,
    /// Physical SPIs to be deactivated, one bit each; bit n of `deactivate_words`: word n is not 0.
    deactivate: [u32; 32],
    deactivate_words: u32,
}

impl Vgic {
    /// The GIC of a guest with `vcpus` vCPUs (1 to 8; GICv3: to 16), numbered by Aff0 of their MPIDR, and `spis` SPIs (a
    /// multiple of 32, at most 960), on a machine with `lrs` List Registers (1 to 16).
    pub fn new(version: Version, vcpus: usize, spis: usize, lrs: usize) -> Vgic {
        assert!((1..=if version == Version::V2 { 8 } else { 16 }).contains(&vcpus), "{vcpus} vCPUs");
        assert!(spis.is_multiple_of(32) && spis <= 960, "{spis} SPIs");
        assert!((1..=16).contains(&lrs), "{lrs} List Registers");
        let queue = || Queue::new(PRIVATE + spis);
        let vcpu = || Vcpu { lr_pending: queue(), active: queue(), ..Vcpu::default() };
        let mut vgic = Vgic {
            version,
            lrs,
            ctlr: 0,
            vcpus: (0..vcpus).map(|_| vcpu()).collect(),
            words: alloc::vec![Word::default(); vcpus + spis / PRIVATE],
            irqs: alloc::vec![Irq::default(); PRIVATE * vcpus + spis],
            kick: 0,
            deactivate: [0; 32],
            deactivate_words: 0,
        };
        vgic.reset();
        vgic
    }

    /// Back to the state after power-on, for a guest none of whose vCPUs runs. The links to physical interrupts stay; every
    /// physical SPI that was active for the guest is returned through [`Vgic::pop_deactivation`]. (A PPI is not: its active
    /// state left the CPU with the vCPU.)
    pub fn reset(&mut self) {
        let vcpus = self.vcpus.len();
        for key in 0..self.irqs.len() as Key {
            if usize::from(key) >= PRIVATE * vcpus && self.holds_physical(key) {
                self.release(key);
            }
            let (intid, target) = (self.intid(key) as u16, self.target(key, 0));
            let irq = &mut self.irqs[usize::from(key)];
            *irq = Irq { intid, target, hw: irq.hw, ..Irq::default() };
        }
        for (index, word) in self.words.iter_mut().enumerate() {
            let sgis = mask(index < vcpus) & SGI_BITS;
            let enabled = mask(self.version == Version::V2) & sgis;
            *word = Word { enabled, level: !sgis, linked: word.linked, ..Word::default() };
        }
        for vcpu in &mut self.vcpus {
            (vcpu.lr_pending.length, vcpu.active.length) = (0, 0);
            vcpu.lrs.clear();
            (vcpu.asleep, vcpu.deactivate) = (true, 0);
        }
        (self.ctlr, self.kick) = (0, 0);
    }

    /// Links a virtual PPI or SPI to the physical interrupt that it stands for, of which no other virtual one may be the
    /// stand-in; or none, which returns the physical interrupt if it is active.
    pub fn link(&mut self, vcpu: usize, intid: u32, physical: Option<u32>) -> VcpuSet {
        let both_private = |physical| physical < 1020 && (physical < PRIVATE as u32) == (intid < PRIVATE as u32);
        assert!(physical.is_none_or(both_private), "INTID {intid} stands for {physical:?}");
        let key = self.known_key(vcpu, intid);
        if self.holds_physical(key) {
            self.release(key);
        }
        let (word, bit) = self.word(key);
        word.phys_active &= !bit;
        word.linked = word.linked & !bit | mask(physical.is_some()) & bit;
        self.irqs[usize::from(key)].hw = physical.map(|physical| physical as u16);
        self.update(key);
        take(&mut self.kick)
    }

    /// An interrupt has happened. A linked one: the physical interrupt was taken and its priority dropped, and it is active.
    /// Another: an edge. `vcpu` matters for SGIs and PPIs.
    pub fn inject(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        let key = self.known_key(vcpu, intid);
        let (word, bit) = self.word(key);
        word.phys_active |= word.linked & bit;
        if word.linked & word.level & bit != 0 {
            word.line |= bit;
        } else {
            word.latch |= bit;
        }
        if let Some(ppi) = self.irqs[usize::from(key)].hw.filter(|_| intid < PRIVATE as u32) {
            // What was to be let go has been, when its vCPU left a CPU: this one is new.
            self.vcpus[vcpu].deactivate &= !(1 << ppi);
        }
        self.update(key);
        take(&mut self.kick)
    }

    /// The interrupt line of an emulated device, every time it may have changed. Of a linked interrupt it may only be said
    /// that it is low: an occurrence that the guest has not seen is taken back.
    pub fn set_line(&mut self, vcpu: usize, intid: u32, high: bool) -> VcpuSet {
        let key = self.known_key(vcpu, intid);
        let (word, bit) = self.word(key);
        if (word.line & bit != 0) != high {
            word.line ^= bit;
            word.latch |= word.line & !word.level & bit;
            self.update(key);
        } else if let Some(loaded) = self.loaded_mut(key).filter(|loaded| loaded.line && !high) {
            loaded.line = false;
            self.update(key);
        }
        take(&mut self.kick)
    }

    /// Which SGI a write of `value` by `vcpu` to ICC_SGI1R_EL1, or of GICv2 to GICD_SGIR, sends to itself and to no other.
    #[inline(always)]
    pub fn sgi_to_itself(version: Version, vcpu: usize, value: u64) -> Option<u32> {
        let (targets, intid) = match version {
            Version::V2 => (value as u32 & 0x03ff_0000 == 1 << (16 + vcpu), value & 0xf),
            Version::V3 => (value & !(0xf << 24) == 1 << vcpu, value >> 24 & 0xf),
        };
        targets.then_some(intid as u32)
    }

    /// A trapped write of `value` by `vcpu` to ICC_SGI1R_EL1, or, with `group0`, to ICC_SGI0R_EL1 or ICC_ASGI1R_EL1 (IHI 0069).
    /// With one security state the first raises an SGI of either group, the others those of Group 0.
    pub fn write_sgir(&mut self, vcpu: usize, value: u64, group0: bool) -> VcpuSet {
        let (others, intid) = (value >> 40 & 1 != 0, (value >> 24 & 0xf) as u32);
        // Affinities 3 to 1, and RS: the range of sixteen that the list is about. There are no CPUs but those of all zeroes.
        let elsewhere = value & 0x00ff_f0ff_00ff_0000 != 0;
        let targets = match (others, elsewhere) {
            (true, _) => !(1 << vcpu),
            (false, true) => 0,
            (false, false) => value as VcpuSet,
        };
        self.raise_sgi(vcpu, intid, targets, group0)
    }

    fn raise_sgi(&mut self, from: usize, intid: u32, targets: VcpuSet, group0: bool) -> VcpuSet {
        let mut targets = u32::from(targets) & ((1 << self.vcpus.len()) - 1);
        while targets != 0 {
            let target = targets.trailing_zeros() as usize;
            targets &= targets - 1;
            let key = self.known_key(target, intid);
            let (word, bit) = self.word(key);
            if group0 && word.group1 & bit != 0 {
                continue;
            }
            word.latch |= bit;
            if self.version == Version::V2 {
                self.irqs[usize::from(key)].sources |= 1 << from;
            }
            self.update(key);
        }
        take(&mut self.kick)
    }

    /// A trapped write to GICV_DIR or ICC_DIR_EL1 by `vcpu`: the interrupt is deactivated.
    pub fn deactivate(&mut self, vcpu: usize, intid: u32) -> VcpuSet {
        if let Some(key) = self.key(vcpu, intid) {
            self.clear_active(key);
        }
        take(&mut self.kick)
    }

    /// Whether something is pending for a vCPU that has come to [`Vgic::sync`]: it must not wait (WFI). Its priority mask and
    /// what it is handling are not looked at: waking up for nothing is allowed.
    pub fn has_pending(&self, vcpu: usize) -> bool {
        !self.vcpus[vcpu].lr_pending.is_empty()
    }

    /// Whether the physical interrupt behind a virtual one is active for it: for a PPI the state to set (GICR_ISACTIVER0,
    /// GICD_ISACTIVER0) where the vCPU, which has come to [`Vgic::sync`], runs next, and to clear where it ran.
    pub fn holds_physical_of(&self, vcpu: usize, intid: u32) -> bool {
        self.holds_physical(self.known_key(vcpu, intid))
    }

    /// Whether [`Vgic::pop_deactivation`] has something.
    #[inline]
    pub fn has_deactivations(&self) -> bool {
        self.deactivate_words != 0
    }

    /// The next physical SPI to deactivate (ICC_DIR_EL1, GICC_DIR), to be asked for until none is left after every call that may
    /// change something, before physical interrupts are taken again.
    pub fn pop_deactivation(&mut self) -> Option<u32> {
        if self.deactivate_words == 0 {
            return None;
        }
        let word = self.deactivate_words.trailing_zeros();
        let bits = self.deactivate.get_mut(word as usize)?;
        let bit = bits.trailing_zeros();
        *bits &= *bits - 1;
        if *bits == 0 {
            self.deactivate_words &= !(1 << word);
        }
        Some(word * 32 + bit)
    }

    /// The interrupt with this INTID that `vcpu` sees.
    fn key(&self, vcpu: usize, intid: u32) -> Option<Key> {
        let intid = intid as usize;
        let key = if intid < PRIVATE { PRIVATE * vcpu + intid } else { PRIVATE * (self.vcpus.len() - 1) + intid };
        (key < self.irqs.len()).then_some(key as Key)
    }

    fn known_key(&self, vcpu: usize, intid: u32) -> Key {
        self.key(vcpu, intid).expect("the guest has this interrupt")
    }

    /// The word that has an interrupt's bits, and which bit that is.
    fn word(&mut self, key: Key) -> (&mut Word, u32) {
        self.words[usize::from(key) / PRIVATE].bit(key)
    }

    fn intid(&self, key: Key) -> u32 {
        let (key, private) = (usize::from(key), PRIVATE * self.vcpus.len());
        (if key < private { key % PRIVATE } else { key - private + PRIVATE }) as u32
    }

    /// The vCPU an interrupt is for when its route is `route`, if any. One that several could take goes to the lowest.
    fn target(&self, key: Key, route: u64) -> Option<u8> {
        let vcpus = self.vcpus.len() as u64;
        let target = match self.version {
            _ if u64::from(key) < PRIVATE as u64 * vcpus => u64::from(key) / PRIVATE as u64,
            Version::V2 if vcpus == 1 => 0,
            Version::V2 => route.trailing_zeros().into(),
            Version::V3 if route & ROUTER_IRM != 0 => 0,
            Version::V3 => route,
        };
        (target < vcpus).then_some(target as u8)
    }

    fn set_route(&mut self, key: Key, route: u64) {
        let target = self.target(key, route);
        let irq = &mut self.irqs[usize::from(key)];
        (irq.route, irq.target) = (route, target);
        self.update(key);
    }

    #[inline(always)]
    fn queue_mut(&mut self, place: Place) -> Option<&mut Queue> {
        match place {
            Place::Pending(vcpu) => Some(&mut self.vcpus[usize::from(vcpu)].lr_pending),
            Place::Active(vcpu) => Some(&mut self.vcpus[usize::from(vcpu)].active),
            Place::Nowhere | Place::Lr(..) => None,
        }
    }

    /// Moves an interrupt to where it belongs.
    fn place(&mut self, key: Key, place: Place) {
        let irq = &mut self.irqs[usize::from(key)];
        if irq.place == place {
            return;
        }
        let before = replace(&mut irq.place, place);
        if before != Place::Nowhere {
            self.unqueue(key, before);
        }
        let Some(queue) = self.queue_mut(place) else { return };
        queue.push(key);
        if queue.len() > 1 {
            self.sink(place);
        }
    }

    fn unqueue(&mut self, key: Key, place: Place) {
        if let Some(queue) = self.queue_mut(place) {
            queue.remove(key);
        }
    }

    /// Moves the last of a queue to behind all that are less urgent; the INTID settles ties.
    fn sink(&mut self, place: Place) {
        let Some(queue) = self.queue_mut(place) else { return };
        let mut queue = take(queue);
        let urgency = |key: Key| {
            let irq = &self.irqs[usize::from(key)];
            (if let Place::Active(_) = place { irq.active_priority } else { irq.priority }, key)
        };
        let last = queue.len() - 1;
        let at = queue[..last].partition_point(|&other| urgency(other) > urgency(queue[last]));
        queue[at..].rotate_right(1);
        if let Some(emptied) = self.queue_mut(place) {
            *emptied = queue;
        }
    }

    /// Finds out where an interrupt belongs after any change of its state, and notes whom to kick for it.
    fn update(&mut self, key: Key) {
        let irq = &mut self.irqs[usize::from(key)];
        let (word, bit) = self.words[usize::from(key) / PRIVATE].bit(key);
        let place = match irq.target {
            _ if word.active & bit != 0 => Place::Active(irq.active_on),
            Some(target) if word.deliverable() & bit != 0 => Place::Pending(target),
            _ => Place::Nowhere,
        };
        match (irq.place, place) {
            // The rest of its state is in hardware: the next `sync` of the vCPU comes back to it.
            (Place::Lr(vcpu, _), _) => self.kick |= 1 << vcpu,
            // What there mostly is: the first that is pending.
            (Place::Nowhere, Place::Pending(vcpu)) if self.vcpus[usize::from(vcpu)].lr_pending.length == 0 => {
                self.vcpus[usize::from(vcpu)].lr_pending.push(key);
                irq.place = place;
                self.kick |= 1 << vcpu;
            }
            _ => self.move_to(key, place),
        }
    }

    /// Moves an interrupt to where it belongs, which is not a List Register, from anywhere but one.
    #[inline(never)]
    fn move_to(&mut self, key: Key, place: Place) {
        if let Place::Pending(vcpu) | Place::Active(vcpu) = place {
            self.kick |= 1 << vcpu;
        } else {
            let (word, bit) = self.word(key);
            if word.phys_active & !word.pending() & bit != 0 {
                word.phys_active &= !bit;
                self.release(key);
            }
        }
        self.place(key, place);
    }

    /// What a List Register holds of an interrupt.
    fn loaded_mut(&mut self, key: Key) -> Option<&mut Loaded> {
        match self.irqs[usize::from(key)].place {
            Place::Lr(vcpu, n) => self.vcpus[usize::from(vcpu)].lrs.get_mut(usize::from(n)),
            _ => None,
        }
    }

    fn loaded(&self, key: Key) -> Option<&Loaded> {
        match self.irqs[usize::from(key)].place {
            Place::Lr(vcpu, n) => self.vcpus[usize::from(vcpu)].lrs.get(usize::from(n)),
            _ => None,
        }
    }

    /// The physical interrupt is active, and for us or for the hardware (through a List Register) to let go.
    fn holds_physical(&self, key: Key) -> bool {
        self.words[usize::from(key) / PRIVATE].phys_active >> (usize::from(key) % PRIVATE) & 1 != 0
            || self.loaded(key).is_some_and(|loaded| loaded.hw)
    }

    /// Notes that the physical interrupt is to be deactivated.
    fn release(&mut self, key: Key) {
        let Some(physical) = self.irqs[usize::from(key)].hw else { return };
        if let Some(vcpu) = self.vcpus.get_mut(usize::from(key) / PRIVATE) {
            vcpu.deactivate |= 1 << physical;
            self.kick |= 1 << (usize::from(key) / PRIVATE);
        } else {
            self.deactivate[physical as usize / 32] |= 1 << (physical % 32);
            self.deactivate_words |= 1 << (physical / 32);
        }
    }

    fn clear_active(&mut self, key: Key) {
        let (word, bit) = self.word(key);
        word.active &= !bit;
        // Written as pending it may have been acknowledged since: if `sync` finds it active, it counts as cleared after that.
        if let Some(loaded) = self.loaded_mut(key) {
            loaded.active = false;
        }
        self.update(key);
    }
}
