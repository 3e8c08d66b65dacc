/** A JSON value as the server sends it, once numbers that JSON cannot hold are numbers again. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

export interface Leaf {
  readonly key: string;
  readonly value: JsonValue;
}

/** The leaves of a nested object, their keys joined with `/`; an empty object is a leaf. */
export function flatten(value: { readonly [key: string]: JsonValue }, prefix = ""): Leaf[] {
  return Object.entries(value).flatMap(([name, child]) => {
    const key = prefix === "" ? name : `${prefix}/${name}`;
    return isObject(child) && Object.keys(child).length > 0 ? flatten(child, key) : [{ key, value: child }];
  });
}

export function isObject(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
