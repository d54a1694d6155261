// How far the salience mass has filled toward the threshold, the decision in words, and the buttons
// that ask for sleep.

import { get, post } from "./api.js";
import { show, toast } from "./dialogs.js";
import { byId, el, replace } from "./dom.js";
import { ago, count, number, words } from "./format.js";

const SHOWN_PROMPTS = 5;
const ORDER = [
  "buffered",
  "claimed",
  "consolidated",
  "held_out",
  "below_threshold",
  "filtered",
  "set_aside",
  "quarantined",
  "erased",
];

/** Show an instance's mass; `onChange` is called when a button started something. */
export function showMass(stats, onChange) {
  const { decision } = stats;
  const absent = decision.reasons.find((reason) => reason.rule === "base_model" && !reason.met);
  const share = Math.min(100, (100 * stats.mass) / stats.mass_threshold);
  const name = stats.current_checkpoint?.name.split("/").at(-1).split("-")[0];
  replace(
    byId("mass"),
    el(
      "p",
      { class: "figure-line" },
      el("b", { class: "big" }, number(stats.mass, 1)),
      ` of ${number(stats.mass_threshold, 1)}`,
      el("span", { class: `chip ${decision.due ? "good" : ""}` }, decision.due ? "sleep is due" : "not due"),
    ),
    el(
      "div",
      {
        class: "meter",
        role: "meter",
        "aria-label": "Salience mass",
        "aria-valuemin": 0,
        "aria-valuemax": stats.mass_threshold,
        "aria-valuenow": Math.min(stats.mass, stats.mass_threshold),
        "aria-valuetext": `${number(stats.mass, 1)} of ${number(stats.mass_threshold, 1)}`,
      },
      el("div", { class: decision.due ? "full" : "", "width%": share }),
    ),
    el(
      "p",
      { class: "hint" },
      decision.due
        ? "Every rule is met; a cycle starts by itself."
        : "A cycle starts by itself when every rule is met; ",
      decision.due
        ? null
        : `${count(decision.reasons.filter((reason) => !reason.met).length, "is not", "are not")} yet:`,
    ),
    absent ? el("p", { class: "absent", role: "status" }, `Nothing can sleep: ${absent.text}.`) : null,
    el(
      "ul",
      { class: "reasons" },
      decision.reasons.map((reason) =>
        el(
          "li",
          { class: reason.met ? "met" : "unmet" },
          el("span", { class: "visually-hidden" }, reason.met ? "met: " : "not met: "),
          reason.text,
        ),
      ),
    ),
    el(
      "div",
      { class: "actions left" },
      el(
        "button",
        {
          class: "primary",
          "data-key": "sleep",
          disabled: stats.running_cycle !== null || absent !== undefined,
          onclick: () => sleepNow(stats.instance, onChange),
        },
        "Sleep now",
      ),
      el("button", { "data-key": "dry", onclick: () => dryRun(stats.instance, onChange) }, "Dry run"),
    ),
    el(
      "dl",
      { class: "counts" },
      ORDER.filter((status) => stats.counts[status] || status === "buffered").map((status) =>
        el("div", {}, el("dt", {}, words(status)), el("dd", {}, stats.counts[status].toLocaleString("en"))),
      ),
    ),
    el(
      "p",
      { class: "hint" },
      stats.current_checkpoint
        ? ["Live: checkpoint of cycle ", name, ", made ", ago(stats.current_checkpoint.created_at), ". "]
        : "Live: the bare base model. ",
      stats.last_exchange_at
        ? ["Last exchange ", ago(stats.last_exchange_at), "."]
        : "No exchange yet: post one to /v1/experiences.",
    ),
  );
}

async function sleepNow(instance, onChange) {
  try {
    const cycle = await post("/v1/sleep-cycles", { instance, force: true });
    toast(`Cycle ${cycle.number} is queued.`);
  } catch (error) {
    toast(error.message);
  }
  onChange();
}

async function dryRun(instance, onChange) {
  toast("Asking the base model's tokenizer…");
  let plan;
  try {
    plan = await post("/v1/sleep-cycles", { instance, force: true, dry_run: true });
  } catch (error) {
    return toast(error.message);
  }
  const { recipe } = plan.plan;
  const first = await Promise.all(
    plan.experience_ids.slice(0, SHOWN_PROMPTS).map((id) => get(`/v1/experiences/${id}`)),
  );
  const dialog = show(
    "What a cycle would do now",
    [
      el("p", {}, plan.refused ? plan.refused.detail : "Nothing was started. It would start if you asked."),
      el(
        "dl",
        { class: "counts" },
        [
          ["to train on", plan.experience_ids.length],
          ["to rehearse, at most", plan.rehearsal_ids.length],
          ["to measure with", plan.held_out_ids.length],
          ["epochs", recipe.epochs],
          ["learning rate", recipe.learning_rate],
          ["rank r", recipe.r],
        ].map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))),
      ),
      el(
        "div",
        {},
        [
          ...plan.plan.left_out.map((rule) => rule.text),
          ...plan.plan.floors.map((rule) => rule.text),
          ...plan.set_aside.map((unfit) => `${unfit.experience_id} would be set aside: ${unfit.text}`),
          ...(plan.error ? [plan.error.message] : []),
        ].map((text) => el("p", { class: "hint" }, text)),
      ),
      first.length ? el("h3", {}, "Most salient first") : null,
      el(
        "ol",
        { class: "plain" },
        first.map((item) =>
          el(
            "li",
            {},
            el("b", { class: "score" }, number(item.salience.total)),
            " ",
            el("span", { class: "clip" }, item.prompt),
          ),
        ),
      ),
      plan.experience_ids.length > first.length
        ? el(
            "p",
            { class: "hint" },
            `and ${count(plan.experience_ids.length - first.length, "more", "more")}`,
          )
        : null,
    ],
    plan.refused
      ? null
      : el(
          "button",
          { class: "primary", onclick: () => (dialog.close(), sleepNow(instance, onChange)) },
          "Sleep now",
        ),
  );
}
