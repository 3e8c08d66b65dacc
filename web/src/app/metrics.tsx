/** The metrics of a page: the first by name, and where there are more, those that the panel filter finds. */
import { useMemo } from "react";

import { useFoundKeys } from "../api/queries";
import type { RunKey } from "../api/nouns";
import { formatCount } from "../lib/format";
import { searchFor } from "../lib/matcher";

interface Listed {
  readonly keys: readonly RunKey[];
  readonly more: boolean;
}

/** How far a page is beyond its first metrics. */
interface Cut {
  readonly first: number;
  readonly state: "unasked" | "searching" | "found" | "many" | "refused";
  readonly fault: string;
}

interface Metrics {
  /** The same array as long as nothing comes or goes. */
  readonly keys: readonly RunKey[] | undefined;
  /** Null where the first metrics are all. */
  readonly cut: Cut | null;
}

/** `run` is null for those of all runs of the project. */
export function useMetrics(owner: string, project: string, run: string | null, first: Listed | undefined, filter: string): Metrics {
  const search = first?.more === true ? searchFor(filter) : "";
  const found = useFoundKeys(owner, project, run, search);
  const [known, more] = [first?.keys, search === "" ? undefined : found.data?.keys];
  const keys = useMemo(() => withMore(known, more), [known, more]);
  const count = useMemo(() => new Set(known?.map(({ key }) => key)).size, [known]);
  if (first?.more !== true) return { keys, cut: null };
  const state =
    search === "" ? "unasked" : found.error !== null ? "refused" : found.data === undefined || found.isPlaceholderData ? "searching" : found.data.more ? "many" : "found";
  return { keys, cut: { first: count, state, fault: found.error?.message ?? "" } };
}

function withMore(known: readonly RunKey[] | undefined, more: readonly RunKey[] | undefined): readonly RunKey[] | undefined {
  if (known === undefined || more === undefined) return known;
  const names = new Set(known.map(({ key }) => key));
  const others = more.filter(({ key }) => !names.has(key));
  return others.length === 0 ? known : [...known, ...others];
}

export function KeysNote({ of, cut }: { readonly of: "project" | "run"; readonly cut: Cut }) {
  const first = formatCount(cut.first);
  return (
    <p className="note" aria-live="polite">
      {cut.state === "unasked" && `This ${of} has more metrics than fit on a page: there are charts of the first ${first} by name. Type in the panel filter to find others.`}
      {cut.state === "searching" && `Searching all metrics of this ${of} …`}
      {cut.state === "found" && `The filter has searched all metrics of this ${of}, those behind the first ${first} too.`}
      {cut.state === "many" && `The filter finds more metrics of this ${of} than fit on a page: there are charts of the first by name. Narrow it to find others.`}
      {cut.state === "refused" && `The filter searches only the first ${first} metrics of this ${of} by name. ${cut.fault}`}
    </p>
  );
}
