"""The HTTP API of a real server: what it answers to right, wrong and hostile requests."""

import gzip
import json
import math
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest
import zstandard

from runlore.core.json import JsonObject
from runlore.core.run import RunRef
from runlore.errors import (
    DeletedError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from runlore.sdk.api import Api
from runlore.testing.serving import SPOOL_TYPE, Answer, ServerProcess, free_port, spool_path
from runlore.testing.spools import SECOND_NS, SpoolBuilder
from runlore.wire import spool

BASE = "/api/v1/projects/local"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Name a project that no other test uses."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[-100:]


def a_spool(project: str, run: str = "r1", *, steps: int = 3, writer: str = "w-1") -> SpoolBuilder:
    builder = SpoolBuilder(RunRef("local", project, run), writer, started_ns=9 * SECOND_NS)
    config: JsonObject = {"lr": 0.1, "nan": math.nan, "big": 2**80, "deep": {"a": [1, None]}}
    builder.add(spool.frame(spool.encode_json(spool.RUN, {"name": f"name-{run}", "tags": ["t"]})))
    builder.add(spool.frame(spool.encode_json(spool.CONFIG, config)))
    for step in range(steps):
        builder.log({"loss": 1.0 / (step + 1), "text": f"s{step}", "ok": True}, step=step)
    return builder


def assert_problem(answer: Answer, status: int, *words: str) -> JsonObject:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status
    detail = str(problem["detail"])
    assert all(word in detail for word in words), detail
    assert "Traceback" not in detail
    return problem


def test_a_run_is_taken_and_shown(server: ServerProcess, project: str) -> None:
    builder = a_spool(project)
    builder.end()
    taken = server.send_spool(builder)
    assert taken.status == 200
    assert taken.json["next"] == len(builder.data)
    assert taken.json["points"] == 9
    run = server.get(f"{BASE}/{project}/runs/r1").json
    assert (run["name"], run["state"], run["number"], run["tags"]) == (
        "name-r1",
        "finished",
        1,
        ["t"],
    )
    assert (run["points"], run["writers"], run["exit_code"]) == (9, 1, 0)
    assert run["last_step"] == 2
    assert run["config"] == {
        "lr": 0.1,
        "nan": {"$number": "NaN"},
        "big": {"$number": str(2**80)},
        "deep": {"a": [1, None]},
    }
    assert run["summary"] == {"loss": 1 / 3, "ok": True, "text": "s2"}
    assert run["created_at"] == "1970-01-01T00:00:09Z"
    shown = server.get(f"{BASE}/{project}").json
    assert (shown["runs"], shown["running"]) == (1, 0)
    keys = server.get(f"{BASE}/{project}/keys").json["keys"]
    assert keys == [
        {"key": "loss", "kind": "number", "runs": 1},
        {"key": "ok", "kind": "bool", "runs": 1},
        {"key": "text", "kind": "string", "runs": 1},
    ]


@pytest.mark.parametrize("encoding", ["identity", "deflate", "zstd"])
@pytest.mark.parametrize("steps", [3, 20_000])
def test_a_piece_may_be_compressed(
    server: ServerProcess, project: str, encoding: str, steps: int
) -> None:
    builder = a_spool(project, steps=steps)
    body = builder.data
    if encoding == "deflate":
        body = zlib.compress(body)
    elif encoding == "zstd":
        body = zstandard.compress(body)
    headers = {"Content-Type": SPOOL_TYPE, "Content-Encoding": encoding}
    answer = server.request("POST", spool_path(builder, 0), body, headers)
    assert answer.status == 200
    assert answer.json["points"] == 3 * steps


def test_a_hole_a_repeat_and_damage_are_answered_with_where_to_go_on(
    server: ServerProcess, project: str
) -> None:
    builder = a_spool(project)
    gap = assert_problem(server.send_spool(builder, 4), 409, "first 0 of")
    assert gap["next"] == 0
    assert isinstance(gap["server"], str)
    assert server.send_spool(builder).status == 200
    assert server.send_spool(builder, 2).json["next"] == len(builder.data)
    sent = len(builder.frames)
    builder.log({"loss": 5.0}, step=7)
    good = len(builder.data)
    builder.add(b"\x10\x00\x00\x00" + b"damage" * 10)
    damaged = assert_problem(server.send_spool(builder, sent), 400, "damaged")
    assert damaged["next"] == damaged["where"] == good
    rows = server.get(f"{BASE}/{project}/runs/r1/history?keys=loss").json["rows"]
    assert [row["step"] for row in cast(list[JsonObject], rows)] == [0, 1, 2, 7]


def test_an_empty_piece_tells_how_far_a_writer_is(server: ServerProcess, project: str) -> None:
    builder = a_spool(project)
    headers = {"Content-Type": SPOOL_TYPE}
    assert server.request("POST", spool_path(builder, 0), b"", headers).json["next"] == 0
    server.send_spool(builder)
    answer = server.request("POST", spool_path(builder, 0), b"", headers)
    assert answer.json["next"] == len(builder.data)


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"Content-Type": "text/plain"}, 415, "Content-Type"),
        ({}, 415, "Content-Type"),
        ({"Content-Type": "application/json"}, 415, SPOOL_TYPE),
        ({"Content-Type": SPOOL_TYPE, "Content-Encoding": "br"}, 415, "'br'"),
        ({"Content-Type": SPOOL_TYPE, "Content-Encoding": "zstd"}, 400, "zstd"),
        ({"Content-Type": SPOOL_TYPE, "Content-Encoding": "deflate"}, 400, "deflate"),
    ],
)
def test_a_wrong_type_or_encoding_is_refused(
    server: ServerProcess, project: str, headers: dict[str, str], status: int, word: str
) -> None:
    builder = a_spool(project)
    answer = server.request("POST", spool_path(builder, 0), builder.data, headers)
    assert_problem(answer, status, word)


