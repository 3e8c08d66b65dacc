"""Staging that somebody removes under a live program, as systemd does at the last logout."""

import os
import random
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from runlore.testing.processes import until
from runlore.testing.programs import COUNTING, Counter, World
from runlore.testing.serving import ServerProcess


def remove(world: World) -> None:
    """Unlink everything in staging from the bottom up, in the order of the folder."""
    for base, folders, files in os.walk(world.staging, topdown=False):
        for name in (*files, *folders):
            path = Path(base, name)
            try:
                is_folder = stat.S_ISDIR(path.lstat().st_mode)
                path.rmdir() if is_folder else path.unlink()
            except OSError:
                # The sender removes, too, and the program may be making it again already.
                continue


def a_run(server: ServerProcess, run: str) -> dict[str, object]:
    return dict(server.get(f"/api/v1/projects/local/faults/runs/{run}").json)


def arrived(world: World, run: str, count: int) -> bool:
    return [row["n"] for row in world.history(run, "n")] == list(range(count))


LOGGING = (
    COUNTING
    + """
import sys, time, runlore
text = "x" * {size}
run = runlore.init(id={run!r})
for n in range({count}):
    run.log({{"n": n, "text": text}})
    count(n + 1)
    time.sleep({pause})
    if n + 1 == {stop_at}:
        print("stopped", flush=True)
        sys.stdin.readline()
run.finish()
"""
)


def stopped(world: World, code: str, counter: Counter) -> "subprocess.Popen[str]":
    """Start a program and wait until it stops in the middle."""
    process = world.start(code, counter=counter)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"
    return process


@pytest.mark.parametrize(
    ("size", "moments"), [(10, (1, 400)), (4000, (500, 2500))], ids=["before a roll", "after some"]
)
def test_staging_removed_at_any_moment_loses_nothing(
    world: World, real_server: ServerProcess, tmp_path: Path, size: int, moments: tuple[int, int]
) -> None:
    run, count = f"removed-{size}", 3000
    counter = Counter(tmp_path / "count")
    code = LOGGING.format(run=run, size=size, count=count, pause=0.001, stop_at=-1)
    process = world.start(code, counter=counter)
    for moment in sorted(random.sample(range(*moments), 2)):
        counter.wait_for(moment)
        remove(world)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert err.count("was removed while the run goes on") == 1
    assert f"{2 * count:,} of {2 * count:,} points delivered" in err
    world.settle()
    assert arrived(world, run, count)
    found = a_run(real_server, run)
    assert (found["state"], found["gaps"]) == ("finished", 0)


def test_staging_removed_right_before_the_end_loses_nothing(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "count")
    code = LOGGING.format(run="at-the-end", size=4000, count=2000, pause=0, stop_at=2000)
    process = stopped(world, code, counter)
    remove(world)
    _, err = process.communicate("\n", timeout=90)
    assert process.returncode == 0, err
    assert "4,000 of 4,000 points delivered" in err
    world.settle()
    assert arrived(world, "at-the-end", 2000)
    assert a_run(real_server, "at-the-end")["state"] == "finished"


def test_what_the_sender_had_not_taken_over_is_kept_as_well(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "count")
    code = LOGGING.format(run="not-taken", size=4000, count=12_000, pause=0, stop_at=10_000)
    process = world.start(code, counter=counter)
    sender = world.sender()
    os.kill(sender, signal.SIGSTOP)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopped\n"
    remove(world)
    os.kill(sender, signal.SIGKILL)
    _, err = process.communicate("\n", timeout=90)
    assert process.returncode == 0, err
    world.settle()
    assert arrived(world, "not-taken", 12_000)
    assert a_run(real_server, "not-taken")["gaps"] == 0
    assert not list((world.home / "staging" / "overflow").glob("*"))


def test_a_program_killed_after_it_noticed_loses_nothing(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "count")
    code = LOGGING.format(run="then-killed", size=10, count=60_000, pause=0.001, stop_at=-1)
    process = world.start(code, counter=counter)
    counter.wait_for(500)
    remove(world)
    until(lambda: bool(world.trees()))
    reached = counter.value
    process.kill()
    process.communicate()
    # Killed before it had started another sender, it leaves that to a sync.
    assert world.sync().returncode == 0
    world.settle()
    rows = [row["n"] for row in world.history("then-killed", "n")]
    assert rows == list(range(len(rows)))
    assert len(rows) >= reached
    assert a_run(real_server, "then-killed")["state"] == "crashed"


def test_two_runs_and_a_child_go_on_after_staging_was_removed(
    world: World, real_server: ServerProcess
) -> None:
    process = world.start(
        """
import os, sys, runlore
first = runlore.init(id="two-1")
second = runlore.init(id="two-2", reinit="create_new")
first.log({"n": 0})
second.log({"n": 0})
print("begun", flush=True)
sys.stdin.readline()
child = os.fork()
if child == 0:
    for n in range(1, 500):
        first.log({"child": n})
    first.finish()
    os._exit(0)
os.waitpid(child, 0)
for n in range(1, 2000):
    first.log({"n": n})
    second.log({"n": n})
first.finish()
second.finish()
"""
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    remove(world)
    _, err = process.communicate("\n", timeout=90)
    assert process.returncode == 0, err
    world.settle()
    assert arrived(world, "two-1", 2000)
    assert arrived(world, "two-2", 2000)
    assert len(world.history("two-1", "child")) == 499


def test_an_offline_run_goes_on_after_staging_was_removed(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "count")
    code = LOGGING.format(run="offline", size=100, count=3000, pause=0, stop_at=2000)
    code = "import os\nos.environ['RUNLORE_MODE'] = 'offline'\n" + code
    process = stopped(world, code, counter)
    remove(world)
    _, err = process.communicate("\n", timeout=90)
    assert process.returncode == 0, err
    assert "6,000 points kept offline" in err
    world.settle()
    assert world.sync().returncode == 0
    assert arrived(world, "offline", 3000)


def test_staging_that_cannot_be_made_again_is_told_and_counted(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "count")
    code = LOGGING.format(run="for-good", size=10, count=2000, pause=0, stop_at=1000)
    code = "import os\nos.environ['RUNLORE_FINISH_TIMEOUT'] = '3'\n" + code
    process = stopped(world, code, counter)
    remove(world)
    (world.staging / f"runlore-{os.getuid()}").write_text("in the way")
    _, err = process.communicate("\n", timeout=90)
    assert process.returncode == 0, err
    assert "could not be made again" in err
    assert "points could not be kept" in err
    assert "brings it out" not in err
