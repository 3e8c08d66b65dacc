import { describe, expect, test } from "vitest";

import { STEP } from "../src/lib/axis";
import { extentX, extentY } from "../src/charts/line/extent";
import {
  buildLine,
  exitsOf,
  hitsAround,
  indexNear,
  indexesWithin,
  nearestLine,
  placeAt,
  rangeBetween,
  smooth,
  toX,
  toY,
} from "../src/charts/line/model";
import { intoPixels, noPixels, select, spikesOf, strokesOf } from "../src/charts/line/pixels";
import { line, PLAIN, points, scale } from "./a";

const built = (id: string, values: readonly number[]) => buildLine(line(id, values), PLAIN);

const decay = (steps: number) => Array.from({ length: steps }, (_, step) => 0.1 + Math.exp(-step / 60));

describe("pixels", () => {
  test("a step and its pixel find each other again, on both kinds of axis", () => {
    for (const isLogX of [false, true]) {
      const each = scale({ x: [1, 1000], isLogX });
      for (const step of [1, 7, 500, 1000]) expect(placeAt(each, toX(each, step))).toBeCloseTo(step, 6);
    }
  });

  test("great values stand above small ones", () => {
    expect(toY(scale(), 10)).toBe(0);
    expect(toY(scale(), 0)).toBe(100);
    expect(toY(scale({ y: [1, 100], isLogY: true }), 10)).toBeCloseTo(50);
  });

  test("a drag chooses whole steps, whichever way it went, and a twitch chooses none", () => {
    expect(rangeBetween(scale(), STEP, 20, 100)).toEqual({ start: 10, stop: 50 });
    expect(rangeBetween(scale(), STEP, 100, 20)).toEqual({ start: 10, stop: 50 });
    expect(rangeBetween(scale(), STEP, 20, 21)).toBeNull();
  });
});

