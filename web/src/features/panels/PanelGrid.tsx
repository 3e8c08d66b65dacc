/** The charts of a page in sections, with the controls that hold for all of them. */
import { type ReactNode, useCallback, useMemo, useRef, useState } from "react";

import type { SeriesStore } from "../../api/series";
import type { Crosshair } from "../../charts/crosshair";
import { axisOf, axisText } from "../../lib/axis";
import { matcherOf } from "../../lib/matcher";
import type { View, ViewChange } from "../../lib/view";
import { Notice } from "../../ui/parts";
import { Enlarged } from "./Enlarged";
import { PanelBar } from "./PanelBar";
import { Sections } from "./Sections";
import { columnsFor, keysInOrder, sectionsOf } from "./sections";
import type { PanelInput, PanelRun } from "./source";

const PANEL_MIN_PX = 288;

interface PanelGridProps {
  readonly keys: readonly string[] | undefined;
  /** Whether more keys that the filter finds are on their way. */
  readonly isSearching: boolean;
  readonly runs: readonly PanelRun[];
  readonly view: View;
  readonly onView: ViewChange;
  readonly store: SeriesStore;
  readonly crosshair: Crosshair;
  /** More controls for the bar, and what stands below it. */
  readonly tools?: ReactNode;
  readonly legend?: ReactNode;
}

export function PanelGrid({ keys, isSearching, runs, view, onView, store, crosshair, tools, legend }: PanelGridProps) {
  const { smooth, isLogY, yRange, zoom, filter, band } = view;
  const axisName = axisText(view.x);
  const isLogX = view.isLogX && view.x.kind !== "time";
  const zoomName = zoom === null ? "" : `${String(zoom.start)}..${String(zoom.stop)}`;
  const input = useMemo<PanelInput>(
    () => ({ runs, options: { halfLife: smooth, axis: axisOf(axisName), isLogX, isLogY, yRange }, band, range: rangeOf(zoomName) }),
    [runs, smooth, axisName, isLogX, isLogY, yRange, band, zoomName],
  );
  const matcher = useMemo(() => matcherOf(filter), [filter]);
  const ordered = useMemo(() => keysInOrder(keys ?? []), [keys]);
  const sections = useMemo(() => sectionsOf(ordered.filter(matcher.matches)), [ordered, matcher]);
  const onZoom = useCallback((range: PanelInput["range"]) => { onView({ zoom: range }); }, [onView]);
  const onEnlarge = useCallback((panel: string | null) => { onView({ panel }); }, [onView]);
  const [frame, most] = useMostColumns();
  if (keys === undefined) return <GridSkeleton />;
  if (keys.length === 0) {
    return (
      <Notice title="No numbers yet">
        <p>Charts appear here as soon as a run logs its first number, for example with:</p>
        <pre className="inline-code">run.log({"{"}"train/loss": 0.31{"}"})</pre>
      </Notice>
    );
  }
  return (
    <div ref={frame} className="panels">
      <PanelBar view={view} onView={onView} fault={matcher.fault} keys={keys} tools={tools} />
      {legend}
      {sections.length === 0 && !isSearching && (
        <Notice title="No panel matches">
          <button className="button" onClick={() => { onView({ filter: "" }); }}>Clear the filter</button>
        </Notice>
      )}
      <Sections
        sections={sections}
        columns={columnsFor(sections, most)}
        view={view}
        onView={onView}
        panel={{ input, store, crosshair, onZoom }}
        onEnlarge={onEnlarge}
      />
      {view.panel !== null && keys.includes(view.panel) && (
        <Enlarged metric={view.panel} input={input} store={store} crosshair={crosshair} onZoom={onZoom} onEnlarge={onEnlarge} />
      )}
    </div>
  );
}

/** How many panels fit side by side into the element that gets the ref. */
function useMostColumns() {
  const [most, setMost] = useState(2);
  const observer = useRef<ResizeObserver>(null);
  const frame = useCallback((element: HTMLDivElement | null) => {
    observer.current?.disconnect();
    if (element === null) return;
    const fit = (width: number): void => { setMost(Math.max(1, Math.floor(width / PANEL_MIN_PX))); };
    // Measured before the first frame: panels that change their width are asked for twice.
    const style = getComputedStyle(element);
    fit(element.clientWidth - Number.parseFloat(style.paddingLeft) - Number.parseFloat(style.paddingRight));
    observer.current = new ResizeObserver((entries) => { fit(entries.at(-1)?.contentRect.width ?? 0); });
    observer.current.observe(element);
  }, []);
  return [frame, most] as const;
}

function rangeOf(zoomName: string): PanelInput["range"] {
  const [start, stop] = zoomName.split("..").map(Number);
  return start === undefined || stop === undefined ? null : { start, stop };
}

function GridSkeleton() {
  return (
    <div className="panels" aria-busy="true" aria-label="Loading the charts">
      <div className="panel-bar" />
      <div className="section-head"><i className="skeleton" style={{ width: 120 }} /></div>
      <div className="section-grid" style={{ gridTemplateColumns: "repeat(auto-fill, minmax(300px, 1fr))" }}>
        {["a", "b", "c", "d"].map((name) => (
          <div key={name} className="panel"><div className="panel-head"><i className="skeleton" style={{ width: 90 }} /></div>
            <div className="panel-body"><div className="chart-skeleton" /></div></div>
        ))}
      </div>
    </div>
  );
}
