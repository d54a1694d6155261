// The gate's checks: each with its value, its limit, and how far the error of the value reaches.

import { byId, el, empty, foldIfNarrow, replace, svg } from "./dom.js";
import { words } from "./format.js";

/** The measure that a check judges, where they are not called the same. */
const MEASURES = {
  repetition: "repeated_ngrams",
  distinct: "distinct_2",
  self_reference: "self_references",
  endings: "ended",
};
const WIDTH = 100;
const HEIGHT = 14;

/** Show the checks of a report. */
export function showChecks({ checks, learned, kept, verdict, finished_at: finishedAt }) {
  if (!checks.length)
    return replace(
      byId("checks"),
      empty(
        finishedAt ? "The gate has not judged this cycle." : "The gate judges it when it has been measured.",
      ),
    );
  const errors = new Map([...learned, ...kept].map((item) => [item.name, item.standard_error]));
  const failed = checks.filter((check) => !check.passed);
  const ordered = [...failed, ...checks.filter((check) => check.passed)];
  replace(
    byId("checks"),
    el(
      "p",
      { class: `verdict ${verdict === "accepted" ? "good" : "bad"}` },
      words(verdict),
      failed.length
        ? `: ${failed.length} of ${checks.length} checks failed`
        : `: all ${checks.length} checks passed`,
    ),
    foldIfNarrow(
      "checks",
      `All ${checks.length} checks, with their limits`,
      table(ordered, errors),
      el(
        "p",
        { class: "hint" },
        "Upright: the limit. Ring: before, or the bare base. The line through a value is one standard error each way.",
      ),
    ),
  );
}

const table = (checks, errors) =>
  el(
    "table",
    { class: "table" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        ["check", "value", "limit"].map((word) => el("th", { scope: "col" }, word)),
        el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "picture")),
      ),
    ),
    el(
      "tbody",
      {},
      checks.map((check) => row(check, errors.get(MEASURES[check.name] ?? check.name))),
    ),
  );

function row(check, error) {
  return el(
    "tr",
    { class: check.passed ? "" : "broken" },
    el(
      "th",
      { scope: "row", title: check.words },
      words(check.name),
      check.passed ? null : el("span", { class: "chip bad" }, "failed"),
    ),
    el(
      "td",
      { class: "figure-cell" },
      short(check.value),
      error ? el("span", { class: "hint" }, ` ± ${short(error)}`) : null,
    ),
    el("td", { class: "figure-cell" }, short(check.limit)),
    el("td", { class: "picture-cell" }, picture(check, error ?? 0)),
  );
}

function picture({ name, value, limit, baseline: from, passed }, error) {
  if (value === null || limit === null) return null;
  const baseline = name === "reload" ? null : from; // there it is a loss, and the value a difference
  const reach = [value - error, value + error, limit, baseline ?? limit];
  const [low, high] = [Math.min(...reach), Math.max(...reach)];
  const x = (at) => 6 + ((WIDTH - 12) * (at - low)) / (high - low || 1);
  const middle = HEIGHT / 2;
  return svg(
    "svg",
    { class: `scale ${passed ? "" : "broken"}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" },
    svg("line", { class: "ground", x1: 0, x2: WIDTH, y1: middle, y2: middle }),
    svg("line", { class: "limit", x1: x(limit), x2: x(limit), y1: 1, y2: HEIGHT - 1 }),
    baseline === null ? null : svg("circle", { class: "baseline", cx: x(baseline), cy: middle, r: 3 }),
    error
      ? svg("line", { class: "error", x1: x(value - error), x2: x(value + error), y1: middle, y2: middle })
      : null,
    svg("circle", { class: "value", cx: x(value), cy: middle, r: 3.5 }),
  );
}

/** Four digits that count, as the report writes them. */
export const short = (value) =>
  value === null || value === undefined ? "–" : String(Number(value.toPrecision(4)));
