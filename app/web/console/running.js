// The running cycle live: one bar for the whole of it, stage, loss and speed; or what the last one
// came to.

import { get, post } from "./api.js";
import { lineChart } from "./chart.js";
import { ask, toast } from "./dialogs.js";
import { byId, el, empty, isNarrow, replace } from "./dom.js";
import { ago, number } from "./format.js";
import { reportLink } from "./links.js";
import { here, placeOf } from "./place.js";
import { inWords, progressBar } from "./progress.js";

const STAGES = [
  ["loading", "load"],
  ["evaluating_before", "measure before"],
  ["training", "train"],
  ["saving", "save"],
  ["evaluating_after", "measure after"],
  ["publishing", "publish"],
];

/** The part of a page about the running cycle, or about the newest one that ended. */
export class CycleView {
  #chart = lineChart({
    title: "Training loss",
    note: "nats per supervised token, by step",
    series: [{ label: "loss", color: "accent" }],
    xLabel: (x) => `step ${x}`,
    isSparse: false,
  });
  #instance;
  #cycle = null;
  #points = new Map();
  #progress = null;
  #shown = null;

  constructor(instance) {
    this.#instance = instance;
  }

  /** Show a running cycle from its beginning; events then come through `take`. */
  async follow(cycle) {
    if (this.#cycle?.id === cycle.id) {
      this.#cycle = cycle;
      this.#progress = cycle.progress ?? this.#progress;
      return this.#draw();
    }
    this.#reset(cycle);
    this.#draw();
    for (let after = 0; after !== null;) {
      const page = await get(`/v1/sleep-cycles/${cycle.id}/events`, { after, limit: 500 });
      if (this.#cycle?.id !== cycle.id) return;
      page.data.forEach((event) => this.#keep(event));
      after = page.has_more ? page.next : null;
    }
    this.#draw();
  }

  /** A live event of this instance. */
  take(event) {
    if (event.sleep_cycle_id !== this.#cycle?.id || event.type !== "sleep_cycle.progress") return;
    this.#progress = event.data;
    this.#keep(event);
    this.#draw();
  }

  /** Nothing runs: show what the newest cycle came to, `report` being its report or null. */
  rest(report) {
    const shown = `${report?.id} ${report?.status} ${report?.aliases}`;
    if (this.#shown === shown) return;
    this.#reset(null);
    this.#shown = shown;
    if (report === null) {
      return replace(
        byId("running"),
        empty(
          "No cycle yet. When the mass reaches its threshold one starts by itself, or press ",
          el("b", {}, "Sleep now"),
          ".",
        ),
      );
    }
    const { loss_curve: losses } = report;
    replace(
      byId("running"),
      heading(this.#instance, report, el("span", { class: `chip ${tone(report.status)}` }, report.status)),
      el("p", {}, report.summary),
      losses.length > 1 && !isNarrow() ? this.#chart.node : null,
      el(
        "p",
        { class: "hint" },
        report.finished_at ? ["Ended ", ago(report.finished_at), ". "] : null,
        reportLink(report.id, "Its report"),
      ),
    );
    this.#chart.update([losses.map((_, index) => index + 1), losses]);
    this.#chart.draw();
  }

  #reset(cycle) {
    this.#cycle = cycle;
    this.#points = new Map();
    this.#progress = cycle?.progress ?? null;
    this.#shown = null;
  }

  #keep({ type, data }) {
    if (type !== "sleep_cycle.progress" || data.stage !== "training") return;
    if (typeof data.loss === "number") this.#points.set(data.step, data.loss);
  }

  #draw() {
    const cycle = { ...this.#cycle, progress: this.#progress };
    const isDrawn = this.#points.size > 1;
    replace(
      byId("running"),
      heading(
        this.#instance,
        cycle,
        el("span", { class: "chip live" }, cycle.status),
        cycle.cancel_requested_at ? el("span", { class: "chip bad" }, "stopping") : null,
      ),
      progressBar(cycle),
      el("p", { class: "hint" }, inWords(cycle)),
      isNarrow() ? null : stages(cycle),
      facts(cycle.progress ?? {}, this.#points),
      isDrawn
        ? this.#chart.node
        : el(
            "p",
            { class: "hint" },
            cycle.status === "queued"
              ? cycle.woken_at
                ? "It makes way, and goes on once its instance is idle."
                : "It waits for the one training slot."
              : "The loss is drawn as it comes.",
          ),
      el(
        "div",
        { class: "actions left" },
        el("button", { "data-key": "cancel", class: "danger", onclick: () => cancel(cycle) }, "Cancel"),
        reportLink(cycle.id, "Report so far"),
      ),
    );
    if (!isDrawn) return;
    const sorted = [...this.#points].sort(([a], [b]) => a - b);
    this.#chart.update([sorted.map(([x]) => x), sorted.map(([, y]) => y)]);
  }
}

function facts(progress, points) {
  const loss = progress.loss ?? [...points.values()].at(-1) ?? null;
  return el(
    "dl",
    { class: "counts" },
    [
      ["step", progress.total_steps ? `${progress.step} of ${progress.total_steps}` : "–"],
      ["loss", number(loss, 3)],
      ["tokens per second", number(progress.tokens_per_second ?? null, 0)],
    ].map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
  );
}

/** The cycle's name, which leads to its own page; there it stands above already. */
function heading(instance, cycle, ...chips) {
  if (here.cycle) return null;
  return el(
    "p",
    { class: "figure-line" },
    el("a", { class: "big", href: placeOf(instance, "cycles", cycle.id) }, `Cycle ${cycle.number}`),
    chips,
  );
}

function stages(cycle) {
  const at =
    cycle.status === "queued"
      ? -1
      : STAGES.findIndex(([name]) => name === (cycle.progress?.stage ?? "loading"));
  return el(
    "ol",
    { class: "stages" },
    STAGES.map(([, word], index) =>
      el(
        "li",
        {
          class: index < at ? "done" : index === at ? "here" : "",
          "aria-current": index === at ? "step" : null,
        },
        word,
      ),
    ),
  );
}

/** The class of a chip for how a cycle stands. */
export const tone = (status) =>
  ({
    succeeded: "good",
    rejected: "bad",
    failed: "bad",
    training: "live",
    evaluating: "live",
    queued: "live",
  })[status] ?? "";

const cancel = (cycle) =>
  ask({
    title: `Cancel cycle ${cycle.number}?`,
    body: [
      el(
        "p",
        {},
        "It stops within a second or two. Its experiences go back to the buffer; nothing goes live.",
      ),
    ],
    confirm: "Cancel the cycle",
    isDangerous: true,
    act: async () => {
      await post(`/v1/sleep-cycles/${cycle.id}/cancel`);
      toast(`Cycle ${cycle.number} is asked to stop.`);
    },
  });
