/** A project: its runs on the left, their charts beside them. */
import { Link } from "@tanstack/react-router";
import { useEffect, useMemo, useState } from "react";

import { ApiError } from "../api/client";
import type { Run, RunKey } from "../api/nouns";
import { numberKeys, type RunsAsked, useKeys, useRuns, useSeriesStore } from "../api/queries";
import { Crosshair } from "../charts/crosshair";
import { PanelGrid } from "../features/panels/PanelGrid";
import { chartedKeys, hiddenNames } from "../features/panels/sections";
import type { PanelRun } from "../features/panels/source";
import { colorOf, dashOf } from "../features/runs/colors";
import { GroupChoice, GroupLegend } from "../features/runs/GroupChoice";
import { groupsOf, MOST_GROUPS, type RunGroup } from "../features/runs/groups";
import { RunList } from "../features/runs/RunList";
import type { RunLine } from "../features/runs/RunRow";
import { formatCount } from "../lib/format";
import { searchFor } from "../lib/matcher";
import { MOST_RUNS, shownRuns, type View, type ViewChange } from "../lib/view";
import { type Command, useCommands } from "../ui/commands";
import { Icon, Notice, useIsDark, useMedia } from "../ui/parts";
import { KeysNote, useMetrics } from "./metrics";
import { useView } from "./useView";

const LIST_PX = 296;
const COLUMN_PX = 88;

interface ProjectPageProps {
  readonly owner: string;
  readonly project: string;
}

export function ProjectPage({ owner, project }: ProjectPageProps) {
  const [view, onView] = useView();
  const isNarrow = useMedia("(max-width: 760px)");
  const [isListOpen, setListOpen] = useState<boolean | null>(null);
  const isListShown = isListOpen ?? !isNarrow;
  const asked = { search: searchFor(view.search), state: view.state, filter: view.where, sort: view.sort };
  const { runs, refused } = useGoodRuns(owner, project, asked);
  const first = useKeys(owner, project);
  const metrics = useMetrics(owner, project, null, first.data && { keys: first.data.keys, more: first.data.next !== null }, view.filter);
  const store = useSeriesStore(owner, project);
  const [crosshair] = useState(() => new Crosshair());
  const all = useMemo(() => runs.data?.pages.flatMap((page) => page.runs) ?? [], [runs.data]);
  const isDark = useIsDark();
  const shown = useMemo(() => shownRuns(all, view), [all, view]);
  const groups = useMemo(() => (view.by === "" ? null : groupsOf(shown, view.by, isDark)), [shown, view.by, isDark]);
  const lines = useLines(shown, groups, isDark);
  const lineOf = useMemo(() => lineFinder(groups, isDark), [groups, isDark]);
  const { hasNextPage, isFetching, dataUpdatedAt, fetchNextPage } = runs;
  const isShort = hasNextPage && !isFetching && all.length < view.most + view.hidden.length;
  useEffect(() => {
    if (isShort) void fetchNextPage();
    // `dataUpdatedAt`: an answer that pushed the next page aside may be there before the next render.
  }, [isShort, dataUpdatedAt, fetchNextPage]);
  const charted = useCharted(metrics.keys, all);
  useCommands(
    useMemo<Command[]>(
      () => [
        { name: "Show or hide the run list", key: "b", run: () => { setListOpen(!isListShown); } },
        { name: "Show all runs in the charts", key: "a", run: () => { onView({ hidden: [], only: [] }); } },
      ],
      [isListShown, onView],
    ),
  );
  const error = runs.error ?? first.error;
  if (error !== null && runs.data === undefined && refused === null) {
    return (
      <Notice title={`${project} cannot be shown`}>
        <p>{error.message}</p>
        {error instanceof ApiError && error.status === 404 && <p>It appears here by itself when its first points arrive.</p>}
        <p><Link to="/" className="link">All projects</Link></p>
      </Notice>
    );
  }
  const total = runs.data?.pages[0]?.total ?? 0;
  return (
    <div
      className={isListShown ? "project" : "project is-wide"}
      style={isListShown && !isNarrow ? { gridTemplateColumns: `min(50vw, ${String(LIST_PX + COLUMN_PX * view.columns.length)}px) minmax(0, 1fr)` } : undefined}
    >
      <title>{`${project} · Runlore`}</title>
      <button className="button quiet list-button" aria-expanded={isListShown} onClick={() => { setListOpen(!isListShown); }}>
        <Icon name="list" /> {isListShown ? "Hide runs" : "Runs"}
      </button>
      {isListShown && (
        <RunList
          owner={owner}
          project={project}
          fault={refused}
          runs={all}
          total={total}
          shown={shown.length}
          isLoading={runs.data === undefined && refused === null}
          hasMore={runs.hasNextPage && !runs.isFetchingNextPage}
          onMore={() => void runs.fetchNextPage()}
          view={view}
          onView={onView}
          crosshair={crosshair}
          lineOf={lineOf}
          link={(run, children) => (
            <Link to="/$owner/$project/runs/$run" params={{ owner, project, run: run.id }} className="run-link">{children}</Link>
          )}
        />
      )}
      <main className="main">
        {shown.length === view.most && total > view.most && <MostNote view={view} onView={onView} />}
        {refused !== null && runs.data === undefined ? (
          <RefusedNotice fault={refused} view={view} onView={onView} />
        ) : (
          <>
            {metrics.cut !== null && <KeysNote of="project" cut={metrics.cut} />}
            <PanelGrid
              keys={charted}
              isSearching={metrics.cut?.state === "searching"}
              runs={lines}
              view={view}
              onView={onView}
              store={store}
              crosshair={crosshair}
              tools={<GroupChoice owner={owner} project={project} view={view} onView={onView} />}
              legend={groups !== null && <GroupLegend by={view.by} groups={groups} crosshair={crosshair} />}
            />
          </>
        )}
      </main>
    </div>
  );
}

