"""Stamps remember what a step was done with, through interruptions and side by side."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import stamps
from tools.paths import ROOT
from tools.stamps import alone, clear, digest, is_fresh, mark


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stamps, "CACHE", tmp_path)


def test_a_step_is_fresh_only_with_the_state_it_was_marked_with() -> None:
    assert not is_fresh("packages", "a")
    mark("packages", "a")
    assert is_fresh("packages", "a")
    assert not is_fresh("packages", "b")
    clear("packages")
    assert not is_fresh("packages", "a")


def test_the_digest_follows_names_bytes_and_the_text_beside_them(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("x")
    other.write_text("x")
    digests = {digest([one]), digest([other]), digest([one, other]), digest([one], extra="3.12")}
    one.write_text("y")
    assert len(digests | {digest([one])}) == 5
    assert digest([one, other]) == digest([other, one])


def test_a_second_setup_waits_for_the_first(tmp_path: Path) -> None:
    holder = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(tmp_path / "setup.lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "held\n"
        told: list[str] = []

        def waiting() -> None:
            told.append("waiting")
            assert first.stdin is not None
            first.stdin.close()

        with alone(waiting=waiting):
            assert told == ["waiting"]
