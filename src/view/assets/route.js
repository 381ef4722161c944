// Every state of the pages is in the address, behind the `#`, so that it works from a file as well:
//
//   #/?q=…&sort=…&offset=…      the list        #/chain/ID?q=…&step=…      a chain
//   #/constitution/RUN           a constitution  #/compare?a=…&b=…          two runs

/** The state that the address holds: page, id, and parameters. */
export function route(hash = location.hash) {
  const [path, query = ""] = split(hash.replace(/^#/, ""));
  const [page, id] = path.split("/").filter(Boolean);
  return {
    page: page ?? "list",
    id: id === undefined ? null : decode(id),
    params: Object.fromEntries(new URLSearchParams(query)),
  };
}

function split(text) {
  const at = text.indexOf("?");
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a state. Empty parameters are left out. */
export function href(page, id, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "" && value !== 0) query.set(name, value);
  }
  const path = page === "list" ? "/" : `/${page}${id ? `/${encodeURIComponent(id)}` : ""}`;
  const text = query.toString();
  return `#${path}${text && "?"}${text}`;
}

/** What a state holds of the list that it leads back to. */
export const ofList = ({ q, sort, charts, bars }) => ({ q, sort, charts, bars });

/** Names that a parameter holds, with points between them. */
export const named = (text) => new Set((text ?? "").split(".").filter(Boolean));

/** The parameter that holds names, with one of them in it or not. */
export function naming(text, name, there) {
  const names = named(text);
  if (there) names.add(name);
  else names.delete(name);
  return [...names].join(".");
}

/**
 * Places where a text is cut until somebody asks for the rest, each with a name, made of those of the text and of the
 * part of it. `rest()` is the parameter with the names of those where somebody did, and `keep(rest)` keeps another one.
 */
export const cuts = (rest, keep, name = "") => ({
  of: (part) => cuts(rest, keep, `${name}${part}`),
  open: () => named(rest()).has(name),
  unfold: () => keep(naming(rest(), name, true)),
});

/** The offset that a state names; 0 where what it names is none. */
export const offsetOf = ({ offset }) => {
  const place = Number(offset);
  return Number.isSafeInteger(place) && place > 0 ? place : 0;
};

/** Chains of a page of the list: the offset in its address is a multiple of this. */
export const ROWS = 50;

let listener = () => {};
let seen = "";

/** Calls back whenever the state changes. */
export function follow(changed) {
  seen = location.hash;
  listener = () => {
    seen = location.hash;
    changed();
  };
  // A link brings both events, in this order.
  for (const event of ["popstate", "hashchange"]) {
    addEventListener(event, () => location.hash !== seen && listener());
  }
}

/** Keeps in the address what is on the page already. */
export function note(address) {
  history.replaceState(null, "", address);
  seen = location.hash;
}

/** Goes to a state; `replace` leaves no entry in the history. */
export function go(address, replace = false) {
  if (address === location.hash) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  listener();
}
