// Asking for sleep, and what it would do: nothing is started by looking.

import { get, post } from "./api.js";
import { show, toast } from "./dialogs.js";
import { el } from "./dom.js";
import { count, number } from "./format.js";

const SHOWN_PROMPTS = 5;

/** Ask for a cycle now, whatever the waiting rules say. */
export async function sleepNow(instance, onChange) {
  try {
    const cycle = await post("/v1/sleep-cycles", { instance, force: true });
    toast(`Cycle ${cycle.number} is queued.`);
  } catch (error) {
    toast(error.message);
  }
  onChange();
}

/** Show what a cycle would do now. */
export async function dryRun(instance, onChange) {
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
