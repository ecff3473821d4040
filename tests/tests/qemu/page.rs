//! The page of a trace, in a real browser: what it shows, how it is used, and what it says when it cannot.

mod browser;
mod fixture;

use crate::machine::{images, program, same, trial};
use anyhow::{Context, Result, ensure};
use browser::{Browser, SHIFT};
use fixture::{CRASH, FEW, HOSTILE, MANY, Wish};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use xtask::trace::page::{self, page};
use xtask::trace::{self, About};

/// How to make the data of a page.
type MakeData = fn() -> String;

/// A test of a page.
type Test = fn(&mut Browser) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("opens", opens),
    ("boxes", boxes),
    ("paint", paint),
    ("click", click),
    ("every", every),
    ("chain", chain),
    ("mark", mark),
    ("search", search),
    ("search.steps", steps),
    ("costs", costs),
    ("wheel", wheel),
    ("drag", drag),
    ("overview", overview),
    ("measure", measure),
    ("keyboard", keyboard),
    ("hash", hash),
    ("theme", theme),
    ("crash", crash),
    ("many", many),
    ("only", only),
    ("hostile", hostile),
    ("outcome", outcome),
    ("lost", lost),
    ("empty", empty),
    ("real.hello", real_call),
    ("real.crash", real_crash),
];

/// Data that is none, and what has to be in what the page says of it.
const CORRUPT: &[(&str, MakeData, &str)] = &[
    ("nothing", String::new, "no trace"),
    ("not.base64", || "~~~".into(), "no trace"),
    ("not.gzip", || "e30=".into(), "no trace"),
    ("not.json", || packed("{\"schema\":"), "no trace"),
    ("cut", || packed(&fixture::trace(FEW).to_string()).split_at(2000).0.into(), "no trace"),
    ("schema", || changed(|data| data["schema"] = json!(2)), "schema 2"),
    ("columns", || changed(|data| drop(data["spans"]["end"].as_array_mut().and_then(Vec::pop))), "hang together"),
    ("no.spans", || changed(|data| data["spans"] = json!(null)), "hang together"),
];

pub fn trials() -> Vec<Trial> {
    let tests = TESTS.iter().map(|&(name, test)| {
        trial(format!("trace.page.{name}"), move || {
            let mut browser = Browser::start(1280, 800, false)?;
            test(&mut browser)?;
            quiet(&mut browser)
        })
    });
    let sizes = [(1280, 800), (1920, 1080), (600, 900)];
    let looks = sizes.into_iter().flat_map(|size| [(size, false), (size, true)]).map(|((width, height), dark)| {
        let scheme = if dark { "dark" } else { "light" };
        trial(format!("trace.page.looks.{width}.{scheme}"), move || looks(width, height, dark))
    });
    let corrupt = CORRUPT.iter().map(|&(name, data, says)| {
        trial(format!("trace.page.corrupt.{name}"), move || {
            let mut browser = Browser::start(1280, 800, false)?;
            browser.open(&page(&data()), "")?;
            let shown: String = browser.evaluate("document.querySelector('[role=alert]').innerText.toLowerCase()")?;
            ensure!(shown.contains(says), "{shown}");
            quiet(&mut browser)
        })
    });
    let old = trial("trace.page.old.browser", || {
        let mut browser = Browser::start(1280, 800, false)?;
        let without = json!({ "source": "delete window.DecompressionStream" });
        browser.call("Page.addScriptToEvaluateOnNewDocument", without)?;
        browser.open(&page(&packed(&fixture::trace(FEW).to_string())), "")?;
        let shown: String = browser.evaluate("document.querySelector('[role=alert]').innerText")?;
        ensure!(shown.contains("DecompressionStream"), "{shown}");
        quiet(&mut browser)
    });
    tests.chain(looks).chain(corrupt).chain([old]).collect()
}

/// As the page holds its data.
fn packed(json: &str) -> String {
    page::packed(json).expect("it is memory")
}

/// A trace with one thing changed.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut data = fixture::trace(FEW);
    change(&mut data);
    packed(&data.to_string())
}

/// Opens the page of a made-up trace, and gives that.
fn open(browser: &mut Browser, wish: Wish, hash: &str) -> Result<Value> {
    let data = fixture::trace(wish);
    browser.open(&page(&packed(&data.to_string())), hash)?;
    Ok(data)
}

/// That the page complained of nothing, and asked the network for nothing.
fn quiet(browser: &mut Browser) -> Result<()> {
    same("complaints", browser.complaints()?, vec![])
}

/// An array of the data.
fn list<'a>(data: &'a Value, path: &str) -> Result<&'a Vec<Value>> {
    data.pointer(path).and_then(Value::as_array).with_context(|| format!("no {path}"))
}

fn at(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is no number"))
}

/// The exceptions for which `wanted` holds, of their kind and their task.
fn exceptions(data: &Value, wanted: impl Fn(&Value, &Value) -> bool) -> Result<Vec<usize>> {
    let column = |name| list(data, &format!("/spans/{name}"));
    let (sort, kind, task) = (column("type")?, column("kind")?, column("task")?);
    let of = |path, index: &Value| data.pointer(path).and_then(|list| list.get(usize::try_from(index.as_i64()?).ok()?));
    let holds = |&i: &usize| {
        sort[i] == 1
            && of("/kinds", &kind[i]).zip(of("/tasks", &task[i])).is_some_and(|(kind, task)| wanted(kind, task))
    };
    Ok((0..sort.len()).filter(holds).collect())
}

/// The middle of a span's box.
fn middle(browser: &mut Browser, i: usize) -> Result<(f64, f64)> {
    let [x, y]: [f64; 2] = browser.evaluate(&format!(
        "(({{ left, right, top, height }}) => [(left + right) / 2, top + height / 2])(ventry.rect({i}))"
    ))?;
    Ok((x, y))
}

/// The span, mark or report that is selected.
fn selected(browser: &mut Browser) -> Result<usize> {
    browser.evaluate("ventry.state.selection.index")
}

/// The width of what the view is drawn on.
fn width(browser: &mut Browser) -> Result<f64> {
    browser.evaluate("ventry.px(ventry.view.end) - ventry.px(ventry.view.start)")
}

fn range(browser: &mut Browser) -> Result<(f64, f64)> {
    browser.settle()?;
    let [start, end]: [f64; 2] = browser.evaluate("[ventry.view.start, ventry.view.end]")?;
    Ok((start, end))
}

