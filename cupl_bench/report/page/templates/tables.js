// Tables: sorted and searched in the page, and saved as files.

/** Return a table. ``columns``: name, whether it holds numbers, what it means, and an id. */
function table(caption, columns, rows) {
  const head = el("tr", null, ...columns.map(([name, isNumber, meaning, id]) => el("th", { scope: "col", class: isNumber ? "num" : null, title: meaning, "data-column": id }, name)));
  return el("table", { class: "plain display", "aria-label": caption }, el("thead", null, head), el("tbody", null, ...rows));
}

/** Sort and search a table with DataTables; it stays as it is if that cannot be loaded. */
async function interactive(node, options = {}, saved = null) {
  const { default: DataTable } = await loadTables();
  const rows = node.tBodies[0].rows.length;
  const grown = new DataTable(node, {
    order: [], autoWidth: false, paging: rows > 50, pageLength: 50, info: rows > 50,
    layout: { topStart: null, topEnd: rows > 8 ? "search" : null, bottomStart: rows > 50 ? "info" : null, bottomEnd: rows > 50 ? "paging" : null },
    language: { emptyTable: "Nothing here", zeroRecords: "No row passes the filters", search: "Search", info: "Rows _START_ to _END_ of _TOTAL_", infoFiltered: "(of _MAX_)", infoEmpty: "No row" },
    lengthChange: false,
    ...options,
  });
  const named = () => grown.table().container().querySelectorAll("nav").forEach((pages) => pages.setAttribute("aria-label", `Pages of ${node.getAttribute("aria-label")}`));
  grown.on("draw", named);
  named();
  printed.add(grown);
  if (saved) saved.append(outs(saved.dataset.name, node, () => grown.rows({ search: "applied", order: "applied" }).nodes().toArray()));
  return grown;
}

/** The tables of the view. */
const printed = new Set();
const PAPER = 1030; // pixels of A4 across, without its margins
const wides = () => document.querySelectorAll(".scroll table");

/** Paper is light, has all rows and columns, and neither scrollbars nor anything folded: what is too wide is made smaller. */
function toPaper() {
  document.documentElement.classList.remove("dark");
  for (const node of frame.querySelectorAll("details:not([open])")) {
    node.open = true;
    node.dataset.paper = "";
  }
  for (const grown of printed) {
    grown.before = [grown.page.len(), grown.page(), grown.columns().visible().toArray()];
    grown.columns().visible(true);
    grown.page.len(-1).draw(false);
  }
  for (const node of wides()) {
    node.style.width = "min-content";
    const least = node.offsetWidth;
    node.style.width = "";
    node.style.zoom = Math.min(1, PAPER / least);
  }
  for (const node of charts.keys()) chartToPaper(node);
}
function fromPaper() {
  for (const node of frame.querySelectorAll("details[data-paper]")) {
    node.open = false;
    delete node.dataset.paper;
  }
  for (const node of wides()) node.style.zoom = "";
  for (const grown of printed) {
    const [length, page, visible] = grown.before;
    visible.forEach((shown, index) => grown.column(index).visible(shown));
    grown.page.len(length).page(page).draw(false);
  }
  for (const node of charts.keys()) chartFromPaper(node);
  document.documentElement.classList.toggle("dark", dark.matches);
}
window.addEventListener("beforeprint", toPaper);
window.addEventListener("afterprint", fromPaper);

const scroller = (node, ...classes) => el("div", { class: ["scroll", ...classes].join(" "), tabindex: 0, role: "region", "aria-label": node.getAttribute("aria-label") }, node);

/** Return buttons that save the rows of a table as CSV (fractions) and LaTeX (as shown). */
function outs(name, node, rowsOf = () => [...node.tBodies].flatMap((body) => [...body.rows])) {
  const save = (text, kind, type) => saveLink(URL.createObjectURL(new Blob([text], { type })), `${fileName(name)}.${kind}`);
  const heads = () => [...node.tHead.rows[node.tHead.rows.length - 1].cells].map((one) => one.dataset.said ?? one.textContent.trim());
  return el("span", { class: "outs" }, "Save as ",
    el("button", { type: "button", class: "out", onclick: () => save(asCsv(heads(), rowsOf()), "csv", "text/csv") }, "CSV"), " ",
    el("button", { type: "button", class: "out", onclick: () => save(asLatex(heads(), rowsOf()), "tex", "text/x-tex") }, "LaTeX"));
}

const saidBy = (one) => one.dataset.said ?? one.textContent.trim();

/** Return rows as CSV: numbers as fractions, an interval as two columns more. */
function asCsv(heads, rows) {
  const has = heads.map((_, index) => rows.some((row) => row.cells[index]?.dataset.low !== undefined));
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const bare = (name) => name.replace(/ \[95%\]$/, "");
  const line = (values) => values.map((value) => quoted(String(value))).join(",");
  const first = heads.flatMap((name, index) => (has[index] ? [bare(name), `${bare(name)} low`, `${bare(name)} high`] : [bare(name)]));
  const body = rows.filter((row) => row.cells.length === heads.length).map((row) => heads.flatMap((_, index) => {
    const one = row.cells[index];
    const order = one.getAttribute("data-order");
    const value = one.classList.contains("num") && order !== null ? (order === "-1e9" ? "" : order) : saidBy(one);
    return has[index] ? [value, one.dataset.low ?? "", one.dataset.high ?? ""] : [value];
  }));
  return [first, ...body].map(line).join("\r\n") + "\r\n";
}

const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\u2212": "$-$", "\u2013": "--", "\u00d7": "$\\times$", "\u2026": "\\dots{}", "<": "$<$", ">": "$>$", "\u2605": "$\\star$" };
const latex = (text) => text.replace(/[\u2066-\u2069]/g, "").replace(/\s+/g, " ").replace(/[&%$#_{}\\~^\u2212\u2013\u00d7\u2026<>\u2605]/g, (letter) => LATEX[letter] ?? `\\${letter}`);

/** Return rows as a LaTeX table with booktabs, as they are read on the page; what is significant is bold. */
function asLatex(heads, rows) {
  const taken = rows.filter((row) => row.cells.length === heads.length);
  const isNumber = heads.map((_, index) => taken.some((row) => row.cells[index].classList.contains("num")));
  const shown = (one) => (one.classList.contains("sure") ? `\\textbf{${latex(saidBy(one))}}` : latex(saidBy(one)));
  const line = (cells) => `${cells.join(" & ")} \\\\`;
  return ["% needs \\usepackage{booktabs}; bold: significant, or best of its group", `\\begin{tabular}{${isNumber.map((number) => (number ? "r" : "l")).join("")}}`, "\\toprule", line(heads.map(latex)), "\\midrule",
    ...taken.map((row) => line([...row.cells].map(shown))), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}
