import { describe, expect, test } from "vitest";

import { chartedKeys, columnsFor, hiddenNames, namesOf, sectionsOf } from "../src/features/panels/sections";

describe("sections", () => {
  test("prefixes that share a leaf form one section, the same leaf side by side", () => {
    const [section, ...rest] = sectionsOf(["eval/loss", "train/acc", "train/loss", "val/acc"]);
    expect(rest).toEqual([]);
    expect(section?.groups).toEqual([["train/acc", "val/acc"], ["train/loss", "eval/loss"]]);
    expect(section && namesOf(section)).toEqual([["train", "val", "eval"], 0]);
  });

  test("prefixes without a common leaf stand apart, the system last", () => {
    const sections = sectionsOf(["system/gpu", "train/loss", "lr"]);
    expect(sections.map((section) => section.id)).toEqual(["", "train", "system"]);
  });

  test("prefixes joined by a chain of leaves are one section", () => {
    expect(sectionsOf(["a/x", "b/x", "b/y", "c/y", "d/z"])).toHaveLength(2);
  });

  test("the order of the keys changes nothing", () => {
    const keys = ["loss", "train/loss", "val/loss", "layer10/w", "layer2/w", "a/b/c", "system/cpu"];
    expect(sectionsOf([...keys].reverse())).toEqual(sectionsOf(keys));
  });

  test("numbers in names are ordered as numbers", () => {
    expect(sectionsOf(["layer10/w", "layer2/w"])[0]?.groups).toEqual([["layer2/w", "layer10/w"]]);
  });

  test("many prefixes are counted in the title", () => {
    const [section] = sectionsOf(Array.from({ length: 12 }, (_, index) => `layer${String(index)}/w`));
    expect(section && namesOf(section)).toEqual([["layer0", "layer1", "layer2"], 9]);
  });

  test("a prefix that reads as nothing, or as none, has a title of its own", () => {
    const keys = ["a", "/b", "//c", "///d", "Metrics/e", " /f", "\t/g", `${"x".repeat(500)}/h`];
    const titles = sectionsOf(keys.flatMap((key) => [key, `${key}2`])).flatMap((section) => namesOf(section)[0].join());
    expect(titles).toHaveLength(7);
    expect(new Set(titles).size).toBe(7);
    expect(titles).not.toContain("");
  });

  test("many sections of one panel are one, behind the others, as are those of training and of the system", () => {
    const singles = (prefix: string, leaf: string) => Array.from({ length: 6 }, (_, index) => `${prefix}${String(index)}/${leaf}${String(index)}`);
    const keys = ["loss", "train/loss", "eval/loss", "z/a", "z/b", ...singles("a", "x"), ...singles("train/", "t"), ...singles("system/", "s")];
    const sections = sectionsOf(keys);
    expect(sections.map((section) => [section.id, section.size])).toEqual([["", 3], ["train/0", 6], ["z", 2], ["a0", 6], ["system/0", 6]]);
    expect(sections[0]?.groups).toEqual([["loss", "train/loss", "eval/loss"]]);
    expect(sections[3]?.groups.flat()).toEqual(singles("a", "x"));
    expect(sections[3] && namesOf(sections[3])).toEqual([["a0", "a1", "a2"], 3]);
    expect(sectionsOf(keys.toReversed())).toEqual(sections);
  });

  test("a few sections of one panel stand apart", () => {
    expect(sectionsOf(["a/w", "b/x", "c/y", "d/z"])).toHaveLength(4);
  });

  test("odd keys are keys: empty parts, slashes at the ends, any script", () => {
    const keys = ["/", "a/", "/b", "损失/训练", "…"];
    expect(sectionsOf(keys).reduce((sum, section) => sum + section.size, 0)).toBe(keys.length);
  });
});

describe("columns", () => {
  test("where keys stand in pairs, all sections take an even number", () => {
    const sections = sectionsOf(["train/loss", "eval/loss", "lr", "system/cpu"]);
    expect([1, 2, 3, 4, 5].map((most) => columnsFor(sections, most))).toEqual([1, 2, 2, 4, 4]);
  });

  test("without pairs they take what there is", () => {
    expect([0, 1, 3].map((most) => columnsFor(sectionsOf(["a", "b", "c"]), most))).toEqual([1, 1, 3]);
  });
});

test("keys that a run has hidden, by name or by beginning, have no panel", () => {
  const definitions = [[], [{ metric: "lr", hidden: true }, { metric: "debug/*", hidden: true }, { metric: "loss", hidden: false }]];
  expect(chartedKeys(["lr", "loss", "debug/a", "lr2"], hiddenNames(definitions))).toEqual(["loss", "lr2"]);
});
