// Texts that somebody writes about a chain, kept in this tab until they are saved or given up: a reload loses none.

const key = (what, chain) => `amend-unsaved-${what}-${chain}`;

/** An `edit` of a chain or a `note` on it that was begun and not saved; null where there is none. */
export function unsaved(what, chain) {
  try {
    return sessionStorage.getItem(key(what, chain));
  } catch {
    return null;
  }
}

/** Keeps a text that is being written; null forgets it. */
export function keepUnsaved(what, chain, text) {
  try {
    if (text === null) sessionStorage.removeItem(key(what, chain));
    else sessionStorage.setItem(key(what, chain), text);
  } catch {
    // What keeps it may be full or switched off. The field has the text all the same.
  }
}