def test_a_newer_version_of_the_stream_is_refused(server: ServerProcess, project: str) -> None:
    builder = a_spool(project)
    body = b"RLSP\x02\0\0\0" + builder.data[8:]
    answer = server.request("POST", spool_path(builder, 0), body, {"Content-Type": SPOOL_TYPE})
    assert_problem(answer, 400, "version 2", "upgrade")


@pytest.mark.parametrize(
    "offset", ["-1", "x", "1.5", str(2**70), "", "%00"], ids=lambda text: f"offset {text}"
)
def test_a_wrong_offset_is_refused(server: ServerProcess, project: str, offset: str) -> None:
    builder = a_spool(project)
    path = spool_path(builder, 0).replace("offset=0", f"offset={offset}")
    answer = server.request("POST", path, builder.data, {"Content-Type": SPOOL_TYPE})
    assert_problem(answer, 400, "offset")


@pytest.mark.parametrize("encoding", ["deflate", "zstd"])
def test_a_bomb_is_refused_before_it_fills_the_memory(
    server: ServerProcess, project: str, encoding: str
) -> None:
    process = server.process
    assert process is not None
    zeros = bytes(1024 * 1024)
    if encoding == "deflate":
        pack = zlib.compressobj(1)
        body = b"".join(pack.compress(zeros) for _ in range(300)) + pack.flush()
    else:
        stream = zstandard.ZstdCompressor().compressobj()
        body = b"".join(stream.compress(zeros) for _ in range(2000)) + stream.flush()
    before = _peak_bytes(process.pid)
    headers = {"Content-Type": SPOOL_TYPE, "Content-Encoding": encoding}
    answer = server.request("POST", spool_path(a_spool(project), 0), body, headers)
    assert_problem(answer, 413, "decompression")
    assert _peak_bytes(process.pid) - before < 400 * 1024 * 1024


def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(
    server: ServerProcess, project: str
) -> None:
    path = spool_path(a_spool(project), 0)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {SPOOL_TYPE}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"{head}Content-Length: {40 * 2**20}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 413"
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(40):
                connection.sendall(chunk)
        except OSError:
            pass
        assert connection.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/projects/local/..",
        "/api/v1/projects/../local/x",
        "/api/v1/projects/local/%2e%2e/runs",
        "/api/v1/projects/local/a%2Fb/runs",
        "/api/v1/projects/local/a%00b/runs",
        "/api/v1/projects/local/a%5cb/runs",
        "/api/v1/projects/local/a b/runs".replace(" ", "%20"),
        f"/api/v1/projects/local/{'x' * 129}/runs",
        f"/api/v1/projects/local/{'x' * 5000}/runs",
        "/api/v1/projects/api/x/runs",
        "/api/v1/projects/local/x/runs/%C3%A9",
        "/assets/../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/app.py",
        "/../auth.py",
    ],
)
def test_tricks_in_paths_are_refused(server: ServerProcess, path: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        with connection.makefile("rb") as answer:
            head = answer.read().decode()
    assert head.startswith("HTTP/1.1 400"), head
    assert "application/problem+json" in head
    assert "1 to 128 letters" in head or "reserved word" in head or "may have 4096" in head


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("GET", "/graphql", 404),
        ("GET", "/v1/traces", 404),
        ("GET", "/assets/gone.js", 404),
        ("DELETE", "/api/v1/projects", 405),
        ("GET", f"{BASE}/no-such-project", 404),
        ("GET", f"{BASE}/no-such-project/runs", 404),
        ("GET", f"{BASE}/no-such-project/runs/x", 404),
        ("GET", f"{BASE}/no-such-project/runs/x/history", 404),
        ("DELETE", f"{BASE}/no-such-project/runs/x", 404),
    ],
)
def test_what_is_not_there_is_a_problem(
    server: ServerProcess, method: str, path: str, status: int
) -> None:
    assert_problem(server.request(method, path), status)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("state=dead", "state"),
        ("cursor=x", "cursor"),
        ("search=/(/", "regular expression"),
    ],
)
def test_wrong_queries_are_named(
    server: ServerProcess, project: str, query: str, where: str
) -> None:
    server.send_spool(a_spool(project))
    assert_problem(server.get(f"{BASE}/{project}/runs?{query}"), 400, where)


