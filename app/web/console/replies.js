// What the model said before and after a cycle, side by side.

import { get } from "./api.js";
import { byId, el, empty, replace } from "./dom.js";

let wanted = null;
let turn = 0;

/** Show the replies of a cycle: the one chosen, or else the newest that was measured. */
export async function showReplies(cycles) {
  const measured = cycles.filter((cycle) => cycle.kept.length || cycle.learned.length);
  if (!measured.length)
    return replace(
      byId("sides"),
      empty(
        "No replies yet. Each cycle asks the model the same few questions before and after, and both answers stand here.",
      ),
    );
  const chosen = measured.find((cycle) => cycle.id === wanted) ?? measured[0];
  const mine = ++turn;
  const report = await get(`/v1/sleep-cycles/${chosen.id}/report`, { format: "json" });
  if (mine !== turn) return;
  const select = el(
    "select",
    { "data-key": "replies", onchange: () => ((wanted = select.value), showReplies(cycles)) },
    measured.map((cycle) =>
      el(
        "option",
        { value: cycle.id, selected: cycle.id === chosen.id },
        `Cycle ${cycle.number}, ${cycle.status}`,
      ),
    ),
  );
  replace(
    byId("sides"),
    el("label", { class: "inline" }, "Of ", select),
    report.replies.length ? report.replies.map(pair) : empty("This cycle kept no replies."),
  );
}

/** Choose nothing, as for another instance, and let no reading under way be shown. */
export function forgetChoice() {
  wanted = null;
  turn++;
}

const pair = ({ prompt, before, after }) =>
  el(
    "article",
    { class: "pair" },
    el("h3", {}, prompt),
    el("div", {}, el("h4", {}, "before"), el("p", { class: "said" }, before || "(nothing)")),
    el("div", {}, el("h4", {}, "after"), el("p", { class: "said" }, after || "(nothing)")),
  );
