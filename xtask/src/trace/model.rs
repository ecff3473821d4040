//! What a trace shows: from the kernel's records to spans of time that nest, with what each was and what it cost.
//!
//! Every task has two lanes. On that of EL0 are the stretches in which its program ran. On that of EL1 are the exceptions it
//! took, nested as the kernel nested them, in them the interrupt handlers and the time off the CPU; where no exception is
//! open, the stretches in which the kernel itself ran as this task (the idle task, the boot).

use super::syscall;
use super::timeline::{Names, Timed, Timeline};
use crate::console::{Token, in_words};
use ::hyp::vgic::{Link, ListRegister, State, Version};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use trap::esr::{Ec, Esr};
use trap::frame::NO_SYSCALL;
use trap::pstate::{Mode, Pstate};
use trap::record::{Kind as ReportKind, Report};
use trap::signal::{code_name, signal_name};
use trap::slot::Slot;
use trap::trace::{Event, Left, Record, Saved, Way};

/// The I bit of PSTATE: IRQs are masked.
const PSTATE_I: u64 = 1 << 7;

/// All that a trace shows. Times are instructions since the first event; other numbers, where nothing else is said, indexes.
#[derive(Debug, Default)]
pub struct Model {
    /// Whether it is of the hypervisor: then a task is a vCPU, its program is its guest, and what is told of EL1 is told of EL2.
    pub hypervisor: bool,
    /// The time of the last event.
    pub end: u64,
    /// How many events there are.
    pub events: usize,
    /// How many older ones were overwritten.
    pub lost: u64,
    /// What [`Text`] stands for.
    pub strings: Vec<String>,
    /// In the order they first did something; the idle task is the last.
    pub tasks: Vec<Task>,
    /// What exceptions there were.
    pub kinds: Vec<Kind>,
    /// In the order they began; an outer one before those in it.
    pub spans: Vec<Span>,
    /// One for each exception taken.
    pub frames: Vec<Frame>,
    /// What happened at one moment.
    pub marks: Vec<Mark>,
    /// What each CPU did.
    pub cpus: Vec<Cpu>,
    /// The reports of faults.
    pub reports: Vec<Told>,
    /// The dearest kind first.
    pub costs: Vec<Cost>,
}

/// One of [`Model::strings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text(pub usize);

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Its identifier.
    pub id: u32,
    /// The last name it had.
    pub name: String,
}

/// A kind of exceptions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Kind {
    /// A system call's name, an interrupt's, or what went wrong.
    pub name: String,
    /// What it is.
    pub class: Class,
    /// The system call's number, or the INTID.
    pub number: Option<u32>,
}

/// What an exception is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is its meaning")]
pub enum Class {
    Syscall,
    Irq,
    Fault,
    Serror,
    Brk,
    Other,
}

/// What goes on in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Type {
    /// The task's program runs.
    User,
    /// An exception, from the saving of its frame to where it is restored.
    Exception,
    /// An interrupt's handler, inside an exception.
    Handler,
    /// The task is off the CPU.
    Off,
    /// The kernel runs, in no exception.
    Kernel,
}

/// A span of time on a task's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of this task.
    pub task: usize,
    /// The lane: exception level 0 or 1.
    pub el: u8,
    /// How many spans of its lane it lies in.
    pub depth: usize,
    /// What goes on.
    pub kind_of: Type,
    /// When it begins.
    pub start: u64,
    /// When it ends.
    pub end: u64,
    /// It had not ended when the trace did, or when the task did.
    pub open: bool,
    /// What exception or interrupt it is.
    pub kind: Option<usize>,
    /// What it cost, if that is known.
    pub cost: Option<Instructions>,
    /// An exception's frame.
    pub frame: Option<usize>,
}

/// What a span cost, in instructions: an exception's from the first one of the vector slot to `eret`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instructions {
    /// Without the exceptions in it, and without the time off the CPU.
    pub own: u64,
    /// With all that happened meanwhile.
    pub total: u64,
}

/// What an exception saved, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// The vector slot.
    pub slot: &'static str,
    /// The syndrome.
    pub esr: Option<String>,
    /// The fault address.
    pub far: Option<String>,
    /// The syndrome as a sentence.
    pub words: Option<Text>,
    /// The syndrome field by field.
    pub fields: Option<Text>,
    /// The address of the frame on its kernel stack.
    pub frame: String,
    /// The instruction that it came at, or that made the system call, as a place in the code.
    pub at: Text,
    /// The interrupted PSTATE in words.
    pub pstate: Text,
    /// x0 to x30, SP, PC and PSTATE.
    pub regs: String,
    /// A system call with its arguments.
    pub call: Option<String>,
    /// What it returned.
    pub result: Option<String>,
    /// Where it returned to, if not to where it came from.
    pub returned: Option<Text>,
}

