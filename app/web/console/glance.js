// The view of one instance at a glance: does it sleep, will it, what is live, is it healthy.

import { get } from "./api.js";
import { showAnswers } from "./answers.js";
import { byId, empty, replace } from "./dom.js";
import { feed } from "./feed.js";
import { Figures } from "./figures.js";
import { listen, open, readStats, repeat, soon } from "./frame.js";
import { showMass } from "./mass.js";
import { readAliases } from "./moves.js";
import { pageOf } from "./pager.js";
import { here } from "./place.js";
import { CycleView } from "./running.js";

const STATS_SECONDS = 3;
const SHOWN_EVENTS = pageOf(6, 3);
const FIGURED_CYCLES = 30;
const { instance } = here;
const path = `/v1/instances/${encodeURIComponent(instance)}`;
const view = new CycleView(instance);
const figures = new Figures(byId("plots"), ["learned"]);
const known = { found: null, stats: null, aliases: null, current: null, baseModel: null };

open(null, async () => {
  await listen(take, { progress: true });
  await Promise.all([readLive(), readInstance()]);
  await Promise.all([readNow(), readCycles(), readEvents()]);
  repeat(STATS_SECONDS, readNow);
});

function take(event) {
  view.take(event);
  if (event.type === "sleep_cycle.progress") return takeProgress(event);
  const [subject] = event.type.split(".");
  soon("now", readNow);
  soon("events", readEvents);
  if (subject === "sleep_cycle") soon("cycles", readCycles);
  if (subject === "checkpoint" || subject === "sleep_cycle") soon("live", readLive);
  if (subject === "instance") soon("instance", readInstance);
}

/** What changes without an event: the mass, the counts, the disk. */
async function readNow() {
  known.found = await readStats({ instance });
  [known.stats] = known.found.instances;
  showMass(known.stats, readNow);
  draw();
  if (known.stats.running_cycle) await view.follow(known.stats.running_cycle);
}

function takeProgress({ sleep_cycle_id: id, data }) {
  const running = known.stats?.running_cycle;
  if (running?.id !== id) return;
  known.stats = { ...known.stats, running_cycle: { ...running, progress: data } };
  draw();
}

async function readLive() {
  const { aliases } = await readAliases(instance);
  const { current: id } = aliases;
  const page = id === null ? null : await get("/v1/checkpoints", { instance, id_prefix: id, limit: 1 });
  known.aliases = aliases;
  known.current = page?.data[0] ?? null;
  draw();
}

async function readInstance() {
  known.baseModel = (await get(path)).base_model;
  draw();
}

async function readCycles() {
  const page = await get(`${path}/cycle-figures`, { limit: FIGURED_CYCLES });
  figures.show(page.data);
  const [newest] = page.data;
  if (newest && !newest.finished_at) return;
  view.rest(newest ? await get(`/v1/sleep-cycles/${newest.id}/report`, { format: "json" }) : null);
}

async function readEvents() {
  const page = await get(`${path}/events`, { order: "newest", progress: false, limit: SHOWN_EVENTS });
  replace(
    byId("feed"),
    page.data.length
      ? await feed(page.data)
      : empty(
          "Nothing has happened yet. Cycles, promotions, rollbacks and erasures will stand here as they come.",
        ),
  );
}

function draw() {
  if (!known.stats || !known.aliases) return;
  byId("main").classList.toggle("asleep", known.stats.running_cycle !== null);
  showAnswers(known);
}
