"""What `init` learns of a known run, from a server that answers, is slow or talks rubbish."""

import json
import math
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import runlore
from runlore.errors import UsageError
from runlore.wire import spool
from tests.unit.sdk.streams import ended, settled


@contextmanager
def a_server(
    status: int, body: bytes, *, delay: float = 0.0, asked: list[str] | None = None
) -> Iterator[str]:
    is_over = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            is_over.wait(delay)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def online(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNLORE_MODE", "online")
    monkeypatch.setenv("RUNLORE_FINISH_TIMEOUT", "0")
    return home


DEEP = json.loads('{"a":' * 500 + "1" + "}" * 500)
KNOWN = {
    "id": "r1",
    "name": "brave-otter",
    "state": "finished",
    "config": {"lr": 0.1},
    "last_step": 41,
}


def test_a_known_run_goes_on_behind_its_last_step_with_its_name_and_config(online: Path) -> None:
    with a_server(200, json.dumps(KNOWN).encode()) as url:
        run = runlore.init(id="r1", settings={"url": url})
        run.finish()
    assert (run.step, run.name, run.resumed, dict(run.config)) == (
        42,
        "brave-otter",
        True,
        {"lr": 0.1},
    )


def test_the_summary_of_a_run_that_goes_on_holds_what_the_run_had(online: Path) -> None:
    had = {"loss": 0.5, "best": {"acc": 0.9}, "low": {"$number": "-Infinity"}}
    with a_server(200, json.dumps({**KNOWN, "summary": had}).encode()) as url:
        run = runlore.init(id="r1", resume=True, settings={"url": url})
        assert dict(run.summary) == {"loss": 0.5, "best": {"acc": 0.9}, "low": -math.inf}
        assert (run.summary.best.acc, len(run.summary)) == (0.9, 3)
        run.log({"loss": 0.25, "new": 1})
        run.summary.best.acc = 0.95
        run.summary["low"] = 7
        now = {"loss": 0.25, "new": 1.0, "best": {"acc": 0.95}, "low": 7}
        assert dict(run.summary) == pickle.loads(pickle.dumps(run.summary)) == now
        run.finish()
    (found,) = ended(online, 1)
    assert found.of(spool.SUMMARY) == [{"best": {"acc": 0.95}}, {"low": 7}]


def test_a_run_that_is_running_elsewhere_gets_another_writer_and_is_not_resumed(
    online: Path,
) -> None:
    with a_server(200, json.dumps({**KNOWN, "state": "running"}).encode()) as url:
        run = runlore.init(id="r1", settings={"url": url})
        run.finish()
    assert not run.resumed


def test_must_and_never_are_refused_by_what_the_server_says(online: Path) -> None:
    with (
        a_server(404, b"{}") as url,
        pytest.raises(UsageError, match="no run 'r1' in local/uncategorized on http"),
    ):
        runlore.init(id="r1", resume="must", settings={"url": url})
    with (
        a_server(200, json.dumps(KNOWN).encode()) as url,
        pytest.raises(UsageError, match="run 'r1' is already in local/uncategorized"),
    ):
        runlore.init(id="r1", resume="never", settings={"url": url})
    assert runlore.run is None
    assert not settled(online)


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (200, b"<html>"), (200, b"[1]"), (401, b"{}"), (302, b"")]
)
def test_an_answer_that_says_nothing_counts_as_none(
    online: Path, status: int, body: bytes
) -> None:
    with a_server(status, body) as url:
        run = runlore.init(id="r1", resume="must", settings={"url": url})
        run.finish()
    assert (run.step, run.name) == (0, "r1")


def test_init_does_not_wait_for_a_server_that_does_not_answer(online: Path) -> None:
    known = json.dumps(KNOWN).encode()
    asked: list[str] = []
    with a_server(200, known, delay=600, asked=asked) as url:
        run = runlore.init(id="r1", resume="must", settings={"url": url})
        run.finish()
    assert len(asked) == 1
    assert (run.step, run.name) == (0, "r1")


def test_without_an_id_nobody_is_asked(online: Path) -> None:
    asked: list[str] = []
    with a_server(500, b"", asked=asked) as url:
        runlore.init(settings={"url": url}).finish()
    assert asked == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"[" * 200_000),
        (200, b"<html>hotel</html>"),
        (200, b"[1]"),
        (200, b'{"id": "other"}'),
        (204, b""),
    ],
)
def test_rubbish_is_told_in_one_line_and_the_run_begins(
    online: Path, status: int, body: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with a_server(status, body) as url:
        runlore.init(id="r1", settings={"url": url}).finish()
    said = capfd.readouterr().err
    assert f"runlore: expected run 'r1' from {url}, got {status}" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("last", ["41", True, -(10**30), 2**53 - 1, 10**400, 1.5, None])
def test_a_last_step_that_none_can_follow_is_passed_over(online: Path, last: object) -> None:
    with a_server(200, json.dumps({**KNOWN, "last_step": last}).encode()) as url:
        run = runlore.init(id="r1", settings={"url": url})
        run.log({"loss": 1.0})
        run.finish()
    assert run.step == 1


@pytest.mark.parametrize("field", ["config", "summary", "tags", "notes", "name", "state"])
@pytest.mark.parametrize("value", [None, 7, "text", [1, {}], {"a": [None]}, DEEP])
def test_a_field_of_another_kind_stops_nothing(online: Path, field: str, value: object) -> None:
    with a_server(200, json.dumps({**KNOWN, field: value}).encode()) as url:
        run = runlore.init(id="r1", settings={"url": url})
        assert isinstance(run.name, str)
        assert all(isinstance(tag, str) for tag in run.tags)
        assert run.notes is None or isinstance(run.notes, str)
        assert isinstance(dict(run.config), dict)
        assert isinstance(dict(run.summary), dict)
        run.finish()


@pytest.mark.parametrize("has_spool", [True, False])
def test_a_run_goes_on_behind_what_a_restart_left_of_it_on_the_disk(
    home: Path, *, has_spool: bool
) -> None:
    run = runlore.init(project="digits", id="full", mode="offline")
    for _ in range(10):
        run.log({"loss": 1.0})
    run.finish()
    ended(home, 1)
    (path,) = home.rglob("*.rlspool")
    folder = home / "staging" / "overflow" / path.stem
    folder.mkdir(parents=True)
    for one in (folder.parent.parent, folder.parent, folder):
        one.chmod(0o700)
    data = path.read_bytes()
    edges = [frame.end for frame in spool.whole_frames(data, offset=0)]
    at = edges[5] if has_spool else 0
    (folder / f"{at:020d}").write_bytes(data[at:])
    path.write_bytes(data[: edges[5]])
    if not has_spool:
        path.unlink()
    again = runlore.init(project="digits", id="full", mode="offline")
    assert again.step == 10
    again.finish()
