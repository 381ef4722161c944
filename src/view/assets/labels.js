// What people say about chains.

import { count, plural, time } from "./format.js";
import { button, chip, h, put } from "./dom.js";
import { keepUnsaved, unsaved } from "./drafts.js";
import { nodes } from "./text.js";

const KINDS = { accept: "good", reject: "bad", edit: "accent" };
const WORDS = { accept: "accepted", reject: "rejected", edit: "edited" };
const VERBS = { accept: "accepted", reject: "rejected", edit: "edited", note: "noted", agree: "agreed with", disagree: "disagreed with", undo: "took back" };

/** A label as a chip. */
export const labelChip = (label) => label && chip(WORDS[label] ?? label, KINDS[label] ?? "plain");

/** The panel of a chain: what holds, what can be said, and what was said when and by whom. `folds` makes what can be unfolded. */
export function labelPanel(app, changed, folds) {
  const now = h("p", { class: "label-now", role: "status" });
  const begun = h("div", { class: "begun" });
  const log = h("ol", { class: "history" });
  const history = folds.make("history", "History", log);
  let labels = null;
  let text = "";
  let ended = true;
  // The chain that is shown. The address may name another one already, of which nothing is known yet.
  let of = null;

  /** Says something about a chain. Fails where it was not kept. */
  const send = async (body, told, id) => {
    const { entry } = await (body.action === "undo" ? app.source.undo(id) : app.source.label(id, body));
    app.say(body.action === "undo" ? undone(entry) : told);
    await changed().catch((error) => app.say(error.message));
  };
  const act = async (body, told) => {
    if (app.info.read_only || of === null) return;
    await send(body, told, of).catch((error) => app.say(error.message));
  };
  /** Where a text that is being written is kept. */
  const kept = (id) => `${id}-${app.info.db}`; // Two stores that one command made have chains of the same ids.
  const draft = (what, id) => ({
    before: unsaved(what, kept(id)),
    keep: (written) => keepUnsaved(what, kept(id), written),
    end: () => {
      keepUnsaved(what, kept(id), null);
      showBegun();
    },
  });
  /** Says what was begun about the chain and not saved. */
  function showBegun() {
    const saved = { edit: labels.chosen ?? text, note: labels.note ?? "" };
    const left = app.info.read_only ? []
      : Object.keys(saved).filter((what) => ![null, saved[what]].includes(unsaved(what, kept(of))));
    put(begun, left.map((what) => h("p", { class: "unsaved" },
      what === "edit" ? "There is an edit that was not saved. " : "There is a note that was not saved. ",
      button("Go on", actions[what], { class: "quiet" }))));
  }
  const actions = {
    accept: () => act({ action: "accept" }, "Accepted"),
    reject: () => act({ action: "reject" }, "Rejected"),
    undo: () => act({ action: "undo" }),
    edit: () => {
      const id = of;
      if (app.info.read_only || !ended || id === null) return;
      compose(`Edit chain ${id}`, "Written here, this text becomes the chosen one. What the model wrote stays as it is.",
        labels?.chosen ?? text, (written) => send({ action: "edit", text: written }, "Edited", id), draft("edit", id));
    },
    note: () => {
      const id = of;
      if (app.info.read_only || id === null) return;
      compose(`Note on chain ${id}`, "A remark about this chain.",
        labels?.note ?? "", (written) => send({ action: "note", text: written }, "Noted", id), draft("note", id));
    },
    agree: (step) => act({ action: "agree", step }, `Agreed with step ${step}`),
    disagree: (step) => act({ action: "disagree", step }, `Disagreed with step ${step}`),
  };
  const make = (name, label, key) => button([label, " ", h("kbd", { "aria-hidden": "true" }, key)], actions[name],
    { class: `act act-${name}`, "aria-keyshortcuts": key });
  const buttons = {
    accept: make("accept", "Accept", "a"), reject: make("reject", "Reject", "r"), edit: make("edit", "Edit", "e"),
    note: make("note", "Note", "t"), undo: make("undo", "Undo", "u"),
  };
  const element = h("section", { class: "labels", "aria-label": "Label" },
    h("h2", {}, "Label"), now, begun,
    !app.info.read_only && h("div", { class: "acts" }, Object.values(buttons)),
    history);

  return {
    element,
    actions,
    /** Shows what holds for chain `id`: `{label, chosen, note, agreements, history}`; `final` is what the model ended with. */
    show(current, final, running, id) {
      of = id;
      labels = current;
      text = final;
      ended = !running;
      put(now, labelChip(current.label) ?? h("span", { class: "soft" }, running ? "Can be labelled when it has ended." : "Not labelled."),
        current.note && h("span", { class: "note-text", dir: "auto" }, nodes(current.note)));
      for (const name of ["accept", "reject", "edit"]) {
        buttons[name].setAttribute("aria-pressed", String(current.label === name));
        buttons[name].disabled = running;
      }
      const entries = current.history ?? [];
      buttons.undo.disabled = !entries.some((entry) => entry.standing);
      history.hidden = entries.length === 0;
      history.open = folds.open("history");
      put(log, [...entries].reverse().map((entry) => entryLine(entry, folds)));
      showBegun();
    },
  };
}

