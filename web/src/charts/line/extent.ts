/** Which part of the x axis and which values a chart shows. */
import { type Extent, indexesWithin, type Line, type LineOptions } from "./model";
import { select } from "./pixels";

export interface ValueExtent {
  readonly extent: Extent;
  /** The lines that have values outside of the extent. */
  readonly beyond: number;
}

interface Reach {
  readonly line: Line;
  readonly low: number;
  readonly high: number;
}

const OUTLIER_QUANTILE = 0.02;
const OUTLIER_MARGIN = 0.25;
const PADDING = 0.05;
/** A run's core is what lies between these shares of its values. */
const CORE_QUANTILE = 0.1;
/** So many runs of all may be wild without moving the typical range. */
const WILD_SHARE = 0.25;
const CORE_BUCKETS = 128;
/** Values this many typical ranges away are absurd; on a log axis both are counted in decades. */
const ABSURD = 100;
const ABSURD_LOG = 10;
const LEAST_DECADES = 2;
/** Of a run that diverges the greatest of the absurd values is so many times their median. */
const GROWTH = 10;
/** Shorter runs are shown whole: nothing in them is typical. */
const LEAST_BUCKETS = 32;

/** What the lines cover of the x axis; null where there is nothing to draw. */
export function extentX(lines: readonly Line[], isLogX: boolean): Extent | null {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { buckets } of lines) {
    const first = isLogX ? buckets.to.findIndex((place) => place > 0) : 0;
    if (first === -1 || first >= buckets.from.length) continue;
    const begin = buckets.from[first] ?? 0;
    low = Math.min(low, isLogX && begin <= 0 ? Math.min(1, buckets.to[first] ?? 1) : begin);
    high = Math.max(high, buckets.to[buckets.to.length - 1] ?? 0);
  }
  if (low > high) return null;
  return low === high ? [isLogX ? low / 2 : low - 1, isLogX ? low * 2 : low + 1] : [low, high];
}

/** The values to show in a part of the x axis, with some air; null where there is nothing to draw. */
export function extentY(lines: readonly Line[], x: Extent, options: LineOptions): ValueExtent | null {
  const reaches = lines.flatMap((line) => reachOf(line, x, options.isLogY) ?? []);
  if (reaches.length === 0) return null;
  const full: Extent = [least(reaches), greatest(reaches)];
  const [low, high] =
    options.yRange === "full" ? full
    : options.yRange === "inliers" ? withoutOutliers(reaches, x, options.isLogY, full)
    : robust(reaches, x, options.isLogY, full);
  const extent = options.isLogY ? padLog(low, high) : padLinear(low, high);
  return { extent, beyond: reaches.filter((reach) => reach.low < extent[0] || reach.high > extent[1]).length };
}

/**
 * The full extent, unless it holds values that lie absurdly far from the typical range.
 *
 * Each run has a core, the middle four fifths of its values; the typical range is what the cores
 * of three quarters of the runs lie within. A value is absurd a hundred times the typical range
 * beyond it, where a range counts at least as wide as its ends are far from 0: 5 beside losses of
 * 0.50 to 0.51 is a spike to be seen, 1e300 is not. On a log axis it is ten times, in decades.
 * A run with absurd values does not widen the extent beyond the typical range; all others do.
 */
function robust(reaches: readonly Reach[], x: Extent, isLog: boolean, full: Extent): Extent {
  const cores = reaches.map((reach) => readableOf(reach, x, isLog));
  const lows = Float64Array.from(cores, (core) => core[0]).sort();
  const highs = Float64Array.from(cores, (core) => core[1]).sort();
  // Of two or three runs one may be wild; a run alone is measured by itself.
  const wild = reaches.length === 1 ? 0 : Math.max(1, Math.floor(reaches.length * WILD_SHARE));
  const ends = [lows[wild] ?? full[0], highs[highs.length - 1 - wild] ?? full[1]] as const;
  const typical: Extent = [Math.min(...ends), Math.max(...ends)];
  const [least, most] = fences(typical, isLog);
  if (full[0] >= least && full[1] <= most) return full;
  const tame = reaches.filter((reach) => reach.low >= least && reach.high <= most);
  if (tame.length === 0 && !isLog) return withAir(typical, full);
  return [Math.min(typical[0], ...tame.map((reach) => reach.low)), Math.max(typical[1], ...tame.map((reach) => reach.high))];
}

/** Between which values nothing is absurd, or, with other `times`, out of the ordinary. */
function fences([low, high]: Extent, isLog: boolean, times = ABSURD): Extent {
  if (isLog) {
    const away = ABSURD_LOG * Math.max(LEAST_DECADES, Math.log10(high) - Math.log10(low));
    return [10 ** (Math.log10(low) - away), 10 ** (Math.log10(high) + away)];
  }
  const away = times * Math.max(high - low, Math.abs(low), Math.abs(high));
  // A flag that is mostly 0 has no typical size that its 1 could be far from.
  return away === 0 ? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] : [low - away, high + away];
}

const held = new Float64Array(4 * CORE_BUCKETS);

/** The typical range and as much again around it, as far as there are values. */
function withAir([low, high]: Extent, full: Extent): Extent {
  return [Math.max(full[0], low - (high - low)), Math.min(full[1], high + (high - low))];
}

