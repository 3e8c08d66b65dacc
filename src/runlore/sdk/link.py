"""One server as `Api` asks it: requests within bounds of size and time, errors of one sense."""

import json
import zlib
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from runlore.core.json import JsonObject, JsonValue
from runlore.errors import (
    AccessError,
    ConflictError,
    DamageError,
    DeletedError,
    NotFoundError,
    RunloreError,
    UnavailableError,
    UsageError,
)
from runlore.sdk.http import CONNECT_SECONDS, Connection
from runlore.wire.document import plain
from runlore.wire.series import MEDIA_TYPE

MAX_BYTES = 256 * 1024 * 1024
"""An answer that is larger, also once it is unpacked, is none of a Runlore server."""
_GZIP = 31
_MAX_DETAIL = 2000

Query = Mapping[str, str | Sequence[str]]


class Link:
    """A server's address, the key for it and how long to wait for an answer."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self.url = url
        self.key = key
        self.timeout = timeout

    def ask_json(
        self, method: str, path: str, *, query: Query | None = None, body: JsonObject | None = None
    ) -> JsonObject:
        """Ask for a JSON object.

        Raises:
            RunloreError: of the sense of the server's answer; UnavailableError without one.
        """
        text = self.ask_bytes(method, path, query=query, body=body)
        try:
            content: JsonValue = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise strange("a JSON object", text[:60], self.url)
        return content

    def ask_bytes(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: JsonObject | None = None,
        accept: str = "application/json",
    ) -> bytes:
        """Ask for bytes of a type that Runlore answers; see `ask_json`."""
        asked = {name: value for name, value in (query or {}).items() if value}
        target = f"{path}?{urlencode(asked, doseq=True)}" if asked else path
        headers = {"Accept": accept, "Accept-Encoding": "gzip"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        text = b""
        if body is not None:
            headers["Content-Type"] = "application/json"
            try:
                text = json.dumps(plain(body)).encode()
            except TypeError as error:
                raise UsageError(
                    f"expected what JSON can hold, got another: {error}; turn it into numbers, "
                    "texts, lists and dicts"
                ) from error
        status, answered, content = self._exchange(method, target, text, headers)
        if status >= 400:
            raise error_of(status, content, self.url)
        if status >= 300 or not answered.startswith(("application/json", MEDIA_TYPE)):
            raise UnavailableError(
                f"{self.url} answered {status} with {answered[:60] or 'nothing'!r}; "
                "is this the address of a Runlore server?"
            )
        return content

    def _exchange(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str, bytes]:
        # A new one each time: several threads may ask, and nothing is sent twice.
        connection = Connection(
            self.url,
            connect_seconds=min(CONNECT_SECONDS, self.timeout),
            answer_seconds=self.timeout,
            max_body_bytes=MAX_BYTES,
        )
        try:
            answer = connection.request(method, target, headers=headers, body=body)
        except UnavailableError as error:
            glue = " " if str(error).endswith("?") else "; "
            raise UnavailableError(
                f"{error}{glue}'runlore serve' starts one, RUNLORE_URL names another"
            ) from error
        finally:
            connection.close()
        content = answer.body
        if answer.headers.get("content-encoding", "").lower() == "gzip":
            content = self._unpacked(content)
        return answer.status, answer.headers.get("content-type", ""), content

    def _unpacked(self, content: bytes) -> bytes:
        unpacking = zlib.decompressobj(_GZIP)
        try:
            unpacked = unpacking.decompress(content, MAX_BYTES)
        except zlib.error as error:
            raise strange("a gzip body", content[:60], self.url) from error
        if not unpacking.eof:
            raise strange("a whole gzip body", content[:60], self.url)
        return unpacked


def strange(wanted: str, found: object, url: str) -> UnavailableError:
    """Return the error for an answer that is none of a Runlore server."""
    return UnavailableError(
        f"expected {wanted} from {url}, got {_short(found)}; is this the address of a Runlore "
        "server, of the same version?"
    )


def _short(found: object) -> str:
    if found is None:
        return "nothing"
    # The repr of what is large or deep costs more than it tells.
    if isinstance(found, dict | list):
        return f"a JSON {'object' if isinstance(found, dict) else 'array'} of {len(found)}"
    return repr(found[:60] if isinstance(found, str | bytes) else found)[:80]


def error_of(status: int, content: bytes, url: str) -> RunloreError:
    """Turn a problem into the error of the same sense."""
    try:
        problem: JsonValue = json.loads(content)
    except (ValueError, RecursionError):
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    if not isinstance(detail, str):
        return UnavailableError(
            f"{url} answered {status}; is this the address of a Runlore server?"
        )
    # It ends up in a terminal, which obeys control characters.
    detail = "".join(c if c.isprintable() or c == "\n" else "�" for c in detail[:_MAX_DETAIL])
    if isinstance(problem, dict) and problem.get("type") == "runlore:damage":
        where = problem.get("where")
        return DamageError(detail, offset=where if isinstance(where, int) else 0)
    kinds: dict[int, type[RunloreError]] = {
        401: AccessError,
        403: AccessError,
        404: NotFoundError,
        409: ConflictError,
        410: DeletedError,
    }
    if status >= 500 or status == 429:
        return UnavailableError(detail)
    return kinds.get(status, UsageError)(detail)
