// What happened to an instance, newest first, in words.

import { get } from "./api.js";
import { byId, el, empty, replace } from "./dom.js";
import { ago, count, words } from "./format.js";

const PAGE = 20;
const PROGRESS = "sleep_cycle.progress";

/** The event feed of one instance. */
export class Feed {
  #instance;
  #events = [];
  #next = null;
  #cycles = new Map();

  constructor(instance) {
    this.#instance = instance;
  }

  /** Read the newest page; returns the id of the newest event, from which to listen on. */
  async load() {
    await this.#page(null);
    this.#draw();
    return this.#events[0]?.id ?? 0;
  }

  /** An event that came live. */
  take(event) {
    if (event.type === PROGRESS || event.id <= (this.#events[0]?.id ?? 0)) return;
    this.#events.unshift(event);
    this.#draw();
  }

  /** Learn the numbers of cycles, which events name by id. */
  name(cycles) {
    for (const cycle of cycles) this.#cycles.set(cycle.id, cycle.number);
    this.#draw();
  }

  async #page(after) {
    const page = await get(`/v1/instances/${this.#instance}/events`, {
      order: "newest",
      progress: false,
      after,
      limit: PAGE,
    });
    this.#events.push(...page.data);
    this.#next = page.next;
  }

  #draw() {
    if (!this.#events.length)
      return replace(
        byId("feed"),
        empty(
          "Nothing has happened yet. Cycles, promotions, rollbacks and erasures will stand here as they come.",
        ),
      );
    replace(
      byId("feed"),
      el(
        "ol",
        { class: "feed" },
        this.#events.map((event) => el("li", {}, ago(event.at), el("span", {}, this.#say(event)))),
      ),
      this.#next
        ? el(
            "button",
            {
              class: "quiet",
              "data-key": "older-events",
              onclick: async () => (await this.#page(this.#next), this.#draw()),
            },
            "Older events",
          )
        : null,
    );
  }

  #say({ type, data, sleep_cycle_id: cycleId, checkpoint_id: checkpointId }) {
    const number = data.number ?? this.#cycles.get(cycleId);
    const cycle = number === undefined ? "A cycle" : `Cycle ${number}`;
    const checkpoint = checkpointId ? `checkpoint ${checkpointId.slice(-6)}` : "the bare base model";
    const by = data.actor ? ` by ${data.actor}` : "";
    const why = data.reason ? `: ${data.reason}` : "";
    switch (type) {
      case "sleep_cycle.queued":
        return `${cycle} queued with ${count(data.experiences ?? 0, "experience")}`;
      case "sleep_cycle.rejected":
        return `${cycle}: the gate rejected it`;
      case "sleep_cycle.failed":
        return `${cycle} failed: ${data.message ?? data.code ?? "no reason"}`;
      case "checkpoint.promoted":
        return `Promoted ${checkpoint}${by}${why}`;
      case "checkpoint.rolled_back":
        return `Rolled back to ${checkpoint}${by}${why}`;
      case "checkpoint.proposed":
        return `Candidate: ${checkpoint}${why}`;
      case "checkpoint.dismissed":
        return `Dismissed ${checkpoint}${by}${why}`;
      case "checkpoint.deleted":
        return `Deleted the files of ${checkpoint}${by}`;
      case "instance.rebuild_requested":
        return `${cycle} rebuilds from the base${by}${why}`;
      case "checkpoint.regressed":
        return `Session reports took ${checkpoint} back`;
      case "checkpoint.tainted":
        return `${checkpoint} holds something erased`;
      case "experience.erased":
        return `An exchange was erased; ${count(data.checkpoints ?? 0, "checkpoint")} had learned from it`;
      default: {
        const [subject, what] = type.split(".");
        return subject === "sleep_cycle"
          ? `${cycle} ${words(what)}`
          : `${words(subject)} ${words(what)}${by}${why}`;
      }
    }
  }
}
