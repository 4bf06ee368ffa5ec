// All queues, live: depths, rates, the age of the oldest ready task, and what is paused.

import { address } from "./address.js";
import { Table, el, form, labelled } from "./dom.js";
import { Poller } from "./poll.js";
import { Rates } from "./rates.js";
import { age, number, rate } from "./text.js";

const PAGES_MAX = 5;
const QUEUES_PER_PAGE = 1_000;

const HEADS = [
  { label: "Queue" },
  { label: "Tenant" },
  { label: "Ready", number: true },
  { label: "Delayed", number: true },
  { label: "In progress", number: true },
  { label: "Dead", number: true },
  { label: "Created/s", number: true },
  { label: "Ended/s", number: true },
  { label: "Oldest ready", number: true },
  { label: "Paused" },
];

export function queues(page) {
  const table = new Table("Counters of the node, every two seconds", HEADS, "No queue is here: none yet, or none that fits.");
  table.element.hidden = true;
  const filter = el("input", { id: "filter", type: "search", autocomplete: "off", autocapitalize: "none",
    spellcheck: "false" });
  const sums = el("p", { class: "weak" });
  const rates = new Rates();
  let found = [], cut = false;

  function show() {
    const text = filter.value.trim().toLowerCase();
    const fitting = found.filter((each) => each.queue.command.toLowerCase().includes(text));
    const sum = (name) => number(fitting.reduce((total, each) => total + each.queue[name], 0));
    sums.textContent = `${number(fitting.length)} queues: ${sum("ready")} ready, ${sum("delayed")} delayed, ` +
      `${sum("inProgress")} in progress, ${sum("dlq")} dead.` +
      (cut ? ` There are more than ${number(PAGES_MAX * QUEUES_PER_PAGE)}, which are not shown.` : "");
    table.show(fitting.map(row));
    table.element.hidden = false;
  }

  async function round(signal) {
    const all = [];
    let cursor = "";
    for (let pages = 0; pages < PAGES_MAX && (pages === 0 || cursor); pages += 1) {
      const { data } = await page.call("GET", "queues", { query: { limit: QUEUES_PER_PAGE, cursor }, signal });
      all.push(...data.queues);
      cursor = data.cursor;
    }
    const now = performance.now();
    rates.keep(all);
    found = all.map((queue) => ({ queue, rates: rates.of(queue, now) }));
    cut = Boolean(cursor);
    show();
  }

  filter.addEventListener("input", show);
  const poller = new Poller(round, (error, seconds) => page.missed(error, seconds), () => page.met());
  page.closed.addEventListener("abort", () => poller.stop());
  poller.start();
  return el("div", {}, form(() => {}, ...labelled("Filter", filter)), sums, table.element);
}

function row({ queue, rates }) {
  return {
    key: JSON.stringify([queue.tenantId, queue.command]),
    cells: [
      el("a", { href: address("queue", queue.command, { tenant: queue.tenantId }) }, queue.command),
      queue.tenantId,
      number(queue.ready),
      number(queue.delayed),
      number(queue.inProgress),
      number(queue.dlq),
      rate(rates.created),
      rate(rates.ended),
      age(queue.oldestReadyAgeSeconds),
      pauses(queue.paused),
    ],
  };
}

// What of a queue is paused, in a few words; empty where nothing is.
export function pauses({ dispatch, intake, dispatchUntil, intakeUntil }) {
  const part = (name, until) => (until ? `${name} until ${until.replace("T", " ").replace(/\.\d+Z$/, "Z")}` : name);
  return [dispatch && part("dispatch", dispatchUntil), intake && part("intake", intakeUntil)].filter(Boolean).join(", ");
}
