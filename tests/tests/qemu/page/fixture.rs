//! Made-up traces, as the page reads them: a few tasks that compute, call the kernel, sleep, are interrupted and preempted.
//! The same seed gives the same trace.

use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::HashMap;
use trap::esr::Esr;
use trap::pstate::Pstate;

/// What a trace is to have.
#[derive(Clone, Copy)]
pub struct Wish {
    /// It ends once it has as many events.
    pub events: usize,
    /// Tasks beside idle.
    pub tasks: usize,
    /// One of them dies at the end, and its report is the last.
    pub crash: bool,
}

/// A name that is markup: names come from programs.
pub const HOSTILE: &str = "<img src=x onerr";

/// A few hundred events.
pub const FEW: Wish = Wish { events: 600, tasks: 3, crash: false };

/// As many as the page is made for.
pub const MANY: Wish = Wish { events: 100_000, tasks: 6, crash: false };

/// The last thing is a report.
pub const CRASH: Wish = Wish { events: 300, tasks: 3, crash: true };

const USER: u8 = 0;
const EXCEPTION: u8 = 1;
const HANDLER: u8 = 2;
const OFF: u8 = 3;
const KERNEL: u8 = 4;

const NAMES: [&str; 6] = ["init", "preempt", "hello", HOSTILE, "sleeper", "writer"];

const KINDS: [(&str, &str, Option<u32>); 10] = [
    ("getpid", "syscall", Some(172)),
    ("write", "syscall", Some(64)),
    ("nanosleep", "syscall", Some(101)),
    ("openat", "syscall", Some(56)),
    ("sched_yield", "syscall", Some(124)),
    ("timer", "irq", Some(27)),
    ("uart", "irq", Some(33)),
    ("data abort from EL0: translation fault, level 3", "fault", None),
    ("brk", "brk", None),
    ("data abort from EL0: permission fault, level 3", "fault", None),
];
const TIMER: usize = 5;
const UART: usize = 6;
const FAULT: usize = 7;
const BRK: usize = 8;

/// As the tool prints one, shortened.
const REPORT: &str = "\
task 3 (hello) killed by SIGSEGV (SEGV_MAPERR): data abort from EL0: translation fault, level 3, while writing, at 0x7fffffe000
  at           0000000000400338 hello::main+0x20 (user/src/bin/hello.rs:12)
  instruction  f9000000 str x0, [x0]
  address      0x0000007fffffe000: 8192 bytes below the user stack of `hello`
  si_addr      0x0000007fffffe000
  PSTATE       0x0000000060000000: EL0t, nZCv, daif
  on           CPU 0, task 3 (hello)
exception: el0_sync, ESR 0x0000000092000047
   BITS  FIELD       VALUE  MEANING
  31:26  EC           0x24  data abort from EL0
     25  IL            0x1  32-bit instruction, or none in particular
      6  WnR           0x1  write
    5:0  DFSC          0x7  translation fault, level 3
registers:
   x0 0000007fffffe000   x1 0000007fffffefd9   x2 0000000000000000   x3 0000000000000000
   x4 0000000000000000   x5 0000000000000000   x6 0000000000000000   x7 0000000000000000
  x29 0000007fffffee10   lr 0000000000400dc4   sp 0000007fffffed80
   x0 -> nothing, 8192 bytes below the user stack of `hello`
   lr -> behind 0000000000400dc0 hello::main+0x1a0 (user/src/bin/hello.rs:65)
the way there, from the inside out:
  0000000000400338 hello::main+0x20 (user/src/bin/hello.rs:12)
  00000000004019c8 user::start::start+0xc (user/src/start.rs:33)
  00000000004010c0 _start+0xc
hint: x0 points below the user stack: recursion, or a frame that is too large";

#[derive(Clone)]
struct Span {
    task: usize,
    el: u8,
    depth: usize,
    sort: u8,
    start: u64,
    end: u64,
    open: bool,
    kind: Option<usize>,
    frame: Option<usize>,
    inner: u64,
}

#[derive(Default)]
struct Task {
    stack: Vec<usize>,
    until: u64,
}

#[derive(Default)]
struct Machine {
    rng: Rng,
    now: u64,
    events: usize,
    current: usize,
    tasks: Vec<Task>,
    spans: Vec<Span>,
    frames: Vec<Value>,
    marks: Vec<Value>,
    running: Vec<Value>,
    masked: Vec<Value>,
    strings: Vec<String>,
    known: HashMap<String, usize>,
}

