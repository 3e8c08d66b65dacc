"""A metric: the named history of values that one run logs."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["number", "bool", "string"]
"""What a value is: each kind of a key has a history of its own."""

Value: TypeAlias = float | bool | str

MAX_STEP = 2**53 - 1
"""Steps are integers from -MAX_STEP to MAX_STEP: those that a float64 holds exactly."""
MAX_KEY_BYTES = 1024
"""A key is 1 to this many bytes of UTF-8, of any characters."""
MAX_KEYS_PER_ROW = 262_144
MAX_STRING_BYTES = 8 * 1024 * 1024


def bounded_step(step: int | None) -> int | None:
    """Bring a step that no run can have to the next that every store can work with."""
    return None if step is None else max(-MAX_STEP - 1, min(step, MAX_STEP + 1))


def kind_of(value: Value) -> Kind:
    """Tell the kind of a value."""
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number"
