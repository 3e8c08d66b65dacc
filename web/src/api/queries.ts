/** Server state as React sees it: one query per question, kept true by the live stream. */
import {
  type QueryClient,
  type QueryKey,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo, useState } from "react";

import { deleteRun, getProject, getRun, listColumns, listKeys, listProjects, listRunKeys, listRuns, type RunEdit, type RunQuery, updateRun } from "./client";
import type { Live } from "./live";
import type { Change, MetricKeys, Run, RunKey, RunPage } from "./nouns";
import { SeriesStore } from "./series";

const RUNS_PER_PAGE = 200;
/** A list that only counts points may lag; one that misses a run may not. */
const SOON_MS = 300;
const LATER_MS = 2_500;
const FOUND_MS = 10_000;

const LiveContext = createContext<Live | null>(null);
export const LiveProvider = LiveContext.Provider;

export function useLive(): Live {
  const live = useContext(LiveContext);
  if (live === null) throw new Error("useLive stands outside of LiveProvider");
  return live;
}

export function useIsAway(): boolean {
  const live = useLive();
  const [isAway, setAway] = useState(live.isAway);
  useEffect(() => live.listen({ onState: setAway }), [live]);
  return isAway;
}

export function useProjects() {
  return useQuery({ queryKey: ["projects"], queryFn: listProjects });
}

export function useProject(owner: string, project: string) {
  return useQuery({
    queryKey: ["project", owner, project],
    queryFn: () => getProject(owner, project),
  });
}

/** Which runs of a project to list, and how. */
export type RunsAsked = Pick<RunQuery, "search" | "state" | "filter" | "sort">;

export function useRuns(owner: string, project: string, asked: RunsAsked) {
  return useInfiniteQuery({
    queryKey: ["runs", owner, project, asked],
    queryFn: ({ pageParam }) => listRuns(owner, project, { ...asked, limit: RUNS_PER_PAGE, cursor: pageParam }),
    initialPageParam: noCursor(),
    getNextPageParam: (page) => page.next,
    placeholderData: (before) => before,
  });
}

export function useColumns(owner: string, project: string) {
  // Runs that finish bring new ones; whoever opens the list sees them.
  return useQuery({ queryKey: ["columns", owner, project], queryFn: () => listColumns(owner, project), staleTime: 0 });
}

export function useRun(owner: string, project: string, run: string) {
  return useQuery({ queryKey: ["run", owner, project, run], queryFn: () => getRun(owner, project, run) });
}

export function useKeys(owner: string, project: string) {
  return useQuery({ queryKey: ["keys", owner, project], queryFn: () => listKeys(owner, project) });
}

/** The keys of a run itself: its project may have many more, its summary leave some out. */
export function useRunKeys(owner: string, project: string, run: string) {
  return useQuery({ queryKey: ["run-keys", owner, project, run], queryFn: () => listRunKeys(owner, project, run) });
}

/**
 * The keys that a search finds in a project, or in one of its runs, where the first are not all:
 * asked only with a search, and those found before stay until the answer is there.
 */
export function useFoundKeys(owner: string, project: string, run: string | null, search: string) {
  return useQuery({
    queryKey: ["found-keys", owner, project, run, search],
    queryFn: async (): Promise<FoundKeys> => {
      if (run !== null) return await listRunKeys(owner, project, run, search);
      const { keys, next } = await listKeys(owner, project, search);
      return { keys, more: next !== null };
    },
    enabled: search !== "",
    placeholderData: (before) => before,
  });
}

interface FoundKeys {
  readonly keys: readonly RunKey[];
  readonly more: boolean;
}

/** The keys that have numbers; one key may have values of several kinds. */
export function numberKeys(keys: readonly RunKey[]): string[] {
  return [...new Set(keys.flatMap(({ key, kind }) => (kind === "string" ? [] : [key])))];
}

/** Edits a run; the page shows the edit at once and the old value again if the server refuses. */
export function useUpdateRun(owner: string, project: string, run: string) {
  const client = useQueryClient();
  const key = ["run", owner, project, run];
  return useMutation({
    mutationFn: (edit: RunEdit) => updateRun(owner, project, run, edit),
    onMutate: (edit) => {
      const before = client.getQueryData<Run>(key);
      if (before !== undefined) client.setQueryData<Run>(key, { ...before, ...edit });
      return { before };
    },
    onError: (_error, _edit, context) => client.setQueryData(key, context?.before),
    onSuccess: (after) => {
      client.setQueryData(key, after);
      void client.invalidateQueries({ queryKey: ["runs", owner, project] });
    },
  });
}

/** Deletes a run for good; lists forget it when the server has. */
export function useDeleteRun(owner: string, project: string, run: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => deleteRun(owner, project, run),
    onSuccess: () => {
      for (const name of ["runs", "project", "keys", "found-keys"]) void client.invalidateQueries({ queryKey: [name, owner, project] });
      void client.invalidateQueries({ queryKey: ["projects"] });
    },
  });
}

