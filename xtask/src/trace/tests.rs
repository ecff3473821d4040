//! Made-up traces, and what is made of them.

use super::memory::{Cpu, Memory, Rings};
use super::model::{Class, Instructions, MarkKind, Model, Span, Type};
use super::timeline::{Names, Timed, Timeline};
use super::{About, Files, page, perfetto, text};
use crate::console::Token;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use trap::frame::NO_SYSCALL;
use trap::record::{Kind, Report};
use trap::slot::Slot;
use trap::trace::{Event, Left, Name, Record, Saved, State};

/// What kernel_entry and kernel_exit take, from and to EL0 and EL1.
const ENTRY: [u64; 3] = [40, 30, 36];
const EXIT: [u64; 3] = [25, 15, 18];

const EL0T: u64 = 0;
const EL1H: u64 = 5;

const SVC: u64 = 0x5600_0000;

fn record(task: u32, time: u64, event: Event) -> Record {
    Record { time, spent: 0, calls: 0, task, state: State::default(), event }
}

fn timeline(records: impl IntoIterator<Item = (u64, u32, Event)>) -> Timeline {
    let events = records.into_iter().map(|(t, task, event)| Timed { t, cpu: 0, record: record(task, t, event) });
    Timeline { events: events.collect(), lost: 0, skipped: 0, cpus: 1, entry: ENTRY, exit: EXIT, guests: Vec::new() }
}

fn enter(slot: Slot, frame: u64, esr: u64, x0: u64, x8: u64, pc: u64) -> Event {
    let mut regs = [0; 31];
    (regs[0], regs[8]) = (x0, x8);
    let pstate = if slot.from_el1() { EL1H } else { EL0T };
    Event::Enter { slot, frame, esr, far: 0xdead_0000, window: false, saved: Saved { regs, sp: 0x7000, pc, pstate } }
}

fn call(frame: u64, number: u64, x0: u64) -> Event {
    enter(Slot::El0Sync, frame, SVC, x0, number, 0x40_0844)
}

fn irq(slot: Slot, frame: u64) -> Event {
    enter(slot, frame, 0x1234_5678, 0, 0, if slot.from_el1() { 0xffff_ffc0_8000_1000 } else { 0x40_0900 })
}

fn exit(frame: u64, pstate: u64, pc: u64) -> Event {
    Event::Exit { frame, pc, pstate, x0: 0, syscallno: NO_SYSCALL }
}

fn returns(frame: u64, number: i32, x0: u64) -> Event {
    Event::Exit { frame, pc: 0x40_0844, pstate: EL0T, x0, syscallno: number }
}

fn switch(left: Left, next: u32, name: &str) -> Event {
    Event::Switch { left, next, name: name.into() }
}

/// Names as a test can tell them apart.
fn describe(token: Token<'_>) -> String {
    match token {
        Token::Kernel(address) if address >> 55 & 1 == 1 => {
            format!("{address:016x} kernel+{:#x} (k.rs:1)", address & 0xfff)
        }
        Token::Program(name, address) if !name.is_empty() => {
            format!("{address:016x} {name}::main+{:#x} (p.rs:2)", address & 0xfff)
        }
        Token::Kernel(address) | Token::Program(_, address) => format!("{address:016x}"),
        Token::Instruction(word) => format!("{word:08x} nop"),
    }
}

fn model(timeline: &Timeline) -> Model {
    Model::new(timeline, &[], describe)
}

fn about() -> About {
    About {
        title: "</title>".into(),
        command: "cargo xtask trace".into(),
        exit: 3,
        timed_out: false,
        machine: "cortex-a72".into(),
    }
}

/// The spans of a task's lane as (type, depth, start, end, open).
fn lane(model: &Model, id: u32, el: u8) -> Vec<(Type, usize, u64, u64, bool)> {
    let is_in = |span: &&Span| model.tasks[span.task].id == id && span.el == el;
    let row = |span: &Span| (span.kind_of, span.depth, span.start, span.end, span.open);
    model.spans.iter().filter(is_in).map(row).collect()
}

fn kind<'a>(model: &'a Model, span: &Span) -> &'a str {
    span.kind.map_or("", |kind| &model.kinds[kind].name)
}

fn cost_of(model: &Model, name: &str) -> Vec<Option<Instructions>> {
    let exceptions = model.spans.iter().filter(|span| span.kind_of == Type::Exception);
    exceptions.filter(|span| kind(model, span) == name).map(|span| span.cost).collect()
}

/// `hello` is started by the idle task and asks for its number.
fn getpid() -> Vec<(u64, u32, Event)> {
    vec![
        (0, 0, Event::Spawn { task: 1, name: "hello".into() }),
        (10, 0, switch(Left::Runnable, 1, "hello")),
        (20, 1, exit(0x1000, EL0T, 0x40_0000)),
        (100, 1, call(0x1000, 172, 7)),
        (130, 1, returns(0x1000, 172, 1)),
        (150, 1, call(0x1000, 172, 7)),
        (184, 1, returns(0x1000, 172, -14i64 as u64)),
        (200, 1, call(0x1000, 94, 0)),
        (220, 1, Event::End { code: 0 }),
        (240, 1, switch(Left::Ended, 0, "idle")),
        (300, 0, Event::Preempt),
    ]
}

