/** Mounts a line chart; React renders it once, and everything after happens on its canvases. */
import { useEffect, useRef } from "react";

import type { Crosshair } from "../crosshair";
import { type ChartContent, type ChartEvents, LineChart } from "./chart";

const KEYS: Readonly<Record<string, (chart: LineChart) => void>> = {
  ArrowLeft: (chart) => { chart.stepBy(-1); },
  ArrowRight: (chart) => { chart.stepBy(1); },
  "+": (chart) => { chart.zoomBy(0.5); },
  "-": (chart) => { chart.zoomBy(2); },
};

export interface LineChartProps {
  readonly label: string;
  readonly crosshair: Crosshair;
  readonly read: () => ChartContent;
  readonly events: ChartEvents;
  /** Calls back whenever there is something new to draw; returns how to stop that. */
  readonly listen: (onChange: () => void) => () => void;
}

export function LineChartMount({ label, crosshair, read, events, listen }: LineChartProps) {
  const root = useRef<HTMLDivElement>(null);
  const chart = useRef<LineChart>(null);
  useEffect(() => {
    if (root.current === null) return;
    const made = new LineChart(root.current, crosshair, read, events);
    chart.current = made;
    const stop = listen(() => { made.update(); });
    made.update();
    return () => {
      stop();
      made.close();
    };
  }, [crosshair, read, events, listen]);
  return (
    <div
      ref={root}
      className="chart"
      role="img"
      aria-label={label}
      tabIndex={0}
      onBlur={() => chart.current?.leave()}
      onKeyDown={(event) => {
        const act = KEYS[event.key];
        if (act === undefined || chart.current === null) return;
        event.preventDefault();
        act(chart.current);
      }}
    />
  );
}
