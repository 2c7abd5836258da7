// The matrix: strategies by data set, backbone or tier, each less the baseline, and what it says in a sentence.

const BY = { dataset: "data set", backbone: "backbone", both: "data set and backbone", tier: "tier" };
const SHOWN = { difference: "difference to the baseline", scorer: "difference to the plain scorer", top1: "top-1" };
const tierNames = [...new Set(runs.flatMap((run) => Object.keys(run.tiers).filter((tier) => known(run.tiers[tier]))))];
const changedTiers = tierNames.filter((tier) => !tier.endsWith(" alone"));

/** Return a function that gives each run's difference to the strategy ``name``; null: to the baseline of the report. */
async function differencesTo(name) {
  if (name === null) {
    // A mean over seeds has no tested difference of a tier, but it has the difference.
    const ofTier = (run, tier) => run.changed_tiers?.[tier]?.difference ?? (known(run.difference) && known(run.tiers[tier]) ? minusOf(run.tiers[tier], singles.get(groupOf(run).baseline)?.tiers[tier]) : null);
    return (run) => ({
      base: groupOf(run).baseline === run.run_key, against: groupOf(run).baseline, value: run.difference, low: run.difference_low, high: run.difference_high, p: run.p_holm,
      tiers: Object.fromEntries(changedTiers.map((tier) => [tier, { value: ofTier(run, tier), p: run.changed_tiers?.[tier]?.p_holm }])),
    });
  }
  const groups = await Promise.all(overview.groups.map((_, number) => load(`groups/${number}`)));
  const bases = new Map(overview.groups.map((group, number) => [String(number), runs.find((run) => run.run_key && run.group === String(number) && run.prompts === name && run.strategy === baseLabel(run, name))
    ?? runs.find((run) => run.run_key && run.group === String(number) && run.prompts === name)]));
  return (run) => {
    const base = bases.get(run.group);
    if (!base || base === run) return { base: base === run, against: base?.run_key ?? null, tiers: {} };
    const group = groups[Number(run.group)];
    const pair = run.run_key ? pairOf(group, run.run_key, base.run_key) : null;
    const alike = !run.run_key || group.images[run.run_key] === group.images[base.run_key];
    const value = alike ? run.top1 - base.top1 : null;
    const tiers = Object.fromEntries(changedTiers.map((tier) => [tier, { value: alike && known(run.tiers[tier]) && known(base.tiers[tier]) ? run.tiers[tier] - base.tiers[tier] : null, p: null }]));
    return { base: false, against: base.run_key, value, low: pair?.difference_low, high: pair?.difference_high, p: pair?.p_holm, tiers };
  };
}
const minusOf = (value, other) => (known(other) ? value - other : null);
const baseLabel = (run, name) => (run.scorer === "plain" ? name : `${name}, ${run.scorer}`);

/** Return the metric of a data set's own that a run stands in; null: top-1. */
const metricOf = (run, by, shown) => (shown === "scorer" || by === "tier" ? null : (run.own?.title ?? null));

/** Return a run's own metric less that of the run it is compared with: tested where that is the baseline of the report. */
function ownEntry(run, { base, against }) {
  const other = singles.get(against)?.own;
  const ofReport = against === groupOf(run).baseline;
  const found = { base, against, top1: run.own.value, top1_low: run.own.low, top1_high: run.own.high };
  if (base || other?.title !== run.own.title) return { ...found, value: null };
  return ofReport ? { ...found, value: run.own.difference, low: run.own.difference_low, high: run.own.difference_high, p: run.own.p_holm } : { ...found, value: run.own.value - other.value };
}

