// The view of all instances: which sleeps, what each waits for, what is live; disk and health.

import { byId, el, empty, replace } from "./dom.js";
import { ago, bytes, count, number, words } from "./format.js";
import { open, readStats, repeat, showState } from "./frame.js";
import { CURSOR, cursor, pageOf, pager } from "./pager.js";
import { placeOf, query, withQuery } from "./place.js";
import { inWords, progressBar } from "./progress.js";
import { tone } from "./running.js";
import { baseModelFault, failedChecks } from "./troubles.js";

const STATS_SECONDS = 5;
const TYPING_MILLISECONDS = 250;
let timer;
let turn = 0;

const search = byId("filter").elements.q;
search.value = query.get("q") ?? "";
search.oninput = () => (clearTimeout(timer), (timer = setTimeout(find, TYPING_MILLISECONDS)));
byId("filter").onsubmit = (event) => (event.preventDefault(), find());

open("Instances", async () => {
  await read();
  repeat(STATS_SECONDS, read);
});

/** Show those whose names hold what was typed; the address then says it, too. */
function find() {
  clearTimeout(timer);
  if (search.value.trim() === (query.get("q") ?? "")) return;
  query.set("q", search.value.trim());
  query.delete(CURSOR);
  history.replaceState(null, "", withQuery({ q: search.value.trim() }));
  read();
}

async function read() {
  const mine = ++turn;
  const found = await readStats({ q: query.get("q"), cursor: cursor(), limit: pageOf(25, 12) });
  if (mine !== turn) return;
  showState("polling");
  byId("tally").textContent = count(found.instance_count, "instance");
  showActive(found.active);
  showHealth(found);
  showList(found);
}

function showActive(active) {
  replace(
    byId("active"),
    active.length
      ? el("ul", { class: "sleepers" }, active.slice(0, 4).map(sleeper))
      : el("p", { class: "hint" }, "No instance sleeps."),
    active.length > 4 ? el("p", { class: "hint" }, `${count(active.length - 4, "more cycle")} wait.`) : null,
  );
}

const sleeper = (cycle) =>
  el(
    "li",
    {},
    el(
      "p",
      { class: "figure-line" },
      el("a", { class: "strong name", href: placeOf(cycle.instance) }, cycle.instance),
      el("a", { href: placeOf(cycle.instance, "cycles", cycle.id) }, `cycle ${cycle.number}`),
      el("span", { class: "chip live" }, cycle.status),
    ),
    progressBar(cycle),
    el("p", { class: "hint" }, inWords(cycle)),
  );

function showHealth(found) {
  const { health, disk } = found;
  const wrong = failedChecks(found);
  const taken = disk.total_bytes ? 100 * (1 - disk.free_bytes / disk.total_bytes) : null;
  replace(
    byId("state"),
    el(
      "p",
      { class: "figure-line" },
      el(
        "span",
        { class: `chip ${{ ready: "good", degraded: "warn" }[health.status] ?? "bad"}` },
        health.status,
      ),
      wrong.length ? null : `${Object.keys(health.checks).map(words).join(", ")}: all well`,
    ),
    wrong.map(([name, text]) => el("p", { class: "absent" }, `${words(name)}: ${text}`)),
    taken === null
      ? null
      : el(
          "div",
          {
            class: "meter slim",
            role: "meter",
            "aria-label": "Disk taken",
            "aria-valuemin": 0,
            "aria-valuemax": 100,
            "aria-valuenow": Math.round(taken),
            "aria-valuetext": `${bytes(disk.free_bytes)} of ${bytes(disk.total_bytes)} free`,
          },
          el("div", { "width%": taken }),
        ),
    el(
      "dl",
      { class: "counts" },
      [
        ["free", `${bytes(disk.free_bytes)} of ${bytes(disk.total_bytes)}`],
        ["checkpoints", bytes(disk.checkpoints_bytes)],
        ["database", bytes(disk.database_bytes)],
      ].map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
    ),
  );
}

function showList({ instances, next }) {
  replace(
    byId("list"),
    instances.length
      ? el(
          "table",
          { class: "table stacked" },
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["instance", "sleep", "salience mass", "live", "last cycle", "last exchange"].map((word) =>
                el("th", { scope: "col" }, word),
              ),
            ),
          ),
          el("tbody", {}, instances.map(row)),
        )
      : empty("No instance has such a name."),
    pager(next, { first: "First", more: "More instances" }),
  );
}

function row(stats) {
  const { current_checkpoint: current, last_cycle: last } = stats;
  return el(
    "tr",
    {},
    el(
      "th",
      { scope: "row" },
      el(
        "a",
        { class: "name", "data-key": `open-${stats.instance}`, href: placeOf(stats.instance) },
        stats.instance,
      ),
    ),
    el("td", {}, sleepChip(stats)),
    el("td", {}, mass(stats)),
    el(
      "td",
      { "data-label": "live " },
      current ? `cycle ${current.name.split("/").at(-1).split("-")[0]}` : "bare base",
    ),
    el(
      "td",
      {},
      last
        ? [
            el("span", { class: `chip ${tone(last.status)}` }, last.status),
            " ",
            el("span", { class: "hint" }, ago(last.finished_at ?? last.created_at)),
          ]
        : el("span", { class: "hint" }, "no cycle yet"),
    ),
    el(
      "td",
      { "data-label": stats.last_exchange_at ? "last exchange " : null },
      el("span", { class: "hint" }, stats.last_exchange_at ? ago(stats.last_exchange_at) : "no exchange yet"),
    ),
  );
}

function sleepChip(stats) {
  const { running_cycle: running, decision } = stats;
  const [kind, text] = running
    ? ["live", running.status === "queued" ? "queued" : "asleep"]
    : baseModelFault(stats)
      ? ["bad", "no base model"]
      : decision.due
        ? ["good", "due"]
        : ["", "awake"];
  return el("span", { class: `chip ${kind}` }, text);
}

const mass = ({ mass: value, mass_threshold: threshold }) =>
  el(
    "span",
    { class: "mass" },
    el(
      "span",
      { class: "meter slim", "aria-hidden": "true" },
      el("span", {
        class: value >= threshold ? "full" : "",
        "width%": Math.min(100, (100 * value) / threshold),
      }),
    ),
    ` ${number(value, 1)} of ${number(threshold, 0)}`,
  );
