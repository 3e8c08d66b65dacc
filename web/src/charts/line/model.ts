/** What a line chart shows, as numbers: smoothing, extents, pixels, and which line is nearest. */
import type { XAxis } from "../../lib/axis";
import type { YRange } from "../../lib/view";

/** One series in buckets, one entry per bucket; see "Series" in docs/design/http-api.md. */
export interface Buckets {
  readonly step: Float64Array;
  readonly step_last: Float64Array;
  readonly count: Float64Array;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly mean: Float64Array;
  readonly last: Float64Array;
  readonly nan: Float64Array;
  readonly posinf: Float64Array;
  readonly neginf: Float64Array;
  /** The least and the greatest place of each bucket on the x axis. */
  readonly from: Float64Array;
  readonly to: Float64Array;
  /** Whether the axis goes on with the steps; else each bucket stands at its last place. */
  readonly isOrdered: boolean;
  /** The buckets before which a gap lies that no band fills. */
  readonly gaps?: ReadonlySet<number>;
}

export interface LineInput {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  /** The pattern of the stroke; empty for an unbroken one. */
  readonly dash: readonly number[];
  /** How many runs it stands for; 0 of a run itself. */
  readonly members: number;
  /** Whether its band is an interval, which holds no values that could stick out. */
  readonly isInterval: boolean;
  readonly buckets: Buckets;
}

export interface LineOptions {
  /** Steps after which a point weighs half in the smoothed line; 0 draws the values themselves. */
  readonly halfLife: number;
  readonly axis: XAxis;
  readonly isLogX: boolean;
  readonly isLogY: boolean;
  readonly yRange: YRange;
}

export interface Line {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  /** The pattern of the stroke; empty for an unbroken one. */
  readonly dash: readonly number[];
  readonly members: number;
  readonly isInterval: boolean;
  readonly buckets: Buckets;
  /** The middle of each bucket on the x axis. */
  readonly x: Float64Array;
  /** The value that the line passes through: smoothed, or the bucket's mean. */
  readonly y: Float64Array;
  readonly isSmoothed: boolean;
  /** The least and the greatest finite value; crossed where there is none. */
  readonly low: number;
  readonly high: number;
  /** Whether some bucket holds different values. */
  readonly hasBand: boolean;
  /** Whether it holds NaN or infinities. */
  readonly hasOdd: boolean;
}

export type Extent = readonly [low: number, high: number];

/** From places on the x axis and values to pixels of the plot, whose origin is its upper left corner. */
export interface Scale {
  readonly x: Extent;
  readonly y: Extent;
  readonly width: number;
  readonly height: number;
  readonly isLogX: boolean;
  readonly isLogY: boolean;
}

/** One value of a line: the bucket's index, and where it stands. */
export interface Hit {
  readonly line: Line;
  readonly index: number;
}

export function buildLine(input: LineInput, options: LineOptions): Line {
  const { buckets } = input;
  const x = new Float64Array(buckets.step.length);
  for (let index = 0; index < x.length; index += 1) x[index] = ((buckets.from[index] ?? 0) + (buckets.to[index] ?? 0)) / 2;
  const isSmoothed = options.halfLife > 0;
  const y = isSmoothed ? smooth(buckets.step_last, buckets.mean, buckets.count, options.halfLife) : buckets.mean;
  return { ...input, x, y, isSmoothed, ...summaryOf(buckets) };
}

function summaryOf({ min, max, nan, posinf, neginf }: Buckets): Pick<Line, "low" | "high" | "hasBand" | "hasOdd"> {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let [hasBand, hasOdd] = [false, false];
  for (let index = 0; index < min.length; index += 1) {
    const [least = Number.NaN, greatest = Number.NaN] = [min[index], max[index]];
    if (least < low) low = least;
    if (greatest > high) high = greatest;
    if (least < greatest) hasBand = true;
    if ((nan[index] ?? 0) + (posinf[index] ?? 0) + (neginf[index] ?? 0) > 0) hasOdd = true;
  }
  return { low, high, hasBand, hasOdd };
}

