/** Where the pointer is, shared by all charts and the run list of a page. */
export interface Pointed {
  /** The place on the x axis under the pointer, or null. */
  readonly x: number | null;
  /** The run to show strong, or null. */
  readonly run: string | null;
}

const NOWHERE: Pointed = { x: null, run: null };

export class Crosshair {
  readonly #listeners = new Set<() => void>();
  #pointed = NOWHERE;

  get pointed(): Pointed {
    return this.#pointed;
  }

  point(pointed: Pointed): void {
    if (pointed.x === this.#pointed.x && pointed.run === this.#pointed.run) return;
    this.#pointed = pointed;
    for (const listener of this.#listeners) listener();
  }

  leave(): void {
    this.point(NOWHERE);
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }
}
