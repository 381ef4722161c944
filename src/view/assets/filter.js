// The filter language, for a report that is opened from disk: `store/filter.rs` is the same grammar, and
// `store/filter_sql.rs` the same meaning. A test holds both against each other.
//
// `keys` is the table of keys that the report carries: {names, kind, about, values}.

const MAX_LENGTH = 64 * 1024;
const MAX_DEPTH = 32;
const MAX_TERMS = 200;

const SPACE = /^\p{White_Space}$/u;
const LETTER = /^[\p{Alphabetic}_-]$/u;
// Longer ones first.
const OPERATORS = ["!=", "<=", ">=", ":", "=", "<", ">"];
// Signs that look like operators, and what each is meant for.
const LOOK_ALIKES = new Map(Object.entries({
  "≥": ">=", "⩾": ">=", "≤": "<=", "⩽": "<=", "≠": "!=", "＞": ">", "＜": "<", "＝": "=", "：": ":",
}));
const NO_KEY = "an operator without a key before it; write `key:value` without spaces, and quote text";

/** What is wrong with a filter: `column` counts characters from 1. */
export class FilterError extends Error {
  constructor(column, message) {
    super(`filter, column ${column}: ${message}`);
    this.column = column;
    this.detail = message;
  }
}

/** Reads a filter. Gives null where every chain matches. */
export function parseFilter(source, keys) {
  if (new TextEncoder().encode(source).length > MAX_LENGTH) {
    throw new FilterError(1, `the filter is longer than ${MAX_LENGTH} bytes`);
  }
  const parser = new FilterParser(source, keys);
  parser.skipSpace();
  const expr = parser.peek() === undefined ? null : parser.or(0);
  if (parser.peek() !== undefined) {
    parser.fail("`)` without a `(` before it; quote it to search for it");
  }
  return expr;
}

class FilterParser {
  constructor(source, keys) {
    this.chars = [...source];
    this.keys = keys;
    this.at = 0;
    this.terms = 0;
  }

  or(depth) {
    const parts = [this.and(depth)];
    while (this.keyword("or")) parts.push(this.and(depth));
    return parts.length === 1 ? parts[0] : { or: parts };
  }

  and(depth) {
    const parts = [this.unary(depth)];
    for (;;) {
      if (this.keyword("and")) {
        parts.push(this.unary(depth));
        continue;
      }
      const next = this.peek();
      if (next === undefined || next === ")" || this.seesKeyword("or")) break;
      parts.push(this.unary(depth));
    }
    this.oneStep(parts);
    return parts.length === 1 ? parts[0] : { and: parts };
  }

  // A step is about one principle and of one kind, so two of them in one conjunction are a slip.
  oneStep(parts) {
    for (const [name, example] of [["principle", "principle:a"], ["kind", "kind:draft"]]) {
      const values = new Set();
      for (const part of parts) {
        if (part.key?.names[0] === name && part.op === "=") values.add(part.value);
      }
      if (values.size > 1) {
        this.fail(
          `a step has one ${name}, and two are asked of it; put each in parentheses, as in (${example}), ` +
            "to ask for two steps",
        );
      }
    }
  }

  unary(depth) {
    if (depth > MAX_DEPTH) this.fail(`nested deeper than ${MAX_DEPTH} levels`);
    if (this.keyword("not")) return { not: this.unary(depth + 1) };
    for (const word of ["and", "or"]) {
      if (this.seesKeyword(word)) {
        this.fail(`\`${word}\` needs a condition on both sides; quote it to search for it`);
      }
    }
    const next = this.peek();
    if (next === undefined) this.fail("a condition is missing at the end");
    if (next === ")") this.fail("a condition is missing before `)`");
    if (next !== "(") return this.term();
    const opened = this.at++;
    this.skipSpace();
    const inside = this.or(depth + 1);
    if (this.peek() !== ")") this.fail("this `(` is never closed", opened);
    this.at++;
    this.skipSpace();
    // A term in parentheses speaks of a step of its own.
    return inside.key ? { and: [inside] } : inside;
  }

