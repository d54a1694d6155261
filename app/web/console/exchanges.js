// Recent exchanges with score, status and reason; filter, search and erase.

import { get, request } from "./api.js";
import { ask, toast } from "./dialogs.js";
import { byId, el, empty, replace } from "./dom.js";
import { ago, count, number, words } from "./format.js";

const COMPONENTS = ["surprise", "novelty", "arousal", "reward", "conflict"];
const PAGE = 15;
const TONES = {
  buffered: "live",
  claimed: "live",
  consolidated: "good",
  filtered: "warn",
  set_aside: "warn",
  quarantined: "bad",
  erased: "bad",
};

/** The exchanges of one instance. */
export class Exchanges {
  #instance;
  #rows = [];
  #next = null;
  #turn = 0;

  constructor(instance) {
    this.#instance = instance;
    const form = byId("filter");
    form.onsubmit = (event) => {
      event.preventDefault();
      this.load();
    };
    form.onreset = () => setTimeout(() => this.load());
    form.elements.status.onchange = () => this.load();
  }

  /** Read the first page, as it is filtered now. */
  load() {
    this.#rows = [];
    return this.refresh();
  }

  /** Read the first page anew; what was loaded behind it stays. */
  async refresh() {
    const turn = ++this.#turn;
    const page = await this.#page(null);
    if (turn !== this.#turn) return;
    const isLonger = this.#rows.length > PAGE;
    this.#rows = isLonger ? merge(page.data, this.#rows) : page.data;
    if (!isLonger) this.#next = page.next;
    this.#draw();
  }

  #page(cursor) {
    const { q, status, min_salience: least } = byId("filter").elements;
    return get("/v1/experiences", {
      instance: this.#instance,
      q: q.value.trim(),
      status: status.value,
      min_salience: least.value,
      cursor,
      limit: PAGE,
    });
  }

  async #more() {
    const page = await this.#page(this.#next);
    this.#rows.push(...page.data);
    this.#next = page.next;
    this.#draw();
  }

  #draw() {
    const { q, status, min_salience: least } = byId("filter").elements;
    const isFiltered = Boolean(q.value.trim() || status.value || least.value);
    byId("hits").textContent = this.#rows.length
      ? `${count(this.#rows.length, "exchange")} shown, newest first${this.#next ? "; there are more" : ""}.`
      : "";
    const open = new Set([...byId("list").querySelectorAll("details[open]")].map((node) => node.dataset.id));
    replace(
      byId("list"),
      this.#rows.length
        ? el(
            "ol",
            { class: "rows" },
            this.#rows.map((row) => this.#row(row, open.has(row.id))),
          )
        : isFiltered
          ? empty("No exchange is like that. ", el("b", {}, "Clear"), " shows them all.")
          : empty(
              "No exchange yet. A session posts them to ",
              el("code", {}, "POST /v1/experiences"),
              "; the README shows it with curl.",
            ),
      this.#next
        ? el(
            "button",
            { class: "quiet", "data-key": "older-exchanges", onclick: () => this.#more() },
            "Older exchanges",
          )
        : null,
    );
  }

  #row(row, isOpen) {
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
      { "data-id": row.id, open: isOpen, ontoggle: () => details.open && this.#showUses(row.id, uses) },
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
                { class: "danger small", "data-key": `erase-${row.id}`, onclick: () => this.#erase(row) },
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

  async #showUses(id, place) {
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

  #erase(row) {
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
        await this.load();
      },
    });
  }
}

/** The newest rows in front of those that were loaded before, each once and as it is now. */
function merge(newest, earlier) {
  const ids = new Set(newest.map((row) => row.id));
  return [...newest, ...earlier.filter((row) => !ids.has(row.id))];
}
