// Numbers, instants and durations as people read them.

import { el } from "./dom.js";

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const SIZES = ["B", "kB", "MB", "GB", "TB"];
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];

/** A number with so many decimals; a dash where there is none. */
export const number = (value, digits = 2) =>
  value === null || value === undefined
    ? "–"
    : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const count = (value, one, many = `${one}s`) =>
  `${value.toLocaleString("en")} ${value === 1 ? one : many}`;

export const words = (name) => name.replaceAll("_", " ");

/** Bytes as "412 GB" or "8.9 MB"; a dash where nobody knows. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const step = SIZES.findIndex((_, at) => value < 1000 ** (at + 1));
  const at = step === -1 ? SIZES.length - 1 : step;
  const shown = value / 1000 ** at;
  return `${shown.toLocaleString("en", { maximumFractionDigits: shown < 10 && at ? 1 : 0 })} ${SIZES[at]}`;
}

/** Seconds as "2 h 5 min", "3 min 20 s" or "8 s". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole >= 172800) return both(whole, 86400, "d", 3600, "h");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return both(whole, 60, "min", 1, "s");
  return both(whole, 3600, "h", 60, "min");
}

/** A time in two units; the smaller one only where there is something of it. */
function both(seconds, size, unit, smaller, smallerUnit) {
  const rest = Math.floor((seconds % size) / smaller);
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${smallerUnit}` : ""}`;
}

/** A <time> that says how long ago, and exactly when to whoever asks. */
export function ago(instant) {
  const node = el("time", { datetime: instant, title: MOMENT.format(new Date(instant)) });
  node.textContent = since(instant);
  return node;
}

/** Let every <time> on the page say its age anew. */
export function refreshTimes() {
  for (const node of document.querySelectorAll("time[datetime]")) node.textContent = since(node.dateTime);
}

function since(instant) {
  const seconds = (Date.now() - new Date(instant)) / 1000;
  for (const [unit, size] of UNITS) {
    if (seconds >= size) return RELATIVE.format(-Math.floor(seconds / size), unit);
  }
  return "just now";
}
