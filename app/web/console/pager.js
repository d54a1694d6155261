// From one page of a list to the next, by links: each page has an address.

import { el, isNarrow } from "./dom.js";
import { query, withQuery } from "./place.js";

export const CURSOR = "after";

/** How many rows make a page: fewer where each takes more room. */
export const pageOf = (wide, narrow) => (isNarrow() ? narrow : wide);

/** Where this page begins; null for the first one. */
export const cursor = () => query.get(CURSOR);

/** Links to the first page and to the one that begins at `next`; null where both are here. */
export function pager(next, { first = "Newest", more = "Older" } = {}) {
  if (!cursor() && !next) return null;
  return el(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    cursor() ? el("a", { href: withQuery({ [CURSOR]: null }), rel: "first" }, first) : null,
    next ? el("a", { href: withQuery({ [CURSOR]: next }), rel: "next", class: "end" }, more) : null,
  );
}
