"""Series of a real server: keys by pattern, groups of runs, and questions that make no sense."""

import json
import struct
from collections.abc import Iterator
from typing import cast

import pytest

from runlore.core.json import JsonObject, JsonValue
from runlore.core.run import RunRef
from runlore.testing.serving import Answer, ServerProcess
from runlore.testing.spools import SpoolBuilder
from runlore.wire.series import COLUMNS, GROUP_COLUMNS

_PATH = "/api/v1/projects/local/digits/series"
_TYPE = "application/vnd.runlore.series"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        for number in range(3):
            builder = SpoolBuilder(RunRef("local", "digits", f"r{number}"))
            for step in range(100):
                loss = number + step % 2
                builder.log({"train/loss": loss, "train/acc": 0.5, "val/loss": 2.0}, step=step)
            builder.log({"train/note": "text", "é": 1.0}, step=100)
            assert server.send_spool(builder).status == 200
        yield server


def ask(server: ServerProcess, **body: JsonValue) -> Answer:
    return server.send_json("POST", _PATH, body)


def named(answer: Answer, *names: str) -> list[tuple[JsonValue, ...]]:
    assert answer.status == 200, answer
    found = cast(list[JsonObject], answer.json["series"])
    return [tuple(one[name] for name in names) for one in found]


def refused(answer: Answer) -> str:
    assert answer.status == 400, answer
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json["detail"])


def test_keys_may_be_named_by_a_regular_expression(server: ServerProcess) -> None:
    found = ask(server, runs=["r0"], keys_matching="^train/")
    assert named(found, "key") == [("train/acc",), ("train/loss",)]
    found = ask(server, runs=["r1", "r0"], keys=["é", "val/loss"], keys_matching="^val/|acc$")
    assert named(found, "run", "key") == [
        (run, key) for run in ("r1", "r0") for key in ("é", "val/loss", "train/acc")
    ]
    assert named(ask(server, runs=["r0"], keys_matching="TRAIN"), "key") == []
    assert named(ask(server, runs=["r0"], keys_matching="(?i)TRAIN/A"), "key") == [("train/acc",)]
    assert named(ask(server, runs=["unknown"], keys_matching=""), "key") == []


def test_a_regular_expression_that_explodes_or_is_none_is_refused(server: ServerProcess) -> None:
    builder = SpoolBuilder(RunRef("local", "digits", "long"))
    builder.log({"a" * 200 + str(n): 1.0 for n in range(20)}, step=0)
    assert server.send_spool(builder).status == 200
    assert "longer than 1 s" in refused(ask(server, runs=["long"], keys_matching="(a|aa)+$|x"))
    assert "no regular expression" in refused(ask(server, runs=["long"], keys_matching="(a"))
    assert "512 characters" in refused(ask(server, runs=["long"], keys_matching="a" * 513))
    assert server.get("/healthz").status == 200


@pytest.mark.parametrize(
    "pattern", ["a{99999999999999999999}", "(" * 250 + ")" * 250, "((a{999}){999}){999}", "\\"]
)
def test_no_pattern_is_more_than_a_wrong_request(server: ServerProcess, pattern: str) -> None:
    assert ask(server, runs=["r0"], keys_matching=pattern).status in (200, 400)
    assert server.get("/healthz").status == 200


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"(a|a)*b", r"(.*a){20}$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(?:a?){64}a{64}!"],
)
def test_nested_repeats_meet_long_keys_without_keeping_the_server_busy(
    server: ServerProcess, pattern: str
) -> None:
    builder = SpoolBuilder(RunRef("local", "digits", "long"), "w-long")
    builder.log({"a" * length + "-": 1.0 for length in range(900, 1000)}, step=0)
    assert server.send_spool(builder).status == 200
    answer = ask(server, runs=["long"], keys_matching=pattern)
    assert answer.status in (200, 400), answer
    if answer.status == 400:
        assert "use a simpler one" in refused(answer)
    assert server.get("/healthz").status == 200


def test_an_answer_of_several_pieces_holds_every_number(server: ServerProcess) -> None:
    builder = SpoolBuilder(RunRef("local", "digits", "large"))
    keys = [f"k{number}" for number in range(20)]
    for step in range(9000):
        builder.log({key: step / 4 + place for place, key in enumerate(keys)}, step=step)
    assert server.send_spool(builder).status == 200
    body = json.dumps({"runs": ["large"], "keys": [*keys], "buckets": 10_000}).encode()
    headers = {"Content-Type": "application/json", "Accept": _TYPE}
    answer = server.request("POST", _PATH, body, headers)
    assert (answer.status, answer.headers["content-type"]) == (200, _TYPE)
    assert len(answer.body) > 2**20
    (size,) = struct.unpack_from("<8xI", answer.body)
    heads = json.loads(answer.body[16 : 16 + size])["series"]
    for place, head in enumerate(heads):
        at = 16 + size + 8 * head["at"][COLUMNS.index("last")]
        numbers = struct.unpack_from("<9000d", answer.body, at)
        assert numbers == tuple(step / 4 + place for step in range(9000))
    assert len(heads) == len(keys)


