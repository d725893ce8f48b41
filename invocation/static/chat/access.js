/** The API key: from the address's fragment or pasted, kept in this tab alone. */

const KEPT = "gearbox.key";

/** Return the key, taking it out of the address bar first so that it is neither bookmarked nor shared. */
export function keyOfThisTab() {
  const brought = new URLSearchParams(location.hash.slice(1)).get("key");
  if (brought) {
    history.replaceState(null, "", location.pathname + location.search);
    keepKey(brought);
  }
  return sessionStorage.getItem(KEPT);
}

export function keepKey(key) {
  sessionStorage.setItem(KEPT, key.trim());
}
