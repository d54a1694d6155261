// The four questions about an instance, answered: does it sleep, will it, what is live, is it
// healthy.

import { byId, el, replace } from "./dom.js";
import { ago } from "./format.js";
import { placeOf } from "./place.js";
import { inWords, progressBar } from "./progress.js";
import { baseModelFault, troubles } from "./troubles.js";

/**
 * Show the answers. `known`: {found, stats, aliases, current, baseModel}: the statistics, of the
 * daemon and of the instance, the aliases, the checkpoint that is current, or null for the bare
 * base, and the base model's name, or null where nobody named it.
 */
export function showAnswers(known) {
  replace(byId("answers"), sleeps(known), will(known), live(known), healthy(known));
}

function answer(question, { tone = "", words, more = [] }) {
  return el(
    "div",
    { class: `answer ${tone}` },
    el("h2", {}, question),
    el("p", { class: "says" }, words),
    more.filter(Boolean),
  );
}

const aside = (...words) => el("p", { class: "hint" }, ...words);

function sleeps({ stats }) {
  const { running_cycle: running, last_cycle: last } = stats;
  if (running) {
    const isQueued = running.status === "queued";
    return answer("Does it sleep?", {
      tone: "live",
      words: isQueued ? `Cycle ${running.number} is queued` : `Yes: cycle ${running.number}`,
      more: [progressBar(running), aside(inWords(running))],
    });
  }
  return answer("Does it sleep?", {
    words: "No, it is awake",
    more: [
      last
        ? aside(
            el("a", { href: placeOf(stats.instance, "cycles", last.id) }, `Cycle ${last.number}`),
            ` ${last.status} `,
            ago(last.finished_at ?? last.created_at),
          )
        : aside("It has not slept yet."),
    ],
  });
}

function will({ stats }) {
  const { decision, running_cycle: running } = stats;
  if (baseModelFault(stats))
    return answer("Will it sleep?", { tone: "bad", words: "Not without a base model", more: [] });
  if (running) return answer("Will it sleep?", { words: "It does already" });
  if (decision.due)
    return answer("Will it sleep?", {
      tone: "good",
      words: "Yes, it is due",
      more: [aside("A cycle starts by itself.")],
    });
  const unmet = decision.reasons.filter((reason) => !reason.met).map((reason) => reason.text);
  return answer("Will it sleep?", {
    words: "Not yet",
    more: [aside(unmet.slice(0, 2).join("; "), unmet.length > 2 ? `; and ${unmet.length - 2} more` : "")],
  });
}

function live({ stats, aliases, current, baseModel }) {
  const base = baseModel
    ? el("span", { title: baseModel }, baseModel.split("/").at(-1))
    : "no base model is named";
  const place = placeOf(stats.instance, "checkpoints");
  return answer("What is live?", {
    words: current
      ? el("a", { href: place }, `Checkpoint of cycle ${current.cycle_number}`)
      : "The bare base model",
    more: [
      aside(current ? [ago(current.created_at), ", on "] : null, base),
      aliases.candidate ? aside(el("a", { href: place }, "A candidate waits for a person")) : null,
    ],
  });
}

function healthy({ found, stats, current }) {
  const wrong = troubles(found, stats, current);
  if (!wrong.length)
    return answer("Is it healthy?", {
      tone: "good",
      words: "Yes",
      more: [aside("Daemon, disk, model and the last cycle.")],
    });
  return answer("Is it healthy?", {
    tone: wrong.some(({ isGrave }) => isGrave) ? "bad" : "warn",
    words: wrong.length === 1 ? "Look at one thing" : `Look at ${wrong.length} things`,
    more: [
      el(
        "ul",
        { class: "wrong" },
        wrong.map(({ text }) => el("li", {}, text)),
      ),
    ],
  });
}