function MostNote({ view, onView }: { readonly view: View; readonly onView: ViewChange }) {
  return (
    <p className="note">
      The charts show the {view.sort === "" ? "newest" : "first"} {formatCount(view.most)} runs of this list.{" "}
      {view.most < MOST_RUNS && (
        <>
          <button className="link" onClick={() => { onView({ most: MOST_RUNS }); }}>Show up to {formatCount(MOST_RUNS)}</button>{". "}
        </>
      )}
      Search, sort, or pick runs alone, to see others.
    </p>
  );
}

/** The runs that are asked for, or while the server refuses the question, those of the last good one; and why it does. */
function useGoodRuns(owner: string, project: string, asked: RunsAsked) {
  const [good, setGood] = useState(asked);
  const runs = useRuns(owner, project, asked);
  const before = useRuns(owner, project, good);
  const { error } = runs;
  const refused = error instanceof ApiError && error.status === 400 && asked.filter + asked.sort + asked.search !== "" ? error.message : null;
  if (runs.isSuccess && !runs.isPlaceholderData && JSON.stringify(good) !== JSON.stringify(asked)) setGood(asked);
  return { runs: refused !== null && before.data !== undefined ? before : runs, refused };
}

/** The keys that have panels; the same array as long as no run hides another one. */
function useCharted(keys: readonly RunKey[] | undefined, runs: readonly Run[]): readonly string[] | undefined {
  const names = JSON.stringify(hiddenNames(runs.map((run) => run.definitions)));
  // eslint-disable-next-line react-hooks/exhaustive-deps -- `names` is what is hidden, compared by value
  return useMemo(() => keys && chartedKeys(numberKeys(keys), hiddenNames(runs.map((run) => run.definitions))), [keys, names]);
}

/** Stands for the charts where the server refuses the question and there were no runs before. */
function RefusedNotice({ fault, view, onView }: { readonly fault: string; readonly view: View; readonly onView: ViewChange }) {
  const { where, sort } = view;
  const what = where !== "" ? (sort === "" ? "filter" : "filter or order") : sort === "" ? "search" : "order";
  return (
    <Notice title={`The ${what} cannot be read`}>
      <p>{fault}</p>
      <button className="button" onClick={() => { onView(what === "search" ? { search: "" } : { where: "", sort: "" }); }}>Clear the {what}</button>
    </Notice>
  );
}

/** The lines of the charts; the same array as long as nothing that a chart shows has changed. */
function useLines(shown: readonly Run[], groups: readonly RunGroup[] | null, isDark: boolean): readonly PanelRun[] {
  const lines =
    groups?.slice(0, MOST_GROUPS) ??
    shown.map((run) => ({ id: run.id, name: run.name, color: colorOf(run, isDark), dash: dashOf(run), members: [] }));
  const name = JSON.stringify(lines);
  // eslint-disable-next-line react-hooks/exhaustive-deps -- `name` is `lines`, compared by value
  return useMemo(() => lines, [name]);
}

/** Finds the line of a run: that of its group, as long as the charts show groups. */
function lineFinder(groups: readonly RunGroup[] | null, isDark: boolean): (run: Run) => RunLine {
  const byRun = new Map(groups?.flatMap((group) => group.members.map((run) => [run, group])));
  return (run) => byRun.get(run.id) ?? { id: run.id, color: colorOf(run, isDark), dash: dashOf(run) };
}
