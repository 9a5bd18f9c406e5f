// The page: verdict and findings, then memory and tasks over time, then where memory and tasks are.
import raw, { ROOT, TITLES, fn, functions, measure, metrics, ofProcess, processes, snapshotName, snapshots } from "./data.js";
import { amount, signed, time } from "./units.js";
import { h, replace } from "./dom.js";
import { findings } from "./findings.js";
import { chart, memorySeries, redraw, taskSeries } from "./charts.js";
import { flame } from "./flame.js";
import { tables } from "./tables.js";

const state = { metric: metrics[0], snapshot: raw.shown, base: raw.base, process: snapshots.length ? snapshots[raw.shown].process : 0 };
const page = document.getElementById("page");
let charts = [];

// ---- light and dark
const themes = ["auto", "light", "dark"];
const remember = { get: () => { try { return localStorage.getItem("seep-theme"); } catch { return null; } }, set: v => { try { localStorage.setItem("seep-theme", v); } catch { /* a file: page may have no storage */ } } };
const themeButton = h("button", { class: "plain", id: "theme", onclick: () => setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % 3]) });
function setTheme(t) {
  document.documentElement.dataset.theme = t;
  replace(themeButton, `theme: ${t}`);
  remember.set(t);
  redraw();
}

// ---- the explorer
const view = flame({ onFocus: i => { crumbs.hidden = i === ROOT; }, onFunction: id => table.choose(id) });
const table = tables(id => { table.choose(id); search.value = functions[id].name; find(); });
const crumbs = h("button", { class: "plain", hidden: true, onclick: () => view.zoom(ROOT, true) }, "whole graph (Esc)");
const total = h("p", { class: "total" });
const result = h("output", { for: "search" });
const search = h("input", { type: "search", id: "search", placeholder: "function or file, or /regex/", "aria-label": "Search functions", autocomplete: "off", spellcheck: "false", oninput: () => find() });
const options = (select, list, chosen) => { replace(select, list.map(([v, t]) => h("option", { value: v }, t))); select.value = String(chosen); };
const metricSelect = h("select", { id: "metric", onchange: e => { state.metric = metrics.find(m => m.name === e.target.value); show(); } });
const processSelect = h("select", { id: "process", onchange: e => setProcess(+e.target.value) });
const shownSelect = h("select", { id: "shown", onchange: e => setSnapshot(+e.target.value, state.base) });
const baseSelect = h("select", { id: "base", onchange: e => setSnapshot(state.snapshot, +e.target.value) });
const swap = h("button", { id: "diff", class: "plain", "aria-pressed": "false", title: "the difference to the first snapshot, or back", onclick: () => toggleDiff() }, "difference");
const key = h("p", { class: "key" });

function find() {
  const r = view.search(search.value.trim());
  table.filter(search.value.trim());
  replace(result, r ? `${r.functions} function${r.functions === 1 ? "" : "s"}, ${r.value}, ${r.share}` : "");
}

function toggleDiff() {
  const list = ofProcess(state.process);
  const first = list[0].index === state.snapshot && list.length > 1 ? list[list.length - 1].index : list[0].index;
  setSnapshot(state.snapshot, state.base >= 0 ? -1 : first);
}

function setSnapshot(shown, base) {
  state.snapshot = shown;
  state.base = base === shown ? -1 : base;
  show();
}

function show() {
  if (!snapshots.length) return;
  const list = ofProcess(state.process), m = measure(state.metric, state.snapshot, state.base);
  options(shownSelect, list.map(s => [s.index, snapshotName(s)]), state.snapshot);
  options(baseSelect, [[-1, "nothing"], ...list.filter(s => s.index !== state.snapshot).map(s => [s.index, snapshotName(s)])], state.base);
  metricSelect.value = state.metric.name;
  swap.setAttribute("aria-pressed", String(m.diff));
  swap.disabled = list.length < 2;
  view.show(m);
  table.show(m);
  const s = snapshots[state.snapshot];
  const estimate = state.metric.unit === "bytes" && s.rate > 1 ? ", estimated from samples" : "";
  replace(total, m.diff ? ["net ", h("b", {}, signed(m.total[ROOT], m.unit)), estimate] : [h("b", {}, amount(m.total[ROOT], m.unit)), " ", TITLES[state.metric.name] || state.metric.name, estimate]);
  replace(key, m.diff
    ? [h("span", { class: "swatch grew" }, "+"), " grew  ", h("span", { class: "swatch shrank" }, "−"), " shrank  · width: growth plus shrinkage below; filled: the net of both"]
    : [h("span", { class: "swatch user" }), " the program's code  ", h("span", { class: "swatch lib" }), " libraries"]);
  find();
  for (const c of charts) c.update();
}

