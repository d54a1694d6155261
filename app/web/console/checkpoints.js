// The line of checkpoints as a picture, with the aliases on it and the buttons that move them.

import { Refused, patch, post, request } from "./api.js";
import { ask, toast } from "./dialogs.js";
import { byId, el, replace, svg } from "./dom.js";
import { ago, number, words } from "./format.js";
import { BASE, layOut } from "./lineage.js";

const LANE = 18;
const NODE_Y = 22;

/**
 * Show checkpoints, newest first, with the aliases and the tag to act on.
 *
 * `registry`: {instance, checkpoints, hasMore, aliases, etag, onChange}; `onMore` loads older ones;
 * `onChange` is called when a button changed what no event tells.
 */
export function showCheckpoints(registry, onMore) {
  const { checkpoints, aliases, hasMore } = registry;
  const { rows, lanes } = layOut(checkpoints, hasMore);
  const known = new Map(checkpoints.map((checkpoint) => [checkpoint.id, checkpoint]));
  replace(
    byId("line"),
    el(
      "div",
      { class: "actions left" },
      el(
        "button",
        { "data-key": "rollback", disabled: aliases.current === null, onclick: () => rollBack(registry) },
        "Roll back",
      ),
      el(
        "button",
        {
          "data-key": "rebuild",
          disabled: !checkpoints.length,
          "aria-haspopup": "dialog",
          onclick: () => rebuild(registry),
        },
        "Rebuild",
      ),
      aliases.candidate
        ? el("button", { "data-key": "dismiss", onclick: () => dismiss(registry) }, "Dismiss candidate")
        : null,
    ),
    el(
      "ol",
      { class: "line", "--lanes": lanes },
      rows.map((row) =>
        el(
          "li",
          {},
          picture(row, lanes, known.get(row.id), aliases),
          row.id === BASE ? baseWords(aliases, checkpoints.length) : describe(known.get(row.id), registry),
        ),
      ),
    ),
    hasMore
      ? el(
          "button",
          { class: "quiet", "data-key": "older-checkpoints", onclick: onMore },
          "Older checkpoints",
        )
      : null,
  );
}

function picture(row, lanes, checkpoint, aliases) {
  const x = (lane) => LANE / 2 + lane * LANE;
  const isLive = row.id === BASE ? aliases.current === null : row.id === aliases.current;
  const isWanted = row.id === BASE || checkpoint.verdict.status === "accepted";
  return svg(
    "svg",
    { class: "lanes", width: lanes * LANE, "aria-hidden": "true" },
    row.through.map((lane) => svg("line", { x1: x(lane), x2: x(lane), y1: -1, y2: "101%" })),
    row.isTip ? null : svg("line", { x1: x(row.lane), x2: x(row.lane), y1: -1, y2: NODE_Y }),
    row.into.map((lane) =>
      svg("path", { d: `M${x(lane)} 0C${x(lane)} ${NODE_Y} ${x(lane)} ${NODE_Y} ${x(row.lane)} ${NODE_Y}` }),
    ),
    row.goesOn ? svg("line", { x1: x(row.lane), x2: x(row.lane), y1: NODE_Y, y2: "101%" }) : null,
    isLive ? svg("circle", { class: "halo", cx: x(row.lane), cy: NODE_Y, r: 8 }) : null,
    svg("circle", {
      class: `node ${isLive ? "current" : ""} ${isWanted ? "" : "rejected"}`,
      cx: x(row.lane),
      cy: NODE_Y,
      r: 5,
    }),
  );
}

const chips = (names) => names.map((name) => el("span", { class: `chip alias ${name}` }, name));

function baseWords(aliases, published) {
  return el(
    "div",
    { class: "row" },
    el(
      "div",
      { class: "row-head" },
      el("b", {}, "Bare base model"),
      chips(aliases.current === null ? ["current"] : []),
    ),
    published
      ? null
      : el(
          "p",
          { class: "hint" },
          "No checkpoint yet. The first accepted cycle publishes one, and it stands above this line.",
        ),
  );
}

