// Makes elements. Whatever comes from the node goes in as text, never as markup: nothing here parses HTML, and the
// page's policy (trusted types) would refuse it.

// An element. An attribute that is null or false is left out; one that begins with "on" is a listener. Children are
// elements or text.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// A button that does nothing more until what it does is over; it is not disabled, which would lose it the focus.
// `action` may be asynchronous and must not throw.
export function button(label, action, attributes = {}) {
  const element = el("button", { type: "button", ...attributes }, label);
  element.addEventListener("click", async () => {
    if (element.ariaBusy === "true") return;
    element.ariaBusy = "true";
    try {
      await action();
    } finally {
      element.ariaBusy = null;
    }
  });
  return element;
}

// A list of names and values; those without a value are left out.
export function facts(pairs) {
  const list = el("dl");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, value instanceof Node ? value : String(value)));
  }
  return list;
}

// A form whose submission calls `action` and leads nowhere.
export function form(action, ...children) {
  const element = el("form", {}, ...children);
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
  return element;
}

// A labelled field; `field` needs an id.
export function labelled(text, field) {
  return [el("label", { for: field.id }, text), field];
}

export function select(id, options, chosen) {
  return el("select", { id }, ...options.map(([value, text]) =>
    el("option", { value, selected: value === chosen }, text)));
}

// A table whose rows have keys: what is shown again under the same key keeps its elements, and so the focus. A cell is
// text, which follows what is shown, or an element, which stays as it was when the row was made. Roles are given
// explicitly, since on a phone the style sheet shows rows as cards.
export class Table {
  // `heads` are {label, number, wide}.
  constructor(caption, heads, nothing) {
    this.heads = heads;
    this.rows = new Map();
    this.body = el("tbody", { role: "rowgroup" });
    this.empty = el("p", { class: "weak", hidden: true }, nothing);
    this.table = el("table", { role: "table" }, el("caption", {}, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads.map((head) =>
        el("th", { role: "columnheader", scope: "col", class: head.number ? "number" : null }, head.label)))),
      this.body);
    this.element = el("div", {}, this.table, this.empty);
  }

  // Shows these rows, {key, cells}, and no others.
  show(rows) {
    const wanted = new Set(rows.map((row) => row.key));
    for (const key of [...this.rows.keys()]) if (!wanted.has(key)) this.remove(key);
    rows.forEach((row, place) => {
      const element = this.#row(row);
      if (this.body.children[place] !== element) this.body.insertBefore(element, this.body.children[place] ?? null);
    });
    this.#note();
  }

  // Shows these rows behind the others.
  add(rows) {
    for (const row of rows) this.body.append(this.#row(row));
    this.#note();
  }

  remove(key) {
    this.rows.get(key)?.remove();
    this.rows.delete(key);
    this.#note();
  }

  #row({ key, cells }) {
    let row = this.rows.get(key);
    if (row === undefined) {
      row = el("tr", { role: "row" }, ...cells.map((cell, column) => {
        const { label, number, wide } = this.heads[column];
        const style = number ? "number" : wide ? "wide" : null;
        return el("td", { role: "cell", "data-label": label, class: style }, cell);
      }));
      this.rows.set(key, row);
    } else {
      cells.forEach((cell, column) => {
        const shown = row.children[column];
        if (typeof cell === "string" && shown.textContent !== cell) shown.textContent = cell;
      });
    }
    return row;
  }

  #note() {
    this.empty.hidden = this.rows.size > 0;
    this.table.hidden = this.rows.size === 0;
  }
}

// Asks before something that can't be undone; a promise of whether it shall be done. The safe answer has the focus.
export function confirmed(title, text, verb) {
  return new Promise((settle) => {
    const dialog = el("dialog", { "aria-labelledby": "asked" });
    const close = (answer) => () => dialog.close(answer);
    dialog.append(el("h2", { id: "asked" }, title), el("p", {}, text), el("div", { class: "actions" },
      el("button", { type: "button", autofocus: true, onclick: close("") }, "No, go back"),
      el("button", { type: "button", class: "danger", onclick: close("yes") }, verb)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      settle(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
