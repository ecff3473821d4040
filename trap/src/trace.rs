//! What the kernel, or the hypervisor, writes down of every event while it is traced: the records, and the ring that keeps the newest
//! of them. Of the hypervisor a task is a vCPU; its exceptions are traps, in slots that [`Slot::hyp_name`] names.
//!
//! Each CPU has a ring in RAM, which only it writes, with everything masked; a tool on the host finds the rings through a
//! [`Directory`] in the kernel's image and reads them after the machine has ended, however it ended.
//!
//! A record is a few 64-bit words: kind, length, state and task; the counter; what tracing itself has cost so far, in ticks and in
//! calls; then what belongs to its kind ([`Event`]).

use crate::slot::Slot;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release, fence};

/// The first word of a [`Directory`] once the rings stand.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ventrace");

/// The version of the directory and of the records.
pub const SCHEMA: u64 = 1;

/// CPUs that a directory has rings for.
pub const MAX_CPUS: usize = 8;

/// No record has more words.
pub const RECORD_WORDS: usize = HEADER + 4 + 34;

/// Words before what belongs to the kind.
const HEADER: usize = 4;

/// Where the rings are and what their times mean, in the kernel's image.
#[repr(C)]
pub struct Directory {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`SCHEMA`].
    pub schema: AtomicU64,
    /// Counter ticks a second (CNTFRQ_EL0).
    pub frequency: AtomicU64,
    /// Instructions that each of [`Record::calls`] costs beside what [`Record::spent`] counts.
    pub uncounted: AtomicU64,
    /// Instructions from the first one of a vector slot to [`Event::Enter`], for each [`Way`].
    pub entry: [AtomicU64; Way::COUNT],
    /// Instructions from [`Event::Exit`] to `eret`, which is the last, for each [`Way`].
    pub exit: [AtomicU64; Way::COUNT],
    /// The rings, by CPU.
    pub rings: [Ring; MAX_CPUS],
}

/// The ways in and out that differ in their length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From and to EL0.
    El0,
    /// From and to EL1, with no window to user memory open.
    El1,
    /// The same with one, which the way in closes and the way out opens again.
    El1Window,
}

impl Way {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// That of an exception from EL0 or not, inside of a window or not.
    pub fn new(from_el1: bool, window: bool) -> Way {
        match (from_el1, window) {
            (false, _) => Way::El0,
            (true, false) => Way::El1,
            (true, true) => Way::El1Window,
        }
    }
}

/// One CPU's ring. Positions count words ever written, so a word lies at its position modulo the size.
#[repr(C)]
pub struct Ring {
    /// Physical address of its storage; 0 while there is none.
    pub address: AtomicU64,
    /// Size of its storage in words.
    pub size: AtomicU64,
    /// Behind the newest record.
    pub head: AtomicU64,
    /// The oldest record that is whole.
    pub tail: AtomicU64,
    /// Records that newer ones have overwritten.
    pub lost: AtomicU64,
    /// Events that were not written down: there was no stack for it, or they came out of the writing of another.
    pub skipped: AtomicU64,
    /// Counter ticks that tracing has taken on this CPU.
    pub spent: AtomicU64,
    /// Trace points passed.
    pub calls: AtomicU64,
}

impl Directory {
    /// Words of a directory.
    pub const WORDS: usize = size_of::<Directory>() / 8;

    /// No rings.
    #[expect(clippy::declare_interior_mutable_const, reason = "what a static begins with, each with a copy of its own")]
    pub const EMPTY: Directory = Directory {
        magic: AtomicU64::new(0),
        schema: AtomicU64::new(0),
        frequency: AtomicU64::new(0),
        uncounted: AtomicU64::new(0),
        entry: [const { AtomicU64::new(0) }; Way::COUNT],
        exit: [const { AtomicU64::new(0) }; Way::COUNT],
        rings: [const { Ring::EMPTY }; MAX_CPUS],
    };

