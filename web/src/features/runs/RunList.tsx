/** The runs of a project: search, state, visibility; drawn in part only, so thousands are fine. */
import { type ReactNode, useEffect } from "react";

import type { Run } from "../../api/nouns";
import type { Crosshair } from "../../charts/crosshair";
import { formatCount } from "../../lib/format";
import { matcherOf } from "../../lib/matcher";
import { type View, type ViewChange, visibility } from "../../lib/view";
import { Notice, SearchBox } from "../../ui/parts";
import { useWindow } from "../../ui/useWindow";
import { RunRow } from "./RunRow";

const ROW_PX = 28;
const STATES = ["running", "finished", "failed", "crashed"] as const;

interface RunListProps {
  readonly runs: readonly Run[];
  readonly total: number;
  readonly shown: number;
  readonly isLoading: boolean;
  readonly hasMore: boolean;
  readonly onMore: () => void;
  readonly view: View;
  readonly onView: ViewChange;
  readonly crosshair: Crosshair;
  readonly link: (run: Run, children: ReactNode) => ReactNode;
}

export function RunList(props: RunListProps) {
  const { runs, total, shown, view, onView } = props;
  const isAllShown = view.hidden.length === 0 && view.only.length === 0;
  return (
    <aside className="runs" aria-label="Runs">
      <div className="runs-head">
        <SearchBox
          id="run-search"
          label="Search runs"
          value={view.search}
          fault={matcherOf(view.search).fault}
          onChange={(search) => { onView({ search }); }}
        />
        <select
          aria-label="State of the runs"
          value={view.state}
          onChange={(event) => { onView({ state: event.target.value }); }}
        >
          <option value="">Any state</option>
          {STATES.map((state) => <option key={state} value={state}>{sentence(state)}</option>)}
        </select>
      </div>
      <div className="runs-count muted" aria-live="polite">
        <span className="num">{formatCount(total)} {total === 1 ? "run" : "runs"}</span>
        <span className="num">
          {formatCount(shown)} in charts{view.hidden.length > 0 && view.only.length === 0 && `, ${formatCount(view.hidden.length)} hidden`}
          {!isAllShown && (
            <button className="link" onClick={() => { onView({ hidden: [], only: [] }); }}>Show all</button>
          )}
        </span>
      </div>
      {runs.length === 0 && !props.isLoading ? (
        <Notice title="No run matches">
          <button className="button" onClick={() => { onView({ search: "", state: "" }); }}>Clear the search</button>
        </Notice>
      ) : props.isLoading ? (
        <RowSkeletons />
      ) : (
        <Rows {...props} />
      )}
    </aside>
  );
}

function Rows({ runs, hasMore, onMore, view, onView, crosshair, link }: RunListProps) {
  const { scroller, from, to } = useWindow(runs.length, ROW_PX);
  useEffect(() => {
    if (hasMore && to >= runs.length - 8) onMore();
  }, [hasMore, to, runs.length, onMore]);
  const isShown = visibility(view);
  return (
    <div ref={scroller} className="runs-rows">
      <div role="list" style={{ height: runs.length * ROW_PX, position: "relative" }}>
        {runs.slice(from, to).map((run, index) => (
          <RunRow
            key={run.id}
            run={run}
            top={(from + index) * ROW_PX}
            isShown={isShown(run.id)}
            view={view}
            onView={onView}
            crosshair={crosshair}
            link={link}
          />
        ))}
      </div>
    </div>
  );
}

function RowSkeletons() {
  return (
    <div className="runs-rows" aria-busy="true">
      {[70, 52, 64, 45, 76, 58, 49, 68].map((width) => (
        <div key={width} className="skeleton-row"><i className="skeleton" style={{ width: `${String(width)}%` }} /></div>
      ))}
    </div>
  );
}

function sentence(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
