//! Guests: their memory, their devices, and their lives.

use crate::memory::{self, BLOCK};
use crate::service::Service;
use crate::stage2::Stage2;
use crate::sync::IrqLock;
use crate::uart::Uart;
use crate::vcpu::{Counters, Vcpu};
use crate::{console, gic, sched, ssbd, vgic};
use alloc::boxed::Box;
use core::arch::asm;
use core::ops::Range;
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use drivers::dt::Region;
use heapless::String;
use hyp::config::{self, GUESTS_MAX, Serrors};
use hyp::inject::Injected;
use hyp::map::{GICC, GICD, GICR, GICR_SIZE, PVPANIC, RAM, UART};
use hyp::pl011;
use hyp::result::{End, GuestSummary, Mitigations};
use hyp::smccc::Workaround;
use hyp::sysreg::{Gic, SystemRegisters};
use hyp::vgic::{Region as Frame, Version, Vgic};
use spin::Once;
use trap::esr::ec_name;

/// The register of a pvpanic device reads as the events that it takes: here a panic (QEMU's `docs/specs/pvpanic.rst`).
const PVPANIC_PANICKED: u64 = 1 << 0;
/// SPIs of a guest.
const SPIS: usize = 64;

/// ARCH_WORKAROUND_1, 2 and 3: there; of the CPUs there are so far none needs 1 and 3.
pub fn workarounds() -> [Workaround; 3] {
    let second = if ssbd::is_dynamic() { Workaround::Required } else { Workaround::Unaffected };
    [Workaround::Unaffected, second, Workaround::Unaffected]
}

/// How a guest's life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// For good.
    Finished(End),
    /// It begins again (PSCI SYSTEM_RESET).
    Reset,
}

/// A guest.
pub struct Guest {
    /// Its name.
    pub name: String<16>,
    /// Its RAM, as it sees it.
    pub ram: Region,
    /// Its RAM, as it is.
    pub host: Region,
    /// Its address translation.
    pub stage2: Stage2,
    /// Its interrupt controller.
    pub vgic: IrqLock<Vgic>,
    /// What it reads in ID registers, and what else of system registers is not its.
    pub registers: SystemRegisters,
    /// Whether it takes its own SErrors; else they end everything.
    pub serrors_diverse: bool,
    /// The test service, if it has it.
    pub service: Option<Service>,
    /// Calls of the mitigation of speculative store bypass, where they are counted.
    pub ssbd: IrqLock<Mitigations>,
    /// Its UART.
    pub uart: Uart,
    /// Its number, which is the console's for it too.
    pub number: usize,
    vcpus: Once<Box<[Vcpu]>>,
    ending: Once<Ending>,
}