def test_a_run_is_changed_and_deleted(server: ServerProcess, project: str) -> None:
    builder = a_spool(project)
    server.send_spool(builder)
    path = f"{BASE}/{project}/runs/r1"
    change: JsonObject = {
        "name": "new",
        "notes": "n",
        "tags": ["a", "a", "b"],
        "color": "#a0b1c2",
        "config": {"lr": 0.5, "inf": {"$number": "-Infinity"}},
        "summary": {"best": 1},
        "unknown": 1,
    }
    run = server.send_json("PATCH", path, change).json
    assert (run["name"], run["notes"], run["tags"], run["color"]) == (
        "new",
        "n",
        ["a", "b"],
        "#a0b1c2",
    )
    config = cast(JsonObject, run["config"])
    assert (config["lr"], config["inf"]) == (0.5, {"$number": "-Infinity"})
    assert cast(JsonObject, run["summary"])["best"] == 1
    assert server.send_json("PATCH", path, {"color": None}).json["color"] is None
    for wrong, word in (
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"color": "red"}, "#rrggbb"),
        ({"tags": "a"}, "tags"),
        ({"config": {"a": {"$number": "x"}}}, "$number"),
    ):
        assert_problem(server.send_json("PATCH", path, cast(JsonObject, wrong)), 400, word)
    headers = {"Content-Type": "application/json"}
    assert_problem(server.request("PATCH", path, b"{", headers), 400)
    deleted = server.request("DELETE", path).json
    assert deleted["deleted"] == "r1"
    assert_problem(server.get(path), 410)
    assert_problem(server.request("DELETE", path), 410)
    assert_problem(server.send_spool(builder), 410)
    assert server.get(f"{BASE}/{project}/runs").json["total"] == 0


def test_series_come_binary_and_as_json_with_the_same_numbers(
    server: ServerProcess, project: str
) -> None:
    builder = SpoolBuilder(RunRef("local", project, "r1"))
    for step in range(1000):
        builder.log({"x": math.nan if step == 5 else float(step), "é": 1.0}, step=step)
    server.send_spool(builder)
    path = f"{BASE}/{project}/series"
    body: JsonObject = {"runs": ["r1", "none"], "keys": ["x", "é", "none"], "buckets": 100}
    shown = server.send_json("POST", path, body).json
    answer = server.request(
        "POST",
        path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Accept": "application/vnd.runlore.series"},
    )
    assert answer.headers["content-type"] == "application/vnd.runlore.series"
    magic, version, size = struct.unpack_from("<4sII4x", answer.body)
    assert (magic, version, (16 + size) % 8) == (b"RLSR", 2, 0)
    header = json.loads(answer.body[16 : 16 + size])
    data = answer.body[16 + size :]
    seen = 0
    for one, described in zip(
        cast(list[JsonObject], shown["series"]), header["series"], strict=True
    ):
        columns = cast(dict[str, list[object]], one["columns"])
        for name, at in zip(header["columns"], described["at"], strict=True):
            numbers = struct.unpack_from(f"<{described['rows']}d", data, 8 * at)
            seen = max(seen, 8 * (at + described["rows"]))
            assert list(numbers) == columns[name]
    assert seen == len(data)
    # What columns have in common is sent once.
    assert header["series"][0]["at"][0] == header["series"][1]["at"][0]
    assert [(s["key"], s["width"], s["points"]) for s in header["series"]] == [
        ("x", 16, 1000),
        ("é", 16, 1000),
    ]
    whole = server.send_json("POST", path, {**body, "buckets": 2000}).json
    columns = cast(list[dict[str, dict[str, list[object]]]], whole["series"])[0]["columns"]
    assert columns["last"][5] == {"$number": "NaN"}
    for wrong in ({"buckets": 1}, {"buckets": 10**9}, {"runs": "r1"}, {"runs": ["../x"]}):
        assert_problem(server.send_json("POST", path, {**body, **cast(JsonObject, wrong)}), 400)


