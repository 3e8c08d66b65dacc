"""Programs, senders and servers killed at any moment: what log returned for arrives, once."""

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from runlore.sdk.api import Api
from runlore.testing.processes import until
from runlore.testing.programs import COUNTING, Counter, World, command_of
from runlore.testing.serving import ServerProcess

ENDLESS = (
    COUNTING
    + """
import runlore
run = runlore.init(id=os.environ.get("RUN") or None)
print(run.id, flush=True)
n = 0
while True:
    run.log({"n": n, "square": n * n})
    n += 1
    count(n)
"""
)


def steps_of(server: ServerProcess, run: str) -> list[int]:
    """Read back all steps of a run and check their values."""
    rows = list(Api(server.url).run(f"faults/{run}").scan_history(["n", "square"]))
    assert all(row["n"] == row["step"] for row in rows)
    assert all(row["square"] == float(str(row["n"])) ** 2 for row in rows)
    return [int(str(row["step"])) for row in rows]


def state_of(server: ServerProcess, run: str) -> tuple[str, int]:
    found = server.get(f"/api/v1/projects/local/faults/runs/{run}").json
    return str(found["state"]), int(str(found["signal"] or 0))


def kill_at_random(
    world: World, server: ServerProcess, folder: Path, seeds: Sequence[int]
) -> None:
    """Kill one program per seed at its moment, at full speed, and compare every point."""
    counters: dict[str, Counter] = {}
    for seed in seeds:
        counter = Counter(folder / f"counter-{seed}")
        process = world.start(ENDLESS, counter=counter)
        enough = random.Random(seed).randrange(3000)
        counter.wait_for(enough)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        counters[process.stdout.readline().strip()] = counter
    world.settle()
    assert len(counters) == len(seeds)
    for run, counter in counters.items():
        steps = steps_of(server, run)
        assert steps == list(range(len(steps)))
        # The last row may have been whole before log could return.
        assert counter.value <= len(steps) <= counter.value + 1
        assert state_of(server, run)[0] == "crashed"


