// The page of a trace. The data that the tool put into the page is unpacked and laid out in tracks: columns sorted by
// time, in which all that is drawn is found by binary search. One function paints what is in view, once a frame at
// most, and what is narrower than a pixel is drawn as one column, so that the work depends on the size of the window
// and not of the trace.
//
// Order: the data, what is made of it, words, the view, painting, what is under the pointer, the panel, the search, the
// costs, input. Names come from programs: they only ever become text nodes or canvas text.

const USER = 0, EXCEPTION = 1, HANDLER = 2, OFF = 3, KERNEL = 4;
const COLUMNS = ["task", "el", "depth", "type", "start", "end", "open", "kind", "self", "total", "frame"];

// Sizes in CSS pixels.
const LABELS = 152, EDGE = 12, RULER = 25, CPU = 20, MASKED = 5, STRIP = 13, ROW = 20, GAP = 9, OVERVIEW = 44;
const FONT = "11px ", SHORTEST = 16, ARROWS = 40, APART = 9, FAMILY = 40, LINES = 8;

const SIGNALS = {
  4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE",
  15: "SIGTERM",
};
const CLASSES = {
  syscall: "system call", irq: "interrupt", fault: "fault", serror: "SError", brk: "breakpoint",
  other: "other exception",
};
/** What the style sheet has a colour for that the canvas uses. */
const COLOURS = [
  "bg", "bg-lane", "line", "line-strong", "text", "text-dim", "accent", "danger", "good", "on-box", "user", "syscall",
  "irq", "handler", "fault", "serror", "brk", "other", "kernel", "off", "off-line", "masked",
];

const $ = (id) => document.getElementById(id);
const view = { start: 0, end: 1 };
const stats = { frames: 0, boxes: 0, labels: 0, marks: 0, arrows: 0 };
const state = {
  selection: null, hover: null, range: null, matches: [], hits: null, only: false, sort: { column: 6, falling: true },
};
let data, groups, shown, groupOf, cpus, model, wakes, colours, plot = { width: 1, height: 1 };

// The data.

/** What a person reads in place of the trace. */
class Problem extends Error {
  constructor(title, text, calm = false) {
    super(text);
    Object.assign(this, { title, calm });
  }
}

async function unpack(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Problem(
      "This browser is too old",
      "It has no DecompressionStream to unpack the trace with. Firefox has one from version 113, Safari from 16.4.",
    );
  }
  const again = "The file is damaged, or was cut short on its way. Make it again with cargo xtask trace.";
  let found;
  try {
    const packed = atob(text.trim());
    const bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
    const json = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    found = await new Response(json).json();
  } catch {
    throw new Problem("There is no trace in this page", again);
  }
  if (found.schema !== 1) {
    throw new Problem("This trace is of another version", `It says schema ${found.schema}; this page reads schema 1.`);
  }
  const lengths = new Set(COLUMNS.map((column) => found.spans?.[column]?.length));
  if (lengths.size !== 1 || lengths.has(undefined)) throw new Problem("The trace does not hang together", again);
  if (found.spans.start.length === 0) {
    throw new Problem(
      "Nothing was traced",
      "The machine ended before it took an exception. cargo xtask qemu with the same options shows what it said.",
      true,
    );
  }
  return found;
}

/** What is called what: a trace is of the kernel, or of the hypervisor, whose tasks are the vCPUs of its guests. */
const KERNEL_WORDS = {
  levels: ["EL0", "EL1"], task: "task", program: "program", below: "the program, at EL0", system: "the kernel",
  stack: "kernel stack", legend: {},
};
const HYPERVISOR_WORDS = {
  levels: ["guest", "EL2"], task: "vCPU", program: "guest", below: "the guest", system: "the hypervisor",
  stack: "hypervisor stack", legend: { user: "guest", kernel: "hypervisor, idle" },
};
const terms = () => (data.hypervisor ? HYPERVISOR_WORDS : KERNEL_WORDS);

// What is made of it.

/** Things of one lane that do not overlap, by time. */
class Track {
  constructor(ids, start, end) {
    this.id = Int32Array.from(ids);
    this.start = Float64Array.from(ids, start);
    this.end = Float64Array.from(ids, end);
    this.length = this.id.length;
    this.sum = new Float64Array(this.length + 1);
    for (let k = 0; k < this.length; k++) this.sum[k + 1] = this.sum[k] + this.end[k] - this.start[k];
  }
  /** The first one, from `from` on, that ends behind `t`. */
  after(t, from = 0) {
    let low = from, high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.end[middle] > t) high = middle; else low = middle + 1;
    }
    return low;
  }
  /** The one at `t`, or up to `slack` away from it; null where there is none. */
  at(t, slack = 0) {
    const k = this.after(t - slack);
    if (k < this.length - 1 && this.start[k + 1] <= t) return this.id[k + 1];
    return k < this.length && this.start[k] <= t + slack ? this.id[k] : null;
  }
}

/** A lane's spans are parted so that none overlap in a track: an outer span comes before those in it. */
function tracksOf(ids, { start, end }) {
  const parts = [];
  for (const i of ids) {
    let part = parts.find((part) => part.end <= start[i]);
    if (!part) parts.push(part = { ids: [], end: 0 });
    part.ids.push(i);
    part.end = end[i];
  }
  return parts.map(({ ids }) => new Track(ids, (i) => start[i], (i) => end[i]));
}

/** Per task its lanes, from top to bottom: EL0, then EL1 by depth. */
function layOut() {
  const { spans, marks, tasks } = data;
  const lanes = tasks.map(() => new Map()), marksOf = tasks.map(() => []);
  marks.forEach((mark, index) => marksOf[mark.task].push(index));
  for (let i = 0; i < model.length; i++) {
    const key = spans.el[i] ? 1 + spans.depth[i] : 0, lane = lanes[spans.task[i]];
    if (!lane.has(key)) lane.set(key, []);
    lane.get(key).push(i);
  }
  return tasks.map((task, index) => {
    const group = { task: index, y: 0, end: 0, rows: [], marks: marksOf[index] };
    for (const [key, ids] of [...lanes[index]].sort(([a], [b]) => a - b)) {
      group.rows.push({ group, el: key ? 1 : 0, depth: Math.max(key - 1, 0), y: 0, tracks: tracksOf(ids, spans) });
    }
    return group;
  }).filter((group) => group.rows.length || group.marks.length);
}

/** Puts the tasks below one another: all, or those that have something in view. */
function arrange() {
  const inView = (track) => track.start[track.after(view.start)] < view.end;
  shown = state.only ? groups.filter(({ rows }) => rows.some(({ tracks }) => tracks.some(inView))) : groups;
  let y = GAP;
  for (const group of shown) {
    group.y = y;
    group.rows.forEach((row, place) => { row.y = y + STRIP + place * ROW; });
    group.end = y + STRIP + Math.max(group.rows.length, 1) * ROW;
    y = group.end + GAP;
  }
  $("spacer").style.height = `${pinned() + y}px`;
}

/** Who is in whom, and where the exceptions of each kind are. */
function relate() {
  const { spans, kinds, tasks } = data;
  const length = spans.start.length;
  const none = () => new Int32Array(length).fill(-1);
  const related = { length, parent: none(), child: none(), sibling: none(), ofKind: kinds.map(() => []) };
  const open = tasks.map(() => []), last = none();
  for (let i = 0; i < length; i++) {
    if (spans.type[i] === EXCEPTION && spans.kind[i] >= 0) related.ofKind[spans.kind[i]].push(i);
    if (spans.el[i] === 0 || spans.type[i] === KERNEL) continue;
    const stack = open[spans.task[i]];
    while (stack.length && spans.end[stack.at(-1)] < spans.end[i]) stack.pop();
    const parent = stack.at(-1) ?? -1;
    related.parent[i] = parent;
    if (parent >= 0) {
      if (last[parent] < 0) related.child[parent] = i; else related.sibling[last[parent]] = i;
      last[parent] = i;
    }
    stack.push(i);
  }
  return related;
}

/** Per CPU who runs when, and where IRQs are masked. */
function schedule() {
  return data.cpus.map(({ index, running, masked }) => ({
    index,
    running: new Track([...running.keys()], (k) => running[k][0], (k) => running[k + 1]?.[0] ?? data.end),
    masked: new Track([...masked.keys()], (k) => masked[k][0], (k) => masked[k][1]),
  }));
}

/** The wake-ups of other tasks. */
function wakeUps() {
  const { marks } = data, ids = [];
  marks.forEach(({ type, other }, index) => { if (type === "wake" && other !== null) ids.push(index); });
  return new Track(ids, (index) => marks[index].t, (index) => marks[index].t);
}

function childrenOf(i) {
  const children = [];
  for (let child = model.child[i]; child >= 0; child = model.sibling[child]) children.push(child);
  return children;
}

function chainOf(i) {
  const chain = [i];
  while (model.parent[chain[0]] >= 0) chain.unshift(model.parent[chain[0]]);
  return chain;
}

function rowOf(i) {
  const { task, el, depth } = data.spans;
  return groupOf[task[i]]?.rows.find((row) => row.el === el[i] && row.depth === depth[i]);
}

