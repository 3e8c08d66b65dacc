"""Towers answer as points do, whatever is logged, clipped and asked, at any zoom."""

import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.core.axis import STEP, Axis
from runlore.core.run import RunRef
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_sizes import Sizes
from runlore.testing.metric_restarts import assert_same_series
from runlore.testing.metrics import ReferenceMetricStore
from runlore.testing.spools import SECOND_NS, SpoolBuilder, a_run

RUN = a_run()
KEYS = ("a", "b", "s")
AXES = (STEP, Axis(kind="time"), Axis(kind="key", key="a"), Axis(kind="key", key="b"))


def some_sizes(rng: random.Random) -> Sizes:
    """Return sizes so small that a few hundred points make levels, and leaves that split."""
    return Sizes(
        pack_frames=rng.choice([3, 20]),
        block_frames=rng.choice([4, 64]),
        small_frames=rng.choice([2, 10]),
        raise_frames=rng.choice([3, 40]),
        finest_level=rng.choice([0, 1, 2]),
        long_points=rng.choice([40, 65_536]),
        leaf_buckets=rng.choice([3, 8]),
        top_buckets=rng.choice([2, 6]),
    )


def some_steps(rng: random.Random, count: int) -> Iterator[int]:
    """Yield steps that are dense, sparse, in bursts, at random, or all of these in turn."""
    step = rng.choice([0, -50, 10**6])
    kinds = [rng.choice(["dense", "sparse", "burst", "random"])] * 3
    kinds = rng.choice([kinds, ["dense", "sparse", "random"]])
    for number in range(count):
        kind = rng.choice(kinds)
        if kind == "dense":
            step += 1
        elif kind == "sparse":
            step += rng.randrange(1, 2000)
        elif kind == "burst":
            step += 1 if number % 16 else 10**7
        else:
            step = rng.randrange(-300, 300)
        yield step


def some_writer(rng: random.Random, number: int, run: RunRef = RUN) -> SpoolBuilder:
    """Build a stream of two keys that are mostly logged together."""
    began = number * 1000 if rng.random() < 0.5 else 1
    builder = SpoolBuilder(run, f"w-{number}", started_ns=SECOND_NS * began + 1)
    odd = (math.nan, math.inf, -math.inf, 1e308, -1e308)
    for step in some_steps(rng, rng.randrange(1, 250)):
        values: dict[str, float | bool | str] = {"a": rng.choice([rng.gauss(0, 1), True])}
        if rng.random() < 0.2:
            values = {"a": rng.choice(odd)}
        if rng.random() < 0.3:
            values["b"] = rng.gauss(0, 1)
        if rng.random() < 0.1:
            values = {"b": rng.gauss(5, 1), "s": "text"}
        builder.log(values, step=step)
    if rng.random() < 0.6:
        builder.end()
    return builder


@pytest.mark.parametrize("seed", range(12))
def test_towers_answer_as_points_do(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    sizes = some_sizes(rng)
    store, reference = EmbeddedMetricStore(tmp_path, sizes), ReferenceMetricStore()
    pieces = []
    for builder in (some_writer(rng, number) for number in range(rng.choice([1, 1, 2, 3]))):
        last = len(builder.frames)
        edges = sorted({0, last, *(rng.randrange(last + 1) for _ in range(6))})
        pieces.append([builder.piece(*ends) for ends in zip(edges, edges[1:], strict=False)])
    while any(pieces):
        piece = rng.choice([of_writer for of_writer in pieces if of_writer]).pop(0)
        store.append([piece])
        reference.append([piece])
        if rng.random() < 0.5:
            store.settle()
        if rng.random() < 0.1:
            step = rng.randrange(-100, 1000)
            store.rewind(RUN, step)
            reference.rewind(RUN, step)
        if rng.random() < 0.1:
            store.close()
            store = EmbeddedMetricStore(tmp_path, sizes)
    store.settle()
    steps = [row.step for row in reference.rows(RUN)] or [0]
    for _ in range(10):
        near = [rng.choice(steps) + rng.randrange(-3, 4) for _ in range(2)]
        start, stop = (None if rng.random() < 0.4 else one for one in near)
        buckets, axis = rng.choice([2, 3, 5, 8, 20, 100]), rng.choice(AXES)
        assert_same_series(
            store.series([RUN], KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
            reference.series([RUN], KEYS, buckets=buckets, start=start, stop=stop, axis=axis),
        )
    store.close()


def test_a_point_stands_at_all_that_another_key_has_at_the_step_before(tmp_path: Path) -> None:
    sizes = Sizes(pack_frames=1, block_frames=1, small_frames=1)
    store, reference = EmbeddedMetricStore(tmp_path, sizes), ReferenceMetricStore()
    builder = SpoolBuilder(RUN, "w")
    for value in (1.0, math.nan):
        builder.log({"b": value}, step=5)
    builder.log({"a": 0.5}, step=7)
    for one in (store, reference):
        one.append([builder.piece()])
    store.settle()
    found = store.series([RUN], ["a"], buckets=8, axis=Axis(kind="key", key="b"))
    expected = reference.series([RUN], ["a"], buckets=8, axis=Axis(kind="key", key="b"))
    assert expected[0].x is not None
    assert expected[0].x.last.tolist() == [1.0]
    assert_same_series(found, expected)
    store.close()
