// Where the pages' data comes from: the server that sent them.
//
// Every source has these methods. All but `events` are asynchronous and throw a `SourceError`.
//
//   info()                          {version, db, read_only, who, live, runs, keys, principles}
//   list({q, sort, offset, limit})  {total, offset, rows}
//   charts({q})                     figures of what matches: the store's facets
//   chain(id, {q, sort})            {page, near: {index, total, listed, previous, next}, labels,
//                                    gates, judgements}
//   calls(id, step)                 {calls}, or null where they were left out
//   constitution(run)               {run, constitution, figures}, and chains where they are not all of the run
//   compare({a, b, differs, offset, limit})
//   label(id, {action, text, step}), undo(id), countAll(q, action), labelAll(q, action, text, expected)
//   events(listener, connected)     calls the listener after changes, and says whether it can hear of any

import { SourceError } from "./format.js";

// A filter is wrong most of the time while it is written, and browsers note every request that fails.
const LENIENT = { lenient: true };

export class ServerSource {
  info() {
    return this.get("info");
  }

  list(query) {
    return this.get("chains", { ...query, ...LENIENT });
  }

  charts(query) {
    return this.get("charts", { ...query, ...LENIENT });
  }

  chain(id, query) {
    return this.get(`chains/${encodeURIComponent(id)}`, { ...query, ...LENIENT });
  }

  calls(id, step) {
    return this.get(`chains/${encodeURIComponent(id)}/steps/${step}`);
  }

  constitution(run) {
    return this.get(`runs/${encodeURIComponent(run)}`);
  }

  compare(query) {
    return this.get("compare", query);
  }

  label(id, body) {
    return this.post(`chains/${encodeURIComponent(id)}/labels`, body);
  }

  undo(id) {
    return this.label(id, { action: "undo" });
  }

  countAll(q, action) {
    return this.get("labels", { q, action });
  }

  labelAll(q, action, text, expected) {
    return this.post("labels", { q, action, text, expected });
  }

  /** Listens while the page can be seen: browsers allow few open connections to one server. */
  events(listener, connected) {
    let stream = null;
    const follow = () => {
      if (document.hidden) {
        stream?.close();
        stream = null;
      } else if (!stream) {
        stream = new EventSource("/api/events");
        stream.addEventListener("pulse", (event) => listener(JSON.parse(event.data)));
        stream.addEventListener("open", () => connected(true));
        stream.addEventListener("error", () => connected(false));
      }
    };
    document.addEventListener("visibilitychange", follow);
    follow();
  }

  get(path, query = {}) {
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null && value !== "") params.set(name, value);
    }
    const text = params.toString();
    return this.ask(`/api/${path}${text && "?"}${text}`);
  }

  post(path, body) {
    const headers = { "content-type": "application/json" };
    return this.ask(`/api/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async ask(address, options) {
    let response;
    try {
      response = await fetch(address, { credentials: "same-origin", ...options });
    } catch {
      throw new SourceError("The viewer does not answer. It may have been stopped; start `amend view` again.");
    }
    const answer = await response.json().catch(() => null);
    const error = answer?.error;
    if (response.ok && answer !== null && !error) return answer;
    throw new SourceError(error?.message ?? `The viewer answered ${response.status}.`, error?.column);
  }
}
