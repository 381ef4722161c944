// The list: a filter, figures of what matches, and the chains, a page at a time.

import { charts } from "./charts.js";
import { count, ending, excerpt, percent, plural, ratio } from "./format.js";
import { button, chip, h, put, spoken } from "./dom.js";
import { filterBox } from "./filterbox.js";
import { labelAll, labelChip } from "./labels.js";
import { go, href } from "./route.js";
import { nodes } from "./text.js";

const ROWS = 50;

// Titles, the order that each column sorts by, and whether it rather begins at the top.
const COLUMNS = [
  ["Prompt", "prompt"], ["Violated"], ["Ended", "stop"], ["Rounds", "rounds", true],
  ["Changed", "changed", true], ["Flags"], ["Label", "label", true],
];

export function listPage(app) {
  let now = { params: {} };
  let asked = 0;
  let total = 0;
  const summary = h("p", { class: "summary", role: "status" });
  const figures = h("div", { class: "figures" });
  const table = h("div", { class: "chains", role: "table", "aria-label": "Chains" });
  const none = h("p", { class: "none" });
  const pages = h("nav", { class: "pages", "aria-label": "Pages of the list" });
  const bulk = h("div", { class: "bulk" });
  const toggle = button("Charts", () => move({ charts: now.params.charts === "0" ? "" : "0" }), { class: "quiet", "aria-keyshortcuts": "c" });
  const box = filterBox({
    vocabulary: () => app.info,
    apply: (q, final) => {
      if (q !== (now.params.q ?? "")) go(address({ q, offset: "" }), !final);
      if (final) table.querySelector("a")?.focus();
    },
  });

  const address = (changes) => href("list", null, { ...now.params, ...changes });
  const move = (changes, replace) => go(address(changes), replace);
  const link = (q) => address({ q, offset: "" });

  /** Asks for what the address says. What arrives late, after another question, is dropped. */
  async function load() {
    const mine = ++asked;
    const { q = "", sort = "", offset = 0 } = now.params;
    element.setAttribute("aria-busy", "true");
    try {
      const [page, data] = await Promise.all([
        app.source.list({ q, sort, offset, limit: ROWS }),
        now.params.charts === "0" ? null : app.source.charts({ q }),
      ]);
      if (mine !== asked) return;
      box.fail(null);
      show(page, data);
    } catch (error) {
      if (mine !== asked) return;
      if (error.column === undefined || error.column === null) throw error;
      box.fail(error);
    } finally {
      if (mine === asked) element.removeAttribute("aria-busy");
    }
  }

  function show(page, data) {
    const q = now.params.q ?? "";
    total = page.total;
    const runs = new Set(app.info.runs.map((run) => run.run_id));
    put(summary, h("b", {}, count(page.total)), ` ${page.total === 1 ? "chain" : "chains"}${q ? " match" : ""}${q && page.total === 1 ? "es" : ""}`,
      !q && runs.size > 1 && ` in ${plural(runs.size, "run")}`);
    toggle.setAttribute("aria-expanded", String(data !== null));
    put(figures, data && page.total > 0 && charts(data, q, link));
    rows(page);
    turn(page);
    put(bulk, !app.info.read_only && page.total > 0 && button(
      `Label all ${count(page.total)}`, () => labelAll(app, q, load), { class: "quiet" }));
  }

  function rows(page) {
    const focused = document.activeElement?.closest(".row")?.dataset.id;
    const before = new Set([...table.querySelectorAll(".row")].map((row) => row.dataset.id));
    const empty = now.params.q
      ? "No chain matches. Try a shorter filter."
      : "There are no chains yet. They appear here as a run writes them.";
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
        button([title, h("span", { "aria-hidden": "true" }, arrow)], () => move({ sort: next, offset: "" }), { class: "sort" }));
    })));
  }

  function line(row, several, fresh) {
    const { q, sort } = now.params;
    const cell = (name, ...content) => h("div", { role: "cell", class: `cell ${name}` }, content);
    const end = ending(row);
    return h("div", { role: "row", class: `row${fresh ? " fresh" : ""}`, "data-id": row.chain_id },
      cell("prompt",
        h("a", { href: href("chain", row.chain_id, { q, sort }), dir: "auto" }, nodes(excerpt(row.prompt.replace(/\s+/g, " "), 220))),
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
      ? h("a", { href: address({ offset: offset || "" }) }, label)
      : h("span", { class: "off", "aria-disabled": "true" }, label);
    put(pages, page.total > ROWS && [
      step("← Previous", Math.max(0, page.offset - ROWS), page.offset > 0),
      h("span", {}, `${count(first)}–${count(last)} of ${count(page.total)}`),
      step("Next →", page.offset + ROWS, last < page.total),
    ]);
  }

  function step(by) {
    const links = [...table.querySelectorAll(".row .prompt a")];
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by;
    links[next]?.focus();
    links[next]?.closest(".row").scrollIntoView({ block: "nearest" });
  }

  function leaf(by) {
    const offset = Number(now.params.offset ?? 0) + by * ROWS;
    if (offset >= 0 && offset < total) move({ offset: offset || "" });
  }

  const element = h("div", { class: "list" },
    h("h1", { class: "spoken" }, "Chains"),
    box.element,
    h("div", { class: "line" }, summary, toggle, bulk),
    figures, table, none, pages);
  let resting = false;
  let missed = false;

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
    async pulse() {
      missed = true;
      if (resting) return;
      resting = true;
      while (missed) {
        missed = false;
        const begun = performance.now();
        await load().catch(() => {});
        // A list that takes long to count is asked for less often, for the sake of the run that goes on.
        const rest = 9 * (performance.now() - begun);
        await new Promise((done) => { setTimeout(done, rest); });
      }
      resting = false;
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
    },
  };
}

/** An order as the address writes it: its name, and whether it goes down. */
function order(sort = "") {
  return sort.startsWith("-") ? [sort.slice(1), true] : [sort, false];
}