/// A trace as the tool would write it.
pub fn trace(wish: Wish) -> Value {
    let mut machine = Machine { rng: Rng::with_seed(7), ..Machine::default() };
    // The last is the idle task.
    machine.tasks.resize_with(wish.tasks + 1, Task::default);
    machine.running.push(json!([0, 0]));
    while machine.events < wish.events {
        machine.step();
    }
    let mut reports = Vec::new();
    if wish.crash {
        reports.push(machine.crash());
    }
    machine.finish_all();
    machine.data(wish, reports)
}

impl Machine {
    fn idle(&self) -> usize {
        self.tasks.len() - 1
    }

    fn pass(&mut self, least: u64, most: u64) {
        self.now += self.rng.u64(least..most);
    }

    fn string(&mut self, text: &str) -> usize {
        if let Some(&index) = self.known.get(text) {
            return index;
        }
        self.strings.push(text.into());
        self.known.insert(text.into(), self.strings.len() - 1);
        self.strings.len() - 1
    }

    fn begin(&mut self, sort: u8, kind: Option<usize>, frame: Option<usize>) {
        let task = self.current;
        let depth = self.tasks[task].stack.len();
        self.tasks[task].stack.push(self.spans.len());
        self.events += 1;
        let (start, el) = (self.now, u8::from(sort != USER));
        self.spans.push(Span { task, el, depth, sort, start, end: 0, open: false, kind, frame, inner: 0 });
    }

    fn end(&mut self) {
        let Some(index) = self.tasks[self.current].stack.pop() else { return };
        let span = &mut self.spans[index];
        span.end = self.now;
        self.events += 1;
        let (length, handler) = (span.end - span.start, span.sort == HANDLER);
        if let Some(&outer) = self.tasks[self.current].stack.last()
            && !handler
        {
            self.spans[outer].inner += length;
        }
    }

    fn mark(&mut self, sort: &str, text: String, other: Option<usize>, report: Option<usize>) {
        self.events += 1;
        let (t, task) = (self.now, self.current);
        self.marks.push(json!({ "t": t, "task": task, "type": sort, "text": text, "other": other, "report": report }));
    }

    /// One stretch of the running task, and what ends it.
    fn step(&mut self) {
        while !self.tasks[self.current].stack.is_empty() {
            self.pass(30, 90);
            self.end();
        }
        if self.current == self.idle() {
            return self.idle_until_wanted();
        }
        self.begin(USER, None, None);
        self.pass(150, 4000);
        self.end();
        match self.rng.u32(0..100) {
            0..55 => self.call(),
            55..90 => self.timer(),
            90..96 => self.fault(FAULT, true),
            _ => self.fault(BRK, true),
        }
    }

    fn call(&mut self) {
        let kind = self.rng.usize(0..5);
        let name = KINDS[kind].0;
        let (call, result) = match name {
            "write" => (format!("write(1, {:#x}, {})", 0x40_0d20 + self.rng.u64(0..16) * 8, self.rng.u32(1..80)), "14"),
            "nanosleep" => ("nanosleep(0xffffffffe8, 0x0)".into(), "0"),
            "openat" => ("openat(-100, 0x400e00, O_RDONLY, 0)".into(), "-2 ENOENT"),
            other => (format!("{other}()"), "3"),
        };
        let frame = self.frame("el0_sync", Some(0x5600_0000), None, Some((&call, result)));
        self.begin(EXCEPTION, Some(kind), Some(frame));
        let start = self.now;
        self.pass(40, 400);
        self.mask(start, start + 30);
        if self.rng.u32(0..12) == 0 {
            self.interrupt(UART);
            self.pass(20, 200);
        }
        match name {
            "nanosleep" => {
                self.tasks[self.current].until = self.now + self.rng.u64(3000..60_000);
                self.switch();
            }
            "sched_yield" => self.switch(),
            _ => {
                self.pass(20, 300);
                self.end();
            }
        }
    }

    fn timer(&mut self) {
        let frame = self.frame("el0_irq", None, None, None);
        self.begin(EXCEPTION, Some(TIMER), Some(frame));
        self.handle(TIMER);
        self.wake();
        if self.rng.bool() {
            self.mark("preempt", "is preempted".into(), None, None);
            self.switch();
        } else {
            self.pass(10, 50);
            self.end();
        }
    }

