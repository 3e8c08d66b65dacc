/** Series for the charts of one page: what is asked together is fetched together, and only once. */
import { axisText, type XAxis } from "../lib/axis";
import { readSeries } from "./client";
import type { Live } from "./live";
import type { Change, Series } from "./nouns";

/** A span of steps: from `start` up to before `stop`; null is all of them. */
export type StepRange = { readonly start: number; readonly stop: number } | null;

/** What one chart wants to show; `buckets` is its width. */
export interface SeriesWish {
  readonly key: string;
  /** Runs, or names of groups. */
  readonly runs: readonly string[];
  /** The runs of each group; what is not in it is a run. */
  readonly groups: ReadonlyMap<string, readonly string[]>;
  readonly buckets: number;
  readonly range: StepRange;
  readonly axis: XAxis;
  readonly onData: () => void;
  readonly onFault: (message: string | null) => void;
}

/** What of a wish says which series are meant. */
export type Asked = Pick<SeriesWish, "key" | "axis" | "buckets" | "range">;

interface Entry {
  readonly key: string;
  readonly run: string;
  members: readonly string[];
  series: Series | null;
  /** The last answer that was of all steps: the best there is where `series` does not reach. */
  whole: Series | null;
  /** What `series` answers; another wish makes it stale. */
  askedFor: string;
  stale: boolean;
}

interface Batch {
  readonly runs: readonly string[];
  readonly keys: readonly string[];
  readonly wish: SeriesWish;
  readonly cells: readonly Entry[];
}

/** Growing runs are asked for at most twice a second: nobody sees more, and drawing keeps its time. */
const MIN_PAUSE_MS = 450;
const MOST_POINTS = 500_000;
const RETRY_MS = 2_000;

export class SeriesStore {
  readonly #owner: string;
  readonly #project: string;
  /** By key and axis, run, and number of buckets: a large panel may show what a small one shows. */
  readonly #entries = new Map<string, Map<string, Map<number, Entry>>>();
  readonly #wishes = new Set<SeriesWish>();
  readonly #live: Live;
  #leave: (() => void) | null = null;
  readonly #onVisibility = (): void => { this.#plan(0); };
  #timer: ReturnType<typeof setTimeout> | null = null;
  #busy = false;
  #nextAt = 0;

  constructor(owner: string, project: string, live: Live) {
    this.#owner = owner;
    this.#project = project;
    this.#live = live;
  }