/** Whether all finite values of a line lie within an extent. */
export function isWithin(line: Line, [low, high]: Extent): boolean {
  return line.low >= low && line.high <= high;
}

/**
 * Averages each value with those before it, whose weights halve every `halfLife` steps.
 *
 * A bucket weighs as many points as it holds, so that thinning and zooming leave the curve where
 * it is, and the first values are not drawn towards zero. Where there is no finite value the
 * line stays broken, and goes on with the old average behind the gap.
 */
export function smooth(
  step: Float64Array,
  mean: Float64Array,
  count: Float64Array,
  halfLife: number,
): Float64Array {
  const smoothed = new Float64Array(mean.length).fill(Number.NaN);
  let average = 0;
  let weight = 0;
  let before = step[0] ?? 0;
  for (let index = 0; index < mean.length; index += 1) {
    const value = mean[index] ?? Number.NaN;
    const at = step[index] ?? before;
    if (!Number.isFinite(value)) continue;
    const decay = 0.5 ** (Math.abs(at - before) / halfLife);
    const points = count[index] ?? 1;
    weight = weight * decay + points;
    average += ((value - average) * points) / weight;
    smoothed[index] = average;
    before = at;
  }
  return smoothed;
}

/** The part of the axis that a drag from one pixel to another chose, of steps whole ones; null if none. */
export function rangeBetween(scale: Scale, axis: XAxis, from: number, to: number): { start: number; stop: number } | null {
  return rangeOf(axis, placeAt(scale, Math.min(from, to)), placeAt(scale, Math.max(from, to)));
}

export function rangeOf(axis: XAxis, low: number, high: number): { start: number; stop: number } | null {
  if (axis.kind !== "step") {
    // A tenth of a pixel is near enough, and reads better in an address.
    const unit = 10 ** Math.floor(Math.log10((high - low) / 10_000));
    const [start, stop] = [low, high].map((place) => Number((Math.round(place / unit) * unit).toPrecision(15)));
    return start !== undefined && stop !== undefined && stop > start ? { start, stop } : null;
  }
  const [start, stop] = [Math.floor(low), Math.ceil(high)];
  return stop - start < 2 ? null : { start, stop };
}

export function toX(scale: Scale, place: number): number {
  return portion(place, scale.x, scale.isLogX) * scale.width;
}

export function toY(scale: Scale, value: number): number {
  return (1 - portion(value, scale.y, scale.isLogY)) * scale.height;
}

/** Where a value stands between the ends of its axis: 0 is the low one, 1 the high one. */
export function portion(value: number, [low, high]: Extent, isLog: boolean): number {
  if (isLog) return Math.log(value / low) / Math.log(high / low);
  // Halved first: the span of the whole range of float64 is not a float64.
  return (value / 2 - low / 2) / (high / 2 - low / 2);
}

/**
 * The starts of the stretches in which a line runs above or below the extent, or to infinity.
 *
 * They are marked at the edge, so that nothing leaves the picture unseen; a stretch that begins
 * within `apart` pixels of where the one before ends is the same to the eye.
 */
export function exitsOf(line: Line, scale: Scale, apart: number): { x: number; isAbove: boolean }[] {
  const { min, max, posinf, neginf } = line.buckets;
  const exits: { x: number; isAbove: boolean }[] = [];
  const none = { index: -1, x: Number.NEGATIVE_INFINITY };
  const last = { above: none, below: none };
  const [from, to] = indexesWithin(line.buckets, scale.x);
  const mark = (index: number, isAbove: boolean): void => {
    const side = isAbove ? "above" : "below";
    const before = last[side];
    const x = toX(scale, line.x[index] ?? 0);
    const isNew = before.index < 0 || before.index < index - 1;
    if (isNew && x - before.x > apart) exits.push({ x, isAbove });
    last[side] = { index, x };
  };
  for (let index = from; index < to; index += 1) {
    const low = min[index] ?? Number.NaN;
    if ((max[index] ?? Number.NaN) > scale.y[1] || (posinf[index] ?? 0) > 0) mark(index, true);
    if ((low < scale.y[0] && !(scale.isLogY && low <= 0)) || (neginf[index] ?? 0) > 0) mark(index, false);
  }
  return exits;
}

