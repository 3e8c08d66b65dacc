"""Checks an expression against the columns of its table: names, types, times."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import islice
from typing import Protocol

from runlore.core.expression import (
    And,
    Arithmetic,
    Column,
    ColumnType,
    Compare,
    Condition,
    In,
    IsNull,
    Literal,
    Match,
    Not,
    Operand,
    Or,
)
from runlore.errors import ExpressionError

NAN_TEXT = "NaN"
"""How a number that is not one stands among numbers; it is found by this text."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMPARED_NAMES = 5000
_HOLDS = {"number": "numbers", "text": "texts", "time": "times", "tags": "tags", "mixed": "both"}


class Columns(Protocol):
    """The columns of a table."""

    def type_of(self, column: Column) -> ColumnType | None:
        """Tell what a column holds, None for one that is not there."""
        ...

    def names(self) -> Iterable[str]:
        """Name the columns as one would type them."""
        ...


def check_condition(node: Condition, columns: Columns) -> Condition:
    """Return a condition with its columns found and its times read.

    Raises:
        ExpressionError: a column is not there, or types do not fit; the error tells the place.
    """
    match node:
        case And():
            return And(items=tuple(check_condition(item, columns) for item in node.items))
        case Or():
            return Or(items=tuple(check_condition(item, columns) for item in node.items))
        case Not():
            return Not(item=check_condition(node.item, columns))
        case IsNull():
            return IsNull(operand=_operand(node.operand, columns)[0])
        case In():
            operand, kind = _operand(node.operand, columns)
            return In(
                operand=operand, values=tuple(_literal(v, kind, operand) for v in node.values)
            )
        case Match():
            operand, kind = _operand(node.operand, columns)
            if kind in ("number", "time"):
                raise ExpressionError(
                    f"{node.how.upper()} looks at texts, and {_told(operand)} holds "
                    f"{_HOLDS[kind]}; compare it with =, < or >",
                    at=_at(node.operand),
                )
            return Match(how=node.how, operand=operand, pattern=node.pattern, at=node.at)
        case Compare():
            return _compare(node, columns)


def check_column(column: Column, columns: Columns) -> Column:
    """Return a column as the table names it.

    A key with `/` may be typed with `.`: `config.model.depth` finds `config."model/depth"`.

    Raises:
        ExpressionError: it is not there, or holds tags, which have no order.
    """
    found, kind = _column(column, columns)
    if kind == "tags":
        raise ExpressionError(
            f"{column} holds several texts a row, so nothing can be sorted or grouped by it",
            at=column.at,
        )
    return found


def spellings(column: Column) -> tuple[Column, ...]:
    """Return the columns that may be meant by one, the likeliest first."""
    with_slashes = Column(source=column.source, key=column.key.replace(".", "/"), at=column.at)
    return (column, with_slashes)


def _compare(node: Compare, columns: Columns) -> Condition:
    left, left_kind = _operand(node.left, columns)
    right, right_kind = _operand(node.right, columns)
    if isinstance(right, Literal):
        right = _literal(right, left_kind, left)
    elif isinstance(left, Literal):
        left = _literal(left, right_kind, right)
    elif left_kind != right_kind and not _may_meet({left_kind, right_kind}):
        raise ExpressionError(
            f"{_told(left)} holds {_HOLDS[left_kind]} and {_told(right)} holds "
            f"{_HOLDS[right_kind]}; these cannot be compared",
            at=_at(node.right),
        )
    if "tags" in (left_kind, right_kind):
        is_plain = isinstance(left, Column) and isinstance(right, Literal)
        if not is_plain or node.op not in ("=", "!="):
            raise ExpressionError(
                "tags are compared by =, !=, IN, LIKE, REGEXP and IS NULL, as in tags = 'good'",
                at=_at(node.left),
            )
    return Compare(op=node.op, left=left, right=right)


def _may_meet(kinds: set[ColumnType]) -> bool:
    return "mixed" in kinds and not kinds & {"time", "tags"}


def _operand(node: Operand, columns: Columns) -> tuple[Operand, ColumnType]:
    match node:
        case Column():
            return _column(node, columns)
        case Literal():
            return node, "text" if isinstance(node.value, str) else "number"
        case Arithmetic():
            left, right = _number(node.left, columns), _number(node.right, columns)
            return Arithmetic(op=node.op, left=left, right=right, at=node.at), "number"


def _number(node: Operand, columns: Columns) -> Operand:
    found, kind = _operand(node, columns)
    if kind not in ("number", "mixed"):
        raise ExpressionError(
            f"+ - * / want numbers, and {_told(found)} holds {_HOLDS[kind]}", at=_at(node)
        )
    return found


def _column(column: Column, columns: Columns) -> tuple[Column, ColumnType]:
    for one in spellings(column):
        kind = columns.type_of(one)
        if kind is not None:
            return one, kind
    names = list(islice(columns.names(), _COMPARED_NAMES))
    near = get_close_matches(str(column), names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if cut := _cut_short(column, names):
        hint = f"; names with other characters stand in double quotes, as in {cut}"
    raise ExpressionError(f"no column {column}{hint}", at=column.at)


def _cut_short(column: Column, names: Sequence[str]) -> str | None:
    """Find a name that this one begins: `summary.val/acc` is read as a division."""
    begin = str(Column(source=column.source, key=column.key + "/")).removesuffix('/"')
    others = (name for name in names if name.startswith(begin))
    return next((one for one in others if re.match(r"[^\w.\"]", one[len(begin) :])), None)


def _literal(literal: Literal, kind: ColumnType, beside: Operand) -> Literal:
    """Read a value as what it is compared with."""
    is_text = isinstance(literal.value, str)
    if kind == "time":
        return Literal(value=_time_ns(literal, beside), at=literal.at)
    if kind in ("text", "tags") and not is_text:
        value = str(literal.value).lower() if isinstance(literal.value, bool) else literal.value
        raise ExpressionError(
            f"{_told(beside)} holds {_HOLDS[kind]}; put {value} into single quotes", at=literal.at
        )
    if kind == "number" and is_text and literal.value != NAN_TEXT:
        raise ExpressionError(
            f"{_told(beside)} holds numbers, got the text {literal.value!r}; "
            "a number stands without quotes",
            at=literal.at,
        )
    return literal


def _time_ns(literal: Literal, beside: Operand) -> int:
    try:
        if not isinstance(literal.value, str):
            raise ValueError("a number")
        time = datetime.fromisoformat(literal.value)
        since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise ExpressionError(
            f"{_told(beside)} holds times, got {literal.value!r}; write one like '2026-01-31' or "
            "'2026-01-31T09:30:00+01:00'",
            at=literal.at,
        ) from error
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    # What 64 bits cannot hold is before or behind all that a clock may have told.
    return min(max(microseconds * 1000, -(2**63)), 2**63 - 1)


def _told(operand: Operand) -> str:
    return str(operand) if isinstance(operand, Column) else "the other side"


def _at(operand: Operand) -> int:
    return _at(operand.left) if isinstance(operand, Arithmetic) else operand.at
