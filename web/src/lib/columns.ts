/** Columns of the run list: keys of config and summary, named as a filter of the server names them. */
import { isObject, type JsonValue } from "./flatten";

export interface KeyColumn {
  readonly source: "config" | "summary";
  /** Nested keys joined with `/`. */
  readonly key: string;
}

/** Reads `config.lr`, `config.model.depth` or `summary."train/loss"`; null where it is none of them. */
export function keyColumn(column: string): KeyColumn | null {
  const found = /^(config|summary)\.(.+)$/s.exec(column);
  const [, source, rest = ""] = found ?? [];
  if (source !== "config" && source !== "summary") return null;
  const quoted = /^"(.*)"$/s.exec(rest)?.[1];
  return { source, key: quoted === undefined ? rest.replaceAll(".", "/") : quoted.replaceAll('""', '"') };
}

/** What a document holds under a key whose parts are joined with `/`, whichever of them are nested. */
export function valueAt(document: JsonValue, key: string): JsonValue | undefined {
  if (!isObject(document)) return undefined;
  if (Object.hasOwn(document, key)) return document[key];
  for (let at = key.indexOf("/"); at !== -1; at = key.indexOf("/", at + 1)) {
    const child = document[key.slice(0, at)];
    const value = child === undefined ? undefined : valueAt(child, key.slice(at + 1));
    if (value !== undefined) return value;
  }
  return undefined;
}

/** The order after a click on a column's head: rising, falling, and the list's own again. */
export function sortAfter(sort: string, column: string): string {
  return sort === column ? `-${column}` : sort === `-${column}` ? "" : column;
}
