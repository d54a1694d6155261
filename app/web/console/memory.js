// What a model remembers after a cycle that dreamt: the person's words, before and after.

import { get } from "./api.js";
import { byId, el, fold, replace } from "./dom.js";
import { count } from "./format.js";

const SHOWN = 6;
const ORDER = ["faded", "new", "kept", "not recalled"];
const TONES = { faded: "bad", new: "good", kept: "live", "not recalled": "" };

/** Show what a report says of recall; nothing where the cycle dreamt of nothing. */
export async function showMemory({ recall }) {
  const statements = recall?.statements ?? [];
  byId("memory").hidden = !statements.length;
  if (!statements.length) return;
  const rows = statements
    .map((one) => ({ ...one, fate: fateOf(one) }))
    .sort((one, other) => ORDER.indexOf(one.fate) - ORDER.indexOf(other.fate));
  const told = (fate) => rows.filter((row) => row.fate === fate).length;
  const known = told("new") + told("kept");
  const rest = rows.slice(SHOWN);
  replace(
    byId("remembered"),
    el(
      "p",
      {},
      `Asked by a question that was not trained, it recalls ${known} of ${count(rows.length, "statement")}: `,
      `${told("new")} new, ${told("kept")} kept, ${told("faded")} faded.`,
      invention(recall),
    ),
    el("ul", { class: "remembered" }, await Promise.all(rows.slice(0, SHOWN).map(item))),
    rest.length
      ? fold("memory", count(rest.length, "more statement"), el("ul", { class: "remembered" }, rest.map(unread)))
      : null,
  );
}

const percent = (share) => `${Math.round(100 * share)} %`;

function invention({ invented_base: base, invented_after: after }) {
  if (after == null) return "";
  return ` Of questions about what nobody told, ${percent(after)} are answered as if somebody had (${percent(base)} by the base).`;
}

function fateOf({ before, after }) {
  if (after) return before ? "kept" : "new";
  return before ? "faded" : "not recalled";
}

const chip = ({ fate }) => el("span", { class: `chip ${TONES[fate]}` }, fate);

const address = ({ experience_id: id }) => `/v1/experiences/${encodeURIComponent(id)}`;

async function item(row) {
  let words = row.experience_id;
  try {
    words = (await get(address(row))).prompt ?? "(erased)";
  } catch {
    // The id stands in its place.
  }
  return el("li", {}, chip(row), " ", el("a", { href: address(row) }, words));
}

const unread = (row) => el("li", {}, chip(row), " ", el("a", { href: address(row) }, row.experience_id));