#[test]
fn a_call_costs_what_its_way_in_and_out_take() {
    let model = model(&timeline(getpid()));
    let costs = cost_of(&model, "getpid");
    let both = |cost| Some(Instructions { own: cost, total: cost });
    assert_eq!(costs, [both(30 + 40 + 25), both(34 + 40 + 25)]);
    let cost = &model.costs[0];
    assert_eq!((model.costs.len(), &*model.kinds[cost.kind].name, cost.count), (1, "getpid", 2));
    assert_eq!((cost.own.min, cost.own.median, cost.own.max, cost.own.sum), (95, 97, 99, 194));
    assert_eq!((model.kinds[cost.kind].class, model.kinds[cost.kind].number), (Class::Syscall, Some(172)));
    assert_eq!((model.end, model.events), (300, 11));
}

#[test]
fn lanes_show_who_ran_what() {
    use Type::*;
    let model = model(&timeline(getpid()));
    let names: Vec<_> = model.tasks.iter().map(|task| (task.id, &*task.name)).collect();
    assert_eq!(names, [(1, "hello"), (0, "idle")]);
    assert_eq!(lane(&model, 1, 0), [(User, 0, 20, 100, false), (User, 0, 130, 150, false), (User, 0, 184, 200, false)]);
    let calls = [(Exception, 0, 100, 130, false), (Exception, 0, 150, 184, false), (Exception, 0, 200, 240, true)];
    assert_eq!(lane(&model, 1, 1), calls, "what the task ends in stays open");
    assert_eq!(lane(&model, 0, 1), [(Kernel, 0, 0, 10, false), (Off, 0, 10, 300, false)]);
    assert_eq!(model.cpus[0].running, [(0, 1), (10, 0), (240, 1)]);
}

#[test]
fn frames_are_told_in_words() {
    let model = model(&timeline(getpid()));
    let frame = &model.frames[1];
    assert_eq!((frame.call.as_deref(), frame.result.as_deref()), (Some("getpid()"), Some("-14 EFAULT")));
    assert_eq!((frame.esr.as_deref(), &frame.far), (Some("0x56000000"), &None));
    assert_eq!(model.text(frame.at), "0x400840 hello::main+0x840 (p.rs:2)");
    assert_eq!(frame.frame, "0x1000");
    assert_eq!(model.text(frame.pstate), "0x0: EL0t, nzcv, daif");
    assert_eq!(frame.regs.split(' ').count(), 34);
    assert!(
        frame.regs.starts_with("7 0 0 0 0 0 0 0 ac 0 ") && frame.regs.ends_with(" 7000 400844 0"),
        "{}",
        frame.regs
    );
    assert_eq!(frame.returned, None);
    assert_eq!(frame.words.map(|text| model.text(text)), Some("SVC (system call), immediate 0x0"));
    assert!(frame.fields.is_some_and(|text| model.text(text).contains("EC")));
    assert_eq!(model.frames[2].result, None);
}

#[test]
fn what_nests_in_a_call_is_not_its_own() {
    use Type::*;
    let trace = timeline([
        (0, 1, exit(0x2000, EL0T, 0x40_0000)),
        (100, 1, call(0x2000, 64, 1)),
        (200, 1, irq(Slot::El1hIrq, 0x1800)),
        (210, 1, Event::Irq { intid: 27 }),
        (230, 1, Event::IrqEnd { intid: 27, handled: true }),
        (240, 1, Event::Preempt),
        (250, 1, switch(Left::Runnable, 0, "idle")),
        (1000, 0, irq(Slot::El1hIrq, 0x9000)),
        (1010, 0, Event::Irq { intid: 33 }),
        (1020, 0, Event::IrqEnd { intid: 33, handled: false }),
        (1030, 0, exit(0x9000, EL1H, 0xffff_ffc0_8000_1000)),
        (1100, 0, switch(Left::Runnable, 1, "writer")),
        (1250, 1, exit(0x1800, EL1H, 0xffff_ffc0_8000_1000)),
        (1300, 1, switch(Left::Sleeping, 0, "idle")),
        (1400, 1, Event::IrqsOff { site: 0xffff_ffc0_8000_2000 }),
        (1450, 1, returns(0x2000, 64, 14)),
    ]);
    let model = model(&trace);
    let expected = [
        (Exception, 0, 100, 1450, false),
        (Exception, 1, 200, 1250, false),
        (Handler, 2, 210, 230, false),
        (Off, 2, 250, 1250, false),
        (Off, 1, 1300, 1400, false),
    ];
    assert_eq!(lane(&model, 1, 1), expected);
    let (inner, outer) = (1050 + 30 + 15, 1350 + 40 + 25);
    let timer = Instructions { own: inner - 1000, total: inner };
    assert_eq!(cost_of(&model, "timer"), [Some(timer)]);
    let perfetto: Value = serde_json::from_str(&perfetto::json(&model).unwrap()).unwrap();
    let told = perfetto["traceEvents"].as_array().unwrap().iter().find(|event| event["name"] == "timer").unwrap();
    assert_eq!((&told["args"]["self"], &told["args"]["total"]), (&json!(timer.own), &json!(timer.total)));
    assert_eq!(cost_of(&model, "write"), [Some(Instructions { own: outer - inner - 100, total: outer })]);
    assert_eq!(cost_of(&model, "uart"), [Some(Instructions { own: 75, total: 75 })]);
    let idle = [
        (Exception, 0, 1000, 1030, false),
        (Handler, 1, 1010, 1020, false),
        (Kernel, 0, 1030, 1100, false),
        (Off, 0, 1100, 1450, true),
    ];
    assert_eq!(lane(&model, 0, 1), idle);
    assert_eq!(model.frames[0].call.as_deref(), Some("write(1, 0, 0)"));
    assert_eq!(model.frames[1].esr, None, "an interrupt leaves ESR as it was");
}

