// Addresses of views, which are the part of the page's address behind #. Never the token.

const EVERY_TENANT = "*";

let shownTenant = "";

// The tenant that is shown now, "" for the token's own: addresses keep it unless they name another.
export function keepTenant(tenant) {
  shownTenant = tenant;
}

// The address of a view. Only the list of queues can be about every tenant.
export function address(view, name = "", query = {}) {
  const tenant = query.tenant ?? shownTenant;
  const kept = { ...query, tenant: tenant === EVERY_TENANT && view !== "queues" ? "" : tenant };
  const search = new URLSearchParams(Object.entries(kept).filter(([, value]) => value !== "")).toString();
  return `#/${view}${name && `/${encodeURIComponent(name)}`}${search && `?${search}`}`;
}

export function go(view, name, query) {
  location.hash = address(view, name, query);
}

// What an address asks for: {view, name, query}. Anything that is no address of a view is one of "".
export function asked() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [view, name = ""] = path.split("/", 2);
  try {
    return { view, name: decodeURIComponent(name), query: Object.fromEntries(new URLSearchParams(search)) };
  } catch {
    return { view: "", name: "", query: {} };
  }
}
