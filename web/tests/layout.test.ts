import { expect, test } from "vitest";

import { foldedName, layOut, rowsWithin, sectionsWithin } from "../src/features/panels/layout";
import { keysInOrder, sectionsOf } from "../src/features/panels/sections";
import { DEFAULT_VIEW, readView, writeView } from "../src/lib/view";

const NONE: ReadonlySet<string> = new Set();
const many = (count: number, nameOf: (index: number) => string) => Array.from({ length: count }, (_, index) => nameOf(index));

test("panels fill rows, and those that share a leaf are not torn apart", () => {
  const { sections } = layOut(sectionsOf(["a/x", "a/y", "b/y", "a/z"]), 2, { folded: NONE, whole: NONE });
  expect(sections.map((section) => section.rows)).toEqual([[["a/x"], ["a/y", "b/y"], ["a/z"]]]);
});

test("more panels of a leaf than fit side by side have rows of their own", () => {
  const { sections } = layOut(sectionsOf(["a/x", "b/x", "c/x", "a/y"]), 2, { folded: NONE, whole: NONE });
  expect(sections[0]?.rows).toEqual([["a/x", "b/x"], ["c/x"], ["a/y"]]);
});

test("sections stand below each other, folded ones as their heads", () => {
  const sections = sectionsOf(["a/x", "b/y"]);
  const [open, folded] = [NONE, new Set(["a"])].map((each) => layOut(sections, 3, { folded: each, whole: NONE }));
  expect(open?.sections[1]?.top).toBeGreaterThan(folded?.sections[1]?.top ?? 0);
  expect(folded?.sections[0]?.rows).toEqual([]);
});

test("the section of metrics without a prefix folds as well, and the URL keeps it", () => {
  const [section] = sectionsOf(["loss"]);
  const names = section === undefined ? [] : [foldedName(section)];
  const { folded } = readView(writeView({ ...DEFAULT_VIEW, folded: names }));
  expect(layOut(sectionsOf(["loss"]), 3, { folded: new Set(folded), whole: NONE }).sections[0]?.isFolded).toBe(true);
});

test("a long section shows some panels, and all of them when asked", () => {
  const sections = sectionsOf(many(1000, (index) => `k/${String(index)}`));
  const [some] = layOut(sections, 3, { folded: NONE, whole: NONE }).sections;
  const [all] = layOut(sections, 3, { folded: NONE, whole: new Set(["k"]) }).sections;
  expect([some?.rows.flat().length, some?.rest, all?.rows.flat().length, all?.rest]).toEqual([60, 940, 1000, 0]);
});

test("of very many panels that share a leaf some are shown at first", () => {
  const [section] = layOut(sectionsOf(many(1000, (index) => `k${String(index)}/x`)), 3, { folded: NONE, whole: NONE }).sections;
  expect([section?.rows.flat().length, section?.rest]).toEqual([60, 940]);
});

test("a page of a hundred thousand sections is one that a browser can lay out", () => {
  const LARGEST_PX = 33_000_000;
  for (const leafOf of ["x", "norm"].map((name) => (index: number) => `${name}${name === "x" ? "" : String(index)}`)) {
    const sections = sectionsOf(keysInOrder(many(100_000, (index) => `a${String(index)}/${leafOf(index)}`)));
    const first = layOut(sections, 1, { folded: NONE, whole: NONE });
    const all = layOut(sections, 1, { folded: NONE, whole: new Set(sections.map((section) => section.id)) });
    expect(sections).toHaveLength(1);
    expect(first.height).toBeLessThan(20_000);
    expect(all.height).toBeLessThan(LARGEST_PX);
  }
});

test("of very many panels and sections only those near the window are made", () => {
  for (const nameOf of [(index: number) => `k/${String(index)}`, (index: number) => `s${String(index >> 1)}/${String(index)}`]) {
    const sections = sectionsOf(keysInOrder(many(100_000, nameOf)));
    const layout = layOut(sections, 3, { folded: NONE, whole: new Set(sections.map((section) => section.id)) });
    for (const from of [0, layout.height / 2, layout.height - 900]) {
      const near = sectionsWithin(layout, from, from + 900);
      const rows = near.flatMap((section) => section.rows.slice(...rowsWithin(section, from, from + 900)));
      expect(rows.length).toBeGreaterThan(0);
      expect(near.length + rows.flat().length).toBeLessThan(30);
    }
  }
});