#[test]
fn a_lost_beginning_does_no_harm() {
    use Type::*;
    let trace = timeline([
        // In an interrupt in a system call, of which nothing is left.
        (0, 2, Event::IrqEnd { intid: 27, handled: true }),
        (10, 2, exit(0x1000, EL1H, 0xffff_ffc0_8000_1000)),
        (30, 2, irq(Slot::El1hIrq, 0x1000)),
        (40, 2, exit(0x1000, EL1H, 0xffff_ffc0_8000_1000)),
        (60, 2, returns(0x2000, 64, 1)),
        (90, 2, call(0x2000, 63, 0)),
    ]);
    let model = model(&trace);
    let expected = [
        (Kernel, 0, 0, 30, false),
        (Exception, 0, 30, 40, false),
        (Kernel, 0, 40, 60, false),
        (Exception, 0, 90, 90, true),
    ];
    assert_eq!(lane(&model, 2, 1), expected);
    assert_eq!(lane(&model, 2, 0), [(User, 0, 60, 90, false)]);
    assert_eq!(cost_of(&model, "interrupt"), [Some(Instructions { own: 55, total: 55 })]);
    assert_eq!(model.label(0), "task 2");
}

#[test]
fn what_never_returned_ends_where_its_place_is_taken() {
    use Type::*;
    let trace = timeline([
        (0, 1, call(0x2000, 1, 0)),
        (10, 1, irq(Slot::El1hIrq, 0x1000)),
        (20, 1, irq(Slot::El1hIrq, 0x800)),
        (30, 1, irq(Slot::El1hIrq, 0x1000)),
        (40, 1, returns(0x2000, 1, 0)),
        (50, 1, call(0x2000, 1, 0)),
        (60, 1, call(0x3000, 1, 0)),
        (70, 1, returns(0x4000, 1, 0)),
        (80, 1, Event::Preempt),
    ]);
    let expected = [
        (Exception, 0, 0, 40, false),
        (Exception, 1, 10, 30, true),
        (Exception, 2, 20, 30, true),
        (Exception, 1, 30, 40, true),
        (Exception, 0, 50, 60, true),
        (Exception, 0, 60, 70, true),
    ];
    let model = model(&trace);
    assert_eq!(lane(&model, 1, 1), expected);
    assert_eq!(lane(&model, 1, 0), [(User, 0, 40, 50, false), (User, 0, 70, 80, true)]);
    // Of what has no end only the time is known.
    assert_eq!(cost_of(&model, "io_destroy")[0], Some(Instructions { own: 105 - 30, total: 105 }));
}

#[test]
fn addresses_are_those_of_the_program_that_ran_then() {
    let trace = timeline([
        (0, 0, Event::Spawn { task: 1, name: "sh".into() }),
        (10, 1, call(0x1000, 221, 0)),
        (20, 1, Event::Exec { name: "hello".into() }),
        (30, 1, exit(0x1000, EL0T, 0x40_0100)),
        (40, 1, call(0x1000, 172, 0)),
        (50, 1, Event::IrqsOff { site: 0xffff_ffc0_8000_2000 }),
    ]);
    let model = model(&trace);
    assert_eq!(model.text(model.frames[0].at), "0x400840 sh::main+0x840 (p.rs:2)");
    assert_eq!(model.frames[0].returned.map(|text| model.text(text)), Some("0x400100 hello::main+0x100 (p.rs:2)"));
    assert_eq!((&model.frames[0].result, model.frames[0].call.as_deref()), (&None, Some("execve(0, 0, 0)")));
    assert_eq!(model.text(model.frames[1].at), "0x400840 hello::main+0x840 (p.rs:2)");
    assert_eq!(model.tasks[0].name, "hello");
    // A name that is told later is that of before.
    let exec = Event::Exec { name: "later".into() };
    let late =
        timeline([(0, 3, Event::Preempt), (5, 0, switch(Left::Runnable, 3, "late")), (6, 3, exec), (7, 4, exec)]);
    let names = Names::new(&late);
    assert_eq!([0, 3, 4, 5].map(|task| names.name(task)), ["idle", "late", "later", ""]);
}

#[test]
fn a_window_makes_the_way_longer() {
    let Event::Enter { slot, frame, esr, far, saved, .. } = irq(Slot::El1hIrq, 0x1800) else { unreachable!() };
    let model = model(&timeline([
        (100, 1, Event::Enter { slot, frame, esr, far, window: true, saved }),
        (110, 1, Event::Irq { intid: 33 }),
        (120, 1, Event::IrqEnd { intid: 33, handled: true }),
        (130, 1, exit(0x1800, EL1H, 0xffff_ffc0_8000_1000)),
    ]));
    assert_eq!(cost_of(&model, "uart"), [Some(Instructions { own: 36 + 30 + 18, total: 36 + 30 + 18 })]);
}