  /** Follows the live stream until `close`. */
  open(): void {
    document.addEventListener("visibilitychange", this.#onVisibility);
    this.#leave = this.#live.listen({
      onChanges: (changes) => { this.#takeChanges(changes); },
      onReturn: () => { this.#markStale(null); },
    });
    this.#plan(0);
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#onVisibility);
    this.#leave?.();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Keeps a wish fulfilled until the returned function is called. */
  want(wish: SeriesWish): () => void {
    this.#wishes.add(wish);
    this.#plan(0);
    return () => { this.#wishes.delete(wish); };
  }

  /** What is known now, perhaps of an older range or size: an old picture is better than none. */
  read({ key, axis, buckets, range }: Asked, run: string): Series | null {
    const sizes = this.#entries.get(placeOf(key, axis))?.get(run);
    const best = sizes?.get(buckets);
    if (best !== undefined && best.askedFor !== "") {
      const isFit = best.askedFor === signature({ axis, buckets, range }) || covers(best.series, range);
      return isFit ? best.series : (best.whole ?? best.series);
    }
    for (const entry of sizes?.values() ?? []) if (entry.series !== null) return entry.series;
    return null;
  }

  /** What is known of all steps. */
  whole({ key, axis, buckets }: Asked, run: string): Series | null {
    return this.#entries.get(placeOf(key, axis))?.get(run)?.get(buckets)?.whole ?? null;
  }

  /** Whether every series of the wish has been answered once. */
  isComplete(wish: SeriesWish): boolean {
    return wish.runs.every((run) => this.#entry(wish, run).askedFor !== "");
  }

  /** Whether what is known answers this very wish, of its range and size. */
  isAnswered(wish: SeriesWish): boolean {
    return wish.runs.every((run) => this.#entry(wish, run).askedFor === signatureOf(wish, run));
  }

  #takeChanges(changes: readonly Change[]): void {
    const grown = changes.filter(
      (change) =>
        change.owner === this.#owner && change.project === this.#project && change.what.includes("points"),
    );
    if (grown.length > 0) this.#markStale(new Set(grown.map((change) => change.run)));
  }

  /** Marks the series of these runs, or of all, as older than the server's. */
  #markStale(changed: ReadonlySet<string> | null): void {
    for (const runs of this.#entries.values()) {
      for (const sizes of runs.values()) {
        for (const entry of sizes.values()) {
          if (changed === null || entry.members.some((run) => changed.has(run))) entry.stale = true;
        }
      }
    }
    this.#plan(0);
  }

  #plan(delay: number): void {
    if (this.#timer !== null || this.#busy) return;
    const wait = Math.max(delay, this.#nextAt - performance.now(), 0);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#fetchMissing();
    }, wait);
  }

  async #fetchMissing(): Promise<void> {
    const batches = this.#batches();
    // A tab in the background draws nothing, so it asks for nothing until it is looked at.
    if (batches.length === 0 || document.hidden) return;
    this.#busy = true;
    const begun = performance.now();
    let failed = false;
    for (const batch of batches) failed = !(await this.#fetch(batch)) || failed;
    this.#busy = false;
    this.#nextAt = performance.now() + Math.max(MIN_PAUSE_MS, performance.now() - begun);
    if (failed || this.#batches().length > 0) this.#plan(failed ? RETRY_MS : 0);
  }

  async #fetch(batch: Batch): Promise<boolean> {
    const { wish, runs, keys } = batch;
    // Marked before asking: a change that comes during the request makes them stale again.
    for (const cell of batch.cells) cell.stale = false;
    const touched = [...this.#wishes].filter((other) => keys.includes(other.key));
    try {
      const range = wish.range ?? { start: null, stop: null };
      const groups = runs.flatMap((name) => {
        const members = wish.groups.get(name);
        return members === undefined ? [] : [{ name, runs: members }];
      });
      const alone = runs.filter((run) => !wish.groups.has(run));
      const answer = await readSeries(this.#owner, this.#project, { runs: alone, groups, keys, buckets: wish.buckets, x: wish.axis, ...range });
      for (const cell of batch.cells) {
        cell.series = null;
        if (wish.range === null) cell.whole = null;
        cell.askedFor = signatureOf(wish, cell.run);
      }
      const found = new Map(batch.cells.map((cell) => [`${cell.run}\n${cell.key}`, cell]));
      for (const series of answer) {
        const cell = found.get(`${series.run}\n${series.key}`);
        if (cell === undefined) continue;
        cell.series = series;
        if (wish.range === null) cell.whole = series;
      }
      for (const other of touched) {
        other.onFault(null);
        other.onData();
      }
      return true;
    } catch (error) {
      for (const cell of batch.cells) cell.stale = true;
      for (const other of touched) other.onFault(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  /** Groups what is missing into few requests: keys that miss the same runs in the same way. */
  #batches(): Batch[] {
    const groups = new Map<string, { runs: string[]; keys: string[]; wish: SeriesWish; cells: Entry[] }>();
    for (const wish of this.#wishes) {
      const asked = signature(wish);
      const missing = wish.runs.filter((run) => {
        const entry = this.#entry(wish, run);
        return entry.stale || entry.askedFor !== signatureOf(wish, run);
      });
      if (missing.length === 0) continue;
      const name = `${asked}|${missing.join()}`;
      const group = groups.get(name) ?? { runs: missing, keys: [], wish, cells: [] };
      group.keys.push(wish.key);
      group.cells.push(...missing.map((run) => this.#entry(wish, run)));
      groups.set(name, group);
    }
    return [...groups.values()].flatMap(inPieces);
  }

  #entry({ key, axis, buckets, groups }: SeriesWish, run: string): Entry {
    const sizes = madeIn(madeIn(this.#entries, placeOf(key, axis), () => new Map<string, Map<number, Entry>>()), run, () => new Map<number, Entry>());
    const entry: Entry = madeIn(sizes, buckets, () => ({ key, run, members: [], series: null, whole: null, askedFor: "", stale: true }));
    entry.members = groups.get(run) ?? [run];
    return entry;
  }
}

/** One request for much would answer late, or be refused by the server. */
function inPieces(batch: Batch): Batch[] {
  const { runs, keys, wish, cells } = batch;
  const most = Math.max(1, Math.floor(MOST_POINTS / (sizeOf(wish, runs) * wish.buckets)));
  return Array.from({ length: Math.ceil(keys.length / most) }, (_, piece) => ({
    runs,
    wish,
    keys: keys.slice(piece * most, (piece + 1) * most),
    // The cells of a key stand together, in the order of the keys.
    cells: cells.slice(piece * most * runs.length, (piece + 1) * most * runs.length),
  }));
}

/** How many runs some runs and groups are. */
function sizeOf({ groups }: SeriesWish, runs: readonly string[]): number {
  return runs.reduce((sum, run) => sum + (groups.get(run)?.length ?? 1), 0);
}

/** What a wish asks of one run or group: other members are another question. */
function signatureOf(wish: SeriesWish, run: string): string {
  return `${signature(wish)}${wish.groups.get(run)?.join() ?? ""}`;
}

function placeOf(key: string, axis: XAxis): string {
  return `${axisText(axis)}\n${key}`;
}

function madeIn<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}

/** Whether a series of some range holds steps of all of another one; all steps are more than any. */
function covers(series: Series | null, range: StepRange): boolean {
  if (series === null || range === null) return false;
  const { step, step_last: last } = series.columns;
  return (step[0] ?? Number.POSITIVE_INFINITY) <= range.start && (last.at(-1) ?? Number.NEGATIVE_INFINITY) >= range.stop - 1;
}

function signature(wish: Pick<SeriesWish, "axis" | "buckets" | "range">): string {
  const range = wish.range === null ? "all" : `${String(wish.range.start)}:${String(wish.range.stop)}`;
  return `${String(wish.buckets)}@${range}@${axisText(wish.axis)}`;
}