describe("extents", () => {
  test("the steps of all lines are covered", () => {
    expect(extentX([built("a", [1, 2, 3]), built("b", [1, 2, 3, 4, 5])], false)).toEqual([0, 4]);
  });

  test("a single point and no point have an extent that can be drawn, or none", () => {
    expect(extentX([built("a", [5])], false)).toEqual([-1, 1]);
    expect(extentX([], false)).toBeNull();
    expect(extentX([built("a", [5])], true)).toBeNull();
  });

  test("every finite value is inside, and what is not finite is no value", () => {
    const extent = extentY([built("a", [1, Number.NaN, 900, Number.POSITIVE_INFINITY])], [0, 3], PLAIN)?.extent;
    expect(extent?.[0]).toBeLessThan(1);
    expect(extent?.[1]).toBeGreaterThan(900);
    expect(extent?.[1]).toBeLessThan(1000);
    expect(extentY([built("a", [Number.NaN])], [0, 3], PLAIN)).toBeNull();
  });

  test("values as far apart as float64 allows still have finite ends", () => {
    const extent = extentY([built("a", [-1e308, 1e308])], [0, 1], PLAIN)?.extent;
    expect(extent?.every(Number.isFinite)).toBe(true);
  });

  test("outside of the steps shown nothing counts", () => {
    expect(extentY([built("a", [1000, 1, 2, 1000])], [1, 2], PLAIN)?.extent[1]).toBeLessThan(3);
  });

  test("a log axis leaves out what has no logarithm", () => {
    const extent = extentY([built("a", [-5, 0, 1, 100])], [0, 3], { ...PLAIN, isLogY: true })?.extent;
    expect(extent?.[0]).toBeGreaterThan(0.5);
    expect(extent?.[1]).toBeLessThan(200);
  });

  test("ignoring outliers cuts a lone spike and keeps the rest", () => {
    const values = Array.from({ length: 200 }, (_, index) => (index === 100 ? 1e6 : index % 10));
    const extent = extentY([built("a", values)], [0, 199], { ...PLAIN, yRange: "inliers" })?.extent;
    expect(extent?.[1]).toBeLessThan(20);
    expect(extent?.[1]).toBeGreaterThan(9);
  });

  test("one run that diverges does not flatten the others, and is counted", () => {
    const wild = built("wild", [...Array.from({ length: 300 }, (_, step) => 2 + step / 300), 1e5, 1e40, 1e300]);
    for (const others of [1, 2, 7, 60]) {
      const lines = [wild, ...Array.from({ length: others }, (_, number) => built(`run-${String(number)}`, decay(300)))];
      const { extent, beyond } = extentY(lines, [0, 302], PLAIN) ?? { extent: [0, 0], beyond: 0 };
      expect(extent[1]).toBeLessThan(4);
      expect(extent[0]).toBeLessThanOrEqual(0.1);
      expect(beyond).toBe(1);
      expect(extentY(lines, [0, 302], { ...PLAIN, yRange: "full" })?.extent[1]).toBeGreaterThan(1e300);
      expect(extentY(lines, [0, 302], { ...PLAIN, isLogY: true })?.extent[1]).toBeLessThan(1e6);
    }
  });

  test("a spike of ordinary size and a quarter of unusual runs stay inside", () => {
    const flat = Array.from({ length: 300 }, (_, step) => 0.5 + (step % 7) / 1000);
    expect(extentY([built("a", flat.with(99, 30))], [0, 299], PLAIN)?.extent[1]).toBeGreaterThan(30);
    const lines = [1, 1, 1, 1, 1, 1, 40, 90].map((size, index) => built(String(index), flat.map((value) => value * size)));
    expect(extentY(lines, [0, 299], PLAIN)).toMatchObject({ beyond: 0 });
  });

  test("a run alone that ends in absurd values shows where it was sane", () => {
    const { extent, beyond } = extentY([built("a", [...decay(300), 1e9])], [0, 300], PLAIN) ?? { extent: [0, 0], beyond: 0 };
    expect(extent[1]).toBeLessThan(2);
    expect(beyond).toBe(1);
  });

  test("a run alone that diverges slowly shows where it was readable, on whichever side it leaves", () => {
    for (const sign of [1, -1]) {
      for (const begin of [150, 300, 500]) {
        const values = Array.from({ length: 600 }, (_, step) => {
          return sign * (1 + Math.exp(-step / 60) + Math.exp(Math.max(0, step - begin) / 6) - 1);
        });
        const { extent, beyond } = extentY([built("a", values)], [0, 599], PLAIN) ?? { extent: [0, 0], beyond: 0 };
        const [low, high] = sign > 0 ? extent : [-extent[1], -extent[0]];
        expect(low).toBeLessThan(1.1);
        expect(high).toBeGreaterThan(1.7);
        expect(high).toBeLessThan(8);
        expect(beyond).toBe(1);
        // A straight line on a log axis: nothing is out of range there.
        if (sign > 0) expect(extentY([built("a", values)], [0, 599], { ...PLAIN, isLogY: true })?.beyond).toBe(0);
        expect(extentY([built("a", values)], [0, 599], { ...PLAIN, yRange: "full" })?.beyond).toBe(0);
      }
    }
  });

  test("a run alone that rises, counts, jumps to another level or falls from a high one is shown whole", () => {
    const shapes: ((step: number) => number)[] = [
      (step) => step * 1000,
      (step) => step ** 3,
      (step) => (step < 200 ? 1e-5 : 1 + (step % 7) / 100),
      (step) => 1e6 * Math.exp(-step / 20),
      (step) => (step < 100 ? 0 : 1e-3 * (step - 100)),
    ];
    for (const shape of shapes) {
      const values = Array.from({ length: 600 }, (_, step) => shape(step));
      expect(extentY([built("a", values)], [0, 599], PLAIN)?.beyond).toBe(0);
    }
  });

  test("a few points, zeros with a one among them, and two far apart lines are shown whole", () => {
    expect(extentY([built("a", [1e6, 1, 0.5])], [0, 2], PLAIN)?.beyond).toBe(0);
    expect(extentY([built("a", new Array<number>(300).fill(0).with(100, 1))], [0, 299], PLAIN)?.beyond).toBe(0);
    expect(extentY([built("a", decay(300)), built("b", decay(300).map((value) => value + 1e9))], [0, 299], PLAIN)?.beyond).toBe(0);
  });

  test("where a line leaves the extent there is a mark, one for each time", () => {
    const leaving = built("a", [1, 20, 20, 1, 1, 1, -5, 1]);
    const exits = exitsOf(leaving, scale({ x: [0, 7], width: 700 }), 120);
    expect(exits).toEqual([{ x: 100, isAbove: true }, { x: 600, isAbove: false }]);
    expect(exitsOf(leaving, scale({ y: [-10, 30] }), 9)).toEqual([]);
    const staying = built("b", [20, 20, 20, Infinity, Infinity, 20, 1, 20]);
    expect(exitsOf(staying, scale({ x: [0, 7], width: 700 }), 9).map((exit) => exit.x)).toEqual([0, 700]);
  });
});

