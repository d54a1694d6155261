// The running cycle live: stage, progress, loss, speed and time left; or what the last one came to.

import { get, post } from "./api.js";
import { lineChart } from "./chart.js";
import { ask, toast } from "./dialogs.js";
import { byId, el, empty, replace } from "./dom.js";
import { ago, duration, number } from "./format.js";
import { reportLink } from "./report.js";

const STAGES = [
  ["loading", "load"],
  ["evaluating_before", "measure before"],
  ["training", "train"],
  ["saving", "save"],
  ["evaluating_after", "measure after"],
  ["publishing", "publish"],
];

/** The part of the page about one cycle; a new one is made for another instance. */
export class CycleView {
  #chart = lineChart({
    title: "Training loss",
    note: "nats per supervised token, by step",
    series: [{ label: "loss", color: "accent" }],
    xLabel: (x) => `step ${x}`,
    isSparse: false,
  });
  #cycle = null;
  #points = new Map();
  #progress = null;
  #training = null;
  #lastEvent = 0;
  #shown = null;

  /** Show a running cycle from its beginning; events then come through `take`. */
  async follow(cycle) {
    if (this.#cycle?.id === cycle.id) {
      this.#cycle = cycle;
      return this.#draw();
    }
    this.#reset(cycle);
    this.#draw();
    for (let after = 0; after !== null;) {
      const page = await get(`/v1/sleep-cycles/${cycle.id}/events`, { after, limit: 500 });
      if (this.#cycle?.id !== cycle.id) return;
      page.data.forEach((event) => this.#add(event));
      after = page.has_more ? page.next : null;
    }
    this.#draw();
  }

  /** A live event of this instance. */
  take(event) {
    if (event.sleep_cycle_id !== this.#cycle?.id || event.id <= this.#lastEvent) return;
    this.#add(event);
    this.#draw();
  }

  /** Nothing runs: show what the newest cycle came to, `report` being its report or null. */
  rest(report) {
    if (this.#shown === (report?.id ?? "none") + report?.status + report?.aliases) return;
    this.#reset(null);
    this.#shown = (report?.id ?? "none") + report?.status + report?.aliases;
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
      el(
        "p",
        { class: "figure-line" },
        el("b", { class: "big" }, `Cycle ${report.number}`),
        el("span", { class: `chip ${tone(report.status)}` }, report.status),
      ),
      el("p", {}, report.summary),
      losses.length > 1 ? this.#chart.node : null,
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
    this.#training = null;
    this.#lastEvent = 0;
    this.#shown = null;
  }

  #add(event) {
    if (event.id <= this.#lastEvent) return;
    this.#lastEvent = event.id;
    if (event.type !== "sleep_cycle.progress") return;
    const progress = event.data;
    this.#progress = progress;
    if (progress.stage !== "training") return;
    const at = new Date(event.at).getTime();
    this.#training ??= { step: progress.step, at };
    this.#training.last = { step: progress.step, at };
    if (progress.loss !== null) this.#points.set(progress.step, progress.loss);
  }

  #draw() {
    const cycle = this.#cycle;
    const progress = this.#progress ?? {
      stage: cycle.status === "queued" ? "queued" : "loading",
      step: 0,
      total_steps: 0,
    };
    const stage = cycle.status === "queued" ? -1 : STAGES.findIndex(([name]) => name === progress.stage);
    const isTrained = stage > 2;
    const share = isTrained ? 100 : (100 * progress.step) / Math.max(1, progress.total_steps);
    const steps = progress.total_steps ? `step ${progress.step} of ${progress.total_steps}` : "";
    const facts = [
      ["loss", progress.loss ?? [...this.#points.values()].at(-1) ?? null, 3],
      ["tokens per second", progress.tokens_per_second ?? null, 0],
    ];
    replace(
      byId("running"),
      el(
        "p",
        { class: "figure-line" },
        el("b", { class: "big" }, `Cycle ${cycle.number}`),
        el("span", { class: "chip live" }, cycle.status),
        cycle.cancel_requested_at ? el("span", { class: "chip bad" }, "stopping") : null,
      ),
      el(
        "ol",
        { class: "stages" },
        STAGES.map(([, word], index) =>
          el(
            "li",
            {
              class: index < stage ? "done" : index === stage ? "here" : "",
              "aria-current": index === stage ? "step" : null,
            },
            word,
          ),
        ),
      ),
      el(
        "div",
        {
          class: "meter slim",
          role: "progressbar",
          "aria-label": "Training",
          "aria-valuemin": 0,
          "aria-valuemax": 100,
          "aria-valuenow": Math.round(share),
          "aria-valuetext": steps || "not begun",
        },
        el("div", { class: "moving", "width%": share }),
      ),
      el(
        "dl",
        { class: "counts" },
        el("div", {}, el("dt", {}, "progress"), el("dd", {}, steps || "–")),
        facts.map(([term, value, digits]) =>
          el("div", {}, el("dt", {}, term), el("dd", {}, number(value, digits))),
        ),
        el("div", {}, el("dt", {}, "training ends in"), el("dd", {}, this.#left(progress))),
      ),
      this.#points.size > 1
        ? this.#chart.node
        : el(
            "p",
            { class: "hint" },
            cycle.status === "queued"
              ? "It waits for the one training slot."
              : "The loss is drawn as it comes.",
          ),
      el(
        "div",
        { class: "actions left" },
        el("button", { "data-key": "cancel", class: "danger", onclick: () => cancel(cycle) }, "Cancel"),
        reportLink(cycle.id, "Report so far"),
      ),
    );
    if (this.#points.size > 1) {
      const sorted = [...this.#points].sort(([a], [b]) => a - b);
      this.#chart.update([sorted.map(([x]) => x), sorted.map(([, y]) => y)]);
    }
  }

  #left(progress) {
    if (progress.stage !== "training" || !this.#training?.last) return "–";
    const { step, at, last } = this.#training;
    const rate = (last.step - step) / Math.max(1, last.at - at);
    return rate > 0 ? duration((progress.total_steps - last.step) / rate / 1000) : "–";
  }
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
