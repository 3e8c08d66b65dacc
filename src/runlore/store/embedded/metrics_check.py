"""Checks all files of a metric store that nobody has open, and has them repaired."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runlore.errors import ConflictError, UsageError
from runlore.store.embedded.metrics_check_history import HistoryCheck, HistoryState
from runlore.store.embedded.metrics_check_log import LogCheck, LogState
from runlore.store.embedded.metrics_check_towers import TowerCheck
from runlore.store.embedded.metrics_findings import Finding, Findings
from runlore.store.embedded.metrics_log import PURGED, TOMBSTONE
from runlore.store.embedded.metrics_programs import Progress
from runlore.store.embedded.metrics_repair import Repair


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep servers away from a folder as long as it is looked at; nothing of it is changed.

    Raises:
        ConflictError: a server has it.
    """
    path = folder / "lock"
    if not path.exists():
        # Nobody ever had it open.
        yield
        return
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
            who = f"process {pid}" if pid else "a server"
            raise ConflictError(
                f"the data folder {str(folder)!r} is in use by {who}; stop it, check, and start "
                "it again, or name another folder with --data"
            ) from error
        yield
    finally:
        os.close(lock)


def check_store(folder: Path) -> Findings:
    """Name every damage in the files of a metric store, and count what was looked at.

    Nothing is written.

    Raises:
        ConflictError: a server has the folder.
        UsageError: there is no such folder.
    """
    with _taken(folder):
        findings, _, _ = _check(folder)
        return findings


def repair_store(folder: Path) -> tuple[Findings, list[Finding]]:
    """Check, mend what can be mended, and check again.

    Towers and summaries are derived from blocks, and blocks from what the log still holds.

    Returns:
        What the first check found, and of it what is still there.

    Raises:
        ConflictError: a server has the folder.
        UsageError: there is no such folder.
        UnavailableError: the disk does not take it.
    """
    with _taken(folder):
        findings, log, histories = _check(folder)
        if not findings.found:
            return findings, []
        repair = Repair(folder, log, findings)
        repair.log()
        for path, state in histories.items():
            repair.history(path, state)
        return findings, _check(folder)[0].found


@contextmanager
def _taken(folder: Path) -> Iterator[None]:
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {str(folder)!r} of a metric store; name the data folder of a "
            "server with --data"
        )
    with held(folder):
        yield


def _check(folder: Path) -> tuple[Findings, LogState, dict[Path, HistoryState]]:
    findings = Findings()
    looks = LogCheck(folder / "log.db", findings)
    log = looks.check()
    histories: dict[Path, HistoryState] = {}
    applied: dict[int, Progress] = {}
    for path in sorted((folder / "history").glob("*.db")):
        towers = TowerCheck(path, log, findings)
        histories[path] = HistoryCheck(path, log, findings).check(towers.check)
        applied |= histories[path].applied
    _missing(folder, log, histories, findings)
    looks.check_pieces(applied)
    return findings, log, histories


def _missing(
    folder: Path, log: LogState, histories: dict[Path, HistoryState], findings: Findings
) -> None:
    """Name what the log says is packed and no history file has."""
    for number, writer in log.writers.items():
        run = log.runs[writer.run]
        if run.state in (TOMBSTONE, PURGED) or not writer.progress.next:
            continue
        path = folder / "history" / f"{run.project}.db"
        state = histories.get(path)
        packed = state.applied.get(number) if state is not None else None
        if packed is not None and packed.next == writer.progress.next:
            if packed != writer.progress:
                findings.add(
                    Finding(
                        file="log.db",
                        what=f"what is known of writer {writer.name!r} at byte {packed.next} is "
                        f"another in history/{path.name}",
                        means="its begin, its end or its last row is wrong in one of them, and "
                        "with it which points of resumed runs are shown",
                        run=run.name,
                    )
                )
            continue
        if state is None:
            trouble = "the history file is missing"
        elif (state.version or state.is_empty) and number not in state.applied:
            trouble = "the history file does not know this writer"
        else:
            continue
        findings.add(
            Finding(
                file=f"history/{path.name}",
                what=f"writer {writer.name!r} was packed up to byte {writer.progress.next}, but "
                f"{trouble}",
                means=f"{writer.progress.points} points are not shown; restore the file from a "
                "backup, or deliver the writer's spool again",
                run=run.name,
            )
        )