/** The innermost thing that a task is in at `t`; null where it is not known to be in any. */
function innermost(task, t, wanted = () => true) {
  let found = null;
  for (const row of groupOf[task]?.rows ?? []) {
    for (const track of row.tracks) {
      const i = track.at(t);
      if (i !== null && wanted(i)) found = i;
    }
  }
  return found;
}

// Words.

const grouped = new Intl.NumberFormat("en");
const number = (n) => grouped.format(Math.round(n));
const plural = (n, word) => `${number(n)} ${word}${Math.round(n) === 1 ? "" : "s"}`;
const string = (index) => (index === null || index === undefined ? null : data.strings[index]);
const kindOf = (i) => data.kinds[data.spans.kind[i]] ?? { name: "exception", class: "other" };
const frameOf = (i) => data.frames[data.spans.frame[i]] ?? {};
const taskName = (index) => data.tasks[index].name + (data.hypervisor ? "" : ` (task ${data.tasks[index].id})`);

/** A count as short as an axis wants it, exact for multiples of `step`. */
function short(t, step) {
  const [letter, size] = step >= 1e5 && data.end >= 1e6 ? ["M", 1e6] : step >= 100 ? ["k", 1e3] : ["", 1];
  const places = Math.max(0, Math.ceil(Math.log10(size / step) - 1e-9));
  const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
  return t ? (t / size).toLocaleString("en", digits) + letter : "0";
}

function interruptName(kind) {
  return kind.name.includes(String(kind.number)) ? kind.name : `${kind.name} (irq ${kind.number})`;
}

/** What a box is called, the longest first. */
function names(i) {
  const { type, task } = data.spans;
  const kind = kindOf(i);
  switch (type[i]) {
    case USER: return [data.tasks[task[i]].name];
    case OFF: return ["off the CPU"];
    case KERNEL: return [data.tasks[task[i]].id === 0 ? "idle" : "kernel"];
    case HANDLER: return [`handler of ${kind.name}`, "handler"];
  }
  const { call, result } = frameOf(i);
  if (call) return result === null ? [call, kind.name] : [`${call} = ${result}`, call, kind.name];
  return kind.class === "irq" ? [interruptName(kind), kind.name] : [kind.name];
}

/** What a span costs, or how long it is. */
const lengthOf = (i) => (isCosted(i) ? data.spans.total[i] : data.spans.end[i] - data.spans.start[i]);
const isCosted = (i) => data.spans.type[i] === EXCEPTION && data.spans.total[i] >= 0;

function colourName(i) {
  const { type } = data.spans;
  return [, , "handler", "off", "kernel"][type[i]] ?? (type[i] === USER ? "user" : kindOf(i).class);
}

/** What a box is, for somebody who sees one for the first time. */
function inWords(i) {
  const { type, task, open, el } = data.spans;
  const who = taskName(task[i]), kind = kindOf(i), frame = frameOf(i);
  switch (type[i]) {
    case USER:
      return `The ${terms().program} of ${who} runs. The last steps of ${terms().system} back to it and its first ones of the next
        exception are drawn as part of this.`;
    case OFF: return `${who} is off the CPU, in the middle of what is around this box. Others run.`;
    case HANDLER:
      if (data.hypervisor) return `Interrupt ${kind.number} (${kind.name}) is acknowledged, and handled or injected.`;
      return `The handler of interrupt ${kind.number} (${kind.name}) runs, on the CPU's interrupt stack.`;
    case KERNEL:
      if (data.tasks[task[i]].id === 0) return `Nothing else can run: ${terms().system} waits for an interrupt.`;
      return `${terms().system[0].toUpperCase()}${terms().system.slice(1)} itself runs for ${who}, outside any exception.`;
  }
  const inside = terms().system + (model.parent[i] >= 0 ? `, inside ${names(model.parent[i]).at(-1)}` : "");
  const from = /^(el0|guest)/.test(frame.slot ?? "") ? terms().below : inside;
  const end = open[i] ? " It never returned by this way." : "";
  const away = childrenOf(i).some((child) => type[child] === OFF) ? " Other tasks ran before it was over." : "";
  if (kind.class === "syscall") return `${who} made system call ${kind.number}, ${kind.name}.${away}${end}`;
  const when = `while ${who} was running.${away}${end}`;
  if (kind.class === "irq") return `Interrupt ${kind.number} (${kind.name}) interrupted ${from}, ${when}`;
  const words = string(frame.words) ?? kind.name;
  return `${words[0]?.toUpperCase() ?? ""}${words.slice(1)}. Taken from ${from}, ${when}`;
}

function outcome() {
  const { exit, timed_out } = data;
  if (timed_out) return [`time was up (${exit})`, "warning"];
  if (exit === 121) return ["kernel panic (121)", "danger"];
  const signal = exit - 128, name = SIGNALS[signal];
  if (signal > 0) return [`killed by ${name ? name + ", " : ""}signal ${signal} (${exit})`, "danger"];
  return [`exit code ${exit}`, exit ? "warning" : ""];
}

// The view.

const scale = () => plot.width / (view.end - view.start);
const px = (t) => LABELS + (t - view.start) * scale();
const time = (x) => view.start + (x - LABELS) / scale();
/** What is at the right edge of the canvas: a little behind the end of the view. */
const edge = () => time(LABELS + plot.width + EDGE);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** Shows `length` instructions from `start` on, or as near to that as there are. */
function show(start, length) {
  const whole = Math.max(data.end, 1);
  length = clamp(length, Math.min(SHORTEST, whole), whole);
  view.start = clamp(start, 0, whole - length);
  view.end = view.start + length;
  if (state.only) arrange();
  remember();
  invalidate();
}

/** Zooms so that what is at `t` stays where it is. */
function zoom(factor, t = (view.start + view.end) / 2) {
  const old = view.end - view.start;
  const length = clamp(old * factor, Math.min(SHORTEST, data.end), Math.max(data.end, 1));
  show(t - (t - view.start) * (length / old), length);
}

const pan = (share) => show(view.start + share * (view.end - view.start), view.end - view.start);
const showAll = () => show(0, data.end);

function fit(start, end) {
  const margin = Math.max((end - start) * 0.08, 4);
  show(start - margin, end - start + 2 * margin);
}

/** Brings a span into view, as large as it takes to be seen. */
function reveal(i) {
  const start = data.spans.start[i], end = data.spans.end[i], length = end - start, shown = view.end - view.start;
  const apart = end < view.start || start > view.end, inside = start >= view.start && end <= view.end;
  if (length * scale() < 4) show(start - length * 8, Math.max(length, 1) * 17);
  else if (length > shown && apart) fit(start, end);
  else if (length <= shown && !inside) show((start + end - shown) / 2, shown);
  const row = rowOf(i), box = $("scroll"), room = box.clientHeight - pinned();
  if (row && (row.y - STRIP < box.scrollTop || row.y + ROW > box.scrollTop + room)) box.scrollTop = row.y - room / 2;
}

let remembering = 0;

/** Keeps view and selection in the address: once things are at rest, as browsers count how often that is done. */
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const { selection } = state;
    const chosen = selection ? `&${selection.what[0]}=${selection.index}` : "";
    history.replaceState(null, "", `#t=${Math.round(view.start)}-${Math.round(view.end)}${chosen}`);
  }, 200);
}

/** Takes up what the address says: whether it says anything. */
function recall() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const range = /^(\d+)-(\d+)$/.exec(parts.get("t") ?? "");
  if (range) show(Number(range[1]), Number(range[2]) - Number(range[1]));
  const lists = [["s", "span", data.spans.start], ["m", "mark", data.marks], ["r", "report", data.reports]];
  for (const [letter, what, list] of lists) {
    const index = Number(parts.get(letter) ?? NaN);
    if (Number.isInteger(index) && index >= 0 && index < list.length) {
      choose(what, index);
      if (what === "span" && !range) reveal(index);
      return true;
    }
  }
  return Boolean(range);
}

// Painting.

/** The colours as the style sheet has them at the moment; canvases know no variables. */
function readColours() {
  const probe = document.body.appendChild(document.createElement("i"));
  const read = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  colours = Object.fromEntries(COLOURS.map((name) => [name, read(name)]));
  probe.remove();
  // The golden angle keeps neighbours apart, however many tasks there are.
  const rest = isDark() ? "36% 31%" : "50% 82%";
  const ofTask = ({ id }, index) => (id === 0 ? colours.kernel : `hsl(${(205 + index * 137.5) % 360} ${rest})`);
  colours.tasks = data.tasks.map(ofTask);
  colours.sans = getComputedStyle(document.body).fontFamily;
  colours.hatch = hatch();
}