#[test]
fn irqs_are_masked_from_here_to_there() {
    let [here, there] = [0xffff_ffc0_8000_2000, 0xffff_ffc0_8000_3000];
    let masked = PSTATE_I | EL1H;
    let trace = timeline([
        (10, 1, call(0x2000, 172, 0)),
        (20, 1, Event::IrqsOn { site: there }),
        (30, 1, Event::IrqsOff { site: here }),
        // A fault where they are masked.
        (40, 1, enter(Slot::El1hSync, 0x1000, 0x9600_0045, 0, 0, here)),
        (50, 1, exit(0x1000, masked, here)),
        (60, 1, Event::IrqsOn { site: there }),
        (70, 1, Event::IrqsOff { site: here }),
        (80, 1, returns(0x2000, 172, 1)),
        (90, 1, irq(Slot::El0Irq, 0x2000)),
        (99, 1, Event::Preempt),
    ]);
    let model = model(&trace);
    let rows = model.cpus[0].masked.iter().map(|&(start, end, on, off)| (start, end, model.text(on), model.text(off)));
    let site = |place: &'static str| {
        if place == "here" {
            "0xffffffc080002000 kernel+0x0 (k.rs:1)"
        } else {
            "0xffffffc080003000 kernel+0x0 (k.rs:1)"
        }
    };
    let expected = [
        (10, 20, "exception taken (el0_sync)", site("there")),
        (30, 60, site("here"), site("there")),
        (70, 80, site("here"), "exception return"),
        (90, 99, "exception taken (el0_irq)", "not before the last event"),
    ];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
    let kinds: Vec<_> = model.kinds.iter().map(|kind| (&*kind.name, kind.class)).collect();
    let fault = "data abort from EL1: translation fault, level 1, while writing";
    assert_eq!(kinds, [("getpid", Class::Syscall), (fault, Class::Fault), ("interrupt", Class::Irq)]);
    assert_eq!(model.frames[1].far.as_deref(), Some("0xdead0000"));
}

const PSTATE_I: u64 = 1 << 7;

#[test]
fn marks_tell_what_happened() {
    let mut report = Report { kind: Kind::Death, ..Report::EMPTY };
    report.cause.push_str("it fell over").unwrap();
    report.pc = trap::record::Hex(0xffff_ffc0_8000_1234);
    let trace = timeline([
        (0, 1, Event::Spawn { task: 2, name: "child".into() }),
        (1, 1, Event::Wake { task: 2 }),
        (2, 1, Event::Signal { task: 2, signal: 11, code: 1 }),
        (3, 1, switch(Left::Sleeping, 2, "child")),
        (4, 2, Event::Deliver { signal: 11 }),
        (5, 2, Event::Report { index: 0 }),
        (6, 2, Event::Report { index: 1 }),
        (7, 2, Event::End { code: 139 }),
    ]);
    let model = Model::new(&trace, &[report], describe);
    let rows: Vec<_> = model.marks.iter().map(|mark| (mark.kind, &*mark.text, mark.other, mark.report)).collect();
    let expected = [
        (MarkKind::Spawn, "makes child (2)", Some(1), None),
        (MarkKind::Wake, "wakes child (2)", Some(1), None),
        (MarkKind::Signal, "sends SIGSEGV (SEGV_MAPERR) to child (2)", Some(1), None),
        (MarkKind::Switch, "waits; the CPU goes to child (2)", Some(1), None),
        (MarkKind::Deliver, "acts on SIGSEGV", None, None),
        (MarkKind::Report, "it fell over", None, Some(0)),
        (MarkKind::Report, "a report, which the console does not hold", None, None),
        (MarkKind::End, "ends with exit code 139", None, None),
    ];
    assert_eq!(rows, expected);
    let told = &model.reports[0];
    assert_eq!((told.t, told.task, told.kind), (5, 1, Kind::Death));
    assert!(told.text.lines().count() > 2 && told.text.contains("kernel+0x234"), "{}", told.text);
}

#[test]
fn time_is_without_tracing() {
    let at = |time, spent, calls| Record { time, spent, calls, ..record(1, 0, Event::Preempt) };
    let rings = |frequency, records: Vec<Record>| Rings {
        frequency,
        uncounted: 3,
        cpus: vec![Cpu { lost: 5, skipped: 1, records }],
        ..Rings::default()
    };
    let times = |timeline: Timeline| timeline.events.iter().map(|event| event.t).collect::<Vec<_>>();
    let records = vec![at(1000, 100, 10), at(1100, 150, 12), at(1101, 151, 13)];
    let one = Timeline::new(rings(62_500_000, records.clone()), 4);
    assert_eq!((one.lost, one.cpus, one.end()), (5, 1, 44));
    assert_eq!(one.skipped, 1);
    assert_eq!(times(one), [0, 44, 44], "never backwards");
    assert_eq!(times(Timeline::new(rings(62_500_000, records.clone()), 0)), [0, 50 * 16 - 6, 50 * 16 - 6]);
    assert_eq!(times(Timeline::new(rings(1_000_000_000, vec![at(0, 0, 0), at(1600, 0, 0)]), 4)), [0, 100]);
    // Of two CPUs the first event counts.
    let mut two = rings(0, vec![at(500, 0, 0), at(600, 0, 0)]);
    two.cpus.push(Cpu { lost: 2, skipped: 3, records: vec![at(400, 0, 0), at(550, 0, 0)] });
    let two = Timeline::new(two, 4);
    let order: Vec<_> = two.events.iter().map(|event| (event.t, event.cpu)).collect();
    assert_eq!((order, two.lost, two.skipped), (vec![(0, 1), (100, 0), (150, 1), (200, 0)], 7, 4));
}