  term() {
    if (++this.terms > MAX_TERMS) this.fail(`more than ${MAX_TERMS} conditions`);
    const start = this.at;
    let after = start;
    while (after < this.chars.length && LETTER.test(this.chars[after])) after++;
    const name = this.chars.slice(start, after).join("");
    const pair = this.chars.slice(after, after + 2).join("");
    const sign = OPERATORS.find((operator) => pair.startsWith(operator));
    if (!sign) {
      this.lookAlike(name, after);
      return { key: this.keys.find((key) => key.names[0] === "text"), op: "=", value: this.value(start) };
    }
    if (!name) this.fail(NO_KEY);
    const lower = name.toLowerCase();
    const key = this.keys.find((key) => key.names.includes(lower));
    if (key && !KNOWN.has(key.names[0])) {
      this.fail(`\`${name}\` cannot be asked of a report; \`amend view\` and \`amend ls\` know it`, start);
    }
    if (!key) {
      const hint = nearest(lower, this.keys.flatMap((key) => key.names), this.keys.map((key) => key.names[0]));
      const or = hint.endsWith("?") ? " Or" : ", or";
      this.fail(`unknown key \`${clip(name)}\`; ${hint}${or} quote the words to search for them as text`, start);
    }
    this.at = after + sign.length;
    const valueAt = this.at;
    const next = this.peek();
    if (next === undefined || SPACE.test(next) || next === ")") {
      this.fail(`a value is missing after \`${name}\`; write it without a space, as in ${example(key)}`);
    }
    const value = this.read(key, this.value(valueAt), valueAt);
    const op = sign === ":" ? "=" : sign;
    if (op !== "=" && op !== "!=" && key.kind !== "whole" && key.kind !== "real") {
      this.fail(`\`${name}\` has no order; write ${example(key)}`, after);
    }
    if (key.names[0] === "text" && op === "!=") {
      this.fail('write not text:"…" for chains without a text', after);
    }
    return { key, op, value };
  }

  // Refuses a sign that is meant for an operator. Behind a word that is no key it is text.
  lookAlike(name, at) {
    const meant = LOOK_ALIKES.get(this.chars[at]);
    if (!meant) return;
    if (!name) this.fail(NO_KEY);
    const lower = name.toLowerCase();
    if (this.keys.some((key) => key.names.includes(lower))) {
      this.fail(`write \`${meant}\` for \`${this.chars[at]}\`, or quote the words to search for them as text`, at);
    }
  }

  // A value of a key.
  read(key, text, at) {
    const name = key.names[0];
    const wrong = (message) => this.fail(message, at);
    const lower = text.toLowerCase();
    switch (key.kind) {
      case "bool":
        if (["true", "yes", "1"].includes(lower)) return true;
        if (["false", "no", "0"].includes(lower)) return false;
        return wrong(`\`${name}\` takes true or false, not \`${clip(text)}\``);
      case "whole":
        if (!/^[+-]?[0-9]+$/.test(text) || BigInt.asIntN(64, BigInt(text.replace("+", ""))) !== BigInt(text.replace("+", ""))) {
          return wrong(`\`${name}\` takes a whole number, not \`${clip(text)}\``);
        }
        return Number(text);
      case "real":
        if (!/^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?$/i.test(text) || !Number.isFinite(Number(text))) {
          return wrong(`\`${name}\` takes a number, not \`${clip(text)}\``);
        }
        return Number(text);
      case "name":
        if (key.values.includes(lower)) return lower;
        return wrong(`\`${name}\` does not take \`${clip(text)}\`; ${nearest(lower, key.values)}`);
      default:
        return text;
    }
  }

  // A quoted string, or everything up to a space, a parenthesis or a quotation mark.
  value(start) {
    this.at = start;
    if (this.peek() === '"') return this.quoted();
    let end = start;
    while (end < this.chars.length && !SPACE.test(this.chars[end]) && !'()"'.includes(this.chars[end])) end++;
    if (end === start) this.fail("a value is missing here; quote text that holds parentheses");
    this.at = end;
    this.skipSpace();
    return this.chars.slice(start, end).join("");
  }

