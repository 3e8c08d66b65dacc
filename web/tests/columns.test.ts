import { describe, expect, test } from "vitest";

import { groupsOf } from "../src/features/runs/groups";
import { keyColumn, sortAfter, valueAt } from "../src/lib/columns";

describe("columns", () => {
  test("are named as filters name them", () => {
    expect(keyColumn("config.lr")).toEqual({ source: "config", key: "lr" });
    expect(keyColumn("config.model.depth")).toEqual({ source: "config", key: "model/depth" });
    expect(keyColumn('summary."train/a.b ""c"""')).toEqual({ source: "summary", key: 'train/a.b "c"' });
    expect(keyColumn("name")).toBeNull();
    expect(keyColumn("config.")).toBeNull();
  });

  test("find their values however they are nested", () => {
    expect(valueAt({ a: { b: { c: 1 } } }, "a/b/c")).toBe(1);
    expect(valueAt({ "a/b": { c: 2 } }, "a/b/c")).toBe(2);
    expect(valueAt({ a: 1, "a/b": 3 }, "a/b")).toBe(3);
    expect(valueAt({ a: 1 }, "a/b")).toBeUndefined();
    expect(valueAt({}, "toString")).toBeUndefined();
  });

  test("put the list in order, in the other, and in its own again", () => {
    expect(sortAfter("", "name")).toBe("name");
    expect(sortAfter("name", "name")).toBe("-name");
    expect(sortAfter("-name", "name")).toBe("");
    expect(sortAfter("-name", "config.lr")).toBe("config.lr");
  });
});

describe("groups", () => {
  const run = (id: string, lr?: number | string | null) => ({ id, config: lr === undefined ? {} : { lr }, summary: {} });

  test("stand by size, then by name, runs without a value last", () => {
    const runs = [run("a", "b"), run("b"), run("c", 10), run("d", 9), run("e", "a"), run("f", 10), run("g", null)];
    const groups = groupsOf(runs, "config.lr", false);
    expect(groups.map((group) => group.name)).toEqual(["9", "10", "a", "b", "not set"]);
    expect(groups[1]?.members).toEqual(["c", "f"]);
  });

  test("a number and a text that look the same are two, and so are NaN and its text", () => {
    expect(groupsOf([run("a", 1), run("b", "1")], "config.lr", false)).toHaveLength(2);
    expect(groupsOf([run("a", Number.NaN), run("b", Number.NaN), run("c", "NaN")], "config.lr", false)).toHaveLength(2);
  });
});
