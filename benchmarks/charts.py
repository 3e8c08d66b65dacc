"""What one line chart costs over HTTP, ours beside trackio, MLflow and Aim.

Run it as `python benchmarks/charts.py`; of the others those are measured that can be imported.

Every tracker gets the same runs from its own client, but that MLflow's client logs one run of each
length, whose rows are then copied in MLflow's database to the runs of the same length: its client
would take an hour. Then all servers stand at once, as each comes, on loopback ports, and are asked
by one kept connection what their own web pages ask for a line chart, answers unpacked:

* ours: `POST …/series` with 1,000 buckets, more than the page asks for (a multiple of 256);
* trackio: `POST /api/get_logs_batch`, `scalar_only` (it answers at most 3,000 rows a run);
* MLflow: `GET …/metrics/get-history-bulk-interval` for 320 points a run;
* Aim: `GET /api/runs/search/metric` as its metrics explorer does, at most 500 points a run.

No run is asked for twice: each query is cold. One query for a run that is not there goes before,
so that no server's first request is measured. The trackers take turns within each query; a figure
is the wall time from the request to the last byte of the answer, the median of the queries.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeAlias

from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess, free_port
from runlore.wire.series import MEDIA_TYPE

_READY_S = 120.0
_FILL_S = 600.0
_KEPT_S = 2.0
_GOAL = 30
# Packing an answer would cost the peers more than sending it as it is on one machine.
_PLAIN = {"Accept-Encoding": "identity"}
_JSON = {**_PLAIN, "Content-Type": "application/json"}


class Chart(NamedTuple):
    """A chart of one metric: how many runs of how many steps, and how many such are asked for."""

    name: str
    runs: int
    steps: int
    queries: int

    def sets(self) -> list[list[str]]:
        """Return the names of the runs of each query."""
        return [
            [f"{self.steps}-{query}-{run}" for run in range(self.runs)]
            for query in range(self.queries)
        ]


_CHARTS = (Chart("1 x 100 k steps", 1, 100_000, 3), Chart("20 x 10 k steps", 20, 10_000, 2))

# Programs that log: NAMES holds (name, group, steps) of each run, PLACE is a folder.
_NOISE = """
import random
noise = random.Random(0)
values = [noise.random() for _ in range(100_000)]
"""
_LOG_OURS = """
import runlore
for name, group, steps in NAMES:
    with runlore.init(project="charts", id=name, group=group) as run:
        for step in range(steps):
            run.log({"loss": values[step]}, step=step)
"""
_LOG_TRACKIO = """
import trackio
for name, group, steps in NAMES:
    run = trackio.init(project="charts", name=name, group=group, embed=False)
    for step in range(steps):
        run.log({"loss": values[step]}, step=step)
    trackio.finish()
"""
_SHOW_TRACKIO = """
import trackio
trackio.show("charts", open_browser=False, block_thread=True, share=False, server_port=PORT)
"""
_LOG_MLFLOW = """
import sqlite3, time
from mlflow import MlflowClient
from mlflow.entities import Metric
client = MlflowClient(f"sqlite:///{PLACE}/mlflow.db")
experiment = client.create_experiment("charts", artifact_location=f"{PLACE}/artifacts")
ids, first = {}, {}
for name, group, steps in NAMES:
    ids[name] = client.create_run(experiment, run_name=name, tags={"group": group}).info.run_id
    if steps in first:
        continue
    first[steps] = ids[name]
    for start in range(0, steps, 1000):
        now = int(time.time() * 1000)
        rows = [Metric("loss", values[step], now, step) for step in range(start, start + 1000)]
        client.log_batch(ids[name], metrics=rows)
with sqlite3.connect(f"{PLACE}/mlflow.db") as database:
    for table in ("metrics", "latest_metrics"):
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        told = ", ".join("?" if column == "run_uuid" else column for column in columns)
        copy = f"INSERT INTO {table} SELECT {told} FROM {table} WHERE run_uuid = ?"
        for name, group, steps in NAMES:
            if ids[name] != first[steps]:
                database.execute(copy, (ids[name], first[steps]))
