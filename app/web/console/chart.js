// Line charts with uPlot, in the colours of the page, redrawn when those or the width change.

import { el, isNarrow } from "./dom.js";
import { number } from "./format.js";

const HEIGHT = isNarrow() ? 120 : 150;
const CROWD = 40;
const DASHES = { dashed: [5, 4], dotted: [2, 3] };
const charts = new Set();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  charts.forEach((chart) => chart.draw()),
);

/**
 * A figure with its title, a key that follows the pointer, and what it shows in words.
 *
 * `series`: [{label, color, dash?, asideOf?}], `color` a custom property of the style sheet, `dash`
 * "dashed" or "dotted"; one
 * with `asideOf`, the place of another one, is what is no part of that line: hollow points, in the
 * key where the pointer stands on one. `format` writes one value of y, `tick` one of its axis;
 * `xLabel` one of x. Call `update(columns, errors)` with x first; `errors` has for each series its
 * standard errors, or null.
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
  const where = el("span", { class: "hint" });
  const place = el("div", { class: "plot", role: "img" });
  const node = el(
    "figure",
    { class: "figure" },
    el(
      "figcaption",
      {},
      el("strong", {}, title),
      where,
      note ? el("span", { class: "hint figcaption-note" }, note) : null,
    ),
    key,
    place,
  );
  let columns = series.map(() => []);
  columns.unshift([]);
  let errors = series.map(() => null);
  let plot = null;

  const chart = {
    node,
    update(next, deviations = series.map(() => null)) {
      columns = next;
      errors = deviations;
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

  /** What stands where the pointer is; as many entries as before, or the plot would move from under it. */
  function showKey(at) {
    const index = at ?? columns[0].length - 1;
    const read = (place_) => lastValue(columns[place_ + 1], index, at !== null);
    const isSeen = (line, place_) => line.asideOf === undefined || (at !== null && read(place_) !== null);
    const covered = series.filter(isSeen).map((line) => line.asideOf);
    const seen = series.map((_, place_) => place_).filter((place_) => isSeen(series[place_], place_));
    key.replaceChildren(
      ...seen
        .filter((place_) => !covered.includes(place_))
        .map((place_) => entry(series[place_], read(place_), at === null ? null : errors[place_]?.[index])),
    );
    where.textContent = at === null ? "" : ` ${xLabel(columns[0][at])}`;
  }

  const entry = (line, value, error) =>
    el(
      "li",
      {},
      el("i", { class: `swatch ${line.color}${line.dash ? ` ${line.dash}` : ""}`, "aria-hidden": "true" }),
      `${line.label} `,
      el("b", {}, value === null ? "–" : format(value), error ? ` ± ${format(error)}` : ""),
    );

  /** Too many points for each to be told from the next. */
  const isCrowded = () => columns[0].length > CROWD;

  /** Whiskers of one standard error up and down, under the points. */
  function drawErrors(it, place_, style) {
    if (!errors[place_ - 1] || isCrowded()) return;
    const { ctx } = it;
    ctx.save();
    ctx.strokeStyle = style.getPropertyValue(`--${series[place_ - 1].color}`).trim();
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    columns[place_].forEach((value, index) => {
      const error = errors[place_ - 1][index];
      if (value === null || !error) return;
      const x = it.valToPos(columns[0][index], "x", true);
      ctx.moveTo(x, it.valToPos(Math.max(value - error, it.scales.y.min), "y", true));
      ctx.lineTo(x, it.valToPos(value + error, "y", true));
    });
    ctx.stroke();
    ctx.restore();
  }

  /** The lowest and the highest that must be seen, whiskers included. */
  function reach(low, high) {
    let [least, most] = [low, high];
    if (isCrowded()) return spread(low, high);
    columns.slice(1).forEach((values, place_) =>
      values.forEach((value, index) => {
        const error = errors[place_]?.[index];
        if (value === null || !error) return;
        least = Math.min(least, value - error);
        most = Math.max(most, value + error);
      }),
    );
    return spread(low >= 0 ? Math.max(0, least) : least, most);
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
      scales: {
        x: { time: false, range: pad },
        y: { range: (_, low, high) => (low === null ? spread(low, high) : reach(low, high)) },
      },
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
          width: line.asideOf === undefined ? 2 : 0,
          dash: line.dash ? DASHES[line.dash] : undefined,
          spanGaps: true,
          points: {
            show: line.asideOf !== undefined || (isSparse && !line.dash && !isCrowded()),
            size: line.asideOf === undefined || isCrowded() ? 5 : 8,
            width: 2,
            fill: line.asideOf === undefined ? color(line.color) : color("panel"),
          },
        })),
      ],
      hooks: {
        setCursor: [(it) => showKey(it.cursor.idx ?? null)],
        drawSeries: [(it, place_) => drawErrors(it, place_, style)],
      },
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
