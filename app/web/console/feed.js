// What happened to an instance, in words.

import { get } from "./api.js";
import { el } from "./dom.js";
import { ago, count, words } from "./format.js";
import { here, placeOf } from "./place.js";

const NUMBERED = 100;
const NUMBERED_PAGES = 5;
const numbers = new Map();

/** A list of events; those of a cycle lead to it. */
export async function feed(events) {
  await learnNumbers(events);
  return el(
    "ol",
    { class: "feed" },
    events.map((event) => el("li", {}, ago(event.at), el("span", {}, linked(event)))),
  );
}

/** Events name cycles by id: learn their numbers, once for all that are not known. */
async function learnNumbers(events) {
  for (const { data, sleep_cycle_id: id } of events)
    if (data.number !== undefined) numbers.set(id, data.number);
  const unknown = events.map((event) => event.sleep_cycle_id).filter((id) => id !== null && !numbers.has(id));
  const path = `/v1/instances/${encodeURIComponent(here.instance)}/cycle-figures`;
  for (
    let [page, cursor] = [0, null];
    page < NUMBERED_PAGES && unknown.some((id) => !numbers.has(id));
    page++
  ) {
    const found = await get(path, { limit: NUMBERED, cursor });
    for (const cycle of found.data) numbers.set(cycle.id, cycle.number);
    cursor = found.next;
    if (cursor === null) break;
  }
  for (const id of unknown) if (!numbers.has(id)) numbers.set(id, undefined);
}

function linked(event) {
  const said = say(event);
  const { sleep_cycle_id: id } = event;
  const [, name, rest] = /^(A cycle|Cycle \d+)(.*)$/s.exec(said) ?? [];
  return id && name ? [el("a", { href: placeOf(here.instance, "cycles", id) }, name), rest] : said;
}

function say({ type, data, sleep_cycle_id: cycleId, checkpoint_id: checkpointId }) {
  const number = data.number ?? numbers.get(cycleId);
  const cycle = number === undefined ? "A cycle" : `Cycle ${number}`;
  const checkpoint = checkpointId ? `checkpoint ${checkpointId.slice(-6)}` : "the bare base model";
  const by = data.actor ? ` by ${data.actor}` : "";
  const why = data.reason ? `: ${data.reason}` : "";
  switch (type) {
    case "sleep_cycle.queued":
      return `${cycle} queued with ${count(data.experiences ?? 0, "experience")}`;
    case "sleep_cycle.rejected":
      return `${cycle}: the gate rejected it`;
    case "sleep_cycle.woken":
      return `${cycle} makes way${by}: its instance is wanted`;
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
    case "checkpoint.mirrored":
      return `Copied ${checkpoint} to the mirror`;
    case "checkpoint.unmirrored":
      return `Took ${checkpoint} from the mirror${why}`;
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
