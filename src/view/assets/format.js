// Numbers, names and times as people read them.

/** An error that a page shows: `column` is where a filter is wrong, counted in characters from 1. */
export class SourceError extends Error {
  constructor(message, column = null) {
    super(message);
    this.column = column ?? null;
  }
}

const whole = new Intl.NumberFormat("en");

/** 12345 as 12,345. */
export const count = (n) => whole.format(n);

/** 1 chain, 2 chains. */
export const plural = (n, thing) => `${count(n)} ${thing}${n === 1 ? "" : "s"}`;

/**
 * A number with so many digits behind the point, as the commands print it: what lies in the middle goes to the even
 * digit, where `toFixed` would round it up.
 */
export const fixed = (x, digits) => {
  // Only an odd multiple of this lies in the middle; multiplying by a power of two is exact.
  const halves = x * 2 ** (digits + 1);
  if (!Number.isInteger(halves) || halves % 2 === 0) return x.toFixed(digits);
  const below = Math.floor((halves * 5 ** digits) / 2);
  return ((below % 2 === 0 ? below : below + 1) / 10 ** digits).toFixed(digits);
};

/** 0.264 as 26 %. */
export const percent = (share) => {
  const value = share * 100;
  return `${value > 0 && value < 1 ? "< 1" : fixed(value, 0)} %`;
};

/** A probability with two digits. */
export const probability = (p) => (p === null || p === undefined ? "–" : fixed(p, 2));

/** A ratio, such as × 1.67. */
export const ratio = (r) => `× ${fixed(r, 2)}`;

/** Milliseconds. */
export const duration = (ms) => {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
};

/** A time stamp in the reader's own time. */
export const time = (stamp) => {
  const date = new Date(stamp);
  if (Number.isNaN(date.getTime())) return stamp;
  return date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
};

/** A value of a filter, quoted where it has to be. */
export const quoted = (value) =>
  /^[^\s()"\\]+$/.test(value) ? value : `"${value.replace(/[\\"]/g, "\\$&")}"`;

/** What stands side by side in a filter: what is in parentheses or in quotes is one part. */
function parts(q) {
  const found = [];
  let part = "";
  let depth = 0;
  const end = () => {
    if (part) found.push(part);
    part = "";
  };
  for (const [token] of q.matchAll(/"(?:\\.|[^"\\])*"?|\s+|[()]|[^\s()"]+/gs)) {
    if (depth > 0) {
      part += token;
      if (token === "(") depth += 1;
      if (token === ")") depth -= 1;
      if (depth === 0) end();
    } else if (/^\s/.test(token)) {
      end();
    } else if (token === "(") {
      end();
      part = token;
      depth = 1;
    } else if (token.startsWith('"')) {
      if (!/[:=<>]$/.test(part)) end();
      part += token;
      end();
    } else {
      part += token;
    }
  }
  end();
  return found;
}

const isWord = (part) => /^(and|or|not)$/i.test(part);

/** A filter without a term; null where the term is not one of several that all have to hold. */
function without(q, term) {
  const all = parts(q);
  const at = all.indexOf(term);
  // Beside `and`, `or` or `not`, a term cannot just be left out.
  return at < 0 || all.some(isWord) ? null : all.filter((_, i) => i !== at).join(" ");
}

/** Whether a filter asks for a term already. */
export const hasTerm = (q, term) => without(q, term) !== null;

/** A filter with a term added, or taken away where it is there. */
export function toggleTerm(q, term) {
  const rest = without(q, term);
  if (rest !== null) return rest;
  // `or` binds less tightly than what stands side by side.
  const before = parts(q).some((part) => /^or$/i.test(part)) ? `(${q.trim()})` : q.trim();
  return `${before} ${term}`.trim();
}

/** What is said of a chain's end. */
export const ending = (chain) =>
  chain.status === "running" ? "running" : (chain.stop_reason ?? chain.status);

/** At most one call in a while, the last one always made. */
export function debounce(wait, call) {
  let timer = 0;
  const later = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), wait);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

export const pause = (time) => new Promise((done) => { setTimeout(done, time); });

/** Calls when it is asked to, and rests nine times as long as a call takes, for the sake of a run that goes on. */
export function sparing(call) {
  let resting = false;
  let missed = false;
  return async () => {
    missed = true;
    if (resting) return;
    resting = true;
    while (missed) {
      missed = false;
      const begun = performance.now();
      await call().catch(() => {});
      await pause(9 * (performance.now() - begun));
    }
    resting = false;
  };
}

/** The first characters of a text, never half of one. */
export function excerpt(text, length) {
  if (text.length <= length) return text;
  const end = /[\ud800-\udbff]/.test(text[length - 1]) ? length - 1 : length;
  return `${text.slice(0, end).trimEnd()}…`;
}
