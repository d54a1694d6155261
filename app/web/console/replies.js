// What the model said before and after a cycle, side by side.

import { byId, el, empty, fold, replace } from "./dom.js";
import { count } from "./format.js";

const SHOWN = 3;

/** Show the replies of a report; the first few, and the others on demand. */
export function showReplies({ replies, finished_at: finishedAt }) {
  const rest = replies.slice(SHOWN);
  replace(
    byId("sides"),
    replies.length
      ? replies.slice(0, SHOWN).map(pair)
      : empty(
          finishedAt
            ? "It took no replies."
            : "No replies yet. A cycle asks the model the same few questions before and after, and both answers stand here.",
        ),
    rest.length ? fold("replies", count(rest.length, "more question"), ...rest.map(pair)) : null,
  );
}

const pair = ({ prompt, before, after }) =>
  el(
    "article",
    { class: "pair" },
    el("h3", {}, prompt),
    el("div", {}, el("h4", {}, "before"), el("p", { class: "said" }, before || "(nothing)")),
    el("div", {}, el("h4", {}, "after"), el("p", { class: "said" }, after || "(nothing)")),
  );
