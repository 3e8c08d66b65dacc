"""Config and summary: what a program says about its run, kept as JSON documents."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, NoReturn, SupportsIndex

from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import Value
from runlore.errors import UsageError
from runlore.sdk.values import VALUE_ERRORS, described, shown

_PATCHING = ("mock.mock", "unittest.mock")
_MAX_DEPTH = 32
_MAX_ELEMENTS = 10_000
_MAX_BITS = 4096
"""Python prints no integers of more than 4,300 digits; other readers of JSON give up sooner."""


def to_json(value: object, depth: int = 0) -> JsonValue:
    """Turn any value into JSON.

    None, bools, numbers and strings stay; dicts, dataclasses and namespaces become objects;
    lists, tuples, sets and arrays of at most 10,000 elements become lists; scalars of any
    library become numbers; everything else, and what is nested deeper than 32, becomes its str(),
    or the name of its type where it has none.

    Raises:
        UsageError: an integer has too many digits.
    """
    try:
        return _to_json(value, depth)
    except UsageError:
        raise
    except VALUE_ERRORS:
        # Its own code fails: no reason to stop a program.
        return said(value)


def _to_json(value: object, depth: int) -> JsonValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return float(value)
    if depth >= _MAX_DEPTH:
        return said(value)
    fields = as_mapping(value)
    if fields is not None:
        return {key: to_json(item, depth + 1) for key, item in fields.items()}
    if isinstance(value, set | frozenset):
        return [to_json(item, depth + 1) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple | range):
        return [to_json(item, depth + 1) for item in value]
    # Types of numbers, such as numpy.float32, have the attributes of arrays too.
    if hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type):
        return _array(value, depth)
    if isinstance(value, type) or callable(value):
        name = getattr(value, "__qualname__", None)
        if isinstance(name, str):
            return _text(f"{getattr(value, '__module__', '')}.{name}")
    return said(value)


def as_mapping(value: object) -> dict[str, object] | None:
    """Return the fields of a dict, a dataclass or an argparse namespace; None for others."""
    if isinstance(value, Mapping):
        return {_text(str(key)): item for key, item in value.items()}
    if isinstance(value, type):
        return None
    fields = getattr(value, "__dataclass_fields__", None)
    if isinstance(fields, dict):
        return {str(name): getattr(value, str(name), None) for name in fields}
    if type(value).__name__ == "Namespace" and hasattr(value, "__dict__"):
        return {str(name): item for name, item in vars(value).items()}
    return None


# A type checker cannot know what a program put into its config, and `config.lr * 2` must pass.
class Section(dict[str, Any]):
    """A part of config or summary: a dict whose changes are spooled; keys are attributes too."""

    def __init__(
        self, on_change: Callable[[], None], convert: Callable[[object], JsonValue] = to_json
    ) -> None:
        super().__init__()
        object.__setattr__(self, "_on_change", on_change)
        object.__setattr__(self, "_convert", convert)

    def __setitem__(self, key: str, value: object) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changed()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"the config has no {name!r}; it has {', '.join(map(repr, self)) or 'no keys'}"
            ) from None

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def update(self, *others: object, **values: object) -> None:
        """Set keys from a dict, a dataclass, a namespace or keyword arguments."""
        before = dict(self)
        for other in (*others, values):
            self._take(fields_of(other, "config"))
        try:
            self._changed()
        except UsageError:
            # A refused change changes nothing.
            super().clear()
            super().update(before)
            raise

    def setdefault(self, key: str, default: object = None) -> Any:  # noqa: ANN401
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, *_: object) -> NoReturn:
        raise UsageError("a key of the config cannot be taken out; set it to None instead")

    popitem = pop
    clear = pop

    def __ior__(self, other: object) -> "Section":  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # A copy is no part of the run: what is changed in it is not spooled.
        return _detached, (_plain(self),)

    def _take(self, fields: Mapping[str, object]) -> None:
        convert: Callable[[object], JsonValue] = self.__dict__["_convert"]
        for key, value in fields.items():
            super().__setitem__(key, self._held(convert(value)))

    def _held(self, value: JsonValue) -> JsonValue:
        return section_of(value, self._changed, self.__dict__["_convert"])

    def _changed(self) -> None:
        on_change: Callable[[], None] = self.__dict__["_on_change"]
        on_change()


class Items(list[Any]):
    """A list in config or summary, whose changes are spooled."""

    def __init__(
        self,
        values: list[JsonValue],
        on_change: Callable[[], None],
        convert: Callable[[object], JsonValue],
    ) -> None:
        self._on_change = on_change
        self._convert = convert
        super().__init__(section_of(value, on_change, convert) for value in values)

    def append(self, value: object) -> None:
        self._change("append", value)

    def extend(self, values: Iterable[object]) -> None:
        self._change("extend", values)

    def insert(self, index: SupportsIndex, value: object) -> None:
        self._change("insert", index, value)

    def remove(self, value: object) -> None:
        self._change("remove", value)

    def pop(self, index: SupportsIndex = -1) -> Any:  # noqa: ANN401
        return self._change("pop", index)

    def clear(self) -> None:
        self._change("clear")

    def reverse(self) -> None:
        self._change("reverse")

    def sort(self, **how: Any) -> None:  # noqa: ANN401
        self._change("sort", **how)

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:  # noqa: ANN401
        self._change("__setitem__", index, value)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        self._change("__delitem__", index)

    def __iadd__(self, values: Iterable[object]) -> "Items":  # type: ignore[misc]
        self.extend(values)
        return self

    def __imul__(self, count: SupportsIndex) -> "Items":
        self._change("__imul__", count)
        return self

    def __reduce__(self) -> tuple[object, ...]:
        # As a copy of a section: no part of the run.
        return list, ([_plain_value(value) for value in self],)

    def _change(self, how: str, *arguments: object, **options: object) -> object:
        before = list(self)
        after = list(self)
        result: object = getattr(after, how)(*arguments, **options)
        held = {id(value) for value in before}
        fresh = [value if id(value) in held else self._made(value) for value in after]
        super().__setitem__(slice(None), fresh)
        try:
            self._on_change()
        except UsageError:
            # A refused change changes nothing.
            super().__setitem__(slice(None), before)
            raise
        return result

    def _made(self, value: object) -> JsonValue:
        return section_of(self._convert(value), self._on_change, self._convert)


class Config(Section):
    """What the run was configured with: a nested document, each change of which is spooled.

    Args of `write`: the top-level keys that were touched, with their values. `convert` makes JSON
    of what is set.
    """

    def __init__(
        self,
        write: Callable[[JsonObject], None],
        convert: Callable[[object], JsonValue] = to_json,
    ) -> None:
        super().__init__(lambda: None, convert)
        object.__setattr__(self, "_write", write)

    def update(self, *others: object, **values: object) -> None:
        """Set keys from a dict, a dataclass, a namespace or keyword arguments.

        Scripts that pass `allow_val_change=True` find it accepted: a value may always change.
        """
        values.pop("allow_val_change", None)
        convert: Callable[[object], JsonValue] = self.__dict__["_convert"]
        touched: JsonObject = {}
        for other in (*others, values):
            if isinstance(other, bool):
                # The same by position: update(args, True).
                continue
            fields = fields_of(other, "config")
            touched.update({key: convert(value) for key, value in fields.items()})
        if touched:
            self.__dict__["_write"](touched)
            self._take(touched)

    def setdefaults(self, defaults: object) -> None:
        """Set those keys of a dict, a dataclass or a namespace that the config does not have."""
        fields = fields_of(defaults, "config")
        self.update({key: value for key, value in fields.items() if key not in self})

    def as_dict(self) -> JsonObject:
        """Return a copy as plain dicts and lists; changes in it are no part of the run."""
        return _plain(self)

    def restore(self, values: JsonObject) -> None:
        """Show what an earlier part of the run set, without spooling it again."""
        self._take(values)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def clear(self) -> None:  # type: ignore[override]
        """Set every key to None for `mock.patch.dict`, which then sets those that were before."""
        if sys._getframe(1).f_globals.get("__name__") not in _PATCHING:
            self.pop()
        self.update(dict.fromkeys(self))

    def _held(self, value: JsonValue) -> JsonValue:
        def spool() -> None:
            # A list, which is made at once: other threads may set keys meanwhile.
            touched = {key: one for key, one in list(self.items()) if one is held}
            if touched:
                self.__dict__["_write"](touched)

        held = section_of(value, spool, self.__dict__["_convert"])
        return held


class Summary(MutableMapping[str, Any]):
    """The value of each key at its greatest step; what is set here by hand wins and is spooled.

    Read and set by item or attribute. The server computes what `define_metric(summary=...)`
    asks for.
    """

    _logged: Callable[[], dict[str, Value]]
    _write: Callable[[JsonObject], None]
    _convert: Callable[[object], JsonValue]
    _set: JsonObject
    _earlier: JsonObject

    def __init__(
        self,
        logged: Callable[[], dict[str, Value]],
        write: Callable[[JsonObject], None],
        convert: Callable[[object], JsonValue] = to_json,
    ) -> None:
        object.__setattr__(self, "_logged", logged)
        object.__setattr__(self, "_write", write)
        object.__setattr__(self, "_convert", convert)
        object.__setattr__(self, "_set", {})
        object.__setattr__(self, "_earlier", {})

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401
        if key in self._set:
            return self._set[key]
        logged = self._logged()
        return logged[key] if key in logged else self._earlier[key]

    def __setitem__(self, key: str, value: object) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        raise UsageError(
            f"key {shown(key)} of the summary cannot be taken out; set it to None instead"
        )

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name.startswith("_"):
            # Asked by copy and pickle, also of one that has nothing yet.
            raise AttributeError(f"the summary has no attribute {name!r}")
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"the summary has no {name!r}; it has {', '.join(map(repr, self)) or 'no keys'}"
            ) from None

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter({**self._earlier, **self._logged(), **self._set})

    def __len__(self) -> int:
        return len({**self._earlier, **self._logged(), **self._set})

    def restore(self, values: JsonObject) -> None:
        """Show what the run had before, until a key is logged or set again."""
        self._earlier.update({key: self._held(value) for key, value in values.items()})

    def update(self, *others: object, **values: object) -> None:
        """Set keys by hand, from a dict or keyword arguments."""
        touched: JsonObject = {}
        for other in (*others, values):
            fields = fields_of(other, "summary")
            touched.update({key: self._convert(value) for key, value in fields.items()})
        if touched:
            self._write(touched)
            self._set.update({key: self._held(value) for key, value in touched.items()})

    def _held(self, value: JsonValue) -> JsonValue:
        def spool() -> None:
            known = [*self._earlier.items(), *self._set.items()]
            touched = {key: one for key, one in known if one is held}
            if touched:
                self._write(touched)
                self._set.update(touched)

        held = section_of(value, spool, self._convert)
        return held

    def __reduce__(self) -> tuple[object, ...]:
        return dict, ({**_plain(self._earlier), **self._logged(), **_plain(self._set)},)

    def __repr__(self) -> str:
        return f"Summary({ {**self._earlier, **self._logged(), **self._set}!r})"


def section_of(
    value: JsonValue,
    on_change: Callable[[], None],
    convert: Callable[[object], JsonValue],
) -> JsonValue:
    """Return an object or a list as one whose changes are told; other values as they are."""
    if isinstance(value, list):
        return Items(value, on_change, convert)
    if not isinstance(value, dict):
        return value
    section = Section(on_change, convert)
    section._take(value)
    return section


def _plain(section: Mapping[str, JsonValue]) -> JsonObject:
    return {key: _plain_value(value) for key, value in list(section.items())}


def _plain_value(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return _plain(value)
    return [_plain_value(item) for item in value] if isinstance(value, list) else value


def _detached(fields: JsonObject) -> Section:
    section = Section(lambda: None)
    section._take(fields)
    return section


def fields_of(value: object, noun: str) -> dict[str, object]:
    """Return the fields of a dict, a dataclass or a namespace.

    Raises:
        UsageError: it is none of these.
    """
    try:
        fields = as_mapping(value)
    except VALUE_ERRORS as error:
        raise UsageError(
            f"{noun} cannot read what it was given: {type(error).__name__}: {error}; "
            "give it a plain dict"
        ) from error
    if fields is None:
        raise UsageError(
            f"{noun} takes a dict, a dataclass or an argparse namespace, got "
            f"{described(value)}; use vars() of it"
        )
    return fields


def _array(value: object, depth: int) -> JsonValue:
    count = 1
    try:
        for size in getattr(value, "shape", ()):
            count *= int(size)
        to_list = getattr(value, "tolist", None)
        plain: object = value if to_list is None or count > _MAX_ELEMENTS else to_list()
    except (TypeError, ValueError, RuntimeError):
        # Its elements are elsewhere, or not known yet.
        plain = value
    return said(value) if hasattr(plain, "dtype") else to_json(plain, depth + 1)


def _integer(value: int) -> int:
    if value.bit_length() > _MAX_BITS:
        raise UsageError(
            f"an integer in config or summary has at most {_MAX_BITS:,} bits, got one of "
            f"{value.bit_length():,}; keep it as hex() of it"
        )
    return value


def said(value: object) -> str:
    """Return the str() of a value, or the name of its type where it has none."""
    try:
        return _text(str(value))
    except VALUE_ERRORS:
        # One that is nested too deep, or whose own __str__ fails.
        return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode() if not text.isascii() else text
