// Elements. Text becomes text nodes and nothing else, so a name can never become markup.
// What a terminal would obey or a reader could not see is written out.
const visible = s => s.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, c => c < "\u0100" ? "\\x" + c.charCodeAt(0).toString(16).padStart(2, "0") : "\\u{" + c.charCodeAt(0).toString(16) + "}");

export function h(tag, props, ...children) {
  const el = tag.includes(":") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) el.addEventListener(k.slice(2), v);
    else if (k === "style") Object.assign(el.style, v);
    else if (v === true) el.setAttribute(k, "");
    else el.setAttribute(k, v);
  }
  add(el, children);
  return el;
}

function add(el, children) {
  for (const c of children)
    if (Array.isArray(c)) add(el, c);
    else if (c !== null && c !== undefined && c !== false) el.append(c instanceof Node ? c : visible(String(c)));
}

export function replace(el, ...children) {
  el.textContent = "";
  add(el, children);
}
