"""Columns as tables of the libraries that a user may have: Arrow, pandas, polars."""

from array import array
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias

from runlore.errors import UsageError

ColumnKind: TypeAlias = Literal["integer", "number", "bool", "string", "time"]


class Column(NamedTuple):
    """A named column; times are whole nanoseconds since 1970, None is a gap."""

    name: str
    kind: ColumnKind
    values: Any


class Columns(NamedTuple):
    """Columns of one length."""

    columns: list[Column]

    def to_arrow(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Make a `pyarrow.Table`."""
        arrow = library("pyarrow", "pip install 'runlore[tables]'")
        kinds = {
            "integer": arrow.int64(),
            "number": arrow.float64(),
            "bool": arrow.bool_(),
            "string": arrow.string(),
            "time": arrow.timestamp("ns", tz="UTC"),
        }
        arrays = [arrow.array(one.values, type=kinds[one.kind]) for one in self.columns]
        return arrow.Table.from_arrays(arrays, names=[one.name for one in self.columns])

    def to_pandas(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Make a `pandas.DataFrame`."""
        pandas = library("pandas", "pip install pandas")
        found = {}
        for name, kind, values in self.columns:
            if kind == "time":
                found[name] = pandas.to_datetime(pandas.Series(values, dtype="int64"), utc=True)
            elif kind == "bool":
                found[name] = pandas.Series(values, dtype="boolean" if None in values else "bool")
            else:
                types = {"integer": "int64", "number": "float64", "string": "object"}
                found[name] = pandas.Series(values, dtype=types[kind])
        return pandas.DataFrame(found)

    def to_polars(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Make a `polars.DataFrame`."""
        polars = library("polars", "pip install polars")
        kinds = {
            "integer": polars.Int64,
            "number": polars.Float64,
            "bool": polars.Boolean,
            "string": polars.String,
            "time": polars.Datetime("ns", "UTC"),
        }
        return polars.DataFrame(
            [
                polars.Series(one.name, one.values, dtype=kinds[one.kind], strict=False)
                for one in self.columns
            ]
        )


def library(name: str, install: str) -> Any:  # noqa: ANN401 -- a module
    """Load a library that need not be there.

    Raises:
        UsageError: it is not there; the message tells how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(f"this needs {name}, which is not installed: {install}") from error


def floats(data: bytes) -> Sequence[float]:
    """Read little-endian float64: a numpy array where numpy is installed, else an `array`."""
    try:
        numpy = import_module("numpy")
    except ImportError:
        return array("d", data)
    found: Sequence[float] = numpy.frombuffer(data, dtype="<f8")
    return found
