//! The machine's interrupts: the hypervisor's own are handled, those of guests go to [`vgic`](crate::vgic). And the hardware's side
//! of virtual interrupts: List Registers and the rest of the virtual CPU interface, for GICv2 (GICH) and GICv3 (ICH_*_EL2).

use crate::guest::Guest;
use crate::percpu::{MAX_CPUS, count, this_cpu};
use crate::sync::IrqLock;
use crate::{console, read_sysreg, sched, timer, trace, vgic, write_sysreg};
use alloc::boxed::Box;
use core::arch::asm;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use drivers::dt::{Gic, Machine};
use drivers::gic::{Acknowledged, InterruptController, V2, V3};
use hyp::vgic::{ListRegister, Version};
use spin::Once;

/// The maintenance interrupt (a PPI by the base system architecture, DEN0029).
const MAINTENANCE: u32 = 25;

/// ICH_HCR_EL2.En, GICH_HCR.En.
const EN: u32 = 1 << 0;

struct Host {
    controller: IrqLock<Box<dyn InterruptController>>,
    /// By which each CPU takes its interrupts, without a lock.
    cpu_interface: drivers::gic::CpuInterface,
    timer: u32,
    /// The virtual timer, which is the guests'.
    virtual_timer: u32,
    /// The console's UART.
    uart: u32,
    interface: Interface,
}

static HOST: Once<Host> = Once::new();

fn host() -> &'static Host {
    // SAFETY: `init` is what is called first of all here, before this CPU or another takes interrupts or enters a guest.
    unsafe { HOST.get_unchecked() }
}