/** As the button said last; until then as the system does. */
function isDark() {
  const said = document.documentElement.style.colorScheme;
  return said ? said === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function hatch() {
  const tile = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const context = tile.getContext("2d");
  context.fillStyle = colours.off;
  context.fillRect(0, 0, 8, 8);
  context.strokeStyle = colours["off-line"];
  context.lineWidth = 1.5;
  for (const x of [-8, 0, 8]) {
    context.moveTo(x, 8);
    context.lineTo(x + 8, 0);
  }
  context.stroke();
  return context.createPattern(tile, "repeat");
}

const pinned = () => RULER + cpus.length * (CPU + MASKED + GAP);
let frame = 0;

function invalidate() {
  frame ||= requestAnimationFrame(paint);
}

function paint() {
  cancelAnimationFrame(frame);
  frame = 0;
  Object.assign(stats, { frames: stats.frames + 1, boxes: 0, labels: 0, marks: 0, arrows: 0 });
  paintLanes(prepare($("lanes")));
  paintOverview(prepare($("overview")));
}

/** A canvas of as many pixels as it has on the screen, empty, to be drawn to in CSS pixels. */
function prepare(canvas) {
  const density = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * density));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.fillStyle = colours.bg;
  context.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  context.textBaseline = "middle";
  context.font = FONT + colours.sans;
  return context;
}

function paintLanes(context) {
  const top = pinned(), scroll = $("scroll").scrollTop;
  context.save();
  context.beginPath();
  context.rect(0, top, plot.width + LABELS + EDGE, plot.height - top);
  context.clip();
  context.translate(0, top - scroll);
  const seen = shown.filter((group) => group.end > scroll && group.y < scroll + plot.height - top);
  for (const group of seen) paintGround(context, group);
  context.save();
  context.beginPath();
  context.rect(LABELS, scroll, plot.width + EDGE, plot.height);
  context.clip();
  paintGrid(context, scroll, plot.height);
  for (const group of seen) paintGroup(context, group);
  paintArrows(context);
  paintReports(context, scroll, plot.height);
  paintSelection(context);
  context.restore();
  for (const group of seen) paintName(context, group);
  context.restore();
  paintPinned(context, top);
  paintRange(context);
}

/** The steps of the ruler: 1, 2 or 5 of a power of ten, far enough apart to be labelled. */
function steps() {
  const least = 95 / scale(), power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  const step = Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= least) * power);
  const list = [];
  for (let t = Math.ceil(view.start / step) * step; t < edge(); t += step) list.push(t);
  return { step, list };
}

function paintGrid(context, y, height) {
  context.fillStyle = colours.line;
  for (const t of steps().list) context.fillRect(Math.round(px(t)), y, 1, height);
}

function paintGround(context, group) {
  for (const row of group.rows) {
    context.fillStyle = colours["bg-lane"];
    context.fillRect(LABELS, row.y, plot.width + EDGE, ROW - 1);
  }
}

function paintName(context, group) {
  const { name, id } = data.tasks[group.task];
  context.fillStyle = colours.tasks[group.task];
  context.fillRect(12, group.y + STRIP, 4, group.end - group.y - STRIP - 1);
  context.fillStyle = colours.text;
  context.font = `600 12px ${colours.sans}`;
  context.fillText(clip(context, name, LABELS - 62), 23, group.y + STRIP + ROW / 2);
  context.font = FONT + colours.sans;
  context.fillStyle = colours["text-dim"];
  const below = data.hypervisor ? "vCPU" : `task ${id}`;
  if (group.rows.length > 1) context.fillText(below, 23, group.y + STRIP + ROW * 1.5 - 2);
  context.textAlign = "right";
  let last = null;
  for (const row of group.rows) {
    // One label for all depths of EL1.
    if (row.el !== last) context.fillText(terms().levels[row.el], LABELS - 9, row.y + ROW / 2);
    last = row.el;
  }
  context.textAlign = "left";
  context.fillStyle = colours.line;
  context.fillRect(0, Math.round(group.end + GAP / 2), plot.width + LABELS + EDGE, 1);
}

function paintGroup(context, group) {
  for (const row of group.rows) {
    const box = (i, left, right) => paintBox(context, i, left, right, row.y);
    const fill = (i) => (data.spans.type[i] === OFF ? colours["off-line"] : colours[colourName(i)]);
    context.globalAlpha = state.hits ? 0.22 : 1;
    for (const track of row.tracks) paintTrack(context, track, row.y, ROW - 1, fill, box);
    context.globalAlpha = 1;
    for (const track of state.hits?.get(row) ?? []) paintTrack(context, track, row.y, ROW - 1, fill, box);
  }
  paintMarks(context, group);
}

/** Draws what of a track is in view: what has room by `box`, and of what is thinner a column for all that is in it, the
 *  fainter the less of its time they take. */
function paintTrack(context, track, y, height, fill, box) {
  const alpha = context.globalAlpha;
  let run = null;
  const flush = () => {
    if (!run) return;
    context.globalAlpha = alpha * run.share;
    context.fillStyle = run.fill;
    context.fillRect(run.left, y, run.right - run.left, height);
    context.globalAlpha = alpha;
    stats.boxes++;
    run = null;
  };
  for (let k = track.after(view.start); k < track.length && track.start[k] < edge();) {
    const left = px(track.start[k]), right = px(track.end[k]);
    if (right - left >= 2) {
      flush();
      box(track.id[k], left, right);
      stats.boxes++;
      k++;
      continue;
    }
    const column = Math.floor(left), next = track.after(time(column + 1), k + 1);
    const share = 0.4 + 0.2 * Math.min(3, Math.floor((track.sum[next] - track.sum[k]) * scale() * 4));
    const colour = fill(track.id[k]);
    if (run?.right === column && run.fill === colour && run.share === share) run.right++;
    else {
      flush();
      run = { left: column, right: column + 1, fill: colour, share };
    }
    k = next;
  }
  flush();
}

function paintBox(context, i, left, right, y) {
  const { type, open } = data.spans;
  const { x, width } = extent(left, right);
  context.fillStyle = type[i] === OFF ? colours.hatch : colours[colourName(i)];
  if (width > 7) {
    context.beginPath();
    context.roundRect(x, y, width, ROW - 1, 3);
    context.fill();
  } else context.fillRect(x, y, width, ROW - 1);
  if (open[i] && width > 9 && right <= LABELS + plot.width + EDGE) paintTorn(context, x + width, y);
  const ink = type[i] === OFF || type[i] === KERNEL ? "text-dim" : "on-box";
  paintLabel(context, () => names(i), x, width, y + ROW / 2, colours[ink]);
}

/** Where a box is drawn: without what is far out of view, and apart from its neighbour where there is room. */
function extent(left, right) {
  const x = Math.max(Math.round(left), LABELS - 4), end = Math.min(Math.round(right), LABELS + plot.width + EDGE + 4);
  return { x, width: Math.max(end - x - (end - x > 3 ? 1 : 0), 1) };
}

/** What a box is called, from its left end or from that of the view. */
function paintLabel(context, texts, x, width, y, ink) {
  const from = Math.max(x, LABELS) + 6, room = x + width - from - 5;
  const text = room > 11 && label(context, texts(), room);
  if (!text) return;
  context.fillStyle = ink;
  context.fillText(text, from, y);
  stats.labels++;
}

/** The right end of a box that never ended. */
function paintTorn(context, x, y) {
  context.fillStyle = colours["bg-lane"];
  context.beginPath();
  context.moveTo(x, y);
  for (let tooth = 0; tooth < 4; tooth++) {
    context.lineTo(x - 4, y + (tooth + 0.5) * (ROW - 1) / 4);
    context.lineTo(x, y + (tooth + 1) * (ROW - 1) / 4);
  }
  context.fill();
}

const widths = new Map();

function widthOf(context, text) {
  const key = context.font + text;
  if (!widths.has(key)) {
    if (widths.size > 20000) widths.clear();
    widths.set(key, context.measureText(text).width);
  }
  return widths.get(key);
}

/** The longest of `texts` that has room, or as much of the last as has. */
function label(context, texts, room) {
  return texts.find((text) => widthOf(context, text) <= room) ?? clip(context, texts.at(-1), room);
}

function clip(context, text, room) {
  const width = widthOf(context, text);
  if (width <= room) return text;
  let letters = Math.floor(text.length * room / width);
  while (letters >= 4 && widthOf(context, text.slice(0, letters) + "…") > room) letters--;
  return letters >= 4 ? text.slice(0, letters) + "…" : "";
}

/** The marks in view, none nearer than some pixels to the one before. */
function* marksInView(group, apart) {
  const { marks } = data;
  let low = 0, high = group.marks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (marks[group.marks[middle]].t >= view.start) high = middle; else low = middle + 1;
  }
  let x = -Infinity;
  for (let k = low; k < group.marks.length && marks[group.marks[k]].t < edge(); k++) {
    const at = px(marks[group.marks[k]].t);
    if (at - x < apart && marks[group.marks[k]].type !== "report") continue;
    yield [group.marks[k], x = at];
  }
}

function paintMarks(context, group) {
  for (const [index, x] of marksInView(group, APART)) {
    stats.marks++;
    glyph(context, data.marks[index].type, x, group.y + STRIP / 2);
  }
}

