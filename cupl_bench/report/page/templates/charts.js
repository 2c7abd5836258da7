// Charts, and how they leave the page.

// Okabe and Ito's colours, in an order whose neighbours differ most; a shape as well, for those who see no colour.
// 7 colours and 13 shapes have no common divisor: 91 names differ in one or the other.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f7f7f"];
const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x", "star", "pentagon", "hexagon", "triangle-left",
  "triangle-right", "hourglass"];
const markOf = (place) => ({ color: COLOURS[place % COLOURS.length], symbol: SHAPES[place % SHAPES.length] });

const plotText = (text) => isolated(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
// What tells two names apart stands at their ends, mostly.
const shortened = (text, length = 34) => {
  const letters = [...text];
  const tail = Math.floor((length - 1) / 2);
  return letters.length > length ? `${letters.slice(0, length - 1 - tail).join("")}\u2026${letters.slice(-tail).join("")}` : text;
};

/** The charts of the view, with what they were drawn from. */
const charts = new Map();

function dressed(layout, style) {
  const line = style.line;
  const axis = { gridcolor: line, zerolinecolor: style.soft, linecolor: line, automargin: true };
  return {
    paper_bgcolor: style.paper ?? "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style.ink, family: style.font, size: 12 },
    margin: { l: 10, r: 10, t: 10, b: 40 }, showlegend: false, hoverlabel: { font: { size: 12 } }, ...layout,
    xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
  };
}

async function chart(node, traces, layout, onClick) {
  const Plotly = await loadPlotly();
  if (!node.isConnected) return;
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(`--${name}`).trim();
  const full = dressed(layout, { ink: value("ink"), line: value("line"), soft: value("soft"), font: value("font") });
  const fresh = !charts.has(node);
  charts.set(node, { traces, layout });
  node.style.height = `${layout.height}px`;
  await Plotly.react(node, traces, full, { displayModeBar: false, responsive: true });
  node.dataset.drawn = traces.reduce((sum, trace) => sum + (trace.marks ?? trace.x.length), 0);
  if (fresh && onClick) node.on("plotly_click", (event) => onClick(event.points[0]));
}

const figure = (label, name) => {
  const node = el("div", { class: "chart", role: "img", "aria-label": label });
  const save = (format) => el("button", { type: "button", class: "out", onclick: () => saveChart(node, name, format) }, format.toUpperCase());
  return [node, el("p", { class: "outs" }, `${label}. Save as `, save("svg"), " ", save("png"))];
};

/** Save a chart as it is shown, in light colours whatever those of the page are. */
async function saveChart(node, name, format) {
  const { traces, layout } = charts.get(node);
  const Plotly = await loadPlotly();
  const light = dressed(layout, { ink: "#1b1f24", line: "#d8dee4", soft: "#57606a", paper: "#ffffff", font: "sans-serif" });
  const options = { format, width: node.clientWidth, height: node.clientHeight, scale: format === "png" ? 3 : 1 };
  saveLink(await Plotly.toImage({ data: traces, layout: light }, options), `${fileName(name)}.${format}`);
}

const fileName = (text) => text.replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 120) || "cupl_bench";
function saveLink(href, name) {
  const anchor = el("a", { href, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
}

const beforePaper = new WeakMap(); // not a property of theirs: every element has a method `before`
/** Let a chart grow and shrink with the paper, as a picture does. One that is not drawn yet stays as it is. */
function chartToPaper(node) {
  const drawing = node.querySelector(".main-svg");
  if (!drawing) return;
  const [width, height] = ["width", "height"].map((name) => Number(drawing.getAttribute(name)));
  for (const part of node.querySelectorAll(".main-svg, .svg-container")) {
    beforePaper.set(part, part.tagName === "svg" ? [part.getAttribute("width"), part.getAttribute("height")] : part.style.cssText);
    if (part.tagName === "svg") for (const [name, value] of [["viewBox", `0 0 ${width} ${height}`], ["width", "100%"], ["height", "100%"]]) part.setAttribute(name, value);
    else part.style.cssText = "position: relative; width: 100%; height: 100%;";
  }
  node.style.height = "auto";
  node.style.aspectRatio = `${width} / ${height}`;
  beforePaper.set(node, height);
}
function chartFromPaper(node) {
  if (!beforePaper.has(node)) return;
  for (const part of node.querySelectorAll(".main-svg, .svg-container")) {
    const before = beforePaper.get(part);
    if (before === undefined) continue; // drawn anew meanwhile
    if (part.tagName === "svg") { part.removeAttribute("viewBox"); ["width", "height"].forEach((name, index) => part.setAttribute(name, before[index])); }
    else part.style.cssText = before;
  }
  node.style.aspectRatio = "";
  node.style.height = `${beforePaper.get(node)}px`;
  beforePaper.delete(node);
}
