/** Draws lines on a canvas whose unit is a CSS pixel and whose origin is the plot's corner. */
import { exitsOf, indexesWithin, type Line, type Scale, spikesOf, toX, toY } from "./model";

export interface Ink {
  readonly text: string;
  readonly faint: string;
}

const LINE_WIDTH = 1.25;
const STRONG_WIDTH = 2;
const BAND_ALPHA = 0.16;
const FEW_LINES = 8;
const RAW_ALPHA = 0.28;
const SPIKE_ALPHA = 0.8;
const SPIKE_REACH = 3;
const MARK = 3;
const DOT = 2.5;
/** Pixels beyond the plot at which a coordinate is cut: canvases misdraw very large ones. */
const FAR = 4_000;

export function drawLines(ctx: CanvasRenderingContext2D, lines: readonly Line[], scale: Scale): void {
  // Bands of many lines lie on each other: together they must not hide the lines.
  const band = BAND_ALPHA * Math.min(1, FEW_LINES / lines.length);
  for (const line of lines) drawLine(ctx, line, scale, LINE_WIDTH, band);
}

/** The chosen line again, strong, on the canvas above the faded ones. */
export function drawStrong(ctx: CanvasRenderingContext2D, line: Line, scale: Scale): void {
  drawLine(ctx, line, scale, STRONG_WIDTH, BAND_ALPHA);
}

function drawLine(ctx: CanvasRenderingContext2D, line: Line, scale: Scale, width: number, band: number): void {
  const [first, last] = indexesWithin(line.buckets, scale.x);
  // One more on each side, so that the line runs to the edges of the plot.
  const from = Math.max(0, first - 1);
  const to = Math.min(line.x.length, last + 1);
  ctx.strokeStyle = line.color;
  ctx.fillStyle = line.color;
  ctx.lineJoin = "round";
  ctx.lineCap = "round";
  if (line.isSmoothed) {
    ctx.globalAlpha = RAW_ALPHA;
    ctx.lineWidth = 1;
    strokePath(ctx, line.x, line.buckets.mean, scale, from, to);
  }
  ctx.globalAlpha = band;
  fillBand(ctx, line, scale, from, to);
  ctx.globalAlpha = line.isSmoothed ? RAW_ALPHA : SPIKE_ALPHA;
  ctx.lineWidth = 1;
  strokeSpikes(ctx, line, scale, from, to);
  ctx.globalAlpha = 1;
  ctx.lineWidth = width;
  ctx.setLineDash([...line.dash]);
  strokePath(ctx, line.x, line.y, scale, from, to);
  ctx.setLineDash([]);
  markNan(ctx, line, scale, from, to);
  markExits(ctx, line, scale);
}

function strokePath(
  ctx: CanvasRenderingContext2D,
  x: Float64Array,
  y: Float64Array,
  scale: Scale,
  from: number,
  to: number,
): void {
  ctx.beginPath();
  const alone: [number, number][] = [];
  let start: [number, number] | null = null;
  let length = 0;
  for (let index = from; index <= to; index += 1) {
    const value = index < to ? (y[index] ?? Number.NaN) : Number.NaN;
    const step = x[index] ?? 0;
    if (!isDrawable(value, scale) || (scale.isLogX && step <= 0)) {
      if (start !== null && length === 1) alone.push(start);
      start = null;
      length = 0;
      continue;
    }
    const px = clampX(toX(scale, step));
    const py = clampY(toY(scale, value));
    if (start === null) {
      start = [px, py];
      ctx.moveTo(px, py);
    } else {
      ctx.lineTo(px, py);
    }
    length += 1;
  }
  ctx.stroke();
  // A point without neighbours has no line, and a run's first point must be seen.
  for (const [px, py] of alone) fillDot(ctx, px, py);
}

function fillDot(ctx: CanvasRenderingContext2D, px: number, py: number): void {
  ctx.beginPath();
  ctx.arc(px, py, DOT, 0, 2 * Math.PI);
  ctx.fill();
}

