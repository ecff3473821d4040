//! How the hypervisor tells the host what became of it: a page of its image, which the tool reads in the file that is the
//! machine's memory after the machine has ended.
//!
//! Not on the console, where a guest could forge it, and never by semihosting, which a guest could use too.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Marks a page that was written: "VENTRY" and the version of the layout.
pub const MAGIC: u64 = 0x5945_5254_4e45_5601;

/// Bytes of JSON that the page has room for.
pub const JSON_MAX: usize = 49152;

/// Guests that there can be.
pub const MAX_GUESTS: usize = 8;

/// The page as it lies in memory: three words, then the JSON text of a [`Summary`].
#[repr(C, align(4096))]
pub struct Page {
    magic: AtomicU64,
    code: AtomicU64,
    length: AtomicU64,
    json: [AtomicU8; JSON_MAX],
}

/// Bytes before the JSON text.
const HEADER: usize = 24;

impl Page {
    /// A page that was not written.
    #[expect(clippy::new_without_default, reason = "there is one, a static")]
    pub const fn new() -> Page {
        Page {
            magic: AtomicU64::new(0),
            code: AtomicU64::new(0),
            length: AtomicU64::new(0),
            json: [const { AtomicU8::new(0) }; JSON_MAX],
        }
    }

    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Page>();

    /// Writes the exit code, and as much of `json` as there is room for.
    pub fn write(&self, code: u8, json: &[u8]) {
        self.json.iter().zip(json).for_each(|(to, &from)| to.store(from, Relaxed));
        self.length.store(json.len().min(JSON_MAX) as u64, Relaxed);
        self.code.store(code.into(), Relaxed);
        self.magic.store(MAGIC, Relaxed);
    }

    /// The exit code and the JSON text in the bytes of a page; none when nobody wrote it.
    pub fn parse(bytes: &[u8]) -> Option<(u8, &[u8])> {
        let word = |index: usize| bytes.get(index * 8..)?.first_chunk().copied().map(u64::from_le_bytes);
        let length = usize::try_from(word(2)?).ok()?;
        let code = u8::try_from(word(1)?).ok()?;
        let json = bytes.get(HEADER..)?.get(..length)?;
        (word(0)? == MAGIC).then_some((code, json))
    }
}

/// What the hypervisor counted until its end: one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of this record.
    pub schema: u32,
    /// `hyp_summary`.
    pub kind: String<16>,
    /// Switches from one vCPU to another, or to and from idling.
    pub world_switches: u64,
    /// Interrupts of the hypervisor's own: its tick, and List Registers that ran empty.
    pub host_irqs: u64,
    /// Bytes of RAM that guests had and that were not given back when all had ended; 0.
    pub leaked_ram: u64,
    /// The same of the hypervisor's heap.
    pub leaked_heap: u64,
    /// Counter ticks a second, in which costs are told.
    #[serde(default)]
    pub frequency: u64,
    /// By guest.
    pub guests: Vec<GuestSummary, MAX_GUESTS>,
}

/// What the traps of a class cost in all, from the vector to `eret`: without what other vCPUs did meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Its name, as in [`GuestSummary::traps`], or `irq`.
    pub class: String<32>,
    /// How many came to their end.
    pub count: u64,
    /// Counter ticks of all.
    pub ticks: u64,
    /// Of the dearest.
    pub max: u64,
}

/// Classes of traps that a summary tells of.
pub const MAX_CLASSES: usize = 24;

/// What one guest did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSummary {
    /// Its name.
    pub name: String<16>,
    /// How it ended; none while it runs.
    pub end: Option<End>,
    /// How often it began again, by PSCI SYSTEM_RESET.
    pub restarts: u64,
    /// Synchronous traps by class: the name of [`trap::esr::ec_name`], and how many; those that came.
    pub traps: Vec<(String<32>, u64), MAX_CLASSES>,
    /// Physical interrupts that came while it ran.
    pub irqs: u64,
    /// SErrors that it was given: for those that came while it ran, or that it left pending.
    pub serrors: u64,
    /// Virtual interrupts that it acknowledged from List Registers.
    pub injections: u64,
    /// How often one of its vCPUs was switched to.
    pub switches: u64,
    /// The mitigation of speculative store bypass, where its calls are counted.
    #[serde(default)]
    pub ssbd: Mitigations,
    /// Exceptions that it had to take for what it tried: the kind, and how many; those that came.
    #[serde(default)]
    pub exceptions: Vec<(String<32>, u64), 4>,
    /// What its traps cost, if that was asked for.
    #[serde(default)]
    pub costs: Vec<Cost, MAX_CLASSES>,
}

/// Calls of a mitigation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mitigations {
    /// How many.
    pub count: u64,
    /// What the first were for: on or off.
    pub first: Vec<bool, 16>,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// By PSCI SYSTEM_OFF.
    PoweredOff,
    /// It told its pvpanic device that it has panicked.
    Panicked,
    /// The hypervisor ended it, or none of its vCPUs could ever run again.
    Killed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(page: &Page) -> std::vec::Vec<u8> {
        let words =
            [&page.magic, &page.code, &page.length].into_iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
        words.chain(page.json.iter().map(|byte| byte.load(Relaxed))).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(core::mem::offset_of!(Page, json), HEADER);
        let page = Page::new();
        assert_eq!(Page::parse(&bytes(&page)), None);
        page.write(121, b"{}");
        assert_eq!(Page::parse(&bytes(&page)), Some((121, &b"{}"[..])));
        page.write(3, &[b' '; JSON_MAX + 1]);
        let full = bytes(&page);
        assert_eq!(Page::parse(&full).map(|(code, json)| (code, json.len())), Some((3, JSON_MAX)));
        for length in 0..full.len() {
            assert_eq!(Page::parse(&full[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_full_summary_has_room() {
        let name = |length| core::iter::repeat_n('x', length).collect::<std::string::String>();
        let mut guest =
            GuestSummary { name: name(16).parse().unwrap(), end: Some(End::PoweredOff), ..Default::default() };
        while guest.traps.push((name(24).parse().unwrap(), u64::MAX)).is_ok() {}
        while guest.ssbd.first.push(false).is_ok() {}
        while guest.exceptions.push((name(24).parse().unwrap(), u64::MAX)).is_ok() {}
        let cost = Cost { class: name(24).parse().unwrap(), count: u64::MAX, ticks: u64::MAX, max: u64::MAX };
        while guest.costs.push(cost.clone()).is_ok() {}
        let mut summary = Summary { kind: "hyp_summary".parse().unwrap(), ..Default::default() };
        while summary.guests.push(guest.clone()).is_ok() {}
        let mut json = std::vec![0; JSON_MAX];
        let length = serde_json_core::to_slice(&summary, &mut json).unwrap();
        assert_eq!(serde_json_core::from_slice::<Summary>(&json[..length]).unwrap().0, summary);
    }
}
