//! The interrupt controller: one small trait over `arm-gic`, for GICv2 and GICv3 (Arm IHI 0048 and IHI 0069).
//!
//! `arm-gic` 0.10 is right on GICv3. On GICv2 three things are mended here: setting a priority cleared those of the three
//! neighbours; SPIs had no target, so with more than one CPU none arrived; an acknowledged SGI carries its source CPU above
//! bit 9, which must go back with the end of interrupt but is not part of the number.

use arm_gic::gicv2::registers::{Gicc, Gicd as GicdV2};
use arm_gic::gicv2::{GicV2, SgiTarget as SgiTargetV2, SgiTargetListFilter};
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicV3, Group, SgiTarget, SgiTargetGroup};
use arm_gic::{IntId, Trigger, UniqueMmioPointer};
use core::arch::asm;
use core::ptr::NonNull;

/// The priority every interrupt gets: one level, so none preempts another (IHI 0069, "Priority drop").
const PRIORITY: u8 = 0x80;

/// The first of the special INTIDs 1020..1023: "nothing to acknowledge".
const SPECIAL: u32 = 1020;

/// An acknowledged interrupt; give it back to [`CpuInterface::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged(u32);

impl Acknowledged {
    /// The INTID.
    pub fn number(self) -> u32 {
        self.0 & 0x3ff
    }
}

/// The interface by which the calling CPU takes interrupts: each CPU has its own, so it needs no lock.
#[derive(Clone, Copy, Debug)]
pub enum CpuInterface {
    /// The registers of GICv2 (GICC), where each CPU finds its own.
    V2(*mut u32),
    /// System registers.
    V3,
}

// SAFETY: each CPU finds its own registers behind the pointer.
unsafe impl Send for CpuInterface {}
// SAFETY: as above.
unsafe impl Sync for CpuInterface {}

impl CpuInterface {
    /// Takes the highest-priority pending interrupt; none when it was spurious.
    #[inline]
    pub fn acknowledge(self) -> Option<Acknowledged> {
        let irq = match self {
            // SAFETY: a register of the CPU interface, as who made `self` has promised.
            CpuInterface::V2(gicc) => Acknowledged(unsafe { gicc.add(GICC_IAR / 4).read_volatile() }),
            CpuInterface::V3 => {
                let iar: u64;
                // SAFETY: what is acknowledged is handled.
                unsafe { asm!("mrs {}, ICC_IAR1_EL1", out(reg) iar, options(nostack, preserves_flags)) };
                Acknowledged(iar as u32)
            }
        };
        (irq.number() < SPECIAL).then_some(irq)
    }

    /// Ends an interrupt: priority drop and deactivation in one (EOImode 0); after [`InterruptController::split_end`] only the
    /// priority drop.
    #[inline]
    pub fn end(self, irq: Acknowledged) {
        match self {
            // SAFETY: as for `acknowledge`.
            CpuInterface::V2(gicc) => unsafe { gicc.add(GICC_EOIR / 4).write_volatile(irq.0) },
            // SAFETY: what was acknowledged is ended.
            CpuInterface::V3 => unsafe {
                asm!("msr ICC_EOIR1_EL1, {}", in(reg) u64::from(irq.0), options(nostack, preserves_flags))
            },
        }
    }

    /// Deactivates an interrupt that was ended (EOImode 1).
    #[inline]
    pub fn deactivate(self, irq: Acknowledged) {
        match self {
            // SAFETY: as for `acknowledge`; the CPU interface has 8 KiB.
            CpuInterface::V2(gicc) => unsafe { gicc.add(GICC_DIR / 4).write_volatile(irq.0) },
            // SAFETY: what was acknowledged is deactivated.
            CpuInterface::V3 => unsafe {
                asm!("msr ICC_DIR_EL1, {}", in(reg) u64::from(irq.0), options(nostack, preserves_flags))
            },
        }
    }
}

