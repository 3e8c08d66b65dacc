import { describe, expect, test } from "vitest";

import { buildLine } from "../src/charts/line/model";
import { bandsOf, intoPixels, noPixels } from "../src/charts/line/pixels";
import { placed, type Stepped, stepsWithin } from "../src/charts/line/place";
import { xTicks } from "../src/charts/line/ticks";
import { axisOf, axisText, placeText } from "../src/lib/axis";
import { DEFAULT_VIEW, readView, writeView } from "../src/lib/view";
import { line, PLAIN, points, scale } from "./a";

/** One point a step, each at one place of another axis. */
function at(places: readonly number[]): Stepped {
  const x = Float64Array.from(places);
  return { ...points(places.map((_, index) => index)), x_min: x, x_max: x, x_last: x };
}

const EPOCH = { kind: "key", key: "epoch" } as const;
const RELATIVE = { kind: "relative", key: "" } as const;

describe("places", () => {
  test("without another axis buckets stand at their steps", () => {
    expect([...placed(points([5, 6])).from]).toEqual([0, 1]);
  });

  test("the same columns give the same buckets", () => {
    const columns = at([1, 2]);
    expect(placed(columns)).toBe(placed(columns));
  });

  test("a bucket without a place is left out", () => {
    const buckets = placed(at([Number.NaN, 2, 3]));
    expect([...buckets.from]).toEqual([2, 3]);
    expect([...buckets.step]).toEqual([1, 2]);
    expect(buckets.isOrdered).toBe(true);
  });

  test("an axis that goes back is put in order, and said to be out of it", () => {
    const buckets = placed(at([1, 3, 2]));
    expect(buckets.isOrdered).toBe(false);
    expect([...buckets.from]).toEqual([1, 2, 3]);
    expect([...buckets.step]).toEqual([0, 2, 1]);
  });
});

describe("the steps of a zoom", () => {
  test("are those of all runs that the part of the axis shows, and one more on each side", () => {
    const slow = at([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const fast = at([0, 2, 4, 6, 8, 10]);
    expect(stepsWithin([slow], [4, 5])).toEqual({ start: 3, stop: 7 });
    expect(stepsWithin([slow, fast], [4, 5])).toEqual({ start: 1, stop: 7 });
  });

  test("cannot be told of a run that is not known, whose axis goes back, or that is elsewhere", () => {
    expect(stepsWithin([at([0, 1]), null], [0, 1])).toBeNull();
    expect(stepsWithin([at([1, 0])], [0, 1])).toBeNull();
    expect(stepsWithin([at([0, 1])], [5, 6])).toBeNull();
  });
});

describe("axes", () => {
  test("stand in the address as they are read from it", () => {
    for (const text of ["step", "time", "relative", "key:train/epoch", "key:key:x"]) expect(axisText(axisOf(text))).toBe(text);
    expect(axisOf("sideways").kind).toBe("step");
  });

  test("a zoom belongs to its axis: whole steps, or any numbers", () => {
    const zoomed = { ...DEFAULT_VIEW, x: EPOCH, zoom: { start: -0.5, stop: 1e-7 } };
    expect(writeView(zoomed)).toEqual({ x: "key:epoch", range: "-0.5..1e-7" });
    expect(readView(writeView(zoomed))).toEqual(zoomed);
    expect(readView({ steps: "1..9" }).zoom).toEqual({ start: 1, stop: 9 });
    expect(readView({ x: "time", steps: "1..9" }).zoom).toBeNull();
    expect(readView({ range: "1..9" }).zoom).toBeNull();
  });

  test("say a place in words", () => {
    expect(placeText(axisOf("step"), 1234)).toBe("Step 1,234");
    expect(placeText(RELATIVE, 192)).toBe("3m 12s");
    expect(placeText(EPOCH, 3.25)).toBe("epoch 3.25");
  });

  test("a relative time has ticks at round durations", () => {
    expect(xTicks(RELATIVE, [0, 300], false, 5).map((tick) => tick.label)).toEqual(["0s", "1m", "2m", "3m", "4m", "5m"]);
    expect(xTicks(RELATIVE, [0, 4 * 3600], false, 4).map((tick) => tick.label)).toEqual(["0s", "1h", "2h", "3h", "4h"]);
    expect(xTicks(RELATIVE, [0, 0.4], false, 4).length).toBeGreaterThan(2);
  });

  test("a wall time has few ticks, however long it is", () => {
    const now = Date.UTC(2026, 10, 23) / 1000;
    for (const span of [0.01, 1, 59, 3600, 86_400, 40 * 86_400, 4000 * 86_400]) {
      const ticks = xTicks({ kind: "time", key: "" }, [now, now + span], false, 8);
      expect(ticks.length).toBeGreaterThan(0);
      expect(ticks.length).toBeLessThan(20);
    }
  });
});

test("a bucket with a gap in it stands where its last point is, and no band fills the gap", () => {
  const size = 20;
  const columns = points(Array.from({ length: size }, (_, index) => index % 3));
  // Each bucket takes a second; the eleventh goes on a thousand seconds later.
  const late = (index: number, from: number) => (index >= from ? 1000 : 0);
  const [least, greatest] = [11, 10].map((from) => Float64Array.from({ length: size }, (_, index) => index + late(index, from) + (from === 10 ? 0.9 : 0)));
  if (least === undefined || greatest === undefined) throw new Error("two columns");
  const buckets = placed({ ...columns, min: columns.min.map((value) => value - 1), x_min: least, x_max: greatest, x_last: greatest });

  const pixels = noPixels();
  intoPixels(pixels, buildLine({ ...line("a", []), buckets }, PLAIN), scale({ x: [0, 1020], width: 1020, y: [-2, 3] }));
  expect(pixels.x[10]).toBeCloseTo(1010.9, 1);
  expect(bandsOf(pixels, buckets.gaps)).toEqual([[0, 10], [10, size]]);
});

test("a run that goes on slower has no gap", () => {
  const columns = points(Array.from({ length: 20 }, () => 1));
  const x = Float64Array.from({ length: 20 }, (_, index) => (index < 10 ? index : 10 + (index - 10) * 50));
  expect(placed({ ...columns, x_min: x, x_max: x, x_last: x }).gaps?.size).toBe(0);
});