/** Return blocks of lines: kinds and scorers stand apart, because nothing is ranked across them. */
function matrixOf(taken, by, shown, differenceOf) {
  const columns = new Map();
  const blocks = new Map();
  const column = (key, name, above, metric = null) => columns.set(key, { key, name, above, metric });
  // Points of two metrics are not added: means and counts are of top-1, or of the only metric that there is.
  const main = taken.some((run) => metricOf(run, by, shown) === null) ? null : metricOf(taken[0], by, shown);
  for (const run of taken) {
    const metric = metricOf(run, by, shown);
    if (by === "backbone" && metric !== main) continue;
    const of = `${run.kind} ${run.scorer}`;
    if (!blocks.has(of)) blocks.set(of, { kind: run.kind, scorer: run.scorer, lines: new Map() });
    const { lines } = blocks.get(of);
    if (!lines.has(run.strategy)) lines.set(run.strategy, { strategy: run.strategy, cells: new Map(), runs: [] });
    const line = lines.get(run.strategy);
    line.runs.push(run);
    const difference = differenceOf(run);
    const add = (key, entry) => {
      if (!line.cells.has(key)) line.cells.set(key, []);
      line.cells.get(key).push({ run, ...entry });
    };
    const minusPlain = shown === "scorer" ? { base: run.scorer === "plain", against: null, value: run.scorer_difference, low: run.scorer_difference_low, high: run.scorer_difference_high, p: run.scorer_p_holm } : difference;
    const whole = { ...(metric ? ownEntry(run, difference) : { ...minusPlain, top1: run.top1, top1_low: run.top1_low, top1_high: run.top1_high }), metric };
    if (by === "tier") {
      column("all", "all classes");
      add("all", whole);
      for (const tier of changedTiers) {
        if (!known(run.tiers[tier])) continue;
        column(`tier ${tier}`, tier);
        add(`tier ${tier}`, { base: difference.base, against: difference.against, top1: run.tiers[tier], ...(shown === "scorer" ? {} : difference.tiers[tier]) });
      }
    } else {
      const key = `in ${by === "dataset" ? run.dataset : by === "backbone" ? run.model : `${run.dataset} on ${run.model}`}${metric && by !== "backbone" ? `, ${metric}` : ""}`;
      const named = metric ? `${run.dataset}, ${metric}` : run.dataset;
      column(key, by === "backbone" || by === "both" ? run.model : named, by === "both" ? named : null, metric);
      add(key, whole);
    }
  }
  const order = ["zero_shot", "zero_shot_views", "uses_labels", "transductive", "online"];
  const place = (block) => [block.scorer === "plain" ? 0 : 1, order.indexOf(block.kind)];
  const sorted = [...blocks.values()].sort((one, other) => place(one)[1] - place(other)[1] || place(one)[0] - place(other)[0]);
  for (const block of sorted) {
    block.lines = [...block.lines.values()];
    for (const line of block.lines) {
      line.cells = new Map([...line.cells].map(([key, entries]) => [key, summed(entries)]));
      const wholes = [...line.cells].filter(([key]) => by !== "tier" || key === "all").flatMap(([, found]) => found.entries).filter((entry) => entry.metric === main);
      line.all = summed(wholes);
      line.where = [...new Set(line.all.entries.filter((entry) => known(entry.value)).map(({ run }) => `${run.dataset} on ${run.model}`))].sort().join("\n");
    }
    // Means are ranked only where they are over the same data sets and backbones.
    const { where } = block.lines.reduce((most, line) => (line.all.number > most.all.number ? line : most));
    for (const line of block.lines) line.partial = !line.all.base && line.where !== where;
  }
  return { columns: [...columns.values()], blocks: sorted, main };
}

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
function summed(entries) {
  const told = entries.filter((entry) => known(entry.value));
  return {
    entries, base: entries.length > 0 && entries.every((entry) => entry.base), top1: mean(entries.map((entry) => entry.top1)), value: mean(told.map((entry) => entry.value)), number: told.length,
    tested: told.filter((entry) => known(entry.p)).length, better: told.filter((entry) => entry.value > 0).length,
    up: told.filter((entry) => known(entry.p) && entry.p < 0.05 && entry.value > 0).length, down: told.filter((entry) => known(entry.p) && entry.p < 0.05 && entry.value < 0).length,
  };
}

/** Return the line that is best of those that ran everywhere; null where nothing is compared. */
function winnerOf(block) {
  const ranked = block.lines.filter((line) => !line.partial && known(line.all.value)).sort((one, other) => other.all.value - one.all.value);
  return ranked.length ? { line: ranked[0], next: ranked[1] ?? null, left: block.lines.filter((line) => line.partial).length } : null;
}

