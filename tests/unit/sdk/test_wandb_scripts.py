"""What scripts that were written for wandb touch: it works, or a sentence says what to do."""

import argparse
from pathlib import Path
from unittest import mock

import pytest

import runlore as wandb
from runlore.errors import UsageError
from runlore.wire import spool
from tests.unit.sdk.streams import settled


def test_the_summary_is_set_and_read_by_attribute_too(home: Path) -> None:
    with wandb.init() as run:
        run.log({"loss": 0.5})
        run.summary.best_acc = 0.9
        wandb.summary["note"] = "good"
        assert (run.summary.best_acc, run.summary.loss) == (0.9, 0.5)
        with pytest.raises(AttributeError, match="the summary has no 'acc'; it has 'loss'"):
            run.summary.acc  # noqa: B018

    (found,) = settled(home)
    assert found.of(spool.SUMMARY) == [{"best_acc": 0.9}, {"note": "good"}]


def test_an_empty_project_or_owner_takes_the_default(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNLORE_PROJECT", "digits")
    with wandb.init(project="", owner="") as run:
        assert (run.owner, run.project) == ("local", "digits")
    with pytest.raises(UsageError, match="run id must be 1 to 128"):
        wandb.init(id="")


def test_name_tags_and_notes_may_be_set_later(home: Path) -> None:
    with wandb.init("digits", entity="ann", id="k1", tags=["a"]) as run:
        assert (run.tags, run.notes) == (("a",), None)
        assert (run.entity, run.path) == ("ann", "ann/digits/k1")
        run.name = f"first-{run.id}"
        run.tags += ("b",)
        run.notes = "long"
        assert (run.name, run.tags, run.notes) == ("first-k1", ("a", "b"), "long")
        with pytest.raises(UsageError, match="name must be a string, got int 3"):
            run.name = 3  # type: ignore[assignment]

    (found,) = settled(home)
    assert found.of(spool.RUN)[1:] == [
        {"name": "first-k1"},
        {"tags": ["a", "b"]},
        {"notes": "long"},
    ]


def test_a_run_takes_no_attribute_that_would_be_lost(home: Path) -> None:
    with wandb.init() as run, pytest.raises(AttributeError, match="no attribute 'best_acc'"):
        run.best_acc = 0.9  # type: ignore[attr-defined]


def test_settings_of_wandb_that_runlore_has_no_use_for_are_named_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = wandb.Settings(start_method="fork", project="digits")
    with wandb.init(settings=settings) as run:
        assert run.project == "digits"
    wandb.init(settings=settings).finish()
    assert capsys.readouterr().err.count("Settings() has no use for start_method; ignored") == 1


def test_unknown_arguments_of_other_doors_are_named_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.login(relogin=True)
    with wandb.init() as run:
        wandb.define_metric("loss", summary="min", overwrite=True)
        run.define_metric("acc", overwrite=True)
        wandb.finish(sync=True)
    said = capsys.readouterr().err
    assert said.count("login() has no use for relogin; ignored") == 1
    assert said.count("define_metric() has no use for overwrite; ignored") == 1
    assert said.count("finish() has no use for sync; ignored") == 1


def test_config_update_takes_its_second_argument_by_position(home: Path) -> None:
    with wandb.init() as run:
        run.config.update(argparse.Namespace(lr=0.1), True)
        wandb.config.update({"lr": 0.2}, allow_val_change=True)
        assert dict(run.config) == {"lr": 0.2}


@pytest.mark.parametrize("name", ["Image", "Table", "watch", "alert", "save", "Artifact", "sweep"])
def test_what_comes_later_says_so(name: str) -> None:
    with pytest.raises(AttributeError, match=f"runlore has no '{name}' yet: "):
        getattr(wandb, name)
    assert not hasattr(wandb, name)


def test_what_comes_later_says_so_on_a_run_too(home: Path) -> None:
    with wandb.init() as run:
        for name in ("watch", "log_artifact", "dir"):
            with pytest.raises(AttributeError, match=f"runlore has no '{name}' yet: "):
                getattr(run, name)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("setup", "leave it out"),
        ("require", "leave it out"),
        ("termlog", r"use print\(\)"),
        ("termwarn", "use warnings.warn"),
        ("termerror", "use print"),
        ("util", "leave id= out"),
        ("join", r"use finish\(\)"),
    ],
)
def test_a_name_of_wandb_that_has_another_way_here_tells_it(name: str, way: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'runlore' has no attribute '{name}'; {way}"):
        getattr(wandb, name)
    assert not hasattr(wandb, name)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("settings", "use run.project, run.owner, run.id"),
        ("project_name", "use run.project"),
        ("get_project_url", "use run.url"),
        ("status", "use run.flush"),
    ],
)
def test_a_name_of_wandbs_run_that_has_another_way_here_tells_it(
    home: Path, name: str, way: str
) -> None:
    with wandb.init() as run:
        with pytest.raises(AttributeError, match=f"a run has no attribute '{name}'; {way}"):
            getattr(run, name)
        assert not hasattr(run, name)


