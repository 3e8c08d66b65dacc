/** Where a log axis has its ticks, and which of them have room for a label. */

export interface Tick {
  readonly value: number;
  readonly isLabelled: boolean;
}

const DIGITS = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const MOST_TICKS = 40;

/**
 * Ticks at one digit and zeros; on a long axis at powers of ten alone, and of these only some.
 *
 * An axis that spans less than a few of them is all but linear: it gets round numbers instead.
 */
export function logTicks(low: number, high: number, mostLabels: number): Tick[] {
  if (!(low > 0) || !(high > low) || !Number.isFinite(high)) return [];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const digits = (last - first) * DIGITS.length <= MOST_TICKS ? DIGITS : [1];
  const stride = Math.max(1, Math.ceil((last - first) / mostLabels));
  const values: number[] = [];
  for (let power = first; power <= last; power += 1) {
    for (const digit of digits) {
      const value = Number(`${String(digit)}e${String(power)}`);
      if (value >= low && value <= high) values.push(value);
    }
  }
  if (values.length < 3) return roundTicks(low, high, mostLabels);
  const labelled = values.length <= mostLabels ? DIGITS : values.length <= 2 * mostLabels ? [1, 2, 5] : [1];
  return values.map((value) => {
    const [digit = "", power = ""] = value.toExponential().split("e");
    return { value, isLabelled: labelled.includes(Number(digit)) && Number(power) % stride === 0 };
  });
}

function roundTicks(low: number, high: number, most: number): Tick[] {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((digit) => digit * power >= rough) ?? 10);
  const ticks: Tick[] = [];
  for (let count = Math.ceil(low / step); count * step <= high && ticks.length < MOST_TICKS; count += 1) {
    ticks.push({ value: Number((count * step).toPrecision(12)), isLabelled: true });
  }
  return ticks;
}
