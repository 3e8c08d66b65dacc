/** What a search box means: a substring without regard to case, or /a regular expression/. */
export interface Matcher {
  readonly matches: (text: string) => boolean;
  /** Why the expression cannot be used, or null. */
  readonly fault: string | null;
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