/// Where the virtual CPU interface is.
pub enum Interface {
    /// GICH; GICV, which is the guest's; and GICD_ICACTIVER0, which makes interrupts inactive.
    V2 { gich: *mut u32, gicv: drivers::dt::Region, inactive: *mut u32 },
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
const GICH_ELRSR: usize = 0x30 / 4;
const GICH_APR: usize = 0xf0 / 4;
const GICH_LR: usize = 0x100 / 4;
/// GICD_ICACTIVER0, in bytes.
const GICD_ICACTIVER: u64 = 0x380;

/// The SGI that takes another CPU out of its guest, or of its sleep.
const KICK: u32 = 0;

/// SPIs that there can be, from 32 on.
const SPIS: usize = 988;

/// Whose a physical SPI is, if it is a guest's. Held while one is injected: its guest stays as long.
static ROUTES: IrqLock<[Option<&'static Guest>; SPIS]> = IrqLock::new([None; SPIS]);

/// Sets up the interrupt controller, and the interfaces of this CPU.
pub fn init(machine: &Machine<'_>) {
    let pointer = |address: u64| with_exposed_provenance_mut::<u8>(address as usize);
    let (controller, interface): (Box<dyn InterruptController>, _) = match machine.gic {
        Gic::V2 { gicd, gicc, virtualization } => {
            let (gich, gicv) = virtualization.expect("looked for while booting");
            // SAFETY: the device tree says where the registers are; they are mapped at their addresses.
            let controller = unsafe { V2::new(pointer(gicd.base), pointer(gicc.base)) };
            let inactive = pointer(gicd.base + GICD_ICACTIVER).cast();
            (Box::new(controller), Interface::V2 { gich: pointer(gich.base).cast(), gicv, inactive })
        }
        Gic::V3 { gicd, gicr } => {
            enable_system_registers();
            let frame = |address| NonNull::new(pointer(address)).expect("no device is at address 0");
            // SAFETY: as above.
            let controller = unsafe { V3::new(frame(gicd.base), frame(gicr.base), machine.cpus.min(MAX_CPUS)) };
            // ICH_VTR_EL2.PREbits: 5 to 7 bits of preemption are in 1, 2 or 4 registers.
            let bits = (read_sysreg!("ICH_VTR_EL2") >> 26 & 0b111) + 1;
            (Box::new(controller), Interface::V3 { priority_registers: 1 << bits.saturating_sub(5) })
        }
    };
    let timer = machine.hypervisor_timer_irq.expect("an EL2 has a timer");
    let (virtual_timer, uart) = (machine.timer_irq, machine.uart_irq);
    let cpu_interface = controller.cpu_interface();
    let controller = IrqLock::new(controller);
    HOST.call_once(|| Host { controller, cpu_interface, timer, virtual_timer, uart, interface });
    init_interfaces();
    host().controller.lock().enable(uart, this_cpu().index);
}

/// Sets up the interfaces of this CPU, which is not the first.
pub fn init_cpu() {
    if version() == Version::V3 {
        enable_system_registers();
    }
    host().controller.lock().init_cpu(this_cpu().index);
    init_interfaces();
}

/// GICv3: system registers for EL2 (SRE), no bypass, and EL1 may use its own (Enable).
fn enable_system_registers() {
    // SAFETY: nothing uses the interface yet.
    unsafe { write_sysreg!("ICC_SRE_EL2", 0b1111) };
    crate::cpu::isb();
}

/// The interrupts that the hypervisor has of each CPU, and the virtual CPU interface.
fn init_interfaces() {
    let host = host();
    let mut controller = host.controller.lock();
    controller.split_end();
    for irq in [KICK, MAINTENANCE, host.timer, host.virtual_timer] {
        controller.enable(irq, this_cpu().index);
    }
    drop(controller);
    CpuInterface::default().load();
    host.interface.set_control(0);
}

/// Interrupts another CPU, which then looks for work before it goes on.
pub fn kick(cpu: usize) {
    // SAFETY: a barrier: that CPU sees what it is interrupted for.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    host().controller.lock().send_sgi(KICK, cpu);
}

/// Why an interrupt is not routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// Only SPIs are.
    NotAnSpi,
    /// It is the hypervisor's, or another guest's.
    Owned,
}

/// Gives a physical SPI to a guest: from now on it is injected there, whose end of it deactivates it.
pub fn route_irq_to_guest(irq: u32, guest: &'static Guest) -> Result<(), RouteError> {
    match ROUTES.lock().get_mut((irq as usize).wrapping_sub(32)) {
        None => return Err(RouteError::NotAnSpi),
        Some(Some(_)) => return Err(RouteError::Owned),
        Some(route) => *route = Some(guest),
    }
    host().controller.lock().enable(irq, this_cpu().index);
    Ok(())
}

/// Takes back the SPIs of a guest none of whose vCPUs runs.
pub fn unroute(guest: &'static Guest) {
    let mut routes = ROUTES.lock();
    for (route, irq) in routes.iter_mut().zip(32..) {
        if route.take_if(|owner| core::ptr::eq(*owner, guest)).is_some() {
            host().controller.lock().disable(irq, this_cpu().index);
        }
    }
    drop(routes);
    // Those that it had not ended yet are active.
    vgic::with(guest, |vgic| {
        vgic.reset();
        ((), 0)
    });
}

/// Handles all interrupts that are pending.
pub fn handle() {
    /// ISR_EL1: an interrupt is pending.
    const I: u64 = 1 << 7;
    let host = host();
    while let Some(irq) = host.cpu_interface.acknowledge() {
        let number = irq.number();
        trace::irq(number);
        host.cpu_interface.end(irq);
        trace::drop(number);
        match (number, sched::current()) {
            // A guest's: it stays active until the guest ends its virtual one.
            (number, Some(vcpu)) if number == host.virtual_timer => vgic::inject(vcpu, number),
            (32.., _) if inject_routed(number) => {}
            _ => own(host, irq),
        }
        trace::irq_end(number, true);
        if read_sysreg!("isr_el1") & I == 0 {
            return;
        }
    }
}

/// One of the hypervisor's own, or nobody's.
#[inline(never)]
fn own(host: &Host, irq: Acknowledged) {
    let number = irq.number();
    count(&this_cpu().host_irqs);
    if number == host.timer {
        timer::interrupt();
    } else if number == host.uart {
        console::interrupt();
    } else if ![KICK, MAINTENANCE, host.virtual_timer].contains(&number) {
        log::warn!("interrupt {number} has no owner");
        host.controller.lock().disable(number, this_cpu().index);
    }
    host.cpu_interface.deactivate(irq);
}

/// Injects a physical SPI into the guest whose it is, if it is one's.
#[inline(never)]
fn inject_routed(irq: u32) -> bool {
    let routes = ROUTES.lock();
    let Some(Some(guest)) = routes.get((irq as usize).wrapping_sub(32)) else { return false };
    vgic::inject_spi(guest, irq);
    true
}

/// Deactivates an SPI that a guest owned.
#[inline(never)]
pub fn deactivate(irq: u32) {
    host().controller.lock().set_active(irq, this_cpu().index, false);
}

/// Makes a PPI of this CPU active or inactive.
#[inline(never)]
pub fn set_active(irq: u32, active: bool) {
    host().controller.lock().set_active(irq, this_cpu().index, active);
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

/// The virtual CPU interface of whichever CPU uses it.
#[inline(always)]
pub fn interface() -> &'static Interface {
    &host().interface
}

/// The numbers of the bits that are set.
pub fn bits(mut of: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = (of != 0).then(|| of.trailing_zeros() as usize);
        of &= of.wrapping_sub(1);
        lowest
    })
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

