"""Noting works beside what comes in, and by the definitions that stand when it writes."""

import threading
from dataclasses import replace

from runlore.core.run import RunRef
from runlore.services.noting import Noting
from runlore.store.metrics import KeySummary
from runlore.store.runs import RunRecord
from runlore.store.search import Pick
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.processes import until
from runlore.testing.runs import ReferenceRunStore, a_record
from runlore.testing.spools import SpoolBuilder, a_run

RUN = a_run()


class SlowMetricStore(ReferenceMetricStore):
    """One whose keys take until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def keys(
        self, run: RunRef, *, limit: int | None = None, pick: Pick | None = None
    ) -> list[KeySummary]:
        self.is_asked.set()
        assert self.may_answer.wait(50)
        return super().keys(run, limit=limit, pick=pick)


def a_curve() -> SpoolBuilder:
    builder = SpoolBuilder(RUN)
    for step in range(4):
        builder.log({"loss": float(step)}, step=step)
    return builder


def defined(record: RunRecord | None) -> RunRecord:
    assert record is not None
    return replace(record, definitions=({"metric": "loss", "summary": "max"},))


def test_the_catalog_is_written_while_a_summary_is_worked_out() -> None:
    runs, metrics = ReferenceRunStore(), SlowMetricStore()
    metrics.append([a_curve().piece()])
    runs.change({RUN: lambda _: a_record(RUN)})
    noting = Noting(runs, metrics)
    noting.touch([RUN])
    assert metrics.is_asked.wait(50)

    changing = threading.Thread(target=runs.change, args=({RUN: defined},))
    changing.start()
    changing.join(50)
    is_done = not changing.is_alive()
    metrics.may_answer.set()

    assert is_done
    changing.join()
    noting.close()
    # Worked out by what was defined before, so it is not noted; the change touches the run again.
    assert runs.noted([RUN]) == {}
    noting = Noting(runs, metrics)
    noting.touch([RUN])
    until(lambda: RUN in runs.noted([RUN]))
    assert runs.noted([RUN])[RUN].values == {"loss": 3.0}
    noting.close()
