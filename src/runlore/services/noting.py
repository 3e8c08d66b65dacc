"""Notes in the catalog what the metrics of runs amount to, behind what comes in."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import NamedTuple, cast

import numpy as np

from runlore.core.metric import Value
from runlore.core.run import RunRef
from runlore.errors import DeletedError, NotFoundError, RunloreError
from runlore.services.summary import first_keys, newest_kinds, summarise
from runlore.store.metrics import MetricStore
from runlore.store.runs import Noted, RunRecord, RunStore, RunSummary

_log = logging.getLogger(__name__)

_FIRST_SECONDS = 1.0
_EVERY_SECONDS = 2.0
_LONGEST_SECONDS = 30.0
_KEYS_PER_SECOND = 200
_REST = 9
_AT_ONCE = 32
_END_SECONDS = 2.0
_REMEMBERED = 1000


class Ready(NamedTuple):
    """What the metrics of a run amount to, by the definitions of a record."""

    record: RunRecord
    summary: RunSummary | None

    def summary_of(self, record: RunRecord) -> RunSummary | None:
        """Return it for a record with the same definitions; for others it is worked out anew."""
        return self.summary if record.definitions == self.record.definitions else None


class Noting:
    """A thread that takes the summaries of runs which have grown to the catalog.

    Lists are filtered and sorted by what is noted, so it follows within seconds; the more keys
    a run has, the longer it waits. The thread rests nine times as long as it works: however much
    comes in, it takes a tenth of a core.
    """

    def __init__(self, runs: RunStore, metrics: MetricStore) -> None:
        self._runs = runs
        self._metrics = metrics
        # Protects what follows.
        self._changed = threading.Condition()
        # Runs that have grown, and when each is due.
        self._behind: dict[RunRef, float] = {}
        self._working: Sequence[RunRef] = ()
        # Until when runs that were noted shortly before are left alone.
        self._rests: dict[RunRef, float] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="runlore-note", daemon=True)
        self._thread.start()

    def touch(self, runs: Iterable[RunRef]) -> None:
        """Tell that runs have grown."""
        first = time.monotonic() + _FIRST_SECONDS
        with self._changed:
            was_idle = not self._behind
            for run in runs:
                self._behind.setdefault(run, max(first, self._rests.get(run, 0.0)))
            if was_idle:
                self._changed.notify()

    def is_behind(self, run: RunRef) -> bool:
        """Tell whether a run has grown since it was noted."""
        with self._changed:
            return run in self._behind or run in self._working

    def forget(self, run: RunRef) -> None:
        """Leave a run that was deleted."""
        with self._changed:
            self._behind.pop(run, None)
            self._rests.pop(run, None)

    def close(self) -> None:
        """Note what is behind, as far as that can be done soon."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while due := self._next():
            began = time.thread_time()
            self._note(due)
            rest = (time.thread_time() - began) * _REST
            with self._changed:
                self._working = ()
                self._changed.wait_for(lambda: self._closed, rest)
        deadline = time.monotonic() + _END_SECONDS
        while (rest_of := list(islice(self._behind, _AT_ONCE))) and time.monotonic() < deadline:
            for run in rest_of:
                del self._behind[run]
            if not self._note(rest_of):
                return

    def _next(self) -> Sequence[RunRef]:
        """Wait for runs that are due; none at the end."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = [run for run, at in self._behind.items() if at <= now][:_AT_ONCE]
                if due:
                    for run in due:
                        del self._behind[run]
                    self._working = due
                    return due
                first = min(self._behind.values(), default=None)
                self._changed.wait(None if first is None else first - now)
        return ()

    def _note(self, runs: Sequence[RunRef]) -> bool:
        """Note runs, and tell whether that was done; they stay behind where it was not."""
        sizes = dict.fromkeys(runs, 0)
        try:
            # Worked out before the catalog is written: what comes in waits for its commits.
            ready = [Ready(record, self._noted(sizes, record)) for record in self._records(runs)]
            self._runs.note({one.record.ref: one.summary_of for one in ready})
        except Exception as error:  # noqa: BLE001 - the top of a job, which must live on
            is_known = isinstance(error, RunloreError)
            _log.warning("summaries wait to be noted: %s", error, exc_info=not is_known)
            again = time.monotonic() + _LONGEST_SECONDS
            with self._changed:
                for run in runs:
                    self._behind.setdefault(run, again)
            return False
        now = time.monotonic()
        with self._changed:
            if len(self._rests) > _REMEMBERED:
                self._rests = {run: at for run, at in self._rests.items() if at > now}
            for run, size in sizes.items():
                rest = min(max(size / _KEYS_PER_SECOND, _EVERY_SECONDS), _LONGEST_SECONDS)
                self._rests[run] = now + rest
        return True

    def _records(self, runs: Sequence[RunRef]) -> Iterator[RunRecord]:
        for run in runs:
            with suppress(NotFoundError, DeletedError):
                yield self._runs.get(run)

    def _noted(self, sizes: dict[RunRef, int], record: RunRecord) -> RunSummary | None:
        """Work out the summary of a run, None where what was noted is to stay."""
        try:
            keys, last_step = first_keys(self._metrics, record.ref)
            summary = summarise(keys, record.definitions, {}, mean=partial(self._mean, record.ref))
        except RunloreError as error:
            _log.warning("the summary of run %s cannot be noted: %s", record.ref, error)
            return None
        sizes[record.ref] = len(keys)
        newest = newest_kinds(keys)
        noted = {
            name: Noted(
                cast(Value, value),
                newest[name].minimum if name in newest else None,
                newest[name].maximum if name in newest else None,
            )
            for name, value in summary.items()
        }
        return RunSummary(noted, last_step)

    def _mean(self, run: RunRef, key: str) -> float:
        return mean_of(self._metrics, run, key)


def mean_of(metrics: MetricStore, run: RunRef, key: str) -> float:
    """Average the finite numbers of a key."""
    found = metrics.series([run], [key], buckets=2)
    if not found:
        return float("nan")
    series = found[0]
    counts = series.count - series.nan - series.posinf - series.neginf
    is_finite = counts > 0
    if not is_finite.any():
        return float("nan")
    return float(np.average(series.mean[is_finite], weights=counts[is_finite]))
