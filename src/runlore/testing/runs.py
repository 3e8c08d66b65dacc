"""A naive catalog, and the contract that every store of runs keeps."""

import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pytest

from runlore.core.expression import Column, Condition, SortKey
from runlore.core.run import Fork, RunRef, RunState, run_ref
from runlore.errors import DeletedError, NotFoundError, UsageError
from runlore.store.run_entries import KINDS, EntryKind, group_value, run_entries
from runlore.store.runs import (
    SILENCE_NS,
    Noted,
    Place,
    ProjectRecord,
    RunColumn,
    RunGroup,
    RunGroups,
    RunPage,
    RunRecord,
    RunStore,
    RunSummary,
    RunValues,
    SortValue,
    WriterRecord,
)
from runlore.testing.run_questions import Row, holds, is_behind, place_of, sorted_rows

NOW_NS = 1_800_000_000_000_000_000


class ReferenceRunStore:
    """Keeps runs in a dictionary and looks at all of them for each question."""

    server_id = "reference"

    def __init__(self) -> None:
        self._runs: dict[RunRef, RunRecord] = {}
        self._noted: dict[RunRef, RunSummary] = {}
        self._last: dict[tuple[str, str], tuple[int, int]] = {}
        self._deleted: set[RunRef] = set()
        self._lock = threading.RLock()  # one call at a time

    def change(
        self, changes: Mapping[RunRef, Callable[[RunRecord | None], RunRecord]]
    ) -> dict[RunRef, RunRecord]:
        """Make each run what its function makes of it."""
        with self._lock:
            made = {
                ref: make(self._runs.get(ref))
                for ref, make in changes.items()
                if ref not in self._deleted
            }
            for ref, record in made.items():
                if ref not in self._runs:
                    project = (ref.owner, ref.project)
                    number, created_ns = self._last.get(project, (0, record.created_ns))
                    self._last[project] = (number + 1, created_ns)
                    made[ref] = replace(record, number=number + 1)
            self._runs.update(made)
            return made

    def get(self, ref: RunRef) -> RunRecord:
        """Return a run."""
        with self._lock:
            if ref in self._deleted:
                raise DeletedError(f"run {ref} was deleted")
            if ref not in self._runs:
                raise NotFoundError(f"no run {ref}")
            return self._runs[ref]

    def note(self, summaries: Mapping[RunRef, Callable[[RunRecord], RunSummary | None]]) -> None:
        """Note what the metrics of runs amount to."""
        with self._lock:
            for ref, make in summaries.items():
                summary = make(self._runs[ref]) if ref in self._runs else None
                if summary is not None:
                    self._noted[ref] = summary

    def noted(self, refs: Collection[RunRef]) -> dict[RunRef, RunValues]:
        """Return the values that were last noted of runs."""
        with self._lock:
            found = {ref: self._noted[ref] for ref in refs if ref in self._noted}
        return {
            ref: RunValues({key: one.value for key, one in summary.values.items()}, summary[1])
            for ref, summary in found.items()
        }

    def page(
        self,
        owner: str,
        project: str,
        *,
        now_ns: int,
        search: str = "",
        state: RunState | None = None,
        where: Condition | None = None,
        sort: Sequence[SortKey] = (),
        limit: int = 100,
        after: Place | None = None,
    ) -> RunPage:
        """Return runs in the order asked for that stand behind a place."""
        found = [
            row
            for row in self._rows(owner, project, now_ns, where)
            if state in (None, row.record.state(now_ns)) and _matches(row.record, search)
        ]
        rest = [
            row for row in sorted_rows(found, sort) if after is None or is_behind(row, sort, after)
        ]
        return RunPage(
            runs=[row.record for row in rest[:limit]],
            total=len(found),
            next=place_of(rest[limit - 1], sort) if len(rest) > limit else None,
        )

    def groups(
        self,
        owner: str,
        project: str,
        *,
        now_ns: int,
        by: Sequence[Column],
        where: Condition | None = None,
        limit: int = 1000,
    ) -> RunGroups:
        """Return runs counted by the values of columns."""
        together: dict[tuple[SortValue, ...], list[Row]] = {}
        for row in self._rows(owner, project, now_ns, where):
            at = tuple(row.sort_value(column) for column in by)
            together.setdefault(at, []).append(row)
        groups: list[RunGroup] = []
        for at, rows in sorted(together.items()):
            states = Counter(row.record.state(now_ns) for row in rows)
            values = [
                group_value(*value, kinds=_kinds(rows, column))
                for value, column in zip(at, by, strict=True)
            ]
            groups.append(RunGroup(values=tuple(values), states=states))
        return RunGroups(groups=groups[:limit], total=len(groups))

    def columns(
        self, owner: str, project: str, *, only: Collection[Column] | None = None
    ) -> list[RunColumn]:
        """Return the keys of config and summary that runs have, sorted, or those named."""
        counts: dict[tuple[str, str], Counter[EntryKind]] = {}
        for row in self._rows(owner, project, 0, None):
            for source in ("config", "summary"):
                for key, entry in row.entries[source].items():
                    counts.setdefault((source, key), Counter())[entry.kind] += 1
        return [
            RunColumn(
                source=source, key=key, numbers=n["number"], bools=n["bool"], texts=n["text"]
            )
            for (source, key), n in sorted(counts.items())
            if only is None or Column(source=source, key=key) in only
        ]

    def projects(self, *, now_ns: int) -> list[ProjectRecord]:
        """Return all projects."""
        found = [self.project(*project, now_ns=now_ns) for project in self._last]
        return sorted(found, key=lambda project: project.active_ns, reverse=True)

    def project(self, owner: str, name: str, *, now_ns: int) -> ProjectRecord:
        """Return a project."""
        runs = self._of(owner, name)
        _, created_ns = self._last[(owner, name)]
        return ProjectRecord(
            owner=owner,
            name=name,
            runs=len(runs),
            running=sum(run.state(now_ns) == "running" for run in runs),
            points=sum(run.points for run in runs),
            created_ns=created_ns,
            active_ns=max((run.active_ns for run in runs), default=created_ns),
        )

    def refs(self, owner: str, project: str) -> Sequence[RunRef]:
        """Return all runs of a project, or raise NotFoundError."""
        return [run.ref for run in self._of(owner, project)]

    def unsettled(self) -> Sequence[RunRef]:
        """Return the runs whose record says so."""
        with self._lock:
            return [run.ref for run in self._runs.values() if run.unsettled]

    def delete(self, ref: RunRef) -> None:
        """Remove a run and leave a tombstone."""
        with self._lock:
            self._runs.pop(ref, None)
            self._noted.pop(ref, None)
            self._deleted.add(ref)

    def close(self) -> None:
        """Keep everything; there is nothing to let go of."""

    def _rows(self, owner: str, project: str, now_ns: int, where: Condition | None) -> list[Row]:
        nothing = RunSummary({}, None)
        rows = [
            Row(run, run_entries(run, self._noted.get(run.ref, nothing).values), now_ns)
            for run in self._of(owner, project)
        ]
        return [row for row in rows if where is None or holds(row, where)]

    def _of(self, owner: str, project: str) -> list[RunRecord]:
        with self._lock:
            if (owner, project) not in self._last:
                raise NotFoundError(f"no project {owner}/{project}")
            runs = [run for run in self._runs.values() if run.ref[:2] == (owner, project)]
        return sorted(runs, key=lambda run: run.number)


