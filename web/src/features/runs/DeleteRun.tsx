/** Asks before a run is deleted: what is gone stays gone. */
import { useRef } from "react";

import type { Run } from "../../api/nouns";
import { useDeleteRun } from "../../api/queries";
import { plural } from "../../lib/format";
import { useModal } from "../../ui/focus";

interface DeleteRunProps {
  readonly run: Run;
  readonly onClose: () => void;
  readonly onDeleted: () => void;
}

export function DeleteRun({ run, onClose, onDeleted }: DeleteRunProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const remove = useDeleteRun(run.owner, run.project, run.id);
  useModal(dialog);
  return (
    <dialog
      ref={dialog}
      className="ask"
      aria-labelledby="delete-title"
      onClose={onClose}
      onClick={(event) => { if (event.target === dialog.current) onClose(); }}
    >
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault();
          remove.mutate(undefined, { onSuccess: onDeleted });
        }}
      >
        <h2 id="delete-title">Delete {run.name}?</h2>
        <p className="muted">
          Its {plural(run.points, "point")}, config and summary go with it, and cannot be brought back.
          {run.state === "running" && " Its program goes on, but nothing that it logs is kept."}
        </p>
        {remove.isError && <p className="fault" role="alert">{remove.error.message}</p>}
        <div className="ask-buttons">
          <button type="button" className="button" autoFocus onClick={onClose}>Keep it</button>
          <button type="submit" className="button danger" disabled={remove.isPending}>Delete run</button>
        </div>
      </form>
    </dialog>
  );
}
