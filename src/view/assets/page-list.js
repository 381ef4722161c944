// The list: a filter, figures of what matches, and the chains, a page at a time.

import { charts } from "./charts.js";
import { count, ending, excerpt, pause, percent, plural, ratio, sparing } from "./format.js";
import { button, chip, h, keepFocus, put, spoken } from "./dom.js";
import { filterBox } from "./filterbox.js";
import { labelAll, labelChip } from "./labels.js";
import { go, href, named, naming, offsetOf, ofList, ROWS } from "./route.js";
import { nodes } from "./text.js";

/** So many milliseconds may pass before anybody notices. */
const SOON = 100;

// Titles, the order that each column sorts by, and whether it rather begins at the top.
const COLUMNS = [
  ["Prompt", "prompt"], ["Violated"], ["Ended", "stop"], ["Rounds", "rounds", true],
  ["Changed", "changed", true], ["Flags"], ["Label", "label", true],
];

export function listPage(app) {
  let now = { params: {} };
  let asked = 0;
  let closed = false;
  let total = 0;
  // What the charts show, and the filter that it is of; null where there are none.
  let figured = null;
  let charted = null;
  // Whether the filter of the address is wrong, and whether the first chain gets the focus once it is answered.
  let wrong = false;
  let toTable = false;
  const summary = h("p", { class: "summary", role: "status" });
  const figures = h("div", { class: "figures" });
  const table = h("div", { class: "chains", role: "table", "aria-label": "Chains", hidden: true });
  const none = h("p", { class: "none" });
  const pages = h("nav", { class: "pages", "aria-label": "Pages of the list" });
  const bulk = h("div", { class: "bulk" });
  const toggle = button("Charts", () => move({ charts: now.params.charts === "0" ? "" : "0" }), { class: "quiet", "aria-keyshortcuts": "c" });
  const box = filterBox({
    vocabulary: () => app.info,
    say: (text) => app.say(text),
    apply: (q, final) => {
      if (closed) return;
      toTable = final;
      if (q !== (now.params.q ?? "")) go(address({ q, offset: "" }), !final);
      else if (!element.hasAttribute("aria-busy")) arrive(!wrong);
    },
  });

  const address = (changes) => href("list", null, { ...now.params, ...changes });
  const move = (changes, replace) => go(address(changes), replace);
  const link = (q) => address({ q, offset: "" });

  /** Asks for what the address says. What arrives late, after another question, is dropped. */
  async function load() {
    const mine = ++asked;
    const { q = "", sort = "" } = now.params;
    const offset = offsetOf(now.params);
    const open = now.params.charts !== "0";
    element.setAttribute("aria-busy", "true");
    // Sorting and paging leave the charts as they are.
    const counted = open && charted !== q ? app.source.charts({ q }) : null;
    const soon = counted?.then(() => {}, () => {});
    try {
      const page = await app.source.list({ q, sort, offset, limit: ROWS });
      // Charts that come at once come together with the chains, which then need not move down.
      if (mine === asked) await Promise.race([soon, pause(SOON)]);
      if (mine !== asked) return;
      box.fail(null);
      wrong = false;
      // There are fewer chains than when the address was made: its page is the last one now.
      if (page.rows.length === 0 && page.total > 0) {
        move({ offset: Math.floor((page.total - 1) / ROWS) * ROWS }, true);
        return;
      }
      show(page);
      arrive(true);
    } catch (error) {
      if (mine !== asked) return;
      wrong = true;
      arrive(false);
      if (error.column === undefined || error.column === null) throw error;
      box.fail(error);
      return;
    } finally {
      if (mine === asked) element.removeAttribute("aria-busy");
    }
    // What is there leads from this filter on until the new counts are known.
    draw(q, open);
    if (counted) {
      const data = await counted;
      if (mine !== asked) return;
      charted = q;
      figured = data;
      draw(q, open);
    }
  }

  function draw(q, open) {
    const { bars } = now.params;
    const unfold = (title, all) => move({ bars: naming(bars, title, all) }, true);
    keepFocus([figures], () => put(figures, open && total > 0 && figured && charts(figured, q, link, named(bars), unfold)));
  }

  /** The same where charts may have changed as well. */
  async function again() {
    charted = null;
    if (!closed) await load();
  }

  /** What was meant was answered: keys are for the chains now, unless the filter is still being written. */
  function arrive(good) {
    const written = box.input.value.trim() === (now.params.q ?? "");
    if (toTable && good && written) table.querySelector(".row a")?.focus();
    toTable = false;
  }

  function show(page) {
    const q = now.params.q ?? "";
    total = page.total;
    const runs = new Set(app.info.runs.map((run) => run.run_id));
    put(summary, h("b", {}, count(page.total)), ` ${page.total === 1 ? "chain" : "chains"}${q ? " match" : ""}${q && page.total === 1 ? "es" : ""}`,
      !q && runs.size > 1 && ` in ${plural(runs.size, "run")}`);
    toggle.setAttribute("aria-expanded", String(now.params.charts !== "0"));
    keepFocus([table, pages, bulk], () => {
      rows(page);
      turn(page);
      put(bulk, !app.info.read_only && page.total > 0 && button(
        `Label all ${count(page.total)}`, () => labelAll(app, q, again), { class: "quiet" }));
    });
  }

  function rows(page) {
    const focused = document.activeElement?.closest(".row")?.dataset.id;
    const before = new Set([...table.querySelectorAll(".row")].map((row) => row.dataset.id));
    const without = app.info.live ? "There are no chains yet. They appear here as a run writes them." : "There are no chains here.";
    const empty = now.params.q ? "No chain matches. Try a shorter filter." : without;
    put(none, page.rows.length === 0 && empty);
    none.hidden = page.rows.length > 0;
    table.hidden = page.rows.length === 0;
    const several = app.info.runs.length > 1;
    put(table, head(), h("div", { role: "rowgroup" }, page.rows.map((row) => {
      const fresh = before.size > 0 && !before.has(row.chain_id);
      return line(row, several, fresh);
    })));
    if (focused) {
      const again = table.querySelector(`[data-id="${CSS.escape(focused)}"] a`) ?? table.querySelector(".row a");
      again?.focus({ preventScroll: true });
    }
  }

  function head() {
    const [by, down] = order(now.params.sort);
    return h("div", { role: "rowgroup", class: "head" }, h("div", { role: "row" }, COLUMNS.map(([title, name, top]) => {
      if (!name) return h("div", { role: "columnheader" }, h("span", { class: "sort" }, title));
      const sorted = by === name;
      const next = sorted ? (down ? name : `-${name}`) : (top ? `-${name}` : name);
      const arrow = sorted ? (down ? " ↓" : " ↑") : "";
      return h("div", { role: "columnheader", "aria-sort": sorted ? (down ? "descending" : "ascending") : null },
        button([title, h("span", { "aria-hidden": "true" }, arrow)], () => move({ sort: next, offset: "" }), { class: "sort", "data-key": name }));
    })));
  }

  function line(row, several, fresh) {
    const cell = (name, ...content) => h("div", { role: "cell", class: `cell ${name}` }, content);
    const end = ending(row);
    return h("div", { role: "row", class: `row${fresh ? " fresh" : ""}`, "data-id": row.chain_id },
      cell("prompt",
        h("a", { href: href("chain", row.chain_id, ofList(now.params)), dir: "auto" }, nodes(excerpt(row.prompt.replace(/\s+/g, " "), 220))),
        h("small", {}, nodes(row.prompt_id), row.sample > 0 && ` · sample ${row.sample}`, several && ` · run ${row.run_id}`)),
      cell("principles", row.violated.map((id) => chip(id, "bad", { title: app.info.principles[id] ?? null })),
        row.regressed.map((id) => chip(`${id} again`, "worse", { title: "violated again in the final text" }))),
      cell("stop", chip(end, end === "failed" ? "bad" : end === "clean" ? "good" : "plain")),
      cell("rounds", h("span", { class: "name" }, "rounds "), count(row.rounds)),
      cell("changed", ...change(row)),
      cell("flags", row.flags.map((flag) => chip(flag, "warn"))),
      cell("label", labelChip(row.label), row.noted && h("small", {}, " note")));
  }

  function change(row) {
    if (!row.revised || row.changed === null) return [h("span", { class: "soft" }, row.status === "running" ? "" : "–")];
    const bar = h("span", { class: "meter", "aria-hidden": "true" }, h("i", { style: { width: `${Math.round(row.changed * 100)}%` } }));
    const length = row.length_ratio === null ? null : h("small", {}, ratio(row.length_ratio));
    return [bar, h("span", {}, percent(row.changed), spoken(" of words changed, length ")), " ", length];
  }

  function turn(page) {
    const first = page.offset + 1;
    const last = page.offset + page.rows.length;
    const step = (label, offset, there) => there
      ? h("a", { href: address({ offset: offset || "" }), "data-key": label }, label)
      : h("span", { class: "off", "aria-disabled": "true" }, label);
    put(pages, page.total > ROWS && [
      step("← Previous", Math.max(0, page.offset - ROWS), page.offset > 0),
      h("span", {}, `${count(first)}–${count(last)} of ${count(page.total)}`),
      step("Next →", page.offset + ROWS, last < page.total),
    ]);
  }

  /** Goes on to the next chart, and from the last one to the chains. */
  function chart(by) {
    const all = [...figures.querySelectorAll(".chart")].map(barsOf).filter((bars) => bars.length > 0);
    if (all.length === 0) return app.say("There are no charts");
    const at = all.findIndex((bars) => bars.includes(document.activeElement));
    const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by;
    if (all[next]) reach(all[next][0]);
    else table.querySelector(".row a")?.focus();
  }

  function step(by) {
    const within = document.activeElement?.closest(".chart");
    if (within) {
      const bars = barsOf(within);
      return reach(bars[bars.indexOf(document.activeElement) + by]);
    }
    const links = [...table.querySelectorAll(".row .prompt a")];
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by;
    links[next]?.focus();
    links[next]?.closest(".row").scrollIntoView({ block: "nearest" });
  }

  function leaf(by) {
    const offset = offsetOf(now.params) + by * ROWS;
    if (offset >= 0 && offset < total) move({ offset: offset || "" });
  }

  /** Sorts by the next column, or turns the order round. */
  function sort(turned) {
    const [by, down] = order(now.params.sort);
    const columns = COLUMNS.filter(([, name]) => name);
    if (turned) {
      move({ sort: down ? by : `-${by || columns[0][1]}`, offset: "" });
      return;
    }
    const [title, name, top] = columns[(columns.findIndex(([, other]) => other === by) + 1) % columns.length];
    move({ sort: top ? `-${name}` : name, offset: "" });
    app.say(`Sorted: ${title}`);
  }

  const element = h("div", { class: "list" },
    h("h1", { class: "spoken" }, "Chains"),
    app.info.report && app.info.filter && h("p", { class: "scope" }, "Made of the chains that match ", h("code", {}, nodes(app.info.filter))),
    box.element,
    h("div", { class: "line" }, summary, toggle, bulk),
    figures, table, none, pages);

  return {
    element,
    async show(state) {
      const leafed = state.params.offset !== now.params.offset && now.page;
      now = state;
      app.title(now.params.q || "Chains");
      box.show(now.params.q ?? "");
      await load();
      if (leafed) table.scrollIntoView({ block: "start" });
    },
    pulse: sparing(again),
    /** What arrives later is dropped. */
    close() {
      closed = true;
      asked += 1;
    },
    focusFilter() {
      box.input.focus();
      box.input.select();
    },
    keys: {
      j: () => step(1),
      k: () => step(-1),
      n: () => leaf(1),
      p: () => leaf(-1),
      c: () => toggle.click(),
      b: () => chart(1),
      B: () => chart(-1),
      s: () => sort(false),
      S: () => sort(true),
      v: () => box.next() || app.say("No filter is kept"),
      w: () => box.keep(),
      l: () => bulk.querySelector("button")?.click(),
    },
  };
}

/** What can be chosen in a chart, but for bars that nobody has asked for. */
const barsOf = (chart) => [...chart.querySelectorAll("a, button")].filter((one) => !one.closest(".bars:not(.open) .beyond"));

/** Gives the focus to a bar. Charts may lie in a strip that is pushed sideways. */
function reach(bar) {
  bar?.focus({ preventScroll: true });
  bar?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** An order as the address writes it: its name, and whether it goes down. */
function order(sort = "") {
  return sort.startsWith("-") ? [sort.slice(1), true] : [sort, false];
}