#[test]
fn the_page_holds_the_data_and_nothing_that_breaks_it() {
    use base64::Engine;
    use std::io::Read;
    let model = model(&Timeline { lost: 9, ..timeline(getpid()) });
    let page = page::html(&About { timed_out: true, ..about() }, &model).unwrap();
    assert!(!page.contains("DATA\n") && !page.contains("/*STYLE*/") && !page.contains("/*SCRIPT*/"));
    let data = page.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let zipped = base64::engine::general_purpose::STANDARD.decode(data.trim()).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&zipped[..]).read_to_string(&mut text).unwrap();
    let data: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in [
        ("schema", json!(1)),
        ("title", json!("</title>")),
        ("command", json!("cargo xtask trace")),
        ("exit", json!(3)),
        ("timed_out", json!(true)),
        ("machine", json!("cortex-a72")),
        ("end", json!(300)),
        ("events", json!(11)),
        ("lost", json!(9)),
    ] {
        assert_eq!(data[field], value, "{field}");
    }
    assert_eq!(data["tasks"][0], json!({ "id": 1, "name": "hello" }));
    assert_eq!(data["kinds"][0], json!({ "name": "getpid", "class": "syscall", "number": 172 }));
    let columns = ["task", "el", "depth", "type", "start", "end", "open", "kind", "self", "total", "frame"];
    for column in columns {
        assert_eq!(data["spans"][column].as_array().unwrap().len(), model.spans.len(), "{column}");
    }
    let span = |at: usize| columns.map(|column| data["spans"][column][at].as_i64().unwrap());
    let first = model.spans.iter().position(|span| span.kind_of == Type::Exception).unwrap();
    assert_eq!(span(first), [0, 1, 0, 1, 100, 130, 0, 0, 95, 95, 0]);
    assert_eq!(span(0), [1, 1, 0, 4, 0, 10, 0, -1, -1, -1, -1]);
    let frame = &data["frames"][0];
    assert_eq!((&frame["slot"], &frame["far"], &frame["call"]), (&json!("el0_sync"), &json!(null), &json!("getpid()")));
    assert!(data["strings"][frame["at"].as_u64().unwrap() as usize].as_str().unwrap().contains("hello::main"));
    let mark = json!({ "t": 0, "task": 1, "type": "spawn", "text": "makes hello (1)", "other": 0, "report": null });
    assert_eq!(data["marks"][0], mark);
    assert_eq!(data["cpus"][0]["running"], json!([[0, 1], [10, 0], [240, 1]]));
    assert_eq!(data["cpus"][0]["masked"][0].as_array().unwrap().len(), 4);
    assert_eq!(data["costs"][0]["self"], json!({ "min": 95, "median": 97, "max": 99, "sum": 194 }));
}

