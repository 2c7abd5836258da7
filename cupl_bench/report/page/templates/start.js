// From the address to its view.

let generation = 0;

function viewOf([view, key, part, rest, ...more]) {
  if (more.length) throw new NotHere();
  if (!view) return [(main) => showOverview(main), "overview"];
  if (view === "compare") return [(main) => showCompare(main, key, part, rest, more[0]), "compare"];
  if (view !== "run") throw new NotHere();
  runOf(key);
  if (part === undefined) return [(main) => showRun(main, key), "run"];
  if (part === "failures" && rest === undefined) return [(main) => showFailures(main, key), "run"];
  if (part === "class" && rest !== undefined) return [(main) => showClass(main, key, rest), "run"];
  if (part === "image" && rest !== undefined) return [(main) => showImage(main, key, rest), "run"];
  throw new NotHere();
}

/** Show what the address names. ``stay``: the reader stays where they are, with the focus on the same control. */
async function show({ stay = false } = {}) {
  const mine = ++generation;
  const focus = stay ? document.activeElement?.id : null;
  const height = stay ? window.scrollY : null;
  for (const node of charts.keys()) window.Plotly?.purge(node);
  charts.clear();
  printed.clear();
  const main = el("div"); // a view that is left while it loads goes on in a place that no one sees
  if (!stay) frame.replaceChildren(main);
  frame.dataset.ready = "";
  let finish = null;
  try {
    const [open, current] = viewOf(readAddress());
    for (const link_ of document.querySelectorAll("nav a")) {
      if (link_.dataset.view === current) link_.setAttribute("aria-current", "page");
      else link_.removeAttribute("aria-current");
    }
    if (stay) frame.replaceChildren(main);
    finish = await open(main);
  } catch (error) {
    if (mine !== generation) return null;
    if (stay) frame.replaceChildren(main);
    if (error instanceof NotHere) main.replaceChildren(el("h1", null, "Not here"), el("p", null, error.message || "The page holds no such view, run or class.", " ", el("a", { href: "#/" }, "To the overview")));
    else {
      main.append(el("p", { class: "error", role: "alert" }, `This cannot be shown: ${error.message}`));
      console.error(error);
    }
  }
  if (mine !== generation) return null;
  document.title = `${frame.querySelector("h1")?.textContent ?? "Report"} \u00b7 cupl_bench`;
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  if (height !== null) window.scrollTo(0, height);
  frame.dataset.ready = pathOf();
  performance.mark("shown");
  // The tables are there before the charts are: their library is large.
  return { charted: finish ? finish().catch((error) => console.error(error)) : null };
}

async function go(event) {
  clearTimeout(scrolled);
  scrolled = null;
  arriving = true;
  const path = pathOf();
  const wanted = Number(new URLSearchParams(location.hash.split("?")[1] ?? "").get("at") ?? 0) || 0;
  const shown = await show();
  if (pathOf() !== path) return;
  if (event) frame.focus({ preventScroll: true }); // the page itself was opened: the reader begins at its top
  window.scrollTo(0, wanted);
  if (wanted && shown?.charted) {
    await shown.charted; // charts above the place move it
    if (pathOf() !== path) return;
    window.scrollTo(0, wanted);
  }
  arriving = false;
}

function start() {
  if (overview.baselines.length) document.getElementById("baselines").textContent = `, minus ${overview.baselines.join(" or ")}`;
  history.scrollRestoration = "manual";
  const theme = () => document.documentElement.classList.toggle("dark", dark.matches);
  theme();
  dark.addEventListener("change", () => { theme(); if (!window.matchMedia("print").matches) show({ stay: true }); });
  document.querySelector("a.skip").addEventListener("click", (event) => { event.preventDefault(); frame.focus(); });
  window.addEventListener("hashchange", go);
  window.addEventListener("scroll", noteScroll, { passive: true });
  document.addEventListener("click", flushScroll, true);
  go();
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
