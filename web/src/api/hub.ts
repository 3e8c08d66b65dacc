/** One reader of the live stream, which tells all of its listeners and reconnects for ever. */
import { PREFIX } from "../lib/prefix";
import { decodeChanges } from "./decode";
import type { Change } from "./nouns";

const LIVE_PATH = `${PREFIX}/api/v1/live`;
/** The server says something every 15 seconds; silence of twice that is a dead connection. */
const SILENCE_MS = 35_000;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 4_000;

export type Signal =
  | { readonly kind: "open" }
  | { readonly kind: "away" }
  | { readonly kind: "changes"; readonly changes: readonly Change[] };

export class LiveHub {
  readonly #listeners = new Set<(signal: Signal) => void>();
  #state: "idle" | "open" | "away" = "idle";
  #stop: AbortController | null = null;

  /** Adds a listener, which learns the present state at once; returns how to leave. */
  join(listener: (signal: Signal) => void): () => void {
    this.#listeners.add(listener);
    if (this.#state !== "idle") listener({ kind: this.#state });
    if (this.#stop === null) {
      this.#stop = new AbortController();
      void this.#follow(this.#stop.signal);
    }
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#stop?.abort();
      this.#stop = null;
      this.#state = "idle";
    };
  }

  async #follow(stopped: AbortSignal): Promise<void> {
    let retry = FIRST_RETRY_MS;
    while (!stopped.aborted) {
      const opened = await this.#read(stopped);
      if (stopped.aborted) return;
      this.#become("away");
      retry = opened ? FIRST_RETRY_MS : Math.min(LAST_RETRY_MS, retry * 2);
      await new Promise((resolve) => setTimeout(resolve, retry));
    }
  }

  /** Reads one connection to its end; tells whether it had opened. */
  async #read(stopped: AbortSignal): Promise<boolean> {
    const silence = new AbortController();
    let timer = setTimeout(() => { silence.abort(); }, SILENCE_MS);
    let opened = false;
    try {
      const answer = await fetch(LIVE_PATH, {
        headers: { Accept: "text/event-stream" },
        cache: "no-store",
        signal: AbortSignal.any([stopped, silence.signal]),
      });
      if (!answer.ok || answer.body === null) return false;
      opened = true;
      const events = new EventReader();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
        clearTimeout(timer);
        timer = setTimeout(() => { silence.abort(); }, SILENCE_MS);
        // The first words, not the headers, say that nothing is missed from now on.
        this.#become("open");
        for (const data of events.read(piece.value)) {
          this.#tell({ kind: "changes", changes: decodeChanges(data) });
        }
      }
    } catch {
      // A connection ends in many ways, and the answer to each is to try again.
    } finally {
      clearTimeout(timer);
    }
    return opened;
  }

  #become(state: "open" | "away"): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#tell({ kind: state });
  }

  #tell(signal: Signal): void {
    for (const listener of this.#listeners) listener(signal);
  }
}

/** Cuts server-sent events out of a text that arrives in pieces; returns the data of `change` events. */
export class EventReader {
  #rest = "";

  read(piece: string): string[] {
    const text = (this.#rest + piece).replaceAll("\r\n", "\n");
    const blocks = text.split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      const lines = block.split("\n");
      const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim();
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      return name === "change" && data.length > 0 ? [data.join("\n")] : [];
    });
  }
}
