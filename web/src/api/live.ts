/** The live stream as a tab sees it: one per browser, by a shared worker where there is one. */
import { decodeMessage } from "./decode";
import { LiveHub, type Signal } from "./hub";
import type { Change } from "./nouns";

export interface LiveListener {
  readonly onChanges?: (changes: readonly Change[]) => void;
  /** The stream stands for the first time: what was asked for before may have grown unheard. */
  readonly onFirst?: () => void;
  /** The stream is back after an absence: ask again for what is shown. */
  readonly onReturn?: () => void;
  readonly onState?: (away: boolean) => void;
}

export class Live {
  readonly #listeners = new Set<LiveListener>();
  #away = false;
  #wasAway = false;
  #hasOpened = false;

  constructor() {
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

  /** Tells of changes that the stream could not, as it did not stand yet. */
  tell(changes: readonly Change[]): void {
    for (const listener of this.#listeners) listener.onChanges?.(changes);
  }

  #take(signal: Signal): void {
    switch (signal.kind) {
      case "changes":
        this.tell(signal.changes);
        return;
      case "away":
        this.#wasAway = true;
        this.#setAway(true);
        return;
      case "open":
        this.#setAway(false);
        for (const listener of this.#listeners) {
          if (this.#wasAway) listener.onReturn?.();
          else if (!this.#hasOpened) listener.onFirst?.();
        }
        this.#hasOpened = true;
        this.#wasAway = false;
        return;
    }
  }

  #setAway(away: boolean): void {
    this.#away = away;
    for (const listener of this.#listeners) listener.onState?.(away);
  }
}
