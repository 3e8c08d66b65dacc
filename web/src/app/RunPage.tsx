/** One run: what it is, its charts, its summary and config. */
import { Link, useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { isGone } from "../api/client";
import { numberKeys, useRun, useRunKeys, useSeriesStore } from "../api/queries";
import { Crosshair } from "../charts/crosshair";
import { PanelGrid } from "../features/panels/PanelGrid";
import { chartedKeys, hiddenNames } from "../features/panels/sections";
import { colorOf, dashOf } from "../features/runs/colors";
import { RunHead } from "../features/runs/RunHead";
import { RunTables } from "../features/runs/RunTables";
import { Notice, useIsDark } from "../ui/parts";
import { KeysNote, useMetrics } from "./metrics";
import { useView } from "./useView";

const UNBROKEN: readonly number[] = [];

interface RunPageProps {
  readonly owner: string;
  readonly project: string;
  readonly run: string;
}

export function RunPage({ owner, project, run: id }: RunPageProps) {
  const [view, onView] = useView();
  const navigate = useNavigate();
  const run = useRun(owner, project, id);
  const store = useSeriesStore(owner, project);
  const [crosshair] = useState(() => new Crosshair());
  const isDark = useIsDark();
  const color = run.data === undefined ? "" : colorOf(run.data, isDark);
  const dash = run.data === undefined ? UNBROKEN : dashOf(run.data);
  const name = run.data?.name ?? "";
  const runs = useMemo(() => [{ id, name, color, dash, members: [] }], [id, name, color, dash]);
  const definitions = run.data?.definitions;
  const own = useRunKeys(owner, project, id);
  const metrics = useMetrics(owner, project, id, own.data, view.filter);
  const charted = useMemo(
    () => definitions && metrics.keys && chartedKeys(numberKeys(metrics.keys), hiddenNames([definitions])),
    [metrics.keys, definitions],
  );
  if (run.error !== null && (run.data === undefined || isGone(run.error))) {
    return (
      <Notice title="This run cannot be shown">
        <p>{run.error.message}</p>
        {!isGone(run.error) && <p>If its program runs now, it appears here by itself when its first points arrive.</p>}
        <p><Link to="/$owner/$project" params={{ owner, project }} className="link">All runs of {project}</Link></p>
      </Notice>
    );
  }
  return (
    <div className="run-page">
      <title>{`${run.data?.name ?? id} · Runlore`}</title>
      {run.data === undefined ? (
        <header className="run-head"><i className="skeleton" style={{ width: 220, height: 20 }} /></header>
      ) : (
        <RunHead
          run={run.data}
          onDeleted={() => void navigate({ to: "/$owner/$project", params: { owner, project }, replace: true })}
          parentLink={(parent) => <Link to="/$owner/$project/runs/$run" params={{ owner, project, run: parent }} className="link">{parent}</Link>}
        />
      )}
      <div className="run-body">
        <main className="main">
          {metrics.cut !== null && <KeysNote of="run" cut={metrics.cut} />}
          {own.error !== null && own.data === undefined ? (
            <Notice title="Its charts cannot be shown"><p>{own.error.message}</p></Notice>
          ) : (
            <PanelGrid
              keys={charted}
              isSearching={metrics.cut?.state === "searching"}
              runs={runs}
              view={view}
              onView={onView}
              store={store}
              crosshair={crosshair}
            />
          )}
        </main>
        {run.data !== undefined && <RunTables run={run.data} />}
      </div>
    </div>
  );
}