/** Say which strategy of a block is best, by how much and whether that is sure. */
function finding(block, several, minus) {
  const intro = several ? el("span", { class: "tag" }, [kindName(block.kind), block.scorer === "plain" ? null : block.scorer].filter(Boolean).join(", ")) : null;
  const won = winnerOf(block);
  const p = (...parts) => el("p", { class: "finding" }, intro, ...parts);
  const base = [...new Set(block.lines.filter((line) => line.all.base).map((line) => line.strategy))];
  const name = minus === "scorer" ? "the plain scorer" : base.length === 1 ? base[0] : "the baseline";
  if (!won) return p(block.lines.length === 1 ? `Only ${isolated(block.lines[0].strategy)} was run${block.lines[0].all.number ? "" : ": there is nothing to compare it with"}.` : `${many(block.lines.length, "strategy", "strategies")}, and no baseline to compare them with.`);
  const { line, next, left } = won;
  const { all } = line;
  const one = all.number === 1 ? all.entries.find((entry) => known(entry.value)) : null;
  const head = all.value > 0 ? [el("b", null, bdi(line.strategy)), " is best: "] : ["No strategy is better than ", el("b", null, bdi(name)), ". The best, ", el("b", null, bdi(line.strategy)), ": "];
  const amount = el("b", { class: direction(all.value) }, `${signed(all.value)} points`);
  const parts = [...head, amount];
  if (one) {
    parts.push(` ${between(one.low, one.high, signed)} ${all.value > 0 ? "over" : "against"} `, bdi(name), ` (${one.metric ?? "top-1"} ${percent(one.top1)}%${singles.has(one.against) ? ` against ${percent(one.metric ? singles.get(one.against).own?.value : singles.get(one.against).top1)}%` : ""} of ${count(one.run.num_images)} images). `);
    parts.push(!known(one.p) ? el("b", null, INDEPENDENT.has(block.kind) ? "It was not tested." : "No test holds: the scores of its images depend on each other.")
      : one.p < 0.05 ? el("b", null, "This is significant") : el("b", null, "This is not significant"), known(one.p) ? ` (p ${one.p < 0.0001 ? "" : "= "}${pValue(one.p)}, after Holm)` : "",
      one.run.best && minus !== "scorer" ? ", and it is significantly better than every other strategy here. " : known(one.p) ? ". " : " ");
    if (known(one.run.classes_better) && minus === null && !one.metric) parts.push(`${many(one.run.classes_better, "class", "classes")} gain (${count(one.run.classes_surely_better)} significantly), ${count(one.run.classes_worse)} lose (${count(one.run.classes_surely_worse)} significantly).`);
  } else {
    const over = [["dataset", "data set"], ["model", "backbone"]].map(([field, what]) => [new Set(all.entries.filter((entry) => known(entry.value)).map((entry) => entry.run[field])).size, what]).filter(([number]) => number > 1).map(([number, what]) => many(number, what));
    parts.push(` ${all.value > 0 ? "over" : "against"} `, bdi(name), ` in the mean of ${over.join(" and ") || many(all.number, "run")}; better in ${count(all.better)} of ${count(all.number)}, `,
      all.tested ? el("b", null, `significantly in ${count(all.up)}`) : "not tested", all.tested ? `, significantly worse in ${count(all.down)}. ` : ". ", minus === null ? pooledSaid(line) : "");
  }
  if (next) parts.push(" Next: ", bdi(next.strategy), ` ${signed(next.all.value)}.`);
  if (left) parts.push(` ${many(left, "strategy", "strategies")} that did not run everywhere ${left === 1 ? "is" : "are"} not ranked.`);
  return p(...parts);
}

/** The intervals of a mean over data sets, where the line is one that the report has pooled. */
function pooledSaid(line) {
  const [first] = line.runs;
  const same = ["prompts", "scorer", "kind", "aggregation", "budget", "model"];
  if (line.runs.some((run) => same.some((name) => run[name] !== first[name]))) return "";
  const found = (overview.pooled_rows ?? []).find((row) => row.num_datasets === line.all.number && row.prompts === first.prompts && row.scorer === first.scorer && row.kind === first.kind
    && row.aggregation === first.aggregation && row.budget === first.budget && row.backbone === first.backbone && Math.abs(row.difference - line.all.value) < 1e-9);
  if (!found || !known(found.difference_datasets_low)) return "";
  const spans = [[between(found.difference_low, found.difference_high, signed), "over images"], [between(found.difference_datasets_low, found.difference_datasets_high, signed), "over data sets"]];
  return `95% interval ${spans.filter(([span]) => span).map((parts) => parts.join(" ")).join(", ")}.`;
}

