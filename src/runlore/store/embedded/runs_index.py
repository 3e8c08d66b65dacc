"""The index of the catalog: keeps one narrow row per run and key beside the documents."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import sqlalchemy as sa

from runlore.core.expression import Column
from runlore.core.json import JsonObject
from runlore.store.embedded import runs_statements
from runlore.store.embedded.runs_tables import keys, noted, values
from runlore.store.run_entries import (
    KINDS,
    Entries,
    Entry,
    Source,
    config_entries,
    field_entries,
    summary_entries,
    tag_entries,
)
from runlore.store.runs import Noted, RunColumn, RunRecord

_AT_ONCE = 500
_VALUES = ("kind", "num", "text", "low", "high")


class Changed(NamedTuple):
    """An entry of a run that was not there before, is other than before, or is gone."""

    number: int
    source: Source
    key: str
    old: Entry | None
    new: Entry | None


def is_same(one: JsonObject, other: JsonObject) -> bool:
    """Tell whether two documents are the same: false is not 0, though Python finds them equal."""
    return one is other or (one == other and json.dumps(one) == json.dumps(other))


def changed_by(
    found: RunRecord | None, record: RunRecord, summary: Mapping[str, Noted]
) -> Iterator[Changed]:
    """Tell what a change of a run changes in its index; `summary` is what stands noted."""
    number = record.number
    if found is None or not is_same(found.config, record.config):
        old = {} if found is None else config_entries(found)
        yield from _differences(number, "config", old, config_entries(record))
    if found is None or not is_same(found.summary, record.summary):
        old = {} if found is None else summary_entries(found, summary)
        yield from _differences(number, "summary", old, summary_entries(record, summary))
    if found is None or found.tags != record.tags:
        old = {} if found is None else tag_entries(found)
        yield from _differences(number, "tags", old, tag_entries(record))
    old = {} if found is None else field_entries(found)
    yield from _differences(number, "", old, field_entries(record))


def changed_by_noting(
    record: RunRecord, before: Mapping[str, Noted], after: Mapping[str, Noted]
) -> Iterator[Changed]:
    """Tell what noting a summary changes in the index of a run."""
    old, new = summary_entries(record, before), summary_entries(record, after)
    yield from _differences(record.number, "summary", old, new)


def write(connection: sa.Connection, project: int, changes: Sequence[Changed]) -> None:
    """Bring the index of a project up to changes of its runs."""
    if not changes:
        return
    ids = _ids(connection, project, {(change.source, change.key) for change in changes})
    gone: list[dict[str, object]] = []
    kept: list[dict[str, object]] = []
    added: list[dict[str, object]] = []
    counts: dict[int, list[int]] = {}
    for number, source, key, old, new in changes:
        key_id = ids[(source, key)]
        if old is not None and (new is None or new.kind != old.kind):
            counts.setdefault(key_id, [0, 0, 0])[KINDS.index(old.kind)] -= 1
        if new is None:
            gone.append({"of_key": key_id, "of_run": number})
            continue
        if old is None or new.kind != old.kind:
            counts.setdefault(key_id, [0, 0, 0])[KINDS.index(new.kind)] += 1
        row = dict(zip(_VALUES, (KINDS.index(new.kind), *new[1:]), strict=True))
        if old is None:
            added.append({"key": key_id, "run": number, **row})
        else:
            kept.append({"of_key": key_id, "of_run": number, **row})
    if gone:
        connection.execute(runs_statements.REMOVE_VALUES, gone)
    if kept:
        connection.execute(runs_statements.WRITE_VALUES, kept)
    if added:
        # In the order of the table, so that neighbours are written together.
        added.sort(key=lambda row: (row["key"], row["run"]))
        connection.execute(runs_statements.ADD_VALUES, added)
    _count(connection, counts)


def remove(connection: sa.Connection, project: int, number: int) -> None:
    """Remove a run from the index."""
    of_project = sa.select(keys.c.id).where(keys.c.project == project)
    is_row = (values.c.run == number, values.c.key.in_(of_project))
    counts: dict[int, list[int]] = {}
    for key_id, kind in connection.execute(sa.select(values.c.key, values.c.kind).where(*is_row)):
        counts.setdefault(key_id, [0, 0, 0])[kind] -= 1
    connection.execute(sa.delete(values).where(*is_row))
    connection.execute(
        sa.delete(noted).where(noted.c.project == project, noted.c.number == number)
    )
    _count(connection, counts)


def read_columns(
    connection: sa.Connection, project: int, only: Collection[Column] | None
) -> list[RunColumn]:
    """Return the keys of config and summary that runs have, sorted, or those named."""
    asked = sa.select(keys.c.source, keys.c.key, keys.c.numbers, keys.c.bools, keys.c.texts).where(
        keys.c.project == project,
        keys.c.source.in_(("config", "summary")),
        keys.c.numbers + keys.c.bools + keys.c.texts > 0,
    )
    if only is not None:
        asked = asked.where(keys.c.key.in_({column.key for column in only}))
    named = None if only is None else {(column.source, column.key) for column in only}
    found = connection.execute(asked.order_by(keys.c.source, keys.c.key))
    return [
        RunColumn(source=source, key=key, numbers=numbers, bools=bools, texts=texts)
        for source, key, numbers, bools, texts in found
        if named is None or (source, key) in named
    ]


def key_ids(
    connection: sa.Connection, project: int, names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the ids of those keys that the project knows."""
    wanted = set(names)
    sources = sorted({source for source, _ in wanted})
    rest = iter(sorted({key for _, key in wanted}))
    found: dict[tuple[str, str], int] = {}
    while some := list(islice(rest, _AT_ONCE)):
        rows = connection.execute(
            runs_statements.KEY_IDS,
            {"of_project": project, "of_sources": sources, "of_keys": some},
        )
        found.update(((source, key), key_id) for source, key, key_id in rows)
    return {name: found[name] for name in wanted if name in found}


def _ids(
    connection: sa.Connection, project: int, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    found = key_ids(connection, project, names)
    missing = sorted(name for name in names if name not in found)
    if missing:
        none = {"numbers": 0, "bools": 0, "texts": 0}
        connection.execute(
            runs_statements.ADD_KEYS,
            [{"project": project, "source": s, "key": k, **none} for s, k in missing],
        )
        found.update(key_ids(connection, project, missing))
    return found


def _differences(number: int, source: Source, old: Entries, new: Entries) -> Iterator[Changed]:
    for key, entry in new.items():
        before = old.get(key)
        if before != entry:
            yield Changed(number, source, key, before, entry)
    for key, entry in old.items():
        if key not in new:
            yield Changed(number, source, key, entry, None)


def _count(connection: sa.Connection, counts: Mapping[int, Sequence[int]]) -> None:
    changed = [
        {"of_key": key_id, "of_numbers": numbers, "of_bools": bools, "of_texts": texts}
        for key_id, (numbers, bools, texts) in counts.items()
        if numbers or bools or texts
    ]
    if changed:
        connection.execute(runs_statements.COUNT_KEYS, changed)
