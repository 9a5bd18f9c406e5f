// Verdict and findings, in the order and the words of `seep leaks`.
import raw from "./data.js";
import { bytes, count, duration } from "./units.js";
import { h } from "./dom.js";

const place = s => !s ? "" : s.file ? s.file.replace(/^(\.\/)+/, "") + (s.line ? ":" + s.line : "") : base(s.module);
const base = path => path ? path.slice(path.lastIndexOf("/") + 1) : "";
const name = s => !s ? "" : s.function ? (/[()\]]/.test(s.function) ? s.function : s.function + "()") : s.module ? `${base(s.module)}+${s.offset}` : s.offset;

function where(s, after) {
  if (!s) return ["not sampled, so its stack is not known; ", h("code", {}, "seep run --rate 1"), " records every stack"];
  return [h("code", {}, s.function ? name(s) : ""), s.function ? " " : "", h("code", { class: s.function ? "place" : "" }, s.function || s.file ? place(s) : name(s)), after ? ["  ", after] : ""];
}

function stack(title, frames, user) {
  if (!frames || !frames.length) return null;
  const rows = frames.map(f => h("tr", { class: f === user ? "site" : "" }, h("td", {}, h("code", {}, f.function ? name(f) : name(f)), f.inlined ? h("small", {}, " inlined") : ""),
    h("td", {}, h("code", { class: "place" }, f.function || f.file ? place(f) : base(f.module)))));
  return h("details", {}, h("summary", {}, `${title}, ${count(frames.length)} frame${frames.length === 1 ? "" : "s"}`), h("div", { class: "scroll" }, h("table", { class: "frames" }, h("tbody", {}, rows))));
}

const same = (a, b) => a && b && a.function === b.function && a.line === b.line && a.offset === b.offset;
// All that was noted, for whoever wants to check.
function evidence(f) {
  const list = Object.entries(f.evidence || {});
  const figure = (k, v) => typeof v !== "number" ? (typeof v === "object" ? JSON.stringify(v) : String(v)) : k.endsWith("_bytes") ? bytes(v) : k.endsWith("_ns") ? duration(v / 1e6) : Number.isInteger(v) ? count(v) : String(v);
  return list.length ? h("details", {}, h("summary", {}, "evidence"), h("table", { class: "frames" }, h("tbody", {},
    list.map(([k, v]) => h("tr", {}, h("td", {}, h("code", {}, k.replace(/_(ns|bytes)$/, "").replace(/_/g, " "))), h("td", {}, h("code", {}, figure(k, v)))))))) : null;
}

function finding(wrap, show) {
  const f = wrap.findings[0];
  if (!f) return null;
  const tasks = wrap.tasks, frames = f.stack || [], created = f.create_stack || [];
  const userFrame = frames.find(x => same(x, f.site)), site = frames.length ? f.site : null;
  const createdAt = created.length ? wrap.created_site : null;
  const line = (label, ...text) => [h("dt", {}, label), h("dd", {}, text)];
  return h("article", { class: "finding " + f.confidence, id: "f-" + f.id, tabindex: -1 },
    h("header", {},
      h("h3", {}, h("span", { class: "mark" }, f.confidence.toUpperCase()), " ", h("span", { class: "rule" }, f.rule)),
      h("p", { class: "amount" }, wrap.amount), h("a", { class: "id", href: "#f-" + f.id, title: "the same from run to run" }, f.id)),
    h("dl", {},
      site || !created.length ? line(tasks ? "waits" : "alloc", where(site, f.wait_reason)) : null,
      created.length ? line("created", where(createdAt)) : null,
      wrap.lines.map(([label, text]) => line(label, label === "hide" ? h("code", {}, text) : text))),
    stack("stack", frames, userFrame), stack("created by", created, created.find(x => same(x, createdAt))), evidence(f),
    site ? h("button", { class: "plain", onclick: () => show(site.function || name(site), f, wrap) }, "show in the flame graph") : null);
}

export function findings(show) {
  const leak = raw.verdict !== "CLEAN", several = raw.processes.length > 1;
  const list = [];
  let last = null;
  const order = new Map(raw.processes.map((p, i) => [p.id, i]));
  for (const w of [...raw.findings].sort((a, b) => order.get(a.process_id) - order.get(b.process_id))) {
    if (several && w.process_id !== last) {
      const p = raw.processes.find(x => x.id === w.process_id);
      if (p) list.push(h("h3", { class: "process" }, "In ", h("code", {}, p.command), ` [${p.pid}]`));
      last = w.process_id;
    }
    list.push(finding(w, show));
  }
  const left = raw.findings_total - raw.findings.length;
  if (left > 0) list.push(h("p", { class: "note" }, `… and ${count(left)} more findings, see `, h("code", {}, "seep leaks --limit 0")));
  return [
    h("section", { class: "verdict " + (leak ? "bad" : "good"), "aria-label": "Verdict" },
      h("h1", {}, raw.verdict, " ", h("span", {}, raw.counts)),
      h("div", { class: "about" }, raw.about.map(l => h("p", { class: l.startsWith("    ") ? (l.includes("incomplete:") ? "in warn" : "in") : "" }, l.trim())))),
    h("section", { "aria-labelledby": "t-findings" }, h("h2", { id: "t-findings" }, "Findings"), list.length ? list : h("p", {}, "Nothing was found."),
      raw.notes.filter(l => l).map(l => h("p", { class: "note" }, l)))];
}
