//! Guests: their memory, their devices, and their lives.

use crate::console::GuestConsole;
use crate::memory::{self, BLOCK};
use crate::stage2::{self, Stage2};
use crate::sync::IrqLock;
use crate::vcpu::{State, Vcpu};
use crate::{gic, power, report, sched, vgic};
use alloc::boxed::Box;
use core::arch::asm;
use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use drivers::dt::Region;
use heapless::{String, Vec};
use hyp::config::{self, Serrors};
use hyp::image;
use hyp::pl011::{self, Pl011};
use hyp::result::{End, GuestSummary, MAX_GUESTS, Summary};
use hyp::smccc::Workaround;
use hyp::sysreg::{Gic, SystemRegisters};
use hyp::vgic::{Region as Frame, Version, Vgic};
use spin::Once;
use tar_no_std::TarArchiveRef;
use trap::esr::ec_name;

// Where a guest finds what: as on QEMU's `virt`. The device tree that the tool makes for it says the same.
const GICD: u64 = 0x0800_0000;
const GICC: u64 = 0x0801_0000;
const GICR: u64 = 0x080a_0000;
const UART: u64 = 0x0900_0000;
const RAM: u64 = 0x4000_0000;

/// The UART's interrupt.
const UART_IRQ: u32 = 33;
/// SPIs of a guest.
const SPIS: usize = 64;
/// Bytes of the frames of a redistributor.
const GICR_SIZE: u64 = 0x2_0000;

/// ARCH_WORKAROUND_1, 2 and 3: there, and of the CPUs there are so far none needs them.
pub const WORKAROUNDS: [Workaround; 3] = [Workaround::Unaffected; 3];

/// What a guest did. One CPU writes.
pub struct Counters {
    /// Synchronous traps by class.
    pub traps: [AtomicU64; 64],
    /// Physical interrupts while it ran.
    pub irqs: AtomicU64,
    /// SErrors that are its.
    pub serrors: AtomicU64,
    /// Virtual interrupts that it acknowledged from List Registers.
    pub injections: AtomicU64,
    /// How often one of its vCPUs was switched to.
    pub switches: AtomicU64,
}

/// Adds one to a guest's counter.
#[inline(always)]
pub fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds to a guest's counter.
#[inline(always)]
pub fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed) + number, Relaxed);
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
    /// What it did.
    pub counters: Counters,
    uart: IrqLock<(Pl011, GuestConsole)>,
    vcpus: Once<Box<[Vcpu]>>,
    end: IrqLock<Option<End>>,
}

static GUESTS: Once<Vec<&'static Guest, MAX_GUESTS>> = Once::new();

/// All guests.
fn guests() -> impl Iterator<Item = &'static Guest> {
    GUESTS.get().into_iter().flatten().copied()
}

/// The vCPUs of all guests.
pub fn vcpus() -> impl Iterator<Item = &'static Vcpu> {
    guests().flat_map(Guest::vcpus)
}