export function useSeriesStore(owner: string, project: string): SeriesStore {
  const live = useLive();
  const store = useMemo(() => new SeriesStore(owner, project, live), [owner, project, live]);
  useEffect(() => {
    store.open();
    return () => { store.close(); };
  }, [store]);
  return store;
}

/** Lets live changes refresh what is shown; returns how to stop. */
export function followLive(client: QueryClient, live: Live): () => void {
  const refresh = new Refresher(client);
  const seen = new Set<string>();
  return live.listen({
    onFirst: () => { void catchUp(client, live); },
    onReturn: () => { void renew(client, {}); },
    onChanges: (changes) => {
      for (const change of changes) {
        const name = `${change.owner}/${change.project}/${change.run}`;
        refreshFor(refresh, client, change, !seen.has(name));
        seen.add(name);
      }
    },
  });
}

/**
 * Asks again for what was asked for before the stream stood, and tells of the runs that have
 * grown since: of all others the series are those that the server has.
 */
async function catchUp(client: QueryClient, live: Live): Promise<void> {
  const before = knownRuns(client);
  await renew(client, {});
  const grown = [...knownRuns(client)].flatMap(([name, run]) => {
    const points = before.get(name)?.points;
    const { owner, project, id } = run;
    return points === undefined || points === run.points ? [] : [{ owner, project, run: id, what: ["points" as const] }];
  });
  if (grown.length > 0) live.tell(grown);
}

function knownRuns(client: QueryClient): Map<string, Run> {
  const pages = client.getQueriesData<{ readonly pages: readonly RunPage[] }>({ queryKey: ["runs"] });
  const listed = pages.flatMap(([, data]) => data?.pages.flatMap((page) => page.runs) ?? []);
  const opened = client.getQueriesData<Run>({ queryKey: ["run"] }).flatMap(([, run]) => run ?? []);
  return new Map([...listed, ...opened].map((run) => [`${run.owner}/${run.project}/${run.id}`, run]));
}

function refreshFor(refresh: Refresher, client: QueryClient, change: Change, isFirst: boolean): void {
  const { owner, project, run, what } = change;
  const isNews = isFirst || what.includes("run") || what.includes("deleted");
  const pause = isNews ? SOON_MS : LATER_MS;
  refresh.ask(["projects"], pause);
  refresh.ask(["project", owner, project], pause);
  // All pages of a list are asked for again: far down a long one not as often.
  refresh.ask(["runs", owner, project], pause * Math.max(1, pagesOf(client, owner, project)));
  refresh.ask(["keys", owner, project], hasKeys(client, owner, project) ? pause : SOON_MS);
  // A search through all keys costs more than their first page.
  refresh.ask(["found-keys", owner, project], FOUND_MS);
  refresh.ask(["run-keys", owner, project, run], isFirst ? SOON_MS : LATER_MS);
  refresh.ask(["run", owner, project, run], isNews ? SOON_MS : 1_000);
}

function pagesOf(client: QueryClient, owner: string, project: string): number {
  const lists = client.getQueriesData<{ readonly pages: readonly RunPage[] }>({ queryKey: ["runs", owner, project], type: "active" });
  return lists.reduce((most, [, data]) => Math.max(most, data?.pages.length ?? 0), 0);
}

function hasKeys(client: QueryClient, owner: string, project: string): boolean {
  return (client.getQueryData<MetricKeys>(["keys", owner, project])?.keys.length ?? 0) > 0;
}

/** Invalidates each query at once when asked, then at most once per pause. */
class Refresher {
  readonly #client: QueryClient;
  readonly #last = new Map<string, number>();
  readonly #planned = new Map<string, { at: number; timer: ReturnType<typeof setTimeout> }>();

  constructor(client: QueryClient) {
    this.#client = client;
  }

  ask(queryKey: QueryKey, pause: number): void {
    const name = JSON.stringify(queryKey);
    const now = performance.now();
    const at = Math.max(now, (this.#last.get(name) ?? Number.NEGATIVE_INFINITY) + pause);
    const planned = this.#planned.get(name);
    if (planned !== undefined && planned.at <= at) return;
    clearTimeout(planned?.timer);
    const timer = setTimeout(() => {
      this.#planned.delete(name);
      this.#last.set(name, performance.now());
      void renew(this.#client, { queryKey });
    }, at - now);
    this.#planned.set(name, { at, timer });
  }
}

/**
 * Asks again for what is shown.
 *
 * An invalidation joins a first answer that is on its way, which may be older than the change:
 * such a question is asked once more when that answer is there.
 */
export async function renew(client: QueryClient, filter: { readonly queryKey?: QueryKey }): Promise<void> {
  const first = client.getQueryCache().findAll({ ...filter, fetchStatus: "fetching" }).filter((query) => query.state.data === undefined);
  const renewed = client.invalidateQueries(filter);
  await Promise.all(
    first.map(async (query) => {
      await query.promise?.catch(() => undefined);
      await client.invalidateQueries({ queryKey: query.queryKey, exact: true });
    }),
  );
  await renewed;
}

function noCursor(): string | null {
  return null;
}
