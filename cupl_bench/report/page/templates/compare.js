// Two runs side by side, and the images that flipped between them.

const MOVED = 50;

/** Return a select of runs by group. */
function runSelect(id, label, value) {
  const node = el("select", { id });
  for (const group of overview.groups) {
    node.append(el("optgroup", { label: `${isolated(group.dataset)} \u00d7 ${isolated(group.backbone)}` },
      ...group.runs.map((key) => el("option", { value: key, selected: key === value }, isolated(singles.get(key).strategy)))));
  }
  return [el("label", { for: id }, label, node), node];
}

/** Return a form that goes somewhere once it is sent, not while the keyboard walks through its choices. */
function goForm(caption, target, ...children) {
  const form = el("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); location.hash = target(); }, onkeydown: (event) => { if (event.key === "Enter" && event.target.tagName === "SELECT") { event.preventDefault(); form.requestSubmit(); } } },
    ...children, el("button", { type: "submit" }, caption));
  return form;
}

function pairAsked(first, second) {
  if (first === undefined || first === "") {
    const start = overview.groups.find((group) => group.runs.length > 1);
    const b = start ? (start.baseline ?? start.runs[0]) : [...singles.keys()][0];
    const best = start ? start.runs.filter((key) => key !== b).sort((one, other) => singles.get(other).top1 - singles.get(one).top1)[0] : null;
    return [best ?? b, b];
  }
  const one = runOf(first);
  if (second !== undefined && second !== "") return [one.run_key, runOf(second).run_key];
  const { baseline } = groupOf(one);
  if (!baseline) throw new NotHere("The address names one run; a comparison takes two.");
  return [first, baseline];
}

function refusal(one, other) {
  if (one === other) return "This is one run twice. Choose another.";
  if (one.group === other.group) return null;
  const differ = ["dataset", "split", "fingerprint", "backbone", "precision", "scorer"].filter((name) => one[name] !== other[name]);
  return `These runs are not compared: they differ in ${differ.join(", ") || "the model or how images were prepared"}. A paired comparison here takes the same images, the same features and the same scorer.`;
}

