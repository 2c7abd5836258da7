// Elements, numbers as texts, and lists that say what they leave out. Every text is set as text, never as markup.

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const known = (value) => value !== null && value !== undefined;
const percent = (value, digits = 1) => (known(value) ? (100 * value).toFixed(digits) : "");
const signed = (value, digits = 1) => {
  if (!known(value)) return "";
  const text = (100 * value).toFixed(digits);
  return Number(text) > 0 ? `+${text}` : Number(text) < 0 ? text.replace("-", "\u2212") : text.replace("-", "");
};
const between = (low, high, show) => (known(low) ? `[${show(low)}, ${show(high)}]` : "");
const count = (value) => (known(value) ? Number(value).toLocaleString("en") : "");
const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;
const pValue = (p) => (!known(p) ? "" : p < 0.0001 ? "< 0.0001" : p.toFixed(4));
const direction = (value) => (!known(value) || value === 0 ? "" : value > 0 ? "up" : "down");
const sureness = (p) => (!known(p) ? "" : p < 0.05 ? "sure" : "unsure");

/** A name of a user's, in its own direction of writing. */
const bdi = (text) => el("bdi", null, text);
/** The same, which may break after what joins its words. */
const breakable = (text) => el("bdi", null, ...String(text).split(/(?<=[_/-])/).flatMap((part, index) => (index ? [el("wbr"), part] : [part])));

/** Return a cell: its text, what it is sorted by, and how it looks. */
function cell(content, order, ...classes) {
  const node = el("td", { class: classes.filter(Boolean).join(" ") || null, "data-order": known(order) ? order : null });
  if (typeof content === "string" && classes.includes("name")) node.dir = "auto";
  node.append(content);
  return node;
}
function numeric(text, order, ...classes) {
  const node = cell(text, order, "num", ...classes);
  if (!known(order)) node.setAttribute("data-order", "-1e9");
  return node;
}
/** Return a cell of a value with its interval, which a file of the table gets as numbers. */
function spanned(run, name, show, ...classes) {
  const [value, low, high] = [run[name], run[`${name}_low`], run[`${name}_high`]];
  const node = numeric(withInterval(value, low, high, show), value, ...classes);
  if (known(low)) Object.assign(node.dataset, { low, high });
  return node;
}
const withInterval = (value, low, high, show = percent) =>
  el("span", null, show(value), known(low) ? el("span", { class: "ci" }, ` ${between(low, high, show)}`) : null);
const link = (href, text) => el("a", { href }, breakable(text));

const tiles = (entries, id) => el("ul", { class: "tiles", id }, ...entries.filter(Boolean).map(([value, name]) => el("li", null, el("b", null, value), el("span", null, name))));
const facts = (entries) => el("dl", { class: "facts" }, ...entries.filter(([, value]) => known(value) && value !== "")
  .flatMap(([name, value]) => [el("dt", null, name), el("dd", null, value instanceof Node ? value : bdi(String(value)))]));
const select = (id, label, values, value, onchange) => {
  const node = el("select", { id, onchange: () => onchange(node.value) }, ...values.map(([one, text]) => el("option", { value: one, selected: one === value }, text ?? one)));
  return el("label", { for: id }, label, node);
};

/** Return a list that grows: the first entries, how many there are, and buttons for the rest. */
function growing(list, entries, make, { first, what, step = first }) {
  const state = el("span", null);
  const more = el("button", { type: "button", onclick: () => grow(step) });
  const all = el("button", { type: "button", onclick: () => grow(entries.length) }, "Show all");
  const line = el("p", { class: "more" }, state, " ", more, " ", all);
  let shown = 0;
  function grow(by) {
    const upto = Math.min(entries.length, shown + by);
    list.append(...entries.slice(shown, upto).map(make));
    shown = upto;
    const left = entries.length - shown;
    state.textContent = left ? `${count(shown)} of ${count(entries.length)} ${what} are shown.` : entries.length > first ? `All ${count(entries.length)} ${what} are shown.` : "";
    more.textContent = `Show ${count(Math.min(step, left))} more`;
    more.hidden = left <= 0;
    all.hidden = left <= step;
    line.hidden = entries.length <= first;
  }
  grow(first);
  const outer = list.tagName === "TBODY" ? list.parentNode : list;
  return [outer, line];
}
