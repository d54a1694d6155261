// Links to a cycle's report. A link cannot carry a token: with one, the page is fetched and opened
// from memory.

import { request } from "./api.js";
import { toast } from "./dialogs.js";
import { el } from "./dom.js";
import { readToken } from "./token.js";

/** A link that opens the report of a cycle in another tab. */
export function reportLink(cycleId, words, label = null) {
  const path = `/v1/sleep-cycles/${cycleId}/report?format=html`;
  const open = async (event) => {
    if (!readToken()) return;
    event.preventDefault();
    const tab = window.open("", "_blank");
    try {
      const page = await (await request(path, { headers: { Accept: "text/html" } })).blob();
      tab.location = URL.createObjectURL(page);
    } catch (error) {
      tab.close();
      toast(error.message);
    }
  };
  return el(
    "a",
    {
      href: path,
      target: "_blank",
      rel: "noopener",
      "aria-label": label,
      "data-key": `report-${cycleId}`,
      onclick: open,
    },
    words,
  );
}