describe("smoothing", () => {
  const at = Float64Array.from([0, 1, 2, 3]);
  const ones = new Float64Array(4).fill(1);

  test("a constant stays what it is from the first point on", () => {
    expect([...smooth(at, new Float64Array(4).fill(3), ones, 10)]).toEqual([3, 3, 3, 3]);
  });

  test("a weight halves in the half-life", () => {
    const [, second] = smooth(at, Float64Array.from([1, 0, 0, 0]), ones, 1);
    expect(second).toBeCloseTo(0.5 / 1.5);
  });

  test("a gap stays a gap and the average goes on behind it", () => {
    const smoothed = smooth(at, Float64Array.from([1, Number.NaN, 1, 1]), ones, 2);
    expect(smoothed[1]).toBeNaN();
    expect(smoothed[2]).toBe(1);
  });

  test("a bucket weighs as much as the points in it", () => {
    const thinned = smooth(Float64Array.from([0, 1]), Float64Array.from([0, 1]), Float64Array.from([1, 9]), 1e9);
    expect(thinned[1]).toBeCloseTo(0.9);
  });
});

describe("the pointer", () => {
  const lines = [built("low", [1, 1, 1]), built("high", [9, 9, 9]), built("gone", [Number.NaN, Number.NaN, Number.NaN])];

  test("the nearest line is the one whose height at the pointer is nearest", () => {
    const near = scale({ x: [0, 2] });
    expect(nearestLine(lines, near, 100, 95)?.id).toBe("low");
    expect(nearestLine(lines, near, 100, 5)?.id).toBe("high");
    expect(nearestLine([], near, 100, 5)).toBeNull();
  });

  test("the values at a step are ordered, with those without a number last", () => {
    expect(hitsAround(lines, 1, "low", 3).map((hit) => hit.line.id)).toEqual(["high", "low", "gone"]);
  });

  test("of many lines those around the nearest are told", () => {
    const many = Array.from({ length: 100 }, (_, index) => built(`run-${String(index)}`, [index, index]));
    const told = hitsAround(many, 0, "run-50", 2).map((hit) => hit.line.id);
    expect(told).toEqual(["run-52", "run-51", "run-50", "run-49", "run-48"]);
    expect(hitsAround(many, 0, "run-99", 2)[0]?.line.id).toBe("run-99");
  });

  test("a line that has ended before the step tells nothing", () => {
    expect(hitsAround([built("short", [1, 2]), built("long", Array.from({ length: 50 }, () => 1))], 40, null, 3)).toHaveLength(1);
  });

  test("the nearest bucket is found at and beyond both ends", () => {
    const steps = Float64Array.from([0, 10, 20]);
    expect([-5, 4, 6, 20, 99].map((step) => indexNear(steps, step))).toEqual([0, 0, 1, 2, 2]);
    expect(indexNear(new Float64Array(0), 1)).toBe(-1);
  });

  test("the buckets within an extent are those that touch it", () => {
    expect(indexesWithin(points([0, 1, 2, 3, 4]), [1, 3])).toEqual([1, 4]);
  });
});

