//! The registers of the distributor (GICD, both versions) and the redistributors (GICR, GICv3) as a guest sees them.
//!
//! What Linux and this project's kernel use is here; other registers are RAZ/WI, as reserved ones are (IHI 0048 and IHI 0069,
//! the register maps). An access of a size that its register does not have, unaligned or outside the frame is refused. A
//! linked interrupt's physical configuration does not follow the guest's writes.

use super::*;
use core::ops::Range;

/// A frame of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The distributor: 4 KiB (GICv2) or 64 KiB.
    Gicd,
    /// Both 64 KiB frames of the redistributor of this vCPU, in order, as they lie.
    Gicr(usize),
}

/// The access is not possible: the guest takes an external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Of those registers with a bit for each interrupt, what the bit says and what writing 1 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

/// In the order of their registers.
static BITS: [Bits; 7] = [
    Bits::Group,
    Bits::SetEnable,
    Bits::ClearEnable,
    Bits::SetPending,
    Bits::ClearPending,
    Bits::SetActive,
    Bits::ClearActive,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    /// GICD_CTLR.
    Ctlr,
    /// GICD_TYPER.
    Typer,
    /// GICD_IIDR, GICR_IIDR.
    Iidr,
    /// GICD_PIDR2, GICR_PIDR2.
    Pidr2,
    /// GICR_TYPER, 64 bits.
    GicrTyper(usize),
    /// GICR_WAKER.
    Waker(usize),
    /// 32 interrupts.
    Bits(Bits),
    /// IPRIORITYR: a byte each.
    Priority,
    /// ITARGETSR: a byte each, GICv2.
    Targets,
    /// ICFGR: 2 bits each, 16 interrupts.
    Config,
    /// GICD_SGIR, GICv2.
    Sgir,
    /// GICD_CPENDSGIR and GICD_SPENDSGIR: a byte for each SGI, a bit for each source, GICv2.
    SgiSources { set: bool },
    /// GICD_IROUTER, 64 bits, GICv3.
    Router,
    /// RAZ/WI.
    Reserved,
}

/// A decoded access.
struct Access {
    register: Register,
    /// The vCPU whose SGIs and PPIs are meant.
    bank: usize,
    /// The first interrupt in it.
    first: u32,
    /// Of a 64-bit register: the first bit accessed.
    shift: u32,
}

/// GICD_IIDR, GICR_IIDR: ProductID 'V', revision 0, implementer Arm.
const IIDR: u64 = 0x5600_043b;
/// GICD_PIDR2, GICR_PIDR2 of GICv2 and GICv3: the architecture's version is in bits 7:4.
const ARCH_REV: [u64; 2] = [0x2b, 0x3b];
/// GICD_CTLR.ARE and DS of GICv3: both always 1, so there is one security state.
const ARE_DS: u64 = 1 << 4 | 1 << 6;
/// GICD_TYPER.IDbits: INTIDs have 10 bits.
const ID_BITS: u64 = 9 << 19;
/// GICR_WAKER.
const PROCESSOR_SLEEP: u64 = 1 << 1;
const CHILDREN_ASLEEP: u64 = 1 << 2;
const FRAME: u64 = 0x1_0000;

