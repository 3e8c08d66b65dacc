"""What a disabled run keeps: steps and last values, in memory alone, whatever it is given."""

from collections.abc import Mapping
from threading import RLock

from runlore.core.json import JsonValue
from runlore.core.metric import MAX_STEP, Value
from runlore.errors import UsageError
from runlore.sdk.documents import said, to_json
from runlore.sdk.values import MAX_DEPTH, VALUE_ERRORS, checked_step, flatten, scalar


class UnkeptRows:
    """The rows of a disabled run. Takes anything: what cannot be logged is passed over.

    Attributes:
        step: what the next call without a step gets.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self._last: dict[str, tuple[int, Value]] = {}
        # Protects the step, which is given once; re-entrant, since signal handlers may log.
        self._lock = RLock()

    def log(self, data: object, step: object, commit: bool | None) -> None:
        """Remember the values that could be logged, and go on to the next step."""
        values = _values(data)
        with self._lock:
            number = self.step if step is None else _step(step, self.step)
            for key, value in values.items():
                if key not in self._last or number >= self._last[key][0]:
                    self._last[key] = (number, value)
            self.step = number + 1 if (commit is None or commit) and number < MAX_STEP else number

    def last_values(self) -> dict[str, Value]:
        """Return the value of each key at its greatest step."""
        with self._lock:
            return {key: value for key, (_, value) in self._last.items()}


def to_json_or_text(value: object) -> JsonValue:
    """Turn any value into JSON, and what is refused elsewhere into text."""
    try:
        return to_json(value)
    except VALUE_ERRORS:
        return said(value)


def _values(data: object) -> dict[str, Value]:
    try:
        flat = flatten(data)
        return dict(zip(flat.keys, flat.values, strict=True))
    except VALUE_ERRORS:
        # One of the values is none; the others count.
        found: dict[str, Value] = {}
        _gather(found, "", data, 1)
        return found


def _gather(found: dict[str, Value], prefix: str, data: object, depth: int) -> None:
    if not isinstance(data, Mapping) or depth > MAX_DEPTH:
        return
    try:
        items = list(data.items())
    except VALUE_ERRORS:
        # A mapping that is the user's own.
        return
    for name, value in items:
        key = f"{prefix}{name}" if isinstance(name, str) else ""
        if key and isinstance(value, Mapping):
            _gather(found, key + "/", value, depth + 1)
        elif key and value is not None:
            try:
                found[key] = scalar(key, value)
            except VALUE_ERRORS:
                continue


def _step(step: object, following: int) -> int:
    try:
        return checked_step(step)
    except UsageError:
        return following