def test_a_config_takes_defaults_and_gives_a_plain_copy(home: Path) -> None:
    with wandb.init(config={"lr": 0.1, "opt": {"betas": [0.9, {"late": 1}]}}) as run:
        run.config.setdefaults({"lr": 1.0, "seed": 1})
        run.config.setdefaults(argparse.Namespace(lr=2.0))
        wandb.config.update({"lr": 0.2}, allow_val_change=True)
        assert (run.config.get("lr"), run.config.get("none", 3)) == (0.2, 3)
        plain = run.config.as_dict()
        assert plain == {"lr": 0.2, "opt": {"betas": [0.9, {"late": 1}]}, "seed": 1}
        plain["opt"]["betas"].append(3)  # type: ignore[index,call-overload,union-attr]
        assert type(plain["opt"]) is dict
        assert run.config.opt.betas == [0.9, {"late": 1}]

    (found,) = settled(home)
    assert found.of(spool.CONFIG)[1:] == [{"seed": 1}, {"lr": 0.2}]


def test_several_summaries_are_asked_for_with_commas(home: Path) -> None:
    with wandb.init() as run:
        run.define_metric("loss", summary="min, max,min")
    (found,) = settled(home)
    assert found.of(spool.DEFINE) == [{"metric": "loss", "summary": "min,max"}]


def test_a_config_that_is_set_as_a_whole_updates_the_config(home: Path) -> None:
    for _ in range(2):
        with wandb.init() as run:
            wandb.config = {"lr": 0.1}  # type: ignore[assignment]
            run.config = argparse.Namespace(layers=[1, [2]])
            run.config["layers"].append(3)
            run.config["layers"][1].append(4)
            wandb.summary = {"note": "good"}  # type: ignore[assignment]
            run.summary = {"best": 9}
            run.summary["worst"] = 1
            assert wandb.config is run.config
            assert dict(run.config) == {"lr": 0.1, "layers": [1, [2, 4], 3]}
            assert dict(run.summary) == {"note": "good", "best": 9, "worst": 1}
    found, _ = settled(home)
    assert found.of(spool.SUMMARY) == [{"note": "good"}, {"best": 9}, {"worst": 1}]
    merged: dict[str, object] = {}
    for change in found.of(spool.CONFIG):
        merged.update(change)
    assert merged == {"lr": 0.1, "layers": [1, [2, 4], 3]}


def test_a_config_without_a_run_is_no_place_for_values() -> None:
    with pytest.raises(UsageError, match="config needs a run"):
        wandb.config = {"lr": 0.1}  # type: ignore[assignment]
    assert "config" not in vars(wandb)


