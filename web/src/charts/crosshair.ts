/** Where the pointer is, shared by all charts and the run list of a page. */
export interface Pointed {
  /** The step under the pointer, or null. */
  readonly step: number | null;
  /** The run to show strong, or null. */
  readonly run: string | null;
}

const NOWHERE: Pointed = { step: null, run: null };

export class Crosshair {
  readonly #listeners = new Set<() => void>();
  #pointed = NOWHERE;

  get pointed(): Pointed {
    return this.#pointed;
  }

  point(pointed: Pointed): void {
    if (pointed.step === this.#pointed.step && pointed.run === this.#pointed.run) return;
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
