// The view of an instance's exchanges: with score, status and reason; filter, search and erase.

import { get, request } from "./api.js";
import { ask, toast } from "./dialogs.js";
import { byId, el, empty, replace } from "./dom.js";
import { ago, count, number, words } from "./format.js";
import { listen, open, readStats, repeat, soon } from "./frame.js";
import { CURSOR, cursor, pageOf, pager } from "./pager.js";
import { here, query, withQuery } from "./place.js";
import { showSalience } from "./salience.js";

const STATS_SECONDS = 3;
const COMPONENTS = ["surprise", "novelty", "arousal", "reward", "conflict"];
const FILTERS = ["q", "status", "min_salience"];
const TONES = {
  buffered: "live",
  claimed: "live",
  consolidated: "good",
  filtered: "warn",
  set_aside: "warn",
  quarantined: "bad",
  erased: "bad",
};
let signature = null;
let turn = 0;

fillFilter(byId("filter"));
open("Exchanges", async () => {
  await listen(({ type }) => type.startsWith("experience.") && soon("exchanges", read));
  await readCounts(); // before the list: what comes in between changes the counts and is read
  await read();
  repeat(STATS_SECONDS, readCounts);
});

/** What comes in without an event: read the list again only when the counts changed. */
async function readCounts() {
  const { instances } = await readStats({ instance: here.instance });
  const [stats] = instances;
  const found = JSON.stringify([stats.counts, stats.last_exchange_at]);
  if (found === signature) return;
  const isFirst = signature === null;
  signature = found;
  if (!isFirst) soon("exchanges", read);
  await showSalience(here.instance, stats.salience_averages);
}

/** The filter shows what the address says, and leads to another one. */
function fillFilter(form) {
  for (const name of FILTERS) form.elements[name].value = query.get(name) ?? "";
  const go = (changes) => {
    const next = withQuery({ ...changes, [CURSOR]: null });
    if (next !== location.pathname + location.search) location.assign(next);
  };
  const chosen = () => Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].value.trim()]));
  form.onsubmit = (event) => (event.preventDefault(), go(chosen()));
  form.elements.status.onchange = () => form.requestSubmit();
  form.onreset = (event) => {
    event.preventDefault();
    go(Object.fromEntries(FILTERS.map((name) => [name, null])));
  };
}

async function read() {
  const mine = ++turn;
  const filter = Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]));
  const page = await get("/v1/experiences", {
    instance: here.instance,
    ...filter,
    cursor: cursor(),
    limit: pageOf(10, 6),
  });
  if (mine === turn) show(page, Object.values(filter).some(Boolean));
}

function show({ data: rows, next }, isFiltered) {
  byId("hits").textContent = rows.length
    ? `${count(rows.length, "exchange")} shown, newest first${next ? "; there are more" : ""}.`
    : "";
  const opened = new Set([...byId("list").querySelectorAll("details[open]")].map((node) => node.dataset.id));
  replace(
    byId("list"),
    rows.length
      ? el(
          "ol",
          { class: "rows" },
          rows.map((row) => showRow(row, opened.has(row.id))),
        )
      : isFiltered || cursor()
        ? empty("No exchange is like that. ", el("b", {}, "Clear"), " shows them all.")
        : empty(
            "No exchange yet. A session posts them to ",
            el("code", {}, "POST /v1/experiences"),
            "; the README shows it with curl.",
          ),
    pager(next),
  );
}

function showRow(row, isOpen) {
  const isErased = row.status === "erased";
  const where = [
    row.session ? `session ${row.session}` : null,
    row.session_number === null ? null : `number ${row.session_number}`,
    row.phase,
  ]
    .filter(Boolean)
    .join(", ");
  const details = el(
    "details",
    { "data-id": row.id, open: isOpen, ontoggle: () => details.open && showUses(row.id, uses) },
    el(
      "summary",
      { "data-key": `open-${row.id}` },
      el("span", { class: "said clip one" }, isErased ? "(erased)" : row.prompt),
      el("span", { class: "said clip faint" }, row.response),
      el("span", { class: "less" }, "Show less"),
    ),
  );
  const uses = el("div", {});
  details.append(
    ...[
      isErased
        ? null
        : [
            el("h4", {}, "prompt"),
            el("p", { class: "said" }, row.prompt),
            el("h4", {}, "response"),
            el("p", { class: "said" }, row.response),
          ],
      el(
        "ul",
        { class: "dimensions" },
        COMPONENTS.map((name) =>
          el(
            "li",
            {},
            el("span", {}, name),
            el(
              "span",
              { class: "bar", "aria-hidden": "true" },
              el("i", { "width%": 100 * row.salience[name] }),
            ),
            el("b", {}, number(row.salience[name])),
          ),
        ),
      ),
      uses,
      isErased
        ? null
        : el(
            "div",
            { class: "actions left" },
            el(
              "button",
              { class: "danger small", "data-key": `erase-${row.id}`, onclick: () => erase(row) },
              "Erase",
            ),
          ),
    ]
      .flat()
      .filter(Boolean),
  );
  return el(
    "li",
    {},
    el(
      "div",
      { class: "row-head" },
      el("b", { class: "score", title: "salience" }, number(row.salience.total)),
      el("span", { class: `chip ${TONES[row.status] ?? ""}` }, words(row.status)),
      row.truncated ? el("span", { class: "chip warn" }, "cut") : null,
      el("span", { class: "hint end" }, where ? `${where}, ` : "", ago(row.occurred_at ?? row.received_at)),
    ),
    row.reason && !isErased ? el("p", { class: "why" }, row.reason) : null,
    details,
  );
}

async function showUses(id, place) {
  const { sleep_cycles: uses } = await get(`/v1/experiences/${id}`);
  replace(
    place,
    el(
      "p",
      { class: "hint" },
      uses.length
        ? uses.map((use) => `Cycle ${use.number}: ${words(use.role)}, ${use.status}. `).join("")
        : "No cycle has used it yet.",
    ),
  );
}

function erase(row) {
  return ask({
    title: "Erase this exchange?",
    body: [
      el("p", { class: "said clip quote" }, row.prompt),
      el(
        "p",
        {},
        "Its texts are removed for good, also where other exchanges quote them. Ids, scores and what a model has learned from it stay; checkpoints that did are marked.",
      ),
    ],
    confirm: "Erase",
    isDangerous: true,
    act: async () => {
      const erased = await (await request(`/v1/experiences/${row.id}`, { method: "DELETE" })).json();
      toast(
        `Erased${erased.taken_from.length ? `, and taken from ${count(erased.taken_from.length, "later exchange")}` : ""}. ${erased.repeated_in.length ? `A part of it still stands in ${count(erased.repeated_in.length, "other exchange")}, as the same question may: erase those too where that is meant. ` : ""}${erased.checkpoints.length ? `${count(erased.checkpoints.length, "checkpoint")} learned from it.` : "No checkpoint had learned from it."}`,
      );
      await read();
    },
  });
}
