"""The contract of the list of runs: filters, orders, groups and columns, as the reference has."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from runlore.core.run import Fork, RunRef
from runlore.errors import UsageError
from runlore.store.runs import SILENCE_NS, Noted, Place, RunRecord, RunStore, RunValues
from runlore.testing.runs import NOW_NS, ReferenceRunStore, a_record, note, put

_projects = itertools.count()
KEYS = ("a", "b", "a/b", "ü.x", "a%")
TEXTS = ("", "x", "X", "xy", "äb", "NaN", "10", "a%b", "a_b", "a\\b", "x\ny", "z" * 300)

numbers = st.one_of(
    st.integers(-3, 3),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.1, 2**60, 10**400, -0.0, 1e308]),
)
texts = st.sampled_from((*TEXTS, "nul\0", "\ud800"))
leaves = st.one_of(numbers, texts, st.booleans(), st.none(), st.lists(st.integers(0, 2)))
documents = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(leaves, st.dictionaries(st.sampled_from(("b", "c")), leaves, max_size=2)),
    max_size=4,
)
noted = st.dictionaries(
    st.sampled_from(KEYS),
    st.builds(
        Noted,
        st.one_of(st.floats(), st.sampled_from(TEXTS), st.booleans()),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.floats(allow_nan=False),
    ),
    max_size=4,
)
records = st.builds(
    lambda **changes: changes,
    name=st.sampled_from(TEXTS),
    config=documents,
    summary=documents,
    tags=st.lists(st.sampled_from(("x", "xy", "Y", "")), unique=True, max_size=3).map(tuple),
    group=st.sampled_from((None, "", "x", "xy")),
    created_ns=st.integers(1, 4),
    alive_ns=st.sampled_from((0, NOW_NS - SILENCE_NS, NOW_NS)),
    end_state=st.sampled_from((None, "finished", "failed", "crashed")),
)
columns = st.one_of(
    st.builds(
        lambda source, key: Column(source=source, key=key),
        st.sampled_from(("config", "summary", "min", "max")),
        st.sampled_from((*KEYS, "a/c", "unknown")),
    ),
    st.sampled_from([Column(key=k) for k in ("name", "id", "state", "group", "number", "points")]),
)
literals = st.builds(
    lambda value: Literal(value=value),
    st.one_of(st.integers(-3, 3), st.floats(-4, 4), st.booleans(), st.sampled_from(TEXTS)),
)
operands: st.SearchStrategy[Operand] = st.recursive(
    st.one_of(columns, literals),
    lambda inner: st.builds(
        lambda op, left, right: Arithmetic(op=op, left=left, right=right),
        st.sampled_from("+-*/"),
        inner,
        inner,
    ),
    max_leaves=3,
)
_tags = Column(key="tags")
_patterns = st.sampled_from(("%", "x%", "_", "%\\%%", "a\\_b", "%y", "X", ""))
_expressions = st.sampled_from(("x", "^x$", "y$", "[xX]", "^$", "a.b"))
_leaf_conditions: st.SearchStrategy[Condition] = st.one_of(
    st.builds(
        lambda op, left, right: Compare(op=op, left=left, right=right),
        st.sampled_from(("=", "!=", "<", "<=", ">", ">=")),
        operands,
        operands,
    ),
    st.builds(
        lambda op, tag: Compare(op=op, left=_tags, right=Literal(value=tag)),
        st.sampled_from(("=", "!=")),
        st.sampled_from(("x", "Y", "other")),
    ),
    st.builds(
        lambda operand, values: In(operand=operand, values=tuple(values)),
        operands,
        st.lists(literals, min_size=1, max_size=4),
    ),
    st.just(In(operand=_tags, values=(Literal(value="x"), Literal(value="Y")))),
    st.builds(lambda operand: IsNull(operand=operand), st.one_of(operands, st.just(_tags))),
    st.builds(
        lambda operand, pattern: Match(how="like", operand=operand, pattern=pattern),
        st.one_of(columns, st.just(_tags)),
        _patterns,
    ),
    st.builds(
        lambda operand, pattern: Match(how="regexp", operand=operand, pattern=pattern),
        st.one_of(columns, st.just(_tags)),
        _expressions,
    ),
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    _leaf_conditions,
    lambda inner: st.one_of(
        st.builds(lambda items: And(items=tuple(items)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda items: Or(items=tuple(items)), st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda item: Not(item=item), inner),
    ),
    max_leaves=4,
)
sorts = st.lists(
    st.builds(
        lambda column, falls: SortKey(column=column, is_falling=falls), columns, st.booleans()
    ),
    max_size=3,
)
_many = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class RunListProperties:
    """That a store answers as the reference does, whatever the runs and the questions."""

    @pytest.fixture
    def store(self) -> RunStore:
        """Supply an empty store."""
        raise NotImplementedError("a backend's test class supplies its store")

    @_many
    @given(
        st.lists(st.tuples(records, noted), max_size=6), st.lists(conditions, max_size=4), sorts
    )
    def test_filters_and_orders_are_those_of_the_reference(
        self,
        store: RunStore,
        content: list[tuple[dict[str, Any], dict[str, Noted]]],
        wheres: list[Condition],
        sort: list[SortKey],
    ) -> None:
        reference = ReferenceRunStore()
        project = f"p{next(_projects)}"
        _fill(store, reference, project, content)
        for where in (None, *wheres):
            found = _all(store, project, where, sort)
            assert found == _all(reference, project, where, sort)

    @_many
    @given(
        st.lists(st.tuples(records, noted), max_size=6),
        st.none() | conditions,
        st.lists(columns, min_size=1, max_size=2),
    )
    def test_groups_and_columns_are_those_of_the_reference(
        self,
        store: RunStore,
        content: list[tuple[dict[str, Any], dict[str, Noted]]],
        where: Condition | None,
        by: list[Column],
    ) -> None:
        reference = ReferenceRunStore()
        project = f"p{next(_projects)}"
        _fill(store, reference, project, content)
        found, expected = (
            one.groups("local", project, now_ns=NOW_NS, by=by, where=where)
            for one in (store, reference)
        )
        # As text, since no NaN equals another.
        assert [(repr(g.values), g.states) for g in found.groups] == [
            (repr(g.values), g.states) for g in expected.groups
        ]
        assert found.total == expected.total
        assert store.columns("local", project) == reference.columns("local", project)

    @_many
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("put", "put", "note", "delete")),
                st.integers(0, 3),
                records,
                noted,
            ),
            max_size=12,
        )
    )
    def test_the_index_follows_every_change(
        self,
        store: RunStore,
        steps: list[tuple[str, int, dict[str, Any], dict[str, Noted]]],
    ) -> None:
        reference = ReferenceRunStore()
        project = f"p{next(_projects)}"
        for one in (store, reference):
            put(one, a_record(RunRef("local", project, "first")))
            for what, n, changes, summary in steps:
                ref = RunRef("local", project, f"r{n}")
                if what == "put":
                    put(one, a_record(ref, **changes))
                elif what == "note":
                    note(one, {ref: summary})
                else:
                    one.delete(ref)
        assert store.columns("local", project) == reference.columns("local", project)
        for key in KEYS:
            sort = [
                SortKey(column=Column(source=s, key=key), is_falling=False)
                for s in ("config", "summary", "min")
            ]
            assert _all(store, project, None, sort) == _all(reference, project, None, sort)


class RunListContract:
    """What every store of runs keeps of its list; a backend's test class inherits it."""

    @pytest.fixture
    def store(self) -> RunStore:
        """Supply an empty store."""
        raise NotImplementedError("a backend's test class supplies its store")

    def test_a_value_that_changes_from_0_to_false_is_a_bool_from_then_on(
        self, store: RunStore
    ) -> None:
        ref = RunRef("local", "digits", "r1")
        for value, counts in ((0, (1, 0)), (False, (0, 1)), (0.0, (1, 0))):
            put(store, a_record(ref, config={"a": {"b": value}}, summary={"s": value}))
            note(store, {ref: {"m": Noted(value, None, None)}})
            found = store.columns("local", "digits")
            assert [(one.key, one.numbers, one.bools) for one in found] == [
                (key, *counts) for key in ("a/b", "m", "s")
            ]
            record = store.get(ref)
            assert type(record.summary["s"]) is type(value)
            assert type(store.noted([ref])[ref].values["m"]) is type(value)

    def test_pages_stay_in_place_while_runs_come_and_change(self, store: RunStore) -> None:
        refs = [RunRef("local", "digits", f"r{n}") for n in range(9)]
        put(store, *(a_record(ref, config={"lr": n}) for n, ref in enumerate(refs)))
        sort = [SortKey(column=Column(source="config", key="lr"), is_falling=True)]
        first = store.page("local", "digits", now_ns=NOW_NS, sort=sort, limit=4)
        assert [run.ref.run_id for run in first.runs] == ["r8", "r7", "r6", "r5"]
        put(store, a_record(RunRef("local", "digits", "new"), config={"lr": 100}))
        put(store, a_record(refs[5], config={"lr": 50}))
        store.delete(refs[6])
        second = store.page("local", "digits", now_ns=NOW_NS, sort=sort, limit=4, after=first.next)
        assert [run.ref.run_id for run in second.runs] == ["r4", "r3", "r2", "r1"]

    def test_a_place_in_another_order_is_refused(self, store: RunStore) -> None:
        put(store, a_record(RunRef("local", "digits", "r1")))
        sort = [SortKey(column=Column(key="name"))]
        with pytest.raises(UsageError, match="same order"):
            store.page("local", "digits", now_ns=NOW_NS, sort=sort, after=Place((), 1))

    def test_what_is_missing_stands_last_and_numbers_before_texts(self, store: RunStore) -> None:
        values: dict[str, JsonValue] = {
            "text": "5",
            "none": None,
            "two": 2,
            "ten": 10,
            "nan": math.nan,
            "yes": True,
        }
        for name, value in values.items():
            put(store, a_record(RunRef("local", "digits", name), config={"x": value}))
        for is_falling, expected in (
            (False, ["yes", "two", "ten", "text", "nan", "none"]),
            (True, ["ten", "two", "yes", "nan", "text", "none"]),
        ):
            sort = [SortKey(column=Column(source="config", key="x"), is_falling=is_falling)]
            page = store.page("local", "digits", now_ns=NOW_NS, sort=sort)
            assert [run.ref.run_id for run in page.runs] == expected

    def test_what_is_set_by_hand_stands_over_what_was_noted(self, store: RunStore) -> None:
        ref = RunRef("local", "digits", "r1")
        loss = Column(source="summary", key="loss")
        put(store, a_record(ref))
        note(store, {ref: {"loss": Noted(0.5, 0.25, 1.0)}})

        def finds(column: Column, value: float) -> bool:
            where = Compare(op="=", left=column, right=Literal(value=value))
            return store.page("local", "digits", now_ns=NOW_NS, where=where).total == 1

        assert finds(loss, 0.5)
        put(store, a_record(ref, summary={"loss": 7}))
        assert finds(loss, 7)
        assert finds(Column(source="min", key="loss"), 0.25)
        assert finds(Column(source="max", key="loss"), 1.0)
        put(store, a_record(ref, summary={}))
        assert finds(loss, 0.5)

    def test_forks_are_found_by_their_parent(self, store: RunStore) -> None:
        refs = [RunRef("local", "forks", f"r{number}") for number in range(3)]
        put(store, a_record(refs[0]))
        put(store, a_record(refs[1], fork=Fork(run="r0", step=3)))
        put(store, a_record(refs[2], fork=Fork(run="r1", step=3)))
        of_r0 = Compare(op="=", left=Column(key="fork"), right=Literal(value="r0"))
        none = IsNull(operand=Column(key="fork"))
        for where, expected in ((of_r0, "r1"), (none, "r0")):
            page = store.page("local", "forks", now_ns=NOW_NS, where=where)
            assert [run.ref.run_id for run in page.runs] == [expected]

    def test_what_was_noted_is_told(self, store: RunStore) -> None:
        refs = [RunRef("local", project, "r1") for project in ("cats", "digits", "owls")]
        put(store, *(a_record(ref) for ref in refs[:2]))
        summary = {"loss": Noted(math.inf, None, 2.5), "text": Noted("x", None, None)}
        note(store, {refs[1]: summary})
        assert store.noted(refs) == {refs[1]: RunValues({"loss": math.inf, "text": "x"}, 7)}
        store.note({refs[1]: lambda _: None})
        assert store.noted(refs) == {refs[1]: RunValues({"loss": math.inf, "text": "x"}, 7)}
        store.delete(refs[1])
        assert store.noted(refs) == {}

    def test_noting_of_runs_that_are_not_there_is_quiet(self, store: RunStore) -> None:
        ref = RunRef("local", "digits", "r1")
        note(store, {ref: {"loss": Noted(1.0, None, None)}})
        put(store, a_record(ref))
        store.delete(ref)
        note(store, {ref: {"loss": Noted(1.0, None, None)}})
        assert store.columns("local", "digits") == []

    def test_a_wrong_pattern_is_refused(self, store: RunStore) -> None:
        put(store, a_record(RunRef("local", "digits", "r1")))
        where = Match(how="regexp", operand=Column(key="name"), pattern="(")
        with pytest.raises(UsageError):
            store.page("local", "digits", now_ns=NOW_NS, where=where)


def _fill(
    store: RunStore,
    reference: RunStore,
    project: str,
    content: list[tuple[dict[str, Any], dict[str, Noted]]],
) -> None:
    refs = [RunRef("local", project, f"r{n}") for n in range(len(content) + 1)]
    made: list[RunRecord] = [a_record(refs[0])]
    made += [a_record(ref, **changes) for ref, (changes, _) in zip(refs[1:], content, strict=True)]
    for one in (store, reference):
        put(one, *made)
        note(one, dict(zip(refs[1:], (summary for _, summary in content), strict=True)))


def _all(
    store: RunStore, project: str, where: Condition | None, sort: Sequence[SortKey]
) -> tuple[list[str], int]:
    """Read a list page by page."""
    found: list[str] = []
    after: Place | None = None
    while True:
        page = store.page(
            "local", project, now_ns=NOW_NS, where=where, sort=sort, limit=2, after=after
        )
        found += [run.ref.run_id for run in page.runs]
        after = page.next
        if after is None:
            return found, page.total
