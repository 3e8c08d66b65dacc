"""Steps that a person watches: one line each, details in a log file, its end on failure."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tools.paths import LOGS, ROOT

_TAIL_LINES = 40
_NAME_WIDTH = 30
_QUIET_S = 20.0


class StepError(Exception):
    """A step failed; what there is to say has been printed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One program to run.

    Attributes:
        name: what is being done, in the words of a person.
        log: name of the log file, without folder and suffix.
        command: the program and its arguments.
        detail: makes of the log what stands behind the name on success.
        timeout_s: after it the program and all that it started are killed.
    """

    name: str
    log: str
    command: Sequence[str]
    cwd: Path = ROOT
    environment: Mapping[str, str] | None = None
    detail: Callable[[str], str] | None = None
    timeout_s: float = 1200.0


class Board:
    """Prints what is being done. One thread at a time may speak; steps may run side by side."""

    def __init__(
        self, title: str, *, out: TextIO = sys.stdout, aside: Callable[[], str] | None = None
    ) -> None:
        """Begin.

        Args:
            title: what the steps are for.
            out: where to print.
            aside: what else is going on meanwhile, asked for whenever there is news.
        """
        self._out = out
        self._aside = aside
        self._live = out.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._live and "NO_COLOR" not in os.environ
        self._speaking = threading.Lock()
        self._running: dict[str, float] = {}
        self._began = time.monotonic()
        self._beaten = 0.0
        self._print(self._paint("1", f"runlore · {title}"))

    def done(self, name: str, detail: str = "", *, seconds: float | None = None) -> None:
        """Say that a step is done, or that it was not needed."""
        spent = "" if seconds is None else f"{seconds:6.1f} s"
        line = f"  {self._paint('32', '✓')} {name:<{_NAME_WIDTH}} {spent:>8}  {detail}"
        self._print(line.rstrip())

    def note(self, text: str) -> None:
        """Say something that is no step."""
        self._print(f"    {text}")

    def fail(self, name: str, why: str, *, log: Path | None = None) -> None:
        """Say that a step failed, with the end of its log."""
        self._print(f"  {self._paint('31', '✗')} {name:<{_NAME_WIDTH}} {why}")
        if log is not None:
            for line in log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]:
                self._print(f"      {line}")
            self._print(f"    all of it: {log.relative_to(ROOT)}")

    def finish(self, text: str) -> None:
        """Say the last word, with the time since the board was made."""
        self._print(f"  {text} · {time.monotonic() - self._began:.0f} s")

    def run(self, step: Step) -> str:
        """Run a step and return its log.

        Raises:
            StepError: it failed, which has been said.
        """
        if not self.attempt(step):
            raise StepError(step.name)
        return log_of(step).read_text(errors="replace")

    def attempt(self, step: Step) -> bool:
        """Run a step, say how it went, and return whether it succeeded."""
        log = log_of(step)
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with self._speaking:
            self._running[step.name] = began
        try:
            why = _execute(step, log, beat=self._beat)
        finally:
            with self._speaking:
                self._running.pop(step.name)
        seconds = time.monotonic() - began
        if why:
            self.fail(step.name, f"{why} after {seconds:.1f} s", log=log)
            return False
        text = log.read_text(errors="replace")
        self.done(step.name, step.detail(text) if step.detail else "", seconds=seconds)
        if self._aside:
            self.note(self._aside())
        return True

    def attempt_all(self, steps: Sequence[Step], *, at_once: int) -> bool:
        """Run steps side by side; all are run whatever becomes of the others."""
        with ThreadPoolExecutor(max_workers=at_once) as pool:
            return all(list(pool.map(self.attempt, steps)))

    def _beat(self) -> None:
        """Say what is at work: all the time on a terminal, now and then in a log."""
        aside = f" · {self._aside()}" if self._aside else ""
        with self._speaking:
            if not self._running:
                return
            now = time.monotonic()
            seconds = now - min(self._running.values())
            text = f"· {', '.join(self._running)} … {seconds:.0f} s{aside}"
            if self._live:
                self._out.write(f"\r\033[K  {self._paint('2', text)}")
            elif seconds >= _QUIET_S and now - self._beaten >= _QUIET_S:
                self._beaten = now
                self._out.write(f"  {text}\n")
            self._out.flush()

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def _print(self, line: str) -> None:
        with self._speaking:
            self._out.write(f"\r\033[K{line}\n" if self._live else f"{line}\n")
            self._out.flush()


def log_of(step: Step) -> Path:
    """Return the file that holds what a step printed."""
    return LOGS / f"{step.log}.log"


def last_line(text: str) -> str:
    """Return the last line of a log that says something: a step's `detail`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _execute(step: Step, log: Path, *, beat: Callable[[], None]) -> str:
    """Run the program and return why it failed, or nothing."""
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                step.command,
                cwd=step.cwd,
                env={**os.environ, "NO_COLOR": "1", **(step.environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot start {step.command[0]!r}: {error.strerror}"
        deadline = time.monotonic() + step.timeout_s
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    _kill_group(process)
                    return f"stopped: longer than {step.timeout_s:.0f} s"
                beat()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5)
        except BaseException:
            _kill_group(process)
            raise
    return f"exit code {process.returncode}" if process.returncode else ""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and all that it started; they share a process group of their own."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    except ProcessLookupError:
        pass