def test_groups_come_binary_and_as_json_with_the_same_numbers(server: ServerProcess) -> None:
    body: JsonObject = {
        "runs": ["r2"],
        "groups": [{"name": "all", "runs": ["r0", "r1", "r2"]}, {"name": "one", "runs": ["r1"]}],
        "keys": ["train/loss"],
        "buckets": 30,
    }
    plain = ask(server, **body).json
    assert named(ask(server, **body), "run", "key") == [("r2", "train/loss")]
    groups = cast(list[dict[str, JsonValue]], plain["groups"])
    assert [(g["group"], g["key"], g["width"], g["rows"], g["points"]) for g in groups] == [
        ("all", "train/loss", 4, 25, 300),
        ("one", "train/loss", 4, 25, 100),
    ]
    columns = cast(dict[str, list[float]], groups[0]["columns"])
    assert list(columns) == list(GROUP_COLUMNS) == plain["group_columns"]
    assert (columns["mean"][3], columns["median"][3], columns["std"][3]) == (1.5, 1.5, 1.0)
    assert (columns["min"][3], columns["max"][3], columns["runs"][3]) == (0.0, 3.0, 3.0)
    assert columns["high"][3] == pytest.approx(1.5 + 4.30265272991 / 3**0.5)
    alone = cast(dict[str, list[JsonValue]], groups[1]["columns"])
    assert alone["mean"][0] == 1.5
    assert alone["std"][0] == alone["low"][0] == {"$number": "NaN"}
    binary = server.request(
        "POST",
        _PATH,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Accept": _TYPE},
    ).body
    (size,) = struct.unpack_from("<I", binary, 8)
    header = json.loads(binary[16 : 16 + size])
    assert [one["rows"] for one in header["groups"]] == [25, 25]
    assert header["group_columns"] == list(GROUP_COLUMNS)
    mean = 16 + size + 8 * header["groups"][0]["at"][GROUP_COLUMNS.index("mean")]
    assert list(struct.unpack_from("<25d", binary, mean)) == columns["mean"]
    # Median and mean of a run alone are one column, and so are the counts of all NaN.
    assert len(set(header["groups"][1]["at"])) < len(GROUP_COLUMNS)


def test_groups_need_names_of_their_own(server: ServerProcess) -> None:
    twice: JsonValue = [{"name": "a", "runs": ["r0"]}, {"name": "a", "runs": ["r1"]}]
    assert "different names" in refused(ask(server, groups=twice, keys=["val/loss"]))
    refused(ask(server, groups=[{"name": "a"}], keys=["val/loss"]))
    refused(ask(server, groups=[{"name": "a", "runs": ["../x"]}], keys=["val/loss"]))


@pytest.mark.parametrize(
    ("start", "stop"),
    [(50, 10), (5, 5), (10**6, None), (None, -5), (10**30, None), (-1, -(10**40))],
)
def test_a_range_that_is_reversed_empty_or_beyond_all_steps_holds_nothing(
    server: ServerProcess, start: int | None, stop: int | None
) -> None:
    for groups in ([], [{"name": "all", "runs": ["r0", "r1"]}]):
        body = {
            "runs": ["r0"],
            "groups": groups,
            "keys": ["val/loss"],
            "start": start,
            "stop": stop,
        }
        answer = ask(server, **cast(JsonObject, body))
        assert answer.status == 200
        assert answer.json["series"] == []
        assert answer.json.get("groups", []) == []


def test_a_range_wider_than_all_steps_holds_everything(server: ServerProcess) -> None:
    found = ask(server, runs=["r0"], keys=["val/loss"], start=-(10**30), stop=10**30)
    assert named(found, "points") == [(100,)]


def test_too_much_at_once_is_refused_before_anything_is_read(server: ServerProcess) -> None:
    assert "2 to 10000" in refused(ask(server, runs=["r0"], keys=["val/loss"], buckets=10**6))
    assert "2 to 10000" in refused(ask(server, runs=["r0"], keys=["val/loss"], buckets=1))
    runs: list[JsonValue] = [f"x{n}" for n in range(5000)]
    groups: JsonValue = [{"name": str(n), "runs": runs} for n in range(5)]
    empty: JsonValue = [{"name": str(n), "runs": []} for n in range(5000)]
    for body in (
        {"runs": runs, "keys": runs[:5]},
        {"groups": groups, "keys": ["val/loss"]},
        {"groups": empty, "keys": runs[:5]},
        {"keys": [f"k{n}" for n in range(20_001)]},
    ):
        assert "more than one answer" in refused(ask(server, **cast(JsonObject, body)))


def test_unknown_runs_and_keys_and_nothing_at_all_have_no_series(server: ServerProcess) -> None:
    assert named(ask(server, runs=["r0", "nobody"], keys=["nothing", "train/note"]), "key") == []
    assert named(ask(server, runs=["r0"]), "key") == []
    assert named(ask(server), "key") == []


def test_buckets_lie_on_another_axis(server: ServerProcess) -> None:
    builder = SpoolBuilder(RunRef("local", "digits", "timed"), started_ns=10**18)
    for step in range(4):
        builder.log({"loss": 1.0, "epoch": step / 2}, step=step, time_ns=10**18 + step * 10**9)
    assert server.send_spool(builder).status == 200
    expected = {
        "time": [1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3],
        "relative": [0, 1, 2, 3],
        "key": [0, 0.5, 1, 1.5],
    }
    for kind, places in expected.items():
        x: JsonObject = {"kind": kind, **({"key": "epoch"} if kind == "key" else {})}
        groups: JsonValue = [{"name": "all", "runs": ["timed"]}]
        answer = ask(server, runs=["timed"], groups=groups, keys=["loss"], x=x).json
        assert answer["x"] == x
        assert answer["columns"] == [*COLUMNS, "x_min", "x_max", "x_last"]
        for one in (answer["series"], answer["groups"]):
            columns = cast(list[dict[str, dict[str, JsonValue]]], one)[0]["columns"]
            assert columns["x_min"] == columns["x_max"] == columns["x_last"] == places
    for wrong in ({"kind": "key"}, {"kind": "time", "key": "epoch"}, {"kind": "moon"}):
        refused(ask(server, runs=["timed"], keys=["loss"], x=cast(JsonObject, wrong)))