fn panel(browser: &mut Browser) -> Result<String> {
    browser.evaluate("document.getElementById('panel').innerText")
}

/// Opens the page of what a machine really did with a program, and gives its data.
fn trace(browser: &mut Browser, line: &str, exit: u8) -> Result<Value> {
    let config = program(line);
    let mut recording = trace::record(images(false), &config, trace::ring_for(config.mem), |_| Ok(()))?;
    same("exit code", (recording.code, recording.timed_out), (exit, false))?;
    let about = About {
        title: line.into(),
        command: format!("cargo xtask trace {line}"),
        exit,
        timed_out: false,
        machine: config.cpu,
    };
    let model = recording.model();
    browser.open(&page::html(&about, &model)?, "")?;
    Ok(serde_json::from_str(&page::data(&about, &model)?)?)
}

/// That numbers are the same but for rounding to pixels.
fn near(what: &str, found: f64, expected: f64, slack: f64) -> Result<()> {
    ensure!((found - expected).abs() <= slack, "{what}: {found} instead of {expected}");
    Ok(())
}

/// What is shown is what is in the data.
fn opens(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let drawn: usize =
        browser.evaluate("ventry.rows().flatMap((row) => row.tracks).reduce((sum, track) => sum + track.length, 0)")?;
    same("spans in lanes", drawn, list(&data, "/spans/start")?.len())?;
    let end = at(&data["end"])?;
    same("the view", range(browser)?, (0.0, end))?;
    let rows: usize = browser.evaluate("document.querySelectorAll('#table tbody tr').length")?;
    same("rows of costs", rows, list(&data, "/costs")?.len())?;
    let boxes: usize = browser.evaluate("ventry.stats.boxes")?;
    ensure!(boxes > 50, "{boxes} boxes");
    for (element, holds) in [("title", &data["title"]), ("command", &data["command"])] {
        let text: String = browser.evaluate(&format!("document.getElementById('{element}').textContent"))?;
        same(element, Some(text.as_str()), holds.as_str())?;
    }
    Ok(())
}

/// Each span is found where it is said to be, scrolled or not.
fn boxes(browser: &mut Browser) -> Result<()> {
    let data = open(browser, Wish { tasks: 9, ..FEW }, "")?;
    let wrong: Vec<usize> = browser.evaluate(
        "(() => {
            const wrong = [], { left, top } = document.getElementById('lanes').getBoundingClientRect();
            for (let i = 0; i < ventry.data.spans.start.length; i++) {
                ventry.select(i);
                ventry.fit(ventry.data.spans.start[i], ventry.data.spans.end[i]);
                const { left: from, right, top: y, height } = ventry.rect(i);
                const found = ventry.hit((from + right) / 2 - left, y + height / 2 - top);
                if (found?.what !== 'span' || found.index !== i) wrong.push(i);
            }
            return wrong;
        })()",
    )?;
    same("spans not found", wrong, vec![])?;
    let scrolled: f64 = browser.evaluate("document.getElementById('scroll').scrollTop")?;
    ensure!(scrolled > 0.0, "there was nothing to scroll");
    let (start, end) = (list(&data, "/spans/start")?, list(&data, "/spans/end")?);
    ensure!(start.iter().zip(end).all(|(start, end)| at(start).ok() < at(end).ok()), "the fixture has empty spans");
    Ok(())
}

/// What has room for it is painted where it is said to be, in the colour of its class; in each lane there is some.
fn paint(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let whole = at(&data["end"])?;
    let mut seen = BTreeSet::new();
    for part in 0..48 {
        browser.run(&format!("ventry.show({}, {})", whole * f64::from(part) / 48.0, whole / 48.0))?;
        browser.settle()?;
        let (wrong, lanes): (Vec<String>, Vec<String>) = browser.evaluate(PIXELS)?;
        same("boxes of another colour", wrong, vec![])?;
        seen.extend(lanes);
    }
    let lanes: BTreeSet<String> =
        browser.evaluate("ventry.rows().map((row) => `task ${row.group.task} EL${row.el} depth ${row.depth}`)")?;
    same("lanes with boxes", seen, lanes)
}

/// A click selects, and the panel tells all that was saved.
fn click(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let fault = exceptions(&data, |kind, _| kind["class"] == "fault")?[0];
    browser.run(&format!(
        "const {{ start, end }} = ventry.data.spans;
        ventry.select({fault}), ventry.fit(start[{fault}], end[{fault}]), ventry.choose(null)"
    ))?;
    let (x, y) = middle(browser, fault)?;
    browser.click(x, y, 1)?;
    let selected: Value = browser.evaluate("ventry.state.selection")?;
    same("selected", selected, json!({ "what": "span", "index": fault }))?;
    let shown = panel(browser)?;
    let frame = &data["frames"][list(&data, "/spans/frame")?[fault].as_u64().context("no frame")? as usize];
    let registers: Vec<_> = frame["regs"].as_str().context("no registers")?.split(' ').collect();
    same("registers", registers.len(), 34)?;
    for value in registers {
        ensure!(shown.contains(&format!("{value:0>16}")), "{value} is not in\n{shown}");
    }
    let string =
        |index: &Value| index.as_u64().and_then(|index| data["strings"][index as usize].as_str()).unwrap_or_default();
    // The sentence opens the paragraph, so its first letter is a capital.
    for part in [
        &string(&frame["words"])[1..],
        string(&frame["at"]),
        string(&frame["pstate"]),
        "el0_sync",
        "0x92000047",
        "DFSC",
    ] {
        ensure!(!part.is_empty() && shown.contains(part), "{part} is not in\n{shown}");
    }
    Ok(())
}

/// Whatever is selected, the panel holds nothing of what scripts print where there is no value.
fn every(browser: &mut Browser) -> Result<()> {
    open(browser, FEW, "")?;
    same("spans without a value", browser.evaluate::<Vec<usize>>(VALUELESS)?, vec![])
}

