// The first view: the finding, the matrix, two charts, and below them every run.

const chosen = [];
const distinct = (name) => [...new Set(runs.map((run) => run[name]))];
const scored = distinct("scorer").length > 1 || distinct("kind").length > 1;
const FILTERS = { dataset: ["Data set", "dataset"], backbone: ["Backbone", "model"], prompts: ["Prompts", "prompts"], ...(scored ? { scorer: ["Scorer", "scorer"], kind: ["Kind", "kind"] } : {}) };

function byOf(taken) {
  const [sets, models] = ["dataset", "model"].map((name) => new Set(taken.map((run) => run[name])).size);
  if (sets > 1) return models > 1 && sets * models <= 12 ? "both" : "dataset";
  if (models > 1) return "backbone";
  return changedTiers.length && taken.some((run) => known(run.tiers[changedTiers[0]])) ? "tier" : "dataset";
}

async function showOverview(main) {
  const filters = Object.fromEntries(Object.entries(FILTERS).map(([name, [, field]]) => [name, setting(name, distinct(field), "")]));
  const baselines = distinct("prompts");
  const baseline = setting("baseline", baselines, null);
  const passes = (run) => Object.entries(filters).every(([name, value]) => !value || run[FILTERS[name][1]] === value);
  const taken = runs.filter((run) => !run.of_seeds && passes(run));
  const by = setting("by", Object.keys(BY).filter((one) => one !== "tier" || changedTiers.length), byOf(taken));
  const shown = setting("show", Object.keys(SHOWN), runs.some((run) => known(run.difference)) ? "difference" : "top1");
  chosen.splice(0, chosen.length, ...settings("runs", [...singles.keys()], []).slice(-2));
  const differenceOf = await differencesTo(baseline);
  const data = matrixOf(taken, by, shown, differenceOf);
  const rank = setting("rank", ["name", "mean", "surely", "top1", ...data.columns.map((column) => column.key)].flatMap((key) => [key, `-${key}`]), "mean");
  const minusName = baseline ? `minus ${baseline}` : overview.minus;
  const again = (name, value) => { keep(name, value); keep("rank", null); show({ stay: true }); };

  const sizes = [many(singles.size, "run"), many(distinct("dataset").length, "data set"), many(distinct("model").length, "backbone"), many(baselines.length, "strategy", "strategies"),
    overview.num_missing ? many(overview.num_missing, "missing cell") : null, `newest ${overview.newest.replace("T", " ").replace("+00:00", " UTC")}`].filter(Boolean).join(" \u00b7 ");
  const jumps = el("span", { class: "outs jumps", role: "group", "aria-label": "Parts of this page" }, "Below: ");
  main.append(el("h1", null, "Overview"), el("p", { class: "sizes" }, sizes, " ", jumps));
  if (overview.other_metrics.length) main.append(el("p", { class: "note" }, data.columns.some((column) => column.metric)
    ? `The matrix shows ${overview.other_metrics.join(", ")} in the metric of the data set${data.main ? "" : "; means and counts are of top-1 alone"}. Classes and images are told by top-1.`
    : `This shows top-1. The metric of ${overview.other_metrics.join(", ")} is another: with data sets as columns the matrix shows it.`));
  const said = data.blocks.filter((block) => shown !== "scorer" || block.scorer !== "plain").map((block) => finding(block, data.blocks.length > 1, shown === "scorer" ? "scorer" : baseline));
  const which = el("p", { class: "finding which" });
  main.append(el("div", { class: "findings" }, ...said.slice(0, 2), which, said.length > 2 ? el("details", null, el("summary", null, `${many(said.length - 2, "other kind")} of scores, not ranked with these`), ...said.slice(2)) : null));

  const pick = (name) => select(`filter-${name}`, FILTERS[name][0], [["", "all"], ...distinct(FILTERS[name][1]).map((value) => [value, name === "kind" ? kindName(value) : isolated(value)])], filters[name], (value) => again(name, value));
  main.append(el("div", { class: "bar" }, ...Object.keys(FILTERS).filter((name) => distinct(FILTERS[name][1]).length > 1).map(pick),
    select("by", "Columns", Object.entries(BY).filter(([one]) => one !== "tier" || changedTiers.length), by, (value) => again("by", value)),
    select("show", "Show", Object.entries(SHOWN).filter(([one]) => one !== "scorer" || runs.some((run) => known(run.scorer_difference))), shown, (value) => again("show", value)),
    select("baseline", "Baseline", [["", overview.baselines.length ? `of the report: ${overview.baselines.map(isolated).join(", ")}` : "none"], ...baselines.map((name) => [name, isolated(name)])], baseline ?? "", (value) => again("baseline", value))));
  const holder = el("div", { class: "holder" });
  const bars95 = marksOf(data) > BARRED_AT_MOST ? `; without their 95% intervals, since there are more than ${BARRED_AT_MOST} marks` : "; bars are 95% intervals";
  const [points, pointsLine] = figure(`${shown === "top1" ? "In percent" : "Difference in points, the baseline at 0"}${bars95}`, "differences");
  const [bars, barsLine] = figure("Change of classes, in points", "classes");
  const right = el("section", { hidden: true }, bars, barsLine);
  const first = el("div", { class: "first" }, holder, el("div", { class: "charts" }, el("section", { class: "beside" }, points, pointsLine), right));
  main.append(first);
  function drawMatrix(newRank, asked = true) {
    keep("rank", newRank === "mean" ? null : newRank);
    const grid = matrixTable(data, { by, shown, rank: newRank, minusName }, drawMatrix);
    holder.replaceChildren(scroller(grid, "tall"), el("p", { class: "legend" },
      ...(shown === "top1" ? [] : [el("span", { class: "gain sure" }, "+1.0"), " significantly better, ", el("span", { class: "loss sure" }, "\u22121.0"), " significantly worse (McNemar\u2019s exact test, ", data.columns.some((column) => column.metric) ? "of another metric than top-1 a paired bootstrap over images, " : "", baseline ? "Holm for all pairs of a data set and backbone); " : by === "tier" ? "Holm for the whole table, tiers of classes among themselves); " : "Holm for the whole table); ",
        data.blocks.some((block) => block.lines.some((line) => [...line.cells.values()].some((found) => found.number > 1))) ? "deeper: in more of the runs of a cell; " : "", "no shade: not significant", ...(grid.querySelector("td.untested") ? ["; ", el("span", { class: "untested" }, "+1.0"), " not tested"] : []), "; ", el("i", null, "italic"), ": the value itself. "]),
      grid.querySelector("td.best") ? "\u2605 significantly better than all others of its group. " : "", outs("matrix", grid)));
    if (asked) holder.querySelector(`th[data-key="${CSS.escape(newRank.replace(/^-/, ""))}"] button`)?.focus({ preventScroll: true });
  }
  if (taken.length) drawMatrix(rank, false);
  else holder.append(el("p", { class: "note" }, "No run passes these filters."));
  arrange(first);

  await showEvidence(main);
  await allRuns(main, passes, differenceOf, minusName);
  otherTables(main);
  const parts = [...main.querySelectorAll("h2")];
  jumps.hidden = parts.length < 2;
  jumps.append(...parts.map((heading) => el("button", { type: "button", class: "out", onclick: () => { heading.tabIndex = -1; heading.scrollIntoView(); heading.focus({ preventScroll: true }); } }, heading.textContent)));
  if (!taken.length) return null;
  const best = winnerOf(data.blocks[0]);
  return async () => {
    if (best) await drawClasses(right, bars, which, best.line, differenceOf); // it takes half of the width
    await drawPoints(points, data, shown, rank);
  };
}

