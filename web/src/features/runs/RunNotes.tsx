/** The tags and notes of a run, which people edit where they read them. */
import { type KeyboardEvent, useState } from "react";

import type { Run } from "../../api/nouns";
import { useUpdateRun } from "../../api/queries";
import { tagsOf } from "../../lib/tags";
import { useFocusBack } from "../../ui/focus";
import { Icon } from "../../ui/parts";

export function RunTags({ run }: { readonly run: Run }) {
  const [draft, setDraft] = useState<string | null>(null);
  const button = useFocusBack(draft !== null);
  const update = useUpdateRun(run.owner, run.project, run.id);
  const save = (): void => {
    const tags = tagsOf(draft ?? "");
    setDraft(null);
    if (draft !== null && tags.join() !== run.tags.join()) update.mutate({ tags });
  };
  if (draft !== null) {
    return (
      <input
        className="field tags-input"
        aria-label="Tags, separated by commas"
        placeholder="Tags, separated by commas"
        value={draft}
        autoFocus
        onChange={(event) => { setDraft(event.target.value); }}
        onBlur={save}
        onKeyDown={(event) => {
          if (event.key === "Enter") saveBy(event, save);
          if (event.key === "Escape") setDraft(null);
        }}
      />
    );
  }
  return (
    <button ref={button} className="run-tags" title="Edit the tags" onClick={() => { setDraft(run.tags.join(", ")); }}>
      {run.tags.map((tag) => <span key={tag} className="tag">{tag}</span>)}
      {run.tags.length === 0 ? <span className="muted add">Add tags</span> : <Icon name="pen" />}
      {update.isError && <span className="fault" role="alert">{update.error.message}</span>}
    </button>
  );
}

/** Saves by a key, which must not press the button that takes the place of the field. */
export function saveBy(event: KeyboardEvent, save: () => void): void {
  event.preventDefault();
  save();
}

export function RunNotes({ run }: { readonly run: Run }) {
  const [draft, setDraft] = useState<string | null>(null);
  const button = useFocusBack(draft !== null);
  const update = useUpdateRun(run.owner, run.project, run.id);
  const save = (): void => {
    setDraft(null);
    if (draft !== null && draft !== run.notes) update.mutate({ notes: draft });
  };
  if (draft !== null) {
    return (
      <textarea
        className="field notes-input"
        aria-label="Notes"
        title="Ctrl Enter saves, Escape leaves them as they were"
        rows={Math.min(12, draft.split("\n").length + 1)}
        value={draft}
        autoFocus
        onChange={(event) => { setDraft(event.target.value); }}
        onBlur={save}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveBy(event, save);
          if (event.key === "Escape") setDraft(null);
        }}
      />
    );
  }
  return (
    <button ref={button} className="run-notes" title="Edit the notes" onClick={() => { setDraft(run.notes); }}>
      {run.notes === "" ? <span className="muted add">Add notes</span> : run.notes}
      {update.isError && <span className="fault" role="alert"> {update.error.message}</span>}
    </button>
  );
}
