// Below the matrix: ranks over data sets, what a strategy beats, and who writes best. They are of all runs.

/** Return the columns of which rows differ in what is asked: data set, backbone, precision, scorer, kind. */
function apart(rows, names) {
  const said = { dataset: "Data set", backbone: "Backbone", precision: "Precision", scorer: "Scorer", kind: "Kind" };
  return names.filter((name) => new Set(rows.map((row) => row[name])).size > 1).map((name) => [said[name], false, null, (row) => cell(name === "kind" ? kindName(row.kind) : String(row[name] ?? ""), null, "name")]);
}

/** Return the run that a row is of, where it is one. */
function runOfRow(row) {
  const found = runs.filter((run) => run.run_key && !known(run.seed) && ["dataset", "backbone", "precision", "prompts", "scorer"].every((name) => run[name] === row[name]) && (!("budget" in row) || (run.aggregation === row.aggregation && (run.budget ?? null) === (row.budget ?? null))));
  return found.length === 1 ? found[0] : null;
}
function strategyCell(row, name) {
  const run = runOfRow(row);
  return cell(run ? link(address.run(run.run_key), name) : breakable(name), name, "name");
}

/** Add a heading, what the table says, the table, and the lines to be read below it. ``columns``: name, whether it holds numbers, what it means, the cell of a row; null: there is no such column. */
async function section(main, id, heading, text, columns, rows, lines = []) {
  const taken = columns.filter(Boolean);
  const grid = table(heading ?? id, taken.map(([name, isNumber, meaning]) => [name, isNumber, meaning]), rows.map((row) => el("tr", null, ...taken.map((column) => column[3](row)))));
  const saved = el("span", { "data-name": id });
  if (heading) main.append(el("h2", { id }, heading));
  main.append(el("p", { class: "lead" }, text, " ", saved), scroller(grid, "tall"),
    lines.length <= 6 ? el("div", { class: "under" }, ...lines.map((line) => el("p", { class: "legend" }, line)))
      : el("details", { class: "under" }, el("summary", null, `${many(lines.length, "line")} on these numbers`), ...lines.map((line) => el("p", { class: "legend" }, line))));
  await interactive(grid, { layout: { topStart: null, topEnd: null, bottomStart: rows.length > 50 ? "info" : null, bottomEnd: rows.length > 50 ? "paging" : null } }, saved);
}

async function showRanks(main) {
  const found = overview.ranks;
  if (!found) return;
  if (!found.rows.length) {
    main.append(el("h2", { id: "ranks" }, "Ranks over data sets"), ...found.notes.map((line) => el("p", { class: "note" }, line)));
    return;
  }
  const has = (name) => found.rows.some((row) => known(row[name]));
  const baselines = [...new Set(found.rows.map((row) => row.baseline).filter(known))];
  const swap = (name, what) => has(name) && [`swaps, other ${what}`, true, `How likely a row changes places with the next one, had other ${what} been taken`, (row) => numeric(known(row[name]) ? row[name].toFixed(2) : "", row[name])];
  const decimals = (value) => value.toFixed(2);
  await section(main, "ranks", "Ranks over data sets", "The average rank over the data sets that all strategies of a backbone and kind have answered; 1 is best. Of all runs, whatever is chosen above.", [
    ["Strategy", false, null, (row) => cell(breakable(row.strategy), row.strategy, "name")],
    ...apart(found.rows, ["backbone", "precision", "scorer", "kind"]),
    ["data sets", true, "How many data sets the rank is over", (row) => Object.assign(numeric(count(row.num_datasets), row.num_datasets), { title: row.datasets })],
    [has("rank_low") ? "rank [95%]" : "rank", true, "Average rank; its interval tells how it would be with other data sets", (row) => {
      const node = numeric(el("span", null, decimals(row.average_rank), known(row.rank_low) ? el("span", { class: "ci" }, ` ${between(row.rank_low, row.rank_high, decimals)}`) : null, known(row.rank_low) && row.as_good_as_best ? " *" : null), row.average_rank);
      if (known(row.rank_low)) Object.assign(node.dataset, { low: row.rank_low, high: row.rank_high });
      return node;
    }],
    ["wins", true, "Share of the comparisons with another strategy on a data set that it wins, in percent", (row) => numeric(percent(row.win_rate), row.win_rate)],
    ["top-1", true, "Mean over these data sets, in percent", (row) => numeric(percent(row.top1), row.top1)],
    baselines.length > 1 && ["baseline", false, null, (row) => cell(row.baseline ?? "", null, "name")],
    baselines.length && [baselines.length > 1 ? "skill" : `skill over ${baselines[0]}`, true, "Percentage of the baseline\u2019s errors that are saved", (row) => (row.strategy === row.baseline ? numeric("baseline", row.skill_score, "base") : numeric(signed(row.skill_score), row.skill_score, direction(row.skill_score), sureness(row.p_holm)))],
    swap("swap_images", "images"), swap("swap_datasets", "data sets"),
  ], found.rows, found.notes);
}

