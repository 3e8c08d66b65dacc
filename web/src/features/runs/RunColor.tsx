/** A run's mark, which opens the palette. */
import type { Run } from "../../api/nouns";
import { useUpdateRun } from "../../api/queries";
import { DARK, LIGHT } from "../../charts/palette";
import { RunMark } from "../../ui/RunMark";
import { useIsDark } from "../../ui/parts";
import { colorOf, dashOf } from "./colors";

export function RunColor({ run }: { readonly run: Run }) {
  const isDark = useIsDark();
  const update = useUpdateRun(run.owner, run.project, run.id);
  return (
    <details
      className="run-color"
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.currentTarget.open = false;
        event.currentTarget.querySelector("summary")?.focus();
      }}
      onBlur={(event) => {
        if (event.relatedTarget !== null && !event.currentTarget.contains(event.relatedTarget)) event.currentTarget.open = false;
      }}
    >
      <summary title="Choose the colour" aria-label="Colour of the run">
        <RunMark color={colorOf(run, isDark)} state={run.state} isShown dash={dashOf(run)} />
      </summary>
      <div className="swatches">
        {(isDark ? DARK : LIGHT).map((color, index) => (
          <button
            key={color}
            className="swatch"
            aria-label={`Colour ${String(index + 1)}`}
            aria-pressed={run.color === color}
            style={{ background: color }}
            onClick={() => { update.mutate({ color }); }}
          />
        ))}
        <button className="link" onClick={() => { update.mutate({ color: null }); }}>By number</button>
      </div>
    </details>
  );
}
