// Where a report's pages get their data: the report itself. It has the methods of `source-server.js`.
//
// The file carries lines of JSON, compressed, as base64 in elements of class `data`. The first line is what
// holds for all pages, and each that follows is a chain: {row, page, calls, labels}.

import { matchesFilter, parseFilter, FilterError } from "./filter.js";
import { SourceError } from "./format.js";

// Where one bar of the lengths ends and the next begins, as in `store/facets.rs`.
const LENGTHS = [0.5, 0.8, 0.95, 1.05, 1.25, 1.5, 2, 3, 5];

const SORTS = {
  prompt: () => 0,
  rounds: (row) => row.rounds,
  changed: (row) => row.changed ?? -1,
  len: (row) => row.length_ratio ?? -1,
  stop: (row) => row.stop_reason ?? "",
  label: (row) => row.label ?? "",
  tokens: (row) => row.tokens,
};

/** Reads the data of the page that this stands in. */
export async function unpack() {
  const parts = [...document.querySelectorAll("script.data")];
  const stream = new ReadableStream({
    pull(controller) {
      const part = parts.shift();
      if (!part) return controller.close();
      const text = atob(part.textContent);
      controller.enqueue(Uint8Array.from(text, (c) => c.charCodeAt(0)));
      part.remove();
    },
  });
  const reader = stream
    .pipeThrough(new DecompressionStream("gzip"))
    .pipeThrough(new TextDecoderStream())
    .getReader();
  const lines = [];
  let begun = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const found = (begun + value).split("\n");
    begun = found.pop();
    for (const line of found) lines.push(JSON.parse(line));
  }
  const [head, ...chains] = lines;
  return new ReportSource(head, chains);
}

export class ReportSource {
  constructor(head, chains) {
    this.head = head;
    // In the order that lists have where nothing else is asked: run, oldest first, position and sample.
    const runs = new Map(head.info.runs.map((run, i) => [run.run_id, i]));
    const order = ({ row }) => [runs.get(row.run_id), row.position, row.sample];
    this.chains = chains.sort((a, b) => compareLists(order(a), order(b)));
    this.chains.forEach((chain, place) => (chain.place = place));
    this.byId = new Map(chains.map((chain) => [chain.row.chain_id, chain]));
    this.selected = new Map();
  }

  async info() {
    return this.head.info;
  }

  async list({ q = "", sort = "", offset = 0, limit = 50 }) {
    const chains = this.select(q, sort);
    const start = Number(offset);
    return {
      total: chains.length,
      offset: start,
      rows: chains.slice(start, start + Number(limit)).map((chain) => chain.row),
    };
  }

  async charts({ q = "" }) {
    return facets(this.select(q, ""));
  }

  async chain(id, { q = "", sort = "" } = {}) {
    const chain = this.find(id);
    const chains = this.select(q, sort);
    const at = chains.indexOf(chain);
    // Where the chain itself does not match, it stands where it would.
    const index = at >= 0 ? at : chains.filter((other) => this.compare(other, chain, sort) < 0).length;
    const near = {
      index,
      total: chains.length,
      listed: at >= 0,
      previous: chains[index - 1]?.row.chain_id ?? null,
      next: chains[at >= 0 ? index + 1 : index]?.row.chain_id ?? null,
    };
    return { page: chain.page, near, labels: chain.labels };
  }

  async calls(id, step) {
    const calls = this.find(id).calls?.[step];
    return calls ? { calls } : null;
  }

  async constitution(run) {
    const ids = Object.keys(this.head.constitutions).filter((id) => id.startsWith(run));
    if (ids.length !== 1) throw new SourceError(`There is no run ${run} in this report.`);
    return this.head.constitutions[ids[0]];
  }

  async compare() {
    throw new SourceError("A report compares no runs; `amend compare` and `amend view` do.");
  }

  /** Nothing changes any more. */
  events() {
    return () => {};
  }

  find(id) {
    const whole = this.byId.get(id);
    if (whole) return whole;
    const found = this.chains.filter(({ row }) => row.chain_id.startsWith(id));
    if (found.length === 1) return found[0];
    throw new SourceError(found.length === 0 ? `There is no chain ${id} in this report.`
      : `${found.length} chains of this report begin with ${id}.`);
  }

  /** The chains that match, in order. The last few answers are remembered. */
  select(q, sort) {
    const key = `${sort} ${q}`;
    let found = this.selected.get(key);
    if (!found) {
      found = this.matching(q);
      found = sort ? [...found].sort((a, b) => this.compare(a, b, sort)) : found;
      if (this.selected.size > 20) this.selected.clear();
      this.selected.set(key, found);
    }
    return found;
  }

  matching(q) {
    try {
      const expr = parseFilter(q, this.head.info.keys);
      return this.chains.filter((chain) => matchesFilter(expr, chain));
    } catch (error) {
      if (error instanceof FilterError) throw new SourceError(error.detail, error.column);
      throw error;
    }
  }

  compare(a, b, sort) {
    const descending = sort.startsWith("-");
    const value = SORTS[sort.replace(/^-/, "")];
    if (sort && !value) throw new SourceError(`There is no order ${sort}.`);
    const [x, y] = value ? [value(a.row), value(b.row)] : [0, 0];
    const order = x < y ? -1 : x > y ? 1 : a.place - b.place;
    return descending ? -order : order;
  }
}

function compareLists(a, b) {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : a[at] - b[at];
}

/** What is counted above a list; `store/facets.rs` counts the same. */
function facets(chains) {
  const found = {
    chains: chains.length,
    revised: 0,
    regressed: 0,
    statuses: new Map(),
    stop_reasons: new Map(),
    labels: new Map(),
    flags: new Map(),
  };
  const principles = new Map();
  const rounds = new Map();
  const bars = [0, ...LENGTHS].map((from, i) => ({ from, to: LENGTHS[i] ?? null, count: 0 }));
  const add = (counts, name) => counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const { row, page } of chains) {
    found.revised += row.revised;
    found.regressed += row.regressed.length > 0;
    add(found.statuses, row.status);
    if (row.stop_reason) add(found.stop_reasons, row.stop_reason);
    add(found.labels, row.label ?? "none");
    for (const flag of row.flags) add(found.flags, flag);
    if (row.length_ratio !== null) {
      bars.find((bar) => bar.to === null || row.length_ratio < bar.to).count += 1;
    }
    const revised = page.steps.filter((step) => step.kind === "revision" && step.adopted);
    for (const round of new Set(revised.map((step) => step.round))) add(rounds, round);
    for (const step of page.steps) {
      if (step.kind === "critique" && step.verdict && step.principle) {
        const counts = principles.get(step.principle) ?? { principle_id: step.principle, asked: 0, violated: 0 };
        counts.asked += 1;
        counts.violated += step.verdict.violated;
        principles.set(step.principle, counts);
      }
    }
  }
  const byName = (a, b) => (a.name < b.name ? -1 : 1);
  const counts = (map) => [...map].map(([name, count]) => ({ name, count })).sort(byName);
  return {
    ...found,
    statuses: counts(found.statuses),
    stop_reasons: counts(found.stop_reasons),
    labels: counts(found.labels),
    principles: [...principles.values()].sort((a, b) => (a.principle_id < b.principle_id ? -1 : 1)),
    rounds: [...rounds].sort(([a], [b]) => a - b).map(([round, count]) => ({ round, chains: count })),
    lengths: bars,
    flags: counts(found.flags).sort((a, b) => b.count - a.count),
  };
}
