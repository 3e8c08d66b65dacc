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

/**
 * The buckets that stick out beyond both neighbours by more than `reach` pixels and by more than
 * the band is usually high; positions in `pixels`.
 *
 * A band alone would show a spike of one step as a faint sliver; these get a stroke of their own,
 * while noise, which sticks out everywhere, stays a band.
 */
export function spikesOf({ top, bottom, size }: Pixels, height: number, reach: number): number[] {
  let usual = -1;
  const spikes: number[] = [];
  for (let index = 0; index < size; index += 1) {
    const high = top[index] ?? Number.NaN;
    const low = bottom[index] ?? Number.NaN;
    if (!(low - high > reach)) continue;
    // A neighbour that is not there or has no band is as if it lay on the edge.
    const [before, after] = [index > 0 ? index - 1 : -1, index + 1 < size ? index + 1 : -1];
    const peak = Math.min(orElse(top[before], height), orElse(top[after], height), height) - high;
    const pit = low - Math.max(orElse(bottom[before], 0), orElse(bottom[after], 0), 0);
    const sticksOut = Math.max(peak, pit);
    if (sticksOut <= reach) continue;
    if (usual < 0) usual = usualHeight(top, bottom, size);
    if (low - high > reach + usual && sticksOut > reach + usual) spikes.push(index);
  }
  return spikes;
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
