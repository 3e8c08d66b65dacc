/** Words for numbers, times and sizes; each has a short form for reading and a full one for hover. */

const UNITS: readonly (readonly [seconds: number, short: string])[] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "m"],
  [1, "s"],
];

/** A number with four significant digits: `0.1235`, `48,210`, `1.2e-7`. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e9 || size < 1e-4) return minus(exponent(value));
  if (size >= 1000) return minus(Math.round(value).toLocaleString("en-US"));
  return minus(trimZeros(value.toPrecision(4)));
}

/** A number with every digit that it has. */
export function fullNumber(value: number): string {
  if (!Number.isFinite(value)) return formatNumber(value);
  return Number.isInteger(value) ? value.toLocaleString("en-US") : String(value);
}

/** A count as people say it: `1,204`, `48.2k`, `3.1M`. */
export function formatCount(value: number): string {
  const size = Math.abs(value);
  if (size < 10_000) return minus(value.toLocaleString("en-US"));
  if (size >= 1e12) return minus(exponent(value));
  const [unit, name] = size >= 1e9 ? [1e9, "B"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  return minus(`${trimZeros((value / unit).toPrecision(3))}${name}`);
}

/** Seconds as the two largest units: `3m 12s`, `2h 4m`, `0.4s`, `−16m 40s`. */
export function formatDuration(seconds: number): string {
  if (seconds <= -0.05) return `−${formatDuration(-seconds)}`;
  if (seconds < 10) return `${trimZeros(Math.abs(seconds).toFixed(1))}s`;
  const whole = Math.round(seconds);
  const first = UNITS.findIndex(([size]) => whole >= size);
  const [size, unit] = UNITS[first] ?? [1, "s"];
  const next = UNITS[first + 1];
  const head = `${String(Math.floor(whole / size))}${unit}`;
  const rest = next === undefined ? 0 : Math.floor((whole % size) / next[0]);
  return next === undefined || rest === 0 ? head : `${head} ${String(rest)}${next[1]}`;
}

/** How long ago, in one unit: `just now`, `5m ago`, `3d ago`; a date once that says more. */
export function formatAgo(time: number, now: number): string {
  const seconds = (now - time) / 1000;
  if (seconds < 5) return "just now";
  if (seconds >= 30 * 86_400) {
    return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" });
  }
  const [size, unit] = UNITS.find(([unitSeconds]) => seconds >= unitSeconds) ?? [1, "s"];
  return `${String(Math.floor(seconds / size))}${unit} ago`;
}

export function exactTime(time: number): string {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "full", timeStyle: "long" });
}

export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function exponent(value: number): string {
  const [digits = "", power = ""] = value.toExponential(3).split("e");
  return `${trimZeros(digits)}e${power.replace("+", "")}`;
}

function trimZeros(digits: string): string {
  return digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
}

/** A true minus sign is as wide as a digit, so that columns stay aligned. */
function minus(text: string): string {
  return text.replace(/^-/, "−");
}
