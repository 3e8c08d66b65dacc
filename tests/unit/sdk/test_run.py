"""The run in the user's program: what it logs is what stands in its stream."""

import argparse
import copy
import enum
import inspect
import math
import os
import pickle
import pydoc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import runlore
from runlore.errors import UsageError
from runlore.wire import spool
from tests.unit.sdk.streams import Read, settled


def the_stream(home: Path) -> Read:
    (found,) = settled(home)
    return found


def test_what_was_logged_is_kept_in_order_with_its_steps(home: Path) -> None:
    with runlore.init(project="digits") as run:
        run.log({"loss": 0.5})
        run.log({"loss": 0.25, "eval": {"acc": 0.5, "ok": True}}, commit=False)
        run.log({"phase": "late"})
        run.log({"loss": math.inf}, step=10)
        run.log({"loss": 0.125})

    found = the_stream(home)
    assert found.rows == [
        (0, {"loss": 0.5}),
        (1, {"loss": 0.25, "eval/acc": 0.5, "eval/ok": True}),
        (1, {"phase": "late"}),
        (10, {"loss": math.inf}),
        (11, {"loss": 0.125}),
    ]
    assert (found.kinds[0], found.kinds[-1]) == (spool.HEADER, spool.FINISH)


def test_the_header_and_the_run_frame_say_what_init_was_told(home: Path) -> None:
    with runlore.init(
        "digits",
        entity="ann",
        id="k3",
        name="first",
        tags=["a"],
        notes="n",
        group="g",
        job_type="train",
    ) as run:
        assert (run.owner, run.project, run.id, run.name) == ("ann", "digits", "k3", "first")

    found = the_stream(home)
    (header,) = found.of(spool.HEADER)
    assert {key: header[key] for key in ("owner", "project", "run", "role", "resumed")} == {
        "owner": "ann",
        "project": "digits",
        "run": "k3",
        "role": "main",
        "resumed": False,
    }
    (told,) = found.of(spool.RUN)
    assert {key: told[key] for key in told if key != "program"} == {
        "name": "first",
        "tags": ["a"],
        "notes": "n",
        "group": "g",
        "job_type": "train",
    }


def test_an_exception_in_the_block_makes_the_run_failed(home: Path) -> None:
    with pytest.raises(ZeroDivisionError), runlore.init():
        raise ZeroDivisionError

    (finish,) = the_stream(home).of(spool.FINISH)
    assert finish["exit_code"] == 1


def test_the_module_doors_speak_to_the_current_run_and_say_when_there_is_none(
    home: Path,
) -> None:
    run = runlore.init()
    runlore.log({"loss": 1.0})
    runlore.config["lr"] = 0.5
    runlore.define_metric("loss", goal="minimize")
    assert runlore.run is run
    assert runlore.summary["loss"] == 1.0
    assert runlore.flush()
    runlore.finish()

    assert runlore.run is None
    with pytest.raises(UsageError, match=r"log\(\) needs a run; call runlore.init\(\) first"):
        runlore.log({"loss": 1.0})
    with pytest.raises(UsageError, match="config needs a run"):
        runlore.config["lr"] = 1
    found = the_stream(home)
    assert found.of(spool.CONFIG) == [{"lr": 0.5}]
    assert found.of(spool.DEFINE) == [{"metric": "loss", "goal": "minimize"}]


def test_a_finished_run_takes_nothing_more_and_says_what_to_do(home: Path) -> None:
    run = runlore.init()
    run.finish()
    run.finish()
    with pytest.raises(UsageError, match="is finished and takes nothing more"):
        run.log({"loss": 1.0})
    with pytest.raises(UsageError, match="is finished"):
        run.config["lr"] = 1


@dataclass
class Model:
    width: int = 8
    path: Path = Path("/data")


def test_every_change_of_the_config_is_written_by_its_top_level_key(home: Path) -> None:
    with runlore.init(config={"opt": {"name": "adam", "betas": (0.9, 0.99)}}) as run:
        run.config.lr = 0.1
        run.config["opt"]["name"] = "sgd"
        run.config.update(argparse.Namespace(seed=1), model=Model())
        assert run.config.opt == {"name": "sgd", "betas": [0.9, 0.99]}
        assert run.config.model.width == 8
        with pytest.raises(AttributeError, match="the config has no 'epochs'; it has 'opt'"):
            run.config.epochs  # noqa: B018

    assert the_stream(home).of(spool.CONFIG) == [
        {"opt": {"name": "adam", "betas": [0.9, 0.99]}},
        {"lr": 0.1},
        {"opt": {"name": "sgd", "betas": [0.9, 0.99]}},
        {"seed": 1, "model": {"width": 8, "path": "/data"}},
    ]


