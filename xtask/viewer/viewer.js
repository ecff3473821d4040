// The page of a trace. The data that the tool put into the page is unpacked and laid out in tracks: columns sorted by time,
// in which all that is drawn is found by binary search. One function paints what is in view, once a frame at most, and what
// is narrower than a pixel is drawn as one column, so that the work depends on the size of the window and not of the trace.
//
// Order: the data, what is made of it, words, the view, painting, what is under the pointer, the panel, the search, the
// costs, input. Names come from programs: they only ever become text nodes or canvas text.

const USER = 0, EXCEPTION = 1, HANDLER = 2, OFF = 3, KERNEL = 4;
const COLUMNS = ["task", "el", "depth", "type", "start", "end", "open", "kind", "self", "total", "frame"];

// Sizes in CSS pixels.
const LABELS = 152, EDGE = 12, RULER = 25, CPU = 20, MASKED = 5, STRIP = 13, ROW = 20, GAP = 9, OVERVIEW = 44;
const FONT = "11px ", SHORTEST = 16, ARROWS = 40, APART = 9;

const SIGNALS = { 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM" };
const CLASSES = { syscall: "system call", irq: "interrupt", fault: "fault", serror: "SError", brk: "breakpoint", other: "other exception" };

const $ = (id) => document.getElementById(id);
const view = { start: 0, end: 1 };
const stats = { frames: 0, boxes: 0, labels: 0, marks: 0, arrows: 0 };
const state = { selection: null, hover: null, range: null, query: "", matches: [], hits: null, sort: { column: 6, falling: true } };
let data, groups, groupOf, cpus, model, wakes, colours, plot = { width: 1, height: 1 };

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
    throw new Problem("This browser is too old", "It cannot unpack the trace (DecompressionStream). Chrome and Edge can from version 80, Safari from 16.4, Firefox from 113.");
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
  if (found.schema !== 1) throw new Problem("This trace is of another version", `It says schema ${found.schema}; this page reads schema 1.`);
  const lengths = new Set(COLUMNS.map((column) => found.spans?.[column]?.length));
  if (lengths.size !== 1 || lengths.has(undefined)) throw new Problem("The trace does not hang together", again);
  if (found.spans.start.length === 0) {
    throw new Problem("Nothing was traced", "The machine ended before it took an exception. cargo xtask qemu with the same options shows what it said.", true);
  }
  return found;
}

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
  let y = GAP;
  return tasks.map((task, index) => {
    const group = { task: index, y, rows: [], marks: marksOf[index] };
    y += STRIP;
    for (const [key, ids] of [...lanes[index]].sort(([a], [b]) => a - b)) {
      group.rows.push({ group, el: key ? 1 : 0, depth: Math.max(key - 1, 0), y, tracks: tracksOf(ids, spans) });
      y += ROW;
    }
    y = Math.max(y, group.y + STRIP + ROW) + GAP;
    group.end = y - GAP;
    return group;
  }).filter((group) => group.rows.length || group.marks.length);
}

/** Who is in whom, and where the exceptions of each kind are. */
function relate() {
  const { spans, kinds, tasks } = data;
  const length = spans.start.length;
  const related = { length, parent: new Int32Array(length).fill(-1), child: new Int32Array(length).fill(-1), sibling: new Int32Array(length).fill(-1) };
  const open = tasks.map(() => []), last = new Int32Array(length).fill(-1);
  related.ofKind = kinds.map(() => []);
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
const taskName = (index) => `${data.tasks[index].name} (task ${data.tasks[index].id})`;

/** A count as short as an axis wants it, exact for multiples of `step`. */
function short(t, step) {
  const [letter, size] = step >= 1e5 && data.end >= 1e6 ? ["M", 1e6] : step >= 100 ? ["k", 1e3] : ["", 1];
  const places = Math.max(0, Math.ceil(Math.log10(size / step) - 1e-9));
  return (t / size).toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places }) + (t ? letter : "");
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

function colourName(i) {
  const { type } = data.spans;
  return [, , "handler", "off", "kernel"][type[i]] ?? (type[i] === USER ? "user" : kindOf(i).class);
}

