"""Errors as problem JSON: one shape for every status, never a traceback, never HTML."""

import logging
from collections.abc import Mapping

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from runlore import errors
from runlore.server.nouns import Problem

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger(__name__)

_KINDS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (errors.DamageError, 400, "damage", "Damaged bytes"),
    (errors.UsageError, 400, "usage", "Wrong request"),
    (errors.DeletedError, 410, "deleted", "Deleted"),
    (errors.NotFoundError, 404, "not-found", "Not found"),
    (errors.ConflictError, 409, "conflict", "Conflict"),
    (errors.AccessError, 403, "access", "Not allowed"),
    (errors.UnavailableError, 503, "unavailable", "Not now"),
)
_STATUSES = {
    400: ("usage", "Wrong request"),
    401: ("access", "A key is needed"),
    403: ("access", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method", "Method not allowed"),
    413: ("too-large", "Too large"),
    415: ("media-type", "Wrong content type"),
    429: ("busy", "Too much at once"),
    503: ("unavailable", "Not now"),
}
RETRY_SECONDS = 1
MAX_JSON = 4 * 1024 * 1024
_WHAT_THERE_IS = "/api/openapi.json lists what there is"
# The framework tells these by their words alone.
_GONE = "client disconnected prematurely"
_TRUNCATED = "Input data was truncated"


class StatusError(Exception):
    """An answer that HTTP alone has: wrong type, too large, too many."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def problem(status: int, detail: str) -> Problem:
    """Describe an error by its status."""
    kind, title = _STATUSES.get(status, ("error", "Error"))
    return Problem(type=f"runlore:{kind}", title=title, status=status, detail=detail)


def problem_of(error: Exception) -> Problem:
    """Describe an error; one of no known kind is logged and told without its words."""
    for kind, status, name, title in _KINDS:
        if isinstance(error, kind):
            where: int | None = None
            if isinstance(error, errors.DamageError):
                where = error.offset
            elif isinstance(error, errors.ExpressionError):
                where = error.at
            return Problem(
                type=f"runlore:{name}", title=title, status=status, detail=str(error), where=where
            )
    if isinstance(error, StatusError):
        return problem(error.status, str(error))
    if isinstance(error, RecursionError):
        return problem(400, "JSON may not be nested this deep; send it flatter")
    if isinstance(error, HTTPException) and error.status_code < 500:
        return problem(error.status_code, error.detail)
    _log.error("a request failed", exc_info=error)
    return Problem(
        type="runlore:fault",
        title="Server error",
        status=500,
        detail="the server met an error that it did not expect; its log tells more",
    )


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """Send a problem."""
    if problem.status in (429, 503):
        headers = {**(headers or {}), "Retry-After": str(RETRY_SECONDS)}
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def answer_error(request: Request[object, object, State], error: Exception) -> Response[bytes]:
    """Answer a request whose handling raised an error."""
    if isinstance(error, ValidationException):
        return answer(_wrong_input(request, error))
    if isinstance(error, NotFoundException):
        return answer(
            problem(404, f"there is nothing at {_shown_path(request)}; {_WHAT_THERE_IS}")
        )
    if isinstance(error, MethodNotAllowedException):
        headers = error.headers or {}
        allowed = headers.get("allow", "")
        detail = (
            f"{request.method} does not fit {_shown_path(request)}, which takes {allowed}; "
            f"{_WHAT_THERE_IS}"
        )
        return answer(problem(405, detail), headers)
    if isinstance(error, RequestEntityTooLarge):
        return answer(
            problem(413, f"a body of JSON may have {MAX_JSON} bytes; send less at a time")
        )
    if isinstance(error, UnicodeDecodeError):
        return answer(problem(400, f"JSON must be UTF-8: {error}"))
    if isinstance(error, HTTPException) and error.detail == _TRUNCATED:
        return answer(
            problem(400, "the JSON ends too early, or a string of it with half a surrogate pair")
        )
    if isinstance(error, HTTPException) and error.detail == _GONE:
        # Whoever asked does not wait for an answer: a program that was killed, a closed tab.
        return answer(problem(400, _GONE))
    return answer(problem_of(error))


def _shown_path(request: Request[object, object, State]) -> str:
    return repr(request.url.path[:200])


def _wrong_input(request: Request[object, object, State], error: ValidationException) -> Problem:
    """Name the parameters that cannot be what was given."""
    found = error.extra if isinstance(error.extra, list) else []
    told = []
    for one in found:
        key = str(one.get("key", ""))
        if key == "data" and one.get("message") == "'data'":
            told.append("expected a body of JSON, got none")
            continue
        given = request.query_params.get(key)
        came = "" if given is None else f", got {given[:80]!r}"
        told.append(f"{key}: {one.get('message', '')}".lower() + came)
    return Problem(
        type="runlore:usage",
        title="Wrong request",
        status=400,
        detail="; ".join(told) or error.detail,
        where=str(found[0].get("key")) if found else None,
    )
