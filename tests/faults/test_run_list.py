"""The list of runs over HTTP: filters, orders, cursors, groups; and its index when killed."""

import http.client
import json
import random
import sqlite3
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import pytest

from runlore.core.json import JsonObject, JsonValue
from runlore.core.run import RunRef
from runlore.sdk.api import Api
from runlore.store.embedded.runs import EmbeddedRunStore
from runlore.store.embedded.runs_tables import decode_noted
from runlore.store.run_entries import KINDS, run_entries
from runlore.testing.processes import until
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder
from runlore.wire import spool

BASE = "/api/v1/projects/local/digits"


def a_spool(name: str, config: JsonObject, *, loss: float) -> SpoolBuilder:
    builder = SpoolBuilder(RunRef("local", "digits", name), f"w-{name}")
    builder.add(spool.frame(spool.encode_json(spool.CONFIG, config)))
    builder.log({"loss": loss + 1}, step=0)
    builder.log({"loss": loss}, step=1)
    return builder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        configs: dict[str, JsonObject] = {
            "a": {"lr": 0.1, "model": {"kind": "vit", "depth": 3}, "either": 1},
            "b": {"lr": 0.2, "model": {"kind": "mlp"}, "either": "one"},
            "c": {"lr": float("nan"), "model": {"kind": "vit", "depth": 5}, "flag": True},
            "d": {"model": {"kind": 'O\'Brien "x"; DROP TABLE runs'}},
        }
        for n, (name, config) in enumerate(configs.items()):
            assert server.send_spool(a_spool(name, config, loss=float(n))).status == 200
        until(lambda: found(server, filter="summary.loss >= 0", status=None) == list("dcba"))
        yield server


def ask(server: ServerProcess, what: str, **query: str | int) -> JsonObject:
    answer = server.get(f"{BASE}/{what}?{urlencode(query)}")
    return {"status": answer.status, **answer.json}


def found(server: ServerProcess, *, status: int | None = 200, **query: str | int) -> list[object]:
    answer = ask(server, "runs", **query)
    assert status is None or answer["status"] == status, answer
    return [cast(JsonObject, run)["id"] for run in cast(list[object], answer.get("runs", []))]


@pytest.mark.parametrize(
    ("where", "sort", "expected"),
    [
        ("config.lr < 0.15", "", "a"),
        ("config.model.kind = 'vit'", "-config.model.depth", "ca"),
        ("config.either = 1 OR config.either = 'one'", "config.either", "ab"),
        ("config.lr = 'NaN'", "", "c"),
        ("config.lr IS NULL", "", "d"),
        ("config.\"model/kind\" = 'O''Brien \"x\"; DROP TABLE runs'", "", "d"),
        ("name REGEXP '^[ab]$' AND NOT id = 'b'", "", "a"),
        ("summary.loss > 1 AND min.loss < 3", "", "c"),
        ("max.loss - summary.loss = 1", "-summary.loss", "dcba"),
        ("created_at > '1970-01-01' AND state = 'running'", "name", "abcd"),
        ("config.flag = true", "", "c"),
        ("", "config.lr", "abcd"),
        ("", "-config.lr,name", "bacd"),
    ],
)
def test_runs_are_filtered_and_sorted(
    server: ServerProcess, where: str, sort: str, expected: str
) -> None:
    assert found(server, filter=where, sort=sort) == list(expected)


def within(op: str, levels: int, inner: str = "config.either") -> str:
    return f"({inner} {op} " * levels + inner + ")" * levels


@pytest.mark.parametrize(
    "where",
    [
        " + ".join(["config.either"] * 65) + " < 1",
        " / ".join(["points"] * 65) + " < 1",
        within("/", 16) + " < " + within("-", 16),
        "-" * 16 + "config.either < 1",
        "NOT (" * 8 + "config.either IN (1, 'a')" + ")" * 8,
        "(points = 1 OR (name = 'x' AND " * 4 + within("/", 8) + " = 3" + "))" * 4,
    ],
)
def test_what_may_be_asked_at_most_is_answered(server: ServerProcess, where: str) -> None:
    assert ask(server, "runs", filter=where, sort="config.either")["status"] == 200


def a_cursor(place: JsonValue) -> str:
    return urlsafe_b64encode(json.dumps(place).encode()).decode()


