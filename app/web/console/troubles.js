// What is wrong with a daemon and with an instance, in words, the gravest first. Knows no element.

import { words } from "./format.js";

/** Checks of the daemon that failed. The settings' base model is no matter of an instance's own. */
export const failedChecks = ({ health }) => Object.entries(health.checks).filter(([, word]) => word !== "ok");

/** Why nothing can be trained for want of a base model, or null. */
export const baseModelFault = ({ decision }) =>
  decision.reasons.find((reason) => reason.rule === "base_model" && !reason.met)?.text ?? null;

/** [{text, isGrave}] about one instance; `current` is its current checkpoint or null. */
export function troubles(found, stats, current) {
  const grave = [
    found.refuses_writes ? "Nothing is stored: see above" : null,
    ...failedChecks(found)
      .filter(([name]) => name !== "base_model")
      .map(([name, word]) => `${words(name)}: ${word}`),
    baseModelFault(stats) ? "It has no base model: below is what to do" : null,
    current && current.status !== "ready" ? `The live checkpoint is ${current.status}` : null,
    stats.last_cycle?.status === "failed"
      ? `Cycle ${stats.last_cycle.number} failed: ${stats.last_cycle.error?.message ?? "no reason"}`
      : null,
  ];
  const light = [
    current?.regressed_at ? "Sessions took the live checkpoint back" : null,
    current?.tainted_at ? "The live checkpoint holds something erased" : null,
    found.clock_doubt ? `The clock is in doubt: ${found.clock_doubt}` : null,
  ];
  return [
    ...grave.filter(Boolean).map((text) => ({ text, isGrave: true })),
    ...light.filter(Boolean).map((text) => ({ text, isGrave: false })),
  ];
}