/**
 * A run's core; of a run that diverges, its core before it does.
 *
 * A run diverges when it gets absurdly far from its first quarter and goes on growing there: the
 * greatest of its absurd values is many times their median. One that jumps to another level and
 * stays there shows that level.
 */
function readableOf({ line, low, high }: Reach, x: Extent, isLog: boolean): Extent {
  const { min, max } = line.buckets;
  const [from, to] = indexesWithin(line.buckets, x);
  const whole = coreOf(line, from, to, isLog);
  if (isLog || to - from < LEAST_BUCKETS) return whole;
  const quarter = from + Math.floor((to - from) / 4);
  const early = coreOf(line, from, quarter, isLog);
  const [least, most] = fences(early, isLog);
  if (low >= least && high <= most) return whole;
  const [floor, ceiling] = fences(early, isLog, 1);
  const far: number[] = [];
  let end = to;
  for (let index = from; index < to; index += 1) {
    const [under = 0, over = 0] = [min[index], max[index]];
    if (under < least || over > most) far.push(Math.max(Math.abs(under), Math.abs(over)));
    if (end === to && index >= quarter && (under < floor || over > ceiling)) end = index;
  }
  const sorted = Float64Array.from(far).sort();
  const isGrowing = (sorted.at(-1) ?? 0) > GROWTH * (sorted[sorted.length >> 1] ?? 0);
  return isGrowing ? coreOf(line, from, end, isLog) : whole;
}

/** The middle of the values of some buckets; of many buckets every so many stand for all. */
function coreOf({ buckets }: Line, from: number, to: number, isLog: boolean): Extent {
  const { min, max } = buckets;
  let finite = 0;
  for (let index = from; index < to; index += 1) finite += isShowable(max[index] ?? Number.NaN, isLog) ? 1 : 0;
  const stride = Math.max(1, Math.ceil(finite / CORE_BUCKETS));
  let passed = 0;
  let size = 0;
  for (let index = from; index < to; index += 1) {
    const greatest = max[index] ?? Number.NaN;
    if (!isShowable(greatest, isLog)) continue;
    passed += 1;
    if ((passed - 1) % stride !== 0) continue;
    held[size] = greatest;
    size += 1;
    const least = min[index] ?? Number.NaN;
    if (!isShowable(least, isLog)) continue;
    held[size] = least;
    size += 1;
  }
  if (size === 0) return [0, 0];
  const low = select(held, size, Math.floor((size - 1) * CORE_QUANTILE));
  return [low, select(held, size, Math.ceil((size - 1) * (1 - CORE_QUANTILE)))];
}

function takeBucket(values: number[], { buckets }: Line, index: number, isLog: boolean): void {
  for (const value of [buckets.min[index], buckets.max[index]]) {
    if (value !== undefined && isShowable(value, isLog)) values.push(value);
  }
}

function reachOf(line: Line, x: Extent, isLog: boolean): Reach | null {
  const { min, max } = line.buckets;
  const [from, to] = indexesWithin(line.buckets, x);
  // A line that is shown whole knows its ends.
  if (from === 0 && to === min.length && !(isLog && line.low <= 0)) {
    return line.low > line.high ? null : { line, low: line.low, high: line.high };
  }
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  const take = (value: number): void => {
    if (!isShowable(value, isLog)) return;
    if (value < low) low = value;
    if (value > high) high = value;
  };
  for (let index = from; index < to; index += 1) {
    take(min[index] ?? Number.NaN);
    take(max[index] ?? Number.NaN);
    // The least value may have no logarithm where the line through the means has one.
    if (isLog) take(line.y[index] ?? Number.NaN);
  }
  return low > high ? null : { line, low, high };
}

function withoutOutliers(reaches: readonly Reach[], x: Extent, isLog: boolean, full: Extent): Extent {
  const values: number[] = [];
  for (const { line } of reaches) {
    const [from, to] = indexesWithin(line.buckets, x);
    for (let index = from; index < to; index += 1) takeBucket(values, line, index, isLog);
  }
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? full[0];
  const [from, to] = [at(OUTLIER_QUANTILE), at(1 - OUTLIER_QUANTILE)];
  const margin = (to - from) * OUTLIER_MARGIN;
  return [Math.max(full[0], from - margin), Math.min(full[1], to + margin)];
}

function isShowable(value: number, isLog: boolean): boolean {
  return Number.isFinite(value) && !(isLog && value <= 0);
}

function padLinear(low: number, high: number): Extent {
  // Means of equal values differ in their last digits: that is no slope worth showing.
  if (high / 2 - low / 2 <= Math.max(Math.abs(low), Math.abs(high)) * 1e-12) {
    const air = low === 0 ? 1 : Math.abs(low) * 0.1;
    return [low - air, high + air];
  }
  // Halved first: the span of the whole range of float64 is not a float64.
  const air = (high / 2 - low / 2) * (2 * PADDING);
  return [Math.max(-Number.MAX_VALUE, low - air), Math.min(Number.MAX_VALUE, high + air)];
}

function padLog(low: number, high: number): Extent {
  if (low === high) return [low / 2, high * 2];
  const air = (high / low) ** PADDING;
  return [low / air, high * air];
}

function least(reaches: readonly Reach[]): number {
  return reaches.reduce((low, reach) => Math.min(low, reach.low), Number.POSITIVE_INFINITY);
}

function greatest(reaches: readonly Reach[]): number {
  return reaches.reduce((high, reach) => Math.max(high, reach.high), Number.NEGATIVE_INFINITY);
}