def test_a_program_killed_at_25_random_moments_loses_nothing_and_repeats_nothing(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    kill_at_random(world, real_server, tmp_path, range(25))


@pytest.mark.slow
def test_a_program_killed_at_200_random_moments_loses_nothing_and_repeats_nothing(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    for first in range(1000, 1200, 25):
        kill_at_random(world, real_server, tmp_path, range(first, first + 25))


def test_the_signal_that_killed_a_program_is_told_where_the_kernel_knows(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    process = world.start(ENDLESS, counter=Counter(tmp_path / "counter"))
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    world.sender()
    until(lambda: (tmp_path / "spool").exists())
    process.send_signal(signal.SIGSEGV)
    process.wait()
    world.settle()
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    expected = signal.SIGSEGV if release >= (6, 15) else 0
    assert state_of(real_server, run) == ("crashed", expected)


def test_a_sender_killed_again_and_again_loses_nothing(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    enough = tmp_path / "enough"
    program = f"""
import pathlib, time, runlore
run = runlore.init(id="sender-killed")
enough, n = pathlib.Path({str(enough)!r}), 0
while n < 30_000 or not enough.exists():
    for _ in range(100):
        run.log({{"n": n, "square": n * n}})
        n += 1
    time.sleep(0.01)
run.finish()
print(n)
"""
    process = world.start(program)
    killed: set[int] = set()
    while len(killed) < 4:
        # It logs on until it is told, so there is a sender to kill however slow the machine is.
        assert process.poll() is None
        sender = world.sender()
        if sender not in killed:
            time.sleep(random.Random(len(killed)).uniform(0, 0.3))
            os.kill(sender, signal.SIGKILL)
            killed.add(sender)
        time.sleep(0.005)
    enough.touch()
    count = int(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    # Whoever kills every sender until the program has gone finds the rest with sync.
    assert world.sync().returncode == 0
    until(lambda: state_of(real_server, "sender-killed")[0] == "finished", shown=world.shown)
    assert steps_of(real_server, "sender-killed") == list(range(count))


def kill_senders(world: World, over: threading.Event) -> None:
    """Kill every sender of a world as soon as it has its tree."""
    while not over.is_set():
        for lock in world.staging.glob("runlore-*/*/lock"):
            # Sender and tree may go between two of these lines.
            with suppress(ProcessLookupError, FileNotFoundError):
                text = lock.read_text()
                if text.strip("0 ") and "sender.py" in command_of(int(text)):
                    os.kill(int(text), signal.SIGKILL)
        time.sleep(0.001)


def test_when_no_sender_may_live_finish_gives_up_soon_and_says_where_all_lies(
    world: World, real_server: ServerProcess
) -> None:
    over = threading.Event()
    killer = threading.Thread(target=kill_senders, args=(world, over))
    killer.start()
    try:
        began = time.monotonic()
        said = world.run(
            "import runlore\nrun = runlore.init(id='no-sender')\n"
            "for n in range(100):\n    run.log({'n': n, 'square': n * n})\nrun.finish()\n"
        )
        # A minute is what it waits for a sender that lives.
        assert time.monotonic() - began < 55
    finally:
        over.set()
        killer.join()
    (tree,) = world.trees()
    assert "0 of 100 points delivered" in said or "0 of 200 points delivered" in said
    # A sender may have settled some of it before it was killed.
    place = world.home if "goes out with" in said else tree
    assert f" in {place}" in said
    assert "'runlore sync'" in said
    done = world.sync()
    assert done.returncode == 0, done.stdout + done.stderr
    assert steps_of(real_server, "no-sender") == list(range(100))


def test_program_and_sender_killed_together_are_delivered_by_sync_once(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    counter = Counter(tmp_path / "counter")
    process = world.start(ENDLESS, counter=counter)
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    sender = world.sender()
    counter.wait_for(1000)
    os.kill(sender, signal.SIGSTOP)
    counter.wait_for(counter.value + 5000)
    os.kill(sender, signal.SIGKILL)
    process.kill()
    process.wait()
    done = world.sync()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything is delivered" in done.stdout
    steps = steps_of(real_server, run)
    assert steps == list(range(len(steps)))
    assert counter.value <= len(steps) <= counter.value + 1
    assert state_of(real_server, run)[0] == "crashed"
    before = sorted((path, path.read_bytes()) for path in world.home.rglob("*.rlspool"))
    again = world.sync()
    assert "nothing new" in again.stdout
    assert before == sorted((path, path.read_bytes()) for path in world.home.rglob("*.rlspool"))
    assert steps_of(real_server, run) == steps
    assert not world.trees()


def test_a_pid_namespace_that_vanishes_leaves_everything_to_sync(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    if os.getuid() != 0:
        pytest.skip("making a pid namespace needs root")
    counter = Counter(tmp_path / "counter")
    inside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    process = world.start(ENDLESS, counter=counter, prefix=inside)
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    counter.wait_for(20_000)
    process.kill()
    process.wait()
    until(lambda: world.sync().returncode == 0)
    steps = steps_of(real_server, run)
    assert steps == list(range(len(steps)))
    assert counter.value <= len(steps) <= counter.value + 1


def test_a_server_killed_during_delivery_ends_up_with_every_point_once(tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    program = f"""
import pathlib, time, runlore
run = runlore.init(id="server-killed")
enough, n = pathlib.Path({str(enough)!r}), 0
while n < 20_000 or not enough.exists():
    for _ in range(20):
        run.log({{"n": n, "square": n * n}})
        n += 1
    time.sleep(0.006)
run.finish()
print(n)
"""
    with ServerProcess(tmp_path / "server") as server:
        world = World(server.url, tmp_path)
        try:
            process = world.start(program)
            # It logs on until it is told, however long the server takes to start.
            for kill in range(3):
                time.sleep(random.Random(kill).uniform(0.2, 0.6))
                server.kill()
                server.start()
            assert process.poll() is None
            enough.touch()
            count = int(process.communicate(timeout=120)[0])
            assert process.returncode == 0
            until(lambda: state_of(server, "server-killed")[0] == "finished")
            assert steps_of(server, "server-killed") == list(range(count))
        finally:
            world.close()
