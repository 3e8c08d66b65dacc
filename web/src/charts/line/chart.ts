/** One live line chart: a frame with axes, and above it canvases that hold the lines. */
import { STEP, type XAxis } from "../../lib/axis";
import type { Crosshair } from "../crosshair";
import { cancelFrame, nextFrame } from "../frame";
import { drawLines, drawStrong } from "./draw";
import { extentX, extentY } from "./extent";
import {
  type Buckets,
  buildLine,
  type Extent,
  hitsAround,
  indexNear,
  type Line,
  type LineInput,
  type LineOptions,
  nearestLine,
  placeAt,
  rangeBetween,
  rangeOf,
  type Scale,
  toX,
  toY,
} from "./model";
import { fitted, heightOf, type Ink, Plot } from "./plot";
import { axisTicks, fittingTicks } from "./ticks";
import { Tooltip } from "./tooltip";

export interface ChartEvents {
  readonly onZoom: (range: { start: number; stop: number }) => void;
  readonly onReset: () => void;
  readonly onWidth: (pixels: number) => void;
  /** How many lines have values outside of what the y axis shows. */
  readonly onBeyond: (lines: number) => void;
  /** Out of sight nothing follows the pointer; what comes into sight is told by `update`. */
  readonly isInSight: () => boolean;
}

/** What there is to draw now; the chart asks for it once a frame at most. */
export interface ChartContent {
  readonly lines: readonly LineInput[];
  readonly options: LineOptions;
  readonly range: { readonly start: number; readonly stop: number } | null;
}

const AROUND = 3;
/** The ends of a rounded axis are of the picture. */
const EDGE_PX = 1;
const Y_LABEL_PX = 24;
const NO_EXTENT: Extent = [0, 1];

export class LineChart {
  readonly #root: HTMLElement;
  readonly #crosshair: Crosshair;
  readonly #events: ChartEvents;
  readonly #read: () => ChartContent;
  readonly #lineCanvas = canvas("chart-lines");
  readonly #overCanvas = canvas("chart-over");
  /** Elements rather than strokes: moving them costs no drawing. */
  readonly #rule = mark("chart-rule");
  readonly #dot = mark("chart-dot");
  readonly #tip = new Tooltip();
  readonly #plot: Plot;
  readonly #observer: ResizeObserver;
  readonly #leave: () => void;
  readonly #drawAll = (): void => { this.#draw(); };
  readonly #drawPointer = (): void => { this.#point(); };
  /** Lines of series that have not changed are kept as they are. */
  #built = new Map<Buckets, Line>();
  #builtFor = "";
  #lines: readonly Line[] = [];
  #scale: Scale | null = null;
  #axis: XAxis = STEP;
  #size = { width: 0, height: 0 };
  /** What stands on the upper canvas. */
  #strong: Line | null = null;
  #isPointedHere = false;
  /** Where in the plot the pointer is; null where keys moved the crosshair. */
  #pointer: { readonly x: number; readonly y: number } | null = null;

