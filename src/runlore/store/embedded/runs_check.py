"""Checks the catalog of runs in a data folder that no server holds."""

import json
from pathlib import Path

from runlore.store.embedded.metrics_findings import (
    BROKEN,
    Finding,
    Findings,
    check_database,
    read_only,
    rows_of,
    told,
)


def check_catalog(path: Path, findings: Findings) -> None:
    """Name what is damaged in a catalog; nothing is written."""
    file = path.name
    if not path.exists():
        findings.add(
            Finding(
                file=file,
                what="is missing",
                means="names, configs and states of all runs are gone; restore it from a backup",
            )
        )
        return
    with read_only(path) as db:
        if not check_database(db, file, findings):
            return
        # A catalog of version 1, which the next start makes one of today's, has no such table.
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        source = "runs LEFT JOIN run_documents USING (project, number)"
        table = source if "run_documents" in tables else "runs"
        columns, called = "run_id, document", "catalog runs"
        rows = rows_of(db, table, columns, file=file, findings=findings, called=called)
        for run, document in rows:
            try:
                if not isinstance(json.loads(str(document)), dict):
                    raise ValueError("it is no JSON object")
            except BROKEN as error:
                findings.add(
                    Finding(
                        file=file,
                        what=f"the document of run {run!r} cannot be decoded: {told(error)}",
                        means="its config, summary and state cannot be shown; delete the run or "
                        "restore the file from a backup",
                        run=str(run),
                    )
                )
