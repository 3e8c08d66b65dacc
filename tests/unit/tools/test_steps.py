"""Steps say how they went, keep their output in a file, and never outlive their time."""

import io
import sys
import time
from pathlib import Path

import pytest

from tools import steps
from tools.steps import Board, Step, StepError


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> io.StringIO:
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    monkeypatch.setattr(steps, "ROOT", tmp_path)
    return io.StringIO()


def _python(name: str, code: str, timeout_s: float = 30.0) -> Step:
    command = [sys.executable, "-c", code]
    return Step(name=name, log=name, command=command, timeout_s=timeout_s, detail=steps.last_line)


def test_a_step_that_succeeds_takes_one_line_with_its_detail(screen: io.StringIO) -> None:
    log = Board("test", out=screen).run(_python("counting", "print('three'); print('12 seen')"))

    assert log == "three\n12 seen\n"
    [title, line] = screen.getvalue().splitlines()
    assert title == "runlore · test"
    assert line.startswith("  ✓ counting")
    assert line.endswith("12 seen")


def test_a_step_that_fails_shows_the_end_of_its_log_and_where_the_rest_is(
    screen: io.StringIO,
) -> None:
    code = "print('\\n'.join(map(str, range(100)))); raise SystemExit(3)"

    with pytest.raises(StepError):
        Board("test", out=screen).run(_python("breaking", code))

    shown = screen.getvalue()
    assert "✗ breaking" in shown
    assert "exit code 3" in shown
    assert "      99\n" in shown
    assert "      59\n" not in shown
    assert "all of it: breaking.log" in shown


def test_all_steps_are_run_and_reported_when_one_of_them_fails(screen: io.StringIO) -> None:
    board = Board("test", out=screen)
    several = [_python("first", "raise SystemExit(1)"), _python("second", "print('fine')")]

    assert not board.attempt_all(several, at_once=2)

    assert "✗ first" in screen.getvalue()
    assert "✓ second" in screen.getvalue()


def test_a_step_that_hangs_is_killed_with_all_that_it_started(
    screen: io.StringIO, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    code = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(file)!r}, 'w').write(str(child.pid))\nchild.wait()"
    )

    # Long enough to start one program on a busy machine.
    assert not Board("test", out=screen).attempt(_python("hanging", code, timeout_s=4))

    assert "longer than 4 s" in screen.getvalue()
    deadline = time.monotonic() + 30
    while _is_alive(int(file.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_that_does_not_exist_is_a_failed_step(screen: io.StringIO) -> None:
    step = Step(name="missing", log="missing", command=["/no/such/program"])
    assert not Board("test", out=screen).attempt(step)
    assert "cannot start '/no/such/program'" in screen.getvalue()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
