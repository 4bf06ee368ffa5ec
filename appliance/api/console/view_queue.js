// One queue: its numbers, live; pausing and resuming it; its tasks by status.

import { address, go } from "./address.js";
import { button, el, facts, form, labelled, select } from "./dom.js";
import { Poller } from "./poll.js";
import { Rates } from "./rates.js";
import { Listing, taskRow, taskTable } from "./tasks.js";
import { age, fieldTime, number, rate } from "./text.js";
import { pauses } from "./view_queues.js";

const STATUSES = { ready: "Ready", delayed: "Delayed", claimed: "Claimed", completed: "Completed", failed: "Failed",
  dlq: "Dead" };
const PARTS = [["dispatch", "dispatch (claims find nothing)"], ["intake", "intake (creates are refused)"], ["both", "both"]];

export function queue(page) {
  const path = `queues/${encodeURIComponent(page.name)}`;
  const numbers = el("div");
  const paused = el("p", {}, el("span", { class: "paused", id: "paused" }));
  const rates = new Rates();

  function show({ data }) {
    const { created, ended } = rates.of(data, performance.now());
    numbers.replaceChildren(facts([
      ["Tenant", data.tenantId],
      ["Ready", number(data.ready)],
      ["Delayed", number(data.delayed)],
      ["In progress", number(data.inProgress)],
      ["Dead", number(data.dlq)],
      ["Completed, kept", number(data.completed)],
      ["Failed, kept", number(data.failed)],
      ["Oldest ready", age(data.oldestReadyAgeSeconds)],
      ["Created per second", rate(created)],
      ["Ended per second", rate(ended)],
      ["Settings of its own", settings(data.settings)],
    ]));
    const text = pauses(data.paused);
    const shown = paused.firstChild;
    const words = text && `Paused: ${text}`;
    if (shown.textContent !== words) shown.textContent = words;
  }

  const poller = new Poller(async (signal) => show(await page.call("GET", path, { signal })),
    (error, seconds) => page.missed(error, seconds), () => page.met());
  page.closed.addEventListener("abort", () => poller.stop());
  poller.start();

  async function change(action, body, done) {
    if (await page.attempt(() => page.call("POST", `${path}/${action}`, { body }), done)) await poller.now();
  }

  return el("div", {}, paused, numbers, steering(page, change), tasks(page, path));
}

function settings(values) {
  return Object.entries(values).map(([name, value]) =>
    `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
}

function steering(page, change) {
  const what = select("what", PARTS, "dispatch");
  const until = el("input", { id: "until", type: "datetime-local", step: "1" });
  return el("section", {}, el("h2", {}, "Pause and resume"),
    form(() => change("pause", { what: what.value, ...(until.value && { until: fieldTime(until.value) }) },
      `${page.name} is paused: ${what.value}.`),
    ...labelled("What", what), ...labelled("Until (your time; empty: until resumed)", until),
    el("button", { class: "danger" }, "Pause"),
    button("Resume", () => change("resume", { what: what.value }, `${page.name} is resumed: ${what.value}.`))));
}

function tasks(page, path) {
  const status = Object.hasOwn(STATUSES, page.query.status ?? "") ? page.query.status : "ready";
  const table = taskTable(`${STATUSES[status]} tasks, in the order in which they are due`, "There is none.");
  const listing = new Listing(page, table, async (cursor) => {
    const { data } = await page.call("GET", `${path}/tasks`, { query: { status, cursor } });
    return { items: data.tasks, cursor: data.cursor };
  }, (task) => taskRow(task));
  const chosen = select("status", Object.entries(STATUSES), status);
  chosen.addEventListener("change", () => go("queue", page.name, { status: chosen.value }));
  listing.load();
  return el("section", {}, el("h2", {}, "Tasks"),
    el("div", { class: "actions" }, ...labelled("Status", chosen), button("Load again", () => listing.load()),
      el("a", { href: address("dead", "", { command: page.name }) }, "Requeue or purge dead letters")),
    listing.element);
}