/// What the kernel asks of an interrupt controller. Interrupts are given by INTID.
pub trait InterruptController: Send {
    /// Enables a level-sensitive interrupt, routed to the calling CPU, whose number is `cpu`.
    fn enable(&mut self, irq: u32, cpu: usize);
    /// Disables an interrupt on the calling CPU, whose number is `cpu`.
    fn disable(&mut self, irq: u32, cpu: usize);
    /// The interface of whichever CPU uses it.
    fn cpu_interface(&self) -> CpuInterface;
    /// [`CpuInterface::acknowledge`]
    fn acknowledge(&mut self) -> Option<Acknowledged> {
        self.cpu_interface().acknowledge()
    }
    /// [`CpuInterface::end`]
    fn end(&mut self, irq: Acknowledged) {
        self.cpu_interface().end(irq);
    }
    /// From now on [`end`](CpuInterface::end) leaves an interrupt active on this CPU (EOImode 1): it cannot come again until it is
    /// deactivated, by [`deactivate`](CpuInterface::deactivate) or by a guest's end of the virtual interrupt that stands for it.
    fn split_end(&mut self);
    /// Makes an interrupt active or inactive on the calling CPU, whose number is `cpu`.
    fn set_active(&mut self, irq: u32, cpu: usize, active: bool);
    /// An interrupt that is active on the CPU numbered `cpu`: acknowledged and not ended.
    fn active(&self, cpu: usize) -> Option<u32>;
    /// Raises software-generated interrupt `sgi` (0..16) on the CPU numbered `cpu`.
    fn send_sgi(&mut self, sgi: u32, cpu: usize);
    /// Sets up the interface of the calling CPU, which is not the one that made this; its number is `cpu`.
    fn init_cpu(&mut self, cpu: usize);
}

/// The lowest interrupt whose bit is set in GICD_ISACTIVER or GICR_ISACTIVER0; those below 32 are each CPU's own.
///
/// # Safety
/// The pointers are to the register of interrupts 0 to 31 and to that of 32 to 63, which all others up to 1019 follow.
unsafe fn lowest_active(own: *const u32, shared: *const u32) -> Option<u32> {
    let words = (0..SPECIAL.div_ceil(32)).map(|word| match word {
        0 => own,
        word => shared.wrapping_add(word as usize - 1),
    });
    // SAFETY: as promised by the caller; reading them changes nothing.
    words.zip(0..).find_map(|(word, index)| match unsafe { word.read_volatile() } {
        0 => None,
        bits => Some(index * 32 + bits.trailing_zeros()),
    })
}

/// Sets or clears an interrupt's active bit.
///
/// # Safety
/// `frame` has the arrays ISACTIVER and ICACTIVER, with a bit for the interrupt.
unsafe fn set_active(frame: *mut u8, irq: u32, active: bool) {
    let register = frame.wrapping_add(if active { ISACTIVER } else { ICACTIVER }).cast::<u32>();
    // SAFETY: as promised by the caller; bits that are 0 change nothing.
    unsafe { register.wrapping_add(irq as usize / 32).write_volatile(1 << (irq % 32)) };
}

fn intid(irq: u32) -> IntId {
    match irq {
        0..16 => IntId::sgi(irq),
        16..32 => IntId::ppi(irq - 16),
        _ => IntId::spi(irq - 32),
    }
}

/// GICv2.
pub struct V2 {
    gic: GicV2<'static>,
    gicd: *mut u8,
    gicc: *mut u8,
}

// SAFETY: the pointer is to a device that any CPU may use; `&mut self` orders the accesses.
unsafe impl Send for V2 {}

/// GICD_ISACTIVER and GICR_ISACTIVER0, at the same offset of their frames: one bit an interrupt; ICACTIVER the same.
const ISACTIVER: usize = 0x300;
const ICACTIVER: usize = 0x380;
/// GICD_IPRIORITYR and GICD_ITARGETSR: one byte an interrupt, byte-accessible.
const GICD_IPRIORITYR: usize = 0x400;
const GICD_ITARGETSR: usize = 0x800;
/// GICC_CTLR, its EOImode (of the only view there is without the Security Extensions), GICC_PMR, GICC_IAR, GICC_EOIR and GICC_DIR.
const GICC_CTLR: usize = 0;
const GICC_PMR: usize = 4;
const GICC_CTLR_EOIMODE: u32 = 1 << 9;
const GICC_IAR: usize = 0xc;
const GICC_EOIR: usize = 0x10;
const GICC_DIR: usize = 0x1000;

