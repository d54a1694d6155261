// The console: which instance is shown, what is read when, and who is told of live events.

import { get } from "./api.js";
import { readAliases, showCheckpoints } from "./checkpoints.js";
import { showCycles } from "./cycles.js";
import { byId } from "./dom.js";
import { Exchanges } from "./exchanges.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { duration, refreshTimes } from "./format.js";
import { showMass } from "./mass.js";
import { openPicker } from "./picker.js";
import { forgetChoice, showReplies } from "./replies.js";
import { CycleView } from "./running.js";
import { showSalience } from "./salience.js";
import { follow } from "./stream.js";
import { forgetToken, showForget } from "./token.js";

const STATS_SECONDS = 3;
const CYCLES_PER_PAGE = 20;
const FIGURED_CYCLES = 100;
const CHECKPOINTS_PER_PAGE = 15;
const STATES = { live: "live", polling: "asking every few seconds", away: "the daemon does not answer" };

let shown = null;

/** What is on the page of one instance, from the first reading until another one is chosen. */
class Shown {
  #stop = new AbortController();
  #cycle = new CycleView();
  #figures = new Figures();
  #exchanges;
  #feed;
  #cycles = { data: [], next: null, count: CYCLES_PER_PAGE };
  #checkpointCount = CHECKPOINTS_PER_PAGE;
  #signature = null;
  #pending = new Map();

  constructor(instance) {
    this.instance = instance;
    this.#exchanges = new Exchanges(instance);
    this.#feed = new Feed(instance);
  }

  async start() {
    forgetChoice();
    const newest = await this.#feed.load();
    await Promise.all([this.readStats(), this.#readCycles(), this.#readCheckpoints()]);
    follow(`/v1/instances/${this.instance}/events`, {
      after: newest,
      signal: this.#stop.signal,
      onEvent: (event) => this.#take(event),
      onState: showState,
    });
    this.#tick();
  }

  stop() {
    this.#stop.abort();
  }

  get #isOver() {
    return this.#stop.signal.aborted;
  }

  async #tick() {
    while (!this.#isOver) {
      await new Promise((resolve) => setTimeout(resolve, STATS_SECONDS * 1000));
      if (!this.#isOver && !document.hidden) await this.readStats().catch(() => showState("away"));
    }
  }

  /** What changes without an event: the mass and the counts; the rest only when these did. */
  async readStats() {
    const found = await get("/stats", { instance: this.instance });
    if (this.#isOver) return;
    const [stats] = found.instances;
    byId("refusal").textContent = found.refuses_writes ?? "";
    byId("refusal").hidden = !found.refuses_writes;
    byId("daemon").textContent = `SAGE Sleep ${found.version}, up ${duration(found.uptime_seconds)}.${found.clock_doubt ? ` Nothing is removed for its age: ${found.clock_doubt}.` : ""}`;
    showMass(stats, () => this.readStats());
    if (stats.running_cycle) this.#cycle.follow(stats.running_cycle);
    const signature = JSON.stringify([stats.counts, stats.last_exchange_at]);
    if (signature === this.#signature) return;
    this.#signature = signature;
    this.#soon("exchanges", () => this.#exchanges.refresh());
    this.#soon("salience", () => showSalience(this.instance, stats.salience_averages));
  }

  async #readCycles() {
    const page = await get(`/v1/instances/${this.instance}/cycle-figures`, { limit: FIGURED_CYCLES });
    if (this.#isOver) return;
    this.#cycles = { ...this.#cycles, data: page.data, next: page.next };
    this.#drawCycles();
    this.#figures.show(page.data);
    this.#feed.name(page.data);
    const [newest] = page.data;
    const isRunning = newest && !newest.finished_at;
    await showReplies(page.data);
    if (!isRunning)
      this.#cycle.rest(newest ? await get(`/v1/sleep-cycles/${newest.id}/report`, { format: "json" }) : null);
  }

  #drawCycles() {
    const { data, next, count } = this.#cycles;
    showCycles(data.slice(0, count), data.length > count || next ? () => this.#olderCycles() : null);
  }

  async #olderCycles() {
    const { data, next, count } = this.#cycles;
    this.#cycles.count = count + CYCLES_PER_PAGE;
    if (this.#cycles.count > data.length && next) {
      const page = await get(`/v1/instances/${this.instance}/cycle-figures`, {
        limit: FIGURED_CYCLES,
        cursor: next,
      });
      this.#cycles = { ...this.#cycles, data: [...data, ...page.data], next: page.next };
    }
    this.#drawCycles();
  }

  async #readCheckpoints() {
    const [page, registry] = await Promise.all([
      get("/v1/checkpoints", { instance: this.instance, limit: this.#checkpointCount }),
      readAliases(this.instance),
    ]);
    if (this.#isOver) return;
    showCheckpoints(
      {
        instance: this.instance,
        checkpoints: page.data,
        hasMore: page.has_more,
        onChange: () => this.#soon("checkpoints", () => this.#readCheckpoints()),
        ...registry,
      },
      () => {
        this.#checkpointCount += CHECKPOINTS_PER_PAGE;
        this.#readCheckpoints();
      },
    );
  }

  #take(event) {
    this.#feed.take(event);
    this.#cycle.take(event);
    if (event.type === "sleep_cycle.progress") return;
    const [subject] = event.type.split(".");
    this.#soon("stats", () => this.readStats());
    if (subject === "sleep_cycle" || subject === "checkpoint") {
      this.#soon("cycles", () => this.#readCycles());
      this.#soon("checkpoints", () => this.#readCheckpoints());
    }
    if (subject === "experience") this.#soon("exchanges", () => this.#exchanges.refresh());
  }

  /** Do a reading shortly, once for all that ask for it meanwhile. */
  #soon(name, read) {
    if (this.#pending.has(name)) return;
    this.#pending.set(
      name,
      setTimeout(() => {
        this.#pending.delete(name);
        if (!this.#isOver) Promise.resolve(read()).catch(complain);
      }, 150),
    );
  }
}

function showState(state) {
  const node = byId("link");
  if (node.dataset.state === state) return;
  node.dataset.state = state;
  node.textContent = STATES[state];
}

function complain(error) {
  byId("trouble").textContent = error instanceof TypeError ? "The daemon does not answer." : error.message;
  byId("trouble").hidden = false;
}

async function choose(instance) {
  shown?.stop();
  byId("trouble").hidden = true;
  byId("chosen").textContent = instance;
  document.title = `${instance} · SAGE Sleep`;
  history.replaceState(null, "", `?instance=${encodeURIComponent(instance)}${location.hash}`);
  shown = new Shown(instance);
  await shown.start();
}

/** The instance of the address, or else `default`, or else the first there is. */
async function firstInstance() {
  const wanted = new URLSearchParams(location.search).get("instance");
  if (wanted) return wanted;
  const page = await get("/stats", { limit: 100 });
  const names = page.instances.map((item) => item.instance);
  return page.instances.find((item) => item.last_exchange_at)?.instance ?? names[0] ?? "default";
}

async function start() {
  try {
    await choose(await firstInstance());
  } catch (error) {
    complain(error);
    showState("away");
    setTimeout(start, 5000);
  }
}

byId("choose").addEventListener("click", () =>
  openPicker(shown?.instance, (instance) => choose(instance).catch(complain)),
);
byId("forget").addEventListener("click", () => (forgetToken(), location.reload()));
setInterval(refreshTimes, 30000);
showForget();
start();
