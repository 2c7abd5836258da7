// A run, and a class of it.

async function showRun(main, key) {
  const run = runOf(key);
  const baseline = groupOf(run).baseline;
  const { group, names, images, contents: [content], total } = await material(key);
  const { record, classes } = content;
  const right = group.right[key];
  const before = baseline && baseline !== key && group.images[baseline] === group.images[key] ? group.right[baseline] : null;
  const wrong = total.reduce((sum, number, label) => sum + number - right[label], 0);
  main.append(el("h1", { dir: "auto" }, title(run)),
    tiles([[withInterval(run.top1, run.top1_low, run.top1_high), "top-1"], run.own && [withInterval(run.own.value, run.own.low, run.own.high), run.own.title], known(run.top5) && [percent(run.top5), "top-5"], [percent(run.mean_per_class), "mean per class"],
      known(run.difference) && [withInterval(run.difference, run.difference_low, run.difference_high, signed), `minus ${singles.get(baseline)?.strategy ?? "baseline"}`],
      known(run.calibration_error) && [percent(run.calibration_error), "calibration error"], [count(run.num_images), "images"], [count(run.num_prompts), "prompts"]]),
    el("p", { class: "ways" }, before ? el("a", { href: address.compare(key, baseline) }, "Compare with ", bdi(singles.get(baseline).strategy)) : null, before ? " \u00b7 " : null, el("a", { href: address.failures(key) }, `${count(wrong)} mistakes`), " \u00b7 ", el("a", { href: "#record" , onclick: (event) => { event.preventDefault(); document.getElementById("record").scrollIntoView(); } }, "Record and command")));
  const columns = [["Class"], ...(group.tiers ? [["Tier"]] : []), ["Images", true], ["Top-1 [95%]", true], ...(before ? [["Change", true, `Minus ${singles.get(baseline).strategy}, in points`], ["p (Holm)", true, "McNemar's exact test, corrected for all classes of the run"]] : []), ["Most taken for"]];
  const worst = new Map();
  for (const [pair, number] of confusions(images.labels, content.predictions)) {
    const [label, prediction] = pair.split(" ").map(Number);
    if (number > (worst.get(label)?.[1] ?? 0)) worst.set(label, [prediction, number]);
  }
  const rows = total.map((number, label) => [number, label]).filter(([number]) => number).map(([number, label]) => {
    const change = before ? (right[label] - before[label]) / number : null;
    const mistaken = worst.get(label);
    return el("tr", null, cell(link(address.of_class(key, label), names[label]), null, "name"), ...(group.tiers ? [cell(group.tiers[label])] : []), numeric(count(number), number),
      spanned({ it: right[label] / number, it_low: classes.low[label], it_high: classes.high[label] }, "it", percent),
      ...(before ? [numeric(signed(change), change, direction(change), known(classes.p_holm[label]) && classes.p_holm[label] < 0.05 ? "sure" : ""), numeric(pValue(classes.p_holm[label]), classes.p_holm[label], sureness(classes.p_holm[label]))] : []),
      cell(mistaken ? el("a", { href: address.failures(key, [label, mistaken[0]]) }, `${names[mistaken[0]]} (${mistaken[1]})`) : "", null, "name"));
  });
  const grid = table("Classes", columns, rows);
  const saved = el("span", { "data-name": `${title(run)} classes` });
  main.append(el("h2", null, `Classes (${count(rows.length)})`), el("p", { class: "lead" }, saved), scroller(grid, "tall"));
  const [curve, curveLine] = figure("Top-1 against the number of prompts of each class", `${title(run)} prompts`);
  if (content.curve) main.append(el("h2", null, "How many prompts"), el("p", { class: "lead" }, "Mean of the draws, and the band from the least to the greatest."), curve, curveLine);
  const effects = content.effects ? await load(content.effects) : null;
  if (effects?.templates.length) {
    const templates = table("Templates", [["Template"], ["Adds", true, "Top-1 with it minus top-1 without it, in points"], ["Alone", true, "Top-1 with this template alone"]],
      effects.templates.map(([text, adds, alone]) => el("tr", null, cell(text, null, "text"), numeric(signed(adds, 2), adds, direction(adds)), numeric(percent(alone), alone))));
    main.append(el("h2", null, "Templates"), el("p", { class: "lead" }, outs(`${title(run)} templates`, templates)), scroller(templates));
  }
  main.append(el("h2", { id: "record" }, "What identifies this number"), ...recordOf(key, record));
  await interactive(grid, {}, saved);
  if (!content.curve) return null;
  const x = content.curve.num_prompts;
  const scaled = (values) => values.map((value) => 100 * value);
  return () => chart(curve, [
    { type: "scatter", mode: "lines", x, y: scaled(content.curve.top1_low), line: { width: 0 }, hoverinfo: "skip" },
    { type: "scatter", mode: "lines", x, y: scaled(content.curve.top1_high), line: { width: 0 }, fill: "tonexty", fillcolor: "rgba(0,114,178,0.2)", hoverinfo: "skip" },
    { type: "scatter", mode: "lines+markers", x, y: scaled(content.curve.top1_mean), line: { color: COLOURS[0] }, marker: { color: COLOURS[0] } }],
  { height: 280, xaxis: { title: { text: "prompts of each class" }, type: "log", tickvals: x, ticktext: x.map(String) }, yaxis: { title: { text: "top-1 in percent" } } });
}

