"""Takes pieces of spools: decodes by hand, since this is where nearly all requests go."""

import asyncio
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated

import msgspec
import zstandard
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from runlore.core.run import RunRef, checked_name, run_ref
from runlore.errors import UsageError
from runlore.server.backend import Backend
from runlore.server.nouns import Problem, Taken
from runlore.server.problems import StatusError, answer, problem_of
from runlore.services.frames import CheckedPiece, check_piece

MEDIA_TYPE = "application/vnd.runlore.spool"
MAX_BODY = 32 * 1024 * 1024
MAX_PIECE = 64 * 1024 * 1024
MAX_RECEIVING = 256 * 1024 * 1024
_INLINE_BODY = 16 * 1024
_INLINE_PIECE = 128 * 1024
# zstd frames may ask for a window of up to 2 GiB of memory; writers use far less.
_MAX_WINDOW = 128 * 1024 * 1024
_PIECES_AT_ONCE = 2

_encode = msgspec.json.Encoder().encode


class SpoolDoor:
    """Receives bodies within bounds of memory, and checks big ones beside the event loop."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._receiving = 0
        self._threads = ThreadPoolExecutor(_PIECES_AT_ONCE, thread_name_prefix="runlore-check")

    async def body(self, request: Request[object, object, State]) -> bytearray:
        """Receive a body.

        Raises:
            StatusError: it is too large, or too much is being received already.
        """
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                self._receiving += len(chunk)
                if len(body) > MAX_BODY:
                    raise _too_large(MAX_BODY, "before")
                if self._receiving > MAX_RECEIVING:
                    raise StatusError(429, "too many spools are being received; try again soon")
        finally:
            self._receiving -= len(body)
        return body

    async def check(
        self, run: RunRef, writer: str, offset: int, body: bytearray, encoding: str
    ) -> CheckedPiece:
        """Decompress a body and check its frames."""
        if len(body) <= _INLINE_BODY:
            data = decompressed(body, encoding, limit=_INLINE_PIECE)
            if data is not None:
                return check_piece(run, writer, offset, data)
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, _check, run, writer, offset, body, encoding
        )

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)


@post(
    "/api/v1/projects/{owner:str}/{project:str}/runs/{run:str}/spool/{writer:str}",
    status_code=200,
    request_max_body_size=MAX_BODY + 1,
    responses={
        200: ResponseSpec(data_container=Taken, description="stored up to `next`"),
        400: ResponseSpec(data_container=Problem, description="damaged at byte `where`"),
        409: ResponseSpec(data_container=Problem, description="send again from `next`"),
        410: ResponseSpec(data_container=Problem, description="the run was deleted"),
    },
)
async def take_spool(
    request: Request[object, object, State],
    door: SpoolDoor,
    owner: str,
    project: str,
    run: str,
    writer: str,
    offset: Annotated[int, Parameter(ge=0, le=2**62)] = 0,
    gone: bool = False,
) -> Response[bytes]:
    """Take a piece of a writer's spool, and answer when it is durable.

    `gone` says that the writer's process has gone, so that its run does not go on without it.
    """
    # One dependency alone: for two, the framework starts a task each, for every request.
    ref = run_ref(owner, project, run)
    checked_name(writer, "writer")
    if request.headers.get("content-type", "").partition(";")[0].strip() != MEDIA_TYPE:
        raise StatusError(415, f"a spool must come with Content-Type: {MEDIA_TYPE}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "deflate", "zstd"):
        raise StatusError(
            415, f"Content-Encoding must be identity, deflate or zstd, got {encoding[:80]!r}"
        )
    if int(request.headers.get("content-length", "0")) > MAX_BODY:
        raise _too_large(MAX_BODY, "before")
    body = await door.body(request)
    piece = await door.check(ref, writer, offset, body, encoding)
    if gone:
        piece = replace(piece, is_gone=True)
    future = door.backend.ingest.submit(piece)
    if future is None:
        raise StatusError(429, "too many spools wait to be stored; send it again in a moment")
    receipt = await asyncio.wrap_future(future)
    server = door.backend.catalog.server_id
    if receipt.error is None:
        taken = Taken(next=receipt.next, server=server, points=receipt.points)
        return Response(_encode(taken), media_type="application/json")
    problem = problem_of(receipt.error)
    return answer(msgspec.structs.replace(problem, next=receipt.next, server=server))


def decompressed(body: bytearray, encoding: str, *, limit: int) -> bytes | None:
    """Decompress a body, or return None where it has more than `limit` bytes.

    Raises:
        UsageError: it is not what the encoding says, or cut off.
    """
    try:
        if encoding == "identity":
            return bytes(body) if len(body) <= limit else None
        if encoding == "deflate":
            inflate = zlib.decompressobj()
            data = inflate.decompress(body, limit + 1)
            is_whole = inflate.eof and not inflate.unused_data
        else:
            data, is_whole = _unzstd(body, limit)
    except (zlib.error, zstandard.ZstdError) as error:
        raise UsageError(f"the body is not {encoding}: {error}") from error
    if len(data) > limit:
        return None
    if not is_whole:
        raise UsageError(f"the {encoding} of the body is cut off or has bytes behind it")
    return data


def _unzstd(body: bytearray, limit: int) -> tuple[bytes, bool]:
    """Decompress in small steps, so that a bomb is noticed before it fills the memory."""
    decompress = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
    parts: list[bytes] = []
    size = 0
    view = memoryview(body)
    # A step of input can grow some thirty thousand times.
    step = 1024
    for first in range(0, len(view), step):
        if decompress.eof:
            return b"".join(parts), False
        part = decompress.decompress(view[first : first + step])
        parts.append(part)
        size += len(part)
        if size > limit:
            break
    return b"".join(parts), decompress.eof and not decompress.unused_data


def _check(run: RunRef, writer: str, offset: int, body: bytearray, encoding: str) -> CheckedPiece:
    data = decompressed(body, encoding, limit=MAX_PIECE)
    if data is None:
        raise _too_large(MAX_PIECE, "after")
    return check_piece(run, writer, offset, data)


def _too_large(limit: int, when: str) -> StatusError:
    return StatusError(
        413, f"a piece may have {limit} bytes {when} decompression; send it in smaller ones"
    )
