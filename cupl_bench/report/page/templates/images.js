// Images: galleries of failures, and one image's own view.

const IN_GALLERY = 60;
const IN_LIST = 100;

/** Images by how sure the run was, surest first; as they stand where it said no margins. */
const sortedByMargin = (places, content) => (content.margins ? [...places].sort((one, other) => content.margins[other] - content.margins[one]) : places);
const marginOf = (content, index) => (content.margins ? `margin ${(content.margins[index] / 1000).toFixed(3)}` : "");

/** Return images with a thumbnail as pictures, and the others by name. */
function gallery(images, places, captionOf, key) {
  const pictured = places.filter((index) => index in images.thumbnails);
  const named = places.filter((index) => !(index in images.thumbnails));
  const tile = (index) => {
    const [said, more] = captionOf(index);
    return el("li", null, el("a", { href: address.image(key, index) }, el("img", { src: `thumbnails/${images.thumbnails[index]}`, alt: `${images.names[index]}, ${said}`, loading: "lazy", width: 96, height: 96 })),
      el("div", { class: "caption" }, bdi(said), el("span", null, bdi(more))));
  };
  const row = (index) => el("li", null, link(address.image(key, index), images.names[index]), ": ", bdi(captionOf(index).filter((text) => text !== images.names[index]).join(", ")));
  const parts = [];
  if (pictured.length) parts.push(...growing(el("ul", { class: "images" }), pictured, tile, { first: IN_GALLERY, what: "images with a thumbnail" }));
  if (named.length) {
    parts.push(el("details", { open: !pictured.length }, el("summary", null, `${many(named.length, "image")}${pictured.length ? " more" : ""}, by name: the page holds no thumbnail of ${named.length === 1 ? "it" : "them"}`),
      ...growing(el("ul", { class: "names" }), named, row, { first: IN_LIST, what: "images", step: 500 })));
  }
  return parts.length ? parts : [el("p", { class: "note" }, "No image.")];
}

const ORDERS = { sure: "surest mistakes first", close: "closest mistakes first", data: "in the order of the data set" };
const PAIRS = 15;

/** The mistakes of a run across its classes. */
async function showFailures(main, key) {
  const run = runOf(key);
  const { names, images, contents: [content] } = await material(key);
  const order = setting("order", Object.keys(ORDERS), content.margins ? "sure" : "data");
  const pair = query.get("pair") === null ? null : query.get("pair").split("-").map((text) => place(text, names.length));
  if (pair && pair.length !== 2) throw new NotHere();
  const wrong = images.labels.map((_, index) => index).filter((index) => content.predictions[index] !== images.labels[index]);
  const taken = pair ? wrong.filter((index) => images.labels[index] === pair[0] && content.predictions[index] === pair[1]) : wrong;
  const sorted = order === "data" ? taken : order === "sure" ? sortedByMargin(taken, content) : sortedByMargin(taken, content).reverse();
  const found = [...confusions(images.labels, content.predictions)].map(([of, number]) => [...of.split(" ").map(Number), number]).sort((one, other) => other[2] - one[2]);
  const grid = table("Most confused pairs", [["Class"], ["taken for"], ["Images", true]], []);
  const listed = growing(grid.tBodies[0], found, ([label, prediction, number]) => el("tr", { class: pair && pair[0] === label && pair[1] === prediction ? "current" : null }, cell(names[label], null, "name"), cell(names[prediction], null, "name"),
    numeric(el("a", { href: address.failures(key, [label, prediction]) }, count(number)), number)), { first: PAIRS, what: "pairs" });
  main.append(el("h1", null, `${count(taken.length)} mistakes`), el("p", { class: "lead" }, "of ", link(address.run(key), title(run)), pair ? `: ${names[pair[0]]}, taken for ${names[pair[1]]}. ` : ", across its classes. ", pair ? el("a", { href: address.failures(key) }, "All mistakes") : null),
    el("div", { class: "bar" }, content.margins ? select("order", "Order", Object.entries(ORDERS), order, (value) => { keep("order", value); show({ stay: true }); }) : el("span", null, "This run kept no margins.")),
    el("div", { class: "pairs" }, el("section", null, el("h2", null, "Most confused pairs"), scroller(listed[0]), listed[1]),
      el("section", null, el("h2", null, "Images"), ...gallery(images, sorted, (index) => [`${names[images.labels[index]]}, taken for ${names[content.predictions[index]]}`, [images.names[index], marginOf(content, index)].filter(Boolean).join(", ")], key))));
}

