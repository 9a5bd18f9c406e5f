// Memory and tasks over time: stacked areas by uPlot, named at their right edge, with a legend that reads the figures under the
// pointer, and the same figures as a table. A click chooses the snapshot below, with shift the base.
/*! The charts are drawn by uPlot 1.6.32.

The MIT License (MIT)

Copyright (c) 2022 Leon Sorokin

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in
all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN
THE SOFTWARE. */
import uPlot from "uplot";
import raw from "./data.js";
import { CLOCK_STEPS, amount, bytes, clock, count, duration } from "./units.js";
import { h, replace } from "./dom.js";

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const live = new Set();
export const redraw = () => { for (const c of live) c.build(); };

// Areas from below; lines lie over them.
const PARTS = [
  ["heap in use", p => p === "heap-in-use"], ["heap idle", p => p === "heap-idle"], ["heap lazily freed", p => p === "heap-lazy-free"],
  ["stacks", p => p === "stack"], ["agent", p => p === "agent"], ["program and libraries", p => p === "image" || p === "file"], ["other", () => true],
];

export function memorySeries(list) {
  const at = list.map(s => s.index), rows = PARTS.map(([name]) => ({ name, values: at.map(() => 0) }));
  for (const part of raw.parts) {
    const k = PARTS.findIndex(([, is]) => is(part.name));
    at.forEach((s, i) => { rows[k].values[i] += part.values[s]; });
  }
  const areas = rows.filter(r => r.values.some(v => v > 0));
  const rss = raw.rss[0], lines = [];
  if (rss) lines.push({ name: "RSS", values: at.map(s => rss.values[s] || null), ink: true });
  lines.push({ name: list.some(s => s.trigger === "import") ? "blocks in use" : "blocks in use, exact", values: list.map(s => s.live[0]), dash: [5, 3], ink: true });
  if (list.some(s => s.lost[0])) lines.push({ name: "unreachable, exact", values: list.map(s => s.lost[0]), bad: true });
  return { areas, lines, unit: "bytes" };
}

export function taskSeries(list) {
  const rows = raw.tasks.map(t => ({ name: t.name, values: list.map(s => t.values[s.index]), bad: t.name.endsWith(" leaked") })).filter(t => t.values.some(v => v > 0));
  rows.sort((a, b) => (b.bad - a.bad) || Math.max(...b.values) - Math.max(...a.values));
  if (rows.length > 8) {
    const rest = rows.splice(7);
    rows.push({ name: `${rest.length} others`, values: list.map((_, i) => rest.reduce((sum, r) => sum + r.values[i], 0)) });
  }
  return { areas: rows, lines: [], unit: "count" };
}

const tick = unit => unit === "bytes" ? v => bytes(v).replace(".0", "") : v => Number.isInteger(v) ? count(v) : "";