impl Interface {
    /// How many List Registers there are.
    pub fn list_registers(&self) -> usize {
        match *self {
            // SAFETY: a register of GICH.
            Interface::V2 { gich, .. } => unsafe { gich.add(GICH_VTR).read_volatile() as usize % 64 + 1 },
            Interface::V3 { .. } => read_sysreg!("ICH_VTR_EL2") as usize % 32 + 1,
        }
    }

    /// Writes ICH_HCR_EL2 or GICH_HCR: En and these bits; EOIcount becomes 0.
    pub fn set_control(&self, bits: u32) {
        // SAFETY: what is pending in List Registers is a guest's alone.
        unsafe {
            match *self {
                Interface::V2 { gich, .. } => gich.add(GICH_HCR).write_volatile(EN | bits),
                Interface::V3 { .. } => write_sysreg!("ICH_HCR_EL2", (EN | bits).into()),
            }
        }
    }

    /// EOIcount: how many interrupts were ended that no List Register held.
    pub fn eoi_count(&self) -> u32 {
        let control = match *self {
            // SAFETY: a register of GICH.
            Interface::V2 { gich, .. } => unsafe { gich.add(GICH_HCR).read_volatile() },
            Interface::V3 { .. } => read_sysreg!("ICH_HCR_EL2") as u32,
        };
        control >> 27
    }

    /// The List Registers that are invalid, one bit each, of the first 16; but for those whose end is to be told (EOI).
    #[inline(always)]
    pub fn empty_list_registers(&self) -> u32 {
        match *self {
            // SAFETY: a register of GICH.
            Interface::V2 { gich, .. } => unsafe { gich.add(GICH_ELRSR).read_volatile() },
            Interface::V3 { .. } => read_sysreg!("ICH_ELRSR_EL2") as u32,
        }
    }

    /// Reads a List Register.
    pub fn read_list_register(&self, n: usize) -> ListRegister {
        let (version, raw) = match *self {
            // SAFETY: a register of GICH.
            Interface::V2 { gich, .. } => (Version::V2, unsafe { gich.add(GICH_LR + n).read_volatile().into() }),
            Interface::V3 { .. } => (Version::V3, with_list_register!(n, read_sysreg)),
        };
        ListRegister::decode(version, raw)
    }

    /// Writes a List Register; none makes it invalid.
    pub fn write_list_register(&self, n: usize, value: Option<ListRegister>) {
        self.write_raw(n, value.map_or(0, |value| value.encode(version())));
    }

    /// Writes a List Register, as the hardware has it.
    #[inline(always)]
    pub fn write_raw(&self, n: usize, raw: u64) {
        // SAFETY: as for `set_control`.
        unsafe {
            match *self {
                Interface::V2 { gich, .. } => gich.add(GICH_LR + n).write_volatile(raw as u32),
                Interface::V3 { .. } => with_list_register!(n, write_sysreg, raw),
            }
        }
    }

    /// Has the distributor look again at what is pending: a guest has ended a virtual interrupt. By that the physical one behind it
    /// became inactive, and QEMU's GICv2 does not notice if it was pending again by then.
    #[inline(always)]
    pub fn look_again(&self) {
        if let Interface::V2 { inactive, .. } = *self {
            // SAFETY: this CPU's own register; of no effect on the interrupt, which is inactive but while it is handled.
            unsafe { inactive.write_volatile(1 << MAINTENANCE) };
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
