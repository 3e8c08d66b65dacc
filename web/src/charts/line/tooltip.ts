/** The box beside the crosshair: the place on the x axis, the nearest run's value and those around it. */
import { placeText, STEP, type XAxis } from "../../lib/axis";
import { formatCount, formatNumber, fullNumber, plural } from "../../lib/format";
import { strokeGround } from "../palette";
import type { Buckets, Hit } from "./model";

const GAP = 12;
/** As wide as the style lets it become. */
const MOST_PX = 280;

export class Tooltip {
  readonly element = document.createElement("div");
  readonly #head = document.createElement("div");
  readonly #rows = document.createElement("div");

  constructor() {
    this.element.className = "chart-tip";
    this.#head.className = "chart-tip-step";
    this.element.append(this.#head, this.#rows);
    this.hide();
  }

  hide(): void {
    this.element.hidden = true;
  }

  show(axis: XAxis, place: number, hits: readonly Hit[], nearest: string | null, more: number): void {
    this.element.hidden = hits.length === 0;
    const near = hits.find((hit) => hit.line.id === nearest);
    const step = near?.line.buckets.step_last[near.index];
    const isMore = axis.kind !== "step" && step !== undefined;
    this.#head.textContent = placeText(axis, place) + (isMore ? ` · ${placeText(STEP, step).toLowerCase()}` : "");
    this.#rows.replaceChildren(...hits.map((hit) => rowOf(hit, hit.line.id === nearest)));
    if (more > 0) {
      const rest = document.createElement("div");
      rest.className = "chart-tip-more";
      rest.textContent = `${String(more)} more`;
      this.#rows.append(rest);
    }
  }

  /**
   * Stands beside the pointer, to its left where the window has no room to the right.
   *
   * `left` is where the plot begins in the window. The width of the box stands as 100 % in its
   * transform: asking for it would lay out the page with every move.
   */
  place(x: number, left: number): void {
    const isLeft = left + x + GAP + MOST_PX > innerWidth - GAP && left + x > innerWidth / 2;
    this.element.style.transform = isLeft
      ? `translateX(max(${px(GAP - left)}, ${px(x - GAP)} - 100%))`
      : `translateX(min(${px(x + GAP)}, ${px(innerWidth - GAP - left)} - 100%))`;
  }
}

function px(pixels: number): string {
  return `${String(Math.round(pixels))}px`;
}

function rowOf({ line, index }: Hit, isNearest: boolean): HTMLElement {
  const row = document.createElement("div");
  row.className = isNearest ? "chart-tip-row is-nearest" : "chart-tip-row";
  const mark = document.createElement("i");
  mark.style.background = strokeGround(line.color, line.dash);
  const name = document.createElement("span");
  name.textContent = line.name;
  const value = document.createElement("b");
  value.textContent = valueText(line.y[index], line.buckets.last[index]);
  row.append(mark, name, value);
  const low = line.buckets.min[index] ?? Number.NaN;
  const high = line.buckets.max[index] ?? Number.NaN;
  if (isNearest && high > low) {
    const band = document.createElement("small");
    band.textContent = `${formatNumber(low)} … ${formatNumber(high)}`;
    band.title = `${fullNumber(low)} … ${fullNumber(high)}`;
    row.append(band);
  }
  if (isNearest && line.members > 0) {
    const runs = document.createElement("small");
    runs.textContent = `${formatCount(line.buckets.count[index] ?? 0)} of ${plural(line.members, "run")}`;
    row.append(runs);
  }
  const odd = oddText(line.buckets, index);
  if (odd !== "") {
    const told = document.createElement("small");
    told.textContent = odd;
    row.append(told);
  }
  return row;
}

/** What a bucket holds beside that which its value tells, counted: `2 NaN, 1 ∞`. */
export function oddText({ mean, nan, posinf, neginf }: Buckets, index: number): string {
  const kinds = [[nan[index], "NaN"], [posinf[index], "∞"], [neginf[index], "−∞"]] as const;
  const told = kinds.flatMap(([some = 0, name]) => (some > 0 ? [`${formatCount(some)} ${name}`] : []));
  const isAllOfAKind = told.length === 1 && Number.isNaN(mean[index]);
  return isAllOfAKind ? "" : told.join(", ");
}

/** A bucket without a finite value shows what it holds: NaN or an infinity. */
function valueText(value: number | undefined, last: number | undefined): string {
  if (value !== undefined && Number.isFinite(value)) return formatNumber(value);
  return formatNumber(last ?? Number.NaN);
}
