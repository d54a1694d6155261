// Links to what a browser opens or keeps by itself: reports and downloads. A link cannot carry a
// token: with one, it is fetched and opened, or kept, from memory.

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
      const html = await (await request(path, { headers: { Accept: "text/html" } })).text();
      // A page in memory has no address that its links could go by; no text of it holds a quote.
      const page = html.replaceAll('href="/', `href="${location.origin}/`);
      tab.location = URL.createObjectURL(new Blob([page], { type: "text/html" }));
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

/** A link that keeps a checkpoint's archive as a file. */
export function downloadLink(checkpoint, words, label) {
  const path = `/v1/checkpoints/${checkpoint.id}/archive`;
  const name = `${checkpoint.name.replaceAll("/", "-")}.tar`;
  const keep = async (event) => {
    if (!readToken()) return;
    event.preventDefault();
    try {
      const address = URL.createObjectURL(await (await request(path)).blob());
      el("a", { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
    } catch (error) {
      toast(error.message);
    }
  };
  return el("a", { href: path, download: name, "aria-label": label, onclick: keep }, words);
}
