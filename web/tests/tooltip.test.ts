import { expect, test } from "vitest";

import { oddText } from "../src/charts/line/tooltip";
import { points } from "./a";

test("a bucket of several points names the NaN and infinities among them", () => {
  const one = points([1]);
  const bucket = { ...one, count: Float64Array.of(12_000), nan: Float64Array.of(2), neginf: Float64Array.of(10_400) };
  expect(oddText(bucket, 0)).toBe("2 NaN, 10.4k −∞");
});

test("a single point says what it is by its value alone, and finite ones need no word", () => {
  expect(oddText(points([Number.NaN]), 0)).toBe("");
  expect(oddText({ ...points([1]), count: Float64Array.of(5) }, 0)).toBe("");
});
