// Choosing an instance: search by part of its name, and pages, however many there are.

import { get } from "./api.js";
import { byId, el, empty, replace } from "./dom.js";
import { number } from "./format.js";

const PAGE = 30;
const TYPING_MILLISECONDS = 200;

/** Open the list of instances; `onChoose` gets the name of the chosen one. */
export function openPicker(chosen, onChoose) {
  const list = el("div", {});
  const search = el("input", {
    type: "search",
    name: "instance",
    autocomplete: "off",
    placeholder: "part of a name",
    oninput: () => (clearTimeout(timer), (timer = setTimeout(load, TYPING_MILLISECONDS))),
  });
  const close = el("button", { class: "quiet", onclick: () => dialog.close() }, "Close");
  const dialog = el(
    "dialog",
    { class: "dialog large", "aria-labelledby": "picker-title" },
    el("h2", { id: "picker-title" }, "Instances"),
    el("label", { class: "stack" }, "Search", search),
    list,
    el("div", { class: "actions" }, close),
  );
  let timer;
  let turn = 0;
  let found = [];

  async function load(cursor = null) {
    const mine = ++turn;
    const page = await get("/stats", { q: search.value.trim(), cursor, limit: PAGE });
    if (mine !== turn) return;
    found = cursor ? [...found, ...page.instances] : page.instances;
    replace(
      list,
      found.length
        ? el("ul", { class: "choices" }, found.map(choice))
        : empty("No instance has such a name."),
      page.has_more
        ? el(
            "button",
            { class: "quiet", "data-key": "more-instances", onclick: () => load(page.next) },
            "More instances",
          )
        : null,
    );
  }

  const choice = (item) =>
    el(
      "li",
      {},
      el(
        "button",
        {
          "data-key": `choose-${item.instance}`,
          "aria-current": item.instance === chosen ? "true" : null,
          onclick: () => (dialog.close(), onChoose(item.instance)),
        },
        el("span", {}, item.instance),
        item.running_cycle
          ? el("span", { class: "chip live" }, "asleep")
          : item.decision.due
            ? el("span", { class: "chip good" }, "due")
            : null,
        el("span", { class: "hint end" }, `${number(item.mass, 1)} of ${number(item.mass_threshold, 0)}`),
      ),
    );

  dialog.addEventListener("close", () => (dialog.remove(), byId("choose").focus()));
  document.body.append(dialog);
  dialog.showModal();
  load();
}