const BESIDE = 520;
/** Put a chart beside a matrix that leaves room for it; again whenever the window changes. */
function arrange(first) {
  if (!first.querySelector("table.matrix")) return;
  let side = null;
  const look = () => {
    const now = first.querySelector("table.matrix").offsetWidth + BESIDE < first.clientWidth;
    if (now === side) return;
    side = now;
    first.classList.toggle("side", side);
    for (const node of charts.keys()) if (node.isConnected) window.Plotly?.Plots.resize(node);
  };
  look();
  new ResizeObserver(look).observe(first);
}

const BARRED_AT_MOST = 120;
const marksOf = ({ blocks }) => blocks.flatMap((block) => block.lines).reduce((sum, line) => sum + [...line.cells.values()].reduce((number, found) => number + found.entries.length, 0), 0);
/** Draw each line's values, a mark for each column. */
function drawPoints(node, data, shown, rank) {
  const { columns, blocks } = data;
  const lines = blocks.flatMap((block) => sortLines(block.lines, rank).map((line) => ({ ...line, name: blocks.length > 1 ? `${line.strategy} (${kindName(block.kind)})` : line.strategy })));
  const few = columns.length <= 7;
  const marks = columns.flatMap((column, index) => lines.flatMap((line, row) => (line.cells.get(column.key)?.entries ?? []).map((entry) => ({ entry, column, index, row, line }))))
    .filter(({ entry }) => known(shown === "top1" ? entry.top1 : entry.value) && !(shown !== "top1" && entry.base));
  const absolute = shown === "top1" || !marks.length;
  const all = absolute ? columns.flatMap((column, index) => lines.flatMap((line, row) => (line.cells.get(column.key)?.entries ?? []).map((entry) => ({ entry, column, index, row, line })))) : marks;
  const rows = absolute ? lines.map((_, row) => row) : [...new Set(all.map(({ row }) => row))].sort((one, other) => one - other);
  const placeOf = new Map(rows.map((row, index) => [row, index]));
  const of = ({ entry }) => (absolute ? [entry.top1, entry.top1_low, entry.top1_high] : [entry.value, entry.low, entry.high]);
  const barred = marksOf(data) <= BARRED_AT_MOST;
  const said = (mark) => { const [value, low, high] = of(mark); const show = absolute ? percent : signed; return plotText(`${title(mark.entry.run)}${columns.length > 1 && mark.column.key.startsWith("tier ") ? ` (${mark.column.name})` : ""}: ${show(value)} ${between(low, high, show)}`); };
  const traces = columns.map((column, index) => {
    const own = all.filter((mark) => mark.column === column);
    const shift = few && columns.length > 1 ? (index - (columns.length - 1) / 2) * (0.66 / columns.length) : 0;
    const values = own.map(of);
    return {
      type: "scatter", mode: "markers", name: plotText([column.above, column.name].filter(Boolean).join(" \u00b7 ")), x: values.map(([value]) => 100 * value), y: own.map(({ row }) => placeOf.get(row) + shift), hoverinfo: "text", text: own.map(said),
      customdata: own.map(({ entry }) => entry.run.run_key || null),
      error_x: barred && values.some(([, low]) => known(low)) ? { type: "data", symmetric: false, array: values.map(([value, , high]) => (known(high) ? 100 * (high - value) : 0)), arrayminus: values.map(([value, low]) => (known(low) ? 100 * (value - low) : 0)), thickness: 1.5, width: 3 } : {},
      marker: few ? { ...markOf(index), size: 8 } : { color: COLOURS[0], size: 6, opacity: 0.5 },
    };
  });
  const several = lines.some((line) => line.all.entries.length > 1);
  if (several) {
    const told = rows.map((row) => lines[row]).filter((line) => known(absolute ? line.all.top1 : line.all.value));
    traces.push({ type: "scatter", mode: "markers", name: "mean", marks: 0, x: told.map((line) => 100 * (absolute ? line.all.top1 : line.all.value)), y: told.map((line) => placeOf.get(lines.indexOf(line))), hoverinfo: "text", text: told.map((line) => plotText(`${line.strategy}: mean ${(absolute ? percent : signed)(absolute ? line.all.top1 : line.all.value)}`)), customdata: told.map(() => null),
      marker: { symbol: "line-ns-open", size: 16, line: { width: 3 }, color: getComputedStyle(document.documentElement).getPropertyValue("--ink").trim() } });
  }
  const legend = few && columns.length > 1;
  const height = 70 + (legend ? 30 : 0) + Math.max(26, legend ? 12 * columns.length : 0) * Math.max(rows.length, 1);
  return chart(node, traces, {
    height, showlegend: legend, legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 }, margin: { l: 10, r: 10, t: legend ? 30 : 10, b: 40 },
    xaxis: { title: { text: absolute ? `${data.main ?? "top-1"} in percent` : "difference in points" }, zeroline: !absolute, zerolinewidth: 2 },
    yaxis: { tickvals: rows.map((_, index) => index), ticktext: rows.map((row) => plotText(shortened(lines[row].name, 40))), range: [rows.length - 0.4, -0.6], zeroline: false },
  }, (point) => { if (point.customdata) location.hash = address.run(point.customdata); });
}

