/** The sections of a page, as tall as all of them, with those made that are near the window. */
import { useMemo, useState } from "react";

import { toggled, type View, type ViewChange } from "../../lib/view";
import { foldedName, layOut, rowsWithin, sectionsWithin } from "./layout";
import { SectionView } from "./SectionView";
import type { Section } from "./sections";
import type { PanelProps } from "./Panel";
import { useNear } from "./useNear";

interface SectionsProps {
  readonly sections: readonly Section[];
  readonly columns: number;
  readonly view: View;
  readonly onView: ViewChange;
  readonly panel: Omit<PanelProps, "metric" | "onEnlarge">;
  readonly onEnlarge: (panel: string) => void;
}

export function Sections({ sections, columns, view, onView, panel, onEnlarge }: SectionsProps) {
  const [whole, setWhole] = useState<ReadonlySet<string>>(new Set());
  const layout = useMemo(
    () => layOut(sections, columns, { folded: new Set(view.folded), whole }),
    [sections, columns, view.folded, whole],
  );
  const { frame, from, to } = useNear();
  return (
    <div ref={frame} className="sections" style={{ height: layout.height }}>
      {sectionsWithin(layout, from, to).map((placed) => (
        <SectionView
          key={placed.section.id}
          placed={placed}
          span={rowsWithin(placed, from, to)}
          columns={columns}
          onFold={() => { onView({ folded: toggled(view.folded, foldedName(placed.section)) }); }}
          onMore={() => { setWhole(new Set([...whole, placed.section.id])); }}
          panel={panel}
          onEnlarge={onEnlarge}
        />
      ))}
    </div>
  );
}
