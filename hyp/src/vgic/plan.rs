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
    /// register access, WFI, a switch) and before every [`Vgic::flush`]. Where nothing was left over when the List Registers were
    /// written, and they are all invalid now, the vCPU needs no other flush until it is kicked.
    pub fn sync(&mut self, vcpu: usize, mut read: impl FnMut(usize) -> State, eoi_count: u32) -> VcpuSet {
        if eoi_count != 0 {
            self.end_left_over(vcpu, eoi_count);
        }
        let mut n = 0;
        while let Some(&Loaded { key, .. }) = self.vcpus[vcpu].lrs.get(n) {
            self.irqs[usize::from(key)].place = Place::Nowhere;
            match read(n) {
                State::Invalid => {}
                now => self.take_back(vcpu, n, now),
            }
            let (word, bit) = self.word(key);
            if word.held() & bit != 0 {
                self.update(key);
            }
            n += 1;
        }
        self.vcpus[vcpu].lrs.clear();
        take(&mut self.kick)
    }

    /// So many were ended that no List Register held. Comes before the others: what comes back of them was in one and is not meant.
    #[cold]
    fn end_left_over(&mut self, vcpu: usize, eoi_count: u32) {
        for _ in 0..eoi_count {
            let Some(&key) = self.vcpus[vcpu].active.last() else { break };
            self.clear_active(key);
        }
    }

    /// Takes back what is left in a List Register.
    #[inline(never)]
    fn take_back(&mut self, vcpu: usize, n: usize, now: State) {
        let Some(&Loaded { key, priority, source, hw, latch, line, active, .. }) = self.vcpus[vcpu].lrs.get(n) else {
            return;
        };
        let irq = &mut self.irqs[usize::from(key)];
        let (word, bit) = self.words[usize::from(key) / PRIVATE].bit(key);
        if now.is_pending() {
            word.latch |= mask(latch) & bit;
            word.line |= mask(line) & bit;
            if self.version == Version::V2 && u32::from(irq.intid) < SGIS {
                irq.sources |= u8::from(latch) << source;
            }
        }
        if now.is_active() && active {
            word.active |= bit;
            (irq.active_on, irq.active_priority, irq.active_source) = (vcpu as u8, priority, source);
        }
        word.phys_active |= mask(hw) & bit;
    }

    /// What there mostly is to take back: a vCPU's one List Register that was written is invalid. The same as [`Vgic::sync`].
    #[inline(always)]
    pub fn sync_one(&mut self, vcpu: usize) -> VcpuSet {
        let [Loaded { key, .. }] = *self.vcpus[vcpu].lrs else { return self.sync(vcpu, |_| State::Invalid, 0) };
        self.vcpus[vcpu].lrs.clear();
        self.irqs[usize::from(key)].place = Place::Nowhere;
        let (word, bit) = self.word(key);
        if word.held() & bit == 0 { 0 } else { self.update_one(key) }
    }

    #[cold]
    fn update_one(&mut self, key: Key) -> VcpuSet {
        self.update(key);
        take(&mut self.kick)
    }

    /// What there mostly is to inject: an interrupt that is for the vCPU `here`, of whose interrupts nothing else waits, and whose List
    /// Registers were all read back and are all invalid. It goes into List Register 0 at once: the same as [`Vgic::inject`], or an SGI
    /// from `here`, and [`Vgic::flush`]. The register as the hardware has it; none, and nothing has changed, if it is not so.
    #[inline(always)]
    pub fn inject_one(&mut self, here: usize, vcpu: usize, intid: u32) -> Option<u64> {
        let key = self.key(vcpu, intid)?;
        let this = self.vcpus.get_mut(here)?;
        let irq = self.irqs.get_mut(usize::from(key))?;
        let (word, bit) = self.words.get_mut(usize::from(key) / PRIVATE)?.bit(key);
        let waiting = this.lr_pending.length | this.active.length | this.lrs.len() | this.deactivate as usize;
        let alone = waiting == 0 && irq.place == Place::Nowhere && word.forwarded & !word.held() & bit != 0;
        if !alone || irq.target != Some(here as u8) {
            return None;
        }
        irq.place = Place::Lr(here as u8, 0);
        let line = word.linked & word.level & bit != 0;
        let source = if self.version == Version::V2 && intid < SGIS { here as u8 } else { 0 };
        let Irq { priority, hw, .. } = *irq;
        let link = hw.map_or(Link::Software { eoi: false, source }, |physical| Link::Hw(physical.into()));
        let (hw, latch, was_active, active) = (hw.is_some(), !line, false, true);
        let _ = this.lrs.push(Loaded { key, priority, source, hw, was_active, latch, line, active });
        let register = ListRegister { intid, priority, group1: word.group1 & bit != 0, state: State::Pending, link };
        Some(register.encode(self.version))
    }

    /// Fills the List Registers of a vCPU that enters its guest, by the rules; `write` writes one of them. The vCPU has come to
    /// [`Vgic::sync`] since it left the guest.
    pub fn flush(&mut self, vcpu: usize, write: &mut dyn FnMut(usize, ListRegister)) -> Flush {
        let this = &mut self.vcpus[vcpu];
        debug_assert!(this.lrs.is_empty(), "the List Registers were not read back");
        let deactivate = take(&mut this.deactivate);
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
        Flush { used: ((1u32 << (active + pending)) - 1) as u16, hcr, deactivate }
    }

    /// Moves one occurrence of a queued interrupt into List Register `n`.
    #[inline(always)]
    fn load(&mut self, vcpu: usize, n: usize, key: Key, was_active: bool) -> ListRegister {
        let irq = &mut self.irqs[usize::from(key)];
        let intid = u32::from(irq.intid);
        let (word, bit) = self.words[usize::from(key) / PRIVATE].bit(key);
        let (mut latch, mut line, mut source) = (false, false, irq.active_source);
        if was_active {
            word.active &= !bit;
        } else {
            (latch, line, source) = (word.latch & bit != 0, word.line & word.linked & bit != 0, 0);
            word.clear_pending(bit);
            if self.version == Version::V2 && intid < SGIS {
                source = irq.sources.trailing_zeros() as u8;
                irq.sources &= irq.sources - 1;
                word.latch |= mask(irq.sources != 0) & bit;
            }
        }
        irq.place = Place::Lr(vcpu as u8, n as u8);

        let again = word.deliverable() & bit != 0;
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
        // There are not more than 16.
        let _ = self.vcpus[vcpu].lrs.push(Loaded { key, priority, source, hw, was_active, latch, line, active: true });
        lr
    }
}