const CLASSES_SHOWN = 6;
/** Draw the classes that change most in the run that differs most of the best line, and name the first in the finding. */
async function drawClasses(section, node, sentence, line, differenceOf) {
  const compared = line.runs.filter((run) => run.run_key).map((run) => [run, differenceOf(run)]).filter(([, found]) => known(found.value) && !found.base);
  if (!compared.length) {
    if (line.runs.every((run) => !run.run_key)) sentence.append("It is a mean over seeds: the table of all runs leads to each of them and its classes.");
    return;
  }
  const [run, found] = compared.reduce((most, one) => (Math.abs(one[1].value) > Math.abs(most[1].value) ? one : most));
  const group = await load(`groups/${run.group}`);
  if (!node.isConnected || group.images[run.run_key] !== group.images[found.against]) return;
  const names = namesOf(group);
  const [ours, theirs] = [group.right[run.run_key], group.right[found.against]];
  const change = (label) => (ours[label] - theirs[label]) / group.total[label];
  const order = names.map((_, label) => label).filter((label) => group.total[label] && ours[label] !== theirs[label]).sort((one, other) => change(other) - change(one));
  if (!order.length) return;
  const shown = order.length <= 2 * CLASSES_SHOWN ? order : [...order.slice(0, CLASSES_SHOWN), ...order.slice(-CLASSES_SHOWN)];
  const compare = address.compare(run.run_key, found.against);
  const where = distinct("dataset").length > 1 || distinct("model").length > 1 ? ` on ${isolated(run.dataset)} \u00d7 ${isolated(run.model)}` : "";
  const some = (labels) => labels.flatMap((label, index) => [index ? ", " : "", link(address.of_class(run.run_key, label), names[label]), ` ${signed(change(label), 0)}`]);
  const [gains, losses] = [order.filter((label) => change(label) > 0).slice(0, 3), order.filter((label) => change(label) < 0).slice(-3).reverse()];
  sentence.append("Classes that change most", where, ": ", ...some(gains), gains.length && losses.length ? "; " : "", ...some(losses), ".");
  section.hidden = false;
  section.append(el("p", { class: "legend" }, `${run.strategy} minus ${singles.get(found.against).strategy}${where}: ${shown.length === order.length ? `all ${count(order.length)}` : `the ${CLASSES_SHOWN} at each end of ${count(order.length)}`} classes that change. `, el("a", { href: compare }, "All classes, and the images that flipped")));
  const colours = getComputedStyle(document.documentElement);
  const height = 50 + 19 * shown.length;
  await chart(node, [{ type: "bar", orientation: "h", x: shown.map((label) => 100 * change(label)), y: shown.map((_, index) => index), hoverinfo: "text", textposition: "none",
    text: shown.map((label) => plotText(`${names[label]}: ${signed(change(label))}, from ${theirs[label]} to ${ours[label]} of ${group.total[label]} images`)),
    marker: { color: shown.map((label) => colours.getPropertyValue(change(label) > 0 ? "--gain" : "--loss").trim()) } }],
  { height, xaxis: { title: { text: "change in points" } }, yaxis: { tickvals: shown.map((_, index) => index), ticktext: shown.map((label) => plotText(shortened(names[label], 30))), range: [shown.length - 0.5, -0.5], zeroline: false } },
  (point) => { location.hash = address.of_class(run.run_key, shown[point.pointIndex]); });
}

