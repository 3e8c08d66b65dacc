/** Names as people can read them, whatever they hold: what would not be seen is written out. */

export interface Piece {
  readonly text: string;
  /** Whether it stands for something that cannot be seen. */
  readonly isOdd: boolean;
}

/** Control and format characters, separators, private and unassigned ones, and spaces where they vanish. */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}|^ +| +$| {2,}/gu;
const NAMES: Readonly<Record<string, string>> = { "\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r" };
/** Joiners make one letter of several in many scripts, and are seen by what they do. */
const JOINERS = new Set(["\u200c", "\u200d"]);
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
/** A name may be cut in its middle when it is longer; its last letters stay. */
const TAIL = 10;
const LONG = 24;
const letters = new Intl.Segmenter("en");

/** Cuts a name into what can be read as it is and what is written out. */
export function readable(name: string): Piece[] {
  if (name === "") return [{ text: "(empty)", isOdd: true }];
  const pieces: Piece[] = [];
  let at = 0;
  for (const found of name.matchAll(UNSEEN)) {
    const [unseen] = found;
    if (JOINERS.has(unseen) && found.index > 0) continue;
    if (found.index > at) pieces.push({ text: name.slice(at, found.index), isOdd: false });
    pieces.push({ text: writtenOut(unseen), isOdd: true });
    at = found.index + unseen.length;
  }
  if (at < name.length) pieces.push({ text: name.slice(at), isOdd: false });
  return pieces;
}

/** The same as one text, for places that hold nothing else. */
export function readableText(name: string): string {
  return readable(name).map((piece) => piece.text).join("");
}

/**
 * A long name in two parts, of which the second always has room: names differ at their ends.
 *
 * What is written from right to left is one part, as two would stand in the wrong order.
 */
export function headAndTail(name: string): readonly [head: string, tail: string] {
  if (name.length <= LONG || RIGHT_TO_LEFT.test(name)) return [name, ""];
  // A letter may be of many characters, but hardly of more than these.
  const end = [...letters.segment(name.slice(-8 * TAIL))].slice(-TAIL).map((letter) => letter.segment).join("");
  return [name.slice(0, name.length - end.length), end];
}

function writtenOut(unseen: string): string {
  if (unseen.startsWith(" ")) return "␣".repeat(unseen.length);
  const code = unseen.codePointAt(0) ?? 0;
  return NAMES[unseen] ?? `\\u${code > 0xffff ? `{${code.toString(16)}}` : code.toString(16).padStart(4, "0")}`;
}
