/** Where one panel's chart gets its lines: wishes for series while in sight, content when asked. */
import type { Asked, SeriesStore, SeriesWish, StepRange } from "../../api/series";
import type { ChartContent } from "../../charts/line/chart";
import type { LineOptions } from "../../charts/line/model";
import { placed, stepsWithin, withInterval } from "../../charts/line/place";
import { axisName } from "../../lib/axis";
import { plural } from "../../lib/format";
import type { Band } from "../../lib/view";

export interface PanelRun {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  readonly dash: readonly number[];
  /** The runs of a group; empty of a run itself. */
  readonly members: readonly string[];
}

export interface PanelInput {
  readonly runs: readonly PanelRun[];
  readonly options: LineOptions;
  readonly band: Band;
  /** The part of the x axis that is shown, or null for all. */
  readonly range: { readonly start: number; readonly stop: number } | null;
}

export interface PanelStatus {
  readonly phase: "loading" | "empty" | "ready";
  readonly fault: string | null;
  /** The last value of the only run; null with several. */
  readonly last: number | null;
  /** How many runs have values outside of what the y axis shows. */
  readonly beyond: number;
  /** What there is to know of the x axis, or null. */
  readonly note: string | null;
}

const LOADING: PanelStatus = { phase: "loading", fault: null, last: null, beyond: 0, note: null };
/** Widths are rounded up to this, so that dragging the window's edge asks for nothing. */
const BUCKET_STEP = 256;
const MARGIN = 0.1;
const MANY_RUNS = 40;

export class PanelSource {
  readonly #key: string;
  readonly #store: SeriesStore;
  readonly #charts = new Set<() => void>();
  readonly #watchers = new Set<() => void>();
  #input: PanelInput;
  #wish: SeriesWish | null = null;
  #unwish: (() => void) | null = null;
  #content: ChartContent | null = null;
  #status = LOADING;
  #width = 0;
  #isInSight = false;

  constructor(key: string, store: SeriesStore, input: PanelInput) {
    this.#key = key;
    this.#store = store;
    this.#input = input;
  }

