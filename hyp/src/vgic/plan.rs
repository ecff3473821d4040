//! Filling the List Registers and reading them back. The rules and their reasons are in [`super`].

use super::*;

/// GICH_HCR and ICH_HCR_EL2: maintenance interrupt when no more than one List Register is valid.
pub const UIE: u32 = 1 << 1;
/// The same: when EOIcount is not 0, an interrupt was ended that no List Register holds.
pub const LRENPIE: u32 = 1 << 2;
/// The same: when no List Register is pending.
pub const NPIE: u32 = 1 << 3;
/// ICH_HCR_EL2: writes to ICC_DIR_EL1 are trapped. (GICv2: GICV_DIR is in the second page of GICV, which is best never mapped.)
pub const TDIR: u32 = 1 << 14;

/// What goes with the List Registers into the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// Bit n: List Register n was written. Those that are not, and are not invalid already, must be made so.
    pub used: u16,
    /// To be set in GICH_HCR or ICH_HCR_EL2 next to En: [`UIE`], [`LRENPIE`], [`NPIE`], [`TDIR`]. EOIcount is set to 0.
    pub hcr: u32,
    /// Physical PPIs to deactivate on this CPU (GICR_ICACTIVER0, GICD_ICACTIVER0): bit n is INTID n.
    pub deactivate: u32,
}

impl Vgic {
    /// Takes back what a vCPU's List Registers hold, after it has left the guest; `read` reads one of them, and is called
    /// for those in use alone. `eoi_count` is EOIcount of GICH_HCR or ICH_HCR_EL2.
    ///
    /// Needed before any other call on behalf of the vCPU that depends on what its guest has acknowledged and ended (a
    /// register access, WFI, a switch) and before every [`Vgic::flush`]. A trap that needs none of it, and kicks nobody, may
    /// leave the List Registers as they are.
    pub fn sync(&mut self, vcpu: usize, mut read: impl FnMut(usize) -> State, eoi_count: u32) -> VcpuSet {
        // First these: what comes back below was in a List Register and is not meant.
        for _ in 0..eoi_count {
            let Some(&key) = self.vcpus[vcpu].active.last() else { break };
            self.clear_active(key);
        }
        let mut lrs = take(&mut self.vcpus[vcpu].lrs);
        for (n, &loaded) in lrs.iter().enumerate() {
            self.unload(vcpu, loaded, read(n));
        }
        lrs.clear();
        self.vcpus[vcpu].lrs = lrs;
        take(&mut self.kick) & !(1 << vcpu)
    }

    #[inline]
    fn unload(&mut self, vcpu: usize, loaded: Loaded, now: State) {
        let sgi_of_v2 = self.is_sgi_of_v2(loaded.key);
        let irq = &mut self.irqs[usize::from(loaded.key)];
        let (word, bit) = self.words[usize::from(loaded.key) / PRIVATE].bit(loaded.key);
        irq.place = Place::Nowhere;
        if now.is_pending() {
            word.latch |= mask(loaded.latch) & bit;
            word.line |= mask(loaded.line) & bit;
            if sgi_of_v2 {
                irq.sources |= u8::from(loaded.latch) << loaded.source;
            }
        }
        if now.is_active() && loaded.active {
            word.active |= bit;
            (irq.active_on, irq.active_priority, irq.active_source) = (vcpu as u8, loaded.priority, loaded.source);
        }
        if loaded.hw && now != State::Invalid {
            word.phys_active |= bit;
        }
        if (word.active | word.phys_active | word.pending()) & bit != 0 {
            self.update(loaded.key);
        }
    }

    /// Fills the List Registers of a vCPU that enters its guest; `write` writes one of them. The vCPU has come to
    /// [`Vgic::sync`] since it left the guest.
    pub fn flush(&mut self, vcpu: usize, mut write: impl FnMut(usize, ListRegister)) -> Flush {
        let this = &mut self.vcpus[vcpu];
        debug_assert!(this.lrs.is_empty(), "the List Registers were not read back");
        let deactivate = take(&mut this.deactivate);
        let (all_active, all_pending) = (this.active.len(), this.lr_pending.len());
        match (all_active, all_pending) {
            (0, 0) => Flush { used: 0, hcr: 0, deactivate },
            // What there mostly is: one interrupt, for which there is room.
            (0, 1) => {
                if let Some(key) = this.lr_pending.pop() {
                    write(0, self.load(vcpu, 0, key, false));
                }
                Flush { used: 0b1, hcr: 0, deactivate }
            }
            _ => Flush { deactivate, ..self.fill(vcpu, &mut write) },
        }
    }

    /// Fills the List Registers by the rules.
    #[inline(never)]
    fn fill(&mut self, vcpu: usize, write: &mut dyn FnMut(usize, ListRegister)) -> Flush {
        let this = &self.vcpus[vcpu];
        let (all_active, all_pending) = (this.active.len(), this.lr_pending.len());
        let most_urgent = usize::from(all_pending != 0);
        let active = all_active.min(self.lrs - most_urgent);
        let pending = all_pending.min(self.lrs - active);
        for n in 0..active {
            let Some(key) = self.vcpus[vcpu].active.pop() else { break };
            write(n, self.load(vcpu, n, key, true));
        }
        for n in active..active + pending {
            let Some(key) = self.vcpus[vcpu].lr_pending.pop() else { break };
            write(n, self.load(vcpu, n, key, false));
        }
        let mut hcr = 0;
        if active < all_active {
            hcr |= LRENPIE | if self.version == Version::V3 { TDIR } else { 0 };
        }
        if pending < all_pending {
            hcr |= NPIE | if self.lrs > 1 { UIE } else { 0 };
        }
        Flush { used: ((1u32 << (active + pending)) - 1) as u16, hcr, deactivate: 0 }
    }

    /// Moves one occurrence of a queued interrupt into List Register `n`.
    #[inline(always)]
    fn load(&mut self, vcpu: usize, n: usize, key: Key, was_active: bool) -> ListRegister {
        let (intid, sgi_of_v2) = (self.intid(key), self.is_sgi_of_v2(key));
        let irq = &mut self.irqs[usize::from(key)];
        let (word, bit) = self.words[usize::from(key) / PRIVATE].bit(key);
        let (mut latch, mut line, mut source) = (false, false, irq.active_source);
        if was_active {
            word.active &= !bit;
        } else {
            (latch, line, source) = (word.latch & bit != 0, word.line & word.linked & bit != 0, 0);
            word.clear_pending(bit);
            if sgi_of_v2 {
                source = irq.sources.trailing_zeros() as u8;
                irq.sources &= irq.sources - 1;
                word.latch |= mask(irq.sources != 0) & bit;
            }
        }
        irq.place = Place::Lr(vcpu as u8, n as u8);

        let again = word.deliverable(self.ctlr) & bit != 0;
        let physical = irq.hw.filter(|_| word.phys_active & bit != 0 && !again);
        if physical.is_some() {
            word.phys_active &= !bit;
        }
        let (state, priority) =
            if was_active { (State::Active, irq.active_priority) } else { (State::Pending, irq.priority) };
        let link = match physical {
            Some(physical) => Link::Hw(physical.into()),
            None => Link::Software { eoi: again, source },
        };
        let lr = ListRegister { intid, priority, group1: word.group1 & bit != 0, state, link };
        let hw = physical.is_some();
        self.vcpus[vcpu].lrs.push(Loaded { key, priority, source, hw, was_active, latch, line, active: true });
        lr
    }
}
