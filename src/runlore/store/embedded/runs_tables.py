"""The tables of the catalog, and how a run becomes their rows."""

import json
from dataclasses import asdict, fields
from typing import cast

import msgspec
import sqlalchemy as sa

from runlore.core.json import JsonObject
from runlore.core.metric import Value
from runlore.core.run import Fork, RunRef
from runlore.store.runs import Noted, RunRecord, RunSummary, RunValues, WriterRecord

schema = sa.MetaData()
about = sa.Table(
    "about",
    schema,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
projects = sa.Table(
    "projects",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("last_number", sa.Integer, nullable=False),
    sa.UniqueConstraint("owner", "name"),
)
# Narrow, so that a look at all runs of a project reads little.
runs = sa.Table(
    "runs",
    schema,
    sa.Column("project", sa.Integer, sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("active_ns", sa.BigInteger, nullable=False),
    sa.Column("alive_ns", sa.BigInteger, nullable=False),
    sa.Column("end_state", sa.String),
    sa.Column("points", sa.BigInteger, nullable=False),
    sa.Column("unsettled", sa.Boolean, nullable=False),
    sa.Column("search", sa.String, nullable=False),
    sa.UniqueConstraint("project", "number"),
)
sa.Index("runs_unsettled", runs.c.unsettled, sqlite_where=runs.c.unsettled)
# The truth about each run; the columns above and the index below are made of it.
documents = sa.Table(
    "run_documents",
    schema,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("document", sa.String, nullable=False),
)
# What its metrics amount to, as was last noted.
noted = sa.Table(
    "run_noted",
    schema,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("last_step", sa.BigInteger),
    sa.Column("values", sa.String, nullable=False),
    # Apart, since lists show the values of many runs and never these.
    sa.Column("bounds", sa.String, nullable=False),
)
# The index: names of keys with how many runs have which kind under them, and one narrow row per
# key and run. By key first: a filter or an order reads one stretch of it.
keys = sa.Table(
    "run_keys",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.Integer, sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("numbers", sa.Integer, nullable=False),
    sa.Column("bools", sa.Integer, nullable=False),
    sa.Column("texts", sa.Integer, nullable=False),
    sa.UniqueConstraint("project", "source", "key"),
)
values = sa.Table(
    "run_kv",
    schema,
    sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("num", sa.Double),
    sa.Column("text", sa.String),
    sa.Column("low", sa.Double),
    sa.Column("high", sa.Double),
    sqlite_with_rowid=False,
)
tombstones = sa.Table(
    "tombstones",
    schema,
    sa.Column("owner", sa.String, primary_key=True),
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("deleted_ns", sa.BigInteger, nullable=False),
)


def row_of(record: RunRecord) -> dict[str, object]:
    """Return the narrow row of a run, less its address."""
    return {
        "name": _storable(record.name),
        "created_ns": record.created_ns,
        "active_ns": record.active_ns,
        "alive_ns": record.alive_ns,
        "end_state": record.end_state,
        "points": record.points,
        "unsettled": record.unsettled,
        "search": _storable("\n".join([record.name, record.ref.run_id, *record.tags]).casefold()),
    }


def encode(record: RunRecord) -> str:
    """Write the document of a run."""
    # Not `asdict` as a whole: it copies config and summary, however deep, to no end.
    document = {one.name: getattr(record, one.name) for one in fields(record)}
    document["writers"] = {name: asdict(writer) for name, writer in record.writers.items()}
    for column in ("ref", "number"):
        del document[column]
    if record.fork is None:
        del document["fork"]
    else:
        document["fork"] = record.fork._asdict()
    return json.dumps(document, separators=(",", ":"))


def decode(ref: RunRef, number: int, text: str) -> RunRecord:
    """Read the document of a run."""
    document = _object(text)
    writers = cast(dict[str, JsonObject], document.pop("writers"))
    tags = cast(list[str], document.pop("tags"))
    definitions = cast(list[JsonObject], document.pop("definitions"))
    fork = cast(JsonObject | None, document.pop("fork", None))
    return RunRecord(
        ref=ref,
        fork=None if fork is None else Fork(str(fork["run"]), cast(int, fork["step"])),
        number=number,
        tags=tuple(tags),
        definitions=tuple(definitions),
        writers={name: WriterRecord(**writer) for name, writer in writers.items()},  # type: ignore[arg-type]
        **document,  # type: ignore[arg-type]
    )


def encode_noted(summary: RunSummary) -> dict[str, object]:
    """Return the columns of what metrics amount to."""
    found = summary.values.items()
    values = {key: one.value for key, one in found}
    bounds = {key: one[1:] for key, one in found if one[1:] != (None, None)}
    return {
        "last_step": summary.last_step,
        "values": json.dumps(values, separators=(",", ":")),
        "bounds": json.dumps(bounds, separators=(",", ":")),
    }


def decode_noted(last_step: int | None, values: str, bounds: str) -> RunSummary:
    """Read what metrics amount to."""
    known = cast(dict[str, tuple[float | None, float | None]], _object(bounds))
    return RunSummary(
        {
            key: Noted(value, *known.get(key, (None, None)))
            for key, value in cast(dict[str, Value], _object(values)).items()
        },
        last_step,
    )


def decode_values(last_step: int | None, values: str) -> RunValues:
    """Read what metrics amount to, by values alone."""
    return RunValues(_object(values), last_step)


def _object(text: str) -> JsonObject:
    """Read an object: a list of runs has hundreds of them, of hundreds of keys."""
    try:
        return cast(JsonObject, msgspec.json.decode(text, type=dict))
    except msgspec.DecodeError:
        # It knows neither NaN and infinities nor halves of surrogate pairs.
        return cast(JsonObject, json.loads(text))


def _storable(text: str) -> str:
    """Return a text as UTF-8 can hold it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
