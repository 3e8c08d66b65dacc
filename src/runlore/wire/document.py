"""Documents of users in the JSON of the HTTP API, as docs/design/http-api.md lays them down."""

import re
from collections.abc import Callable
from math import isfinite, isnan

from runlore.core.json import JsonObject, JsonValue
from runlore.errors import UsageError

# Browsers, and whoever reads numbers as float64, would round what lies beyond.
_JSON_INTEGER = 2**53
# What Python turns into an integer has at most 4,300 digits.
_NUMBER = re.compile(r"NaN|-?Infinity|-?[0-9]{1,4300}")


def plain(value: JsonValue, text: Callable[[str], str] = str) -> JsonValue:
    """Make a value that strict JSON can hold.

    What it cannot stands as `{"$number": …}`. An object whose only key begins with `$` stands as
    `{"$document": …}`, so that none of a user's is ever taken for one of ours. Every string and
    key is passed through `text`.
    """
    if isinstance(value, float):
        return value if isfinite(value) else {"$number": number_name(value)}
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return plain_object(value, text)
    if isinstance(value, list):
        return [plain(one, text) for one in value]
    if isinstance(value, int) and not -_JSON_INTEGER <= value < _JSON_INTEGER:
        return {"$number": str(value)}
    return value


def plain_object(value: JsonObject, text: Callable[[str], str] = str) -> JsonObject:
    """Make an object that strict JSON can hold, as `plain` does."""
    found = {text(key): plain(one, text) for key, one in value.items()}
    return {"$document": found} if len(found) == 1 and min(found).startswith("$") else found


def number_name(value: float) -> str:
    """Name a number that JSON has no token for."""
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def unplain(value: object) -> JsonValue:
    """Read a value that `plain` made, or any JSON value that does not look like one.

    Raises:
        UsageError: it looks like one and is none.
    """
    if isinstance(value, dict):
        if len(value) == 1:
            ((key, only),) = value.items()
            if key == "$number":
                return _number(only)
            if key == "$document":
                return _document(only)
        return {str(key): unplain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [unplain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(f"expected a JSON value, got {type(value).__name__}")


def unplain_object(value: object) -> JsonObject:
    """Read an object that `plain_object` made.

    Raises:
        UsageError: it is none.
    """
    found = unplain(value)
    if not isinstance(found, dict):
        raise UsageError(
            f"expected an object, got {str(value)[:80]}; one whose only key begins with '$' "
            'stands as {"$document": {…}}'
        )
    return found


def _number(name: object) -> float | int:
    if not isinstance(name, str) or not _NUMBER.fullmatch(name):
        raise UsageError(
            f"$number must be NaN, Infinity, -Infinity or a whole number, got {repr(name)[:80]}; "
            'an object of this key alone stands as {"$document": {"$number": …}}'
        )
    return float(name) if name.endswith(("NaN", "Infinity")) else int(name)


def _document(content: object) -> JsonObject:
    if not isinstance(content, dict):
        raise UsageError(f"$document must be an object, got {repr(content)[:80]}")
    return {str(key): unplain(one) for key, one in content.items()}
