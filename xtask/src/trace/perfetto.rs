//! The trace for Perfetto, in the format of Chrome's trace events: a process per task, a thread per exception level.

use super::model::{Class, MarkKind, Model, Span, Type};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The thread of a task's lane. Perfetto takes 0 for the system's own, so both begin at 1; no two processes share a thread's
/// number.
fn process_and_thread(task: usize, el: u8) -> (usize, usize) {
    let process = task + 1;
    (process, process * 2 + usize::from(el))
}

/// Trace events have microseconds. An instruction is taken to last a nanosecond.
fn microseconds(instructions: u64) -> f64 {
    // What a division rounds to is printed with the three decimals that it stands for.
    instructions as f64 / 1000.0
}

/// The events as JSON.
pub fn json(model: &Model) -> Result<String> {
    let mut events = Vec::new();
    for task in 0..model.tasks.len() {
        let (process, _) = process_and_thread(task, 0);
        events
            .push(json!({ "ph": "M", "pid": process, "name": "process_name", "args": { "name": model.label(task) } }));
        events.push(json!({ "ph": "M", "pid": process, "name": "process_sort_index", "args": { "sort_index": task } }));
        for (el, name) in (0..).zip(model.levels()) {
            let (pid, tid) = process_and_thread(task, el);
            let meta =
                |name: &str, args: Value| json!({ "ph": "M", "pid": pid, "tid": tid, "name": name, "args": args });
            events.push(meta("thread_name", json!({ "name": name })));
            events.push(meta("thread_sort_index", json!({ "sort_index": el })));
        }
    }
    events.extend(model.spans.iter().map(|span| complete(model, span)));
    events.extend(marks(model));
    let file = json!({ "displayTimeUnit": "ns", "traceEvents": events });
    serde_json::to_string(&file).context("the trace cannot be written as JSON")
}

/// A span as a complete event.
fn complete(model: &Model, span: &Span) -> Value {
    let (pid, tid) = process_and_thread(span.task, span.el);
    let kind = span.kind.map(|kind| &model.kinds[kind]);
    let (name, category) = match (span.kind_of, kind) {
        (Type::User, _) if model.hypervisor => ("guest".to_string(), "program"),
        (Type::User, _) => ("program".to_string(), "program"),
        (Type::Kernel, _) if model.hypervisor => ("hypervisor".to_string(), "kernel"),
        (Type::Kernel, _) => ("kernel".to_string(), "kernel"),
        (Type::Off, _) => ("off the CPU".to_string(), "off"),
        (Type::Handler, Some(kind)) => (format!("handler of {}", kind.name), "handler"),
        (_, Some(kind)) => (kind.name.clone(), class_name(kind.class)),
        (_, None) => ("exception".to_string(), "other"),
    };
    let mut args = Map::new();
    let mut tell = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            args.insert(name.into(), value);
        }
    };
    if let Some(frame) = span.frame.map(|frame| &model.frames[frame]) {
        tell("call", frame.call.as_deref().map(Value::from));
        tell("result", frame.result.as_deref().map(Value::from));
        tell("slot", Some(frame.slot.into()));
        tell("esr", frame.esr.as_deref().map(Value::from));
        tell("words", frame.words.map(|text| model.text(text).into()));
        tell("at", Some(model.text(frame.at).into()));
        tell("returned", frame.returned.map(|text| model.text(text).into()));
    }
    tell("self", span.cost.map(|cost| cost.own.into()));
    tell("total", span.cost.map(|cost| cost.total.into()));
    tell("ended", span.open.then(|| "not before the trace or the task did".into()));
    json!({
        "ph": "X", "pid": pid, "tid": tid, "name": name, "cat": category,
        "ts": microseconds(span.start), "dur": microseconds(span.end - span.start), "args": args,
    })
}

/// A class as it is written in the data.
fn class_name(class: Class) -> &'static str {
    match class {
        Class::Syscall => "syscall",
        Class::Irq => "irq",
        Class::Fault => "fault",
        Class::Serror => "serror",
        Class::Brk => "brk",
        Class::Other => "other",
    }
}

/// The marks as instants; a wake-up also as an arrow to where the task that was waiting goes on.
fn marks(model: &Model) -> Vec<Value> {
    let mut events = Vec::new();
    // Each task's times off the CPU that came to an end, which lie one behind the other.
    let mut waits = vec![Vec::new(); model.tasks.len()];
    for span in model.spans.iter().filter(|span| span.kind_of == Type::Off && !span.open) {
        waits[span.task].push((span.start, span.end));
    }
    for (number, mark) in model.marks.iter().enumerate() {
        let (pid, tid) = process_and_thread(mark.task, 1);
        let args = match mark.report {
            Some(report) => json!({ "report": model.reports[report].text }),
            None => json!({}),
        };
        events.push(json!({
            "ph": "i", "s": "t", "pid": pid, "tid": tid, "name": mark.text, "cat": "mark",
            "ts": microseconds(mark.t), "args": args,
        }));
        let woken = mark.other.filter(|_| mark.kind == MarkKind::Wake);
        let wait = woken.and_then(|task| {
            let behind = waits[task].partition_point(|&(_, end)| end < mark.t);
            Some((task, waits[task].get(behind).filter(|&&(start, _)| start <= mark.t)?.1))
        });
        if let Some((task, end)) = wait {
            let arrow = |ph: &str, (pid, tid): (usize, usize), t: u64| {
                json!({
                    "ph": ph, "bp": "e", "id": number, "pid": pid, "tid": tid, "name": "wake-up", "cat": "wake",
                    "ts": microseconds(t),
                })
            };
            events.push(arrow("s", (pid, tid), mark.t));
            events.push(arrow("f", process_and_thread(task, 1), end));
        }
    }
    events
}

/// Whether the events in `file` are what Perfetto wants: on every thread each complete event lies in another one or outside
/// of it. Gives how many complete events there are.
pub fn check(file: &Value) -> Result<usize, String> {
    let events = file["traceEvents"].as_array().ok_or("no traceEvents")?;
    let mut threads = std::collections::BTreeMap::<_, Vec<(u64, u64)>>::new();
    let nanoseconds = |value: &Value| -> Option<u64> {
        let scaled = value.as_f64()? * 1000.0;
        ((scaled - scaled.round()).abs() < 0.1 && scaled >= 0.0).then_some(scaled.round() as u64)
    };
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (Some(pid), Some(tid)) = (event["pid"].as_u64(), event["tid"].as_u64()) else {
            return Err(format!("no process or thread: {event}"));
        };
        let (Some(start), Some(length)) = (nanoseconds(&event["ts"]), nanoseconds(&event["dur"])) else {
            return Err(format!("no time: {event}"));
        };
        threads.entry((pid, tid)).or_default().push((start, start + length));
    }
    let mut count = 0;
    for (thread, spans) in &mut threads {
        count += spans.len();
        spans.sort_by_key(|&(start, end)| (start, std::cmp::Reverse(end)));
        let mut open = Vec::<(u64, u64)>::new();
        for &(start, end) in &*spans {
            while open.pop_if(|&mut (_, ended)| ended <= start).is_some() {}
            if let Some(&(outer, ends)) = open.last()
                && end > ends
            {
                return Err(format!("on {thread:?}, {start}..{end} begins in {outer}..{ends} and ends outside"));
            }
            open.push((start, end));
        }
    }
    Ok(count)
}
