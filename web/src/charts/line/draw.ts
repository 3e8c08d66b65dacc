/** Draws lines on a canvas whose unit is a CSS pixel and whose origin is the plot's corner. */
import { exitsOf, isWithin, type Line, type Scale } from "./model";
import { bandsOf, hasBand, intoPixels, noPixels, type Pixels, strokesOf, valuesInto } from "./pixels";

/** A pixel where screens have one for each: any wider line costs ten times as much. */
const LINE_WIDTH = 1;
const STRONG_WIDTH = 2;
const BAND_ALPHA = 0.16;
const FEW_LINES = 8;
/** Of more lines than this, bands would be fainter than eyes can see, and would hide each other. */
const MOST_BANDS = 40;
/** Buckets narrower than this are columns of the band. */
const COLUMN_PX = 3;
const RAW_ALPHA = 0.28;
const SPIKE_ALPHA = 0.8;
const SPIKE_REACH = 3;
const MARK = 3;
const DOT = 2.5;

const UNBROKEN: number[] = [];

/** Lines are drawn one after the other: they share their buffers. */
const shared = noPixels();
let behind: Float64Array = new Float64Array(0);

interface Look {
  readonly width: number;
  readonly band: number;
  readonly isDashed: boolean;
}

export function drawLines(ctx: CanvasRenderingContext2D, lines: readonly Line[], scale: Scale): void {
  const isCrowded = lines.length > MOST_BANDS;
  // Bands of many lines lie on each other: together they must not hide the lines.
  const band = isCrowded ? 0 : BAND_ALPHA * Math.min(1, FEW_LINES / lines.length);
  // A line of one device pixel costs a tenth of any wider one.
  const width = isCrowded ? 1 / devicePixelRatio : LINE_WIDTH;
  for (const line of lines) drawLine(ctx, line, scale, { width, band, isDashed: !isCrowded });
}

/** The chosen line again, strong, on the canvas above the faded ones. */
export function drawStrong(ctx: CanvasRenderingContext2D, line: Line, scale: Scale): void {
  drawLine(ctx, line, scale, { width: STRONG_WIDTH, band: BAND_ALPHA, isDashed: true });
}

function drawLine(ctx: CanvasRenderingContext2D, line: Line, scale: Scale, { width, band, isDashed }: Look): void {
  intoPixels(shared, line, scale);
  ctx.strokeStyle = line.color;
  ctx.fillStyle = line.color;
  // Round joins cost half as much again, and show on no line as thin as these.
  ctx.lineJoin = "bevel";
  if (line.isSmoothed) {
    ctx.globalAlpha = RAW_ALPHA;
    ctx.lineWidth = Math.min(1, width);
    behind = valuesInto(behind, line.buckets.mean, shared, scale);
    strokePath(ctx, shared, behind);
  }
  if (line.hasBand) {
    ctx.globalAlpha = band;
    if (band > 0) fillBand(ctx, shared, line.buckets.gaps);
    ctx.globalAlpha = line.isSmoothed ? RAW_ALPHA : SPIKE_ALPHA;
    ctx.lineWidth = Math.min(1, width);
    strokeSpikes(ctx, line, shared, scale, band > 0);
  }
  ctx.globalAlpha = 1;
  ctx.lineWidth = width;
  if (isDashed && line.dash.length > 0) ctx.setLineDash([...line.dash]);
  strokePath(ctx, shared, shared.y);
  ctx.setLineDash(UNBROKEN);
  if (line.hasOdd) markNan(ctx, line, shared, scale);
  if (line.hasOdd || !isWithin(line, scale.y)) markExits(ctx, line, scale);
}