/// The name of a slot in the kernel's table, or in the hypervisor's.
pub fn slot_name(slot: Slot, hypervisor: bool) -> &'static str {
    if hypervisor { slot.hyp_name() } else { slot.name() }
}

/// What happened at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// When.
    pub t: u64,
    /// The task that ran.
    pub task: usize,
    /// What.
    #[serde(rename = "type")]
    pub kind: MarkKind,
    /// The same in words.
    pub text: String,
    /// The other task that it is about.
    pub other: Option<usize>,
    /// The report that was written.
    pub report: Option<usize>,
}

/// What a mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the event of the same name")]
pub enum MarkKind {
    Wake,
    Signal,
    Deliver,
    Preempt,
    Spawn,
    Exec,
    End,
    Switch,
    Report,
    Drop,
    Inject,
    ListRegister,
    ReadBack,
}

/// What a CPU did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Its number.
    pub index: usize,
    /// From when on it ran which task.
    pub running: Vec<(u64, usize)>,
    /// From when to when IRQs were masked, and where they were masked and unmasked.
    pub masked: Vec<(u64, u64, Text, Text)>,
}

/// A report of a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// When it was written.
    pub t: u64,
    /// By this task.
    pub task: usize,
    /// What it is.
    pub kind: ReportKind,
    /// All of it.
    pub text: String,
}

/// What the exceptions of one kind cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Which.
    pub kind: usize,
    /// How many of them came to their end.
    pub count: usize,
    /// As [`Instructions::own`].
    #[serde(rename = "self")]
    pub own: Figures,
    /// As [`Instructions::total`].
    pub total: Figures,
}

/// Some costs in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each name is its meaning")]
pub struct Figures {
    pub min: u64,
    pub median: u64,
    pub max: u64,
    pub sum: u64,
}

impl Figures {
    /// None where there is none.
    fn of(mut costs: Vec<u64>) -> Option<Figures> {
        costs.sort_unstable();
        let (min, max) = (*costs.first()?, *costs.last()?);
        let median = costs[(costs.len() - 1) / 2].midpoint(costs[costs.len() / 2]);
        Some(Figures { min, median, max, sum: costs.iter().sum() })
    }
}

