"""What the list of runs costs the server: filter, order and page; columns; groups.

Run it as `python benchmarks/runlist.py`. Times are CPU of all threads of a server that was just
started, each question asked for the first time.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from runlore.core.json import JsonObject
from runlore.core.run import RunRef
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.runs import EmbeddedRunStore
from runlore.store.runs import Noted, RunRecord, RunSummary, WriterRecord
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder

_BASE = "/api/v1/projects/local/bench"
_BATCH = 200
_NS = 1_000_000_000
_MODELS = ("resnet", "vit", "mlp", "convnext")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keys", type=int, default=180, help="half config, half metrics")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        _fill(Path(home) / "server", given.runs, given.keys // 2)
        took = time.perf_counter() - began
        size = sum(path.stat().st_size for path in Path(home).rglob("catalog.db*"))
        print(
            f"{given.runs:,} runs x {given.keys} keys: made in {took:.0f} s, catalog "
            f"{size / 1e6:.0f} MB"
        )
        _lists(Path(home))
        _asks(Path(home), "distinct keys", 20, ["columns"])
        _asks(
            Path(home),
            "group counts",
            None,
            [
                "groups?" + urlencode({"by": "config.c01"}),
                "groups?" + urlencode({"by": "config.c02,config.c01"}),
                "groups?" + urlencode({"by": "state", "filter": "config.c03 < 0.5"}),
            ],
        )


def _lists(home: Path) -> None:
    filters = (
        ("config.c00 < 0.5", "-summary.m00"),
        ("config.c01 = 'vit' AND config.c03 > 0.1", "summary.m01,name"),
        ("summary.m02 > 0.25 OR config.c04 IS NULL", "-config.c05"),
        ("config.c01 IN ('mlp', 'vit') AND NOT config.c06 > 0.9", "summary.m03"),
        ("config.c07 + config.c08 < 1.2", "-config.c02,summary.m04"),
        ("state = 'finished' AND config.c01 LIKE 'res%'", "-created_at"),
        ("name REGEXP '9$' AND summary.m05 < 0.8", "-max.m06"),
        ("tags = 'good' AND config.c09 >= 0.2", "min.m07"),
    )
    paths = [
        "runs?" + urlencode({"filter": one, "sort": sort, "limit": 50}) for one, sort in filters
    ]
    _asks(home, "filter, sort, first page", 30, paths)


def _asks(home: Path, name: str, goal: int | None, paths: list[str]) -> None:
    """Ask each question of a server of its own that answered nothing but `/healthz` before."""
    firsts, seconds = [], []
    for path in paths:
        with ServerProcess(home) as server:
            time.sleep(1.5)
            firsts.append(_ask(server, path))
    with ServerProcess(home) as server:
        time.sleep(1.5)
        _ask(server, "")
        seconds = [_ask(server, path) for path in paths]
    told = f"(goal {goal})" if goal else ""
    print(
        f"{name:26} {statistics.median(seconds) * 1e3:8.1f} ms     {told} greatest "
        f"{max(seconds) * 1e3:.1f}; as the first question of a server "
        f"{statistics.median(firsts) * 1e3:.1f}"
    )


def _ask(server: ServerProcess, path: str) -> float:
    before = _cpu(server)
    answer = server.get(f"{_BASE}/{path}".rstrip("/"))
    if answer.status != 200:
        raise AssertionError((path, answer))
    return _cpu(server) - before


def _fill(folder: Path, runs: int, half: int) -> None:
    folder.mkdir(parents=True)
    rng = random.Random(7)
    catalog = EmbeddedRunStore(folder / "catalog.db")
    metrics = EmbeddedMetricStore(folder / "history")
    for first in range(0, runs, _BATCH):
        numbers = range(first, min(first + _BATCH, runs))
        builders = {}
        values: dict[RunRef, dict[str, float]] = {}
        for number in numbers:
            ref = RunRef("local", "bench", f"run{number:05}")
            values[ref] = {f"m{k:02}": rng.random() for k in range(half)}
            builder = SpoolBuilder(ref, f"w-{number}")
            builder.log(values[ref], step=0)
            builders[ref] = builder
        metrics.append([builder.piece(0, None) for builder in builders.values()])
        records = {ref: _record(rng, builder, half) for ref, builder in builders.items()}
        catalog.change({ref: lambda _, r=record: r for ref, record in records.items()})  # type: ignore[misc]
        summaries = {
            ref: RunSummary({key: Noted(n, n, n) for key, n in values[ref].items()}, 0)
            for ref in records
        }
        catalog.note({ref: lambda _, s=summary: s for ref, summary in summaries.items()})  # type: ignore[misc]
    metrics.close()
    catalog.close()


def _record(rng: random.Random, builder: SpoolBuilder, half: int) -> RunRecord:
    config: JsonObject = {f"c{k:02}": rng.random() for k in range(half)}
    config |= {"c01": rng.choice(_MODELS), "c02": rng.randrange(10)}
    at = 1_700_000_000 * _NS + rng.randrange(10**15)
    return RunRecord(
        ref=builder.run,
        name=f"{rng.choice(_MODELS)}-{rng.randrange(10**6)}",
        created_ns=at,
        active_ns=at + 60 * _NS,
        end_state="finished",
        end_ns=at + 60 * _NS,
        unsettled=False,
        tags=("good",) if rng.random() < 0.3 else (),
        config=config,
        writers={
            builder.writer: WriterRecord(end="finish", applied=len(builder.data), points=half)
        },
    )


def _cpu(server: ServerProcess) -> float:
    """Return the CPU seconds of all threads, finer than the clock ticks of `stat`."""
    if server.process is None:
        raise AssertionError("the server was not started")
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    main()
