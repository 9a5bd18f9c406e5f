// Flame graph, root on top. Boxes are elements: they can be reached by keyboard, read aloud, printed, and found by the browser.
//
// A difference is drawn as pprof draws it: a box is as wide as what grew plus what shrank below it, and the part of it that is
// filled is the net change, red with + where it grew, green with − and hatching where it shrank.
import { ROOT, children, fn, functions, nodes, parent } from "./data.js";
import { amount, percent, signed } from "./units.js";
import { h, replace } from "./dom.js";

const ROW = 19, LEAST = 1.2, MOST_BOXES = 4000;

export function flame({ onFocus, onFunction }) {
  const el = h("div", { class: "flame", role: "tree", "aria-label": "Flame graph" });
  const status = h("p", { class: "status", "aria-live": "polite" });
  let m = null, focus = ROOT, found = null, boxes = new Map(), current = ROOT;

  const value = i => m.diff ? signed(m.total[i], m.unit) : amount(m.total[i], m.unit);
  const label = i => i === ROOT ? "all" : functions[fn[i]].name;
  const shade = f => f.rest ? "rest" : f.user ? "user" : "lib";
  function tint(i) {
    let hash = 0;
    for (const c of functions[fn[i]].module) hash = hash * 31 + c.charCodeAt(0) | 0;
    return `t${Math.abs(hash) % 4}`;
  }
  function describe(i) {
    const whole = m.total[ROOT], f = functions[fn[i]];
    let s = `${label(i)}: ${value(i)}`;
    if (!m.diff) s += `, ${percent(m.total[i], whole)} of all`;
    if (m.self[i] && i !== ROOT) s += `, of its own ${m.diff ? signed(m.self[i], m.unit) : amount(m.self[i], m.unit)}`;
    if (f && f.module) s += ` · ${f.file || f.module}`;
    return s;
  }

  function box(i, x, w, depth, dim) {
    const f = functions[fn[i]], net = m.diff && m.width[i] ? Math.abs(m.total[i]) / m.width[i] : 0;
    const hit = found && i !== ROOT && found.has(fn[i]);
    const cls = ["box", i === ROOT ? "root" : shade(f), m.diff ? m.total[i] > 0 ? "grew" : m.total[i] < 0 ? "shrank" : "even" : i === ROOT ? "" : tint(i), hit ? "hit" : found ? "miss" : "", dim ? "above" : ""];
    const b = h("div", { class: cls.join(" "), role: "treeitem", tabindex: -1, "aria-level": depth + 1, "aria-label": describe(i), "data-node": i,
      "aria-expanded": children[i].length ? String(!dim) : null,
      style: { left: x * 100 + "%", width: `max(calc(${w * 100}% - 1px), 1px)`, top: depth * ROW + "px" } });
    if (m.diff && net) b.append(h("i", { style: { width: net * 100 + "%" } }));
    if (w * el.clientWidth > 26) b.append(h("span", {}, label(i), m.diff && w * el.clientWidth > 90 ? `  ${signed(m.total[i], m.unit)}` : ""));
    boxes.set(i, b);
    return b;
  }

  function draw() {
    const out = document.createDocumentFragment(), width = el.clientWidth || 900;
    boxes = new Map();
    let depth = 0, deepest = 0, n = 0, hidden = 0;
    const line = [];
    for (let i = focus; i !== ROOT; i = parent[i]) line.unshift(i);
    if (focus !== ROOT) line.unshift(ROOT), line.pop();
    for (const i of line) out.append(box(i, 0, 1, depth++, true));
    const todo = [[focus, 0, 1, depth]];
    while (todo.length && n < MOST_BOXES) {
      const [i, x, w, d] = todo.pop();
      out.append(box(i, x, w, d, false));
      n++;
      deepest = Math.max(deepest, d);
      let at = x;
      const below = children[i].filter(c => m.width[c] > 0).sort((a, b) => m.width[b] - m.width[a]), next = [];
      for (const c of below) {
        const cw = m.width[i] ? w * m.width[c] / m.width[i] : 0;
        if (cw * width >= LEAST) next.push([c, at, cw, d + 1]); else hidden++;
        at += cw;
      }
      todo.push(...next.reverse());
    }
    el.style.height = (deepest + 1) * ROW + "px";
    replace(el, out);
    if (!boxes.has(current)) current = focus;
    boxes.get(current)?.setAttribute("tabindex", 0);
    say(current);
    el.dataset.boxes = n;
    el.dataset.hidden = hidden;
  }

  const say = i => replace(status, describe(i));
  function go(i) {
    const b = boxes.get(i);
    if (!b) return;
    boxes.get(current)?.setAttribute("tabindex", -1);
    current = i;
    b.setAttribute("tabindex", 0);
    b.focus();
    say(i);
  }
  function zoom(i, keep) {
    focus = i;
    current = i;
    draw();
    onFocus(i);
    if (keep) boxes.get(i)?.focus();
  }
  const near = (i, step) => {
    const row = boxes.get(i)?.style.top, list = [...boxes].filter(([, b]) => b.style.top === row).sort((a, b) => parseFloat(a[1].style.left) - parseFloat(b[1].style.left)).map(([k]) => k);
    return list[list.indexOf(i) + step];
  };

  el.addEventListener("click", e => {
    const b = e.target.closest("[data-node]");
    if (!b) return;
    const i = +b.dataset.node;
    zoom(i, true);
    if (i !== ROOT) onFunction(fn[i]);
  });
  el.addEventListener("pointerover", e => { const b = e.target.closest("[data-node]"); if (b) say(+b.dataset.node); });
  el.addEventListener("pointerleave", () => say(current));
  el.addEventListener("keydown", e => {
    const i = current;
    const below = () => children[i].filter(c => boxes.has(c)).sort((a, b) => m.width[b] - m.width[a])[0];
    const to = { ArrowUp: () => i === ROOT ? i : parent[i], ArrowDown: below, ArrowLeft: () => near(i, -1), ArrowRight: () => near(i, 1), Home: () => focus }[e.key];
    if (to) { const j = to(); if (j !== undefined) go(j); e.preventDefault(); }
    else if (e.key === "Enter" || e.key === " ") { zoom(i, true); if (i !== ROOT) onFunction(fn[i]); e.preventDefault(); }
    else if (e.key === "Escape" || e.key === "Backspace") { zoom(e.key === "Escape" ? ROOT : parent[focus], true); e.preventDefault(); }
  });

  return {
    el, status, draw, zoom,
    get focus() { return focus; },
    show(measured) { m = measured; if (focus && !(m.width[focus] > 0)) focus = ROOT; if (!(m.width[current] > 0)) current = focus; draw(); },
    // Functions of that name: how many, and which share of all goes through them.
    search(text) {
      found = null;
      if (!text) { draw(); return null; }
      let match;
      try { const re = /^\/(.+)\/$/.exec(text); const r = re && new RegExp(re[1], "i"); match = r ? s => r.test(s) : s => s.toLowerCase().includes(text.toLowerCase()); } catch { match = () => false; }
      found = new Set(functions.filter(f => match(f.name) || match(f.file)).map(f => f.id));
      const covered = new Uint8Array(nodes), used = new Set();
      let sum = 0, net = 0;
      for (let i = 1; i < nodes; i++) {
        const hit = found.has(fn[i]);
        if (hit && m.width[i] > 0) used.add(fn[i]);
        covered[i] = hit || covered[parent[i]] ? 1 : 0;
        if (hit && !covered[parent[i]]) { sum += m.width[i]; net += m.total[i]; }
      }
      draw();
      return { functions: used.size, share: percent(sum, m.width[ROOT]) || "0%", value: m.diff ? signed(net, m.unit) : amount(net, m.unit) };
    },
  };
}