/** One shape for what a task does, another for what is done to it; colour only says it again. */
function glyph(context, type, x, y) {
  const shapes = {
    wake: ["good", [[0, -4], [4, 3], [-4, 3]]],
    preempt: ["irq", [[-4, -3], [4, -3], [0, 4]], true],
    switch: ["text-dim", [[-3, -3], [1, 0], [-3, 3]]],
    signal: ["brk", [[0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]], true],
    deliver: ["fault", [[0, -4.5], [4.5, 0], [0, 4.5], [-4.5, 0]], true],
    spawn: ["good", [
      [-1, -4], [1, -4], [1, -1], [4, -1], [4, 1], [1, 1], [1, 4], [-1, 4], [-1, 1], [-4, 1], [-4, -1], [-1, -1],
    ]],
    exec: ["accent", [[-3.5, -4], [4, 0], [-3.5, 4]]],
    end: ["text", [[-3.5, -3.5], [3.5, -3.5], [3.5, 3.5], [-3.5, 3.5]]],
    report: ["danger", [[-1, -5], [7, -2.5], [0.5, 0], [0.5, 6], [-1, 6]]],
    drop: ["irq", [[-4, -3], [4, -3], [0, 4]]],
    inject: ["good", [[0, -4], [4, 3], [-4, 3]], true],
    list_register: ["accent", [[-2, -4], [4, -4], [4, 4], [-2, 4]]],
    read_back: ["text-dim", [[-4, -4], [2, -4], [2, 4], [-4, 4]]],
  };
  const [colour, points, outlined] = shapes[type] ?? shapes.switch;
  context.beginPath();
  for (const [dx, dy] of points) context.lineTo(x + dx, y + dy);
  context.closePath();
  context.fillStyle = colours[colour];
  context.fill();
  if (outlined) {
    context.strokeStyle = colours.text;
    context.lineWidth = 1;
    context.stroke();
  }
}

/** From who wakes to who is woken, while they are few enough to be told apart. */
function paintArrows(context) {
  const first = wakes.after(view.start), last = wakes.after(edge());
  if (last - first > ARROWS) return;
  const list = [];
  for (let k = first; k < last; k++) {
    const { t, task, other } = data.marks[wakes.id[k]], from = groupOf[task], to = groupOf[other];
    if (shown.includes(to) && to !== from) list.push([px(t), from.y + STRIP / 2, to.y + (to.y > from.y ? 2 : STRIP)]);
  }
  context.strokeStyle = context.fillStyle = colours.good;
  context.lineWidth = 1;
  for (const [x, from, to] of list) {
    const back = Math.sign(from - to) * 5;
    context.beginPath();
    context.moveTo(x, from);
    context.lineTo(x, to + back);
    context.stroke();
    context.beginPath();
    context.moveTo(x, to);
    context.lineTo(x - 3, to + back);
    context.lineTo(x + 3, to + back);
    context.fill();
    stats.arrows++;
  }
}

function paintReports(context, y, height) {
  const seen = data.reports.filter(({ t }) => t >= view.start && t < edge());
  // Their flags are there anyway; more lines would hide what they cross.
  if (seen.length > LINES) return;
  context.fillStyle = colours.danger;
  for (const { t } of seen) context.fillRect(Math.round(px(t)), y, 1, height);
}

function paintSelection(context) {
  for (const [what, width] of [[state.hover, 1], [state.selection, 2]]) {
    if (what?.what === "span") {
      const row = rowOf(what.index), { start, end } = data.spans;
      if (!shown.includes(row.group)) continue;
      const { x, width: wide } = extent(px(start[what.index]), px(end[what.index]));
      context.strokeStyle = width === 2 ? colours.accent : colours.text;
      context.lineWidth = width;
      context.beginPath();
      context.roundRect(x - 0.5, row.y - 0.5, Math.max(wide + 1, 3), ROW, 3);
      context.stroke();
    } else if (what?.what === "mark" || what?.what === "report") {
      const { t, task } = what.what === "mark" ? data.marks[what.index] : data.reports[what.index];
      const group = groupOf[task];
      if (!shown.includes(group)) continue;
      context.strokeStyle = colours.accent;
      context.lineWidth = width;
      context.beginPath();
      context.arc(px(t), group.y + STRIP / 2, 7, 0, 7);
      context.stroke();
    }
  }
}

/** The ruler and the CPUs, which stay when tasks are scrolled. */
function paintPinned(context, height) {
  context.fillStyle = colours.bg;
  context.fillRect(0, 0, LABELS + plot.width + EDGE, height);
  const { step, list } = steps();
  context.fillStyle = colours["text-dim"];
  context.fillText("instructions", 23, RULER / 2);
  context.save();
  context.beginPath();
  context.rect(LABELS, 0, plot.width + EDGE, height);
  context.clip();
  for (const t of list) {
    const x = Math.round(px(t)), text = short(t, step);
    context.fillStyle = colours.line;
    context.fillRect(x, RULER - 7, 1, height);
    context.fillStyle = colours["text-dim"];
    if (x + 5 + widthOf(context, text) < LABELS + plot.width + EDGE) context.fillText(text, x + 5, RULER / 2);
  }
  cpus.forEach((cpu, index) => paintCpu(context, cpu, cpuTop(index)));
  paintReports(context, RULER - 7, height);
  context.restore();
  cpus.forEach((cpu, index) => {
    context.fillStyle = colours.text;
    context.font = `600 12px ${colours.sans}`;
    context.fillText(`CPU ${cpu.index}`, 23, cpuTop(index) + CPU / 2);
    context.font = FONT + colours.sans;
  });
  context.fillStyle = colours["line-strong"];
  context.fillRect(0, height - 1, LABELS + plot.width + EDGE, 1);
}

const cpuTop = (index) => RULER + index * (CPU + MASKED + GAP);

function paintCpu(context, cpu, y) {
  const task = (k) => data.cpus[cpus.indexOf(cpu)].running[k][1];
  paintTrack(context, cpu.running, y, CPU, (k) => colours.tasks[task(k)], (k, left, right) => {
    const { x, width } = extent(left, right);
    context.fillStyle = colours.tasks[task(k)];
    context.fillRect(x, y, width, CPU);
    paintLabel(context, () => [taskName(task(k)), data.tasks[task(k)].name], x, width, y + CPU / 2, colours["on-box"]);
  });
  const masked = (k, left, right) => {
    context.fillStyle = colours.masked;
    context.fillRect(left, y + CPU + 2, right - left, MASKED - 1);
  };
  paintTrack(context, cpu.masked, y + CPU + 2, MASKED - 1, () => colours.masked, masked);
}

function paintRange(context) {
  if (!state.range) return;
  const [from, to] = state.range.toSorted((a, b) => a - b), left = px(from), width = px(to) - left;
  context.globalAlpha = 0.16;
  context.fillStyle = colours.accent;
  context.fillRect(left, 0, width, plot.height);
  context.globalAlpha = 1;
  const text = plural(to - from, "instruction"), room = widthOf(context, text) + 16;
  const x = clamp(left + width / 2 - room / 2, LABELS, LABELS + plot.width - room);
  context.beginPath();
  context.roundRect(x, 3, room, 19, 5);
  context.fill();
  context.fillStyle = colours.bg;
  context.fillText(text, x + 8, 13);
}

/** The whole trace: who runs, what for, and what was found. Each column shows what there is in its middle; reports and
 *  matches are never left out. */
function paintOverview(context) {
  const at = (t) => LABELS + (t / Math.max(data.end, 1)) * plot.width;
  for (let x = 0; x < plot.width; x++) {
    const t = ((x + 0.5) / plot.width) * data.end, k = cpus[0]?.running.at(t);
    if (k === null || k === undefined) continue;
    const task = data.cpus[0].running[k][1], i = innermost(task, t, (i) => data.spans.type[i] !== OFF);
    context.fillStyle = colours.tasks[task];
    context.fillRect(LABELS + x, 6, 1, 13);
    context.fillStyle = i === null ? colours.bg : colours[colourName(i)];
    context.fillRect(LABELS + x, 20, 1, 13);
  }
  const ticks = (times, colour, y, height) => {
    let last = -1;
    context.fillStyle = colour;
    for (const t of times) {
      const x = Math.round(at(t));
      if (x !== last) context.fillRect(x, y, 2, height);
      last = x;
    }
  };
  ticks(state.matches.map((i) => data.spans.start[i]), colours.accent, 35, 6);
  ticks(data.reports.map(({ t }) => t), colours.danger, 2, data.reports.length > LINES ? 5 : OVERVIEW - 4);
  context.fillStyle = colours["text-dim"];
  context.fillText("the whole trace", 23, OVERVIEW / 2);
  const left = at(view.start), right = Math.max(at(view.end), left + 2);
  context.globalAlpha = 0.68;
  context.fillStyle = colours.bg;
  context.fillRect(LABELS, 0, left - LABELS, OVERVIEW);
  context.fillRect(right, 0, LABELS + plot.width - right, OVERVIEW);
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.lineWidth = 1.5;
  context.beginPath();
  context.roundRect(left - 0.5, 1.5, right - left + 1, OVERVIEW - 4, 4);
  context.stroke();
}

// What is under the pointer.