    /// A directory as it stood in memory; none when that is not one.
    pub fn parse(words: &[u64; Self::WORDS]) -> Option<Self> {
        let mut words = words.iter().map(|&word| AtomicU64::new(word));
        let mut next = || words.next().unwrap_or_default();
        let directory = Directory {
            magic: next(),
            schema: next(),
            frequency: next(),
            uncounted: next(),
            entry: core::array::from_fn(|_| next()),
            exit: core::array::from_fn(|_| next()),
            rings: core::array::from_fn(|_| Ring {
                address: next(),
                size: next(),
                head: next(),
                tail: next(),
                lost: next(),
                skipped: next(),
                spent: next(),
                calls: next(),
            }),
        };
        (directory.magic.load(Relaxed) == MAGIC && directory.schema.load(Relaxed) == SCHEMA).then_some(directory)
    }
}

impl Ring {
    /// Without storage: what is pushed goes nowhere.
    #[expect(clippy::declare_interior_mutable_const, reason = "what a static begins with, each with a copy of its own")]
    pub const EMPTY: Ring = Ring {
        address: AtomicU64::new(0),
        size: AtomicU64::new(0),
        head: AtomicU64::new(0),
        tail: AtomicU64::new(0),
        lost: AtomicU64::new(0),
        skipped: AtomicU64::new(0),
        spent: AtomicU64::new(0),
        calls: AtomicU64::new(0),
    };

    /// Appends a record, over the oldest ones where there is no room. Whoever reads `head` and `tail` at any moment finds
    /// whole records between them. `storage` is the ring's, `size` words long; one writer.
    pub fn push(&self, storage: &[AtomicU64], record: &[u64]) {
        let (size, head) = (storage.len() as u64, self.head.load(Relaxed));
        if size < record.len() as u64 {
            return;
        }
        let end = head + record.len() as u64;
        let mut tail = self.tail.load(Relaxed);
        while end - tail > size {
            tail += length(storage[(tail % size) as usize].load(Relaxed)).max(1) as u64;
            self.lost.store(self.lost.load(Relaxed) + 1, Relaxed);
        }
        self.tail.store(tail, Relaxed);
        // What lies between the two is whole at any moment, for whoever ends this machine and looks.
        fence(Release);
        let first = (head % size) as usize;
        for (word, from) in storage[first..].iter().chain(storage).zip(record) {
            word.store(*from, Relaxed);
        }
        self.head.store(end, Release);
    }

    /// The records in `storage`, the oldest first. An error when they make no sense.
    pub fn records<'a>(&self, storage: &'a [u64]) -> impl Iterator<Item = Result<Record, Malformed>> + 'a {
        let (mut position, head) = (self.tail.load(Relaxed), self.head.load(Relaxed));
        core::iter::from_fn(move || {
            if position >= head || storage.is_empty() {
                return None;
            }
            let at = position;
            let word = |position: u64| storage[(position % storage.len() as u64) as usize];
            let length = length(word(at));
            let mut record = [0; RECORD_WORDS];
            position += length as u64;
            if !(HEADER..=RECORD_WORDS).contains(&length) || position > head {
                position = head;
                return Some(Err(Malformed { position: at }));
            }
            for (to, position) in record[..length].iter_mut().zip(at..) {
                *to = word(position);
            }
            Some(Record::parse(&record[..length]).ok_or(Malformed { position: at }))
        })
    }
}

/// What lies in a ring is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where, in words ever written.
    pub position: u64,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what lies at word {} of the trace is no record", self.position)
    }
}

impl core::error::Error for Malformed {}

/// The length in words that a record's first word tells.
fn length(first: u64) -> usize {
    (first >> 8 & 0xff) as usize
}

/// A name that may be cut short: UTF-8, padded with zeroes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Name(pub [u8; 16]);

