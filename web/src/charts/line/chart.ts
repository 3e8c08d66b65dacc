/** One live line chart: uPlot lays out axes and selects, canvases above it hold the lines. */
import uPlot from "uplot";

import type { Crosshair } from "../crosshair";
import { cancelFrame, nextFrame } from "../frame";
import { drawLines, drawStrong, type Ink } from "./draw";
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
  portion,
  rangeBetween,
  type Scale,
  stepAt,
  toX,
  toY,
} from "./model";
import { axisTicks } from "./ticks";
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
const X_LABEL_PX = 56;
const Y_LABEL_PX = 24;
const X_AXIS_PX = 22;
const TOP_PX = 8;
const NO_EXTENT: Extent = [0, 1];

type Ticks = ReturnType<typeof axisTicks>;

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
  readonly #observer: ResizeObserver;
  readonly #leave: () => void;
  readonly #drawAll = (): void => { this.#draw(); };
  readonly #drawPointer = (): void => { this.#point(); };
  /** Lines of series that have not changed are kept as they are. */
  #built = new Map<Buckets, Line>();
  #builtFor = "";
  #plot: uPlot | null = null;
  #look = "";
  #lines: readonly Line[] = [];
  #scale: Scale | null = null;
  #size = { width: 0, height: 0 };
  #ticks: { x: Ticks; y: Ticks } = { x: [], y: [] };
  /** What stands on the upper canvas. */
  #strong: Line | null = null;
  #isPointedHere = false;

  constructor(root: HTMLElement, crosshair: Crosshair, read: () => ChartContent, events: ChartEvents) {
    this.#root = root;
    this.#crosshair = crosshair;
    this.#read = read;
    this.#events = events;
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
    this.#plot?.destroy();
  }

  /** Moves the crosshair by buckets of the strong line, for the keyboard. */
  stepBy(buckets: number): void {
    const { step, run } = this.#crosshair.pointed;
    const line = this.#lines.find((each) => each.id === run) ?? this.#lines[0];
    if (line === undefined) return;
    const index = step === null ? line.x.length - 1 : indexNear(line.x, step) + buckets;
    const next = line.x[Math.max(0, Math.min(line.x.length - 1, index))];
    if (next === undefined) return;
    this.#isPointedHere = true;
    this.#crosshair.point({ step: next, run: line.id });
  }

  /** Shows fewer or more steps around the crosshair, for the keyboard. */
  zoomBy(factor: number): void {
    const [low, high] = this.#scale?.x ?? NO_EXTENT;
    const middle = this.#crosshair.pointed.step ?? (low + high) / 2;
    const start = Math.floor(middle - (middle - low) * factor);
    const stop = Math.ceil(middle + (high - middle) * factor);
    if (stop - start >= 2) this.#events.onZoom({ start, stop });
  }

  /** The pointer or the focus has gone elsewhere. */
  leave(): void {
    this.#isPointedHere = false;
    this.#crosshair.leave();
  }

  #draw(): void {
    const { width, height } = this.#size;
    if (width < 40 || height < 40) return;
    const { lines, options, range } = this.#read();
    this.#lines = this.#build(lines, options);
    const x = stepsToShow(range, this.#lines, options);
    const values = extentY(this.#lines, x, options);
    const y = values?.extent ?? (options.isLogY ? ([0.1, 10] as const) : NO_EXTENT);
    const high = height - X_AXIS_PX - TOP_PX;
    this.#scale = { x, y, width, height: high, isLogX: options.isLogX, isLogY: options.isLogY };
    const yTicks = axisTicks(y, options.isLogY, Math.floor(high / Y_LABEL_PX / (options.isLogY ? 1 : 1.5)));
    this.#ticks = { x: axisTicks(x, options.isLogX, Math.floor(width / X_LABEL_PX), true), y: yTicks };
    const plot = this.#plotNow();
    this.#scale = { ...this.#scale, width: plot.bbox.width / uPlot.pxRatio, height: plot.bbox.height / uPlot.pxRatio };
    drawLines(prepare(this.#lineCanvas, this.#scale), this.#lines, this.#scale);
    this.#root.dataset["drawn"] = String(this.#lines.length);
    this.#strong = null;
    this.#point();
    this.#events.onWidth(this.#scale.width);
    this.#events.onBeyond(values?.beyond ?? 0);
  }

  #build(inputs: readonly LineInput[], options: LineOptions): Line[] {
    const before = this.#builtFor === String(options.halfLife) ? this.#built : new Map<Buckets, Line>();
    this.#builtFor = String(options.halfLife);
    this.#built = new Map(
      inputs.map((input) => {
        const { id, name, color, dash } = input;
        const known = before.get(input.buckets);
        return [input.buckets, known === undefined ? buildLine(input, options) : { ...known, id, name, color, dash }];
      }),
    );
    return [...this.#built.values()];
  }

  #point(): void {
    const [plot, scale] = [this.#plot, this.#scale];
    if (plot === null || scale === null) return;
    const { step, run } = this.#crosshair.pointed;
    const strong = this.#lines.find((line) => line.id === run) ?? null;
    this.#strengthen(strong, scale);
    const at = step === null ? null : toX(scale, step);
    place(this.#rule, at !== null && at >= 0 && at <= scale.width ? at : null, 0);
    const index = step === null || strong === null ? -1 : indexNear(strong.x, step);
    const [hit] = step === null || strong === null ? [] : hitsAround([strong], step, run, 0);
    const height = hit === undefined ? Number.NaN : toY(scale, hit.line.y[hit.index] ?? Number.NaN);
    const isInside = height >= 0 && height <= scale.height;
    place(this.#dot, isInside ? toX(scale, strong?.x[index] ?? 0) : null, height);
    if (isInside) this.#dot.style.background = strong?.color ?? "";
    if (step === null || !this.#isPointedHere) {
      this.#tip.hide();
      return;
    }
    const hits = hitsAround(this.#lines, step, run, AROUND);
    this.#tip.show(hit === undefined ? step : (strong?.x[index] ?? step), hits, run, this.#lines.length - hits.length);
    this.#tip.place(toX(scale, step), plot.rect.left);
  }

  /** Draws one line strong and fades the others; nothing if it already is. */
  #strengthen(strong: Line | null, scale: Scale): void {
    if (strong === this.#strong && strong !== null) return;
    if (strong !== null || this.#strong !== null || this.#overCanvas.width === 0) {
      const ctx = prepare(this.#overCanvas, scale);
      if (strong !== null) drawStrong(ctx, strong, scale);
    }
    this.#lineCanvas.classList.toggle("is-faded", strong !== null && this.#lines.length > 1);
    this.#strong = strong;
  }

  #plotNow(): uPlot {
    const { width, height } = this.#size;
    const ink = inkOf(this.#root);
    if (this.#plot === null || this.#look !== ink.text) {
      this.#plot?.destroy();
      this.#look = ink.text;
      this.#plot = this.#makePlot(width, height, ink);
    }
    const plot = this.#plot;
    plot.batch(() => {
      if (plot.width !== width || plot.height !== height) plot.setSize({ width, height });
      // The scales stay as they are, so uPlot has to be told that the axes do not.
      plot.redraw(false, true);
    });
    return plot;
  }

  #makePlot(width: number, height: number, ink: Ink): uPlot {
    const common = {
      stroke: ink.text,
      font: `11px ${getComputedStyle(this.#root).fontFamily}`,
      ticks: { show: false },
      filter: (_plot: uPlot, splits: number[]) => splits,
    };
    const plot = new uPlot(
      {
        width,
        height,
        padding: [TOP_PX, 14, 0, 0],
        legend: { show: false },
        // Our own axes run from 0 to 1: what a step or a value is there, the model says.
        scales: { x: { time: false, range: () => [0, 1] }, y: { range: () => [0, 1] } },
        axes: [
          {
            ...common,
            grid: { show: false },
            size: X_AXIS_PX,
            gap: 4,
            splits: () => this.#splits("x"),
            values: () => this.#labelled("x").map((tick) => tick.label),
          },
          {
            ...common,
            grid: { stroke: ink.faint, width: 1 },
            size: () => 14 + 6.4 * Math.max(4, ...this.#ticks.y.map((tick) => tick.label.length)),
            gap: 6,
            splits: () => this.#splits("y"),
            values: () => this.#labelled("y").map((tick) => tick.label),
          },
        ],
        series: [{}, { paths: () => null, points: { show: false } }],
        cursor: {
          x: false,
          y: false,
          points: { show: false },
          drag: { x: true, y: false, setScale: false, dist: 4 },
          bind: { dblclick: () => () => { this.#events.onReset(); return null; } },
        },
        hooks: { setSelect: [(self) => { this.#select(self); }] },
      },
      CORNERS,
      this.#root,
    );
    plot.over.append(this.#lineCanvas, this.#overCanvas, this.#rule, this.#dot, this.#tip.element);
    plot.over.addEventListener("mousemove", (event) => { this.#follow(event); });
    plot.over.addEventListener("mouseleave", () => { this.leave(); });
    return plot;
  }

  #splits(axis: "x" | "y"): number[] {
    const scale = this.#scale;
    if (scale === null) return [];
    const isLog = axis === "x" ? scale.isLogX : scale.isLogY;
    return this.#labelled(axis).map((tick) => portion(tick.value, scale[axis], isLog));
  }

  /** Rules without a number beside them would be nothing but ink. */
  #labelled(axis: "x" | "y"): Ticks {
    return this.#ticks[axis].filter((tick) => tick.label !== "");
  }

  #follow(event: MouseEvent): void {
    const scale = this.#scale;
    if (this.#plot === null || scale === null) return;
    // uPlot keeps the plot's place up to date, so that asking for it costs no layout.
    const box = this.#plot.rect;
    const x = event.clientX - box.left;
    const near = nearestLine(this.#lines, scale, x, event.clientY - box.top);
    const step = stepAt(scale, x);
    const index = near === null ? -1 : indexNear(near.x, step);
    this.#isPointedHere = true;
    // The crosshair snaps to the values of the nearest line, as a value stands nowhere else.
    this.#crosshair.point({ step: near?.x[index] ?? step, run: near?.id ?? null });
    nextFrame(this.#drawPointer);
  }

  #select(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < 3 || this.#scale === null) return;
    const range = rangeBetween(this.#scale, left, left + width);
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (range !== null) this.#events.onZoom(range);
  }
}

/** The only data that uPlot sees: the corners of the plot. */
const CORNERS: uPlot.AlignedData = [[0, 1], [0, 1]];

function stepsToShow(range: ChartContent["range"], lines: readonly Line[], { isLogX }: LineOptions): Extent {
  const [low, high] = range === null ? (extentX(lines, isLogX) ?? NO_EXTENT) : [range.start, range.stop];
  return isLogX && low <= 0 ? [1, Math.max(2, high)] : [low, high];
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

/** Fits a canvas to the plot and wipes it. */
function prepare(element: HTMLCanvasElement, scale: Scale): CanvasRenderingContext2D {
  const ratio = devicePixelRatio;
  const width = Math.round(scale.width * ratio);
  const height = Math.round(scale.height * ratio);
  if (element.width !== width) element.width = width;
  if (element.height !== height) element.height = height;
  const ctx = element.getContext("2d");
  if (ctx === null) throw new Error("this browser gives no 2d canvas");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, scale.width, scale.height);
  return ctx;
}

function inkOf(root: HTMLElement): Ink {
  const style = getComputedStyle(root);
  return { text: style.getPropertyValue("--text-2"), faint: style.getPropertyValue("--hairline") };
}