const VALUE = { name: (line) => line.strategy, mean: (line) => (line.partial ? null : (line.all.value ?? (line.all.base ? 0 : null))), surely: (line) => line.all.up, top1: (line) => line.all.top1 };
function sortLines(lines, rank) {
  const [sign, key] = rank.startsWith("-") ? [-1, rank.slice(1)] : [1, rank];
  const of = (line) => (VALUE[key] ? VALUE[key](line) : (line.cells.get(key)?.value ?? (line.cells.get(key)?.base ? 0 : null)));
  return [...lines].sort((one, other) => {
    const [left, right] = [of(one), of(other)];
    if (!known(left) || !known(right)) return Number(known(right)) - Number(known(left));
    return sign * (key === "name" ? left.localeCompare(right) : right - left);
  });
}

/** Return a cell of the matrix: its difference, shaded where that is significant. */
function matrixCell(found, shown, { wide, counted, by, whole = true, partial = false }) {
  if (!found) return cell("\u00b7", null, "num", "empty");
  const top1 = shown === "top1";
  const one = found.entries.length === 1 ? found.entries[0] : null;
  const gains = found.value > 0;
  const share = found.number ? (gains ? found.up : found.down) / found.number : 0;
  const classes = ["num", found.base || (!top1 && !found.number) ? "base" : found.number && !found.tested ? "untested" : "", share && !found.base ? (gains ? "gain" : "loss") : "", share === 1 ? "sure" : "", one?.run.best && by !== "tier" ? "best" : ""];
  const absolute = top1 || found.base || !known(found.value);
  const text = absolute ? percent(found.top1) : signed(found.value);
  const interval = !wide || !one ? null : absolute ? between(one.top1_low, one.top1_high, percent) : between(one.low, one.high, signed);
  const target = one?.run.run_key ? (one.against && !found.base && one.run.run_key !== one.against ? address.compare(one.run.run_key, one.against) : address.run(one.run.run_key)) : null;
  const inner = el("span", null, text, interval ? el("span", { class: "ci" }, ` ${interval}`) : null, counted && found.entries.length > 1 && !absolute && found.tested ? el("span", { class: "ci" }, ` ${gains ? found.up : found.down}/${found.number}`) : null, partial ? el("span", { class: "ci" }, ` of ${found.entries.length}`) : null);
  const node = cell(target ? el("a", { href: target }, inner) : inner, absolute ? found.top1 : found.value, ...classes);
  if (share && share < 1) node.style.setProperty("--share", `${Math.round(25 + 75 * share)}%`);
  node.title = [partial ? "did not run everywhere: not ranked" : null, found.entries.length > 1 ? `mean of ${found.entries.length} runs` : title(one.run), `${one?.metric ?? "top-1"} ${percent(found.top1)}`, known(found.value) ? `difference ${signed(found.value, 2)} ${one ? between(one.low, one.high, (value) => signed(value, 2)) : ""}` : null,
    found.base ? "the baseline" : !found.number ? null : !found.tested ? "not tested" : one ? `p ${pValue(one.p)} after Holm` : `significantly better in ${found.up}, worse in ${found.down}`, one?.run.best && whole ? "significantly better than all others of its group" : null].filter(Boolean).join("; ");
  node.dataset.said = `${text}${interval ? ` ${interval}` : ""}`;
  const [low, high] = !one ? [] : absolute ? [one.top1_low, one.top1_high] : [one.low, one.high];
  if (known(low)) Object.assign(node.dataset, { low, high });
  return node;
}

