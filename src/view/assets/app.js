// The frame around the pages: header, state in the address, keys, and what changes while one looks.

import { count } from "./format.js";
import { button, h, keepFocus, put } from "./dom.js";
import { help, listen } from "./keys.js";
import { follow, go, href, ofList, route } from "./route.js";
import { chainPage } from "./page-chain.js";
import { comparePage } from "./page-compare.js";
import { constitutionPage } from "./page-constitution.js";
import { listPage } from "./page-list.js";

const PAGES = { list: listPage, chain: chainPage, compare: comparePage, constitution: constitutionPage };

/** Begins with data from `source`; `source-server.js` says what a source is. */
export async function start(source) {
  const app = new App(source);
  document.body.append(...app.frame());
  try {
    app.info = await source.info();
  } catch (error) {
    return app.fail(error);
  }
  app.begin();
}

class App {
  constructor(source) {
    this.source = source;
    this.info = null;
    this.page = null;
    this.id = null;
    this.turn = 0;
    this.main = h("main", { id: "main", tabindex: "-1" });
    this.status = h("p", { class: "live" });
    this.nav = h("nav", { "aria-label": "Pages" });
    this.db = h("span", { class: "db" });
    this.said = h("div", { class: "spoken", role: "status", "aria-live": "polite" });
    this.toasts = h("div", { class: "toasts", "aria-hidden": "true" });
  }

  frame() {
    const skip = h("a", { class: "skip", href: "#main", on: { click: (event) => { event.preventDefault(); this.main.focus(); } } }, "Skip to the content");
    const bar = h("header", { class: "bar" },
      h("a", { class: "brand", href: "#/" }, "amend"), this.db, this.nav, this.status,
      button("?", () => help(this.info), { class: "quiet round", "aria-label": "Keys", title: "Keys", "aria-keyshortcuts": "?" }));
    return [skip, bar, this.main, this.said, this.toasts];
  }

  begin() {
    put(this.db, this.info.db);
    if (this.info.live) this.source.events((pulse) => this.pulse(pulse), (open) => this.connected(open));
    this.showRuns();
    listen(() => this.keys());
    follow(() => this.show());
    this.show();
  }

  /** Shows the state of the address: with the page that is there, or with a new one. */
  async show() {
    const now = route();
    const make = PAGES[now.page];
    if (!make || (now.page === "chain" && !now.id)) return go(href("list"), true);
    if (this.page && (this.page.name !== now.page || this.id !== now.id)) closeDialogs();
    this.id = now.id;
    if (this.page?.name !== now.page) {
      const first = this.page === null;
      this.page?.close?.();
      this.page = { name: now.page, ...make(this) };
      put(this.main, this.page.element);
      // What had the focus is gone with its page; without this the next Tab would begin at the top.
      if (!first) this.main.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    this.showNav(now);
    const page = this.page;
    const turn = ++this.turn;
    try {
      await page.show(now);
    } catch (error) {
      // Nobody waits any more for what was asked before something else was.
      if (page === this.page && turn === this.turn && error.name !== "AbortError") this.fail(error);
    }
  }

  showNav(now) {
    const latest = this.info.runs.at(-1)?.run_id;
    const link = (page, id, label) => h("a", {
      href: href(page, id), "aria-current": now.page === page ? "page" : null,
    }, label);
    keepFocus([this.nav], () => put(this.nav, link("list", null, "Chains"),
      latest && link("constitution", now.params.run ?? latest, "Constitution"),
      this.info.runs.length > 1 && !this.info.report && link("compare", null, "Compare")));
  }

  showRuns() {
    const active = this.info.runs.filter((run) => run.active);
    const done = active.reduce((sum, run) => sum + run.done + run.failed, 0);
    const begun = active.reduce((sum, run) => sum + run.chains, 0);
    const text = active.length === 0 ? null
      : `${active.length === 1 ? `run ${active[0].run_id}` : `${active.length} runs`}: ${count(done)} done, ${count(begun - done)} under way`;
    put(this.status, text && h("span", { class: "dot", "aria-hidden": "true" }), text);
  }

  /** Whether changes can be heard of. */
  connected(open) {
    if (open) this.showRuns();
    else put(this.status, "The viewer does not answer; it may have been stopped.");
  }

  /** Something was written. */
  async pulse(pulse) {
    this.heard = pulse;
    const before = total(this.info.runs);
    if (pulse.runs.length !== this.info.runs.length) {
      // A new run may bring a new constitution.
      const info = await this.source.info().catch(() => this.info);
      // Something newer was heard meanwhile.
      if (this.heard !== pulse) return;
      this.info = info;
      this.showNav(route());
    }
    this.info.runs = pulse.runs;
    this.showRuns();
    const more = total(pulse.runs) - before;
    if (more > 0) this.say(`${count(more)} more ${more === 1 ? "chain" : "chains"}`, false);
    this.page?.pulse?.();
  }

  keys() {
    const latest = this.info.runs.at(-1)?.run_id;
    return {
      "?": () => help(this.info),
      "/": () => this.filter(),
      "g l": () => go(href("list")),
      "g c": () => latest && go(href("constitution", latest)),
      ...(this.info.report ? {} : { "g d": () => go(href("compare")) }),
      ...this.page?.keys,
    };
  }

  /** Puts the caret into the filter, on the list. */
  async filter() {
    if (this.page?.name !== "list") {
      go(href("list", null, ofList(route().params)));
    }
    this.page?.focusFilter?.();
  }

  /** Says something to whoever listens, and shows it for a while. */
  say(text, shown = true) {
    put(this.said, text);
    if (!shown) return;
    const toast = h("p", {}, text);
    this.toasts.append(toast);
    setTimeout(() => toast.remove(), 4000);
  }

  title(text) {
    document.title = text ? `${text} · Amend` : "Amend";
  }

  fail(error) {
    console.warn(error);
    put(this.main, h("div", { class: "failure", role: "alert" },
      h("h1", {}, "This cannot be shown"), h("p", {}, error.message),
      button("Try again", () => location.reload(), { class: "primary" })));
    this.page?.close?.();
    this.page = null;
  }
}

/** Closes what was opened on another page, unless something was written in it that would be lost. */
function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog[open]")) {
    if (dialog.dataset.written === undefined) dialog.close();
  }
}

const total = (runs) => runs.reduce((sum, run) => sum + run.chains, 0);
