// The view of one cycle: live while it runs; then what it learned, what it kept, and the gate's
// verdict with limits and errors.

import { get } from "./api.js";
import { lineChart } from "./chart.js";
import { byId, el, empty, replace } from "./dom.js";
import { ago, count, duration } from "./format.js";
import { listen, open, readStats, soon } from "./frame.js";
import { showChecks } from "./gate.js";
import { downloadLink, reportLink } from "./links.js";
import { showMeasures } from "./measures.js";
import { showMemory } from "./memory.js";
import { here, placeOf } from "./place.js";
import { showReplies } from "./replies.js";
import { CycleView, tone } from "./running.js";

const view = new CycleView(here.instance);
const id = encodeURIComponent(here.cycle);
const chart = lineChart({
  title: "Training loss",
  note: "nats per supervised token, by step",
  series: [{ label: "loss", color: "accent" }],
  xLabel: (x) => `step ${x}`,
  isSparse: false,
});

open("Cycle", async () => {
  await listen(take, { progress: true });
  await Promise.all([readStats({ instance: here.instance }), read()]);
});

function take(event) {
  if (event.sleep_cycle_id !== here.cycle && !event.type.startsWith("checkpoint.")) return;
  view.take(event);
  if (event.type !== "sleep_cycle.progress") soon("cycle", read);
}

async function read() {
  const report = await get(`/v1/sleep-cycles/${id}/report`, { format: "json" });
  if (report.instance !== here.instance)
    return location.replace(placeOf(report.instance, "cycles", report.id));
  document.title = `Cycle ${report.number} · ${report.instance} · SAGE Sleep`;
  byId("title").textContent = `Cycle ${report.number} of ${report.instance}`;
  replace(byId("status"), el("span", { class: `chip ${tone(report.status)}` }, report.status));
  showChecks(report);
  showMeasures(report);
  showReplies(report);
  showMemory(report);
  if (report.finished_at) return showEnd(report);
  await view.follow(await get(`/v1/sleep-cycles/${id}`));
}

async function showEnd(report) {
  const { loss_curve: losses } = report;
  const checkpoint = report.checkpoint_id ? await findCheckpoint(report.checkpoint_id) : null;
  replace(
    byId("running"),
    el(
      "div",
      { class: "outcome" },
      el("div", {}, el("p", {}, report.summary), facts(report), ways(report, checkpoint)),
      losses.length > 1 ? chart.node : empty("No step was trained."),
    ),
  );
  chart.update([losses.map((_, index) => index + 1), losses]);
  chart.draw();
}

async function findCheckpoint(checkpointId) {
  const page = await get("/v1/checkpoints", { instance: here.instance, id_prefix: checkpointId, limit: 1 });
  return page.data[0] ?? null;
}

function facts(report) {
  const trained = report.experiences.filter((used) => used.role === "train").length;
  const seconds = (new Date(report.finished_at) - new Date(report.started_at)) / 1000;
  return el(
    "p",
    { class: "facts" },
    el("span", {}, count(trained, "experience")),
    report.started_at ? el("span", {}, `took ${duration(seconds)}`) : null,
    el("span", {}, "ended ", ago(report.finished_at)),
    (report.scale ?? 1) === 1 ? null : el("span", {}, `kept at ${report.scale} of the adapter's scale`),
    el("code", { class: "whole" }, report.id),
  );
}

const ways = (report, checkpoint) =>
  el(
    "p",
    { class: "facts" },
    reportLink(report.id, "Report", `Report of cycle ${report.number}`),
    checkpoint ? el("a", { href: placeOf(here.instance, "checkpoints") }, "Its checkpoint") : null,
    checkpoint?.status === "ready" ? downloadLink(checkpoint, "Download it", null) : null,
    el("a", { href: placeOf(here.instance, "cycles") }, "All cycles"),
  );
