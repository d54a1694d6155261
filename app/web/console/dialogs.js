// Asking before something is done, and saying that it was.

import { byId, el } from "./dom.js";
import { Refused } from "./api.js";

let timer;

/** Say something in passing. */
export function toast(words) {
  const node = byId("toast");
  node.textContent = words;
  node.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (node.hidden = true), 6000);
}

/**
 * Ask before an act. `act({reason, force})` runs on yes; when the daemon refuses, its words stand in
 * the dialog, which stays. Resolves when the dialog is gone.
 *
 * `reason`: whether a reason must be given. `force`: "offered" from the start, "after" a first
 * refusal of the kind `checkpoint-not-promotable`, or none.
 */
export function ask({ title, body = [], confirm, isDangerous = false, reason = false, force = null, act }) {
  return new Promise((resolve) => {
    const input = el("input", { name: "reason", maxlength: "200", required: true, autocomplete: "off" });
    const anyway = el("input", { type: "checkbox", name: "force", required: force === "offered" });
    const anywayLabel = el(
      "label",
      { class: "check", hidden: force !== "offered" },
      anyway,
      " Promote it all the same (force)",
    );
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const yes = el("button", { class: isDangerous ? "danger" : "primary" }, confirm);
    const no = el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Leave it");
    const form = el(
      "form",
      { onsubmit: submit },
      el("h2", { id: "ask-title" }, title),
      body,
      reason ? el("label", { class: "stack" }, "Reason, kept in the history", input) : null,
      anywayLabel,
      problem,
      el("div", { class: "actions" }, no, yes),
    );
    const dialog = el("dialog", { class: "dialog", "aria-labelledby": "ask-title" }, form);

    async function submit(event) {
      event.preventDefault();
      yes.disabled = true;
      try {
        await act({ reason: input.value.trim(), force: anyway.checked });
        dialog.close();
      } catch (error) {
        problem.textContent =
          error instanceof Refused ? error.message : "The daemon does not answer; try again.";
        problem.hidden = false;
        if (force && error.kind === "checkpoint-not-promotable") anywayLabel.hidden = false;
      } finally {
        yes.disabled = false;
      }
    }

    const before = document.activeElement;
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Show something that needs no answer; `buttons` stand beside the one that closes it. */
export function show(title, body, ...buttons) {
  const dialog = el(
    "dialog",
    { class: "dialog large", "aria-labelledby": "show-title" },
    el("h2", { id: "show-title" }, title),
    body,
    el(
      "div",
      { class: "actions" },
      el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close"),
      buttons,
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
