//! The trace as text, in the layout and with the names of Linux's ftrace.

use super::model::{interrupt_name, list_register, place, sentence, slot_name};
use super::timeline::{Names, Timed, Timeline};
use crate::console::Token;
use std::collections::HashMap;
use std::fmt::Write;
use trap::esr::{Ec, Esr};
use trap::frame::NO_SYSCALL;
use trap::pstate::Pstate;
use trap::record::Report;
use trap::slot::Slot;
use trap::trace::{Event, Record, State};

/// What ftrace calls the idle task in the first column, and where it is switched to.
const IDLE: [&str; 2] = ["<idle>", "swapper/0"];

/// The priority that Linux gives tasks that never asked for one; all are alike here.
const PRIORITY: u32 = 120;

/// The timeline as text; `reports` and `describe` are as for [`Model`](super::model::Model::new). An instruction is taken to
/// last a nanosecond.
pub fn text(timeline: &Timeline, reports: &[Report], mut describe: impl FnMut(Token<'_>) -> String) -> String {
    let kept = timeline.events.len() as u64;
    let mut text = format!(
        "\
# tracer: nop
#
# entries-in-buffer/entries-written: {kept}/{}   #P:{}
#
#                                _-----=> irqs-off
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| /
#           TASK-PID     CPU#  ||||       TIMESTAMP  FUNCTION
#              | |         |   ||||           |         |
",
        kept.saturating_add(timeline.lost),
        timeline.cpus
    );
    let mut names = Names::new(timeline);
    let mut places = HashMap::new();
    let mut caller = |program: &str, address: u64| {
        let key = (program.to_string(), address);
        places.entry(key).or_insert_with(|| function(&place(program, address, &mut describe))).clone()
    };
    for Timed { t, cpu, record } in &timeline.events {
        let task = if record.task == 0 { IDLE[0] } else { names.name(record.task) };
        let line = event(record, timeline, &names, *cpu, reports, &mut caller);
        let (seconds, nanoseconds) = (t / 1_000_000_000, t % 1_000_000_000);
        let flags = flags(record.state);
        let id = record.task;
        let _ = writeln!(text, "{task:>16}-{id:<7} [{cpu:03}] {flags} {seconds:5}.{nanoseconds:09}: {line}");
        names.follow(record);
    }
    text
}

/// The state of the CPU in four letters.
fn flags(state: State) -> String {
    let letter = |set: bool, letter: char| if set { letter } else { '.' };
    let depth = match state.preempt {
        0 => ".".into(),
        depth => format!("{depth:x}"),
    };
    format!("{}{}{}{depth}", letter(state.irqs_off, 'd'), letter(state.need_resched, 'N'), letter(state.in_irq, 'h'))
}

/// The name and offset in a place like `0x400844 main+0x20 (user/src/bin/hello.rs:12)`; the address where it has no name.
fn function(place: &str) -> String {
    let name = place.split_once(' ').map_or(place, |(_, name)| name);
    name.rsplit_once(" (").map_or(name, |(name, _)| name).into()
}

/// What happened, as `event: its arguments`.
fn event(
    record: &Record,
    timeline: &Timeline,
    names: &Names,
    cpu: usize,
    reports: &[Report],
    caller: &mut impl FnMut(&str, u64) -> String,
) -> String {
    let comm = |task: u32| if task == 0 { IDLE[1] } else { names.name(task) };
    let (id, name) = (record.task, comm(record.task));
    let program = |address: u64| timeline.program(names, id, address);
    let hypervisor = timeline.of_hypervisor();
    match record.event {
        Event::Enter { slot: Slot::El0Sync, esr, ref saved, .. } if Esr(esr).ec() == Ec::SVC64 && !hypervisor => {
            let arguments: Vec<_> = saved.regs[..6].iter().map(|value| format!("{value:x}")).collect();
            format!("sys_enter: NR {} ({})", saved.regs[8] as i32, arguments.join(", "))
        }
        Event::Enter { slot, esr, far, ref saved, .. } => {
            let mut line = format!(
                "exception_entry: slot={} pc={}",
                slot_name(slot, hypervisor),
                caller(program(saved.pc), saved.pc)
            );
            if slot.has_syndrome() {
                let _ = write!(line, " esr={esr:#x} ({})", sentence(Esr(esr), Some(far), hypervisor));
            }
            line
        }
        Event::Exit { x0, syscallno, .. } if syscallno != NO_SYSCALL => {
            format!("sys_exit: NR {syscallno} = {}", x0 as i64)
        }
        Event::Exit { pc, pstate, .. } => {
            format!("exception_exit: pc={} pstate={pstate:#x} ({})", caller(program(pc), pc), Pstate(pstate))
        }
        Event::IrqsOff { site } => format!("irq_disable: caller={}", caller(program(site), site)),
        Event::IrqsOn { site } => format!("irq_enable: caller={}", caller(program(site), site)),
        Event::Irq { intid } => format!("irq_handler_entry: irq={intid} name={}", interrupt_name(intid)),
        Event::IrqEnd { intid, handled } => {
            format!("irq_handler_exit: irq={intid} ret={}", if handled { "handled" } else { "unhandled" })
        }
        Event::Preempt => format!("sched_preempt: comm={name} pid={id} prio={PRIORITY}"),
        Event::Switch { left, next, name: to } => {
            let to = if next == 0 { IDLE[1] } else { to.as_str() };
            let state = left.letter();
            format!(
                "sched_switch: prev_comm={name} prev_pid={id} prev_prio={PRIORITY} prev_state={state} ==> \
                 next_comm={to} next_pid={next} next_prio={PRIORITY}"
            )
        }
        Event::Wake { task } => {
            format!("sched_wakeup: comm={} pid={task} prio={PRIORITY} target_cpu={cpu:03}", comm(task))
        }
        Event::Signal { task, signal, code } => {
            format!("signal_generate: sig={signal} errno=0 code={code} comm={} pid={task} grp=1 res=0", comm(task))
        }
        Event::Deliver { signal } => format!("signal_deliver: sig={signal} errno=0 code=0 sa_handler=0 sa_flags=0"),
        Event::Spawn { task, name: child } => {
            format!("sched_process_fork: comm={name} pid={id} child_comm={} child_pid={task}", child.as_str())
        }
        Event::Exec { name } => format!("sched_process_exec: filename={} pid={id} old_pid={id}", name.as_str()),
        Event::End { .. } => format!("sched_process_exit: comm={name} pid={id} prio={PRIORITY}"),
        Event::Report { index } => match reports.get(index as usize) {
            Some(report) => format!("report: {}", report.cause),
            None => format!("report: number {index}"),
        },
        Event::Drop { intid } => format!("irq_priority_drop: irq={intid} name={}", interrupt_name(intid)),
        Event::Inject { task, intid } => {
            format!("vgic_inject: comm={} irq={intid} name={}", comm(task), interrupt_name(intid))
        }
        Event::ListRegister { n, value } => {
            format!("vgic_lr_write: lr={n} value={value:#018x} ({})", list_register(value))
        }
        Event::ReadBack { n, value } => format!("vgic_lr_read: lr={n} value={value:#018x} ({})", list_register(value)),
    }
}
