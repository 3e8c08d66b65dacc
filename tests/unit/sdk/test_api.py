"""`Api` against servers that talk rubbish, and called as scripts for wandb call it."""

import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from runlore.core.json import JsonObject
from runlore.errors import RunloreError, UnavailableError, UsageError
from runlore.sdk.api import Api
from tests.unit.sdk.raw import HttpServer, answer

TIME = "2026-01-01T00:00:00+00:00"
RUN: JsonObject = {
    "owner": "local",
    "project": "p",
    "id": "r1",
    "name": "otter",
    "state": "finished",
    "config": {},
    "summary": {},
    "tags": [],
    "notes": "",
    "group": None,
    "points": 3,
    "created_at": TIME,
    "finished_at": None,
}
DEEP = b"[" * 200_000
DOORS: dict[str, Callable[[Api], object]] = {
    "run": lambda api: api.run("p/r1"),
    "runs": lambda api: list(islice(api.runs("p"), 5)),
    "projects": lambda api: api.projects(),
}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server


def a_run(**other: object) -> bytes:
    return json.dumps({**RUN, **other}).encode()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b'{"next": -5}',
        DEEP,
        b'{"runs": ' + DEEP,
        b'{"runs": 7, "projects": {}}',
        b'{"runs": [null], "projects": [[]]}',
        b'{"runs": [{}], "projects": [{}], "next": null}',
        b'{"x": ' + b"9" * 5000 + b"}",
        b"\xff\xfe\x00",
        a_run(owner=7),
        a_run(state="sleeping"),
        a_run(config=[1]),
        a_run(points=True),
        a_run(created_at="yesterday"),
        a_run(id="a/b"),
        a_run(tags=None),
    ],
)
def test_an_answer_that_is_none_is_one_error_that_names_server_and_what_came(
    server: HttpServer, door: str, body: bytes
) -> None:
    server.answer = answer(body)
    with pytest.raises(UnavailableError, match=f"expected .* from {server.url}, got ") as raised:
        DOORS[door](Api(server.url))
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"hi", kind="text/html"),
        answer(b"", status="302 Found"),
        answer(b"x", status="500 Oops"),
        answer(DEEP, status="500 Oops"),
        answer(b"\x1f\x8bnot gzip", extra="Content-Encoding: gzip\r\n"),
        answer(gzip.compress(a_run())[:-9], extra="Content-Encoding: gzip\r\n"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"SSH-2.0-OpenSSH\r\n",
        b"\x00" * 5000,
        b"",
    ],
)
def test_what_is_no_answer_of_ours_is_one_error(server: HttpServer, raw: bytes) -> None:
    server.answer = raw
    with pytest.raises(UnavailableError, match=server.url):
        Api(server.url).run("p/r1")


def test_a_body_that_unpacks_to_more_than_fits_is_refused(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runlore.sdk.link.MAX_BYTES", 1_000_000)
    packed = gzip.compress(b" " * 50_000_000)
    server.answer = answer(packed, extra="Content-Encoding: gzip\r\n")
    with pytest.raises(UnavailableError, match="expected a whole gzip body"):
        Api(server.url).run("p/r1")


@pytest.mark.parametrize(
    "body", [b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]
)
def test_an_answer_that_drips_ends_with_the_time_for_it(server: HttpServer, body: bytes) -> None:
    server.answer, server.drips = body, True
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="did not answer in time"):
        Api(server.url, timeout=0.5).run("p/r1")
    assert time.monotonic() - began < 30


def test_pages_that_come_round_again_are_refused(server: HttpServer) -> None:
    server.answer = answer(b'{"runs": [], "rows": [], "next": "again"}')
    with pytest.raises(UnavailableError, match="where a page behind 'again' begins"):
        list(Api(server.url).runs("p"))


@pytest.mark.parametrize(
    "row",
    [
        7,
        {},
        {"step": "1", "time": TIME, "values": {}},
        {"step": 1, "time": "soon", "values": {}},
        {"step": 1, "time": TIME, "values": []},
        {"step": 1, "time": TIME, "values": {"a": [1]}},
        {"step": 1, "time": TIME, "values": {"a": {"$number": "evil"}}},
    ],
)
def test_a_row_that_is_none_is_refused(server: HttpServer, row: object) -> None:
    server.answer = answer(a_run())
    run = Api(server.url).run("p/r1")
    server.answer = answer(json.dumps({"rows": [row], "next": None}).encode())
    with pytest.raises(UnavailableError, match="got "):
        run.history()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"RLSR",
        b"RLSR\2\0\0\0\xff\xff\xff\xff\0\0\0\0{}",
        b"RLSR\2\0\0\0\2\0\0\0\0\0\0\0{}",
        b"RLSR\1\0\0\0\2\0\0\0\0\0\0\0{}",
        *(
            b"RLSR\2\0\0\0\x80\0\0\0\0\0\0\0"
            + b'{"columns": ["step"], "series": [{"run": "r", "key": "a", "width": 1, '
            + b'"points": 1, "rows": %d, "at": [%d]}]}' % wrong
            for wrong in ((99, 0), (1, 9), (1, -2), (-1, 1))
        ),
    ],
)
def test_series_that_are_none_are_refused(server: HttpServer, body: bytes) -> None:
    server.answer = answer(a_run())
    run = Api(server.url).run("p/r1")
    server.answer = answer(body, kind="application/vnd.runlore.series")
    with pytest.raises(UnavailableError, match="expected series"):
        run.series(["a"])


