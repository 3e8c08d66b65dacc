/** Where sections and their panels stand on a page, so that only those near the window are made. */
import type { Section } from "./sections";

const HEAD_PX = 32;
const GAP_PX = 8;
/** A panel and the gap below it. */
const ROW_PX = 236;
const MORE_PX = 40;
const APART_PX = 16;
/** More panels than anyone scrolls through wait behind a button. */
const FIRST_PANELS = 60;

export interface PlacedSection {
  readonly section: Section;
  readonly top: number;
  readonly height: number;
  readonly isFolded: boolean;
  /** The panels that it shows, row by row, each row from the left. */
  readonly rows: readonly (readonly string[])[];
  /** How many more there are. */
  readonly rest: number;
}

export interface Layout {
  readonly sections: readonly PlacedSection[];
  readonly height: number;
}

/** Which sections are folded, and which show all of their panels. */
export interface Shown {
  readonly folded: ReadonlySet<string>;
  readonly whole: ReadonlySet<string>;
}

/** How a folded section is named in the URL, where an empty name is none. */
export function foldedName(section: Section): string {
  return section.id === "" ? "/" : section.id;
}

export function layOut(sections: readonly Section[], columns: number, { folded, whole }: Shown): Layout {
  let top = 0;
  const placed = sections.map((section): PlacedSection => {
    const isFolded = folded.has(foldedName(section));
    const groups = isFolded ? [] : whole.has(section.id) ? section.groups : firstGroups(section.groups);
    const rows = rowsOf(groups, columns);
    const rest = isFolded ? 0 : section.size - groups.reduce((sum, group) => sum + group.length, 0);
    const height = HEAD_PX + (isFolded ? 0 : heightOf(rows.length)) + (rest > 0 ? MORE_PX : 0);
    const made = { section, top, height, isFolded, rows, rest };
    top += height + APART_PX;
    return made;
  });
  return { sections: placed, height: Math.max(0, top - APART_PX) };
}

/** The sections that touch a part of the page. */
export function sectionsWithin({ sections }: Layout, from: number, to: number): readonly PlacedSection[] {
  let [low, high] = [0, sections.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const section = sections[middle];
    if (section !== undefined && section.top + section.height < from) low = middle + 1;
    else high = middle;
  }
  let last = low;
  while ((sections[last]?.top ?? Number.POSITIVE_INFINITY) <= to) last += 1;
  return sections.slice(low, last);
}

/** The half-open span of a section's rows that touch a part of the page. */
export function rowsWithin({ top, rows }: PlacedSection, from: number, to: number): readonly [first: number, last: number] {
  const begin = top + HEAD_PX + GAP_PX;
  const inside = (row: number): number => Math.max(0, Math.min(rows.length, row));
  return [inside(Math.floor((from - begin) / ROW_PX)), inside(Math.ceil((to - begin) / ROW_PX))];
}

/** How far below the head of its section a row stands. */
export function topOfRow(row: number): number {
  return GAP_PX + row * ROW_PX;
}

/** How tall some rows are together, with the gap above them. */
export function heightOf(rows: number): number {
  return topOfRow(rows) - GAP_PX;
}


/** Panels that share a leaf stand in one row, or in rows of their own where there are too many. */
function rowsOf(groups: Section["groups"], columns: number): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const group of groups) {
    if (row.length + group.length > columns && row.length > 0) {
      rows.push(row);
      row = [];
    }
    for (const metric of group) {
      if (row.length === columns) {
        rows.push(row);
        row = [];
      }
      row.push(metric);
    }
    if (group.length > columns) {
      rows.push(row);
      row = [];
    }
  }
  if (row.length > 0) rows.push(row);
  return rows;
}

/** A group is torn apart only where it alone is too many. */
function firstGroups(groups: Section["groups"]): Section["groups"] {
  let panels = 0;
  const last = groups.findIndex((group) => (panels += group.length) > FIRST_PANELS);
  if (last === 0) return groups.slice(0, 1).map((group) => group.slice(0, FIRST_PANELS));
  return last === -1 ? groups : groups.slice(0, last);
}
