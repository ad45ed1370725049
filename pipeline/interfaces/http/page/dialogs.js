// Dialogs. Belongs here: the list of keys, and asking for a token. Not here: what keys do (`keys.js`).

import { h } from "./dom.js";

const KEYS = [
  [["/"], "Go to the search field"],
  [["j", "k", "↓", "↑"], "Next and previous result"],
  [["Enter"], "Open the result; in the search field, go to the first one"],
  [["1", "…", "5"], "Code, why, symbols, related, file"],
  [["c"], "Copy path and line of what is open"],
  [["q"], "Quality of the index, and back"],
  [["Esc"], "Close what is open, or leave the search field"],
  [["?"], "This list"],
];

/** Show which keys there are. */
export function showHelp(dialog) {
  dialog.replaceChildren(
    h("h2", { id: "help-title" }, "Keys"),
    h("dl", { class: "shortcuts" }, KEYS.map(([keys, what]) => [h("dt", {}, keys.map((key) => (key === "…" ? " … " : h("kbd", {}, key)))), h("dd", {}, what)])),
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")),
  );
  dialog.showModal();
}

/** Ask for the token of the server; "" where none is given. `refused`: whether one was given that it did not take. */
export function askToken(dialog, refused) {
  const input = h("input", { type: "password", "aria-label": "Token", autocomplete: "off", required: true, autofocus: true });
  const form = h("form", { method: "dialog" }, input,
    h("div", { class: "buttons" }, h("button", { type: "button", click: () => dialog.close("") }, "Cancel"), h("button", { class: "strong", value: "given" }, "Continue")));
  dialog.returnValue = "";
  dialog.replaceChildren(
    h("h2", { id: "token-title" }, refused ? "The server did not take this token" : "This server wants a token"),
    h("p", { class: "dim" }, "Whoever started it has it in the file given to --token-file. It is kept until this tab is closed."),
    form,
  );
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "given" ? input.value.trim() : ""), { once: true });
  });
}
