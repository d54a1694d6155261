// The view of an instance's checkpoints: what is live, the line they stand in, and the buttons that
// move the aliases.

import { get } from "./api.js";
import { byId, el, replace, svg } from "./dom.js";
import { ago, bytes, number, words } from "./format.js";
import { listen, open, readStats, soon } from "./frame.js";
import { BASE, layOut } from "./lineage.js";
import { downloadLink } from "./links.js";
import { dismiss, pin, promote, readAliases, rebuild, remove, rollBack } from "./moves.js";
import { cursor, pageOf, pager } from "./pager.js";
import { here, placeOf } from "./place.js";

const LANE = 18;
const NODE_Y = 22;
const ALIASES = ["current", "previous", "candidate"];

open("Checkpoints", async () => {
  await listen(({ type }) => /^(sleep_cycle|checkpoint)\./.test(type) && soon("checkpoints", read));
  await Promise.all([readStats({ instance: here.instance }), read()]);
});

async function read() {
  const { instance } = here;
  const [page, known] = await Promise.all([
    get("/v1/checkpoints", { instance, limit: pageOf(12, 8), cursor: cursor() }),
    readAliases(instance),
  ]);
  const registry = { instance, ...known, onChange: () => soon("checkpoints", read) };
  showLive(registry, page.data);
  showLine(registry, page);
}

function showLive(registry, checkpoints) {
  const { aliases } = registry;
  replace(
    byId("live"),
    el(
      "dl",
      { class: "counts" },
      ALIASES.filter((name) => name === "current" || aliases[name]).map((name) =>
        el("div", {}, el("dt", {}, name), el("dd", {}, nameOf(aliases[name], checkpoints))),
      ),
    ),
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
  );
}

function nameOf(id, checkpoints) {
  if (id === null) return "the bare base model";
  const known = checkpoints.find((checkpoint) => checkpoint.id === id);
  return [known ? `cycle ${known.cycle_number} ` : null, el("code", {}, id)];
}

function showLine(registry, { data: checkpoints, has_more: hasMore, next }) {
  const { rows, lanes } = layOut(checkpoints, hasMore);
  const known = new Map(checkpoints.map((checkpoint) => [checkpoint.id, checkpoint]));
  replace(
    byId("line"),
    el(
      "ol",
      { class: "line", "--lanes": lanes },
      rows.map((row) =>
        el(
          "li",
          {},
          picture(row, lanes, registry.aliases),
          row.id === BASE
            ? baseWords(registry.aliases, checkpoints.length)
            : describe(known.get(row.id), registry),
        ),
      ),
    ),
    pager(next),
  );
}

function picture(row, lanes, aliases) {
  const x = (lane) => LANE / 2 + lane * LANE;
  const isLive = row.id === BASE ? aliases.current === null : row.id === aliases.current;
  const line = (lane, y1, y2, isAside) =>
    svg("line", { class: isAside ? "aside" : null, x1: x(lane), x2: x(lane), y1, y2 });
  return svg(
    "svg",
    { class: "lanes", width: lanes * LANE, "aria-hidden": "true" },
    row.through.map(({ lane, isAside }) => line(lane, -1, "101%", isAside)),
    row.above ? line(row.lane, -1, NODE_Y, row.above.isAside) : null,
    row.into.map(({ lane, isAside }) =>
      svg("path", {
        class: isAside ? "aside" : null,
        d: `M${x(lane)} 0C${x(lane)} ${NODE_Y} ${x(lane)} ${NODE_Y} ${x(row.lane)} ${NODE_Y}`,
      }),
    ),
    row.goesOn ? line(row.lane, NODE_Y, "101%", row.isAside) : null,
    isLive ? svg("circle", { class: "halo", cx: x(row.lane), cy: NODE_Y, r: 8 }) : null,
    svg("circle", {
      class: `node ${isLive ? "current" : ""} ${row.isAside ? "rejected" : ""}`,
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
  const names = ALIASES.filter((name) => aliases[name] === checkpoint.id);
  const isGone = checkpoint.status !== "ready";
  return el(
    "div",
    { class: `row ${isGone ? "gone" : ""}` },
    el(
      "div",
      { class: "row-head" },
      el(
        "a",
        {
          class: "strong",
          title: checkpoint.name,
          href: placeOf(here.instance, "cycles", checkpoint.sleep_cycle_id),
        },
        `Cycle ${checkpoint.cycle_number}`,
      ),
      chips(names),
      marks(checkpoint).map(([kind, text]) => el("span", { class: `chip ${kind}` }, text)),
      tools(checkpoint, names, registry),
    ),
    facts(checkpoint),
    checkpoint.note ? el("p", {}, checkpoint.note) : null,
  );
}

const marks = (checkpoint) =>
  [
    checkpoint.verdict.status === "accepted" ? null : ["bad", words(checkpoint.verdict.status)],
    checkpoint.status === "ready" ? null : ["", words(checkpoint.status)],
    checkpoint.regressed_at ? ["bad", "taken back by sessions"] : null,
    checkpoint.tainted_at ? ["warn", "holds something erased"] : null,
    checkpoint.pinned ? ["", "pinned"] : null,
  ].filter(Boolean);

function facts(checkpoint) {
  const held = checkpoint.metrics.held_out_reloaded ?? {};
  return el(
    "p",
    { class: "facts" },
    el("code", { class: "whole", title: "Its id" }, checkpoint.id),
    held.nats_per_token === undefined
      ? null
      : el("span", {}, "held-out ", el("b", {}, number(held.nats_per_token, 3))),
    el("span", {}, bytes(checkpoint.archive.size_bytes)),
    el("span", {}, ago(checkpoint.created_at)),
  );
}

/** Promote, download, pin and delete: no button where the daemon would not do it. */
function tools(checkpoint, names, registry) {
  if (checkpoint.status === "deleted") return null;
  const { pinned, cycle_number: number } = checkpoint;
  const isReady = checkpoint.status === "ready";
  return el(
    "span",
    { class: "tools end" },
    isReady ? downloadLink(checkpoint, "Download", `Download the checkpoint of cycle ${number}`) : null,
    tool(pinned ? "Unpin" : "Pin", number, {
      "data-key": `pin-${checkpoint.id}`,
      title: pinned ? "Its files may go by policy again" : "Its files stay, whatever the policy",
      onclick: () => pin(checkpoint, registry),
    }),
    pinned || names.length
      ? null
      : tool("Delete", number, {
          "data-key": `delete-${checkpoint.id}`,
          "aria-haspopup": "dialog",
          onclick: () => remove(checkpoint, registry),
        }),
    !isReady || names.includes("current")
      ? null
      : el(
          "button",
          {
            class: "small",
            "data-key": `promote-${checkpoint.id}`,
            "aria-label": `Promote the checkpoint of cycle ${number}`,
            "aria-haspopup": "dialog",
            onclick: () => promote(checkpoint, registry),
          },
          "Promote",
        ),
  );
}

const tool = (act, number, attributes) =>
  el(
    "button",
    { class: "small quiet", "aria-label": `${act} the checkpoint of cycle ${number}`, ...attributes },
    act,
  );
