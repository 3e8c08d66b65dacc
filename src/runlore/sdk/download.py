"""Files that a server makes while it sends them, kept when they are whole."""

import http.client
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from runlore.errors import RunloreError, UnavailableError, UsageError
from runlore.sdk.link import Link, Query, error_of

_PIECE_BYTES = 1024 * 1024
_TYPES = ("application/vnd.apache.parquet", "text/csv")


def download(link: Link, path: str, query: Query, target: Path) -> None:
    """Fetch a file; until it is whole it stands beside its place as `….part`.

    Raises:
        RunloreError: of the sense of the server's answer; UnavailableError if it breaks off.
        UsageError: the file cannot be written.
    """
    address = urlsplit(link.url)
    is_secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=link.timeout)
    headers = {"Authorization": f"Bearer {link.key}"} if link.key else {}
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    asked = urlencode({name: value for name, value in query.items() if value}, doseq=True)
    try:
        connection.request("GET", f"{address.path}{path}?{asked}", headers=headers)
        answer = connection.getresponse()
        if answer.status >= 400:
            raise error_of(answer.status, answer.read(_PIECE_BYTES), link.url)
        found = answer.headers.get("Content-Type", "")
        if answer.status != 200 or not found.startswith(_TYPES):
            raise UnavailableError(
                f"{link.url} answered {answer.status} with {found[:60] or 'nothing'!r}; "
                "is this the address of a Runlore server?"
            )
        _save(answer, part, target)
    except RunloreError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"the download from {link.url} broke off: {error or type(error).__name__}; try again"
        ) from error
    finally:
        connection.close()
        part.unlink(missing_ok=True)


def _save(answer: http.client.HTTPResponse, part: Path, target: Path) -> None:
    with _written(target):
        file = part.open("wb")
    with file:
        while piece := answer.read(_PIECE_BYTES):
            with _written(target):
                file.write(piece)
    with _written(target):
        part.replace(target)


@contextmanager
def _written(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {str(target)!r}: {error.strerror or error}") from error