impl Guest {
    /// A guest with zeroed RAM, and its vCPUs, which are off.
    fn new(vmid: u8, config: &config::Guest<'_>) -> &'static Guest {
        let config::Guest { name, memory_mib, .. } = *config;
        let vcpus = usize::from(config.vcpus);
        let size = (u64::from(memory_mib) << 20).next_multiple_of(BLOCK);
        let host = memory::take(size).unwrap_or_else(|| {
            report::refuse(format_args!("guest {name}: the machine has no {memory_mib} MiB to spare"))
        });
        // SAFETY: RAM that is the guest's alone.
        unsafe { with_exposed_provenance_mut::<u8>(host.base as usize).write_bytes(0, host.size as usize) };
        let stage2 = Stage2::new(vmid);
        stage2.map_ram(RAM, host);
        if let Some(gicv) = gic::gicv() {
            // Without GICC_DIR, in its second page: see hyp::vgic.
            stage2.map_device(GICC, Region { size: 0x1000, ..gicv });
        }
        let version = gic::version();
        let mut vgic = Vgic::new(version, vcpus, SPIS, gic::list_registers());
        for vcpu in 0..vcpus {
            vgic.link(vcpu, gic::virtual_timer(), Some(gic::virtual_timer()));
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
            counters: Counters {
                traps: [const { AtomicU64::new(0) }; 64],
                irqs: AtomicU64::new(0),
                serrors: AtomicU64::new(0),
                injections: AtomicU64::new(0),
                switches: AtomicU64::new(0),
            },
            uart: IrqLock::new((Pl011::new(), GuestConsole::new(name))),
            vcpus: Once::new(),
            end: IrqLock::new(None),
        }));
        guest.vcpus.call_once(|| (0..vcpus).map(|id| Vcpu::new(guest, id, guest.serrors_diverse)).collect());
        guest
    }

    /// Its vCPUs.
    pub fn vcpus(&self) -> &[Vcpu] {
        self.vcpus.get().map_or(&[], |vcpus| vcpus)
    }

    /// Copies bytes into its RAM, at an address as it sees it.
    fn load(&self, address: u64, bytes: &[u8]) {
        let offset = address.checked_sub(self.ram.base).filter(|offset| offset + bytes.len() as u64 <= self.ram.size);
        let at = self.host.base + offset.expect("what is loaded was planned to fit");
        // SAFETY: inside the guest's RAM, which does not run yet.
        unsafe { with_exposed_provenance_mut::<u8>(at as usize).copy_from(bytes.as_ptr(), bytes.len()) };
    }

    /// Cleans and invalidates its RAM from the data caches, by address; and drops instructions that may be stale.
    pub fn clean_ram(&self) {
        let line = 4 << (crate::read_sysreg!("ctr_el0") >> 16 & 0xf);
        for address in (self.host.base..self.host.end()).step_by(line) {
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
            return self.vgic.lock().read(vcpu.id, frame, offset, bytes).ok();
        }
        self.read_uart(vcpu, address)
    }

    #[inline(never)]
    fn read_uart(&'static self, vcpu: &'static Vcpu, address: u64) -> Option<u64> {
        let offset = address.checked_sub(UART).filter(|&offset| offset < pl011::SIZE)?;
        let mut uart = self.uart.lock();
        let value = uart.0.read(offset);
        let line = uart.0.line();
        drop(uart);
        vgic::set_line(vcpu, UART_IRQ, line);
        Some(value)
    }

    /// A write, the same.
    #[inline(never)]
    pub fn write_device(&'static self, vcpu: &'static Vcpu, address: u64, bytes: usize, value: u64) -> Option<()> {
        /// GICC_DIR, alone on its page, which GICV's is not mapped to: there it would not reach what is not in a List Register.
        const GICC_DIR: u64 = GICC + 0x1000;
        if gic::version() == Version::V2 && address == GICC_DIR && bytes == 4 {
            vgic::with(self, |vgic| ((), vgic.deactivate(vcpu.id, value as u32 & 0x3ff)));
            return Some(());
        }
        if let Some((frame, offset)) = Self::frame(address) {
            return vgic::with(self, |vgic| {
                let written = vgic.write(vcpu.id, frame, offset, bytes, value);
                (written.is_ok().then_some(()), written.unwrap_or(0))
            });
        }
        self.write_uart(vcpu, address, value)
    }

    #[inline(never)]
    fn write_uart(&'static self, vcpu: &'static Vcpu, address: u64, value: u64) -> Option<()> {
        let offset = address.checked_sub(UART).filter(|&offset| offset < pl011::SIZE)?;
        let mut uart = self.uart.lock();
        let (pl011, console) = &mut *uart;
        if let Some(byte) = pl011.write(offset, value) {
            console.put(byte);
        }
        let line = pl011.line();
        drop(uart);
        vgic::set_line(vcpu, UART_IRQ, line);
        Some(())
    }

    /// Ends the guest: none of its vCPUs runs again.
    pub fn end(&self, how: End) {
        let _mask = crate::sync::IrqMask::new();
        *self.end.lock() = Some(how);
        self.vcpus().iter().for_each(|vcpu| vcpu.set_state(State::Off));
        self.uart.lock().1.finish();
        sched::raise(sched::SCHEDULE);
    }

    fn summary(&self) -> GuestSummary {
        let traps = self.counters.traps.iter().enumerate().map(|(ec, count)| (ec_name(ec as u8), count.load(Relaxed)));
        GuestSummary {
            name: self.name.clone(),
            end: *self.end.lock(),
            traps: traps
                .filter(|&(_, count)| count > 0)
                .map(|(name, count)| (name.chars().take(32).collect(), count))
                .take(24)
                .collect(),
            irqs: self.counters.irqs.load(Relaxed),
            serrors: self.counters.serrors.load(Relaxed),
            injections: self.counters.injections.load(Relaxed),
            switches: self.counters.switches.load(Relaxed),
        }
    }
}

