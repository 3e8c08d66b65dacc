/** One line in pixels of the plot: the numbers that drawing is made of, each computed once. */
import { indexesWithin, type Line, type Scale } from "./model";

/** Pixels beyond the plot at which a coordinate is cut: canvases misdraw very large ones. */
const FAR = 4_000;

/**
 * The buckets `0 … size` that touch the plot, with one more on each side.
 *
 * `x` is NaN where a bucket has no place on the axis, `y` where the line has no value, `top` and
 * `bottom` where the bucket has no band.
 */
export interface Pixels {
  size: number;
  /** The index in the line of the first of them. */
  first: number;
  x: Float64Array;
  y: Float64Array;
  top: Float64Array;
  bottom: Float64Array;
}

export function noPixels(): Pixels {
  const none = new Float64Array(0);
  return { size: 0, first: 0, x: none, y: none, top: none, bottom: none };
}

/** Puts a line into `pixels`, whose arrays are used again: a thousand lines need them in turn. */
export function intoPixels(pixels: Pixels, line: Line, scale: Scale): void {
  const [from, to] = indexesWithin(line.buckets, scale.x);
  // One more on each side, so that the line runs to the edges of the plot.
  pixels.first = Math.max(0, from - 1);
  pixels.size = Math.min(line.x.length, to + 1) - pixels.first;
  if (pixels.x.length < pixels.size) {
    for (const name of ["x", "y", "top", "bottom"] as const) pixels[name] = new Float64Array(2 * pixels.size);
  }
  const { first, size } = pixels;
  placeX(pixels.x, line.x, first, size, scale);
  placeY(pixels.y, line.y, first, size, scale);
  placeY(pixels.top, line.buckets.max, first, size, scale);
  placeY(pixels.bottom, line.buckets.min, first, size, scale);
  if (!scale.isLogY) return;
  // The least value may have no logarithm where the greatest has one: the band goes to the floor.
  for (let index = 0; index < size; index += 1) {
    const bottom = pixels.bottom[index] ?? Number.NaN;
    if (Number.isNaN(bottom) && !Number.isNaN(pixels.top[index] ?? Number.NaN)) pixels.bottom[index] = scale.height;
    else if (bottom > scale.height) pixels.bottom[index] = scale.height;
  }
}

/** Where values stand that the line does not pass through: those behind a smoothed one. */
export function valuesInto(out: Float64Array, values: Float64Array, pixels: Pixels, scale: Scale): Float64Array {
  const into = out.length < pixels.size ? new Float64Array(2 * pixels.size) : out;
  placeY(into, values, pixels.first, pixels.size, scale);
  return into;
}

function placeX(out: Float64Array, x: Float64Array, first: number, size: number, { x: [low, high], width, isLogX }: Scale): void {
  if (isLogX) {
    const factor = width / Math.log(high / low);
    for (let index = 0; index < size; index += 1) {
      const step = x[first + index] ?? 0;
      out[index] = step > 0 ? cut(Math.log(step / low) * factor, 2 * FAR) : Number.NaN;
    }
    return;
  }
  // Halved first, as in `portion`.
  const factor = width / (high / 2 - low / 2);
  for (let index = 0; index < size; index += 1) out[index] = cut(((x[first + index] ?? 0) / 2 - low / 2) * factor, 2 * FAR);
}

function placeY(out: Float64Array, y: Float64Array, first: number, size: number, { y: [low, high], height, isLogY }: Scale): void {
  if (isLogY) {
    const factor = height / Math.log(high / low);
    for (let index = 0; index < size; index += 1) {
      const value = y[first + index] ?? 0;
      const isShown = value > 0 && value < Number.POSITIVE_INFINITY;
      out[index] = isShown ? cut(height - Math.log(value / low) * factor, FAR) : Number.NaN;
    }
    return;
  }
  const factor = height / (high / 2 - low / 2);
  for (let index = 0; index < size; index += 1) {
    const value = y[first + index] ?? Number.NaN;
    // NaN and infinities become NaN: they have no place.
    out[index] = value - value === 0 ? cut(height - (value / 2 - low / 2) * factor, FAR) : Number.NaN;
  }
}

function cut(pixel: number, most: number): number {
  return pixel < -FAR ? -FAR : pixel > most ? most : pixel;
}

export function hasBand({ x, top }: Pixels, index: number): boolean {
  return !Number.isNaN(x[index] ?? Number.NaN) && !Number.isNaN(top[index] ?? Number.NaN);
}

