"""Errors as problem JSON: one shape for every status, never a traceback, never HTML."""

import logging

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException

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
            where = error.offset if isinstance(error, errors.DamageError) else None
            return Problem(
                type=f"runlore:{name}", title=title, status=status, detail=str(error), where=where
            )
    if isinstance(error, StatusError):
        return problem(error.status, str(error))
    if isinstance(error, ValidationException):
        return _wrong_input(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return problem(error.status_code, error.detail)
    _log.error("a request failed", exc_info=error)
    return Problem(
        type="runlore:fault",
        title="Server error",
        status=500,
        detail="the server met an error that it did not expect; its log tells more",
    )


def answer(problem: Problem) -> Response[bytes]:
    """Send a problem."""
    headers = {"Retry-After": str(RETRY_SECONDS)} if problem.status in (429, 503) else {}
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def answer_error(_: Request[object, object, State], error: Exception) -> Response[bytes]:
    """Answer a request whose handling raised an error."""
    return answer(problem_of(error))


def _wrong_input(error: ValidationException) -> Problem:
    """Name the parameters that cannot be what was given."""
    found = error.extra if isinstance(error.extra, list) else []
    told = [f"{one.get('key', '')}: {one.get('message', '')}" for one in found]
    where = str(found[0].get("key")) if found else None
    return Problem(
        type="runlore:usage",
        title="Wrong request",
        status=400,
        detail="; ".join(told).lower() or error.detail,
        where=where,
    )
