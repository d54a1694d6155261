// What every view stands in: tabs, the choice of an instance, what the daemon says of itself, what
// went wrong; and when a view reads what it shows.

import { Refused, get } from "./api.js";
import { byId, el } from "./dom.js";
import { duration, refreshTimes } from "./format.js";
import { openPicker } from "./picker.js";
import { here, placeOf } from "./place.js";
import { follow } from "./stream.js";
import { forgetToken, showForget } from "./token.js";

const RETRY_SECONDS = 5;
const SOON_SECONDS = 0.15;
const AWAY = "The daemon does not answer. What stands here is as it was.";
const STATES = { live: "live", polling: "asking every few seconds", away: "the daemon does not answer" };
const TABS = [
  ["", "At a glance"],
  ["cycles", "Cycles"],
  ["checkpoints", "Checkpoints"],
  ["exchanges", "Exchanges"],
  ["chat", "Chat"],
  ["events", "Events"],
  ["settings", "Settings"],
];
const wanted = new Map(); // what is read soon or just now, by its name
let firstLoad = Promise.resolve();

/** Open a view: `load` reads and shows it, and is tried again until the daemon answers. */
export async function open(title, load) {
  document.title = [title, here.instance, "SAGE Sleep"].filter(Boolean).join(" · ");
  if (here.instance) showPlace(title);
  byId("forget").addEventListener("click", () => (forgetToken(), location.reload()));
  // A page that a browser kept whole for its back button has lost its stream.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  setInterval(refreshTimes, 30000);
  showForget();
  await start(load);
}

async function start(load) {
  const isRefused = !(await untilAnswered(() => (firstLoad = load())));
  if (isRefused) byId("main").classList.add("lost");
}

/** Read until the daemon answers, and say what is wrong meanwhile; false where it refuses. */
async function untilAnswered(read) {
  for (let hasFailed = false; ; hasFailed = true) {
    try {
      await read();
      if (hasFailed) byId("trouble").hidden = true;
      return true;
    } catch (error) {
      complain(error);
      if (error instanceof Refused && error.status < 500) return false;
      if (error instanceof TypeError) showState("away");
      await pause(RETRY_SECONDS);
    }
  }
}

/** Say what went wrong, until the page is opened again. */
function complain(error) {
  say(error instanceof TypeError ? AWAY : error.message);
}

function say(words) {
  byId("trouble").textContent = words;
  byId("trouble").hidden = false;
}

/** Statistics of one instance or of a page of them; what they say of the daemon is shown. */
export async function readStats(parameters) {
  const found = await get("/stats", parameters);
  byId("refusal").textContent = found.refuses_writes ?? "";
  byId("refusal").hidden = !found.refuses_writes;
  byId("daemon").textContent =
    `SAGE Sleep ${found.version}, up ${duration(found.uptime_seconds)}.` +
    (found.clock_doubt ? ` Nothing is removed for its age: ${found.clock_doubt}.` : "");
  return found;
}

/** Read again every so many seconds while the page is seen. */
export async function repeat(seconds, read) {
  for (;;) {
    await pause(seconds);
    if (!document.hidden) await read().catch(() => showState("away"));
  }
}

/**
 * Read shortly, once for all that ask for it meanwhile. One reading at a time, and none beside the
 * first of the page, for of two answers on their way the older could come last; and again until the
 * daemon answers, for the event that asked for it does not come twice.
 */
export async function soon(name, read) {
  const isUnderWay = wanted.has(name);
  wanted.set(name, read);
  if (isUnderWay) return;
  await firstLoad.catch(() => {});
  while (wanted.get(name)) {
    await pause(SOON_SECONDS);
    const next = wanted.get(name);
    wanted.set(name, null);
    await untilAnswered(next);
  }
  wanted.delete(name);
}

/**
 * Hear of an instance's events from now on. Resolves when it is known what "now" is: what is read
 * afterwards misses nothing. `progress`: whether running cycles' steps are wanted, too.
 */
export async function listen(onEvent, { progress = false } = {}) {
  const path = `/v1/instances/${encodeURIComponent(here.instance)}/events`;
  const newest = await get(path, { order: "newest", progress: false, limit: 1 });
  const after = newest.data[0]?.id ?? 0;
  follow(progress ? path : `${path}?progress=false`, { after, onEvent, onState: showState });
}

/** Say whether what is shown is what is: an old answer must not look like a new one. */
export function showState(state) {
  const node = byId("link");
  if (node.dataset.state === state) return;
  if (state === "away") say(AWAY);
  else if (byId("trouble").textContent === AWAY) byId("trouble").hidden = true;
  node.dataset.state = state;
  node.textContent = STATES[state];
}

function showPlace(title) {
  byId("choose").hidden = false;
  byId("chosen").textContent = here.instance;
  byId("choose").addEventListener("click", () =>
    openPicker(here.instance, (instance) => location.assign(placeOf(instance, here.part))),
  );
  byId("title").textContent = `${title ?? "At a glance"} of ${here.instance}`;
  byId("tabs").append(
    ...TABS.map(([part, words]) =>
      el("a", { href: placeOf(here.instance, part), "aria-current": currentOf(part) }, words),
    ),
  );
  byId("tabs").hidden = false;
  byId("tabs").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

/** A cycle's own page lies below the tab of the cycles. */
function currentOf(part) {
  if (part !== here.part) return null;
  return here.cycle ? "true" : "page";
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