/** What a box is, for somebody who sees one for the first time. */
function inWords(i) {
  const { type, task, open, el } = data.spans;
  const who = taskName(task[i]), kind = kindOf(i), frame = frameOf(i);
  switch (type[i]) {
    case USER: return `The program of ${who} runs at EL0, until the next exception.`;
    case KERNEL: return data.tasks[task[i]].id === 0 ? "Nothing else can run: the kernel waits for an interrupt." : `The kernel itself runs for ${who}, outside any exception.`;
    case OFF: return `${who} is off the CPU, in the middle of what is around this box. Other tasks run.`;
    case HANDLER: return `The kernel has acknowledged interrupt ${kind.number} (${kind.name}) and runs its handler, on the CPU's interrupt stack.`;
  }
  const from = frame.slot?.startsWith("el0") ? "the program, at EL0" : model.parent[i] >= 0 ? `the kernel, inside ${names(model.parent[i]).at(-1)}` : "the kernel";
  const end = open[i] ? " It never returned by this way." : "";
  const away = childrenOf(i).some((child) => type[child] === OFF) ? " Other tasks ran before it was over." : "";
  if (kind.class === "syscall") return `${who} made system call ${kind.number}, ${kind.name}.${away}${end}`;
  const words = string(frame.words);
  if (kind.class === "irq") return `Interrupt ${kind.number} (${kind.name}) interrupted ${from}, while ${who} was running.${away}${end}`;
  return `${words ? words[0].toUpperCase() + words.slice(1) : kind.name}. Taken from ${from}, while ${who} was running.${away}${end}`;
}

function outcome() {
  const { exit, timed_out } = data;
  if (timed_out) return [`time was up (${exit})`, "warning"];
  if (exit === 121) return ["kernel panic (121)", "danger"];
  if (exit > 128) return [`killed by signal ${exit - 128}${SIGNALS[exit - 128] ? ", " + SIGNALS[exit - 128] : ""} (${exit})`, "danger"];
  return [`exit code ${exit}`, exit ? "warning" : ""];
}

// The view.

const scale = () => plot.width / (view.end - view.start);
const px = (t) => LABELS + (t - view.start) * scale();
const time = (x) => view.start + (x - LABELS) / scale();
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

/** Shows `length` instructions from `start` on, or as near to that as there are. */
function show(start, length) {
  const whole = Math.max(data.end, 1);
  length = clamp(length, Math.min(SHORTEST, whole), whole);
  view.start = clamp(start, 0, whole - length);
  view.end = view.start + length;
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
  const { start, end } = data.spans, length = end[i] - start[i];
  if (length * scale() < 4) show((start[i] + end[i]) / 2 - length * 8, Math.max(length, 1) * 16);
  else if (length > (view.end - view.start) * 1.02) { if (end[i] < view.start || start[i] > view.end) fit(start[i], end[i]); }
  else if (start[i] < view.start || end[i] > view.end) show((start[i] + end[i] - view.end + view.start) / 2, view.end - view.start);
  const row = rowOf(i), box = $("scroll");
  if (row && (row.y < box.scrollTop || row.y + ROW + pinned() > box.scrollTop + box.clientHeight)) box.scrollTop = row.y - (box.clientHeight - pinned()) / 2;
}

let remembering = 0;

/** Keeps view and selection in the address. Browsers count how often that is done, so it waits until things are at rest. */
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
  for (const [letter, what, list] of [["s", "span", data.spans.start], ["m", "mark", data.marks], ["r", "report", data.reports]]) {
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
  const list = ["bg", "bg-raised", "bg-lane", "line", "line-strong", "text", "text-dim", "accent", "danger", "good", "on-box", "user", "syscall", "irq", "handler", "fault", "serror", "brk", "other", "kernel", "off", "off-line", "masked"];
  colours = Object.fromEntries(list.map((name) => [name, read(name)]));
  probe.remove();
  const dark = matchesDark();
  // The golden angle keeps neighbours apart, however many tasks there are.
  colours.tasks = data.tasks.map(({ id }, index) => (id === 0 ? colours.kernel : `hsl(${(205 + index * 137.5) % 360} ${dark ? "36% 31%" : "50% 82%"})`));
  colours.sans = getComputedStyle(document.body).fontFamily;
  colours.hatch = hatch();
}

