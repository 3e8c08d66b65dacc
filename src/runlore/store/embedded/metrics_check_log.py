"""Checks the commit log, and keeps of it what checks and repairs of histories need."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import unseal
from runlore.store.embedded.metrics_decode import Block, StreamDecoder
from runlore.store.embedded.metrics_findings import (
    BROKEN,
    Finding,
    Findings,
    Remedy,
    check_database,
    read_only,
    rows_of,
    told,
)
from runlore.store.embedded.metrics_log import (
    ALIVE,
    SCHEMA_VERSION,
    Rewind,
    decode_progress,
    is_unmade,
    known_fork,
)
from runlore.store.embedded.metrics_programs import Progress
from runlore.wire import spool

_FORKS_SINCE = 3
"""The schema version."""


@dataclass(kw_only=True)
class KnownRun:
    """A run as the log has it."""

    name: str
    run_id: str
    project: int
    state: int
    rewinds: list[Rewind] = field(default_factory=list)


@dataclass(kw_only=True)
class KnownWriter:
    """A writer as the log has it; `pieces` are (seq, stop, bytes or why there are none)."""

    name: str
    run: int
    progress: Progress = field(default_factory=Progress)
    declared: list[bytes] | None = field(default_factory=list)
    pieces: list[tuple[int, int, bytes | DamageError]] = field(default_factory=list)

    def keys(self) -> set[str]:
        """Return the keys that its stream has declared."""
        table = spool.KeyTable()
        for frames in self.declared or ():
            for frame in spool.whole_frames(frames, offset=len(spool.PREAMBLE)):
                table.declare(frame.payload)
        return set(table.keys.values())

    def blocks(self) -> Iterator[Block]:
        """Decode the pieces that the log still holds, each run of them from its own start."""
        decoder: StreamDecoder | None = None
        for _, stop, data in self.pieces:
            if isinstance(data, DamageError) or self.declared is None:
                decoder = None
                continue
            begin = stop - len(data)
            if decoder is None or decoder.progress.next != begin:
                known = self.progress if self.progress.next == begin else Progress(next=begin)
                decoder = StreamDecoder(known, self.declared)
            decoded = decoder.decode(data)
            yield from decoded.blocks
            if decoded.damage is not None:
                decoder = None


@dataclass(kw_only=True)
class LogState:
    """What the log knows; `is_known` is false where its file cannot be read."""

    is_known: bool = False
    runs: dict[int, KnownRun] = field(default_factory=dict)
    writers: dict[int, KnownWriter] = field(default_factory=dict)

    def name(self, run: object) -> str:
        """Return how errors call a run."""
        known = self.runs.get(run) if isinstance(run, int) else None
        return known.name if known is not None else f"number {run}"


class LogCheck:
    """Looks at all of one `log.db`."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path = path
        self._file = path.name
        self._findings = findings
        self.state = LogState()

    def check(self) -> LogState:
        """Name every damage."""
        if not self._path.exists():
            self._add(
                "is missing",
                "no server opens this folder as it was; restore the file from a backup",
            )
            return self.state
        with read_only(self._path) as db:
            if check_database(db, self._file, self._findings):
                if is_unmade(db):
                    self.state.is_known = True
                    return self.state
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if not 0 < version <= SCHEMA_VERSION:
                    self._add(
                        f"has schema version {version}, this Runlore reads up to {SCHEMA_VERSION}",
                        "no server opens this folder; upgrade Runlore",
                    )
                    return self.state
                self.state.is_known = True
                self._names(db)
                self._rewinds(db)
                if version >= _FORKS_SINCE:
                    self._forks(db)
                self._declared(db)
                self._pieces(db)
        return self.state

    def _names(self, db: sqlite3.Connection) -> None:
        projects: dict[object, str] = {}
        for number, owner, name in self._rows(db, "project", "id, owner, name"):
            projects[number] = f"{owner}/{name}"
        for number, project, name, state in self._rows(db, "run", "id, project, name, deleted"):
            if project not in projects or state not in (0, 1, 2):
                self._add(
                    f"run {number} names project {project!r} and state {state!r}",
                    "the server does not start; restore the file from a backup",
                )
            if isinstance(number, int) and isinstance(project, int):
                title = f"{projects.get(project, f'project {project}')}/{name}"
                self.state.runs[number] = KnownRun(
                    name=title,
                    run_id=str(name),
                    project=project,
                    state=state if isinstance(state, int) else ALIVE,
                )
        for number, run, name, saved in self._rows(db, "writer", "id, run, name, progress"):
            if run not in self.state.runs or not isinstance(number, int):
                self._add(
                    f"writer {name!r} belongs to run {run!r}, which is not there",
                    "the server does not start; restore the file from a backup",
                )
                continue
            assert isinstance(run, int)
            writer = self.state.writers[number] = KnownWriter(name=str(name), run=run)
            try:
                writer.progress = decode_progress(saved if isinstance(saved, str) else None)
            except BROKEN as error:
                self._add(
                    f"progress of writer {name!r} cannot be decoded: {told(error)}",
                    "how far it is stored is unknown; its run cannot be read",
                    run=self.state.name(run),
                )

    def _rewinds(self, db: sqlite3.Connection) -> None:
        for number, run, step, stored in self._rows(db, "rewind", "id, run, step, stored"):
            known = self.state.runs.get(run) if isinstance(run, int) else None
            try:
                if known is None:
                    raise DamageError(f"there is no run {run!r}", offset=0)
                covered = {int(w): int(n) for w, n in json.loads(str(stored)).items()}
                assert isinstance(step, int)
                known.rewinds.append(Rewind(step, covered))
            except BROKEN as error:
                self._add(
                    f"rewind {number} cannot be decoded: {told(error)}",
                    "points that were rewound may be shown again",
                    run=self.state.name(run),
                )

    def _forks(self, db: sqlite3.Connection) -> None:
        parents: dict[tuple[int, str], str] = {}
        for number, *columns in self._rows(
            db, "fork", "run, parent, step, rewinds", "ORDER BY run"
        ):
            known = self.state.runs.get(number) if isinstance(number, int) else None
            try:
                if known is None:
                    raise DamageError(f"there is no run {number!r}", offset=0)
                fork = known_fork(*columns)
                parents[known.project, known.run_id] = fork.point.run
            except BROKEN as error:
                self._add(
                    f"the fork of run {number!r} cannot be decoded: {told(error)}",
                    "the server does not start; restore the file from a backup",
                    run=self.state.name(number),
                )
        for project, run in parents:
            seen, above = [run], parents[project, run]
            while above not in seen and (project, above) in parents:
                seen.append(above)
                above = parents[project, above]
            if above == run:
                self._add(
                    f"run {run!r} inherits from itself, over {seen[1:]}",
                    "of its inherited history a part is missing",
                )

    def _declared(self, db: sqlite3.Connection) -> None:
        for number, writer, frames in self._rows(db, "declared", "id, writer, frames"):
            known = self.state.writers.get(writer) if isinstance(writer, int) else None
            try:
                if known is None:
                    raise DamageError(f"there is no writer {writer!r}", offset=0)
                body = unseal(_blob(frames), f"declaration {number}")
                if known.declared is not None:
                    known.declared.append(body)
                    StreamDecoder(Progress(), known.declared)
            except BROKEN as error:
                if known is not None:
                    known.declared = None
                self._add(
                    f"declaration {number} of writer {known.name if known else writer!r}: "
                    f"{told(error)}",
                    "nothing can be added to this writer, and what waits of it in the log "
                    "cannot be read",
                    run=self.state.name(known.run) if known else "",
                    size=_size(frames),
                )

    def _pieces(self, db: sqlite3.Connection) -> None:
        rows = self._rows(db, "piece", "seq, writer, stop, body", "ORDER BY seq")
        for seq, writer, stop, body in rows:
            known = self.state.writers.get(writer) if isinstance(writer, int) else None
            if known is None or not isinstance(seq, int) or not isinstance(stop, int):
                self._add(
                    f"piece {seq} belongs to writer {writer!r}, which is not there",
                    "the server does not start; restore the file from a backup",
                    size=_size(body),
                )
                continue
            try:
                data: bytes | DamageError = unseal(_blob(body), f"piece {seq}")
            except DamageError as error:
                data = error
            known.pieces.append((seq, stop, data))

    def check_pieces(self, applied: dict[int, Progress]) -> None:
        """Name what of the pieces behind what is packed cannot be brought back."""
        for number, writer in self.state.writers.items():
            packed = applied.get(number, Progress())
            troubles: list[tuple[int, int, str]] = []
            decoder: StreamDecoder | None = None
            for seq, stop, data in writer.pieces:
                try:
                    if isinstance(data, DamageError):
                        raise data
                    if stop <= packed.next or writer.declared is None:
                        continue
                    decoder = decoder or StreamDecoder(packed, writer.declared)
                    begin, end = stop - len(data), decoder.progress.next
                    if begin != end:
                        raise DamageError(f"begins at byte {begin} and not at {end}", offset=begin)
                    decoded = decoder.decode(data)
                    if decoded.damage is not None:
                        raise decoded.damage
                except BROKEN as error:
                    troubles.append((seq, stop, told(error)))
            reached = decoder.progress.next if decoder is not None else packed.next
            for seq, stop, trouble in troubles:
                # What a sender sent again stands behind the damage and takes its place.
                self._piece(seq, stop, writer, trouble, is_spare=stop <= reached)

    def _piece(
        self, seq: int, stop: int, writer: KnownWriter, trouble: str, *, is_spare: bool
    ) -> None:
        self._add(
            f"piece {seq} of writer {writer.name!r}, up to byte {stop}: {trouble}",
            "nothing is lost: what it holds is stored elsewhere"
            if is_spare
            else "what it holds is asked for again when the writer's spool is delivered, "
            "as 'runlore sync' does; without the spool it is lost",
            run=self.state.name(writer.run),
            remedy="piece" if is_spare else "none",
            target=(seq,),
        )

    def _rows(
        self, db: sqlite3.Connection, table: str, columns: str, order: str = "ORDER BY id"
    ) -> list[tuple[object, ...]]:
        return rows_of(db, table, columns, order, file=self._file, findings=self._findings)

    def _add(
        self,
        what: str,
        means: str,
        *,
        run: str = "",
        remedy: Remedy = "none",
        target: tuple[int, ...] = (),
        size: int | None = None,
    ) -> None:
        self._findings.add(
            Finding(
                file=self._file,
                what=what,
                means=means,
                run=run,
                remedy=remedy,
                target=target,
                size=size,
            )
        )


def _blob(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _size(value: object) -> int | None:
    return len(value) if isinstance(value, bytes) else None