/// The page tells what is in the data of a real trace; `outcome` is how the machine ended.
fn tells(browser: &mut Browser, data: &Value, outcome: &str) -> Result<()> {
    let said: String = browser.evaluate("document.getElementById('outcome').textContent")?;
    same("outcome", said.as_str(), outcome)?;
    let events: Vec<String> = browser
        .evaluate("[...document.querySelectorAll('#facts b')].map((fact) => fact.textContent.replaceAll(',', ''))")?;
    same(
        "facts",
        events,
        vec![data["events"].to_string(), data["end"].to_string(), list(data, "/tasks")?.len().to_string()],
    )?;
    let cells: Vec<Vec<String>> = browser.evaluate(
        "[...document.querySelectorAll('#table tbody tr')].map((row) => {
            return [...row.cells].slice(0, 8).map((cell) => cell.textContent);
        })",
    )?;
    // Where no exception came to its end, one says so.
    same("rows", cells.len(), list(data, "/costs")?.len().max(1))?;
    for (row, cost) in cells.iter().zip(list(data, "/costs")?) {
        let kind = &data["kinds"][cost["kind"].as_u64().context("no kind")? as usize];
        ensure!(row[0].starts_with(kind["name"].as_str().context("no name")?), "{row:?} is not {kind}");
        let (own, total) = (&cost["self"], &cost["total"]);
        let figures = [&cost["count"], &own["min"], &own["median"], &own["max"], &own["sum"], &total["sum"]];
        let found: Vec<_> = row[2..].iter().map(|cell| cell.replace(',', "")).collect();
        same("costs", found, figures.map(Value::to_string).to_vec())?;
    }
    same("spans without a value", browser.evaluate::<Vec<usize>>(VALUELESS)?, vec![])
}

/// Of a real system call the panel tells what the kernel saved, each thing by its name.
fn real_call(browser: &mut Browser) -> Result<()> {
    let data = trace(browser, "hello", 0)?;
    tells(browser, &data, "exit code 0")?;
    let call = exceptions(&data, |kind, _| kind["name"] == "getpid")?[0];
    browser.run(&format!("ventry.select({call})"))?;
    let pairs: BTreeMap<String, String> = browser.evaluate(
        "Object.fromEntries([
            ...[...document.querySelectorAll('#panel dt')].map((dt) => [dt, dt.nextElementSibling]),
            ...[...document.querySelectorAll('#panel .costs span')].map((span) => [span, span.previousElementSibling]),
        ].map((pair) => pair.map((element) => element.textContent)))",
    )?;
    let told = |name: &str| pairs.get(name).with_context(|| format!("no {name} in {pairs:?}"));
    for figure in ["self", "total", "start"] {
        same(figure, told(figure)?.replace(',', ""), data["spans"][figure][call].to_string())?;
    }
    let frame = &data["frames"][list(&data, "/spans/frame")?[call].as_u64().context("no frame")? as usize];
    let values = frame["regs"].as_str().context("no registers")?.split(' ');
    let names = (0..31).map(|n| format!("x{n}")).chain(["sp", "pc", "pstate"].map(String::from));
    for (name, value) in names.zip(values) {
        same(&name, told(&name)?, &format!("{value:0>16}"))?;
    }
    same("its number", told("x8")?.as_str(), "00000000000000ac")?;
    let string = |index: &Value| index.as_u64().map(|index| &data["strings"][index as usize]);
    for (name, value) in [
        ("Called at", string(&frame["at"])),
        ("PSTATE", string(&frame["pstate"])),
        ("ESR", Some(&frame["esr"])),
        ("Slot", Some(&frame["slot"])),
        ("Result", Some(&frame["result"])),
    ] {
        same(name, Some(told(name)?.as_str()), value.and_then(Value::as_str))?;
    }
    let stack = told("Frame at")?;
    ensure!(stack.starts_with(frame["frame"].as_str().context("no address")?), "{stack}");
    Ok(())
}

/// The page of a real crash opens on its report, where the fault began.
fn real_crash(browser: &mut Browser) -> Result<()> {
    let data = trace(browser, "crash null", 139)?;
    let report: String = browser.evaluate("document.querySelector('#panel pre.report').textContent")?;
    same("report", Some(report.as_str()), data["reports"][0]["text"].as_str())?;
    let fault = exceptions(&data, |kind, _| kind["class"] == "fault")?.pop().context("no fault")?;
    let (start, (from, to)) = (at(&data["spans"]["start"][fault])?, range(browser)?);
    ensure!(from < start && start < to && to - from < 5000.0, "{start} is not shown by {from}..{to}");
    tells(browser, &data, "killed by SIGSEGV, signal 11 (139)")
}

/// From an exception to the one it interrupted, by its button.
fn chain(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let (depth, sort) = (list(&data, "/spans/depth")?, list(&data, "/spans/type")?);
    let inner = (0..depth.len()).find(|&i| sort[i] == 1 && depth[i] == 1).context("none nested")?;
    browser.run(&format!("ventry.select({inner})"))?;
    browser.run("document.querySelector('#panel [aria-current]').parentNode.previousSibling.firstChild.click()")?;
    let outer: usize = selected(browser)?;
    let (start, end) = (list(&data, "/spans/start")?, list(&data, "/spans/end")?);
    same("its depth", &depth[outer], &json!(0))?;
    ensure!(at(&start[outer])? <= at(&start[inner])? && at(&end[outer])? >= at(&end[inner])?, "not around it");
    // And back, from the list of what is in it.
    let within: Vec<String> =
        browser.evaluate("[...document.querySelectorAll('#panel h3')].map((title) => title.textContent)")?;
    ensure!(within.iter().any(|title| title == "In it"), "{within:?}");
    Ok(())
}

/// Marks are found where they are drawn, and told in the panel.
fn mark(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let wake = list(&data, "/marks")?.iter().position(|mark| mark["type"] == "wake").context("no wake-up")?;
    let [x, y]: [f64; 2] = browser.evaluate(&format!(
        "(() => {{
            const mark = ventry.data.marks[{wake}], canvas = document.getElementById('lanes').getBoundingClientRect();
            ventry.fit(mark.t - 30, mark.t + 30);
            const group = ventry.rows().find(({{ group }}) => group.task === mark.task).group;
            document.getElementById('scroll').scrollTop = group.y;
            const y = ventry.pinned() + group.y + 6 - document.getElementById('scroll').scrollTop;
            return [canvas.left + ventry.px(mark.t), canvas.top + y];
        }})()"
    ))?;
    browser.click(x, y, 1)?;
    let selected: Value = browser.evaluate("ventry.state.selection")?;
    same("selected", selected, json!({ "what": "mark", "index": wake }))?;
    let text = list(&data, "/marks")?[wake]["text"].as_str().context("no text")?;
    ensure!(panel(browser)?.contains(text), "its text is not shown");
    let arrows: usize = browser.evaluate("ventry.stats.arrows")?;
    ensure!(arrows >= 1, "no arrow");
    Ok(())
}

