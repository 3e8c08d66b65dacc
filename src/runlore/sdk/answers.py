"""What a server tells, checked and turned into Python: runs, projects, rows."""

from collections.abc import Mapping
from datetime import datetime
from types import NoneType
from typing import NamedTuple, TypeAlias, cast

from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import Value
from runlore.errors import UnavailableError, UsageError
from runlore.sdk.link import strange
from runlore.wire import document

Kinds: TypeAlias = tuple[type, ...]
Row: TypeAlias = dict[str, Value | datetime]

RUN: Mapping[str, Kinds] = {
    "owner": (str,),
    "project": (str,),
    "id": (str,),
    "name": (str,),
    "state": (str,),
    "config": (dict,),
    "summary": (dict,),
    "tags": (list,),
    "notes": (str,),
    "group": (str, NoneType),
    "points": (int,),
    "created_at": (str,),
    "finished_at": (str, NoneType),
}
PROJECT: Mapping[str, Kinds] = {
    "owner": (str,),
    "name": (str,),
    "runs": (int,),
    "running": (int,),
    "points": (int,),
    "created_at": (str,),
    "active_at": (str,),
}
_WORDS = {str: "a string", dict: "an object", list: "an array", int: "a whole number"}


class Logged(NamedTuple):
    """A row of the history; values by the names under which they were logged."""

    step: int
    time: datetime
    values: dict[str, Value]


def checked(content: JsonValue, shape: Mapping[str, Kinds], *, what: str, url: str) -> JsonObject:
    """Return an object that has the fields of a shape; those that end in `_at` are times.

    Raises:
        UnavailableError: it has not.
    """
    if not isinstance(content, dict):
        raise strange(what, content, url)
    for name, kinds in shape.items():
        value = content.get(name)
        is_fit = isinstance(value, kinds) and not isinstance(value, bool)
        if is_fit and isinstance(value, str) and name.endswith("_at"):
            is_fit = _is_time(value)
        if not is_fit:
            word = "a time" if name.endswith("_at") else _WORDS[kinds[0]]
            raise strange(f"{what} with {name!r} as {word}", value, url)
    return content


def items(answer: JsonObject, name: str, url: str) -> list[JsonValue]:
    """Return the list of this name in an answer."""
    found = answer.get(name)
    if not isinstance(found, list):
        raise strange(f"a list of {name}", found, url)
    return found


def next_cursor(answer: JsonObject, before: str, url: str) -> str | None:
    """Return where the next page begins, None behind the last."""
    found = answer.get("next")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, str | int) or str(found) == before:
        raise strange(f"where a page behind {before!r} begins", found, url)
    return str(found)


def logged(content: JsonValue, url: str) -> Logged:
    """Turn a row of the history into Python.

    Raises:
        UnavailableError: it is none.
    """
    step = content.get("step") if isinstance(content, dict) else None
    time = content.get("time") if isinstance(content, dict) else None
    values = content.get("values") if isinstance(content, dict) else None
    is_row = type(step) is int and isinstance(time, str) and isinstance(values, dict)
    if not is_row or not _is_time(cast(str, time)):
        raise strange("a row with 'step', 'time' and 'values'", content, url)
    found: dict[str, Value] = {}
    for key, value in unplain_object(cast(JsonObject, values), url).items():
        if not isinstance(value, float | int | str):
            raise strange(f"a number, bool or string for {key[:60]!r}", value, url)
        found[key] = value
    return Logged(cast(int, step), datetime.fromisoformat(cast(str, time)), found)


def unplain_object(value: JsonValue, url: str) -> JsonObject:
    """Turn a document of the API into Python's numbers.

    Raises:
        UnavailableError: it is none that a server of this version writes.
    """
    try:
        return document.unplain_object(value)
    except UsageError as error:
        raise UnavailableError(
            f"{url} sent a document that no Runlore server of this version writes: {error}"
        ) from error
    except RecursionError as error:
        raise strange("a document at most 64 deep", value, url) from error


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