  quoted() {
    const opened = this.at++;
    const text = [];
    while (this.at < this.chars.length) {
      const c = this.chars[this.at++];
      if (c === '"') {
        this.skipSpace();
        return text.join("");
      }
      const escaped = this.peek();
      if (c === "\\" && (escaped === '"' || escaped === "\\")) {
        text.push(escaped);
        this.at++;
      } else {
        text.push(c);
      }
    }
    return this.fail("this quotation mark is never closed", opened);
  }

  seesKeyword(word) {
    const end = this.at + word.length;
    const after = this.chars[end];
    return (
      this.chars.slice(this.at, end).join("").toLowerCase() === word &&
      (after === undefined || SPACE.test(after) || '()"'.includes(after))
    );
  }

  keyword(word) {
    const seen = this.seesKeyword(word);
    if (seen) {
      this.at += word.length;
      this.skipSpace();
    }
    return seen;
  }

  skipSpace() {
    while (this.at < this.chars.length && SPACE.test(this.chars[this.at])) this.at++;
  }

  peek() {
    return this.chars[this.at];
  }

  fail(message, at = this.at) {
    throw new FilterError(at + 1, message);
  }
}

function example(key) {
  const name = key.names[0];
  switch (key.kind) {
    case "bool": return `${name}:true`;
    case "whole": return `${name}>=2`;
    case "real": return `${name}>0.5`;
    case "name": return `${name}:${key.values[0] ?? "…"}`;
    default: return name === "text" ? 'text:"some words"' : `${name}:ID`;
  }
}

function clip(text) {
  const chars = [...text];
  return chars.length > 40 ? `${chars.slice(0, 40).join("")}…` : text;
}

// A suggestion: the name that was probably meant, or those that are documented.
function nearest(word, names, documented = names) {
  const [best, distance] = names
    .map((name) => [name, editDistance(word, name)])
    .reduce((a, b) => (b[1] < a[1] ? b : a), ["", Infinity]);
  return distance <= Math.max(1, best.length / 3) ? `did you mean \`${best}\`?` : `write one of ${documented.join(", ")}`;
}

function editDistance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= Math.min(a.length, 100); i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}

// What each key asks: of a step, of a judgement, or of a chain as a report holds it, {row, page, labels, facts}.
const OF_STEP = {
  principle: (step) => step.principle,
  kind: (step) => step.kind,
  violated: (step) => step.verdict?.violated,
  p: (step) => step.verdict?.probability,
  severity: (step) => step.verdict?.severity,
  source: (step) => step.verdict?.source,
  human: (step, chain) => {
    const said = chain.labels.agreements.find((agreement) => agreement.step === step.ordinal);
    return said && (said.agreed ? "agree" : "disagree");
  },
};
const OF_JUDGEMENT = {
  agree: (judgement) => judgement.agree,
  preference: (judgement) => judgement.preference,
  margin: (judgement) => judgement.margin,
};
const OF_CHAIN = {
  text: ({ page }, term) => hasPhrase([said(page), ...page.steps.map((step) => step.output)], term.value),
  flag: ({ row }, term) => among(row.flags, term),
  gate: ({ facts }, term) => among(facts.gates ?? [], term),
  kept: ({ facts }, term) => (facts.gated ?? []).some((gated) => compares(gated.kept, term)),
  pair: ({ facts }, term) => (facts.gated ?? []).some((gated) => compares(gated.pair, term)),
  judged: ({ facts }, term) => compares((facts.judgements ?? []).length > 0, term),
  run: ({ row }, term) => begins(row.run_id, term),
  chain: ({ row }, term) => begins(row.chain_id, term),
  status: ({ row }, term) => compares(row.status, term),
  stop: ({ row }, term) => compares(row.stop_reason ?? "", term),
  label: ({ row }, term) => compares(row.label ?? "none", term),
  revised: ({ row }, term) => compares(row.revised, term),
  "revised-in": ({ page }, term) =>
    page.steps.some((step) => step.kind === "revision" && step.adopted && compares(step.round, term)),
  regressed: ({ row }, term) => compares(row.regressed.length > 0, term),
  round: ({ row }, term) => compares(row.rounds, term),
  tokens: ({ row }, term) => compares(row.tokens, term),
  sample: ({ row }, term) => compares(row.sample, term),
  prompt: ({ row }, term) => compares(row.prompt_id, term),
  changed: ({ row }, term) => row.changed !== null && compares(row.changed, term),
  len: ({ row }, term) => row.length_ratio !== null && compares(row.length_ratio, term),
};
const KNOWN = new Set([OF_STEP, OF_JUDGEMENT, OF_CHAIN].flatMap(Object.keys));