def test_history_pages_follow_one_another(server: ServerProcess, project: str) -> None:
    for writer in ("w-1", "w-2"):
        builder = SpoolBuilder(RunRef("local", project, "r1"), writer)
        for step in range(10):
            builder.log({"loss": float(step), writer: 1.0}, step=step)
        server.send_spool(builder)
    rows: list[JsonObject] = []
    cursor = ""
    while True:
        query = f"limit=3&start=2&stop=9{cursor}"
        page = server.get(f"{BASE}/{project}/runs/r1/history?{query}").json
        rows += cast(list[JsonObject], page["rows"])
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert [row["step"] for row in rows] == [step for step in range(2, 9) for _ in range(2)]
    only = server.get(f"{BASE}/{project}/runs/r1/history?keys=w-2&limit=2").json["rows"]
    found = cast(list[JsonObject], only)
    assert [set(row) for row in found] == [{"step", "time", "values"}] * 2
    assert [row["values"] for row in found] == [{"w-2": 1.0}] * 2


def test_steps_that_no_run_can_have_are_the_ends_of_the_history(
    server: ServerProcess, project: str
) -> None:
    server.send_spool(a_spool(project))
    runs = f"{BASE}/{project}/runs/r1/history"
    for query, count in ((f"start={10**30}", 0), (f"start=-{10**30}&stop={10**30}", 3)):
        answer = server.get(f"{runs}?{query}")
        assert (answer.status, len(cast(list[object], answer.json["rows"]))) == (200, count)


def test_a_resumed_run_keeps_what_json_cannot_hold_in_its_config(
    server: ServerProcess, project: str, tmp_path: Path
) -> None:
    program = f"""
import runlore
with runlore.init(project={project!r}, id="r1", resume="must") as run:
    run.config["deep"]["lr"] = 0.2
"""
    odd: JsonObject = {
        "deep": {"clip": math.inf, "lr": 0.1},
        "big": 2**80,
        "mine": {"$number": "7"},
    }
    builder = SpoolBuilder(RunRef("local", project, "r1"))
    builder.add(spool.frame(spool.encode_json(spool.CONFIG, odd)))
    builder.end()
    assert server.send_spool(builder).status == 200
    places = {"RUNLORE_HOME": str(tmp_path), "RUNLORE_STAGING": str(tmp_path / "staging")}
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **places, "RUNLORE_URL": server.url, "RUNLORE_MODE": "online"},
        check=True,
        timeout=120,
    )
    config = Api(server.url).run(f"{project}/r1").config
    assert config == {**odd, "deep": {"clip": math.inf, "lr": 0.2}}


def test_a_metric_called_step_or_time_hides_nothing_and_is_not_hidden(
    server: ServerProcess, project: str
) -> None:
    logged: dict[str, float | str] = {
        **{"step": 0.5, "time": "noon", "values": 2.0},
        **{"metric:step": 3.0, "metric:metric:time": 4.0, "metric:loss": 5.0, "steps": 6.0},
    }
    builder = SpoolBuilder(RunRef("local", project, "r1"), started_ns=9 * SECOND_NS)
    builder.log(logged, step=7)
    server.send_spool(builder)
    (row,) = cast(list[JsonObject], server.get(f"{BASE}/{project}/runs/r1/history").json["rows"])
    assert (row["step"], row["values"]) == (7, logged)
    run = Api(server.url).run(f"{project}/r1")
    (flat,) = run.history()
    time = flat.pop("time")
    assert isinstance(time, datetime)
    assert time.tzinfo is not None
    assert flat == {
        **{"step": 7, "metric:step": 0.5, "metric:time": "noon", "values": 2.0},
        **{"metric:metric:step": 3.0, "metric:metric:metric:time": 4.0},
        **{"metric:loss": 5.0, "steps": 6.0},
    }
    (only,) = run.scan_history(["step"])
    assert set(only) == {"step", "time", "metric:step"}
    assert list(run.scan_history(["metric:time"])) == []