/** The other tables of the report: what is cut is said. */
function otherTables(main) {
  for (const [heading, content, text] of [
    ["Means over data sets", overview.pooled, "Two intervals answer two questions: had other images been taken, and had other data sets been taken."],
    ["Published numbers", overview.published, "Published values beside ours; what differs stands in the row."],
    ["Missing cells", overview.missing, "Cells of data set, backbone and prompts that the other runs of the sweep have."]]) {
    if (!content) continue;
    const numbers = content.columns.map((_, column) => content.rows.every((row) => /^[-+\u2212]?[\d.,]*%?( \[.*\])?$/.test(row[column])));
    const grid = table(heading, content.columns.map((name, column) => [name, numbers[column]]), content.rows.map((row) => el("tr", null, ...row.map((value, column) => cell(value, null, numbers[column] ? "num" : "name")))));
    const left = heading === "Missing cells" ? overview.num_missing - content.rows.length : 0;
    main.append(el("h2", null, heading), el("p", { class: "lead" }, text, left ? ` ${count(content.rows.length)} of ${count(overview.num_missing)} are shown; tables/missing.csv has all.` : "", " ", outs(heading, grid)), scroller(grid, "tall"));
  }
  if (overview.notes.length) {
    main.append(el("h2", null, "Notes"), el("details", { open: overview.notes.length <= 3 }, el("summary", null, `${many(overview.notes.length, "note")} on this page`), ...overview.notes.map((note) => el("p", { class: "note" }, note))));
  }
}