impl Vgic {
    /// Reads a register for `vcpu`, which has come to [`Vgic::sync`]. The pending and active bits of interrupts in another
    /// vCPU's List Registers are as they were when it entered its guest.
    pub fn read(&self, vcpu: usize, region: Region, offset: u64, size: usize) -> Result<u64, Refused> {
        let access = self.decode(vcpu, region, offset, size)?;
        // As many bits of the value as there are for each interrupt.
        let each = |bits, value: fn(&Vgic, Key) -> u64| self.fold(&access, size, bits, value);
        let vcpus = self.vcpus.len() as u64;
        let value = match access.register {
            Register::Ctlr => u64::from(self.ctlr) | if self.version == Version::V3 { ARE_DS } else { 0 },
            Register::Typer => {
                let lines = (self.irqs.len() as u64 - PRIVATE as u64 * vcpus) / 32;
                lines | if self.version == Version::V3 { ID_BITS } else { (vcpus - 1) << 5 }
            }
            Register::Iidr => IIDR,
            Register::Pidr2 => ARCH_REV[usize::from(self.version == Version::V3)],
            // Affinity, processor number, last of the region.
            Register::GicrTyper(n) => {
                ((n as u64) << 32 | (n as u64) << 8 | u64::from(n as u64 + 1 == vcpus) << 4) >> access.shift
            }
            Register::Waker(n) if self.vcpus[n].asleep => PROCESSOR_SLEEP | CHILDREN_ASLEEP,
            Register::Bits(bits) => self.read_bits(bits, self.word_of(&access)).into(),
            Register::Priority => each(8, |vgic, key| vgic.irqs[usize::from(key)].priority.into()),
            // Of a guest with one vCPU these are RAZ/WI (IHI 0048, 4.3.12).
            Register::Targets if vcpus == 1 => 0,
            Register::Targets if access.first < PRIVATE as u32 => 0x0101_0101 << vcpu,
            Register::Targets => each(8, |vgic, key| vgic.irqs[usize::from(key)].route),
            Register::Config => each(2, |vgic, key| {
                let word = &vgic.words[usize::from(key) / PRIVATE];
                u64::from(!word.level >> (usize::from(key) % PRIVATE) & 1) << 1
            }),
            Register::SgiSources { .. } => each(8, |vgic, key| {
                let loaded = vgic.loaded(key).map_or(0, |loaded| loaded.sources());
                (vgic.irqs[usize::from(key)].sources | loaded).into()
            }),
            Register::Router => each(64, |vgic, key| vgic.irqs[usize::from(key)].route) >> access.shift,
            Register::Waker(_) | Register::Sgir | Register::Reserved => 0,
        };
        Ok(value & u64::MAX >> (64 - 8 * size))
    }

    /// Writes a register for `vcpu`, which has come to [`Vgic::sync`].
    pub fn write(
        &mut self,
        vcpu: usize,
        region: Region,
        offset: u64,
        size: usize,
        value: u64,
    ) -> Result<VcpuSet, Refused> {
        let access = self.decode(vcpu, region, offset, size)?;
        let mut each = |bits: u32, write: &dyn Fn(&mut Vgic, Key, u64)| {
            let keys = self.keys(&access, size, bits);
            for key in keys.clone() {
                write(self, key, value >> (u32::from(key - keys.start) * bits) & u64::MAX >> (64 - bits));
            }
        };
        match access.register {
            Register::Ctlr => {
                let before = replace(&mut self.ctlr, value as u32 & 0b11);
                if before != self.ctlr {
                    self.words.iter_mut().for_each(|word| word.forward(self.ctlr));
                    (0..self.irqs.len() as Key).for_each(|key| self.update(key));
                }
            }
            Register::Waker(n) => self.vcpus[n].asleep = value & PROCESSOR_SLEEP != 0,
            Register::Bits(bits) => self.write_bits(vcpu, bits, self.word_of(&access), value as u32),
            Register::Priority => each(8, &|vgic, key, priority| {
                if let Place::Pending(_) = vgic.irqs[usize::from(key)].place {
                    vgic.place(key, Place::Nowhere);
                }
                vgic.irqs[usize::from(key)].priority = priority as u8 & PRIORITY_BITS;
                vgic.update(key);
            }),
            Register::Targets if access.first >= PRIVATE as u32 => each(8, &|vgic, key, targets| {
                vgic.set_route(key, targets & ((1 << vgic.vcpus.len()) - 1));
            }),
            Register::Config => each(2, &|vgic, key, config| {
                // SGIs are edge-triggered for good.
                if vgic.intid(key) >= SGIS {
                    let (word, bit) = vgic.word(key);
                    word.level = word.level & !bit | mask(config & 0b10 == 0) & bit;
                    vgic.update(key);
                }
            }),
            Register::Sgir => {
                let targets = match value >> 24 & 0b11 {
                    0 => (value >> 16) as VcpuSet & 0xff,
                    1 => !(1 << vcpu),
                    2 => 1 << vcpu,
                    _ => 0,
                };
                return Ok(self.raise_sgi(vcpu, (value & 0xf) as u32, targets, false));
            }
            Register::SgiSources { set } => each(8, &|vgic, key, sources| {
                let sources = sources as u8 & ((1u16 << vgic.vcpus.len()) - 1) as u8;
                let irq = &mut vgic.irqs[usize::from(key)];
                irq.sources = if set { irq.sources | sources } else { irq.sources & !sources };
                let pending = mask(irq.sources != 0);
                let (word, bit) = vgic.word(key);
                word.latch = word.latch & !bit | pending & bit;
                if let Some(loaded) = vgic.loaded_mut(key).filter(|loaded| !set && loaded.sources() & sources != 0) {
                    loaded.latch = false;
                }
                vgic.update(key);
            }),
            Register::Router => each(64, &|vgic, key, value| {
                let written = u64::MAX >> (64 - 8 * size) << access.shift;
                let others = vgic.irqs[usize::from(key)].route & !written;
                vgic.set_route(key, (others | value << access.shift & written) & ROUTER_BITS);
            }),
            Register::Typer
            | Register::Iidr
            | Register::Pidr2
            | Register::GicrTyper(_)
            | Register::Targets
            | Register::Reserved => {}
        }
        Ok(take(&mut self.kick))
    }