@pytest.mark.parametrize("is_running", [False, True])
def test_the_doors_of_the_module_may_be_patched_by_tests_and_come_back(
    home: Path, is_running: bool
) -> None:
    run = wandb.init(config={"lr": 0.1}) if is_running else None
    for name in ("config", "summary", "run"):
        with mock.patch(f"runlore.{name}") as fake:
            assert getattr(wandb, name) is fake
        with mock.patch.object(wandb, name, {"lr": 5}):
            assert getattr(wandb, name) == {"lr": 5}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wandb, name, {"lr": 6})
            patch.setattr("runlore." + name, {"lr": 7})
            assert getattr(wandb, name) == {"lr": 7}
        with pytest.MonkeyPatch.context() as patch:
            patch.delattr(wandb, name)
            assert not hasattr(wandb, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wandb, name, None)
            assert getattr(wandb, name) is None
        assert name not in vars(wandb)
    assert wandb.run is run
    if run is None:
        with pytest.raises(UsageError, match="config needs a run"):
            wandb.config = {"lr": 0.2}  # type: ignore[assignment]
        run = wandb.init(config={"lr": 0.1})
    assert (wandb.run, wandb.config, wandb.summary) == (run, run.config, run.summary)
    assert dict(wandb.config) == {"lr": 0.1}
    wandb.config = {"lr": 0.3}  # type: ignore[assignment]
    run.finish()
    assert dict(run.config) == {"lr": 0.3}


def test_the_config_may_be_patched_as_a_dict_and_comes_back(home: Path) -> None:
    with wandb.init(config={"lr": 0.1, "size": {"width": 3}}) as run:
        for fresh in (False, True):
            with mock.patch.dict(wandb.config, {"lr": 5, "more": 1}, clear=fresh):
                assert (run.config["lr"], run.config["more"]) == (5, 1)
            assert dict(run.config) == {"lr": 0.1, "size": {"width": 3}, "more": None}
        with pytest.raises(UsageError, match="set it to None instead"):
            run.config.clear()


def test_the_current_run_cannot_be_set_by_a_script(home: Path) -> None:
    with wandb.init() as run:
        for value in (5, None, run):
            with pytest.raises(UsageError, match="cannot be set, got .*; init\\(\\) begins a run"):
                wandb.run = value  # type: ignore[assignment]
        assert wandb.run is run


def test_a_run_that_ends_while_the_door_is_patched_is_not_brought_back(home: Path) -> None:
    wandb.init()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "run", None)
        assert wandb.run is None
        wandb.finish()
    assert wandb.run is None
    with wandb.init() as run:
        assert wandb.run is run


def test_everything_may_be_imported_before_there_is_a_run(home: Path) -> None:
    names: dict[str, object] = {}
    exec("from runlore import *", names)
    assert repr(names["config"]) == "<the config of no run yet>"
    code = """
with init(config={"lr": 0.1}) as one:
    assert (config.lr, config["lr"], len(config), list(config)) == (0.1, 0.1, 1, ["lr"])
    config.update({"size": 3})
    config.depth = 2
    config["width"] = 4
    assert {**config} == dict(one.config) == {"lr": 0.1, "size": 3, "depth": 2, "width": 4}
    assert "lr" in config and repr(config) == repr(one.config)
    log({"loss": 1.0})
    assert summary["loss"] == 1.0
"""
    exec(code, names)


def test_attributes_of_a_run_that_scripts_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = wandb.init(group="g", job_type="train")
    assert (run.group, run.job_type, run.offline, run.get_url()) == ("g", "train", True, None)
    assert run.start_time > 1e9
    metric = run.define_metric("eval/*", step_metric="epoch", summary="copy")
    assert (metric.name, metric.step_metric, metric.summary) == ("eval/*", "epoch", "last")
    capsys.readouterr()
    run.finish(quiet=True)
    assert capsys.readouterr().err == ""


def test_the_root_of_all_errors_is_at_hand() -> None:
    with pytest.raises(wandb.Error, match="project must be 1 to 128"):
        wandb.init(project="no/such name")
