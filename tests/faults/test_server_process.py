"""The server as a process: killed, started twice, full of writers, behind a key."""

import base64
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import cast

import pytest

from runlore.core.json import JsonObject
from runlore.core.run import RunRef
from runlore.errors import AccessError
from runlore.sdk.api import Api
from runlore.testing.serving import SPOOL_TYPE, ServerProcess, spool_path
from runlore.testing.spools import SpoolBuilder
from runlore.wire import spool

RUN = RunRef("local", "digits", "r1")
BASE = "/api/v1/projects/local/digits"


class RetryingSender:
    """Sends a spool in many pieces, again and again, as the sender of a program does."""

    def __init__(self, server: ServerProcess, builder: SpoolBuilder, *, frames: int) -> None:
        self._server = server
        self._builder = builder
        self._frames = frames
        self.edges = builder.edges
        self.acknowledged = 0
        self.tries = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        edges = self._builder.edges
        while self.acknowledged < edges[-1] and not self.stopped.is_set():
            first = edges.index(self.acknowledged)
            self.tries += 1
            try:
                answer = self._server.send_spool(self._builder, first, first + self._frames)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
                continue
            if answer.status in (200, 409):
                after = cast(int, answer.json["next"])
                assert answer.status == 200 or after <= self.acknowledged
                # What was acknowledged once may never be asked for again.
                assert after >= self.acknowledged, (answer, self.acknowledged)
                self.acknowledged = after
            else:
                assert answer.status in (429, 503), answer


def a_spool(writer: str = "w-1", *, steps: int = 10) -> SpoolBuilder:
    builder = SpoolBuilder(RUN, writer)
    for step in range(steps):
        builder.log({f"{writer}/loss": float(step), f"{writer}/text": f"s{step}"}, step=step)
        if step % 50 == 0:
            config: JsonObject = {f"{writer}-{step}": step}
            builder.add(spool.frame(spool.encode_json(spool.CONFIG, config)))
            builder.add(spool.frame(spool.encode_json(spool.GAP, {"points": 1})))
    return builder


def test_a_server_killed_ten_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.start()
    steps = 3000
    builders = [a_spool(f"w-{n}", steps=steps) for n in range(3)]
    senders = [RetryingSender(server, builder, frames=7) for builder in builders]
    for sender in senders:
        sender.thread.start()
    try:
        for kill in range(1, 11):
            goal = len(builders[0].data) * kill // 12
            deadline = time.monotonic() + 30
            while senders[0].acknowledged < goal and time.monotonic() < deadline:
                time.sleep(0.002)
            assert senders[0].acknowledged >= goal
            server.kill()
            server.start()
        for sender in senders:
            sender.thread.join(60)
        for sender, builder in zip(senders, builders, strict=True):
            assert sender.acknowledged == len(builder.data)
        server.kill()
        server.start()
        run = Api(server.url).run("digits/r1")
        rows = list(run.scan_history())
        for writer in ("w-0", "w-1", "w-2"):
            found = [row for row in rows if f"{writer}/loss" in row]
            assert [row["step"] for row in found] == list(range(steps))
            assert [row[f"{writer}/loss"] for row in found] == [float(s) for s in range(steps)]
            assert [row[f"{writer}/text"] for row in found] == [f"s{s}" for s in range(steps)]
        assert run.config == {f"w-{n}-{s}": s for n in range(3) for s in range(0, steps, 50)}
        assert run.points == 3 * 2 * steps
        assert run.to_json()["gaps"] == 3 * steps // 50
        server.stop()
    finally:
        for sender in senders:
            sender.stopped.set()
            sender.thread.join()
        server.kill()


def test_sixty_four_writers_log_to_one_run_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        builders = [a_spool(f"w-{n}", steps=60) for n in range(64)]
        senders = [
            RetryingSender(server, builder, frames=20) for builder in builders for _ in range(2)
        ]
        for sender in senders:
            sender.thread.start()
        for sender in senders:
            sender.thread.join(60)
        for sender in senders:
            assert sender.acknowledged == sender.edges[-1]
        run = Api(server.url).run("digits/r1")
        assert (run.points, run.to_json()["writers"]) == (64 * 120, 64)
        assert run.to_json()["gaps"] == 64 * 2
        assert len(run.history()) == 64 * 60


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_soon_with_a_page_open_and_keeps_all(
    tmp_path: Path, by: signal.Signals
) -> None:
    server = ServerProcess(tmp_path)
    server.start()
    builder = a_spool()
    assert server.send_spool(builder).status == 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stream:
        stream.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in stream.recv(4096)
        _, err = server.stop(by)
    assert err == ""
    server.start()
    answer = server.request("POST", spool_path(builder, 0), b"", {"Content-Type": SPOOL_TYPE})
    assert answer.json["next"] == len(builder.data)
    assert answer.json["points"] == 20
    server.stop()