#[test]
fn perfetto_gets_processes_threads_and_exact_times() {
    let mut trace = getpid();
    trace.insert(8, (205, 1, Event::Wake { task: 0 }));
    let model = model(&timeline(trace));
    let json = perfetto::json(&model).unwrap();
    let file: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(perfetto::check(&file), Ok(model.spans.len()));
    let events = file["traceEvents"].as_array().unwrap();
    let call = events.iter().find(|event| event["name"] == "getpid").unwrap();
    assert_eq!((&call["pid"], &call["tid"], &call["ph"]), (&json!(1), &json!(3), &json!("X")));
    assert!(json.contains(r#""dur":0.03,"#) && json.contains(r#""ts":0.1}"#), "{json}");
    assert_eq!((&call["args"]["result"], &call["args"]["self"]), (&json!("1"), &json!(95)));
    let name = |process| json!({ "ph": "M", "pid": process, "name": "process_name", "args": { "name": "hello (1)" } });
    assert!(events.contains(&name(1)));
    let arrow = |ph: &str| events.iter().find(|event| event["ph"] == *ph).unwrap();
    assert_eq!((&arrow("s")["ts"], &arrow("s")["tid"]), (&json!(0.205), &json!(3)));
    assert_eq!((&arrow("f")["ts"], &arrow("f")["tid"]), (&json!(0.3), &json!(5)));
    assert_eq!(arrow("i")["s"], "t");
}

#[test]
fn what_does_not_nest_is_found() {
    let file = |events: &[(u64, f64, f64)]| {
        let events =
            events.iter().map(|(tid, ts, dur)| json!({ "ph": "X", "pid": 1, "tid": tid, "ts": ts, "dur": dur }));
        json!({ "traceEvents": events.collect::<Vec<_>>() })
    };
    assert_eq!(perfetto::check(&file(&[(1, 0.0, 1.0), (1, 0.5, 0.5), (1, 1.0, 1.0), (2, 0.9, 0.2)])), Ok(4));
    assert!(perfetto::check(&file(&[(1, 0.0, 1.0), (1, 0.5, 0.501)])).is_err());
    assert!(perfetto::check(&file(&[(1, 0.0, 1.000_5)])).is_err(), "no whole number of nanoseconds");
    assert!(perfetto::check(&json!({})).is_err());
}

#[test]
fn the_text_is_as_ftrace_has_it() {
    let mut trace = timeline(getpid());
    trace.lost = 9;
    trace.events[2].record.state = State { irqs_off: true, ..State::default() };
    trace.events[3].record.state = State { irqs_off: true, need_resched: true, in_irq: true, preempt: 2 };
    let text = text::text(&trace, &[], describe);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(text.contains("entries-in-buffer/entries-written: 11/20   #P:1\n"), "{text}");
    for (at, line) in [
        (
            0,
            "          <idle>-0       [000] ....     0.000000000: sched_process_fork: comm=swapper/0 pid=0 child_comm=hello child_pid=1",
        ),
        (
            1,
            "          <idle>-0       [000] ....     0.000000010: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
             prev_state=R ==> next_comm=hello next_pid=1 next_prio=120",
        ),
        (
            2,
            "           hello-1       [000] d...     0.000000020: exception_exit: pc=hello::main+0x0 pstate=0x0 (EL0t, nzcv, daif)",
        ),
        (3, "           hello-1       [000] dNh2     0.000000100: sys_enter: NR 172 (7, 0, 0, 0, 0, 0)"),
        (4, "           hello-1       [000] ....     0.000000130: sys_exit: NR 172 = 1"),
        (6, "           hello-1       [000] ....     0.000000184: sys_exit: NR 172 = -14"),
        (8, "           hello-1       [000] ....     0.000000220: sched_process_exit: comm=hello pid=1 prio=120"),
    ] {
        assert_eq!(lines[at], line);
    }
    let other = timeline([
        (0, 1, enter(Slot::El1hSync, 0, 0x9600_0045, 0, 0, 0xffff_ffc0_8000_1010)),
        (1, 1, irq(Slot::El0Irq, 0)),
        (2, 1, Event::Irq { intid: 27 }),
        (3, 1, Event::IrqEnd { intid: 27, handled: false }),
        (4, 1, Event::IrqsOff { site: 0xffff_ffc0_8000_1020 }),
        (5, 1, Event::Wake { task: 0 }),
        (6, 1, Event::IrqsOn { site: 0xffff_ffc0_8000_1030 }),
        (7, 2, Event::Exec { name: "hello".into() }),
        (8, 2, Event::Signal { task: 2, signal: 11, code: 2 }),
        (9, 2, Event::Deliver { signal: 11 }),
        (10, 2, switch(Left::Stopped, 0, "idle")),
        (11, 0, switch(Left::Runnable, 2, "hello")),
        (12, 2, switch(Left::Sleeping, 0, "idle")),
    ]);
    let text = text::text(&other, &[], describe);
    let lines: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(": ")).collect();
    let expected = [
        "exception_entry: slot=el1h_sync pc=kernel+0x10 esr=0x96000045 (data abort from EL1: translation fault, level 1, \
         while writing, at 0xdead0000)",
        "exception_entry: slot=el0_irq pc=0x400900",
        "irq_handler_entry: irq=27 name=timer",
        "irq_handler_exit: irq=27 ret=unhandled",
        "irq_disable: caller=kernel+0x20",
        "sched_wakeup: comm=swapper/0 pid=0 prio=120 target_cpu=000",
        "irq_enable: caller=kernel+0x30",
        "sched_process_exec: filename=hello pid=2 old_pid=2",
        "signal_generate: sig=11 errno=0 code=2 comm=hello pid=2 grp=1 res=0",
        "signal_deliver: sig=11 errno=0 code=0 sa_handler=0 sa_flags=0",
        "sched_switch: prev_comm=hello prev_pid=2 prev_prio=120 prev_state=T ==> next_comm=swapper/0 next_pid=0 \
         next_prio=120",
        "sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=hello next_pid=2 \
         next_prio=120",
        "sched_switch: prev_comm=hello prev_pid=2 prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 \
         next_prio=120",
    ];
    assert_eq!(lines.iter().map(|(_, line)| *line).collect::<Vec<_>>(), expected);
}

#[test]
fn files_lie_where_they_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| Files::new(&folder.path().join(name));
    let files = at("v1.2").unwrap();
    assert_eq!(files.html, folder.path().join("v1.2.html"));
    assert_eq!(at("v1.2.html").unwrap(), files);
    assert_eq!(at("v1.2.json").unwrap(), files);
    assert_eq!(Files::new(Path::new("t")).unwrap().json, Path::new("t.json"));
    assert!(at("").is_err());
    assert!(at("no/t").unwrap_err().to_string().starts_with("there is no folder"));
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(at("file/t").is_err());
    let model = model(&timeline(getpid()));
    files.write(&about(), &model).unwrap();
    assert!(files.html.exists() && files.json.exists());
}

