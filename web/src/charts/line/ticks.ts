/** Where an axis has its ticks, and which of them have room for a label. */

import type { XAxis } from "../../lib/axis";
import { formatCount, formatDuration, formatNumber, fullNumber } from "../../lib/format";
import { portion } from "./model";

export interface Tick {
  readonly value: number;
  readonly isLabelled: boolean;
}

const DIGITS = [1, 2, 3, 4, 5, 6, 7, 8, 9];
/** The digits that have labels: as many as there is room for. */
const LABELLED = [DIGITS, [1, 2, 5], [1, 3], [1]];
const MOST_TICKS = 40;
/** The least that a label of an x axis takes. */
const MIN_LABEL_PX = 56;

/**
 * Ticks at one digit and zeros; on a long axis at powers of ten alone, and of these only some.
 *
 * An axis that spans less than a few of them is all but linear: it gets round numbers instead.
 */
export function logTicks(low: number, high: number, mostLabels: number): Tick[] {
  if (!(low > 0) || !(high > low) || !Number.isFinite(high)) return [];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const digits = (last - first) * DIGITS.length <= MOST_TICKS ? DIGITS : [1];
  const stride = Math.max(1, Math.ceil((last - first) / mostLabels));
  const values: number[] = [];
  for (let power = first; power <= last; power += 1) {
    for (const digit of digits) {
      const value = Number(`${String(digit)}e${String(power)}`);
      if (value >= low && value <= high) values.push(value);
    }
  }
  if (values.length < 3) return roundTicks(low, high, mostLabels);
  const digitOf = (value: number): number => Number(value.toExponential().charAt(0));
  const labelled = LABELLED.find((some) => values.filter((value) => some.includes(digitOf(value))).length <= mostLabels) ?? [1];
  return values.map((value) => {
    const [, power = ""] = value.toExponential().split("e");
    return { value, isLabelled: labelled.includes(digitOf(value)) && Number(power) % stride === 0 };
  });
}

/** Ticks of a linear axis at round numbers. */
export function roundTicks(low: number, high: number, most: number): Tick[] {
  // Divided first: the span of the whole range of float64 is not a float64.
  const rough = high / Math.max(1, most) - low / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((digit) => digit * power >= rough * 0.999) ?? 10);
  if (!(step > 0) || !Number.isFinite(step)) return [];
  const ticks: Tick[] = [];
  const first = Math.ceil(low / step);
  // Counted by index: behind 2^53 a count plus one is the same count.
  for (let index = 0; index < MOST_TICKS; index += 1) {
    const value = Number(((first + index) * step).toPrecision(15));
    if (value > high) break;
    if (value !== ticks.at(-1)?.value) ticks.push({ value, isLabelled: true });
  }
  return ticks;
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Seconds between ticks that read as round times. */
const TIME_STEPS = [1, 2, 5, 10, 15, 30, ...[1, 2, 5, 10, 15, 30].map((m) => m * MINUTE), ...[1, 2, 3, 6, 12].map((h) => h * HOUR), DAY, 2 * DAY, 7 * DAY];

/** The ticks of an x axis of any kind. */
export function xTicks(axis: XAxis, extent: readonly [number, number], isLog: boolean, most: number): ReturnType<typeof axisTicks> {
  if (axis.kind === "step" || axis.kind === "key") return axisTicks(extent, isLog, most, axis.kind === "step");
  const isClock = axis.kind === "time";
  const [low, high] = extent;
  const rough = (high - low) / Math.max(1, most);
  const step = TIME_STEPS.find((seconds) => seconds >= rough);
  if (isLog || rough < 1 || (step === undefined && !isClock)) {
    const ticks = axisTicks(extent, isLog, most);
    return ticks.map(({ value, label }) => ({ value, label: label === "" ? "" : isClock ? clockText(value, rough) : Math.abs(value) < 10 ? `${label}s` : formatDuration(value) }));
  }
  const by = step ?? Math.ceil(rough / DAY) * DAY;
  // Days and hours begin where the reader's clock says so.
  const shift = isClock ? new Date(low * 1000).getTimezoneOffset() * MINUTE : 0;
  const first = Math.ceil((low - shift) / by);
  const ticks = Array.from({ length: Math.max(0, Math.floor((high - shift) / by) - first + 1) }, (_, index) => (first + index) * by + shift);
  return ticks.map((value) => ({ value, label: isClock ? clockText(value, by) : formatDuration(value) }));
}

