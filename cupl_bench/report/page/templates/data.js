// What the page knows from the start, and what it loads from the scripts beside it.

const frame = document.getElementById("main");
const overview = JSON.parse(document.getElementById("overview").textContent);
const runs = overview.runs;
const singles = new Map(runs.filter((run) => run.run_key).map((run) => [run.run_key, run]));
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
  tables ??= addScript("assets/tables.js").then(() => window.cuplBench.tables);
  return tables;
}

// Runs and groups -------------------------------------------------------------------------------------------------

const INDEPENDENT = new Set(["zero_shot", "zero_shot_views"]);
const groupOf = (run) => overview.groups[Number(run.group)];
const precisions = new Set(runs.map((run) => run.precision));
for (const run of runs) run.model = run.backbone + (precisions.size > 1 ? ` (${run.precision})` : "");
const title = (run) => [run.dataset, run.model, run.strategy].map(isolated).join(" \u00d7 ");
const kindName = (kind) => (kind === "zero_shot" ? "zero-shot" : kind === "zero_shot_views" ? "zero-shot, views" : kind.replaceAll("_", " "));

/** A name that may run from right to left, so that its neighbours stay where they are. */
function isolated(text) {
  return /[\u0590-\u08ff\ufb1d-\ufefc]/.test(text) ? `\u2068${text}\u2069` : String(text);
}

/** Load everything of a group and some of its runs. */
async function material(...keys) {
  const group = await load(`groups/${singles.get(keys[0]).group}`);
  const [images, ...contents] = await Promise.all([load(`images/${group.images[keys[0]]}`), ...keys.map((key) => load(`runs/${key}`))]);
  return { group, names: namesOf(group), images, contents, total: totalOf(images.labels, group.class_names.length) };
}

function totalOf(labels, count) {
  const total = new Array(count).fill(0);
  for (const label of labels) total[label] += 1;
  return total;
}

/** The names of a group's classes; those that share a name carry their label. */
function namesOf(group) {
  if (!group.names) {
    const seen = new Map();
    for (const name of group.class_names) seen.set(name, (seen.get(name) ?? 0) + 1);
    group.names = group.class_names.map((name, label) => (seen.get(name) > 1 || !name.trim() ? `${isolated(name)} (label ${label})` : name));
  }
  return group.names;
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

/** The pair of two runs that was compared, seen as the first minus the second; null where none was. */
function pairOf(group, a, b) {
  const pair = group.pairs.find((one) => (one.a === a && one.b === b) || (one.a === b && one.b === a));
  if (!pair || pair.a === a) return pair ?? null;
  const turned = (value) => (known(value) ? -value : value);
  return {
    ...pair, a, b, difference: turned(pair.difference), difference_low: turned(pair.difference_high), difference_high: turned(pair.difference_low),
    difference_classes_low: turned(pair.difference_classes_high), difference_classes_high: turned(pair.difference_classes_low), gained: pair.lost, lost: pair.gained,
  };
}
