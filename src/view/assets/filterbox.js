// The filter: a text field that completes keys and values, says where a filter is wrong, and keeps filters.

import { debounce, quoted } from "./format.js";
import { button, h, put, spoken } from "./dom.js";

const SAVED = "amend-filters";
const SHOWN = 9;
/** Browsers keep no cookie of more than 4096 bytes. */
const MOST = 3500;
/** Seconds that filters are kept after they were last changed; browsers keep nothing for longer. */
const KEPT = 400 * 24 * 60 * 60;

/**
 * Filters that this reader keeps, in the browser. Viewers listen at another port each time, and storage belongs
 * to one port: a cookie is there at all of them. A file that is opened from disk has no cookies, but storage.
 */
export const saved = {
  all() {
    try {
      const list = JSON.parse(decodeURIComponent(read() ?? "[]"));
      return Array.isArray(list) ? list.filter((q) => typeof q === "string") : [];
    } catch {
      return [];
    }
  },
  /** Keeps a list, and says whether it could be kept. */
  put(list) {
    const text = encodeURIComponent(JSON.stringify(list));
    if (text.length > MOST) return false;
    try {
      if (fromDisk()) localStorage.setItem(SAVED, text);
      else document.cookie = `${SAVED}=${text}; Path=/; SameSite=Strict; Max-Age=${KEPT}`;
      return read() === text;
    } catch {
      // What keeps them may be switched off.
      return false;
    }
  },
};

const fromDisk = () => location.protocol === "file:";

function read() {
  if (fromDisk()) return localStorage.getItem(SAVED);
  const pair = document.cookie.split("; ").find((one) => one.startsWith(`${SAVED}=`));
  return pair?.slice(SAVED.length + 1);
}

/** What could stand at the caret: {from, to, options: [{text, told}]}. */
export function completions(text, caret, { keys, principles, runs }) {
  // A text that is searched for holds no keys.
  if (isQuoted(text.slice(0, caret))) return { from: caret, to: caret, options: [] };
  const start = text.slice(0, caret).search(/[^\s()]*$/);
  const word = text.slice(start, caret);
  const parts = /^([\p{L}_-]+)(!=|<=|>=|[:=<>])(.*)$/u.exec(word);
  if (!parts) {
    const lower = word.toLowerCase();
    const options = keys.flatMap((key) => {
      const name = key.names.find((n) => n.startsWith(lower));
      return name ? [{ text: name + (isNumber(key) ? ">" : ":"), told: describe(key) }] : [];
    });
    const joins = ["and", "or", "not"].filter((w) => lower !== "" && w.startsWith(lower) && w !== lower);
    return { from: start, to: caret, options: [...options, ...joins.map((w) => ({ text: `${w} `, told: "" }))] };
  }
  const key = keys.find((k) => k.names.includes(parts[1].toLowerCase()));
  const from = start + parts[1].length + parts[2].length;
  const lower = parts[3].toLowerCase();
  const values = !key ? [] : valuesOf(key, principles, runs);
  const options = values.filter((v) => v.text.toLowerCase().startsWith(lower) && v.text !== parts[3]);
  return { from, to: caret, options: options.map((v) => ({ text: `${quoted(v.text)} `, told: v.told })) };
}

