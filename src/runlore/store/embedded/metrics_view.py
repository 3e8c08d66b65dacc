"""One run in one snapshot: its packed and unpacked parts, and what of them is superseded."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from runlore.core.metric import Kind
from runlore.core.run import RunRef
from runlore.store.embedded.metrics_blob import Ints
from runlore.store.embedded.metrics_decode import Block
from runlore.store.embedded.metrics_history import joined
from runlore.store.embedded.metrics_levels import Tower
from runlore.store.embedded.metrics_log import Rewind
from runlore.store.embedded.metrics_parts import PackedPart, Part, TailPart
from runlore.store.embedded.metrics_programs import (
    Program,
    Progress,
    programs_of,
    seen_by_fork,
)
from runlore.store.embedded.metrics_reader import BlockRow, HistoryReader
from runlore.store.embedded.metrics_summary import Summary, merged
from runlore.store.embedded.metrics_tail import ProgressSource

NEVER = 2**62
"""Behind every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterView:
    """One writer in a snapshot: how far it came, and its unpacked blocks."""

    id: int
    name: str
    source: ProgressSource
    tail: Sequence[Block]

    @property
    def progress(self) -> Progress:
        """How far it came."""
        return self.source.progress


@dataclass(slots=True, kw_only=True)
class RunView:
    """One run in a snapshot, and those that it inherits from, its parent first.

    `reader` is None where nothing was ever packed.
    """

    id: int
    ref: RunRef
    project: int
    writers: Sequence[WriterView]
    rewinds: Sequence[Rewind]
    published: int
    reader: HistoryReader | None
    summaries: Callable[[HistoryReader, int, int, str, int], Iterable[Summary]]
    parents: Sequence["ParentView"] = ()

    @property
    def is_plain(self) -> bool:
        """Whether one writer's packed points are all there is, and all of them count."""
        is_alone = len(self.writers) == 1 and not self.parents
        return is_alone and not self.writers[0].tail and not self.rewinds


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentView:
    """An ancestor in a snapshot, inherited up to `step`; so many of its rewinds count."""

    view: RunView
    step: int
    rewinds: int


class Line:
    """What a snapshot shows of one run: of the one asked for, or of an ancestor.

    Attributes:
        end: the step before which its points are part of what is shown.
        below: the line that inherits from this one.
        rewinds: those that count.
        late: the writers that began too late to be part of what was forked.
    """

    def __init__(self, view: RunView, parent: ParentView | None, below: "Line | None") -> None:
        self.view = view
        self.name = str(view.ref)
        self.below = below
        self.end = NEVER
        self.rewinds = view.rewinds
        self.writers: Sequence[WriterView] = view.writers
        self.late: Collection[int] = ()
        if parent is not None and below is not None:
            self.rewinds = view.rewinds[: parent.rewinds]
            self.writers = seen_by_fork(below.programs, view.writers)
            steps = (rewind.step for rewind in below.rewinds)
            self.late = {w.id for w in view.writers} - {w.id for w in self.writers}
            self.end = min([below.end, parent.step + 1, *(step + 1 for step in steps)])
        self.programs: list[Program[WriterView]] = programs_of(self.writers)


