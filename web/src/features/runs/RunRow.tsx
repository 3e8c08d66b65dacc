/** One run in the list: its mark switches it in the charts, its name opens it. */
import type { ReactNode } from "react";

import type { Run } from "../../api/nouns";
import type { Crosshair } from "../../charts/crosshair";
import { keyColumn, valueAt } from "../../lib/columns";
import { soloRun, toggleRun, type View, type ViewChange } from "../../lib/view";
import { Ago, Num } from "../../ui/parts";
import { RunMark } from "../../ui/RunMark";

export interface RunLine {
  readonly id: string;
  readonly color: string;
  readonly dash: readonly number[];
}

interface RunRowProps {
  readonly run: Run;
  readonly top: number;
  readonly isShown: boolean;
  readonly line: RunLine;
  readonly view: View;
  readonly onView: ViewChange;
  readonly crosshair: Crosshair;
  readonly link: (run: Run, children: ReactNode) => ReactNode;
}

export function RunRow({ run, top, isShown, line, view, onView, crosshair, link }: RunRowProps) {
  const solo = (): void => { onView(soloRun(view, run.id)); };
  return (
    <div
      role="listitem"
      className={isShown ? "run" : "run is-hidden"}
      style={{ transform: `translateY(${String(top)}px)` }}
      onMouseEnter={() => { if (isShown) crosshair.point({ x: null, run: line.id }); }}
      onMouseLeave={() => { crosshair.leave(); }}
    >
      <button
        className="run-toggle"
        aria-pressed={isShown}
        aria-label={`${run.name}: ${isShown ? "in the charts" : "hidden"}`}
        title={`${isShown ? "Hide" : "Show"} ${run.name} (${run.state}). Alt-click, Alt-Enter or double-click for this one alone.`}
        onClick={(event) => { if (event.altKey) solo(); else if (event.detail < 2) onView(toggleRun(view, run.id)); }}
        onDoubleClick={solo}
        onKeyDown={(event) => {
          if (!event.altKey || event.key !== "Enter") return;
          event.preventDefault();
          solo();
        }}
      >
        <RunMark color={line.color} state={run.state} isShown={isShown} dash={line.dash} />
      </button>
      {link(run, <span className="run-name" title={`${run.name} · ${run.id}`}>{run.name}</span>)}
      {view.columns.map((column) => <Cell key={column} run={run} column={column} />)}
      <span className={`run-state is-${run.state}`}>
        {run.state === "finished" ? <Ago time={run.created_at} /> : run.state}
      </span>
    </div>
  );
}

function Cell({ run, column }: { readonly run: Run; readonly column: string }) {
  const named = keyColumn(column);
  const value = named === null ? undefined : valueAt(run[named.source], named.key);
  if (typeof value === "number") return <span className="run-cell"><Num value={value} /></span>;
  const text = value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
  return <span className="run-cell" title={text}>{text}</span>;
}