/** One image: what each run of its group says, and which prompts speak for which class. */
async function showImage(main, key, text) {
  const run = runOf(key);
  const { group, names, images } = await material(key);
  const index = place(text, images.labels.length);
  const label = images.labels[index];
  const members = groupOf(run).runs.filter((other) => group.images[other] === group.images[key]);
  const contents = await Promise.all(members.map((other) => load(`runs/${other}`)));
  const content = contents[members.indexOf(key)];
  const ranked = await Promise.all(contents.map((one) => (one.top5 ? load(one.top5) : null)));
  const picture = images.thumbnails[index];
  const step = (by, caption) => el("button", { type: "button", disabled: !(index + by in images.labels), onclick: () => { location.hash = address.image(key, index + by); } }, caption);
  main.append(el("h1", { dir: "auto" }, images.names[index]), el("p", { class: "lead" }, "of class ", link(address.of_class(key, label), names[label]), ", in ", link(address.run(key), title(run))),
    el("div", { class: "bar" }, step(-1, "Previous image"), step(1, "Next image")),
    picture ? el("img", { class: "large", src: `thumbnails/${picture}`, alt: images.names[index], width: 192, height: 192 }) : el("p", { class: "note" }, "The page holds no thumbnail of this image."));
  const best = (one, at) => {
    if (!ranked[at]) return [one.predictions[index]];
    const { width, classes } = ranked[at];
    return classes.slice(index * width, (index + 1) * width).filter((other) => other >= 0);
  };
  const rows = members.map((other, at) => {
    const one = contents[at];
    const said = one.predictions[index];
    return el("tr", null, cell(other === key ? el("b", null, bdi(singles.get(other).strategy)) : link(address.image(other, index), singles.get(other).strategy), null, "name"), cell(said === label ? "right" : "wrong", null, said === label ? "up" : "down"),
      cell(el("span", null, ...best(one, at).flatMap((other_, rank) => [rank ? ", " : "", el(other_ === label ? "b" : "span", other_ === label ? { class: "up" } : null, bdi(names[other_]))])), null, "name"),
      numeric(one.margins ? (one.margins[index] / 1000).toFixed(3) : "", one.margins?.[index]));
  });
  main.append(el("h2", null, "In every run"), scroller(table("What each run says", [["Strategy"], ["Answer"], ["Its best classes, best first"], ["Margin", true, "How far the best class stands above the second"]], rows)));
  const without = members.filter((_, at) => !ranked[at]).length;
  if (without) main.append(el("p", { class: "note" }, `Of ${many(without, "run")} the page holds the best class alone: it holds the five best of ${count(overview.best_at_most)} answers, and those runs came after them, or kept none.`));
  main.append(el("h2", null, "Which prompts decided"));
  await promptsOfImage(main, { run, key, index, label, said: content.predictions[index], names, content });
}

/** Show the similarity of an image to each prompt of its class and of the class that it is taken for. */
async function promptsOfImage(main, { key, index, label, said, names, content }) {
  const note = (...parts) => main.append(el("p", { class: "note" }, ...parts));
  if (!content.similarities) {
    note("The similarity of images to single prompts is not among the files of this run. ", el("code", null, "cupl-bench effects"), " with the arguments of the run measures it, from features that are stored already; then write the report again.");
    return;
  }
  const [held, prompts] = await Promise.all([load(content.similarities), load(content.prompts)]);
  const own = held.images[index];
  if (!own) { note(`Similarities to prompts are kept for ${count(held.kept)} of ${count(content.predictions.length)} images: of those that the run has right and wrong first of each class, ${count(held.at_most)} at most. This is none of them.`); return; }
  const other = said === label ? own.other : said;
  const lists = [[label, "its class"], [other, said === label ? "the second class" : "what it is taken for"]].filter(([one]) => known(one) && own.classes[one]);
  const weightOf = (one, row) => (prompts.weights ? prompts.weights[one][row] : 1);
  const averages = lists.map(([one]) => {
    const weights = own.classes[one].map((_, row) => weightOf(one, row));
    return own.classes[one].reduce((sum, value, row) => sum + (weights[row] * value) / 1e4, 0) / (mean(weights) * weights.length);
  });
  main.append(el("p", { class: "lead" }, content.record.prompts.aggregation === "max_similarity" ? "Cosine similarity of the image to each prompt. The closest prompt of a class is its score." : "Cosine similarity of the image to each prompt. A prompt speaks for its class where it lies above the mean of the other.", " Those that lie above every prompt of the other class are bold."));
  const highest = Math.max(...lists.flatMap(([one]) => own.classes[one]));
  const lowest = Math.min(...lists.flatMap(([one]) => own.classes[one]));
  main.append(el("div", { class: "columns" }, ...lists.map(([one, what], at) => {
    const values = own.classes[one].map((value, row) => [value, prompts.texts[one][row]]).sort((left, right) => right[0] - left[0]);
    const bar = lists.length > 1 ? Math.max(...own.classes[lists[1 - at][0]]) : Infinity;
    const grid = table(`Prompts of ${names[one]}`, [["Prompt"], ["Similarity", true]], []);
    const parts = growing(grid.tBodies[0], values, ([value, text]) => {
      const node = numeric((value / 1e4).toFixed(4), value / 1e4, value > bar ? "sure" : "", "barred");
      node.style.setProperty("--part", `${Math.round((100 * (value - lowest)) / Math.max(highest - lowest, 1))}%`);
      return el("tr", null, cell(text, null, "text"), node);
    }, { first: 20, what: "prompts" });
    return el("section", null, el("h2", null, bdi(names[one]), `: ${what}`), el("p", { class: "lead" }, `${prompts.weights ? "Weighted mean" : "Mean"} ${averages[at].toFixed(4)} of ${many(values.length, "prompt")}. `, link(address.of_class(key, one), "The class")), parts[0], parts[1]);
  })));
}
