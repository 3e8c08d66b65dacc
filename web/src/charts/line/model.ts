/** What a line chart shows, as numbers: smoothing, extents, pixels, and which line is nearest. */

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
}

export interface LineInput {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  readonly buckets: Buckets;
}

export interface LineOptions {
  /** Steps after which a point weighs half in the smoothed line; 0 draws the values themselves. */
  readonly halfLife: number;
  readonly isLogX: boolean;
  readonly isLogY: boolean;
  readonly ignoreOutliers: boolean;
}

export interface Line {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  readonly buckets: Buckets;
  /** The middle step of each bucket. */
  readonly x: Float64Array;
  /** The value that the line passes through: smoothed, or the bucket's mean. */
  readonly y: Float64Array;
  readonly isSmoothed: boolean;
}

export type Extent = readonly [low: number, high: number];

/** From steps and values to pixels of the plot, whose origin is its upper left corner. */
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

const OUTLIER_QUANTILE = 0.02;
const OUTLIER_MARGIN = 0.25;
const PADDING = 0.05;

export function buildLine(input: LineInput, options: LineOptions): Line {
  const { buckets } = input;
  const x = buckets.step.map((first, index) => (first + (buckets.step_last[index] ?? first)) / 2);
  const isSmoothed = options.halfLife > 0;
  const y = isSmoothed ? smooth(x, buckets.mean, buckets.count, options.halfLife) : buckets.mean;
  return { id: input.id, name: input.name, color: input.color, buckets, x, y, isSmoothed };
}

/**
 * Averages each value with those before it, whose weights halve every `halfLife` steps.
 *
 * A bucket weighs as many points as it holds, so that thinning and zooming leave the curve where
 * it is, and the first values are not drawn towards zero. Where there is no finite value the
 * line stays broken, and goes on with the old average behind the gap.
 */
export function smooth(
  x: Float64Array,
  mean: Float64Array,
  count: Float64Array,
  halfLife: number,
): Float64Array {
  const smoothed = new Float64Array(mean.length).fill(Number.NaN);
  let average = 0;
  let weight = 0;
  let before = x[0] ?? 0;
  for (let index = 0; index < mean.length; index += 1) {
    const value = mean[index] ?? Number.NaN;
    const at = x[index] ?? before;
    if (!Number.isFinite(value)) continue;
    const decay = 0.5 ** ((at - before) / halfLife);
    const points = count[index] ?? 1;
    weight = weight * decay + points;
    average += ((value - average) * points) / weight;
    smoothed[index] = average;
    before = at;
  }
  return smoothed;
}

/** The steps that the lines cover; null where there is nothing to draw. */
export function extentX(lines: readonly Line[], isLogX: boolean): Extent | null {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const { buckets } of lines) {
    const first = isLogX ? firstPositive(buckets.step_last) : 0;
    if (first >= buckets.step.length) continue;
    low = Math.min(low, isLogX ? Math.max(1, buckets.step[first] ?? 1) : (buckets.step[0] ?? 0));
    high = Math.max(high, buckets.step_last[buckets.step_last.length - 1] ?? 0);
  }
  if (low > high) return null;
  return low === high ? [isLogX ? low / 2 : low - 1, isLogX ? low * 2 : low + 1] : [low, high];
}