impl Model {
    /// What the `timeline` shows. `reports` are those the machine's console had, in order; `describe` puts addresses in words.
    pub fn new(timeline: &Timeline, reports: &[Report], describe: impl FnMut(Token<'_>) -> String) -> Model {
        let tasks = tasks(timeline);
        let mut ids = vec![0; tasks.len()];
        for (&id, &index) in &tasks {
            ids[index] = id;
        }
        let mut builder = Builder {
            timeline,
            written: reports,
            describe,
            names: Names::new(timeline),
            model: Model {
                hypervisor: timeline.of_hypervisor(),
                end: timeline.end(),
                events: timeline.events.len(),
                lost: timeline.lost,
                cpus: (0..timeline.cpus).map(|index| Cpu { index, ..Cpu::default() }).collect(),
                ..Model::default()
            },
            texts: HashMap::new(),
            places: HashMap::new(),
            kinds: HashMap::new(),
            lanes: ids.iter().map(|_| Lane::default()).collect(),
            tasks,
            ids,
            masked: vec![None; timeline.cpus],
        };
        for event in &timeline.events {
            builder.event(event);
            builder.names.follow(&event.record);
        }
        builder.finish()
    }

    /// What the two lanes of a task are called.
    pub fn levels(&self) -> [&'static str; 2] {
        if self.hypervisor { ["guest", "EL2"] } else { ["EL0", "EL1"] }
    }

    /// A text's own.
    pub fn text(&self, text: Text) -> &str {
        &self.strings[text.0]
    }

    /// `preempt (3)`.
    pub fn label(&self, task: usize) -> String {
        let Task { id, name } = &self.tasks[task];
        if self.hypervisor { name.clone() } else { label(*id, name) }
    }
}

fn label(id: u32, name: &str) -> String {
    if name.is_empty() { format!("task {id}") } else { format!("{name} ({id})") }
}

/// Where each task is in [`Model::tasks`]: in order of first appearance, the idle task last.
fn tasks(timeline: &Timeline) -> BTreeMap<u32, usize> {
    let mut tasks = BTreeMap::new();
    let mut appear = |task: u32| {
        let next = tasks.len();
        if task != 0 {
            tasks.entry(task).or_insert(next);
        }
    };
    for Timed { record, .. } in &timeline.events {
        appear(record.task);
        match record.event {
            Event::Switch { next: task, .. }
            | Event::Wake { task }
            | Event::Signal { task, .. }
            | Event::Spawn { task, .. }
            | Event::Inject { task, .. } => appear(task),
            _ => {}
        }
    }
    tasks.insert(0, tasks.len());
    tasks
}

/// One task while its lanes are drawn.
#[derive(Default)]
struct Lane {
    /// Whether it has done anything yet.
    seen: bool,
    /// What runs where no exception is open: one of [`Type::User`] and [`Type::Kernel`].
    ground: Option<usize>,
    /// The exceptions, handlers and the time off the CPU that are open, the outermost first.
    stack: Vec<Open>,
}

/// A span that has not ended.
struct Open {
    span: usize,
    /// Where an exception's frame lies, the PC in it, and how it came.
    entered: Option<(u64, u64, Way)>,
    /// What of it is others' cost.
    inner: u64,
}

struct Builder<'a, D> {
    timeline: &'a Timeline,
    written: &'a [Report],
    describe: D,
    names: Names,
    model: Model,
    texts: HashMap<String, Text>,
    /// Code addresses in words, by program (empty for the kernel).
    places: HashMap<(String, u64), Text>,
    kinds: HashMap<Kind, usize>,
    /// By identifier.
    tasks: BTreeMap<u32, usize>,
    /// By index.
    ids: Vec<u32>,
    lanes: Vec<Lane>,
    /// Since when, and where, each CPU has its IRQs masked.
    masked: Vec<Option<(u64, Text)>>,
}