def test_big_answers_are_compressed_when_asked(server: ServerProcess, project: str) -> None:
    server.send_spool(a_spool(project, steps=2000))
    path = f"{BASE}/{project}/runs/r1/history"
    plain = server.get(path)
    packed = server.get(path, {"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"Host": "evil.example"}, 403, "evil.example"),
        ({"Host": "localhost.evil.example:80"}, 403, "evil.example"),
        ({"Host": ""}, 403, "--public-url"),
        ({"Origin": "http://evil.example"}, 403, "evil.example"),
        ({"Origin": "null"}, 403, "null"),
        ({"Origin": "http://localhost:1"}, 403, "localhost:1"),
    ],
)
def test_foreign_hosts_and_pages_are_refused(
    server: ServerProcess, headers: dict[str, str], status: int, word: str
) -> None:
    assert_problem(server.get("/api/v1/projects", headers), status, word)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_names_of_this_machine_and_its_own_pages_are_let_in(
    server: ServerProcess, host: str
) -> None:
    here = f"{host}:{server.port}"
    answer = server.get("/api/v1/projects", {"Host": here, "Origin": f"http://{here}"})
    assert answer.status == 200


def test_every_address_of_the_page_answers_with_the_page(server: ServerProcess) -> None:
    for path in ("/", "/local/digits", "/local/digits/runs/r1", "/settings", "/a.b/c.d"):
        answer = server.get(path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "content-security-policy" in answer.headers


def test_the_api_describes_its_answers(server: ServerProcess) -> None:
    described = server.get("/api/openapi.json").json
    paths = cast(dict[str, JsonObject], described["paths"])
    assert len(paths) >= 10
    schemas = cast(JsonObject, cast(JsonObject, described["components"])["schemas"])
    assert {"Run", "Project", "RunList", "SeriesList", "History", "Taken", "Problem"} <= set(
        schemas
    )
    run = cast(JsonObject, cast(JsonObject, schemas["Run"])["properties"])
    assert cast(JsonObject, run["number"])["type"] == "integer"


def test_open_pages_are_told_what_has_grown(server: ServerProcess, project: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stream:
        stream.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        text = _read_until(stream, b": open")
        assert b"text/event-stream" in text
        builder = a_spool(project)
        server.send_spool(builder)
        event = _read_until(stream, b"\n\n", after=b"data: ")
        changes = json.loads(event.partition(b"data: ")[2].partition(b"\n")[0])["changes"]
        assert changes == [
            {"owner": "local", "project": project, "run": "r1", "what": ["run", "points"]}
        ]
        server.request("DELETE", f"{BASE}/{project}/runs/r1")
        assert b'"deleted"' in _read_until(stream, b"deleted", after=b"data: ")


def test_the_client_reads_and_changes_runs(server: ServerProcess, project: str) -> None:
    for number in range(3):
        builder = a_spool(project, f"r{number}", steps=4)
        builder.end()
        server.send_spool(builder)
    api = Api(server.url)
    assert project in [one.name for one in api.projects()]
    assert [run.id for run in api.runs(project)] == ["r2", "r1", "r0"]
    assert [run.id for run in api.runs(f"local/{project}", search="name-r1")] == ["r1"]
    assert list(api.runs(project, state="running")) == []
    run = api.run(f"{project}/r1")
    assert (run.name, run.state, run.tags, run.points) == ("name-r1", "finished", ["t"], 12)
    nan = run.config["nan"]
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert run.config["big"] == 2**80
    rows = run.history(["loss"])
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[1]["loss"] == 0.5
    assert set(rows[0]) == {"step", "time", "loss"}
    assert [row["step"] for row in run.scan_history(start=1, stop=3)] == [1, 2]
    assert run.series(["loss"], buckets=10)["loss"]["last"] == [1.0, 0.5, 1 / 3, 0.25]
    run.update(name="better", tags=["x"], config={"inf": math.inf})
    assert api.run(f"local/{project}/r1").config["inf"] == math.inf
    assert run.name == "better"
    run.update(tags="baseline")
    assert run.tags == ["baseline"]
    assert run.delete() > 0
    with pytest.raises(DeletedError):
        run.refresh()
    with pytest.raises(NotFoundError, match="nothing"):
        api.run(f"{project}/nothing")
    with pytest.raises(UsageError, match="project/run"):
        api.run("r1")
    with pytest.raises(UsageError, match="list of names"):
        next(run.scan_history("loss"))


def test_the_client_says_that_no_server_answers() -> None:
    with pytest.raises(UnavailableError, match="runlore serve"):
        Api(f"http://127.0.0.1:{free_port()}").projects()


def _read_until(stream: socket.socket, mark: bytes, *, after: bytes = b"") -> bytes:
    text = b""
    while mark not in text.partition(after)[2] if after else mark not in text:
        part = stream.recv(65536)
        assert part, text
        text += part
    return text


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no peak of memory in /proc")
