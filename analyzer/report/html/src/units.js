// Figures in words, as the command line prints them.
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(n) {
  let v = Math.abs(n), i = 0;
  while (v >= 1023.95 && i < BINARY.length - 1) { v /= 1024; i++; }
  return (n < 0 ? "−" : "") + (i ? v.toFixed(1) : Math.round(v)) + "\u00a0" + BINARY[i];
}

export const count = n => (n < 0 ? "−" : "") + Math.abs(Math.round(n)).toString().replace(/\B(?=(\d{3})+$)/g, ",");
export const amount = (n, unit) => unit === "bytes" ? bytes(n) : count(n);
export const signed = (n, unit) => (n > 0 ? "+" : "") + amount(n, unit);

export function percent(part, whole) {
  if (!whole) return "";
  const p = 100 * part / whole;
  return (p < 0 ? "−" : "") + (Math.abs(p) < 9.95 ? Math.abs(p).toFixed(1) : Math.round(Math.abs(p))) + "%";
}

export function duration(ms) {
  const s = ms / 1000;
  if (s < 1) return Math.round(ms) + "\u00a0ms";
  if (s < 120) return (s < 10 ? s.toFixed(1) : Math.round(s)) + "\u00a0s";
  if (s < 7200) return Math.round(s / 60) + "\u00a0min";
  if (s < 48 * 3600) return Math.round(s / 3600) + "\u00a0h";
  return Math.round(s / 86400) + "\u00a0days";
}

// Of an axis: whole numbers of one unit.
export function clock(s) {
  const [unit, name] = s < 120 ? [1, "s"] : s < 7200 ? [60, "min"] : s < 172800 ? [3600, "h"] : [86400, "days"];
  return +(s / unit).toFixed(2) + "\u00a0" + name;
}
export const CLOCK_STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 2592000];

export const time = ms => new Date(ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";
