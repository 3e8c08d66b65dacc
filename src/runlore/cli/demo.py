"""`runlore demo`: eight small neural networks learn to read digits while one watches."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from runlore import settings
from runlore.cli.demo_counts import SpoolCount, answers, delivered_points
from runlore.errors import UnavailableError, UsageError

PROJECT = "digits"
_STEPS = 3000
# Between two steps, so that one can watch: at full speed a network is trained in a second.
PAUSE_S = 0.02
_READY_S = 30.0
_DELIVERED_S = 120.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


class Network(NamedTuple):
    """One of the eight: what it is trained with."""

    learning_rate: float
    width: int
    seed: int

    @property
    def name(self) -> str:
        """The name of its run."""
        return f"rate-{self.learning_rate:g}-width-{self.width}"


# The last one diverges: its loss grows beyond all bounds and ends as NaN.
NETWORKS = (
    Network(0.01, 16, 0),
    Network(0.03, 32, 1),
    Network(0.1, 32, 2),
    Network(0.1, 64, 3),
    Network(0.3, 64, 4),
    Network(0.5, 128, 5),
    Network(1.0, 32, 6),
    Network(3.0, 32, 7),
)


class Demo:
    """The eight trainings and the server that they log to.

    Training does not need the server: `train` may come long before `serve`, and the points
    wait in the spool. Close it: what it started ends with it.
    """

    def __init__(self, *, home: str, url: str) -> None:
        self._home = Path(home)
        self._url = url
        self._trainings: list[subprocess.Popen[bytes]] = []
        self._server: subprocess.Popen[bytes] | None = None
        letters = random.SystemRandom()
        self._runs = ["".join(letters.choices(_ID_LETTERS, k=8)) for _ in NETWORKS]
        self._logged = SpoolCount(self._home / "spool", PROJECT, self._runs)

    @property
    def page(self) -> str:
        """The address that shows the runs."""
        return f"{self._url}/local/{PROJECT}"

    def train(self, *, pause_s: float) -> None:
        """Start the trainings, each a program of its own."""
        program = str(training_program())
        logs = self._home / "demo"
        logs.mkdir(parents=True, exist_ok=True)
        variables = {"RUNLORE_HOME": str(self._home), "RUNLORE_URL": self._url}
        for run, network in zip(self._runs, NETWORKS, strict=True):
            options = {
                "--id": run,
                "--name": network.name,
                "--learning-rate": network.learning_rate,
                "--width": network.width,
                "--seed": network.seed,
                "--steps": _STEPS,
                "--pause": pause_s,
            }
            words = [str(word) for pair in options.items() for word in pair]
            self._trainings.append(
                self._start(
                    [sys.executable, program, *words], logs / f"{network.name}.log", variables
                )
            )

    def is_training(self) -> bool:
        """Tell whether a training is still at work.

        Raises:
            UsageError: one of them failed.
        """
        codes = [training.poll() for training in self._trainings]
        for network, code in zip(NETWORKS, codes, strict=True):
            if code:
                raise UsageError(
                    f"the training {network.name} ended with exit code {code}; "
                    f"see {self._home / 'demo' / network.name}.log"
                )
        return None in codes

    def logged(self) -> int:
        """Return how many points the trainings have logged, as the spool on disk has them."""
        return sum(self._logged.read().values())

    def serve(self) -> bool:
        """Start the server unless one answers already, wait until it is ready, tell which."""
        if answers(self._url):
            return False
        address = urlsplit(self._url)
        if address.scheme != "http" or address.hostname not in _LOOPBACK:
            raise UnavailableError(
                f"no server answers at {self._url}; start one there, or unset RUNLORE_URL "
                "and the demo starts its own"
            )
        host, port = str(address.hostname), str(address.port or 80)
        log = self._home / "demo" / "server.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "runlore", "serve", "--host", host, "--port", port]
        self._server = self._start(command, log, {"RUNLORE_HOME": str(self._home)})
        deadline = time.monotonic() + _READY_S
        while not answers(self._url):
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(f"the server did not start at {self._url}; see {log}")
            time.sleep(0.05)
        return True

    def delivered(self) -> int:
        """Return how many points of these runs the server has."""
        return sum(delivered_points(self._url, PROJECT, self._runs).values())

    def wait_until_delivered(self, progress: Callable[[int, int], None]) -> int:
        """Wait until the trainings have ended and the server has every point; return how many.

        Raises:
            UnavailableError: points are missing two minutes after the last training ended.
        """
        deadline = float("inf")
        while True:
            training = self.is_training()
            if not training and deadline == float("inf"):
                deadline = time.monotonic() + _DELIVERED_S
            # In this order: what is counted as delivered is never more than what is logged.
            delivered = delivered_points(self._url, PROJECT, self._runs)
            logged = self._logged.read()
            progress(sum(logged.values()), sum(delivered.values()))
            if not training and self._logged.all_ended and delivered == logged:
                return sum(delivered.values())
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{sum(delivered.values()):,} of {sum(logged.values()):,} points arrived at "
                    f"{self._url}; what is missing lies in {self._home / 'spool'}, "
                    "and 'runlore sync' delivers it"
                )
            time.sleep(0.5)

    def keep_serving(self) -> None:
        """Wait for the end of the server that `serve` started, if it did."""
        if self._server is not None:
            self._server.wait()

    def close(self) -> None:
        """End the trainings and the server."""
        started = [*self._trainings, *([self._server] if self._server else [])]
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(
        self, command: list[str], log: Path, variables: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen(
                command,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches only who started them, who then ends them in order.
                start_new_session=True,
            )


def training_program() -> Path:
    """Return the program that trains one network: in a wheel beside this file, else in examples/.

    Raises:
        UsageError: it lies in neither place.
    """
    here = Path(__file__).resolve()
    for path in (here.with_name("digits.py"), here.parents[3] / "examples" / "digits.py"):
        if path.exists():
            return path
    raise UsageError(f"digits.py is not beside {here}; install Runlore again")


def demo(
    *,
    exit_after: Annotated[
        bool, typer.Option("--exit", help="End once every point has arrived.")
    ] = False,
) -> None:
    """Train eight small neural networks and watch them on the page.

    Example: runlore demo
    """
    chosen = settings.load()
    end_as_by_ctrl_c()
    running = Demo(home=chosen.home, url=chosen.url)
    try:
        running.train(pause_s=0.0 if exit_after else PAUSE_S)
        typer.echo(f"runlore: eight networks are learning to read digits ({training_program()})")
        watch(running, exit_after=exit_after)
    except KeyboardInterrupt:
        typer.echo("")
    finally:
        running.close()


def end_as_by_ctrl_c() -> None:
    """Let the other signals that end a program close the demo too, with all that it started."""
    for sent in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, signal.default_int_handler)


def watch(running: Demo, *, exit_after: bool) -> None:
    """Serve what is trained, and say what happens until the end."""
    own = running.serve()
    typer.echo(f"runlore: watch them at {running.page}")
    live = sys.stdout.isatty()

    def progress(logged: int, delivered: int) -> None:
        if live:
            typer.echo(f"\r\033[K  {delivered:,} of {logged:,} points delivered", nl=False)

    total = running.wait_until_delivered(progress)
    typer.echo(("\r\033[K" if live else "") + f"runlore: all {total:,} points have arrived")
    if own and not exit_after:
        typer.echo(f"runlore: serving {running.page} until Ctrl-C")
        running.keep_serving()