async function showCompare(main, first, second, way, rest) {
  if (rest !== undefined || (way !== undefined && !["gained", "lost"].includes(way))) throw new NotHere();
  const [a, b] = pairAsked(first, second);
  const [one, other] = [singles.get(a), singles.get(b)];
  if (way) {
    if (refusal(one, other)) throw new NotHere("These two runs are not compared.");
    await showFlips(main, a, b, way);
    return;
  }
  const [[left, leftNode], [right, rightNode]] = [runSelect("run-a", "Run", a), runSelect("run-b", "against", b)];
  main.append(el("h1", null, "Two runs on the same images"), goForm("Show", () => address.compare(leftNode.value, rightNode.value), left, right,
    el("button", { type: "button", onclick: () => { location.hash = address.compare(b, a); } }, "Swap")));
  const why = refusal(one, other);
  if (why) { main.append(el("p", { class: "note" }, why)); return; }
  const { group, names, images, contents, total } = await material(a, b);
  if (group.images[a] !== group.images[b]) { main.append(el("p", { class: "note" }, "These runs are not compared: one left out images that the other answered.")); return; }
  const pair = pairOf(group, a, b);
  const [ours, theirs] = contents.map((content) => content.predictions);
  const gained = new Array(total.length).fill(0);
  const lost = new Array(total.length).fill(0);
  images.labels.forEach((label, index) => {
    const [now, before] = [ours[index] === label, theirs[index] === label];
    if (now && !before) gained[label] += 1;
    if (before && !now) lost[label] += 1;
  });
  const sum = (values) => values.reduce((result, value) => result + value, 0);
  const difference = (sum(gained) - sum(lost)) / images.labels.length;
  const tested = !INDEPENDENT.has(one.kind) || !INDEPENDENT.has(other.kind) ? "not tested: the scores of images depend on each other, so neither an interval nor a test over images holds"
    : !pair ? "not tested: single runs of several seeds are compared through their mean"
    : pair.family === "table" ? "corrected after Holm for all differences of the table" : `corrected after Holm for the ${group.num_pairs} pairs of this data set and backbone`;
  const flips = (number, which) => (number ? el("a", { href: address.flips(a, b, which) }, count(number)) : count(number));
  main.append(el("p", { class: "lead" }, link(address.run(a), one.strategy), " minus ", link(address.run(b), other.strategy), `: ${isolated(one.dataset)} \u00d7 ${isolated(one.model)}, ${count(images.labels.length)} images`),
    tiles([[signed(difference, 2), `points (${percent(one.top1)} against ${percent(other.top1)})`], [pair ? between(pair.difference_low, pair.difference_high, signed) : "\u2013", "95% interval over images"],
      [(pair && between(pair.difference_classes_low, pair.difference_classes_high, signed)) || "\u2013", "95% interval over classes"], [el("span", null, flips(sum(gained), "gained"), " / ", flips(sum(lost), "lost")), "images gained / lost: look at them"],
      [pair ? pValue(pair.p) : "\u2013", "p, McNemar's exact test"], [pair ? pValue(pair.p_holm) : "\u2013", "p, Holm"]], "significance"),
    el("p", { class: "note" }, `${pair ? (pair.p_holm < 0.05 ? "Significant" : "Not significant") : "No significance"}: ${tested}.`));
  const name = `${one.strategy} minus ${other.strategy}`;
  const [bars, barsLine] = figure("Change of each class, sorted; the table below has the numbers", `${name} by class`);
  const change = (label) => (gained[label] - lost[label]) / total[label];
  const order = total.map((_, label) => label).filter((label) => total[label] && gained[label] !== lost[label]).sort((x, y) => change(y) - change(x));
  const level = total.filter((images_, label) => images_ && gained[label] === lost[label]).length;
  const saved = el("span", { "data-name": `${name} classes` });
  main.append(el("h2", null, "Which classes"), el("p", { class: "lead" }, `${count(order.length)} classes change, ${count(level)} stay level. A bar leads to its class. `, saved), bars, barsLine);
  const before = (label) => group.right[b][label] / total[label];
  const rows = total.map((images_, label) => [label, images_]).filter(([, images_]) => images_).map(([label, images_]) => el("tr", null,
    cell(link(address.of_class(a, label), names[label]), null, "name"), ...(group.tiers ? [cell(group.tiers[label])] : []), numeric(count(images_), images_),
    numeric(percent(group.right[a][label] / images_), group.right[a][label] / images_), numeric(percent(before(label)), before(label)),
    numeric(signed(change(label)), change(label), direction(change(label))),
    ...[[gained, "gained"], [lost, "lost"]].map(([values, which]) => numeric(values[label] ? el("a", { href: address.flips(a, b, which, label) }, count(values[label])) : "0", values[label]))));
  const grid = table("Change by class", [["Class"], ...(group.tiers ? [["Tier"]] : []), ["Images", true], [shortened(one.strategy, 24), true], [shortened(other.strategy, 24), true], ["Change", true], ["Gained", true], ["Lost", true]], rows);
  main.append(scroller(grid, "tall"));
  const [now, was] = [confusions(images.labels, ours), confusions(images.labels, theirs)];
  const moved = [...new Set([...now.keys(), ...was.keys()])].map((key) => [...key.split(" ").map(Number), was.get(key) ?? 0, now.get(key) ?? 0])
    .filter(([, , from, to]) => from !== to).sort((x, y) => Math.abs(y[3] - y[2]) - Math.abs(x[3] - x[2]));
  const mixed = table("Confusions that moved most", [["Class"], ["taken for"], [shortened(other.strategy, 24), true], [shortened(one.strategy, 24), true], ["Change", true]], []);
  const listed = growing(mixed.tBodies[0], moved, ([label, prediction, from, to]) => el("tr", null, cell(link(address.of_class(a, label), names[label]), null, "name"), cell(names[prediction], null, "name"),
    numeric(from ? el("a", { href: address.failures(b, [label, prediction]) }, count(from)) : "0", from), numeric(to ? el("a", { href: address.failures(a, [label, prediction]) }, count(to)) : "0", to),
    numeric(`${to > from ? "+" : "\u2212"}${Math.abs(to - from)}`, to - from, direction(from - to))), { first: MOVED, what: "confusions that moved" });
  main.append(el("h2", null, "Which confusions"), el("p", { class: "lead" }, "How many images of a class are taken for another; fewer is better. ", outs(`${name} confusions`, mixed)), scroller(listed[0], "tall"), listed[1]);
  const colours = getComputedStyle(document.documentElement);
  const change3 = grid.tHead.rows[0].cells.length - 3;
  await interactive(grid, { order: [[change3, "desc"]] }, saved);
  if (!order.length) { bars.remove(); barsLine.remove(); return null; }
  return () => chart(bars, [{ type: "bar", x: order.map((_, index) => index), y: order.map((label) => 100 * change(label)), hoverinfo: "text",
    text: order.map((label) => plotText(`${names[label]}: ${signed(change(label))} (${gained[label]} gained, ${lost[label]} lost of ${total[label]})`)), textposition: "none",
    marker: { color: order.map((label) => colours.getPropertyValue(change(label) > 0 ? "--gain" : "--loss").trim()) } }],
  { height: 300, bargap: order.length > 200 ? 0 : 0.15, xaxis: order.length <= 45 ? { zeroline: false, tickvals: order.map((_, index) => index), ticktext: order.map((label) => plotText(shortened(names[label], 22))), tickangle: -50 } : { zeroline: false, title: { text: "classes that change, sorted" }, showticklabels: false },
    yaxis: { title: { text: "change in points" } } }, (point) => { location.hash = address.of_class(a, order[point.pointIndex]); });
}

