// Texts of models and people: as they are, with what cannot be seen made visible, with quotes marked, and
// as word diffs.

import { count, percent } from "./format.js";
import { button, h, put } from "./dom.js";

/** A text is cut behind this many characters until somebody asks for the rest. */
const SHOWN = 20_000;
/** Of what a diff leaves as it was, this much is shown on either side of a change. */
const AROUND = 400;

// Characters that reorder, hide or control text. New lines and tabs are none of them. The last are tags, with which
// a text can be written that nobody sees.
const HIDDEN = /[\0-\b\v\f\x0e-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g;
const NAMES = {
  "\u202a": "left-to-right embedding", "\u202b": "right-to-left embedding",
  "\u202c": "end of direction", "\u202d": "left-to-right override",
  "\u202e": "right-to-left override", "\u2066": "left-to-right isolate",
  "\u2067": "right-to-left isolate", "\u2068": "isolate", "\u2069": "end of isolate",
  "\u200b": "zero-width space", "\ufeff": "byte order mark",
};

/** The nodes of a text, hidden characters as their code points. */
export function nodes(text) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > at) found.push(text.slice(at, match.index));
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    const name = NAMES[match[0]] ?? (match[0].length > 1 ? "tag" : "control character");
    found.push(h("span", { class: "hidden-char", title: `U+${code}, ${name}` }, `U+${code}`));
    at = match.index + match[0].length;
  }
  if (at < text.length) found.push(text.slice(at));
  return found;
}

/** A text of any length: a long one is cut, with a button for the rest. `cut` knows whether that was asked for. */
function clipped(text, cut, from = 0, marks = []) {
  if (text.length <= SHOWN + 200 || cut.open()) return marked(text, from, marks);
  const rest = h("span");
  const end = /[\ud800-\udbff]/.test(text[SHOWN - 1]) ? SHOWN - 1 : SHOWN;
  const more = moreButton(`Show the other ${count(text.length - end)} characters`, cut, () => {
    put(rest, marked(text.slice(end), from + end, marks));
  });
  put(rest, "… ", more);
  return [marked(text.slice(0, end), from, marks), rest];
}

/** A button for what is cut. It goes when it is pressed, and leaves the focus to what it was in. */
function moreButton(label, cut, unfold) {
  const more = button(label, () => {
    const around = document.activeElement === more && more.closest("article, main");
    unfold();
    cut.unfold();
    if (around) around.focus({ preventScroll: true });
  }, { class: "more", "aria-keyshortcuts": "o" });
  return more;
}

/** Unfolds what is cut first in that of `parts` that has the focus, or else in `place`. */
export function unfoldNext(place, parts) {
  const part = document.activeElement?.closest(parts);
  const more = part?.querySelector("button.more") ?? place.querySelector("button.more");
  more?.scrollIntoView({ block: "nearest" });
  more?.click();
}

/** A text with the places marked that critiques quote: {start, end, step}, as they lie in the whole text. */
function marked(text, from, marks) {
  const cuts = new Set([0, text.length]);
  for (const mark of marks) {
    for (const cut of [mark.start - from, mark.end - from]) {
      if (cut > 0 && cut < text.length) cuts.add(cut);
    }
  }
  const places = [...cuts].sort((a, b) => a - b);
  const found = [];
  for (let i = 0; i + 1 < places.length; i += 1) {
    const [start, end] = [places[i], places[i + 1]];
    const part = nodes(text.slice(start, end));
    const over = marks.filter((m) => m.start <= start + from && m.end >= end + from);
    if (over.length === 0) {
      found.push(part);
      continue;
    }
    const steps = over.map((m) => m.step);
    found.push(h("mark", { title: `quoted by step ${steps.join(", ")}`, "data-steps": steps.join(" ") }, part));
  }
  return found;
}

/** A block of text as it is, with marks. `cut` is its place among the `cuts` of the page. */
export function block(text, cut, marks = []) {
  if (text === "") return h("p", { class: "text empty" }, "There is no text.");
  return h("div", { class: "text", dir: "auto" }, clipped(text, cut, 0, marks));
}

/** A word diff. `difference` has the lengths of what is the same, removed and added, in turn. */
export function diffBlock(before, after, difference, cut, marks = []) {
  if (!Array.isArray(difference)) {
    const size = difference?.too_large ?? before.length + after.length;
    return h("div", {},
      h("p", { class: "note" }, `More differs here than is compared word by word (${count(size)} bytes in both). This is the new text; the old one is under “Before”.`),
      block(after, cut, marks));
  }
  const parts = [];
  let [old, now] = [0, 0];
  for (let i = 0; i < difference.length; i += 1) {
    const length = difference[i];
    if (length === 0) continue;
    if (i % 3 === 1) {
      parts.push(h("del", {}, clipped(before.slice(old, old + length), cut.of(i))));
      old += length;
      continue;
    }
    const text = after.slice(now, now + length);
    if (i % 3 === 2) {
      parts.push(h("ins", {}, clipped(text, cut.of(i), now, marks)));
    } else {
      parts.push(unchanged(text, cut.of(i), now, marks, i > 0, i + 1 < difference.length));
      old += length;
    }
    now += length;
  }
  if (parts.length === 0) return block(after, cut, marks);
  return h("div", { class: "text diff", dir: "auto" }, parts);
}

/** What stayed: a long stretch only where it touches a change. */
function unchanged(text, cut, from, marks, changedBefore, changedAfter) {
  const keep = (changedBefore ? AROUND : 0) + (changedAfter ? AROUND : 0);
  if (text.length <= 4000 || keep === 0) return clipped(text, cut, from, marks);
  const start = changedBefore ? AROUND : 0;
  const end = text.length - (changedAfter ? AROUND : 0);
  const middle = h("span");
  // What was unfolded may itself be longer than is shown at once.
  const unfold = () => put(middle, clipped(text.slice(start, end), cut.of("r"), from + start, marks));
  const more = moreButton(`${count(end - start)} unchanged characters`, cut, unfold);
  if (cut.open()) unfold();
  else put(middle, " … ", more, " … ");
  return [
    marked(text.slice(0, start), from, marks), middle, marked(text.slice(end), from + end, marks),
  ];
}

/** How much a diff changes, in words for people. */
export function changeLine(difference) {
  if (!Array.isArray(difference)) return null;
  let [same, removed, added] = [0, 0, 0];
  difference.forEach((length, i) => {
    if (i % 3 === 0) same += length;
    else if (i % 3 === 1) removed += length;
    else added += length;
  });
  if (removed + added === 0) return "nothing changed";
  const share = (removed + added) / (2 * same + removed + added);
  return `${count(removed)} characters out, ${count(added)} in (${percent(share)})`;
}
