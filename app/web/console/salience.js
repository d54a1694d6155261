// How salience is spread over its range, one small picture for each dimension.

import { get } from "./api.js";
import { byId, el, empty, replace, svg } from "./dom.js";
import { count, number } from "./format.js";

/** Show the distribution of an instance; `averages` are those of the statistics. */
export async function showSalience(instance, averages) {
  const found = await get(`/v1/instances/${instance}/salience-distribution`);
  if (!found.count) return replace(byId("spread"), empty("No exchange has been scored yet."));
  replace(
    byId("spread"),
    el("p", { class: "hint" }, `The newest ${count(found.count, "exchange")}, by tenths from 0 to 1.`),
    el(
      "div",
      { class: "small-multiples" },
      Object.entries(found.dimensions).map(([name, bins]) => histogram(name, bins, averages?.[name])),
    ),
  );
}

function histogram(name, bins, mean) {
  const most = Math.max(1, ...bins);
  const inWords = bins
    .map((amount, at) => (amount ? `${amount} at ${at / 10} to ${(at + 1) / 10}` : null))
    .filter(Boolean)
    .join(", ");
  return el(
    "figure",
    { class: `figure ${name === "total" ? "total" : ""}` },
    el(
      "figcaption",
      {},
      el("strong", {}, name),
      mean === undefined ? null : el("span", { class: "hint" }, ` mean ${number(mean)}`),
    ),
    svg(
      "svg",
      {
        viewBox: "0 0 100 44",
        role: "img",
        "aria-label": `${name}: ${inWords}`,
        preserveAspectRatio: "none",
      },
      svg("line", { class: "ground", x1: 0, x2: 100, y1: 43.5, y2: 43.5 }),
      bins.map((amount, at) =>
        svg(
          "rect",
          {
            x: at * 10 + 0.8,
            width: 8.4,
            y: 43 - (42 * amount) / most,
            height: (42 * amount) / most,
            rx: 0.8,
          },
          svg("title", {}, `${at / 10} to ${(at + 1) / 10}: ${amount}`),
        ),
      ),
    ),
    el("div", { class: "ends", "aria-hidden": "true" }, el("span", {}, "0"), el("span", {}, "1")),
  );
}
