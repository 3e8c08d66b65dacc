/** The nouns as the server describes them; see docs/design/http-api.md. */
import type { JsonValue } from "../lib/flatten";
import type { components } from "./schema";

type Schemas = components["schemas"];
type JsonObject = { readonly [key: string]: JsonValue };

export type Project = Readonly<Schemas["Project"]>;
export type MetricKey = Readonly<Schemas["Key"]>;
export type RunKey = Readonly<Schemas["RunKey"]>;
export type RunKeys = Readonly<Schemas["RunKeys"]>;
export type MetricKeys = Readonly<Schemas["Keys"]>;
export type Column = Readonly<Schemas["RunColumn"]>;

/** A run, whose config and summary are JSON that was read by `decodeJson`. */
export type Run = Readonly<Omit<Schemas["Run"], "config" | "summary">> & {
  readonly config: JsonObject;
  readonly summary: JsonObject;
};

export type RunPage = Readonly<Omit<Schemas["RunList"], "runs">> & { readonly runs: readonly Run[] };

export interface Change {
  readonly owner: string;
  readonly project: string;
  readonly run: string;
  readonly what: readonly ("points" | "run" | "deleted")[];
}

export const COLUMNS = [
  "step",
  "step_last",
  "count",
  "min",
  "max",
  "mean",
  "last",
  "nan",
  "posinf",
  "neginf",
] as const;

export type ColumnName = (typeof COLUMNS)[number];
/** With an axis other than the step also where each bucket lies on it; of a group the interval of its mean. */
export type Columns = Readonly<Record<ColumnName, Float64Array> & Partial<Record<"x_min" | "x_max" | "x_last" | "low" | "high", Float64Array>>>;

export interface Series {
  /** The run, or the name of the group. */
  readonly run: string;
  readonly key: string;
  readonly width: number;
  readonly points: number;
  readonly columns: Columns;
}
