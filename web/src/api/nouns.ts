/** The nouns as the server describes them; see docs/design/http-api.md. */
import type { JsonValue } from "../lib/flatten";

export type RunState = "running" | "finished" | "failed" | "crashed";

export interface Project {
  readonly owner: string;
  readonly name: string;
  readonly runs: number;
  readonly running: number;
  readonly points: number;
  readonly created_at: string;
  readonly active_at: string;
}

export interface Run {
  readonly owner: string;
  readonly project: string;
  readonly id: string;
  readonly name: string;
  readonly number: number;
  readonly state: RunState;
  readonly color: string | null;
  readonly created_at: string;
  readonly active_at: string;
  readonly finished_at: string | null;
  readonly exit_code: number | null;
  readonly signal: number | null;
  readonly config: { readonly [key: string]: JsonValue };
  readonly summary: { readonly [key: string]: JsonValue };
  readonly tags: readonly string[];
  readonly notes: string | null;
  readonly group: string | null;
  readonly job_type: string | null;
  readonly program: string | null;
  readonly host: string | null;
  readonly writers: number;
  readonly points: number;
  readonly gaps: number;
}

export interface RunPage {
  readonly runs: readonly Run[];
  readonly total: number;
  readonly next: string | null;
}

export interface MetricKey {
  readonly key: string;
  readonly kind: "number" | "bool" | "string";
  readonly runs: number;
}

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
export type Columns = Readonly<Record<ColumnName, Float64Array>>;

export interface Series {
  readonly run: string;
  readonly key: string;
  readonly width: number;
  readonly points: number;
  readonly columns: Columns;
}