function setProcess(id) {
  state.process = id;
  const list = ofProcess(id);
  if (!list.some(s => s.index === state.snapshot)) { state.snapshot = list[list.length - 1].index; state.base = -1; }
  processSelect.value = String(id);
  for (const c of charts) c.close();
  const pick = (i, shift) => shift ? setSnapshot(state.snapshot, list[i].index === state.base ? -1 : list[i].index) : setSnapshot(list[i].index, state.base);
  const chosen = () => [list.findIndex(s => s.index === state.snapshot), list.findIndex(s => s.index === state.base)];
  charts = [chart("Memory", list, memorySeries(list), pick, chosen)];
  const tasks = taskSeries(list);
  if (tasks.areas.length) charts.push(chart("Tasks", list, tasks, pick, chosen));
  replace(chartBox, charts.map(c => c.el));
  for (const c of charts) c.build();
  show();
}

const chartBox = h("div", { class: "charts" });
const label = (text, control) => h("label", {}, h("span", {}, text), control);

// From a finding to the flame graph: the metric that shows it, the function, the search.
function showFunction(name, f, wrap) {
  const process = wrap.process_id, want = wrap.tasks ? "tasks" : f.rule.startsWith("unreachable") ? "unreachable_space" : "inuse_space";
  state.metric = metrics.find(m => m.name === want) || state.metric;
  if (process !== state.process && ofProcess(process).length) setProcess(process);
  const at = ofProcess(state.process).find(s => s.seq === f.snapshot);
  if (at) setSnapshot(at.index, -1); else show();
  search.value = name;
  find();
  const hit = functions.find(x => x.name === name);
  if (hit) table.choose(hit.id);
  document.getElementById("explore").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

const help = h("details", { class: "keys" }, h("summary", {}, "Keys"), h("dl", {},
  [["/", "search"], ["arrows", "walk through the flame graph; in a chart, the snapshots"], ["Enter", "zoom into a box"], ["Esc", "whole graph; in the search, clear it"], ["Backspace", "zoom out by one"], ["[ ]", "previous, next snapshot"], ["d", "difference to the first snapshot, or back"]].map(([k, t]) => [h("dt", {}, h("kbd", {}, k)), h("dd", {}, t)])));

addEventListener("keydown", e => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName || "");
  if (e.key === "Escape" && document.activeElement === search) { search.value = ""; find(); search.blur(); return; }
  if (typing || e.ctrlKey || e.metaKey || e.altKey || !snapshots.length) return;
  const list = ofProcess(state.process), at = list.findIndex(s => s.index === state.snapshot);
  if (e.key === "/") { search.focus(); search.select(); e.preventDefault(); }
  else if (e.key === "d") { if (list.length > 1) toggleDiff(); }
  else if (e.key === "[" && at > 0) setSnapshot(list[at - 1].index, state.base);
  else if (e.key === "]" && at < list.length - 1) setSnapshot(list[at + 1].index, state.base);
});

const last = snapshots.length ? Math.max(...snapshots.map(s => s.unix_ms)) : 0;
replace(page,
  h("header", { class: "top" }, h("p", {}, h("b", {}, "seep"), " ", h("span", {}, raw.file)), h("p", {}, last ? time(last) : ""), themeButton),
  findings(showFunction),
  h("section", { "aria-labelledby": "t-time" }, h("div", { class: "bar" }, h("h2", { id: "t-time" }, "Over time"),
    processes.length > 1 ? label("process", processSelect) : null), chartBox),
  h("section", { id: "explore", "aria-labelledby": "t-where" },
    h("h2", { id: "t-where" }, "Where"),
    h("div", { class: "controls" }, label("show", metricSelect), label("at snapshot", shownSelect), label("minus", baseSelect), swap, h("div", { class: "find" }, search, result)),
    h("div", { class: "summary" }, total, key, crumbs), h("div", { class: "scroll flamebox" }, view.el), view.status, table.el, help),
  h("footer", {}, h("p", {}, `seep ${raw.version} · ${raw.stacks.toLocaleString("en")} stacks in ${snapshots.length.toLocaleString("en")} snapshot${snapshots.length === 1 ? "" : "s"}`)));

options(metricSelect, metrics.map(m => [m.name, TITLES[m.name] || m.name]), state.metric.name);
options(processSelect, processes.map(p => [p.id, `${p.command.slice(0, 60)} [${p.pid}]`]), state.process);
setTheme(themes.includes(remember.get()) ? remember.get() : "auto");
if (snapshots.length) setProcess(state.process);

let pending = 0;
addEventListener("resize", () => { cancelAnimationFrame(pending); pending = requestAnimationFrame(() => { redraw(); view.draw(); for (const c of charts) c.update(); }); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll(".finding details")) d.open = true; });
