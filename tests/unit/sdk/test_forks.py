"""`init(fork_from=)`: what it refuses, and how a fork begins with no server to be asked."""

import json
from pathlib import Path

import pytest

import runlore
from runlore.errors import UsageError
from runlore.wire import spool
from tests.unit.sdk.streams import settled, until
from tests.unit.sdk.test_resume import a_server


@pytest.mark.parametrize(
    ("fork_from", "told"),
    [
        (7, "a step, such as 'k3f9x2ab\\?_step=100', got .*7"),
        ("k3f9x2ab", "got 'k3f9x2ab'"),
        ("k3f9x2ab?_step=", "got 'k3f9x2ab\\?_step='"),
        ("k3f9x2ab?_step=1.5", "got"),
        ("k3f9x2ab?step=1", "got"),
        ("?_step=1", "the run of fork_from must be 1 to 128"),
        ("a b?_step=1", "the run of fork_from must be 1 to 128"),
        ("digits/k3f9x2ab?_step=1", "same project by its id alone, got 'digits/k3f9x2ab'"),
        ("k3f9x2ab?_step=-1", "from 0 to 9007199254740990, got -1"),
        ("k3f9x2ab?_step=9007199254740991", "got 9007199254740991"),
    ],
)
def test_what_names_no_run_and_step_is_refused_at_once(
    home: Path, fork_from: object, told: str
) -> None:
    for mode in ("offline", "disabled"):
        with pytest.raises(UsageError, match=told):
            runlore.init(fork_from=fork_from, mode=mode)  # type: ignore[arg-type]
    assert runlore.run is None


def test_a_fork_is_no_run_that_goes_on_and_not_its_own_parent(home: Path) -> None:
    with pytest.raises(UsageError, match="resume='must' goes on with one; leave one of them out"):
        runlore.init(fork_from="r1?_step=1", resume="must")
    with pytest.raises(UsageError, match="both name 'r1'; leave id out"):
        runlore.init(fork_from="r1?_step=1", id="r1")
    assert runlore.run is None


def test_a_fork_begins_behind_its_step_and_says_so_in_its_header(home: Path) -> None:
    with runlore.init(project="p", fork_from="k3f9x2ab?_step=100") as run:
        assert run.step == 101
        run.log({"loss": 1.0})
        run.log({"loss": 2.0}, step=50)
    (found,) = settled(home)
    assert found.rows == [(101, {"loss": 1.0}), (50, {"loss": 2.0})]
    assert found.of(spool.HEADER)[0]["fork"] == {"run": "k3f9x2ab", "step": 100}


def test_a_run_that_is_no_fork_says_nothing_of_it(home: Path) -> None:
    runlore.init(project="p").finish()
    (found,) = settled(home)
    assert "fork" not in found.of(spool.HEADER)[0]


def test_a_disabled_fork_counts_its_steps_too(home: Path) -> None:
    run = runlore.init(fork_from="k3f9x2ab?_step=100", mode="disabled")
    assert run.step == 101
    run.finish()
    assert not settled(home)


def test_a_fork_with_an_id_goes_on_if_it_is_known_as_this_fork(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLORE_MODE", "online")
    monkeypatch.setenv("RUNLORE_FINISH_TIMEOUT", "0")
    fork = {"run": "p1", "step": 100}
    known = {"id": "r1", "name": "calm", "state": "crashed", "config": {}, "last_step": 41}
    for last, expected in ((41, 101), (120, 121)):
        body = json.dumps({**known, "last_step": last, "fork": fork}).encode()
        with a_server(200, body) as url:
            run = runlore.init(id="r1", fork_from="p1?_step=100", settings={"url": url})
            run.finish()
        assert (run.step, run.resumed) == (expected, True)
    for other in (None, {"run": "p1", "step": 99}, {"run": "p2", "step": 100}):
        with (
            a_server(200, json.dumps({**known, "fork": other}).encode()) as url,
            pytest.raises(UsageError, match="is no fork of 'p1' at step 100; choose another id"),
        ):
            runlore.init(id="r1", fork_from="p1?_step=100", settings={"url": url})


def test_an_offline_fork_that_logged_nothing_goes_on_behind_its_step(home: Path) -> None:
    runlore.init(id="r1", fork_from="p1?_step=100").finish()
    with runlore.init(id="r1", resume="allow") as run:
        assert run.step == 101
        run.log({"loss": 1.0})
    with runlore.init(id="r1", fork_from="p1?_step=100") as run:
        assert run.step == 102


def test_an_offline_fork_is_checked_against_what_this_machine_has_of_it(home: Path) -> None:
    runlore.init(project="p", id="parent").finish()
    for _ in range(2):
        with runlore.init(project="p", id="child", fork_from="parent?_step=2") as run:
            run.log({"loss": 1.0})
    until(lambda: len([one for one in settled(home) if spool.FINISH in one.kinds]) == 3)
    with pytest.raises(UsageError, match="is no fork of 'parent' at step 1; choose another id"):
        runlore.init(project="p", id="child", fork_from="parent?_step=1")
    with pytest.raises(UsageError, match="is no fork of 'other' at step 1; choose another id"):
        runlore.init(project="p", id="parent", fork_from="other?_step=1")
    assert runlore.run is None


def test_a_fork_of_a_deleted_run_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps({"detail": "deleted"}).encode()
    asked: list[str] = []
    with a_server(410, body, asked=asked) as url:
        settings = {"url": url, "mode": "online", "finish_timeout": 0}
        runlore.init(
            project="p", id="child", fork_from="parent?_step=2", settings=settings
        ).finish()
    assert f"run 'parent' was deleted on {url}, so this fork inherits nothing" in (
        capsys.readouterr().err
    )
    assert [path.rpartition("/")[2] for path in asked][:2] == ["child", "parent"]