#[test]
fn the_rings_are_found_in_memory() {
    use std::os::unix::fs::FileExt;
    use std::sync::atomic::AtomicU64;
    use trap::trace::{Directory, MAGIC, RECORD_WORDS, Ring, SCHEMA};
    let memory = Memory::new(1).unwrap();
    assert!(Command::new("test").arg("-w").arg(memory.path()).status().unwrap().success(), "for QEMU, too");
    let file = fs::OpenOptions::new().read(true).write(true).open(memory.path()).unwrap();
    let write = |offset: u64, words: &[u64]| {
        file.write_all_at(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>(), offset).unwrap();
    };
    let nothing = memory.rings_by(0x800).unwrap_err().to_string();
    assert!(nothing.contains("set up no trace") && nothing.contains("--ring"), "{nothing}");

    let (ring, storage): (_, Vec<_>) = (Ring::EMPTY, (0..20).map(|_| AtomicU64::new(0)).collect());
    for task in 0..7 {
        let mut words = [0; RECORD_WORDS];
        let length = record(task, 5, Event::Preempt).write(&mut words);
        ring.push(&storage, &words[..length]);
    }
    write(0x4_0000, &storage.into_iter().map(AtomicU64::into_inner).collect::<Vec<_>>());
    let position = |word: &AtomicU64| word.load(std::sync::atomic::Ordering::Relaxed);
    let mut words = [0; Directory::WORDS];
    words[..10].copy_from_slice(&[MAGIC, SCHEMA, 62_500_000, 7, 40, 30, 36, 25, 15, 18]);
    words[10..15].copy_from_slice(&[0x4004_0000, 20, position(&ring.head), position(&ring.tail), position(&ring.lost)]);
    write(0x800, &words);
    let rings = memory.rings_by(0x800).unwrap();
    assert_eq!(
        (rings.frequency, rings.uncounted, rings.entry, rings.exit),
        (62_500_000, 7, [40, 30, 36], [25, 15, 18])
    );
    let tasks: Vec<_> = rings.cpus[0].records.iter().map(|record| record.task).collect();
    assert_eq!((rings.cpus.len(), rings.cpus[0].lost, tasks), (1, 2, vec![2, 3, 4, 5, 6]));

    for (at, wrong) in [(10, 0x3fff_0000), (10, 0x4010_0000), (10, u64::MAX - 7), (11, u64::MAX), (13, 9)] {
        let mut words = words;
        words[at] = wrong;
        write(0x800, &words);
        let why = format!("{:#}", memory.rings_by(0x800).unwrap_err());
        assert!(why.starts_with("the trace of CPU 0 is damaged: "), "{why}");
    }
}

/// What a made-up machine does next; the numbers choose among what is possible.
type Step = (u8, u8, u8);

/// A machine with two programs and the idle task, which does what `steps` say. All that it does is possible.
fn machine(steps: &[Step]) -> Vec<(u64, u32, Event)> {
    /// Open exceptions: slot and frame; in one for an interrupt, whether its handler runs.
    struct Task {
        open: Vec<(Slot, u64, bool)>,
        ended: bool,
    }
    let mut tasks: Vec<_> = (0..3).map(|_| Task { open: Vec::new(), ended: false }).collect();
    let frame = |depth: usize| 0x1_0000 - depth as u64 * 0x400;
    for task in &mut tasks[1..] {
        // As if each had been left in an interrupt.
        task.open.push((Slot::El0Irq, frame(0), false));
    }
    let (mut now, mut current) = (0, 0usize);
    let mut trace = Vec::new();
    for task in 1..3 {
        trace.push((0, 0, Event::Spawn { task, name: "worker".into() }));
    }
    for &(what, which, wait) in steps {
        now += 100 + u64::from(wait);
        let mut push = |event| trace.push((now, current as u32, event));
        let Task { open, ended } = &mut tasks[current];
        let handling = open.last().is_some_and(|&(.., handling)| handling);
        let depth = open.len();
        let from_el1 = current == 0 || depth > 0;
        match what % 8 {
            0 | 1 if !handling && depth < 6 => {
                let slot = match (from_el1, which % 2) {
                    (true, 0) => Slot::El1hSync,
                    (true, _) => Slot::El1hIrq,
                    (false, 0) => Slot::El0Sync,
                    (false, _) => Slot::El0Irq,
                };
                push(enter(slot, frame(depth), if from_el1 { 0x9600_0045 } else { SVC }, 0, u64::from(which), 0x1000));
                open.push((slot, frame(depth), false));
            }
            2 | 3 if !handling => {
                if let Some((slot, frame, _)) = open.pop() {
                    push(exit(frame, if slot.from_el1() { EL1H } else { EL0T }, 0x1000));
                }
            }
            4 => {
                if let Some((Slot::El1hIrq | Slot::El0Irq, _, handling)) = open.last_mut() {
                    let intid = 27;
                    push(if *handling { Event::IrqEnd { intid, handled: true } } else { Event::Irq { intid } });
                    *handling = !*handling;
                }
            }
            5 | 6 if from_el1 && !handling => {
                let next = usize::from(which) % 3;
                if next != current && !tasks[next].ended {
                    push(switch(Left::Sleeping, next as u32, "worker"));
                    current = next;
                }
            }
            7 if current != 0 && from_el1 && !handling && which == 0 => {
                *ended = true;
                push(Event::End { code: 0 });
                push(switch(Left::Ended, 0, "idle"));
                current = 0;
            }
            _ => push(Event::Preempt),
        }
    }
    trace
}

