"""Turns checked expressions over runs into SQL over the index; user text is only ever bound."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, assert_never

import sqlalchemy as sa

from runlore.core.expression import (
    And,
    Arithmetic,
    Column,
    Compare,
    Condition,
    In,
    IsNull,
    Literal,
    Match,
    Not,
    Operand,
    Or,
    SortKey,
)
from runlore.core.json import JsonValue
from runlore.core.run import RUN_STATES, RunState
from runlore.errors import UsageError
from runlore.store.embedded.runs_tables import keys, runs, values
from runlore.store.run_entries import KINDS, MAX_TEXT, clean, group_value
from runlore.store.runs import SILENCE_NS, Place, RunGroup, SortValue
from runlore.store.search import matcher

_Sql: TypeAlias = sa.ColumnElement[Any]
MAX_COLUMNS = 32
_ROW_SOURCES = {"min": ("summary", "low"), "max": ("summary", "high")}
_OPERATORS: Mapping[str, Callable[[_Sql, _Sql], _Sql]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    # By 0 it gives NULL in SQLite.
    "/": operator.truediv,
}


class _Sides(NamedTuple):
    """A value as a number and as a text; a side that it can never have is None."""

    num: _Sql | None
    text: _Sql | None


class _Term(NamedTuple):
    """One of the things that rows are ordered by; it is never NULL."""

    sql: _Sql
    is_falling: bool


def index_name(column: Column) -> tuple[str, str]:
    """Return the source and key under which a column is indexed."""
    source, _ = _ROW_SOURCES.get(column.source, (column.source, ""))
    return source, column.key


class RunQuery:
    """One question about the runs of a project: collects the rows of the index to be joined."""

    def __init__(self, project: int, ids: Mapping[tuple[str, str], int], *, now_ns: int) -> None:
        """Begin a question; `ids` are those of the keys that it may name."""
        self.project = project
        self._ids = ids
        self._now_ns = now_ns
        self._joined: dict[int, sa.FromClause] = {}

    def tables(self) -> sa.FromClause:
        """Return what to select from, once all columns were asked for."""
        if len(self._joined) > MAX_COLUMNS:
            raise UsageError(
                f"one question may name {MAX_COLUMNS} keys, got {len(self._joined)}; ask for less"
            )
        tables: sa.FromClause = runs
        for key_id, row in self._joined.items():
            is_row = sa.and_(row.c.key == key_id, row.c.run == runs.c.number)
            tables = tables.outerjoin(row, is_row)
        return tables

    def state(self) -> _Sql:
        """Return the state of a run."""
        is_alive = runs.c.alive_ns > self._now_ns - SILENCE_NS
        return sa.case(
            (is_alive, sa.literal("running")),
            else_=sa.func.coalesce(runs.c.end_state, sa.literal("crashed")),
        )

    def is_in(self, state: RunState) -> sa.ColumnElement[bool]:
        """Return whether a run is in a state."""
        return self.state() == state

    def condition(self, node: Condition) -> _Sql:
        """Return a condition; NULL where it is unknown."""
        match node:
            case And():
                return sa.and_(*(self.condition(item) for item in node.items))
            case Or():
                return sa.or_(*(self.condition(item) for item in node.items))
            case Not():
                return sa.not_(self.condition(node.item).self_group())
            case Compare():
                if _is_tags(node.left) and isinstance(node.right, Literal):
                    has = self._has_tag(keys.c.key == _short(str(node.right.value)))
                    return has if node.op == "=" else sa.not_(has)
                return _compared(
                    _OPERATORS[node.op], self._sides(node.left), self._sides(node.right)
                )
            case In():
                if _is_tags(node.operand):
                    texts = [_short(str(literal.value)) for literal in node.values]
                    return self._has_tag(keys.c.key.in_(texts))
                return _is_one_of(self._sides(node.operand), [v.value for v in node.values])
            case IsNull():
                if _is_tags(node.operand):
                    return sa.not_(self._has_tag(sa.true()))
                sides = [side for side in self._sides(node.operand) if side is not None]
                return sa.and_(*(side.is_(None) for side in sides))
            case Match():
                if _is_tags(node.operand):
                    return self._has_tag(_matched(keys.c.key, node))
                text = self._sides(node.operand).text
                return _matched(_nothing(sa.String) if text is None else text, node)
            case _:
                assert_never(node)

    def order(self, sort: Sequence[SortKey]) -> list[_Term]:
        """Return what rows are ordered by, each never NULL, the number of a run last."""
        terms: list[_Term] = []
        for key in sort:
            rank, num, text = self.value(key.column)
            terms += [_Term(rank, False), _Term(num, key.is_falling), _Term(text, key.is_falling)]
        return [*terms, _Term(runs.c.number, True)]

    def value(self, column: Column) -> tuple[_Sql, _Sql, _Sql]:
        """Return rank, number and text of a column, as `SortValue` has them."""
        num, text = self._sides(column)
        whens: list[tuple[_Sql, _Sql]] = []
        if num is not None:
            whens.append((num.is_not(None), sa.literal_column("0")))
        if text is not None:
            whens.append((text.is_not(None), sa.literal_column("1")))
        return (
            sa.case(*whens, else_=sa.literal_column("2")),
            _constant("0", sa.Integer) if num is None else sa.func.coalesce(num, 0),
            _constant("''", sa.String) if text is None else sa.func.coalesce(text, ""),
        )

    def kind(self, column: Column) -> tuple[_Sql, _Sql]:
        """Return the least and greatest kind of a column in a group."""
        row = self._row(column)
        if row is None or column.source not in ("config", "summary"):
            return sa.literal_column("0"), sa.literal_column("0")
        kind = sa.func.coalesce(row.c.kind, 0)
        return sa.func.min(kind), sa.func.max(kind)

    def _sides(self, operand: Operand) -> _Sides:
        match operand:
            case Column():
                return self._column(operand)
            case Literal():
                value = operand.value
                if isinstance(value, str):
                    return _Sides(None, sa.literal(_short(value)))
                return _Sides(sa.literal(_number(value)), None)
            case Arithmetic():
                left, right = self._sides(operand.left).num, self._sides(operand.right).num
                if left is None or right is None:
                    return _Sides(_nothing(), None)
                # Whole numbers would be divided as such. What was calculated is none, and SQLite
                # reads long sums only where nothing stands around each.
                halves = (
                    side if isinstance(of, Arithmetic) else sa.cast(side, sa.Double)
                    for side, of in ((left, operand.left), (right, operand.right))
                )
                return _Sides(_OPERATORS[operand.op](*halves), None)
            case _:
                assert_never(operand)

    def _column(self, column: Column) -> _Sides:
        if not column.source:
            match column.key:
                case "name":
                    return _Sides(None, runs.c.name)
                case "id":
                    return _Sides(None, runs.c.run_id)
                case "state":
                    return _Sides(None, self.state())
                case "number":
                    return _Sides(runs.c.number, None)
                case "points":
                    return _Sides(runs.c.points, None)
                case "created_at":
                    return _Sides(runs.c.created_ns, None)
                case "active_at":
                    return _Sides(runs.c.active_ns, None)
        row = self._row(column)
        if column.source in _ROW_SOURCES:
            _, side = _ROW_SOURCES[column.source]
            return _Sides(_nothing() if row is None else row.c[side], None)
        if row is None:
            return _Sides(_nothing(), _nothing(sa.String))
        return _Sides(row.c.num, row.c.text)

    def _row(self, column: Column) -> sa.FromClause | None:
        key_id = self._ids.get(index_name(column))
        if key_id is None:
            return None
        if key_id not in self._joined:
            self._joined[key_id] = values.alias(f"kv_{len(self._joined)}")
        return self._joined[key_id]

    def _has_tag(self, is_wanted: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return runs.c.number.in_(
            sa.select(values.c.run)
            .join_from(values, keys, values.c.key == keys.c.id)
            .where(keys.c.project == self.project, keys.c.source == "tags", is_wanted)
        )


def ordered(
    connection: sa.Connection,
    query: RunQuery,
    wanted: Sequence[sa.ColumnElement[bool]],
    sort: Sequence[SortKey],
    after: Place | None,
    limit: int,
) -> tuple[list[Sequence[Any]], int]:
    """Return the terms of the runs behind a place, and how many are wanted in all."""
    terms = query.order(sort)
    tables = query.tables()
    selected = sa.select(*(term.sql for term in terms)).select_from(tables).where(*wanted)
    selected = selected.limit(limit).order_by(
        *(term.sql.desc() if term.is_falling else term.sql.asc() for term in terms)
    )
    if after is None:
        # Counted on the way: a statement of its own would look at all runs once more.
        rows = connection.execute(selected.add_columns(sa.func.count().over())).all()
        return [row[:-1] for row in rows], rows[0][-1] if rows else 0
    count = sa.select(sa.func.count()).select_from(tables).where(*wanted)
    total = connection.execute(count).scalar_one()
    return list(connection.execute(selected.where(_is_behind(terms, after))).all()), total


def place_of(row: Sequence[Any]) -> Place:
    """Return the place of a row that holds the terms of its order."""
    *at, number = row
    chunks = [SortValue(*at[n : n + 3]) for n in range(0, len(at), 3)]
    return Place(tuple(chunks), number)


def group_of(row: Sequence[Any], columns: int) -> RunGroup:
    """Return the group of a row: its terms, its kinds, its states."""
    found: list[JsonValue] = []
    for n in range(columns):
        rank, num, text = row[3 * n : 3 * n + 3]
        kinds = row[3 * columns + 2 * n : 3 * columns + 2 * n + 2]
        found.append(group_value(rank, num, text, kinds=(KINDS[kinds[0]], KINDS[kinds[1]])))
    counts = row[5 * columns : 5 * columns + len(RUN_STATES)]
    states = {s: count for s, count in zip(RUN_STATES, counts, strict=True) if count}
    return RunGroup(values=tuple(found), states=states)


def _is_behind(terms: Sequence[_Term], place: Place) -> sa.ColumnElement[bool]:
    """Return whether a row stands behind a place in the order of the terms."""
    at = [one for value in place.values for one in value] + [place.number]
    if len(at) != len(terms):
        raise UsageError("cursor must be the 'next' of an answer in the same order")
    found: sa.ColumnElement[bool] = sa.false()
    for (sql, is_falling), value in zip(reversed(terms), reversed(at), strict=True):
        beyond = sql < value if is_falling else sql > value
        found = sa.or_(beyond, sa.and_(sql == value, found))
    return found


def _compared(compare: Callable[[_Sql, _Sql], _Sql], left: _Sides, right: _Sides) -> _Sql:
    by_text = _nothing(sa.Boolean)
    if left.text is not None and right.text is not None:
        by_text = compare(left.text, right.text)
    if left.num is None or right.num is None:
        return by_text
    by_num = compare(left.num, right.num)
    if left.text is None or right.text is None:
        return by_num
    return sa.case((sa.and_(left.num.is_not(None), right.num.is_not(None)), by_num), else_=by_text)


def _is_one_of(sides: _Sides, wanted: Iterable[bool | int | float | str]) -> _Sql:
    nums = [_number(value) for value in wanted if not isinstance(value, str)]
    texts = [_short(value) for value in wanted if isinstance(value, str)]
    among: list[_Sql] = []
    if nums and sides.num is not None:
        among.append(sides.num.in_(nums))
    if texts and sides.text is not None:
        among.append(sides.text.in_(texts))
    if len(among) == 2 and sides.num is not None:
        return sa.case((sides.num.is_not(None), among[0]), else_=among[1])
    return among[0] if among else _nothing(sa.Boolean)


def _matched(text: _Sql, node: Match) -> sa.ColumnElement[bool]:
    pattern = clean(node.pattern)
    if node.how == "regexp":
        # A wrong one is told even where no text is looked at.
        matcher(pattern, is_search=False)
        return text.regexp_match(pattern)
    return text.like(pattern, escape="\\")


def _is_tags(operand: Operand) -> bool:
    return operand == Column(key="tags")


def _short(text: str) -> str:
    return clean(text[:MAX_TEXT])


def _number(value: bool | int | float) -> int | float:
    return int(value) if isinstance(value, bool) else value


def _nothing(of: type[sa.types.TypeEngine[Any]] = sa.Double) -> _Sql:
    return sa.literal_column("NULL", of)


def _constant(sql: str, of: type[sa.types.TypeEngine[Any]]) -> _Sql:
    # A bare number would be taken for the place of a column when rows are ordered by it.
    return sa.cast(sa.literal_column(sql), of)