impl Name {
    /// The name as text, as far as it is UTF-8.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let name = &self.0[..length];
        str::from_utf8(name).unwrap_or_else(|error| str::from_utf8(&name[..error.valid_up_to()]).unwrap_or_default())
    }

    fn words(self) -> [u64; 2] {
        let [low, high] = [0, 8].map(|at| core::array::from_fn(|byte| self.0[at + byte]));
        [u64::from_le_bytes(low), u64::from_le_bytes(high)]
    }

    fn parse([low, high]: [u64; 2]) -> Self {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&low.to_le_bytes());
        name[8..].copy_from_slice(&high.to_le_bytes());
        Name(name)
    }
}

impl From<&str> for Name {
    /// As much of it as there is room for.
    fn from(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Name(bytes)
    }
}

/// What the CPU was in when an event happened, as ftrace shows it before each line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// IRQs were masked.
    pub irqs_off: bool,
    /// Another task was wanted.
    pub need_resched: bool,
    /// An interrupt was being handled.
    pub in_irq: bool,
    /// How often preemption was disabled.
    pub preempt: u8,
}

/// Why a task left the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Left {
    /// It could have gone on: preempted, or it yielded.
    Runnable,
    /// It waits.
    Sleeping,
    /// A signal stopped it.
    Stopped,
    /// It has ended.
    Ended,
}

impl Left {
    /// ftrace's letter for it (`prev_state`).
    pub const fn letter(self) -> char {
        match self {
            Left::Runnable => 'R',
            Left::Sleeping => 'S',
            Left::Stopped => 'T',
            Left::Ended => 'Z',
        }
    }

    fn parse(number: u64) -> Option<Self> {
        [Left::Runnable, Left::Sleeping, Left::Stopped, Left::Ended].into_iter().find(|&left| left as u64 == number)
    }
}

/// The interrupted registers, as kernel_entry saved them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saved {
    /// x0..x30.
    pub regs: [u64; 31],
    /// SP.
    pub sp: u64,
    /// ELR.
    pub pc: u64,
    /// SPSR.
    pub pstate: u64,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "made, written down and forgotten one at a time")]
pub enum Event {
    /// An exception was taken and its frame saved; IRQs are masked from its first instruction on.
    Enter {
        /// The slot it came through.
        slot: Slot,
        /// Address of the frame, which the way out names too.
        frame: u64,
        /// ESR_EL1; means something only where [`Slot::has_syndrome`] says so.
        esr: u64,
        /// FAR_EL1; means something only where the syndrome says so.
        far: u64,
        /// A window to user memory was open.
        window: bool,
        /// What was saved.
        saved: Saved,
    },
    /// The frame is about to be restored, with IRQs masked, which are as its PSTATE says once that is done. For a new task this is
    /// the first event.
    Exit {
        /// Address of the frame.
        frame: u64,
        /// Where it goes on.
        pc: u64,
        /// PSTATE there.
        pstate: u64,
        /// x0 there: a system call's result.
        x0: u64,
        /// The system call's number, or [`NO_SYSCALL`](crate::frame::NO_SYSCALL).
        syscallno: i32,
    },
    /// IRQs were masked here, and had not been.
    IrqsOff {
        /// The instruction.
        site: u64,
    },
    /// IRQs are about to be unmasked here.
    IrqsOn {
        /// The instruction.
        site: u64,
    },
    /// An interrupt was acknowledged, and its handler is about to be called.
    Irq {
        /// INTID.
        intid: u32,
    },
    /// The interrupt's handler has returned.
    IrqEnd {
        /// INTID.
        intid: u32,
        /// Whether there was one.
        handled: bool,
    },
    /// The running task is being preempted: another is wanted that it did not ask for.
    Preempt,
    /// The running task leaves the CPU to another.
    Switch {
        /// Why.
        left: Left,
        /// The other's identifier.
        next: u32,
        /// The other's name.
        name: Name,
    },
    /// A task is made ready.
    Wake {
        /// Its identifier.
        task: u32,
    },
    /// A signal is sent.
    Signal {
        /// To this task.
        task: u32,
        /// Its number.
        signal: u32,
        /// `si_code`.
        code: i32,
    },
    /// The running task acts on a signal.
    Deliver {
        /// Its number.
        signal: u32,
    },
    /// A task was made, with this one's parent running.
    Spawn {
        /// Its identifier.
        task: u32,
        /// Its name.
        name: Name,
    },
    /// The running task runs another program.
    Exec {
        /// Its name.
        name: Name,
    },
    /// The running task has ended.
    End {
        /// Its exit code, or 128 and the signal.
        code: u8,
    },
    /// A report is written: the record of the same number on the console.
    Report {
        /// How many reports there were before.
        index: u32,
    },
    /// The hypervisor has dropped the priority of a physical interrupt (EOIR): it is active, and others may come.
    Drop {
        /// INTID.
        intid: u32,
    },
    /// A virtual interrupt is pending for a vCPU.
    Inject {
        /// The vCPU's identifier.
        task: u32,
        /// Its INTID there.
        intid: u32,
    },
    /// A List Register is written.
    ListRegister {
        /// Its number.
        n: u8,
        /// What it holds, as ICH_LR_EL2.
        value: u64,
    },
    /// A List Register is read back.
    ReadBack {
        /// Its number.
        n: u8,
        /// What it held, as ICH_LR_EL2.
        value: u64,
    },
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The counter (CNTVCT_EL0).
    pub time: u64,
    /// Counter ticks that tracing had taken on this CPU before.
    pub spent: u64,
    /// Trace points that this CPU had passed before, those that had nothing to write down too.
    pub calls: u64,
    /// The running task's identifier; 0 is the idle task, and the kernel before there are tasks.
    pub task: u32,
    /// What the CPU was in.
    pub state: State,
    /// What happened.
    pub event: Event,
}

