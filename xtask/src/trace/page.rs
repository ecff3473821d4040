//! The page: the viewer with the trace in it, one file that needs no network.

use super::About;
use super::model::{Cost, Cpu, Frame, Instructions, Kind, Mark, Model, Span, Task, Told};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::io::Write;

/// The version of the data.
const SCHEMA: u32 = 1;

const INDEX: &str = include_str!("../../viewer/index.html");
const STYLE: &str = include_str!("../../viewer/style.css");
const SCRIPT: &str = include_str!("../../viewer/viewer.js");

/// What the page reads.
#[derive(Serialize)]
struct Data<'a> {
    schema: u32,
    #[serde(flatten)]
    about: &'a About,
    hypervisor: bool,
    end: u64,
    events: usize,
    lost: u64,
    strings: &'a [String],
    tasks: &'a [Task],
    kinds: &'a [Kind],
    spans: Columns,
    frames: &'a [Frame],
    marks: &'a [Mark],
    cpus: &'a [Cpu],
    reports: &'a [Told],
    costs: &'a [Cost],
}

/// The spans, column by column: much smaller than one by one.
#[derive(Serialize)]
struct Columns {
    task: Vec<usize>,
    el: Vec<u8>,
    depth: Vec<usize>,
    #[serde(rename = "type")]
    kind_of: Vec<u8>,
    start: Vec<u64>,
    end: Vec<u64>,
    open: Vec<u8>,
    /// In this and the others, -1 where there is none.
    kind: Vec<i64>,
    #[serde(rename = "self")]
    own: Vec<i64>,
    total: Vec<i64>,
    frame: Vec<i64>,
}

impl Columns {
    fn of(spans: &[Span]) -> Columns {
        fn column<T>(spans: &[Span], value: impl Fn(&Span) -> T) -> Vec<T> {
            spans.iter().map(value).collect()
        }
        let index = |index: Option<usize>| index.map_or(-1, |index| index as i64);
        let cost =
            |of: fn(Instructions) -> u64| column(spans, move |span| span.cost.map_or(-1, |cost| of(cost) as i64));
        Columns {
            task: column(spans, |span| span.task),
            el: column(spans, |span| span.el),
            depth: column(spans, |span| span.depth),
            kind_of: column(spans, |span| span.kind_of as u8),
            start: column(spans, |span| span.start),
            end: column(spans, |span| span.end),
            open: column(spans, |span| span.open.into()),
            kind: column(spans, |span| index(span.kind)),
            own: cost(|cost| cost.own),
            total: cost(|cost| cost.total),
            frame: column(spans, |span| index(span.frame)),
        }
    }
}

/// The data as the page reads them.
pub fn data(about: &About, model: &Model) -> Result<String> {
    let data = Data {
        schema: SCHEMA,
        about,
        hypervisor: model.hypervisor,
        end: model.end,
        events: model.events,
        lost: model.lost,
        strings: &model.strings,
        tasks: &model.tasks,
        kinds: &model.kinds,
        spans: Columns::of(&model.spans),
        frames: &model.frames,
        marks: &model.marks,
        cpus: &model.cpus,
        reports: &model.reports,
        costs: &model.costs,
    };
    serde_json::to_string(&data).context("the trace cannot be written as JSON")
}

/// The page.
pub fn html(about: &About, model: &Model) -> Result<String> {
    Ok(page(&packed(&data(about, model)?)?))
}

/// The data as the page holds it.
pub fn packed(json: &str) -> Result<String> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(json.as_bytes())?;
    Ok(STANDARD.encode(gzip.finish()?))
}

/// The viewer with its style, its script and this data in their places.
pub fn page(data: &str) -> String {
    let mut page = String::with_capacity(INDEX.len() + STYLE.len() + SCRIPT.len() + data.len());
    for line in INDEX.lines() {
        page.push_str(match line.trim() {
            "/*STYLE*/" => STYLE,
            "/*SCRIPT*/" => SCRIPT,
            "DATA" => data,
            _ => line,
        });
        page.push('\n');
    }
    page
}
