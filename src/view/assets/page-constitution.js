// A constitution as it was in a run: the text of each principle beside what it did.

import { count, percent, plural, probability, quoted, sparing } from "./format.js";
import { chip, h, keepFocus, put, svg } from "./dom.js";
import { go, href } from "./route.js";
import { nodes } from "./text.js";

export function constitutionPage(app) {
  // The run of the address, and what is on the page: its id and its answer, as text.
  let wanted = null;
  let shown = null;
  let drawn = "";
  let data = null;
  let asked = 0;
  let closed = false;
  let choice = null;
  const chooser = h("p", { class: "way" });
  const about = h("div", { class: "doc-about" });
  const head = h("div", { class: "doc-head" }, chooser, about);
  const outline = h("nav", { class: "outline", "aria-label": "Principles" });
  const column = h("div", { class: "principles-column" });
  const element = h("div", { class: "constitution" }, head, outline, column);

  const list = (run, term) => href("list", null, { q: `run:${run}${term && ` ${term}`}` });

  /** Asks for the run that is wanted. What arrives late, after another question, is dropped. */
  async function load() {
    const mine = ++asked;
    const id = wanted;
    const answer = await app.source.constitution(id);
    if (mine !== asked) return;
    shown = id;
    data = answer;
    drawChoice();
    const text = JSON.stringify(answer);
    if (text === drawn) return;
    drawn = text;
    keepFocus([about, outline, column], draw);
  }

  const renew = sparing(async () => {
    if (!closed) await load();
  });

  /** Drawn anew only where something else is to be chosen from: a list that is open would close. */
  function drawChoice() {
    const runs = JSON.stringify(app.info.runs.map((run) => run.run_id));
    if (choice !== runs) {
      choice = runs;
      keepFocus([chooser], () => put(chooser, h("label", {}, "As it was in run ",
        h("select", { on: { change: (event) => go(href("constitution", event.target.value)) } },
          app.info.runs.map((run) => h("option", { value: run.run_id },
            `${run.run_id} · ${run.constitution} ${run.constitution_version} · ${run.model}`))))));
    }
    chooser.querySelector("select").value = data.run.run_id;
  }

  function draw() {
    const { run, constitution } = data;
    app.title(`Constitution ${constitution.name}`);
    put(about,
      h("h1", {}, nodes(constitution.name), " ", h("small", {}, nodes(constitution.version))),
      constitution.description && h("p", { class: "lead" }, nodes(constitution.description)),
      h("p", { class: "soft" }, `${plural(constitution.principles.length, "principle")} · `,
        h("a", { href: list(run.run_id, "") }, plural(data.chains ?? run.chains, "chain")), ` · ${run.model} · `,
        h("code", {}, run.constitution_digest.slice(0, 19)), constitution.license && ` · ${constitution.license}`));
    put(outline, h("ol", {}, constitution.principles.map((p) => {
      const f = data.figures[p.id];
      return h("li", { class: f?.fired > 0 ? "to-bad" : "to-plain" },
        h("a", { href: href("constitution", run.run_id, { principle: p.id }) }, nodes(p.id), " ",
          h("span", { class: "about" }, f ? `${count(f.fired)} of ${count(f.asked)}` : "never asked")));
    })));
    put(column, constitution.principles.map(principle));
  }

  function principle(p) {
    const run = data.run.run_id;
    const f = data.figures[p.id];
    const of = (term) => list(run, `principle:${quoted(p.id)}${term}`);
    const figure = (value, label, address) => h("div", {}, h("dt", {}, label), h("dd", {}, address ? h("a", { href: address }, value) : value));
    return h("article", { id: `principle-${p.id}`, class: "principle", tabindex: "-1", "aria-labelledby": `title-${p.id}` },
      h("header", {},
        h("h2", { id: `title-${p.id}` }, nodes(p.title)),
        h("p", { class: "under" }, h("code", {}, p.id), chip(p.severity, "plain"),
          p.status !== "active" && chip(p.status, "warn"), p.weight !== 1 && h("span", {}, `weight ${p.weight}`),
          p.precedence !== 100 && h("span", {}, `precedence ${p.precedence}`), p.tags.map((tag) => chip(tag, "plain")))),
      h("div", { class: "beside" },
        h("div", { class: "says" },
          p.critique && section("Critique", p.critique), section("Revision", p.revision),
          p.check && h("section", {}, h("h3", {}, "Check"), h("pre", { tabindex: "0" }, nodes(JSON.stringify(p.check, null, 2)))),
          p.rationale && section("Why", p.rationale),
          (p.examples.length > 0 || p.tests.length > 0) && h("p", { class: "soft" },
            [p.examples.length > 0 && plural(p.examples.length, "example"), p.tests.length > 0 && plural(p.tests.length, "test")].filter(Boolean).join(", "))),
        f ? h("div", { class: "did" },
          share(f), h("dl", {},
            figure(count(f.asked), "asked", of(" kind:critique")),
            figure(count(f.fired), "violated", of(" kind:critique violated:true")),
            figure(count(f.revised), "revised"),
            f.mean_probability !== null && figure(probability(f.mean_probability), "mean P"),
            f.quotes > 0 && figure(percent(f.quotes_verified / f.quotes), "quotes found"),
            f.rechecked > 0 && figure(`${count(f.still_fired)} of ${count(f.rechecked)}`, "violated again", of(" kind:recheck violated:true")),
            f.retriggered > 0 && figure(count(f.retriggered), "fired after another's revision")))
          : h("p", { class: "did soft" }, "Never asked in this run.")));
  }

  return {
    element,
    async show(state) {
      const id = state.id ?? app.info.runs.at(-1)?.run_id;
      wanted = id ?? null;
      if (wanted === null) {
        put(column, h("p", { class: "none" }, "There is no run yet."));
        return;
      }
      if (wanted !== shown) await load();
      // Another run was asked for meanwhile.
      if (wanted !== id) return;
      const { principle: named } = state.params;
      const article = named && document.getElementById(`principle-${named}`);
      if (article) {
        article.focus({ preventScroll: true });
        article.scrollIntoView({ block: "start" });
      }
    },
    pulse() {
      // The first run may have begun while nothing could be shown.
      wanted ??= app.info.runs.at(-1)?.run_id ?? null;
      if (wanted !== null) renew();
    },
    /** What arrives later is dropped. */
    close() {
      closed = true;
      asked += 1;
    },
    keys: {
      "]": () => stepBy(column, 1),
      "[": () => stepBy(column, -1),
    },
  };
}

function section(title, text) {
  return h("section", {}, h("h3", {}, title), h("div", { class: "text", dir: "auto" }, nodes(text)));
}

function share(f) {
  const part = f.asked === 0 ? 0 : (f.fired / f.asked) * 100;
  return svg("svg", { class: "share", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": `violated in ${f.fired} of ${f.asked}` },
    svg("rect", { class: "whole", x: 0, y: 0, width: 100, height: 8 }), svg("rect", { class: "part", x: 0, y: 0, width: part, height: 8 }));
}

function stepBy(column, by) {
  const all = [...column.querySelectorAll(".principle")];
  const at = all.indexOf(document.activeElement?.closest(".principle"));
  const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "start" });
}
