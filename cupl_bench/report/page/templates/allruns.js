// Every run in one table: its columns are chosen, its rows filtered, sorted, searched and saved.

async function allRuns(main, passes, differenceOf, minusName) {
  const has = (name) => runs.some((run) => known(run[name]));
  const varies = (name) => distinct(name).length > 1;
  const told = new Map(runs.map((run) => [run, differenceOf(run)]));
  const differs = [...told.values()].some((found) => known(found.value));
  const minus = `${minusName[0].toUpperCase()}${minusName.slice(1)}`;
  const box = (run) => el("input", { type: "checkbox", "data-run": run.run_key, "aria-label": `Compare ${title(run)}`, onchange: pick });
  const difference = (run) => { const { value, low, high, p } = told.get(run); return spanned({ it: value, it_low: low, it_high: high }, "it", signed, direction(value), sureness(p)); };
  /** id, name, whether it holds numbers, what it means, the cell of a run, whether it is shown at first; null: there is no such column. */
  const columns = [
    ["strategy", "Strategy", false, "Tick two to compare", (run) => cell(el("span", { class: "pick" }, run.run_key ? box(run) : null, run.run_key ? link(address.run(run.run_key), run.strategy) : bdi(run.strategy)), run.strategy), true],
    ["dataset", "Data set", false, null, (run) => cell(run.dataset, null, "name"), varies("dataset")],
    ["backbone", "Backbone", false, null, (run) => cell(run.model, null, "name"), varies("model")],
    scored && ["kind", "Kind", false, "What the score of an image depends on; nothing is ranked across kinds", (run) => cell(kindName(run.kind), null, "name"), true],
    ["top1", "Top-1 [95%]", true, null, (run) => spanned(run, "top1", percent, run.best ? "sure" : ""), true],
    differs && ["difference", `${minus} [95%]`, true, `Paired difference; interval over images`, difference, true],
    overview.baselines.length > 1 && ["baseline", "Baseline", false, null, (run) => cell(known(run.difference) ? run.baseline : "", null, "name"), true],
    differs && ["p", "p (Holm)", true, "McNemar\u2019s exact test; n.s.: not significant", (run) => { const { p } = told.get(run); return numeric(known(p) ? pValue(p) + (p < 0.05 ? "" : " n.s.") : "", p, sureness(p)); }, true],
    ...tierNames.map((tier, index) => [`tier${index}`, tier, true, `Top-1 of the tier: ${tier}`, (run) => numeric(percent(run.tiers[tier]), run.tiers[tier]), !tier.endsWith(" alone")]),
    has("scorer_difference") && ["scorer", "Minus plain [95%]", true, "Paired difference to the plain scorer with the same prompts; interval over images", (run) => spanned(run, "scorer_difference", signed, direction(run.scorer_difference), sureness(run.scorer_p_holm)), true],
    has("own") && ["metric", "Metric", false, "The metric of the data set", (run) => cell(run.own?.title ?? "top-1", null, "name"), true],
    has("own") && ["own", "Its value [95%]", true, null, (run) => (run.own ? spanned(run.own, "value", percent) : spanned(run, "top1", percent)), true],
    has("own") && ["own_difference", `Its value ${overview.minus} [95%]`, true, "Of a metric beyond top-1 by a paired bootstrap over images; after Holm for the whole table", (run) => (run.own ? spanned(run.own, "difference", signed, direction(run.own.difference), sureness(run.own.p_holm)) : spanned(run, "difference", signed, direction(run.difference), sureness(run.p_holm))), true],
    has("top5") && ["top5", "Top-5", true, null, (run) => numeric(percent(run.top5), run.top5), true],
    ["mean_per_class", "Mean per class", true, null, (run) => numeric(percent(run.mean_per_class), run.mean_per_class), runs.some((run) => percent(run.mean_per_class) !== percent(run.top1))],
    has("classes_better") && ["classes", "Classes +/\u2212", true, "Classes whose top-1 rises and falls against the baseline of the report", (run) => numeric(known(run.classes_better) && known(run.difference) ? `${run.classes_better} / ${run.classes_worse}` : "", known(run.difference) ? run.classes_better - run.classes_worse : null), false],
    has("gained") && ["gained", "Gained / lost", true, "Images that only this run, and only the baseline of the report, has right", (run) => numeric(known(run.gained) ? `${count(run.gained)} / ${count(run.lost)}` : "", run.gained), false],
    has("calibration_error") && ["calibration", "Calibration error", true, "Expected calibration error, in points", (run) => numeric(percent(run.calibration_error), run.calibration_error), false],
    ["images", "Images", true, null, (run) => numeric(count(run.num_images), run.num_images), varies("num_images")],
    ["prompts", "Prompts", true, "Number of prompts of all classes", (run) => numeric(count(run.num_prompts && Math.round(run.num_prompts)), run.num_prompts), false],
    has("budget") && ["budget", "Budget", true, null, (run) => numeric(count(run.budget), run.budget), false],
    has("seed") && ["seed", "Seed", true, null, (run) => numeric(known(run.seed) ? String(run.seed) : "", run.seed), false],
    ["run", "Run", false, "The run key: the name of its record", (run) => cell(run.run_key), false],
  ].filter(Boolean);
  const ids = columns.map(([id]) => id);
  const visible = new Set(["strategy", ...settings("columns", ids, columns.filter((column) => column[5]).map(([id]) => id))]);
  const [, sortedBy, sense] = /^(.*)-(asc|desc)$/.exec(setting("sort", ids.flatMap((id) => [`${id}-asc`, `${id}-desc`]), "")) ?? [];

  const button = el("button", { class: "primary", type: "button", onclick: () => { location.hash = address.compare(chosen[0], chosen[1]); } }, "Compare the two");
  const hint = el("span", { role: "status" });
  function picked() {
    for (const one of main.querySelectorAll("input[data-run]")) one.checked = chosen.includes(one.dataset.run);
    button.disabled = chosen.length !== 2;
    hint.textContent = chosen.length === 2 ? chosen.map((key) => title(singles.get(key))).join(" against ") : `Tick ${chosen.length ? "one more run" : "two runs"} to compare them.`;
  }
  function pick(event) {
    const key = event.target.dataset.run;
    const index = chosen.indexOf(key);
    if (index >= 0) chosen.splice(index, 1);
    else chosen.push(key);
    if (chosen.length > 2) chosen.shift();
    keep("runs", chosen.join(","));
    picked();
  }
  const rows = runs.map((run) => el("tr", { class: run.run_key ? null : "mean" }, ...columns.map((column) => {
    const node = column[4](run);
    node.dataset.column = column[0];
    return node;
  })));
  const grid = table("All runs", columns.map(([id, name, isNumber, meaning]) => [name, isNumber, meaning, id]), rows);
  const saved = el("span", { "data-name": "runs" });
  const boxes = columns.slice(1).map(([id, name]) => el("label", null, el("input", { type: "checkbox", checked: visible.has(id), "data-shows": id, onchange: (event) => choose(id, event.target.checked) }), " ", bdi(name)));
  main.append(el("h2", null, "All runs"), el("div", { class: "bar" }, button, hint, el("details", { class: "chooser" }, el("summary", null, "Columns"), el("div", { class: "boxes" }, ...boxes)), saved), scroller(grid, "tall", "runs"));
  picked();
  let grown = null;
  function choose(id, on) {
    if (on) visible.add(id);
    else visible.delete(id);
    keep("columns", ids.filter((one) => visible.has(one)).join(","));
    grown?.column(ids.indexOf(id)).visible(on);
  }
  const page = Number(query.get("page") ?? 0);
  grown = await interactive(grid, {
    columnDefs: [{ targets: ids.map((_, index) => index).filter((index) => !visible.has(ids[index])), visible: false }],
    order: sortedBy ? [[ids.indexOf(sortedBy), sense]] : [], search: { search: query.get("q") ?? "" }, displayStart: Number.isInteger(page) && page > 0 ? 50 * page : 0,
    layout: { topStart: null, topEnd: "search", bottomStart: "info", bottomEnd: runs.length > 50 ? "paging" : null }, info: true,
  }, saved);
  if (!grid.isConnected) return;
  grown.search.fixed("filters", (_text, _data, index) => passes(runs[index]));
  grown.on("draw", picked);
  grown.draw(false);
  grown.on("order", () => { const [[index, way] = []] = grown.order(); keep("sort", way ? `${ids[index]}-${way}` : null); });
  grown.on("search", () => keep("q", grown.search()));
  grown.on("page", () => keep("page", grown.page() || null));
}
