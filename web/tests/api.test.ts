import { describe, expect, test } from "vitest";

import { decodeJson, decodeProblem, decodeSeries } from "../src/api/decode";
import { EventReader } from "../src/api/hub";
import { COLUMNS } from "../src/api/nouns";

/** An answer as docs/design/http-api.md lays it out: column `c` of a series holds `c·10 + row`. */
function answer(rows: readonly number[], version = 2): ArrayBuffer {
  let before = 0;
  const series = rows.map((count, index) => {
    const at = COLUMNS.map((_, column) => before + column * count);
    before += COLUMNS.length * count;
    return { run: `r${String(index)}`, key: "损失", width: 0, rows: count, points: count, at };
  });
  const text = new TextEncoder().encode(JSON.stringify({ series, columns: COLUMNS }));
  const length = Math.ceil(text.length / 8) * 8;
  const numbers = rows.flatMap((count) => COLUMNS.flatMap((_, column) => Array.from({ length: count }, (_, row) => column * 10 + row)));
  const buffer = new ArrayBuffer(16 + length + numbers.length * 8);
  const bytes = new Uint8Array(buffer);
  bytes.set(new TextEncoder().encode("RLSR"));
  bytes.fill(0x20, 16, 16 + length);
  bytes.set(text, 16);
  const view = new DataView(buffer);
  view.setUint32(4, version, true);
  view.setUint32(8, length, true);
  for (const [index, value] of numbers.entries()) view.setFloat64(16 + length + index * 8, value, true);
  return buffer;
}

describe("series", () => {
  test("each series gets its own columns", () => {
    const [first, second, third] = decodeSeries(answer([2, 0, 3]));
    expect(first?.key).toBe("损失");
    expect([...(first?.columns.step_last ?? [])]).toEqual([10, 11]);
    expect(second?.columns.mean).toHaveLength(0);
    expect([...(third?.columns.neginf ?? [])]).toEqual([90, 91, 92]);
  });

  test("a group is read as a run whose points are its runs", () => {
    const names = ["step", "step_last", "runs", "mean", "min", "max", "low", "high"];
    const head = { group: "lr", key: "loss", width: 1, rows: 1, points: 9, at: names.map((_, index) => index) };
    const text = new TextEncoder().encode(JSON.stringify({ series: [], columns: COLUMNS, groups: [head], group_columns: names }));
    const length = Math.ceil(text.length / 8) * 8;
    const bytes = new Uint8Array(16 + length + 8 * names.length).fill(0x20, 16, 16 + length);
    bytes.set(new TextEncoder().encode("RLSR"));
    bytes.set(text, 16);
    const view = new DataView(bytes.buffer);
    view.setUint32(4, 2, true);
    view.setUint32(8, length, true);
    for (const index of names.keys()) view.setFloat64(16 + length + 8 * index, index, true);
    const [group] = decodeSeries(bytes.buffer);
    expect(group?.run).toBe("lr");
    expect([...(group?.columns.count ?? [])]).toEqual([2]);
    expect([...(group?.columns.last ?? [])]).toEqual([3]);
    expect([...(group?.columns.high ?? [])]).toEqual([7]);
    expect([...(group?.columns.nan ?? [])]).toEqual([0]);
  });

  test("another format and a newer version are refused with the way out", () => {
    expect(() => decodeSeries(new TextEncoder().encode("<html>proxy</html>").buffer)).toThrow(/RLSR; reload/);
    expect(() => decodeSeries(answer([1], 3))).toThrow(/version 2 .* got 3; reload/);
  });
});

describe("JSON", () => {
  test("numbers that JSON cannot hold are numbers again, wherever they stand", () => {
    const read = decodeJson<{ a: number; b: number[] }>('{"a": {"$number": "NaN"}, "b": [{"$number": "-Infinity"}, 1]}');
    expect(read).toEqual({ a: Number.NaN, b: [Number.NEGATIVE_INFINITY, 1] });
  });

  test("a whole number that a browser would round is its digits", () => {
    const digits = "1267650600228229401496703205376";
    expect(decodeJson(`{"seed": {"$number": "${digits}"}}`)).toEqual({ seed: digits });
  });

  test("a document of a user's that looks like a number stays what it is", () => {
    const text = '{"u": {"$document": {"$number": "NaN"}}, "v": {"$document": {"$document": {"$document": {"$number": "7"}}}}, "$x": 1}';
    expect(decodeJson(text)).toEqual({ u: { $number: "NaN" }, v: { $document: { $number: "7" } }, $x: 1 });
    expect(decodeJson('{"$document": {"$number": {"$number": "NaN"}}}')).toEqual({ $number: Number.NaN });
  });

  test("an error that is no problem document is no second error", () => {
    expect(decodeProblem("<html>")).toEqual({});
    expect(decodeProblem("null")).toEqual({});
    expect(decodeProblem('{"detail": "gone"}')).toEqual({ detail: "gone" });
  });
});

describe("events", () => {
  const text = ': open\n\nevent: change\ndata: {"a":1}\n\n: still here\n\nevent: other\ndata: x\n\nevent: change\ndata: {"b":2}\n\n';

  test("change events are found however the text is cut", () => {
    for (let cut = 0; cut <= text.length; cut += 1) {
      const reader = new EventReader();
      expect([...reader.read(text.slice(0, cut)), ...reader.read(text.slice(cut))]).toEqual(['{"a":1}', '{"b":2}']);
    }
  });
});