/// The guests that live, by their numbers. Who holds this may use one of them: it stays as long.
static LIVE: IrqLock<[Option<&'static Guest>; GUESTS_MAX]> = IrqLock::new([None; GUESTS_MAX]);

/// Does something with a guest, if it lives.
pub fn with<T>(number: usize, work: impl FnOnce(&'static Guest) -> T) -> Option<T> {
    LIVE.lock().get(number).copied().flatten().map(work)
}

/// Does something with each guest that lives.
pub fn for_each(work: impl FnMut(&'static Guest)) {
    LIVE.lock().iter().copied().flatten().for_each(work);
}

/// The number of the next guest in turn that has not ended; it may be the same.
pub fn after(number: Option<usize>) -> Option<usize> {
    let live = LIVE.lock();
    let first = number.map_or(0, |number| number + 1);
    let mut turn = (first..first + GUESTS_MAX).map(|number| number % GUESTS_MAX);
    turn.find(|&number| live[number].is_some_and(|guest| !guest.has_ended()))
}

impl Guest {
    /// A guest with zeroed RAM, and its vCPUs, which are off. `device` is the machine's that it has to itself: where it sees it
    /// too, and the SPI. The guest's, until [`Guest::free`].
    pub fn new(
        number: usize,
        config: &config::Guest<'_>,
        device: Option<(Region, u32)>,
    ) -> Result<&'static Guest, Refusal> {
        let config::Guest { name, memory_mib, .. } = *config;
        let vcpus = usize::from(config.vcpus);
        let size = (u64::from(memory_mib) << 20).next_multiple_of(BLOCK);
        let host = memory::take(size).ok_or(Refusal::NoMemory)?;
        for block in blocks(host) {
            // SAFETY: RAM that is the guest's alone.
            unsafe { zero(block) };
            sched::yield_now();
        }
        let stage2 = Stage2::new(number as u8 + 1);
        stage2.map_ram(RAM, host);
        if let Some(gicv) = gic::gicv() {
            // Without GICC_DIR, in its second page: see hyp::vgic.
            stage2.map_device(GICC, Region { size: 0x1000, ..gicv });
        }
        let version = gic::version();
        let mut vgic = Vgic::new(version, vcpus, SPIS, gic::interface().list_registers());
        for vcpu in 0..vcpus {
            vgic.link(vcpu, gic::virtual_timer(), Some(gic::virtual_timer()));
        }
        if let Some((registers, irq)) = device {
            if !(32..32 + SPIS as u32).contains(&irq) {
                return Err(Refusal::Route(gic::RouteError::NotAnSpi));
            }
            stage2.map_device(registers.base, registers);
            vgic.link(0, irq, Some(irq));
        }
        let gic = if version == Version::V2 { Gic::V2 } else { Gic::V3 };
        let guest = Box::leak(Box::new(Guest {
            name: name.chars().take(16).collect(),
            ram: Region { base: RAM, size },
            host,
            stage2,
            vgic: IrqLock::new(vgic),
            registers: SystemRegisters::new(gic, crate::cpu::id_register),
            serrors_diverse: config.serrors == Serrors::Diverse,
            service: config.service.map(Service::new),
            ssbd: IrqLock::new(Mitigations::default()),
            uart: Uart::new(),
            number,
            vcpus: Once::new(),
            ending: Once::new(),
        }));
        guest.vcpus.call_once(|| (0..vcpus).map(|id| Vcpu::new(guest, id, guest.serrors_diverse)).collect());
        if let Some((_, irq)) = device {
            crate::gic::route_irq_to_guest(irq, guest).map_err(Refusal::Route)?;
        }
        Ok(guest)
    }

    /// It begins: others may find it from now on.
    pub fn begin(&'static self) {
        LIVE.lock()[self.number] = Some(self);
        self.service.iter().for_each(Service::begin);
        console::resume_paused_input();
        sched::start(&self.vcpus()[0]);
    }

    /// Gives everything back that the guest had.
    ///
    /// # Safety
    /// It has ended, no CPU runs one of its vCPUs, and nobody refers to it any more.
    pub unsafe fn free(&'static self) {
        LIVE.lock()[self.number] = None;
        crate::gic::unroute(self);
        self.stage2.forget();
        memory::give_back(self.host);
        // SAFETY: as promised by the caller; `new` has leaked it.
        drop(unsafe { Box::from_raw(core::ptr::from_ref(self).cast_mut()) });
    }

    /// Its vCPUs.
    pub fn vcpus(&self) -> &[Vcpu] {
        self.vcpus.get().map_or(&[], |vcpus| vcpus)
    }

    /// Copies bytes into its RAM, at an address as it sees it.
    pub fn load(&self, address: u64, bytes: &[u8]) {
        let offset = address.checked_sub(self.ram.base).filter(|offset| offset + bytes.len() as u64 <= self.ram.size);
        let at = self.host.base + offset.expect("what is loaded was planned to fit");
        // SAFETY: inside the guest's RAM, which does not run yet.
        unsafe { with_exposed_provenance_mut::<u8>(at as usize).copy_from(bytes.as_ptr(), bytes.len()) };
    }

    /// Cleans and invalidates a part of its RAM from the data caches, by address; and drops instructions that may be stale.
    pub fn clean(&self, part: Range<u64>) {
        let line = 4 << (crate::read_sysreg!("ctr_el0") >> 16 & 0xf);
        for address in (self.host.base + part.start..self.host.base + part.end).step_by(line) {
            // SAFETY: what is in the caches is written to memory.
            unsafe { asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
        }
        // SAFETY: barriers.
        unsafe { asm!("dsb sy", "ic ialluis", "dsb sy", "isb", options(nostack, preserves_flags)) };
    }

    /// The frame of its interrupt controller that an address is in, and how far; what is not there the virtual GIC refuses.
    fn frame(address: u64) -> Option<(Frame, u64)> {
        match address {
            GICD..GICC => Some((Frame::Gicd, address - GICD)),
            GICR..UART => Some((Frame::Gicr(((address - GICR) / GICR_SIZE) as usize), (address - GICR) % GICR_SIZE)),
            _ => None,
        }
    }

    /// A read of `bytes` at an address that is no RAM; none when there is nothing that can be read so.
    #[inline(never)]
    pub fn read_device(&'static self, vcpu: &'static Vcpu, address: u64, bytes: usize) -> Option<u64> {
        if let Some((frame, offset)) = Self::frame(address) {
            return vgic::with(self, |vgic| (vgic.read(vcpu.id, frame, offset, bytes).ok(), 0));
        }
        if (address, bytes) == (PVPANIC, 1) {
            return Some(PVPANIC_PANICKED);
        }
        let offset = address.checked_sub(UART).filter(|&offset| offset < pl011::SIZE)?;
        Some(self.read_uart(offset))
    }

    /// A write, the same.
    #[inline(never)]
    pub fn write_device(&'static self, vcpu: &'static Vcpu, address: u64, bytes: usize, value: u64) -> Option<()> {
        /// GICC_DIR, alone on its page, which GICV's is not mapped to: there it would not reach what is not in a List Register.
        const GICC_DIR: u64 = GICC + 0x1000;
        const GICD_SGIR: u64 = GICD + 0xf00;
        if gic::version() == Version::V2 && address == GICC_DIR && bytes == 4 {
            vgic::with(self, |vgic| ((), vgic.deactivate(vcpu.id, value as u32 & 0x3ff)));
            return Some(());
        }
        if gic::version() == Version::V2 && address == GICD_SGIR && bytes == 4 {
            let write = |vgic: &mut Vgic| vgic.write(vcpu.id, Frame::Gicd, GICD_SGIR - GICD, bytes, value).unwrap_or(0);
            vgic::send_sgi(vcpu, Version::V2, value, write);
            return Some(());
        }
        if let Some((frame, offset)) = Self::frame(address) {
            return vgic::with(self, |vgic| {
                let written = vgic.write(vcpu.id, frame, offset, bytes, value);
                (written.is_ok().then_some(()), written.unwrap_or(0))
            });
        }
        if (address, bytes) == (PVPANIC, 1) {
            // As QEMU does: a guest that has panicked has nothing more to say.
            if value & PVPANIC_PANICKED != 0 {
                self.end(Ending::Finished(End::Panicked));
            }
            return Some(());
        }
        let offset = address.checked_sub(UART).filter(|&offset| offset < pl011::SIZE)?;
        self.write_uart(offset, value);
        Some(())
    }

    /// Ends the guest, if it has not ended: none of its vCPUs runs again.
    pub fn end(&'static self, how: Ending) {
        let _mask = crate::sync::IrqMask::new();
        self.ending.call_once(|| how);
        console::finish(self.number, self.ending() == Some(Ending::Reset));
        sched::stop(self);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ending.is_completed()
    }

    /// How it ended.
    pub fn ending(&self) -> Option<Ending> {
        self.ending.get().copied()
    }

    /// Adds to a summary what it did.
    pub fn add_to(&self, summary: &mut GuestSummary) {
        // Written by many in turn, read when it has ended.
        let counters = || self.vcpus().iter().map(|vcpu| &vcpu.counters);
        let sum = |of: fn(&Counters) -> &AtomicU64| counters().map(|counters| of(counters).load(Relaxed)).sum::<u64>();
        for ec in 0..64 {
            let count: u64 = counters().map(|counters| counters.traps[ec].load(Relaxed)).sum();
            add_by_name(&mut summary.traps, ec_name(ec as u8), count);
        }
        summary.irqs += sum(|counters| &counters.irqs);
        summary.serrors += sum(|counters| &counters.serrors);
        summary.injections += sum(|counters| &counters.injections);
        summary.switches += sum(|counters| &counters.switches);
        for (index, kind) in Injected::KINDS.into_iter().enumerate() {
            let count = counters().map(|counters| counters.exceptions[index].load(Relaxed)).sum();
            add_by_name(&mut summary.exceptions, kind, count);
        }
        let ssbd = self.ssbd.lock();
        summary.ssbd.count += ssbd.count;
        // The first ones only.
        for &on in &ssbd.first {
            let _ = summary.ssbd.first.push(on);
        }
    }
}

/// Adds to what was counted under a name; what was never counted is left out.
fn add_by_name<const N: usize>(counts: &mut heapless::Vec<(String<32>, u64), N>, name: &str, count: u64) {
    if let Some((_, before)) = counts.iter_mut().find(|(other, _)| other == name) {
        *before += count;
    } else if count > 0 {
        // There are not more names that can come than there is room for.
        let _ = counts.push((name.chars().take(32).collect(), count));
    }
}

/// Zeroes a block of RAM, as much at a time as DC ZVA does.
///
/// # Safety
/// Nothing else uses the block, or holds a reference into it.
unsafe fn zero(block: u64) {
    /// DCZID_EL0.DZP: it may not be used.
    const DZP: u64 = 1 << 4;
    let dczid = crate::read_sysreg!("dczid_el0");
    if dczid & DZP != 0 {
        // SAFETY: as the caller vouches.
        unsafe { with_exposed_provenance_mut::<u8>(block as usize).write_bytes(0, BLOCK as usize) };
        return;
    }
    // SAFETY: as above; a block is many times as large as 2 KiB, the most that one DC ZVA zeroes.
    unsafe {
        asm!(
            // Two halves, so that a turn of the loop does more.
            "2:",
            "dc zva, {low}",
            "dc zva, {high}",
            "add {low}, {low}, {step}",
            "add {high}, {high}, {step}",
            "cmp {high}, {end}",
            "b.ne 2b",
            low = inout(reg) block => _,
            high = inout(reg) block + BLOCK / 2 => _,
            step = in(reg) 4_u64 << (dczid & 0xf),
            end = in(reg) block + BLOCK,
            options(nostack)
        );
    }
}

/// The blocks of a region, by their addresses.
fn blocks(region: Region) -> impl Iterator<Item = u64> {
    (region.base..region.end()).step_by(BLOCK as usize)
}

/// Why there is no guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The machine has not as much RAM.
    NoMemory,
    /// Its device's interrupt cannot be had.
    Route(gic::RouteError),
}
