/** What a chart's points are placed by: the step, a time, or another metric. */
import { formatDuration, formatNumber, fullNumber } from "./format";
import { readableText } from "./readable";

export interface XAxis {
  readonly kind: "step" | "time" | "relative" | "key";
  /** The other metric; empty for the other kinds. */
  readonly key: string;
}

export const STEP: XAxis = { kind: "step", key: "" };
export const AXES: readonly XAxis[] = [STEP, { kind: "time", key: "" }, { kind: "relative", key: "" }];

const KEY_PREFIX = "key:";
const NAMES = { step: "Step", time: "Wall time", relative: "Relative time" } as const;

/** Reads an axis from text in a URL; what is none is the step. */
export function axisOf(text: string): XAxis {
  if (text.startsWith(KEY_PREFIX)) return { kind: "key", key: text.slice(KEY_PREFIX.length) };
  return AXES.find((axis) => axis.kind === text) ?? STEP;
}

export function axisText({ kind, key }: XAxis): string {
  return kind === "key" ? KEY_PREFIX + key : kind;
}

export function axisName({ kind, key }: XAxis): string {
  return kind === "key" ? readableText(key) : NAMES[kind];
}

/** A place on an axis in words: `Step 1,204`, `14:05:03`, `2m 3s`, `epoch 3.25`. */
export function placeText(axis: XAxis, value: number): string {
  switch (axis.kind) {
    case "step":
      return `Step ${Math.round(value).toLocaleString("en-US")}`;
    case "time":
      return new Date(value * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
    case "relative":
      return formatDuration(value);
    case "key":
      return `${readableText(axis.key)} ${formatNumber(value)}`;
  }
}

/** A span of an axis in words. */
export function spanText(axis: XAxis, { start, stop }: { readonly start: number; readonly stop: number }): string {
  if (axis.kind === "step") return `Steps ${fullNumber(start)} – ${fullNumber(stop)}`;
  return `${placeText(axis, start)} – ${axis.kind === "key" ? formatNumber(stop) : placeText(axis, stop)}`;
}