    /// An interrupt in the middle of the kernel.
    fn interrupt(&mut self, kind: usize) {
        let frame = self.frame("el1h_irq", None, None, None);
        self.begin(EXCEPTION, Some(kind), Some(frame));
        self.handle(kind);
        self.pass(10, 40);
        self.end();
    }

    fn handle(&mut self, kind: usize) {
        let start = self.now;
        self.pass(60, 90);
        self.begin(HANDLER, Some(kind), None);
        self.pass(80, 500);
        self.end();
        self.mask(start, self.now);
    }

    fn fault(&mut self, kind: usize, served: bool) {
        let (esr, far) = if kind == BRK { (0xf200_0001, None) } else { (0x9200_0047, Some(0x7f_ffff_e000)) };
        let frame = self.frame("el0_sync", Some(esr), far, None);
        self.begin(EXCEPTION, Some(kind), Some(frame));
        self.pass(300, 900);
        if served {
            self.end();
        }
    }

    fn mask(&mut self, start: u64, end: u64) {
        let (off, on) = (self.string("el0_sync (vectors.S:40)"), self.string("kernel::exception::el0::exit_work+0x1c"));
        self.masked.push(json!([start, end, off, on]));
    }

    /// Those whose time has come are made ready.
    fn wake(&mut self) {
        for task in 0..self.idle() {
            if self.tasks[task].until != 0 && self.tasks[task].until <= self.now {
                self.tasks[task].until = 0;
                self.mark("wake", format!("wakes {} ({})", NAMES[task % NAMES.len()], task + 1), Some(task), None);
            }
        }
    }

    /// Another task that can run gets the CPU: idle, if none can.
    fn switch(&mut self) {
        let (idle, current) = (self.idle(), self.current);
        let ready = (1..=idle).map(|by| (current + by) % idle).find(|&task| self.tasks[task].until == 0);
        let next = ready.unwrap_or(idle);
        if next == current {
            return;
        }
        self.mark("switch", format!("gives the CPU to task {}", (next + 1) % (idle + 1)), Some(next), None);
        self.begin(OFF, None, None);
        self.current = next;
        self.running.push(json!([self.now, next]));
    }

    fn idle_until_wanted(&mut self) {
        self.begin(KERNEL, None, None);
        let due = self.tasks[..self.idle()].iter().map(|task| task.until).min().unwrap_or(0);
        self.now = due.max(self.now + 100);
        self.end();
        let frame = self.frame("el1h_irq", None, None, None);
        self.begin(EXCEPTION, Some(TIMER), Some(frame));
        self.handle(TIMER);
        self.wake();
        self.switch();
    }

    fn frame(&mut self, slot: &str, esr: Option<u64>, far: Option<u64>, call: Option<(&str, &str)>) -> usize {
        let place = self.rng.u64(0..40) * 4;
        let at = self.string(&format!(
            "{:#x} main+{:#x} (user/src/bin/hello.rs:{})",
            0x40_0844 + place,
            0x20 + place,
            12 + place
        ));
        let words = esr.map(|esr| self.string(&Esr(esr).sentence(far).to_string()));
        let fields = esr.map(|esr| self.string(&format!("{:#}", Esr(esr).table())));
        let pstate = if slot.starts_with("el0") { 0x6000_0000 } else { 0x6000_0005 };
        let shown = self.string(&format!("{pstate:#x}: {}", Pstate(pstate)));
        let mut regs: Vec<_> =
            (0..31).map(|_| if self.rng.bool() { 0 } else { self.rng.u64(..) >> self.rng.u32(0..60) }).collect();
        regs.extend([0x7f_ffff_ef80, 0x40_0844 + place, pstate]);
        let regs: Vec<_> = regs.iter().map(|value| format!("{value:x}")).collect();
        self.frames.push(json!({
            "slot": slot,
            "frame": "0xffffffd000013ec0",
            "esr": esr.map(|esr| format!("{esr:#x}")),
            "far": far.map(|far| format!("{far:#x}")),
            "words": words,
            "fields": fields,
            "at": at,
            "pstate": shown,
            "regs": regs.join(" "),
            "call": call.map(|(call, _)| call),
            "result": call.map(|(_, result)| result),
            "returned": null,
        }));
        self.frames.len() - 1
    }