@pytest.mark.parametrize(
    ("query", "at", "told"),
    [
        ({"filter": "config.lrr < 1"}, 0, "no column config.lrr; did you mean config.lr?"),
        ({"filter": "config.lr <"}, 11, "got the end"),
        ({"filter": "config.lr = '0.1'"}, 12, "holds numbers"),
        ({"filter": "(" * 4000}, 16, "nested 16 deep"),
        ({"filter": "config.lr IN (" + "1," * 2000 + "1)"}, 2014, "1000 values"),
        ({"filter": "name REGEXP '('"}, None, "no regular expression"),
        ({"sort": ",".join(["name"] * 4000)}, 160, "32 columns"),
        ({"search": "a" * 50_000}, None, "1024 characters"),
        ({"sort": "tags"}, 0, "nothing can be sorted"),
        ({"sort": "name", "cursor": "12"}, None, "same order"),
        ({"sort": "name", "cursor": "?"}, None, "cursor must be"),
        ({"sort": "name", "cursor": "bm8"}, None, "cursor must be"),
        ({"sort": "name", "cursor": a_cursor([[[0, 0, ""]], 2**70])}, None, "cursor must be"),
        ({"sort": "name", "cursor": a_cursor([[[-(2**70), 0, ""]], 1])}, None, "cursor must be"),
    ],
)
def test_what_cannot_be_asked_is_told(
    server: ServerProcess, query: dict[str, str], at: int | None, told: str
) -> None:
    answer = ask(server, "runs", **query)
    assert (answer["status"], answer.get("where")) == (400, at), answer
    assert told in str(answer["detail"])
    assert found(server, sort="name") == list("abcd")


def test_a_pattern_that_takes_for_ever_is_stopped(server: ServerProcess) -> None:
    assert server.send_json("PATCH", f"{BASE}/runs/a", {"name": "a" * 200 + "!"}).status == 200
    answer = ask(server, "runs", filter="name REGEXP '(a|aa)+$'")
    assert (answer["status"], "takes longer" in str(answer["detail"])) == (400, True)
    assert server.send_json("PATCH", f"{BASE}/runs/a", {"name": "a"}).status == 200


def test_pages_of_an_order_follow_one_another(server: ServerProcess) -> None:
    first = ask(server, "runs", sort="config.lr", limit=2)
    second = ask(server, "runs", sort="config.lr", limit=2, cursor=str(first["next"]))
    ids = [cast(JsonObject, run)["id"] for run in cast(list[object], second["runs"])]
    assert (ids, second["next"], second["total"]) == (["c", "d"], None, 4)
    api = Api(server.url)
    assert [run.id for run in api.runs("digits", sort="-name", filter="name != 'b'")] == list(
        "dca"
    )


def test_groups_and_columns_are_counted(server: ServerProcess) -> None:
    answer = ask(server, "groups", by='config.flag,config."model/kind"', filter="config.lr < 9")
    assert answer["groups"] == [
        {"values": [None, "mlp"], "runs": 1, "states": {"running": 1}},
        {"values": [None, "vit"], "runs": 1, "states": {"running": 1}},
    ]
    answer = ask(server, "groups", by="config.lr")
    groups = cast(list[JsonObject], answer["groups"])
    assert [group["values"] for group in groups] == [[0.1], [0.2], [{"$number": "NaN"}], [None]]
    columns = cast(list[JsonObject], ask(server, "columns")["columns"])
    told = {column["column"]: column["kinds"] for column in columns}
    assert told == {
        "config.either": {"number": 1, "text": 1},
        "config.flag": {"bool": 1},
        "config.lr": {"number": 3},
        'config."model/depth"': {"number": 2},
        'config."model/kind"': {"text": 4},
        "summary.loss": {"number": 4},
    }


def test_what_is_set_by_hand_is_found_at_once(server: ServerProcess) -> None:
    for value in ({"deep": {"er": 5}}, {"deep": "flat"}):
        body = cast(JsonObject, {"summary": {"mark": value}})
        assert server.send_json("PATCH", f"{BASE}/runs/d", body).status == 200
    assert found(server, filter="summary.mark.deep = 'flat'") == ["d"]
    answer = ask(server, "runs", filter="summary.mark.deep.er = 5")
    assert answer["status"] == 400