impl Record {
    /// The record's words are put into `out`; returns how many.
    pub fn write(&self, out: &mut [u64; RECORD_WORDS]) -> usize {
        let payload = &mut out[HEADER..];
        let mut length = HEADER;
        let mut push = |words: &[u64]| {
            payload[length - HEADER..][..words.len()].copy_from_slice(words);
            length += words.len();
        };
        let kind = match self.event {
            Event::Enter { slot, frame, esr, far, window, saved } => {
                push(&[frame, esr, far, slot as u64 | u64::from(window) << 8]);
                push(&saved.regs);
                push(&[saved.sp, saved.pc, saved.pstate]);
                1
            }
            Event::Exit { frame, pc, pstate, x0, syscallno } => {
                push(&[frame, pc, pstate, x0, u64::from(syscallno as u32)]);
                2
            }
            Event::IrqsOff { site } => {
                push(&[site]);
                3
            }
            Event::IrqsOn { site } => {
                push(&[site]);
                4
            }
            Event::Irq { intid } => {
                push(&[intid.into()]);
                5
            }
            Event::IrqEnd { intid, handled } => {
                push(&[u64::from(intid) | u64::from(handled) << 32]);
                6
            }
            Event::Preempt => 7,
            Event::Switch { left, next, name } => {
                push(&[u64::from(next) | (left as u64) << 32]);
                push(&name.words());
                8
            }
            Event::Wake { task } => {
                push(&[task.into()]);
                9
            }
            Event::Signal { task, signal, code } => {
                push(&[u64::from(task) | u64::from(signal) << 32, u64::from(code as u32)]);
                10
            }
            Event::Deliver { signal } => {
                push(&[signal.into()]);
                11
            }
            Event::Spawn { task, name } => {
                push(&[task.into()]);
                push(&name.words());
                12
            }
            Event::Exec { name } => {
                push(&name.words());
                13
            }
            Event::End { code } => {
                push(&[code.into()]);
                14
            }
            Event::Report { index } => {
                push(&[index.into()]);
                15
            }
            Event::Drop { intid } => {
                push(&[intid.into()]);
                16
            }
            Event::Inject { task, intid } => {
                push(&[u64::from(task) | u64::from(intid) << 32]);
                17
            }
            Event::ListRegister { n, value } => {
                push(&[n.into(), value]);
                18
            }
            Event::ReadBack { n, value } => {
                push(&[n.into(), value]);
                19
            }
        };
        let State { irqs_off, need_resched, in_irq, preempt } = self.state;
        let state =
            u64::from(irqs_off) | u64::from(need_resched) << 1 | u64::from(in_irq) << 2 | u64::from(preempt) << 8;
        out[0] = kind | (length as u64) << 8 | state << 16 | u64::from(self.task) << 32;
        out[1..HEADER].copy_from_slice(&[self.time, self.spent, self.calls]);
        length
    }

