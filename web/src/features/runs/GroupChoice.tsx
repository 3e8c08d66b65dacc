/** What the charts group runs by, and what the groups are called. */
import { useState } from "react";

import { useColumns } from "../../api/queries";
import type { Crosshair } from "../../charts/crosshair";
import { strokeGround } from "../../charts/palette";
import { keyColumn } from "../../lib/columns";
import { formatCount, plural } from "../../lib/format";
import { readableText } from "../../lib/readable";
import { BANDS, type View, type ViewChange } from "../../lib/view";
import { MOST_GROUPS, type RunGroup } from "./groups";

const BAND_NAMES = { range: "Min to max", interval: "95 % interval" } as const;

interface GroupChoiceProps {
  readonly owner: string;
  readonly project: string;
  readonly view: View;
  readonly onView: ViewChange;
}

export function GroupChoice({ owner, project, view, onView }: GroupChoiceProps) {
  // The columns are asked for when somebody is about to choose.
  const [isOpened, setOpened] = useState(false);
  return (
    <>
      <label className="choice" title="One line for all runs with the same value">
        <span>Group by</span>
        <select
          value={view.by}
          onFocus={() => { setOpened(true); }}
          onPointerEnter={() => { setOpened(true); }}
          onChange={(event) => { onView({ by: event.target.value }); }}
        >
          <option value="">Nothing</option>
          {isOpened ? <Columns owner={owner} project={project} chosen={view.by} /> : <Chosen column={view.by} />}
        </select>
      </label>
      {view.by !== "" && (
        <label className="choice" title="What the band around the mean of a group shows">
          <span>Band</span>
          <select
            value={view.band}
            onChange={(event) => { onView({ band: BANDS.find((each) => each === event.target.value) ?? "range" }); }}
          >
            {BANDS.map((band) => <option key={band} value={band}>{BAND_NAMES[band]}</option>)}
          </select>
        </label>
      )}
    </>
  );
}

function Columns({ owner, project, chosen }: { readonly owner: string; readonly project: string; readonly chosen: string }) {
  const columns = useColumns(owner, project).data?.filter(({ source }) => source === "config") ?? [];
  return (
    <>
      {!columns.some(({ column }) => column === chosen) && <Chosen column={chosen} />}
      {columns.map(({ column, key }) => <option key={column} value={column}>{readableText(key)}</option>)}
    </>
  );
}

function Chosen({ column }: { readonly column: string }) {
  return column === "" ? null : <option value={column}>{readableText(keyColumn(column)?.key ?? column)}</option>;
}

interface GroupLegendProps {
  readonly by: string;
  readonly groups: readonly RunGroup[];
  readonly crosshair: Crosshair;
}

export function GroupLegend({ by, groups, crosshair }: GroupLegendProps) {
  return (
    <div className="legend">
      <span className="muted">{readableText(keyColumn(by)?.key ?? by)}</span>
      <ul aria-label="Groups">
        {groups.slice(0, MOST_GROUPS).map(({ id, name, color, dash, members }) => (
          <li
            key={id}
            title={plural(members.length, "run")}
            onMouseEnter={() => { crosshair.point({ x: null, run: id }); }}
            onMouseLeave={() => { crosshair.leave(); }}
          >
            <i style={{ background: strokeGround(color, dash) }} />
            <span>{readableText(name)}</span>
            <span className="muted num">{formatCount(members.length)}</span>
          </li>
        ))}
      </ul>
      {groups.length > MOST_GROUPS && (
        <span className="muted">The charts show {MOST_GROUPS} of {formatCount(groups.length)} groups: filter the runs to see others.</span>
      )}
    </div>
  );
}
