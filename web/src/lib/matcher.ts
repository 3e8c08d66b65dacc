/** What a search box means: a substring without regard to case, or /a regular expression/. */
export interface Matcher {
  readonly matches: (text: string) => boolean;
  /** Why the expression cannot be used, or null. */
  readonly fault: string | null;
}

/** What the server understands of a search: an expression that cannot be read is not sent. */
export function searchFor(search: string): string {
  const text = search.trim();
  if (!text.startsWith("/") || text.length < 2) return text;
  return matcherOf(text).fault === null ? `${text.replace(/\/$/, "")}/` : "";
}

export function matcherOf(search: string): Matcher {
  const text = search.trim();
  if (text === "") return { matches: () => true, fault: null };
  const expression = /^\/(.+?)\/?$/.exec(text)?.[1];
  if (expression === undefined) {
    const wanted = text.toLowerCase();
    return { matches: (candidate) => candidate.toLowerCase().includes(wanted), fault: null };
  }
  try {
    const regex = new RegExp(expression, "i");
    return { matches: (candidate) => regex.test(candidate), fault: null };
  } catch {
    return { matches: () => true, fault: `/${expression}/ is not a regular expression` };
  }
}
