// A chain: its steps in a column, what it cost, what people say, and its neighbours within the filter.

import { probabilityBar } from "./charts.js";
import { count, duration, ending, fixed, percent, plural, probability, ratio, sparing } from "./format.js";
import { button, chip, h, keepFocus, put } from "./dom.js";
import { labelPanel } from "./labels.js";
import { cuts, go, href, named, naming, note, ofList, ROWS } from "./route.js";
import { conversation, messagesOf } from "./messages.js";
import { block, changeLine, diffBlock, nodes, unfoldNext } from "./text.js";

/** What is beside the steps and can be unfolded, by key. */
const FOLDS = { h: "history", f: "fields" };
const VIEWS = [["diff", "Diff"], ["before", "Before"], ["after", "After"], ["total", "Draft ↔ final"]];

export function chainPage(app) {
  let now = { params: {} };
  let data = null;
  let asked = 0;
  let shown = "";
  // The id in the address that `data` was read for; it may be the beginning of the chain's.
  let loaded = null;
  let closed = false;
  // Messages that were asked for, by chain and step.
  const kept = new Map();
  const column = h("div", { class: "steps" });
  const head = h("div", { class: "chain-head" });
  const outline = h("nav", { class: "outline", "aria-label": "Steps" });
  const facts = h("section", { class: "facts", "aria-label": "Facts" });
  /** Parts that can be unfolded, each with a name by which the address knows that it is. */
  const folds = {
    open: (name) => named(now.params.more).has(name),
    make(name, title, ...content) {
      const key = Object.keys(FOLDS).find((one) => FOLDS[one] === name);
      const part = h("details", { class: "more-about", open: folds.open(name), "data-fold": name },
        h("summary", { "aria-keyshortcuts": key }, title), content);
      part.addEventListener("toggle", () => {
        if (part.open === folds.open(name) || !settled()) return;
        now = { ...now, params: { ...now.params, more: naming(now.params.more, name, part.open) } };
        note(href("chain", now.id, now.params));
        // The links to the chains beside it lead to theirs unfolded alike.
        keepFocus([head], drawHead);
      });
      return part;
    },
  };
  /** Texts that are cut, by step (`3`), by its messages (`3m`) and by the view of a revision (`3d`). */
  const cut = cuts(() => now.params.rest, (rest) => {
    if (!settled()) return;
    now = { ...now, params: { ...now.params, rest } };
    note(href("chain", now.id, now.params));
  });
  const labels = labelPanel(app, reload, folds);
  const element = h("div", { class: "chain" }, head, outline, column,
    h("div", { class: "side" }, labels.element, facts));

  async function load() {
    const mine = ++asked;
    const { id } = now;
    const { q = "", sort = "" } = now.params;
    const answer = await app.source.chain(id, { q, sort });
    if (mine !== asked) return;
    loaded = id;
    const text = JSON.stringify([answer.page, answer.labels, answer.gates, answer.judgements]);
    if (text === shown) {
      // While a run writes, most of what is new is how many chains there are. Drawn anew, a text would lose
      // what is selected in it.
      const near = JSON.stringify(answer.near) !== JSON.stringify(data.near);
      data = answer;
      if (near) keepFocus([head], drawHead);
      return;
    }
    const other = data?.page.chain.chain_id !== answer.page.chain.chain_id;
    shown = text;
    data = answer;
    draw();
    if (!other) return;
    scrollTo(0, 0);
    if (now.params.step) focusStep(now.params.step);
  }

  async function reload() {
    if (!closed) await load();
  }

  function draw() {
    keepFocus([head, outline, column, facts], drawAll);
  }

  function drawAll() {
    const { page } = data;
    const back = holdFocus();
    app.title(`Chain ${page.chain.chain_id}`);
    drawHead();
    put(outline, h("ol", {}, page.steps.map((step) => h("li", { class: `to-${tone(step)}` },
      h("a", { href: "#", on: { click: (event) => { event.preventDefault(); focusStep(step.ordinal); } } },
        h("span", { class: "kind" }, step.kind), step.principle && h("span", { class: "about" }, step.principle))))));
    put(column, promptBlock(page), page.steps.map((step) => stepBlock(step)),
      chosenBlock(),
      page.chain.error && h("p", { class: "problem", role: "alert" }, nodes(page.chain.error)),
      page.chain.status === "running" && h("p", { class: "note waiting" }, "The chain is still running. Its next steps appear here."));
    drawFacts();
    const final = page.steps.find((step) => step.ordinal === page.last)?.output ?? "";
    labels.show(data.labels, final, page.chain.status === "running", page.chain.chain_id);
    back();
  }

  /** Remembers where the focus is among the steps, and gives back what puts it there again. */
  function holdFocus() {
    const step = document.activeElement?.closest("article.step");
    if (!step) return () => {};
    const at = [...step.querySelectorAll("a, button")].indexOf(document.activeElement);
    return () => {
      const again = column.querySelector(`#${step.id}`);
      const target = again?.querySelectorAll("a, button")[at] ?? again;
      target?.focus({ preventScroll: true });
    };
  }

  /** The address of another chain of the same list. */
  const beside = (id) => {
    // Texts in the history are those of this chain.
    const more = [...named(now.params.more)].filter((name) => !name.startsWith("text"));
    return href("chain", id, { ...ofList(now.params), more: more.join(".") });
  };

  /** The address of the page of the list that the chain is on. */
  const list = () => {
    const near = settled() ? data.near : null;
    return href("list", null, { ...ofList(now.params), offset: near?.listed ? Math.floor(near.index / ROWS) * ROWS : "" });
  };

  function drawHead() {
    const { page, near } = data;
    const { q } = now.params;
    const chain = page.chain;
    const to = (id, label, key, rel) => (id
      ? h("a", { class: "step-to", href: beside(id), rel, "data-key": key, "aria-keyshortcuts": key }, label)
      : h("span", { class: "step-to off", "aria-disabled": "true" }, label));
    const end = ending(chain);
    put(head,
      h("div", { class: "way" },
        h("a", { href: list(), "aria-keyshortcuts": "b" }, "← All chains"),
        h("span", { class: "where" },
          near.listed ? `${count(near.index + 1)} of ${count(near.total)}` : `not among the ${count(near.total)}`,
          q && [" matching ", h("code", {}, nodes(q))]),
        to(near.previous, "↑ Previous", "k", "prev"), to(near.next, "↓ Next", "j", "next")),
      h("h1", {}, "Chain ", h("code", {}, chain.chain_id)),
      h("p", { class: "about-chain" },
        chip(end, end === "failed" ? "bad" : end === "clean" ? "good" : "plain"),
        h("span", {}, plural(chain.rounds, "round")),
        h("span", {}, chain.revised && chain.changed !== null
          ? `${percent(chain.changed)} of words changed${chain.length_ratio === null ? "" : `, length ${ratio(chain.length_ratio)}`}`
          : "not revised"),
        chain.regressed.map((id) => chip(`${id}: violated again`, "worse")),
        chain.flags.map((flag) => h("a", { href: href("list", null, { q: `flag:${flag}` }) }, chip(flag, "warn")))));
  }

  function promptBlock(page) {
    const last = page.messages.at(-1);
    const single = page.messages.length === 1;
    return h("section", { class: "prompt-block", "aria-label": "Prompt" },
      h("h2", {}, "Prompt ", h("small", {}, nodes(page.chain.prompt_id), page.chain.sample > 0 && ` · sample ${page.chain.sample}`)),
      single ? block(last.content, cut.of("p")) : conversation(page.messages, cut.of("p")));
  }

  function stepBlock(step) {
    const { page } = data;
    const title = step.principle ? (page.titles[step.principle] ?? step.principle) : null;
    const names = { draft: "Draft", critique: "Critique", revision: "Revision", recheck: "Recheck" };
    const body = step.kind === "critique" || step.kind === "recheck" ? critique(step) : writing(step);
    const open = opened().has(step.ordinal);
    const messages = h("div", { class: "messages" });
    const calls = step.cost?.calls ?? 0;
    const toggle = calls > 0 && button(open ? "Hide messages" : "Messages", () => toggleMessages(step.ordinal),
      { class: "quiet", "aria-expanded": String(open), title: "what the model saw and wrote (m)" });
    if (open && calls > 0) messagesOf(app, page.chain.chain_id, step, messages, kept, cut.of(`${step.ordinal}m`));
    return h("article", { id: `step-${step.ordinal}`, class: `step ${step.kind} to-${tone(step)}`, tabindex: "-1", "data-step": step.ordinal, "aria-labelledby": `step-${step.ordinal}-title` },
      h("header", {},
        h("h2", { id: `step-${step.ordinal}-title` }, h("span", { class: "number", "aria-hidden": "true" }, step.ordinal), names[step.kind],
          title && h("span", { class: "of-principle" }, nodes(title))),
        h("p", { class: "under" },
          step.round > 0 && h("span", {}, `round ${step.round}`),
          step.principle && h("a", { href: `${href("constitution", page.run.run_id, { principle: step.principle })}` }, step.principle),
          (step.kind === "draft" || step.kind === "revision") && !step.adopted && chip("not adopted", "bad"),
          step.flags.map((flag) => chip(flag, "warn")))),
      body,
      h("footer", {}, cost(step), toggle),
      messages);
  }

  /** The text that a person wrote in place of the final one. */
  function chosenBlock() {
    const { page, labels: said } = data;
    if (said.chosen === null || said.chosen === undefined) return null;
    const final = page.steps.find((step) => step.ordinal === page.last)?.output ?? "";
    return h("section", { class: "step chosen to-accent", "aria-labelledby": "chosen-title" },
      h("header", {}, h("h2", { id: "chosen-title" }, "Edited text"),
        h("p", { class: "under" }, "written by a person; the chosen text of exports, compared with the final one")),
      diffBlock(final, said.chosen, said.chosen_diff, cut.of("c")));
  }

  function critique(step) {
    const { page } = data;
    const verdict = step.verdict;
    if (!verdict) return block(step.output, cut.of(step.ordinal));
    const words = step.kind === "recheck"
      ? (verdict.violated ? "Violated again: a regression" : "Mended")
      : (verdict.violated ? "Violated" : "Not violated");
    const about = page.steps.find((other) => other.ordinal === step.about);
    const agreement = data.labels.agreements.find((a) => a.step === step.ordinal);
    const judge = (name, label, value, key) => button(label, () => labels.actions[name](step.ordinal),
      { class: "quiet", "aria-pressed": String(agreement?.agreed === value), "aria-keyshortcuts": key });
    return h("div", { class: "verdict" },
      h("p", { class: "finding" },
        h("b", { class: verdict.violated ? "bad" : "good" }, words),
        verdict.probability !== null && [probabilityBar(verdict.probability, page.run.threshold, verdict.violated),
          h("span", { class: "p" }, `P ${probability(verdict.probability)}`)],
        verdict.severity && h("span", {}, verdict.severity),
        h("span", { class: "soft" }, verdict.source === "check" ? "by a check" : "by the model")),
      verdict.quote && h("blockquote", { dir: "auto" }, nodes(verdict.quote),
        h("footer", {}, verdict.quote_verified && about
          ? h("a", { href: "#", on: { click: (event) => { event.preventDefault(); focusQuote(about.ordinal, step.ordinal); } } }, `in step ${about.ordinal}, ${about.kind}`)
          : h("span", { class: "bad" }, "these words are not in the response"))),
      (verdict.critique || step.output) && block(verdict.critique || step.output, cut.of(step.ordinal)),
      (!app.info.read_only || agreement) && h("p", { class: "agree", role: "group", "aria-label": "Your view of this verdict" },
        h("span", { class: "soft" }, "Is this verdict right?"),
        app.info.read_only ? chip(agreement.agreed ? "agreed" : "disagreed", "plain")
          : [judge("agree", "Agree", true, "y"), judge("disagree", "Disagree", false, "x")]));
  }

  /** A draft or a revision. */
  function writing(step) {
    const { page } = data;
    if (step.kind === "draft" || step.about === null) return block(step.output, cut.of(step.ordinal), step.quoted);
    const before = page.steps.find((other) => other.ordinal === step.about);
    const view = views()[step.ordinal] ?? "diff";
    const total = page.total !== null && page.draft !== null;
    const choices = VIEWS.filter(([name]) => name !== "total" || total);
    const current = choices.some(([name]) => name === view) ? view : "diff";
    const textOf = (ordinal) => page.steps.find((other) => other.ordinal === ordinal);
    const of = (part) => cut.of(`${step.ordinal}${part}`);
    const bodies = {
      diff: () => diffBlock(before.output, step.output, step.diff, of("d"), step.quoted),
      before: () => block(before.output, of("b"), before.quoted),
      after: () => block(step.output, of("a"), step.quoted),
      total: () => diffBlock(textOf(page.draft).output, textOf(page.last).output, page.total, of("t"), textOf(page.last).quoted),
    };
    return h("div", { class: "writing" },
      h("div", { class: "views", role: "group", "aria-label": "View of the revision" },
        choices.map(([name, label]) => button(label, () => setView(step.ordinal, name), { "aria-pressed": String(name === current) })),
        h("span", { class: "soft" }, changeLine(current === "total" ? page.total : step.diff))),
      bodies[current]());
  }

  function cost(step) {
    const c = step.cost;
    if (!c) return h("p", { class: "cost" }, step.verdict?.source === "check" ? "decided by the program, without a model" : "");
    return h("p", { class: "cost" }, [
      `${plural(c.prompt_tokens, "token")} read`, c.cached_tokens > 0 && `${count(c.cached_tokens)} from the cache`,
      `${count(c.tokens)} written`, duration(c.duration_ms), c.finish !== "stop" && `stopped by ${c.finish}`,
      c.seed !== null && `seed ${c.seed}`, c.calls > 1 && `${c.calls} calls`, c.reused > 0 && "from the store",
    ].filter(Boolean).map((part, i) => [i > 0 && " · ", part]));
  }

  function drawFacts() {
    const { page } = data;
    const { chain, run } = page;
    const time = page.steps.reduce((sum, step) => sum + (step.cost?.duration_ms ?? 0), 0);
    const row = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    const copy = button("Copy", copyCommand, { class: "quiet", "aria-keyshortcuts": "c" });
    put(facts,
      h("h2", {}, "Facts"),
      h("dl", {},
        row("Run", h("a", { href: href("list", null, { q: `run:${run.run_id}` }) }, run.run_id)),
        row("Constitution", h("a", { href: href("constitution", run.run_id) }, nodes(run.constitution))),
        row("Model", nodes(run.model)), row("Pack", nodes(run.pack)), row("Prompts", nodes(run.prompts)),
        row("Tokens", `${count(chain.prompt_tokens)} read, ${count(chain.cached_tokens)} of them cached; ${count(chain.tokens)} written`),
        row("Time", duration(time)),
        run.seed !== null && row("Run's seed", run.seed)),
      decided(data.gates, data.judgements ?? [], row),
      Object.keys(page.metadata).length > 0 && folds.make("fields", "Other fields of the prompt",
        h("pre", { tabindex: "0" }, nodes(JSON.stringify(page.metadata, null, 2)))),
      page.command && h("div", { class: "reproduce" },
        h("h3", {}, "Make it again"), h("pre", { tabindex: "0" }, page.command), copy,
        !run.deterministic && h("p", { class: "soft" }, "Only runs with --deterministic promise the same replies.")));
  }

  async function copyCommand() {
    const command = settled() && data.page.command;
    if (!command) return;
    // Where a page may not copy at all, there is no clipboard.
    const copied = await navigator.clipboard?.writeText(command).then(() => true, () => false);
    app.say(copied ? "Copied" : "The browser did not allow that");
  }

  /** Unfolds or folds what is beside the steps, which gets the focus: on a small window it is far from them. */
  function toggleFold(name) {
    const part = element.querySelector(`[data-fold="${name}"]`);
    if (!settled() || !part || part.hidden) return;
    part.open = !part.open;
    part.querySelector("summary").focus({ preventScroll: true });
    part.scrollIntoView({ block: "nearest" });
  }

  /** Whether the page shows the chain of the address, and not still the one before it. */
  const settled = () => loaded !== null && loaded === now.id;
  const label = (name) => settled() && labels.actions[name]();

  // What is open and how revisions are shown is in the address: open=1.4, view=2.before_5.total, more=history and
  // rest=3d4.
  const opened = () => new Set([...named(now.params.open)].map(Number));
  const views = () => Object.fromEntries((now.params.view ?? "").split("_").filter(Boolean).map((part) => part.split(".")));
  const change = (changes) => settled() && go(href("chain", now.id, { ...now.params, ...changes }), true);

  function setView(ordinal, name) {
    const all = { ...views(), [ordinal]: name };
    if (name === "diff") delete all[ordinal];
    change({ view: Object.entries(all).map((pair) => pair.join(".")).join("_") });
    column.querySelector(`#step-${ordinal} .views [aria-pressed="true"]`)?.focus();
  }

  function toggleMessages(ordinal) {
    const all = opened();
    if (!all.delete(ordinal)) all.add(ordinal);
    change({ open: [...all].join(".") });
    column.querySelector(`#step-${ordinal} footer button`)?.focus();
  }

  const articles = () => [...column.querySelectorAll("article.step")];
  const current = () => {
    const inside = document.activeElement?.closest("article.step");
    return inside ? articles().indexOf(inside) : -1;
  };

  function focusStep(ordinal) {
    const step = column.querySelector(`#step-${CSS.escape(ordinal)}`);
    if (!step) return;
    step.focus({ preventScroll: true });
    step.scrollIntoView({ block: "start" });
    if (!settled()) return;
    now = { ...now, params: { ...now.params, step: String(ordinal) } };
    note(href("chain", now.id, now.params));
  }

  function focusQuote(ordinal, step) {
    focusStep(ordinal);
    column.querySelector(`#step-${ordinal} mark[data-steps~="${step}"]`)?.scrollIntoView({ block: "center" });
  }

  function stepBy(by) {
    const all = articles();
    const at = current();
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
    if (next) focusStep(Number(next.dataset.step));
  }

  /** The step with the focus, or the first that fits. */
  function pick(fits) {
    const at = current();
    const focused = at >= 0 ? data.page.steps[at] : null;
    return focused && fits(focused) ? focused : data?.page.steps.find(fits);
  }

  function cycle() {
    const step = pick((s) => s.kind === "revision" && s.about !== null);
    if (!step) return;
    const choices = VIEWS.filter(([name]) => name !== "total" || data.page.total !== null);
    const at = choices.findIndex(([name]) => name === (views()[step.ordinal] ?? "diff"));
    setView(step.ordinal, choices[(at + 1) % choices.length][0]);
  }

  function neighbour(id) {
    if (id) go(beside(id));
    else app.say("There is no further chain in this list");
  }

  const judged = (name) => {
    if (!settled()) return;
    const step = pick((s) => Boolean(s.verdict));
    if (step) labels.actions[name](step.ordinal);
  };

  return {
    element,
    async show(state) {
      const same = now.id === state.id;
      now = state;
      if (same && data) draw();
      else shown = "";
      if (!same || !data) await load();
    },
    pulse: sparing(reload),
    /** What arrives later is dropped. */
    close() {
      closed = true;
      asked += 1;
    },
    keys: {
      j: () => neighbour(data?.near.next),
      k: () => neighbour(data?.near.previous),
      "]": () => stepBy(1),
      "[": () => stepBy(-1),
      d: cycle,
      m: () => {
        const step = pick((s) => (s.cost?.calls ?? 0) > 0);
        if (step) toggleMessages(step.ordinal);
      },
      o: () => unfoldNext(column, "article.step"),
      ...Object.fromEntries(Object.entries(FOLDS).map(([key, name]) => [key, () => toggleFold(name)])),
      c: copyCommand,
      b: () => go(list()),
      a: () => label("accept"),
      r: () => label("reject"),
      e: () => label("edit"),
      t: () => label("note"),
      u: () => label("undo"),
      y: () => judged("agree"),
      x: () => judged("disagree"),
    },
  };
}

