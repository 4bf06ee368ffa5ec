// Dead letters: those of one command or of all, requeued or purged one by one or all that are meant.

import { go } from "./address.js";
import { button, confirmed, el, form, labelled } from "./dom.js";
import { inSteps, now } from "./steps.js";
import { Listing, taskRow, taskTable } from "./tasks.js";
import { fieldTime, number } from "./text.js";

// A step is as long as the node's own default, so that "Stop" is soon heard.
const STEP = 1_000;
const STEP_SECONDS_MAX = 120;

export function dead(page) {
  const command = el("input", { id: "command", autocomplete: "off", autocapitalize: "none", spellcheck: "false",
    value: page.query.command ?? "" });
  const before = el("input", { id: "before", type: "datetime-local", step: "1", value: page.query.before ?? "" });
  const meant = { command: page.query.command ?? "", before: fieldTime(page.query.before) };

  const act = async (task, action, done) => {
    if (await page.attempt(() => page.call("POST", `tasks/${encodeURIComponent(task.id)}/${action}`), done)) {
      listing.table.remove(task.id);
      all.querySelector("button")?.focus();
    }
  };
  const actions = (task) => [
    button("Requeue", () => act(task, "requeue", `${task.id} is in its queue again.`),
      { "aria-label": `Requeue ${task.id}` }),
    button("Purge", async () => {
      if (await confirmed("Purge this dead letter?", `${task.id} will be deleted for good.`, "Purge")) {
        await act(task, "purge", `${task.id} is purged.`);
      }
    }, { class: "danger", "aria-label": `Purge ${task.id}` }),
  ];
  const table = taskTable("Per queue, those that died first come first", "There is no dead letter.", actions);
  const listing = new Listing(page, table, async (cursor) => {
    const { data } = await page.call("GET", "dlq", { query: { ...meant, cursor } });
    return { items: data.tasks, cursor: data.cursor };
  }, (task) => taskRow(task, actions));

  const all = everything(page, meant, () => listing.load());
  listing.load();
  return el("div", {},
    form(() => go("dead", "", { command: command.value.trim(), before: before.value }),
      ...labelled("Command (empty: all)", command), ...labelled("Died before (your time; empty: any time)", before),
      el("button", {}, "Show")),
    all, listing.element);
}

function everything(page, meant, reload) {
  const words = `${meant.command ? `of ${meant.command}` : "of all commands"}` +
    `${meant.before ? ` that died before ${meant.before}` : ""}`;
  const progress = el("div", { id: "progress" });
  const buttons = el("div", { class: "actions" });

  async function run(action, verb) {
    for (const each of buttons.children) each.disabled = true;
    let total = 0;
    await page.attempt(async () => {
      const before = meant.before || (await now(page));
      const body = { ...(meant.command && { command: meant.command }), before, limit: STEP };
      total = await inSteps(progress, verb, async (signal) => {
        const { data } = await page.call("POST", `dlq/${action}`, { body, signal, seconds: STEP_SECONDS_MAX });
        return { done: data[verb], more: data.more };
      }, page.closed);
      await reload();
    }, () => `${number(total)} ${verb}.`);
    for (const each of buttons.children) each.disabled = false;
    buttons.firstChild.focus();
  }

  const ask = (title, text, verb, action, past) => async () => {
    if (await confirmed(title, text, verb)) await run(action, past);
  };
  buttons.append(
    button("Requeue all of these", ask("Requeue all of these?", `Every dead letter ${words} goes back to its queue.`,
      "Requeue all", "requeue", "requeued")),
    button("Purge all of these", ask("Purge all of these?", `Every dead letter ${words} will be deleted for good.`,
      "Purge all", "purge", "purged"), { class: "danger" }));
  return el("section", { "aria-label": "All of these" }, buttons, progress);
}
