"""Costs of the embedded metric store: CPU and bytes per point, a tiny append, series.

Run: `python benchmarks/store.py [FOLDER]`; FOLDER decides which disk is measured.
CPU is that of the whole process, the packer included, until nothing waits to be packed.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from runlore.core.run import RunRef
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import SpoolPiece
from runlore.wire import spool

SECOND_NS = 1_000_000_000
_LONG_PIECE = 100_000


def a_stream(run: RunRef, *, keys: int, steps: int, piece_bytes: int) -> list[SpoolPiece]:
    """Encode a training run: noisy float32 curves, jittered times, an end."""
    rng = random.Random(run.run_id)
    header = {"run": run.run_id, "started_ns": SECOND_NS, "boot": "b", "boot_ns": 1}
    frames = [spool.PREAMBLE + spool.frame(spool.encode_json(spool.HEADER, header))]
    frames.append(spool.frame(spool.encode_keys(0, [f"layer/{n}/loss" for n in range(keys)])))
    frames.append(spool.frame(spool.encode_key_set(0, range(keys))))
    layout = spool.row_struct(keys)
    time_ns = SECOND_NS
    noise = np.random.default_rng(len(run.run_id))
    for step in range(steps):
        time_ns += 10_000_000 + rng.randrange(1_000_000)
        level = np.float32(2.0 ** -(step * 6 / steps))
        values = level + np.float32(0.05) * noise.standard_normal(keys, dtype=np.float32)
        frames.append(spool.frame(layout.pack(spool.ROW, 0, step, time_ns, *values.tolist())))
    frames.append(spool.frame(spool.encode_json(spool.FINISH, {"time_ns": time_ns})))
    pieces: list[SpoolPiece] = []
    offset, held = 0, bytearray()
    for frame in frames:
        held += frame
        if len(held) >= piece_bytes:
            pieces.append(SpoolPiece(run=run, writer="w", offset=offset, data=bytes(held)))
            offset, held = offset + len(held), bytearray()
    pieces.append(SpoolPiece(run=run, writer="w", offset=offset, data=bytes(held)))
    return pieces


def measure_ingest(folder: Path, *, keys: int, steps: int, runs: int, piece_bytes: int) -> None:
    """Print CPU and bytes per point of several runs that are delivered in turns."""
    names = [RunRef("local", "bench", f"run-{n}") for n in range(runs)]
    streams = [a_stream(run, keys=keys, steps=steps, piece_bytes=piece_bytes) for run in names]
    store = EmbeddedMetricStore(folder)
    points = keys * steps * runs
    wall, cpu = time.perf_counter(), time.process_time()
    in_append = 0.0
    for turn in range(max(map(len, streams))):
        batch = [stream[turn] for stream in streams if turn < len(stream)]
        begin = time.thread_time()
        answers = store.append(batch)
        in_append += time.thread_time() - begin
        assert not any(isinstance(answer, Exception) for answer in answers), answers
    store.settle()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    store.close()
    size = sum(file.stat().st_size for file in folder.rglob("*.db"))
    history = sum(file.stat().st_size for file in folder.rglob("history/*.db"))
    print(
        f"{keys:6} keys x {steps:6} steps x {runs} runs: {1e6 * cpu / points:5.2f} us/point CPU "
        f"(append {1e6 * in_append / points:5.2f}), {points / wall / 1e3:6.0f} k points/s, "
        f"{history / points:5.1f} B/point history, {size / points:5.1f} with the log"
    )


def measure_tiny(folder: Path) -> None:
    """Print the cost of an append of one row of one key."""
    store = EmbeddedMetricStore(folder)
    (whole,) = a_stream(RunRef("local", "bench", "tiny"), keys=1, steps=2000, piece_bytes=10**9)
    edges = [frame.offset for frame in spool.whole_frames(whole.data, offset=0)][3:]
    store.append([SpoolPiece(run=whole.run, writer="w", offset=0, data=whole.data[: edges[0]])])
    wall, cpu = time.perf_counter(), time.process_time()
    for begin, end in zip(edges, edges[1:], strict=False):
        data = whole.data[begin:end]
        store.append([SpoolPiece(run=whole.run, writer="w", offset=begin, data=data)])
    count = len(edges) - 1
    wall, cpu = (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count
    print(f"tiny append: {1e6 * cpu:.0f} us CPU, {1e6 * wall:.0f} us wall")
    store.close()


def measure_reads(folder: Path) -> None:
    """Print the cost of series and summaries of packed runs."""
    store = EmbeddedMetricStore(folder)
    long = RunRef("local", "bench", "long")
    many = [RunRef("local", "bench", f"run-{n}") for n in range(20)]
    for run, steps in [(long, 100_000), *((run, 10_000) for run in many)]:
        store.append(a_stream(run, keys=10, steps=steps, piece_bytes=2**20))
    store.settle()
    key = "layer/3/loss"
    _show("series 1 x 100k at 1000", lambda: store.series([long], [key], buckets=1000))
    _show("series 20 x 10k at 1000", lambda: store.series(many, [key], buckets=1000))
    _show("keys of 20 runs x 10 keys", lambda: [store.keys(run) for run in many])
    _show("1000 rows in the middle", lambda: list(store.rows(long, start=50_000, stop=51_000)))
    store.close()


def measure_long(folder: Path, *, steps: int) -> None:
    """Print what one chart costs of a run of 10,000 steps and of a very long one, cold."""
    lengths = {"other": 100, "short": 10_000, "long": steps}
    runs = {name: RunRef("local", "bench", name) for name in lengths}
    store = EmbeddedMetricStore(folder)
    for name, run in runs.items():
        for piece in _long_stream(run, lengths[name]):
            (answer,) = store.append([piece])
            assert not isinstance(answer, Exception), answer
    store.settle()
    store.close()
    cpus: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(30):
        store = EmbeddedMetricStore(folder)
        for name in ("other", "short" if turn % 2 else "long"):
            begin = time.process_time()
            (found,) = store.series([runs[name]], ["loss"], buckets=1000)
            cpus[name].append(time.process_time() - begin)
            assert found.points == lengths[name], found.points
        store.close()
    opened, short, long = (1e3 * min(of_run) for of_run in cpus.values())
    print(
        f"one chart of 1000 buckets, {steps} steps: {long:.2f} ms CPU, {long / short:.2f} times "
        f"that of 10,000 steps, {short:.2f} (goal 1.5 ms, 1.5 times); to open the project's "
        f"file and a chart of 100 steps: {opened:.2f} ms"
    )


def _long_stream(run: RunRef, steps: int) -> Iterator[SpoolPiece]:
    """Encode a run of one key, a large piece at a time."""
    header = {"run": run.run_id, "started_ns": SECOND_NS, "boot": "b", "boot_ns": 1}
    held = [
        spool.PREAMBLE + spool.frame(spool.encode_json(spool.HEADER, header)),
        spool.frame(spool.encode_keys(0, ["loss"])),
        spool.frame(spool.encode_key_set(0, range(1))),
    ]
    pack, frame, noise = spool.row_struct(1).pack, spool.frame, np.random.default_rng(0)
    offset = 0
    for begin in range(0, steps, _LONG_PIECE):
        places = range(begin, min(begin + _LONG_PIECE, steps))
        values = noise.standard_normal(len(places), dtype=np.float32).tolist()
        held += [
            frame(pack(spool.ROW, 0, step, SECOND_NS * (step + 1), value))
            for step, value in zip(places, values, strict=True)
        ]
        if places.stop == steps:
            held.append(frame(spool.encode_json(spool.FINISH, {"time_ns": SECOND_NS * steps})))
        data = b"".join(held)
        yield SpoolPiece(run=run, writer="w", offset=offset, data=data)
        offset, held = offset + len(data), []


def _show(name: str, ask: Callable[[], object]) -> None:
    times, cpus = [], []
    for _ in range(9):
        wall, cpu = time.perf_counter(), time.process_time()
        ask()
        times.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    times.sort()
    cpus.sort()
    print(
        f"{name}: {1e3 * times[4]:.2f} ms (worst {1e3 * times[-1]:.2f}), CPU {1e3 * cpus[4]:.2f}"
    )


def main() -> None:
    """Print all figures."""
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        shapes = [(50, 20_000, 2), (10, 50_000, 2), (1, 200_000, 2), (10_000, 100, 1)]
        for number, (keys, steps, runs) in enumerate(shapes):
            measure_ingest(
                folder / f"ingest-{number}", keys=keys, steps=steps, runs=runs, piece_bytes=2**18
            )
        measure_tiny(folder / "tiny")
        measure_reads(folder / "reads")
        measure_long(folder / "long", steps=10_000_000)


if __name__ == "__main__":
    main()
