"""Memory that is full or small, and bursts that it cannot hold: the disk takes what is logged."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.testing.processes import until
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="mounting a filesystem needs root")


@pytest.fixture
def memory(world: World, tmp_path: Path) -> Iterator[Path]:
    """A staging of one megabyte."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", world.staging], check=True)
    yield world.staging
    subprocess.run(["umount", "--lazy", world.staging], check=True)


def fill(place: Path) -> None:
    """Leave no room in a filesystem."""
    with (place / "others").open("wb", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


def a_run(server: ServerProcess, run: str) -> dict[str, object]:
    return dict(server.get(f"/api/v1/projects/local/faults/runs/{run}").json)


def arrived(world: World, run: str, count: int) -> bool:
    return [row["n"] for row in world.history(run, "n")] == list(range(count))


def left_on_disk(world: World) -> list[Path]:
    return [path for path in below(world.home / "staging") if path.name != "overflow"]


def below(folder: Path) -> list[Path]:
    """Return all that lies in a folder while others remove it, which `rglob` does not survive."""
    return [
        Path(place, name) for place, folders, files in os.walk(folder) for name in folders + files
    ]


LOGGING = """
import os, signal, sys, time, runlore
run = runlore.init(id={run!r})
run.log({{"n": 0}})
assert run.flush(20)
print("begun", flush=True)
sys.stdin.readline()
for n in range(1, 40_000):
    run.log({{"n": n}})
{end}
"""


@pytest.mark.root
@needs_root
def test_a_run_begins_though_staging_is_full(
    world: World, memory: Path, real_server: ServerProcess
) -> None:
    fill(memory)
    world.run(
        """
import runlore
with runlore.init(id="full-at-init") as run:
    for n in range(40_000):
        run.log({"n": n})
"""
    )
    until(lambda: not left_on_disk(world), shown=lambda: left_on_disk(world))
    assert arrived(world, "full-at-init", 40_000)
    assert a_run(real_server, "full-at-init")["state"] == "finished"


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("end", ["run.finish()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_staging_that_is_full_by_now_loses_nothing(
    world: World, memory: Path, real_server: ServerProcess, end: str
) -> None:
    run = f"full-later-{len(end)}"
    process = world.start(LOGGING.format(run=run, end=end))
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    fill(memory)
    out, err = process.communicate("\n", timeout=60)
    is_killed = "KILL" in end
    assert process.returncode == (-signal.SIGKILL if is_killed else 0), err
    assert is_killed or "points could not be kept" not in err, err
    world.settle()
    assert arrived(world, run, 40_000)
    found = a_run(real_server, run)
    assert found["state"] == ("crashed" if is_killed else "finished")
    assert left_on_disk(world) == []


@pytest.mark.root
@needs_root
def test_a_program_and_a_sender_killed_while_the_disk_helps_lose_nothing(
    world: World, memory: Path, real_server: ServerProcess
) -> None:
    end = "print('logged', flush=True); time.sleep(60)"
    process = world.start(LOGGING.format(run="both-killed", end=end))
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    fill(memory)
    os.kill(world.sender(), signal.SIGSTOP)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "logged\n"
    sender = world.sender()
    process.kill()
    process.wait()
    os.kill(sender, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{sender}").exists())
    done = world.sync()
    assert done.returncode == 0, done.stderr
    assert arrived(world, "both-killed", 40_000)


def test_a_burst_of_long_strings_arrives_whole(world: World, real_server: ServerProcess) -> None:
    out = world.run(
        """
import runlore
run = runlore.init(id="burst")
for n in range(300):
    run.log({"text": f"{n:06d}" + "x" * 1_000_000, "n": n})
run.finish()
"""
    )
    assert "could not be kept" not in out
    world.settle()
    found = a_run(real_server, "burst")
    assert (found["points"], found["gaps"], found["state"]) == (600, 0, "finished")
    assert arrived(world, "burst", 300)


HELPLESS = """
import resource, runlore
run = runlore.init(id={run!r}, settings={{"finish_timeout": 20}})
run.log({{"n": 0}})
assert run.flush(20)
{limit}
for n in range(1, 40_000):
    run.log({{"n": n}})
run.finish(3)
"""


@pytest.mark.parametrize(
    "limit",
    [
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
    ],
)
def test_a_program_that_may_write_no_more_files_ends_its_run_and_counts_what_is_missing(
    world: World, real_server: ServerProcess, limit: str
) -> None:
    run = f"helpless-{len(limit)}"
    out = world.run(HELPLESS.format(run=run, limit=limit))
    assert "points could not be kept" in out
    world.settle()
    found = a_run(real_server, run)
    assert (found["state"], found["exit_code"]) == ("failed", 3)
    points, gaps = found["points"], found["gaps"]
    assert isinstance(points, int)
    assert isinstance(gaps, int)
    assert gaps > 0
    assert points + gaps == 40_000


@pytest.mark.root
@needs_root
def test_what_lay_on_the_disk_alone_is_delivered_after_a_restart_and_swept(
    world: World, memory: Path, real_server: ServerProcess
) -> None:
    end = "print('logged', flush=True); time.sleep(60)"
    code = LOGGING.format(run="restarted", end=end)
    # What the keys are called was told before.
    begin = 'for n in range(-9, 1):\n    run.log({"n": n})'
    process = world.start(code.replace('run.log({"n": 0})', begin, 1))
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    fill(memory)
    sender = world.sender()
    os.kill(sender, signal.SIGSTOP)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "logged\n"
    places = world.home / "staging" / "overflow"
    assert {path.stat().st_mode & 0o077 for path in (places, places.parent)} == {0}
    until(lambda: len({path.name for path in below(places) if path.name[:10] == "0" * 10}) > 2)
    process.kill()
    process.wait()
    os.kill(sender, signal.SIGKILL)
    # As a restart empties it; a day of silence stands for another boot.
    for tree in world.trees():
        shutil.rmtree(tree)
    then = time.time() - 25 * 3600
    for path in (*places.rglob("*"), *world.home.rglob("*.rlspool")):
        os.utime(path, (then, then), follow_symlinks=False)
    done = world.sync()
    assert "were in memory alone when this machine stopped" in done.stdout
    found = [row["n"] for row in world.history("restarted", "n")]
    lost = 40_009 - len(found)
    assert found == [*range(-9, 1), *range(lost + 1, 40_000)]
    assert 0 < lost < 5000
    gaps = a_run(real_server, "restarted")["gaps"]
    assert isinstance(gaps, int)
    assert lost * 0.5 < gaps < lost * 1.5
    assert left_on_disk(world) == []
    assert world.sync().returncode == 0
