"""What people send who mean no good, and what happens to the server meanwhile."""

import http.client
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from runlore.core.json import JsonObject, JsonValue
from runlore.core.run import RunRef
from runlore.errors import UnavailableError
from runlore.sdk.api import Api
from runlore.sdk.api_run import ApiRun
from runlore.sdk.link import Link
from runlore.server.connection import MAX_HEAD
from runlore.server.problems import MAX_JSON
from runlore.testing.serving import Answer, ServerProcess
from runlore.testing.spools import SpoolBuilder
from runlore.wire import spool

RUNS = "/api/v1/projects/local/attacked/runs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        assert server.send_spool(a_spool("r1")).status == 200
        yield server


def a_spool(run: str, *, steps: int = 1) -> SpoolBuilder:
    builder = SpoolBuilder(RunRef("local", "attacked", run))
    for step in range(steps):
        builder.log({"loss": 0.5}, step=step)
    return builder


def nested(depth: int) -> JsonValue:
    value: JsonValue = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def detail_of(answer: Answer, status: int) -> str:
    assert answer.status == status, answer
    return str(answer.json["detail"])


def raw(server: ServerProcess, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(text)
        return connection.recv(65536)


def memory(server: ServerProcess) -> int:
    assert server.process is not None
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def test_a_head_without_end_is_cut_off_before_it_fills_the_memory(server: ServerProcess) -> None:
    before = memory(server)
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        raw(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (1000 * MAX_HEAD))
    assert memory(server) - before < 100 * MAX_HEAD
    assert server.get("/healthz").status == 200


@pytest.mark.parametrize("depth", [70, 400, 20_000])
def test_a_document_nested_too_deep_is_refused(server: ServerProcess, depth: int) -> None:
    text = b'{"config": {"x": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}}"
    answer = server.request("PATCH", f"{RUNS}/r1", text, {"Content-Type": "application/json"})
    assert "nested" in detail_of(answer, 400)
    assert server.get(RUNS).status == 200


def test_a_frame_nested_too_deep_is_damage_and_those_before_it_are_kept(
    server: ServerProcess,
) -> None:
    builder = a_spool("r2")
    edge = builder.edges[-1]
    builder.add(spool.frame(spool.encode_json(spool.CONFIG, {"x": nested(400)})))
    answer = server.send_spool(builder)
    assert "nested 64 deep" in detail_of(answer, 400)
    assert (answer.json["next"], answer.json["where"]) == (edge, edge)
    assert server.get(f"{RUNS}/r2").json["points"] == 1


def test_json_beyond_its_limit_is_refused(server: ServerProcess) -> None:
    answer = server.send_json("PATCH", f"{RUNS}/r1", {"notes": "x" * MAX_JSON})
    assert str(MAX_JSON) in detail_of(answer, 413)


def test_two_hosts_in_one_request_are_refused(server: ServerProcess) -> None:
    for hosts in (b"evil.example\r\nHost: localhost", b"localhost\r\nHost: evil.example"):
        text = raw(server, b"GET /healthz HTTP/1.1\r\nHost: " + hosts + b"\r\n\r\n")
        assert text.startswith(b"HTTP/1.1 400 "), text


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/projects", "/api/nope"])
def test_head_is_answered_as_get_without_the_body(server: ServerProcess, path: str) -> None:
    head, got = server.request("HEAD", path), server.get(path)
    assert (head.status, head.body) == (got.status, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("path", [f"{RUNS}/r1/export?format=csv", "/api/v1/live"])
def test_head_of_what_is_made_while_it_is_sent_makes_nothing(
    server: ServerProcess, path: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(3):
        connection.request("HEAD", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("path", ["/", "/api/v1/projects", "/api/nope", "/local/%00"])
def test_browsers_are_told_to_believe_every_content_type(server: ServerProcess, path: str) -> None:
    assert server.get(path).headers["x-content-type-options"] == "nosniff"


def test_a_wrong_address_or_method_names_the_way_out(server: ServerProcess) -> None:
    assert "/api/openapi.json" in detail_of(server.get("/api/nope"), 404)
    answer = server.request("DELETE", "/api/v1/projects")
    assert "DELETE does not fit '/api/v1/projects', which takes GET" in detail_of(answer, 405)
    assert "GET" in answer.headers["allow"]


def test_a_wrong_query_names_what_was_expected_and_what_came(server: ServerProcess) -> None:
    told = detail_of(server.get(f"{RUNS}?state=Done"), 400)
    assert told == "state must be one of running, finished, failed, crashed, got 'Done'"
    assert "got '5000'" in detail_of(server.get(f"{RUNS}?limit=5000"), 400)


def test_a_client_that_goes_away_and_one_that_talks_nonsense_leave_no_trace(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path) as server:
        raw(server, b"nonsense\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(
                f"POST {RUNS}/r1/spool/w HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
                "Content-Type: application/vnd.runlore.spool\r\n\r\nhalf".encode()
            )
        assert server.get("/healthz").status == 200
        _, told = server.stop()
    assert told == ""


def test_a_server_without_files_left_goes_on_when_there_are_some_again(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        assert server.process is not None
        assert server.send_spool(a_spool("r1")).status == 200
        pid = server.process.pid
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (100, limit[1]))
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        # Long enough for the server to try again, and to fill a pipe that nobody reads.
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            time.sleep(0.1)
        for client in clients:
            client.close()
        assert server.send_spool(a_spool("r2")).status == 200
        _, told = server.stop()
    assert told.count("ulimit") == 1
    assert len(told) < 5000


def test_nothing_is_acknowledged_once_the_folder_is_removed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        assert server.send_spool(a_spool("r1")).status == 200
        shutil.rmtree(tmp_path / "server")
        for _ in range(3):
            assert "was removed" in detail_of(server.send_spool(a_spool("r2")), 503)
        _, logged = server.stop()
    assert logged.count("nothing is stored: ") == 1


@pytest.mark.parametrize("name", ["history/log.db", "catalog.db"])
def test_nothing_is_acknowledged_once_a_file_is_replaced_and_nothing_was_lost(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "server"
    with ServerProcess(tmp_path) as server:
        assert server.send_spool(a_spool("r1")).status == 200
        path = folder / name
        path.rename(tmp_path / "aside")
        (folder / name).write_bytes(b"of somebody else")
        for run in ("r1", "r2"):
            refused = detail_of(server.send_spool(a_spool(run, steps=5)), 503)
            assert path.name in refused
            assert "put the file back" in refused
        path.unlink()
        assert "put the file back" in detail_of(server.send_spool(a_spool("r1", steps=5)), 503)
        server.stop()
        (tmp_path / "aside").unlink()
        assert path.exists()
        server.start()
        assert server.send_spool(a_spool("r1", steps=5)).status == 200
        rows = server.get("/api/v1/projects/local/attacked/runs/r1/history").json["rows"]
        assert len(cast(list[object], rows)) == 5


def test_a_folder_without_its_catalog_is_not_begun_anew(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        assert server.send_spool(a_spool("r1")).status == 200
    (tmp_path / "server" / "catalog.db").unlink()
    code, said = ServerProcess(tmp_path).refuse()
    assert (code, "catalog.db' is missing" in said, "from a backup" in said) == (1, True, True)
    assert not (tmp_path / "server" / "catalog.db").exists()


def test_an_empty_key_file_admits_nobody(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "key").touch()
    with ServerProcess(tmp_path, host="0.0.0.0") as server:
        assert (tmp_path / "server" / "key").read_text().startswith("rl_")
        for given in ("Bearer ", "Bearer", "Basic !", "Basic Og=="):
            assert server.get("/api/v1/projects", {"Authorization": given}).status == 403


def test_a_browser_gets_in_whatever_cookies_it_has_and_is_asked_again_for_a_wrong_key(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path, host="0.0.0.0") as server:
        key = (tmp_path / "server" / "key").read_text().strip()
        odd = f'of-another-port={{"a": [1, 2]}}; ä="; runlore_key={key}; =; x'
        cookie = odd.encode().decode("latin-1")
        assert server.get("/api/v1/projects", {"Cookie": cookie}).status == 200
        browser = {"Accept": "text/html", "Cookie": "runlore_key=rl_of-an-earlier-server"}
        asked = server.get("/", browser)
        assert (asked.status, b'action="/login"' in asked.body) == (403, True)
        assert "frame-ancestors 'none'" in asked.headers["content-security-policy"]
        wrong = server.get("/login?key=wrong", browser)
        assert (wrong.status, b"not this server's" in wrong.body) == (403, True)
        assert b'action="login"' in wrong.body
        name = socket.gethostname().partition(".")[0]
        for host, status in ((name, 200), (f"{name}.lan:80", 200), ("other.lan", 403)):
            answer = server.get("/healthz", {"Host": host})
            assert answer.status == status, (host, answer)


def test_names_that_look_like_numbers_of_ours_are_read_as_what_they_are(
    server: ServerProcess,
) -> None:
    builder = SpoolBuilder(RunRef("local", "numbers", "r1"))
    config: JsonObject = {"a": {"$number": "no"}, "b": {"$number": "9" * 5000}}
    builder.add(spool.frame(spool.encode_json(spool.CONFIG, config)))
    builder.log({"$number": "7"}, step=0)
    assert server.send_spool(builder).status == 200
    lone = SpoolBuilder(RunRef("local", "numbers", "r2"))
    lone.add(spool.frame(spool.encode_json(spool.CONFIG, {"$number": "7"})))
    assert server.send_spool(lone).status == 200
    found = {run.id: run for run in Api(server.url).runs("numbers")}
    assert found["r1"].config == config
    assert found["r1"].summary == {"$number": "7"}
    assert found["r2"].config == {"$number": "7"}
    assert [row["$number"] for row in found["r1"].history()] == ["7"]
    for document in ({"$number": "NaN"}, {"$document": {"$number": 7}}, {"u": {"$number": "7"}}):
        found["r2"].update(config=cast(JsonObject, document))
        assert {**found["r2"].config, **document} == found["r2"].config
    found["r2"].update(config={"big": 2**80})
    assert found["r2"].config["big"] == 2**80


def test_a_document_of_a_foreign_server_that_cannot_be_read_is_an_error_in_a_sentence(
    server: ServerProcess,
) -> None:
    run = Api(server.url).run("attacked/r1")
    foreign = ApiRun(
        Link(server.url, "", 5.0), {**run.to_json(), "config": {"u": {"$number": "evil"}}}
    )
    with pytest.raises(UnavailableError, match=r"\$number must be .* got 'evil'"):
        _ = foreign.config


def test_half_a_surrogate_pair_in_a_frame_is_kept_as_a_question_mark(
    server: ServerProcess,
) -> None:
    half = b'"\\ud800"'
    for kind, text in {
        spool.RUN: b'{"name":%s,"tags":[%s],"notes":%s,"group":%s,"job_type":%s,"program":%s}',
        spool.CONFIG: b'{%s:%s,"a":[%s]}',
        spool.SUMMARY: b"{%s:%s}",
        spool.DEFINE: b'{"metric":%s,"summary":%s,"goal":%s}',
        spool.GAP: b'{"points":1,"reason":%s}',
    }.items():
        builder = SpoolBuilder(RunRef("local", "halves", f"r{kind}"))
        builder.add(spool.frame(bytes([kind]) + text.replace(b"%s", half)))
        assert server.send_spool(builder).status == 200, kind
        assert server.get(f"/api/v1/projects/local/halves/runs/r{kind}").status == 200
    found = Api(server.url).runs("halves", search="?")[0]
    assert (found.id, found.name, found.tags) == ("r7", "?", ["?"])


@pytest.mark.parametrize("points", [-5, 2**62])
def test_a_gap_that_cannot_be_is_damage(server: ServerProcess, points: int) -> None:
    builder = SpoolBuilder(RunRef("local", "gaps", f"r{points}"))
    builder.add(spool.frame(spool.encode_json(spool.GAP, {"points": points})))
    answer = server.send_spool(builder)
    assert "a gap has 0 to" in detail_of(answer, 400)
    assert answer.json["where"] == builder.edges[1]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"name":"\\ud800"}', "surrogate"),
        (b'{"tags":["\\udc00"]}', "surrogate"),
        (b'{"notes":"\xff"}', "UTF-8"),
        (b'{"name":', "too early"),
        (b"", "expected a body of JSON, got none"),
    ],
)
def test_json_that_is_none_is_told_why(server: ServerProcess, body: bytes, words: str) -> None:
    answer = server.request("PATCH", f"{RUNS}/r1", body, {"Content-Type": "application/json"})
    assert words in detail_of(answer, 400)
