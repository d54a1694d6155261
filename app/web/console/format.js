// Numbers, instants and durations as people read them.

import { el } from "./dom.js";

const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
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

/** Seconds as "2 h 5 min", "3 min 20 s" or "8 s". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
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