impl V2 {
    /// Sets up the distributor and the calling CPU's interface.
    ///
    /// # Safety
    /// The pointers are to the distributor and CPU interface registers, mapped as Device memory, used by nothing else.
    pub unsafe fn new(gicd: *mut u8, gicc: *mut u8) -> Self {
        // SAFETY: as promised by the caller.
        let mut gic = unsafe { GicV2::new(gicd.cast::<GicdV2>(), gicc.cast::<Gicc>()) };
        gic.enable_all_interrupts(false);
        gic.setup();
        V2 { gic, gicd, gicc }
    }

    fn write_byte(&mut self, register: usize, irq: u32, value: u8) {
        // SAFETY: both arrays hold a byte for each of the 1020 interrupts, inside the 4 KiB of the distributor.
        unsafe { self.gicd.add(register + irq as usize).write_volatile(value) }
    }
}

impl InterruptController for V2 {
    fn enable(&mut self, irq: u32, cpu: usize) {
        self.write_byte(GICD_IPRIORITYR, irq, PRIORITY);
        if irq >= 32 {
            self.write_byte(GICD_ITARGETSR, irq, 1 << cpu);
        }
        if irq >= 16 {
            self.gic.set_trigger(intid(irq), Trigger::Level);
        }
        self.gic.enable_interrupt(intid(irq), true).expect("the GICv2 implements this interrupt");
    }

    fn disable(&mut self, irq: u32, _: usize) {
        self.gic.enable_interrupt(intid(irq), false).expect("disabling does not fail");
    }

    fn cpu_interface(&self) -> CpuInterface {
        CpuInterface::V2(self.gicc.cast())
    }

    fn split_end(&mut self) {
        let register = self.gicc.wrapping_add(GICC_CTLR).cast::<u32>();
        // SAFETY: a register of the CPU interface.
        unsafe { register.write_volatile(register.read_volatile() | GICC_CTLR_EOIMODE) };
    }

    fn set_active(&mut self, irq: u32, _: usize, active: bool) {
        // SAFETY: inside the distributor; the first word is banked, the calling CPU's own.
        unsafe { set_active(self.gicd, irq, active) };
    }

    fn active(&self, _: usize) -> Option<u32> {
        let words = self.gicd.wrapping_add(ISACTIVER).cast::<u32>();
        // SAFETY: inside the distributor; the first word is banked, the calling CPU's own.
        unsafe { lowest_active(words, words.wrapping_add(1)) }
    }

    fn send_sgi(&mut self, sgi: u32, cpu: usize) {
        let target_list_filter = SgiTargetListFilter::CPUTargetList;
        self.gic.send_sgi(IntId::sgi(sgi), SgiTargetV2::List { target_list_filter, target_list: 1 << cpu });
    }

    fn init_cpu(&mut self, _: usize) {
        let registers = self.gicc.cast::<u32>();
        // SAFETY: registers of the calling CPU's interface.
        unsafe {
            registers.add(GICC_PMR / 4).write_volatile(0xff);
            registers.add(GICC_CTLR / 4).write_volatile(1);
        }
    }
}

/// GICv3, through the system-register CPU interface.
pub struct V3 {
    gic: GicV3<'static>,
    gicd: NonNull<u8>,
    gicr: NonNull<u8>,
}

// SAFETY: the pointers are to a device that any CPU may use; its active bits are only read through them.
unsafe impl Send for V3 {}

/// From one CPU's redistributor to the next, and to its frame for SGIs and PPIs (IHI 0069, 12.10; GICv4 has more frames).
const GICR_STRIDE: usize = 0x2_0000;
const GICR_SGI: usize = 0x1_0000;
/// GICR_TYPER: bits 63 to 32 are the CPU's affinity.
const GICR_TYPER: usize = 8;