/** What there is at a point of the lanes: { what, index }, null for nothing. */
function hit(x, y) {
  if (x < LABELS) return null;
  const t = time(x), slack = 2 / scale();
  if (y < pinned()) {
    const index = Math.floor((y - RULER) / (CPU + MASKED + GAP)), cpu = y >= RULER && cpus[index];
    if (!cpu) return null;
    const what = y - cpuTop(index) < CPU ? "running" : "masked", k = cpu[what].at(t, slack);
    return k === null ? null : { what, index: k, cpu: index };
  }
  y += $("scroll").scrollTop - pinned();
  const group = shown.find((group) => y >= group.y && y < group.end);
  if (group && y < group.y + STRIP) {
    const near = [...marksInView(group, APART)].find(([, at]) => Math.abs(at - x) <= APART / 2 + 2);
    return near ? { what: "mark", index: near[0] } : null;
  }
  const row = group?.rows.find((row) => y >= row.y && y < row.y + ROW);
  for (const track of row?.tracks.toReversed() ?? []) {
    const index = track.at(t, slack);
    if (index !== null) return { what: "span", index };
  }
  return null;
}

/** The lines of a tooltip, the first the heading. */
function tip({ what, index, cpu }) {
  const { spans, marks } = data;
  if (what === "mark") return [marks[index].text, `at ${number(marks[index].t)}, ${taskName(marks[index].task)}`];
  if (what === "running") {
    const { start, end } = cpus[cpu].running;
    const from = `from ${number(start[index])}, for ${plural(end[index] - start[index], "instruction")}`;
    return [`${taskName(data.cpus[cpu].running[index][1])} runs`, from];
  }
  if (what === "masked") {
    const [start, end, off, on] = data.cpus[cpu].masked[index];
    const sites = [["masked", string(off)], ["unmasked", string(on)]].filter(([, site]) => site);
    const lines = [`IRQs masked for ${plural(end - start, "instruction")}`, `from ${number(start)}`];
    return [...lines, ...sites.map(([word, site]) => `${word} at ${site}`)];
  }
  const kind = spans.type[index] === EXCEPTION ? `${CLASSES[kindOf(index).class]}, ${frameOf(index).slot ?? ""}` : null;
  const from = `from ${number(spans.start[index])}${spans.open[index] ? ", never ended" : ""}`;
  const length = plural(lengthOf(index), "instruction");
  const cost = isCosted(index) ? `self ${number(spans.self[index])} of ${length}` : `${length} long`;
  return [names(index)[0], ...(kind ? [kind] : []), from, cost];
}

function showTip(x, y, lines) {
  const box = $("tooltip");
  box.hidden = !lines;
  if (!lines) return;
  box.replaceChildren(make("b", {}, lines[0]), ...lines.slice(1).map((line) => make("p", {}, line)));
  box.style.left = `${Math.min(x + 14, innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${y + 18 + box.offsetHeight > innerHeight ? y - box.offsetHeight - 10 : y + 18}px`;
}

// The panel.

/** An element. Properties that begin with `on` are listeners; children are elements or text, never markup. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function swatch(colour) {
  const drawn = ["off", "masked"].includes(colour);
  const element = make("span", { class: drawn ? `swatch ${colour}` : "swatch" });
  if (!drawn) element.style.background = colour.includes("(") ? colour : `var(--${colour})`;
  return element;
}

const button = (text, onclick, properties = {}) => make("button", { type: "button", onclick, ...properties }, text);
const paragraph = (...children) => make("p", { class: "lead" }, children);

/** A line of a list: what it is, a figure, and where it leads. */
function line(colour, text, figure, onclick) {
  return make("button", { type: "button", onclick }, swatch(colour), make("span", {}, text), make("span", {}, figure));
}

/** The first of some lines, and how many there are more. */
function lines(list, most = 12) {
  const rest = list.length - most;
  return make("div", {},
    make("ul", { class: "chain" }, list.slice(0, most).map((line) => make("li", {}, line))),
    rest > 0 && make("p", { class: "dim" }, `and ${number(rest)} more`));
}

/** A name and its value; nothing where there is none. */
function entry(name, value, mono = false) {
  if (value === null || value === undefined || value === "") return [];
  return [make("dt", {}, name), make("dd", { class: mono ? "mono" : null }, value)];
}

/** Selects a span, a mark or a report, and tells all of it in the panel. */
function choose(what, index) {
  state.selection = what === null ? null : { what, index };
  const content = { span: spanDetails, mark: markDetails, report: reportDetails }[what] ?? introduction;
  $("main").classList.toggle("reading", what === "report" || (what === "mark" && data.marks[index].report !== null));
  $("panel").replaceChildren(...content(index).filter(Boolean));
  $("panel").scrollTop = 0;
  $("said").textContent = $("panel").querySelector("h2")?.textContent ?? "";
  remember();
  invalidate();
}

function select(i) {
  choose("span", i);
  reveal(i);
}

/** What a box leaves out. */
const WAY = `A box begins once the registers are saved and ends before they are put back. The few instructions around it,
  from the vector slot on and up to eret, are drawn as part of the code that was interrupted; what an exception costs
  counts them.`;

function introduction() {
  const spent = data.tasks.map(() => 0);
  for (const [cpu, { running }] of data.cpus.entries()) {
    const { start, end } = cpus[cpu].running;
    running.forEach(([, task], k) => { spent[task] += end[k] - start[k]; });
  }
  const whole = Math.max(spent.reduce((a, b) => a + b, 0), 1);
  const share = (task) => `${number(spent[task])}, ${(100 * spent[task] / whole).toFixed(1)} %`;
  const byShare = groups.toSorted((a, b) => spent[b.task] - spent[a.task]);
  const find = (task) => () => searchFor(`task ${data.tasks[task].id}`);
  return [
    make("h2", {}, "What you see"),
    paragraph(`Each ${terms().task} has a lane for its ${terms().program}, ${terms().levels[0]}, and under it lanes for
      ${terms().system}, ${terms().levels[1]}: one box for each exception, and in it what came in between. Time runs to the
      right, in instructions.`),
    paragraph(WAY),
    paragraph(`Click a box: its registers, its syndrome in words and the source line are shown here. The wheel zooms,
      dragging moves, `, make("kbd", {}, "?"), " tells the keys."),
    make("h3", {}, `${data.hypervisor ? "vCPUs" : "Tasks"}, and their share of the instructions`),
    lines(byShare.map(({ task }) => line(colours.tasks[task], taskName(task), share(task), find(task)))),
    data.reports.length > 0 && make("h3", {}, "Reports"),
    lines(data.reports.map(({ text, t }, index) => {
      return line("fault", text.split("\n")[0], number(t), () => toReport(index));
    })),
  ];
}

function spanDetails(i) {
  const { spans } = data, frame = frameOf(i), start = spans.start[i], end = spans.end[i];
  const costs = { self: spans.self[i], total: spans.total[i], start };
  const figures = isCosted(i) ? costs : { long: end - start, start, end };
  const figure = ([name, value]) => make("div", {}, make("b", {}, number(value)), make("span", {}, name));
  const fields = string(frame.fields);
  return [
    make("h2", {}, swatch(colourName(i)), frame.call ? make("code", {}, frame.call) : make("span", {}, names(i)[0])),
    paragraph(inWords(i)),
    make("div", { class: "costs" }, Object.entries(figures).map(figure)),
    peerButtons(i),
    make("dl", {},
      entry("Result", frame.result ?? null, true),
      entry(data.hypervisor ? "vCPU" : "Task", taskName(spans.task[i])),
      entry(kindOf(i).class === "syscall" ? "Called at" : "Interrupted at", string(frame.at), true),
      entry("Returned to", string(frame.returned), true),
      entry("Slot", frame.slot, true),
      entry("Frame at", frame.frame && `${frame.frame}, on the ${terms().stack} of ${taskName(spans.task[i])}`, true),
      entry("PSTATE", string(frame.pstate), true),
      entry("ESR", frame.esr, true),
      entry("In words", kindOf(i).class === "syscall" ? string(frame.words) : null),
      entry("FAR", frame.far, true)),
    family("Where it is", chainWithUser(i), i, true),
    family("In it", childrenOf(i), i),
    fields && make("h3", {}, "The syndrome, field by field"),
    fields && fieldTable(fields),
    frame.regs && make("h3", {}, "Registers saved in the frame"),
    frame.regs && registers(frame.regs),
  ];
}

/** What is around a span, from the outside; first the stretch of the program that an exception from EL0 interrupted. */
function chainWithUser(i) {
  const chain = chainOf(i), first = chain[0];
  if (!frameOf(first).slot?.startsWith("el0")) return chain;
  const program = groupOf[data.spans.task[i]].rows.find((row) => row.el === 0);
  const user = program?.tracks[0].at(data.spans.start[first] - 1, 1) ?? null;
  return user === null ? chain : [user, ...chain];
}