/** A time on the clock, as exact as neighbours `by` seconds away need; a midnight is its day. */
function clockText(seconds: number, by: number): string {
  const date = new Date(seconds * 1000);
  if (by < 1) return date.toLocaleTimeString("en-GB", { minute: "2-digit", second: "2-digit", fractionalSecondDigits: 2 });
  if (by >= DAY || (date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0)) {
    return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  }
  const second = by < MINUTE ? { second: "2-digit" as const } : {};
  return date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...second });
}

/** Ticks of an axis of steps, which are integers, or of values; with the labels that have room. */
export function axisTicks(
  [low, high]: readonly [number, number],
  isLog: boolean,
  mostLabels: number,
  isWhole = false,
): { readonly value: number; readonly label: string }[] {
  const all = isLog ? logTicks(low, high, mostLabels) : roundTicks(low, high, mostLabels);
  const ticks = isWhole ? all.filter((tick) => Number.isInteger(tick.value)) : all;
  const labelled = ticks.filter((tick) => tick.isLabelled);
  const chosen = labelled.length === 0 ? ticks.slice(0, 1) : labelled;
  const texts = valueLabels(chosen.map((tick) => tick.value));
  const labels = new Map(chosen.map((tick, index) => [tick.value, texts[index] ?? ""]));
  return ticks.map(({ value }) => ({ value, label: labels.get(value) ?? "" }));
}

/** What a label needs beside another one. */
const APART_PX = 12;

/** The ticks of an x axis whose labels have room beside each other; as few as that takes. */
export function fittingTicks(
  axis: XAxis,
  extent: readonly [number, number],
  isLog: boolean,
  width: number,
  widthOf: (label: string) => number,
): ReturnType<typeof axisTicks> {
  let most = Math.max(1, Math.floor(width / MIN_LABEL_PX));
  for (;;) {
    const ticks = xTicks(axis, extent, isLog, most);
    const labels = ticks.filter((tick) => tick.label !== "");
    const widest = Math.max(0, ...labels.map((tick) => widthOf(tick.label))) + APART_PX;
    if (most === 1 || labels.length < 2 || nearest(labels.map((tick) => portion(tick.value, extent, isLog) * width)) >= widest) return ticks;
    most = Math.max(1, Math.min(most - 1, Math.floor(width / widest)));
  }
}

/** How near the nearest two of some places are. */
function nearest(places: readonly number[]): number {
  return Math.min(...places.slice(1).map((place, index) => place - (places[index] ?? 0)));
}

/**
 * Where labels below an axis stand: in the middle below their ticks, or moved so far that none is
 * cut at an edge; null where one would lie on the one before.
 */
export function labelPlaces(labels: readonly { readonly at: number; readonly width: number }[], from: number, to: number): (number | null)[] {
  let end = Number.NEGATIVE_INFINITY;
  return labels.map(({ at, width }) => {
    const middle = Math.max(from + width / 2, Math.min(to - width / 2, at));
    if (middle - width / 2 < end + APART_PX / 2) return null;
    end = middle + width / 2;
    return middle;
  });
}

/** Values as short as they can be while no two of them look the same. */
export function valueLabels(ticks: readonly number[]): string[] {
  const most = Math.max(...ticks.map(Math.abs));
  const short = ticks.map(most >= 10_000 ? shortCount : most < 0.001 ? exponent : formatNumber);
  if (new Set(short).size === ticks.length) return short;
  // Two that differ are not enough: a label names the place where it stands.
  const room = nearest([...ticks].sort((a, b) => a - b)) / 100;
  const digits = Array.from({ length: 13 }, (_, index) => index + 5).find((count) =>
    ticks.every((tick) => Math.abs(Number(tick.toPrecision(count)) - tick) <= room),
  );
  return digits === undefined ? short : ticks.map((tick) => plainNumber(Number(tick.toPrecision(digits))));
}

/** Whole numbers of many digits are read in threes. */
function plainNumber(value: number): string {
  return Number.isSafeInteger(value) ? fullNumber(value).replace("-", "−") : String(value);
}

function shortCount(value: number): string {
  return Math.abs(value) >= 1000 && Math.abs(value) < 10_000 ? `${formatNumber(value / 1000)}k` : formatCount(value);
}

function exponent(value: number): string {
  return value === 0 ? "0" : formatNumber(value).replace(/^(−?)0\.(0*)(\d)(\d*)$/, (_, sign: string, zeros: string, first: string, rest: string) =>
    `${sign}${first}${rest === "" ? "" : `.${rest}`}e-${String(zeros.length + 1)}`);
}
