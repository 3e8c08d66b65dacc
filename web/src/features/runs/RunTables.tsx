/** What a run was told and what came of it: summary and config, searchable and copyable. */
import { useState } from "react";

import type { Run } from "../../api/nouns";
import { flatten, isObject, type JsonValue, type Leaf } from "../../lib/flatten";
import { matcherOf } from "../../lib/matcher";
import { readableText } from "../../lib/readable";
import { CopyButton, Icon, LongName, Num, Readable, SearchBox } from "../../ui/parts";

const FIRST_ROWS = 200;

export function RunTables({ run }: { readonly run: Run }) {
  const [search, setSearch] = useState("");
  const matcher = matcherOf(search);
  const summary = flatten(run.summary).filter((leaf) => matcher.matches(leaf.key));
  const isSearching = search.trim() !== "";
  return (
    <section className="run-tables" aria-label="Summary and config">
      <SearchBox id="table-search" label="Search summary and config" value={search} fault={matcher.fault} onChange={setSearch} />
      <div className="run-table">
        <TableHead title="Summary" value={run.summary} />
        {summary.length === 0 && <Nothing isSearching={isSearching} text="No value has been logged yet." />}
        {summary.slice(0, FIRST_ROWS).map((leaf) => <Row key={leaf.key} leaf={leaf} />)}
        {summary.length > FIRST_ROWS && <p className="muted">{summary.length - FIRST_ROWS} more: search to narrow them down.</p>}
      </div>
      <div className="run-table">
        <TableHead title="Config" value={run.config} />
        <Config config={run.config} matches={matcher.matches} isSearching={isSearching} />
      </div>
    </section>
  );
}

interface ConfigProps {
  readonly config: Run["config"];
  readonly matches: (text: string) => boolean;
  readonly isSearching: boolean;
}

function Config({ config, matches, isSearching }: ConfigProps) {
  if (!isSearching) {
    return Object.keys(config).length === 0 ? (
      <Nothing isSearching={false} text="No config was given; pass config={…} to init." />
    ) : (
      <Tree value={config} />
    );
  }
  const found = flatten(config).filter((leaf) => matches(leaf.key));
  if (found.length === 0) return <Nothing isSearching text="" />;
  return found.slice(0, FIRST_ROWS).map((leaf) => <Row key={leaf.key} leaf={leaf} />);
}

function TableHead({ title, value }: { readonly title: string; readonly value: Run["config"] }) {
  return (
    <header className="run-table-head">
      <h2>{title}</h2>
      <CopyButton text={JSON.stringify(value, writable, 2)} label={`Copy the ${title.toLowerCase()} as JSON`} />
    </header>
  );
}

function Nothing({ isSearching, text }: { readonly isSearching: boolean; readonly text: string }) {
  return <p className="muted run-table-none">{isSearching ? "Nothing matches." : text}</p>;
}

function Tree({ value }: { readonly value: { readonly [key: string]: JsonValue } }) {
  return (
    <div className="tree">
      {Object.entries(value).map(([key, child]) =>
        isObject(child) && Object.keys(child).length > 0 ? (
          <details key={key} open>
            <summary><Icon name="fold" /><Readable text={key} /></summary>
            <Tree value={child} />
          </details>
        ) : (
          <Row key={key} leaf={{ key, value: child }} />
        ),
      )}
    </div>
  );
}

function Row({ leaf }: { readonly leaf: Leaf }) {
  return (
    <div className="pair">
      <span className="pair-key" title={readableText(leaf.key)}><LongName text={leaf.key} /></span>
      <span className="pair-value"><Value value={leaf.value} /></span>
    </div>
  );
}

function Value({ value }: { readonly value: JsonValue }) {
  if (typeof value === "number") return <Num value={value} />;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return <span title={text} className={typeof value === "string" ? undefined : "muted"}>{text}</span>;
}

/** JSON has no NaN and no infinities; copied text says them as Python does. */
function writable(_key: string, value: JsonValue): JsonValue {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}
