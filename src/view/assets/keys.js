// Keys for everything, and the page that lists them.

import { button, h, kbd } from "./dom.js";

const HELP = [
  ["Everywhere", [
    ["/", "filter"], ["g l", "list of chains"], ["g c", "constitution"], ["g d", "compare two runs"],
    ["?", "this help"], ["Esc", "close, or leave a field"],
  ]],
  ["List", [
    ["j  k", "next, previous chain"], ["Enter", "open the chain"], ["n  p", "next, previous page"], ["c", "charts"],
    ["b  B", "next, previous chart: j and k go through its bars, Enter filters"],
    ["s  S", "sort by the next column, turn the order round"], ["v", "next kept filter"], ["w", "keep this filter"],
    ["l", "label all that match"],
  ]],
  ["Chain", [
    ["j  k", "next, previous chain within the filter"], ["]  [", "next, previous step"],
    ["d", "another view of the revision"], ["m", "messages of the step"], ["o", "the rest of a text that is cut"],
    ["h", "history of the labels"], ["f", "other fields of the prompt"], ["c", "copy the command"], ["b", "back to the list"],
  ]],
  ["Constitution", [["]  [", "next, previous principle"]]],
  ["Compare", [["j  k", "next, previous pair"], ["n  p", "next, previous page"], ["d", "only where they differ"],
    ["o", "the rest of a text that is cut"]]],
  ["Labels", [
    ["a", "accept"], ["r", "reject"], ["e", "edit"], ["t", "note"], ["y  x", "agree, disagree with the step's verdict"], ["u", "undo"],
  ]],
];

// What cannot be done in a report, which compares no runs, and without labels.
const OF_VIEWER = ["Compare", "g d"];
const OF_LABELS = ["Labels", "l"];

/** The help, as a dialog; `info` says what can be done here. */
export function help(info) {
  const missing = [...(info?.report ? OF_VIEWER : []), ...(info?.read_only ? OF_LABELS : [])];
  const sections = HELP.filter(([title]) => !missing.includes(title))
    .map(([title, keys]) => [title, keys.filter(([key]) => !missing.includes(key))]);
  const dialog = h("dialog", { class: "help", "aria-labelledby": "help-title" },
    h("h2", { id: "help-title" }, "Keys"),
    h("div", { class: "help-columns" }, sections.map(([title, keys]) => h("section", {},
      h("h3", {}, title),
      h("dl", {}, keys.map(([key, told]) => h("div", {},
        h("dt", {}, key.split("  ").map((k, i) => [i > 0 && " ", kbd(k)])), h("dd", {}, told))))))),
    button("Close", () => dialog.close(), { class: "primary" }));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Keys that may be held. Everything else is meant once, however long the key is down.
const HELD = ["j", "k", "[", "]"];

// Keys that need another one on some keyboards.
const COMPOSED = ["[", "]", "/", "?"];

/** Listens for keys. `commands()` gives what they do now, by key; sequences of two are written `g l`. */
export function listen(commands) {
  let before = null;
  addEventListener("keydown", (event) => {
    if (event.metaKey || event.isComposing) return;
    // Some keyboards have these behind AltGr, which browsers tell as Alt, or as Ctrl and Alt.
    if ((event.ctrlKey || event.altKey) && !(event.altKey && COMPOSED.includes(event.key))) return;
    if (event.repeat && !HELD.includes(event.key)) return;
    if (document.querySelector("dialog[open]")) return;
    const field = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (field) return;
    const table = commands();
    const pair = before && `${before} ${event.key}`;
    before = null;
    const command = (pair && table[pair]) || table[event.key];
    if (command) {
      event.preventDefault();
      command();
    } else if (event.key === "g") {
      before = "g";
      setTimeout(() => { before = null; }, 1500);
    }
  });
}
