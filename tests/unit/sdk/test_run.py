"""The run in the user's program: what it stages is what was logged."""

import math
from pathlib import Path

import pytest

import runlore
from runlore.errors import UsageError
from runlore.wire import spool
from tests.unit.sdk.streams import Read, read_all


@pytest.fixture
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # No server is near and no sender is wanted: finish() must not wait for one.
    monkeypatch.setenv("RUNLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNLORE_STAGING", str(tmp_path / "staging"))
    monkeypatch.setenv("RUNLORE_MODE", "offline")
    monkeypatch.setenv("RUNLORE_FINISH_TIMEOUT", "0")
    return tmp_path / "staging"


def the_stream(staging: Path) -> Read:
    (found,) = read_all(staging)
    return found


def test_what_was_logged_is_staged_in_order_with_its_steps(staging: Path) -> None:
    with runlore.init(project="digits", config={"lr": 0.1}) as run:
        run.log({"loss": 0.5})
        run.log({"loss": 0.25, "eval": {"acc": 0.5, "ok": True}}, commit=False)
        run.log({"phase": "late"})
        run.log({"loss": math.inf}, step=10)
        run.log({"loss": 0.125})

    found = the_stream(staging)
    assert found.rows == [
        (0, {"loss": 0.5}),
        (1, {"loss": 0.25, "eval/acc": 0.5, "eval/ok": True}),
        (1, {"phase": "late"}),
        (10, {"loss": math.inf}),
        (11, {"loss": 0.125}),
    ]
    assert found.kinds[0] == spool.HEADER
    assert found.kinds[-1] == spool.FINISH
    assert found.of(spool.CONFIG) == [{"lr": 0.1}]


def test_an_exception_in_the_block_makes_the_run_failed(staging: Path) -> None:
    with pytest.raises(ZeroDivisionError), runlore.init():
        raise ZeroDivisionError

    (finish,) = the_stream(staging).of(spool.FINISH)
    assert finish["exit_code"] == 1


def test_the_module_doors_speak_to_the_current_run_and_say_when_there_is_none(
    staging: Path,
) -> None:
    run = runlore.init()
    runlore.log({"loss": 1.0})
    runlore.config["lr"] = 0.5
    assert runlore.run is run
    assert runlore.summary["loss"] == 1.0
    runlore.finish()

    assert runlore.run is None
    with pytest.raises(UsageError, match=r"log\(\) needs a run; call runlore.init\(\) first"):
        runlore.log({"loss": 1.0})
    assert the_stream(staging).of(spool.CONFIG) == [{"lr": 0.5}]
