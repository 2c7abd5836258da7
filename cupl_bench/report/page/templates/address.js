// The address: which view, and how it stands. What is changed within a view replaces its address, so that Back leaves it.

const address = {
  run: (key) => `#/run/${key}`,
  compare: (a, b) => `#/compare/${a}/${b}`,
  flips: (a, b, way, label) => `#/compare/${a}/${b}/${way}${known(label) ? `?class=${label}` : ""}`,
  of_class: (key, label) => `#/run/${key}/class/${label}`,
  failures: (key, pair) => `#/run/${key}/failures${pair ? `?pair=${pair.join("-")}` : ""}`,
  image: (key, place) => `#/run/${key}/image/${place}`,
};

/** Raised by a view whose address names what the page does not hold; nothing else is then shown. */
class NotHere extends Error {}

let query = new URLSearchParams();

/** Return the parts of the path in the address, and set `query`. */
function readAddress() {
  const [path, rest] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  query = new URLSearchParams(rest ?? "");
  try {
    return path.split("/").map(decodeURIComponent);
  } catch {
    throw new NotHere("The address cannot be read.");
  }
}
const pathOf = () => location.hash.split("?")[0] || "#/";

/** Keep a setting of the view in the address; without a value it is as when the view is opened. */
function keep(name, value) {
  query = new URLSearchParams(location.hash.split(/\?(.*)/s)[1] ?? "");
  if (known(value) && value !== "") query.set(name, value);
  else query.delete(name);
  const text = query.toString().replaceAll("%2C", ",");
  history.replaceState(null, "", pathOf() + (text ? `?${text}` : ""));
}

/** Return a setting of the view, one of some values. */
function setting(name, values, otherwise) {
  const value = query.get(name);
  if (value === null) return otherwise;
  if (!values.includes(value)) throw new NotHere(`The page holds no ${name} \u201c${value}\u201d.`);
  return value;
}

/** Return a setting that is a list of some values. */
function settings(name, values, otherwise) {
  const value = query.get(name);
  if (value === null) return otherwise;
  const list = value.split(",").filter(Boolean);
  const others = list.filter((one) => !values.includes(one));
  if (others.length) throw new NotHere(`The page holds no ${name} \u201c${others[0]}\u201d.`);
  return list;
}

/** Return a whole number of the address below a bound. */
function place(text, bound) {
  if (!/^\d{1,9}$/.test(text ?? "") || Number(text) >= bound) throw new NotHere("The page holds no such class or image.");
  return Number(text);
}

function runOf(key) {
  if (!singles.has(key)) throw new NotHere("The page holds no such run.");
  return singles.get(key);
}

let scrolled = null;
let arriving = false; // the page itself moves until its charts are drawn
function noteScroll() {
  if (arriving) return;
  scrolled ??= setTimeout(flushScroll, 400) /* a browser lets the address change so often and no more */;
}
function flushScroll() {
  if (scrolled === null) return;
  clearTimeout(scrolled);
  scrolled = null;
  keep("at", Math.round(window.scrollY) || null);
}
