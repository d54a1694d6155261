// What was measured of a cycle: the bare base, before and after, with the error of the last.

import { byId, el, empty, fold, isNarrow, replace } from "./dom.js";
import { short } from "./gate.js";

const SHOWN = 10; // losses and distances; behind them come the replies, which the gate's table has, too

/** Show the measures of a report. */
export function showMeasures({ learned, kept, finished_at: finishedAt }) {
  const rows = [...learned, ...kept];
  if (!rows.length)
    return replace(
      byId("compared"),
      empty(finishedAt ? "Nothing was measured of it." : "Nothing is measured of it yet."),
    );
  const shown = isNarrow() ? [] : rows.splice(0, SHOWN);
  replace(
    byId("compared"),
    shown.length ? table(shown) : null,
    rows.length
      ? fold("measures", shown.length ? `${rows.length} more` : `All ${rows.length} measures`, table(rows))
      : null,
  );
}

const table = (rows) =>
  el(
    "table",
    { class: "table" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        ["measure", "base", "before", "after"].map((word) => el("th", { scope: "col" }, word)),
      ),
    ),
    el("tbody", {}, rows.map(row)),
  );

const row = (item) =>
  el(
    "tr",
    {},
    el("th", { scope: "row" }, item.words),
    el("td", { class: "figure-cell" }, short(item.base)),
    el("td", { class: "figure-cell" }, short(item.before)),
    el(
      "td",
      { class: "figure-cell" },
      short(item.after),
      item.standard_error ? el("span", { class: "hint" }, ` ± ${short(item.standard_error)}`) : null,
    ),
  );
