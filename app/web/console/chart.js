// Line charts with uPlot, in the colours of the page, redrawn when those or the width change.

import { el } from "./dom.js";
import { number } from "./format.js";

const HEIGHT = 180;
const charts = new Set();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  charts.forEach((chart) => chart.draw()),
);

/**
 * A figure with its title, a key that follows the pointer, and what it shows in words.
 *
 * `series`: [{label, color, dash?, points?}], `color` a custom property of the style sheet.
 * `format` writes one value of y, `tick` one of its axis; `xLabel` one of x. Call `update(columns)` with x first.
 */
export function lineChart({
  title,
  note,
  series,
  format = (value) => number(value, 3),
  tick = shortest,
  xLabel = (x) => String(x),
  isSparse = true,
}) {
  const key = el("ul", { class: "key" });
  const place = el("div", { class: "plot", role: "img" });
  const node = el(
    "figure",
    { class: "figure" },
    el("figcaption", {}, el("strong", {}, title), note ? el("span", { class: "hint" }, ` ${note}`) : null),
    key,
    place,
  );
  let columns = series.map(() => []);
  columns.unshift([]);
  let plot = null;

  const chart = {
    node,
    update(next) {
      columns = next;
      place.setAttribute("aria-label", `${title}: ${inWords()}`);
      if (plot && plot.data.length === columns.length) plot.setData(columns);
      else chart.draw();
      showKey(null);
    },
    draw() {
      plot?.destroy();
      plot = null;
      if (!node.isConnected || !place.clientWidth) return;
      plot = new uPlot(options(), columns, place);
      showKey(null);
    },
  };

  function showKey(at) {
    const index = at ?? columns[0].length - 1;
    key.replaceChildren(
      ...series.map((line, place_) => {
        const value = lastValue(columns[place_ + 1], index, at !== null);
        return el(
          "li",
          {},
          el("i", { class: `swatch ${line.color}${line.dash ? " dashed" : ""}`, "aria-hidden": "true" }),
          `${line.label} `,
          el("b", {}, value === null ? "–" : format(value)),
        );
      }),
    );
    if (at !== null) key.append(el("li", { class: "hint" }, xLabel(columns[0][at])));
  }

  function inWords() {
    const parts = series.map((line, index) => {
      const found = columns[index + 1].filter((value) => value !== null);
      if (!found.length) return null;
      return found.length === 1
        ? `${line.label} ${format(found[0])}`
        : `${line.label} from ${format(found[0])} to ${format(found.at(-1))}`;
    });
    return parts.filter(Boolean).join("; ") || "nothing yet";
  }

  function options() {
    const style = getComputedStyle(node);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const font = `11px ${style.fontFamily}`;
    const axis = {
      stroke: color("muted"),
      font,
      grid: { stroke: color("rule"), width: 1 },
      ticks: { show: false },
    };
    return {
      width: place.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: pad }, y: { range: (_, low, high) => spread(low, high) } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 26,
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
          values: (_, ticks) => ticks.map((at) => (Number.isInteger(at) ? at : "")),
        },
        { ...axis, size: 46, values: (_, ticks) => ticks.map(tick) },
      ],
      series: [
        {},
        ...series.map((line) => ({
          label: line.label,
          stroke: color(line.color),
          width: line.points ? 0 : 2,
          dash: line.dash ? [5, 4] : undefined,
          spanGaps: true,
          points: {
            show: line.points || (isSparse && columns[0].length < 40),
            size: line.points ? 9 : 5,
            width: 2,
            fill: line.points ? color("panel") : color(line.color),
          },
        })),
      ],
      hooks: { setCursor: [(it) => showKey(it.cursor.idx ?? null)] },
    };
  }

  charts.add(chart);
  new ResizeObserver(() => {
    if (!node.isConnected) return;
    if (!plot) chart.draw();
    else if (plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }).observe(place);
  return chart;
}

const pad = (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]);

function spread(low, high) {
  if (low === null || high === null) return [0, 1];
  const room = (high - low) * 0.12 || Math.abs(high) * 0.1 || 0.1;
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
}

/** The value at an index or, unless exactly there is wanted, the last one before. */
function lastValue(values, index, isExact) {
  for (let at = index; at >= 0; at--) {
    if (values[at] !== null && values[at] !== undefined) return values[at];
    if (isExact) return null;
  }
  return null;
}

const shortest = (value) => String(Number(value.toPrecision(4)));