/** Spans to go to. The chain is indented, as one is in the other. */
function family(title, members, here, indented) {
  if (members.length === 0 || (members.length === 1 && members[0] === here)) return null;
  const item = (i, depth) => {
    const button = line(colourName(i), names(i)[0], number(lengthOf(i)), () => select(i));
    if (indented) button.style.marginLeft = `${depth * 12 - 6}px`;
    if (i === here) button.setAttribute("aria-current", "true");
    return button;
  };
  return make("div", {}, make("h3", {}, title), lines(members.map(item), FAMILY));
}

/** All of the same kind, or, of what is no exception, of the same sort in the same task. */
function peersOf(i) {
  const { type, kind, task } = data.spans;
  if (type[i] === EXCEPTION && kind[i] >= 0) return model.ofKind[kind[i]];
  return Array.from(type.keys()).filter((other) => type[other] === type[i] && task[other] === task[i]);
}

function peerButtons(i) {
  const peers = peersOf(i), place = peers.indexOf(i);
  const go = (text, to, title) => button(text, () => select(to), { title, disabled: to === undefined ? "" : null });
  return make("div", { class: "actions" },
    go("‹ previous", peers[place - 1], "The one before of the same kind ([)"),
    go("next ›", peers[place + 1], "The next of the same kind (])"),
    button("fit", () => fitSelection(), { title: "Fill the view with it (f)" }),
    make("span", { class: "dim" }, `${number(place + 1)} of ${number(peers.length)}`));
}

/** The tool's table as a table whose words wrap; as it is, should it look otherwise. */
function fieldTable(text) {
  const columns = (line) => /^ *(\S+) +(\S+) +(\S+) +(.+)$/.exec(line)?.slice(1);
  const [head, ...rest] = text.trimEnd().split("\n").map(columns);
  if (!head || rest.includes(undefined)) return make("pre", { tabindex: 0 }, text);
  const row = (cells, tag) => make("tr", {}, cells.map((cell) => make(tag, {}, cell)));
  return make("table", { class: "fields" },
    make("thead", {}, row(head.map((word) => word.toLowerCase()), "th")),
    make("tbody", {}, rest.map((cells) => row(cells, "td"))));
}

function registers(text) {
  const name = (n) => (n < 31 ? `x${n}` : ["sp", "pc", "pstate"][n - 31]);
  const register = (value, n) => {
    const zero = /^0+$/.test(value) ? "zero" : null;
    return make("div", { class: zero }, make("dt", {}, name(n)), make("dd", {}, value.padStart(16, "0")));
  };
  return make("dl", { class: "registers" }, text.trim().split(/\s+/).map(register));
}

function markDetails(index) {
  const mark = data.marks[index];
  if (mark.report !== null && mark.report !== undefined) return reportDetails(mark.report);
  const around = innermost(mark.task, mark.t);
  return [
    make("h2", {}, mark.text),
    paragraph(`${taskName(mark.task)}, at ${number(mark.t)}.`),
    mark.other !== null && paragraph(`The other task is ${taskName(mark.other)}.`),
    around !== null && family("Where it is", chainWithUser(around), null, true),
  ];
}

function reportDetails(index) {
  const report = data.reports[index], { t, task, kind } = report;
  const names = { panic: "Kernel panic", death: "Death of a program", warning: "Warning of the kernel" };
  const about = exceptionOf(report);
  return [
    make("h2", {}, swatch("fault"), make("span", {}, names[kind] ?? kind)),
    paragraph(`${taskName(task)}, at ${number(t)}; report ${index + 1} of ${data.reports.length}`),
    make("div", { class: "actions" },
      button("show where", () => showWhere(report)),
      about !== null && button("the exception it was written in", () => select(about)),
      index > 0 && button("‹ previous report", () => toReport(index - 1)),
      index + 1 < data.reports.length && button("next report ›", () => toReport(index + 1))),
    make("h3", {}, "The report"),
    make("pre", { tabindex: 0, "aria-label": "The report", class: "report" }, report.text),
  ];
}

/** The exception that a report was written in, also where nothing came after it; null where there is none. */
function exceptionOf({ t, task }) {
  const { type, start, end, open, task: of } = data.spans;
  const i = start.findLastIndex((from, i) => {
    return of[i] === task && type[i] === EXCEPTION && from <= t && (end[i] > t || (open[i] && end[i] === t));
  });
  return i < 0 ? null : i;
}

/** Shows how it came to a report: the beginning of the exception, as writing the report takes long. */
function showWhere(report) {
  const about = exceptionOf(report), t = about === null ? report.t : data.spans.start[about];
  fit(t - 3000, t + 600);
}

function toReport(index) {
  const { t } = data.reports[index];
  choose("report", index);
  if (t < view.start || t > view.end) show(t - (view.end - view.start) / 2, view.end - view.start);
}

function fitSelection() {
  const { selection } = state;
  if (selection?.what === "span") fit(data.spans.start[selection.index], data.spans.end[selection.index]);
  else if (selection) {
    const { t } = selection.what === "mark" ? data.marks[selection.index] : data.reports[selection.index];
    fit(t - 2000, t + 2000);
  }
}

// The search.

let haystacks = null;

/** What free words are looked for in, by frame. */
function haystack(i) {
  const joined = (...parts) => parts.filter(Boolean).join("\n").toLowerCase();
  const texts = ({ call, result, slot, words, at }) => joined(call, result, slot, string(words), string(at));
  haystacks ??= data.frames.map(texts);
  const { task, frame } = data.spans, kind = kindOf(i);
  return joined(kind.name, CLASSES[kind.class], data.tasks[task[i]].name, haystacks[frame[i]]);
}

/** A condition for each part of a query: `irq 27`, `task 3`, a class, a kind's or a task's name, a word anywhere. */
function conditions(text) {
  const { spans, kinds, tasks } = data;
  const found = [];
  const where = (list, wanted) => new Set(list.flatMap((one, index) => (wanted(one) ? [index] : [])));
  const ofKinds = (wanted) => {
    const set = where(kinds, wanted);
    return (i) => set.has(spans.kind[i]);
  };
  const named = (word) => {
    const called = ({ name }) => name.toLowerCase() === word;
    const kindSet = where(kinds, called), taskSet = where(tasks, called);
    return kindSet.size + taskSet.size ? (i) => kindSet.has(spans.kind[i]) || taskSet.has(spans.task[i]) : null;
  };
  text = text.trim().toLowerCase();
  const whole = named(text);
  if (whole) return [whole];
  const rest = text.replace(/\b(irq|task|syscall)\s+(\S+)/g, (_, what, value) => {
    const is = (number, name) => String(number) === value || name.toLowerCase() === value;
    if (what === "task") {
      const set = where(tasks, ({ id, name }) => is(id, name));
      found.push((i) => set.has(spans.task[i]));
    } else found.push(ofKinds((kind) => kind.class === what && is(kind.number, kind.name)));
    return " ";
  });
  for (const word of rest.split(/\s+/).filter(Boolean)) {
    if (Object.hasOwn(CLASSES, word)) found.push(ofKinds((kind) => kind.class === word));
    else found.push(named(word) ?? ((i) => haystack(i).includes(word)));
  }
  return found;
}

/** Finds exceptions, shows how many, and dims the rest. */
function search(text) {
  const { spans } = data;
  state.matches = [];
  state.hits = null;
  const wanted = conditions(text);
  if (wanted.length) {
    const all = spans.type.keys();
    state.matches = [...all].filter((i) => spans.type[i] === EXCEPTION && wanted.every((holds) => holds(i)));
    const found = new Set(state.matches);
    const matching = ({ id }) => new Track(id.filter((i) => found.has(i)), (i) => spans.start[i], (i) => spans.end[i]);
    state.hits = new Map(groups.flatMap(({ rows }) => rows.map((row) => [row, row.tracks.map(matching)])));
  }
  tellMatches();
  invalidate();
  return state.matches;
}

function tellMatches() {
  const { matches, selection, hits } = state, count = number(matches.length);
  const place = selection?.what === "span" ? matches.indexOf(selection.index) : -1;
  const found = place >= 0 ? `${number(place + 1)} / ${count}` : matches.length ? count : "none";
  $("count").textContent = hits ? found : "";
  $("count").classList.toggle("none", Boolean(hits) && matches.length === 0);
  $("next").disabled = $("previous").disabled = matches.length === 0;
}

/** Goes to the next match, from what is selected or else from the left of the view. */
function step(by) {
  const { matches, selection } = state;
  if (!matches.length) return;
  let place = selection?.what === "span" ? matches.indexOf(selection.index) : -1;
  if (place >= 0) place += by;
  else {
    const first = matches.findIndex((i) => data.spans.end[i] >= view.start);
    place = by > 0 ? first : first - 1;
  }
  select(matches[(place + matches.length) % matches.length]);
  tellMatches();
}

function searchFor(text) {
  $("query").value = text;
  search(text);
}

// The costs.

const COST_COLUMNS = [
  ["exception", ({ kind }) => data.kinds[kind].name],
  ["class", ({ kind }) => CLASSES[data.kinds[kind].class]],
  ["count", ({ count }) => count],
  ["self min", ({ self }) => self.min],
  ["median", ({ self }) => self.median],
  ["max", ({ self }) => self.max],
  ["self sum", ({ self }) => self.sum],
  ["total sum", ({ total }) => total.sum],
];

