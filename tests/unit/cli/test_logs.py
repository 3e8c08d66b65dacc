"""The server's log: whoever writes a line never waits, and what is left out is counted."""

import logging
import os
import sys
import threading

import pytest

from runlore.cli import logs
from runlore.cli.logs import logging_beside

_log = logging.getLogger("runlore.tests.logs")


def drained(fd: int) -> list[str]:
    data = b""
    while chunk := os.read(fd, 65536):
        data += chunk
    return data.decode().splitlines()


def test_lines_that_nobody_takes_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    found: list[str] = []
    monkeypatch.setattr(logs, "_END_SECONDS", 60.0)
    reader = threading.Thread(target=lambda: found.extend(drained(reading)))
    with open(writing, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with logging_beside():
            for number in range(5000):
                _log.warning("line %05d %s", number, "x" * 200)
            reader.start()
        stderr.flush()
    reader.join(10)
    os.close(reading)
    kept = [line for line in found if line.startswith("line ")]
    left_out = [int(line.split()[0]) for line in found if "were left out" in line]
    assert kept == sorted(kept)
    assert {len(line) for line in kept} == {211}
    assert len(kept) > 1000
    assert len(kept) + sum(left_out) == 5000


def test_a_line_has_its_traceback_and_a_closed_pipe_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with logging_beside():
            try:
                raise KeyError("gone")
            except KeyError:
                _log.exception("it failed")
        found = os.read(reading, 65536).decode()
        os.close(reading)
        with logging_beside():
            _log.warning("to nobody")
    assert found.startswith("it failed\nTraceback")
    assert found.endswith("KeyError: 'gone'\n")


def test_without_a_stderr_nothing_is_written_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with logging_beside():
        _log.warning("to nobody")