impl V3 {
    /// Sets up the distributor, the redistributors of `cpus` CPUs and the calling CPU's interface. CPUs are numbered as their
    /// redistributors are; the calling CPU is number 0.
    ///
    /// # Safety
    /// The pointers are to the distributor and first redistributor registers, mapped as Device memory, used by nothing else.
    pub unsafe fn new(gicd: NonNull<u8>, gicr: NonNull<u8>, cpus: usize) -> Self {
        // SAFETY: as promised by the caller.
        let mut gic = unsafe { GicV3::new(UniqueMmioPointer::new(gicd.cast::<Gicd>()), gicr.cast::<GicrSgi>(), cpus) }
            .expect("the redistributors are of a known version");
        gic.setup(0);
        GicCpuInterface::set_priority_mask(0xff);
        V3 { gic, gicd, gicr }
    }
}

impl InterruptController for V3 {
    fn enable(&mut self, irq: u32, cpu: usize) {
        let (id, implemented) = (intid(irq), "the GICv3 implements this interrupt");
        self.gic.set_interrupt_priority(id, Some(cpu), PRIORITY).expect(implemented);
        self.gic.set_group(id, Some(cpu), Group::Group1NS).expect(implemented);
        if irq >= 16 {
            self.gic.set_trigger(id, Some(cpu), Trigger::Level).expect(implemented);
        }
        self.gic.enable_interrupt(id, Some(cpu), true).expect(implemented);
    }

    fn disable(&mut self, irq: u32, cpu: usize) {
        self.gic.enable_interrupt(intid(irq), Some(cpu), false).expect("the GICv3 implements what it acknowledged");
    }

    fn cpu_interface(&self) -> CpuInterface {
        CpuInterface::V3
    }

    fn split_end(&mut self) {
        // SAFETY: ICC_CTLR_EL1.EOImode: of interrupts that are not ended yet there are none.
        unsafe {
            asm!(
                "mrs {ctlr}, ICC_CTLR_EL1",
                "orr {ctlr}, {ctlr}, #2",
                "msr ICC_CTLR_EL1, {ctlr}",
                "isb",
                ctlr = out(reg) _,
                options(nostack, preserves_flags)
            )
        };
    }

    fn set_active(&mut self, irq: u32, cpu: usize, active: bool) {
        let frame = match irq {
            0..32 => self.gicr.as_ptr().wrapping_add(cpu * GICR_STRIDE + GICR_SGI),
            _ => self.gicd.as_ptr(),
        };
        // SAFETY: the frame that has this interrupt's bit.
        unsafe { set_active(frame, irq, active) };
    }

    fn active(&self, cpu: usize) -> Option<u32> {
        let own = self.gicr.as_ptr().wrapping_add(cpu * GICR_STRIDE + GICR_SGI + ISACTIVER);
        let shared = self.gicd.as_ptr().wrapping_add(ISACTIVER + size_of::<u32>());
        // SAFETY: in the frame of this CPU's redistributor, and in the distributor's.
        unsafe { lowest_active(own.cast(), shared.cast()) }
    }

    fn send_sgi(&mut self, sgi: u32, cpu: usize) {
        let typer = self.gicr.as_ptr().wrapping_add(cpu * GICR_STRIDE + GICR_TYPER).cast::<u64>();
        // SAFETY: a register of that CPU's redistributor.
        let affinity = unsafe { typer.read_volatile() } >> 32;
        let [target, affinity1, affinity2, affinity3, ..] = affinity.to_le_bytes();
        let target = SgiTarget::List { affinity3, affinity2, affinity1, target_list: 1 << (target & 0xf) };
        GicCpuInterface::send_sgi(IntId::sgi(sgi), target, SgiTargetGroup::CurrentGroup1).expect("an SGI is below 16");
    }

    fn init_cpu(&mut self, cpu: usize) {
        self.gic.init_cpu(cpu);
        GicCpuInterface::enable_group1(true);
        GicCpuInterface::set_priority_mask(0xff);
    }
}
