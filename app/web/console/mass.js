// How far the salience mass has filled toward the threshold, and every rule of the decision.

import { byId, el, foldIfNarrow, replace } from "./dom.js";
import { ago, count, number, words } from "./format.js";
import { dryRun, sleepNow } from "./sleep.js";

const ORDER = [
  "buffered",
  "claimed",
  "consolidated",
  "held_out",
  "below_threshold",
  "filtered",
  "set_aside",
  "quarantined",
  "erased",
];

/** Show an instance's mass; `onChange` is called when a button started something. */
export function showMass(stats, onChange) {
  const { decision } = stats;
  const absent = decision.reasons.find((reason) => reason.rule === "base_model" && !reason.met);
  const met = decision.reasons.filter((reason) => reason.met);
  const unmet = decision.reasons.filter((reason) => !reason.met && reason !== absent);
  const share = Math.min(100, (100 * stats.mass) / stats.mass_threshold);
  replace(
    byId("mass"),
    el(
      "p",
      { class: "figure-line" },
      el("b", { class: "big" }, number(stats.mass, 1)),
      ` of ${number(stats.mass_threshold, 1)}`,
      el("span", { class: `chip ${decision.due ? "good" : ""}` }, decision.due ? "sleep is due" : "not due"),
    ),
    el(
      "div",
      {
        class: "meter",
        role: "meter",
        "aria-label": "Salience mass",
        "aria-valuemin": 0,
        "aria-valuemax": stats.mass_threshold,
        "aria-valuenow": Math.min(stats.mass, stats.mass_threshold),
        "aria-valuetext": `${number(stats.mass, 1)} of ${number(stats.mass_threshold, 1)}`,
      },
      el("div", { class: decision.due ? "full" : "", "width%": share }),
    ),
    el(
      "p",
      { class: "hint" },
      decision.due
        ? "Every rule is met; a cycle starts by itself."
        : "A cycle starts by itself when every rule is met; ",
      decision.due ? null : `${count(decision.reasons.length - met.length, "is not", "are not")} yet:`,
    ),
    absent ? el("p", { class: "absent", role: "status" }, `Nothing can sleep: ${absent.text}.`) : null,
    unmet.length ? el("ul", { class: "reasons" }, unmet.map(reasonLine)) : null,
    met.length
      ? foldIfNarrow(
          "met",
          `${count(met.length, "rule")} met`,
          el("ul", { class: "reasons" }, met.map(reasonLine)),
        )
      : null,
    el(
      "div",
      { class: "actions left" },
      el(
        "button",
        {
          class: "primary",
          "data-key": "sleep",
          disabled: stats.running_cycle !== null || absent !== undefined,
          onclick: () => sleepNow(stats.instance, onChange),
        },
        "Sleep now",
      ),
      el("button", { "data-key": "dry", onclick: () => dryRun(stats.instance, onChange) }, "Dry run"),
    ),
    foldIfNarrow(
      "counts",
      "Exchanges by status",
      el(
        "dl",
        { class: "counts" },
        ORDER.filter((status) => stats.counts[status] || status === "buffered").map((status) =>
          el("div", {}, el("dt", {}, words(status)), el("dd", {}, stats.counts[status].toLocaleString("en"))),
        ),
      ),
    ),
    el(
      "p",
      { class: "hint" },
      stats.last_exchange_at
        ? ["Last exchange ", ago(stats.last_exchange_at), "."]
        : "No exchange yet: post one to /v1/experiences.",
    ),
  );
}

const reasonLine = (reason) =>
  el(
    "li",
    { class: reason.met ? "met" : "unmet" },
    el("span", { class: "visually-hidden" }, reason.met ? "met: " : "not met: "),
    reason.text,
  );