/** Whether a chain matches what `parseFilter` gave. */
export function matchesFilter(expr, chain) {
  if (expr === null) return true;
  if (expr.or) return expr.or.some((part) => matchesFilter(part, chain));
  if (expr.not) return !matchesFilter(expr.not, chain);
  // Terms of steps that stand together speak of the same step; so do those of judgements.
  const parts = expr.and ?? [expr];
  const about = (table) => parts.filter((part) => part.key && part.key.names[0] in table);
  return (
    parts.every((part) => part.key || matchesFilter(part, chain)) &&
    about(OF_CHAIN).every((term) => OF_CHAIN[term.key.names[0]](chain, term)) &&
    one(chain.page.steps, OF_STEP, about(OF_STEP), chain) &&
    one(chain.facts.judgements ?? [], OF_JUDGEMENT, about(OF_JUDGEMENT), chain)
  );
}

/** Whether one of the things matches all terms. What is not known of a thing matches none. */
function one(things, table, terms, chain) {
  if (terms.length === 0) return true;
  return things.some((thing) => terms.every((term) => {
    const value = table[term.key.names[0]](thing, chain);
    return value !== null && value !== undefined && compares(value, term);
  }));
}

const among = (names, term) => names.includes(term.value) === (term.op === "=");
const begins = (text, term) => text.startsWith(term.value) === (term.op === "=");

/** What the person says last. */
export const said = (page) => page.messages.findLast((message) => message.role === "user")?.content ?? "";

function compares(value, { op, value: wanted }) {
  switch (op) {
    case "=": return value === wanted;
    case "!=": return value !== wanted;
    case "<": return value < wanted;
    case "<=": return value <= wanted;
    case ">": return value > wanted;
    default: return value >= wanted;
  }
}

// Full-text search -----------------------------------------------------------------------------------

// SQLite's tokenizer unicode61 with remove_diacritics=2. It knows Unicode 6.1, in which what is newer is
// unassigned and part of a word: of that, the blocks with emoji matter.
const WORD = /[\p{L}\p{N}\p{Co}\p{Cn}\u{1f900}-\u{1faff}]/u;
const MARK = /[\u0300-\u0304\u0306-\u030c\u030f\u0311\u031b\u0323-\u0328\u032d\u032e\u0330\u0331]/u;

function foldCharacter(c) {
  if (c === "ı") return c;
  const parts = [...c.normalize("NFD")];
  if (parts.length > 1 && /^[a-zA-Z]$/.test(parts[0]) && !"ǠǡǞǟ".includes(c)) c = parts[0];
  const lower = c.toUpperCase().toLowerCase();
  if ([...lower].length === 1) return lower;
  return [...c.toLowerCase()].length === 1 ? c.toLowerCase() : c;
}

/** The words of a text, each between spaces, so that a phrase is found as a part of it. */
function foldWords(text) {
  let words = " ";
  let inside = false;
  for (const c of text) {
    if (/[a-z0-9]/.test(c)) {
      words += c;
      inside = true;
    } else if (WORD.test(c)) {
      words += foldCharacter(c);
      inside = true;
    } else if (inside && !MARK.test(c)) {
      words += " ";
      inside = false;
    }
  }
  return inside ? `${words} ` : words;
}

const folded = new Map();

function hasPhrase(texts, phrase) {
  const wanted = foldWords(phrase.replace(/\p{Cc}/gu, " "));
  if (wanted === " ") return false;
  return texts.some((text) => {
    let words = folded.get(text);
    if (words === undefined) folded.set(text, (words = foldWords(text)));
    return words.includes(wanted);
  });
}