/** Whether a text ends inside of quotation marks. */
const isQuoted = (text) => text.replace(/\\[\\"]/g, "").split('"').length % 2 === 0;

const isNumber = (key) => key.kind === "whole" || key.kind === "real";

function valuesOf(key, principles, runs) {
  if (key.values.length > 0) return key.values.map((text) => ({ text, told: "" }));
  if (key.kind === "bool") return ["true", "false"].map((text) => ({ text, told: "" }));
  if (key.names[0] === "principle") return Object.entries(principles).map(([text, told]) => ({ text, told }));
  if (key.names[0] === "run") return runs.map((run) => ({ text: run.run_id, told: `${run.constitution}, ${run.model}` }));
  return [];
}

function describe(key) {
  const about = { step: "a step", judgement: "a judgement" }[key.about] ?? "the chain";
  if (key.values.length > 0) return `${about}: ${key.values.join(", ")}`;
  const kinds = { bool: "true or false", whole: "a whole number", real: "a number", free: "text" };
  return `${about}: ${kinds[key.kind] ?? "text"}`;
}

/** The field. `apply(q, final)` is called as the reader types and when the filter is meant. */
export function filterBox({ vocabulary, apply, say }) {
  const list = h("ul", { id: "filter-options", role: "listbox", "aria-label": "Completions", hidden: true });
  const problem = h("p", { id: "filter-problem", class: "problem", role: "alert" });
  const kept = h("div", { class: "kept" });
  const input = h("input", {
    id: "filter", type: "text", role: "combobox", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
    placeholder: "principle:… violated:true   flag:…   changed>0.3   or words to search for",
    "aria-label": "Filter", "aria-autocomplete": "list", "aria-expanded": "false", "aria-keyshortcuts": "/",
    "aria-controls": "filter-options", "aria-describedby": "filter-problem",
  });
  let options = [];
  let place = null;
  let active = -1;

  const typed = debounce(250, () => apply(input.value.trim(), false));
  const meant = () => {
    typed.cancel();
    close();
    apply(input.value.trim(), true);
  };

  function close() {
    options = [];
    active = -1;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function suggest() {
    place = completions(input.value, input.selectionStart, vocabulary());
    options = place.options.slice(0, SHOWN);
    if (options.length === 0) return close();
    put(list, options.map((option, i) => h("li", {
      id: `filter-option-${i}`, role: "option", "aria-selected": "false",
      on: { mousedown: (event) => { event.preventDefault(); take(i); } },
    }, h("b", {}, option.text.trim()), option.told && h("span", {}, ` ${option.told}`))));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    choose(-1);
  }

  function choose(i) {
    active = i;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", String(at === i)));
    if (i < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `filter-option-${i}`);
    list.children[i]?.scrollIntoView({ block: "nearest" });
  }

  function take(i) {
    const { text } = options[i];
    input.value = input.value.slice(0, place.from) + text + input.value.slice(place.to).trimStart();
    const caret = place.from + text.length;
    input.setSelectionRange(caret, caret);
    typed();
    if (/[:>]$/.test(text)) suggest();
    else close();
  }

  input.addEventListener("input", () => { suggest(); typed(); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const open = options.length > 0;
    if (event.key === "ArrowDown") {
      if (open) choose((active + 1) % options.length);
      else suggest();
    } else if (event.key === "ArrowUp" && open) choose((active + options.length - 1) % options.length);
    else if (event.key === "Tab" && open && !event.shiftKey && active >= 0) take(active);
    else if (event.key === "Enter") {
      if (active >= 0) take(active);
      else meant();
    } else if (event.key === "Escape") {
      if (open) close();
      else input.blur();
    } else return;
    if (event.key !== "Escape" || open) event.stopPropagation();
    event.preventDefault();
  });

  function showKept() {
    const now = input.value.trim();
    const filters = saved.all();
    const keep = now !== "" && !filters.includes(now);
    put(kept,
      filters.map((q) => h("span", { class: "kept-filter" },
        button(q, () => { input.value = q; meant(); }, { class: "quiet", title: "use this filter", "aria-pressed": String(q === now) }),
        button(["×", spoken(`forget ${q}`)], () => { saved.put(filters.filter((other) => other !== q)); showKept(); }, { class: "quiet forget" }))),
      keep && button("Keep this filter", () => keepNow(), { class: "quiet" }));
  }

  /** Keeps what is written, unless it is kept already or there is no room. */
  function keepNow() {
    const now = input.value.trim();
    const filters = saved.all();
    if (now === "" || filters.includes(now)) return say("There is no new filter to keep");
    const done = saved.put([...filters, now]);
    showKept();
    return say(done ? "Filter kept" : "There is no room for this filter; forget another one first");
  }

  const clear = button(["×", spoken("clear the filter")], () => { input.value = ""; meant(); input.focus(); }, { class: "quiet clear" });

  return {
    element: h("search", { class: "filter" },
      h("div", { class: "field" }, input, clear, list), problem, kept),
    input,
    /** Uses the kept filter behind the one that is used, where there is one. */
    next() {
      const filters = saved.all();
      if (filters.length === 0) return false;
      input.value = filters[(filters.indexOf(input.value.trim()) + 1) % filters.length];
      meant();
      return true;
    },
    keep: keepNow,
    /** Shows a filter that came from elsewhere, unless the reader is writing one. */
    show(q) {
      if (document.activeElement !== input || input.value.trim() !== q) {
        if (input.value.trim() !== q) input.value = q;
      }
      clear.hidden = input.value === "";
      showKept();
    },
    /** Says what is wrong, and where. */
    fail(error) {
      input.setAttribute("aria-invalid", String(Boolean(error)));
      if (!error) return put(problem);
      // Spaces before a filter are not part of it.
      const lead = [...input.value].length - [...input.value.trimStart()].length;
      const at = error.column === null ? null : error.column + lead;
      const chars = [...input.value];
      const near = at === null || chars.length === 0 ? null : h("code", { "aria-hidden": "true" },
        chars.slice(Math.max(0, at - 25), at - 1).join(""),
        h("u", {}, chars[at - 1] ?? "␣"),
        chars.slice(at, at + 25).join(""));
      return put(problem, at !== null && `Column ${at}: `, error.message, near && " ", near);
    },
  };
}
