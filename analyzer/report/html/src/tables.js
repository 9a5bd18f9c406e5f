// Functions by flat and cumulative figures, and the callers and callees of one.
import { ROOT, byFunction, neighbours } from "./data.js";
import { amount, percent, signed } from "./units.js";
import { h, replace } from "./dom.js";

const FIRST = 40;

export function tables(onFunction) {
  const body = h("tbody"), panel = h("div", { class: "panel", "aria-live": "polite" });
  let m = null, sort = "cum", filter = "", all = false, chosen = -1;
  const figure = v => m.diff ? signed(v, m.unit) : amount(v, m.unit);
  const heads = { flat: h("th", { scope: "col" }), cum: h("th", { scope: "col" }) };
  for (const key of ["flat", "cum"]) heads[key].append(h("button", { onclick: () => { sort = key; rows(); }, title: key === "flat" ? "in the function itself" : "in the function and what it calls" }, key));
  const more = h("button", { class: "plain", onclick: () => { all = !all; rows(); } });
  const el = h("div", { class: "tables" },
    h("div", { class: "list" }, h("table", { class: "figures functions" }, h("caption", {}, "Functions"), h("thead", {}, h("tr", {}, heads.flat, h("th", { scope: "col" }, "flat%"), heads.cum, h("th", { scope: "col" }, "cum%"), h("th", { scope: "col", class: "name" }, "function"))), body), more),
    panel);

  function rows() {
    const whole = m.diff ? m.width[ROOT] : m.total[ROOT];
    let list = byFunction(m).filter(r => !filter || r.f.name.toLowerCase().includes(filter) || r.f.file.toLowerCase().includes(filter));
    list.sort((a, b) => Math.abs(b[sort]) - Math.abs(a[sort]) || b.weight - a.weight);
    for (const key of ["flat", "cum"]) heads[key].setAttribute("aria-sort", sort === key ? "descending" : "none");
    const shown = all ? list.slice(0, 2000) : list.slice(0, FIRST);
    replace(more, all ? "fewer" : `all ${list.length} functions`);
    more.hidden = list.length <= FIRST;
    replace(body, shown.map(r => h("tr", { class: r.f.id === chosen ? "chosen" : "" },
      h("td", {}, r.flat ? figure(r.flat) : "0"), h("td", { class: "dim" }, r.flat ? percent(r.flat, whole) : ""),
      h("td", {}, figure(r.cum)), h("td", { class: "dim" }, percent(r.cum, whole)),
      h("td", { class: "name" }, r.f.rest ? r.f.name : h("button", { class: "code", onclick: () => onFunction(r.f.id) }, r.f.name)))));
  }

  function side(title, list, none) {
    const max = list.length ? list[0].w : 1;
    return h("section", {}, h("h4", {}, title), list.length ? h("table", { class: "figures" }, h("tbody", {}, list.slice(0, 25).map(x => h("tr", {},
      h("td", {}, figure(x.v)), h("td", { class: "bar" }, h("i", { style: { width: Math.max(1, 100 * x.w / max) + "%" } })),
      h("td", { class: "name" }, x.f && !x.f.rest ? h("button", { class: "code", onclick: () => onFunction(x.f.id) }, x.f.name) : x.f ? x.f.name : "(root)"))))) : h("p", { class: "note" }, none));
  }

  function details() {
    const r = chosen >= 0 && byFunction(m).find(x => x.f.id === chosen);
    if (!r) { replace(panel, h("p", { class: "note" }, "Choose a function to see its callers and callees.")); return; }
    const { callers, callees } = neighbours(m, chosen);
    replace(panel, h("h3", {}, h("code", {}, r.f.name)), h("p", { class: "note" }, [r.f.file, r.f.module].filter(Boolean).join(" · ")),
      h("p", { class: "sum" }, "flat ", h("b", {}, figure(r.flat)), "  cum ", h("b", {}, figure(r.cum))),
      side("Callers", callers, "None: it is the outermost function."), side("Callees", callees, "None: what it has is its own."));
  }

  return {
    el,
    show(measured) {
      m = measured;
      const list = byFunction(m);
      // Open with what has most by itself, the program's own functions first.
      if (!list.some(r => r.f.id === chosen)) chosen = (list.filter(r => r.f.user).sort((a, b) => Math.abs(b.flat) - Math.abs(a.flat) || b.weight - a.weight)[0] || { f: { id: -1 } }).f.id;
      rows();
      details();
    },
    filter(text) { filter = text.toLowerCase().replace(/^\/|\/$/g, ""); rows(); },
    choose(id) { chosen = id; rows(); details(); },
  };
}
