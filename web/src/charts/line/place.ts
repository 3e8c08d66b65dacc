/** Puts buckets, which are by step, on the x axis of a chart. */
import { type Buckets, type Extent, indexesWithin } from "./model";

/** Series as they come; with an axis other than the step they say where their buckets lie on it. */
export type Stepped = Omit<Buckets, "from" | "to" | "isOrdered" | "gaps"> & {
  readonly x_min?: Float64Array;
  readonly x_max?: Float64Array;
  readonly x_last?: Float64Array;
  readonly low?: Float64Array;
  readonly high?: Float64Array;
};

const intervals = new WeakMap<Stepped, Stepped>();

/** A group whose band is the interval of its mean; where one run has a value, that is all of it. */
export function withInterval(columns: Stepped): Stepped {
  const { mean, low, high } = columns;
  const known = intervals.get(columns);
  if (known !== undefined || low === undefined || high === undefined) return known ?? columns;
  const orMean = (end: Float64Array): Float64Array => end.map((value, index) => (Number.isNaN(value) ? (mean[index] ?? value) : value));
  const made = { ...columns, min: orMean(low), max: orMean(high) };
  intervals.set(columns, made);
  return made;
}

const MARGIN = 0.1;
const placedBefore = new WeakMap<Stepped, Buckets>();

/** The same buckets for the same columns, so that a chart knows again what it has built. */
export function placed(columns: Stepped): Buckets {
  const known = placedBefore.get(columns);
  if (known !== undefined) return known;
  const { x_min: least, x_max: greatest, x_last: last } = columns;
  const buckets =
    least === undefined || greatest === undefined || last === undefined
      ? { ...columns, from: columns.step, to: columns.step_last, isOrdered: true }
      : onAxis(columns, least, greatest, last);
  placedBefore.set(columns, buckets);
  return buckets;
}

/**
 * Buckets without a place are left out. Where the axis goes back, buckets stand in its order, each
 * at its last place, so that every place of a chart is found by search.
 */
function onAxis(columns: Stepped, least: Float64Array, greatest: Float64Array, last: Float64Array): Buckets {
  const known = [...last.keys()].filter((index) => Number.isFinite(last[index]));
  let isOrdered = true;
  for (const [place, index] of known.entries()) {
    const before = known[place - 1];
    if (before !== undefined && (least[index] ?? 0) < (greatest[before] ?? 0)) isOrdered = false;
  }
  if (!isOrdered) known.sort((a, b) => (last[a] ?? 0) - (last[b] ?? 0));
  const gaps = isOrdered ? gapsOf(known, least, greatest) : NO_GAPS;
  const pick = (column: Float64Array): Float64Array =>
    isOrdered && known.length === column.length ? column : Float64Array.from(known, (index) => column[index] ?? Number.NaN);
  return {
    step: pick(columns.step),
    step_last: pick(columns.step_last),
    count: pick(columns.count),
    min: pick(columns.min),
    max: pick(columns.max),
    mean: pick(columns.mean),
    last: pick(columns.last),
    nan: pick(columns.nan),
    posinf: pick(columns.posinf),
    neginf: pick(columns.neginf),
    from: pick(isOrdered ? atTheirEnd(least, greatest, known, gaps) : last),
    to: pick(isOrdered ? greatest : last),
    isOrdered,
    gaps,
  };
}

const NO_GAPS: ReadonlySet<number> = new Set();
/** A bucket, or what lies between two, that is so many times as wide as its neighbours holds a gap. */
const GAP = 8;

/** The buckets, by their place in `known`, before whose last point a gap lies: a fork's, or a restart's. */
function gapsOf(known: readonly number[], least: Float64Array, greatest: Float64Array): ReadonlySet<number> {
  const begin = (place: number): number => least[known[place] ?? -1] ?? Number.NaN;
  const end = (place: number): number => greatest[known[place] ?? -1] ?? Number.NaN;
  // From the end of the bucket before to the end of this one: what it takes of the axis.
  const reach = (place: number): number => (place > 0 ? end(place) - end(place - 1) : end(place) - begin(place));
  const gaps = new Set<number>();
  for (const place of known.keys()) {
    const around = [reach(place - 1), reach(place + 1)].filter((width) => width > 0);
    if (around.length > 0 && reach(place) > GAP * Math.max(...around)) gaps.add(place);
  }
  return gaps;
}

/** Where buckets begin; one with a gap in it stands where its last point is, so that it fills none. */
function atTheirEnd(least: Float64Array, greatest: Float64Array, known: readonly number[], gaps: ReadonlySet<number>): Float64Array {
  if (gaps.size === 0) return least;
  const from = least.slice();
  for (const place of gaps) {
    const index = known[place] ?? 0;
    from[index] = greatest[index] ?? Number.NaN;
  }
  return from;
}

/**
 * The steps that some part of an axis shows, with a margin; null where that cannot be told: a run
 * is not known yet, or its axis goes back.
 */
export function stepsWithin(lines: readonly (Stepped | null)[], [low, high]: Extent): { start: number; stop: number } | null {
  const margin = (high - low) * MARGIN;
  let [start, stop] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const columns of lines) {
    if (columns === null) return null;
    const buckets = placed(columns);
    if (!buckets.isOrdered) return null;
    const [from, to] = indexesWithin(buckets, [low - margin, high + margin]);
    if (from >= to) continue;
    start = Math.min(start, buckets.step[Math.max(0, from - 1)] ?? start);
    stop = Math.max(stop, (buckets.step_last[Math.min(buckets.step.length - 1, to)] ?? stop) + 1);
  }
  return start < stop ? { start, stop } : null;
}