function showCosts() {
  const { column, falling } = state.sort, value = COST_COLUMNS[column][1];
  const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b) * (falling ? -1 : 1);
  const sorted = data.costs.toSorted((a, b) => order(value(a), value(b)));
  const most = Math.max(1, ...data.costs.map(({ self }) => self.sum));
  const sortBy = (index) => {
    state.sort = { column: index, falling: index === column ? !falling : index > 1 };
    showCosts();
    $("table").querySelectorAll("th button")[index].focus();
  };
  const head = ([name], index) => {
    const sorting = index === column;
    const [arrow, direction] = falling ? [" ↓", "descending"] : [" ↑", "ascending"];
    const properties = { scope: "col", class: index === 1 ? "class" : null, "aria-sort": sorting ? direction : null };
    return make("th", properties, button(sorting ? name + arrow : name, () => sortBy(index)));
  };
  $("table").tHead.replaceChildren(make("tr", {}, COST_COLUMNS.map(head), make("th", { "aria-label": "Share" })));
  const none = make("td", { colspan: COST_COLUMNS.length + 1 }, "No exception both began and ended in this trace.");
  const rows = sorted.length ? sorted.map((cost) => costRow(cost, most)) : [make("tr", { class: "none" }, none)];
  $("table").tBodies[0].replaceChildren(...rows);
}

function costRow(cost, most) {
  const kind = data.kinds[cost.kind], bar = make("span", { class: "bar" });
  const named = kind.class === "irq" ? interruptName(kind) : kind.name;
  Object.assign(bar.style, { width: `${100 * cost.self.sum / most}%`, background: `var(--${kind.class})` });
  const find = button("", () => {}, { title: `Find ${named}` });
  find.append(swatch(kind.class), named);
  // The click of the button is the row's too.
  return make("tr", { onclick: () => searchFor(kind.name) },
    make("td", {}, find),
    make("td", { class: "class" }, CLASSES[kind.class]),
    COST_COLUMNS.slice(2).map(([, value]) => make("td", {}, number(value(cost)))),
    make("td", { class: "share" }, bar));
}

// Input.

const KEYS = [
  [["wheel", "w", "s", "+", "−"], "zoom, the wheel and a pinch at the pointer"],
  [["drag", "a", "d", "←", "→"], "pan; Shift and the wheel too"],
  [["↑", "↓"], "scroll the tasks"],
  [["0"], "show all"],
  [["click"], "select; a flag shows its report; on the CPU: scroll to the task"],
  [["double-click", "f"], "fill the view with a box"],
  [["[", "]"], "the previous, the next of the same kind"],
  [[",", "."], "the exception before, the one after, of any kind"],
  [["Shift drag"], "measure, in instructions; on the ruler without Shift"],
  [["/"], "search; Enter and Shift Enter, or n and N, step through what was found"],
  [["Esc"], "end the search, then the selection"],
];

const SEARCHES = [
  ["write", "a system call, an interrupt or a fault by its name"],
  ["irq 27", "an interrupt by its number"],
  ["task 3, hello", "all of a task"],
  ["fault", "all of a class: syscall, irq, fault, serror, brk"],
  ["EFAULT, main+0x", "words in calls, results, syndromes and places; several must all be there"],
];

const MARKS = [
  ["wake", "wakes a task; an arrow goes to it"], ["preempt", "is preempted"],
  ["switch", "gives the CPU to another task"], ["signal", "sends a signal"], ["deliver", "acts on a signal"],
  ["spawn", "makes a task"], ["exec", "runs another program"], ["end", "ends"], ["report", "a report: click it"],
];
const HYPERVISOR_MARKS = [
  ["wake", "wakes a vCPU; an arrow goes to it"], ["switch", "gives the CPU to another vCPU"],
  ["drop", "drops a physical interrupt's priority"], ["inject", "injects a virtual interrupt"],
  ["list_register", "writes a List Register"], ["read_back", "reads one back"],
];

function helpText() {
  const cell = (content) => make("td", {}, content);
  const rows = (list) => make("table", {}, make("tbody", {}, list.map((row) => make("tr", {}, row.map(cell)))));
  const keycaps = (keys) => keys.flatMap((key) => [make("kbd", {}, key), " "]);
  return [
    button("close", () => $("keys").close(), { class: "close" }),
    make("h2", {}, "How to read and move"),
    paragraph(`A box at ${terms().levels[1]} is one exception. Boxes in it came while it was being handled; hatched is off the CPU; a torn
      right end never returned. Where boxes are thinner than a pixel, a column stands for all of them.`),
    paragraph(WAY),
    make("h3", {}, "Keys"),
    rows(KEYS.map(([keys, what]) => [keycaps(keys), what])),
    make("h3", {}, "Search"),
    rows(SEARCHES.map(([text, what]) => [make("code", {}, text), what])),
    make("h3", {}, "Marks above a task"),
    make("ul", { class: "shapes" }, (data.hypervisor ? HYPERVISOR_MARKS : MARKS).map(([type, what]) => make("li", {}, pictureOf(type), what))),
    paragraph("The address of the page holds the view and what is selected: copy it to point at one exception."),
  ];
}

function pictureOf(type) {
  const canvas = make("canvas", { "aria-hidden": "true" }), density = devicePixelRatio || 1;
  Object.assign(canvas, { width: 18 * density, height: 16 * density });
  Object.assign(canvas.style, { width: "18px", height: "16px" });
  const context = canvas.getContext("2d");
  context.scale(density, density);
  glyph(context, type, 9, 8);
  return canvas;
}

function showHelp() {
  $("keys").replaceChildren(...helpText());
  $("keys").showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  if (event.target === $("query")) {
    if (event.key === "Escape") {
      searchFor("");
      $("timeline").focus();
    }
    return;
  }
  const box = $("scroll");
  const actions = {
    w: () => zoom(0.7), "+": () => zoom(0.7), "=": () => zoom(0.7), s: () => zoom(1 / 0.7), "-": () => zoom(1 / 0.7),
    a: () => pan(-0.15), d: () => pan(0.15), 0: showAll, f: fitSelection, n: () => step(1), N: () => step(-1),
    "[": () => neighbour(-1), "]": () => neighbour(1), ",": () => walk(-1), ".": () => walk(1), "?": showHelp,
    "/": () => $("query").select(),
    Escape: () => (state.range ? (state.range = null, invalidate()) : state.hits ? searchFor("") : choose(null)),
  };
  // In what scrolls by itself the arrows scroll.
  if (!event.target.closest("#panel, #costs")) {
    Object.assign(actions, {
      ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
      ArrowUp: () => { box.scrollTop -= ROW * 2; }, ArrowDown: () => { box.scrollTop += ROW * 2; },
    });
  }
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
}

function neighbour(by) {
  if (state.selection?.what !== "span") return;
  const peers = peersOf(state.selection.index), to = peers[peers.indexOf(state.selection.index) + by];
  if (to !== undefined) select(to);
}

/** To the exception before or behind what is selected, or else what is at the left of the view. */
function walk(by) {
  const { type, start } = data.spans;
  let i = state.selection?.what === "span" ? state.selection.index + by : start.findIndex((t) => t >= view.start);
  while (i >= 0 && i < model.length && type[i] !== EXCEPTION) i += by;
  if (i >= 0 && i < model.length) select(i);
}

function onWheel(event) {
  const { deltaX, deltaY, ctrlKey, shiftKey } = event, unit = event.deltaMode === 1 ? 18 : 1;
  const onLanes = event.currentTarget === $("scroll"), x = event.clientX - $("lanes").getBoundingClientRect().left;
  // Over the names the wheel scrolls the tasks.
  if (onLanes && x < LABELS && !ctrlKey) return;
  event.preventDefault();
  const [dx, dy] = shiftKey && !deltaX ? [deltaY, 0] : [deltaX, deltaY];
  if (!ctrlKey && Math.abs(dx) > Math.abs(dy)) show(view.start + dx * unit / scale(), view.end - view.start);
  // Browsers tell a pinch as small turns of the wheel with Ctrl.
  else zoom(Math.exp(clamp(dy * unit * (ctrlKey ? 0.01 : 0.0022), -1.2, 1.2)), onLanes ? time(x) : undefined);
}