def _kinds(rows: Sequence[Row], column: Column) -> tuple[EntryKind, EntryKind]:
    entries = [row.entry(column) for row in rows if column.source in ("config", "summary")]
    places = [KINDS.index(entry.kind) for entry in entries if entry is not None]
    return KINDS[min(places, default=0)], KINDS[max(places, default=0)]


def _matches(run: RunRecord, search: str) -> bool:
    texts = [run.name, run.ref.run_id, *run.tags]
    if len(search) > 2 and search[0] == search[-1] == "/":
        try:
            return any(re.search(search[1:-1], text, re.IGNORECASE) for text in texts)
        except re.error as error:
            raise UsageError(str(error)) from error
    return any(search.casefold() in text.casefold() for text in texts)


def a_record(ref: RunRef, **changes: object) -> RunRecord:
    """Make a run of which one writer was heard of just now."""
    record = RunRecord(
        ref=ref,
        name=f"name of {ref.run_id}",
        created_ns=NOW_NS - 1000,
        active_ns=NOW_NS,
        alive_ns=NOW_NS,
        writers={"w-1": WriterRecord(points=3, applied=100)},
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def put(store: RunStore, *records: RunRecord) -> None:
    """Write runs as they are, whatever was there."""

    def make(record: RunRecord, found: RunRecord | None) -> RunRecord:
        return replace(record, number=found.number) if found is not None else record

    store.change({r.ref: lambda found, r=r: make(r, found) for r in records})  # type: ignore[misc]


def note(store: RunStore, summaries: Mapping[RunRef, Mapping[str, Noted]]) -> None:
    """Note summaries as they are."""
    store.note({ref: lambda _, s=s: RunSummary(s, 7) for ref, s in summaries.items()})  # type: ignore[misc]


class RunStoreContract:
    """What every store of runs keeps; a backend's test class inherits it."""

    @pytest.fixture
    def store(self) -> RunStore:
        """Supply an empty store."""
        raise NotImplementedError("a backend's test class supplies its store")

    def test_a_run_comes_back_as_it_was_written(self, store: RunStore) -> None:
        record = a_record(
            run_ref("local", "digits", "r1"),
            end_state="failed",
            end_ns=5,
            exit_code=3,
            signal=9,
            color="#aabbcc",
            notes="línea\nzwei\0",
            group="g",
            job_type="train",
            program="a.py",
            host="h",
            tags=("a", "b"),
            config={"lr": 0.1, "deep": {"list": [1, None, True, "x"]}, "big": 2**90},
            summary={"inf": math.inf, "half": "\ud800"},
            definitions=({"metric": "loss", "summary": "min"},),
            fork=Fork(run="r0", step=-5),
            writers={
                "w-1": WriterRecord(role="child", applied=7, points=2, gaps=1, end="lost"),
                "w-2": WriterRecord(end="finish", exit_code=1, end_ns=4, heard_ns=3, last_ns=2),
            },
        )
        put(store, record)
        assert store.get(record.ref) == replace(record, number=1)

    def test_nan_in_a_config_is_kept(self, store: RunStore) -> None:
        put(store, a_record(run_ref("local", "digits", "r1"), config={"x": math.nan}))
        value = store.get(run_ref("local", "digits", "r1")).config["x"]
        assert isinstance(value, float)
        assert math.isnan(value)

    def test_runs_are_numbered_per_project_and_numbers_are_not_used_again(
        self, store: RunStore
    ) -> None:
        put(store, *(a_record(run_ref("local", "digits", f"r{n}")) for n in range(3)))
        put(store, a_record(run_ref("local", "cats", "r0")))
        store.delete(run_ref("local", "digits", "r2"))
        put(store, a_record(run_ref("local", "digits", "r3")))
        runs = store.page("local", "digits", now_ns=NOW_NS).runs
        assert [(run.ref.run_id, run.number) for run in runs] == [("r3", 4), ("r1", 2), ("r0", 1)]
        assert store.get(run_ref("local", "cats", "r0")).number == 1

    def test_an_unknown_run_or_project_is_not_found(self, store: RunStore) -> None:
        put(store, a_record(run_ref("local", "digits", "r1")))
        with pytest.raises(NotFoundError, match="r2"):
            store.get(run_ref("local", "digits", "r2"))
        with pytest.raises(NotFoundError, match="local/cats"):
            store.page("local", "cats", now_ns=NOW_NS)
        with pytest.raises(NotFoundError, match="local/cats"):
            store.project("local", "cats", now_ns=NOW_NS)

    def test_a_deleted_run_stays_deleted(self, store: RunStore) -> None:
        ref = run_ref("local", "digits", "r1")
        put(store, a_record(ref))
        store.delete(ref)
        store.delete(ref)
        assert store.change({ref: lambda found: found or a_record(ref)}) == {}
        with pytest.raises(DeletedError):
            store.get(ref)
        assert store.page("local", "digits", now_ns=NOW_NS).total == 0

    def test_what_never_was_can_be_deleted_beforehand(self, store: RunStore) -> None:
        ref = run_ref("local", "digits", "r1")
        store.delete(ref)
        assert store.change({ref: lambda found: found or a_record(ref)}) == {}

    def test_one_call_changes_new_and_known_runs_of_several_projects_but_no_deleted_one(
        self, store: RunStore
    ) -> None:
        def with_notes(ref: RunRef, found: RunRecord | None) -> RunRecord:
            return replace(found or a_record(ref), notes="n")

        known, new = run_ref("local", "digits", "known"), run_ref("local", "digits", "new")
        # The same id elsewhere is another run.
        deleted, elsewhere = run_ref("local", "digits", "gone"), run_ref("local", "cats", "gone")
        other = run_ref("local", "cats", "known")
        put(store, a_record(known), a_record(deleted))
        store.delete(deleted)
        refs = [deleted, elsewhere, known, new, other]
        changed = store.change({ref: partial(with_notes, ref) for ref in refs})
        assert {ref: run.number for ref, run in changed.items()} == {
            elsewhere: 1,
            known: 1,
            new: 3,
            other: 2,
        }
        assert all(store.get(ref) == run for ref, run in changed.items())
        assert {run.notes for run in changed.values()} == {"n"}

    def test_a_change_that_fails_changes_no_run_of_its_call(self, store: RunStore) -> None:
        good, bad = run_ref("local", "digits", "good"), run_ref("local", "digits", "bad")

        def fail(found: RunRecord | None) -> RunRecord:
            raise UsageError("no")

        with pytest.raises(UsageError):
            store.change({good: lambda found: found or a_record(good), bad: fail})
        with pytest.raises(NotFoundError):
            store.get(good)

    def test_changes_from_many_threads_are_all_kept(self, store: RunStore) -> None:
        ref = run_ref("local", "digits", "r1")
        put(store, a_record(ref, config={}))

        def add(key: str) -> None:
            def change(found: RunRecord | None) -> RunRecord:
                assert found is not None
                return replace(found, config={**found.config, key: 1})

            store.change({ref: change})

        threads = [threading.Thread(target=add, args=(f"k{n}",)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.get(ref).config) == 16

    def test_pages_follow_one_another_without_hole_or_repeat(self, store: RunStore) -> None:
        put(store, *(a_record(run_ref("local", "digits", f"r{n}")) for n in range(7)))
        found: list[str] = []
        after: Place | None = None
        while True:
            page = store.page("local", "digits", now_ns=NOW_NS, limit=3, after=after)
            found += [run.ref.run_id for run in page.runs]
            assert page.total == 7
            after = page.next
            if after is None:
                break
        assert found == [f"r{n}" for n in reversed(range(7))]

    @pytest.mark.parametrize(
        ("search", "expected"),
        [
            ("", ["r2", "r1"]),
            ("OTTER", ["r1"]),
            ("r2", ["r2"]),
            ("ÄPFEL", ["r2"]),
            ("100%", ["r1"]),
            ("%", ["r1"]),
            ("_", []),
            ("nothing", []),
            ("/^brave/", ["r1"]),
            ("/r[12]$/", ["r2", "r1"]),
            ("/^100%$/", ["r1"]),
            ("/", []),
        ],
    )
    def test_search_looks_at_name_id_and_tags(
        self, store: RunStore, search: str, expected: list[str]
    ) -> None:
        put(
            store,
            a_record(run_ref("local", "digits", "r1"), name="brave-otter", tags=("100%",)),
            a_record(run_ref("local", "digits", "r2"), name="calm", tags=("x", "Äpfel")),
        )
        page = store.page("local", "digits", now_ns=NOW_NS, search=search)
        assert [run.ref.run_id for run in page.runs] == expected
        assert page.total == len(expected)

    def test_a_wrong_regular_expression_is_refused(self, store: RunStore) -> None:
        put(store, a_record(run_ref("local", "digits", "r1")))
        with pytest.raises(UsageError):
            store.page("local", "digits", now_ns=NOW_NS, search="/(/")

    def test_pages_of_a_regular_expression_follow_one_another(self, store: RunStore) -> None:
        put(store, *(a_record(run_ref("local", "digits", f"r{n}")) for n in range(5)))
        page = store.page("local", "digits", now_ns=NOW_NS, search="/r[0-3]$/", limit=2)
        assert ([run.ref.run_id for run in page.runs], page.total) == (["r3", "r2"], 4)
        page = store.page(
            "local", "digits", now_ns=NOW_NS, search="/r[0-3]$/", limit=2, after=page.next
        )
        assert ([run.ref.run_id for run in page.runs], page.next) == (["r1", "r0"], None)

    @pytest.mark.parametrize(
        ("changes", "state"),
        [
            ({}, "running"),
            ({"end_state": "finished"}, "running"),
            ({"alive_ns": 0, "end_state": "finished"}, "finished"),
            ({"alive_ns": 0, "end_state": "failed"}, "failed"),
            ({"alive_ns": 0, "end_state": "crashed"}, "crashed"),
            ({"alive_ns": NOW_NS - SILENCE_NS}, "crashed"),
            ({"alive_ns": NOW_NS - SILENCE_NS + 1}, "running"),
        ],
    )
    def test_runs_are_found_by_their_state(
        self, store: RunStore, changes: dict[str, object], state: RunState
    ) -> None:
        put(store, a_record(run_ref("local", "digits", "r1"), **changes))
        states: tuple[RunState, ...] = ("running", "finished", "failed", "crashed")
        for asked in states:
            page = store.page("local", "digits", now_ns=NOW_NS, state=asked)
            assert page.total == len(page.runs) == (asked == state)
        assert store.project("local", "digits", now_ns=NOW_NS).running == (state == "running")

    def test_a_project_adds_up_its_runs(self, store: RunStore) -> None:
        assert store.projects(now_ns=NOW_NS) == []
        put(store, a_record(run_ref("local", "cats", "r1"), active_ns=NOW_NS - 5))
        put(store, a_record(run_ref("local", "digits", "r1"), alive_ns=0))
        put(store, a_record(run_ref("local", "digits", "r2"), active_ns=NOW_NS - 9))
        digits = ProjectRecord(
            owner="local",
            name="digits",
            runs=2,
            running=1,
            points=6,
            created_ns=NOW_NS - 1000,
            active_ns=NOW_NS,
        )
        assert store.project("local", "digits", now_ns=NOW_NS) == digits
        assert [one.name for one in store.projects(now_ns=NOW_NS)] == ["digits", "cats"]

    def test_a_project_outlives_its_runs(self, store: RunStore) -> None:
        put(store, a_record(run_ref("local", "cats", "r1")))
        store.delete(run_ref("local", "cats", "r1"))
        found = store.project("local", "cats", now_ns=NOW_NS)
        assert (found.runs, found.running, found.points) == (0, 0, 0)

    def test_unsettled_runs_are_found(self, store: RunStore) -> None:
        put(store, a_record(run_ref("local", "cats", "r1")))
        put(store, a_record(run_ref("local", "cats", "r2"), unsettled=False))
        assert list(store.unsettled()) == [run_ref("local", "cats", "r1")]

    def test_the_runs_of_a_project_are_told(self, store: RunStore) -> None:
        refs = [run_ref("local", project, "r1") for project in ("cats", "digits")]
        put(store, *map(a_record, refs))
        assert list(store.refs("local", "digits")) == refs[1:]
        store.delete(refs[1])
        assert list(store.refs("local", "digits")) == []
        with pytest.raises(NotFoundError, match="no project"):
            store.refs("local", "owls")