/// By system call, interrupt, task, class and words: exactly those that the data has.
fn search(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let named = |kind: &Value, name: &str| kind["name"] == name;
    let frames = list(&data, "/frames")?;
    let frame_of = list(&data, "/spans/frame")?;
    let mut refused = exceptions(&data, |_, _| true)?;
    refused.retain(|&i| frames[frame_of[i].as_u64().unwrap_or_default() as usize]["result"] == "-2 ENOENT");
    let expected = [
        ("write", exceptions(&data, |kind, _| named(kind, "write"))?),
        ("GetPID", exceptions(&data, |kind, _| named(kind, "getpid"))?),
        ("syscall 64", exceptions(&data, |kind, _| named(kind, "write"))?),
        ("irq 27", exceptions(&data, |kind, _| named(kind, "timer"))?),
        ("timer", exceptions(&data, |kind, _| named(kind, "timer"))?),
        ("task 2", exceptions(&data, |_, task| task["id"] == 2)?),
        ("hello", exceptions(&data, |_, task| task["name"] == "hello")?),
        ("fault", exceptions(&data, |kind, _| kind["class"] == "fault")?),
        ("task 2 write", exceptions(&data, |kind, task| task["id"] == 2 && named(kind, "write"))?),
        ("timer task hello", exceptions(&data, |kind, task| task["name"] == "hello" && named(kind, "timer"))?),
        ("enoent", refused),
        ("no such thing", vec![]),
        ("task 99", vec![]),
    ];
    for (text, expected) in expected {
        let found: Vec<usize> = browser.evaluate(&format!("ventry.search('{text}')"))?;
        ensure!(
            !expected.is_empty() || text.contains("no such") || text.contains("99"),
            "{text} is not in the fixture"
        );
        same(text, found, expected)?;
    }
    let cleared: bool = browser.evaluate("ventry.search('  ').length === 0 && ventry.state.hits === null")?;
    same("a search for nothing is none", cleared, true)
}

/// Typed, and stepped through by keys, around the end.
fn steps(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let expected = exceptions(&data, |kind, _| kind["name"] == "brk")?;
    browser.key("/")?;
    for letter in ["b", "r", "k"] {
        browser.key(letter)?;
    }
    let count: String = browser.evaluate("document.getElementById('count').textContent")?;
    same("count", count, expected.len().to_string())?;
    let mut visited = Vec::new();
    for _ in 0..=expected.len() {
        browser.key("Enter")?;
        visited.push(selected(browser)?);
        let shown: bool = browser.evaluate(
            "(() => {
                const { view, state, data: { spans: { start, end } } } = ventry, i = state.selection.index;
                return start[i] >= view.start - 1 && end[i] <= view.end + 1;
            })()",
        )?;
        ensure!(shown, "not in view");
    }
    same("visited", &visited[..expected.len()], &expected[..])?;
    same("around the end", visited[expected.len()], expected[0])?;
    // Out of the field, the letters step.
    browser.run("document.getElementById('timeline').focus()")?;
    browser.key("n")?;
    same("n", selected(browser)?, expected[1])?;
    browser.key("N")?;
    same("N", selected(browser)?, expected[0])
}

/// A row finds its kind; a heading sorts.
fn costs(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let costs = list(&data, "/costs")?;
    let kinds = list(&data, "/kinds")?;
    for (row, cost) in costs.iter().enumerate() {
        let name = &kinds[cost["kind"].as_u64().context("no kind")? as usize]["name"];
        browser.run(&format!("document.querySelectorAll('#table tbody button')[{row}].click()"))?;
        let found: u64 = browser.evaluate("ventry.state.matches.length")?;
        same(name.as_str().unwrap_or_default(), Some(found), cost["count"].as_u64())?;
    }
    browser.run("document.querySelectorAll('#table th button')[2].click()")?;
    let counts: Vec<u64> = browser.evaluate(
        "[...document.querySelectorAll('#table tbody tr')]
                .map((row) => Number(row.cells[2].textContent.replaceAll(',', '')))",
    )?;
    ensure!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    let sorted: String = browser.evaluate("document.querySelectorAll('#table th')[2].getAttribute('aria-sort')")?;
    same("sorted", sorted, "descending".into())
}

/// The wheel zooms, and what is under the pointer stays there; with Shift it pans.
fn wheel(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let (x, y) = (500.0, 350.0);
    let time = format!("ventry.time({x})");
    let before: f64 = browser.evaluate(&time)?;
    for turn in 1..=6 {
        browser.wheel(x, y, -240.0, 0)?;
        let (start, end) = range(browser)?;
        near("under the pointer", browser.evaluate(&time)?, before, (end - start) / 500.0)?;
        ensure!(end - start < at(&data["end"])? * 0.8f64.powi(turn), "turn {turn} does not zoom: {start}..{end}");
    }
    let (start, end) = range(browser)?;
    browser.wheel(x, y, 100.0, SHIFT)?;
    let (panned, panned_end) = range(browser)?;
    near("length", panned_end - panned, end - start, 1.0)?;
    ensure!(panned > start, "not panned");
    for _ in 0..20 {
        browser.wheel(x, y, 500.0, 0)?;
    }
    same("all of it", range(browser)?, (0.0, at(&data["end"])?))
}

/// Dragging moves, and a double click fits.
fn drag(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    browser.run("ventry.show(50000, 20000)")?;
    browser.drag((600.0, 400.0), (400.0, 400.0), 0)?;
    let width = width(browser)?;
    let (start, end) = range(browser)?;
    near("start", start, 50_000.0 + 200.0 / width * 20_000.0, 2.0 * 20_000.0 / width)?;
    near("length", end - start, 20_000.0, 1.0)?;
    let selected: Value = browser.evaluate("ventry.state.selection")?;
    same("selected by a drag", selected, Value::Null)?;
    let call = exceptions(&data, |kind, _| kind["name"] == "nanosleep")?[0];
    browser.run(&format!("ventry.show(0, 1e9), ventry.select({call}), ventry.choose(null)"))?;
    let (x, y) = middle(browser, call)?;
    browser.click(x, y, 2)?;
    let (start, end) = range(browser)?;
    let (from, to) = (at(&list(&data, "/spans/start")?[call])?, at(&list(&data, "/spans/end")?[call])?);
    ensure!(start <= from && end >= to && end - start < (to - from) * 1.5, "{start}..{end} does not fit {from}..{to}");
    Ok(())
}

