"""Many writers of one run: children, other programs, a resumed run, clocks that jump."""

from collections import Counter
from pathlib import Path

import pytest

from runlore.testing.processes import until
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess


def a_run(server: ServerProcess, run: str) -> dict[str, object]:
    return dict(server.get(f"/api/v1/projects/local/faults/runs/{run}").json)


def test_forked_children_log_beside_their_parent(world: World, real_server: ServerProcess) -> None:
    world.run(
        """
import os, runlore
run = runlore.init(id="forks")
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        for step in range(200):
            run.log({f"child-{child}": step}, step=step)
        run.flush(20)
        os._exit(0)
    children.append(pid)
for step in range(200):
    run.log({"parent": step}, step=step)
for pid in children:
    os.waitpid(pid, 0)
run.finish()
"""
    )
    world.settle()
    for key in ("parent", "child-0", "child-1", "child-2", "child-3"):
        assert [row[key] for row in world.history("forks", key)] == list(range(200))
    found = a_run(real_server, "forks")
    assert (found["state"], found["writers"]) == ("finished", 5)


CHILDREN = """
import multiprocessing, runlore

def work(run, steps):
    for step in steps:
        run.log({{"child": step}}, step=step)

if __name__ == "__main__":
    run = runlore.init(id={run!r}, resume="allow")
    run.log({{"parent": 0}}, step=0)
    context = multiprocessing.get_context({method!r})
    for _ in range(3):
        child = context.Process(target=work, args=(run, range({first}, {first} + 100)))
        child.start()
        child.join()
        assert child.exitcode == 0
    run.finish()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_that_follow_one_another_keep_all_points_until_the_program_starts_again(
    world: World, real_server: ServerProcess, tmp_path: Path, method: str
) -> None:
    path = tmp_path / "program.py"
    run = f"turns-{method}"
    for first in (0, 50):
        path.write_text(CHILDREN.format(run=run, method=method, first=first))
        world.run(f"import runpy; runpy.run_path({str(path)!r}, run_name='__main__')")
        world.settle()
        logged = Counter(row["child"] for row in world.history(run, "child"))
        assert logged == Counter({step: 3 for step in range(first + 100)})
    assert a_run(real_server, run)["writers"] == 8


def test_two_programs_write_one_run_at_once(world: World, real_server: ServerProcess) -> None:
    program = """
import runlore
run = runlore.init(id="shared")
for step in range(3000):
    run.log({{"{key}": step}}, step=step)
run.finish()
"""
    started = [world.start(program.format(key=key)) for key in ("left", "right")]
    for process in started:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    world.settle()
    for key in ("left", "right"):
        assert [row[key] for row in world.history("shared", key)] == list(range(3000))


def test_sixty_four_writers_of_one_run_arrive_whole(
    world: World, real_server: ServerProcess
) -> None:
    world.run(
        """
import os, runlore
run = runlore.init(id="many")
children = []
for child in range(63):
    pid = os.fork()
    if pid == 0:
        for step in range(100):
            run.log({f"w{child}": step, "both": child}, step=step)
        os._exit(0)
    children.append(pid)
for step in range(100):
    run.log({"w63": step, "both": 63}, step=step)
for pid in children:
    os.waitpid(pid, 0)
run.finish()
"""
    )
    world.settle(30)
    found = a_run(real_server, "many")
    assert (found["points"], found["writers"], found["state"]) == (64 * 200, 64, "finished")
    logged = Counter(key for row in world.history("many") for key in row)
    assert [logged[f"w{child}"] for child in range(64)] == [100] * 64


def test_a_resumed_run_goes_on_behind_its_last_step(
    world: World, real_server: ServerProcess
) -> None:
    program = """
import runlore
run = runlore.init(id="resumed", resume="allow")
for _ in range(100):
    run.log({"loss": 0.5})
run.finish()
"""
    world.run(program)
    world.run(program)
    world.settle()
    assert [row["step"] for row in world.history("resumed", "loss")] == list(range(200))
    assert a_run(real_server, "resumed")["writers"] == 2


def test_a_clock_that_jumps_changes_neither_order_nor_count(
    world: World, real_server: ServerProcess
) -> None:
    world.run(
        """
import time, runlore
run = runlore.init(id="clock")
true_time_ns = time.time_ns
for step in range(300):
    jump = (0, -86_400, 86_400 * 365)[step % 3]
    time.time_ns = lambda: true_time_ns() + jump * 10**9
    run.log({"loss": step})
time.time_ns = true_time_ns
run.finish()
"""
    )
    world.settle()
    assert [row["loss"] for row in world.history("clock", "loss")] == list(range(300))


def test_a_short_program_is_delivered_before_it_ends(
    world: World, real_server: ServerProcess
) -> None:
    said = world.run(
        """
import runlore
run = runlore.init(id="short")
for _ in range(10):
    run.log({"loss": 0.5})
run.finish()
"""
    )
    assert "10 of 10 points delivered" in said
    until(lambda: a_run(real_server, "short")["state"] == "finished")


def test_several_summaries_of_a_metric_reach_the_server(
    world: World, real_server: ServerProcess
) -> None:
    world.run(
        """
import runlore
with runlore.init(id="several") as run:
    run.define_metric("l*", summary="min,max")
    for loss in (0.5, 0.25, 2.0, 1.0):
        run.log({"loss": loss, "acc": loss})
"""
    )
    world.settle()
    summary = a_run(real_server, "several")["summary"]
    assert summary == {"loss.min": 0.25, "loss.max": 2.0, "acc": 1.0}