    /// A program dies.
    fn crash(&mut self) -> Value {
        while self.current == self.idle() || !self.tasks[self.current].stack.is_empty() {
            self.step();
        }
        self.begin(USER, None, None);
        self.pass(500, 2000);
        self.end();
        self.fault(FAULT, false);
        self.mark("signal", "sends SIGSEGV to itself".into(), Some(self.current), None);
        self.pass(400, 800);
        let t = self.now;
        self.mark("report", "the report of its death".into(), None, Some(0));
        self.pass(3000, 4000);
        self.mark("end", "ends: 139".into(), None, None);
        json!({ "t": t, "task": self.current, "kind": "death", "text": REPORT })
    }

    fn finish_all(&mut self) {
        self.pass(50, 60);
        for task in 0..self.tasks.len() {
            self.current = task;
            while let Some(&index) = self.tasks[task].stack.last() {
                self.spans[index].open = true;
                self.end();
            }
        }
    }

    fn data(self, wish: Wish, reports: Vec<Value>) -> Value {
        let column = |value: fn(&Span) -> Value| self.spans.iter().map(value).collect::<Vec<_>>();
        let or_none = |index: Option<usize>| index.map_or(json!(-1), |index| json!(index));
        let mut tasks: Vec<_> =
            (0..wish.tasks).map(|task| json!({ "id": task + 1, "name": NAMES[task % NAMES.len()] })).collect();
        tasks.push(json!({ "id": 0, "name": "idle" }));
        json!({
            "schema": 1,
            "title": if wish.crash { "crash null" } else { "preempt" },
            "command": if wish.crash { "cargo xtask trace -o c crash null" } else { "cargo xtask trace -o t preempt" },
            "exit": if wish.crash { 139 } else { 0 },
            "timed_out": false,
            "machine": "cortex-a72, GICv3, 256 MiB",
            "end": self.now,
            "events": self.events,
            "lost": if wish.events > 50_000 { 1234 } else { 0 },
            "tasks": tasks,
            "kinds": KINDS.map(|(name, class, number)| json!({ "name": name, "class": class, "number": number })),
            "spans": {
                "task": column(|span| json!(span.task)),
                "el": column(|span| json!(span.el)),
                "depth": column(|span| json!(span.depth)),
                "type": column(|span| json!(span.sort)),
                "start": column(|span| json!(span.start)),
                "end": column(|span| json!(span.end)),
                "open": column(|span| json!(u8::from(span.open))),
                "kind": self.spans.iter().map(|span| or_none(span.kind)).collect::<Vec<_>>(),
                "self": column(|span| span.figures().map_or(json!(-1), |(own, _)| json!(own))),
                "total": column(|span| span.figures().map_or(json!(-1), |(_, total)| json!(total))),
                "frame": self.spans.iter().map(|span| or_none(span.frame)).collect::<Vec<_>>(),
            },
            "costs": costs(&self.spans),
            "strings": self.strings,
            "frames": self.frames,
            "marks": self.marks,
            "cpus": [{ "index": 0, "running": self.running, "masked": self.masked }],
            "reports": reports,
        })
    }
}

impl Span {
    /// Self and total.
    fn figures(&self) -> Option<(u64, u64)> {
        let total = self.end - self.start;
        [EXCEPTION, HANDLER].contains(&self.sort).then_some((total - self.inner.min(total), total))
    }
}

fn costs(spans: &[Span]) -> Vec<Value> {
    let figures = |mut list: Vec<u64>| {
        list.sort_unstable();
        let median = list[(list.len() - 1) / 2].midpoint(list[list.len() / 2]);
        json!({ "min": list[0], "median": median, "max": list[list.len() - 1], "sum": list.iter().sum::<u64>() })
    };
    let mut costs: Vec<_> = (0..KINDS.len())
        .filter_map(|kind| {
            let of_kind = || spans.iter().filter(move |span| span.sort == EXCEPTION && span.kind == Some(kind));
            let (own, total): (Vec<_>, Vec<_>) = of_kind().filter_map(Span::figures).unzip();
            let count = own.len();
            (count > 0).then(|| json!({ "kind": kind, "count": count, "self": figures(own), "total": figures(total) }))
        })
        .collect();
    costs.sort_by_key(|cost| std::cmp::Reverse(cost["self"]["sum"].as_u64()));
    costs
}
