// The view of what happened to an instance, newest first.

import { get } from "./api.js";
import { byId, el, empty, replace } from "./dom.js";
import { feed } from "./feed.js";
import { listen, open, readStats, soon } from "./frame.js";
import { CURSOR, cursor, pageOf, pager } from "./pager.js";
import { here, query, withQuery } from "./place.js";

const subject = byId("subject");
subject.value = query.get("subject") ?? "";
subject.onchange = () => location.assign(withQuery({ subject: subject.value, [CURSOR]: null }));

open("Events", async () => {
  await listen(() => soon("events", read));
  await Promise.all([readStats({ instance: here.instance }), read()]);
});

async function read() {
  const path = `/v1/instances/${encodeURIComponent(here.instance)}`;
  const page = await get(`${path}/events`, {
    order: "newest",
    progress: false,
    subject: query.get("subject"),
    after: cursor(),
    limit: pageOf(30, 16),
  });
  replace(
    byId("feed"),
    page.data.length
      ? await feed(page.data)
      : empty(
          "Nothing has happened yet. Cycles, promotions, rollbacks and erasures will stand here as they come.",
        ),
    el("div", {}, pager(page.next)),
  );
}
