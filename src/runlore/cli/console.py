"""What commands print: data to stdout, talk to stderr."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from runlore.core.json import JsonValue
from runlore.core.text import printable, printable_lines
from runlore.errors import UsageError

EXIT_USE = 1
EXIT_SERVER = 3


def emit(lines: str) -> None:
    """Print lines of data, unless the program was started without a place to print to."""
    _write(printable_lines(lines))


def emit_json(value: JsonValue) -> None:
    """Print data as JSON, what a terminal would obey as the escapes of JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not text.replace("\n", "").isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    _write(text)


def complain(detail: str) -> None:
    """Print an error."""
    sys.stderr.write(f"runlore: {printable_lines(detail)}\n")
    sys.stderr.flush()


def emit_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: str = "") -> None:
    """Print columns, each as wide as its widest value; those named in `right` flush right."""
    shown = [head, *(tuple(map(printable, row)) for row in rows)]
    widths = [max(len(row[i]) for row in shown) for i in range(len(head))]
    flush_right = right.split()
    for row in shown:
        cells = [
            cell.rjust(width) if name in flush_right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        emit("  ".join(cells).rstrip())


def ago(text: str, *, now: datetime | None = None) -> str:
    """Tell how long ago an ISO time was, in the largest unit that fits."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(text)).total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit} ago"
    return "just now"


def _write(text: str) -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What it still holds would be tried, and complained of, once more at the end.
        sys.stdout = None
        raise UsageError(
            f"cannot print: {error.strerror}; print to another place, or make room"
        ) from error