/// The window in the overview is dragged.
fn overview(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let whole = at(&data["end"])?;
    browser.run(&format!("ventry.show({}, {})", whole * 0.4, whole * 0.2))?;
    let width = width(browser)?;
    let [left, y]: [f64; 2] = browser.evaluate(
        "(() => {
            const { top, height } = document.getElementById('overview').getBoundingClientRect();
            return [ventry.px(ventry.view.start), top + height / 2];
        })()",
    )?;
    browser.drag((left + width * 0.5, y), (left + width * 0.7, y), 0)?;
    let (start, end) = range(browser)?;
    near("start", start / whole, 0.6, 0.01)?;
    near("end", end / whole, 0.8, 0.01)?;
    browser.drag((left + width * 0.6, y), (left + width * 0.3, y), 0)?;
    let (start, end) = range(browser)?;
    near("start, by its edge", start / whole, 0.3, 0.01)?;
    near("end, which stays", end / whole, 0.8, 0.01)
}

/// With Shift, dragging measures and does not move.
fn measure(browser: &mut Browser) -> Result<()> {
    open(browser, FEW, "")?;
    let before = range(browser)?;
    browser.drag((400.0, 400.0), (600.0, 400.0), SHIFT)?;
    same("the view", range(browser)?, before)?;
    let [from, to]: [f64; 2] = browser.evaluate("ventry.state.range")?;
    let width = width(browser)?;
    near("length", to - from, 200.0 / width * before.1, before.1 / width * 2.0)?;
    browser.key("Escape")?;
    same("ended", browser.evaluate::<Value>("ventry.state.range")?, Value::Null)
}

fn keyboard(browser: &mut Browser) -> Result<()> {
    let data = open(browser, FEW, "")?;
    let whole = at(&data["end"])?;
    for (zoom_in, zoom_out) in [("w", "s"), ("+", "-")] {
        browser.key(zoom_in)?;
        let (start, end) = range(browser)?;
        ensure!(end - start < whole * 0.9, "{zoom_in}");
        browser.key(zoom_out)?;
        near(zoom_out, range(browser)?.1, whole, whole / 1000.0)?;
    }
    browser.key("w")?;
    browser.key("w")?;
    for (right, left) in [("d", "a"), ("ArrowRight", "ArrowLeft")] {
        let (start, _) = range(browser)?;
        browser.key(right)?;
        ensure!(range(browser)?.0 > start, "{right}");
        browser.key(left)?;
        near(left, range(browser)?.0, start, 1.0)?;
    }
    let first = exceptions(&data, |kind, _| kind["name"] == "timer")?;
    browser.run(&format!("ventry.select({})", first[0]))?;
    browser.key("]")?;
    same("]", selected(browser)?, first[1])?;
    browser.key("[")?;
    same("[", selected(browser)?, first[0])?;
    browser.key("f")?;
    let (start, end) = range(browser)?;
    let (from, to) = (at(&list(&data, "/spans/start")?[first[0]])?, at(&list(&data, "/spans/end")?[first[0]])?);
    ensure!(start <= from && end >= to && end - start < (to - from) * 1.5, "f");
    browser.key("0")?;
    same("0", range(browser)?, (0.0, whole))?;
    browser.key("?")?;
    same("?", browser.evaluate::<bool>("document.getElementById('keys').open")?, true)?;
    browser.run("document.getElementById('keys').close()")?;
    browser.key("Escape")?;
    same("Escape", browser.evaluate::<Value>("ventry.state.selection")?, Value::Null)
}

/// The address brings back view and selection, and follows them.
fn hash(browser: &mut Browser) -> Result<()> {
    open(browser, FEW, "#t=1000-21000&s=17")?;
    same("the view", range(browser)?, (1000.0, 21_000.0))?;
    let selected: Value = browser.evaluate("ventry.state.selection")?;
    same("selected", selected, json!({ "what": "span", "index": 17 }))?;
    browser.run("ventry.show(2000, 30000), ventry.choose('mark', 3)")?;
    let address: String = browser.evaluate(
        "new Promise((done) => {
            const look = () => location.hash.includes('m=3') ? done(location.hash) : setTimeout(look, 20);
            look();
        })",
    )?;
    same("the address", address, "#t=2000-32000&m=3".into())?;
    // Nonsense is not followed.
    open(browser, FEW, "#t=x-y&s=99999999")?;
    same("selected", browser.evaluate::<Value>("ventry.state.selection")?, Value::Null)
}

/// The button turns light to dark and back, canvas and all.
fn theme(browser: &mut Browser) -> Result<()> {
    open(browser, FEW, "")?;
    let ground = "document.getElementById('lanes').getContext('2d').getImageData(2, 2, 1, 1)
        .data.slice(0, 3).reduce((a, b) => a + b)";
    let light: u32 = browser.evaluate(ground)?;
    browser.run("document.getElementById('theme').click()")?;
    let dark: u32 = browser.evaluate(ground)?;
    browser.run("document.getElementById('theme').click()")?;
    same("light again", browser.evaluate::<u32>(ground)?, light)?;
    ensure!(light > 600 && dark < 150, "light {light}, dark {dark}");
    // Until it is pressed the system's choice is followed, at once.
    open(browser, FEW, "")?;
    browser.scheme(true)?;
    browser.settle()?;
    same("as the system", browser.evaluate::<u32>(ground)?, dark)
}