/// Every span lies in the one before it that is less deep, and beside the one before it that is as deep.
fn nests(model: &Model) -> Result<(), TestCaseError> {
    let mut lanes = std::collections::BTreeMap::<_, Vec<Span>>::new();
    for span in &model.spans {
        let around = lanes.entry((span.task, span.el)).or_default();
        prop_assert!(span.start <= span.end && span.end <= model.end);
        prop_assert!(span.depth <= around.len(), "{span:?}");
        if let Some(before) = around.get(span.depth) {
            prop_assert!(before.end <= span.start, "{before:?} {span:?}");
        }
        around.truncate(span.depth);
        if let Some(outer) = around.last() {
            prop_assert!(outer.start <= span.start && span.end <= outer.end, "{outer:?} {span:?}");
        }
        prop_assert_eq!(span.kind_of == Type::Exception, span.frame.is_some());
        prop_assert_eq!(matches!(span.kind_of, Type::Exception | Type::Handler), span.kind.is_some());
        around.push(*span);
    }
    let sorted = model.spans.is_sorted_by_key(|span| span.start) && model.marks.is_sorted_by_key(|mark| mark.t);
    prop_assert!(sorted);
    let file: Value = serde_json::from_str(&perfetto::json(model).unwrap()).unwrap();
    prop_assert_eq!(perfetto::check(&file), Ok(model.spans.len()));
    Ok(())
}

/// What an exception costs beside its own is what lies in it.
fn sums_up(model: &Model) -> Result<(), TestCaseError> {
    for (at, span) in model.spans.iter().enumerate().filter(|(_, span)| span.kind_of == Type::Exception) {
        let Some(Instructions { own, total }) = span.cost else {
            prop_assert!(span.open);
            continue;
        };
        let within = model.spans[at + 1..].iter().take_while(|inner| inner.start < span.end);
        let within = within.filter(|inner| (inner.task, inner.el) == (span.task, span.el));
        // What lies deeper than one of these lies in it; a handler's own is its exception's.
        let mut skip = None;
        let mut others = 0;
        for inner in within {
            if skip.is_some_and(|depth| inner.depth > depth) {
                continue;
            }
            skip = None;
            match inner.kind_of {
                Type::Handler => {}
                _ => {
                    skip = Some(inner.depth);
                    others += inner.cost.map_or(inner.end - inner.start, |cost| cost.total);
                }
            }
        }
        prop_assert_eq!(own + others, total, "{:?}", span);
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_a_machine_does_nests_and_sums_up(
        steps in proptest::collection::vec(any::<Step>(), 0..300),
        lost in 0usize..300,
    ) {
        let trace = machine(&steps);
        let whole = timeline(trace.clone());
        let model = self::model(&whole);
        nests(&model)?;
        sums_up(&model)?;
        // Without its beginning, as when newer events overwrite it.
        let rest = timeline(trace.into_iter().skip(lost));
        let cut = self::model(&rest);
        nests(&cut)?;
        sums_up(&cut)?;
        prop_assert!(page::data(&about(), &cut).is_ok());
        prop_assert!(text::text(&rest, &[], describe).lines().count() >= rest.events.len());
    }

    #[test]
    fn any_records_make_a_model(
        events in proptest::collection::vec(any::<(u8, u8, u8, u32, u64)>(), 0..200),
    ) {
        let mut now = 0;
        let trace = timeline(events.into_iter().map(|(kind, task, small, number, big)| {
            now += u64::from(small);
            let frame = u64::from(number % 4);
            let name = Name([small; 16]);
            let event = match kind % 16 {
                0 | 1 => enter(Slot::ALL[usize::from(small % 16)], frame, big, big, big, big),
                2 | 3 => Event::Exit { frame, pc: big, pstate: big, x0: big, syscallno: number as i32 },
                4 => Event::IrqsOff { site: big },
                5 => Event::IrqsOn { site: big },
                6 => Event::Irq { intid: number % 4 },
                7 => Event::IrqEnd { intid: number % 4, handled: true },
                8 => {
                    let left = [Left::Runnable, Left::Sleeping, Left::Stopped, Left::Ended][usize::from(small % 4)];
                    Event::Switch { left, next: number % 6, name }
                }
                9 => Event::Wake { task: number % 6 },
                10 => Event::Signal { task: number % 6, signal: number, code: number as i32 },
                11 => Event::Deliver { signal: number },
                12 => Event::Spawn { task: number % 6, name },
                13 => Event::Exec { name },
                14 => Event::End { code: small },
                _ => Event::Report { index: number % 3 },
            };
            (now, u32::from(task % 4), event)
        }));
        let model = Model::new(&trace, &[Report::EMPTY], describe);
        nests(&model)?;
        prop_assert!(page::data(&about(), &model).is_ok());
        text::text(&trace, &[Report::EMPTY], describe);
    }
}
