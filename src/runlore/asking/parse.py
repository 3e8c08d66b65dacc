"""Reads filters and sort orders, written as in SQL, into expressions."""

import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn, cast

from runlore.core.expression import (
    RESERVED,
    And,
    Arithmetic,
    Arithmetics,
    Column,
    Compare,
    Comparison,
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
from runlore.errors import ExpressionError

MAX_TEXT = 32_768
MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_ARITHMETIC = 64
MAX_VALUES = 1000
MAX_PATTERN = 512
MAX_COLUMNS = 32

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<word>[^\W\d]\w*)
    |(?P<mark><=|>=|!=|<>|==|[=<>+\-*/(),.])""",
    re.VERBOSE,
)
_COMPARISONS = {"==": "=", "<>": "!=", **{op: op for op in ("=", "!=", "<", "<=", ">", ">=")}}
_SHOWN = 40


class _Token(NamedTuple):
    kind: str
    text: str
    at: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text[:_SHOWN])


def parse_filter(text: str) -> Condition:
    """Read a filter such as `config.lr < 0.01 AND name LIKE '%base%'`.

    Raises:
        ExpressionError: it cannot be read; the error tells the place.
    """
    parser = _Parser(text)
    found = parser.condition(parser.either())
    parser.expect_end("AND, OR or the end")
    return found


def parse_sort(text: str) -> tuple[SortKey, ...]:
    """Read a sort order such as `-summary.loss, name`: columns, those with a minus falling.

    Raises:
        ExpressionError: it cannot be read; the error tells the place.
    """
    parser = _Parser(text)
    keys: list[SortKey] = []
    while not keys or parser.takes(","):
        is_falling = parser.takes("-")
        keys.append(SortKey(column=parser.column(), is_falling=is_falling))
        _check_columns(len(keys), keys[-1].column)
    parser.expect_end("a comma or the end")
    return tuple(keys)


def parse_columns(text: str) -> tuple[Column, ...]:
    """Read columns such as `config.lr, state`.

    Raises:
        ExpressionError: they cannot be read; the error tells the place.
    """
    parser = _Parser(text)
    columns = [parser.column()]
    while parser.takes(","):
        columns.append(parser.column())
        _check_columns(len(columns), columns[-1])
    parser.expect_end("a comma or the end")
    return tuple(columns)


def _check_columns(count: int, last: Column) -> None:
    if count > MAX_COLUMNS:
        raise ExpressionError(f"one question may name {MAX_COLUMNS} columns here", at=last.at)


class _Parser:
    """Goes through the tokens of one text, from the loosest operator to the tightest."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0
        self._conditions = 0
        self._arithmetic = 0

    def either(self) -> Condition | Operand:
        items = [self._all()]
        while self._takes_word("or"):
            items.append(self._all())
        if len(items) == 1:
            return items[0]
        return Or(items=tuple(map(self.condition, items)))

    def condition(self, node: Condition | Operand) -> Condition:
        """Refuse a bare value where something true or false is wanted."""
        if isinstance(node, Column | Literal | Arithmetic):
            shown = f" {node}" if isinstance(node, Column) else ""
            self._fail("a comparison" + (f" of{shown}, as in{shown} = 1" if shown else ""))
        return node

    def column(self) -> Column:
        first = self._take()
        if first.kind not in ("word", "quoted") or _is_reserved(first):
            self._refuse(first, "the name of a column")
        parts = [_name(first)]
        while self.takes("."):
            part = self._take()
            if part.kind not in ("word", "quoted"):
                self._refuse(part, 'a name; put other names into double quotes, as in config."1"')
            parts.append(_name(part))
        if len(parts) == 1:
            return Column(key=parts[0], at=first.at)
        return Column(source=parts[0], key=".".join(parts[1:]), at=first.at)

    def takes(self, *marks: str) -> bool:
        token = self._tokens[self._next]
        if token.kind == "mark" and token.text in marks:
            self._next += 1
            return True
        return False

    def expect_end(self, expected: str) -> None:
        if self._tokens[self._next].kind != "end":
            self._fail(expected)

    def _all(self) -> Condition | Operand:
        items = [self._not()]
        while self._takes_word("and"):
            items.append(self._not())
        if len(items) == 1:
            return items[0]
        return And(items=tuple(map(self.condition, items)))

    def _not(self) -> Condition | Operand:
        if not self._takes_word("not"):
            return self._comparison()
        self._deepen()
        inner = self.condition(self._not())
        self._depth -= 1
        return Not(item=inner)

    def _comparison(self) -> Condition | Operand:
        left = self._sum()
        token = self._tokens[self._next]
        if token.kind == "mark" and token.text in _COMPARISONS:
            op = cast(Comparison, _COMPARISONS[self._take().text])
            self._count(token)
            return Compare(op=op, left=self._operand(left), right=self._operand(self._sum()))
        if token.kind != "word" or token.text.lower() not in ("is", "not", "in", "like", "regexp"):
            return left
        self._count(token)
        operand = self._operand(left)
        if self._takes_word("is"):
            is_not = self._takes_word("not")
            if not self._takes_word("null"):
                self._fail("NULL")
            return Not(item=IsNull(operand=operand)) if is_not else IsNull(operand=operand)
        is_not = self._takes_word("not")
        found = self._membership(operand)
        return Not(item=found) if is_not else found

    def _membership(self, operand: Operand) -> Condition:
        if self._takes_word("in"):
            return In(operand=operand, values=self._values())
        how = "like" if self._takes_word("like") else "regexp"
        if how == "regexp" and not self._takes_word("regexp"):
            self._fail("IN, LIKE or REGEXP")
        token = self._take()
        if token.kind != "text":
            self._refuse(token, "a pattern in single quotes")
        pattern = _unquoted(token)
        if len(pattern) > MAX_PATTERN:
            raise ExpressionError(
                f"a pattern may have {MAX_PATTERN} characters, got {len(pattern)}", at=token.at
            )
        if how == "like" and re.sub(r"\\.", "", pattern, flags=re.DOTALL).endswith("\\"):
            raise ExpressionError(
                "the pattern ends in a single backslash; write two for one", at=token.at
            )
        return Match(
            how="like" if how == "like" else "regexp",
            operand=operand,
            pattern=pattern,
            at=token.at,
        )

    def _values(self) -> tuple[Literal, ...]:
        if not self.takes("("):
            self._fail("values in parentheses, as in ('a', 'b')")
        values: list[Literal] = []
        while not values or self.takes(","):
            at = self._tokens[self._next].at
            value = self._operand(self._factor())
            if not isinstance(value, Literal):
                raise ExpressionError("expected a number or a text in IN (…)", at=at)
            values.append(value)
            if len(values) > MAX_VALUES:
                raise ExpressionError(f"IN (…) may have {MAX_VALUES} values", at=at)
        if not self.takes(")"):
            self._fail("a comma or a closing parenthesis")
        return tuple(values)

    def _sum(self) -> Condition | Operand:
        left = self._product()
        while (token := self._tokens[self._next]).text in ("+", "-") and token.kind == "mark":
            left = self._combined(left, self._product)
        return left

    def _product(self) -> Condition | Operand:
        left = self._factor()
        while (token := self._tokens[self._next]).text in ("*", "/") and token.kind == "mark":
            left = self._combined(left, self._factor)
        return left

    def _combined(
        self, left: Condition | Operand, read: Callable[[], Condition | Operand]
    ) -> Operand:
        token = self._take()
        self._arithmetic += 1
        if self._arithmetic > MAX_ARITHMETIC:
            raise ExpressionError(
                f"an expression may have {MAX_ARITHMETIC} of + - * /", at=token.at
            )
        return Arithmetic(
            op=cast(Arithmetics, token.text),
            left=self._operand(left),
            right=self._operand(read()),
            at=token.at,
        )

    def _factor(self) -> Condition | Operand:
        token = self._tokens[self._next]
        if self.takes("("):
            self._deepen()
            inner = self.either()
            self._depth -= 1
            if not self.takes(")"):
                self._fail("a closing parenthesis")
            return inner
        if self.takes("-"):
            self._deepen()
            operand = self._operand(self._factor())
            self._depth -= 1
            if isinstance(operand, Literal) and not isinstance(operand.value, str):
                return Literal(value=-operand.value, at=token.at)
            zero = Literal(value=0, at=token.at)
            return Arithmetic(op="-", left=zero, right=operand, at=token.at)
        if token.kind == "number":
            return Literal(value=_number(self._take().text), at=token.at)
        if token.kind == "text":
            return Literal(value=_unquoted(self._take()), at=token.at)
        word = token.text.lower() if token.kind == "word" else ""
        if word in ("true", "false"):
            self._next += 1
            return Literal(value=word == "true", at=token.at)
        if word == "null":
            raise ExpressionError("nothing equals NULL; write IS NULL or IS NOT NULL", at=token.at)
        return self.column()

    def _operand(self, node: Condition | Operand) -> Operand:
        if isinstance(node, Column | Literal | Arithmetic):
            return node
        at = self._tokens[self._next].at
        raise ExpressionError("expected a value, got a comparison in parentheses", at=at)

    def _takes_word(self, word: str) -> bool:
        token = self._tokens[self._next]
        if token.kind == "word" and token.text.lower() == word:
            self._next += 1
            return True
        return False

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _deepen(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            at = self._tokens[self._next - 1].at
            raise ExpressionError(f"an expression may be nested {MAX_DEPTH} deep", at=at)

    def _count(self, token: _Token) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise ExpressionError(
                f"an expression may have {MAX_CONDITIONS} comparisons; IN (…) takes many values",
                at=token.at,
            )

    def _fail(self, expected: str) -> NoReturn:
        self._refuse(self._tokens[self._next], expected)

    def _refuse(self, token: _Token, expected: str) -> NoReturn:
        hint = ""
        if token.kind == "quoted":
            hint = "; texts stand in single quotes, names in double quotes"
        elif token.text in ("/", "-"):
            hint = '; names with other characters stand in double quotes, as in summary."val/acc"'
        raise ExpressionError(f"expected {expected}, got {token}{hint}", at=token.at)


def _tokens(text: str) -> list[_Token]:
    if len(text) > MAX_TEXT:
        raise ExpressionError(
            f"an expression may have {MAX_TEXT:,} characters, got {len(text):,}", at=0
        )
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            is_open = text[at] in "'\""
            what = "a closing quote" if is_open else "a name, a value or an operator"
            raise ExpressionError(f"expected {what}, got {text[at : at + _SHOWN]!r}", at=at)
        if found.lastgroup != "space":
            tokens.append(_Token(str(found.lastgroup), found[0], at))
        at = found.end()
    return [*tokens, _Token("end", "", at)]


def _is_reserved(token: _Token) -> bool:
    return token.kind == "word" and token.text.lower() in RESERVED


def _name(token: _Token) -> str:
    return token.text if token.kind == "word" else token.text[1:-1].replace('""', '"')


def _unquoted(token: _Token) -> str:
    return token.text[1:-1].replace("''", "'")


def _number(text: str) -> int | float:
    # Beyond 18 digits a float64 stands for the number anyway, and Python limits the digits.
    return int(text) if text.isdigit() and len(text) <= 18 else float(text)
