//! The machine's interrupts: the hypervisor's own are handled, those of guests go to [`vgic`](crate::vgic). And the hardware's side
//! of virtual interrupts: List Registers and the rest of the virtual CPU interface, for GICv2 (GICH) and GICv3 (ICH_*_EL2).

use crate::percpu::{count, this_cpu};
use crate::sync::IrqLock;
use crate::{console, read_sysreg, sched, timer, vgic, write_sysreg};
use alloc::boxed::Box;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use drivers::dt::{Gic, Machine};
use drivers::gic::{InterruptController, V2, V3};
use hyp::vgic::{ListRegister, State, Version};
use spin::Once;

/// The maintenance interrupt (a PPI by the base system architecture, DEN0029).
const MAINTENANCE: u32 = 25;

/// ICH_HCR_EL2.En, GICH_HCR.En.
const EN: u32 = 1 << 0;

struct Host {
    controller: IrqLock<Box<dyn InterruptController>>,
    timer: u32,
    /// The virtual timer, which is the guests'.
    virtual_timer: u32,
    /// The console's UART.
    uart: u32,
    interface: Interface,
}

static HOST: Once<Host> = Once::new();

fn host() -> &'static Host {
    HOST.get().expect("gic::init was called before there are interrupts")
}

/// Where the virtual CPU interface is.
enum Interface {
    /// GICH.
    V2 { gich: *mut u32, gicv: drivers::dt::Region },
    /// System registers; how many active-priority registers each group has.
    V3 { priority_registers: usize },
}

// SAFETY: each CPU finds its own registers behind the pointer.
unsafe impl Send for Interface {}
// SAFETY: as above.
unsafe impl Sync for Interface {}

// GICH (IHI 0048, 5.3), in words.
const GICH_HCR: usize = 0;
const GICH_VTR: usize = 1;
const GICH_VMCR: usize = 2;
const GICH_APR: usize = 0xf0 / 4;
const GICH_LR: usize = 0x100 / 4;

/// Sets up the interrupt controller and the virtual CPU interface of this CPU.
pub fn init(machine: &Machine<'_>) {
    let pointer = |address: u64| with_exposed_provenance_mut::<u8>(address as usize);
    let (mut controller, interface): (Box<dyn InterruptController>, _) = match machine.gic {
        Gic::V2 { gicd, gicc, virtualization } => {
            let (gich, gicv) = virtualization.expect("looked for while booting");
            // SAFETY: the device tree says where the registers are; they are mapped at their addresses.
            let controller = unsafe { V2::new(pointer(gicd.base), pointer(gicc.base)) };
            (Box::new(controller), Interface::V2 { gich: pointer(gich.base).cast(), gicv })
        }
        Gic::V3 { gicd, gicr } => {
            // SAFETY: system registers for EL2 (SRE), no bypass, and EL1 may use its own (Enable).
            unsafe { write_sysreg!("ICC_SRE_EL2", 0b1111) };
            crate::cpu::isb();
            let frame = |address| NonNull::new(pointer(address)).expect("no device is at address 0");
            let mpidr = read_sysreg!("mpidr_el1");
            // SAFETY: as above.
            let controller = unsafe { V3::new(frame(gicd.base), frame(gicr.base), machine.cpus, mpidr) };
            // ICH_VTR_EL2.PREbits: 5 to 7 bits of preemption are in 1, 2 or 4 registers.
            let bits = (read_sysreg!("ICH_VTR_EL2") >> 26 & 0b111) + 1;
            (Box::new(controller), Interface::V3 { priority_registers: 1 << bits.saturating_sub(5) })
        }
    };
    let timer = machine.hypervisor_timer_irq.expect("an EL2 has a timer");
    controller.split_end();
    for irq in [MAINTENANCE, timer, machine.timer_irq, machine.uart_irq] {
        controller.enable(irq, this_cpu().index);
    }
    let virtual_timer = machine.timer_irq;
    HOST.call_once(|| Host {
        controller: IrqLock::new(controller),
        timer,
        virtual_timer,
        uart: machine.uart_irq,
        interface,
    });
    CpuInterface::default().load();
    set_control(0);
}

