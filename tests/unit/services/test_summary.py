"""The summary: what definitions ask for, and what the user set by hand."""

import math

import pytest

from runlore.core.json import JsonObject
from runlore.core.metric import Kind, Value
from runlore.services.summary import MAX_SUMMARY, definition_of, first_keys, summarise
from runlore.store.metrics import KeySummary
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SpoolBuilder, a_run


def a_key(
    key: str,
    *,
    last: Value = 0.5,
    kind: Kind = "number",
    last_step: int = 9,
    low: float | None = 0.25,
    high: float | None = 2.0,
) -> KeySummary:
    return KeySummary(
        key=key,
        kind=kind,
        count=10,
        last_step=last_step,
        last=last,
        minimum=low,
        maximum=high,
    )


def mean(key: str) -> float:
    return 1.5


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ({}, 0.5),
        ({"summary": "last"}, 0.5),
        ({"summary": "min"}, 0.25),
        ({"summary": "max"}, 2.0),
        ({"summary": "mean"}, 1.5),
        ({"summary": "best"}, 0.25),
        ({"summary": "best", "goal": "minimize"}, 0.25),
        ({"summary": "best", "goal": "maximize"}, 2.0),
    ],
)
def test_a_definition_chooses_the_value(definition: JsonObject, expected: float) -> None:
    defined: list[JsonObject] = [{"metric": "loss", **definition}]
    assert summarise([a_key("loss")], defined, {}, mean=mean) == {"loss": expected}


def test_a_definition_that_asks_for_several_gives_a_key_for_each() -> None:
    defined: list[JsonObject] = [{"metric": "l*", "summary": "min,max,mean,last"}]
    assert summarise([a_key("loss")], defined, {"loss.max": 7}, mean=mean) == {
        "loss.min": 0.25,
        "loss.max": 7,
        "loss.mean": 1.5,
        "loss.last": 0.5,
    }
    logged = [a_key("loss.min", last=0.125), a_key("loss")]
    several: list[JsonObject] = [{"metric": "loss", "summary": "min,max"}]
    assert summarise(logged, several, {}, mean=mean) == {"loss.min": 0.125, "loss.max": 2.0}


@pytest.mark.parametrize("definition", [{"summary": "none"}, {"hidden": True}])
def test_a_definition_may_leave_a_key_out(definition: JsonObject) -> None:
    defined: list[JsonObject] = [{"metric": "loss", **definition}]
    assert summarise([a_key("loss")], defined, {}, mean=mean) == {}


def test_what_was_set_by_hand_wins() -> None:
    assert summarise([a_key("loss")], [], {"loss": 7, "best": 1}, mean=mean) == {
        "loss": 7,
        "best": 1,
    }


def test_a_key_without_a_finite_number_shows_its_last_value() -> None:
    key = a_key("loss", last=math.inf, low=None, high=None)
    defined: list[JsonObject] = [{"metric": "loss", "summary": "min"}]
    assert summarise([key], defined, {}, mean=mean) == {"loss": math.inf}


def test_of_several_kinds_the_latest_counts() -> None:
    keys = [
        a_key("x", last=1.0, last_step=3),
        a_key("x", last="text", kind="string", last_step=5, low=None, high=None),
    ]
    assert summarise(keys, [], {}, mean=mean) == {"x": "text"}


def test_a_name_beats_a_glob_and_a_later_glob_an_earlier_one() -> None:
    defined: list[JsonObject] = [
        {"metric": "*", "summary": "none"},
        {"metric": "val/acc", "summary": "max"},
        {"metric": "val/*", "summary": "min"},
    ]
    assert definition_of("val/acc", defined)["summary"] == "max"
    assert definition_of("val/loss", defined)["summary"] == "min"
    assert definition_of("loss", defined)["summary"] == "none"
    assert definition_of("loss", []) == {}


def test_of_very_many_metrics_the_first_by_name_are_shown_beside_what_was_set_by_hand() -> None:
    keys = [a_key(f"k{number:05}") for number in reversed(range(MAX_SUMMARY + 5))]
    found = summarise(keys, [], {"set": 1}, mean=lambda _: 0.0)
    assert len(found) == MAX_SUMMARY + 1
    assert "set" in found
    assert "k00000" in found
    assert f"k{MAX_SUMMARY:05}" not in found


def test_of_several_kinds_at_one_step_the_one_logged_last_counts() -> None:
    metrics, run = ReferenceMetricStore(), a_run()
    builder = SpoolBuilder(run)
    logged: list[dict[str, Value]] = [
        {"x": 1.0, "y": "early", "z": 0.5},
        {"x": "late", "y": 2.0},
        {"z": 0.25},
    ]
    for values in logged:
        builder.log(values, step=5)
    metrics.append([builder.piece()])
    keys, last_step = first_keys(metrics, run)
    assert summarise(keys, [], {}, mean=mean) == {"x": "late", "y": 2.0, "z": 0.25}
    assert last_step == 5