/** What an undo took back. */
function undone(entry) {
  if (!entry) return "There is nothing to take back";
  const about = entry.step === null || entry.step === undefined ? "" : ` step ${entry.step}`;
  return `Taken back: ${entry.who} ${VERBS[entry.action] ?? entry.action}${about}`;
}

function entryLine(entry, folds) {
  const about = entry.step === null || entry.step === undefined ? null
    : ` the verdict of step ${entry.step}${entry.principle_id ? ` (${entry.principle_id})` : ""}`;
  const undone = !entry.standing && entry.action !== "undo";
  return h("li", { class: undone ? "undone" : null },
    h("span", {}, h("b", {}, nodes(entry.who)), ` ${VERBS[entry.action] ?? entry.action}`, about,
      entry.action === "undo" && entry.undoes ? ` entry ${entry.undoes}` : null, undone && " (taken back)"),
    h("time", { datetime: entry.at }, time(entry.at)),
    entry.text && folds.make(`text${entry.ordinal}`, "text", h("div", { class: "text small", dir: "auto" }, nodes(entry.text))));
}

/**
 * A dialog with a text to write. It stays, with the text, until `done` has kept it. `draft` has what was written before
 * a reload, and keeps what is written now.
 */
function compose(title, told, before, done, draft) {
  const area = h("textarea", { "aria-label": title, rows: 14, dir: "auto", value: before });
  const dialog = h("dialog", { class: "compose", "aria-labelledby": "compose-title" });
  const problem = h("p", { class: "problem", role: "alert" });
  // As the field has it: it knows one kind of line end.
  const original = area.value;
  const restored = h("p", { class: "unsaved", role: "status" });
  if (draft.before !== null && draft.before !== original) {
    area.value = draft.before;
    dialog.dataset.written = "";
    put(restored, "This was written before and not saved. ", button("Begin again", () => {
      area.value = original;
      delete dialog.dataset.written;
      draft.keep(null);
      put(restored);
      area.focus();
    }, { class: "quiet" }));
  }
  let asked = false;
  const save = async () => {
    if (keep.disabled) return;
    if (area.value.trim() === "") {
      area.focus();
      return;
    }
    put(problem);
    keep.disabled = true;
    try {
      await done(area.value);
      dialog.close();
    } catch (error) {
      asked = false;
      put(problem, `Not saved. ${error.message}`);
      area.focus();
    } finally {
      keep.disabled = false;
    }
  };
  const keep = button("Save", save, { class: "primary", title: "Ctrl+Enter" });
  /** Whether the dialog may be left: what was written is given up only where that is asked for twice. */
  const mayLeave = () => {
    if (asked || area.value === original) return true;
    asked = true;
    put(problem, "This text is not saved. Press Esc again to discard it.");
    return false;
  };
  area.addEventListener("input", () => {
    dialog.dataset.written = "";
    asked = false;
    draft.keep(area.value === original ? null : area.value);
  });
  // Browsers close a dialog at the second Esc whatever `cancel` says, so the key itself is kept from them.
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    event.preventDefault();
    if (mayLeave()) dialog.close();
  });
  dialog.addEventListener("cancel", (event) => {
    if (!mayLeave()) event.preventDefault();
  });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
  });
  put(dialog, h("h2", { id: "compose-title" }, title), h("p", { class: "soft" }, told), restored, area, problem,
    h("div", { class: "acts" }, keep, button("Cancel", () => dialog.close())));
  dialog.addEventListener("close", () => {
    dialog.remove();
    draft.end();
  });
  document.body.append(dialog);
  dialog.showModal();
  area.focus();
}

/** Labels everything that matches, with the number named first. */
export async function labelAll(app, q, changed) {
  const dialog = h("dialog", { class: "compose", "aria-labelledby": "all-title" });
  const body = h("div", {});
  const say = (error) => put(body, h("p", { class: "problem", role: "alert" }, error.message), cancel());
  const cancel = () => button("Cancel", () => dialog.close());
  const ask = async (action, verb) => {
    try {
      const { count: n } = await app.source.countAll(q, action);
      put(body,
        h("p", {}, verb, " ", h("b", {}, plural(n, "chain")), "? ", q ? ["All that match ", h("code", {}, q), "."] : "All there are.",
          action === "undo" ? " Of each, the last thing that was said is taken back." : " Chains that still run are left out."),
        h("div", { class: "acts" }, button(`${verb} ${count(n)}`, () => commit(action, verb, n), { class: "primary", disabled: n === 0 }), cancel()));
      body.querySelector("button").focus();
    } catch (error) {
      say(error);
    }
  };
  const commit = async (action, verb, n) => {
    try {
      const { count: done } = await app.source.labelAll(q, action, null, n);
      dialog.close();
      app.say(`${verb}: ${plural(done, "chain")}`);
      await changed();
    } catch (error) {
      say(error);
    }
  };
  put(body, h("p", { class: "soft" }, q ? ["About all chains that match ", h("code", {}, q), "."] : "About all chains."),
    h("div", { class: "acts" },
      button("Accept …", () => ask("accept", "Accept")), button("Reject …", () => ask("reject", "Reject")),
      button("Undo …", () => ask("undo", "Undo")), cancel()));
  put(dialog, h("h2", { id: "all-title" }, "Label all that match"), body);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