/// Handles all interrupts that are pending.
pub fn handle() {
    let host = host();
    loop {
        let Some(irq) = host.controller.lock().acknowledge() else { return };
        let number = irq.number();
        let current = sched::current();
        host.controller.lock().end(irq);
        match (number, current) {
            // A guest's: it stays active until the guest ends its virtual one.
            (number, Some(vcpu)) if number == host.virtual_timer => vgic::inject(vcpu, number),
            (number, _) => {
                count(&this_cpu().host_irqs);
                if number == host.timer {
                    timer::interrupt();
                } else if number == host.uart {
                    console::interrupt();
                } else if number != MAINTENANCE && number != host.virtual_timer {
                    log::warn!("interrupt {number} has no owner");
                    host.controller.lock().disable(number, this_cpu().index);
                }
                host.controller.lock().deactivate(irq);
            }
        }
    }
}

/// Deactivates an SPI that a guest owned.
pub fn deactivate(irq: u32) {
    host().controller.lock().set_active(irq, this_cpu().index, false);
}

/// Makes a PPI of this CPU active or inactive.
pub fn set_active(irq: u32, active: bool) {
    host().controller.lock().set_active(irq, this_cpu().index, active);
}

/// Has the distributor look again at what is pending: a guest has ended a virtual interrupt. By that the physical one behind it
/// became inactive, and QEMU's GICv2 does not notice if it was pending again by then.
pub fn look_again() {
    if let Interface::V2 { .. } = host().interface {
        // Of no effect on the interrupt, which is inactive but while it is handled.
        set_active(MAINTENANCE, false);
    }
}

/// The virtual timer's interrupt.
pub fn virtual_timer() -> u32 {
    host().virtual_timer
}

/// Which GIC there is.
pub fn version() -> Version {
    match host().interface {
        Interface::V2 { .. } => Version::V2,
        Interface::V3 { .. } => Version::V3,
    }
}

/// The guest's CPU interface of a GICv2.
pub fn gicv() -> Option<drivers::dt::Region> {
    match host().interface {
        Interface::V2 { gicv, .. } => Some(gicv),
        Interface::V3 { .. } => None,
    }
}

/// How many List Registers this CPU has.
pub fn list_registers() -> usize {
    match host().interface {
        // SAFETY: a register of GICH.
        Interface::V2 { gich, .. } => unsafe { gich.add(GICH_VTR).read_volatile() as usize % 64 + 1 },
        Interface::V3 { .. } => read_sysreg!("ICH_VTR_EL2") as usize % 32 + 1,
    }
}

/// Writes ICH_HCR_EL2 or GICH_HCR: En and these bits; EOIcount becomes 0.
pub fn set_control(bits: u32) {
    // SAFETY: what is pending in List Registers is a guest's alone.
    unsafe {
        match host().interface {
            Interface::V2 { gich, .. } => gich.add(GICH_HCR).write_volatile(EN | bits),
            Interface::V3 { .. } => write_sysreg!("ICH_HCR_EL2", (EN | bits).into()),
        }
    }
}

/// EOIcount: how many interrupts were ended that no List Register held.
pub fn eoi_count() -> u32 {
    let control = match host().interface {
        // SAFETY: a register of GICH.
        Interface::V2 { gich, .. } => unsafe { gich.add(GICH_HCR).read_volatile() },
        Interface::V3 { .. } => read_sysreg!("ICH_HCR_EL2") as u32,
    };
    control >> 27
}

/// Calls a macro with the name of ICH_LRn_EL2.
macro_rules! with_list_register {
    ($n:expr, $access:ident $(, $value:expr)?) => {
        match $n {
            0 => $access!("ICH_LR0_EL2" $(, $value)?),
            1 => $access!("ICH_LR1_EL2" $(, $value)?),
            2 => $access!("ICH_LR2_EL2" $(, $value)?),
            3 => $access!("ICH_LR3_EL2" $(, $value)?),
            4 => $access!("ICH_LR4_EL2" $(, $value)?),
            5 => $access!("ICH_LR5_EL2" $(, $value)?),
            6 => $access!("ICH_LR6_EL2" $(, $value)?),
            7 => $access!("ICH_LR7_EL2" $(, $value)?),
            8 => $access!("ICH_LR8_EL2" $(, $value)?),
            9 => $access!("ICH_LR9_EL2" $(, $value)?),
            10 => $access!("ICH_LR10_EL2" $(, $value)?),
            11 => $access!("ICH_LR11_EL2" $(, $value)?),
            12 => $access!("ICH_LR12_EL2" $(, $value)?),
            13 => $access!("ICH_LR13_EL2" $(, $value)?),
            14 => $access!("ICH_LR14_EL2" $(, $value)?),
            _ => $access!("ICH_LR15_EL2" $(, $value)?),
        }
    };
}

