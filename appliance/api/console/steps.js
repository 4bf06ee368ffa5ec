// Carries out long work in the node's bounded steps, with its progress, a way to stop, and patience while the node asks
// to wait. Knows nothing of what a step does.

import { Trouble } from "./api.js";
import { el } from "./dom.js";
import { number } from "./text.js";

const TRIES = 8;
const WAIT_SECONDS_MAX = 30;

// Repeats `step(signal)`, which gives {done, more}, and shows in `place` what `verb` has come to ("requeued"). Gives how
// many; throws Trouble where a step keeps failing. `closed` is the end of the view.
export async function inSteps(place, verb, step, closed) {
  const stop = new AbortController();
  const count = el("span", {}, `0 ${verb}`);
  const panel = el("div", { class: "actions" },
    el("progress", { "aria-label": `Work in progress: ${verb}` }), count,
    el("button", { type: "button", onclick: () => stop.abort() }, "Stop"));
  place.replaceChildren(panel);
  panel.querySelector("button").focus();
  let total = 0, failures = 0;
  try {
    for (;;) {
      try {
        // A step that is under way is let finish: what it did is then known.
        const { done, more } = await step(closed);
        total += done;
        failures = 0;
        count.textContent = `${number(total)} ${verb}`;
        if (!more || stop.signal.aborted || closed.aborted) return total;
      } catch (error) {
        failures += 1;
        if (closed.aborted) return total;
        if (!(error instanceof Trouble) || !error.passing || failures >= TRIES) throw error;
        if (stop.signal.aborted) return total;
        count.textContent = `${number(total)} ${verb}. ${error.message} Trying again.`;
        await pause(error.waitSeconds || Math.min(2 ** failures, WAIT_SECONDS_MAX), [stop.signal, closed]);
        if (stop.signal.aborted || closed.aborted) return total;
      }
    }
  } finally {
    panel.remove();
  }
}

// Now, as the node sees it: the end of what long work is about. Without one, what fails again meanwhile would go round
// for ever. The node's date is in whole seconds and is renewed once a second, so now may be two seconds later.
export async function now(page) {
  const { date } = await page.call("GET", "node");
  return new Date(date + 2000).toISOString();
}

function pause(seconds, signals) {
  return new Promise((settle) => {
    const timer = setTimeout(settle, seconds * 1000);
    for (const signal of signals) {
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        settle();
      }, { once: true });
    }
  });
}