    /// Which word has the bits of an access to a register with a bit for each interrupt.
    fn word_of(&self, access: &Access) -> usize {
        match access.first as usize / PRIVATE {
            0 => access.bank,
            word => self.vcpus.len() - 1 + word,
        }
    }

    fn read_bits(&self, bits: Bits, index: usize) -> u32 {
        let Some(word) = self.words.get(index) else { return 0 };
        match bits {
            Bits::Group => word.group1,
            Bits::SetEnable | Bits::ClearEnable => word.enabled,
            Bits::SetPending | Bits::ClearPending => {
                word.pending() | self.loaded_bits(index, |loaded| loaded.latch || loaded.line)
            }
            Bits::SetActive | Bits::ClearActive => self.active_bits(index),
        }
    }

    /// Which interrupts of a word are active, as far as is known.
    fn active_bits(&self, index: usize) -> u32 {
        self.words[index].active | self.loaded_bits(index, |loaded| loaded.active && loaded.was_active)
    }

    /// Which interrupts of a word are in List Registers of which something holds.
    fn loaded_bits(&self, index: usize, holds: impl Fn(&Loaded) -> bool) -> u32 {
        let here = |loaded: &&Loaded| usize::from(loaded.key) / PRIVATE == index && holds(loaded);
        let loaded = self.vcpus.iter().flat_map(|vcpu| &vcpu.lrs).filter(here);
        loaded.fold(0, |all, loaded| all | 1 << (usize::from(loaded.key) % PRIVATE))
    }

    /// A write to a register with a bit for each interrupt; a 1 does what its name says, but in GICD_IGROUPR.
    fn write_bits(&mut self, vcpu: usize, bits: Bits, index: usize, value: u32) {
        if index >= self.words.len() {
            return;
        }
        let active = self.active_bits(index);
        let word = &mut self.words[index];
        // SGIs of GICv2 are always enabled, and their pending bits are in GICD_SPENDSGIR.
        let fixed = mask(self.version == Version::V2 && index < self.vcpus.len()) & SGI_BITS;
        let mut which = match bits {
            Bits::Group => value ^ replace(&mut word.group1, value),
            Bits::SetEnable => value & !word.enabled,
            Bits::ClearEnable => value & word.enabled & !fixed,
            Bits::SetPending | Bits::ClearPending => value & !fixed,
            Bits::SetActive => value & !active,
            Bits::ClearActive => value,
        };
        match bits {
            Bits::SetEnable => {
                // The line was high some time ago: the physical interrupt, let go, says whether it still is.
                word.line &= !(which & word.linked);
                word.enabled |= which;
            }
            Bits::ClearEnable => word.enabled &= !which,
            Bits::SetPending => word.latch |= which,
            Bits::ClearPending => word.clear_pending(which),
            Bits::SetActive => word.active |= which,
            Bits::Group | Bits::ClearActive => {}
        }
        word.forward(self.ctlr);
        while which != 0 {
            let key = (index * PRIVATE) as Key + which.trailing_zeros() as Key;
            which &= which - 1;
            match bits {
                Bits::ClearPending => {
                    if let Some(loaded) = self.loaded_mut(key) {
                        (loaded.latch, loaded.line) = (false, false);
                    }
                }
                Bits::SetActive => {
                    let irq = &mut self.irqs[usize::from(key)];
                    irq.active_on = irq.target.unwrap_or(vcpu as u8);
                    (irq.active_priority, irq.active_source) = (irq.priority, 0);
                }
                Bits::ClearActive => {
                    self.clear_active(key);
                    continue;
                }
                Bits::Group | Bits::SetEnable | Bits::ClearEnable | Bits::SetPending => {}
            }
            self.update(key);
        }
    }

