// The page. Data come from scripts beside it (see receive); every text is set as text, never as markup.
"use strict";

window.cuplBench = (() => {
  const frame = document.getElementById("main");
  const overview = JSON.parse(document.getElementById("overview").textContent);
  const runs = overview.runs;
  const singles = new Map(runs.filter((run) => run.run_key).map((run) => [run.run_key, run]));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // Okabe and Ito's colours, in an order whose neighbours differ most; a shape as well, for those who see no colour.
  // 7 colours and 13 shapes have no common divisor: 91 strategies differ in one or the other.
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f7f7f"];
  const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x", "star", "pentagon", "hexagon", "triangle-left",
    "triangle-right", "hourglass"];
  const kindOf = (run) => [run.prompts, run.aggregation, run.budget].join(" ");
  const kinds = [...new Set(runs.map(kindOf))];
  const strategies = [...new Set(runs.map((run) => run.prompts))];
  const PLACES_OF_CHART = 40;
  const MOVED = 50;
  const IMAGES_IN_LIST = 500;

  // Data -------------------------------------------------------------------------------------------------------------

  const waiting = new Map();

  function addScript(source) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${source} cannot be loaded; is the folder of the page whole?`));
      document.head.append(script);
    });
  }

  function load(name) {
    if (!waiting.has(name)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => {
        entry.resolve = resolve;
        addScript(`data/${name}.js`).catch(reject);
      });
      waiting.set(name, entry);
    }
    return waiting.get(name).promise;
  }

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function receive(name, packed) {
    waiting.get(name).resolve(unpack(packed));
  }

  let plotly = null;
  function loadPlotly() {
    // It is large: the page is there first.
    const loaded = document.readyState === "complete" ? Promise.resolve() : new Promise((resolve) => window.addEventListener("load", resolve));
    plotly ??= loaded.then(() => addScript("assets/plotly.min.js")).then(() => window.Plotly);
    return plotly;
  }

  let tables = null;
  function loadTables() {
    tables ??= addScript("assets/tables.js").then(() => cuplBench.tables);
    return tables;
  }

  // Elements -----------------------------------------------------------------------------------------------------------

  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const known = (value) => value !== null && value !== undefined;
  const percent = (value, digits = 1) => (known(value) ? (100 * value).toFixed(digits) : "");
  const signed = (value, digits = 1) => {
    if (!known(value)) return "";
    const text = (100 * value).toFixed(digits);
    return Number(text) > 0 ? `+${text}` : text.replace("-", "\u2212");
  };
  const between = (low, high, show) => (known(low) ? `[${show(low)}, ${show(high)}]` : "");
  const count = (value) => (known(value) ? Number(value).toLocaleString("en") : "");
  const pValue = (p) => (!known(p) ? "" : p < 0.0001 ? "< 0.0001" : p.toFixed(4));
  const direction = (value) => (!known(value) || value === 0 ? "" : value > 0 ? "up" : "down");

  /** A cell: its text, what it is sorted by, and how it looks. */
  function cell(content, order, ...classes) {
    const node = el("td", { class: classes.filter(Boolean).join(" ") || null, "data-order": known(order) ? order : null });
    node.append(content);
    return node;
  }
  const numeric = (text, order, ...classes) => {
    const node = cell(text, order, "num", ...classes);
    if (!known(order)) node.setAttribute("data-order", "-1e9");
    return node;
  };
  const withInterval = (value, low, high, show = percent) =>
    el("span", null, show(value), known(low) ? el("span", { class: "ci" }, ` ${between(low, high, show)}`) : null);

  function table(caption, columns, rows) {
    const head = el("tr", null, ...columns.map(([name, isNumber, title]) => el("th", { scope: "col", class: isNumber ? "num" : null, title }, name)));
    return el("table", { class: "plain display", "aria-label": caption }, el("thead", null, head), el("tbody", null, ...rows));
  }

  /** A table to sort and search, by DataTables; the same table without it, if that cannot be loaded. */
  async function interactive(node, options = {}) {
    const { default: DataTable } = await loadTables();
    const rows = node.tBodies[0].rows.length;
    return new DataTable(node, {
      order: [], autoWidth: false, paging: rows > 50, pageLength: 50, info: rows > 50,
      layout: { topStart: null, topEnd: rows > 8 ? "search" : null, bottomStart: rows > 50 ? "info" : null, bottomEnd: rows > 50 ? "paging" : null },
      language: { emptyTable: "Nothing here", search: "Search" },
      ...options,
    });
  }

  const plotText = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  // What tells two names apart stands at their ends, mostly.
  const shortened = (text, length = 34) => {
    const letters = [...text];
    const tail = Math.floor((length - 1) / 2);
    return letters.length > length ? `${letters.slice(0, length - 1 - tail).join("")}\u2026${letters.slice(-tail).join("")}` : text;
  };

  const charts = new Map();
  async function chart(node, traces, layout, onClick) {
    const Plotly = await loadPlotly();
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const line = style.getPropertyValue("--line").trim();
    const axis = { gridcolor: line, zerolinecolor: style.getPropertyValue("--soft").trim(), linecolor: line, automargin: true };
    const full = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: style.getPropertyValue("--font"), size: 12 },
      margin: { l: 10, r: 10, t: 10, b: 40 }, showlegend: false, hoverlabel: { font: { size: 12 } }, ...layout,
      xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    };
    if (!node.isConnected) return;
    const fresh = !charts.has(node);
    charts.set(node, [traces, layout, onClick]);
    await Plotly.react(node, traces, full, { displayModeBar: false, responsive: true });
    node.dataset.drawn = traces.length;
    if (fresh && onClick) node.on("plotly_click", (event) => onClick(event.points[0]));
  }

  // Views --------------------------------------------------------------------------------------------------------------

  const address = {
    run: (key) => `#/run/${key}`,
    compare: (a, b) => `#/compare/${a}/${b}`,
    of_class: (key, label) => `#/run/${key}/class/${label}`,
  };
  const title = (run) => `${run.dataset} \u00d7 ${run.backbone} \u00d7 ${run.strategy}`;
  const groupOf = (run) => overview.groups[Number(run.group)];
  const chosen = [];

  function options(select, values, all) {
    select.append(el("option", { value: "" }, all), ...values.map((value) => el("option", { value }, value)));
    return select;
  }

  async function showOverview(main) {
    const distinct = (name) => [...new Set(runs.map((run) => run[name]))];
    const scored = distinct("scorer").length > 1;
    const tiles = [["runs", singles.size], ["data sets", distinct("dataset").length], ["backbones", distinct("backbone").length],
      ["prompt strategies", strategies.length], ["scorers", scored ? distinct("scorer").length : 0], ["cells missing", overview.num_missing]];
    const filters = { dataset: "Data set", backbone: "Backbone", prompts: "Prompts", ...(scored ? { scorer: "Scorer", kind: "Kind" } : {}) };
    const selects = Object.fromEntries(Object.keys(filters).map((name) => [name, options(el("select", { id: `filter-${name}` }), distinct(name), "all")]));
    const button = el("button", { class: "primary", type: "button", disabled: true, onclick: () => { location.hash = address.compare(chosen[0], chosen[1]); } }, "Compare the two");
    const hint = el("span", { role: "status" });
    const figure = el("div", { class: "chart", role: "img", "aria-label": "Top-1 with 95% intervals of the runs in the table below" });
    const tierNames = [...new Set(runs.flatMap((run) => Object.keys(run.tiers).filter((tier) => known(run.tiers[tier]))))];
    const several = overview.baselines.length > 1;
    const has = (name) => runs.some((run) => known(run[name]));
    const columns = [["", false, "Choose two to compare"], ["Data set"], ["Backbone"], ["Prompts"], scored && ["Kind", false, "What the score of an image depends on; nothing is ranked across kinds"], ["Images", true], ["Top-1 [95%]", true],
      has("difference") && [`${overview.minus[0].toUpperCase()}${overview.minus.slice(1)} [95%]`, true, `Paired difference to ${overview.baselines.join(", ")}; interval over images`], several && ["Baseline"], has("p_holm") && ["p (Holm)", true, "McNemar's exact test, corrected for the whole table"], has("scorer_difference") && ["Minus plain [95%]", true, "Paired difference to the plain scorer with the same prompts; interval over images"], has("top5") && ["Top-5", true],
      ["Mean per class", true], has("calibration_error") && ["Calibration error", true, "Expected calibration error, in points"],
      ...tierNames.map((tier) => [tier, true, `Top-1 of the tier: ${tier}`])].filter(Boolean);

    function picked() {
      for (const box of main.querySelectorAll("input[data-run]")) box.checked = chosen.includes(box.dataset.run);
      button.disabled = chosen.length !== 2;
      hint.textContent = chosen.length === 2 ? chosen.map((key) => title(singles.get(key))).join(" against ") : `${2 - chosen.length} more to choose`;
    }
    function pick(event) {
      const key = event.target.dataset.run;
      const place = chosen.indexOf(key);
      if (place >= 0) chosen.splice(place, 1);
      else chosen.push(key);
      if (chosen.length > 2) chosen.shift();
      picked();
    }
    const rows = runs.map((run) => {
      const own = Boolean(run.run_key);
      const significance = !known(run.p_holm) ? "" : run.p_holm < 0.05 ? "sure" : "unsure";
      return el("tr", { class: own ? null : "mean" },
        cell(own ? el("input", { type: "checkbox", "data-run": run.run_key, "aria-label": `Compare ${title(run)}`, onchange: pick }) : ""),
        cell(run.dataset, null, "name"), cell(run.backbone + (distinct("precision").length > 1 ? ` (${run.precision})` : ""), null, "name"),
        cell(own ? el("a", { href: address.run(run.run_key) }, run.strategy) : run.strategy, null, "name"),
        ...(scored ? [cell(run.kind.replaceAll("_", " "), null, "name")] : []),
        numeric(count(run.num_images), run.num_images), numeric(withInterval(run.top1, run.top1_low, run.top1_high), run.top1, run.best ? "sure" : ""),
        ...(has("difference") ? [numeric(withInterval(run.difference, run.difference_low, run.difference_high, signed), run.difference, direction(run.difference), significance)] : []),
        ...(several ? [cell(known(run.difference) ? run.baseline : "", null, "name")] : []),
        ...(has("p_holm") ? [numeric(known(run.p_holm) ? pValue(run.p_holm) + (run.p_holm < 0.05 ? "" : " n.s.") : "", run.p_holm, significance)] : []),
        ...(has("scorer_difference") ? [numeric(withInterval(run.scorer_difference, run.scorer_difference_low, run.scorer_difference_high, signed), run.scorer_difference, direction(run.scorer_difference), !known(run.scorer_p_holm) ? "" : run.scorer_p_holm < 0.05 ? "sure" : "unsure")] : []),
        ...(has("top5") ? [numeric(percent(run.top5), run.top5)] : []), numeric(percent(run.mean_per_class), run.mean_per_class),
        ...(has("calibration_error") ? [numeric(percent(run.calibration_error), run.calibration_error)] : []),
        ...tierNames.map((tier) => numeric(percent(run.tiers[tier]), run.tiers[tier])));
    });
    const grid = table("All runs", columns, rows);
    main.append(el("h1", null, "Overview"), el("p", { class: "lead" }, `How much do the words matter? Newest run: ${overview.newest.replace("T", " ")}.`),
      el("ul", { class: "tiles" }, ...tiles.filter(([, value]) => value).map(([name, value]) => el("li", null, el("b", null, count(value)), el("span", null, name)))),
      ...overview.notes.map((note) => el("p", { class: "note" }, note)),
      el("div", { class: "bar" }, ...Object.entries(filters).map(([name, label]) => el("label", { for: `filter-${name}` }, label, selects[name])), button, hint),
      figure, el("div", { class: "scroll" }, grid));
    for (const [heading, content, text] of [
      ["Means over data sets", overview.pooled, "Two intervals answer two questions: had other images been taken, and had other data sets been taken."],
      ["Published numbers", overview.published, "Published values beside ours; what differs stands in the row."],
      ["Missing cells", overview.missing, "Cells of data set, backbone and prompts that the other runs of the sweep have."]]) {
      if (!content) continue;
      const numbers = content.columns.map((_, place) => content.rows.every((row) => /^[-+\u2212]?[\d.,]*%?( \[.*\])?$/.test(row[place])));
      main.append(el("h2", null, heading), el("p", { class: "lead" }, text), el("div", { class: "scroll" },
        table(heading, content.columns.map((name, place) => [name, numbers[place]]), content.rows.map((row) => el("tr", null, ...row.map((text_, place) => cell(text_, null, numbers[place] ? "num" : "")))))));
    }
    picked();
    const body = grid.tBodies[0];
    const placeOf = new Map([...body.rows].map((row, place) => [row, place]));
    const passes = (place) => Object.keys(filters).every((name) => !selects[name].value || runs[place][name] === selects[name].value);
    const grown = await interactive(grid, { columnDefs: [{ targets: 0, orderable: false }], layout: { topStart: null, topEnd: "search", bottomStart: "info", bottomEnd: runs.length > 50 ? "paging" : null }, info: true });
    if (!grid.isConnected) return;
    grown.search.fixed("filters", (_text, _data, place) => passes(place));
    const draw = () => drawOverview(figure, [...body.rows].filter((row) => placeOf.has(row)).map((row) => runs[placeOf.get(row)]));
    grown.on("draw", () => { picked(); draw().catch((error) => console.error(error)); });
    for (const select of Object.values(selects)) select.addEventListener("change", () => grown.draw());
    draw().catch((error) => console.error(error)); // the table is there before the chart is: its library is large
  }

  function drawOverview(node, rows) {
    const taken = rows.slice(0, PLACES_OF_CHART);
    const fixed = (name) => new Set(taken.map((run) => run[name])).size <= 1;
    const label = (run) => shortened([run.strategy, ...["dataset", "backbone"].filter((name) => !fixed(name)).map((name) => run[name])].join(" \u00b7 "), 46);
    const traces = taken.map((run, place) => {
      const kind = kinds.indexOf(kindOf(run));
      return {
        type: "scatter", mode: "markers", x: [100 * run.top1], y: [place], hoverinfo: "text",
        text: [plotText(`${title(run)}: ${percent(run.top1)} ${between(run.top1_low, run.top1_high, percent)}`)],
        error_x: known(run.top1_low) ? { type: "data", symmetric: false, array: [100 * (run.top1_high - run.top1)], arrayminus: [100 * (run.top1 - run.top1_low)], thickness: 1.5, width: 4 } : {},
        marker: { color: COLOURS[kind % COLOURS.length], symbol: SHAPES[kind % SHAPES.length], size: 9 },
      };
    });
    node.style.height = `${70 + 22 * Math.max(taken.length, 1)}px`;
    return chart(node, traces, {
      height: 70 + 22 * Math.max(taken.length, 1), xaxis: { title: { text: "top-1 in percent" } },
      yaxis: { tickvals: taken.map((_, place) => place), ticktext: taken.map((run) => plotText(label(run))), range: [taken.length - 0.4, -0.6], zeroline: false },
    });
  }

  /** Everything of a group and some of its runs. */
  async function material(...keys) {
    const group = await load(`groups/${singles.get(keys[0]).group}`);
    const [images, ...contents] = await Promise.all([load(`images/${group.images[keys[0]]}`), ...keys.map((key) => load(`runs/${key}`))]);
    const total = new Array(group.class_names.length).fill(0);
    for (const label of images.labels) total[label] += 1;
    return { group, images, contents, total };
  }

  function confusions(labels, predictions) {
    const found = new Map();
    labels.forEach((label, place) => {
      if (label === predictions[place]) return;
      const key = `${label} ${predictions[place]}`;
      found.set(key, (found.get(key) ?? 0) + 1);
    });
    return found;
  }

  function chooser(id, label, value, onchange) {
    const select = el("select", { id, onchange: () => onchange(select.value) });
    for (const group of overview.groups) {
      select.append(el("optgroup", { label: `${group.dataset} \u00d7 ${group.backbone}` },
        ...group.runs.map((key) => el("option", { value: key, selected: key === value }, singles.get(key).strategy))));
    }
    return el("label", { for: id }, label, select);
  }

  async function showCompare(main, first, second) {
    const keys = [...singles.keys()];
    let a = singles.has(first) ? first : null;
    let b = singles.has(second) ? second : null;
    const start = overview.groups.find((group) => group.runs.length > 1);
    b ??= a ? (groupOf(singles.get(a)).baseline ?? keys[0]) : start ? (start.baseline ?? start.runs[0]) : keys[0];
    a ??= groupOf(singles.get(b)).runs.findLast((key) => key !== b) ?? b;
    const [one, other] = [singles.get(a), singles.get(b)];
    main.append(el("h1", null, "Two runs on the same images"), el("div", { class: "bar" },
      chooser("run-a", "Run", a, (key) => { location.hash = address.compare(key, b); }), chooser("run-b", "against", b, (key) => { location.hash = address.compare(a, key); }),
      el("button", { type: "button", onclick: () => { location.hash = address.compare(b, a); } }, "Swap")));
    if (a === b) { main.append(el("p", { class: "note" }, "This is one run twice. Choose another.")); return; }
    if (one.group !== other.group) {
      const differ = ["dataset", "split", "fingerprint", "backbone", "precision", "scorer"].filter((name) => one[name] !== other[name]);
      main.append(el("p", { class: "note" }, `These runs are not compared: they differ in ${differ.join(", ") || "the model or how images were prepared"}. A paired comparison here takes the same images, the same features and the same scorer.`));
      return;
    }
    const { group, images, contents, total } = await material(a, b);
    if (group.images[a] !== group.images[b]) { main.append(el("p", { class: "note" }, "These runs are not compared: one left out images that the other answered.")); return; }
    const pair = group.pairs.find((candidate) => (candidate.a === a && candidate.b === b) || (candidate.a === b && candidate.b === a));
    const sign = pair && pair.a === a ? 1 : -1;
    const span = (low, high) => (!known(low) ? "" : sign > 0 ? between(low, high, signed) : between(-high, -low, signed));
    const [ours, theirs] = contents.map((content) => content.predictions);
    const gained = new Array(total.length).fill(0);
    const lost = new Array(total.length).fill(0);
    images.labels.forEach((label, place) => {
      const [now, before] = [ours[place] === label, theirs[place] === label];
      if (now && !before) gained[label] += 1;
      if (before && !now) lost[label] += 1;
    });
    const sum = (values) => values.reduce((left, right) => left + right, 0);
    const difference = (sum(gained) - sum(lost)) / images.labels.length;
    const tested = !["zero_shot", "zero_shot_views"].includes(one.kind) || !["zero_shot", "zero_shot_views"].includes(other.kind) ? "not tested: the scores of images depend on each other, so neither an interval nor a test over images holds"
      : !pair ? "not tested: single runs of several seeds are compared through their mean"
      : pair.family === "table" ? "corrected after Holm for all differences of the table" : `corrected after Holm for the ${group.num_pairs} pairs of this data set and backbone`;
    main.append(el("p", { class: "lead" }, el("a", { href: address.run(a) }, one.strategy), " minus ", el("a", { href: address.run(b) }, other.strategy), `: ${one.dataset} \u00d7 ${one.backbone}, ${count(images.labels.length)} images`),
      el("ul", { class: "tiles", id: "significance" },
        ...[[`${signed(difference, 2)}`, `points (${percent(one.top1)} against ${percent(other.top1)})`], [pair ? span(pair.difference_low, pair.difference_high) : "\u2013", "95% interval over images"],
          [(pair && span(pair.difference_classes_low, pair.difference_classes_high)) || "\u2013", "95% interval over classes"], [`${count(sum(gained))} / ${count(sum(lost))}`, "images gained / lost"],
          [pair ? pValue(pair.p) : "\u2013", "p, McNemar's exact test"], [pair ? pValue(pair.p_holm) : "\u2013", "p, Holm"]].map(([value, name]) => el("li", null, el("b", null, value), el("span", null, name)))),
      el("p", { class: "note" }, `${pair ? (pair.p_holm < 0.05 ? "Significant" : "Not significant") : "No significance"}: ${tested}.`));
    const figure = el("div", { class: "chart", role: "img", "aria-label": "Change of each class, sorted; the table below has the numbers" });
    const order = total.map((_, label) => label).filter((label) => total[label] && gained[label] !== lost[label])
      .sort((left, right) => (gained[right] - lost[right]) / total[right] - (gained[left] - lost[left]) / total[left]);
    const level = total.filter((images_, label) => images_ && gained[label] === lost[label]).length;
    main.append(el("h2", null, "Which classes"), el("p", { class: "lead" }, `${count(order.length)} classes change, ${count(level)} stay level. A bar leads to its class.`), figure);
    const change = (label) => (gained[label] - lost[label]) / total[label];
    const before = (label) => (group.right[b][label]) / total[label];
    const rows = total.map((images_, label) => [label, images_]).filter(([, images_]) => images_).map(([label, images_]) => el("tr", null,
      cell(el("a", { href: address.of_class(a, label) }, group.class_names[label]), null, "name"), ...(group.tiers ? [cell(group.tiers[label])] : []), numeric(count(images_), images_),
      numeric(percent(group.right[a][label] / images_), group.right[a][label] / images_), numeric(percent(before(label)), before(label)),
      numeric(signed(change(label)), change(label), direction(change(label))), numeric(count(gained[label]), gained[label]), numeric(count(lost[label]), lost[label])));
    const grid = table("Change by class", [["Class"], ...(group.tiers ? [["Tier"]] : []), ["Images", true], [shortened(one.strategy, 24), true], [shortened(other.strategy, 24), true], ["Change", true], ["Gained", true], ["Lost", true]], rows);
    main.append(el("div", { class: "scroll" }, grid));
    const [now, was] = [confusions(images.labels, ours), confusions(images.labels, theirs)];
    const moved = [...new Set([...now.keys(), ...was.keys()])].map((key) => [...key.split(" ").map(Number), was.get(key) ?? 0, now.get(key) ?? 0])
      .filter(([, , from, to]) => from !== to).sort((left, right) => Math.abs(right[3] - right[2]) - Math.abs(left[3] - left[2])).slice(0, MOVED);
    const mixed = table("Confusions that moved most", [["Class"], ["taken for"], [shortened(other.strategy, 24), true], [shortened(one.strategy, 24), true], ["Change", true]],
      moved.map(([label, prediction, from, to]) => el("tr", null, cell(el("a", { href: address.of_class(a, label) }, group.class_names[label]), null, "name"), cell(group.class_names[prediction], null, "name"),
        numeric(count(from), from), numeric(count(to), to), numeric(`${to > from ? "+" : "\u2212"}${Math.abs(to - from)}`, to - from, direction(from - to)))));
    main.append(el("h2", null, "Which confusions"), el("p", { class: "lead" }, "How many images of a class are taken for another; fewer is better."), el("div", { class: "scroll" }, mixed));
    const colours = getComputedStyle(document.documentElement);
    await Promise.all([interactive(grid, { order: [[grid.tHead.rows[0].cells.length - 3, "desc"]] }), interactive(mixed),
      order.length ? chart(figure, [{ type: "bar", x: order.map((_, place) => place), y: order.map((label) => 100 * change(label)), hoverinfo: "text",
        text: order.map((label) => plotText(`${group.class_names[label]}: ${signed(change(label))} (${gained[label]} gained, ${lost[label]} lost of ${total[label]})`)), textposition: "none",
        marker: { color: order.map((label) => colours.getPropertyValue(change(label) > 0 ? "--gain" : "--loss").trim()) } }],
      { height: 300, bargap: order.length > 200 ? 0 : 0.15, xaxis: order.length <= 45 ? { tickvals: order.map((_, place) => place), ticktext: order.map((label) => plotText(shortened(group.class_names[label], 22))), tickangle: -50 } : { title: { text: "classes that change, sorted" }, showticklabels: false },
        yaxis: { title: { text: "change in points" } } }, (point) => { location.hash = address.of_class(a, order[point.pointIndex]); }) : figure.remove()]);
  }

  const facts = (entries) => el("dl", { class: "facts" }, ...entries.filter(([, value]) => known(value) && value !== "").flatMap(([name, value]) => [el("dt", null, name), el("dd", null, String(value))]));

  async function showRun(main, key) {
    const run = singles.get(key);
    const baseline = groupOf(run).baseline;
    const { group, images, contents: [content], total } = await material(key);
    const { record, classes } = content;
    const right = group.right[key];
    const before = baseline && baseline !== key && group.images[baseline] === group.images[key] ? group.right[baseline] : null;
    main.append(el("h1", null, title(run)),
      el("ul", { class: "tiles" }, ...[[withInterval(run.top1, run.top1_low, run.top1_high), "top-1"], known(run.top5) && [percent(run.top5), "top-5"], [percent(run.mean_per_class), "mean per class"],
        known(run.difference) && [withInterval(run.difference, run.difference_low, run.difference_high, signed), `minus ${singles.get(baseline)?.strategy ?? "baseline"}`],
        known(run.calibration_error) && [percent(run.calibration_error), "calibration error"], [count(run.num_images), "images"], [count(run.num_prompts), "prompts"]].filter(Boolean).map(([value, name]) => el("li", null, el("b", null, value), el("span", null, name)))));
    if (before) main.append(el("p", null, el("a", { href: address.compare(key, baseline) }, `Compare with ${singles.get(baseline).strategy}`)));
    const columns = [["Class"], ...(group.tiers ? [["Tier"]] : []), ["Images", true], ["Top-1 [95%]", true], ...(before ? [["Change", true, `Minus ${singles.get(baseline).strategy}, in points`], ["p (Holm)", true, "McNemar's exact test, corrected for all classes of the run"]] : []), ["Most taken for"]];
    const worst = new Map();
    const confused = confusions(images.labels, content.predictions);
    for (const [pair, number] of confused) {
      const [label, prediction] = pair.split(" ").map(Number);
      if (number > (worst.get(label)?.[1] ?? 0)) worst.set(label, [prediction, number]);
    }
    const rows = total.map((number, label) => [number, label]).filter(([number]) => number).map(([number, label]) => {
      const change = before ? (right[label] - before[label]) / number : null;
      const mistaken = worst.get(label);
      return el("tr", null, cell(el("a", { href: address.of_class(key, label) }, group.class_names[label]), null, "name"), ...(group.tiers ? [cell(group.tiers[label])] : []), numeric(count(number), number),
        numeric(withInterval(right[label] / number, classes.low[label], classes.high[label]), right[label] / number),
        ...(before ? [numeric(signed(change), change, direction(change), known(classes.p_holm[label]) && classes.p_holm[label] < 0.05 ? "sure" : ""), numeric(pValue(classes.p_holm[label]), classes.p_holm[label], classes.p_holm[label] < 0.05 ? "sure" : "unsure")] : []),
        cell(mistaken ? `${group.class_names[mistaken[0]]} (${mistaken[1]})` : "", null, "name"));
    });
    const grid = table("Classes", columns, rows);
    main.append(el("h2", null, "Classes"), el("div", { class: "scroll" }, grid));
    const figure = el("div", { class: "chart", role: "img", "aria-label": "Top-1 against the number of prompts of each class" });
    if (content.curve) main.append(el("h2", null, "How many prompts"), el("p", { class: "lead" }, "Mean of the draws, and the band from the least to the greatest."), figure);
    const effects = content.effects ? await load(content.effects) : null;
    if (effects?.templates.length) {
      main.append(el("h2", null, "Templates"), el("div", { class: "scroll" }, table("Templates", [["Template"], ["Adds", true, "Top-1 with it minus top-1 without it, in points"], ["Alone", true, "Top-1 with this template alone"]],
        effects.templates.map(([text, adds, alone]) => el("tr", null, cell(text, null, "text"), numeric(signed(adds, 2), adds, direction(adds)), numeric(percent(alone), alone))))));
    }
    const join = record.prompts.join ? Object.entries(record.prompts.join).map(([how, number]) => `${number} ${how}`).join(", ") : null;
    main.append(el("h2", null, "What identifies this number"), el("div", { class: "columns" },
      facts([["Run", key], ["Protocol", record.protocol_version], ["Made", record.created_at.slice(0, 16).replace("T", " ")], ["Data set", `${record.dataset.name}, split ${record.dataset.split}`], ["Fingerprint", record.dataset.fingerprint.slice(0, 24)],
        ["Images", `${count(record.dataset.num_images)} of ${count(record.dataset.num_classes)} classes`], ["Left out", record.dataset.num_broken || null], ["Source", record.dataset.origin ? Object.values(record.dataset.origin).join(", ") : null],
        ["Prompts", `${record.prompts.name}, ${record.prompts.aggregation}`], ["Number", `${count(record.prompts.num_prompts)}, ${count(record.prompts.num_distinct)} distinct, ${count(record.prompts.num_truncated)} cut`], ["File", record.prompts.source], ["Joined", join],
        ["Budget", record.prompts.budget], ["Seed", record.prompts.seed], ["Weights", record.prompts.weighting],
        ["Scorer", record.scorer.name === "plain" ? null : `${record.scorer.name}, ${record.scorer.kind.replaceAll("_", " ")}`], ["Its parameters", Object.entries(record.scorer.parameters).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ") || null], ["Its constants", record.scorer.name === "plain" ? null : record.scorer.constants_from]]),
      facts([["Backbone", record.backbone.name], ["Architecture", record.backbone.architecture], ["Weights", record.backbone.pretrained], ["sha256", record.backbone.weights_sha256.slice(0, 24)], ["Activation", record.backbone.activation],
        ["Precision", record.backbone.precision], ["Transform", Object.entries(record.backbone.transform).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")],
        ["Commit", record.environment.commit ? record.environment.commit.slice(0, 12) + (record.environment.dirty ? ", changed" : "") : null], ["Device", record.environment.device], ["Seconds", record.timing?.total_seconds]])));
    const work = [interactive(grid)];
    if (content.curve) {
      const x = content.curve.num_prompts;
      const scaled = (values) => values.map((value) => 100 * value);
      work.push(chart(figure, [
        { type: "scatter", mode: "lines", x, y: scaled(content.curve.top1_low), line: { width: 0 }, hoverinfo: "skip" },
        { type: "scatter", mode: "lines", x, y: scaled(content.curve.top1_high), line: { width: 0 }, fill: "tonexty", fillcolor: "rgba(0,114,178,0.2)", hoverinfo: "skip" },
        { type: "scatter", mode: "lines+markers", x, y: scaled(content.curve.top1_mean), line: { color: COLOURS[0] }, marker: { color: COLOURS[0] } }],
      { height: 280, xaxis: { title: { text: "prompts of each class" }, type: "log", tickvals: x, ticktext: x.map(String) }, yaxis: { title: { text: "top-1 in percent" } } }));
    }
    await Promise.all(work);
  }

  async function showClass(main, key, text) {
    const run = singles.get(key);
    const label = Number(text);
    const { group, images, contents: [content], total } = await material(key);
    if (!(label in group.class_names)) { notFound(main); return; }
    const name = group.class_names[label];
    const [prompts, effects] = await Promise.all([content.prompts ? load(content.prompts) : null, content.effects ? load(content.effects) : null]);
    const own = images.labels.map((_, place) => place).filter((place) => images.labels[place] === label);
    const wrong = own.filter((place) => content.predictions[place] !== label);
    const right = own.filter((place) => content.predictions[place] === label);
    const jump = el("select", { id: "class", onchange: () => { location.hash = address.of_class(key, jump.value); } },
      ...group.class_names.map((other, place) => el("option", { value: place, selected: place === label }, total[place] ? other : `${other} (no image)`)));
    const step = (by, caption) => el("button", { type: "button", disabled: !(label + by in group.class_names), onclick: () => { location.hash = address.of_class(key, label + by); } }, caption);
    main.append(el("h1", null, name), el("p", { class: "lead" }, "in ", el("a", { href: address.run(key) }, title(run)), ` \u2014 label ${label} `, group.tiers ? el("span", { class: "tag" }, group.tiers[label]) : null),
      el("div", { class: "bar" }, step(-1, "Previous class"), step(1, "Next class"), el("label", { for: "class" }, "Class", jump)));
    const list = (heading, found, empty) => el("section", null, el("h2", null, heading), found.length ? table(heading, [["Class"], ["Images", true]],
      found.slice(0, 15).map(([other, number]) => el("tr", null, cell(el("a", { href: address.of_class(key, other) }, group.class_names[other]), null, "name"), numeric(count(number), number)))) : el("p", { class: "lead" }, empty));
    const tally = (places, of) => {
      const found = new Map();
      for (const place of places) found.set(of(place), (found.get(of(place)) ?? 0) + 1);
      return [...found].sort((left, other) => other[1] - left[1]);
    };
    const taken = images.labels.map((_, place) => place).filter((place) => content.predictions[place] === label && images.labels[place] !== label);
    const members = groupOf(run).runs;
    main.append(el("div", { class: "columns" },
      el("section", null, el("h2", null, "In every run"), table("Runs", [["Prompts"], ["Right", true], ["Top-1", true]], members.map((other) => el("tr", null,
        cell(other === key ? el("b", null, singles.get(other).strategy) : el("a", { href: address.of_class(other, label) }, singles.get(other).strategy), null, "name"),
        numeric(group.images[other] === group.images[key] ? `${group.right[other][label]} of ${total[label]}` : String(group.right[other][label]), group.right[other][label]),
        numeric(group.images[other] === group.images[key] && total[label] ? percent(group.right[other][label] / total[label]) : "", group.right[other][label]))))),
      list("What it is taken for", tally(wrong, (place) => content.predictions[place]), "Never taken for another class."), list("What is taken for it", tally(taken, (place) => images.labels[place]), "No other class is taken for it.")));
    const gallery = (heading, places) => {
      const shown = places.filter((place) => place in images.thumbnails).slice(0, 24);
      const rest = places.filter((place) => !(place in images.thumbnails) || !shown.includes(place));
      const said = (place) => (content.predictions[place] === label ? "" : `taken for ${group.class_names[content.predictions[place]]}`);
      const margin = (place) => (content.margins ? `margin ${(content.margins[place] / 1000).toFixed(3)}` : "");
      return el("section", null, el("h2", null, `${heading} (${count(places.length)})`),
        shown.length ? el("ul", { class: "images" }, ...shown.map((place) => el("li", null, el("img", { src: `thumbnails/${images.thumbnails[place]}`, alt: `${images.names[place]}${said(place) && `, ${said(place)}`}`, loading: "lazy", width: 96, height: 96 }),
          el("div", { class: "caption" }, said(place) || images.names[place], el("span", null, said(place) ? `${images.names[place]}, ${margin(place)}` : margin(place)))))) : null,
        rest.length ? el("details", { open: !shown.length && rest.length <= 30 }, el("summary", null, `${count(rest.length)} ${shown.length ? "more" : ""} by name`),
          el("ul", { class: "names" }, ...rest.slice(0, IMAGES_IN_LIST).map((place) => el("li", null, `${images.names[place]}${said(place) && `: ${said(place)}`}, ${margin(place)}`)))) : null);
    };
    main.append(gallery("Images that are wrong", wrong), gallery("Images that are right", right));
    if (!prompts) { main.append(el("p", { class: "note" }, "Its prompts were not kept: the run was made by an earlier version.")); return; }
    const seen = new Set();
    const rows = prompts.texts[label].map((prompt, place) => {
      const effect = effects ? effects.classes[label][place] : null;
      seen.add(prompt);
      return el("tr", null, cell(prompt, null, "text"), ...(prompts.weights ? [numeric(prompts.weights[label][place].toPrecision(3), prompts.weights[label][place])] : []),
        ...(effects ? [numeric(effect ? signed(effect[0]) : "", effect?.[0], direction(effect?.[0])), numeric(effect ? percent(effect[1]) : "", effect?.[1]), numeric(effect ? signed(effect[2], 2) : "", effect?.[2], direction(effect?.[2]))] : []));
    });
    const grid = table("Prompts", [["Prompt"], ...(prompts.weights ? [["Weight", true]] : []), ...(effects ? [["Adds", true, "Top-1 of this class with the prompt minus without it, in points"], ["Alone", true, "Top-1 of this class with this prompt alone"], ["Adds to all", true, "The same of all images"]] : [])], rows);
    main.append(el("h2", null, `Prompts (${count(rows.length)}, ${count(seen.size)} distinct)`),
      el("p", { class: "lead" }, effects ? "What each adds: top-1 with it minus top-1 without it, in points." : "What each prompt adds is measured by cupl-bench effects with the arguments of the run."), el("div", { class: "scroll" }, grid));
    await interactive(grid);
  }

  // Navigation ---------------------------------------------------------------------------------------------------------

  function notFound(main) {
    main.append(el("h1", null, "Not here"), el("p", null, "The page holds no such run or class. ", el("a", { href: "#/" }, "To the overview")));
  }

  let generation = 0;
  async function show() {
    const mine = ++generation;
    for (const node of charts.keys()) window.Plotly?.purge(node);
    charts.clear();
    const [view, key, kind, label] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    const main = el("div"); // a view that is left while it loads goes on in a place that no one sees
    frame.replaceChildren(main);
    frame.dataset.ready = "";
    for (const link of document.querySelectorAll("nav a")) link.toggleAttribute("aria-current", link.dataset.view === (view || "overview"));
    for (const link of document.querySelectorAll("nav a[aria-current]")) link.setAttribute("aria-current", "page");
    try {
      if (!view) await showOverview(main);
      else if (view === "compare") await showCompare(main, key, kind);
      else if (view === "run" && singles.has(key) && kind === "class") await showClass(main, key, label);
      else if (view === "run" && singles.has(key)) await showRun(main, key);
      else notFound(main);
    } catch (error) {
      if (mine === generation) main.append(el("p", { class: "error", role: "alert" }, `This cannot be shown: ${error.message}`));
      console.error(error);
    }
    if (mine !== generation) return;
    frame.dataset.ready = location.hash || "#/";
    performance.mark("shown");
  }

  async function go() {
    await show();
    window.scrollTo(0, 0);
    frame.focus({ preventScroll: true });
  }

  function start() {
    if (overview.baselines.length) document.getElementById("baselines").textContent = `, minus ${overview.baselines.join(" or ")}`;
    const theme = () => document.documentElement.classList.toggle("dark", dark.matches);
    theme();
    dark.addEventListener("change", () => { theme(); show(); });
    document.querySelector("a.skip").addEventListener("click", (event) => { event.preventDefault(); frame.focus(); });
    window.addEventListener("hashchange", go);
    show();
  }

  return { receive, start, tables: null };
})();