/** Drags, clicks and pinches on the lanes. */
function listenToLanes(canvas) {
  const pointers = new Map();
  let drag = null;
  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  const origin = (point) => ({ ...point, start: view.start, scroll: $("scroll").scrollTop });
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { middle: (a.x + b.x) / 2, apart: Math.max(Math.hypot(a.x - b.x, a.y - b.y), 10) };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const point = at(event);
    pointers.set(event.pointerId, point);
    canvas.setPointerCapture(event.pointerId);
    const measuring = event.shiftKey || (point.y < RULER && point.x > LABELS);
    drag = { ...origin(point), moved: false, from: measuring ? time(point.x) : null };
    if (measuring) state.range = null;
  });
  canvas.addEventListener("pointermove", (event) => {
    const point = at(event);
    if (!pointers.has(event.pointerId)) return hoverAt(event, point);
    if (pointers.size === 2) {
      const before = spread();
      pointers.set(event.pointerId, point);
      const now = spread();
      drag.moved = true;
      return zoom(before.apart / now.apart, time(now.middle));
    }
    pointers.set(event.pointerId, point);
    drag.moved ||= Math.hypot(point.x - drag.x, point.y - drag.y) > 4;
    if (!drag.moved) return;
    showTip(0, 0, null);
    if (drag.from !== null) {
      state.range = [drag.from, clamp(time(point.x), view.start, view.end)];
      return invalidate();
    }
    canvas.classList.add("dragging");
    $("scroll").scrollTop = drag.scroll + drag.y - point.y;
    show(drag.start + (drag.x - point.x) / scale(), view.end - view.start);
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    canvas.classList.remove("dragging");
    if (event.type === "pointerup" && !drag.moved) clickAt(at(event));
    if (pointers.size) drag = { ...origin([...pointers.values()][0]), moved: true, from: null };
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hoverAt(null));
  canvas.addEventListener("dblclick", (event) => {
    const found = hit(at(event).x, at(event).y);
    const list = { span: data.spans, running: cpus[found?.cpu]?.running }[found?.what];
    if (list) fit(list.start[found.index], list.end[found.index]);
  });
}

function hoverAt(event, point) {
  const found = event && hit(point.x, point.y), before = state.hover;
  state.hover = found;
  $("lanes").style.cursor = found && (found.what === "span" || found.what === "mark") ? "pointer" : "";
  showTip(event?.clientX, event?.clientY, found ? tip(found) : null);
  if (found?.what !== before?.what || found?.index !== before?.index) invalidate();
}

function clickAt({ x, y }) {
  const found = hit(x, y);
  state.range = null;
  invalidate();
  if (found?.what === "span" || found?.what === "mark") choose(found.what, found.index);
  else if (found?.what === "running") {
    const [, task] = data.cpus[found.cpu].running[found.index];
    $("scroll").scrollTop = (groupOf[task]?.y ?? 0) - GAP;
  } else if (!found) choose(null);
  tellMatches();
}

/** The window in the overview is dragged by its middle or its edges; elsewhere a press brings it there. */
function listenToOverview(canvas) {
  let drag = null;
  const t = (event) => ((event.clientX - canvas.getBoundingClientRect().left - LABELS) / plot.width) * data.end;
  const grip = (at) => {
    const near = (8 / plot.width) * data.end, inside = at > view.start && at < view.end;
    if (view.end - view.start > 4 * near || !inside) {
      if (Math.abs(at - view.start) < near) return "start";
      if (Math.abs(at - view.end) < near) return "end";
    }
    return inside ? "middle" : "outside";
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const length = view.end - view.start;
    if (grip(t(event)) === "outside") show(t(event) - length / 2, length);
    drag = { grip: grip(t(event)), t: t(event), start: view.start, end: view.end };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) {
      canvas.style.cursor = { start: "ew-resize", end: "ew-resize", middle: "grab" }[grip(t(event))] ?? "pointer";
      return;
    }
    const by = t(event) - drag.t;
    if (drag.grip === "start") {
      const start = clamp(drag.start + by, 0, drag.end - SHORTEST);
      show(start, drag.end - start);
    } else if (drag.grip === "end") show(drag.start, drag.end + by - drag.start);
    else show(drag.start + by, drag.end - drag.start);
  });
  for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, () => { drag = null; });
}

function listen() {
  listenToLanes($("lanes"));
  listenToOverview($("overview"));
  $("scroll").addEventListener("wheel", onWheel, { passive: false });
  $("overview").addEventListener("wheel", onWheel, { passive: false });
  $("scroll").addEventListener("scroll", invalidate);
  addEventListener("keydown", onKey);
  addEventListener("hashchange", recall);
  $("only").addEventListener("change", ({ target }) => {
    state.only = target.checked;
    arrange();
    invalidate();
  });
  $("query").addEventListener("input", () => search($("query").value));
  $("query").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      step(-1);
    }
  });
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    step(1);
  });
  $("previous").addEventListener("click", () => step(-1));
  $("help").addEventListener("click", showHelp);
  $("keys").addEventListener("click", (event) => { if (event.target === $("keys")) $("keys").close(); });
  $("theme").addEventListener("click", () => {
    document.documentElement.style.colorScheme = isDark() ? "light" : "dark";
    recolour();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  new ResizeObserver(resize).observe($("scroll"));
}

/** Canvases and what carries a task's colour do not follow the style sheet by themselves. */
function recolour() {
  readColours();
  choose(state.selection?.what ?? null, state.selection?.index);
  paint();
}

function resize() {
  const canvas = $("lanes"), { clientWidth, clientHeight } = $("scroll");
  plot = { width: Math.max(clientWidth - LABELS - EDGE, 50), height: clientHeight };
  // It covers what there is to scroll, without adding to it.
  const size = { width: `${clientWidth}px`, height: `${clientHeight}px`, marginBottom: `${-clientHeight}px` };
  Object.assign(canvas.style, size);
  paint();
}

const LEGEND = [
  ["user", "program at EL0"], ["syscall", "system call"], ["irq", "interrupt"], ["handler", "its handler"],
  ["fault", "fault"], ["brk", "breakpoint"], ["serror", "SError"], ["other", "other"], ["kernel", "kernel, idle"],
  ["off", "off the CPU"], ["masked", "IRQs masked"],
];

function showHeader() {
  const { title, command, machine, events, lost, end } = data;
  document.title = `${title}: trace`;
  $("title").textContent = title;
  $("command").textContent = $("command").title = command;
  const [words, tone] = outcome();
  Object.assign($("outcome"), { textContent: words, hidden: false, className: `badge ${tone}` });
  if (lost > 0) {
    const why = "The ring was full, and newer events were kept in place of these. More room: --ring MIB.";
    Object.assign($("lost"), { textContent: `the first ${plural(lost, "event")} lost`, hidden: false, title: why });
  }
  const facts = [plural(events, "event"), plural(end, "instruction"), plural(data.tasks.length, "task")];
  const fact = (text) => {
    const [value, what] = text.split(" ");
    return make("span", {}, make("b", {}, value), ` ${what}`);
  };
  $("facts").append(make("span", {}, machine), ...facts.map(fact));
  const classes = new Set(data.kinds.map((kind) => kind.class));
  const there = LEGEND.filter(([name]) => !Object.hasOwn(CLASSES, name) || classes.has(name));
  const called = ([name, text]) => terms().legend[name] ?? text;
  $("legend").append(...there.map((entry) => make("li", {}, swatch(entry[0]), called(entry))));
}

/** Whether the last report is of what ended the machine: a trace of a crash ends in the report of the crash. */
function crashed() {
  const { exit, timed_out, reports } = data, last = reports.at(-1)?.kind;
  return !timed_out && ((exit === 121 && last === "panic") || (exit > 128 && last === "death"));
}

function offerReports() {
  const { reports } = data;
  if (!reports.length) return;
  const textContent = crashed() ? "the report of the crash" : plural(reports.length, "report");
  Object.assign($("to-report"), { textContent, hidden: false, onclick: () => toReport(reports.length - 1) });
}

/** Says in place of the trace what is wrong with it. */
function fail(problem) {
  if (!(problem instanceof Problem)) problem = new Problem("The page could not show this trace", problem);
  const { title, message, calm } = problem;
  ventry.error = `${title}: ${message}`;
  $("search").hidden = $("tools").hidden = true;
  const text = make("p", { class: calm ? "failure calm" : "failure" }, make("b", {}, title), message);
  $("main").replaceWith(make("main", { id: "main", class: "failed", role: "alert" }, text));
}

async function open() {
  data = ventry.data = await unpack($("data").textContent);
  // It has been read, and it is large.
  $("data").remove();
  model = relate();
  groups = layOut();
  groupOf = data.tasks.map((_, index) => groups.find((group) => group.task === index));
  wakes = wakeUps();
  cpus = schedule();
  readColours();
  showHeader();
  offerReports();
  showCosts();
  view.end = Math.max(data.end, 1);
  $("only").hidden = groups.length < 8;
  arrange();
  listen();
  resize();
  choose(null);
  const chosen = recall();
  if (crashed() && !(chosen && state.selection)) choose("report", data.reports.length - 1);
  if (crashed() && !chosen) showWhere(data.reports.at(-1));
  paint();
}

/** Where a span is drawn, in pixels of the page. */
function rect(i) {
  const { left, top } = $("lanes").getBoundingClientRect(), y = pinned() + rowOf(i).y - $("scroll").scrollTop;
  return { left: left + px(data.spans.start[i]), right: left + px(data.spans.end[i]), top: top + y, height: ROW };
}

const rows = () => groups.flatMap((group) => group.rows);
// For whoever tries the page from outside, tests above all.
const ventry = (window.ventry = {
  view, stats, state, select, choose, search, fit, show, zoom, px, time, rect, hit, rows, pinned, colours: () => colours,
});
ventry.ready = open().catch(fail).then(() => ventry);
