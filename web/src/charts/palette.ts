/**
 * The colours of runs. Neighbours in the order differ in hue and in lightness, so that they stay
 * apart for eyes that see fewer hues; each reaches 3:1 against its theme's paper.
 */
const LIGHT = [
  "#1f6fb4", "#d2600a", "#0a8a6c", "#b23a8e", "#8a6d00", "#4a3fb0",
  "#c2263f", "#1291a8", "#5b7d16", "#7b4a2f", "#8c5fd0", "#48586b",
] as const;

const DARK = [
  "#5aa9ee", "#f2944a", "#3fc79f", "#e583c6", "#dcc04e", "#9d97f5",
  "#f4707f", "#57cfe3", "#a3c95a", "#c9967a", "#c79cf7", "#a5b4c6",
] as const;

/** The colour of the run that came `number`-th in its project. */
export function runColor(number: number, isDark: boolean): string {
  const palette = isDark ? DARK : LIGHT;
  return palette[(((number - 1) % palette.length) + palette.length) % palette.length] ?? palette[0];
}