// pick(index of list, shift); chosen() gives [shown, base] as indexes of list.
export function chart(title, list, { areas, lines, unit }, pick, chosen) {
  const box = h("div", { class: "plot" }), note = h("div", { class: "readout", "aria-live": "off" });
  const legend = h("ul", { class: "legend" });
  const all = [...lines, ...[...areas].reverse()];
  let plot = null, at = list.length - 1;
  const colour = (s, i) => s.bad ? css("--bad") : s.ink ? css("--ink") : css(`--area-${i % 8}`);
  const read = i => {
    at = i;
    const s = list[i];
    replace(note, `snapshot ${s.seq}`, s.label || s.trigger ? ` (${s.label || s.trigger})` : "", `, at ${duration(s.at_ms)}`);
    replace(legend, all.map(r => h("li", { class: r.ink || r.bad && lines.includes(r) ? "line" : "" },
      h("i", { style: { background: lines.includes(r) ? "none" : colour(r, areas.indexOf(r)), borderColor: colour(r, areas.indexOf(r)) }, class: r.dash ? "dash" : lines.includes(r) ? "stroke" : "" }),
      h("span", {}, r.name), h("b", {}, r.values[i] === null ? "–" : amount(r.values[i], unit)))));
  };
  const sums = [];
  areas.forEach((a, k) => sums.push(a.values.map((v, i) => v + (k ? sums[k - 1][i] : 0))));
  // From the top area down, so that each band is filled to the one below.
  const order = areas.map((_, k) => areas.length - 1 - k);

  function build() {
    if (plot) plot.destroy();
    const width = Math.max(260, box.clientWidth), height = Math.max(180, Math.min(280, width * 0.42)), grid = css("--rule"), ink = css("--dim");
    const font = "11px " + css("--sans"), labels = width > 520;
    plot = new uPlot({
      width, height, padding: [10, labels ? 118 : 10, 0, 4],
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } }, legend: { show: false },
      scales: { x: { time: false, range: (u, lo, hi) => lo === hi ? [lo - 0.5, hi + 0.5] : [lo, hi] }, y: { range: (u, lo, hi) => [0, Math.max(hi * 1.05, 1)] } },
      axes: [
        { stroke: ink, font, grid: { show: false }, ticks: { stroke: grid, size: 4 }, values: (u, v) => v.map(clock), incrs: CLOCK_STEPS, size: 28, space: 70 },
        { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, values: (u, v) => v.map(tick(unit)), size: 64, incrs: unit === "bytes" ? Array.from({ length: 44 }, (_, i) => 2 ** i) : undefined },
      ],
      series: [{}, ...order.map(k => ({ label: areas[k].name, stroke: css("--paper"), width: 1, fill: colour(areas[k], k), points: { show: list.length < 3 } })),
        ...lines.map(l => ({ label: l.name, stroke: colour(l), width: 1.5, dash: l.dash, points: { show: list.length < 3 } }))],
      bands: [],
      hooks: {
        setCursor: [u => { if (u.cursor.idx !== null && u.cursor.idx !== undefined) read(u.cursor.idx); }],
        draw: [u => marks(u, labels, font)],
      },
    }, [list.map(s => s.at_ms / 1000), ...order.map(k => sums[k]), ...lines.map(l => l.values)], box);
    plot.over.addEventListener("click", e => { if (plot.cursor.idx !== null) pick(plot.cursor.idx, e.shiftKey); });
  }

  // Names at the right edge, and where the two chosen snapshots are.
  function marks(u, labels, font) {
    const ctx = u.ctx, dpr = devicePixelRatio, { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.font = font.replace(/^(\d+)/, (_, n) => n * dpr);
    chosen().forEach((i, k) => {
      if (i === undefined || i < 0) return;
      const x = Math.round(u.valToPos(list[i].at_ms / 1000, "x", true)) + 0.5;
      ctx.strokeStyle = css("--accent");
      ctx.setLineDash(k ? [2 * dpr, 3 * dpr] : []);
      ctx.lineWidth = dpr;
      ctx.beginPath(); ctx.moveTo(x, top); ctx.lineTo(x, top + height); ctx.stroke();
    });
    if (labels) {
      const last = list.length - 1, free = [];
      ctx.textBaseline = "middle";
      ctx.textAlign = "left";
      const label = (name, v, colour) => {
        const y = u.valToPos(v, "y", true), gap = 13 * dpr;
        if (free.some(f => Math.abs(f - y) < gap)) return;
        free.push(y);
        ctx.fillStyle = colour;
        ctx.fillText(name, left + width + 6 * dpr, y);
      };
      lines.forEach(l => { if (l.values[last] !== null) label(l.name.replace(", exact", ""), l.values[last], l.bad ? css("--bad") : css("--ink")); });
      areas.forEach((a, k) => { if (a.values[last] / (sums[sums.length - 1][last] || 1) > 0.04) label(a.name.length > 20 ? a.name.slice(0, 19) + "…" : a.name, sums[k][last] - a.values[last] / 2, css("--dim")); });
    }
    ctx.restore();
  }

  const table = h("details", { class: "numbers" }, h("summary", {}, "as a table"));
  table.addEventListener("toggle", () => {
    if (!table.open || table.children.length > 1) return;
    const step = Math.max(1, Math.ceil(list.length / 200)), rows = list.filter((_, i) => i % step === 0 || i === list.length - 1);
    table.append(h("div", { class: "scroll" }, h("table", { class: "figures" },
      h("thead", {}, h("tr", {}, ["snapshot", "at", ...all.map(r => r.name)].map(t => h("th", { scope: "col" }, t)))),
      h("tbody", {}, rows.map(s => h("tr", {}, h("th", { scope: "row" }, s.seq), h("td", {}, duration(s.at_ms)), all.map(r => h("td", {}, r.values[list.indexOf(s)] === null ? "–" : amount(r.values[list.indexOf(s)], unit)))))))));
  });
  const key = e => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[e.key];
    if (!step) return;
    e.preventDefault();
    pick(Math.max(0, Math.min(list.length - 1, (chosen()[0] ?? at) + step)), e.shiftKey);
  };
  box.tabIndex = 0;
  box.setAttribute("role", "slider");
  box.setAttribute("aria-label", `${title}: snapshot shown`);
  box.setAttribute("aria-valuemin", 1);
  box.setAttribute("aria-valuemax", list.length);
  box.addEventListener("keydown", key);
  const update = () => {
    const i = chosen()[0] ?? list.length - 1;
    box.setAttribute("aria-valuenow", i + 1);
    box.setAttribute("aria-valuetext", `snapshot ${list[i].seq}, ` + all.map(r => `${r.name} ${r.values[i] === null ? "unknown" : amount(r.values[i], unit)}`).join(", "));
    read(i);
    if (plot) plot.redraw(false);
  };
  const el = h("figure", { class: "chart" }, h("figcaption", {}, h("h3", {}, title), note), box, legend, table);
  const self = { el, build, update, close: () => { live.delete(self); if (plot) plot.destroy(); } };
  live.add(self);
  return self;
}
