// The loss curves of several cycles over each other; which ones stands in the address.

import { get } from "./api.js";
import { lineChart } from "./chart.js";
import { byId, el, empty, replace } from "./dom.js";
import { query, withQuery } from "./place.js";

const COLORS = ["accent", "third", "good", "bad", "muted"];
const FIRST = 3;
const MEAN_SHARE = 1 / 12; // of the steps, for the running mean
const reports = new Map();
let turn = 0;

/** Ids of the cycles whose curves are wanted: those of the address, or else the newest ones. */
export function wantedCurves(cycles) {
  const named = query.get("curves");
  if (named !== null) return named.split(",").filter(Boolean).slice(0, COLORS.length);
  return cycles
    .filter((cycle) => cycle.learned.length)
    .slice(0, FIRST)
    .map((cycle) => cycle.id);
}

/** A box that takes a cycle's curve in or out. */
export function curveBox(cycle, wanted, onChange) {
  const isShown = wanted.includes(cycle.id);
  return el("input", {
    type: "checkbox",
    "data-key": `curve-${cycle.id}`,
    "aria-label": `Show the loss curve of cycle ${cycle.number}`,
    checked: isShown,
    disabled: !cycle.learned.length || (!isShown && wanted.length >= COLORS.length),
    onchange: () => {
      const next = isShown ? wanted.filter((id) => id !== cycle.id) : [...wanted, cycle.id];
      query.set("curves", next.join(","));
      history.replaceState(null, "", withQuery({}));
      onChange();
    },
  });
}

/** Draw the curves of these cycles. */
export async function showCurves(ids) {
  const mine = ++turn;
  const found = await Promise.all(ids.map(readReport));
  if (mine !== turn) return;
  const drawn = found.filter((report) => report.loss_curve.length > 1).sort((a, b) => a.number - b.number);
  if (!drawn.length)
    return replace(byId("overlay"), empty("Choose cycles in the list: the curve of each is drawn here."));
  const steps = Math.max(...drawn.map((report) => report.loss_curve.length));
  const chart = lineChart({
    title: "Training loss",
    note: "running mean, nats per supervised token, by step",
    series: drawn.map((report, at) => ({
      label: `cycle ${report.number}${report.status === "rejected" ? " (rejected)" : ""}`,
      color: COLORS[at],
      dash: report.status === "rejected" ? "dashed" : null,
    })),
    xLabel: (x) => `step ${x}`,
    isSparse: false,
  });
  replace(byId("overlay"), chart.node);
  chart.update([
    Array.from({ length: steps }, (_, index) => index + 1),
    ...drawn.map((report) => pad(smooth(report.loss_curve), steps)),
  ]);
}

function readReport(id) {
  if (!reports.has(id)) reports.set(id, get(`/v1/sleep-cycles/${id}/report`, { format: "json" }));
  return reports.get(id);
}

const pad = (values, length) => [...values, ...Array(length - values.length).fill(null)];

function smooth(losses) {
  const span = Math.max(1, Math.round(losses.length * MEAN_SHARE));
  return losses.map((_, index) => {
    const near = losses.slice(Math.max(0, index - span + 1), index + 1).filter((loss) => loss !== null);
    return near.length ? near.reduce((sum, loss) => sum + loss, 0) / near.length : null;
  });
}