  readonly read = (): ChartContent => {
    const asked = this.#asked();
    this.#content ??= {
      lines: this.#input.runs.flatMap((run) => {
        const series = this.#store.read(asked, run.id);
        if (series === null) return [];
        const columns = this.#input.band === "interval" ? withInterval(series.columns) : series.columns;
        const isInterval = columns !== series.columns;
        return [{ ...run, members: run.members.length, isInterval, buckets: placed(columns) }];
      }),
      options: this.#input.options,
      range: this.#input.range,
    };
    return this.#content;
  };

  readonly listen = (onChange: () => void): (() => void) => {
    this.#charts.add(onChange);
    return () => { this.#charts.delete(onChange); };
  };

  readonly watch = (onStatus: () => void): (() => void) => {
    this.#watchers.add(onStatus);
    return () => { this.#watchers.delete(onStatus); };
  };

  readonly status = (): PanelStatus => this.#status;

  readonly isInSight = (): boolean => this.#isInSight;

  readonly setWidth = (pixels: number): void => {
    if (pixels === this.#width) return;
    this.#width = pixels;
    this.#renew();
  };

  /** The width that the plot will have, nearly: its series are asked for while it is made. */
  foresee(pixels: number): void {
    if (this.#width === 0 && pixels > 0) this.#width = pixels;
  }

  readonly setBeyond = (beyond: number): void => { this.#setStatus({ ...this.#status, beyond }); };

  setInput(input: PanelInput): void {
    const { range, runs } = this.#input;
    this.#input = input;
    this.#renew();
    // Drawn twice for one zoom, many lines would be late twice: their old picture stays until the new one.
    const isHeld = input.range !== range && input.runs === runs && runs.length > MANY_RUNS;
    if (!isHeld || this.#wish === null || this.#store.isAnswered(this.#wish)) this.#refresh();
  }

  setInSight(isInSight: boolean): void {
    this.#isInSight = isInSight;
    this.#renew();
    if (isInSight) this.#refresh();
  }

  /** Lets go of the wish; the panel is gone. */
  close(): void {
    this.#isInSight = false;
    this.#renew();
  }

  #renew(): void {
    const next = this.#isInSight && this.#width > 0 && this.#input.runs.length > 0 ? this.#wishNow() : null;
    if (isSameWish(this.#wish, next)) return;
    this.#unwish?.();
    this.#wish = next;
    this.#unwish = next === null ? null : this.#store.want(next);
  }

  #wishNow(): SeriesWish {
    return {
      ...this.#asked(),
      runs: this.#input.runs.map((run) => run.id),
      groups: new Map(this.#input.runs.flatMap(({ id, members }) => (members.length > 0 ? [[id, members]] : []))),
      onData: () => {
        // Of another axis than the step, what is known says which steps a zoom shows.
        this.#renew();
        this.#refresh();
      },
      onFault: (fault) => {
        if (fault !== null) this.#refresh();
        this.#setStatus({ ...this.#status, fault });
      },
    };
  }

  #asked(): Asked {
    const { options: { axis }, range, runs } = this.#input;
    const all = { key: this.#key, axis, buckets: this.#buckets(), range: null };
    if (range === null) return all;
    if (axis.kind === "step") return { ...all, range: widened(range) };
    const known = runs.map((run) => this.#store.whole(all, run.id)?.columns ?? null);
    return { ...all, range: stepsWithin(known, [range.start, range.stop]) };
  }

  #buckets(): number {
    const runs = this.#input.runs.reduce((sum, { members }) => sum + Math.max(1, members.length), 0);
    if (runs > MANY_RUNS) return BUCKET_STEP;
    return Math.ceil(this.#width / BUCKET_STEP) * BUCKET_STEP;
  }

  #refresh(): void {
    this.#content = null;
    if (this.#isInSight) for (const redraw of this.#charts) redraw();
    const { lines } = this.read();
    const isComplete = this.#input.runs.length === 0 || (this.#wish !== null && this.#store.isComplete(this.#wish));
    const phase = lines.some(({ buckets }) => buckets.from.length > 0) ? "ready" : isComplete ? "empty" : "loading";
    const only = this.#input.runs.length === 1 && this.#input.runs[0]?.members.length === 0 && this.#input.range === null ? lines[0]?.buckets.last.at(-1) : undefined;
    this.#setStatus({ ...this.#status, phase, last: only ?? null, note: noteOf(this.#input, lines) });
  }

  #setStatus(status: PanelStatus): void {
    const { phase, fault, last, beyond, note } = this.#status;
    if (status.phase === phase && status.fault === fault && status.beyond === beyond && status.note === note && Object.is(status.last, last)) return;
    this.#status = status;
    for (const watcher of this.#watchers) watcher();
  }
}

function noteOf({ options: { axis } }: PanelInput, lines: ChartContent["lines"]): string | null {
  const back = lines.filter(({ buckets }) => !buckets.isOrdered).length;
  return back === 0 ? null : `${axisName(axis)} goes back in ${plural(back, "run")}`;
}

/** A little more than is shown, so that lines run to the edges and smoothing has a start. */
function widened(range: StepRange): StepRange {
  if (range === null) return null;
  const margin = Math.ceil((range.stop - range.start) * MARGIN);
  return { start: range.start - margin, stop: range.stop + margin };
}

function isSameWish(a: SeriesWish | null, b: SeriesWish | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.buckets === b.buckets &&
    a.axis === b.axis &&
    a.range?.start === b.range?.start &&
    a.range?.stop === b.range?.stop &&
    a.runs.join() === b.runs.join() &&
    a.runs.every((run) => a.groups.get(run)?.join() === b.groups.get(run)?.join())
  );
}
