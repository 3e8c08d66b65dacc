/** Chooses which keys of config and summary the run list shows. */
import { useRef, useState } from "react";

import { useColumns } from "../../api/queries";
import { formatCount } from "../../lib/format";
import { matcherOf } from "../../lib/matcher";
import { readableText } from "../../lib/readable";
import { toggled } from "../../lib/view";
import { SearchBox } from "../../ui/parts";

/** More than anyone looks through: a search narrows them down. */
const MOST = 200;

interface ColumnPickerProps {
  readonly owner: string;
  readonly project: string;
  readonly chosen: readonly string[];
  readonly onChange: (chosen: readonly string[]) => void;
}

export function ColumnPicker({ owner, project, chosen, onChange }: ColumnPickerProps) {
  const frame = useRef<HTMLDetailsElement>(null);
  const [isOpen, setOpen] = useState(false);
  return (
    <details
      ref={frame}
      className="picker"
      onToggle={(event) => { setOpen(event.currentTarget.open); }}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || event.defaultPrevented) return;
        event.currentTarget.open = false;
        event.currentTarget.querySelector("summary")?.focus();
      }}
      onBlur={(event) => {
        if (event.relatedTarget !== null && !event.currentTarget.contains(event.relatedTarget)) event.currentTarget.open = false;
      }}
    >
      <summary className="button quiet">Columns{chosen.length > 0 && ` ${String(chosen.length)}`}</summary>
      {isOpen && <Choices owner={owner} project={project} chosen={chosen} onChange={onChange} />}
    </details>
  );
}

function Choices({ owner, project, chosen, onChange }: ColumnPickerProps) {
  const columns = useColumns(owner, project);
  const [search, setSearch] = useState("");
  const matcher = matcherOf(search);
  const found = (columns.data ?? []).filter(({ source, key }) => matcher.matches(`${source}.${key}`));
  return (
    <div className="picker-box">
      <SearchBox id="column-search" label="Search columns" value={search} fault={matcher.fault} onChange={setSearch} />
      {columns.error !== null && <p className="fault" role="alert">{columns.error.message}</p>}
      {columns.data !== undefined && found.length === 0 && (
        <p className="muted">{columns.data.length === 0 ? "The runs have no config and no summary yet." : "No column matches."}</p>
      )}
      <div className="picker-list">
        {found.slice(0, MOST).map(({ column, source, key }) => (
          <label key={column} title={`${source}.${readableText(key)}`}>
            <input
              type="checkbox"
              checked={chosen.includes(column)}
              onChange={() => { onChange(toggled(chosen, column)); }}
            />
            <span className="muted">{source}.</span>
            <span>{readableText(key)}</span>
          </label>
        ))}
        {found.length > MOST && <p className="muted">{formatCount(found.length - MOST)} more: search to narrow them down.</p>}
      </div>
      {chosen.length > 0 && <button className="link" onClick={() => { onChange([]); }}>Show none</button>}
    </div>
  );
}
