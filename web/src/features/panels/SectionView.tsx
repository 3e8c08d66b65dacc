/** A section of panels: folds, and never tears apart the panels that share a leaf. */
import { Fragment, useState } from "react";

import type { SeriesStore } from "../../api/series";
import type { Crosshair } from "../../charts/crosshair";
import { formatCount } from "../../lib/format";
import { readableText } from "../../lib/readable";
import { Icon, Readable } from "../../ui/parts";
import { Panel } from "./Panel";
import { namesOf, type Section } from "./sections";
import type { PanelInput } from "./source";

/** More panels than anyone scrolls through wait behind a button. */
const FIRST_PANELS = 60;

interface SectionViewProps {
  readonly section: Section;
  readonly columns: number;
  readonly isFolded: boolean;
  readonly onFold: () => void;
  readonly input: PanelInput;
  readonly store: SeriesStore;
  readonly crosshair: Crosshair;
  readonly onZoom: (range: PanelInput["range"]) => void;
  readonly onEnlarge: (panel: string) => void;
}

export function SectionView(props: SectionViewProps) {
  const { section, columns, isFolded, onFold, input, store, crosshair, onZoom, onEnlarge } = props;
  const [isWhole, setWhole] = useState(false);
  const groups = isWhole ? section.groups : firstGroups(section.groups);
  const rest = section.size - groups.reduce((sum, group) => sum + group.length, 0);
  return (
    <div className="section">
      <h2 className="section-head">
        <button className="section-fold" aria-expanded={!isFolded} onClick={onFold}>
          <Icon name="fold" />
          <SectionTitle section={section} />
          <span className="muted num">{formatCount(section.size)}</span>
        </button>
      </h2>
      {!isFolded && (
        <div className="section-grid" style={{ gridTemplateColumns: `repeat(${String(columns)}, minmax(0, 1fr))` }}>
          {groups.map((group) => (
            <div key={group[0]} className="panel-group" style={{ gridColumn: `span ${String(Math.min(group.length, columns))}` }}>
              {group.map((metric) => (
                <Panel
                  key={metric}
                  metric={metric}
                  input={input}
                  store={store}
                  crosshair={crosshair}
                  onZoom={onZoom}
                  onEnlarge={() => { onEnlarge(metric); }}
                />
              ))}
            </div>
          ))}
        </div>
      )}
      {!isFolded && rest > 0 && (
        <button className="button section-more" onClick={() => { setWhole(true); }}>
          Show {formatCount(rest)} more panels
        </button>
      )}
    </div>
  );
}

function SectionTitle({ section }: { readonly section: Section }) {
  const [names, more] = namesOf(section);
  return (
    <span className="section-title" title={section.prefixes.map(readableText).join(" · ")}>
      {names.map((name, index) => <Fragment key={index}>{index > 0 && " · "}<Readable text={name} /></Fragment>)}
      {more > 0 && ` and ${formatCount(more)} more`}
    </span>
  );
}

function firstGroups(groups: Section["groups"]): Section["groups"] {
  let panels = 0;
  const last = groups.findIndex((group) => (panels += group.length) > FIRST_PANELS);
  return last === -1 ? groups : groups.slice(0, Math.max(1, last));
}
