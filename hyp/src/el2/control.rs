//! Which guests there are: made from the archive, begun, and looked after when they have ended: begun again, or told of.
//!
//! All of it is work of CPU 0's idle context, where nothing is held and there is stack enough. While guests run it has its turn among
//! the vCPUs ([`sched`]).

use crate::guest::{Ending, Guest, Refusal};
use crate::sync::IrqLock;
use crate::{console, gic, memory, percpu, power, read_sysreg, report, sched, trace};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use drivers::dt::{self, Region};
use hyp::config;
use hyp::image;
use hyp::result::{End, GuestSummary, Summary};
use tar_no_std::TarArchiveRef;

/// The description of the guests in the archive.
const DESCRIPTION: &str = "guests";

/// A guest, through all its lives.
struct Slot {
    config: config::Guest<'static>,
    /// It, while it lives.
    guest: Option<&'static Guest>,
    /// What it did in the lives before.
    summary: GuestSummary,
}

/// Everything about guests, for CPU 0.
struct Guests {
    archive: TarArchiveRef<'static>,
    /// The machine's device tree.
    blob: &'static [u8],
    slots: Vec<Slot>,
    /// What was free and in use before there was a guest ([`memory::usage`]).
    usage: (u64, u64),
}

/// Held by CPU 0's idle context alone.
static GUESTS: IrqLock<Option<Guests>> = IrqLock::new(None);

impl Guests {
    fn file(&self, name: &str) -> &'static [u8] {
        let found = self.archive.entries().find(|entry| entry.filename().as_str() == Ok(name));
        found.unwrap_or_else(|| report::refuse(format_args!("there is no file {name} in the archive"))).data()
    }

    /// Makes the guest of a slot, and loads it.
    fn make(&mut self, index: usize) {
        let config = &self.slots[index].config;
        let name = config.name;
        let device = config.device.map(|compatible| {
            dt::device(self.blob, compatible)
                .unwrap_or_else(|| report::refuse(format_args!("guest {name}: the machine has no device {compatible}")))
        });
        let guest = Guest::new(index, config, device).unwrap_or_else(|why| match why {
            Refusal::NoMemory => {
                report::refuse(format_args!("guest {name}: the machine has no {} MiB to spare", config.memory_mib))
            }
            Refusal::Route(gic::RouteError::Owned) => {
                report::refuse(format_args!("guest {name}: its device is another guest's"))
            }
            Refusal::Route(why) => report::refuse(format_args!("guest {name}: its device cannot be had: {why:?}")),
        });
        let dtb = config.dtb.map(|name| self.file(name)).unwrap_or_default();
        let initrd = config.initrd.map(|name| self.file(name)).unwrap_or_default();
        let ram = guest.ram.base..guest.ram.end();
        let plan = image::plan(self.file(config.image), &ram, dtb.len() as u64, initrd.len() as u64)
            .unwrap_or_else(|why| report::refuse(format_args!("guest {name}: {why}")));
        plan.pieces.iter().for_each(|piece| guest.load(piece.address, piece.bytes));
        guest.load(plan.dtb, dtb);
        guest.load(plan.initrd, initrd);
        // It begins with its caches off.
        for block in (0..guest.host.size).step_by(memory::BLOCK as usize) {
            guest.clean(block..block + memory::BLOCK);
            sched::yield_now();
        }
        let (mib, vcpus) = (config.memory_mib, config.vcpus);
        log::info!(
            "{name}: {mib} MiB, {vcpus} vCPU{}, entered at {:#x}",
            if vcpus == 1 { "" } else { "s" },
            plan.entry
        );
        let claimed = sched::claim(&guest.vcpus()[0]);
        assert!(claimed, "a vCPU that never ran is off");
        // SAFETY: it is claimed.
        unsafe { guest.vcpus()[0].reset(plan.entry, plan.dtb) };
        self.slots[index].guest = Some(guest);
    }
}

