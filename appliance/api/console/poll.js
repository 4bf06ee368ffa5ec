// Asks again and again while somebody looks: every two seconds, less often while it fails, never while the page is
// hidden. Knows nothing of what is asked for.

const INTERVAL_MS = 2_000;
const INTERVAL_MS_MAX = 30_000;

export class Poller {
  // `work(signal)` is one round. `trouble(error, seconds)` hears of a round that failed and when the next one is,
  // `calm()` of one that went well.
  constructor(work, trouble, calm) {
    this.work = work;
    this.trouble = trouble;
    this.calm = calm;
    this.delayMs = INTERVAL_MS;
    this.round = null;
    this.timer = 0;
    this.look = () => (document.hidden ? this.#pause() : this.now());
  }

  start() {
    document.addEventListener("visibilitychange", this.look);
    this.look();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.look);
    this.#pause();
  }

  // A round now, instead of the one that runs or is due.
  async now() {
    this.#pause();
    const round = (this.round = new AbortController());
    try {
      await this.work(round.signal);
      if (this.round !== round) return;
      this.delayMs = INTERVAL_MS;
      this.calm();
    } catch (error) {
      if (this.round !== round) return;
      this.delayMs = Math.max(Math.min(this.delayMs * 2, INTERVAL_MS_MAX), (error.waitSeconds ?? 0) * 1000);
      this.trouble(error, Math.round(this.delayMs / 1000));
    }
    this.timer = setTimeout(() => this.now(), this.delayMs);
  }

  #pause() {
    clearTimeout(this.timer);
    this.round?.abort();
    this.round = null;
  }
}
