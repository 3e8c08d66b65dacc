/** Which panels stand together: sections by key prefix, prefixes with leaves in common joined. */

export interface Section {
  /** The first of its prefixes: stable as long as that one is logged. */
  readonly id: string;
  readonly prefixes: readonly string[];
  /** Keys that share a leaf: they stand side by side. */
  readonly groups: readonly (readonly string[])[];
  readonly size: number;
}

/** More sections of a single panel than these are one: each would take a row for itself. */
const MOST_SINGLE = 4;
const ORDER = ["train", "training", "fit", "val", "valid", "validation", "eval", "dev", "test"];
/** What keys without a prefix stand under. */
const ROOT = "Metrics";
const collator = new Intl.Collator("en", { numeric: true });

/** Keys as sections have them, nearly: what is in order is put in order again at little cost. */
export function keysInOrder(keys: readonly string[]): string[] {
  return [...keys].sort((a, b) => collator.compare(leafOf(a), leafOf(b)) || comparePrefixes(prefixOf(a), prefixOf(b)));
}

/** Arranges keys in sections; the order is the same whatever order the keys come in. */
export function sectionsOf(keys: readonly string[]): Section[] {
  const prefixes = [...new Set(keys.map(prefixOf))].sort(comparePrefixes);
  const root = new Map(prefixes.map((prefix) => [prefix, prefix]));
  const find = (prefix: string): string => {
    let top = prefix;
    for (let parent = root.get(top) ?? top; parent !== top; parent = root.get(top) ?? top) top = parent;
    // Next time the way is short: a chain may be as long as there are prefixes.
    for (let each = prefix; each !== top; ) {
      const parent = root.get(each) ?? top;
      root.set(each, top);
      each = parent;
    }
    return top;
  };
  const firstWithLeaf = new Map<string, string>();
  for (const key of keys) {
    const [mine, first] = [find(prefixOf(key)), firstWithLeaf.get(leafOf(key))];
    if (first === undefined) firstWithLeaf.set(leafOf(key), mine);
    else if (find(first) !== mine) join(root, find(first), mine);
  }
  const members = new Map<string, string[]>();
  for (const key of keys) {
    addTo(members, find(prefixOf(key)), key);
  }
  const sections = gathered([...members.values()].map(sectionOf));
  return sections.sort((a, b) => rank(a.id) - rank(b.id) || Number(isGathered(a)) - Number(isGathered(b)) || comparePrefixes(a.id, b.id));
}

/** Many sections of one panel are one section, as training, evaluation and everything else stand apart. */
function gathered(sections: readonly Section[]): Section[] {
  const kept: Section[] = [];
  const singles = new Map<number, Section[]>();
  for (const section of sections) {
    if (section.size > 1 || section.id === "") kept.push(section);
    else addTo(singles, rank(section.id), section);
  }
  for (const some of singles.values()) {
    if (some.length <= MOST_SINGLE) {
      kept.push(...some);
      continue;
    }
    some.sort((a, b) => comparePrefixes(a.id, b.id));
    const prefixes = some.map((section) => section.id);
    kept.push({ id: prefixes[0] ?? "", prefixes, groups: some.flatMap((section) => section.groups), size: some.length });
  }
  return kept;
}

/** Whether a section holds prefixes that have nothing in common: it stands behind the others. */
function isGathered({ prefixes, groups }: Section): boolean {
  return prefixes.length > 1 && groups.every((group) => group.length === 1);
}

/**
 * How many columns all sections of a page take, at most `most`: an even number where keys stand
 * in pairs, so that no pair is torn apart and every panel is as large as every other.
 */
export function columnsFor(sections: readonly Section[], most: number): number {
  const hasPairs = sections.some((section) => section.groups.some((group) => group.length % 2 === 0));
  return hasPairs && most > 1 ? most - (most % 2) : Math.max(1, most);
}

interface Definition {
  readonly metric: string;
  readonly hidden: boolean;
}

/** The names, some with a star at their end, that some run has defined as hidden. */
export function hiddenNames(definitions: readonly (readonly Definition[])[]): string[] {
  return [...new Set(definitions.flat().flatMap((each) => (each.hidden ? [each.metric] : [])))].sort();
}

/** The keys that have a panel: those that no run has defined as hidden. */
export function chartedKeys(keys: readonly string[], hidden: readonly string[]): string[] {
  const names = new Set(hidden);
  const prefixes = hidden.flatMap((name) => (name.endsWith("*") ? [name.slice(0, -1)] : []));
  return keys.filter((key) => !names.has(key) && !prefixes.some((prefix) => key.startsWith(prefix)));
}

export function prefixOf(key: string): string {
  return key.includes("/") ? key.slice(0, key.lastIndexOf("/")) : "";
}

export function leafOf(key: string): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

/** The names of a section's prefixes, as many as are told, and how many are not. */
export function namesOf(section: Section): readonly [names: readonly string[], more: number] {
  const names = section.prefixes.map((prefix) => (prefix === "" ? ROOT : isMistakable(prefix) ? `${prefix}/` : prefix));
  return names.length <= 4 ? [names, 0] : [names.slice(0, 3), names.length - 3];
}

/** Whether a prefix reads as nothing, or as that of the keys without one. */
function isMistakable(prefix: string): boolean {
  return prefix === ROOT || /^\/*$/.test(prefix);
}

function sectionOf(keys: readonly string[]): Section {
  const prefixes = [...new Set(keys.map(prefixOf))].sort(comparePrefixes);
  const byLeaf = new Map<string, string[]>();
  for (const key of keys) addTo(byLeaf, leafOf(key), key);
  const leaves = [...byLeaf.keys()].sort(collator.compare);
  const groups = leaves.map((leaf) => (byLeaf.get(leaf) ?? []).sort((a, b) => comparePrefixes(prefixOf(a), prefixOf(b))));
  return { id: prefixes[0] ?? "", prefixes, groups, size: keys.length };
}

function addTo<Name, Item>(lists: Map<Name, Item[]>, name: Name, item: Item): void {
  const list = lists.get(name);
  if (list === undefined) lists.set(name, [item]);
  else list.push(item);
}

function join(root: Map<string, string>, a: string, b: string): void {
  const [low, high] = comparePrefixes(a, b) < 0 ? [a, b] : [b, a];
  root.set(high, low);
}

/** Keys without a prefix first, then training before evaluation, then by name; the system last. */
function comparePrefixes(a: string, b: string): number {
  return rank(a) - rank(b) || collator.compare(a, b);
}

function rank(prefix: string): number {
  if (prefix === "") return -1;
  const [first = ""] = prefix.split("/");
  if (first === "system") return ORDER.length + 1;
  const known = ORDER.indexOf(first.toLowerCase());
  return known === -1 ? ORDER.length : known;
}
