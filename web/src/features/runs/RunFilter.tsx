/** Which runs the list shows, as an expression that the server understands. */
import { useMemo, useState } from "react";

import { useCommands } from "../../ui/commands";
import { Icon } from "../../ui/parts";

interface RunFilterProps {
  readonly value: string;
  /** Why the server refuses it or the order, or null. */
  readonly fault: string | null;
  readonly onChange: (value: string) => void;
  readonly onClear: () => void;
}

/** Asks when it is done with: half an expression is an error. */
export function RunFilter({ value, fault, onChange, onClear }: RunFilterProps) {
  const [draft, setDraft] = useState<string | null>(null);
  useCommands(useMemo(() => [{ name: "Filter runs", key: "w", run: () => document.getElementById("run-filter")?.focus() }], []));
  const shown = draft ?? value;
  const ask = (): void => {
    if (draft !== null && draft.trim() !== value) onChange(draft.trim());
    setDraft(null);
  };
  return (
    <div className="run-filter">
      <div className={fault === null ? "search" : "search is-wrong"}>
        <Icon name="filter" />
        <input
          id="run-filter"
          aria-label="Filter runs"
          aria-invalid={fault !== null}
          aria-describedby={fault === null ? undefined : "run-filter-fault"}
          placeholder="Filter: config.lr < 0.01"
          title={"An expression as in SQL: config.lr < 0.01 AND tags = 'good' (W). Enter asks."}
          value={shown}
          spellCheck={false}
          autoComplete="off"
          onChange={(event) => { setDraft(event.target.value); }}
          onBlur={ask}
          onKeyDown={(event) => {
            if (event.key === "Enter") ask();
            if (event.key !== "Escape") return;
            if (draft === null) event.currentTarget.blur();
            else setDraft(null);
          }}
        />
        {shown !== "" && (
          <button className="search-clear" aria-label="Clear the filter" onClick={() => { setDraft(null); onClear(); }}>
            <Icon name="close" />
          </button>
        )}
      </div>
      {fault !== null && <p id="run-filter-fault" className="fault" role="alert">{fault}</p>}
    </div>
  );
}
