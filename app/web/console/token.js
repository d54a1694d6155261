// The access token: asked for when the daemon demands one, kept for this tab alone, and gone with it.

import { byId, el } from "./dom.js";

const KEY = "sage-sleep-token";
let asking = null;

export const readToken = () => sessionStorage.getItem(KEY);

/** Forget the token; the next request asks again. */
export function forgetToken() {
  sessionStorage.removeItem(KEY);
  showForget();
}

/** Offer to forget a token while there is one. */
export function showForget() {
  byId("forget").hidden = !readToken();
}

/**
 * Ask for a token, once for all requests that wait; `used` is the one that was refused.
 * Resolves to whether there is another one to try.
 */
export function askForToken(why, used) {
  if (readToken() !== used) return Promise.resolve(true);
  asking ??= openDialog(used ? why : null).finally(() => (asking = null));
  return asking;
}

function openDialog(why) {
  return new Promise((resolve) => {
    const input = el("input", {
      type: "password",
      name: "token",
      autocomplete: "off",
      required: true,
      spellcheck: "false",
    });
    const dialog = el(
      "dialog",
      { "aria-labelledby": "token-title", class: "dialog" },
      el(
        "form",
        { method: "dialog", onsubmit: () => keep(input.value.trim()) },
        el("h2", { id: "token-title" }, "A token, please"),
        el("p", {}, why ?? "This daemon shows its data only to those who have one."),
        el(
          "label",
          { class: "stack" },
          "Token with the scope read; operate and admin for the buttons",
          input,
        ),
        el(
          "p",
          { class: "hint" },
          "It is kept for this tab alone. Make one with ",
          el("code", {}, "sage-sleep tokens create NAME --scope read"),
          ".",
        ),
        el("div", { class: "actions" }, el("button", { class: "primary" }, "Look")),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "kept");
    });
    function keep(token) {
      sessionStorage.setItem(KEY, token);
      showForget();
      dialog.returnValue = "kept";
    }
    document.body.append(dialog);
    dialog.showModal();
  });
}
