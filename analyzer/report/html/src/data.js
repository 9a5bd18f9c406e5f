// The recording inside the page: analyzer/report/html_stacks.c says how it is packed.
//
// Nodes are numbered so that a parent comes before its children: sums over the tree are one loop from the end.
const raw = JSON.parse(document.getElementById("data").textContent);
export default raw;

function unpack(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  let at = 0;
  const uint = () => {
    let v = 0, scale = 1, b;
    do { b = bytes[at++]; v += (b & 127) * scale; scale *= 128; } while (b & 128);
    return v;
  };
  return { uint, int: () => { const v = uint(); return v % 2 ? -(v + 1) / 2 : v / 2; }, more: () => at < bytes.length };
}

export const functions = raw.functions.map(([name, module, file, user], id) =>
  ({ id, name: raw.strings[name], module: raw.strings[module], file: raw.strings[file], user: !!user }));
export const ROOT = 0;
const REST = functions.push({ id: functions.length, name: "", module: "", file: "", user: false, rest: true }) - 1;

const parents = [0], fns = [-1], sites = [];
for (const p = unpack(raw.nodes); p.more();) { parents.push(parents.length - p.uint()); fns.push(p.uint()); }
for (const p = unpack(raw.sites); p.more();) sites.push(p.uint());
// One more node, for what the page leaves out.
export const restNode = parents.push(ROOT) - 1;
fns.push(REST);
functions[REST].name = `(${(raw.stacks - sites.length).toLocaleString("en")} smaller stacks)`;

export const parent = Int32Array.from(parents), fn = Int32Array.from(fns), nodes = parent.length;
export const children = Array.from({ length: nodes }, () => []);
for (let i = 1; i < nodes; i++) children[parent[i]].push(i);

// Has no node above it of the same function: recursion counts once.
export const outermost = new Uint8Array(nodes);
for (let i = 1; i < nodes; i++) {
  let a = parent[i];
  while (a && fn[a] !== fn[i]) a = parent[a];
  outermost[i] = a ? 0 : 1;
}

export const TITLES = {
  inuse_space: "in use, bytes", inuse_objects: "in use, blocks", alloc_space: "allocated since the start, bytes",
  unreachable_space: "unreachable, bytes", tasks: "tasks, by where they wait", tasks_created: "tasks, by where they were created",
};
export const metrics = raw.metrics.filter(m => m.totals.some(v => v > 0));
if (!metrics.length) metrics.push(raw.metrics[0]);

// Values of all sites at a snapshot, the rest last.
const cache = new Map();
function siteValues(metric, snapshot) {
  const key = metric.name + snapshot;
  if (cache.has(key)) return cache.get(key);
  const out = new Float64Array(sites.length + 1), p = unpack(metric.changes);
  let kept = 0;
  for (let i = 0; i < sites.length; i++) {
    let at = 0;
    for (let n = p.uint(); n > 0; n--) { at += p.uint(); const v = p.int(); if (at <= snapshot) out[i] += v; }
    kept += out[i];
  }
  out[sites.length] = Math.max(0, metric.totals[snapshot] - kept);
  if (cache.size > 24) cache.clear();
  cache.set(key, out);
  return out;
}

// Per node: self, total; of a difference also width, the sum of what grew and what shrank below it.
export function measure(metric, snapshot, base) {
  const now = siteValues(metric, snapshot), was = base >= 0 ? siteValues(metric, base) : null;
  const self = new Float64Array(nodes), total = new Float64Array(nodes), width = was ? new Float64Array(nodes) : total;
  for (let i = 0; i <= sites.length; i++) {
    const node = i < sites.length ? sites[i] : restNode, v = now[i] - (was ? was[i] : 0);
    self[node] += v;
    total[node] += v;
    if (was) width[node] += Math.abs(v);
  }
  for (let i = nodes - 1; i > 0; i--) {
    total[parent[i]] += total[i];
    if (was) width[parent[i]] += width[i];
  }
  return { self, total, width, diff: !!was, unit: metric.unit, snapshot, base };
}

// Flat and cumulative figures of functions.
export function byFunction(m) {
  const rows = functions.map(f => ({ f, flat: 0, cum: 0, weight: 0 }));
  for (let i = 1; i < nodes; i++) {
    const r = rows[fn[i]];
    r.flat += m.self[i];
    if (!outermost[i]) continue;
    r.cum += m.total[i];
    r.weight += m.width[i];
  }
  return rows.filter(r => r.weight > 0);
}

export function neighbours(m, id) {
  const callers = new Map(), callees = new Map();
  const put = (map, key, v, w) => { const x = map.get(key) || { v: 0, w: 0 }; x.v += v; x.w += w; map.set(key, x); };
  for (let i = 1; i < nodes; i++) {
    if (fn[i] !== id) continue;
    if (outermost[i]) put(callers, fn[parent[i]], m.total[i], m.width[i]);
    for (const c of children[i]) if (fn[c] !== id) put(callees, fn[c], m.total[c], m.width[c]);
  }
  const list = map => [...map].map(([k, x]) => ({ f: functions[k] || null, v: x.v, w: x.w })).filter(x => x.w > 0).sort((a, b) => b.w - a.w);
  return { callers: list(callers), callees: list(callees) };
}

export const processes = raw.processes;
export const snapshots = raw.snapshots.map((s, index) => ({ ...s, index }));
export const ofProcess = id => snapshots.filter(s => s.process === id);
export function snapshotName(s) {
  return `${s.seq} · ${s.label || s.trigger} · at ${s.at_ms < 1000 ? s.at_ms + " ms" : (s.at_ms / 1000).toFixed(s.at_ms < 1e4 ? 1 : 0) + " s"}`;
}
