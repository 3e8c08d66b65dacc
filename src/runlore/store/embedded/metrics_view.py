"""One run in one snapshot: its packed and unpacked parts, and what of them is superseded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from runlore.core.run import RunRef
from runlore.store.embedded.metrics_blob import Ints
from runlore.store.embedded.metrics_decode import Block
from runlore.store.embedded.metrics_levels import Tower
from runlore.store.embedded.metrics_log import Rewind
from runlore.store.embedded.metrics_parts import PackedPart, Part, TailPart
from runlore.store.embedded.metrics_programs import Program, Progress, programs_of
from runlore.store.embedded.metrics_reader import BlockRow, HistoryReader
from runlore.store.embedded.metrics_summary import Summary
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
    """One run in a snapshot; `reader` is None where nothing was ever packed."""

    id: int
    ref: RunRef
    project: int
    writers: Sequence[WriterView]
    rewinds: Sequence[Rewind]
    published: int
    reader: HistoryReader | None
    summaries: Callable[[HistoryReader, int, int, str, int], Summary | None]

    @property
    def is_plain(self) -> bool:
        """Whether one writer's packed points are all there is, and all of them count."""
        return len(self.writers) == 1 and not self.writers[0].tail and not self.rewinds


class Snapshot:
    """What answers about a run are made of; parts are decoded as far as they are asked."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self._name = str(view.ref)
        began = sorted(view.writers, key=_begin)
        self.ranks = {writer.id: rank for rank, writer in enumerate(began)}
        self.writers = {writer.id: writer for writer in view.writers}
        self.program = {
            writer.id: program
            for program in programs_of(view.writers)
            for writer in program.writers
        }
        self._summaries: dict[int, Summary] = {}
        self._first_steps: dict[Program[WriterView], dict[str, int]] = {}
        self._packed: dict[int, PackedPart] = {}

    @cached_property
    def all_parts(self) -> list[Part]:
        """All parts of the run."""
        return self.parts(-NEVER, NEVER)

    def parts(self, low: int, high: int) -> list[Part]:
        """Return all parts with steps from `low` to before `high`."""
        view = self.view
        if view.reader is None:
            return self._tail(low, high)
        rows = view.reader.blocks(view.id, view.published, low, high)
        return [*map(self._part, rows), *self._tail(low, high)]

    def loose_parts(self, low: int, high: int) -> list[Part]:
        """Return the parts with steps from `low` to before `high` that no tower holds."""
        view = self.view
        if view.reader is None:
            return self._tail(low, high)
        rows = view.reader.loose_blocks(view.id, view.published)
        packed = [row for row in rows if row.last_step >= low and row.first_step < high]
        return [*map(self._part, packed), *self._tail(low, high)]

    def raised_parts(self, tower: Tower, low: int, high: int) -> list[Part]:
        """Return the parts with steps from `low` to before `high` that a tower may hold."""
        assert self.view.reader is not None
        rows = self.view.reader.raised_blocks(tower, low, high)
        return [self._part(row) for row in rows]

    def summary(self, writer: WriterView) -> Summary:
        if writer.id not in self._summaries:
            view = self.view
            packed = None
            if view.reader is not None:
                packed = view.summaries(
                    view.reader, view.id, writer.id, self._name, view.published
                )
            summary = packed.copy() if packed is not None else Summary()
            for block in writer.tail:
                summary.fold(block)
            self._summaries[writer.id] = summary
        return self._summaries[writer.id]

    def limit(self, writer: int, key: str) -> int:
        """Return the step from which on a writer's points of a key are superseded by others."""
        limit = NEVER
        for later in self.program[writer].later:
            if later not in self._first_steps:
                self._first_steps[later] = self._least_steps(later)
            limit = min(limit, self._first_steps[later].get(key, NEVER))
        return limit

    def _least_steps(self, program: Program[WriterView]) -> dict[str, int]:
        """Return the least step of each key in any writer of a program."""
        least: dict[str, int] = {}
        for writer in program.writers:
            for key, step in self.summary(writer).first_steps().items():
                least[key] = min(least.get(key, step), step)
        return least

    def live(self, part: Part, key: str, low: int, high: int) -> Ints | None:
        """Return the places of a part's points of a key that are neither superseded nor outside.

        None stands for all of them.
        """
        limit = min(high, self.limit(part.writer, key))
        rewinds = [
            (rewind.step, rewind.stored[part.writer])
            for rewind in self.view.rewinds
            if rewind.stored.get(part.writer, 0) > 0 and part.last_step > rewind.step
        ]
        if not rewinds and part.first_step >= low and part.last_step < limit:
            return None
        steps, offsets, *_ = part.frames()
        live = (steps >= low) & (steps < limit)
        for step, stored in rewinds:
            live &= (steps <= step) | (offsets >= stored)
        return np.flatnonzero(live)

    def _tail(self, low: int, high: int) -> list[Part]:
        tail = [
            TailPart(writer.id, block) for writer in self.view.writers for block in writer.tail
        ]
        return [part for part in tail if part.last_step >= low and part.first_step < high]

    def _part(self, row: BlockRow) -> PackedPart:
        if row.id not in self._packed:
            assert self.view.reader is not None
            self._packed[row.id] = PackedPart(self.view.reader, row, self._name)
        return self._packed[row.id]


def _begin(writer: WriterView) -> tuple[int, str]:
    return writer.progress.started_ns, writer.name
