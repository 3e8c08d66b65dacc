"""The rows of a run's history, one by one or as a table."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from runlore.core.metric import Kind, Value, kind_of
from runlore.sdk.answers import Logged, Row
from runlore.sdk.tables import Column, Columns
from runlore.wire.columns import apart, column_names

OWN = ("step", "time")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class HistoryRows(Iterator[Row]):
    """Rows by step, asked for as they are used; `to_…` takes all that are left as one table.

    A table has the columns `step` and `time` and one per metric. A metric that was logged as
    values of several kinds has its numbers under its name and the others beside them, as
    `name:bool` and `name:string`.
    """

    def __init__(self, rows: Iterator[Logged]) -> None:
        self._rows = rows

    def __next__(self) -> Row:
        """Return the next row."""
        step, time, values = next(self._rows)
        return {
            "step": step,
            "time": time,
            **{apart(key, OWN): value for key, value in values.items()},
        }

    def to_arrow(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Return a `pyarrow.Table`."""
        return self._columns().to_arrow()

    def to_pandas(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Return a `pandas.DataFrame`."""
        return self._columns().to_pandas()

    def to_polars(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Return a `polars.DataFrame`."""
        return self._columns().to_polars()

    def _columns(self) -> Columns:
        steps: list[int] = []
        times_ns: list[int] = []
        cells: dict[tuple[str, Kind], list[Value | None]] = {}
        for step, time, values in self._rows:
            for key, value in values.items():
                kind = kind_of(value)
                of_cell = cells.setdefault((key, kind), [])
                of_cell += [None] * (len(steps) - len(of_cell))
                of_cell.append(float(value) if kind == "number" else value)
            steps.append(step)
            times_ns.append((time - _EPOCH) // _MICROSECOND * 1000)
        for of_cell in cells.values():
            of_cell += [None] * (len(steps) - len(of_cell))
        columns = [Column("step", "integer", steps), Column("time", "time", times_ns)]
        for name, (_, kind), of_cell in zip(
            column_names(cells, OWN), cells, cells.values(), strict=True
        ):
            columns.append(Column(name, kind, of_cell))
        return Columns(columns)
