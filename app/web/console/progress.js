// How far a cycle is, as one bar and one time: the same wherever a running cycle is shown.

import { el } from "./dom.js";
import { duration, words } from "./format.js";

const STAGES = {
  loading: "loading the model",
  evaluating_before: "measuring before",
  training: "training",
  saving: "saving",
  evaluating_after: "measuring after",
  publishing: "publishing",
};

/** Share of the whole cycle, 0 to 1; null where nobody says. */
function shareOf({ status, progress }) {
  if (status === "queued") return 0;
  if (typeof progress?.share === "number") return Math.min(1, Math.max(0, progress.share));
  return null;
}

/** What it is doing, in words. */
const stageOf = ({ status, progress }) =>
  status === "queued"
    ? "waiting for its turn"
    : (STAGES[progress?.stage] ?? words(progress?.stage ?? "starting"));

/** How long it still takes, in words; null where nobody can say yet. */
function leftOf({ status, progress }) {
  const left = progress?.remaining_seconds;
  return status === "queued" || typeof left !== "number" ? null : `${duration(left)} left`;
}

/** "training, 43 %, 2 min 5 s left". */
export function inWords(cycle) {
  const share = shareOf(cycle);
  const percent = cycle.status === "queued" || share === null ? null : `${Math.floor(100 * share)} %`;
  return [stageOf(cycle), percent, leftOf(cycle)].filter(Boolean).join(", ");
}

/** The bar of a whole cycle. */
export function progressBar(cycle) {
  const share = shareOf(cycle);
  return el(
    "div",
    {
      class: `meter slim ${share === null ? "unknown" : ""}`,
      role: "progressbar",
      "aria-label": `Cycle ${cycle.number}`,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": share === null ? null : Math.floor(100 * share),
      "aria-valuetext": inWords(cycle),
    },
    el("div", { class: "moving", "width%": share === null ? 100 : 100 * share }),
  );
}
