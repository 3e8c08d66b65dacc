"""The history files of all projects, opened when they are needed, and the summaries in them."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from runlore.store.embedded.metrics_history import History
from runlore.store.embedded.metrics_log import refuse_newer, translated
from runlore.store.embedded.metrics_reader import HistoryReader
from runlore.store.embedded.metrics_sizes import Sizes
from runlore.store.embedded.metrics_summary import Summary

_KNOWN_SUMMARIES, _KNOWN_CELLS = 4096, 500_000
"""How many are kept, and keys in them altogether: one takes 300 bytes or so."""
_MOST_CELLS = 50_000
# What a SQLite file begins with, and where it has `user_version`, big-endian.
_MAGIC = b"SQLite format 3\0"
_VERSION_AT = slice(60, 64)


class Histories:
    """The folder `history`; safe to call from several threads.

    Raises:
        ConflictError: a newer Runlore wrote one of the files.
    """

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self._folder = folder
        self._sizes = sizes
        self._lock = threading.Lock()
        self._fresh: list[tuple[int, History]] = []
        self._open: dict[int, History] = {}
        self._summaries: OrderedDict[tuple[int, int], Sequence[Summary]] = OrderedDict()
        self._cells = 0
        for path in folder.glob("*.db"):
            with path.open("rb") as file:
                head = file.read(_VERSION_AT.stop)
            if head.startswith(_MAGIC):
                refuse_newer(path, int.from_bytes(head[_VERSION_AT], "big"))

    def find(self, project: int) -> History | None:
        """Return a project's history, if there is one."""
        with self._lock:
            path = self._path(project)
            if project not in self._open and not path.exists():
                return None
            return self._opened(project, path)

    def make(self, project: int) -> History:
        """Return a project's history, making it if there is none."""
        with self._lock:
            return self._opened(project, self._path(project))

    def summaries(
        self, reader: HistoryReader, run: int, writer: int, run_name: str, published: int
    ) -> Iterable[Summary]:
        """Return the parts of the summary of what is packed of a writer, in ascending order.

        They are kept until the next pack, unless they are so many that no list shows them all.
        """
        key = (writer, published)
        with self._lock:
            if key in self._summaries:
                self._summaries.move_to_end(key)
                return self._summaries[key]
        parts = reader.summaries(run, writer, run_name, published)
        layers = reader.layers(writer, run_name, published)
        if sum(layer.cells for layer, _ in layers) > _MOST_CELLS:
            return parts
        summary = list(parts)
        with self._lock:
            if key not in self._summaries:
                self._summaries[key] = summary
                self._cells += sum(map(len, summary))
            # The newest stays, however large: it will be asked for again.
            while len(self._summaries) > 1 and (
                self._cells > _KNOWN_CELLS or len(self._summaries) > _KNOWN_SUMMARIES
            ):
                _, oldest = self._summaries.popitem(last=False)
                self._cells -= sum(map(len, oldest))
        return summary

    def shrink(self, pages: int) -> bool:
        """Give so many free pages of each file back to the disk; tell if there are more."""
        with self._lock:
            known = list(self._open.values())
        return any([history.shrink(pages) for history in known])

    def opened(self) -> list[tuple[int, History]]:
        """Return the projects and histories that were opened since this was last asked."""
        with self._lock:
            fresh, self._fresh = self._fresh, []
            return fresh

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for history in self._open.values():
                history.close()
            self._open = {}

    def _path(self, project: int) -> Path:
        return self._folder / f"{project}.db"

    def _opened(self, project: int, path: Path) -> History:
        if project not in self._open:
            with translated(path):
                self._open[project] = History(path, self._sizes)
            self._fresh.append((project, self._open[project]))
        self._open[project].check_present()
        return self._open[project]
