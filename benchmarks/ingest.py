"""How many points a second are delivered and durable: 50 runs x 1000 steps x 10 metrics.

Run it as `python benchmarks/ingest.py`; wandb (offline), trackio and TensorBoardX are measured
beside ours where they can be imported.

Four programs share the runs; each makes its runs one after another: init, 1000 calls of `log`,
finish. The clock starts when all four have imported what they need and made their rows, and ends
when every program says that its last run is finished and every point is counted where it came to:
ours by the server's API (which acknowledges what is on the disk), trackio's in its database; the
files of wandb and TensorBoardX are only looked for. None of the peers is asked to have called
fsync. Ours is measured, each time with a fresh server, before and after every peer; its figure is
the median.
"""

import argparse
import os
import shutil
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
_OURS = """
for n in range(RUNS):
    run = runlore.init(project="ingest", id=f"run-{NUMBER}-{n}")
    for step, row in enumerate(rows):
        run.log(row, step=step)
    run.finish()
"""
_WANDB = """
for n in range(RUNS):
    run = wandb.init(project="ingest", id=f"run-{NUMBER}-{n}")
    for step, row in enumerate(rows):
        run.log(row, step=step)
    run.finish()
"""
_TRACKIO = """
for n in range(RUNS):
    run = trackio.init(project="ingest", name=f"run-{NUMBER}-{n}", embed=False)
    for step, row in enumerate(rows):
        run.log(row, step=step)
    trackio.finish()
"""
_TENSORBOARDX = """
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
        arrived: counts, given a folder and the size, the points that came to rest there.
    """

    module: str
    body: str
    arrived: Callable[[Path, Size], int]


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
    with tempfile.TemporaryDirectory() as folder:
        with ServerProcess(Path(folder) / "server") as server:
            staging = tempfile.mkdtemp(prefix="runlore-bench-", dir=_memory(folder))
            variables = {
                "RUNLORE_URL": server.url,
                "RUNLORE_HOME": f"{folder}/home",
                "RUNLORE_STAGING": staging,
                "RUNLORE_MODE": "online",
            }

            def arrived(_: Path, __: Size) -> int:
                answer = server.get("/api/v1/projects/local/ingest")
                points = answer.json.get("points", 0)
                assert isinstance(points, int)
                return points

            try:
                candidate = Candidate("runlore", _OURS, arrived)
                return _measure(candidate, size, Path(folder), variables)
            finally:
                shutil.rmtree(staging, ignore_errors=True)


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
        finished = time.perf_counter()
        while candidate.arrived(folder, size) < size.points:
            finished = time.perf_counter()
            if finished - began > _PATIENCE_S:
                found = candidate.arrived(folder, size)
                raise AssertionError(f"{candidate.module}: {found} of {size.points} points")
            time.sleep(0.02)
        for program in programs:
            program.communicate(timeout=60)
    finally:
        for program in programs:
            if program.poll() is None:
                program.kill()
            program.communicate()
    return size.points / (finished - began)


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


def _memory(folder: str) -> str:
    """Return where staging may lie in memory, apart from the user's own."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else folder


def _wandb_files(folder: Path, size: Size) -> int:
    found = list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    return size.points if len(found) == size.runs else 0


def _trackio_rows(folder: Path, size: Size) -> int:
    total = 0
    for path in (folder / "trackio").glob("*.db"):
        connection = sqlite3.connect(path, timeout=30)
        try:
            total += connection.execute("SELECT COUNT(*) FROM metrics").fetchone()[0]
        finally:
            connection.close()
    return total * size.keys


def _tensorboardx_files(folder: Path, size: Size) -> int:
    found = list(folder.glob("run-*/events.*"))
    return size.points if len(found) == size.runs else 0


_PEERS = (
    Candidate("wandb", _WANDB, _wandb_files),
    Candidate("trackio", _TRACKIO, _trackio_rows),
    Candidate("tensorboardX", _TENSORBOARDX, _tensorboardx_files),
)


if __name__ == "__main__":
    main()
