// What operators did, newest first.

import { Table } from "./dom.js";
import { Listing } from "./tasks.js";
import { moment } from "./text.js";

const HEADS = [{ label: "At" }, { label: "Who" }, { label: "Action" }, { label: "Target" }, { label: "Detail", wide: true }];

export function audit(page) {
  const table = new Table("Newest first", HEADS, "Nobody has changed anything yet.");
  let shown = 0;
  const listing = new Listing(page, table, async (cursor) => {
    const { data } = await page.call("GET", "audit", { query: { cursor } });
    return { items: data.entries, cursor: data.cursor };
  }, (entry) => ({ key: (shown += 1), cells: [moment(entry.at), entry.subject, entry.action, entry.target, entry.detail] }));
  listing.load();
  return listing.element;
}