function strokePath(ctx: CanvasRenderingContext2D, { x, size }: Pixels, y: Float64Array): void {
  const alone: number[] = [];
  let length = 0;
  ctx.beginPath();
  for (let index = 0; index < size; index += 1) {
    const px = x[index] ?? Number.NaN;
    const py = y[index] ?? Number.NaN;
    if (Number.isNaN(px) || Number.isNaN(py)) {
      if (length === 1) alone.push(index - 1);
      length = 0;
      continue;
    }
    if (length === 0) ctx.moveTo(px, py);
    else ctx.lineTo(px, py);
    length += 1;
  }
  if (length === 1) alone.push(size - 1);
  ctx.stroke();
  // A point without neighbours has no line, and a run's first point must be seen.
  for (const index of alone) {
    ctx.beginPath();
    ctx.arc(x[index] ?? 0, y[index] ?? 0, DOT, 0, 2 * Math.PI);
    ctx.fill();
  }
}

function fillBand(ctx: CanvasRenderingContext2D, pixels: Pixels, gaps: Line["buckets"]["gaps"]): void {
  for (const [start, stop] of bandsOf(pixels, gaps)) fillPart(ctx, pixels, start, stop);
}

function fillPart(ctx: CanvasRenderingContext2D, pixels: Pixels, from: number, to: number): void {
  const { x, top, bottom } = pixels;
  if ((to - from) * COLUMN_PX > (x[to - 1] ?? 0) - (x[from] ?? 0)) {
    fillColumns(ctx, pixels, from, to);
    return;
  }
  ctx.beginPath();
  for (let index = from; index < to; index += 1) ctx.lineTo(x[index] ?? 0, top[index] ?? 0);
  for (let index = to - 1; index >= from; index -= 1) ctx.lineTo(x[index] ?? 0, bottom[index] ?? 0);
  ctx.fill();
}

/** The same of buckets so narrow that no slope would be seen: columns cost half of a polygon. */
function fillColumns(ctx: CanvasRenderingContext2D, { x, top, bottom }: Pixels, from: number, to: number): void {
  let left = Math.round(x[from] ?? 0);
  let [high, low] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let index = from; index < to; index += 1) {
    high = Math.min(high, top[index] ?? high);
    low = Math.max(low, bottom[index] ?? low);
    const right = Math.round(((x[index] ?? 0) + (x[Math.min(index + 1, to - 1)] ?? 0)) / 2);
    if (right <= left) continue;
    ctx.fillRect(left, high, right - left, low - high);
    left = right;
    [high, low] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  }
}

function strokeSpikes(ctx: CanvasRenderingContext2D, line: Line, pixels: Pixels, scale: Scale, isOnBand: boolean): void {
  const spikes = strokesOf(line, pixels, scale.height, SPIKE_REACH, isOnBand);
  if (spikes.length === 0) return;
  ctx.beginPath();
  for (const index of spikes) {
    if (!hasBand(pixels, index)) continue;
    ctx.moveTo(pixels.x[index] ?? 0, pixels.bottom[index] ?? 0);
    ctx.lineTo(pixels.x[index] ?? 0, pixels.top[index] ?? 0);
  }
  ctx.stroke();
}

/** NaN as a cross on the floor; marks that would touch become one: what counts is where it began. */
function markNan(ctx: CanvasRenderingContext2D, { buckets }: Line, { x, first, size }: Pixels, scale: Scale): void {
  const floor = scale.height - MARK - 2;
  let before = Number.NEGATIVE_INFINITY;
  ctx.lineWidth = LINE_WIDTH;
  ctx.beginPath();
  for (let index = 0; index < size; index += 1) {
    const at = (buckets.nan[first + index] ?? 0) === 0 ? -1 : (x[index] ?? -1);
    if (!(at >= 0) || at > scale.width) continue;
    const px = inside(at, scale);
    if (px - before < 3 * MARK) continue;
    before = px;
    ctx.moveTo(px - MARK, floor - MARK);
    ctx.lineTo(px + MARK, floor + MARK);
    ctx.moveTo(px + MARK, floor - MARK);
    ctx.lineTo(px - MARK, floor + MARK);
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