    /// What [`write`](Self::write) wrote; none when these are no such words.
    pub fn parse(words: &[u64]) -> Option<Self> {
        let (&[first, time, spent, calls], payload) = words.split_first_chunk::<HEADER>()?;
        if length(first) != words.len() {
            return None;
        }
        let event = match (first & 0xff, payload) {
            (1, &[frame, esr, far, slot, ref saved @ ..]) => Event::Enter {
                slot: *Slot::ALL.get((slot & 0xff) as usize)?,
                frame,
                esr,
                far,
                window: slot >> 8 & 1 != 0,
                saved: {
                    let (regs, &[sp, pc, pstate]) = saved.split_first_chunk::<31>()? else { return None };
                    Saved { regs: *regs, sp, pc, pstate }
                },
            },
            (2, &[frame, pc, pstate, x0, syscallno]) => {
                Event::Exit { frame, pc, pstate, x0, syscallno: syscallno as u32 as i32 }
            }
            (3, &[site]) => Event::IrqsOff { site },
            (4, &[site]) => Event::IrqsOn { site },
            (5, &[intid]) => Event::Irq { intid: intid as u32 },
            (6, &[word]) => Event::IrqEnd { intid: word as u32, handled: word >> 32 & 1 != 0 },
            (7, []) => Event::Preempt,
            (8, &[word, low, high]) => {
                Event::Switch { left: Left::parse(word >> 32)?, next: word as u32, name: Name::parse([low, high]) }
            }
            (9, &[task]) => Event::Wake { task: task as u32 },
            (10, &[word, code]) => {
                Event::Signal { task: word as u32, signal: (word >> 32) as u32, code: code as u32 as i32 }
            }
            (11, &[signal]) => Event::Deliver { signal: signal as u32 },
            (12, &[task, low, high]) => Event::Spawn { task: task as u32, name: Name::parse([low, high]) },
            (13, &[low, high]) => Event::Exec { name: Name::parse([low, high]) },
            (14, &[code]) => Event::End { code: code as u8 },
            (15, &[index]) => Event::Report { index: index as u32 },
            (16, &[intid]) => Event::Drop { intid: intid as u32 },
            (17, &[word]) => Event::Inject { task: word as u32, intid: (word >> 32) as u32 },
            (18, &[n, value]) => Event::ListRegister { n: n as u8, value },
            (19, &[n, value]) => Event::ReadBack { n: n as u8, value },
            _ => return None,
        };
        let state = first >> 16;
        Some(Record {
            time,
            spent,
            calls,
            task: (first >> 32) as u32,
            state: State {
                irqs_off: state & 1 != 0,
                need_resched: state >> 1 & 1 != 0,
                in_irq: state >> 2 & 1 != 0,
                preempt: (state >> 8) as u8,
            },
            event,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::vec;
    use std::vec::Vec;

    fn slot() -> impl Strategy<Value = Slot> {
        select(&Slot::ALL[..])
    }

    fn name() -> impl Strategy<Value = Name> {
        any::<[u8; 16]>().prop_map(Name)
    }

    fn saved() -> impl Strategy<Value = Saved> {
        any::<([u64; 31], u64, u64, u64)>().prop_map(|(regs, sp, pc, pstate)| Saved { regs, sp, pc, pstate })
    }

    fn event() -> impl Strategy<Value = Event> {
        let left = select(&[Left::Runnable, Left::Sleeping, Left::Stopped, Left::Ended][..]);
        prop_oneof![
            (slot(), any::<(u64, u64, u64, bool)>(), saved()).prop_map(|(slot, (frame, esr, far, window), saved)| {
                Event::Enter { slot, frame, esr, far, window, saved }
            }),
            any::<(u64, u64, u64, u64, i32)>().prop_map(|(frame, pc, pstate, x0, syscallno)| Event::Exit {
                frame,
                pc,
                pstate,
                x0,
                syscallno
            }),
            any::<u64>().prop_map(|site| Event::IrqsOff { site }),
            any::<u64>().prop_map(|site| Event::IrqsOn { site }),
            any::<u32>().prop_map(|intid| Event::Irq { intid }),
            any::<(u32, bool)>().prop_map(|(intid, handled)| Event::IrqEnd { intid, handled }),
            Just(Event::Preempt),
            (left, any::<u32>(), name()).prop_map(|(left, next, name)| Event::Switch { left, next, name }),
            any::<u32>().prop_map(|task| Event::Wake { task }),
            any::<(u32, u32, i32)>().prop_map(|(task, signal, code)| Event::Signal { task, signal, code }),
            any::<u32>().prop_map(|signal| Event::Deliver { signal }),
            (any::<u32>(), name()).prop_map(|(task, name)| Event::Spawn { task, name }),
            name().prop_map(|name| Event::Exec { name }),
            any::<u8>().prop_map(|code| Event::End { code }),
            any::<u32>().prop_map(|index| Event::Report { index }),
            any::<u32>().prop_map(|intid| Event::Drop { intid }),
            any::<(u32, u32)>().prop_map(|(task, intid)| Event::Inject { task, intid }),
            any::<(u8, u64)>().prop_map(|(n, value)| Event::ListRegister { n, value }),
            any::<(u8, u64)>().prop_map(|(n, value)| Event::ReadBack { n, value }),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        let state = any::<(bool, bool, bool, u8)>().prop_map(|(irqs_off, need_resched, in_irq, preempt)| State {
            irqs_off,
            need_resched,
            in_irq,
            preempt,
        });
        (any::<(u64, u64, u64, u32)>(), state, event()).prop_map(|((time, spent, calls, task), state, event)| Record {
            time,
            spent,
            calls,
            task,
            state,
            event,
        })
    }

    fn words(record: &Record) -> Vec<u64> {
        let mut words = [0; RECORD_WORDS];
        let length = record.write(&mut words);
        words[..length].to_vec()
    }

    /// What lies in the ring now.
    fn kept(ring: &Ring, storage: &[AtomicU64]) -> Vec<Result<Record, Malformed>> {
        let storage: Vec<_> = storage.iter().map(|word| word.load(Relaxed)).collect();
        ring.records(&storage).collect()
    }

    #[test]
    fn a_directory_is_read_as_it_lies_in_memory() {
        let words: [u64; Directory::WORDS] = core::array::from_fn(|at| match at {
            0 => MAGIC,
            1 => SCHEMA,
            at => at as u64,
        });
        let directory = Directory::parse(&words).unwrap();
        let word = |word: &AtomicU64| {
            let at = core::ptr::from_ref(word).addr() - core::ptr::from_ref(&directory).addr();
            (word.load(Relaxed), at as u64 / 8)
        };
        let Directory { frequency, uncounted, entry, exit, rings, .. } = &directory;
        let rings = rings.iter().flat_map(|Ring { address, size, head, tail, lost, skipped, spent, calls }| {
            [address, size, head, tail, lost, skipped, spent, calls]
        });
        let fields: Vec<_> = [frequency, uncounted].into_iter().chain(entry).chain(exit).chain(rings).collect();
        assert_eq!(fields.len() + 2, Directory::WORDS);
        for field in fields {
            let (value, at) = word(field);
            assert_eq!(value, at);
        }
        for (at, other) in [(0, 0), (0, MAGIC + 1), (1, SCHEMA + 1)] {
            let mut words = words;
            words[at] = other;
            assert!(Directory::parse(&words).is_none());
        }
    }

    #[test]
    fn names_are_cut_where_they_do_not_fit() {
        for (name, kept) in [
            ("", ""),
            ("init", "init"),
            ("sixteen bytes ok", "sixteen bytes ok"),
            ("more than sixteen bytes", "more than sixtee"),
            ("fifteen bytes..é", "fifteen bytes.."),
        ] {
            assert_eq!(Name::from(name).as_str(), kept);
        }
    }

    #[test]
    fn a_record_that_makes_no_sense_ends_the_reading() {
        let storage: [AtomicU64; 40] = core::array::from_fn(|_| AtomicU64::new(0));
        let ring = Ring::EMPTY;
        for task in 0..3 {
            let record =
                Record { time: 1, spent: 2, calls: 3, task, state: State::default(), event: Event::Wake { task: 9 } };
            ring.push(&storage, &words(&record));
        }
        let length = HEADER + 1;
        for (first, whole_after) in [(0, 0), (0xff << 8, 0), (u64::from(u8::MAX) | (length as u64) << 8, 1)] {
            storage[length].store(first, Relaxed);
            let read = kept(&ring, &storage);
            assert_eq!(read[1], Err(Malformed { position: length as u64 }));
            assert_eq!((read[0].is_ok(), read.len()), (true, 2 + whole_after));
        }
        // A length that reaches behind the head.
        storage[2 * length].store((RECORD_WORDS as u64) << 8, Relaxed);
        assert_eq!(kept(&ring, &storage).last(), Some(&Err(Malformed { position: 2 * length as u64 })));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in record()) {
            let words = words(&record);
            prop_assert!(words.len() <= RECORD_WORDS);
            prop_assert_eq!(Record::parse(&words), Some(record));
            for other in [&words[..words.len() - 1], &[&words[..], &[0]].concat()] {
                prop_assert_eq!(Record::parse(other), None);
            }
        }

        #[test]
        fn any_words_are_a_record_or_none(
            mut words in collection::vec(any::<u64>(), 0..RECORD_WORDS + 2),
            kind in 0u64..24,
            length: Option<u8>,
        ) {
            let len = words.len() as u64;
            if let Some(first) = words.first_mut() {
                *first = *first & !0xffff | kind | length.map_or(len & 0xff, u64::from) << 8;
            }
            if let Some(record) = Record::parse(&words) {
                prop_assert_eq!(self::words(&record).len(), words.len());
            }
        }

        #[test]
        fn any_ring_can_be_read(
            storage in collection::vec(any::<u64>(), 0..200),
            position: u64,
            length in 0u64..300,
        ) {
            let ring = Ring { tail: AtomicU64::new(position), head: AtomicU64::new(position.saturating_add(length)), ..Ring::EMPTY };
            prop_assert!(ring.records(&storage).count() <= length as usize);
        }

        #[test]
        fn the_newest_records_are_kept_whole(
            records in collection::vec(record(), 0..60),
            size in 0usize..400,
            begin in 0u64..1000,
        ) {
            let storage: Vec<_> = (0..size).map(|_| AtomicU64::new(u64::MAX)).collect();
            let ring = Ring { head: AtomicU64::new(begin), tail: AtomicU64::new(begin), ..Ring::EMPTY };
            // A record that the whole ring has no room for goes nowhere.
            let mut pushed = Vec::new();
            for record in &records {
                let record_words = words(record);
                ring.push(&storage, &record_words);
                if record_words.len() <= size {
                    pushed.push((*record, record_words.len()));
                }
                // As many of the newest as there is room for, at every moment.
                let mut room = size;
                let fits = |&&(_, length): &&(Record, usize)| {
                    let fits = length <= room;
                    room = room.saturating_sub(length);
                    fits
                };
                let count = pushed.iter().rev().take_while(fits).count();
                let newest: Vec<_> = pushed[pushed.len() - count..].iter().map(|(record, _)| Ok(*record)).collect();
                prop_assert_eq!(kept(&ring, &storage), newest);
                prop_assert_eq!(ring.lost.load(Relaxed), (pushed.len() - count) as u64);
            }
        }
    }
}