def test_a_config_that_is_too_deep_is_refused_where_it_is_read(server: HttpServer) -> None:
    server.answer = answer(a_run(config=json.loads('{"a":' * 800 + "1" + "}" * 800)))
    run = Api(server.url).run("p/r1")
    with pytest.raises(UnavailableError, match="at most 64 deep"):
        run.config  # noqa: B018


def with_rows(server: HttpServer, count: int) -> object:
    server.answer = answer(a_run())
    run = Api(server.url).run("p/r1")
    rows = [{"step": at, "time": TIME, "values": {"loss": at / 2}} for at in range(count)]
    server.answer = answer(json.dumps({"rows": rows, "next": None}).encode())
    return run


@pytest.mark.parametrize("samples", [1, 2, 3, 7, 10, 11])
def test_samples_are_so_many_rows_with_both_ends(server: HttpServer, samples: int) -> None:
    rows = with_rows(server, 10).history(samples=samples)  # type: ignore[attr-defined]
    steps = [row["step"] for row in rows]
    assert len(steps) == min(samples, 10)
    assert steps[0] == 0
    assert samples == 1 or steps[-1] == 9
    assert steps == sorted(set(steps))


def test_history_is_a_data_frame_where_pandas_is_there(server: HttpServer) -> None:
    pytest.importorskip("pandas")
    found = with_rows(server, 10).history(pandas=True, keys=["loss"])  # type: ignore[attr-defined]
    assert list(found["loss"]) == [at / 2 for at in range(10)]


def test_without_pandas_the_way_out_is_said(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pandas=True needs pandas"):
        with_rows(server, 10).history(pandas=True)  # type: ignore[attr-defined]


def test_what_scripts_for_wandb_pass_is_taken(server: HttpServer) -> None:
    content = {"runs": [{**RUN, "id": f"r{at}"} for at in range(3)], "total": 3, "next": None}
    server.answer = answer(json.dumps(content).encode())
    api = Api(server.url, timeout=19)
    found = api.runs("local/p", {"state": "finished"}, "+created_at", 50, include_sweeps=False)
    assert [run.id for run in found] == ["r2", "r1", "r0"]
    assert "state=finished" in server.asked[-1]
    assert "limit=50" in server.asked[-1]
    runs = api.runs(path="local/p", filters={}, per_page=5000)
    assert (len(runs), runs[0].id, runs[-1].id) == (3, "r0", "r2")
    assert [run.id for run in runs] == [run.id for run in runs]
    assert "limit=1000" in server.asked[-1]
    run = with_rows(server, 4)
    rows = run.scan_history(["loss"], 500, min_step=1, max_step=3)  # type: ignore[attr-defined]
    assert len(list(rows)) == 4
    assert all(part in server.asked[-1] for part in ("limit=500", "start=1", "stop=3"))
    assert len(run.history(x_axis="_step", stream="default")) == 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda api, run: Api(overrides={}), "has no use for overrides; give url="),
        (
            lambda api, run: Api({"entity": "me"}),  # type: ignore[arg-type]
            "url must be a string, got a dict",
        ),
        (lambda api, run: Api(timeout=0), "timeout must be a number of seconds"),
        (
            lambda api, run: Api(timeout="5"),  # type: ignore[arg-type]
            "timeout must be a number of seconds",
        ),
        (lambda api, run: api.runs("p", {"config.lr": 1}), "filters can only ask for a 'state'"),
        (lambda api, run: api.runs("p", [1]), "filters must be a dict"),
        (lambda api, run: api.runs("p", {"state": {"$in": []}}), "state must be one of"),
        (lambda api, run: api.runs("p", order="-summary_metrics.loss"), "use sort="),
        (lambda api, run: api.runs("p", per_page=0), "per_page must be a whole number"),
        (lambda api, run: api.runs("p", colour=1), "runs.. has no use for colour"),
        (lambda api, run: api.run(None), "a run is named 'project/run'"),
        (lambda api, run: run.update(config={"lr": object()}), "what JSON can hold"),
        (lambda api, run: run.history(500), "write samples=500"),
        (lambda api, run: run.history(["a", 7]), "got 7 in it"),
        (lambda api, run: run.history(samples=0), "samples must be a whole number"),
        (lambda api, run: run.history(x_axis="epoch"), "x_axis must be '_step'"),
        (lambda api, run: run.history(stream="system"), "stream must be 'default'"),
        (lambda api, run: run.scan_history("loss"), r"write \['loss'\]"),
        (lambda api, run: run.scan_history(page_size="x"), "page_size must be a whole number"),
        (lambda api, run: run.scan_history(step=1), "has no use for step"),
    ],
)
def test_what_runlore_cannot_do_is_refused_at_the_call_with_the_way_out(
    server: HttpServer, call: Callable[[Api, object], object], said: str
) -> None:
    run = with_rows(server, 1)
    with pytest.raises(UsageError, match=said):
        call(Api(server.url), run)


def test_a_problem_of_a_server_comes_without_control_characters(server: HttpServer) -> None:
    body = json.dumps({"detail": "\x1b[31mred\x07" + "x" * 10_000}).encode()
    server.answer = answer(body, status="422 No")
    with pytest.raises(RunloreError) as raised:
        Api(server.url).run("p/r1")
    assert str(raised.value).startswith("�[31mred�x")
    assert len(str(raised.value)) < 3000