/** The values to show between two steps, with some air; null where there is nothing to draw. */
export function extentY(lines: readonly Line[], x: Extent, options: LineOptions): Extent | null {
  const values: number[] = [];
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  const take = (value: number): void => {
    if (!Number.isFinite(value) || (options.isLogY && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
    if (options.ignoreOutliers) values.push(value);
  };
  for (const { buckets, y } of lines) {
    const [from, to] = indexesWithin(buckets, x);
    for (let index = from; index < to; index += 1) {
      take(buckets.min[index] ?? Number.NaN);
      take(buckets.max[index] ?? Number.NaN);
      if (options.isLogY) take(y[index] ?? Number.NaN);
    }
  }
  if (low > high) return null;
  if (options.ignoreOutliers) [low, high] = withoutOutliers(values, low, high);
  return options.isLogY ? padLog(low, high) : padLinear(low, high);
}

/** The part of the steps that a drag from one pixel to another chose, as whole steps; null if none. */
export function rangeBetween(scale: Scale, from: number, to: number): { start: number; stop: number } | null {
  const start = Math.floor(stepAt(scale, Math.min(from, to)));
  const stop = Math.ceil(stepAt(scale, Math.max(from, to)));
  return stop - start < 2 ? null : { start, stop };
}

export function toX(scale: Scale, step: number): number {
  return portion(step, scale.x, scale.isLogX) * scale.width;
}

export function toY(scale: Scale, value: number): number {
  return (1 - portion(value, scale.y, scale.isLogY)) * scale.height;
}

export function stepAt(scale: Scale, pixel: number): number {
  const [low, high] = scale.x;
  const share = pixel / scale.width;
  return scale.isLogX ? low * (high / low) ** share : low + (high - low) * share;
}

/** The index of the bucket whose middle is nearest to a step; -1 of an empty line. */
export function indexNear(x: Float64Array, step: number): number {
  const after = lowerBound(x, step);
  if (after === 0) return x.length === 0 ? -1 : 0;
  if (after === x.length) return x.length - 1;
  return step - (x[after - 1] ?? 0) <= (x[after] ?? 0) - step ? after - 1 : after;
}

/** The line that passes nearest to a pixel, measured upright; null where none is at that step. */
export function nearestLine(lines: readonly Line[], scale: Scale, px: number, py: number): Line | null {
  const step = stepAt(scale, px);
  let nearest: Line | null = null;
  let best = Number.POSITIVE_INFINITY;
  for (const line of lines) {
    const value = valueBetween(line, step);
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
 * The values at a step, greatest first: the one of `id` and up to `around` on each side of it.
 *
 * A line that does not reach the step is left out, so that a value is never shown where it is not.
 */
export function hitsAround(lines: readonly Line[], step: number, id: string | null, around: number): Hit[] {
  const hits = lines.flatMap((line) => {
    const index = indexNear(line.x, step);
    return index >= 0 && reaches(line, step) ? [{ line, index }] : [];
  });
  hits.sort((a, b) => order(b.line.y[b.index]) - order(a.line.y[a.index]));
  const middle = Math.max(0, hits.findIndex((hit) => hit.line.id === id));
  const room = 2 * around + 1;
  const from = Math.max(0, Math.min(middle - around, hits.length - room));
  return hits.slice(from, from + room);
}

/**
 * The buckets that stick out beyond both neighbours by more than `reach` pixels and by more than
 * the band is usually high.
 *
 * A band alone would show a spike of one step as a faint sliver; these get a stroke of their own,
 * while noise, which sticks out everywhere, stays a band.
 */
export function spikesOf(line: Line, scale: Scale, reach: number): number[] {
  const { min, max, count } = line.buckets;
  const heights = new Float64Array(min.length);
  for (let index = 0; index < min.length; index += 1) heights[index] = heightOf(line, scale, index);
  const usual = median(heights);
  const spikes: number[] = [];
  for (let index = 0; index < min.length; index += 1) {
    const height = heights[index] ?? 0;
    if ((count[index] ?? 0) < 2 || height <= reach + usual) continue;
    const beside = [index - 1, index + 1].filter((each) => each >= 0 && each < min.length);
    const above = Math.max(...beside.map((each) => finiteOr(max[each], scale.y[0])), scale.y[0]);
    const below = Math.min(...beside.map((each) => finiteOr(min[each], scale.y[1])), scale.y[1]);
    const peak = toY(scale, above) - toY(scale, max[index] ?? 0);
    const pit = toY(scale, min[index] ?? 0) - toY(scale, below);
    if (Math.max(peak, pit) > reach + usual) spikes.push(index);
  }
  return spikes;
}

/** The half-open span of indexes whose buckets touch the steps of `x`. */
export function indexesWithin(buckets: Buckets, x: Extent): readonly [from: number, to: number] {
  const from = lowerBound(buckets.step_last, x[0]);
  let to = lowerBound(buckets.step, x[1]);
  if ((buckets.step[to] ?? Number.NaN) <= x[1]) to += 1;
  return [from, to];
}

/** How many pixels a bucket's band is high; 0 where it has none. */
function heightOf({ buckets }: Line, scale: Scale, index: number): number {
  const high = buckets.max[index] ?? Number.NaN;
  const low = buckets.min[index] ?? Number.NaN;
  if (!(high > low)) return 0;
  if (!scale.isLogY) return toY(scale, low) - toY(scale, high);
  return high > 0 ? toY(scale, Math.max(low, scale.y[0])) - toY(scale, high) : 0;
}

function median(values: Float64Array): number {
  return values.toSorted()[values.length >> 1] ?? 0;
}

function finiteOr(value: number | undefined, otherwise: number): number {
  return value !== undefined && Number.isFinite(value) ? value : otherwise;
}

function order(value: number | undefined): number {
  return value === undefined || Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
}

function reaches({ buckets }: Line, step: number): boolean {
  const slack = Math.max(1, (buckets.step_last[0] ?? 0) - (buckets.step[0] ?? 0));
  const last = buckets.step_last[buckets.step_last.length - 1] ?? 0;
  return step >= (buckets.step[0] ?? 0) - slack && step <= last + slack;
}

function valueBetween({ x, y }: Line, step: number): number {
  const after = lowerBound(x, step);
  if (after === x.length || after === 0) {
    const end = after === 0 ? 0 : x.length - 1;
    return y[end] ?? Number.NaN;
  }
  const [x0 = 0, x1 = 0] = [x[after - 1], x[after]];
  const [y0 = Number.NaN, y1 = Number.NaN] = [y[after - 1], y[after]];
  if (!Number.isFinite(y0)) return y1;
  return Number.isFinite(y1) ? y0 + ((y1 - y0) * (step - x0)) / (x1 - x0) : y0;
}

function portion(value: number, [low, high]: Extent, isLog: boolean): number {
  if (isLog) return Math.log(value / low) / Math.log(high / low);
  // Halved first: the span of the whole range of float64 is not a float64.
  return (value / 2 - low / 2) / (high / 2 - low / 2);
}

function withoutOutliers(values: number[], low: number, high: number): Extent {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number => sorted[Math.round(share * (sorted.length - 1))] ?? low;
  const from = at(OUTLIER_QUANTILE);
  const to = at(1 - OUTLIER_QUANTILE);
  const margin = (to - from) * OUTLIER_MARGIN;
  return [Math.max(low, from - margin), Math.min(high, to + margin)];
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

function firstPositive(steps: Float64Array): number {
  return lowerBound(steps, 1);
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
