// Two runs over the same prompts, side by side.

import { count, excerpt, fixed, plural, probability, sparing } from "./format.js";
import { chip, h, keepFocus, put } from "./dom.js";
import { cuts, go, href, note, offsetOf } from "./route.js";
import { block, diffBlock, nodes, unfoldNext } from "./text.js";

const PAIRS = 20;

export function comparePage(app) {
  let now = { params: {} };
  let asked = 0;
  let closed = false;
  let total = 0;
  // What is on the page, and how its runs stood, as texts.
  let shown = "";
  let stood = "";
  let headOf = null;
  const head = h("div", { class: "doc-head" });
  const figures = h("div", { class: "compare-figures" });
  const pairs = h("div", { class: "pairs" });
  const pages = h("nav", { class: "pages", "aria-label": "Pages of the pairs" });
  const element = h("div", { class: "compare" }, head, figures, pairs, pages);
  const address = (changes) => href("compare", null, { ...now.params, ...changes });
  /** The address of other pairs: what was unfolded is of those that are shown. */
  const others = (changes) => address({ ...changes, rest: "" });
  const cut = cuts(() => now.params.rest, (rest) => {
    now = { ...now, params: { ...now.params, rest } };
    note(address({}));
  });

  /** The runs that the address names, or the last two. */
  function chosen() {
    const runs = app.info.runs.map((run) => run.run_id);
    return { a: now.params.a ?? runs.at(-2), b: now.params.b ?? runs.at(-1) };
  }

  /** How the runs stand that are compared. */
  function standing() {
    const { a, b } = chosen();
    return JSON.stringify(app.info.runs.filter((run) => run.run_id === a || run.run_id === b));
  }

  /** What the address says; the last two runs of this moment become part of it: of the next they may be others. */
  async function showAddress() {
    const { a, b } = chosen();
    if (a && b && !(now.params.a && now.params.b)) go(address({ a, b }), true);
    else await load();
  }

  const renew = sparing(async () => {
    if (!closed) await showAddress();
  });

  function stepBy(by) {
    const all = [...pairs.querySelectorAll(".pair")];
    const at = all.indexOf(document.activeElement?.closest(".pair"));
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "start" });
  }

  function leaf(by) {
    const offset = offsetOf(now.params) + by * PAIRS;
    if (offset >= 0 && offset < total) go(others({ offset }));
  }

  async function load() {
    const mine = ++asked;
    const { a, b } = chosen();
    drawHead(a, b);
    stood = standing();
    if (!a || !b || a === b) {
      shown = "";
      total = 0;
      put(figures, h("p", { class: "none" }, "Choose two runs over the same prompts."));
      put(pairs);
      put(pages);
      return;
    }
    const { differs = "" } = now.params;
    const offset = offsetOf(now.params);
    if (!shown) put(figures, h("p", { class: "soft", role: "status" }, "Comparing …"));
    const answer = await app.source.compare({ a, b, differs: differs === "1", offset, limit: PAIRS });
    if (mine !== asked) return;
    // Links on the page hold the rest of the address.
    const text = JSON.stringify([now.params, answer]);
    if (text === shown) return;
    shown = text;
    draw(answer);
  }

  /** Drawn anew only where something else is to be chosen from: a list that is open would close. */
  function drawHead(a, b) {
    const runs = JSON.stringify(app.info.runs.map((run) => run.run_id));
    if (headOf !== runs) {
      headOf = runs;
      keepFocus([head], makeHead);
    }
    const [first, second] = head.querySelectorAll("select");
    first.value = a ?? "";
    second.value = b ?? "";
    head.querySelector("input").checked = now.params.differs === "1";
  }

  function makeHead() {
    const pick = (name, label) => h("label", {}, label, " ",
      h("select", { on: { change: (event) => go(others({ [name]: event.target.value, offset: "" })) } },
        app.info.runs.map((run) => h("option", { value: run.run_id },
          `${run.run_id} · ${run.constitution} ${run.constitution_version} · ${run.pack} · ${run.model}`))));
    put(head,
      h("h1", {}, "Compare"),
      h("div", { class: "choose" }, pick("a", "First"), pick("b", "Second")),
      h("label", { class: "check" }, h("input", {
        type: "checkbox",
        on: { change: (event) => go(others({ differs: event.target.checked ? "1" : "", offset: "" })) },
      }), " Only where they differ"));
  }

  function draw(answer) {
    app.title("Compare");
    keepFocus([figures, pairs, pages], () => drawAll(answer));
  }

  function drawAll(answer) {
    const { comparison: c } = answer;
    put(figures,
      h("p", { class: "summary", role: "status" }, h("b", {}, count(c.pairs)), ` ${c.pairs === 1 ? "pair" : "pairs"}, `,
        h("b", {}, count(c.different)), " of them differ"),
      h("p", { class: "soft" }, `${count(c.same_drafts)} with the same draft, ${count(c.same_finals)} with the same final text. Not compared: ${count(answer.left_out_first)} of the first run, ${count(answer.left_out_second)} of the second.`),
      answer.settings.length > 0 && settings(answer),
      splits(c));
    put(pairs, answer.pairs.length === 0
      ? h("p", { class: "none" }, c.pairs === 0 ? "No prompt and sample has a finished chain in both runs." : "They differ nowhere.")
      : answer.pairs.map(pair));
    ({ total } = answer);
    drawPages(answer);
  }

  function drawPages({ offset, pairs: here }) {
    const step = (label, to, there) => (there ? h("a", { href: others({ offset: to || "" }), "data-key": label }, label) : h("span", { class: "off", "aria-disabled": "true" }, label));
    put(pages, total > PAIRS && [step("← Previous", Math.max(0, offset - PAIRS), offset > 0),
      h("span", {}, `${count(offset + 1)}–${count(offset + here.length)} of ${count(total)}`),
      step("Next →", offset + PAIRS, offset + PAIRS < total)]);
  }

  /** In what the runs differ. Whether it is unfolded is in the address, once somebody has said so. */
  function settings(answer) {
    const all = answer.settings;
    const isOpen = () => (now.params.settings === undefined ? all.length < 6 : now.params.settings === "1");
    const part = h("details", { class: "more-about", open: isOpen() }, h("summary", {}, `${plural(all.length, "setting")} differ`),
      h("dl", { class: "settings" }, all.map(([name, first, second]) => h("div", {},
        h("dt", {}, name), h("dd", {}, h("code", {}, nodes(first)), " → ", h("code", {}, nodes(second)))))));
    part.addEventListener("toggle", () => {
      if (closed || part.open === isOpen()) return;
      now = { ...now, params: { ...now.params, settings: part.open ? "1" : "0" } };
      note(address({}));
      // The other pages have them alike.
      drawPages(answer);
    });
    return part;
  }

  function splits(c) {
    const line = (label, s) => h("tr", {}, h("th", { scope: "row" }, label),
      [s.both, s.only_first, s.only_second, s.neither].map((n) => h("td", {}, count(n))), h("td", { class: "soft" }, fixed(s.p_value, 3)));
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Counts" }, h("table", { class: "splits" },
      h("thead", {}, h("tr", {}, ["", "in both", "only first", "only second", "in neither", "p"].map((t) => h(t ? "th" : "td", t ? { scope: "col" } : {}, t)))),
      h("tbody", {}, line("any principle violated", c.fired), line("revised", c.revised),
        Object.entries(c.principles).map(([id, split]) => line(id, split)))));
  }

  function pair(p) {
    const side = (s, name, body) => h("div", { class: "side-of" },
      h("h3", {}, h("a", { href: href("chain", s.chain_id) }, name), " ", h("small", {}, s.stop_reason ?? "", `, ${plural(s.rounds, "round")}`)),
      h("p", { class: "chips" }, s.asked.filter((v) => v.kind === "critique").map((v) => chip(
        `${v.principle} ${probability(v.probability)}`, v.violated ? "bad" : "good", { title: v.violated ? "violated" : "not violated" }))),
      body);
    const { first, second } = p.pair;
    // Named after the chain: while a run writes, other pairs come in between.
    const of = cut.of(first.chain_id.slice(0, 8));
    return h("article", { class: `pair${p.differs ? " differs" : ""}`, tabindex: "-1", "aria-label": `Prompt ${p.pair.prompt_id}` },
      h("header", {}, h("h2", { dir: "auto" }, nodes(excerpt(p.pair.prompt, 600))), h("p", { class: "under" }, nodes(p.pair.prompt_id),
        p.pair.sample > 0 && ` · sample ${p.pair.sample}`, !p.differs && chip("the same", "plain"))),
      h("div", { class: "two" },
        side(first, "First", block(first.final, of.of("a"))),
        side(second, "Second", first.final === second.final ? h("p", { class: "soft" }, "The same final text.") : diffBlock(first.final, second.final, p.diff, of.of("b")))));
  }

  return {
    element,
    async show(state) {
      now = state;
      await showAddress();
    },
    pulse() {
      const { a, b } = chosen();
      drawHead(a, b);
      // Other runs may write as they like.
      if (standing() !== stood) renew();
    },
    /** What arrives later is dropped. */
    close() {
      closed = true;
      asked += 1;
    },
    keys: {
      j: () => stepBy(1),
      k: () => stepBy(-1),
      n: () => leaf(1),
      p: () => leaf(-1),
      d: () => head.querySelector("input")?.click(),
      o: () => unfoldNext(pairs, "article.pair"),
    },
  };
}