    /// The value of a register with so many bits for each interrupt.
    #[inline(never)]
    fn fold(&self, access: &Access, size: usize, bits: u32, value: fn(&Vgic, Key) -> u64) -> u64 {
        let keys = self.keys(access, size, bits);
        keys.clone().fold(0, |all, key| all | value(self, key) << (u32::from(key - keys.start) * bits))
    }

    /// The interrupts of an access with so many bits for each; there may be fewer.
    fn keys(&self, access: &Access, size: usize, bits: u32) -> Range<Key> {
        let end = self.irqs.len() as Key;
        let start = self.key(access.bank, access.first).unwrap_or(end);
        start..end.min(start + (8 * size as u32).div_ceil(bits) as Key)
    }

    #[inline(always)]
    fn decode(&self, vcpu: usize, region: Region, offset: u64, size: usize) -> Result<Access, Refused> {
        let v3 = self.version == Version::V3;
        let (length, bank) = match region {
            Region::Gicd if v3 => (FRAME, vcpu),
            Region::Gicd => (0x1000, vcpu),
            Region::Gicr(n) if v3 && n < self.vcpus.len() => (2 * FRAME, n),
            Region::Gicr(_) => return Err(Refused),
        };
        if offset >= length || !matches!(size, 1 | 2 | 4 | 8) || offset & (size as u64 - 1) != 0 {
            return Err(Refused);
        }
        let private = matches!(region, Region::Gicr(_));
        let (register, first) = match (region, offset) {
            (Region::Gicr(n), 0..FRAME) => match offset {
                0x0004 => (Register::Iidr, 0),
                0x0008..0x0010 => (Register::GicrTyper(n), 0),
                0x0014 => (Register::Waker(n), 0),
                0xffe8 => (Register::Pidr2, 0),
                _ => (Register::Reserved, 0),
            },
            // The second frame has the registers of SGIs and PPIs where the distributor has those of all interrupts.
            _ => match offset % FRAME {
                0x000 if !private => (Register::Ctlr, 0),
                0x004 if !private => (Register::Typer, 0),
                0x008 if !private => (Register::Iidr, 0),
                at @ 0x080..0x400 => (Register::Bits(BITS[at as usize / 0x80 - 1]), at % 0x80 * 8),
                at @ 0x400..0x800 => (Register::Priority, at - 0x400),
                at @ 0x800..0xc00 if !v3 => (Register::Targets, at - 0x800),
                at @ 0xc00..0xd00 => (Register::Config, (at - 0xc00) * 4),
                0xf00 if !v3 => (Register::Sgir, 0),
                at @ 0xf10..0xf20 if !v3 => (Register::SgiSources { set: false }, at - 0xf10),
                at @ 0xf20..0xf30 if !v3 => (Register::SgiSources { set: true }, at - 0xf20),
                0xfe8 if !v3 => (Register::Pidr2, 0),
                at @ 0x6100..0x7fe0 if !private && v3 => (Register::Router, (at - 0x6000) / 8),
                0xffe8 if v3 => (Register::Pidr2, 0),
                _ => (Register::Reserved, 0),
            },
        };
        let sizes = match register {
            Register::Priority | Register::Targets | Register::SgiSources { .. } => 1 | 4,
            Register::GicrTyper(_) | Register::Router => 4 | 8,
            _ => 4,
        };
        if sizes & size == 0 {
            return Err(Refused);
        }
        // With affinity routing SGIs and PPIs are in the redistributor and only there.
        let banked = matches!(register, Register::Bits(_) | Register::Priority | Register::Config);
        let here = !(v3 && banked) || (first < PRIVATE as u64) == private;
        Ok(Access {
            register: if here { register } else { Register::Reserved },
            bank,
            first: first as u32,
            shift: (offset % 8 * 8) as u32,
        })
    }
}

impl Loaded {
    /// Of an SGI of GICv2: the source whose occurrence would come back.
    fn sources(&self) -> u8 {
        u8::from(self.latch) << self.source
    }
}