/// Exit code when a guest did not end in order.
const GUEST_DIED: u8 = 3;

/// When all guests have ended: says what they did, and ends the machine. On the idle stack, which has the room.
pub fn finish_if_all_ended() {
    if !guests().all(|guest| guest.end.lock().is_some()) {
        return;
    }
    let summary = Summary {
        schema: 1,
        kind: "hyp_summary".parse().expect("it fits"),
        world_switches: crate::percpu::this_cpu().switches.load(Relaxed),
        host_irqs: crate::percpu::this_cpu().host_irqs.load(Relaxed),
        guests: guests().map(Guest::summary).collect(),
    };
    let in_order = summary.guests.iter().all(|guest| guest.end == Some(End::PoweredOff));
    let mut json = alloc::vec![0; hyp::result::JSON_MAX];
    let length = serde_json_core::to_slice(&summary, &mut json).unwrap_or(0);
    power::off(if in_order { 0 } else { GUEST_DIED }, &json[..length])
}

/// The description of the guests in the archive, and what begins the names of their files.
const DESCRIPTION: &str = "guests";

/// Makes the guests that the archive tells of, and has them begin.
pub fn init(archive: Option<Region>) {
    stage2::init();
    let region = archive.unwrap_or_else(|| report::refuse(format_args!("there is no archive with guests (-initrd)")));
    // SAFETY: RAM that nobody else uses; the boot loader put the archive there.
    let bytes = unsafe {
        core::slice::from_raw_parts(core::ptr::with_exposed_provenance(region.base as usize), region.size as usize)
    };
    let archive = TarArchiveRef::new(bytes)
        .unwrap_or_else(|why| report::refuse(format_args!("the archive with guests is no whole tar archive: {why}")));
    let file = |name: &str| {
        let found = archive.entries().find(|entry| entry.filename().as_str() == Ok(name));
        found.unwrap_or_else(|| report::refuse(format_args!("there is no file {name} in the archive"))).data()
    };
    let text = core::str::from_utf8(file(DESCRIPTION))
        .unwrap_or_else(|_| report::refuse(format_args!("the description of the guests is not UTF-8")));
    let configs = config::guests(text).unwrap_or_else(|why| report::refuse(format_args!("{why}")));
    let mut guests = Vec::new();
    for (config, vmid) in configs.iter().zip(1..) {
        let guest = Guest::new(vmid, config);
        let dtb = config.dtb.map(file).unwrap_or_default();
        let initrd = config.initrd.map(file).unwrap_or_default();
        let ram = guest.ram.base..guest.ram.end();
        let plan = image::plan(file(config.image), &ram, dtb.len() as u64, initrd.len() as u64)
            .unwrap_or_else(|why| report::refuse(format_args!("guest {}: {why}", config.name)));
        plan.pieces.iter().for_each(|piece| guest.load(piece.address, piece.bytes));
        guest.load(plan.dtb, dtb);
        guest.load(plan.initrd, initrd);
        // It begins with its caches off.
        guest.clean_ram();
        log::info!("{}: {} MiB, {} vCPU, entered at {:#x}", config.name, config.memory_mib, config.vcpus, plan.entry);
        // SAFETY: it is off, and was never on.
        unsafe { guest.vcpus()[0].reset(plan.entry, plan.dtb) };
        // There is room for as many as there can be descriptions.
        let _ = guests.push(guest);
    }
    GUESTS.call_once(|| guests);
    for guest in self::guests() {
        sched::start(&guest.vcpus()[0]);
    }
}
