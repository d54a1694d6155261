// What a person does with checkpoints: promote, roll back, rebuild, dismiss, pin, delete. What
// changes what is live asks for a reason, and for the aliases as they were shown.

import { Refused, patch, post, request } from "./api.js";
import { ask, toast } from "./dialogs.js";
import { el } from "./dom.js";

/** The aliases of an instance with the entity tag that guards a move of them. */
export async function readAliases(instance) {
  const response = await request(`/v1/instances/${instance}/aliases`);
  return { aliases: await response.json(), etag: response.headers.get("ETag") };
}

const guarded = ({ etag }) => ({ "If-Match": etag });
const actor = "console";

export function promote(checkpoint, registry) {
  const needsForce = checkpoint.verdict.status !== "accepted" || checkpoint.regressed_at !== null;
  return ask({
    title: `Promote the checkpoint of cycle ${checkpoint.cycle_number}?`,
    body: [
      el(
        "p",
        {},
        "Sessions of ",
        el("b", {}, registry.instance),
        " load it from then on; what is current now becomes previous.",
      ),
      needsForce
        ? el(
            "p",
            { class: "why" },
            checkpoint.regressed_at ? "Session reports took it back." : "The gate did not accept it.",
          )
        : null,
    ],
    confirm: "Promote",
    reason: true,
    force: needsForce ? "offered" : "after",
    act: async ({ reason, force }) => {
      await post(`/v1/checkpoints/${checkpoint.id}/promote`, { reason, actor, force }, guarded(registry));
      toast(`The checkpoint of cycle ${checkpoint.cycle_number} is current.`);
    },
  });
}

export const rollBack = (registry) =>
  ask({
    title: "Roll back?",
    body: [
      el(
        "p",
        {},
        "Sessions of ",
        el("b", {}, registry.instance),
        " go one promotion back",
        registry.aliases.previous ? "." : ", to the bare base model.",
      ),
    ],
    confirm: "Roll back",
    isDangerous: true,
    reason: true,
    act: async ({ reason }) => {
      await post(`/v1/instances/${registry.instance}/rollback`, { reason, actor }, guarded(registry));
      toast("Rolled back.");
    },
  });

export const rebuild = (registry) =>
  ask({
    title: "Rebuild from the base?",
    body: [
      el(
        "p",
        {},
        "A cycle begins from the bare base model and trains on what ",
        el("b", {}, registry.instance),
        " has consolidated, without what was erased. What is current stays until the gate accepts the new.",
      ),
    ],
    confirm: "Rebuild",
    reason: true,
    act: async ({ reason }) => {
      const cycle = await post(`/v1/instances/${registry.instance}/rebuild`, { reason, actor });
      toast(`Cycle ${cycle.number} is queued; it begins from the base.`);
    },
  });

export async function pin({ id, pinned, cycle_number: number }, { onChange }) {
  try {
    await patch(`/v1/checkpoints/${id}`, { pinned: !pinned });
    toast(`The checkpoint of cycle ${number} is ${pinned ? "no longer pinned" : "pinned; its files stay"}.`);
  } catch (error) {
    toast(error instanceof Refused ? error.message : "The daemon does not answer; try again.");
  }
  onChange();
}

export const remove = (checkpoint, { onChange }) =>
  ask({
    title: `Delete the checkpoint of cycle ${checkpoint.cycle_number}?`,
    body: [
      el("p", {}, "Its files go for good, and no rollback leads to it. Its record and its report stay."),
    ],
    confirm: "Delete its files",
    isDangerous: true,
    act: async () => {
      await request(`/v1/checkpoints/${checkpoint.id}`, { method: "DELETE" });
      toast(`The checkpoint of cycle ${checkpoint.cycle_number} was deleted.`);
      onChange();
    },
  });

export const dismiss = (registry) =>
  ask({
    title: "Dismiss the candidate?",
    body: [el("p", {}, "It does not go live, and its experiences go back to the buffer.")],
    confirm: "Dismiss",
    isDangerous: true,
    reason: true,
    act: async ({ reason }) => {
      await post(`/v1/instances/${registry.instance}/dismiss`, { reason, actor }, guarded(registry));
      toast("The candidate was dismissed.");
    },
  });
