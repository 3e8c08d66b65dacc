"""What of a run is indexed: one narrow entry per key."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from runlore.core.json import JsonObject, JsonValue
from runlore.store.runs import Noted, RunRecord

MAX_TEXT = 256
"""Longer texts count by their beginning."""
MAX_KEY = 1024
MAX_ENTRIES = 20_000
"""Per run and source; the first in the order of names."""

EntryKind: TypeAlias = Literal["number", "bool", "text"]
KINDS: tuple[EntryKind, ...] = ("number", "bool", "text")
"""A store may keep their places here in their stead."""
Source: TypeAlias = Literal["config", "summary", "tags", ""]
_EXACT = 2**53
_FIELDS = ("group", "job_type", "program", "host", "notes")


class Entry(NamedTuple):
    """A value under a key; `low` and `high` are those of a metric.

    Bools count as 0 and 1. A number that is not one stands as the text NaN.
    """

    kind: EntryKind
    num: float | None = None
    text: str | None = None
    low: float | None = None
    high: float | None = None


Entries: TypeAlias = dict[str, Entry]


def run_entries(record: RunRecord, noted: Mapping[str, Noted]) -> dict[Source, Entries]:
    """Return all entries of a run."""
    return {
        "config": config_entries(record),
        "summary": summary_entries(record, noted),
        "tags": tag_entries(record),
        "": field_entries(record),
    }


def config_entries(record: RunRecord) -> Entries:
    """Flatten the config; nested keys join with `/`."""
    return _bounded(dict(_flat("", record.config)))


def summary_entries(record: RunRecord, noted: Mapping[str, Noted]) -> Entries:
    """Flatten the summary: what the user set by hand stands over what metrics amount to."""
    entries = {
        clean(key): _entry(value)._replace(low=low, high=high)
        for key, (value, low, high) in noted.items()
    }
    for key, entry in _flat("", record.summary):
        below = entries.get(key)
        entries[key] = entry if below is None else entry._replace(low=below.low, high=below.high)
    return _bounded(entries)


def tag_entries(record: RunRecord) -> Entries:
    """Return one entry per tag."""
    return _bounded({clean(tag)[:MAX_TEXT]: Entry("bool", num=1.0) for tag in record.tags})


def field_entries(record: RunRecord) -> Entries:
    """Return what is set of the fields that are texts."""
    found: dict[str, str | None] = {name: getattr(record, name) for name in _FIELDS}
    found["fork"] = None if record.fork is None else record.fork.run
    return {name: _entry(text) for name, text in found.items() if text}


def clean(text: str) -> str:
    """Return a text as every database takes it: no NUL, no half of a surrogate pair."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\0", "\ufffd")


def group_value(
    rank: int, num: float, text: str, *, kinds: tuple[EntryKind, EntryKind]
) -> JsonValue:
    """Return what stands for the runs of a group, between the least and greatest kind of them."""
    if rank == 2:
        return None
    if rank == 0:
        if kinds == ("bool", "bool"):
            return bool(num)
        return int(num) if abs(num) <= _EXACT and num == int(num) else num
    return math.nan if kinds[0] == "number" and text == "NaN" else text


def _flat(prefix: str, content: JsonObject) -> Iterator[tuple[str, Entry]]:
    for name, value in content.items():
        key = prefix + name
        if isinstance(value, dict):
            yield from _flat(f"{key}/", value)
        elif value is not None:
            yield clean(key), _entry(value)


def _entry(value: JsonValue) -> Entry:
    match value:
        case bool():
            return Entry("bool", num=float(value))
        case int():
            try:
                return Entry("number", num=float(value))
            except OverflowError:
                return Entry("number", num=math.inf if value > 0 else -math.inf)
        case float():
            if math.isnan(value):
                return Entry("number", text="NaN")
            return Entry("number", num=value)
        case str():
            return Entry("text", text=clean(value[:MAX_TEXT]))
        case _:
            # A list as JSON; `default` is never asked, as it holds JSON alone.
            return Entry("text", text=clean(json.dumps(value)[:MAX_TEXT]))


def _bounded(entries: Entries) -> Entries:
    entries = {key: entry for key, entry in entries.items() if 0 < len(key) <= MAX_KEY}
    if len(entries) <= MAX_ENTRIES:
        return entries
    return {key: entries[key] for key in sorted(entries)[:MAX_ENTRIES]}
