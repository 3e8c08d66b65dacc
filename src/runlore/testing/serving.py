"""A real server in a process of its own, for tests that speak to it over a socket."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from runlore.core.json import JsonObject, JsonValue
from runlore.testing.spools import SpoolBuilder

SPOOL_TYPE = "application/vnd.runlore.spool"
READY_SECONDS = 60.0
_FIRST_PORT = 10_000


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> JsonObject:
        """The body as a JSON object."""
        return cast(JsonObject, json.loads(self.body))


class ServerProcess:
    """`runlore serve` on a free port and a folder of its own; use it as a context manager."""

    def __init__(
        self, home: Path, *, host: str = "127.0.0.1", arguments: Sequence[str] = ()
    ) -> None:
        self.home = home
        self._host = host
        self._arguments = list(arguments)
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "ServerProcess":
        """Start it and wait until it is ready."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it as Ctrl-C would, and fail if that takes long."""
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = process = self._spawn()
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise AssertionError(f"the server ended: {process.communicate()}")
            try:
                if self.get("/healthz").status == 200:
                    return
            except OSError:
                time.sleep(0.01)
        raise AssertionError(f"the server is not ready after {READY_SECONDS} s")

    def refuse(self) -> tuple[int, str]:
        """Start it where it cannot serve; return its exit code and what it said."""
        process = self._spawn()
        try:
            _, err = process.communicate(timeout=READY_SECONDS)
        finally:
            process.kill()
            process.communicate()
        return process.returncode, err

    def kill(self) -> None:
        """End it with SIGKILL."""
        process = self._running()
        process.kill()
        process.communicate()

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[str, str]:
        """End it by a signal and return what it printed; fail unless it ends well and soon."""
        process = self._running()
        if process.poll() is not None:
            return ("", "")
        process.send_signal(by)
        out, err = process.communicate(timeout=30)
        if process.returncode != 0:
            raise AssertionError(f"the server ended with {process.returncode}: {err}")
        return out, err

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for a path."""
        return self.request("GET", path, headers=headers)

    def send_json(self, method: str, path: str, body: JsonValue) -> Answer:
        """Send JSON."""
        text = json.dumps(body).encode()
        return self.request(method, path, text, {"Content-Type": "application/json"})

    def send_spool(
        self,
        builder: SpoolBuilder,
        first: int = 0,
        last: int | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send some frames of a spool."""
        piece = builder.piece(first, last)
        return self.request(
            "POST",
            spool_path(builder, piece.offset),
            piece.data,
            {"Content-Type": SPOOL_TYPE, **(headers or {})},
        )

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request on a connection of its own, exactly as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def _spawn(self) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "RUNLORE_HOME": str(self.home),
            "RUNLORE_STAGING": str(self.home / "staging"),
            "PYTHONUNBUFFERED": "1",
        }
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "runlore",
                "serve",
                "--host",
                self._host,
                "--port",
                str(self.port),
                *self._arguments,
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None:
            raise AssertionError("the server was not started")
        return self.process


def spool_path(builder: SpoolBuilder, offset: int) -> str:
    """Tell where a piece of a spool is sent."""
    run = builder.run
    return (
        f"/api/v1/projects/{run.owner}/{run.project}/runs/{run.run_id}/spool/{builder.writer}"
        f"?offset={offset}"
    )


def free_port() -> int:
    """Find a port that nobody listens on, and that the kernel gives to no other socket.

    One from the kernel's own range may become the near end of somebody's connection before a
    server takes it, or while that is restarted.
    """
    while True:
        port = random.randrange(_FIRST_PORT, _first_given_port())
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _first_given_port() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        return max(int(text.split()[0]), _FIRST_PORT + 1000)
    except OSError:
        return 32_768
