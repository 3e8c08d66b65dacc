"""Which keys runs have, from the sets of columns that their blocks share: no block is read."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TypeAlias

import msgspec

from runlore.core.run import RunRef
from runlore.errors import DamageError
from runlore.store.embedded.metrics_blob import unseal
from runlore.store.embedded.metrics_decode import Columns
from runlore.store.embedded.metrics_findings import agreeing
from runlore.store.embedded.metrics_histories import Histories
from runlore.store.embedded.metrics_log import ALIVE, translated
from runlore.store.embedded.metrics_reader import HistoryReader
from runlore.store.embedded.metrics_summary import CellName
from runlore.store.embedded.metrics_tail import Memory, Run
from runlore.store.search import Pick

_Cells: TypeAlias = tuple[CellName, ...]


# Sets of columns have keys in common, which a slow search need not look at again.
_MOST_REFUSED = 100_000
_cells_decoder = msgspec.json.Decoder(_Cells)


class FirstKeys:
    """Picks the first keys by name behind one; it remembers about twice as many names."""

    def __init__(self, after: str | None, limit: int | None, pick: Pick | None = None) -> None:
        self._after = after
        self._limit = limit
        self._pick = pick
        self._refused: set[str] = set()
        self._names: set[str] = set()
        self._greatest: str | None = None

    def of(self, cells: Iterable[CellName]) -> _Cells:
        """Leave out keys that are not among the first of those seen; some stay for now."""
        if self._limit is None and self._after is None and self._pick is None:
            return tuple(cells)
        least, most = self._after, self._greatest
        kept = tuple(
            cell
            for cell in cells
            if (least is None or cell[0] > least) and (most is None or cell[0] <= most)
        )
        if self._pick is not None:
            kept = self._picked(kept, self._pick)
        if self._limit is not None:
            self._names.update(key for key, _ in kept)
            if len(self._names) > 2 * self._limit:
                self._settle(self._limit)
        return kept

    def only(self, counts: Mapping[CellName, int]) -> Mapping[CellName, int]:
        """Leave out what stayed for then."""
        if self._limit is None:
            return counts
        self._settle(self._limit)
        return {cell: count for cell, count in counts.items() if cell[0] in self._names}

    def _picked(self, cells: _Cells, pick: Pick) -> _Cells:
        asked = [key for key, _ in cells if key not in self._refused]
        kept = set(pick(asked))
        if len(self._refused) + len(asked) > _MOST_REFUSED:
            self._refused.clear()
        if len(asked) <= _MOST_REFUSED:
            self._refused.update(key for key in asked if key not in kept)
        return tuple(cell for cell in cells if cell[0] in kept)

    def _settle(self, limit: int) -> None:
        self._names = set(nsmallest(limit, self._names))
        self._greatest = max(self._names, default=None)


def count_keys(
    memory: Memory, histories: Histories, runs: Collection[RunRef], first: FirstKeys
) -> Mapping[CellName, int]:
    """Count the runs that have each key and kind; those that are not there have none."""
    found = _Found(first)
    by_project: dict[int, dict[int, Run]] = {}
    in_tails: dict[Columns, set[int]] = {}
    with memory.changed:
        memory.check_open()
        for ref in runs:
            run = memory.runs.get(ref)
            if run is None or run.state != ALIVE:
                continue
            by_project.setdefault(run.project, {})[run.id] = run
            for writer in run.writers.values():
                for piece in writer.tail:
                    for block in piece.blocks:
                        in_tails.setdefault(block.columns, set()).add(run.id)
    for columns, of_tails in in_tails.items():
        number = found.number(columns.cells)
        for run_id in of_tails:
            found.add(run_id, number)
    # Looked at behind the tails: what is packed in between is counted from both, once.
    for project, of_project in by_project.items():
        with _lent(histories, project, of_project.values()) as lent:
            if lent is not None:
                _count_packed(*lent, of_project, found)
    return found.counts()


@dataclass(slots=True)
class _Found:
    """The sets of columns of each run; most runs of a project have the same few."""

    first: FirstKeys
    sets: dict[_Cells, int] = field(default_factory=dict)
    of_run: dict[int, set[int]] = field(default_factory=dict)

    def number(self, cells: _Cells) -> int:
        return self.sets.setdefault(self.first.of(cells), len(self.sets))

    def add(self, run: int, number: int) -> None:
        if run in self.of_run:
            self.of_run[run].add(number)
        else:
            self.of_run[run] = {number}

    def counts(self) -> Counter[CellName]:
        sets = list(self.sets)
        counts: Counter[CellName] = Counter()
        for numbers, runs in Counter(map(frozenset, self.of_run.values())).items():
            cells = set().union(*(sets[number] for number in numbers))
            if not counts:
                counts.update(dict.fromkeys(cells, runs))
                continue
            for cell in cells:
                counts[cell] += runs
        return counts


@contextmanager
def _lent(
    histories: Histories, project: int, runs: Collection[Run]
) -> Iterator[tuple[HistoryReader, int] | None]:
    """Lend the reader of a project's history and the number of its last pack, if it has one."""
    history = histories.find(project)
    if history is None:
        for run in runs:
            for writer in run.writers.values():
                writer.check_unpacked()
        yield None
        return
    reader = history.borrow()
    try:
        with translated(history.path), agreeing(history.path):
            yield reader, history.published
    finally:
        history.give_back(reader)


def _count_packed(
    reader: HistoryReader, published: int, runs: Mapping[int, Run], found: _Found
) -> None:
    known: dict[bytes, int] = {}
    for run, number, body in reader.column_sets(list(runs)):
        if body not in known:
            name = f"columns {number} of run {runs[run].ref} in {str(reader.path)!r}"
            try:
                cells = _cells_decoder.decode(unseal(body, name))
            except DamageError as error:
                reader.tell(error)
                _count_summaries(reader, published, runs[run], found)
                continue
            known[body] = found.number(cells)
        found.add(run, known[body])


def _count_summaries(reader: HistoryReader, published: int, run: Run, found: _Found) -> None:
    """Count the keys of a run of which a set of columns is damaged."""
    for writer in list(run.writers.values()):
        for summary in reader.summaries(run.id, writer.id, str(run.ref), published):
            cells = tuple((cell.key, cell.kind) for cell in summary.cells())
            found.add(run.id, found.number(cells))
