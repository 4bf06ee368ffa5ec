// One task by its id, with its payload, its result and its history, and what can be done to it.

import { address, go } from "./address.js";
import { Table, button, confirmed, el, facts, form, labelled } from "./dom.js";
import { members, moment } from "./text.js";

export function find() {
  const id = el("input", { id: "id", size: "38", autocomplete: "off", spellcheck: "false", required: true });
  return form(() => go("task", id.value.trim()), ...labelled("Id of the task", id), el("button", { class: "main" }, "Show"));
}

export function task(page) {
  const view = el("div");
  const path = `tasks/${encodeURIComponent(page.name)}`;

  async function load(done = "") {
    await page.attempt(async () => {
      const { data, text } = await page.call("GET", path);
      view.replaceChildren(...content(data, members(text), act));
    }, done);
  }

  async function act(action, body, done) {
    const went = await page.attempt(() => page.call("POST", `${path}/${action}`, { body }));
    if (!went) return;
    if (action === "purge") {
      view.replaceChildren();
      await page.attempt(async () => {}, done);
    } else {
      await load(done);
    }
    document.querySelector("h1").focus();
  }

  load();
  return view;
}

function content(data, texts, act) {
  return [
    el("div", { class: "actions" }, ...actions(data, act)),
    facts([
      ["Status", data.status],
      ["Queue", el("a", { href: address("queue", data.command, { tenant: data.tenantId }) }, data.command)],
      ["Tenant", data.tenantId],
      ["Error", data.error],
      ["Priority", data.priority],
      ["Attempts", `${data.attempts} of ${data.maxAttempts}`],
      ["Deliveries", data.deliveries],
      ["Worker", data.workerId],
      ["Leased until", moment(data.leaseUntil)],
      ["Due", moment(data.runAt)],
      ["Created", moment(data.createdAt)],
      ["Updated", moment(data.updatedAt)],
      ["Ended", moment(data.completedAt)],
      ["Idempotency key", data.idempotencyKey],
      ["Webhook", data.webhook],
      ["Trace", data.traceParent],
    ]),
    ...["payload", "result", "artifacts"].filter((name) => texts.has(name)).flatMap((name) => [
      el("h2", {}, name[0].toUpperCase() + name.slice(1)),
      el("pre", { id: name, tabindex: "0", "aria-label": name }, texts.get(name)),
    ]),
    history(data.history),
  ];
}

function history(events) {
  const table = new Table("History: its creation, its latest claim, its end, and what operators did",
    [{ label: "At" }, { label: "Event" }, { label: "Detail", wide: true }], "Nothing is known.");
  table.show(events.map((each, place) => ({ key: place, cells: [moment(each.at), each.event, each.detail] })));
  return el("section", {}, el("h2", {}, "History"), table.element);
}

function actions(data, act) {
  if (data.status === "PENDING" || data.status === "CLAIMED") {
    const reason = el("input", { id: "reason", autocomplete: "off", maxlength: "1000" });
    const cancel = async () => {
      const sure = await confirmed("Cancel this task?",
        `${data.id} will be FAILED for good. A worker that holds it hears so at its next heartbeat.`, "Cancel the task");
      if (sure) await act("cancel", { reason: reason.value }, "The task is cancelled.");
    };
    return [...labelled("Reason", reason), button("Cancel the task", cancel, { class: "danger" })];
  }
  if (data.status === "DLQ") {
    const purge = async () => {
      if (await confirmed("Purge this dead letter?", `${data.id} will be deleted for good.`, "Purge")) {
        await act("purge", undefined, "The dead letter is purged.");
      }
    };
    return [button("Requeue", () => act("requeue", undefined, "The task is in its queue again."), { class: "main" }),
      button("Purge", purge, { class: "danger" })];
  }
  return [];
}
