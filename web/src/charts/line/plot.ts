/** The frame of a chart: axes and grid on a canvas, and above it the plot, where the pointer chooses. */
import { type Extent, portion } from "./model";
import { type axisTicks, labelPlaces } from "./ticks";

export type Ticks = ReturnType<typeof axisTicks>;

export interface Ink {
  readonly text: string;
  readonly faint: string;
  readonly font: string;
}

export interface Axis {
  readonly ticks: Ticks;
  readonly extent: Extent;
  readonly isLog: boolean;
}

export interface PlotEvents {
  /** The pointer is over a pixel of the plot, or beside it while it is pressed. */
  readonly onMove: (x: number, y: number) => void;
  readonly onLeave: () => void;
  readonly onSelect: (from: number, to: number) => void;
  readonly onReset: () => void;
}

const TOP_PX = 8;
const RIGHT_PX = 14;
const X_AXIS_PX = 22;
const LABEL_GAP_PX = 6;
const CHAR_PX = 6.4;
/** A press that moves less is a click. */
const DRAG_PX = 4;

export class Plot {
  /** Holds what moves with the pointer; its origin is the plot's upper left corner. */
  readonly element = document.createElement("div");
  readonly #ground = document.createElement("canvas");
  readonly #chosen = document.createElement("i");
  readonly #events: PlotEvents;
  /** Where the plot is in the window, while nothing scrolls: asking for it may cost a layout. */
  #place: DOMRect | null = null;
  readonly #forget = (): void => { this.#place = null; };
  #width = 0;
  #height = 0;
  #from: number | null = null;

  constructor(root: HTMLElement, events: PlotEvents) {
    this.#events = events;
    this.element.className = "chart-plot";
    this.#ground.className = "chart-ground";
    this.#chosen.className = "chart-chosen";
    this.#chosen.hidden = true;
    this.element.append(this.#chosen);
    root.append(this.#ground, this.element);
    addEventListener("scroll", this.#forget, { capture: true, passive: true });
    addEventListener("resize", this.#forget);
    this.#follow();
  }

  get width(): number {
    return this.#width;
  }

  get height(): number {
    return this.#height;
  }

  /** Where the plot begins in the window. */
  get left(): number {
    return this.#placeNow().left;
  }

  close(): void {
    removeEventListener("scroll", this.#forget, { capture: true });
    removeEventListener("resize", this.#forget);
    this.#ground.remove();
    this.element.remove();
  }

  /** Gives the plot what the labels leave of the chart. */
  layOut(width: number, height: number, y: Ticks): void {
    const left = Math.round(14 + CHAR_PX * Math.max(4, ...y.map((tick) => tick.label.length)));
    this.#width = width - left - RIGHT_PX;
    this.#height = heightOf(height);
    this.#place = null;
    const { style } = this.element;
    style.left = `${String(left)}px`;
    style.top = `${String(TOP_PX)}px`;
    style.width = `${String(this.#width)}px`;
    style.height = `${String(this.#height)}px`;
  }

  drawAxes(width: number, height: number, x: Axis, y: Axis, ink: Ink): void {
    const ctx = fitted(this.#ground, width, height);
    const [left, bottom] = [width - this.#width - RIGHT_PX, TOP_PX + this.#height];
    ctx.font = ink.font;
    ctx.fillStyle = ink.text;
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    ctx.beginPath();
    for (const { value, label } of labelled(y.ticks)) {
      const at = TOP_PX + (1 - portion(value, y.extent, y.isLog)) * this.#height;
      ctx.fillText(label, left - LABEL_GAP_PX, at);
      // In the middle of a pixel: a rule between two would be two pale ones.
      ctx.moveTo(left, Math.round(at) + 0.5);
      ctx.lineTo(left + this.#width, Math.round(at) + 0.5);
    }
    ctx.strokeStyle = ink.faint;
    ctx.lineWidth = 1;
    ctx.stroke();
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    const labels = labelled(x.ticks);
    const boxes = labels.map(({ value, label }) => ({ at: left + portion(value, x.extent, x.isLog) * this.#width, width: ctx.measureText(label).width }));
    for (const [index, at] of labelPlaces(boxes, 0, width).entries()) {
      if (at !== null) ctx.fillText(labels[index]?.label ?? "", at, bottom + LABEL_GAP_PX);
    }
  }

  /** How wide a text of the axes is. */
  readonly widthOf = (text: string): number => this.#ground.getContext("2d")?.measureText(text).width ?? CHAR_PX * text.length;

  #follow(): void {
    const { element } = this;
    element.addEventListener("pointermove", (event) => {
      const { left, top } = this.#placeNow();
      const x = event.clientX - left;
      if (this.#from !== null) this.#choose(this.#from, x);
      this.#events.onMove(this.#inside(x), event.clientY - top);
    });
    element.addEventListener("pointerleave", () => { this.#events.onLeave(); });
    element.addEventListener("dblclick", () => { this.#events.onReset(); });
    element.addEventListener("pointerdown", (event) => {
      // A finger scrolls.
      if (event.button !== 0 || event.pointerType === "touch") return;
      this.#place = null;
      this.#from = event.clientX - this.#placeNow().left;
      element.setPointerCapture(event.pointerId);
    });
    const end = (event: PointerEvent): void => {
      const from = this.#from;
      this.#from = null;
      if (from === null || this.#chosen.hidden) return;
      this.#chosen.hidden = true;
      if (event.type === "pointerup") this.#events.onSelect(from, this.#inside(event.clientX - this.#placeNow().left));
    };
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
  }

  #choose(from: number, to: number): void {
    const [low, high] = [this.#inside(Math.min(from, to)), this.#inside(Math.max(from, to))];
    if (this.#chosen.hidden && high - low < DRAG_PX) return;
    this.#chosen.hidden = false;
    this.#chosen.style.left = `${low.toFixed(1)}px`;
    this.#chosen.style.width = `${(high - low).toFixed(1)}px`;
  }

  #inside(x: number): number {
    return Math.max(0, Math.min(this.#width, x));
  }

  #placeNow(): DOMRect {
    this.#place ??= this.element.getBoundingClientRect();
    return this.#place;
  }
}

/** The height of the plot in a chart of some height. */
export function heightOf(chart: number): number {
  return chart - X_AXIS_PX - TOP_PX;
}

/** Makes a canvas as large as its element and wipes it; its unit is a CSS pixel. */
export function fitted(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = devicePixelRatio;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across) canvas.width = across;
  if (canvas.height !== down) canvas.height = down;
  const ctx = canvas.getContext("2d");
  if (ctx === null) throw new Error("this browser gives no 2d canvas");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return ctx;
}

/** Rules without a number beside them would be nothing but ink. */
function labelled(ticks: Ticks): Ticks {
  return ticks.filter((tick) => tick.label !== "");
}
