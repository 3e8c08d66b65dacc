import { expect, test } from "vitest";

import { axisTicks, fittingTicks, labelPlaces, logTicks, roundTicks, valueLabels, xTicks } from "../src/charts/line/ticks";
import { STEP } from "../src/lib/axis";

const values = (low: number, high: number) => logTicks(low, high, 8).map((tick) => tick.value);

test("a log axis has its ticks at one digit and zeros", () => {
  expect(values(0.5, 3)).toEqual([0.5, 0.6, 0.7, 0.8, 0.9, 1, 2, 3]);
  expect(values(1, 100)).toHaveLength(19);
});

test("a long axis has powers of ten, and labels on some", () => {
  const ticks = logTicks(1e-300, 1e300, 8);
  expect(ticks.length).toBeGreaterThan(500);
  expect(ticks.filter((tick) => tick.isLabelled).length).toBeLessThanOrEqual(9);
});

test("an axis within a digit has round numbers", () => {
  expect(values(184_000, 184_400)).toEqual([184_000, 184_050, 184_100, 184_150, 184_200, 184_250, 184_300, 184_350, 184_400]);
});

test.each([
  [0, 1],
  [-1, 1],
  [2, 2],
  [1, Number.POSITIVE_INFINITY],
  [Number.NaN, 1],
])("an axis from %d to %d has none", (low, high) => {
  expect(logTicks(low, high, 8)).toEqual([]);
});

test("whatever the ends, the ticks are few and stand in order between them", () => {
  let seed = 1;
  const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  for (let round = 0; round < 2_000; round += 1) {
    const low = 10 ** (random() * 600 - 300);
    const high = low * 10 ** (random() * 20 + 1e-6);
    const ticks = values(low, high);
    expect(ticks.length).toBeLessThanOrEqual(60);
    expect(ticks.every((tick, index) => tick >= low * 0.999999 && tick <= high * 1.000001 && tick > (ticks[index - 1] ?? 0))).toBe(true);
  }
});

test("a linear axis has round numbers, and none where its ends are none", () => {
  expect(roundTicks(-1.7e308, 1.7e308, 4).length).toBeGreaterThan(2);
  expect(roundTicks(0, 1, 5).map((tick) => tick.value)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
  expect(roundTicks(1, 1, 5)).toEqual([]);
  expect(roundTicks(0.1, 0.1 + 2e-17, 5).length).toBeLessThan(3);
  expect(roundTicks(Number.NaN, 1, 5)).toEqual([]);
});

test.each([
  [[0, 0.5, 1], ["0", "0.5", "1"]],
  [[0, 5000, 10_000], ["0", "5k", "10k"]],
  [[200_000, 220_000], ["200k", "220k"]],
  [[0, 5e-5, 1e-4], ["0", "5e-5", "1e-4"]],
  [[2.5e-4, 5e-4], ["2.5e-4", "5e-4"]],
  [[1_000_000_000.1, 1_000_000_000.2], ["1000000000.1", "1000000000.2"]],
])("ticks at %j are labelled %j", (ticks, labels) => {
  expect(valueLabels(ticks)).toEqual(labels);
});

test("an axis to 1e300 has labels", () => {
  expect(axisTicks([-5e298, 1.05e300], false, 4).map((tick) => tick.label)).toEqual(["0", "5e299", "1e300"]);
  expect(axisTicks([1e-2, 1e300], true, 6).filter((tick) => tick.label !== "").length).toBeGreaterThan(3);
});

test("an axis of steps has whole numbers, even between two of them", () => {
  expect(axisTicks([0, 1], false, 5, true)).toEqual([{ value: 0, label: "0" }, { value: 1, label: "1" }]);
});

test("a relative time before the begin of a run has ticks that differ", () => {
  const labels = xTicks({ kind: "relative", key: "" }, [-1000, 200], false, 5).map((tick) => tick.label);
  expect(labels).toEqual(["−15m", "−10m", "−5m", "0s"]);
});

const widthOf = (label: string) => 6.4 * label.length;

test.each([
  ["epoch milliseconds", [1_700_000_000_000, 1_700_000_003_000]],
  ["within a second of them", [1_700_000_000_000, 1_700_000_000_020]],
  ["nanoseconds", [1_700_000_000_000_000, 1_700_000_000_900_000]],
  ["ordinary steps", [0, 3000]],
] as const)("labels of %s stand apart and tell their places", (_name, extent) => {
  for (const width of [120, 240, 398, 1200]) {
    const labels = fittingTicks(STEP, extent, false, width, widthOf).filter((tick) => tick.label !== "");
    const ends = labels.map(({ value, label }) => {
      const middle = ((value - extent[0]) / (extent[1] - extent[0])) * width;
      return [middle - widthOf(label) / 2, middle + widthOf(label) / 2] as const;
    });
    expect(labels.length).toBeGreaterThan(0);
    if (extent[1] > 10_000) expect(labels.map((tick) => Number(tick.label.replaceAll(",", "")))).toEqual(labels.map((tick) => tick.value));
    expect(new Set(labels.map((tick) => tick.label)).size).toBe(labels.length);
    expect(ends.slice(1).every(([left], index) => left > (ends[index]?.[1] ?? 0))).toBe(true);
  }
});

test("digits of long numbers stand in threes", () => {
  expect(valueLabels([1_700_000_000_000, 1_700_000_000_500])).toEqual(["1,700,000,000,000", "1,700,000,000,500"]);
});

test("a label is moved rather than cut at an edge, and left out where another one stands", () => {
  expect(labelPlaces([{ at: 10, width: 80 }, { at: 60, width: 80 }, { at: 195, width: 80 }], 0, 200)).toEqual([40, null, 160]);
});
