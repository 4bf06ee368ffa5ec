// The frame around the views: signing in and out, which view the address asks for, and what went wrong. The part of the
// address behind # names the view and what it is about, never the token.

import { address, asked, go, keepTenant } from "./address.js";
import { Trouble, call, forgetToken, keepToken, whenTokenGone } from "./api.js";
import { el } from "./dom.js";
import { audit } from "./view_audit.js";
import { dead } from "./view_dead.js";
import { node } from "./view_node.js";
import { queue } from "./view_queue.js";
import { queues } from "./view_queues.js";
import { find, task } from "./view_task.js";
import { webhooks } from "./view_webhooks.js";

// A view is called with a Page and gives its element; what it starts it stops at the page's `closed` signal.
const VIEWS = {
  queues: { show: queues, label: "Queues", title: () => "Queues" },
  queue: { show: queue, parent: "queues", title: (name) => `Queue ${name}` },
  task: { show: (page) => (page.name ? task(page) : find(page)), label: "Task", title: (name) => `Task ${name}`.trim() },
  dead: { show: dead, label: "Dead letters", title: () => "Dead letters" },
  webhooks: { show: webhooks, label: "Webhooks", title: () => "Webhooks" },
  audit: { show: audit, label: "Audit", title: () => "Audit" },
  node: { show: node, label: "Node", title: () => "Node" },
};

const byId = (id) => document.getElementById(id);
let signedIn = false;
let current = null;

// What a view gets: what it is about, and what it needs of the frame.
class Page {
  #end = new AbortController();

  constructor(view, name, query) {
    this.view = view;
    this.name = name;
    this.query = query;
    this.tenant = query.tenant ?? "";
    this.closed = this.#end.signal;
    this.missing = "";
  }

  close() {
    this.#end.abort();
  }

  // A request about this page's tenant, or another one; see api.js.
  call(method, path, { tenant = this.tenant, query = {}, ...rest } = {}) {
    return call(method, path, { query: { ...query, tenant }, signal: this.closed, ...rest });
  }

  // Does something and says what came of it; `done` is what to say, or a function of the outcome. Gives whether it went
  // well. A page that was left meanwhile says nothing.
  async attempt(action, done = "") {
    try {
      const outcome = await action();
      if (this.closed.aborted) return true;
      const text = typeof done === "function" ? done(outcome) : done;
      if (text) news(text);
      trouble("");
      return true;
    } catch (error) {
      if (!this.closed.aborted) trouble(inWords(error));
      return false;
    }
  }

  // A round of polling that failed, and one that went well. What an action came to stays until the next one.
  missed(error, seconds) {
    this.missing = `${inWords(error)} Trying again in ${seconds} s.`;
    trouble(this.missing);
  }

  met() {
    if (this.missing && byId("trouble").textContent === this.missing) trouble("");
    this.missing = "";
  }
}

function inWords(error) {
  return error instanceof Trouble ? error.message : `This page made a mistake: ${error}`;
}

function trouble(text) {
  say(byId("trouble"), text);
  if (text) say(byId("news"), "");
}

function news(text) {
  say(byId("news"), text);
}

function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
  place.hidden = text === "";
}

function show() {
  if (!signedIn) return;
  current?.close();
  const { view: wanted, name, query } = asked();
  current = new Page(Object.hasOwn(VIEWS, wanted) ? wanted : "queues", name, query);
  keepTenant(current.tenant);
  const { show: view, title, parent } = VIEWS[current.view];
  const heading = el("h1", { tabindex: "-1" }, title(current.name));
  document.title = `${heading.textContent} – codeq`;
  byId("tenant").value = current.tenant;
  byId("nav").replaceChildren(...Object.entries(VIEWS).filter(([, each]) => each.label).map(([key, each]) =>
    el("a", { href: address(key), "aria-current": key === (parent ?? current.view) ? "page" : null }, each.label)));
  news("");
  trouble("");
  byId("view").replaceChildren(heading, view(current));
  heading.focus();
}

async function enter(event) {
  event.preventDefault();
  const field = byId("token");
  const pasted = field.value;
  // Not left in the field, where a browser may remember it or somebody may see it.
  field.value = "";
  if (!keepToken(pasted)) return trouble("This is no token: it must be letters, digits and dots in one line.");
  try {
    const { data } = await call("GET", "node");
    byId("node").textContent = `${data.version} · ${data.nodeId}`;
  } catch (error) {
    leave(error.message);
    return undefined;
  }
  signedIn = true;
  frame();
  show();
  return undefined;
}

function leave(why) {
  forgetToken();
  signedIn = false;
  current?.close();
  current = null;
  document.title = "codeq";
  byId("node").textContent = "";
  byId("view").replaceChildren();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  news("");
  trouble(why);
  frame();
  byId("token").focus();
}

function frame() {
  byId("enter").hidden = signedIn;
  byId("nav").hidden = byId("scope").hidden = !signedIn;
}

byId("enter").addEventListener("submit", enter);
byId("leave").addEventListener("click", () => leave(""));
byId("scope").addEventListener("submit", (event) => {
  event.preventDefault();
  const tenant = byId("tenant").value.trim();
  if (tenant === "*" || current.view === "queue" || current.view === "task") go("queues", "", { tenant });
  else go(current.view, "", { tenant });
});
byId("skip").addEventListener("click", (event) => {
  // The part behind # is the address of a view.
  event.preventDefault();
  (signedIn ? byId("view").querySelector("h1") : byId("token")).focus();
});
window.addEventListener("hashchange", show);
window.addEventListener("pagehide", () => leave(""));
whenTokenGone(() => {
  // The refusal itself says why, where it is met.
  if (signedIn) setTimeout(() => leave("The node does not accept this token any more. Paste another one."));
});
byId("token").focus();
