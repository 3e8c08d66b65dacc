"""Filters and orders: what is read, what is refused and where, and that names are proposed."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlore.asking.check import check_column, check_condition
from runlore.asking.parse import MAX_DEPTH, parse_columns, parse_filter, parse_sort
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
    Or,
    SortKey,
    columns_of,
)
from runlore.errors import ExpressionError

LR = Column(source="config", key="lr")
NAME = Column(key="name")


class Table:
    """The columns of a small table."""

    types: dict[Column, ColumnType] = {
        NAME: "text",
        Column(key="tags"): "tags",
        Column(key="number"): "number",
        Column(key="created_at"): "time",
        LR: "number",
        Column(source="config", key="model/depth"): "number",
        Column(source="config", key="model"): "text",
        Column(source="config", key="either"): "mixed",
        Column(source="summary", key="loss"): "number",
        Column(source="summary", key="val/acc"): "number",
    }

    def type_of(self, column: Column) -> ColumnType | None:
        return self.types.get(column)

    def names(self) -> Iterator[str]:
        return map(str, self.types)


def checked(text: str) -> Condition:
    return check_condition(parse_filter(text), Table())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config.lr < 0.5", Compare(op="<", left=LR, right=Literal(value=0.5))),
        ("config.lr <> -2", Compare(op="!=", left=LR, right=Literal(value=-2))),
        ("config.lr == 1e-3", Compare(op="=", left=LR, right=Literal(value=0.001))),
        ("name = 'it''s'", Compare(op="=", left=NAME, right=Literal(value="it's"))),
        ("config.lr = TRUE", Compare(op="=", left=LR, right=Literal(value=True))),
        ('"name" is null', IsNull(operand=NAME)),
        ("name IS NOT NULL", Not(item=IsNull(operand=NAME))),
        ("name IN ('a')", In(operand=NAME, values=(Literal(value="a"),))),
        (
            "config.lr not in (1, -2)",
            Not(item=In(operand=LR, values=(Literal(value=1), Literal(value=-2)))),
        ),
        ("name LIKE 'a%'", Match(how="like", operand=NAME, pattern="a%")),
        ("name NOT REGEXP '^a'", Not(item=Match(how="regexp", operand=NAME, pattern="^a"))),
        (
            "config.lr + 1 * 2 > 3",
            Compare(
                op=">",
                left=Arithmetic(
                    op="+",
                    left=LR,
                    right=Arithmetic(op="*", left=Literal(value=1), right=Literal(value=2)),
                ),
                right=Literal(value=3),
            ),
        ),
        (
            "not name = 'a' and name = 'b' or name = 'c'",
            Or(
                items=(
                    And(
                        items=(
                            Not(item=Compare(op="=", left=NAME, right=Literal(value="a"))),
                            Compare(op="=", left=NAME, right=Literal(value="b")),
                        )
                    ),
                    Compare(op="=", left=NAME, right=Literal(value="c")),
                )
            ),
        ),
        ("(config.lr) = (1)", Compare(op="=", left=LR, right=Literal(value=1))),
    ],
)
def test_filters_are_read_as_sql_is(text: str, expected: Condition) -> None:
    assert parse_filter(text) == expected


def test_orders_and_columns_are_read() -> None:
    assert parse_sort("-config.lr, name") == (
        SortKey(column=LR, is_falling=True),
        SortKey(column=NAME),
    )
    assert parse_columns('config."a,b",name') == (Column(source="config", key="a,b"), NAME)


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("", 0, "the end"),
        ("name", 4, "a comparison of name, as in name = 1|a comparison"),
        ("name = ", 7, "the name of a column, got the end"),
        ("name = 'a", 7, "a closing quote"),
        ("name = 'a' name", 11, "AND, OR or the end, got 'name'"),
        ("name ? 'a'", 5, "a name, a value or an operator"),
        ("name = NULL", 7, "IS NULL"),
        ("config.lr IN ()", 14, "the name of a column|a value"),
        ("config.lr IN 3", 13, "parentheses"),
        ("config.lr IN (name)", 14, "a number or a text"),
        ("name LIKE name", 10, "a pattern in single quotes"),
        ("name LIKE 'a\\'", 10, "backslash"),
        ("config.1 = 2", 6, "a comparison of config"),
        ("config. = 2", 8, "double quotes"),
        ("(name = 'a'", 11, "closing parenthesis"),
        ("name = (name = 'a')", 19, "comparison"),
        ("and = 1", 0, "the name of a column"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, at: int, told: str) -> None:
    with pytest.raises(ExpressionError, match=told) as caught:
        parse_filter(text)
    assert caught.value.at == at
    assert f"at character {at + 1}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "name = 'a'" + ")" * 5000,
        "not " * 5000 + "name = 'a'",
        "- " * 5000 + "1 = 1",
        " or ".join(["name = 'a'"] * 1000),
        "1" + " + 1" * 1000 + " = 1",
        "config.lr in (" + ",".join("1" for _ in range(5000)) + ")",
        "name regexp '" + "a" * 600 + "'",
        "name = '" + "a" * 40_000 + "'",
        "config.lr = " + "9" * 5000 + " and",
    ],
)
def test_what_is_too_deep_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse_filter(text)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert parse_filter("(" * MAX_DEPTH + "name = 'a'" + ")" * MAX_DEPTH)


@given(st.text(st.sampled_from(list("nae config.lr'\"()=<,-+*/1.%ORANDINT")), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_filter(text)
    except ExpressionError:
        return
    assert isinstance(columns_of(found), list)


@given(st.sampled_from(["config", "summary", ""]), st.text(min_size=1))
def test_a_column_written_out_is_read_back(source: str, key: str) -> None:
    column = Column(source=source, key=key)
    assert parse_columns(str(column)) == (column,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config.lrr = 1", r"no column config\.lrr; did you mean config\.lr\?"),
        ("nme = 'a'", r"no column nme; did you mean name\?"),
        ("summary.accuracy = 1", r"no column summary\.accuracy"),
        ("summary.val/acc > 0.9", r'double quotes, as in summary\."val/acc"'),
        ("config.lr = '0.1'", "holds numbers, got the text '0.1'"),
        ("'0.1' = config.lr", "holds numbers"),
        ("config.model = 3", "holds texts; put 3 into single quotes"),
        ("config.model = config.lr", "cannot be compared"),
        ("config.model + 1 = 2", "want numbers"),
        ("config.lr LIKE '1%'", "LIKE looks at texts"),
        ("tags < 'a'", "tags are compared by"),
        ("'a' = tags", "tags are compared by"),
        ("tags = 1", "single quotes"),
        ("created_at > 3", "holds times, got 3"),
        ("created_at > 'yesterday'", "holds times, got 'yesterday'"),
        ("created_at + 1 > 3", "want numbers"),
        ("config.either = created_at", "cannot be compared"),
    ],
)
def test_what_does_not_fit_the_table_is_told(text: str, told: str) -> None:
    with pytest.raises(ExpressionError, match=told):
        checked(text)


def test_a_key_with_slashes_may_be_typed_with_dots() -> None:
    [column] = columns_of(checked("config.model.depth = 3"))
    assert column == Column(source="config", key="model/depth")
    assert str(column) == 'config."model/depth"'


def test_times_become_nanoseconds() -> None:
    assert checked("created_at >= '1970-01-02'") == Compare(
        op=">=", left=Column(key="created_at"), right=Literal(value=86_400 * 10**9)
    )
    assert checked("created_at in ('1970-01-01T01:00:00+01:00')") == In(
        operand=Column(key="created_at"), values=(Literal(value=0),)
    )
    assert checked("created_at < '0001-01-01'") == Compare(
        op="<", left=Column(key="created_at"), right=Literal(value=-(2**63))
    )


def test_a_number_that_is_not_one_is_found_by_its_text() -> None:
    assert checked("summary.loss = 'NaN'")


def test_tags_have_no_order() -> None:
    with pytest.raises(ExpressionError, match="nothing can be sorted"):
        check_column(Column(key="tags"), Table())


def test_a_name_cut_at_a_slash_is_told_how_to_be_written() -> None:
    with pytest.raises(ExpressionError, match=r'as in summary\."val/acc"'):
        parse_sort("-summary.eval/accuracy")
