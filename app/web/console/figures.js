// What cycles learned and forgot, as plots over their numbers.

import { lineChart } from "./chart.js";
import { byId, empty, replace } from "./dom.js";
import { number } from "./format.js";

const share = (value) => `${number(100 * value, 1)} %`;
const xLabel = (x) => `cycle ${x}`;

/** The plots of one instance. */
export class Figures {
  #charts = [
    {
      chart: lineChart({
        title: "Held-out loss",
        note: "nats per token, lower is better",
        xLabel,
        series: [
          { label: "before", color: "muted", dash: true },
          { label: "after", color: "accent" },
          { label: "after, rejected", color: "bad", points: true },
        ],
      }),
      columns: [
        (cycle) => measure(cycle.learned, "held_out_loss")?.before,
        (cycle) => (isRefused(cycle) ? null : measure(cycle.learned, "held_out_loss")?.after),
        (cycle) => (isRefused(cycle) ? measure(cycle.learned, "held_out_loss")?.after : null),
      ],
    },
    {
      chart: lineChart({
        title: "General knowledge",
        note: "loss on other replies, nats per token",
        xLabel,
        series: [
          { label: "bare base", color: "muted", dash: true },
          { label: "after", color: "accent" },
        ],
      }),
      columns: [
        (cycle) => measure(cycle.kept, "general_loss")?.base,
        (cycle) => measure(cycle.kept, "general_loss")?.after,
      ],
    },
    {
      chart: lineChart({
        title: "Distance from the base",
        note: "KL, nats per token",
        xLabel,
        format: (value) => number(value, 4),
        series: [
          { label: "general", color: "accent" },
          { label: "anchors", color: "third" },
        ],
      }),
      columns: [
        (cycle) => measure(cycle.kept, "general_kl")?.after,
        (cycle) => measure(cycle.kept, "anchor_kl")?.after,
      ],
    },
    {
      chart: lineChart({
        title: "Collapse",
        note: "share of replies; near zero is healthy",
        xLabel,
        format: share,
        tick: (value) => `${Math.round(100 * value)} %`,
        series: [
          { label: "repeated phrases", color: "accent" },
          { label: "alike", color: "bad" },
          { label: "looping", color: "third" },
        ],
      }),
      columns: ["repeated_ngrams", "similar_pairs", "looping"].map(
        (name) => (cycle) => measure(cycle.kept, name)?.after,
      ),
    },
  ];

  /** Show cycles, newest first as the daemon lists them. */
  show(cycles) {
    const measured = cycles.filter((cycle) => cycle.kept.length || cycle.learned.length).reverse();
    if (!measured.length) {
      return replace(
        byId("plots"),
        empty(
          "Nothing is measured yet. After the first cycle this shows what it learned (held-out loss), what it kept (general knowledge) and whether replies collapse.",
        ),
      );
    }
    if (!this.#charts[0].chart.node.isConnected)
      replace(byId("plots"), ...this.#charts.map(({ chart }) => chart.node));
    for (const { chart, columns } of this.#charts) {
      chart.update([
        measured.map((cycle) => cycle.number),
        ...columns.map((read) => measured.map((cycle) => read(cycle) ?? null)),
      ]);
      chart.draw();
    }
  }
}

const measure = (comparisons, name) => comparisons.find((item) => item.name === name);
const isRefused = (cycle) => cycle.status === "rejected";
