/** From bytes to nouns: the one place where the page trusts what the server says. */
import { isObject, type JsonValue } from "../lib/flatten";
import { COLUMNS, type Change, type Columns, type Series } from "./nouns";

const MAGIC = 0x5253_4c52; // "RLSR", little-endian
const VERSION = 2;
const NUMBERS: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
};

interface SeriesHead {
  readonly key: string;
  readonly width: number;
  readonly rows: number;
  readonly points: number;
  /** How many numbers stand before each of its columns. */
  readonly at: readonly number[];
}

interface SeriesHeader {
  readonly series: readonly (SeriesHead & { readonly run: string })[];
  readonly columns: readonly string[];
  readonly groups?: readonly (SeriesHead & { readonly group: string })[];
  readonly group_columns?: readonly string[];
}

/**
 * Reads JSON, in which a number that JSON cannot hold stands as `{"$number": "NaN"}`.
 *
 * A user's object whose only key begins with `$` stands as `{"$document": {…}}`, and is none of these.
 */
export function decodeJson<T>(text: string): T {
  return decodeValue(JSON.parse(text) as JsonValue) as T;
}

function decodeValue(value: JsonValue): JsonValue {
  if (typeof value !== "object" || value === null) return value;
  if (isArray(value)) return value.map(decodeValue);
  const names = Object.keys(value);
  if (names.length === 1) {
    const { $number: name, $document: document } = value;
    // The digits of a whole number beyond ±2^53 stay text: a number here would round them.
    if (typeof name === "string") return NUMBERS[name] ?? name;
    if (document !== undefined && isObject(document)) return decodeEach(document);
  }
  return decodeEach(value);
}

function decodeEach(value: { readonly [key: string]: JsonValue }): JsonValue {
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, decodeValue(one)]));
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

export interface Problem {
  readonly title?: string;
  readonly detail?: string;
}

/** The problem in an error's body; empty where the body is not one (a proxy's page). */
export function decodeProblem(text: string): Problem {
  try {
    const value = JSON.parse(text) as Problem | null;
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

export function decodeChanges(text: string): readonly Change[] {
  return decodeJson<{ changes: readonly Change[] }>(text).changes;
}

/** What one tab's port or the shared worker says; both ends are built together. */
export function decodeMessage<T>(event: MessageEvent): T {
  return event.data as T;
}

/** Reads the binary answer of `POST …/series`; columns are views on the buffer, equal ones on one place. */
export function decodeSeries(buffer: ArrayBuffer): Series[] {
  const view = new DataView(buffer);
  if (buffer.byteLength < 16 || view.getUint32(0, true) !== MAGIC) {
    throw new Error("expected a series answer beginning with RLSR; reload the page");
  }
  const version = view.getUint32(4, true);
  if (version !== VERSION) {
    throw new Error(
      `expected version ${String(VERSION)} of the series format, got ${String(version)}; reload the page`,
    );
  }
  const length = view.getUint32(8, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 16, length))) as SeriesHeader;
  const read = (run: string, { key, width, points, rows, at }: SeriesHead, names: readonly string[]): Series => {
    const columns: Partial<Record<string, Float64Array>> = {};
    for (const [index, name] of names.entries()) {
      columns[name] = new Float64Array(buffer, 16 + length + (at[index] ?? 0) * Float64Array.BYTES_PER_ELEMENT, rows);
    }
    return { run, key, width, points, columns: columns as Columns };
  };
  const series = header.series.map((head) => read(head.run, head, header.columns));
  const groups = header.groups?.map((head) => asRun(read(head.group, head, header.group_columns ?? []))) ?? [];
  for (const { columns } of [...series, ...groups]) {
    const missing = COLUMNS.find((name) => !(name in columns));
    if (missing !== undefined) throw new Error(`the series answer has no column '${missing}'`);
  }
  return [...series, ...groups];
}

/** A group as if it were one run: its runs are the points of a bucket. */
function asRun(group: Series & { readonly columns: { readonly runs?: Float64Array } }): Series {
  const { columns } = group;
  const none = new Float64Array(columns.step.length);
  const count = columns.runs ?? none;
  return { ...group, columns: { ...columns, count, last: columns.mean, nan: none, posinf: none, neginf: none } };
}