def test_the_id_of_the_server_stays_with_its_folder(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        first = server.get("/healthz").json["server"]
    with ServerProcess(tmp_path) as server:
        assert server.get("/healthz").json["server"] == first


def test_a_taken_port_a_used_folder_and_a_useless_one_are_told(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "home") as server:
        other = ServerProcess(tmp_path / "other")
        other.port = server.port
        code, said = other.refuse()
        assert (code, said) == (
            1,
            f"runlore: port {server.port} is taken by another program; choose another with "
            "--port, or --port 0 for a free one\n",
        )
        code, said = ServerProcess(tmp_path / "home").refuse()
        assert code == 1
        assert said.startswith("runlore: another server uses the data folder")
        assert "--data" in said
    (tmp_path / "file").write_text("")
    useless = ServerProcess(tmp_path / "home", arguments=["--data", str(tmp_path / "file")])
    code, said = useless.refuse()
    assert code == 1
    assert said.startswith("runlore: cannot use the data folder")
    for name, content in (("history", ""), ("catalog.db/x", ""), ("history/log.db/x", "")):
        path = tmp_path / name.replace("/", "-") / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
        folder = tmp_path / name.replace("/", "-")
        spoiled = ServerProcess(tmp_path / "home", arguments=["--data", str(folder)])
        code, said = spoiled.refuse()
        assert (code, said.count("\n")) == (1, 1), said
        assert said.startswith(f"runlore: cannot use the data folder {str(folder)!r}")
    for arguments, word in (
        (["--port", "70000"], "0 to 65535"),
        (["--host", "no.such.host.invalid"], "--host"),
        (["--public-url", "lore.example"], "http://"),
    ):
        code, said = ServerProcess(tmp_path / "home", arguments=arguments).refuse()
        assert (code, word in said) == (1, True), said


def test_beyond_this_machine_a_key_is_needed(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, host="0.0.0.0")
    server.start()
    key = (tmp_path / "server" / "key").read_text().strip()
    assert (tmp_path / "server" / "key").stat().st_mode & 0o777 == 0o600
    path = "/api/v1/projects"
    assert server.get("/healthz").status == 200
    missing = server.get(path)
    assert (missing.status, missing.headers["content-type"]) == (401, "application/problem+json")
    assert "RUNLORE_API_KEY" in str(missing.json["detail"])
    basic = base64.b64encode(f"api:{key}".encode()).decode()
    for headers, status in (
        ({"Authorization": f"Bearer {key}"}, 200),
        ({"Authorization": f"Basic {basic}"}, 200),
        ({"Cookie": f"runlore_key={key}"}, 200),
        ({"Authorization": f"Bearer {key}x"}, 403),
        ({"Authorization": "Bearer "}, 403),
        ({"Authorization": "Basic !"}, 403),
        ({"Authorization": f"Bearer {key}", "Host": f"192.168.1.5:{server.port}"}, 200),
        ({"Authorization": f"Bearer {key}", "Host": "evil.example"}, 403),
    ):
        assert server.get(path, headers).status == status, headers
    assert server.send_spool(a_spool()).status == 401
    page = server.get("/", {"Accept": "text/html"})
    assert (page.status, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert server.get("/login?key=wrong").status == 403
    login = server.get(f"/login?key={key}")
    assert (login.status, login.headers["location"]) == (303, "./")
    cookie = login.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert server.get(path, {"Cookie": cookie.partition(";")[0]}).status == 200
    assert Api(server.url, key).projects() == []
    with pytest.raises(AccessError, match="RUNLORE_API_KEY"):
        Api(server.url).projects()
    printed, _ = server.stop()
    assert f"/login?key={key}" in printed
    server.start()
    again, _ = server.stop()
    assert key not in again
    assert str(tmp_path / "server" / "key") in again


def test_a_public_address_is_let_in_by_its_name(tmp_path: Path) -> None:
    arguments = ["--public-url", "https://lore.example"]
    with ServerProcess(tmp_path, arguments=arguments) as server:
        headers = {"Host": "lore.example", "Origin": "https://lore.example"}
        assert server.get("/api/v1/projects", headers).status == 200
        assert server.get("/api/v1/projects", {"Host": "other.example"}).status == 403


@pytest.mark.root
def test_a_full_disk_refuses_for_now_and_takes_all_once_there_is_room(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small filesystem needs root")
    data = tmp_path / "data"
    data.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(data)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small filesystem here: {mounted.stderr!r}")
    try:
        with ServerProcess(tmp_path / "home", arguments=["--data", str(data)]) as server:
            builder = SpoolBuilder(RUN)
            builder.log({"text": "first"}, step=0)
            assert server.send_spool(builder).status == 200
            whole = len(builder.frames)
            for step in range(1, 40):
                builder.log({"text": f"{step} " + os.urandom(50_000).hex()}, step=step)
            refused = server.send_spool(builder, whole)
            assert refused.status == 503, refused
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == "application/problem+json"
            assert server.get("/healthz").status == 200
            assert server.get(f"{BASE}/runs/r1").json["points"] == 1
            grown = ["mount", "-o", "remount,size=64m", str(data)]
            subprocess.run(grown, check=True, capture_output=True)
            deadline = time.monotonic() + 20
            while True:
                taken = server.send_spool(builder, whole)
                if taken.status == 200 or time.monotonic() > deadline:
                    break
                assert taken.status == 503, taken
                time.sleep(0.05)
            assert (taken.status, taken.json["points"]) == (200, 40)
            rows = Api(server.url).run("digits/r1").history()
            assert [row["step"] for row in rows] == list(range(40))
    finally:
        subprocess.run(["umount", str(data)], check=True, capture_output=True)
