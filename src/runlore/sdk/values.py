"""What `log` takes: how each value becomes a number, a bool or a string, or why it is refused.

Scalars of NumPy, PyTorch, JAX and TensorFlow are known by what they can do, never by import.
"""

from collections.abc import Callable, Mapping
from math import nan
from typing import NamedTuple, TypeAlias

from runlore.core.metric import MAX_KEY_BYTES, MAX_KEYS_PER_ROW, MAX_STEP, MAX_STRING_BYTES, Value
from runlore.errors import UsageError

MAX_DEPTH = 64
"""Nested dicts may be this deep; one that holds itself has no end."""

VALUE_ERRORS = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError)
"""What a value's own code may fail with.

Not every Exception: what a signal handler raises meanwhile, such as a time-out, is the program's.
"""

_NUMERIC = frozenset((float,))

_Convert: TypeAlias = Callable[[str, object], Value]


class Flat(NamedTuple):
    """One call's values. `keys` and `values` are parallel; `skipped` had the value None."""

    keys: list[str]
    values: list[Value]
    skipped: list[str]
    is_numeric: bool


def flatten(data: object) -> Flat:
    """Join the keys of nested dicts with `/` and convert the values.

    Raises:
        UsageError: a key or a value cannot be logged; the message names it and the way out.
    """
    if not isinstance(data, dict | Mapping):
        raise UsageError(
            f"log() takes a dict of keys and values, got {described(data)}; "
            "for example log({'loss': 0.5})"
        )
    keys: list[str] = []
    values: list[Value] = []
    skipped: list[str] = []
    try:
        is_nested = _gather((keys, values, skipped), "", data, 1)
    except UsageError:
        raise
    except VALUE_ERRORS as error:
        raise UsageError(
            f"log() cannot read what it was given: {type(error).__name__}: {_cut(str(error))}; "
            "log numbers, bools and strings"
        ) from error
    if len(keys) > MAX_KEYS_PER_ROW:
        raise UsageError(
            f"one log() takes at most {MAX_KEYS_PER_ROW:,} keys, got {len(keys):,}; "
            "spread them over several calls with the same step"
        )
    if is_nested and len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UsageError(
            f"key {shown(twice)} stands twice in one log(), once through nesting; rename one"
        )
    return Flat(keys, values, skipped, set(map(type, values)) <= _NUMERIC)


def check_key(key: str) -> None:
    """Raise UsageError if this cannot be a key."""
    if not key:
        raise UsageError("a key must have at least one character, got ''; name what you log")
    if not key.isascii():
        check_text(key, "a key")
    size = len(key.encode())
    if size > MAX_KEY_BYTES:
        raise UsageError(
            f"a key has at most {MAX_KEY_BYTES:,} bytes of UTF-8, got {size:,} in {shown(key)}; "
            "shorten it"
        )