/// A trace of a crash opens at its report, which the flag and the button show too.
fn crash(browser: &mut Browser) -> Result<()> {
    let data = open(browser, CRASH, "")?;
    let report = data["reports"][0]["text"].as_str().context("no report")?.to_string();
    let shown = "document.querySelector('#panel pre.report')?.textContent ?? ''";
    same("shown at once", browser.evaluate::<String>(shown)?, report.clone())?;
    browser.run("ventry.choose(null)")?;
    same("gone", browser.evaluate::<String>(shown)?, String::new())?;
    browser.run("document.getElementById('to-report').click()")?;
    same("by the button", browser.evaluate::<String>(shown)?, report.clone())?;
    let flag = list(&data, "/marks")?.iter().position(|mark| mark["type"] == "report").context("no flag")?;
    browser.run(&format!("ventry.choose(null), ventry.choose('mark', {flag})"))?;
    same("by the flag", browser.evaluate::<String>(shown)?, report.clone())?;
    let outcome: String = browser.evaluate("document.getElementById('outcome').textContent")?;
    same("outcome", outcome, "killed by SIGSEGV, signal 11 (139)".into())?;
    // The exception that it is about is one step away: the fault that never returned. So it is where nothing came after.
    let mut last = data.clone();
    last["reports"][0]["t"] = data["end"].clone();
    let fault = exceptions(&data, |kind, _| kind["class"] == "fault")?.pop().context("no fault")?;
    let start = at(&data["spans"]["start"][fault])?;
    for data in [data, last] {
        let page = page(&packed(&data.to_string()));
        browser.open(&page, "#t=5-500")?;
        same("as the address says", range(browser)?, (5.0, 500.0))?;
        same("shown all the same", browser.evaluate::<String>(shown)?, report.clone())?;
        let button = |at| format!("[...document.querySelectorAll('#panel .actions button')].at({at}).click()");
        browser.run(&button(0))?;
        let there = range(browser)?;
        ensure!(there.0 < start && start < there.1 && there.1 - there.0 < 5000.0, "{start} is not shown by {there:?}");
        browser.open(&page, "")?;
        same("opens there", range(browser)?, there)?;
        browser.run(&button(-1))?;
        same("the exception", selected(browser)?, fault)?;
        same("never returned", &data["spans"]["open"][fault], &json!(1))?;
    }
    Ok(())
}

/// 100,000 events: what a frame draws is bounded by the window, at every zoom.
fn many(browser: &mut Browser) -> Result<()> {
    let data = open(browser, MANY, "")?;
    let spans = list(&data, "/spans/start")?.len();
    ensure!(data["events"].as_u64() >= Some(100_000) && spans > 40_000, "{spans} spans");
    let drawn: usize =
        browser.evaluate("ventry.rows().flatMap((row) => row.tracks).reduce((sum, track) => sum + track.length, 0)")?;
    same("spans in lanes", drawn, spans)?;
    for zoom in 0..12 {
        let [boxes, width, rows]: [f64; 3] = browser.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
                const canvas = document.getElementById('lanes');
                const rows = Math.ceil(canvas.clientHeight / 20) + 2;
                done([ventry.stats.boxes, canvas.clientWidth, rows]);
            })))",
        )?;
        ensure!(boxes > 0.0 && boxes <= width * rows, "zoom {zoom}: {boxes} boxes in {width} × {rows} rows");
        browser.run("ventry.zoom(0.4)")?;
    }
    // At the last of these nothing is merged any more.
    let labels: usize = browser.evaluate("ventry.stats.labels")?;
    ensure!(labels > 0, "no labels");
    // One element for a kind, none for an event.
    let elements: usize = browser.evaluate("document.querySelectorAll('*').length")?;
    ensure!(elements < 1000, "{elements} elements");
    let found: usize = browser.evaluate("ventry.search('timer').length")?;
    same("found", found, exceptions(&data, |kind, _| kind["name"] == "timer")?.len())
}

/// Tasks that have nothing in view leave their room to those that have, and come back.
fn only(browser: &mut Browser) -> Result<()> {
    let data = open(browser, Wish { events: 2000, tasks: 30, crash: false }, "")?;
    let height = "document.getElementById('scroll').scrollHeight";
    let all: f64 = browser.evaluate(height)?;
    let last = list(&data, "/spans/start")?.len() - 1;
    browser.run("ventry.show(0, 20000), document.querySelector('#only input').click()")?;
    browser.settle()?;
    let few: f64 = browser.evaluate(height)?;
    ensure!(few < all * 0.7, "{few} of {all}");
    // What is gone to is there.
    for i in [last, 0] {
        browser.run(&format!("ventry.select({i}), ventry.choose(null)"))?;
        let (x, y) = middle(browser, i)?;
        browser.click(x, y, 1)?;
        same("selected", selected(browser)?, i)?;
    }
    browser.run("document.querySelector('#only input').click()")?;
    same("all again", browser.evaluate::<f64>(height)?, all)
}

/// Names, calls and reports are text, whatever is in them.
fn hostile(browser: &mut Browser) -> Result<()> {
    let markup = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";
    let mut data = fixture::trace(Wish { tasks: 5, ..CRASH });
    data["title"] = json!(markup);
    data["machine"] = json!(markup);
    data["reports"][0]["text"] = json!(markup);
    data["tasks"][1]["name"] = json!(markup);
    data["kinds"][0]["name"] = json!(markup);
    data["marks"][0]["text"] = json!(markup);
    for frame in data["frames"].as_array_mut().context("no frames")? {
        frame["call"] = json!(markup);
        frame["result"] = json!(markup);
    }
    browser.open(&page(&packed(&data.to_string())), "")?;
    let everything = "for (let i = 0; i < 60; i++) ventry.select(i); ventry.choose('mark', 0);
        ventry.search('task 2'); document.querySelector('#help').click(); ventry.choose('report', 0)";
    browser.run(everything)?;
    browser.mouse("mouseMoved", 400.0, 300.0, 0)?;
    browser.settle()?;
    same("images", browser.evaluate::<usize>("document.images.length + document.scripts.length")?, 1)?;
    same("title", browser.evaluate::<String>("document.title")?, format!("{markup}: trace"))?;
    same("the report", browser.evaluate::<String>("document.querySelector('pre.report').textContent")?, markup.into())?;
    browser.run("ventry.choose(null), document.getElementById('keys').close()")?;
    ensure!(panel(browser)?.contains(HOSTILE), "the name is not shown");
    Ok(())
}

