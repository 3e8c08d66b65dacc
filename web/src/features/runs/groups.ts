/** Runs with the same value of a column, which the charts show as one line with a band. */
import type { Run } from "../../api/nouns";
import { runColor, runDash } from "../../charts/palette";
import { keyColumn, valueAt } from "../../lib/columns";
import type { JsonValue } from "../../lib/flatten";
import { formatNumber } from "../../lib/format";

/** As many as there are colours with strokes of their own. */
export const MOST_GROUPS = 48;

export interface RunGroup {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  readonly dash: readonly number[];
  readonly members: readonly string[];
}

/** The groups of some runs: numbers first and by size, then texts, runs without a value last. */
export function groupsOf(runs: readonly Pick<Run, "id" | "config" | "summary">[], by: string, isDark: boolean): RunGroup[] {
  const column = keyColumn(by);
  const found = new Map<string, { value: JsonValue; members: string[] }>();
  for (const run of runs) {
    const value = (column === null ? null : valueAt(run[column.source], column.key)) ?? null;
    const name = typeof value === "number" ? String(value) : JSON.stringify(value);
    const group = found.get(name) ?? { value, members: [] };
    group.members.push(run.id);
    found.set(name, group);
  }
  const sorted = [...found.values()].sort((a, b) => compare(a.value, b.value));
  return sorted.map(({ value, members }, index) => ({
    id: `group ${String(index)}`,
    name: textOf(value),
    color: runColor(index + 1, isDark),
    dash: runDash(index + 1),
    members,
  }));
}

function textOf(value: JsonValue): string {
  if (value === null) return "not set";
  if (typeof value === "number") return formatNumber(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

function compare(a: JsonValue, b: JsonValue): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return rank(a) - rank(b) || textOf(a).localeCompare(textOf(b), "en", { numeric: true });
}

function rank(value: JsonValue): number {
  return typeof value === "number" ? 0 : value === null ? 2 : 1;
}