/** The half-open spans, by their place in `pixels`, that a band fills without a break. */
export function bandsOf(pixels: Pixels, gaps?: ReadonlySet<number>): (readonly [start: number, stop: number])[] {
  const bands: (readonly [number, number])[] = [];
  let start = 0;
  let isBand = false;
  const end = (stop: number, next: number): void => {
    if (isBand) bands.push([start, stop]);
    start = next;
    isBand = false;
  };
  for (let index = 0; index < pixels.size; index += 1) {
    if (!hasBand(pixels, index)) {
      end(index, index + 1);
      continue;
    }
    if (gaps?.has(pixels.first + index) === true) end(index, index);
    isBand ||= (pixels.bottom[index] ?? 0) > (pixels.top[index] ?? 0);
  }
  end(pixels.size, pixels.size);
  return bands;
}

/** Spikes that stand as near as this to each other do not hide one another. */
const SPIKE_WIDTH = 3;
/** Without bands, what is so many times as high as usual is told by its stroke. */
const UNUSUAL = 3;

/**
 * The buckets that stick out of those around them by more than `reach` pixels and by more than
 * the band is usually high; positions in `pixels`.
 *
 * A band alone would show a spike of one step as a faint sliver; these get a stroke of their own,
 * while noise, which sticks out everywhere, stays a band. Where no band is drawn, every bucket
 * much higher than usual gets a stroke, also one of many in a row.
 */
export function spikesOf({ top, bottom, size }: Pixels, height: number, reach: number, hasBand = true): number[] {
  let usual = -1;
  const spikes: number[] = [];
  for (let index = 0; index < size; index += 1) {
    const high = top[index] ?? Number.NaN;
    const low = bottom[index] ?? Number.NaN;
    if (!(low - high > reach)) continue;
    if (usual < 0) usual = usualHeight(top, bottom, size);
    if (low - high <= reach + usual) continue;
    const isUnusual = !hasBand && low - high > reach + UNUSUAL * usual;
    if (isUnusual || sticksOut(index, top, bottom, size, height) > reach + usual) spikes.push(index);
  }
  return spikes;
}

/** The buckets of a line that get a stroke: of an interval none, as no value stands at its ends. */
export function strokesOf({ isInterval }: Line, pixels: Pixels, height: number, reach: number, hasBand: boolean): number[] {
  return isInterval ? [] : spikesOf(pixels, height, reach, hasBand);
}

/** By how much a bucket is higher, or goes deeper, than one near it on either side. */
function sticksOut(index: number, top: Float64Array, bottom: Float64Array, size: number, height: number): number {
  let [topBefore, topAfter, bottomBefore, bottomAfter] = [0, 0, height, height];
  for (let away = 1; away <= SPIKE_WIDTH; away += 1) {
    // A neighbour that is not there or has no band is as if it lay on the edge.
    const [before, after] = [index >= away ? index - away : -1, index + away < size ? index + away : -1];
    topBefore = Math.max(topBefore, orElse(top[before], height));
    topAfter = Math.max(topAfter, orElse(top[after], height));
    bottomBefore = Math.min(bottomBefore, orElse(bottom[before], 0));
    bottomAfter = Math.min(bottomAfter, orElse(bottom[after], 0));
  }
  const peak = Math.min(topBefore, topAfter, height) - (top[index] ?? 0);
  const pit = (bottom[index] ?? 0) - Math.max(bottomBefore, bottomAfter, 0);
  return Math.max(peak, pit);
}

const MOST_HEIGHTS = 64;
const heights = new Float64Array(MOST_HEIGHTS);

/** The median of the bands' heights, of many bands of some; buckets without a band count as 0. */
function usualHeight(top: Float64Array, bottom: Float64Array, size: number): number {
  const stride = Math.ceil(size / MOST_HEIGHTS);
  let taken = 0;
  for (let index = 0; index < size; index += stride) {
    const height = (bottom[index] ?? 0) - (top[index] ?? 0);
    heights[taken] = height > 0 ? height : 0;
    taken += 1;
  }
  return select(heights, taken, taken >> 1);
}

/** The value that sorting would put at `rank` of the first `size`; they are left in another order. */
export function select(values: Float64Array, size: number, rank: number): number {
  let [low, high] = [0, size - 1];
  while (low < high) {
    const pivot = values[(low + high) >> 1] ?? 0;
    let [left, right] = [low, high];
    while (left <= right) {
      while ((values[left] ?? 0) < pivot) left += 1;
      while ((values[right] ?? 0) > pivot) right -= 1;
      if (left > right) break;
      const held = values[left] ?? 0;
      values[left] = values[right] ?? 0;
      values[right] = held;
      left += 1;
      right -= 1;
    }
    if (rank <= right) high = right;
    else if (rank >= left) low = left;
    else break;
  }
  return values[rank] ?? 0;
}

function orElse(value: number | undefined, otherwise: number): number {
  return value === undefined || Number.isNaN(value) ? otherwise : value;
}
