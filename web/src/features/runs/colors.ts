import type { Run } from "../../api/nouns";
import { runColor, runDash } from "../../charts/palette";

const UNBROKEN: readonly number[] = [];

type Colored = Pick<Run, "color" | "number">;

/** A run keeps its colour everywhere: the one that was set, or that of its number. */
export function colorOf(run: Colored, isDark: boolean): string {
  return run.color ?? runColor(run.number, isDark);
}

/** Runs whose colours repeat differ in the pattern of their strokes. */
export function dashOf(run: Colored): readonly number[] {
  return run.color === null ? runDash(run.number) : UNBROKEN;
}