def test_the_index_agrees_with_the_documents_after_every_kill(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    rng = random.Random(3)
    stopped = threading.Event()
    sent: list[int] = []

    def write() -> None:
        n = 0
        while not stopped.is_set():
            n += 1
            config: JsonObject = {f"k{n % 7}": n, "text": f"t{n % 5}", "deep": {"n": n}}
            name = f"r{n % 40}-{n // 200}"
            try:
                server.send_spool(a_spool(name, config, loss=rng.random()))
                change = cast(JsonObject, {"tags": [f"tag{n % 3}"], "config": {"k1": str(n)}})
                server.send_json("PATCH", f"{BASE}/runs/r{n % 40}-0", change)
                if n % 9 == 0:
                    server.request("DELETE", f"{BASE}/runs/r{n % 40}-0")
                sent.append(n)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)

    thread = threading.Thread(target=write)
    server.start()
    thread.start()
    try:
        for _ in range(6):
            before = len(sent)
            until(lambda before=before: len(sent) > before + 30)  # type: ignore[misc]
            time.sleep(rng.random() * 0.3)
            server.kill()
            assert agreed(tmp_path / "server" / "catalog.db") > 0
            server.start()
    finally:
        stopped.set()
        thread.join()
    ref = RunRef("local", "digits", "last")
    assert server.send_spool(a_spool(ref.run_id, {"last": 1}, loss=0.5)).status == 200
    until(
        lambda: found(server, filter="summary.loss = 0.5 AND config.last = 1", status=None) != []
    )
    server.stop()
    agreed(tmp_path / "server" / "catalog.db")


def agreed(path: Path) -> int:
    """Compare each row of the index with what the documents say, and return how many there are."""
    store = EmbeddedRunStore(path)
    try:
        runs = store.page("local", "digits", now_ns=time.time_ns(), limit=100_000).runs
    finally:
        store.close()
    with sqlite3.connect(path) as connection:
        noted = {
            number: decode_noted(*row).values
            for number, *row in connection.execute(
                'SELECT number, last_step, "values", bounds FROM run_noted'
            )
        }
    connection.close()
    expected = set()
    counts: dict[tuple[str, str, int], int] = {}
    for run in runs:
        for source, entries in run_entries(run, noted.get(run.number, {})).items():
            for key, entry in entries.items():
                kind = KINDS.index(entry.kind)
                expected.add((source, key, run.number, kind, *entry[1:]))
                counts[(source, key, kind)] = counts.get((source, key, kind), 0) + 1
    with sqlite3.connect(path) as connection:
        rows = connection.execute(
            "SELECT source, run_keys.key, run, kind, num, text, low, high FROM run_kv "
            "JOIN run_keys ON run_keys.id = run_kv.key"
        ).fetchall()
        counted = connection.execute("SELECT source, key, numbers, bools, texts FROM run_keys")
        told = {(s, k, n): count for s, k, *by in counted for n, count in enumerate(by) if count}
    connection.close()
    assert len(rows) == len(set(rows))
    assert set(rows) == expected
    assert told == counts
    return len(rows)


def test_metrics_come_in_pages_by_name(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        builder = SpoolBuilder(RunRef("local", "digits", "many"))
        builder.log({"a": 1.0, 'b "&': True, "c": "text", "é": 2.0}, step=0)
        builder.log({"a": "text"}, step=1)
        assert server.send_spool(builder).status == 200
        whole = ask(server, "keys")
        assert (len(cast(list[JsonValue], whole["keys"])), whole["next"]) == (5, None)
        pages, query = [ask(server, "keys", limit=1)], {}
        while (cursor := pages[-1]["next"]) is not None:
            query = {"cursor": str(cursor)}
            pages.append(ask(server, "keys", limit=1, **query))
        assert [len(cast(list[JsonValue], page["keys"])) for page in pages] == [2, 1, 1, 1]
        shown = [key for page in pages for key in cast(list[JsonValue], page["keys"])]
        assert shown == whole["keys"]
        for wrong in ("", "!", "MTI", "é"):
            refused = ask(server, "keys", cursor=wrong)
            assert refused["status"] == 400
            assert "cursor must be the 'next' of an answer" in cast(str, refused["detail"])
        assert [ask(server, "keys", limit=n)["status"] for n in (0, 20_001)] == [400, 400]