/** What judges said of pairs of a chain's texts, and what gates decided about it for datasets. */
function decided(gates, judgements, row) {
  if (!gates && judgements.length === 0) return null;
  const kept = !gates?.kept ? "left out" : gates.pair ? "text and pair kept" : gates.rejected ? "text kept, pair left out" : "text kept";
  return h("div", { class: "decided" },
    h("h3", {}, "For datasets"),
    h("dl", {},
      judgements.map((one) => row("Judge", `P ${probability(one.p)} that step ${one.second} is better than step ${one.first}`,
        !one.agree && ", the orders disagree")),
      gates && row("Gates", kept),
      gates && row("Texts", `${gates.chosen}${gates.rejected ? ` over ${gates.rejected} (${gates.why})` : ""}`),
      gates?.rejected && row("Contrast", `${percent(gates.edit_distance)} of words differ`,
        gates.length_ratio !== null && `, length ${ratio(gates.length_ratio)}`, gates.margin !== null && `, margin ${fixed(gates.margin, 2)}`),
      (gates?.findings ?? []).map((found) => row(
        h("a", { href: href("list", null, { q: `gate:${found.gate}` }) }, found.gate), nodes(found.reason), found.pair_only && " (pair only)"))));
}

/** What colour a step speaks in. */
function tone(step) {
  if (step.verdict) return step.verdict.violated ? "bad" : "good";
  if (step.kind === "revision") return step.adopted ? "accent" : "soft";
  return "plain";
}