/// What is left in a List Register.
pub fn read_list_register(n: usize) -> State {
    let (version, raw) = match host().interface {
        // SAFETY: a register of GICH.
        Interface::V2 { gich, .. } => (Version::V2, unsafe { gich.add(GICH_LR + n).read_volatile().into() }),
        Interface::V3 { .. } => (Version::V3, with_list_register!(n, read_sysreg)),
    };
    ListRegister::decode(version, raw).state
}

/// Writes a List Register; none makes it invalid.
pub fn write_list_register(n: usize, value: Option<ListRegister>) {
    // SAFETY: as for `set_control`.
    unsafe {
        match host().interface {
            Interface::V2 { gich, .. } => {
                let raw = value.map_or(0, |value| value.encode(Version::V2) as u32);
                gich.add(GICH_LR + n).write_volatile(raw);
            }
            Interface::V3 { .. } => {
                let raw = value.map_or(0, |value| value.encode(Version::V3));
                with_list_register!(n, write_sysreg, raw)
            }
        }
    }
}

/// What else a vCPU has of the virtual CPU interface: its controls, and the priorities that are active.
#[derive(Clone, Default)]
pub struct CpuInterface {
    control: u64,
    active_priorities: [[u64; 4]; 2],
}

impl CpuInterface {
    /// Reads the registers.
    pub fn save(&mut self) {
        match host().interface {
            // SAFETY: registers of GICH.
            Interface::V2 { gich, .. } => unsafe {
                self.control = gich.add(GICH_VMCR).read_volatile().into();
                self.active_priorities[0][0] = gich.add(GICH_APR).read_volatile().into();
            },
            Interface::V3 { priority_registers } => {
                self.control = read_sysreg!("ICH_VMCR_EL2");
                let [group0, group1] = &mut self.active_priorities;
                (group0[0], group1[0]) = (read_sysreg!("ICH_AP0R0_EL2"), read_sysreg!("ICH_AP1R0_EL2"));
                if priority_registers > 1 {
                    (group0[1], group1[1]) = (read_sysreg!("ICH_AP0R1_EL2"), read_sysreg!("ICH_AP1R1_EL2"));
                }
                if priority_registers > 2 {
                    (group0[2], group1[2]) = (read_sysreg!("ICH_AP0R2_EL2"), read_sysreg!("ICH_AP1R2_EL2"));
                    (group0[3], group1[3]) = (read_sysreg!("ICH_AP0R3_EL2"), read_sysreg!("ICH_AP1R3_EL2"));
                }
            }
        }
    }

    /// Writes them.
    pub fn load(&self) {
        // SAFETY: only a guest's interrupts are concerned, and it does not run.
        unsafe {
            match host().interface {
                Interface::V2 { gich, .. } => {
                    gich.add(GICH_VMCR).write_volatile(self.control as u32);
                    gich.add(GICH_APR).write_volatile(self.active_priorities[0][0] as u32);
                }
                Interface::V3 { priority_registers } => {
                    let [group0, group1] = &self.active_priorities;
                    write_sysreg!("ICH_VMCR_EL2", self.control);
                    write_sysreg!("ICH_AP0R0_EL2", group0[0]);
                    write_sysreg!("ICH_AP1R0_EL2", group1[0]);
                    if priority_registers > 1 {
                        write_sysreg!("ICH_AP0R1_EL2", group0[1]);
                        write_sysreg!("ICH_AP1R1_EL2", group1[1]);
                    }
                    if priority_registers > 2 {
                        write_sysreg!("ICH_AP0R2_EL2", group0[2]);
                        write_sysreg!("ICH_AP1R2_EL2", group1[2]);
                        write_sysreg!("ICH_AP0R3_EL2", group0[3]);
                        write_sysreg!("ICH_AP1R3_EL2", group1[3]);
                    }
                }
            }
        }
    }
}