/// Makes the guests that the archive tells of, and has them begin. `blob` is the machine's device tree.
pub fn init(archive: Option<Region>, blob: &'static [u8]) {
    let region = archive.unwrap_or_else(|| report::refuse(format_args!("there is no archive with guests (-initrd)")));
    // SAFETY: RAM that nobody else uses; the boot loader put the archive there.
    let bytes = unsafe {
        core::slice::from_raw_parts(core::ptr::with_exposed_provenance(region.base as usize), region.size as usize)
    };
    let archive = TarArchiveRef::new(bytes)
        .unwrap_or_else(|why| report::refuse(format_args!("the archive with guests is no whole tar archive: {why}")));
    let mut guests = Guests { archive, blob, slots: Vec::new(), usage: (0, 0) };
    let text = core::str::from_utf8(guests.file(DESCRIPTION))
        .unwrap_or_else(|_| report::refuse(format_args!("the description of the guests is not UTF-8")));
    let configs = config::guests(text).unwrap_or_else(|why| report::refuse(format_args!("{why}")));
    guests.slots = configs
        .into_iter()
        .map(|config| {
            let summary = GuestSummary { name: config.name.chars().take(16).collect(), ..GuestSummary::default() };
            console::add_guest(config.name);
            Slot { config, guest: None, summary }
        })
        .collect();
    guests.usage = memory::usage();
    (0..guests.slots.len()).for_each(|index| guests.make(index));
    guests.slots.iter().filter_map(|slot| slot.guest).for_each(Guest::begin);
    *GUESTS.lock() = Some(guests);
}

/// Looks after the guests that have ended. Returns when none is left that has; when all have, and none is to begin again, says what
/// they did and ends the machine.
pub fn look_after_guests() {
    // Taken out: making a guest lets others run.
    let mut guests = GUESTS.lock().take().expect("CPU 0's idle context alone takes it");
    for index in 0..guests.slots.len() {
        let slot = &mut guests.slots[index];
        let Some(guest) = slot.guest.filter(|guest| sched::has_left(guest)) else { continue };
        let Some(ending) = guest.ending() else { continue };
        slot.guest = None;
        guest.add_to(&mut slot.summary);
        // SAFETY: it has ended and no CPU is its; nobody else keeps it.
        unsafe { guest.free() };
        match ending {
            Ending::Finished(end) => slot.summary.end = Some(end),
            Ending::Reset => {
                slot.summary.restarts += 1;
                guests.make(index);
                guests.slots[index].guest.into_iter().for_each(Guest::begin);
            }
        }
    }
    if guests.slots.iter().all(|slot| slot.guest.is_none()) {
        finish(&guests);
    }
    *GUESTS.lock() = Some(guests);
}

/// Exit code when a guest did not end in order.
const GUEST_DIED: u8 = 3;

/// Says what the guests did, and ends the machine.
fn finish(guests: &Guests) -> ! {
    let (ram, heap) = memory::usage();
    let sum = |of: fn(&percpu::PerCpu) -> u64| percpu::all().iter().map(of).sum();
    let summary = Summary {
        schema: 1,
        kind: "hyp_summary".parse().expect("it fits"),
        world_switches: sum(|cpu| cpu.switches.load(Relaxed)),
        host_irqs: sum(|cpu| cpu.host_irqs.load(Relaxed)),
        leaked_ram: guests.usage.0.abs_diff(ram),
        leaked_heap: guests.usage.1.abs_diff(heap),
        frequency: read_sysreg!("cntfrq_el0"),
        guests: (1..)
            .zip(&guests.slots)
            .map(|(number, slot)| GuestSummary { costs: trace::costs(number), ..slot.summary.clone() })
            .collect(),
    };
    let in_order = summary.guests.iter().all(|guest| guest.end == Some(End::PoweredOff));
    let mut json = alloc::vec![0; hyp::result::JSON_MAX];
    let length = serde_json_core::to_slice(&summary, &mut json).unwrap_or(0);
    power::off(if in_order { 0 } else { GUEST_DIED }, &json[..length])
}
