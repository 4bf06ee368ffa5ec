// Rates of queues, from the differences of counters of two answers.

const WINDOW_MS = 10_000;

export class Rates {
  #seen = new Map();

  // Tasks per second {created, ended} of a queue at this time, over the last ten seconds; null until there are two
  // answers. Ended is what is no longer to be done: swept tasks have ended too, requeued ones have not.
  of(queue, nowMs) {
    const key = JSON.stringify([queue.tenantId, queue.command]);
    const ended = queue.created - queue.ready - queue.delayed - queue.inProgress;
    const past = (this.#seen.get(key) ?? []).filter((each) => nowMs - each.atMs <= WINDOW_MS);
    this.#seen.set(key, [...past, { atMs: nowMs, created: queue.created, ended }]);
    if (past.length === 0 || nowMs <= past[0].atMs) return { created: null, ended: null };
    const seconds = (nowMs - past[0].atMs) / 1000;
    const per = (now, then) => Math.max(0, now - then) / seconds;
    return { created: per(queue.created, past[0].created), ended: per(ended, past[0].ended) };
  }

  // Forgets all queues but these.
  keep(queues) {
    const wanted = new Set(queues.map((queue) => JSON.stringify([queue.tenantId, queue.command])));
    for (const key of this.#seen.keys()) if (!wanted.has(key)) this.#seen.delete(key);
  }
}
