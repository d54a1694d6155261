// What cycles learned and forgot, as plots over their numbers, with the gate's limits, the error
// of what was measured, and what the gate rejected beside the line.

import { lineChart } from "./chart.js";
import { empty, replace } from "./dom.js";
import { number } from "./format.js";

const percent = (value) => `${number(100 * value, 1)} %`;
const nats = (value) => number(value, 4);

/** Each plot: its lines, each a measure with the check of the gate that limits it, if one does. */
const PLOTS = {
  learned: {
    title: "Held-out loss",
    note: "nats per token, lower is better",
    lines: [
      { label: "before", color: "muted", dash: "dashed", of: ["learned", "held_out_loss", "before"] },
      { label: "after", color: "accent", of: ["learned", "held_out_loss", "after"] },
    ],
    limit: "held_out_loss",
  },
  kept: {
    title: "General knowledge",
    note: "loss on other replies, nats per token",
    lines: [
      { label: "bare base", color: "muted", dash: "dashed", of: ["kept", "general_loss", "base"] },
      { label: "after", color: "accent", of: ["kept", "general_loss", "after"] },
    ],
    limit: "general_loss",
  },
  distance: {
    title: "Distance from the base",
    note: "KL, nats per token",
    format: nats,
    lines: [
      { label: "general", color: "accent", of: ["kept", "general_kl", "after"] },
      { label: "as sessions ask", color: "bad", of: ["kept", "session_general_kl", "after"] },
      { label: "anchors", color: "third", of: ["kept", "anchor_kl", "after"] },
    ],
    limit: "general_kl",
  },
  collapse: {
    title: "Collapse",
    note: "share of replies; near zero is healthy",
    format: percent,
    tick: (value) => `${Math.round(100 * value)} %`,
    lines: [
      { label: "repeated phrases", color: "accent", of: ["kept", "repeated_ngrams", "after"] },
      { label: "alike", color: "bad", of: ["kept", "similar_pairs", "after"] },
      { label: "looping", color: "third", of: ["kept", "looping", "after"] },
    ],
  },
};

/** Plots by their names, in a place; made once, shown as often as cycles change. */
export class Figures {
  #place;
  #plots;

  constructor(place, names = Object.keys(PLOTS)) {
    this.#place = place;
    this.#plots = names.map((name) => makePlot(PLOTS[name]));
  }

  /** Show cycles, newest first as the daemon lists them. */
  show(cycles) {
    const measured = cycles.filter((cycle) => cycle.kept.length || cycle.learned.length).reverse();
    if (!measured.length) {
      return replace(
        this.#place,
        empty(
          "Nothing is measured yet. After the first cycle this shows what it learned (held-out loss), what it kept (general knowledge) and whether replies collapse.",
        ),
      );
    }
    if (!this.#plots[0].chart.node.isConnected)
      replace(this.#place, ...this.#plots.map(({ chart }) => chart.node));
    for (const { chart, columns } of this.#plots) {
      const read = columns.map((column) => measured.map(column.value));
      const errors = columns.map((column) => column.error && measured.map(column.error));
      chart.update([measured.map((cycle) => cycle.number), ...read], errors);
      chart.draw();
    }
  }
}

function makePlot({ lines, limit, ...look }) {
  const columns = lines.map(({ of: [group, name, side] }) => ({
    value: (cycle) => (isAside(cycle, side) ? null : measure(cycle[group], name, side)),
    error: side === "after" ? (cycle) => measure(cycle[group], name, "standard_error") : null,
  }));
  const asides = lines
    .map((line, at) => ({ ...line, asideOf: at, label: `${line.label}, rejected` }))
    .filter((line) => line.of[2] === "after");
  for (const {
    of: [group, name, side],
  } of asides)
    columns.push({
      value: (cycle) => (isAside(cycle, side) ? measure(cycle[group], name, side) : null),
      error: null,
    });
  const series = [...lines, ...asides];
  if (limit) {
    series.push({ label: "limit", color: "warn", dash: "dotted" });
    columns.push({ value: (cycle) => measure(cycle.checks ?? [], limit, "limit"), error: null });
  }
  return { chart: lineChart({ ...look, series, xLabel: (x) => `cycle ${x}` }), columns };
}

const measure = (found, name, side) => found.find((item) => item.name === name)?.[side] ?? null;
const isAside = (cycle, side) => side === "after" && cycle.status === "rejected";
