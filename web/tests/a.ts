/** Things that the tests need many of. */
import type { Buckets, LineInput, LineOptions, Scale } from "../src/charts/line/model";
import { STEP } from "../src/lib/axis";

export const PLAIN: LineOptions = { halfLife: 0, axis: STEP, isLogX: false, isLogY: false, yRange: "auto" };

/** A series of single points at the steps 0, 1, 2 …, counted as the server counts them. */
export function points(values: readonly number[]): Buckets {
  const steps = Float64Array.from(values.keys());
  const finite = Float64Array.from(values, (value) => (Number.isFinite(value) ? value : Number.NaN));
  const flags = (matches: (value: number) => boolean) => Float64Array.from(values, (value) => (matches(value) ? 1 : 0));
  return {
    step: steps,
    step_last: steps,
    count: new Float64Array(values.length).fill(1),
    min: finite,
    max: finite,
    mean: finite,
    last: Float64Array.from(values),
    nan: flags(Number.isNaN),
    posinf: flags((value) => value === Number.POSITIVE_INFINITY),
    neginf: flags((value) => value === Number.NEGATIVE_INFINITY),
    from: steps,
    to: steps,
    isOrdered: true,
  };
}

export function line(id: string, values: readonly number[]): LineInput {
  return { id, name: id, color: "#000000", dash: [], members: 0, isInterval: false, buckets: points(values) };
}

export function scale(change: Partial<Scale> = {}): Scale {
  return { x: [0, 100], y: [0, 10], width: 200, height: 100, isLogX: false, isLogY: false, ...change };
}