def test_the_summary_holds_what_was_logged_last_and_what_was_set_by_hand_wins(
    home: Path,
) -> None:
    with runlore.init() as run:
        for step in range(5):
            run.log({"loss": 1.0 / (step + 1)})
        run.log({"loss": 0.5, "phase": "end"})
        run.log({"acc": 0.25})
        assert dict(run.summary) == {"loss": 0.5, "phase": "end", "acc": 0.25}
        run.summary["acc"] = 0.75
        run.log({"acc": 0.1})
        assert run.summary["acc"] == 0.75

    assert the_stream(home).of(spool.SUMMARY) == [{"acc": 0.75}]


def test_the_summary_and_the_terminal_show_the_value_at_the_greatest_step(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runlore.init() as run:
        for _ in range(3):
            for step, loss in ((10, 1.0), (11, 2.0), (5, 3.0)):
                run.log({"loss": loss}, step=step)
                run.log({"loss": loss, "text": str(step)}, step=step)
        assert dict(run.summary) == {"loss": 2.0, "text": "11"}
        run.log({"late": 7})
        run.log({"loss": 4.0})
        assert run.summary["loss"] == 2.0
        run.log({"loss": 5.0}, step=11)
        run.log({"loss": 6.0})
        assert dict(run.summary) == {"loss": 6.0, "text": "11", "late": 7.0}
        run.log({"loss": 8.0}, step=3)
    assert " 6" in capsys.readouterr().err.partition("loss")[2].splitlines()[0]
    with runlore.init(mode="disabled") as run:
        run.log({"loss": 1.0}, step=10)
        run.log({"loss": 2.0}, step=5)
        assert run.summary["loss"] == 1.0


def test_the_first_line_shows_a_name_that_speaks_to_the_terminal_harmlessly(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runlore.init(name="\x1b[31mred\x1b[2J").finish()
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\ufffd[31mred" in err


def test_every_change_inside_the_summary_is_written_by_its_top_level_key(home: Path) -> None:
    with runlore.init() as run:
        run.summary["best"] = {"loss": 0.5, "at": {"step": 1}}
        run.summary["best"]["at"]["step"] = 2
        run.summary.best.loss = 0.25
        replaced = run.summary["best"]
        run.summary["best"] = 1
        replaced["loss"] = 0.125
        assert dict(run.summary) == {"best": 1}

    assert the_stream(home).of(spool.SUMMARY) == [
        {"best": {"loss": 0.5, "at": {"step": 1}}},
        {"best": {"loss": 0.5, "at": {"step": 2}}},
        {"best": {"loss": 0.25, "at": {"step": 2}}},
        {"best": 1},
    ]


def test_every_change_of_a_list_is_written_by_its_top_level_key(home: Path) -> None:
    with runlore.init(config={"layers": [8, {"width": 4}]}) as run:
        layers = run.config["layers"]
        inner = layers[1]
        layers.append((1, 2))
        inner["width"] = 5
        layers[0] = Path("/x")
        layers += [3]
        assert layers.pop() == 3
        del layers[0]
        layers.reverse()
        layers[0].sort(reverse=True)
        with pytest.raises(UsageError, match="at most 16 MiB"):
            layers.insert(0, "x" * 2**24)
        for made in (copy.deepcopy(layers), pickle.loads(pickle.dumps(layers))):
            made.clear()
        assert run.config.as_dict() == {"layers": [[2, 1], {"width": 5}]}
        run.summary["best"] = []
        run.summary["best"].extend([1, 2])

    found = the_stream(home)
    assert [content["layers"] for content in found.of(spool.CONFIG)] == [
        [8, {"width": 4}],
        [8, {"width": 4}, [1, 2]],
        [8, {"width": 5}, [1, 2]],
        ["/x", {"width": 5}, [1, 2]],
        ["/x", {"width": 5}, [1, 2], 3],
        ["/x", {"width": 5}, [1, 2]],
        [{"width": 5}, [1, 2]],
        [[1, 2], {"width": 5}],
        [[2, 1], {"width": 5}],
    ]
    assert found.of(spool.SUMMARY) == [{"best": []}, {"best": [1, 2]}]


def test_a_second_init_returns_the_run_unless_it_is_told_otherwise(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = runlore.init()
    assert runlore.init() is first
    assert "is not finished, so init() returned it" in capsys.readouterr().err
    second = runlore.init(reinit="create_new")
    third = runlore.init(reinit="finish_previous")
    assert len({first.id, second.id, third.id}) == 3
    assert (first.is_finished, second.is_finished) == (False, True)
    first.finish()
    third.finish()


@pytest.fixture
def untouched(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test's folder, with home and staging of its own, in which nothing may appear."""
    # In the staging of the other tests their senders may still be at work.
    monkeypatch.setenv("RUNLORE_STAGING", str(tmp_path / "memory"))
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("untouched")
def test_a_disabled_run_behaves_as_a_run_and_touches_nothing() -> None:
    with runlore.init(
        mode="disabled", config={"lr": 1, "opt": {"name": "adam"}}, tags=["a"], notes="n"
    ) as run:
        assert runlore.run is run
        assert (run.url, run.tags, run.notes) == (None, ("a",), "n")
        run.log({"loss": 0.5, "eval": {"acc": np.float32(0.25)}})
        run.log({"phase": "late"}, commit=False)
        run.log({"loss": 0.25}, step=10)
        assert run.step == 11
        run.summary["best"] = {"loss": 0.1}
        assert dict(run.summary) == {
            "loss": 0.25,
            "eval/acc": 0.25,
            "phase": "late",
            "best": {"loss": 0.1},
        }
        run.config.opt.name = "sgd"
        run.config.update({"seed": 1})
        assert dict(run.config) == {"lr": 1, "opt": {"name": "sgd"}, "seed": 1}
        run.name = "first"
        run.define_metric("loss", goal="minimize")
        assert run.name == "first"
        assert run.flush()
        assert copy.deepcopy(run) is run
    assert runlore.run is None


class Failing(dict[str, object]):
    """A mapping whose elements cannot be had."""

    def items(self) -> Any:  # noqa: ANN401
        raise RuntimeError("not now")


class Unfloatable:
    def __float__(self) -> float:
        raise RuntimeError("no number")


@pytest.mark.usefixtures("untouched")
def test_a_disabled_run_passes_over_what_cannot_be_logged() -> None:
    own: dict[str, object] = {}
    own["own"] = own
    refused: list[Any] = [
        {"loss": object(), "acc": 0.5},
        {"loss": [1, 2], 3: 1, "": 2},
        {"deep": own, "loss": Unfloatable(), "huge": 10**400},
        Failing(a=1),
        {"a": Failing(b=1)},
        None,
        3,
    ]
    with runlore.init(mode="disabled", tags=[3], config={"big": 2**20_000}) as run:  # type: ignore[list-item]
        for data in refused:
            run.log(data)
        odd: Any = "x"
        run.log({"acc": 0.75}, step=odd)
        assert run.step == len(refused) + 1
        assert dict(run.summary) == {"acc": 0.75}
        run.summary["mute"] = Mute()
        assert run.config["big"] == "<builtins.int>"
        assert run.summary["mute"] == f"<{__name__}.Mute>"


def test_a_copy_of_a_run_is_the_run(home: Path) -> None:
    with runlore.init() as run:
        assert copy.deepcopy(run) is run


def test_unknown_arguments_of_init_are_named_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runlore.init(monitor_gym=True, sync_tensorboard=False):
        pass
    with runlore.init(monitor_gym=True):
        pass
    said = capsys.readouterr().err
    assert said.count("init() has no use for monitor_gym, sync_tensorboard; ignored") == 1
    assert said.count("monitor_gym") == 1


def test_none_is_skipped_with_one_line_per_key(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runlore.init() as run:
        for _ in range(3):
            run.log({"loss": 0.5, "acc": None})
    assert capsys.readouterr().err.count("'acc' was None and was skipped") == 1
    assert the_stream(home).rows == [(step, {"loss": 0.5}) for step in range(3)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"project": "a/b"}, "project must be 1 to 128 letters"),
        ({"id": ".."}, "run id must be"),
        ({"owner": "api"}, "owner 'api' is a reserved word"),
        ({"mode": "online!"}, "mode must be one of online, offline, disabled"),
        ({"resume": "maybe"}, "resume must be"),
        ({"reinit": "again"}, "reinit must be"),
        ({"settings": ["x"]}, "settings must be a dict, got a list of 1"),
        ({"settings": {"ulr": "x"}}, "no setting 'ulr'"),
        ({"config": 3}, "config takes a dict"),
        ({"name": 3}, "name must be a string, got int 3"),
    ],
)
def test_a_wrong_init_says_what_was_expected(
    home: Path, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        runlore.init(**arguments)  # type: ignore[arg-type]
    assert runlore.run is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": 3}, "metric must be a key, got int 3"),
        ({"name": "a*b"}, "has one '\\*' and at its end, got 'a\\*b'"),
        ({"name": "a", "goal": "up"}, "goal must be 'minimize' or 'maximize', got 'up'"),
        ({"name": "a", "summary": "most"}, "summary must be one of best, last"),
        ({"name": "a", "summary": "min,most"}, "joined by commas, got 'min,most'"),
        ({"name": "a", "summary": "min,none"}, "several but none joined by commas"),
        ({"name": "a", "summary": ""}, "summary must be one of best, last"),
        ({"name": "a", "step_metric": ""}, "a key must have at least one character"),
    ],
)
def test_a_wrong_definition_says_what_was_expected(
    home: Path, arguments: dict[str, str], said: str
) -> None:
    with runlore.init() as run, pytest.raises(UsageError, match=said):
        run.define_metric(**arguments)  # type: ignore[arg-type]


def test_login_gives_key_and_address_to_the_runs_that_follow(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runlore.sdk.logins._given", {})
    assert not runlore.login()
    assert runlore.login("k-1", host="http://127.0.0.1:9")
    with pytest.raises(UsageError, match="url must be like http"):
        runlore.login(host="example")
    api = runlore.Api()
    assert (api.url, api._link.key) == ("http://127.0.0.1:9", "k-1")
    other = runlore.Api("http://127.0.0.1:8", "k-2")
    assert (other.url, other._link.key) == ("http://127.0.0.1:8", "k-2")
    with runlore.init(mode="disabled") as run:
        settings = run._origin.settings
    assert (settings.api_key, settings.url) == ("k-1", "http://127.0.0.1:9")


def test_a_run_with_a_nested_config_can_be_sent_to_another_process(home: Path) -> None:
    with runlore.init(config={"opt": {"name": "adam", "betas": [0.9]}}) as run:
        assert pickle.loads(pickle.dumps(run)) is run


def test_a_copy_of_the_config_or_summary_is_no_part_of_the_run(home: Path) -> None:
    with runlore.init(config={"opt": {"name": "adam"}}) as run:
        for made in (copy.deepcopy(run.config), pickle.loads(pickle.dumps(run.config))):
            assert made == run.config
            made.opt.name = "sgd"
            made.lr = 0.1
        assert dict(run.config) == {"opt": {"name": "adam"}}
        run.summary["best"] = 1
        copied = copy.deepcopy(run.summary)
        copied["best"] = 2
        assert pickle.loads(pickle.dumps(run.summary)) == {"best": 1}
        assert dict(run.summary) == {"best": 1}

    found = the_stream(home)
    assert found.of(spool.CONFIG) == [{"opt": {"name": "adam"}}]
    assert found.of(spool.SUMMARY) == [{"best": 1}]


class Odd:
    """An array that has no list of its elements, as one on another device."""

    dtype, shape = "float32", (2,)

    def tolist(self) -> list[float]:
        raise NotImplementedError("no storage")

    def __str__(self) -> str:
        return "odd"


def test_types_of_numbers_and_arrays_that_hold_nothing_are_named_in_the_config(home: Path) -> None:
    config = {"dtype": np.float32, "kind": np.dtype("int8"), "array": Odd(), "cls": Odd}
    with runlore.init(config=config) as run:
        assert dict(run.config) == {
            "dtype": "numpy.float32",
            "kind": "int8",
            "array": "odd",
            "cls": f"{__name__}.Odd",
        }


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_what_has_no_text_is_named_by_its_type_in_the_config(home: Path) -> None:
    deep: dict[str, object] = {}
    inner = deep
    for _ in range(5000):
        inner["a"] = inner = {}
    with runlore.init(config={"deep": deep, "mute": Mute(), "large": 2**4095}) as run:
        assert run.config["mute"] == f"<{__name__}.Mute>"
        assert "<builtins.dict>" in str(run.config["deep"])
        assert run.config["large"] == 2**4095
        with pytest.raises(
            UsageError, match="at most 4,096 bits, got one of 4,097; keep it as hex"
        ):
            run.config["larger"] = 2**4096
    assert the_stream(home).of(spool.CONFIG)[0]["large"] == 2**4095


def test_a_refused_change_of_the_config_changes_nothing(home: Path) -> None:
    with runlore.init(config={"lr": 0.1}) as run:
        with pytest.raises(UsageError, match="at most 16 MiB"):
            run.config.update({"lr": 0.2, "blob": "x" * 2**24})
        assert dict(run.config) == {"lr": 0.1}
        run.config["opt"] = {"name": "adam"}
        with pytest.raises(UsageError, match="at most 16 MiB"):
            run.config["opt"]["blob"] = "x" * 2**24
        assert dict(run.config) == {"lr": 0.1, "opt": {"name": "adam"}}
        with pytest.raises(UsageError, match="at most 16 MiB"):
            run.summary["blob"] = "x" * 2**24
        assert dict(run.summary) == {}


def test_without_a_sender_the_end_says_so_and_where_everything_is(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A staging and so a tree of its own, whose sender cannot be started.
    monkeypatch.setenv("RUNLORE_STAGING", str(tmp_path / "memory"))
    monkeypatch.setattr("runlore.sdk.launch._python", lambda: str(tmp_path / "none"))
    run = runlore.init(settings={"finish_timeout": 0})
    run.log({"loss": 1.0})
    run.finish()
    said = capsys.readouterr().err
    assert "no sender stays alive to take it; the rest is not on the disk yet but in " in said
    assert str(tmp_path / "memory") in said


def test_with_a_home_on_a_network_filesystem_the_end_names_the_local_folder(
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"lab:/home {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr("runlore.sdk.settle.MOUNTS", str(mounts))
    with runlore.init(mode="online", id="r1", settings={"url": "http://127.0.0.1:1"}) as run:
        run.log({"loss": 1.0})
    local = f"/var/tmp/runlore-{os.getuid()}/spool/{os.uname().nodename}/local/"
    assert f"the rest is in {local}" in capsys.readouterr().err
    with runlore.init(mode="offline", id="r1"):
        pass
    assert f"runlore sync {home}/spool/" in capsys.readouterr().err


class Broken:
    """A value whose own code fails wherever it is asked."""

    def __float__(self) -> float:
        raise LookupError("no number")

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def __index__(self) -> int:
        raise RuntimeError("no integer")


def test_values_whose_own_code_fails_are_refused_in_a_sentence(home: Path) -> None:
    broken: Any = Broken()
    with runlore.init() as run:
        with pytest.raises(UsageError, match="cannot read what it was given: LookupError: no"):
            run.log({"loss": broken})
        with pytest.raises(UsageError, match="a key must be a string, got Broken <"):
            run.log({broken: 1.0})
        with pytest.raises(UsageError, match="step must be an integer, got Broken <"):
            run.log({"loss": 1.0}, step=broken)
        with pytest.raises(UsageError, match="cannot read what it was given: RuntimeError: not"):
            run.config.update(Failing(a=1))
        run.config["broken"] = [broken]
        assert run.config["broken"] == [f"<{__name__}.Broken>"]
        wrong: Any = None
        with pytest.raises(UsageError, match="tags must be a list of strings, got NoneType"):
            run.tags = wrong
        with pytest.raises(UsageError, match="timeout must be a number of seconds, got str"):
            run.flush(timeout=cast(Any, "soon"))
    with pytest.raises(UsageError, match="dir must be the path of a folder, got bytes"):
        runlore.init(dir=cast(Any, b"x"))
    assert dict(the_stream(home).rows) == {}


class Name(str, enum.Enum):  # noqa: UP042
    LOSS = "loss"


def test_a_key_of_an_enumeration_is_the_same_key_as_its_text(home: Path) -> None:
    with runlore.init() as run:
        for value in (1.0, 2.0, 3.0, 4.0):
            run.log({Name.LOSS: value})
        run.log({"loss": 5.0})
        assert dict(run.summary) == {"loss": 5.0}
    assert the_stream(home).rows == [(step, {"loss": step + 1.0}) for step in range(5)]


def test_what_only_a_run_has_is_passed_over_by_those_who_look_at_the_module(home: Path) -> None:
    assert not hasattr(runlore.config, "lr")
    assert inspect.getmembers(runlore)
    assert "config" in pydoc.render_doc(runlore)
    with runlore.init():
        assert hasattr(runlore, "config")
