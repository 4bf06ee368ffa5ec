// The node: which one it is, its version, its room, its certificate.

import { el, facts } from "./dom.js";
import { Poller } from "./poll.js";
import { age, bytes, moment, number } from "./text.js";

export function node(page) {
  const view = el("div");
  const poller = new Poller(async (signal) => {
    const { data } = await page.call("GET", "node", { signal });
    const days = data.certificateDaysLeft;
    view.replaceChildren(facts([
      ["Node", data.nodeId],
      ["Version", data.version],
      ["Format of the store", data.formatVersion],
      ["Started", moment(data.startedAt)],
      ["Running for", age(data.uptimeSeconds)],
      ["Durability", data.durability],
      ["Store", bytes(data.storeBytes)],
      ["Free on its disk", bytes(data.freeBytes)],
      ["Certificate", days === null ? "none: this node speaks plaintext" : `${number(Math.floor(days))} days left`],
    ]));
  }, (error, seconds) => page.missed(error, seconds), () => page.met());
  page.closed.addEventListener("abort", () => poller.stop());
  poller.start();
  return view;
}