impl<D: FnMut(Token<'_>) -> String> Builder<'_, D> {
    fn event(&mut self, &Timed { t, cpu, ref record }: &Timed) {
        let task = self.tasks[&record.task];
        let first = self.model.cpus[cpu].running.is_empty();
        if first {
            self.model.cpus[cpu].running.push((t, task));
            if record.state.irqs_off && !matches!(record.event, Event::Enter { .. } | Event::IrqsOff { .. }) {
                self.masked[cpu] = Some((t, self.text("before the first event".into())));
            }
        }
        self.back_on_cpu(task, t);
        match record.event {
            Event::Enter { slot, frame, esr, far, window, ref saved } => {
                let place = self.text(format!("exception taken ({slot})"));
                self.mask(cpu, t, place);
                let way = Way::new(slot.from_el1(), window);
                self.enter(task, t, slot, (esr, far), (frame, saved), way);
            }
            Event::Exit { frame, pc, pstate, x0, syscallno } => {
                // The hypervisor tells only of exits to guests, whose PSTATE masks nothing of its own.
                let to_guest = self.model.hypervisor;
                let to_el1 = !to_guest && !matches!(Pstate(pstate).mode(), Mode::A64 { el: 0, .. } | Mode::A32("usr"));
                self.exit(task, t, frame, to_el1, (pc, x0, syscallno));
                if pstate & PSTATE_I == 0 || to_guest {
                    let place = self.text("exception return".into());
                    self.unmask(cpu, t, place);
                }
            }
            Event::IrqsOff { site } => {
                let place = self.place(record.task, site);
                self.mask(cpu, t, place);
            }
            Event::IrqsOn { site } => {
                let place = self.place(record.task, site);
                self.unmask(cpu, t, place);
            }
            Event::Irq { intid } => self.irq(task, t, intid),
            Event::IrqEnd { intid, .. } => self.irq_end(task, t, intid),
            Event::Switch { left, next, .. } => self.switch(task, t, cpu, left, next),
            _ => {}
        }
        self.mark(task, t, record);
    }

    /// The task runs: it is off the CPU no more.
    fn back_on_cpu(&mut self, task: usize, t: u64) {
        let lane = &mut self.lanes[task];
        let begins = !std::mem::replace(&mut lane.seen, true);
        let top = lane.stack.last().map(|open| self.model.spans[open.span].kind_of);
        if top == Some(Type::Off) {
            let Open { span, .. } = self.close(task, t, false);
            self.blame(task, t - self.model.spans[span].start);
        }
        if (begins || top == Some(Type::Off)) && self.lanes[task].stack.is_empty() {
            self.ground(task, t, Some(Type::Kernel));
        }
    }

    fn enter(
        &mut self,
        task: usize,
        t: u64,
        slot: Slot,
        syndrome: (u64, u64),
        (frame, saved): (u64, &Saved),
        way: Way,
    ) {
        // What lies below an exception from EL0 or where this frame lies now has ended without a record.
        let keep = if slot.from_el1() { self.outermost(task, frame) } else { Some(0) };
        if let Some(keep) = keep {
            self.drop_to(task, t, keep);
        }
        self.ground(task, t, None);
        let (kind, described) = self.describe_frame(task, slot, syndrome, (frame, saved));
        self.model.frames.push(described);
        let index = self.model.frames.len() - 1;
        self.open(task, t, Type::Exception, kind);
        if let Some(open) = self.lanes[task].stack.last_mut() {
            open.entered = Some((frame, saved.pc, way));
            self.model.spans[open.span].frame = Some(index);
        }
    }

    fn exit(&mut self, task: usize, t: u64, frame: u64, to_el1: bool, (pc, x0, syscallno): (u64, u64, i32)) {
        if let Some(depth) = self.outermost(task, frame) {
            self.drop_to(task, t, depth + 1);
            let Open { span, entered, inner } = self.close(task, t, false);
            let Span { start, kind, frame, .. } = self.model.spans[span];
            if let (Some(index), Some((_, from, way))) = (frame, entered) {
                let ends = self.timeline.entry[way as usize] + self.timeline.exit[way as usize];
                let total = t - start + ends;
                self.model.spans[span].cost = Some(Instructions { own: total.saturating_sub(inner), total });
                self.blame(task, total);
                let is_call = kind.is_some_and(|kind| self.model.kinds[kind].class == Class::Syscall);
                if is_call && syscallno != NO_SYSCALL {
                    self.model.frames[index].result = Some(syscall::result(x0));
                }
                if pc != from {
                    self.model.frames[index].returned = Some(self.place(self.ids[task], pc));
                }
            }
        }
        if !to_el1 {
            self.drop_to(task, t, 0);
            self.ground(task, t, Some(Type::User));
        } else if self.lanes[task].stack.is_empty() && self.lanes[task].ground.is_none() {
            self.ground(task, t, Some(Type::Kernel));
        }
    }

    fn irq(&mut self, task: usize, t: u64, intid: u32) {
        let kind = self.kind(interrupt(intid));
        let innermost = self.lanes[task].stack.last().map(|open| open.span);
        // An IRQ exception is called after the first interrupt that it finds.
        if let Some(span) = innermost.map(|span| &mut self.model.spans[span])
            && span.kind_of == Type::Exception
        {
            span.kind.get_or_insert(kind);
        }
        self.open(task, t, Type::Handler, Some(kind));
    }

    fn irq_end(&mut self, task: usize, t: u64, intid: u32) {
        let kind = self.kind(interrupt(intid));
        let is_it = |open: &Open| {
            let span = &self.model.spans[open.span];
            span.kind_of == Type::Handler && span.kind == Some(kind)
        };
        let Some(depth) = self.lanes[task].stack.iter().rposition(is_it) else { return };
        self.drop_to(task, t, depth + 1);
        let Open { span, inner, .. } = self.close(task, t, false);
        let total = t - self.model.spans[span].start;
        self.model.spans[span].cost = Some(Instructions { own: total.saturating_sub(inner), total });
        self.blame(task, inner);
    }

    fn switch(&mut self, task: usize, t: u64, cpu: usize, left: Left, next: u32) {
        let next = self.tasks[&next];
        self.model.cpus[cpu].running.push((t, next));
        self.ground(task, t, None);
        if left == Left::Ended {
            self.drop_to(task, t, 0);
        } else {
            self.open(task, t, Type::Off, None);
        }
    }

    /// Begins a span in all those that are open.
    fn open(&mut self, task: usize, t: u64, kind_of: Type, kind: Option<usize>) {
        self.ground(task, t, None);
        let depth = self.lanes[task].stack.len();
        let span = self.span(task, t, kind_of, depth, kind);
        self.lanes[task].stack.push(Open { span, entered: None, inner: 0 });
    }

    fn span(&mut self, task: usize, t: u64, kind_of: Type, depth: usize, kind: Option<usize>) -> usize {
        let el = u8::from(kind_of != Type::User);
        let span = Span { task, el, depth, kind_of, start: t, end: t, open: false, kind, cost: None, frame: None };
        self.model.spans.push(span);
        self.model.spans.len() - 1
    }

    /// Ends the innermost span of those that are open.
    fn close(&mut self, task: usize, t: u64, open: bool) -> Open {
        let closed = self.lanes[task].stack.pop().expect("the caller has seen it");
        let span = &mut self.model.spans[closed.span];
        (span.end, span.open) = (t, open);
        closed
    }

    /// Ends all open spans but the `keep` outermost, which never came to their own end.
    fn drop_to(&mut self, task: usize, t: u64, keep: usize) {
        while self.lanes[task].stack.len() > keep {
            let Open { span, .. } = self.close(task, t, true);
            self.blame(task, t - self.model.spans[span].start);
        }
    }

    /// So much of the innermost open span's time was another's.
    fn blame(&mut self, task: usize, instructions: u64) {
        if let Some(open) = self.lanes[task].stack.last_mut() {
            open.inner += instructions;
        }
    }

    /// From now on this runs where no exception is open.
    fn ground(&mut self, task: usize, t: u64, kind_of: Option<Type>) {
        if let Some(span) = self.lanes[task].ground.take() {
            self.model.spans[span].end = t;
        }
        if let Some(kind_of) = kind_of {
            self.lanes[task].ground = Some(self.span(task, t, kind_of, 0, None));
        }
    }

    /// How deep the outermost exception with its frame there lies.
    fn outermost(&self, task: usize, frame: u64) -> Option<usize> {
        self.lanes[task].stack.iter().position(|open| open.entered.is_some_and(|(lies, ..)| lies == frame))
    }

    fn mask(&mut self, cpu: usize, t: u64, place: Text) {
        self.masked[cpu].get_or_insert((t, place));
    }

    fn unmask(&mut self, cpu: usize, t: u64, place: Text) {
        if let Some((since, masked)) = self.masked[cpu].take() {
            self.model.cpus[cpu].masked.push((since, t, masked, place));
        }
    }

    fn describe_frame(
        &mut self,
        task: usize,
        slot: Slot,
        (esr, far): (u64, u64),
        (address, saved): (u64, &Saved),
    ) -> (Option<usize>, Frame) {
        let syndrome = Some(Esr(esr)).filter(|_| slot.has_syndrome());
        let far = syndrome.filter(|esr| esr.far_valid()).map(|_| far);
        let number = saved.regs[8] as i32;
        let is_call = slot == Slot::El0Sync && Esr(esr).ec() == Ec::SVC64 && !self.model.hypervisor;
        let kind = if is_call {
            Some(Kind { name: syscall::name(number), class: Class::Syscall, number: u32::try_from(number).ok() })
        } else {
            exception(slot, esr, self.model.hypervisor)
        };
        let kind = kind.map(|kind| self.kind(kind));
        let arguments = saved.regs.first_chunk().filter(|_| is_call);
        let numbers = saved.regs.iter().chain([&saved.sp, &saved.pc, &saved.pstate]);
        let frame = Frame {
            slot: slot_name(slot, self.model.hypervisor),
            esr: syndrome.map(|esr| format!("{:#x}", esr.0)),
            far: far.map(|far| format!("{far:#x}")),
            words: syndrome.map(|esr| self.text(sentence(esr, far, self.model.hypervisor))),
            fields: syndrome.map(|esr| self.text(esr.table().to_string())),
            frame: format!("{address:#x}"),
            // ELR of a system call is behind it.
            at: self.place(self.ids[task], if is_call { saved.pc.wrapping_sub(4) } else { saved.pc }),
            pstate: self.text(format!("{:#x}: {}", saved.pstate, Pstate(saved.pstate))),
            regs: numbers.map(|value| format!("{value:x}")).collect::<Vec<_>>().join(" "),
            call: arguments.map(|arguments| syscall::call(number, arguments)),
            result: None,
            returned: None,
        };
        (kind, frame)
    }

    fn mark(&mut self, task: usize, t: u64, record: &Record) {
        let of = |id: u32| match self.names.name(id) {
            // A vCPU's name says it all.
            name if self.model.hypervisor => name.to_string(),
            name => label(id, name),
        };
        let mut report = None;
        let (kind, text, other) = match record.event {
            Event::Preempt => (MarkKind::Preempt, "is preempted".into(), None),
            Event::Switch { left, next, .. } => {
                let why = match left {
                    Left::Runnable => "could go on",
                    Left::Sleeping => "waits",
                    Left::Stopped => "is stopped",
                    Left::Ended => "has ended",
                };
                (MarkKind::Switch, format!("{why}; the CPU goes to {}", of(next)), Some(next))
            }
            Event::Wake { task } => (MarkKind::Wake, format!("wakes {}", of(task)), Some(task)),
            Event::Signal { task, signal, code } => {
                let (name, code) = (signal_name(signal), code_name(signal, code));
                (MarkKind::Signal, format!("sends {name} ({code}) to {}", of(task)), Some(task))
            }
            Event::Deliver { signal } => (MarkKind::Deliver, format!("acts on {}", signal_name(signal)), None),
            Event::Spawn { task, name } => {
                (MarkKind::Spawn, format!("makes {}", label(task, name.as_str())), Some(task))
            }
            Event::Exec { name } => (MarkKind::Exec, format!("runs `{}` now", name.as_str()), None),
            Event::End { code } => (MarkKind::End, format!("ends with exit code {code}"), None),
            Event::Report { index } => {
                let text = match self.written.get(index as usize) {
                    Some(written) => {
                        let text = in_words(&written.to_string(), &mut self.describe);
                        self.model.reports.push(Told { t, task, kind: written.kind, text });
                        report = Some(self.model.reports.len() - 1);
                        written.cause.to_string()
                    }
                    None => "a report, which the console does not hold".into(),
                };
                (MarkKind::Report, text, None)
            }
            Event::Drop { intid } => {
                (MarkKind::Drop, format!("drops the priority of interrupt {intid} ({})", interrupt_name(intid)), None)
            }
            Event::Inject { task, intid } => {
                let text = format!("injects interrupt {intid} ({}) into {}", interrupt_name(intid), of(task));
                (MarkKind::Inject, text, Some(task))
            }
            Event::ListRegister { n, value } => {
                (MarkKind::ListRegister, format!("List Register {n} is written: {}", list_register(value)), None)
            }
            Event::ReadBack { n, value } => {
                (MarkKind::ReadBack, format!("List Register {n} is read back: {}", list_register(value)), None)
            }
            _ => return,
        };
        let other = other.map(|id| self.tasks[&id]);
        self.model.marks.push(Mark { t, task, kind, text, other, report });
    }

    fn kind(&mut self, kind: Kind) -> usize {
        *self.kinds.entry(kind).or_insert_with_key(|kind| {
            self.model.kinds.push(kind.clone());
            self.model.kinds.len() - 1
        })
    }

    fn text(&mut self, text: String) -> Text {
        *self.texts.entry(text).or_insert_with_key(|text| {
            self.model.strings.push(text.clone());
            Text(self.model.strings.len() - 1)
        })
    }

    /// A code address in words, in the kernel or in the program that the task runs.
    fn place(&mut self, id: u32, address: u64) -> Text {
        let program = self.timeline.program(&self.names, id, address);
        let key = (program.to_string(), address);
        if let Some(&text) = self.places.get(&key) {
            return text;
        }
        let text = place(program, address, &mut self.describe);
        let text = self.text(text);
        self.places.insert(key, text);
        text
    }

    fn finish(mut self) -> Model {
        let end = self.model.end;
        for task in 0..self.lanes.len() {
            if let Some(span) = self.lanes[task].ground {
                self.model.spans[span].open = true;
            }
            self.ground(task, end, None);
            self.drop_to(task, end, 0);
        }
        let place = self.text("not before the last event".into());
        for cpu in 0..self.masked.len() {
            self.unmask(cpu, end, place);
        }
        // An IRQ exception in which no interrupt was acknowledged.
        let nothing = self.model.spans.iter().any(|span| span.kind_of == Type::Exception && span.kind.is_none());
        if nothing {
            let kind = self.kind(Kind { name: "interrupt".into(), class: Class::Irq, number: None });
            for span in self.model.spans.iter_mut().filter(|span| span.kind_of == Type::Exception) {
                span.kind.get_or_insert(kind);
            }
        }
        self.model.spans.retain(|span| span.end > span.start || !matches!(span.kind_of, Type::User | Type::Kernel));
        self.model.costs = costs(&self.model);
        let names = &self.names;
        self.model.tasks = self.ids.iter().map(|&id| Task { id, name: names.name(id).into() }).collect();
        self.model
    }
}

/// An address in words: `0x400844 main+0x20 (user/src/bin/hello.rs:12)`. It is the kernel's where `program` is empty.
pub fn place(program: &str, address: u64, describe: &mut impl FnMut(Token<'_>) -> String) -> String {
    let token = if program.is_empty() { Token::Kernel(address) } else { Token::Program(program, address) };
    let words = describe(token);
    match words.split_once(' ') {
        Some((_, name)) => format!("{address:#x} {name}"),
        None => format!("{address:#x}"),
    }
}

/// A syndrome as a sentence. What is EL0 to the kernel, the lower level, is to the hypervisor the guest.
pub fn sentence(esr: Esr, far: Option<u64>, hypervisor: bool) -> String {
    let sentence = esr.sentence(far).to_string();
    if hypervisor { sentence.replace("from EL0", "from the guest") } else { sentence }
}

/// What an exception is that is no system call; none for an interrupt, whose INTID says it.
fn exception(slot: Slot, esr: u64, hypervisor: bool) -> Option<Kind> {
    let esr = Esr(esr);
    let ec = esr.ec();
    let (name, class) = match (slot as u8 % 4, ec) {
        (1, _) => return None,
        (2, _) => ("FIQ".into(), Class::Other),
        (3, _) => (ec.title().into(), Class::Serror),
        (_, Ec::BRK64 | Ec::BKPT32) => (ec.title().into(), Class::Brk),
        (_, ec) if ec.is_abort() => (sentence(esr, None, hypervisor), Class::Fault),
        (
            _,
            Ec::UNKNOWN
            | Ec::PC_ALIGNMENT
            | Ec::SP_ALIGNMENT
            | Ec::ILLEGAL_STATE
            | Ec::BTI
            | Ec::FPAC
            | Ec::FP64
            | Ec::FP32
            | Ec::FP_SIMD
            | Ec::MOPS
            | Ec::GCS,
        ) => (ec.title().into(), Class::Fault),
        _ => (ec.title().into(), Class::Other),
    };
    Some(Kind { name, class, number: None })
}

/// What an interrupt is: on QEMU's `virt` machine each has its number.
fn interrupt(intid: u32) -> Kind {
    Kind { name: interrupt_name(intid), class: Class::Irq, number: Some(intid) }
}

/// An interrupt's name.
pub fn interrupt_name(intid: u32) -> String {
    match intid {
        0..16 => format!("IPI {intid}"),
        25 => "maintenance".into(),
        26 => "EL2 timer".into(),
        27 | 30 => "timer".into(),
        33 => "uart".into(),
        _ => format!("interrupt {intid}"),
    }
}

/// What a List Register holds, in words.
pub fn list_register(value: u64) -> String {
    let ListRegister { intid, priority, state, link, .. } = ListRegister::decode(Version::V3, value);
    let state = match state {
        State::Invalid => return format!("nothing; it was {intid}"),
        State::Pending => "pending",
        State::Active => "active",
        State::PendingActive => "pending and active",
    };
    let link = match link {
        Link::Hw(physical) => format!(", its end deactivates physical {physical}"),
        Link::Software { eoi: true, .. } => ", its end is a maintenance interrupt".into(),
        Link::Software { eoi: false, .. } => String::new(),
    };
    format!("{intid}, {state}, priority {priority:#x}{link}")
}

/// What the exceptions of each kind cost that came to their end.
fn costs(model: &Model) -> Vec<Cost> {
    let mut by_kind = BTreeMap::<usize, Vec<Instructions>>::new();
    for span in model.spans.iter().filter(|span| span.kind_of == Type::Exception) {
        if let (Some(kind), Some(cost)) = (span.kind, span.cost) {
            by_kind.entry(kind).or_default().push(cost);
        }
    }
    let mut costs: Vec<_> = by_kind
        .into_iter()
        .filter_map(|(kind, costs)| {
            let own = Figures::of(costs.iter().map(|cost| cost.own).collect())?;
            let total = Figures::of(costs.iter().map(|cost| cost.total).collect())?;
            Some(Cost { kind, count: costs.len(), own, total })
        })
        .collect();
    costs.sort_by_key(|cost| std::cmp::Reverse(cost.own.sum));
    costs
}
