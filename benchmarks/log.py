"""What `log` costs in the user's program, beside a line-buffered JSON append in the same run.

Run as `python benchmarks/log.py`; figures are the least of several rounds that alternate between
the candidates. With wandb or trackio importable they are measured too. Everything is offline and
in temporary folders.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import runlore
from runlore.sdk.run import Run

ROUNDS = 7
GOALS = {1: 0.6, 10: 0.4, 100: 0.4}
SOURCE = Path(runlore.__file__).parents[1]

START = """
import time
begin = time.perf_counter()
import runlore
loaded = time.perf_counter()
run = runlore.init(config={"lr": 0.1})
begun = time.perf_counter()
for i in range(10):
    run.log({"loss": i})
run.finish()
print(1e3 * (loaded - begin), 1e3 * (begun - loaded), 1e3 * (time.perf_counter() - begin))
"""


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            RUNLORE_HOME=f"{folder}/home",
            RUNLORE_MODE="offline",
            WANDB_MODE="offline",
            WANDB_DIR=folder,
            WANDB_SILENT="true",
            TRACKIO_DIR=f"{folder}/trackio",
        )
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        with runlore.init(project="bench") as run:
            print_calls(run, Path(folder))
            print_large(run)
            print_busy(run)
        print_start()


def print_calls(run: Run, folder: Path) -> None:
    """Compare one call with 1, 10 and 100 scalars."""
    peers = peer_logs()
    with (folder / "floor.jsonl").open("w", buffering=1) as file:
        for count, goal in GOALS.items():
            data = {f"train/metric_{i}": 0.1234567 * (i + 1) for i in range(count)}
            scalars = {key: np.float32(value) for key, value in data.items()}
            nested = {"train": {f"metric_{i}": 0.5 * i for i in range(count)}}
            calls: dict[str, Callable[[], object]] = {
                "json": lambda d=data: file.write(json.dumps({"time": time.time(), **d}) + "\n"),
                "python": lambda d=data: run.log(d),
                "numpy": lambda d=scalars: run.log(d),
                "nested": lambda d=nested: run.log(d),
            }
            calls |= {name: lambda d=data, log=log: log(d) for name, log in peers.items()}
            found = {name: [] for name in calls}
            for _ in range(ROUNDS):
                for name, call in calls.items():
                    number = (20 if name in peers else 2000) * 10 // (count + 9)
                    found[name].append(seconds_per_call(call, max(number, 5)))
            floor = min(found["json"])
            print(f"log, {count} scalars: json append {1e6 * floor:.2f} us (goal {goal}x)")
            for name, times in found.items():
                if name != "json":
                    ratio = sorted(a / b for a, b in zip(times, found["json"], strict=True))
                    print(
                        f"  {name:8} {1e6 * min(times):8.2f} us  {min(times) / floor:6.2f}x "
                        f"(median of rounds {ratio[len(ratio) // 2]:.2f}x)"
                    )


def print_large(run: Run) -> None:
    """Time calls with 100,000 keys: the first two declare them."""
    data = {f"layer/{i}": float(i) for i in range(100_000)}
    times = [1e3 * seconds_per_call(lambda: run.log(data), 1) for _ in range(4)]
    print("log, 100,000 keys:", ", ".join(f"{one:.1f}" for one in times), "ms")


def print_busy(run: Run) -> None:
    """Time calls while another Python thread never lets go of the interpreter by itself."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            sum(range(1000))

    thread = threading.Thread(target=work)
    thread.start()
    spent: list[float] = []
    for number in range(20_000):
        begin = time.perf_counter()
        run.log({"loss": number})
        spent.append(time.perf_counter() - begin)
    is_over.set()
    thread.join()
    spent.sort()
    print(
        f"log beside a busy thread: mean {1e6 * sum(spent) / len(spent):.1f} us (goal 20), "
        f"p99 {1e6 * spent[len(spent) * 99 // 100]:.1f} us, worst {1e3 * spent[-1]:.1f} ms"
    )


def print_start() -> None:
    """Time import, init and a whole short run in fresh processes."""
    rounds = []
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", START],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        rounds.append([float(word) for word in done.stdout.split()])
    for name, times in zip(
        ("import of the SDK", "init (goal 10)", "import to finish, offline"),
        zip(*rounds, strict=True),
        strict=True,
    ):
        print(f"{name}: least {min(times):.1f}, median {sorted(times)[len(times) // 2]:.1f} ms")


def peer_logs() -> dict[str, Callable[[Mapping[str, float]], object]]:
    """Return the log functions of the trackers that are installed here."""
    logs: dict[str, Callable[[Mapping[str, float]], object]] = {}
    if find_spec("wandb"):
        import wandb

        logs["wandb"] = wandb.init(project="bench").log
    if find_spec("trackio"):
        import trackio

        trackio.init(project="bench", embed=False)
        logs["trackio"] = trackio.log
    return logs


def seconds_per_call(call: Callable[[], object], number: int) -> float:
    """Return the mean time of so many calls."""
    begin = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - begin) / number


if __name__ == "__main__":
    main()
