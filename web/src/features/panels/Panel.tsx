/** One chart with its title; out of sight it neither fetches nor draws. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";

import type { SeriesStore } from "../../api/series";
import type { Crosshair } from "../../charts/crosshair";
import { LineChartMount } from "../../charts/line/LineChart";
import { axisName } from "../../lib/axis";
import { plural } from "../../lib/format";
import { readableText } from "../../lib/readable";
import { Icon, LongName, Num } from "../../ui/parts";
import { leafOf, prefixOf } from "./sections";
import { type PanelInput, PanelSource } from "./source";

/** What a chart leaves of a panel to its plot, nearly: the axis takes the rest. */
const AXIS_PX = 54;
/** A panel this near to the window counts as in sight: it is ready when it comes. */
const NEAR_PX = 160;

export interface PanelProps {
  readonly metric: string;
  readonly input: PanelInput;
  readonly store: SeriesStore;
  readonly crosshair: Crosshair;
  readonly onZoom: (range: PanelInput["range"]) => void;
  readonly onEnlarge: () => void;
  readonly isLarge?: boolean;
}

export function Panel({ metric, input, store, crosshair, onZoom, onEnlarge, isLarge = false }: PanelProps) {
  const frame = useRef<HTMLElement>(null);
  // The input goes in by the effect below: a source outlives many of them.
  const [source] = useState(() => new PanelSource(metric, store, input));
  const [wasSeen, setSeen] = useState(false);
  const status = useSyncExternalStore(source.watch, source.status);
  const [isWhole, setWhole] = useState(false);
  const { yRange } = input.options;
  const isCut = yRange === "auto" && status.beyond > 0;
  useEffect(() => {
    source.setInput(isWhole && yRange === "auto" ? { ...input, options: { ...input.options, yRange: "full" } } : input);
  }, [source, input, isWhole, yRange]);
  useLayoutEffect(() => {
    const element = frame.current;
    if (element === null) return;
    const look = (isInSight: boolean): void => {
      source.setInSight(isInSight);
      if (isInSight) setSeen(true);
    };
    // The observer speaks when the frame is painted; series may be on their way by then. Behind
    // this task the page has chosen its columns.
    queueMicrotask(() => {
      const { top, bottom, width } = element.getBoundingClientRect();
      source.foresee(width - AXIS_PX);
      if (element.isConnected && top < innerHeight + NEAR_PX && bottom > -NEAR_PX) look(true);
    });
    const observer = new IntersectionObserver(
      (entries) => { look(entries.at(-1)?.isIntersecting ?? false); },
      { rootMargin: `${String(NEAR_PX)}px` },
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
      source.close();
    };
  }, [source]);
  const events = useMemo(
    () => ({
      onZoom,
      onReset: () => { onZoom(null); },
      onWidth: source.setWidth,
      onBeyond: source.setBeyond,
      isInSight: source.isInSight,
    }),
    [onZoom, source],
  );
  const [prefix, leaf, title] = [prefixOf(metric), leafOf(metric), readableText(metric)];
  return (
    <section ref={frame} className={isLarge ? "panel is-large" : "panel"} data-metric={metric} data-phase={status.phase}>
      <header className="panel-head">
        <h3 title={title}>
          {metric.includes("/") && (
            <span className="panel-prefix">{prefix !== "" && <LongName text={prefix} />}<span className="name-tail">/</span></span>
          )}
          {leaf !== "" && <span className="panel-leaf"><LongName text={leaf} /></span>}
        </h3>
        {(isCut || (isWhole && yRange === "auto")) && (
          <button
            className="panel-note"
            title={isWhole ? "Leave out what flattens the other runs" : "Arrows at the edge show where values leave the range"}
            onClick={() => { setWhole(!isWhole); }}
          >
            {isWhole ? "all values" : `beyond the range: ${plural(status.beyond, "run")}`} · <b>{isWhole ? "fit most" : "show all"}</b>
          </button>
        )}
        <button
          className="button quiet icon-button"
          aria-label={isLarge ? `Close ${title}` : `Enlarge ${title}`}
          title={isLarge ? "Close (Esc)" : "Enlarge"}
          onClick={onEnlarge}
        >
          <Icon name={isLarge ? "close" : "enlarge"} />
        </button>
        {status.note !== null && (
          <span className="panel-note" title="Its points stand in the order of the axis, and a zoom shows no more of them">{status.note}</span>
        )}
        {status.last !== null && <Num value={status.last} />}
      </header>
      <div className="panel-body">
        {wasSeen && (
          <LineChartMount
            label={`${title} by ${axisName(input.options.axis).toLowerCase()}, ${String(input.runs.length)} runs`}
            crosshair={crosshair}
            read={source.read}
            listen={source.listen}
            events={events}
          />
        )}
        {status.phase === "loading" && <div className="chart-skeleton" aria-label="Loading" />}
        {status.phase === "empty" && (
          <p className="panel-empty">
            {emptyText(input)}
          </p>
        )}
        {status.fault !== null && <p className="panel-fault" role="alert">{status.fault}</p>}
      </div>
    </section>
  );
}

function emptyText({ runs, options: { axis } }: PanelInput): string {
  if (runs.length === 0) return "No run is shown";
  return axis.kind === "key" ? `The runs shown have no numbers here beside ${axisName(axis)}` : "The runs shown have no numbers here";
}
