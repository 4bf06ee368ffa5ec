// Deliveries of webhooks: those that were given up, to be sent again, and those that wait.

import { address, go } from "./address.js";
import { Table, button, el, labelled, select } from "./dom.js";
import { inSteps, now } from "./steps.js";
import { Listing } from "./tasks.js";
import { moment, number } from "./text.js";

const STEP = 1_000;
const STEP_SECONDS_MAX = 60;
const STATES = [["given-up", "Given up"], ["waiting", "Waiting"]];
const HEADS = [
  { label: "Task", wide: true },
  { label: "Address", wide: true },
  { label: "Attempts", number: true },
  { label: "When" },
  { label: "Last error", wide: true },
  { label: "Actions", wide: true },
];

export function webhooks(page) {
  const state = page.query.state === "waiting" ? "waiting" : "given-up";
  const chosen = select("state", STATES, state);
  chosen.addEventListener("change", () => go("webhooks", "", { state: chosen.value }));
  const table = new Table(state === "waiting" ? "Deliveries with their next attempt" : "Deliveries that were given up",
    HEADS, "There is none.");
  const retry = async (delivery) => {
    const path = `webhooks/${encodeURIComponent(delivery.deliveryId)}/retry`;
    if (await page.attempt(() => page.call("POST", path), "The delivery is tried again.")) {
      table.remove(delivery.deliveryId);
      chosen.focus();
    }
  };
  const listing = new Listing(page, table, async (cursor) => {
    const { data } = await page.call("GET", "webhooks", { query: { state, cursor } });
    return { items: data.deliveries, cursor: data.cursor };
  }, (delivery) => row(delivery, page, retry));
  listing.load();
  return el("div", {}, el("div", { class: "actions" }, ...labelled("State", chosen),
    button("Load again", () => listing.load())), state === "given-up" ? everything(page, () => listing.load()) : "",
  listing.element);
}

function row(delivery, page, retry) {
  return {
    key: delivery.deliveryId,
    cells: [
      el("a", { href: address("task", delivery.taskId) }, delivery.taskId),
      // Text and no link: the address is whatever a client wrote.
      delivery.url,
      number(delivery.attempts),
      moment(delivery.nextAt ?? delivery.givenUpAt),
      delivery.lastError,
      delivery.state === "given-up"
        ? button("Try again", () => retry(delivery), { "aria-label": `Try delivery ${delivery.deliveryId} again` }) : "",
    ],
  };
}

function everything(page, reload) {
  const progress = el("div", { id: "progress" });
  const run = async () => {
    let total = 0;
    await page.attempt(async () => {
      const body = { before: await now(page), limit: STEP };
      total = await inSteps(progress, "tried again", async (signal) => {
        const { data } = await page.call("POST", "webhooks/retry", { body, signal, seconds: STEP_SECONDS_MAX });
        return { done: data.retried, more: data.more };
      }, page.closed);
      await reload();
    }, () => `${number(total)} deliveries are tried again.`);
  };
  return el("section", { "aria-label": "All of these" }, button("Try all of these again", run), progress);
}
