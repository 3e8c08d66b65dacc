/** The head of a run's page: its name, its state, and when, where and how it ran. */
import { type ReactNode, useMemo, useState } from "react";

import { useUpdateRun } from "../../api/queries";
import type { Run } from "../../api/nouns";
import { exactTime, formatCount, formatDuration, fullNumber } from "../../lib/format";
import { useCommands } from "../../ui/commands";
import { useFocusBack } from "../../ui/focus";
import { Ago, Icon } from "../../ui/parts";
import { DeleteRun } from "./DeleteRun";
import { RunColor } from "./RunColor";
import { RunNotes, RunTags, saveBy } from "./RunNotes";

interface RunHeadProps {
  readonly run: Run;
  readonly onDeleted: () => void;
  /** Links to the run of this id, of which this one is a fork. */
  readonly parentLink: (id: string) => ReactNode;
}

export function RunHead({ run, onDeleted, parentLink }: RunHeadProps) {
  const [isAsking, setAsking] = useState(false);
  useCommands(useMemo(() => [{ name: "Delete this run…", key: "", run: () => { setAsking(true); } }], []));
  const begun = Date.parse(run.created_at);
  const ended = Date.parse(run.finished_at ?? run.active_at);
  return (
    <header className="run-head">
      <div className="run-title">
        <RunColor run={run} />
        <RunName run={run} />
        <span className={`badge is-${run.state}`}>{stateText(run)}</span>
        <RunTags run={run} />
        <button className="button quiet run-delete" onClick={() => { setAsking(true); }}>Delete…</button>
      </div>
      <dl className="facts">
        <Fact name="Started"><Ago time={run.created_at} /></Fact>
        <Fact name="Duration" title={`until ${exactTime(ended)}`}>{formatDuration(Math.max(0, ended - begun) / 1000)}</Fact>
        <Fact name="Points" title={fullNumber(run.points)}>{formatCount(run.points)}</Fact>
        {run.gaps > 0 && <Fact name="Lost" title={`${fullNumber(run.gaps)} points could not be kept`}>{formatCount(run.gaps)}</Fact>}
        {run.host !== null && <Fact name="Host">{run.host}</Fact>}
        {run.program !== null && <Fact name="Program">{run.program}</Fact>}
        {run.group !== null && <Fact name="Group">{run.group}</Fact>}
        {run.job_type !== null && <Fact name="Job type">{run.job_type}</Fact>}
        {run.fork !== null && <Fact name="Fork of">{parentLink(run.fork.run)} at step {fullNumber(run.fork.step)}</Fact>}
        <Fact name="Id">{run.id}</Fact>
      </dl>
      <RunNotes run={run} />
      {isAsking && <DeleteRun run={run} onClose={() => { setAsking(false); }} onDeleted={onDeleted} />}
    </header>
  );
}

interface FactProps {
  readonly name: string;
  readonly title?: string;
  readonly children: ReactNode;
}

function Fact({ name, title, children }: FactProps) {
  return (
    <div className="fact" title={title}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function RunName({ run }: { readonly run: Run }) {
  const [draft, setDraft] = useState<string | null>(null);
  const button = useFocusBack(draft !== null);
  const update = useUpdateRun(run.owner, run.project, run.id);
  const save = (): void => {
    const name = (draft ?? "").trim();
    setDraft(null);
    if (name !== "" && name !== run.name) update.mutate({ name });
  };
  if (draft === null) {
    return (
      <h1>
        <button ref={button} className="run-rename" title="Rename" onClick={() => { setDraft(run.name); }}>
          <span>{run.name}</span>
          <Icon name="pen" />
        </button>
        {update.isError && <span className="fault" role="alert">{update.error.message}</span>}
      </h1>
    );
  }
  return (
    <input
      className="run-name-input"
      aria-label="Name of the run"
      value={draft}
      autoFocus
      onFocus={(event) => { event.target.select(); }}
      onChange={(event) => { setDraft(event.target.value); }}
      onBlur={save}
      onKeyDown={(event) => {
        if (event.key === "Enter") saveBy(event, save);
        if (event.key === "Escape") setDraft(null);
      }}
    />
  );
}

function stateText(run: Run): string {
  if (run.state === "failed" && run.exit_code !== null) return `failed with exit code ${String(run.exit_code)}`;
  if (run.state === "crashed" && run.signal !== null) return `crashed by signal ${String(run.signal)}`;
  return run.state;
}