class Snapshot:
    """What answers about a run are made of; parts are decoded as far as they are asked."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self._own = Line(view, None, None)
        self.lines = [self._own]
        began = sorted(view.writers, key=_begin)
        self._ancestors: dict[int, Line] = {}
        for parent in view.parents:
            line = Line(parent.view, parent, self.lines[-1])
            self.lines.append(line)
            began = [*sorted(line.writers, key=_begin), *began]
            self._ancestors.update((writer.id, line) for writer in line.writers)
        self.ranks = {writer.id: rank for rank, writer in enumerate(began)}
        self.writers = {writer.id: writer for writer in began}
        self._program = {
            writer.id: program
            for line in self.lines
            for program in line.programs
            for writer in program.writers
        }
        self._of_tails: dict[int, Summary] = {}
        self._first_steps: dict[Program[WriterView] | Line, dict[str, int]] = {}
        self._packed: dict[int, PackedPart] = {}
        self._tails: dict[Line, list[Part]] = {}

    @cached_property
    def all_parts(self) -> list[Part]:
        """All parts of the run."""
        return self.parts(-NEVER, NEVER)

    @cached_property
    def towers(self) -> list[Tower]:
        """All towers of the run."""
        reader = self.view.reader
        if reader is None:
            return []
        if len(self.lines) == 1:
            return reader.towers(self.view.id)
        return [
            tower
            for line in self.lines
            for tower in reader.towers(line.view.id)
            if tower.key.writer not in line.late
        ]

    def cells(self) -> set[tuple[str, Kind]]:
        """Return the keys and kinds that the run has or inherits, superseded or not."""
        return {
            (cell.key, cell.kind)
            for line in self.lines
            for writer in line.writers
            for summary in self.summaries(writer)
            for cell in summary.cells()
            if cell.first_step < line.end
        }

    def parts(self, low: int, high: int) -> list[Part]:
        """Return all parts with steps from `low` to before `high`."""
        found: list[Part] = []
        for line in self.lines:
            until, view = min(high, line.end), line.view
            if view.reader is not None:
                rows = view.reader.blocks(view.id, view.published, low, until)
                found += self._parts(line, rows)
            found += self._tail(line, low, until)
        return found

    def loose_parts(self, low: int, high: int) -> list[Part]:
        """Return the parts with steps from `low` to before `high` that no tower holds."""
        found: list[Part] = []
        for line in self.lines:
            until, view = min(high, line.end), line.view
            if view.reader is not None:
                rows = view.reader.loose_blocks(view.id, view.published)
                packed = [r for r in rows if r.last_step >= low and r.first_step < until]
                found += self._parts(line, packed)
            found += self._tail(line, low, until)
        return found

    def raised_parts(self, tower: Tower, low: int, high: int) -> list[Part]:
        """Return the parts with steps from `low` to before `high` that a tower may hold."""
        assert self.view.reader is not None
        rows = self.view.reader.raised_blocks(tower, low, high)
        return self._parts(self._line(tower.key.writer), rows)

    def summaries(self, writer: WriterView) -> Iterator[Summary]:
        """Yield the parts of a writer's summary in ascending order; nobody may change them."""
        if writer.id not in self._of_tails:
            self._of_tails[writer.id] = tail = Summary()
            for blocks in _alike(writer):
                tail.fold(joined(blocks[0].columns, blocks))
        layers: list[Iterable[Summary]] = []
        line = self._line(writer.id)
        view = line.view
        if view.reader is not None:
            name = line.name
            layers.append(view.summaries(view.reader, view.id, writer.id, name, view.published))
        if len(self._of_tails[writer.id]):
            layers.append(self._of_tails[writer.id].parts())
        return merged(layers)

    def _line(self, writer: int) -> Line:
        return self._ancestors.get(writer, self._own)

    def name(self, writer: int) -> str:
        """Return what errors call the run of a writer."""
        return self._line(writer).name

    def end(self, writer: int) -> int:
        """Return the step before which a writer's points are part of what is shown."""
        return self._line(writer).end

    def rewinds(self, writer: int) -> list[tuple[int, int]]:
        """Return step and bytes covered of the rewinds that count for a writer, in order."""
        rewinds = self._line(writer).rewinds
        return _covering(rewinds, writer) if rewinds else []

    def eras(self, writer: int) -> list[int]:
        """Return how many bytes of a writer each of its rewinds covers, in order."""
        return [stored for _, stored in _covering(self._line(writer).view.rewinds, writer)]

    def is_whole(self, writer: int) -> bool:
        """Tell whether none of a writer's points can be superseded or outside."""
        line = self._line(writer)
        return line.below is None and not self.rewinds(writer) and not self._program[writer].later

    def limit(self, writer: int, key: str) -> int:
        """Return the step from which on a writer's points of a key do not count.

        There others supersede them, or a fork has left their run.
        """
        line = self._line(writer)
        limit = line.end
        for later in self._program[writer].later:
            limit = min(limit, self._least_steps(later).get(key, NEVER))
        while line.below is not None:
            line = line.below
            limit = min(limit, self._least_steps(line).get(key, NEVER))
        return limit

    def _least_steps(self, of: Program[WriterView] | Line) -> dict[str, int]:
        """Return the least step of each key in any writer of a program or line."""
        if of not in self._first_steps:
            least = self._first_steps[of] = {}
            for writer in of.writers:
                for summary in self.summaries(writer):
                    for key, step in summary.first_steps().items():
                        least[key] = min(least.get(key, step), step)
        return self._first_steps[of]

    def live(self, part: Part, key: str, low: int, high: int) -> Ints | None:
        """Return the places of a part's points of a key that are neither superseded nor outside.

        None stands for all of them.
        """
        limit = min(high, self.limit(part.writer, key))
        rewinds = [one for one in self.rewinds(part.writer) if part.last_step > one[0]]
        if not rewinds and part.first_step >= low and part.last_step < limit:
            return None
        steps, offsets, *_ = part.frames()
        live = (steps >= low) & (steps < limit)
        for step, stored in rewinds:
            live &= (steps <= step) | (offsets >= stored)
        return np.flatnonzero(live)

    def _tail(self, line: Line, low: int, high: int) -> list[Part]:
        if line not in self._tails:
            self._tails[line] = [
                TailPart(writer.id, blocks) for writer in line.writers for blocks in _alike(writer)
            ]
        return [
            part for part in self._tails[line] if part.last_step >= low and part.first_step < high
        ]

    def _parts(self, line: Line, rows: Iterable[BlockRow]) -> list[Part]:
        found: list[Part] = []
        for row in rows:
            if row.writer in line.late:
                continue
            if row.id not in self._packed:
                assert line.view.reader is not None
                self._packed[row.id] = PackedPart(line.view.reader, row, line.name)
            found.append(self._packed[row.id])
        return found


def _covering(rewinds: Iterable[Rewind], writer: int) -> list[tuple[int, int]]:
    return [
        (rewind.step, stored) for rewind in rewinds if (stored := rewind.stored.get(writer, 0)) > 0
    ]


def _alike(writer: WriterView) -> Iterator[list[Block]]:
    """Yield the blocks of a tail; together those with the same columns that follow each other.

    A program that logs once a second leaves dozens of blocks of one row. Parts are in the order
    of the stream, but one piece may hold the same columns twice, as rows of a key set and as
    mixed rows, one among the other: such blocks stay apart.
    """
    together: list[Block] = []
    for block in writer.tail:
        if together and not (
            block.columns is together[-1].columns and block.offsets[0] > together[-1].offsets[-1]
        ):
            yield together
            together = []
        together.append(block)
    if together:
        yield together


def _begin(writer: WriterView) -> tuple[int, str]:
    return writer.progress.started_ns, writer.name
