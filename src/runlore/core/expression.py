"""Expressions over the columns of a table: what filters and sort orders are made of."""

import re
from dataclasses import dataclass, field
from typing import Literal as OneOf
from typing import TypeAlias

ColumnType: TypeAlias = OneOf["number", "text", "mixed", "time", "tags"]
"""What a column holds; `mixed` is a number in some rows and a text in others."""
Comparison: TypeAlias = OneOf["=", "!=", "<", "<=", ">", ">="]
Arithmetics: TypeAlias = OneOf["+", "-", "*", "/"]

RESERVED = frozenset(("and", "or", "not", "in", "is", "null", "like", "regexp", "true", "false"))
"""Words of the language; a column of such a name stands in double quotes."""

_PLAIN = re.compile(r"[^\W\d]\w*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: one of the table's own, or a key of one of its open sources.

    Attributes:
        source: such as `config`; empty for the table's own columns.
        at: the character of the text at which it stands, for errors.
    """

    source: str = ""
    key: str
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        """Write it as one would type it."""
        is_plain = _PLAIN.match(self.key) and self.key.lower() not in RESERVED
        key = self.key if is_plain else '"' + self.key.replace('"', '""') + '"'
        return f"{self.source}.{key}" if self.source else key


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """A value that stands in the expression; a time is its nanoseconds since 1970."""

    value: bool | int | float | str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """Two numbers and what to make of them; dividing by 0 gives no value."""

    op: Arithmetics
    left: "Operand"
    right: "Operand"
    at: int = field(default=0, compare=False)


Operand: TypeAlias = Column | Literal | Arithmetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Whether two values of one type stand so; unknown where one is missing."""

    op: Comparison
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class In:
    """Whether a value is one of some."""

    operand: Operand
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IsNull:
    """Whether a value is missing; never unknown."""

    operand: Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    r"""Whether a text is like a pattern.

    `like` wants the whole text: `%` stands for any characters, `_` for one, `\` takes the
    meaning from the next. `regexp` wants a part of it. Both look at case.
    """

    how: OneOf["like", "regexp"]
    operand: Operand
    pattern: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class And:
    """Whether all hold."""

    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Or:
    """Whether one holds."""

    items: tuple["Condition", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """Whether the other does not hold; unknown stays unknown."""

    item: "Condition"


Condition: TypeAlias = Compare | In | IsNull | Match | And | Or | Not


@dataclass(frozen=True, slots=True, kw_only=True)
class SortKey:
    """A column to sort by: numbers, then texts, then what is missing, whatever the direction."""

    column: Column
    is_falling: bool = False


def columns_of(node: Condition | Operand) -> list[Column]:
    """Return the columns that an expression names, each once, in their order."""
    return list(dict.fromkeys(_walk(node)))


def _walk(node: Condition | Operand) -> list[Column]:
    match node:
        case Column():
            return [node]
        case Literal():
            return []
        case Arithmetic() | Compare():
            return [*_walk(node.left), *_walk(node.right)]
        case In() | IsNull() | Match():
            return _walk(node.operand)
        case Not():
            return _walk(node.item)
        case And() | Or():
            return [column for item in node.items for column in _walk(item)]
