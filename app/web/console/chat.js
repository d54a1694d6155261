// The view in which a person talks with what is live, and may hear the bare base and the checkpoint
// before it answer the same. A conversation lies in this page alone, until it is kept.

import { request } from "./api.js";
import { byId, el, empty, replace } from "./dom.js";
import { number } from "./format.js";
import { listen, open, readStats, soon } from "./frame.js";
import { here, placeOf } from "./place.js";
import { eventData } from "./sse.js";

const LIVE = { words: "what is live", model: here.instance };
const OTHERS = [
  { words: "the bare base", model: `${here.instance}@base` },
  { words: "the checkpoint before", model: `${here.instance}@previous` },
];
const SESSION = "console";
const TOO_LONG = "chat-refused";
const EXCHANGE = 2; // messages

let talks = [];
let running = null;

open("Chat", async () => {
  await listen(() => soon("stats", readStatsHere));
  await readStatsHere();
});

byId("anew").addEventListener("click", begin);
byId("compare").addEventListener("change", begin);
byId("stop").addEventListener("click", () => running?.abort());
byId("words").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask").requestSubmit();
});
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (!words || running) return;
  byId("words").value = "";
  ask(words);
});

const readStatsHere = () => readStats({ instance: here.instance });

/** A conversation with nothing said yet, by each of those who are to answer. */
function begin() {
  running?.abort();
  const isCompared = byId("compare").checked;
  talks = (isCompared ? [...OTHERS, LIVE] : [LIVE]).map((who) => ({ ...who, turns: [], place: el("div") }));
  byId("talks").classList.toggle("beside", isCompared);
  replace(
    byId("talks"),
    talks.map(({ words, place }) =>
      el("section", { "aria-label": words }, isCompared ? el("h3", {}, words) : null, place),
    ),
  );
  for (const { place } of talks)
    replace(place, empty("Nothing is said yet. What you say here is kept only where you ask for it."));
  byId("words").focus();
}

async function ask(words) {
  running = new AbortController();
  show(true);
  try {
    await Promise.all(talks.map((talk) => answer(talk, words, running.signal)));
  } finally {
    running = null;
    show(false);
    byId("words").focus();
  }
}

function show(isRunning) {
  byId("send").hidden = isRunning;
  byId("stop").hidden = !isRunning;
}

/** One reply, as it is written; what fails takes the question back, so that it can be asked again. */
async function answer(talk, words, signal) {
  const asked = { role: "user", content: words };
  const said = el("p", { class: "said" });
  const note = el("p", { class: "hint" }, "…");
  if (!talk.turns.length) talk.place.replaceChildren();
  talk.place.append(el("article", { class: "turn" }, el("p", { class: "said own" }, words), said, note));
  let text = "";
  try {
    for await (const piece of pieces({ ...talk, turns: [...talk.turns, asked] }, signal)) {
      if (piece.error) throw new Error(piece.error.message);
      const choice = piece.choices[0];
      text += choice?.delta.content ?? "";
      said.textContent = text;
      if (piece.sage) note.replaceChildren(...sayWho(piece.sage, choice.finish_reason));
    }
  } catch (error) {
    note.replaceChildren(signal.aborted ? "stopped" : error.message);
    if (!signal.aborted) note.className = "wrong";
    if (!text) return;
  }
  talk.turns.push(asked, { role: "assistant", content: text });
}

async function* pieces({ model, turns }, signal) {
  const isKept = byId("record").checked && model === LIVE.model;
  const response = await fitting(turns, (messages) =>
    request("/v1/chat/completions", {
      method: "POST",
      signal,
      body: { model, messages, stream: true, record: isKept, session: isKept ? SESSION : null },
      headers: { Accept: "text/event-stream" },
    }),
  );
  for await (const data of eventData(response)) {
    if (data.trim() === "[DONE]") return;
    yield JSON.parse(data);
  }
}

/** Ask, without the oldest exchanges where the conversation does not fit any more. */
async function fitting(turns, send) {
  for (let first = 0; ; first += EXCHANGE) {
    try {
      return await send(turns.slice(first));
    } catch (error) {
      if (error.kind !== TOO_LONG || turns.length - first <= EXCHANGE) throw error;
    }
  }
}

/** Who answered, whether the reply came to an end, and what became of the exchange. */
function sayWho({ base, checkpoint_id: checkpoint, experience, not_recorded: notKept }, finishReason) {
  const who = checkpoint
    ? el("a", { href: placeOf(here.instance, "checkpoints") }, `checkpoint ${checkpoint}`)
    : `the bare base, ${base}`;
  return [
    who,
    finishReason === "length" ? "; cut at its longest" : "",
    experience ? `; kept, ${experience.reason ?? `salience ${number(experience.salience.total, 2)}`}` : "",
    notKept ? `; not kept: ${notKept}` : "",
  ];
}

// At once: who types before the daemon has answered must not lose it.
begin();