const matchesDark = () => getComputedStyle(document.documentElement).colorScheme === "dark" || (getComputedStyle(document.documentElement).colorScheme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);

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
  const seen = groups.filter((group) => group.end > scroll && group.y < scroll + plot.height - top);
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
  for (let t = Math.ceil(view.start / step) * step; t <= view.end; t += step) list.push(t);
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
  if (group.rows.length > 1) context.fillText(`task ${id}`, 23, group.y + STRIP + ROW * 1.5 - 2);
  context.textAlign = "right";
  let last = null;
  for (const row of group.rows) {
    // One label for all depths of EL1.
    if (row.el !== last) context.fillText(`EL${row.el}`, LABELS - 9, row.y + ROW / 2);
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

/** Draws what of a track is in view: what has room for it by `box`, and of what is thinner a column for all that is in it,
 *  the fainter the less of its time they take. */
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
  for (let k = track.after(view.start); k < track.length && track.start[k] <= view.end;) {
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
  const x = Math.max(Math.round(left), LABELS - 4), end = Math.min(Math.round(right), LABELS + plot.width + EDGE + 4);
  const width = Math.max(end - x - (end - x > 3 ? 1 : 0), 1);
  context.fillStyle = type[i] === OFF ? colours.hatch : colours[colourName(i)];
  if (width > 7) {
    context.beginPath();
    context.roundRect(x, y, width, ROW - 1, 3);
    context.fill();
  } else context.fillRect(x, y, width, ROW - 1);
  if (open[i] && width > 9 && right <= LABELS + plot.width + EDGE) paintTorn(context, x + width, y);
  const from = Math.max(x, LABELS) + 6;
  if (x + width - from < 16) return;
  context.fillStyle = type[i] === OFF || type[i] === KERNEL ? colours["text-dim"] : colours["on-box"];
  const text = label(context, names(i), x + width - from - 5);
  if (text) {
    context.fillText(text, from, y + ROW / 2);
    stats.labels++;
  }
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
  const letters = Math.floor(text.length * room / width) - 1;
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
  for (let k = low; k < group.marks.length && marks[group.marks[k]].t <= view.end; k++) {
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
    spawn: ["good", [[-1, -4], [1, -4], [1, -1], [4, -1], [4, 1], [1, 1], [1, 4], [-1, 4], [-1, 1], [-4, 1], [-4, -1], [-1, -1]]],
    exec: ["accent", [[-3.5, -4], [4, 0], [-3.5, 4]]],
    end: ["text", [[-3.5, -3.5], [3.5, -3.5], [3.5, 3.5], [-3.5, 3.5]]],
    report: ["danger", [[-1, -5], [7, -2.5], [0.5, 0], [0.5, 6], [-1, 6]]],
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
  const first = wakes.after(view.start), last = wakes.after(view.end);
  if (last - first > ARROWS) return;
  const list = [];
  for (let k = first; k < last; k++) {
    const { t, task, other } = data.marks[wakes.id[k]], from = groupOf[task], to = groupOf[other];
    if (to && to !== from) list.push([px(t), from.y + STRIP / 2, to.y + (to.y > from.y ? 2 : STRIP)]);
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
  context.fillStyle = colours.danger;
  for (const { t } of data.reports) if (t >= view.start && t <= view.end) context.fillRect(Math.round(px(t)), y, 1, height);
}

function paintSelection(context) {
  for (const [what, width] of [[state.hover, 1], [state.selection, 2]]) {
    if (what?.what === "span") {
      const row = rowOf(what.index), { start, end } = data.spans;
      if (!row) continue;
      const left = Math.max(Math.round(px(start[what.index])), LABELS - 6), right = Math.min(Math.round(px(end[what.index])), LABELS + plot.width + EDGE + 6);
      context.strokeStyle = width === 2 ? colours.accent : colours.text;
      context.lineWidth = width;
      context.beginPath();
      context.roundRect(left - 0.5, row.y - 0.5, Math.max(right - left, 3), ROW, 3);
      context.stroke();
    } else if (what?.what === "mark" || what?.what === "report") {
      const { t, task } = what.what === "mark" ? data.marks[what.index] : data.reports[what.index];
      const group = groupOf[task];
      if (!group) continue;
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
    const x = Math.max(Math.round(left), LABELS - 4), end = Math.min(Math.round(right), LABELS + plot.width + EDGE + 4);
    context.fillStyle = colours.tasks[task(k)];
    context.fillRect(x, y, Math.max(end - x - (end - x > 3 ? 1 : 0), 1), CPU);
    const from = Math.max(x, LABELS) + 6, text = end - from > 16 && label(context, [data.tasks[task(k)].name], end - from - 5);
    if (!text) return;
    context.fillStyle = colours["on-box"];
    context.fillText(text, from, y + CPU / 2);
    stats.labels++;
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
  ticks(data.reports.map(({ t }) => t), colours.danger, 2, OVERVIEW - 4);
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
  const group = groups.find((group) => y >= group.y && y < group.end);
  if (group && y < group.y + STRIP) {
    let found = null, distance = 7;
    for (const [index, at] of marksInView(group, APART)) if (Math.abs(at - x) < distance) [found, distance] = [{ what: "mark", index }, Math.abs(at - x)];
    return found;
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
    return [`${taskName(data.cpus[cpu].running[index][1])} runs`, `from ${number(start[index])}, for ${plural(end[index] - start[index], "instruction")}`];
  }
  if (what === "masked") {
    const [start, end, off, on] = data.cpus[cpu].masked[index];
    return [`IRQs masked for ${plural(end - start, "instruction")}`, `from ${number(start)}`, ...(string(off) ? [`masked at ${string(off)}`] : []), ...(string(on) ? [`unmasked at ${string(on)}`] : [])];
  }
  const kind = spans.type[index] === EXCEPTION ? `${CLASSES[kindOf(index).class]}, ${frameOf(index).slot ?? ""}` : null;
  const lines = [names(index)[0], `from ${number(spans.start[index])}, ${plural(spans.end[index] - spans.start[index], "instruction")} long${spans.open[index] ? ", never ended" : ""}`];
  if (spans.self[index] >= 0) lines.push(`self ${number(spans.self[index])}, total ${number(spans.total[index])}`);
  return kind ? [lines[0], kind, ...lines.slice(1)] : lines;
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
  const element = make("span", { class: `swatch ${["off", "masked"].includes(colour) ? colour : ""}` });
  if (!["off", "masked"].includes(colour)) element.style.background = colour.includes("(") ? colour : `var(--${colour})`;
  return element;
}

const button = (text, onclick, properties = {}) => make("button", { type: "button", onclick, ...properties }, text);
const entry = (name, value, mono = false) => (value === null || value === undefined || value === "" ? [] : [make("dt", {}, name), make("dd", mono ? { class: "mono" } : {}, value)]);

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

function introduction() {
  const spent = data.tasks.map(() => 0);
  data.cpus.forEach(({ running }, cpu) => running.forEach(([, task], k) => { spent[task] += cpus[cpu].running.end[k] - cpus[cpu].running.start[k]; }));
  const whole = Math.max(spent.reduce((a, b) => a + b, 0), 1);
  return [
    make("h2", {}, "What you see"),
    make("p", { class: "lead" }, "Each task has a lane for its program, EL0, and under it lanes for the kernel, EL1: one box for each exception, from its vector slot to eret, and what came in between inside it. Time runs to the right, in instructions."),
    make("p", { class: "lead" }, "Click a box: its registers, its syndrome in words and the source line are shown here. The wheel zooms, dragging moves, ", make("kbd", {}, "?"), " tells the keys."),
    make("h3", {}, "Tasks, and their share of the instructions"),
    make("ul", { class: "chain" }, groups.map(({ task }) => make("li", {}, make("button", { type: "button", title: "Find its exceptions", onclick: () => searchFor(`task ${data.tasks[task].id}`) }, swatch(colours.tasks[task]), make("span", {}, taskName(task)), make("span", {}, `${number(spent[task])}, ${(100 * spent[task] / whole).toFixed(1)} %`))))),
    data.reports.length > 0 && make("h3", {}, "Reports"),
    data.reports.length > 0 && make("ul", { class: "chain" }, data.reports.map((report, index) => make("li", {}, make("button", { type: "button", onclick: () => toReport(index) }, swatch("fault"), make("span", {}, report.text.split("\n")[0]), make("span", {}, number(report.t)))))),
  ];
}

function spanDetails(i) {
  const { spans } = data, frame = frameOf(i), length = spans.end[i] - spans.start[i];
  const figures = spans.type[i] === EXCEPTION && spans.self[i] >= 0 ? [["self", spans.self[i]], ["total", spans.total[i]], ["start", spans.start[i]]] : [["long", length], ["start", spans.start[i]], ["end", spans.end[i]]];
  const returned = string(frame.returned), fields = string(frame.fields);
  const title = names(i)[names(i).length > 1 && !frame.call ? 0 : Math.max(0, names(i).indexOf(frame.call))];
  return [
    make("h2", {}, swatch(colourName(i)), frame.call ? make("code", {}, title) : make("span", {}, title)),
    make("p", { class: "lead" }, inWords(i)),
    make("div", { class: "costs" }, figures.map(([name, value]) => make("div", {}, make("b", {}, number(value)), make("span", {}, name)))),
    peerButtons(i),
    make("dl", {},
      entry("Result", frame.result ?? null, true),
      entry("Task", taskName(spans.task[i])),
      entry("Long", figures[0][0] === "self" && length !== spans.total[i] ? plural(length, "instruction") : null),
      entry("Interrupted at", string(frame.at), true),
      entry("Returned to", returned, true),
      entry("Slot", frame.slot, true),
      entry("PSTATE", string(frame.pstate), true),
      entry("ESR", frame.esr, true),
      entry("In words", kindOf(i).class === "syscall" ? string(frame.words) : null),
      entry("FAR", frame.far, true)),
    family("Where it is", chainWithUser(i), i),
    family("In it", childrenOf(i), i),
    fields && make("h3", {}, "The syndrome, field by field"),
    fields && fieldTable(fields),
    frame.regs && make("h3", {}, "Registers saved in the frame"),
    frame.regs && registers(frame.regs),
  ];
}

/** What is around a span, from the outside; before an exception from EL0 the stretch of the program that it interrupted. */
function chainWithUser(i) {
  const chain = chainOf(i), first = chain[0];
  const lane = groupOf[data.spans.task[i]]?.rows.find((row) => row.el === 0);
  const user = frameOf(first).slot?.startsWith("el0") ? lane?.tracks[0].at(data.spans.start[first] - 1, 1) ?? null : null;
  return user === null ? chain : [user, ...chain];
}

function family(title, members, here) {
  if (members.length === 0 || (members.length === 1 && members[0] === here)) return null;
  const row = (i, depth) => {
    const item = button("", () => select(i));
    if (title === "Where it is") item.style.marginLeft = `${depth * 12 - 6}px`;
    item.append(swatch(colourName(i)), make("span", {}, names(i)[0]), make("span", {}, number(data.spans.end[i] - data.spans.start[i])));
    return make("li", i === here ? { class: "here", "aria-current": "true" } : {}, item);
  };
  const rest = members.length - 40;
  return make("div", {}, make("h3", {}, title), make("ul", { class: "chain" }, members.slice(0, 40).map(row)), rest > 0 ? make("p", { class: "dim" }, `and ${number(rest)} more`) : null);
}

/** All of the same kind, or, of what is no exception, of the same sort in the same task. */
function peersOf(i) {
  const { type, kind, task } = data.spans;
  if (type[i] === EXCEPTION && kind[i] >= 0) return model.ofKind[kind[i]];
  return rowOf(i).tracks.flatMap((track) => [...track.id]).filter((other) => type[other] === type[i] && task[other] === task[i]).sort((a, b) => a - b);
}

function peerButtons(i) {
  const peers = peersOf(i), place = peers.indexOf(i);
  const go = (text, to, hint) => make("button", { type: "button", title: hint, onclick: () => select(to), disabled: to === undefined ? "" : null }, text);
  return make("div", { class: "actions" },
    go("‹ previous", peers[place - 1], "The one before of the same kind ([)"),
    go("next ›", peers[place + 1], "The next of the same kind (])"),
    button("fit", () => fitSelection(), { title: "Fill the view with it (f)" }),
    make("span", { class: "dim" }, `${number(place + 1)} of ${number(peers.length)}`));
}

/** The tool's table as a table whose words wrap; as it is, should it look otherwise. */
function fieldTable(text) {
  const [head, ...lines] = text.trimEnd().split("\n").map((line) => /^ *(\S+) +(\S+) +(\S+) +(.+)$/.exec(line)?.slice(1));
  if (!head || lines.includes(undefined)) return make("pre", { tabindex: 0 }, text);
  const row = (cells, tag) => make("tr", {}, cells.map((cell) => make(tag, tag === "th" ? { scope: "col" } : {}, cell)));
  return make("table", { class: "fields" }, make("thead", {}, row(head.map((word) => word.toLowerCase()), "th")), make("tbody", {}, lines.map((line) => row(line, "td"))));
}

function registers(text) {
  const values = text.trim().split(/\s+/), name = (n) => (n < 31 ? `x${n}` : ["sp", "pc", "pstate"][n - 31]);
  return make("dl", { class: "registers" }, values.map((value, n) => make("div", /^0+$/.test(value) ? { class: "zero" } : {}, make("dt", {}, name(n)), make("dd", {}, value.padStart(16, "0")))));
}

function markDetails(index) {
  const mark = data.marks[index];
  if (mark.report !== null && mark.report !== undefined) return reportDetails(mark.report);
  const around = innermost(mark.task, mark.t);
  return [
    make("h2", {}, mark.text),
    make("p", { class: "lead" }, `${taskName(mark.task)}, at ${number(mark.t)}.`),
    mark.other !== null && make("p", { class: "lead" }, "The other task: ", button(taskName(mark.other), () => searchFor(`task ${data.tasks[mark.other].id}`))),
    around !== null && family("Where it is", chainWithUser(around), null),
  ];
}

function reportDetails(index) {
  const report = data.reports[index], names = { panic: "Kernel panic", death: "Death of a program", warning: "Warning of the kernel" };
  const about = innermost(report.task, report.t, (i) => data.spans.type[i] === EXCEPTION);
  return [
    make("h2", {}, swatch("fault"), make("span", {}, names[report.kind] ?? report.kind)),
    make("p", { class: "lead dim" }, `${taskName(report.task)}, at ${number(report.t)}; report ${index + 1} of ${data.reports.length}`),
    make("div", { class: "actions" },
      button("show where", () => fit(report.t - 3000, report.t + 600)),
      about !== null && button("the exception it was written in", () => select(about)),
      index > 0 && button("‹ previous report", () => toReport(index - 1)),
      index + 1 < data.reports.length && button("next report ›", () => toReport(index + 1))),
    make("h3", {}, "The report"),
    make("pre", { tabindex: 0, "aria-label": "The report", class: "report" }, report.text),
  ];
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
  haystacks ??= data.frames.map((frame) => [frame.call, frame.result, frame.slot, string(frame.words), string(frame.at)].filter(Boolean).join("\n").toLowerCase());
  return `${kindOf(i).name.toLowerCase()}\n${CLASSES[kindOf(i).class]}\n${data.tasks[data.spans.task[i]].name.toLowerCase()}\n${haystacks[data.spans.frame[i]] ?? ""}`;
}

/** One condition for each part of a query: `irq 27`, `task 3`, `fault`, a kind's or a task's whole name, or a word anywhere. */
function conditions(text) {
  const { spans, kinds, tasks } = data;
  const found = [];
  const kindsWhere = (wanted) => new Set(kinds.flatMap((kind, index) => (wanted(kind) ? [index] : [])));
  const tasksWhere = (wanted) => new Set(tasks.flatMap((task, index) => (wanted(task) ? [index] : [])));
  const named = (word) => [kindsWhere((kind) => kind.name.toLowerCase() === word), tasksWhere((task) => task.name.toLowerCase() === word)];
  const byName = ([ofKinds, ofTasks]) => found.push((i) => ofKinds.has(spans.kind[i]) || ofTasks.has(spans.task[i]));
  text = text.trim().toLowerCase();
  const whole = named(text);
  if (whole[0].size || whole[1].size) {
    byName(whole);
    return found;
  }
  const rest = text.replace(/\b(irq|task|syscall)\s+([^\s]+)/g, (_, what, value) => {
    if (what === "task") {
      const of = tasksWhere((task) => String(task.id) === value || task.name.toLowerCase() === value);
      found.push((i) => of.has(spans.task[i]));
    } else {
      const of = kindsWhere((kind) => kind.class === what && (String(kind.number) === value || kind.name.toLowerCase() === value));
      found.push((i) => of.has(spans.kind[i]));
    }
    return " ";
  });
  for (const word of rest.split(/\s+/).filter(Boolean)) {
    const of = named(word);
    if (word in CLASSES) {
      const ofClass = kindsWhere((kind) => kind.class === word);
      found.push((i) => ofClass.has(spans.kind[i]));
    } else if (of[0].size || of[1].size) byName(of);
    else found.push((i) => haystack(i).includes(word));
  }
  return found;
}

/** Finds exceptions, shows how many, and dims the rest. */
function search(text) {
  const { spans } = data;
  state.query = text;
  state.matches = [];
  state.hits = null;
  const wanted = conditions(text);
  if (wanted.length) {
    for (let i = 0; i < model.length; i++) if (spans.type[i] === EXCEPTION && wanted.every((holds) => holds(i))) state.matches.push(i);
    const found = new Set(state.matches);
    state.hits = new Map();
    for (const { rows } of groups) for (const row of rows) {
      state.hits.set(row, row.tracks.map((track) => new Track(track.id.filter((i) => found.has(i)), (i) => spans.start[i], (i) => spans.end[i])));
    }
  }
  tellMatches();
  invalidate();
  return state.matches;
}

function tellMatches() {
  const { matches, selection, hits } = state, place = selection?.what === "span" ? matches.indexOf(selection.index) : -1;
  $("count").textContent = !hits ? "" : place >= 0 ? `${number(place + 1)} / ${number(matches.length)}` : matches.length ? number(matches.length) : "none";
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
  const sorted = data.costs.toSorted((a, b) => (typeof value(a) === "string" ? value(a).localeCompare(value(b)) : value(a) - value(b)) * (falling ? -1 : 1));
  const most = Math.max(1, ...data.costs.map(({ self }) => self.sum));
  const sortBy = (index) => {
    state.sort = { column: index, falling: index === column ? !falling : index > 1 };
    showCosts();
    $("table").querySelectorAll("th button")[index].focus();
  };
  const head = COST_COLUMNS.map(([name], index) => make("th", { scope: "col", class: index === 1 ? "class" : null, "aria-sort": index === column ? (falling ? "descending" : "ascending") : null }, button(name + (index === column ? (falling ? " ↓" : " ↑") : ""), () => sortBy(index))));
  $("table").tHead.replaceChildren(make("tr", {}, head, make("th", { "aria-label": "Share of all self" })));
  $("table").tBodies[0].replaceChildren(...sorted.map((cost) => costRow(cost, most)));
}

function costRow(cost, most) {
  const kind = data.kinds[cost.kind], bar = make("span", { class: "bar" });
  const named = kind.class === "irq" ? interruptName(kind) : kind.name;
  Object.assign(bar.style, { width: `${100 * cost.self.sum / most}%`, background: `var(--${kind.class})` });
  const find = button("", () => {}, { title: `Find ${named}` });
  find.append(swatch(kind.class), named);
  // The click of the button is the row's too.
  return make("tr", { onclick: () => searchFor(kind.name) }, make("td", {}, find), make("td", { class: "class" }, CLASSES[kind.class]), COST_COLUMNS.slice(2).map(([, value]) => make("td", {}, number(value(cost)))), make("td", { class: "share" }, bar));
}

// Input.

const KEYS = [
  [["wheel", "w", "s", "+", "−"], "zoom, the wheel and a pinch at the pointer"],
  [["drag", "a", "d", "←", "→"], "pan; Shift and the wheel too"],
  [["↑", "↓"], "scroll the tasks"],
  [["0"], "show all"],
  [["click"], "select; a flag shows its report"],
  [["double-click", "f"], "fill the view with a box"],
  [["[", "]"], "the previous, the next of the same kind"],
  [[",", "."], "the exception before, the one after, of any kind"],
  [["Shift drag"], "measure, in instructions; on the ruler without Shift"],
  [["/"], "search; Enter and Shift Enter, or n and N, step through what was found"],
  [["Esc"], "end the search, then the selection"],
];

function helpText() {
  const examples = [["write", "a system call, an interrupt or a fault by its name"], ["irq 27", "an interrupt by its number"], ["task 3, hello", "all of a task"], ["fault", "all of a class: syscall, irq, fault, serror, brk"], ["EFAULT, main+0x", "words in calls, results, syndromes and places; several must all be there"]];
  const shapes = [["wake", "wakes a task; an arrow goes to it"], ["preempt", "is preempted"], ["switch", "gives the CPU to another task"], ["signal", "sends a signal"], ["deliver", "acts on a signal"], ["spawn", "makes a task"], ["exec", "runs another program"], ["end", "ends"], ["report", "a report: click it"]];
  const rows = (list) => make("table", {}, make("tbody", {}, list.map(([left, right]) => make("tr", {}, make("td", {}, left), make("td", {}, right)))));
  return [
    button("close", () => $("keys").close(), { class: "close" }),
    make("h2", {}, "How to read and move"),
    make("p", {}, "A box at EL1 is one exception, from the first instruction of its vector slot to eret. Boxes in it came while it was being handled; hatched is off the CPU; a torn right end never returned. Where boxes are thinner than a pixel, a column stands for all of them."),
    make("h3", {}, "Keys"),
    rows(KEYS.map(([keys, what]) => [keys.map((key) => [make("kbd", {}, key), " "]).flat().reduce((box, part) => (box.append(part), box), make("span")), what])),
    make("h3", {}, "Search"),
    rows(examples.map(([text, what]) => [make("code", {}, text), what])),
    make("h3", {}, "Marks above a task"),
    make("ul", { class: "shapes" }, shapes.map(([type, what]) => make("li", {}, pictureOf(type), what))),
    make("p", { class: "lead" }, "The address of the page holds the view and what is selected: copy it to point at one exception."),
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
    Object.assign(actions, { ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15), ArrowUp: () => { box.scrollTop -= ROW * 2; }, ArrowDown: () => { box.scrollTop += ROW * 2; } });
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
  const unit = event.deltaMode === 1 ? 18 : 1, { left } = $("lanes").getBoundingClientRect(), x = event.clientX - left;
  // Over the names the wheel scrolls the tasks.
  if (x < LABELS && !event.ctrlKey && event.currentTarget === $("scroll")) return;
  event.preventDefault();
  const [dx, dy] = event.shiftKey && !event.deltaX ? [event.deltaY, 0] : [event.deltaX, event.deltaY];
  if (!event.ctrlKey && Math.abs(dx) > Math.abs(dy)) show(view.start + dx * unit / scale(), view.end - view.start);
  else zoom(Math.exp(clamp(dy * unit * (event.ctrlKey ? 0.01 : 0.0022), -1.2, 1.2)), event.currentTarget === $("scroll") ? time(x) : undefined);
}

/** Drags, clicks and pinches on the lanes. */
function listenToLanes(canvas) {
  const pointers = new Map();
  let drag = null;
  const at = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
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
    drag = { ...point, start: view.start, scroll: $("scroll").scrollTop, moved: false, from: measuring ? time(point.x) : null };
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
    if (pointers.size) drag = { ...[...pointers.values()][0], start: view.start, scroll: $("scroll").scrollTop, moved: true, from: null };
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => hoverAt(null));
  canvas.addEventListener("dblclick", (event) => {
    const found = hit(at(event).x, at(event).y);
    if (found?.what === "span") fit(data.spans.start[found.index], data.spans.end[found.index]);
    if (found?.what === "running") fit(cpus[found.cpu].running.start[found.index], cpus[found.cpu].running.end[found.index]);
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
  if (found?.what === "span" || found?.what === "mark") choose(found.what, found.index);
  else if (!found) choose(null);
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
    if (drag.grip === "start") show(Math.min(drag.start + by, drag.end - SHORTEST), drag.end - Math.min(Math.max(drag.start + by, 0), drag.end - SHORTEST));
    else if (drag.grip === "end") show(drag.start, drag.end + by - drag.start);
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
    document.documentElement.style.colorScheme = matchesDark() ? "light" : "dark";
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
  Object.assign(canvas.style, { width: `${clientWidth}px`, height: `${clientHeight}px`, marginBottom: `${-clientHeight}px` });
  paint();
}

function showHeader() {
  const { title, command, machine, events, lost, end, exit, reports, timed_out } = data;
  document.title = `${title}: trace`;
  $("title").textContent = title;
  $("command").textContent = $("command").title = command;
  const [words, tone] = outcome();
  Object.assign($("outcome"), { textContent: words, hidden: false, className: `badge ${tone}` });
  if (lost > 0) Object.assign($("lost"), { textContent: `the first ${plural(lost, "event")} lost`, hidden: false, title: "The ring was full, and newer events were kept in place of these. More room: trace=MIB." });
  const fact = (value, what) => make("span", {}, make("b", {}, value), ` ${what}`);
  $("facts").append(make("span", {}, machine), fact(number(events), "events"), fact(number(end), "instructions"), fact(number(data.tasks.length), "tasks"));
  const legend = [["user", "program at EL0"], ["syscall", "system call"], ["irq", "interrupt"], ["handler", "its handler"], ["fault", "fault"], ["brk", "breakpoint"], ["serror", "SError"], ["other", "other"], ["kernel", "kernel, idle"], ["off", "off the CPU"], ["masked", "IRQs masked"]];
  const classes = new Set(data.kinds.map((kind) => kind.class));
  const there = legend.filter(([name]) => !(name in CLASSES) || classes.has(name));
  $("legend").append(...there.map(([name, text]) => make("li", {}, swatch(name), text)));
  // A trace of a crash ends in the report of the crash.
  const crashed = reports.length > 0 && (exit === 121 || (exit > 128 && !timed_out && reports.at(-1).kind !== "warning"));
  if (reports.length) {
    const text = crashed ? "the report of the crash" : plural(reports.length, "report");
    Object.assign($("to-report"), { textContent: text, hidden: false, onclick: () => toReport(reports.length - 1) });
  }
  return crashed;
}

function fail(problem) {
  const text = problem instanceof Problem ? problem : new Problem("The page could not show this trace", String(problem?.message ?? problem));
  ventry.error = `${text.title}: ${text.message}`;
  $("search").hidden = $("tools").hidden = true;
  $("main").replaceWith(make("main", { id: "main", role: "alert", style: "display: block" }, make("p", { class: `failure ${text.calm ? "calm" : ""}` }, make("b", {}, text.title), text.message)));
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
  const crashed = showHeader();
  showCosts();
  $("spacer").style.height = `${pinned() + groups.at(-1).end + GAP}px`;
  view.end = Math.max(data.end, 1);
  listen();
  resize();
  choose(null);
  const chosen = recall();
  if (crashed && !(chosen && state.selection)) choose("report", data.reports.length - 1);
  paint();
}

/** Where a span is drawn, in pixels of the page. */
function rect(i) {
  const row = rowOf(i), { left, top } = $("lanes").getBoundingClientRect(), { start, end } = data.spans;
  return { left: left + px(start[i]), right: left + px(end[i]), top: top + pinned() + row.y - $("scroll").scrollTop, height: ROW };
}

// For whoever tries the page from outside, tests above all.
const ventry = (window.ventry = { view, stats, state, select, choose, search, step, fit, show, zoom, rect, hit, rows: () => groups.flatMap((group) => group.rows), pinned: () => pinned(), colours: () => colours });
ventry.ready = open().catch(fail).then(() => ventry);