/// How the machine ended, and whether its report is shown at once: only if that is what ended it.
fn outcome(browser: &mut Browser) -> Result<()> {
    let cases = [
        (0, false, "death", "exit code 0", false),
        (3, false, "death", "exit code 3", false),
        (139, false, "death", "killed by SIGSEGV, signal 11 (139)", true),
        (139, false, "warning", "killed by SIGSEGV, signal 11 (139)", false),
        (162, false, "death", "killed by signal 34 (162)", true),
        (121, false, "panic", "kernel panic (121)", true),
        (124, true, "death", "time was up (124)", false),
    ];
    let mut data = fixture::trace(CRASH);
    for (exit, timed_out, kind, words, shown) in cases {
        (data["exit"], data["timed_out"], data["reports"][0]["kind"]) = (json!(exit), json!(timed_out), json!(kind));
        browser.open(&page(&packed(&data.to_string())), "")?;
        let said: String = browser.evaluate("document.getElementById('outcome').textContent")?;
        same("outcome", said.as_str(), words)?;
        let report: bool = browser.evaluate("ventry.state.selection?.what === 'report'")?;
        same(words, report, shown)?;
    }
    Ok(())
}

/// What was lost is said; where nothing was, nothing is.
fn lost(browser: &mut Browser) -> Result<()> {
    let badge = "(({ hidden, textContent }) => hidden ? '' : textContent)(document.getElementById('lost'))";
    open(browser, FEW, "")?;
    same("nothing lost", browser.evaluate::<String>(badge)?, String::new())?;
    browser.open(&page(&changed(|data| data["lost"] = json!(1234))), "")?;
    ensure!(browser.evaluate::<String>(badge)?.contains("1,234"), "not told");
    let advice: String = browser.evaluate("document.getElementById('lost').title")?;
    ensure!(advice.contains("--ring MIB"), "{advice}");
    Ok(())
}

/// A trace of nothing says so.
fn empty(browser: &mut Browser) -> Result<()> {
    let nothing = changed(|data| {
        for column in data["spans"].as_object_mut().into_iter().flat_map(|spans| spans.values_mut()) {
            *column = json!([]);
        }
    });
    browser.open(&page(&nothing), "")?;
    let shown: String = browser.evaluate("document.querySelector('[role=alert]').innerText")?;
    ensure!(shown.contains("Nothing was traced"), "{shown}");
    // Something was, but no exception was over before the trace was.
    let (tasks, columns) = (json!([{ "id": 0, "name": "idle" }]), fixture::trace(FEW)["spans"].clone());
    let one = changed(|data| {
        for (name, column) in columns.as_object().into_iter().flatten() {
            data["spans"][name] = json!([if name == "task" { json!(0) } else { column[0].clone() }]);
        }
        (data["tasks"], data["costs"], data["events"]) = (tasks, json!([]), json!(1));
        (data["marks"], data["cpus"]) = (json!([]), json!([{ "index": 0, "running": [[0, 0]], "masked": [] }]));
    });
    browser.open(&page(&one), "")?;
    let cells: Vec<String> =
        browser.evaluate("[...document.querySelectorAll('#table td')].map((td) => td.innerText)")?;
    ensure!(cells.len() == 1 && !cells[0].is_empty(), "{cells:?}");
    let facts: String = browser.evaluate("document.getElementById('facts').innerText")?;
    ensure!(facts.contains("1 event") && facts.contains("1 task") && !facts.contains("1 tasks"), "{facts}");
    Ok(())
}

/// Nothing overlaps or sticks out, each lane has something in it, and all text can be read.
fn looks(width: u32, height: u32, dark: bool) -> Result<()> {
    let mut browser = Browser::start(width, height, dark)?;
    let data = open(&mut browser, FEW, "")?;
    let fault = exceptions(&data, |kind, _| kind["class"] == "fault")?[0];
    // With the introduction, with an exception, while searching, and with a report.
    for state in ["null", &format!("ventry.select({fault})"), "ventry.search('write')", "ventry.search('')"] {
        browser.run(state)?;
        browser.settle()?;
        same("layout", browser.evaluate::<Vec<String>>(LAYOUT)?, vec![])?;
        same("contrast", browser.evaluate::<Vec<String>>(CONTRAST)?, vec![])?;
    }
    browser.run("ventry.show(0, 1e12)")?;
    browser.settle()?;
    same("empty lanes", browser.evaluate::<Vec<String>>(EMPTY_LANES)?, vec![])?;
    same("contrast on the canvas", browser.evaluate::<Vec<String>>(CANVAS_CONTRAST)?, vec![])?;
    let apart: f64 = browser.evaluate(APART)?;
    ensure!(apart >= 50.0, "an interrupt and its handler look alike: {apart}");
    quiet(&mut browser)?;
    open(&mut browser, CRASH, "")?;
    same("layout", browser.evaluate::<Vec<String>>(LAYOUT)?, vec![])?;
    same("contrast", browser.evaluate::<Vec<String>>(CONTRAST)?, vec![])?;
    quiet(&mut browser)
}

/// What sticks out of the page or lies over something else.
const LAYOUT: &str = "(() => {
    const wrong = [], box = (id) => document.getElementById(id).getBoundingClientRect();
    const whole = document.documentElement.scrollWidth;
    if (whole > innerWidth) wrong.push('the page is too wide: ' + whole);
    for (const id of ['header', 'main', 'panel', 'timeline', 'costs']) {
        const { left, right } = box(id), { scrollWidth, clientWidth } = document.getElementById(id);
        if (left < 0 || right > innerWidth + 0.5) wrong.push(id + ' sticks out');
        if (scrollWidth > clientWidth + 1) wrong.push(id + ' scrolls sideways: ' + scrollWidth + ' in ' + clientWidth);
    }
    const parts = ['header', 'timeline', 'costs', 'panel'];
    for (const a of parts) for (const b of parts) {
        if (a >= b) continue;
        const [p, q] = [box(a), box(b)];
        if (p.width < 50 || p.height < 30) wrong.push(a + ' has no room: ' + p.width + ' × ' + p.height);
        const apart = (low, high) => p[high] <= q[low] + 0.5 || q[high] <= p[low] + 0.5;
        if (!apart('left', 'right') && !apart('top', 'bottom')) wrong.push(a + ' overlaps ' + b);
    }
    return wrong;
})()";

/// A script that reads pixels back, of a canvas of its own.
macro_rules! script {
    ($body:expr) => {
        concat!(
            "(() => {
                const probe = (width, height) => {
                    const canvas = Object.assign(document.createElement('canvas'), { width, height });
                    return canvas.getContext('2d', { willReadFrequently: true });
                };",
            $body,
            "})()"
        )
    };
}

