/** The controls that hold for all charts, each with its command and its key. */
import { type ReactNode, useMemo, useState } from "react";

import { AXES, axisName, axisOf, axisText, spanText, STEP } from "../../lib/axis";
import { fullNumber } from "../../lib/format";
import { HALF_LIVES, type View, type ViewChange, Y_RANGES, type YRange } from "../../lib/view";
import { type Command, useCommands } from "../../ui/commands";
import { Icon, SearchBox } from "../../ui/parts";

const Y_RANGE_NAMES: Readonly<Record<YRange, string>> = { auto: "Auto", full: "All", inliers: "No outliers" };

interface PanelBarProps {
  readonly view: View;
  readonly onView: ViewChange;
  readonly fault: string | null;
  readonly keys: readonly string[];
  readonly tools: ReactNode;
}

export function PanelBar({ view, onView, fault, keys, tools }: PanelBarProps) {
  useCommands(useMemo(() => commandsOf(view, onView), [view, onView]));
  const level = levelOf(view.smooth);
  return (
    <div className="panel-bar" role="toolbar" aria-label="Charts">
      <SearchBox
        id="panel-search"
        label="Filter panels"
        value={view.filter}
        fault={fault}
        onChange={(filter) => { onView({ filter }); }}
      />
      <AxisChoice view={view} onView={onView} keys={keys} />
      {tools}
      <div className="toggles">
        <Toggle label="Log y" hint="L" isOn={view.isLogY} onClick={() => { onView({ isLogY: !view.isLogY }); }} />
        <Toggle label="Log x" hint="X" isOn={view.isLogX} onClick={() => { onView({ isLogX: !view.isLogX }); }} />
      </div>
      <label className="choice" title="Auto leaves out what would flatten everything else; All shows every value; No outliers leaves out the outermost 2 % on each side (O)">
        <span>Y range</span>
        <select
          value={view.yRange}
          onChange={(event) => { onView({ yRange: Y_RANGES.find((each) => each === event.target.value) ?? "auto" }); }}
        >
          {Y_RANGES.map((each) => <option key={each} value={each}>{Y_RANGE_NAMES[each]}</option>)}
        </select>
      </label>
      <label
        className="smooth"
        title="Average with the values before, whose weights halve every so many steps. The values themselves stay faint behind."
      >
        <span>Smoothing</span>
        <input
          type="range"
          min={0}
          max={HALF_LIVES.length - 1}
          value={level}
          aria-valuetext={smoothText(view.smooth)}
          onChange={(event) => { onView({ smooth: HALF_LIVES[Number(event.target.value)] ?? 0 }); }}
        />
        <output className="num">{smoothText(view.smooth)}</output>
      </label>
      {view.zoom !== null && (
        <button className="zoom-chip" title="Show all (R)" onClick={() => { onView({ zoom: null }); }}>
          <span className="num">{spanText(view.x, view.zoom)}</span>
          <Icon name="close" />
        </button>
      )}
    </div>
  );
}

/** More metrics than anyone looks through; the address takes any. */
const MOST_KEYS = 1000;

function AxisChoice({ view, onView, keys }: Omit<PanelBarProps, "fault" | "tools">) {
  // A thousand options are made when somebody looks at them.
  const [isOpened, setOpened] = useState(false);
  const others = isOpened ? keys.slice(0, MOST_KEYS) : [];
  if (view.x.kind === "key" && !others.includes(view.x.key)) others.unshift(view.x.key);
  return (
    <label className="choice" title="What the points are placed by; a drag zooms it (T)">
      <span>X axis</span>
      <select
        value={axisText(view.x)}
        onFocus={() => { setOpened(true); }}
        onPointerEnter={() => { setOpened(true); }}
        onChange={(event) => { onView({ x: axisOf(event.target.value), zoom: null }); }}
      >
        {AXES.map((axis) => <option key={axis.kind} value={axisText(axis)}>{axisName(axis)}</option>)}
        {others.length > 0 && (
          <optgroup label="Another metric">
            {others.map((key) => <option key={key} value={axisText({ kind: "key", key })}>{axisName({ kind: "key", key })}</option>)}
          </optgroup>
        )}
      </select>
    </label>
  );
}

interface ToggleProps {
  readonly label: string;
  readonly hint: string;
  readonly isOn: boolean;
  readonly onClick: () => void;
}

function Toggle({ label, hint, isOn, onClick }: ToggleProps) {
  return (
    <button className="toggle" aria-pressed={isOn} title={`${label} (${hint})`} onClick={onClick}>
      {label}
    </button>
  );
}

function commandsOf(view: View, onView: ViewChange): Command[] {
  const smoothBy = (by: number): void => {
    const next = HALF_LIVES[Math.max(0, Math.min(HALF_LIVES.length - 1, levelOf(view.smooth) + by))];
    onView({ smooth: next ?? 0 });
  };
  return [
    { name: "Filter panels", key: "f", run: () => document.getElementById("panel-search")?.focus() },
    {
      name: "X axis: step, wall time, relative time",
      key: "t",
      run: () => { onView({ x: AXES[(AXES.findIndex(({ kind }) => kind === view.x.kind) + 1) % AXES.length] ?? STEP, zoom: null }); },
    },
    { name: "Log y axis", key: "l", run: () => { onView({ isLogY: !view.isLogY }); } },
    { name: "Log x axis", key: "x", run: () => { onView({ isLogX: !view.isLogX }); } },
    { name: "Y range: auto, all, no outliers", key: "o", run: () => { onView({ yRange: rangeAfter(view.yRange) }); } },
    { name: "More smoothing", key: "s", run: () => { smoothBy(1); } },
    { name: "Less smoothing", key: "S", run: () => { smoothBy(-1); } },
    { name: "Show the whole x axis", key: "r", run: () => { onView({ zoom: null }); } },
    { name: "Unfold all sections", key: "u", run: () => { onView({ folded: [] }); } },
  ];
}

function rangeAfter(now: YRange): YRange {
  return Y_RANGES[(Y_RANGES.indexOf(now) + 1) % Y_RANGES.length] ?? "auto";
}

function levelOf(halfLife: number): number {
  const level = HALF_LIVES.findIndex((each) => each >= halfLife);
  return level === -1 ? HALF_LIVES.length - 1 : level;
}

function smoothText(halfLife: number): string {
  return halfLife === 0 ? "off" : `½ in ${fullNumber(halfLife)}`;
}