database.close()
import json
with open(f"{PLACE}/ids.json", "w") as file:
    json.dump(ids, file)
"""
_LOG_AIM = """
import aim
for name, group, steps in NAMES:
    run = aim.Run(repo=PLACE, experiment=group, system_tracking_interval=None,
                  log_system_params=False, capture_terminal_logs=False)
    run.name = name
    for step in range(steps):
        run.track(values[step], name="loss", step=step)
    run.close()
"""


class Client:
    """A connection that stays open as a browser's does, or is opened again before it is timed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._used_at = time.monotonic()

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: object = None
    ) -> tuple[float, bytes]:
        """Return how long the answer took, and the answer; fail unless it is a good one."""
        text = None if body is None else json.dumps(body).encode()
        if self._connection.sock is None or time.monotonic() - self._used_at > _KEPT_S:
            self._connection.close()
            self._connection.connect()
        began = time.perf_counter()
        self._connection.request(method, path, body=text, headers=dict(headers))
        answer = self._connection.getresponse()
        content = answer.read()
        took = time.perf_counter() - began
        self._used_at = time.monotonic()
        if answer.status != 200:
            raise AssertionError((method, path, answer.status, content[:500]))
        return took, content


Ask: TypeAlias = Callable[[Sequence[str]], tuple[float, bytes]]
"""Asks a tracker for the chart of some runs: how long the answer took, and the answer."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", nargs="*", choices=[*_TRACKERS][1:], default=[*_TRACKERS][1:])
    chosen = ["runlore", *parser.parse_args().peers]
    with ExitStack() as stack:
        asked: dict[str, Ask] = {}
        for name in chosen:
            if find_spec(name) is None:
                continue
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            began = time.perf_counter()
            asked[name] = stack.enter_context(_TRACKERS[name](folder))
            print(f"{name}: filled and ready in {time.perf_counter() - began:.0f} s", flush=True)
        for ask in asked.values():
            ask(["nobody"])
        for chart in _CHARTS:
            _compare(chart, asked)


def _compare(chart: Chart, asked: Mapping[str, Ask]) -> None:
    times: dict[str, list[float]] = {name: [] for name in asked}
    sizes = dict.fromkeys(asked, 0)
    for runs in chart.sets():
        for name, ask in asked.items():
            took, content = ask(runs)
            times[name].append(took)
            sizes[name] = len(content)
    ours = statistics.median(times["runlore"])
    for name, found in times.items():
        median = statistics.median(found)
        beside = (
            "" if name == "runlore" else f", ours is {median / ours:.1f}x faster (goal {_GOAL})"
        )
        each = ", ".join(f"{1e3 * took:.1f}" for took in found)
        print(
            f"chart of {chart.name}, {name:8} {1e3 * median:10.2f} ms ({each}), "
            f"{sizes[name] / 1e3:,.0f} kB{beside}",
            flush=True,
        )


@contextmanager
def _runlore(folder: Path) -> Iterator[Ask]:
    with ServerProcess(folder / "server") as server:
        world = World(server.url, folder)
        try:
            _fill(_LOG_OURS, folder, world.environment())
            world.settle()
        finally:
            world.close()
    with ServerProcess(folder / "server") as server:
        client = Client(server.port)

        def ask(runs: Sequence[str]) -> tuple[float, bytes]:
            query = {"runs": list(runs), "keys": ["loss"], "buckets": 1000}
            path = "/api/v1/projects/local/charts/series"
            return client.ask("POST", path, {**_JSON, "Accept": MEDIA_TYPE}, query)

        yield ask


@contextmanager
def _trackio(folder: Path) -> Iterator[Ask]:
    variables = {**os.environ, "TRACKIO_DIR": str(folder)}
    _fill(_LOG_TRACKIO, folder, variables)
    port = free_port()
    command = [sys.executable, "-c", _SHOW_TRACKIO.replace("PORT", str(port))]
    with _serving(command, port, "/version", variables):
        client = Client(port)
        _, answer = client.ask("POST", "/api/get_runs_for_project", _JSON, {"project": "charts"})
        ids = {run["name"]: run["id"] for run in json.loads(answer)["data"]}

        def ask(runs: Sequence[str]) -> tuple[float, bytes]:
            named = [{"run": run, "run_id": ids.get(run)} for run in runs]
            query = {"project": "charts", "runs": named, "scalar_only": True}
            found = client.ask("POST", "/api/get_logs_batch", _JSON, query)
            logs = [len(run["logs"]) for run in json.loads(found[1])["data"]]
            _require(runs, sum(logs) >= 1000 * len(runs), found[1])
            return found

        yield ask


@contextmanager
def _mlflow(folder: Path) -> Iterator[Ask]:
    variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
    _fill(_LOG_MLFLOW, folder, variables)
    ids = json.loads((folder / "ids.json").read_text())
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--default-artifact-root", str(folder / "artifacts")]
    with _serving(command, port, "/health", variables):
        client = Client(port)

        def ask(runs: Sequence[str]) -> tuple[float, bytes]:
            chosen = [("run_ids", ids.get(run, "0" * 32)) for run in runs]
            query = urllib.parse.urlencode(
                [("max_results", "320"), ("metric_key", "loss"), *chosen]
            )
            path = f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?{query}"
            found = client.ask("GET", path, _PLAIN)
            points = len(json.loads(found[1]).get("metrics", ()))
            _require(runs, points >= 300 * len(runs), found[1])
            return found

        yield ask


@contextmanager
def _aim(folder: Path) -> Iterator[Ask]:
    variables = {**os.environ, "AIM_UI_TELEMETRY_ENABLED": "0"}
    aim = str(Path(sys.executable).with_name("aim"))
    subprocess.run([aim, "init", "--repo", str(folder)], env=variables, check=True, stdout=-3)
    _fill(_LOG_AIM, folder, variables)
    port = free_port()
    command = [aim, "up", "--repo", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with _serving([*command, "--yes"], port, "/api/projects/", variables):
        client = Client(port)

        def ask(runs: Sequence[str]) -> tuple[float, bytes]:
            chosen = f'(run.experiment == "{_group(runs[0])}") and ((metric.name == "loss"))'
            path = f"/api/runs/search/metric?{urllib.parse.urlencode({'q': chosen, 'p': 500})}"
            found = client.ask("GET", path, _PLAIN)
            # Values, steps, epochs and times of each of the 500 points, as float64.
            _require(runs, len(found[1]) >= 500 * 16 * len(runs), found[1])
            return found

        yield ask


def _require(runs: Sequence[str], is_whole: bool, answer: bytes) -> None:
    if not is_whole and runs != ["nobody"]:
        raise AssertionError(f"no chart of {runs}: {answer[:500]!r}")


def _fill(program: str, folder: Path, variables: Mapping[str, str]) -> None:
    """Log all runs by a tracker's own client."""
    names = [
        (run, _group(run), chart.steps)
        for chart in _CHARTS
        for runs in chart.sets()
        for run in runs
    ]
    code = f"NAMES, PLACE = {names!r}, {str(folder)!r}\n{_NOISE}\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=_FILL_S,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _group(run: str) -> str:
    return run.rpartition("-")[0] or run


@contextmanager
def _serving(
    command: Sequence[str], port: int, path: str, variables: Mapping[str, str]
) -> Iterator[None]:
    """Run a server until it answers, and end it with all the processes that it started."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=dict(variables), stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + _READY_S
            while not _answers(port, path):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise AssertionError(f"{command} is not ready: {said.read()[-3000:]!r}")
                time.sleep(0.1)
            yield
        finally:
            for pid in [*_descendants(process.pid), process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def _descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for each in lists for child in each.read_text().split()]
    return [other for child in children for other in [*_descendants(child), child]]


def _answers(port: int, path: str) -> bool:
    try:
        Client(port).ask("GET", path, _PLAIN)
    except (OSError, http.client.HTTPException, AssertionError):
        return False
    return True


_TRACKERS = {"runlore": _runlore, "trackio": _trackio, "mlflow": _mlflow, "aim": _aim}


if __name__ == "__main__":
    main()
