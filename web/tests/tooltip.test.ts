import { expect, test } from "vitest";

import { oddText } from "../src/charts/line/tooltip";
import { points } from "./a";

test("a bucket of several points names the NaN and infinities among them", () => {
  const one = points([1]);
  const bucket = { ...one, count: Float64Array.of(12_000), nan: Float64Array.of(2), neginf: Float64Array.of(10_400) };
  expect(oddText(bucket, 0)).toBe("2 NaN, 10.4k −∞");
});

test("what is all NaN says so by its value alone, and finite values need no word", () => {
  expect(oddText({ ...points([Number.NaN]), nan: Float64Array.of(5) }, 0)).toBe("");
  expect(oddText({ ...points([Number.NaN]), posinf: Float64Array.of(1) }, 0)).toBe("1 NaN, 1 ∞");
  expect(oddText({ ...points([1]), count: Float64Array.of(5) }, 0)).toBe("");
});