/** Return the facts of a record, a link to it, and the command that made it. */
function recordOf(key, record) {
  const words = (values) => Object.entries(values).map(([name, value]) => `${name} ${value !== null && typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
  const join = record.prompts.join ? Object.entries(record.prompts.join).map(([how, number]) => `${number} ${how}`).join(", ") : null;
  const plain = record.scorer.name === "plain";
  const command = record.environment.command;
  const copied = el("span", { role: "status" });
  const copy = (text) => el("button", { type: "button", class: "out", onclick: async () => { try { await navigator.clipboard.writeText(text); copied.textContent = " Copied."; } catch { copied.textContent = " The browser does not let it be copied."; } } }, "Copy");
  return [
    el("p", null, el("a", { href: `../records/${key}.json` }, `The record, records/${key}.json`), " in the results folder that this page lies in."),
    command ? el("p", { class: "command" }, "Made by ", el("code", null, command), " ", copy(command), copied) : el("p", { class: "note" }, "The record does not say which command made it."),
    el("div", { class: "columns" },
      facts([["Run", key], ["Protocol", record.protocol_version], ["Made", record.created_at.slice(0, 16).replace("T", " ")], ["Data set", `${record.dataset.name}, split ${record.dataset.split}`], ["Fingerprint", record.dataset.fingerprint.slice(0, 24)],
        ["Images", `${count(record.dataset.num_images)} of ${count(record.dataset.num_classes)} classes`], ["Left out", record.dataset.num_broken || null], ["Source", record.dataset.origin ? Object.values(record.dataset.origin).join(", ") : null],
        ["Prompts", `${record.prompts.name}, ${record.prompts.aggregation}`], ["Number", `${count(record.prompts.num_prompts)}, ${count(record.prompts.num_distinct)} distinct, ${count(record.prompts.num_truncated)} cut`], ["File", record.prompts.source], ["Joined", join],
        ["Budget", record.prompts.budget], ["Seed", record.prompts.seed], ["Weights", record.prompts.weighting],
        ["Scorer", plain ? null : `${record.scorer.name}, ${kindName(record.scorer.kind)}`], ["Its parameters", words(record.scorer.parameters) || null], ["Its constants", plain ? null : record.scorer.constants_from]]),
      facts([["Backbone", record.backbone.name], ["Architecture", record.backbone.architecture], ["Weights", record.backbone.pretrained], ["sha256", record.backbone.weights_sha256.slice(0, 24)], ["Activation", record.backbone.activation],
        ["Precision", record.backbone.precision], ["Transform", words(record.backbone.transform)],
        ["Commit", record.environment.commit ? record.environment.commit.slice(0, 12) + (record.environment.dirty ? ", changed" : "") : null], ["Device", record.environment.device], ["Seconds", record.timing?.total_seconds]])),
  ];
}

const TAKEN_FOR = 15;

async function showClass(main, key, text) {
  const run = runOf(key);
  const { group, names, images, contents: [content], total } = await material(key);
  const label = place(text, names.length);
  const [prompts, effects] = await Promise.all([content.prompts ? load(content.prompts) : null, content.effects ? load(content.effects) : null]);
  const own = images.labels.map((_, index) => index).filter((index) => images.labels[index] === label);
  const wrong = sortedByMargin(own.filter((index) => content.predictions[index] !== label), content);
  const right = own.filter((index) => content.predictions[index] === label);
  const jump = el("select", { id: "class" }, ...names.map((name, other) => el("option", { value: other, selected: other === label }, total[other] ? isolated(name) : `${isolated(name)} (no image)`)));
  const step = (by, caption) => el("button", { type: "button", disabled: !(label + by in group.class_names), onclick: () => { location.hash = address.of_class(key, label + by); } }, caption);
  main.append(el("h1", { dir: "auto" }, group.class_names[label]), el("p", { class: "lead" }, "in ", link(address.run(key), title(run)), ` \u2014 label ${label} `, group.tiers ? el("span", { class: "tag" }, group.tiers[label]) : null),
    goForm("Go to the class", () => address.of_class(key, jump.value), step(-1, "Previous class"), step(1, "Next class"), el("label", { for: "class" }, "Class", jump)));
  const list = (heading, found, empty, pairOfClass) => {
    if (!found.length) return el("section", null, el("h2", null, heading), el("p", { class: "lead" }, empty));
    const grid = table(heading, [["Class"], ["Images", true]], []);
    return el("section", null, el("h2", null, heading), ...growing(grid.tBodies[0], found, ([other, number]) => el("tr", null, cell(link(address.of_class(key, other), names[other]), null, "name"),
      numeric(el("a", { href: address.failures(key, pairOfClass(other)) }, count(number)), number)), { first: TAKEN_FOR, what: "classes" }));
  };
  const tally = (places, of) => {
    const found = new Map();
    for (const index of places) found.set(of(index), (found.get(of(index)) ?? 0) + 1);
    return [...found].sort((left, other) => other[1] - left[1]);
  };
  const taken = images.labels.map((_, index) => index).filter((index) => content.predictions[index] === label && images.labels[index] !== label);
  const members = groupOf(run).runs;
  const everywhere = table("Runs", [["Strategy"], ["Right", true], ["Top-1", true]], members.map((other) => {
    const alike = group.images[other] === group.images[key];
    return el("tr", null, cell(other === key ? el("b", null, bdi(singles.get(other).strategy)) : link(address.of_class(other, label), singles.get(other).strategy), null, "name"),
      numeric(alike ? `${group.right[other][label]} of ${total[label]}` : String(group.right[other][label]), group.right[other][label]),
      numeric(alike && total[label] ? percent(group.right[other][label] / total[label]) : "", group.right[other][label]));
  }));
  main.append(el("div", { class: "columns" }, el("section", null, el("h2", null, "In every run"), everywhere),
    list("What it is taken for", tally(wrong, (index) => content.predictions[index]), "Never taken for another class.", (other) => [label, other]), list("What is taken for it", tally(taken, (index) => images.labels[index]), "No other class is taken for it.", (other) => [other, label])));
  const said = (index) => (content.predictions[index] === label ? "" : `taken for ${names[content.predictions[index]]}`);
  const shelf = (heading, places) => el("section", null, el("h2", null, `${heading} (${count(places.length)})`),
    ...(places.length ? gallery(images, places, (index) => (said(index) ? [said(index), [images.names[index], marginOf(content, index)].filter(Boolean).join(", ")] : [images.names[index], marginOf(content, index)]), key) : []));
  main.append(shelf("Images that are wrong", wrong), shelf("Images that are right", right));
  if (!prompts) { main.append(el("p", { class: "note" }, "Its prompts were not kept: the run was made by an earlier version.")); return null; }
  const rows = prompts.texts[label].map((prompt, index) => {
    const effect = effects ? effects.classes[label][index] : null;
    return el("tr", null, cell(prompt, null, "text"), ...(prompts.weights ? [numeric(prompts.weights[label][index].toPrecision(3), prompts.weights[label][index])] : []),
      ...(effects ? [numeric(effect ? signed(effect[0]) : "", effect?.[0], direction(effect?.[0])), numeric(effect ? percent(effect[1]) : "", effect?.[1]), numeric(effect ? signed(effect[2], 2) : "", effect?.[2], direction(effect?.[2]))] : []));
  });
  const grid = table("Prompts", [["Prompt"], ...(prompts.weights ? [["Weight", true]] : []), ...(effects ? [["Adds", true, "Top-1 of this class with the prompt minus without it, in points"], ["Alone", true, "Top-1 of this class with this prompt alone"], ["Adds to all", true, "The same of all images"]] : [])], rows);
  const saved = el("span", { "data-name": `${title(run)} prompts of ${group.class_names[label]}` });
  main.append(el("h2", null, `Prompts (${count(rows.length)}, ${count(new Set(prompts.texts[label]).size)} distinct)`),
    el("p", { class: "lead" }, effects ? "What each adds: top-1 with it minus top-1 without it, in points. " : "What each prompt adds is measured by cupl-bench effects with the arguments of the run. ", saved), scroller(grid));
  await interactive(grid, {}, saved);
  const [most] = tally(wrong, (index) => content.predictions[index]);
  if (most) {
    const [other, number] = most;
    main.append(el("details", { id: "others-prompts" }, el("summary", null, "Beside them: the prompts of ", bdi(names[other]), `, which it is taken for most (${count(number)} of ${many(total[label], "image")})`),
      ...growing(el("ul", { class: "names" }), prompts.texts[other], (prompt) => el("li", null, bdi(prompt)), { first: 50, what: "prompts" })));
  }
  return null;
}
