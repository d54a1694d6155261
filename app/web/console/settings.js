// The view of an instance's settings: its base model, its policy and its recipe, with what it sets
// itself marked among what follows the daemon's settings.

import { get } from "./api.js";
import { byId, el, fold, isNarrow, replace } from "./dom.js";
import { ago, duration, words } from "./format.js";
import { listen, open, readStats, soon } from "./frame.js";
import { here } from "./place.js";
import { baseModelFault } from "./troubles.js";

const path = `/v1/instances/${encodeURIComponent(here.instance)}`;
const SHOWN_NARROW = 12;
let described = null;

open("Settings", async () => {
  await listen(({ type }) => type.startsWith("instance.") && soon("settings", read));
  await read();
});

async function read() {
  described ??= describe();
  const [instance, { instances }, texts] = await Promise.all([
    get(path),
    readStats({ instance: here.instance }),
    described,
  ]);
  showIdentity(instance, instances[0]);
  showTable(byId("rules"), instance.policy, instance.overrides.policy, texts.SleepPolicy);
  showTable(byId("training"), instance.recipe, instance.overrides.recipe, texts.Recipe);
}

/** What each setting means, as the API's own document says it; nothing where it cannot be read. */
async function describe() {
  try {
    const { components } = await get("/openapi.json");
    return components.schemas;
  } catch {
    return {};
  }
}

function showIdentity(instance, stats) {
  const fault = baseModelFault(stats);
  replace(
    byId("identity"),
    fault ? el("p", { class: "absent", role: "status" }, `Nothing can sleep: ${fault}.`) : null,
    el(
      "dl",
      { class: "counts" },
      [
        ["base model", instance.base_model ?? "nobody named it"],
        ["what its runtime calls it", instance.model_name ?? "–"],
        ["time zone", instance.timezone],
        ["made", ago(instance.created_at)],
        ["settings changed", ago(instance.updated_at)],
      ].map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
    ),
    el("p", { class: "hint" }, "Who it is told to be, in every example:"),
    el("p", { class: "said quote clip" }, instance.system_prompt || "(no system prompt)"),
    el(
      "p",
      { class: "hint" },
      "Change one with ",
      el("code", {}, `sage-sleep instances set ${here.instance} NAME=VALUE`),
      "; take it back with ",
      el("code", {}, `sage-sleep instances unset ${here.instance} NAME`),
      ".",
    ),
  );
}

function showTable(place, values, own, schema) {
  const isOwn = (name) => own[name] !== undefined && own[name] !== null;
  const names = Object.keys(values).sort((a, b) => isOwn(b) - isOwn(a));
  const rows = names.map((name) =>
    row(name, values[name], isOwn(name), schema?.properties?.[name]?.description),
  );
  const first = rows.splice(0, isNarrow() ? SHOWN_NARROW : rows.length);
  replace(
    place,
    el("dl", { class: "pairs" }, first),
    rows.length ? fold(place.id, `${rows.length} more`, el("dl", { class: "pairs" }, rows)) : null,
  );
}

const row = (name, value, isOwn, meaning) =>
  el(
    "div",
    { title: meaning },
    el(
      "dt",
      {},
      words(name.replace(/_seconds$/, "")),
      isOwn ? el("span", { class: "chip live" }, "its own") : null,
    ),
    el("dd", {}, say(name, value)),
  );

function say(name, value) {
  if (value === null || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (name.endsWith("_seconds")) return duration(value);
  if (Array.isArray(value)) return value.length ? value.join(", ") : "none";
  if (typeof value === "object") return sayAll(value);
  return String(value);
}

const sayAll = (found) =>
  Object.entries(found)
    .map(([name, value]) => `${words(name)} ${Array.isArray(value) ? value.length : value}`)
    .join(", ") || "none";
