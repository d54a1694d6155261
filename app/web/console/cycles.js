// The view of an instance's cycles: what they came to, the gate's verdicts, their curves.

import { get } from "./api.js";
import { curveBox, showCurves, wantedCurves } from "./curves.js";
import { byId, el, empty, replace } from "./dom.js";
import { Figures } from "./figures.js";
import { ago, count, duration, number } from "./format.js";
import { listen, open, readStats, soon } from "./frame.js";
import { reportLink } from "./links.js";
import { cursor, pageOf, pager } from "./pager.js";
import { here, placeOf } from "./place.js";
import { tone } from "./running.js";

const FIGURED_CYCLES = 100;
const figures = new Figures(byId("plots"));
const path = `/v1/instances/${encodeURIComponent(here.instance)}/cycle-figures`;

open("Cycles", async () => {
  await listen((event) => event.type.startsWith("sleep_cycle.") && soon("cycles", readCycles));
  await Promise.all([readStats({ instance: here.instance }), readCycles()]);
});

async function readCycles() {
  const [newest, page] = await Promise.all([
    get(path, { limit: FIGURED_CYCLES }),
    get(path, { limit: pageOf(12, 6), cursor: cursor() }),
  ]);
  figures.show(newest.data);
  byId("legend").hidden = !newest.data.some((cycle) => cycle.learned.length);
  showList(page);
}

function showList(page) {
  const cycles = page.data;
  if (!cycles.length)
    replace(
      byId("history"),
      empty("No cycle yet. Each one will stand here with its verdict and a link to its report."),
    );
  const wanted = wantedCurves(cycles);
  if (cycles.length)
    replace(
      byId("history"),
      el(
        "ol",
        { class: "rows" },
        cycles.map((cycle) =>
          row(
            cycle,
            curveBox(cycle, wanted, () => showList(page)),
          ),
        ),
      ),
      pager(page.next),
    );
  showCurves(wanted);
}

function row(cycle, box) {
  const loss = cycle.learned.find((item) => item.name === "held_out_loss");
  const why = cycle.failed_checks.length ? cycle.failed_checks.join("; ") : (cycle.error?.message ?? null);
  return el(
    "li",
    { class: "with-box" },
    el("label", { class: "box" }, box),
    el(
      "div",
      { class: "row-head" },
      el("a", { class: "strong", href: placeOf(here.instance, "cycles", cycle.id) }, `Cycle ${cycle.number}`),
      el("span", { class: `chip ${tone(cycle.status)}` }, cycle.status),
      loss ? heldOut(loss) : null,
      el("span", { class: "end" }, reportLink(cycle.id, "Report", `Report of cycle ${cycle.number}`)),
    ),
    el(
      "p",
      { class: "facts" },
      el("span", {}, count(cycle.trained, "experience")),
      el("span", {}, took(cycle)),
      el("span", {}, askedBy(cycle)),
      el("span", {}, ago(cycle.finished_at ?? cycle.created_at)),
    ),
    why ? el("p", { class: "why clip" }, why) : null,
  );
}

const heldOut = (loss) =>
  el(
    "span",
    { class: "hint" },
    "held-out ",
    el("b", {}, number(loss.before, 3)),
    " → ",
    el("b", {}, number(loss.after, 3)),
    loss.standard_error ? ` ± ${number(loss.standard_error, 3)}` : "",
  );

const took = ({ started_at: from, finished_at: to }) =>
  from && to ? duration((new Date(to) - new Date(from)) / 1000) : "";

const askedBy = ({ trigger }) => ({ request: "asked for", rebuild: "rebuild", adopt: "adopted" })[trigger] ?? "by itself";