/// One that also has colours as numbers, and their contrast as WCAG counts it.
macro_rules! contrast {
    ($body:literal) => {
        script!(concat!(
            "
                const point = probe(1, 1), parse = (colour) => {
                    point.clearRect(0, 0, 1, 1);
                    point.fillStyle = colour;
                    point.fillRect(0, 0, 1, 1);
                    const [r, g, b, a] = point.getImageData(0, 0, 1, 1).data;
                    return [r, g, b, a / 255];
                };
                const over = (top, bottom) => [0, 1, 2].map((k) => top[k] * top[3] + bottom[k] * (1 - top[3])).concat(1);
                const light = ([r, g, b]) => {
                    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                    const [x, y, z] = [r, g, b].map((c) => linear(c / 255));
                    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
                };
                const contrast = (a, b) => {
                    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
                    return (high + 0.05) / (low + 0.05);
                };
                const wrong = [];",
            $body,
            "return wrong;"
        ))
    };
}

/// Lanes on whose canvas there is nothing but what they are drawn on.
const EMPTY_LANES: &str = script!(
    "
    const canvas = document.getElementById('lanes'), context = probe(canvas.width, canvas.height);
    context.drawImage(canvas, 0, 0);
    const colours = ventry.colours(), ground = new Set();
    const point = probe(1, 1);
    for (const name of ['bg', 'bg-lane', 'line']) {
        point.fillStyle = colours[name];
        point.fillRect(0, 0, 1, 1);
        ground.add(point.getImageData(0, 0, 1, 1).data.slice(0, 3).join());
    }
    const empty = [], top = ventry.pinned() - document.getElementById('scroll').scrollTop;
    let seen = 0;
    for (const row of ventry.rows()) {
        const y = top + row.y + 10;
        if (y >= canvas.clientHeight || y < ventry.pinned()) continue;
        seen++;
        const { data } = context.getImageData(152, y, canvas.width - 164, 1), found = new Set();
        for (let at = 0; at < data.length; at += 4) found.add(data.slice(at, at + 3).join());
        if ([...found].every((colour) => ground.has(colour))) empty.push(`task ${row.group.task} EL${row.el}`);
    }
    if (seen < 4) empty.push(`only ${seen} lanes are in view`);
    return empty;
    "
);

/// Boxes in view that have not their colour at two of their points, and the lanes that some were looked at in.
const PIXELS: &str = script!(
    "
    const canvas = document.getElementById('lanes'), context = probe(canvas.width, canvas.height), point = probe(1, 1);
    context.drawImage(canvas, 0, 0);
    const { left, top } = canvas.getBoundingClientRect(), { type, kind } = ventry.data.spans, colours = ventry.colours();
    const pixel = (context, x, y) => context.getImageData(x, y, 1, 1).data.slice(0, 3).join();
    const ink = (colour) => {
        point.fillStyle = colour;
        point.fillRect(0, 0, 1, 1);
        return pixel(point, 0, 0);
    };
    const wrong = [], seen = new Set(), ground = [ink(colours['bg-lane']), ink(colours.line)];
    for (const row of ventry.rows()) for (const track of row.tracks) for (const i of track.id) {
        const box = ventry.rect(i), from = Math.max(box.left - left, 152), to = Math.min(box.right - left, canvas.width);
        const y = Math.round(box.top - top) + 3;
        if (to - from < 5 || y < ventry.pinned() || y > canvas.height - 3) continue;
        seen.add(`task ${row.group.task} EL${row.el} depth ${row.depth}`);
        const found = [0.35, 0.65].map((part) => pixel(context, Math.round(from + (to - from) * part), y));
        const wanted = ink(colours[['user', ventry.data.kinds[kind[i]]?.class, 'handler', 'off', 'kernel'][type[i]]]);
        // Off the CPU is hatched: between two colours.
        const right = type[i] === 3 ? found.some((colour) => !ground.includes(colour)) : found.includes(wanted);
        if (!right) wrong.push(`${i}, of type ${type[i]}: ${found} instead of ${wanted}`);
    }
    return [wrong, [...seen]];
    "
);

/// Text on the page that contrasts too little with what is behind it.
const CONTRAST: &str = contrast!(
    "
    let seen = 0;
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const hint = element.placeholder;
        if ((!own && !hint) || !element.checkVisibility() || ['SCRIPT', 'STYLE'].includes(element.tagName)) continue;
        let ground = [0, 0, 0, 0], layers = [];
        for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
        ground = layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
        const ink = over(parse(getComputedStyle(element, hint ? '::placeholder' : null).color), ground);
        const found = contrast(ink, ground);
        if (found < 4.5) wrong.push(`${element.tagName} ${element.className} ${hint ?? element.textContent}: ${found}`);
        seen++;
    }
    if (seen < 40) wrong.push(`only ${seen} texts`);
    "
);

/// How far the colours of an interrupt and of its handler lie apart.
const APART: &str = r"(({ irq, handler }) => {
    const [a, b] = [irq, handler].map((colour) => colour.match(/[\d.]+/g).map(Number));
    return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
})(ventry.colours())";

/// Spans in whose panel a value is missing.
const VALUELESS: &str = r"[...ventry.data.spans.start.keys()].filter((i) => {
    ventry.select(i);
    return /(^|\s)(undefined|NaN|null)\b/.test(document.getElementById('panel').innerText);
})";

/// Colours of labels that contrast too little with the boxes they are on.
const CANVAS_CONTRAST: &str = contrast!(
    "
    const colours = ventry.colours();
    const fills = ['user', 'syscall', 'irq', 'handler', 'fault', 'serror', 'brk', 'other'];
    const pairs = fills.map((fill) => ['on-box', fill, colours[fill]]);
    for (const fill of ['off', 'off-line', 'kernel', 'bg', 'bg-lane']) pairs.push(['text-dim', fill, colours[fill]]);
    colours.tasks.forEach((fill, task) => pairs.push(['on-box', `task ${task}`, fill]));
    for (const [ink, name, fill] of pairs) {
        const found = contrast(parse(colours[ink]), parse(fill));
        if (found < 4.5) wrong.push(`${ink} on ${name}: ${found.toFixed(2)}`);
    }
    "
);
