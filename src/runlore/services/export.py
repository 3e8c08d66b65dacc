"""All points of a run as a file that is made while it is sent: Parquet or CSV."""

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from runlore.core.metric import Kind
from runlore.errors import UnavailableError, UsageError
from runlore.store.metrics import Scan, ScanBatch, ScanColumn
from runlore.wire.columns import column_names

Format: TypeAlias = Literal["parquet", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
OWN = ("step", "time", "writer", "superseded")
_GROUP_CELLS = 1_000_000
# Fewer rows would not be worth what Parquet notes of each group and column.
_GROUP_ROWS = 1000
_NAMES = {1.0: "true", 0.0: "false"}


class Export:
    """A file that is made while it is read; its methods may be called from any thread."""

    def __init__(self, scan: Scan, pieces: Generator[bytes, None, None]) -> None:
        self._scan = scan
        self._pieces = pieces
        # One thread at a time makes a piece or closes.
        self._lock = threading.Lock()
        self._is_closed = False

    def piece(self) -> bytes | None:
        """Return the next bytes, None at the end.

        Raises:
            UnavailableError: it was closed.
        """
        with self._lock:
            if self._is_closed:
                raise UnavailableError("the export was closed before its end; ask again")
            return next(self._pieces, None)

    def close(self) -> None:
        """Let go of everything; may come at any time and twice."""
        with self._lock:
            self._is_closed = True
            self._pieces.close()
            self._scan.close()


def export(scan: Scan, format: Format) -> Export:
    """Write what is scanned: `step`, `time`, `writer`, `superseded`, a column per metric and kind.

    Raises:
        UsageError: this server has no library for the format.
    """
    try:
        names = column_names(scan.cells, OWN)
        pieces = _csv(scan, names) if format == "csv" else _parquet(scan, names, _arrow())
    except BaseException:
        scan.close()
        raise
    return Export(scan, pieces)


def _csv(scan: Scan, names: Sequence[str]) -> Generator[bytes, None, None]:
    """Write lines; an empty field is a value that is not there, an empty text is quoted."""
    yield (",".join(map(_quoted, [*OWN, *names])) + "\r\n").encode()
    writers = list(map(_quoted, scan.writers))
    for batch in scan.batches:
        times = np.datetime_as_string(batch.times_ns.view("datetime64[ns]"), timezone="UTC")
        columns: list[Sequence[str]] = [
            list(map(str, batch.steps.tolist())),
            times.tolist(),
            [writers[writer] for writer in batch.writers.tolist()],
            [_NAMES[flag] for flag in batch.superseded.tolist()],
        ]
        found = {(column.key, column.kind): column for column in batch.columns}
        nothing = [""] * len(batch.steps)
        columns += [_texts(found[cell]) if cell in found else nothing for cell in scan.cells]
        lines = map(",".join, zip(*columns, strict=True))
        yield ("\r\n".join(lines) + "\r\n").encode("utf-8", "replace")


def _texts(column: ScanColumn) -> list[str]:
    values = column.values.tolist()
    if column.kind == "number":
        texts = list(map(repr, values))
    elif column.kind == "bool":
        texts = [_NAMES.get(value, "") for value in values]
    else:
        texts = ["" if value is None else _quoted(value) for value in values]
    if column.present.all():
        return texts
    kept = zip(texts, column.present.tolist(), strict=True)
    return [text if is_present else "" for text, is_present in kept]


def _quoted(text: str) -> str:
    if text and not any(mark in text for mark in ',"\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'


class _Pipe:
    """What a writer of files writes to; `taken` hands over what came since."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _arrow() -> Any:  # noqa: ANN401 -- a library that need not be there
    # Loaded here, since it would slow the start and fill memory for what few ask.
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow where the server runs: pip install 'runlore[tables]'; "
            "format=csv needs nothing"
        ) from error
    return pyarrow


def _parquet(
    scan: Scan,
    names: Sequence[str],
    arrow: Any,  # noqa: ANN401
) -> Generator[bytes, None, None]:
    """Write row groups as they are gathered."""
    kinds = {"number": arrow.float64(), "bool": arrow.bool_(), "string": arrow.string()}
    fields = [
        arrow.field("step", arrow.int64(), nullable=False),
        arrow.field("time", arrow.timestamp("ns", tz="UTC"), nullable=False),
        arrow.field("writer", arrow.string(), nullable=False),
        arrow.field("superseded", arrow.bool_(), nullable=False),
    ]
    more = zip(names, scan.cells, strict=True)
    schema = arrow.schema(fields + [arrow.field(name, kinds[kind]) for name, (_, kind) in more])
    numbers = [name for name, (_, kind) in zip(names, scan.cells, strict=True) if kind == "number"]
    packing = {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": ["writer"],
        # Bytes of one significance side by side: floats shrink to about half.
        "column_encoding": {name: "BYTE_STREAM_SPLIT" for name in numbers}
        | {"step": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED"},
        "write_statistics": ["step", "time", "superseded"],
    }
    pipe = _Pipe()
    writer = arrow.parquet.ParquetWriter(arrow.PythonFile(pipe, mode="w"), schema, **packing)
    try:
        for batches in _gathered(scan):
            tables = [_record(batch, scan, schema, arrow) for batch in batches]
            writer.write_table(arrow.Table.from_batches(tables, schema))
            yield pipe.taken()
    finally:
        writer.close()
    yield pipe.taken()


def _gathered(scan: Scan) -> Iterator[list[ScanBatch]]:
    """Put small batches together: groups of a few rows would cost more than they hold."""
    gathered: list[ScanBatch] = []
    rows = 0
    width = len(scan.cells) + len(OWN)
    for batch in scan.batches:
        gathered.append(batch)
        rows += len(batch.steps)
        if rows >= _GROUP_ROWS and rows * width >= _GROUP_CELLS:
            yield gathered
            gathered, rows = [], 0
    if gathered:
        yield gathered


def _record(batch: ScanBatch, scan: Scan, schema: Any, arrow: Any) -> Any:  # noqa: ANN401
    writers = arrow.array(scan.writers, type=arrow.string())
    columns = [
        arrow.array(batch.steps),
        arrow.array(batch.times_ns.view("datetime64[ns]")).cast(schema.field("time").type),
        writers.take(arrow.array(batch.writers)),
        arrow.array(batch.superseded),
    ]
    found = {(column.key, column.kind): column for column in batch.columns}
    for cell in scan.cells:
        if cell in found:
            columns.append(_array(found[cell], cell[1], arrow))
        else:
            columns.append(arrow.nulls(len(batch.steps), schema.field(len(columns)).type))
    return arrow.RecordBatch.from_arrays(columns, schema=schema)


def _array(column: ScanColumn, kind: Kind, arrow: Any) -> Any:  # noqa: ANN401
    missing = None if column.present.all() else ~column.present
    values = column.values
    if kind == "bool":
        values = values != 0
    if kind != "string":
        return arrow.array(values, mask=missing)
    texts = [None if value is None else _whole(value) for value in values.tolist()]
    return arrow.array(texts, type=arrow.string(), mask=missing)


def _whole(text: str) -> str:
    """Replace what UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
