// Verdict and findings, in the order and the words of `seep leaks`.
import raw from "./data.js";
import { bytes, count } from "./units.js";
import { h } from "./dom.js";

const place = s => !s ? "" : s.file ? s.file.replace(/^(\.\/)+/, "") + (s.line ? ":" + s.line : "") : base(s.module);
const base = path => path ? path.slice(path.lastIndexOf("/") + 1) : "";
const name = s => !s ? "" : s.function ? (/[()\]]/.test(s.function) ? s.function : s.function + "()") : `${base(s.module) || ""}+${s.offset}`;

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
const BOTHER = { "do": 1, kept_bytes: 1, kept_objects: 1, no_proof: 1, direct: 1, indirect: 1 };

function evidence(f) {
  const e = f.evidence || {}, out = [];
  const line = (label, ...text) => out.push(h("dt", {}, label), h("dd", {}, text));
  if (e.no_proof) line("doubt", "no proof: ", e.no_proof);
  if (e.kept_bytes) line("keeps", `${bytes(e.kept_bytes)} in ${count(e.kept_objects || 0)} block${e.kept_objects === 1 ? "" : "s"} alive`);
  if (e.indirect && !e.direct) line("chain", "lost with other lost blocks that point to it: see to those first");
  else if (e.indirect) line("chain", `of the ${count(f.sampled_objects)} seen, ${count(e.indirect)} hang from other lost blocks`);
  const more = Object.entries(e).filter(([k]) => !(k in BOTHER));
  if (more.length) out.push(h("dt", {}, "evidence"), h("dd", {}, h("code", {}, more.map(([k, v]) => `${k.replace(/_/g, " ")} ${typeof v === "object" ? JSON.stringify(v) : v}`).join(" · "))));
  return out;
}

function finding(wrap, show) {
  const f = wrap.findings[0];
  if (!f) return null;
  const tasks = f.rule.startsWith("stuck-"), frames = f.stack || [], created = f.create_stack || [];
  const userFrame = frames.find(x => same(x, f.site)), site = frames.length ? f.site : null;
  const createdAt = created.length ? wrap.created_site : null;
  const line = (label, ...text) => [h("dt", {}, label), h("dd", {}, text)];
  return h("article", { class: "finding " + f.confidence, id: "f-" + f.id, tabindex: -1 },
    h("header", {},
      h("h3", {}, h("span", { class: "mark" }, f.confidence.toUpperCase()), " ", h("span", { class: "rule" }, f.rule)),
      h("p", { class: "amount" }, wrap.amount), h("a", { class: "id", href: "#f-" + f.id, title: "the same from run to run" }, f.id)),
    h("dl", {},
      line(tasks ? "waits" : "alloc", where(site, f.wait_reason)),
      created.length ? line("created", where(createdAt)) : null,
      f.proof ? line("proof", f.proof) : f.finds ? line("what", f.finds) : null,
      evidence(f),
      f.do ? line("do", f.do) : null,
      line("hide", h("code", {}, `seep gate --ignore ${f.id}`))),
    stack("stack", frames, userFrame), stack("created by", created, created.find(x => same(x, createdAt))),
    site ? h("button", { class: "plain", onclick: () => show(site.function || name(site), f, wrap.process_id) }, "show in the flame graph") : null);
}

export function findings(show) {
  const leak = raw.verdict === "LEAK", several = raw.processes.length > 1;
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