/** Return the matrix as a table; ``onRank`` is called with the column that it is to be sorted by. */
function matrixTable({ columns, blocks, main }, { by, shown, rank, minusName }, onRank) {
  const several = columns.length > 1 && by !== "tier";
  const single = blocks.every((block) => block.lines.every((line) => line.all.entries.length === 1));
  const wide = columns.length <= 6;
  const tall = columns.length > 12;
  const of = (key, name, classes, meaning) => {
    const now = rank.replace(/^-/, "") === key;
    return el("th", { scope: "col", class: classes, title: meaning, "data-said": name, "data-key": key, "aria-sort": now ? (rank.startsWith("-") === (key === "name") ? "descending" : "ascending") : null },
      el("button", { type: "button", class: "rank", onclick: () => onRank(now && !rank.startsWith("-") ? `-${key}` : key) }, breakable(name)));
  };
  const value = shown === "top1" ? (main ?? "top-1") : minusName;
  const leads = several || !single ? [of("mean", shown === "top1" ? `mean ${main ?? "top-1"}` : "mean", "num lead", `Mean ${value} of what stands in this row`), shown === "top1" ? null : of("surely", "significantly better", "num lead", "In how many of the runs the difference is significant, after Holm")].filter(Boolean) : [of("top1", `${main ?? "top-1"} [95%]`, "num lead", "Of all images")];
  const withClasses = single && !main && shown === "difference" && blocks.some((block) => block.lines.some((line) => known(line.all.entries[0].run.classes_better)));
  const heads = [of("name", "strategy", "line"), ...leads, ...columns.map((column) => of(column.key, column.name, `num${tall ? " turned" : ""}`, [column.above, column.name].filter(Boolean).join(" \u00d7 "))),
    withClasses ? el("th", { scope: "col", class: "num", title: "Classes whose top-1 rises and falls; in brackets those for which that is significant, after Holm for all classes of the run", "data-said": "classes better / worse" }, "classes better / worse") : null].filter(Boolean);
  const above = [];
  if (by === "both") {
    for (const column of columns) {
      if (above.at(-1)?.name === column.above) above.at(-1).span += 1;
      else above.push({ name: column.above, span: 1 });
    }
  }
  const headRows = [above.length ? el("tr", null, el("td", { colspan: 1 + leads.length }), ...above.map(({ name, span }) => el("th", { scope: "colgroup", colspan: span, class: "above", title: name }, bdi(name)))) : null, el("tr", null, ...heads)].filter(Boolean);
  const bodies = blocks.map((block) => {
    const rows = sortLines(block.lines, rank).map((line) => {
      const { all } = line;
      const lead = several || !single ? [all.entries.length ? matrixCell(all, shown, { by, whole: false, partial: line.partial }) : cell("\u00b7", null, "num", "empty"), shown === "top1" ? null : numeric(all.base ? "baseline" : all.tested ? `${all.up} of ${all.number}` : all.number ? "not tested" : "", all.up, all.base ? "base" : "")].filter(Boolean)
        : [spanned(all.entries[0], "top1", percent, all.entries[0].run.best ? "sure" : "")];
      const [run] = line.runs;
      const changed = all.base || !known(run.classes_better) ? cell(all.base ? "baseline" : "", null, "num", "base")
        : numeric(`${run.classes_better} / ${run.classes_worse} (${run.classes_surely_better} / ${run.classes_surely_worse})`, run.classes_better - run.classes_worse);
      const own = single && run.run_key ? el("a", { href: address.run(run.run_key) }, breakable(line.strategy)) : breakable(line.strategy);
      return el("tr", { class: all.base ? "base" : null }, el("th", { scope: "row", class: "line" }, own), ...lead, ...columns.map((column) => matrixCell(line.cells.get(column.key), shown, { wide, counted: !tall, by })), withClasses ? changed : null);
    });
    const heading = blocks.length > 1 ? el("tr", { class: "kind" }, el("th", { scope: "rowgroup", colspan: heads.length, class: "line" }, `${kindName(block.kind)}${block.scorer === "plain" ? "" : `, scorer ${block.scorer}`}`)) : null;
    return el("tbody", null, heading, ...rows);
  });
  return el("table", { class: `matrix${wide ? "" : " dense"}`, "aria-label": `Strategies by ${BY[by]}` }, el("thead", null, ...headRows), ...bodies);
}
