// Small charts. Every bar is a link that puts its term into the filter, or takes it out.

import { count, hasTerm, percent, plural, quoted, toggleTerm } from "./format.js";
import { button, h, svg } from "./dom.js";

/**
 * The charts of the chains that match `q`. `link(q)` is the address of the list with another filter, `whole` holds the
 * titles of those of which all bars are shown, and `unfold(title, all)` is called where that is to change.
 */
export function charts(data, q, link, whole, unfold) {
  const bars = (title, note, rows) => figure(title, note, barList(title, rows, q, link, whole.has(title), unfold));
  const figures = [
    data.principles.length > 0 && bars("Verdicts", "critiques that found a violation, of those asked",
      data.principles.map((p) => ({
        label: p.principle_id,
        term: `(principle:${quoted(p.principle_id)} kind:critique violated:true)`,
        part: p.violated,
        whole: p.asked,
        value: `${count(p.violated)} of ${count(p.asked)}`,
        told: `${p.principle_id}: violated in ${count(p.violated)} of ${plural(p.asked, "critique")}`,
      }))),
    data.rounds.length > 0 && bars("Revisions", "chains that each round revised",
      data.rounds.map((r) => ({
        label: `round ${r.round}`,
        term: `revised-in:${r.round}`,
        part: r.chains,
        value: count(r.chains),
        told: `${plural(r.chains, "chain")} revised in round ${r.round}`,
      }))),
    data.lengths.some((l) => l.count > 0) && figure("Length", "final text over draft", histogram(data.lengths, q, link)),
    data.flags.length > 0 && bars("Flags", "chains that carry them", data.flags.map((f) => chains(f, `flag:${f.name}`, "flagged"))),
    bars("Endings", "why chains stopped", [
      ...data.stop_reasons.map((s) => chains(s, `stop:${s.name}`, "stopped")),
      ...data.statuses.filter((s) => s.name === "running").map((s) => chains(s, "status:running", "still")),
    ]),
    data.labels.some((l) => l.name !== "none") && bars("Labels", "what people say",
      data.labels.map((l) => chains(l, `label:${l.name}`, "labelled"))),
  ];
  return h("div", { class: "charts" }, figures);
}

/** A bar for chains that a term finds. */
const chains = (counted, term, told) => ({
  label: counted.name,
  term,
  part: counted.count,
  value: count(counted.count),
  told: `${plural(counted.count, "chain")} ${told} ${counted.name}`,
});

function figure(title, note, body) {
  return h("figure", { class: "chart" },
    h("figcaption", {}, h("b", {}, title), " ", h("span", {}, note)), body);
}

/** At most this many bars are shown before somebody asks for all. */
const BARS = 6;

function barList(title, rows, q, link, open, unfold) {
  const most = Math.max(1, ...rows.map((row) => row.whole ?? row.part));
  const items = rows.map((row, i) => {
    const on = hasTerm(q, row.term);
    const bar = svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      row.whole !== undefined && rect("whole", 0, (row.whole / most) * 100),
      rect("part", 0, (row.part / most) * 100));
    return h("li", { class: i >= BARS ? "beyond" : null },
      h("a", { href: link(toggleTerm(q, row.term)), "aria-current": on ? "true" : null, "aria-label": row.told, "data-key": row.term },
        h("span", { class: "bar-label" }, row.label), bar, h("span", { class: "bar-value" }, row.value)));
  });
  const list = h("ul", { class: open ? "bars open" : "bars" }, items);
  if (rows.length <= BARS) return list;
  return [list, button(open ? "fewer" : `all ${rows.length}`, () => unfold(title, !open),
    { class: "quiet", "data-key": `all ${title}`, "aria-expanded": String(open) })];
}

function rect(kind, x, width) {
  return svg("rect", { class: kind, x, y: 0, width: Math.max(width, width > 0 ? 0.8 : 0), height: 8 });
}

function histogram(buckets, q, link) {
  const most = Math.max(1, ...buckets.map((b) => b.count));
  const width = 100 / buckets.length;
  const columns = buckets.map((b, i) => {
    const height = b.count === 0 ? 0 : Math.max((b.count / most) * 46, 1.5);
    const range = b.to === null ? `${b.from} times or more` : `${b.from} to ${b.to} times`;
    const terms = [b.from > 0 && `len>=${b.from}`, b.to !== null && `len<${b.to}`].filter(Boolean);
    const term = terms.length === 1 ? terms[0] : `(${terms.join(" ")})`;
    const label = `length ${range}: ${plural(b.count, "chain")}`;
    return svg("a", {
      href: link(toggleTerm(q, term)), "aria-label": label,
      "aria-current": hasTerm(q, term) ? "true" : null, "data-key": term,
    },
    svg("title", {}, label),
    svg("rect", { class: "touch", x: i * width, y: 0, width, height: 48 }),
    svg("rect", { class: "part", x: i * width + width * 0.08, y: 48 - height, width: width * 0.84, height }));
  });
  return h("div", { class: "histogram" },
    svg("svg", { viewBox: "0 0 100 48", preserveAspectRatio: "none" }, columns,
      svg("line", { class: "axis", x1: 0, x2: 100, y1: 48, y2: 48 })),
    h("ol", { "aria-hidden": "true" }, buckets.map((b) => h("li", {}, String(b.from)))));
}

/** P(violated) as a bar with the threshold as a line. */
export function probabilityBar(p, threshold, violated) {
  const at = Math.min(Math.max(p, 0), 1) * 100;
  return svg("svg", {
    class: `probability ${violated ? "bad" : "good"}`, viewBox: "0 0 100 8", preserveAspectRatio: "none",
    role: "img", "aria-label": `P(violated) ${percent(p)}`,
  },
  svg("rect", { class: "whole", x: 0, y: 0, width: 100, height: 8 }),
  svg("rect", { class: "part", x: 0, y: 0, width: at, height: 8 }),
  threshold !== null && svg("rect", { class: "tick", x: threshold * 100 - 0.25, y: 0, width: 0.5, height: 8 }));
}
