/** A section of panels: folds, and never tears apart the panels that share a leaf. */
import { Fragment } from "react";

import { formatCount } from "../../lib/format";
import { readableText } from "../../lib/readable";
import { Icon, Readable } from "../../ui/parts";
import { heightOf, type PlacedSection, topOfRow } from "./layout";
import { Panel, type PanelProps } from "./Panel";
import { namesOf, type Section } from "./sections";

interface SectionViewProps {
  readonly placed: PlacedSection;
  /** The half-open span of rows to make. */
  readonly span: readonly [first: number, last: number];
  readonly columns: number;
  readonly onFold: () => void;
  readonly onMore: () => void;
  readonly panel: Omit<PanelProps, "metric" | "onEnlarge">;
  readonly onEnlarge: (panel: string) => void;
}

export function SectionView({ placed, span, columns, onFold, onMore, panel, onEnlarge }: SectionViewProps) {
  const { section, top, height, isFolded, rows, rest } = placed;
  const [first, last] = span;
  return (
    <div className="section" style={{ top, height }}>
      <h2 className="section-head">
        <button className="section-fold" aria-expanded={!isFolded} onClick={onFold}>
          <Icon name="fold" />
          <SectionTitle section={section} />
          <span className="muted num">{formatCount(section.size)}</span>
        </button>
      </h2>
      {!isFolded && (
        <div
          className="section-grid"
          style={{ gridTemplateColumns: `repeat(${String(columns)}, minmax(0, 1fr))`, paddingTop: topOfRow(first), height: heightOf(rows.length) }}
        >
          {rows.slice(first, last).flatMap((row, index) =>
            row.map((metric, column) => (
              <div key={metric} className="panel-place" style={{ gridRow: index + 1, gridColumn: column + 1 }}>
                <Panel {...panel} metric={metric} onEnlarge={() => { onEnlarge(metric); }} />
              </div>
            )),
          )}
        </div>
      )}
      {rest > 0 && (
        <button className="button section-more" onClick={onMore}>
          Show {formatCount(rest)} more panels
        </button>
      )}
    </div>
  );
}

function SectionTitle({ section }: { readonly section: Section }) {
  const [names, more] = namesOf(section);
  return (
    <span className="section-title" title={titleOf(section)}>
      {names.map((name, index) => <Fragment key={index}>{index > 0 && " · "}<Readable text={name} /></Fragment>)}
      {more > 0 && ` and ${formatCount(more)} more`}
    </span>
  );
}

/** More prefixes than a window has lines help nobody. */
const MOST_NAMED = 40;

function titleOf({ prefixes }: Section): string {
  const named = prefixes.slice(0, MOST_NAMED).map(readableText).join(" · ");
  return prefixes.length > MOST_NAMED ? `${named} …` : named;
}