/** Return a table of strategies by controls, each cell the mean of its differences, and in how many of them the strategy beats the control. */
function controlsInShort(rows, controls) {
  const shaded = (all) => {
    const better = all.filter((one) => one.beats).length;
    const worse = all.filter((one) => one.p_holm < 0.05 && one.difference < 0).length;
    const value = mean(all.map((one) => one.difference));
    const share = (value > 0 ? better : worse) / all.length;
    const node = numeric(el("span", null, signed(value), el("span", { class: "ci" }, ` ${value > 0 ? better : worse}/${all.length}`)), value, share ? (value > 0 ? "gain" : "loss") : "", share === 1 ? "sure" : "");
    if (share && share < 1) node.style.setProperty("--share", `${Math.round(25 + 75 * share)}%`);
    node.title = `mean of ${all.length}; significantly better in ${better}, worse in ${worse}`;
    return node;
  };
  const strategies = [...new Set(rows.map((row) => row.strategy))];
  return table("Controls in short", [["Strategy", false], ...controls.map((control) => [`minus ${control}`, true])], strategies.map((strategy) => el("tr", null, cell(breakable(strategy), strategy, "name"), ...controls.map((control) => {
    const all = rows.filter((row) => row.strategy === strategy).flatMap((row) => row.against.filter((one) => one.control === control));
    return all.length ? shaded(all) : numeric("", null);
  }))));
}

async function showControls(main) {
  const found = overview.controls;
  if (!found) return;
  const controls = Object.keys(found.keeps);
  const several = new Set(found.rows.map((row) => row.strategy)).size < found.rows.length;
  const columns = [
    ["Strategy", false, null, (row) => strategyCell(row, row.strategy)],
    ...apart(found.rows, ["dataset", "backbone", "precision", "scorer"]),
    ["beats", true, "How many of the controls it beats significantly", (row) => { const won = row.against.filter((one) => one.beats).length; return numeric(`${won} of ${row.against.length}`, won); }],
    ...controls.map((control) => [`minus ${control} [95%]`, true, `This control keeps ${found.keeps[control]}`, (row) => {
      const one = row.against.find((other) => other.control === control);
      return one ? spanned(one, "difference", signed, one.p_holm < 0.05 ? (one.difference > 0 ? "gain" : "loss") : "", sureness(one.p_holm)) : numeric("", null);
    }]),
  ];
  const lines = [
    ...controls.map((control) => el("span", null, el("b", null, bdi(control)), ` keeps ${found.keeps[control]}.`)),
    el("span", null, el("span", { class: "gain sure" }, "+1.0"), " significantly better than the control, ", el("span", { class: "loss sure" }, "\u22121.0"), " significantly worse (McNemar\u2019s exact test, with seeds the paired t test; Holm for the whole table); ",
      several ? "3/4: in three of four data sets and backbones; " : "", "no shade: not significant."),
  ];
  const text = "What a gain proves depends on what the control keeps: each strategy minus each control on the same images, in points.";
  if (!several) {
    await section(main, "controls", "Controls", text, columns, found.rows, lines);
    return;
  }
  const short = controlsInShort(found.rows, controls);
  const whole = el("details", null, el("summary", null, `Each data set and backbone: ${many(found.rows.length, "row")}`));
  main.append(el("h2", { id: "controls" }, "Controls"), el("p", { class: "lead" }, text, " ", outs("controls in short", short)), scroller(short, "narrow"), ...lines.map((line) => el("p", { class: "legend" }, line)), whole);
  await section(whole, "controls", null, "", columns, found.rows);
}

async function showWriters(main) {
  const rows = overview.writers;
  if (!rows) return;
  const has = (name) => rows.some((row) => known(row[name]));
  const tokens = (row) => (known(row.input_tokens) && known(row.output_tokens) ? row.input_tokens + row.output_tokens : null);
  await section(main, "writers", "Who writes best", "Files of descriptions side by side: who wrote them, how long they are and what they cost.", [
    ["Strategy", false, null, (row) => strategyCell(row, row.prompts)],
    ...apart(rows, ["dataset", "backbone", "precision", "scorer"]),
    ["file", false, null, (row) => cell(breakable(row.prompts_file ?? ""), null, "name", "file")],
    has("language_model") && ["written by", false, null, (row) => cell(row.language_model ?? "", null, "name")],
    ["prompts of each class", true, null, (row) => numeric(row.prompts_per_class.toFixed(1), row.prompts_per_class)],
    has("words_per_prompt") && ["words", true, "Mean number of words of a prompt", (row) => numeric(known(row.words_per_prompt) ? row.words_per_prompt.toFixed(1) : "", row.words_per_prompt)],
    rows.some((row) => known(tokens(row))) && ["tokens", true, "Tokens that the language model read and wrote", (row) => numeric(count(tokens(row)), tokens(row))],
    has("cost") && ["cost", true, "In the currency of its provenance", (row) => numeric(known(row.cost) ? row.cost.toFixed(2) : "", row.cost)],
    ["top-1 [95%]", true, null, (row) => spanned(row, "top1", percent)],
    ["minus best", true, "Its top-1 minus that of the best of its data set and backbone", (row) => (row.difference === 0 && !known(row.p_holm) ? numeric("best", 0, "base") : numeric(signed(row.difference), row.difference, row.p_holm < 0.05 ? "loss" : "", sureness(row.p_holm)))],
  ], rows, [el("span", null, el("span", { class: "loss sure" }, "\u22121.0"), " significantly worse than the best (McNemar\u2019s exact test, Holm for all pairs of these files, since the best was chosen among them).")]);
}

async function showEvidence(main) {
  await showRanks(main);
  await showControls(main);
  await showWriters(main);
}
