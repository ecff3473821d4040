//! The events of all CPUs in one order, on the clock that people see, and the names of the tasks.

use super::memory::Rings;
use ::hyp::config::VCPUS;
use std::collections::BTreeMap;
use std::fmt;
use trap::trace::{Event, Name, Record, Way};

/// Counter ticks a second where the kernel tells none.
const FREQUENCY: u64 = 62_500_000;

/// What happened, and when.
#[derive(Clone, Default)]
pub struct Timeline {
    /// In order of their times; those of one CPU in its own order.
    pub events: Vec<Timed>,
    /// How many older events were overwritten.
    pub lost: u64,
    /// How many were not written down at all.
    pub skipped: u64,
    /// How many CPUs there are.
    pub cpus: usize,
    /// As [`trap::trace::Directory::entry`].
    pub entry: [u64; Way::COUNT],
    /// As [`trap::trace::Directory::exit`].
    pub exit: [u64; Way::COUNT],
    /// The guests by number, where it is the hypervisor that was traced.
    pub guests: Vec<String>,
}

/// An event with its time.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// Instructions that the machine would have run without tracing, since the first event.
    pub t: u64,
    /// On this CPU.
    pub cpu: usize,
    /// What happened.
    pub record: Record,
}

impl fmt::Debug for Timeline {
    /// In a line: there are thousands of events.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, {} lost, {} skipped", self.events.len(), self.lost, self.skipped)
    }
}

impl Timeline {
    /// The timeline of a machine on which an instruction takes 2^`shift` nanoseconds.
    pub fn new(rings: Rings, shift: u8) -> Timeline {
        let frequency = if rings.frequency == 0 { FREQUENCY } else { rings.frequency };
        let nanoseconds = |ticks: u64| i128::from(ticks) * 1_000_000_000 / i128::from(frequency);
        let time = |record: &Record| {
            let tracing = i128::from(record.calls) * i128::from(rings.uncounted);
            (nanoseconds(record.time.saturating_sub(record.spent)) >> shift) - tracing
        };
        let cpus = rings.cpus.len();
        let first = rings.cpus.iter().filter_map(|cpu| cpu.records.first()).map(time).min().unwrap_or_default();
        let lost = rings.cpus.iter().map(|cpu| cpu.lost).fold(0, u64::saturating_add);
        let skipped = rings.cpus.iter().map(|cpu| cpu.skipped).fold(0, u64::saturating_add);
        let mut events = Vec::new();
        for (number, cpu) in rings.cpus.into_iter().enumerate() {
            // Where a tick is more than an instruction, the counter may seem to stand still while tracing is taken off.
            let mut now = 0;
            for record in cpu.records {
                now = now.max(u64::try_from(time(&record) - first).unwrap_or(0));
                let event = printable(record.event);
                events.push(Timed { t: now, cpu: number, record: Record { event, ..record } });
            }
        }
        events.sort_by_key(|event| event.t);
        Timeline { events, lost, skipped, cpus, entry: rings.entry, exit: rings.exit, guests: Vec::new() }
    }

    /// Whether it is the hypervisor that was traced: then a task is a vCPU, its program is its guest, and the kernel of all is at EL2.
    pub fn of_hypervisor(&self) -> bool {
        !self.guests.is_empty()
    }

    /// The program that an address in the code of a task is in, as tokens name it; nothing for the kernel's half.
    pub fn program<'a>(&'a self, names: &'a Names, task: u32, address: u64) -> &'a str {
        if self.of_hypervisor() {
            let guest = (task as usize).checked_sub(1).map(|index| index / usize::from(*VCPUS.end()));
            return guest.and_then(|guest| self.guests.get(guest)).map_or("", String::as_str);
        }
        if address >> 55 & 1 == 0 { names.name(task) } else { "" }
    }

    /// The time of the last event.
    pub fn end(&self) -> u64 {
        self.events.last().map_or(0, |event| event.t)
    }
}

/// The tasks' names, which change.
pub struct Names(BTreeMap<u32, Name>);

impl Names {
    /// Those at the beginning of `timeline`: of a task that was there before, the first name that is told.
    pub fn new(timeline: &Timeline) -> Names {
        let mut names = BTreeMap::from([(0, Name::from("idle"))]);
        for Timed { record, .. } in &timeline.events {
            if let Some((task, name)) = named(record) {
                names.entry(task).or_insert(name);
            }
        }
        Names(names)
    }

    /// The task's name now; nothing where none is known.
    pub fn name(&self, task: u32) -> &str {
        self.0.get(&task).map_or("", Name::as_str)
    }

    /// Goes on behind this event.
    pub fn follow(&mut self, record: &Record) {
        self.0.extend(named(record).filter(|(task, _)| *task != 0));
    }
}

/// The event with a name that moves no cursor and breaks no line: files may be called anything.
fn printable(mut event: Event) -> Event {
    if let Event::Spawn { name, .. } | Event::Switch { name, .. } | Event::Exec { name } = &mut event {
        name.0 = name.0.map(|byte| if byte != 0 && byte.is_ascii_control() { b'?' } else { byte });
    }
    event
}

/// The task that the event names.
fn named(record: &Record) -> Option<(u32, Name)> {
    match record.event {
        Event::Spawn { task, name } => Some((task, name)),
        Event::Switch { next, name, .. } => Some((next, name)),
        Event::Exec { name } => Some((record.task, name)),
        _ => None,
    }
}