def check_text(text: str, noun: str) -> None:
    """Raise UsageError if a string has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{noun} must be text that UTF-8 can hold, got {shown(text)} with a lone surrogate "
            f"at character {error.start}; replace it, "
            "for example text.encode(errors='replace').decode()"
        ) from None


def checked_step(step: object) -> int:
    """Return a step as an integer; a float without a fraction, of any library, counts as one.

    Raises:
        UsageError: it is none, or beyond what a float64 holds exactly.
    """
    try:
        number = _integer_of(step)
    except UsageError:
        raise
    except VALUE_ERRORS as error:
        raise _step_error(step) from error
    if not -MAX_STEP <= number <= MAX_STEP:
        raise UsageError(
            f"step must be from -(2**53 - 1) to 2**53 - 1, got {_cut(repr(number))}; "
            "count from a nearer origin, or log it as a metric and name it with define_metric"
        )
    return number


def _integer_of(step: object) -> int:
    number = _item("step", step) if hasattr(step, "dtype") else step
    if isinstance(number, bool) or not isinstance(number, int | float):
        index = getattr(type(number), "__index__", None)
        if isinstance(number, bool) or index is None:
            raise _step_error(step)
        return int(index(number))
    if isinstance(number, float) and not number.is_integer():
        raise _step_error(step)
    return int(number)


def is_direct(kind: type) -> bool:
    """Whether `struct` packs every value of a type as the number that it is.

    Only exact types whose values cannot overflow silently: an array of one element has the type
    of an array of many.
    """
    if kind not in _DIRECT:
        if len(_DIRECT) > _MAX_TYPES:
            _DIRECT.clear()
        _DIRECT[kind] = kind is float or kind is int or _is_plain_numpy(kind)
    return _DIRECT[kind]


def _is_plain_numpy(kind: type) -> bool:
    # NumPy's own scalars alone: others, such as bfloat16, cannot all be made from nothing.
    if kind.__module__ != "numpy" or "generic" not in [base.__name__ for base in kind.__mro__]:
        return False
    dtype = getattr(kind(), "dtype", None)
    return getattr(dtype, "kind", "") in "iuf" and getattr(dtype, "itemsize", 16) <= 8


def shown(value: object) -> str:
    """Return the repr of a value, short enough for a message; its type where that fails."""
    try:
        return _cut(repr(value))
    except VALUE_ERRORS:
        # What a message is about may itself be what is broken.
        return f"<{type(value).__module__}.{type(value).__qualname__}>"


def described(value: object) -> str:
    """Tell type and value for a message: `a list of 3`, `bytes b'abc'`."""
    kind = type(value).__name__
    if type(value) in (list, tuple, set, frozenset):
        return f"a {kind} of {len(value)}"  # type: ignore[arg-type]
    if type(value).__repr__ is object.__repr__:
        return f"an object of type {type(value).__module__}.{kind}"
    return f"{kind} {shown(value)}"


def scalar(key: str, value: object) -> Value:
    """Convert one value.

    Raises:
        UsageError: it is neither a number nor a bool nor a string.
    """
    convert = _CONVERTERS.get(type(value))
    return convert(key, value) if convert is not None else _of_unknown_type(key, value)


def _gather(
    found: tuple[list[str], list[Value], list[str]],
    prefix: str,
    data: Mapping[object, object],
    depth: int,
) -> bool:
    keys, values, skipped = found
    is_nested = False
    for name, value in data.items():
        if not isinstance(name, str):
            raise UsageError(
                f"a key must be a string, got {described(name)}"
                f"{f' below {shown(prefix[:-1])}' if prefix else ''}; use str(key)"
            )
        # Also of a kind of string whose hash is its own, such as an enumeration's.
        key = prefix + name if prefix else name if type(name) is str else str.__str__(name)
        if prefix and not name:
            raise UsageError(f"a key must have at least one character, got '' below {prefix!r}")
        kind = type(value)
        if kind is float:
            keys.append(key)
            values.append(value)  # type: ignore[arg-type]
        elif kind in _CONVERTERS:
            keys.append(key)
            values.append(_CONVERTERS[kind](key, value))
        elif value is None:
            skipped.append(key)
        elif isinstance(value, dict | Mapping):
            if depth >= MAX_DEPTH:
                raise UsageError(
                    f"nested dicts may be {MAX_DEPTH} deep, the one at {shown(key)} is deeper; "
                    "log fewer levels"
                )
            is_nested = True
            _gather(found, key + "/", value, depth + 1)
        else:
            keys.append(key)
            values.append(_of_unknown_type(key, value))
    return is_nested


def _of_unknown_type(key: str, value: object) -> Value:
    if isinstance(value, str):
        return _string(key, str.__str__(value))
    if isinstance(value, int):
        return _integer(key, int(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise _value_error(key, value, "decode it, or log its length")
    if isinstance(value, list | tuple | set | frozenset):
        raise _value_error(key, value, "log its mean, or each item under a key of its own")
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        if len(_CONVERTERS) < _MAX_TYPES:
            _CONVERTERS[type(value)] = _array
        return _array(key, value)
    return _number_like(key, value, value)


def _array(key: str, value: object) -> Value:
    item = _item(key, value)
    return item if type(item) is float else _from_item(key, value, item)


def _item(key: str, value: object) -> object:
    """Return the one element of an array of any library."""
    shape = getattr(value, "shape", ())
    count = 1
    if shape != ():
        for size in shape:
            count *= int(size)
    if count != 1:
        raise UsageError(
            f"value of {shown(key)} must be one number, got {type(value).__name__} of "
            f"{count:,} elements; log its mean(), or each element under a key of its own"
        )
    try:
        if not hasattr(value, "item") and hasattr(value, "numpy"):
            value = value.numpy()
        if hasattr(value, "item"):
            # What NumPy masked has a number below the mask, which means nothing.
            mask = getattr(value, "mask", None)
            return nan if hasattr(mask, "dtype") and bool(mask) else value.item()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"value of {shown(key)} must hold a number, got {type(value).__name__}, which says: "
            f"{_cut(str(error))}; log a float instead"
        ) from error
    return value


def _from_item(key: str, value: object, item: object) -> Value:
    # Some scalars, such as NumPy's long double, are their own item.
    convert = None if type(item) is type(value) else _CONVERTERS.get(type(item))
    return _number_like(key, value, item) if convert is None else convert(key, item)


def _number_like(key: str, value: object, item: object) -> Value:
    to_float = getattr(type(item), "__float__", None)
    if to_float is None or isinstance(item, complex):
        way_out = (
            "log its abs(), or .real and .imag"
            if isinstance(item, complex) or hasattr(item, "imag")
            else "log a number that describes it, or str() of it"
        )
        raise _value_error(key, value, way_out)
    try:
        number = float(to_float(item))
        is_too_large = number in (float("inf"), float("-inf")) and item != number
    except OverflowError:
        is_too_large, number = True, 0.0
    except (TypeError, ValueError, ArithmeticError) as error:
        raise _value_error(key, value, f"float() of it says: {_cut(str(error))}") from error
    if is_too_large:
        raise _too_large(key, item)
    return number


def _number(key: str, value: object) -> Value:
    assert isinstance(value, float)
    return value


def _integer(key: str, value: object) -> Value:
    assert isinstance(value, int)
    try:
        return float(value)
    except OverflowError:
        raise _too_large(key, value) from None


def _bool(key: str, value: object) -> Value:
    assert isinstance(value, bool)
    return value


def _string(key: str, value: object) -> Value:
    assert isinstance(value, str)
    if not value.isascii():
        check_text(value, f"value of {shown(key)}")
    if len(value) > MAX_STRING_BYTES // 4 and len(value.encode()) > MAX_STRING_BYTES:
        raise UsageError(
            f"a string has at most {MAX_STRING_BYTES // 2**20} MiB of UTF-8, value of "
            f"{shown(key)} has {len(value.encode()):,} bytes; log a part of it"
        )
    return value


_MAX_TYPES = 1000
_DIRECT: dict[type, bool] = {}
_CONVERTERS: dict[type, _Convert] = {
    float: _number,
    int: _integer,
    bool: _bool,
    str: _string,
}


def _value_error(key: str, value: object, way_out: str) -> UsageError:
    return UsageError(
        f"value of {shown(key)} must be a number, a bool, a string or a nested dict, got "
        f"{described(value)}; {way_out}"
    )


def _too_large(key: str, value: object) -> UsageError:
    size = (
        f"an integer of {value.bit_length():,} bits"
        if isinstance(value, int)
        else f"{type(value).__name__} {shown(value)}"
    )
    return UsageError(
        f"value of {shown(key)} must fit in a float64, got {size}; "
        "log its logarithm or str() of it"
    )


def _step_error(step: object) -> UsageError:
    return UsageError(
        f"step must be an integer, got {described(step)}; to plot against another axis log it as "
        "a metric and name it with define_metric"
    )


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
