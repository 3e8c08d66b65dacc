"""What scripts that were written for wandb touch: it works, or a sentence says what to do."""

import argparse
from pathlib import Path

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
        wandb.finish(quiet=True)
    said = capsys.readouterr().err
    assert said.count("login() has no use for relogin; ignored") == 1
    assert said.count("define_metric() has no use for overwrite; ignored") == 1
    assert said.count("finish() has no use for quiet; ignored") == 1


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
