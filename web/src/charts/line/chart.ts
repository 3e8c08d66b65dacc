/** One live line chart: uPlot draws axes and selects, two canvases above it hold lines and pointer. */
import uPlot from "uplot";

import type { Crosshair } from "../crosshair";
import { cancelFrame, nextFrame } from "../frame";
import { drawCrosshair, drawDot, drawLines, drawStrong, type Ink } from "./draw";
import {
  buildLine,
  type Extent,
  extentX,
  extentY,
  hitsAround,
  indexNear,
  type Line,
  type LineInput,
  type LineOptions,
  nearestLine,
  rangeBetween,
  type Scale,
  stepAt,
  toX,
} from "./model";
import { logTicks, roundTicks, type Tick, valueLabels } from "./ticks";
import { Tooltip } from "./tooltip";

export interface ChartEvents {
  readonly onZoom: (range: { start: number; stop: number }) => void;
  readonly onReset: () => void;
  readonly onWidth: (pixels: number) => void;
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
const NO_EXTENT: Extent = [0, 1];

export class LineChart {
  readonly #root: HTMLElement;
  readonly #crosshair: Crosshair;
  readonly #events: ChartEvents;
  readonly #read: () => ChartContent;
  readonly #lineCanvas = canvas("chart-lines");
  readonly #overCanvas = canvas("chart-over");
  readonly #tip = new Tooltip();
  readonly #observer: ResizeObserver;
  readonly #leave: () => void;
  readonly #drawAll = (): void => { this.#draw(); };
  readonly #drawPointer = (): void => { this.#point(); };
  #plot: uPlot | null = null;
  #axes = "";
  #lines: readonly Line[] = [];
  #x = NO_EXTENT;
  #y = NO_EXTENT;
  #isPointedHere = false;