/** The images that one run has right and the other has wrong. */
async function showFlips(main, a, b, way) {
  const [one, other] = [singles.get(a), singles.get(b)];
  const { group, names, images, contents: [ours, theirs] } = await material(a, b);
  if (group.images[a] !== group.images[b]) throw new NotHere("These two runs are not compared.");
  const only = query.get("class") === null ? null : place(query.get("class"), names.length);
  const flipped = images.labels.map((_, index) => index).filter((index) => {
    const label = images.labels[index];
    return (ours.predictions[index] === label) === (way === "gained") && (theirs.predictions[index] === label) === (way === "lost");
  });
  const tally = new Map();
  for (const index of flipped) tally.set(images.labels[index], (tally.get(images.labels[index]) ?? 0) + 1);
  const classes = [...tally].sort((x, y) => y[1] - x[1]);
  const taken = only === null ? flipped : flipped.filter((index) => images.labels[index] === only);
  const wrong = way === "gained" ? theirs : ours;
  const right = way === "gained" ? one : other;
  main.append(el("h1", null, `${count(taken.length)} images ${way}`), el("p", { class: "lead" }, "Right with ", bdi(right.strategy), ", wrong with ", bdi((way === "gained" ? other : one).strategy), ": ", el("a", { href: address.compare(a, b) }, title(one), " against ", bdi(other.strategy)), only === null ? null : [" \u2014 only ", names[only]].join("")),
    el("div", { class: "bar" }, select("class", "Class", [["", `all, ${count(flipped.length)}`], ...classes.map(([label, number]) => [String(label), `${names[label]}, ${number}`])], only === null ? "" : String(only), (value) => { keep("class", value); show({ stay: true }); }),
      el("a", { href: address.flips(a, b, way === "gained" ? "lost" : "gained") }, `Images ${way === "gained" ? "lost" : "gained"}`)));
  const key = way === "gained" ? a : b;
  main.append(...gallery(images, sortedByMargin(taken, wrong), (index) => [`${names[images.labels[index]]}, not ${names[wrong.predictions[index]]}`, images.names[index]], key));
}
