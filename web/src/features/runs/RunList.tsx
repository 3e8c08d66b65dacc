/** The runs of a project: search, state, visibility; drawn in part only, so thousands are fine. */
import { type ReactNode, useEffect } from "react";

import type { Run } from "../../api/nouns";
import type { Crosshair } from "../../charts/crosshair";
import { keyColumn, sortAfter } from "../../lib/columns";
import { formatCount } from "../../lib/format";
import { matcherOf } from "../../lib/matcher";
import { type View, type ViewChange, visibility } from "../../lib/view";
import { readableText } from "../../lib/readable";
import { Notice, SearchBox } from "../../ui/parts";
import { useWindow } from "../../ui/useWindow";
import { ColumnPicker } from "./ColumnPicker";
import { RunFilter } from "./RunFilter";
import { type RunLine, RunRow } from "./RunRow";

const ROW_PX = 28;
const STATES = ["running", "finished", "failed", "crashed"] as const;

interface RunListProps {
  readonly owner: string;
  readonly project: string;
  readonly runs: readonly Run[];
  readonly total: number;
  readonly shown: number;
  readonly isLoading: boolean;
  /** Why the server refuses the filter, the order or the search, or null. */
  readonly fault: string | null;
  readonly hasMore: boolean;
  readonly onMore: () => void;
  readonly view: View;
  readonly onView: ViewChange;
  readonly crosshair: Crosshair;
  /** The line of a run in the charts: its own, or that of its group. */
  readonly lineOf: (run: Run) => RunLine;
  readonly link: (run: Run, children: ReactNode) => ReactNode;
}

export function RunList(props: RunListProps) {
  const { runs, total, shown, view, onView } = props;
  const isOfSearch = view.where + view.sort === "";
  const isAllShown = view.hidden.length === 0 && view.only.length === 0;
  return (
    <aside className="runs" aria-label="Runs">
      <div className="runs-head">
        <SearchBox
          id="run-search"
          label="Search runs"
          value={view.search}
          fault={matcherOf(view.search).fault ?? (isOfSearch ? props.fault : null)}
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
      <div className="runs-head">
        <RunFilter
          value={view.where}
          fault={isOfSearch ? null : props.fault}
          onChange={(where) => { onView({ where }); }}
          onClear={() => { onView(props.fault === null ? { where: "" } : { where: "", sort: "" }); }}
        />
        <ColumnPicker
          owner={props.owner}
          project={props.project}
          chosen={view.columns}
          onChange={(columns) => { onView({ columns }); }}
        />
      </div>
      <div className="runs-count muted" aria-live="polite" hidden={props.fault !== null && runs.length === 0}>
        <span className="num">{formatCount(total)} {total === 1 ? "run" : "runs"}</span>
        <span className="num">
          {formatCount(shown)} in charts{view.hidden.length > 0 && view.only.length === 0 && `, ${formatCount(view.hidden.length)} hidden`}
          {!isAllShown && (
            <button className="link" onClick={() => { onView({ hidden: [], only: [] }); }}>Show all</button>
          )}
        </span>
      </div>
      {props.fault !== null && runs.length === 0 ? null : runs.length === 0 && !props.isLoading ? (
        <Notice title={view.search + view.state + view.where === "" ? "No run yet" : "No run matches"}>
          {view.search + view.state + view.where !== "" && (
            <button className="button" onClick={() => { onView({ search: "", state: "", where: "" }); }}>Clear the search</button>
          )}
        </Notice>
      ) : props.isLoading ? (
        <RowSkeletons />
      ) : (
        <Rows {...props} />
      )}
    </aside>
  );
}

function Rows({ runs, hasMore, onMore, view, onView, crosshair, lineOf, link }: RunListProps) {
  const { scroller, from, to } = useWindow(runs.length, ROW_PX);
  useEffect(() => {
    if (hasMore && to >= runs.length - 8) onMore();
  }, [hasMore, to, runs.length, onMore]);
  const isShown = visibility(view);
  return (
    <div ref={scroller} className="runs-rows">
      <Heads view={view} onView={onView} />
      <div role="list" style={{ height: runs.length * ROW_PX, position: "relative" }}>
        {runs.slice(from, to).map((run, index) => (
          <RunRow
            key={run.id}
            run={run}
            top={(from + index) * ROW_PX}
            isShown={isShown(run.id)}
            line={lineOf(run)}
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

/** The heads of the columns, by which the list is put in order. */
function Heads({ view, onView }: Pick<RunListProps, "view" | "onView">) {
  const head = (column: string, name: string, title: string, className: string) => {
    const order = view.sort === column ? "rising" : view.sort === `-${column}` ? "falling" : "none";
    return (
      <button
        key={column}
        className={className}
        aria-label={`Sort by ${title}${order === "none" ? "" : `, now ${order}`}`}
        aria-pressed={order !== "none"}
        title={`Sort by ${title}`}
        onClick={() => { onView({ sort: sortAfter(view.sort, column) }); }}
      >
        <span>{name}</span>
        {order !== "none" && <i aria-hidden="true">{order === "rising" ? "↑" : "↓"}</i>}
      </button>
    );
  };
  return (
    <div className="run-heads">
      {head("name", "Name", "name", "run-head-name")}
      {view.columns.map((column) => {
        const { source, key } = keyColumn(column) ?? { source: "", key: column };
        return head(column, readableText(key), `${source}.${readableText(key)}`, "run-cell");
      })}
      {head("created_at", "Created", "time", "run-state")}
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
