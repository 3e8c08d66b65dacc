import { describe, expect, test } from "vitest";

import { flatten } from "../src/lib/flatten";
import { formatAgo, formatCount, formatDuration, formatNumber } from "../src/lib/format";
import { matcherOf } from "../src/lib/matcher";
import { DEFAULT_VIEW, MOST_RUNS, readView, shownRuns, soloRun, toggleRun, type View, visibility, writeView } from "../src/lib/view";
import { tagsOf } from "../src/lib/tags";

describe("numbers", () => {
  test.each([
    [0, "0"],
    [0.123456, "0.1235"],
    [-0.5, "−0.5"],
    [48_210.4, "48,210"],
    [1.23456e-7, "1.235e-7"],
    [3e12, "3e12"],
    [Number.NaN, "NaN"],
    [Number.NEGATIVE_INFINITY, "−∞"],
  ])("%d is written %s", (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });

  test("counts, durations and times are short", () => {
    expect([9_999, 48_200, 3_100_000].map(formatCount)).toEqual(["9,999", "48.2k", "3.1M"]);
    expect([0.44, 59.6, 192, 7_440, 90_000].map(formatDuration)).toEqual(["0.4s", "1m", "3m 12s", "2h 4m", "1d 1h"]);
    expect(formatAgo(0, 3_000)).toBe("just now");
    expect(formatAgo(0, 7_200_000)).toBe("2h ago");
  });
});

describe("search", () => {
  test("text is a substring without regard to case, text between slashes an expression", () => {
    expect(matcherOf("LOSS").matches("train/loss")).toBe(true);
    expect(matcherOf("/loss$/").matches("loss_scale")).toBe(false);
    expect(matcherOf("").matches("anything")).toBe(true);
  });

  test("an expression that cannot be read says so and hides nothing", () => {
    const matcher = matcherOf("/(/");
    expect(matcher.fault).toContain("not a regular expression");
    expect(matcher.matches("a")).toBe(true);
  });
});

describe("the view in the URL", () => {
  test("a view survives the URL, names with commas and percent signs too", () => {
    const view: View = {
      ...DEFAULT_VIEW,
      search: "/a&b/",
      hidden: ["a,b", "50%"],
      only: ["x"],
      smooth: 50,
      isLogY: true,
      zoom: { start: -5, stop: 1000 },
      folded: ["", "train"].filter((name) => name !== ""),
      panel: "train/loss",
    };
    expect(readView(writeView(view))).toEqual(view);
  });

  test("the charts show many more runs when asked, and no number that was not offered", () => {
    expect(readView(writeView({ ...DEFAULT_VIEW, most: MOST_RUNS })).most).toBe(1000);
    expect(readView({ most: "999999" }).most).toBe(DEFAULT_VIEW.most);
  });

  test("the default view leaves no trace", () => {
    expect(writeView(DEFAULT_VIEW)).toEqual({});
  });

  test("what cannot be understood is as if it were absent", () => {
    expect(readView({ smooth: "lots", steps: "9..1", hide: "%" })).toEqual({ ...DEFAULT_VIEW, hidden: ["%"] });
  });

  test("runs are hidden and shown again, and one stands alone until asked again", () => {
    const view = { ...DEFAULT_VIEW, ...toggleRun(DEFAULT_VIEW, "a") };
    expect(visibility(view)("a")).toBe(false);
    const solo = { ...view, ...soloRun(view, "b") };
    expect(shownRuns([{ id: "a" }, { id: "b" }], solo)).toEqual([{ id: "b" }]);
    expect({ ...solo, ...soloRun(solo, "b") }).toEqual(DEFAULT_VIEW);
    expect(shownRuns([{ id: "a" }, { id: "b" }], { ...DEFAULT_VIEW, most: 1 })).toEqual([{ id: "a" }]);
  });
});

test("nested objects become leaves whose keys say where they stood", () => {
  expect(flatten({ a: { b: 1, c: {} }, d: [1] })).toEqual([
    { key: "a/b", value: 1 },
    { key: "a/c", value: {} },
    { key: "d", value: [1] },
  ]);
});

test("tags are typed with commas, each counts once", () => {
  expect(tagsOf(" a, b c,,a ,损失 ")).toEqual(["a", "b c", "损失"]);
  expect(tagsOf("")).toEqual([]);
});

test("a time before the begin of a run is a negative duration", () => {
  expect([-1000, -75, -2.5, -0.01].map(formatDuration)).toEqual(["−16m 40s", "−1m 15s", "−2.5s", "0s"]);
});
