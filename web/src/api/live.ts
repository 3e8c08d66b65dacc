/** The live stream as a tab sees it: one per browser, by a shared worker where there is one. */
import { decodeMessage } from "./decode";
import { LiveHub, type Signal } from "./hub";
import type { Change } from "./nouns";

export interface LiveListener {
  readonly onChanges?: (changes: readonly Change[]) => void;
  /** The stream is back after an absence: ask again for what is shown. */
  readonly onReturn?: () => void;
  readonly onState?: (away: boolean) => void;
}

/** How long a page waits for the stream before it asks for what it shows. */
const PATIENCE_MS = 500;

export class Live {
  /**
   * When the stream stands, or is known not to: what is asked for before may grow unheard.
   *
   * A page that was too impatient asks again once the stream stands.
   */
  readonly settled: Promise<void>;
  #settle: () => void = () => undefined;
  readonly #listeners = new Set<LiveListener>();
  #away = false;
  #wasAway = false;
  #isOpen = false;

  constructor() {
    this.settled = new Promise((resolve) => { this.#settle = resolve; });
    setTimeout(() => {
      this.#wasAway ||= !this.#isOpen;
      this.#settle();
    }, PATIENCE_MS);
    if ("SharedWorker" in globalThis) {
      const worker = new SharedWorker(new URL("./live.worker.ts", import.meta.url), {
        type: "module",
        name: "runlore-live",
      });
      worker.port.onmessage = (message: MessageEvent) => { this.#take(decodeMessage<Signal>(message)); };
      worker.port.postMessage("join");
      // A page in the back-forward cache hears nothing; it asks again when it is shown.
      addEventListener("pagehide", () => { worker.port.postMessage("leave"); });
      addEventListener("pageshow", (event) => {
        if (!event.persisted) return;
        this.#wasAway = true;
        worker.port.postMessage("join");
      });
    } else {
      new LiveHub().join((signal) => { this.#take(signal); });
    }
  }

  get isAway(): boolean {
    return this.#away;
  }

  listen(listener: LiveListener): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  #take(signal: Signal): void {
    switch (signal.kind) {
      case "changes":
        for (const listener of this.#listeners) listener.onChanges?.(signal.changes);
        return;
      case "away":
        this.#wasAway = true;
        this.#isOpen = false;
        this.#settle();
        this.#setAway(true);
        return;
      case "open":
        this.#isOpen = true;
        this.#settle();
        this.#setAway(false);
        if (!this.#wasAway) return;
        this.#wasAway = false;
        for (const listener of this.#listeners) listener.onReturn?.();
        return;
    }
  }

  #setAway(away: boolean): void {
    this.#away = away;
    for (const listener of this.#listeners) listener.onState?.(away);
  }
}
