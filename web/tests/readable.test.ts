import { describe, expect, test } from "vitest";

import { headAndTail, readable, readableText } from "../src/lib/readable";

const ODD = ["", " ", "  ", "\t", "\n", "\0", "\u200b", "\u202e", "\u00a0", "\ufeff", "\u2028", "\ud800", "\u{e0001}", "\u001b[31m"];

describe("readable", () => {
  test("an ordinary name stays as it is, in any script", () => {
    for (const name of ["loss", "train/loss 2", "损失", "שגיאה", "نص", "क्‍ष", "👩‍🔬", "é"]) {
      expect(readable(name)).toEqual([{ text: name, isOdd: false }]);
    }
  });

  test("what cannot be seen is written out, and no two read the same", () => {
    const texts = ODD.map(readableText);
    expect(new Set(texts).size).toBe(ODD.length);
    for (const text of texts) expect(text).toMatch(/^[\p{L}\p{M}\p{N}\p{P}\p{S}]+$/u);
  });

  test("spaces show where they would vanish", () => {
    expect(readableText(" a b  c ")).toBe("␣a b␣␣c␣");
  });

  test("a direction that a name would impose on the page is taken from it", () => {
    expect(readable("a\u202eb")).toEqual([
      { text: "a", isOdd: false },
      { text: "\\u202e", isOdd: true },
      { text: "b", isOdd: false },
    ]);
  });
});

describe("a long name", () => {
  test("keeps its end, by which it differs", () => {
    const [first, second] = [headAndTail(`${"x".repeat(300)}1`), headAndTail(`${"x".repeat(300)}2`)];
    expect(first[1]).not.toBe(second[1]);
    expect(first.join("")).toBe(`${"x".repeat(300)}1`);
  });

  test("is not cut within a letter, nor where it runs from right to left", () => {
    expect(headAndTail("👩‍🔬".repeat(40))[1]).toMatch(/^(👩‍🔬)+$/u);
    expect(headAndTail("ש".repeat(300))[1]).toBe("");
    expect(headAndTail("short")).toEqual(["short", ""]);
  });
});
