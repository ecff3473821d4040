//! The interrupt controller as the guest sees it: GICv2, or GICv3 with system registers.

use crate::{cpu, read, read_sysreg, write, write_sysreg};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The distributor.
pub const GICD: u64 = 0x0800_0000;
/// GICv2's CPU interface.
pub const GICC: u64 = 0x0801_0000;
/// GICv3's first redistributor.
pub const GICR: u64 = 0x080a_0000;
/// From one redistributor to the next.
pub const GICR_STRIDE: u64 = 0x2_0000;
/// A redistributor's frame for SGIs and PPIs.
pub const GICR_SGI: u64 = 0x1_0000;

// Registers of GICD, most of which GICR_SGI has at the same offsets.
/// Group of each interrupt.
pub const IGROUPR: u64 = 0x80;
/// Enables.
pub const ISENABLER: u64 = 0x100;
/// Disables.
pub const ICENABLER: u64 = 0x180;
/// Makes pending.
pub const ISPENDR: u64 = 0x200;
/// Priorities, a byte each.
pub const IPRIORITYR: u64 = 0x400;
/// GICv2's targets, a byte each.
pub const ITARGETSR: u64 = 0x800;
/// Edge or level.
pub const ICFGR: u64 = 0xc00;
/// GICv3's routes, 8 bytes each.
pub const IROUTER: u64 = 0x6000;

/// Which version there is: ID_AA64PFR0_EL1.GIC says whether system registers are. It is read once, as reads of it are trapped.
pub fn version() -> u8 {
    static VERSION: AtomicU8 = AtomicU8::new(0);
    if VERSION.load(Relaxed) == 0 {
        VERSION.store(if read_sysreg!("id_aa64pfr0_el1") >> 24 & 0xf != 0 { 3 } else { 2 }, Relaxed);
    }
    VERSION.load(Relaxed)
}

/// The frame that has an interrupt's bits: of this vCPU's redistributor, or the distributor.
pub fn frame(irq: u32) -> u64 {
    if version() == 3 && irq < 32 { GICR + cpu() as u64 * GICR_STRIDE + GICR_SGI } else { GICD }
}

/// Sets up the distributor (vCPU 0) and this vCPU's interface: everything in Group 1 (GICv3) or 0 (GICv2), nothing masked.
pub fn init() {
    if version() == 3 {
        if cpu() == 0 {
            // ARE is fixed; both groups.
            write(GICD, 0b11u32);
        }
        let redistributor = GICR + cpu() as u64 * GICR_STRIDE;
        // GICR_WAKER.ProcessorSleep
        write(redistributor + 0x14, 0u32);
        write(redistributor + GICR_SGI + IGROUPR, !0u32);
        // SAFETY: the guest's own interface.
        unsafe {
            write_sysreg!("icc_sre_el1", 0b111);
            write_sysreg!("icc_pmr_el1", 0xff);
            write_sysreg!("icc_igrpen1_el1", 1);
        }
    } else {
        write(GICD, 1u32);
        write(GICC + 4, 0xffu32);
        write(GICC, 1u32);
    }
}

/// Enables an interrupt with this priority; an SPI is for this vCPU.
pub fn enable(irq: u32, priority: u8) {
    let frame = frame(irq);
    write(frame + IPRIORITYR + u64::from(irq), priority);
    if irq >= 32 {
        route(irq, cpu());
        if version() == 3 {
            let group = frame + IGROUPR + u64::from(irq / 32 * 4);
            write(group, read::<u32>(group) | 1 << (irq % 32));
        }
    }
    write(frame + ISENABLER + u64::from(irq / 32 * 4), 1u32 << (irq % 32));
}

/// Disables an interrupt.
pub fn disable(irq: u32) {
    write(frame(irq) + ICENABLER + u64::from(irq / 32 * 4), 1u32 << (irq % 32));
}

/// Gives an SPI to a vCPU.
pub fn route(irq: u32, to: usize) {
    match version() {
        3 => write(GICD + IROUTER + 8 * u64::from(irq), to as u64),
        _ => write(GICD + ITARGETSR + u64::from(irq), 1u8 << to),
    }
}

/// Makes an interrupt pending.
pub fn set_pending(irq: u32) {
    write(frame(irq) + ISPENDR + u64::from(irq / 32 * 4), 1u32 << (irq % 32));
}

/// Acknowledges: what comes back goes to [`end`]; the INTID is its lower ten bits, from 1020 on there was none.
#[inline(always)]
pub fn acknowledge() -> u32 {
    if version() == 3 { read_sysreg!("icc_iar1_el1") as u32 } else { read(GICC + 0xc) }
}

/// Ends an interrupt.
#[inline(always)]
pub fn end(acknowledged: u32) {
    if version() == 3 {
        // SAFETY: the guest's own interface.
        unsafe { write_sysreg!("icc_eoir1_el1", acknowledged.into()) };
    } else {
        write(GICC + 0x10, acknowledged);
    }
}

/// Sends an SGI to the vCPUs of a set, one bit each.
pub fn send_sgi(sgi: u32, targets: u8) {
    if version() == 3 {
        // SAFETY: as above.
        unsafe { write_sysreg!("icc_sgi1r_el1", u64::from(sgi) << 24 | u64::from(targets)) };
    } else {
        write(GICD + 0xf00, u32::from(targets) << 16 | sgi);
    }
}