describe("spikes", () => {
  test("one step far above its neighbours gets a stroke of its own; noise does not", () => {
    const flat = Array.from({ length: 50 }, () => 1);
    const buckets = { ...points(flat), count: new Float64Array(50).fill(10), max: Float64Array.from(flat, (value, index) => (index === 20 ? 9 : value + 0.1 * (index % 3))) };
    const spiky = buildLine({ ...line("a", flat), buckets }, PLAIN);
    const pixels = noPixels();
    intoPixels(pixels, spiky, scale({ x: [0, 49] }));
    expect(spikesOf(pixels, 100, 3)).toEqual([20]);
  });

  const spikesAt = (peaks: readonly number[], hasBand: boolean): number[] => {
    const flat = Array.from({ length: 50 }, () => 1);
    const max = Float64Array.from(flat, (value, index) => (peaks.includes(index) ? 9 : value + 0.1 * (index % 3)));
    const buckets = { ...points(flat), count: new Float64Array(50).fill(10), max };
    const pixels = noPixels();
    intoPixels(pixels, buildLine({ ...line("a", flat), buckets }, PLAIN), scale({ x: [0, 49] }));
    return spikesOf(pixels, 100, 3, hasBand);
  };

  test("spikes in neighbouring buckets do not hide each other", () => {
    expect(spikesAt([20, 21, 22], true)).toEqual([20, 21, 22]);
  });

  test("where no band is drawn, many spikes in a row have their strokes", () => {
    const many = [20, 21, 22, 23, 24, 25, 26, 27, 28];
    expect(spikesAt(many, false)).toEqual(many);
  });

  test("a bucket alone sticks out of nothing, whatever stood in the buffer before", () => {
    const pixels = noPixels();
    intoPixels(pixels, built("long", decay(300)), scale({ x: [0, 299], y: [0, 1] }));
    const one = { ...points([5]), count: Float64Array.of(9), min: Float64Array.of(1), max: Float64Array.of(9) };
    intoPixels(pixels, buildLine({ ...line("a", [5]), buckets: one }, PLAIN), scale());
    expect(pixels.size).toBe(1);
    expect(spikesOf(pixels, 100, 3)).toEqual([]);
  });
});

describe("a line in pixels", () => {
  const ends = [-1e308, -5, 0, 0.3, 7, 1e308, Number.NaN, Number.POSITIVE_INFINITY];

  const nearly = (pixel = Number.NaN) => pixel.toFixed(6);

  test("stands where the axes say, on all four kinds of axes, and ends at the same places", () => {
    for (const isLogX of [false, true]) {
      for (const isLogY of [false, true]) {
        const each = scale({ x: [1, 8], y: [0.1, 10], isLogX, isLogY });
        const pixels = noPixels();
        intoPixels(pixels, built("a", ends), each);
        expect(pixels.first).toBe(0);
        expect(pixels.size).toBe(ends.length);
        for (const [index, value] of ends.entries()) {
          const [px, py] = [isLogX && index === 0 ? Number.NaN : toX(each, index), toY(each, value)];
          const isShown = Number.isFinite(value) && !(isLogY && value <= 0);
          expect(nearly(pixels.x[index])).toBe(nearly(px));
          expect(nearly(pixels.y[index])).toBe(nearly(isShown ? Math.max(-4000, Math.min(4000, py)) : Number.NaN));
        }
      }
    }
  });

  test("holds one bucket more on each side than the steps shown", () => {
    const pixels = noPixels();
    intoPixels(pixels, built("a", decay(100)), scale({ x: [40, 50] }));
    expect([pixels.first, pixels.size]).toEqual([39, 13]);
  });

  test("a band whose lower end has no logarithm goes to the floor", () => {
    const pixels = noPixels();
    const low = { ...points([1, 1]), min: Float64Array.of(-1, 0), max: Float64Array.of(1, 1) };
    intoPixels(pixels, buildLine({ ...line("a", [1, 1]), buckets: low }, PLAIN), scale({ x: [0, 1], y: [0.1, 10], isLogY: true }));
    expect([...pixels.bottom.slice(0, 2)]).toEqual([100, 100]);
  });
});

test("the value of a rank is that of the sorted values", () => {
  const values = Array.from({ length: 200 }, (_, index) => (index * 7919) % 31);
  const sorted = [...values].sort((a, b) => a - b);
  for (const rank of [0, 1, 50, 100, 198, 199]) expect(select(Float64Array.from(values), 200, rank)).toBe(sorted[rank]);
});

test("the interval of a mean that narrows has no spikes, however wide it begins", () => {
  const wide = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((step) => 40 / (1 + step * step));
  const buckets = { ...points(wide.map(() => 50)), min: Float64Array.from(wide, (width) => 50 - width), max: Float64Array.from(wide, (width) => 50 + width) };
  const spikes = (isInterval: boolean) => {
    const made = buildLine({ ...line("a", []), isInterval, buckets }, PLAIN);
    const pixels = noPixels();
    const view = scale({ x: [0, 11], y: [0, 100] });
    intoPixels(pixels, made, view);
    return strokesOf(made, pixels, view.height, 3, true);
  };
  expect(spikes(false).length).toBeGreaterThan(0);
  expect(spikes(true)).toEqual([]);
});