function describe(checkpoint, registry) {
  const { aliases } = registry;
  const names = ["current", "previous", "candidate"].filter((name) => aliases[name] === checkpoint.id);
  const isGone = checkpoint.status !== "ready";
  const held = checkpoint.metrics.held_out_reloaded ?? {};
  const marks = [
    checkpoint.verdict.status === "accepted" ? null : ["bad", words(checkpoint.verdict.status)],
    isGone ? ["", words(checkpoint.status)] : null,
    checkpoint.regressed_at ? ["bad", "taken back by sessions"] : null,
    checkpoint.tainted_at ? ["warn", "holds something erased"] : null,
    checkpoint.pinned ? ["", "pinned"] : null,
  ];
  return el(
    "div",
    { class: `row ${isGone ? "gone" : ""}` },
    el(
      "div",
      { class: "row-head" },
      el("b", { title: checkpoint.name }, `Cycle ${checkpoint.cycle_number}`),
      chips(names),
      marks.filter(Boolean).map(([kind, text]) => el("span", { class: `chip ${kind}` }, text)),
      isGone || names.includes("current")
        ? null
        : el(
            "button",
            {
              class: "small end",
              "data-key": `promote-${checkpoint.id}`,
              "aria-label": `Promote the checkpoint of cycle ${checkpoint.cycle_number}`,
              onclick: () => promote(checkpoint, registry),
            },
            "Promote",
          ),
    ),
    el(
      "p",
      { class: "facts" },
      held.nats_per_token === undefined
        ? null
        : el("span", {}, "held-out ", el("b", {}, number(held.nats_per_token, 3))),
      el("span", {}, ago(checkpoint.created_at)),
      el("code", { title: checkpoint.id }, checkpoint.id.slice(-6)),
      tools(checkpoint, names, registry),
    ),
    checkpoint.note ? el("p", {}, checkpoint.note) : null,
  );
}

/** Pin or unpin, and delete: no button where the daemon would refuse. */
function tools(checkpoint, names, registry) {
  if (checkpoint.status === "deleted") return null;
  const { pinned, cycle_number: number } = checkpoint;
  return el(
    "span",
    { class: "tools end" },
    el(
      "button",
      {
        class: "small quiet",
        "data-key": `pin-${checkpoint.id}`,
        "aria-label": `${pinned ? "Unpin" : "Pin"} the checkpoint of cycle ${number}`,
        title: pinned ? "Its files may go by policy again" : "Its files stay, whatever the policy",
        onclick: () => pin(checkpoint, registry),
      },
      pinned ? "Unpin" : "Pin",
    ),
    pinned || names.length
      ? null
      : el(
          "button",
          {
            class: "small quiet",
            "data-key": `delete-${checkpoint.id}`,
            "aria-label": `Delete the checkpoint of cycle ${number}`,
            "aria-haspopup": "dialog",
            onclick: () => remove(checkpoint, registry),
          },
          "Delete",
        ),
  );
}

/** The aliases of an instance with the entity tag that guards a move of them. */
export async function readAliases(instance) {
  const response = await request(`/v1/instances/${instance}/aliases`);
  return { aliases: await response.json(), etag: response.headers.get("ETag") };
}

const guarded = ({ etag }) => ({ "If-Match": etag });
const actor = "console";

function promote(checkpoint, registry) {
  const isRefused = checkpoint.verdict.status !== "accepted" || checkpoint.regressed_at !== null;
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
      isRefused
        ? el(
            "p",
            { class: "why" },
            checkpoint.regressed_at ? "Session reports took it back." : "The gate did not accept it.",
          )
        : null,
    ],
    confirm: "Promote",
    reason: true,
    force: isRefused ? "offered" : "after",
    act: async ({ reason, force }) => {
      await post(`/v1/checkpoints/${checkpoint.id}/promote`, { reason, actor, force }, guarded(registry));
      toast(`The checkpoint of cycle ${checkpoint.cycle_number} is current.`);
    },
  });
}

const rollBack = (registry) =>
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

const rebuild = (registry) =>
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

async function pin({ id, pinned, cycle_number: number }, { onChange }) {
  try {
    await patch(`/v1/checkpoints/${id}`, { pinned: !pinned });
    toast(`The checkpoint of cycle ${number} is ${pinned ? "no longer pinned" : "pinned; its files stay"}.`);
  } catch (error) {
    toast(error instanceof Refused ? error.message : "The daemon does not answer; try again.");
  }
  onChange();
}

const remove = (checkpoint, { onChange }) =>
  ask({
    title: `Delete the checkpoint of cycle ${checkpoint.cycle_number}?`,
    body: [
      el(
        "p",
        {},
        "Its files go for good, and no rollback leads to it. Its record and its report stay.",
      ),
    ],
    confirm: "Delete its files",
    isDangerous: true,
    act: async () => {
      await request(`/v1/checkpoints/${checkpoint.id}`, { method: "DELETE" });
      toast(`The checkpoint of cycle ${checkpoint.cycle_number} was deleted.`);
      onChange();
    },
  });

const dismiss = (registry) =>
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