function fillBand(ctx: CanvasRenderingContext2D, line: Line, scale: Scale, from: number, to: number): void {
  const { min, max, count } = line.buckets;
  let start = from;
  while (start < to) {
    let stop = start;
    let isBand = false;
    while (stop < to && isBandable(line, scale, stop)) {
      isBand ||= (count[stop] ?? 0) > 1 && (max[stop] ?? 0) > (min[stop] ?? 0);
      stop += 1;
    }
    if (isBand) fillPart(ctx, line, scale, start, stop);
    start = stop + 1;
  }
}

function fillPart(ctx: CanvasRenderingContext2D, line: Line, scale: Scale, from: number, to: number): void {
  const { min, max } = line.buckets;
  ctx.beginPath();
  for (let index = from; index < to; index += 1) {
    ctx.lineTo(clampX(toX(scale, line.x[index] ?? 0)), clampY(toY(scale, max[index] ?? 0)));
  }
  for (let index = to - 1; index >= from; index -= 1) {
    const low = scale.isLogY ? Math.max(min[index] ?? 0, scale.y[0]) : (min[index] ?? 0);
    ctx.lineTo(clampX(toX(scale, line.x[index] ?? 0)), clampY(toY(scale, low)));
  }
  ctx.fill();
}

function strokeSpikes(ctx: CanvasRenderingContext2D, line: Line, scale: Scale, from: number, to: number): void {
  const { min, max } = line.buckets;
  ctx.beginPath();
  for (const index of spikesOf(line, scale, SPIKE_REACH)) {
    if (index < from || index >= to || !isBandable(line, scale, index)) continue;
    const px = clampX(toX(scale, line.x[index] ?? 0));
    const low = scale.isLogY ? Math.max(min[index] ?? 0, scale.y[0]) : (min[index] ?? 0);
    ctx.moveTo(px, clampY(toY(scale, low)));
    ctx.lineTo(px, clampY(toY(scale, max[index] ?? 0)));
  }
  ctx.stroke();
}

/** NaN as a cross on the floor; marks that would touch become one: what counts is where it began. */
function markNan(ctx: CanvasRenderingContext2D, line: Line, scale: Scale, from: number, to: number): void {
  const { nan } = line.buckets;
  const floor = scale.height - MARK - 2;
  let before = Number.NEGATIVE_INFINITY;
  ctx.lineWidth = 1.25;
  ctx.beginPath();
  for (let index = from; index < to; index += 1) {
    const at = (nan[index] ?? 0) === 0 ? -1 : toX(scale, line.x[index] ?? 0);
    if (at < 0 || at > scale.width) continue;
    const x = inside(at, scale);
    if (x - before < 3 * MARK) continue;
    before = x;
    ctx.moveTo(x - MARK, floor - MARK);
    ctx.lineTo(x + MARK, floor + MARK);
    ctx.moveTo(x + MARK, floor - MARK);
    ctx.lineTo(x - MARK, floor + MARK);
  }
  ctx.stroke();
}

/** Arrowheads at the edges behind which the line goes on. */
function markExits(ctx: CanvasRenderingContext2D, line: Line, scale: Scale): void {
  for (const { x, isAbove } of exitsOf(line, scale, 3 * MARK)) {
    fillArrow(ctx, inside(x, scale), isAbove ? 1 : scale.height - 1, isAbove ? 1 : -1);
  }
}

function inside(x: number, scale: Scale): number {
  return Math.max(MARK + 1, Math.min(scale.width - MARK - 1, x));
}

function fillArrow(ctx: CanvasRenderingContext2D, x: number, y: number, direction: 1 | -1): void {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - MARK, y + direction * 2 * MARK);
  ctx.lineTo(x + MARK, y + direction * 2 * MARK);
  ctx.fill();
}

function isBandable(line: Line, scale: Scale, index: number): boolean {
  const step = line.x[index] ?? 0;
  return isDrawable(line.buckets.max[index] ?? Number.NaN, scale) && !(scale.isLogX && step <= 0);
}

function isDrawable(value: number, scale: Scale): boolean {
  return Number.isFinite(value) && !(scale.isLogY && value <= 0);
}

function clampX(x: number): number {
  return Math.max(-FAR, Math.min(FAR + 4_000, x));
}

function clampY(y: number): number {
  return Math.max(-FAR, Math.min(FAR, y));
}
