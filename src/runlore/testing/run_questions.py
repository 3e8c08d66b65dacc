"""The list of runs answered naively: every run is looked at for every question."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, assert_never

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
from runlore.errors import UsageError
from runlore.store.run_entries import MAX_TEXT, Entries, Entry, Source, clean
from runlore.store.runs import Place, RunRecord, SortValue

Sides = tuple[float | None, str | None]


class Row(NamedTuple):
    """A run as a row of the list."""

    record: RunRecord
    entries: Mapping[Source, Entries]
    now_ns: int

    def entry(self, column: Column) -> Entry | None:
        """Return what is indexed under a column."""
        sources: dict[str, Source] = {"config": "config", "": ""}
        return self.entries[sources.get(column.source, "summary")].get(column.key)

    def sides(self, column: Column) -> Sides:
        """Return the value of a column as a number or as a text."""
        record = self.record
        own: dict[str, Sides] = {
            "name": (None, record.name),
            "id": (None, record.ref.run_id),
            "state": (None, record.state(self.now_ns)),
            "number": (record.number, None),
            "points": (record.points, None),
            "created_at": (record.created_ns, None),
            "active_at": (record.active_ns, None),
        }
        if not column.source and column.key in own:
            return own[column.key]
        entry = self.entry(column)
        if entry is None:
            return (None, None)
        if column.source == "min":
            return (entry.low, None)
        if column.source == "max":
            return (entry.high, None)
        return (entry.num, entry.text)

    def sort_value(self, column: Column) -> SortValue:
        """Return what the row is sorted by."""
        num, text = self.sides(column)
        rank = 0 if num is not None else 1 if text is not None else 2
        return SortValue(rank, 0 if num is None else num, text or "")


def holds(row: Row, node: Condition) -> bool | None:
    """Tell whether a condition holds for a row; None where it is unknown."""
    match node:
        case And():
            results = [holds(row, item) for item in node.items]
            return False if False in results else None if None in results else True
        case Or():
            results = [holds(row, item) for item in node.items]
            return True if True in results else None if None in results else False
        case Not():
            result = holds(row, node.item)
            return None if result is None else not result
        case Compare():
            if _is_tags(node.left) and isinstance(node.right, Literal):
                return (node.right.value in row.entries["tags"]) == (node.op == "=")
            return _compared(node.op, _sides(row, node.left), _sides(row, node.right))
        case In():
            if _is_tags(node.operand):
                return any(value.value in row.entries["tags"] for value in node.values)
            return _is_one_of(_sides(row, node.operand), node.values)
        case IsNull():
            if _is_tags(node.operand):
                return not row.entries["tags"]
            return _sides(row, node.operand) == (None, None)
        case Match():
            if _is_tags(node.operand):
                return any(_matches(node, tag) for tag in row.entries["tags"])
            _, text = _sides(row, node.operand)
            return None if text is None else _matches(node, text)
        case _:
            assert_never(node)


def sorted_rows(rows: Sequence[Row], sort: Sequence[SortKey]) -> list[Row]:
    """Return rows in an order, and those of one place by falling number."""
    found = sorted(rows, key=lambda row: -row.record.number)
    for key in reversed(sort):
        # Python keeps the order of equals, also when it sorts in reverse.
        values = {id(row): row.sort_value(key.column) for row in found}
        found.sort(key=lambda row: values[id(row)].text, reverse=key.is_falling)
        found.sort(key=lambda row: values[id(row)].num, reverse=key.is_falling)
        found.sort(key=lambda row: values[id(row)].rank)
    return found


def place_of(row: Row, sort: Sequence[SortKey]) -> Place:
    """Return the place of a row in an order."""
    return Place(tuple(row.sort_value(key.column) for key in sort), row.record.number)


def is_behind(row: Row, sort: Sequence[SortKey], place: Place) -> bool:
    """Tell whether a row stands behind a place."""
    if len(place.values) != len(sort):
        raise UsageError("cursor must be the 'next' of an answer in the same order")
    for key, there in zip(sort, place.values, strict=True):
        here = row.sort_value(key.column)
        if here != there:
            if here.rank != there.rank:
                return here.rank > there.rank
            return (here < there) if key.is_falling else (here > there)
    return row.record.number < place.number


def _sides(row: Row, operand: Operand) -> Sides:
    match operand:
        case Column():
            return row.sides(operand)
        case Literal():
            if isinstance(operand.value, str):
                return (None, clean(operand.value[:MAX_TEXT]))
            return (operand.value, None)
        case Arithmetic():
            return (
                _calculated(
                    operand.op, _sides(row, operand.left)[0], _sides(row, operand.right)[0]
                ),
                None,
            )
        case _:
            assert_never(operand)


def _calculated(op: str, left: float | None, right: float | None) -> float | None:
    if left is None or right is None or (op == "/" and right == 0):
        return None
    one, other = float(left), float(right)
    match op:
        case "+":
            result = one + other
        case "-":
            result = one - other
        case "*":
            result = one * other
        case _:
            result = one / other
    return None if math.isnan(result) else result


def _compared(op: str, left: Sides, right: Sides) -> bool | None:
    for one, other in zip(left, right, strict=True):
        if one is not None and other is not None:
            order = (one > other) - (one < other)  # type: ignore[operator]
            wanted = {"=": (0,), "!=": (-1, 1), "<": (-1,), "<=": (-1, 0), ">": (1,), ">=": (0, 1)}
            return order in wanted[op]
    return None


def _is_one_of(sides: Sides, literals: Sequence[Literal]) -> bool | None:
    num, text = sides
    nums = [literal.value for literal in literals if not isinstance(literal.value, str)]
    texts = [clean(v.value[:MAX_TEXT]) for v in literals if isinstance(v.value, str)]
    if num is not None:
        return num in nums if nums else None
    if text is not None:
        return text in texts if texts else None
    return None


def _matches(node: Match, text: str) -> bool:
    if node.how == "regexp":
        try:
            return re.search(node.pattern, text) is not None
        except re.error as error:
            raise UsageError(str(error)) from error
    meanings = {"%": ".*", "_": "."}
    tokens = re.findall(r"\\.|.", clean(node.pattern), re.DOTALL)
    pattern = "".join(meanings.get(token) or re.escape(token[-1]) for token in tokens)
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _is_tags(operand: Operand) -> bool:
    return operand == Column(key="tags")