  constructor(root: HTMLElement, crosshair: Crosshair, read: () => ChartContent, events: ChartEvents) {
    this.#root = root;
    this.#crosshair = crosshair;
    this.#read = read;
    this.#events = events;
    this.#plot = new Plot(root, {
      onMove: (x, y) => { this.#follow(x, y); },
      onLeave: () => { this.leave(); },
      onSelect: (from, to) => { this.#select(from, to); },
      onReset: () => { events.onReset(); },
    });
    this.#plot.element.append(this.#lineCanvas, this.#overCanvas, this.#rule, this.#dot, this.#tip.element);
    this.#observer = new ResizeObserver((entries) => {
      const box = entries.at(-1)?.contentRect;
      if (box !== undefined) this.#size = { width: Math.round(box.width), height: Math.round(box.height) };
      this.update();
    });
    this.#observer.observe(root);
    this.#leave = crosshair.listen(() => { if (events.isInSight()) nextFrame(this.#drawPointer); });
  }

  /** The data, the options, the size or the theme changed: draw in the next frame. */
  update(): void {
    nextFrame(this.#drawAll);
  }

  close(): void {
    this.#observer.disconnect();
    this.#leave();
    cancelFrame(this.#drawAll);
    cancelFrame(this.#drawPointer);
    this.#plot.close();
  }

  /** Moves the crosshair by buckets of the strong line, for the keyboard. */
  stepBy(buckets: number): void {
    const { x, run } = this.#crosshair.pointed;
    const line = this.#lines.find((each) => each.id === run) ?? this.#lines[0];
    if (line === undefined) return;
    const index = x === null ? line.x.length - 1 : indexNear(line.x, x) + buckets;
    const next = line.x[Math.max(0, Math.min(line.x.length - 1, index))];
    if (next === undefined) return;
    this.#isPointedHere = true;
    this.#pointer = null;
    this.#crosshair.point({ x: next, run: line.id });
  }

  /** Shows less or more around the crosshair, for the keyboard. */
  zoomBy(factor: number): void {
    const [low, high] = this.#scale?.x ?? NO_EXTENT;
    const middle = this.#crosshair.pointed.x ?? (low + high) / 2;
    const range = rangeOf(this.#axis, middle - (middle - low) * factor, middle + (high - middle) * factor);
    if (range !== null) this.#events.onZoom(range);
  }

  /** The pointer or the focus has gone elsewhere. */
  leave(): void {
    this.#isPointedHere = false;
    this.#pointer = null;
    this.#crosshair.leave();
  }

  #draw(): void {
    const { width, height } = this.#size;
    if (width < 40 || height < 40) return;
    const { lines, options, range } = this.#read();
    this.#lines = this.#build(lines, options);
    this.#axis = options.axis;
    const x = partToShow(range, this.#lines, options);
    const values = extentY(this.#lines, x, options);
    const y = values?.extent ?? (options.isLogY ? ([0.1, 10] as const) : NO_EXTENT);
    const most = Math.floor(heightOf(height) / Y_LABEL_PX / (options.isLogY ? 1 : 1.5));
    const yAxis = { ticks: axisTicks(y, options.isLogY, most), extent: y, isLog: options.isLogY };
    this.#plot.layOut(width, height, yAxis.ticks);
    const { isLogX, isLogY } = options;
    const drawn = this.#scale;
    this.#scale = { x, y, width: this.#plot.width, height: this.#plot.height, isLogX, isLogY };
    const ticks = fittingTicks(options.axis, x, isLogX, this.#scale.width, this.#plot.widthOf);
    this.#plot.drawAxes(width, height, { ticks, extent: x, isLog: isLogX }, yAxis, inkOf(this.#root));
    drawLines(fitted(this.#lineCanvas, this.#scale.width, this.#scale.height), this.#lines, this.#scale);
    this.#root.dataset["drawn"] = String(this.#lines.length);
    this.#strong = null;
    const { x: before } = drawn ?? {};
    // The pointer stays where it is when the axis moves below it.
    if (this.#pointer !== null && (before?.[0] !== x[0] || before[1] !== x[1])) this.#follow(this.#pointer.x, this.#pointer.y);
    this.#point();
    this.#events.onWidth(this.#scale.width);
    this.#events.onBeyond(values?.beyond ?? 0);
  }

  #build(inputs: readonly LineInput[], options: LineOptions): Line[] {
    const before = this.#builtFor === String(options.halfLife) ? this.#built : new Map<Buckets, Line>();
    this.#builtFor = String(options.halfLife);
    this.#built = new Map(
      inputs.map((input) => {
        const known = before.get(input.buckets);
        return [input.buckets, known === undefined ? buildLine(input, options) : { ...known, ...input }];
      }),
    );
    return [...this.#built.values()];
  }

  #point(): void {
    const scale = this.#scale;
    if (scale === null) return;
    const { x, run } = this.#crosshair.pointed;
    const strong = this.#lines.find((line) => line.id === run) ?? null;
    this.#strengthen(strong, scale);
    const at = x === null ? null : toX(scale, x);
    place(this.#rule, at !== null && at >= 0 && at <= scale.width ? at : null, 0);
    const index = x === null || strong === null ? -1 : indexNear(strong.x, x);
    const [hit] = x === null || strong === null ? [] : hitsAround([strong], x, run, 0);
    const height = hit === undefined ? Number.NaN : toY(scale, hit.line.y[hit.index] ?? Number.NaN);
    const isInside = height >= 0 && height <= scale.height;
    place(this.#dot, isInside ? toX(scale, strong?.x[index] ?? 0) : null, height);
    if (isInside) this.#dot.style.background = strong?.color ?? "";
    if (x === null || at === null || at < -EDGE_PX || at > scale.width + EDGE_PX || !this.#isPointedHere) {
      this.#tip.hide();
      return;
    }
    const hits = hitsAround(this.#lines, x, run, AROUND);
    this.#tip.show(this.#axis, hit === undefined ? x : (strong?.x[index] ?? x), hits, run, this.#lines.length - hits.length);
    this.#tip.place(toX(scale, x), this.#plot.left);
  }

  /** Draws one line strong and fades the others; nothing if it already is. */
  #strengthen(strong: Line | null, scale: Scale): void {
    if (strong === this.#strong && strong !== null) return;
    if (strong !== null || this.#strong !== null || this.#overCanvas.width === 0) {
      const ctx = fitted(this.#overCanvas, scale.width, scale.height);
      if (strong !== null) drawStrong(ctx, strong, scale);
    }
    this.#lineCanvas.classList.toggle("is-faded", strong !== null && this.#lines.length > 1);
    this.#strong = strong;
  }

  #follow(x: number, y: number): void {
    const scale = this.#scale;
    if (scale === null) return;
    const near = nearestLine(this.#lines, scale, x, y);
    const place = placeAt(scale, x);
    const index = near === null ? -1 : indexNear(near.x, place);
    this.#isPointedHere = true;
    this.#pointer = { x, y };
    // The crosshair snaps to the values of the nearest line, as a value stands nowhere else.
    this.#crosshair.point({ x: near?.x[index] ?? place, run: near?.id ?? null });
    nextFrame(this.#drawPointer);
  }

  #select(from: number, to: number): void {
    const range = this.#scale === null ? null : rangeBetween(this.#scale, this.#axis, from, to);
    if (range !== null) this.#events.onZoom(range);
  }
}

function partToShow(range: ChartContent["range"], lines: readonly Line[], { isLogX }: LineOptions): Extent {
  const [low, high] = range === null ? (extentX(lines, isLogX) ?? NO_EXTENT) : [range.start, range.stop];
  return isLogX && low <= 0 ? [Math.min(1, Math.max(high, 1) / 2), Math.max(2, high)] : [low, high];
}

function canvas(className: string): HTMLCanvasElement {
  const element = document.createElement("canvas");
  element.className = className;
  element.width = 0;
  return element;
}

function mark(className: string): HTMLElement {
  const element = document.createElement("i");
  element.className = className;
  element.hidden = true;
  return element;
}

/** Puts a mark at a place, or takes it away. */
function place(element: HTMLElement, x: number | null, y: number): void {
  element.hidden = x === null;
  if (x !== null) element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
}

function inkOf(root: HTMLElement): Ink {
  const style = getComputedStyle(root);
  return {
    text: style.getPropertyValue("--text-2"),
    faint: style.getPropertyValue("--hairline"),
    font: `11px ${style.fontFamily}`,
  };
}
