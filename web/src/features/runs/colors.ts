import type { Run } from "../../api/nouns";
import { runColor } from "../../charts/palette";

/** A run keeps its colour everywhere: the one that was set, or that of its number. */
export function colorOf(run: Pick<Run, "color" | "number">, isDark: boolean): string {
  return run.color ?? runColor(run.number, isDark);
}
