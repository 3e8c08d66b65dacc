"""Series as `runlore.Api().series` gives them, decoded from their binary form."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, cast

from runlore.core.json import JsonObject
from runlore.errors import UnavailableError
from runlore.sdk.link import Link, strange
from runlore.sdk.tables import Column, Columns, floats
from runlore.wire.series import MAX_POINTS, MAX_SERIES, MEDIA_TYPE, VERSION

_HEAD = struct.Struct("<4sII4x")


class OneSeries(Mapping[str, Sequence[float]]):
    """One key of one run: columns of float64 by name, one entry per bucket.

    Columns are numpy arrays where numpy is installed, else arrays of the standard library.

    Attributes:
        width: how many steps a bucket has, 0 where each is one point.
        points: how many points they hold.
    """

    def __init__(self, head: JsonObject, names: Sequence[str], data: memoryview) -> None:
        self.run = str(head["run"])
        self.key = str(head["key"])
        self.width = int(cast(int, head["width"]))
        self.points = int(cast(int, head["points"]))
        self._rows = int(cast(int, head["rows"]))
        places = [int(cast(int, at)) for at in cast(list[object], head["at"])]
        self._places = dict(zip(names, places, strict=True))
        self._data = data
        for at in places:
            if not 0 <= 8 * at <= 8 * (at + self._rows) <= len(data):
                raise ValueError(
                    f"expected {self._rows} numbers behind {at}, got {len(data)} bytes"
                )

    def __repr__(self) -> str:
        """Show the run, the key and how much it holds."""
        return f"<series of {self.key!r} in run {self.run}: {self._rows} of {self.points} points>"

    def __getitem__(self, name: str) -> Sequence[float]:
        """Return a column, decoded now."""
        return floats(self.raw(name))

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the columns."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many columns there are."""
        return len(self._places)

    @property
    def rows(self) -> int:
        """How many entries each column has."""
        return self._rows

    def raw(self, name: str) -> bytes:
        """Return a column as bytes."""
        if name not in self._places:
            raise KeyError(f"no column {name!r}; there are {', '.join(self._places)}")
        begin = 8 * self._places[name]
        return bytes(self._data[begin : begin + 8 * self._rows])


class SeriesTable(Mapping[tuple[str, str], OneSeries]):
    """Series by (run, key), in the order asked for; or all as one table."""

    def __init__(self, series: Sequence[OneSeries], names: Sequence[str]) -> None:
        self._series = {(one.run, one.key): one for one in series}
        self._names = list(names)

    def __repr__(self) -> str:
        """Show what it holds, and how to take it."""
        shown = ", ".join(map(str, islice(self._series, 3)))
        more = ", …" if len(self._series) > 3 else ""
        return f"<{len(self._series)} series by (run, key): {shown}{more}>"

    def __getitem__(self, place: tuple[str, str]) -> OneSeries:
        """Return the series of a run and key."""
        if place not in self._series:
            raise KeyError(f"no series {place!r}; they are found by (run, key): {self!r}")
        return self._series[place]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield run and key of each series."""
        return iter(self._series)

    def __len__(self) -> int:
        """Return how many series there are."""
        return len(self._series)

    def to_arrow(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Return a `pyarrow.Table`: `run`, `key` and the columns, a row per bucket."""
        return self._columns().to_arrow()

    def to_pandas(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Return a `pandas.DataFrame`: `run`, `key` and the columns, a row per bucket."""
        return self._columns().to_pandas()

    def to_polars(self) -> Any:  # noqa: ANN401 -- of a library that need not be there
        """Return a `polars.DataFrame`: `run`, `key` and the columns, a row per bucket."""
        return self._columns().to_polars()

    def _columns(self) -> Columns:
        series = list(self._series.values())
        runs = [one.run for one in series for _ in range(one.rows)]
        keys = [one.key for one in series for _ in range(one.rows)]
        return Columns(
            [
                Column("run", "string", runs),
                Column("key", "string", keys),
                *(
                    Column(name, "number", floats(b"".join(one.raw(name) for one in series)))
                    for name in self._names
                ),
            ]
        )


def read_series(
    link: Link, path: str, asked: JsonObject, *, runs: Sequence[str], keys: int, buckets: int
) -> SeriesTable:
    """Ask for series of so many keys, of as many runs at a time as one answer holds."""
    found: list[OneSeries] = []
    names: list[str] = []
    ids = list(dict.fromkeys(runs))
    most = min(MAX_SERIES // max(keys, 1), MAX_POINTS // max(keys * buckets, 1))
    for first in range(0, len(ids) or 1, max(most, 1)):
        body: JsonObject = {**asked, "runs": [*ids[first : first + max(most, 1)]]}
        content = link.ask_bytes("POST", path, body=body, accept=MEDIA_TYPE)
        more, names = decode_series(content, link.url)
        found += more
    return SeriesTable(found, names)


def decode_series(content: bytes, url: str) -> tuple[list[OneSeries], list[str]]:
    """Decode series and the names of their columns.

    Raises:
        UnavailableError: that is not what came, or the server speaks another version.
    """
    try:
        return _decoded(content)
    except UnavailableError:
        raise
    except (struct.error, LookupError, TypeError, ValueError, RecursionError) as error:
        raise strange("series", content[:60], url) from error


def _decoded(content: bytes) -> tuple[list[OneSeries], list[str]]:
    magic, version, size = _HEAD.unpack_from(content)
    if magic != b"RLSR" or version != VERSION:
        raise UnavailableError(
            f"expected series of version {VERSION}, got {magic!r} of version {version}; "
            "use the same version of Runlore here and on the server"
        )
    at = _HEAD.size + size
    header = json.loads(content[_HEAD.size : at])
    names = [str(name) for name in header["columns"]]
    data = memoryview(content)[at:]
    return [OneSeries(head, names, data) for head in header["series"]], names
