"""How many points a second are delivered and durable: 50 runs x 1000 steps x 10 metrics.

Run it as `python benchmarks/ingest.py`; wandb (offline), trackio and TensorBoardX are measured
beside ours where they can be imported.

Four programs share the runs; each makes its runs one after another: init without an id, 1000
calls of `log`, finish. The clock starts when all four have imported what they need and made
their rows, and ends when every program says that its last run is finished. `finish` of ours
returns when the server has acknowledged the last point, which it does when that is on the disk;
as a proof the server is then killed, started again and asked for all points. For the peers the
clock goes on until what they wrote is on the disk too, by fsync of their files; trackio's database
must count every row, of wandb (offline) and TensorBoardX the files are looked for.

Ours is measured, each time with a fresh server, before and after every peer; its figure is the
median.
"""

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from runlore.testing.processes import until
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess

_PROGRAMS = 4
_PATIENCE_S = 300.0
_HEAD = """
import sys
RUNS, STEPS, KEYS, PLACE, NUMBER = {runs}, {steps}, {keys}, {place!r}, {number}
rows = [{{f"group/key-{{k}}": k + step / 7 for k in range(KEYS)}} for step in range(STEPS)]
"""
_READY = """
print("ready", flush=True)
sys.stdin.readline()
"""
_DONE = """
print("done", flush=True)
"""
_OURS_BODY = """
for n in range(RUNS):
    run = runlore.init(project="ingest")
    for step, row in enumerate(rows):
        run.log(row, step=step)
    run.finish()
"""
_WANDB_BODY = """
for n in range(RUNS):
    run = wandb.init(project="ingest")
    for step, row in enumerate(rows):
        run.log(row, step=step)
    run.finish()
"""
_TRACKIO_BODY = """
for n in range(RUNS):
    run = trackio.init(project="ingest", embed=False)
    for step, row in enumerate(rows):
        run.log(row, step=step)
    trackio.finish()
"""
_TENSORBOARDX_BODY = """
for n in range(RUNS):
    writer = tensorboardX.SummaryWriter(f"{PLACE}/run-{NUMBER}-{n}")
    for step, row in enumerate(rows):
        for key, value in row.items():
            writer.add_scalar(key, value, step)
    writer.close()
"""


class Size(NamedTuple):
    """How much is logged."""

    runs: int
    steps: int
    keys: int

    @property
    def points(self) -> int:
        """All points of all runs."""
        return self.runs * self.steps * self.keys


class Candidate(NamedTuple):
    """One way to log.

    Attributes:
        module: what its programs import.
        body: how a program makes its runs.
        has_all: tells, given a folder and the size, whether all points have come to rest there.
    """

    module: str
    body: str
    has_all: Callable[[Path, Size], bool]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="of ours alone, without a peer")
    chosen = parser.parse_args()
    size = Size(chosen.runs, chosen.steps, chosen.keys)
    peers = [peer for peer in _PEERS if find_spec(peer.module)]
    ours = [_ours(size)]
    theirs: dict[str, float] = {}
    for peer in peers:
        with tempfile.TemporaryDirectory() as folder:
            theirs[peer.module] = _measure(peer, size, Path(folder), _places(folder))
        ours.append(_ours(size))
    while len(ours) < chosen.rounds:
        ours.append(_ours(size))
    median = statistics.median(ours)
    print(
        f"{size.runs} runs x {size.steps} steps x {size.keys} metrics from {_PROGRAMS} programs: "
        f"{median:,.0f} points/s, delivered and durable (goal 200,000); "
        f"rounds {', '.join(f'{each:,.0f}' for each in ours)}"
    )
    for name, rate in theirs.items():
        print(f"  beside {name:13} {rate:10,.0f} points/s: ours is {median / rate:.1f}x (goal 10)")


def _ours(size: Size) -> float:
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder) / "server") as server,
    ):
        world = World(server.url, Path(folder))
        try:
            rate = _measure(_OURS, size, Path(folder), world.environment())
            world.settle()
        finally:
            world.close()
        server.kill()
        server.start()
        until(lambda: _points(server) == size.points, shown=lambda: _points(server))
    return rate


def _points(server: ServerProcess) -> object:
    return server.get("/api/v1/projects/local/ingest").json.get("points")


def _measure(
    candidate: Candidate, size: Size, folder: Path, variables: Mapping[str, str]
) -> float:
    """Return the points a second of one round."""
    programs = [
        _program(candidate, size, folder, variables, number) for number in range(_PROGRAMS)
    ]
    try:
        for program in programs:
            _expect(program, "ready", candidate)
        began = time.perf_counter()
        for program in programs:
            assert program.stdin is not None
            program.stdin.write("\n")
            program.stdin.flush()
        for program in programs:
            _expect(program, "done", candidate)
        until(lambda: candidate.has_all(folder, size), seconds=_PATIENCE_S)
        if candidate is not _OURS:
            _bring_to_disk(folder)
        ended = time.perf_counter()
        for program in programs:
            program.communicate(timeout=60)
    finally:
        for program in programs:
            if program.poll() is None:
                program.kill()
            program.communicate()
    return size.points / (ended - began)


def _bring_to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _program(
    candidate: Candidate,
    size: Size,
    folder: Path,
    variables: Mapping[str, str],
    number: int,
) -> "subprocess.Popen[str]":
    share = len(range(number, size.runs, _PROGRAMS))
    head = _HEAD.format(
        runs=share, steps=size.steps, keys=size.keys, place=str(folder), number=number
    )
    code = f"{head}\nimport {candidate.module}\n{_READY}\n{candidate.body}\n{_DONE}"
    with (folder / f"said-{number}").open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )


def _expect(program: "subprocess.Popen[str]", word: str, candidate: Candidate) -> None:
    """Read on to the line that is this word: some trackers print lines of their own."""
    assert program.stdout is not None
    for line in program.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"a program with {candidate.module} ended before it said {word!r}")


def _places(folder: str) -> dict[str, str]:
    """Return the variables that keep the peers in a folder."""
    return {
        "WANDB_MODE": "offline",
        "WANDB_DIR": folder,
        "WANDB_SILENT": "true",
        "TRACKIO_DIR": f"{folder}/trackio",
    }


def _finished(folder: Path, size: Size) -> bool:
    return True


def _wandb_files(folder: Path, size: Size) -> bool:
    return len(list(folder.glob("wandb/offline-run-*/run-*.wandb"))) == size.runs


def _trackio_rows(folder: Path, size: Size) -> bool:
    rows = 0
    for path in (folder / "trackio").glob("*.db"):
        connection = sqlite3.connect(path, timeout=30)
        try:
            rows += connection.execute("SELECT COUNT(*) FROM metrics").fetchone()[0]
        finally:
            connection.close()
    return rows == size.runs * size.steps


def _tensorboardx_files(folder: Path, size: Size) -> bool:
    return len(list(folder.glob("run-*/events.*"))) == size.runs


_OURS = Candidate("runlore", _OURS_BODY, _finished)
_PEERS = (
    Candidate("wandb", _WANDB_BODY, _wandb_files),
    Candidate("trackio", _TRACKIO_BODY, _trackio_rows),
    Candidate("tensorboardX", _TENSORBOARDX_BODY, _tensorboardx_files),
)


if __name__ == "__main__":
    main()
