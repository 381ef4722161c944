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

/** 0.264 as 26 %. */
export const percent = (share) => {
  const value = share * 100;
  return `${value > 0 && value < 1 ? "< 1" : Math.round(value)} %`;
};

/** A probability with two digits. */
export const probability = (p) => (p === null || p === undefined ? "–" : p.toFixed(2));

/** A ratio, such as × 1.67. */
export const ratio = (r) => `× ${r.toFixed(2)}`;

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

/** Whether a filter asks for a term already. */
export const hasTerm = (q, term) => ` ${q} `.includes(` ${term} `);

/** A filter with a term added, or taken away where it is there. */
export function toggleTerm(q, term) {
  const all = ` ${q.trim()} `;
  if (all.includes(` ${term} `)) return all.replace(` ${term} `, " ").trim();
  // `or` binds less tightly than what stands side by side.
  const before = /(^|[\s)])or([\s(]|$)/i.test(q) ? `(${q.trim()})` : q.trim();
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

/** The first characters of a text, never half of one. */
export function excerpt(text, length) {
  if (text.length <= length) return text;
  const end = /[\ud800-\udbff]/.test(text[length - 1]) ? length - 1 : length;
  return `${text.slice(0, end).trimEnd()}…`;
}
