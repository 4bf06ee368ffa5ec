// Tables of tasks, a page at a time, for the views that list some.

import { address } from "./address.js";
import { Table, button, el } from "./dom.js";
import { moment } from "./text.js";

const HEADS = [
  { label: "Task", wide: true },
  { label: "Command" },
  { label: "Status" },
  { label: "Attempts", number: true },
  { label: "Updated" },
  { label: "Due or leased until" },
  { label: "Error", wide: true },
];

// A list with a "More" button. `ask(cursor)` gives a page {items, cursor}; `row(item)` gives {key, cells}.
export class Listing {
  constructor(page, table, ask, row) {
    this.page = page;
    this.table = table;
    this.ask = ask;
    this.row = row;
    this.cursor = "";
    this.more = button("More", () => this.#next(), { hidden: true });
    this.element = el("div", {}, table.element, this.more);
    table.element.hidden = true;
  }

  // From the beginning.
  async load() {
    this.cursor = "";
    await this.#next();
  }

  async #next() {
    const first = this.cursor === "";
    await this.page.attempt(async () => {
      let found;
      // A page may be empty and still have more behind it.
      do {
        found = await this.ask(this.cursor);
        this.cursor = found.cursor ?? "";
      } while (found.items.length === 0 && this.cursor);
      if (first) this.table.show(found.items.map(this.row));
      else this.table.add(found.items.map(this.row));
      this.table.element.hidden = false;
      this.more.hidden = !this.cursor;
    });
  }
}

// A table of tasks; `actions(task)` gives the buttons of a row.
export function taskTable(caption, nothing, actions) {
  const heads = actions ? [...HEADS, { label: "Actions", wide: true }] : HEADS;
  return new Table(caption, heads, nothing);
}

export function taskRow(task, actions) {
  const cells = [
    el("a", { href: address("task", task.id, { tenant: task.tenantId }) }, task.id),
    task.command,
    task.status,
    `${task.attempts} of ${task.maxAttempts}`,
    moment(task.updatedAt),
    moment(task.leaseUntil ?? task.runAt),
    task.error ?? "",
  ];
  if (actions) cells.push(el("div", { class: "actions" }, ...actions(task)));
  return { key: task.id, cells };
}