export function placeAt(scale: Scale, pixel: number): number {
  const [low, high] = scale.x;
  const share = pixel / scale.width;
  return scale.isLogX ? low * (high / low) ** share : low + (high - low) * share;
}

/** The index of the bucket whose middle is nearest to a place; -1 of an empty line. */
export function indexNear(x: Float64Array, place: number): number {
  const after = lowerBound(x, place);
  if (after === 0) return x.length === 0 ? -1 : 0;
  if (after === x.length) return x.length - 1;
  return place - (x[after - 1] ?? 0) <= (x[after] ?? 0) - place ? after - 1 : after;
}

/** The line that passes nearest to a pixel, measured upright; null where none is there. */
export function nearestLine(lines: readonly Line[], scale: Scale, px: number, py: number): Line | null {
  const place = placeAt(scale, px);
  let nearest: Line | null = null;
  let best = Number.POSITIVE_INFINITY;
  for (const line of lines) {
    const value = valueBetween(line, place);
    if (!Number.isFinite(value) || (scale.isLogY && value <= 0)) continue;
    const distance = Math.abs(toY(scale, value) - py);
    if (distance < best) {
      best = distance;
      nearest = line;
    }
  }
  return nearest;
}

/**
 * The values at a place, greatest first: the one of `id` and up to `around` on each side of it.
 *
 * A line that does not reach it is left out, so that a value is never shown where it is not.
 */
export function hitsAround(lines: readonly Line[], place: number, id: string | null, around: number): Hit[] {
  const hits = lines.flatMap((line) => {
    const index = indexNear(line.x, place);
    return index >= 0 && reaches(line, place) ? [{ line, index }] : [];
  });
  hits.sort((a, b) => order(b.line.y[b.index]) - order(a.line.y[a.index]));
  const middle = Math.max(0, hits.findIndex((hit) => hit.line.id === id));
  const room = 2 * around + 1;
  const from = Math.max(0, Math.min(middle - around, hits.length - room));
  return hits.slice(from, from + room);
}

/** The half-open span of indexes whose buckets touch `x`. */
export function indexesWithin(buckets: Buckets, x: Extent): readonly [from: number, to: number] {
  const from = lowerBound(buckets.to, x[0]);
  let to = lowerBound(buckets.from, x[1]);
  if ((buckets.from[to] ?? Number.NaN) <= x[1]) to += 1;
  return [from, to];
}

function order(value: number | undefined): number {
  return value === undefined || Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
}

function reaches({ buckets }: Line, place: number): boolean {
  const { from, to } = buckets;
  const [first = 0, last = 0] = [from[0], to[to.length - 1]];
  // What a bucket spans, or what lies between two; a point alone has neither.
  const slack = from.length < 2 ? 1 : Math.max((to[0] ?? 0) - first, (last - first) / (from.length - 1));
  return place >= first - slack && place <= last + slack;
}

function valueBetween({ x, y }: Line, place: number): number {
  const after = lowerBound(x, place);
  if (after === x.length || after === 0) {
    const end = after === 0 ? 0 : x.length - 1;
    return y[end] ?? Number.NaN;
  }
  const [x0 = 0, x1 = 0] = [x[after - 1], x[after]];
  const [y0 = Number.NaN, y1 = Number.NaN] = [y[after - 1], y[after]];
  if (!Number.isFinite(y0)) return y1;
  return Number.isFinite(y1) ? y0 + ((y1 - y0) * (place - x0)) / (x1 - x0) : y0;
}

/** The first index whose value is not less than `wanted`. */
function lowerBound(sorted: Float64Array, wanted: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? Number.POSITIVE_INFINITY) < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