  constructor(root: HTMLElement, crosshair: Crosshair, read: () => ChartContent, events: ChartEvents) {
    this.#root = root;
    this.#crosshair = crosshair;
    this.#read = read;
    this.#events = events;
    this.#observer = new ResizeObserver(() => { this.update(); });
    this.#observer.observe(root);
    this.#leave = crosshair.listen(() => { nextFrame(this.#drawPointer); });
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
    const [low, high] = this.#x;
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
    const width = this.#root.clientWidth;
    const height = this.#root.clientHeight;
    if (width < 40 || height < 40) return;
    const { lines, options, range } = this.#read();
    this.#lines = lines.map((line) => buildLine(line, options));
    this.#x = (range && ([range.start, range.stop] as const)) ?? extentX(this.#lines, options.isLogX) ?? NO_EXTENT;
    if (options.isLogX && this.#x[0] <= 0) this.#x = [1, Math.max(2, this.#x[1])];
    this.#y = extentY(this.#lines, this.#x, options) ?? (options.isLogY ? [0.1, 10] : NO_EXTENT);
    const plot = this.#plotFor(options, width, height);
    plot.setData([[this.#x[0], this.#x[1]], [this.#y[0], this.#y[1]]]);
    const scale = this.#scale(plot, options);
    this.#events.onWidth(scale.width);
    drawLines(prepare(this.#lineCanvas, scale), this.#lines, scale);
    this.#root.dataset["drawn"] = String(this.#lines.length);
    this.#point();
  }

  #point(): void {
    if (this.#plot === null) return;
    const scale = this.#scale(this.#plot, this.#read().options);
    const { step, run } = this.#crosshair.pointed;
    const ctx = prepare(this.#overCanvas, scale);
    const ink = inkOf(this.#root);
    const strong = this.#lines.find((line) => line.id === run);
    this.#lineCanvas.classList.toggle("is-faded", strong !== undefined && this.#lines.length > 1);
    if (step !== null) drawCrosshair(ctx, step, scale, ink);
    if (strong !== undefined) drawStrong(ctx, strong, scale);
    if (step === null) {
      this.#tip.hide();
      return;
    }
    const hits = hitsAround(this.#lines, step, run, AROUND);
    const nearest = hits.find((hit) => hit.line.id === run);
    if (nearest !== undefined) drawDot(ctx, nearest, scale, ink);
    if (!this.#isPointedHere) {
      this.#tip.hide();
      return;
    }
    const at = nearest === undefined ? step : (nearest.line.x[nearest.index] ?? step);
    this.#tip.show(at, hits, run, this.#lines.length - hits.length);
    this.#tip.place(toX(scale, step), this.#plot.over);
  }

  #plotFor(options: LineOptions, width: number, height: number): uPlot {
    const ink = inkOf(this.#root);
    const axes = `${String(options.isLogX)} ${String(options.isLogY)} ${ink.text}`;
    if (this.#plot === null || this.#axes !== axes) {
      this.#plot?.destroy();
      this.#axes = axes;
      this.#plot = this.#makePlot(options, width, height, ink);
    } else if (this.#plot.width !== width || this.#plot.height !== height) {
      this.#plot.setSize({ width, height });
    }
    return this.#plot;
  }

  #makePlot(options: LineOptions, width: number, height: number, ink: Ink): uPlot {
    const font = `11px ${getComputedStyle(this.#root).fontFamily}`;
    const common = {
      stroke: ink.text,
      font,
      grid: { stroke: ink.faint, width: 1 },
      ticks: { show: false },
    };
    const plot = new uPlot(
      {
        width,
        height,
        padding: [8, 14, 0, 0],
        legend: { show: false },
        scales: {
          x: { time: false, distr: options.isLogX ? 3 : 1, range: () => [...this.#x] },
          y: { distr: options.isLogY ? 3 : 1, range: () => [...this.#y] },
        },
        axes: [
          {
            ...common,
            grid: { show: false },
            size: 22,
            gap: 4,
            space: X_LABEL_PX,
            incrs: STEP_INCREMENTS,
            values: (_plot, ticks) => valueLabels(ticks),
            ...(options.isLogX ? logAxis(X_LABEL_PX) : {}),
          },
          {
            ...common,
            size: (_plot, values) => 14 + 6.4 * Math.max(4, ...(values ?? []).map((value) => (value ?? "").length)),
            gap: 6,
            space: Y_LABEL_PX,
            splits: (plot, _axis, low, high) =>
              roundTicks(low, high, Math.floor(plot.height / Y_LABEL_PX / 1.5)).map((tick) => tick.value),
            values: (_plot, ticks) => valueLabels(ticks),
            ...(options.isLogY ? logAxis(Y_LABEL_PX) : {}),
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
      [[0, 1], [0, 1]],
      this.#root,
    );
    plot.over.append(this.#lineCanvas, this.#overCanvas, this.#tip.element);
    plot.over.addEventListener("mousemove", (event) => { this.#follow(event); });
    plot.over.addEventListener("mouseleave", () => { this.leave(); });
    return plot;
  }

  #follow(event: MouseEvent): void {
    if (this.#plot === null) return;
    const box = this.#plot.over.getBoundingClientRect();
    const scale = this.#scale(this.#plot, this.#read().options);
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
    if (width < 3) return;
    const range = rangeBetween(this.#scale(plot, this.#read().options), left, left + width);
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (range !== null) this.#events.onZoom(range);
  }

  #scale(plot: uPlot, options: LineOptions): Scale {
    return {
      x: this.#x,
      y: this.#y,
      width: plot.over.clientWidth,
      height: plot.over.clientHeight,
      isLogX: options.isLogX,
      isLogY: options.isLogY,
    };
  }
}

/** A step is an integer, so that the axis never divides one. */
const STEP_INCREMENTS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

/** Ticks of our own: uPlot's walk of a log axis may not end where the axis begins at an odd number. */
function logAxis(labelPx: number): Pick<uPlot.Axis, "splits" | "filter" | "values"> {
  const ticksOf = (plot: uPlot, axis: number, low: number, high: number): Tick[] =>
    logTicks(low, high, Math.floor((axis === 0 ? plot.width : plot.height) / labelPx));
  return {
    splits: (plot, axis, low, high) => ticksOf(plot, axis, low, high).map((tick) => tick.value),
    filter: (_plot, ticks) => ticks,
    values: (plot, ticks, axis) => {
      const labelled = new Set(
        ticksOf(plot, axis, ticks[0] ?? 1, ticks.at(-1) ?? 1).flatMap((tick) => (tick.isLabelled ? [tick.value] : [])),
      );
      const texts = valueLabels(ticks);
      return ticks.map((tick, index) => (labelled.size === 0 || labelled.has(tick) ? (texts[index] ?? "") : ""));
    },
  };
}

function canvas(className: string): HTMLCanvasElement {
  const element = document.createElement("canvas");
  element.className = className;
  return element;
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
  return {
    text: style.getPropertyValue("--text-2"),
    faint: style.getPropertyValue("--hairline"),
    paper: style.getPropertyValue("--paper"),
  };
}
