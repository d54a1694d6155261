// The cycles of an instance and what the gate said of each.

import { byId, el, empty, replace } from "./dom.js";
import { ago, count, duration, number } from "./format.js";
import { reportLink } from "./report.js";
import { tone } from "./running.js";

/** Show cycles, newest first; `onMore` loads older ones, or is null when there are none. */
export function showCycles(cycles, onMore) {
  if (!cycles.length)
    return replace(
      byId("history"),
      empty("No cycle yet. Each one will stand here with its verdict and a link to its report."),
    );
  replace(
    byId("history"),
    el("ol", { class: "rows" }, cycles.map(row)),
    onMore
      ? el("button", { class: "quiet", "data-key": "older-cycles", onclick: onMore }, "Older cycles")
      : null,
  );
}

function row(cycle) {
  const loss = cycle.learned.find((item) => item.name === "held_out_loss");
  const took =
    cycle.finished_at && cycle.started_at
      ? duration((new Date(cycle.finished_at) - new Date(cycle.started_at)) / 1000)
      : null;
  const why = cycle.failed_checks.length ? cycle.failed_checks.join("; ") : (cycle.error?.message ?? null);
  return el(
    "li",
    {},
    el(
      "div",
      { class: "row-head" },
      el("b", {}, `Cycle ${cycle.number}`),
      el("span", { class: `chip ${tone(cycle.status)}` }, cycle.status),
      el("span", { class: "end" }, reportLink(cycle.id, "Report", `Report of cycle ${cycle.number}`)),
    ),
    el(
      "p",
      { class: "facts" },
      loss
        ? el(
            "span",
            {},
            "held-out ",
            el("b", {}, number(loss.before, 3)),
            " → ",
            el("b", {}, number(loss.after, 3)),
          )
        : null,
      el("span", {}, count(cycle.trained, "experience")),
      took ? el("span", {}, took) : null,
      el(
        "span",
        {},
        cycle.trigger === "request" ? "asked for" : cycle.trigger === "rebuild" ? "rebuild" : "by itself",
      ),
      el("span", {}, ago(cycle.finished_at ?? cycle.created_at)),
    ),
    why ? el("p", { class: "why" }, why) : null,
  );
}
