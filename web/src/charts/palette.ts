/**
 * The colours of runs. Those that come first differ most; all stay apart for eyes that see fewer
 * hues, as tests/colors.test.ts computes, and each reaches 3:1 against its theme's paper.
 */
export const LIGHT = [
  "#3a71ac", "#ed6e12", "#942318", "#a07dfb", "#25a473", "#1040c3",
  "#7f1d89", "#c4278a", "#6858e9", "#d42515", "#569bc1", "#056e5a",
] as const;

export const DARK = [
  "#8ed5fd", "#e9bb82", "#e84306", "#b6a0fb", "#92fd69", "#738de2",
  "#f494c6", "#f1498d", "#9162f5", "#ff8516", "#3595a4", "#43fee2",
] as const;

/** The strokes of the first runs, of those whose colours repeat, and so on. */
const DASHES: readonly (readonly number[])[] = [[], [7, 4], [2, 4], [9, 4, 2, 4]];

/** The pattern of the stroke of the run that came `number`-th in its project. */
export function runDash(number: number): readonly number[] {
  return DASHES[Math.floor(Math.max(0, number - 1) / LIGHT.length) % DASHES.length] ?? [];
}

/** The stroke of a run as the ground of a small element, for legends. */
export function strokeGround(color: string, dash: readonly number[]): string {
  if (dash.length === 0) return color;
  let at = 0;
  const stops = dash.map((length, index) => {
    const from = at;
    at += length;
    return `${index % 2 === 0 ? color : "transparent"} ${String(from)}px ${String(at)}px`;
  });
  return `repeating-linear-gradient(90deg, ${stops.join(", ")})`;
}

/** The colour of the run that came `number`-th in its project. */
export function runColor(number: number, isDark: boolean): string {
  const palette = isDark ? DARK : LIGHT;
  return palette[(((number - 1) % palette.length) + palette.length) % palette.length] ?? palette[0];
}
