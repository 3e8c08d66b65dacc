/**
 * The colours of runs. Those that come first differ most; all stay apart for eyes that see fewer
 * hues, as tests/colors.test.ts computes, and each reaches 3:1 against its theme's paper.
 */
export const LIGHT = [
  "#338be7", "#b41f04", "#622144", "#4f1290", "#c27372", "#a879ac", "#3960e0",
  "#6a1f0d", "#b67e02", "#246038", "#8c783e", "#343073", "#c22b78", "#b32eab",
] as const;

export const DARK = [
  "#1a76fa", "#f89320", "#eb6882", "#bc4dca", "#d75017", "#de78c3", "#2da0fb",
  "#a27247", "#fee666", "#91fcb0", "#acbb68", "#bfbefd", "#fdaccb", "#e6268c",
] as const;

/** The strokes of the first runs, of those whose colours repeat, and so on. */
const DASHES: readonly (readonly number[])[] = [[], [7, 4], [2, 4], [9, 4, 2, 4]];

/** The pattern of the stroke of the run that came `number`-th in its project. */
export function runDash(number: number): readonly number[] {
  return DASHES[Math.floor(Math.max(0, number - 1) / LIGHT.length) % DASHES.length] ?? [];
}

/** The colour of the run that came `number`-th in its project. */
export function runColor(number: number, isDark: boolean): string {
  const palette = isDark ? DARK : LIGHT;
  return palette[(((number - 1) % palette.length) + palette.length) % palette.length] ?? palette[0];
}
