"""Forks with real programs, servers and senders: live, offline, in any order, killed."""

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runlore.core.run import RunRef
from runlore.errors import ConflictError
from runlore.sdk.api import Api
from runlore.sdk.api_run import ApiRun
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SECOND_NS, SpoolBuilder

PARENT = """
import runlore
with runlore.init(id="{run}", mode="{mode}") as run:
    for step in range(200):
        run.log({{"loss": 1 / (1 + step), "acc": step}})
"""
FORK = """
import runlore
with runlore.init(id="{run}", fork_from="{parent}?_step={step}", mode="{mode}") as run:
    for _ in range(50):
        run.log({{"loss": -run.step}})
"""


def losses(run: ApiRun) -> dict[int, object]:
    return {int(str(row["step"])): row["loss"] for row in run.scan_history(["loss"])}


def expected(parent: int, step: int, own: int = 50) -> dict[int, object]:
    found: dict[int, object] = {n: 1 / (1 + n) for n in range(min(parent, step + 1))}
    return found | {n: -float(n) for n in range(step + 1, step + 1 + own)}


def test_a_fork_of_a_live_run_shows_inherited_history_everywhere(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    world.run(PARENT.format(run="base", mode="online"))
    world.run(FORK.format(run="fork", parent="base", step=99, mode="online"))
    api = Api(real_server.url)
    run = api.run("faults/fork")
    assert run.fork == {"run": "base", "step": 99}
    assert api.run("faults/base").fork is None
    assert losses(run) == expected(200, 99)
    assert (run.summary["loss"], run.summary["acc"]) == (-149.0, 99.0)
    assert (run.points, run.to_json()["last_step"]) == (50, 149)
    found = api.series("faults", runs=["fork"], keys_matching=".", buckets=500)
    assert {key: one.points for (_, key), one in found.items()} == {"loss": 150, "acc": 100}
    few = api.series("faults", runs=["fork"], keys=["loss"], buckets=10, x="relative")
    assert list(few["fork", "loss"]["step"])[0] == 0
    assert few["fork", "loss"]["x_min"][0] <= 0
    path = run.export(tmp_path / "points.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(150))
    assert {row["superseded"] for row in rows} == {"false"}
    assert [one.id for one in api.runs("faults", filter="fork = 'base'")] == ["fork"]


def test_offline_forks_are_synced_in_any_order(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    world.run(PARENT.format(run="top", mode="offline"))
    world.run(FORK.format(run="middle", parent="top", step=120, mode="offline"))
    world.run(FORK.format(run="leaf", parent="middle", step=130, mode="offline"))
    world.settle()
    folders = {path.parent.name: path.parent for path in world.home.rglob("*.rlspool")}
    api = Api(real_server.url)
    for name in ("leaf", "middle", "top"):
        done = world.sync(str(folders[name]))
        assert done.returncode == 0, done.stdout + done.stderr
        if name == "leaf":
            assert sorted(losses(api.run("faults/leaf"))) == list(range(131, 181))
            assert api.run("faults/leaf").summary == {"loss": -180.0}
    assert losses(api.run("faults/middle")) == expected(200, 120)
    assert losses(api.run("faults/leaf")) == {
        **expected(200, 120, own=10),
        **{n: -float(n) for n in range(131, 181)},
    }
    # It was worked out before the parent came.
    assert api.run("faults/leaf").summary == {"loss": -180.0, "acc": 120.0}


def test_a_run_with_forks_is_deleted_behind_them(world: World, real_server: ServerProcess) -> None:
    world.run(PARENT.format(run="old", mode="online"))
    world.run(FORK.format(run="new", parent="old", step=9, mode="online"))
    api = Api(real_server.url)
    with pytest.raises(ConflictError, match="delete these first, in this order: 'new'"):
        api.run("faults/old").delete()
    answer = real_server.request("DELETE", "/api/v1/projects/local/faults/runs/old")
    assert answer.status == 409
    command = [sys.executable, "-m", "runlore", "run", "delete", "faults/old", "--yes"]
    told = subprocess.run(
        command, env=world.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 1
    assert "'new'" in told.stderr
    api.run("faults/new").delete()
    assert len(losses(api.run("faults/old"))) == 200
    assert api.run("faults/old").delete() > 0


def test_a_child_process_of_a_fork_belongs_to_it(world: World, real_server: ServerProcess) -> None:
    world.run(PARENT.format(run="p", mode="online"))
    world.run(
        "import os, runlore\n"
        "with runlore.init(id='c', fork_from='p?_step=4') as run:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        run.log({'child': 1.0}); run.finish(); os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "    run.log({'loss': 7.0})\n"
    )
    world.settle()
    run = Api(real_server.url).run("faults/c")
    assert [row["step"] for row in run.scan_history(["child"])] == [5]
    assert sorted(losses(run)) == [0, 1, 2, 3, 4, 5]


def test_a_server_killed_while_runs_fork_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(7)
    server = ServerProcess(tmp_path)
    server.start()
    try:
        parent = SpoolBuilder(RunRef("local", "faults", "base"), "w-1", started_ns=SECOND_NS)
        for step in range(50):
            parent.log({"loss": float(step)}, step=step)
        assert server.send_spool(parent).status == 200
        acknowledged: dict[str, int] = {}
        for turn in range(4):
            builders = {}
            for number in range(12):
                name, step = f"fork-{turn}-{number}", rng.randrange(50)
                above = rng.choice(["base", *acknowledged])
                builder = SpoolBuilder(
                    RunRef("local", "faults", name),
                    f"w-{number}",
                    started_ns=(2 + turn) * SECOND_NS,
                    fork={"run": above, "step": step},
                )
                builder.log({"own": 1.0}, step=step + 1)
                builders[name] = (builder, min(step, acknowledged.get(above, 49)))
            killed_at = rng.randrange(len(builders))
            for number, (name, (builder, step)) in enumerate(builders.items()):
                if number == killed_at:
                    send = _sending(server, builder)
                    time.sleep(rng.random() * 0.01)
                    server.kill()
                    send.communicate(timeout=60)
                    server.start()
                assert server.send_spool(builder).status == 200
                acknowledged[name] = step
            server.kill()
            server.start()
            for name, step in acknowledged.items():
                run = Api(server.url).run(f"faults/{name}")
                rows = [row["step"] for row in run.scan_history(["loss"])]
                assert rows == list(range(step + 1)), name
                assert run.to_json()["fork"] is not None
        server.stop(signal.SIGTERM)
        done = subprocess.run(
            [sys.executable, "-m", "runlore", "fsck", "--data", str(tmp_path / "server")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def _sending(server: ServerProcess, builder: SpoolBuilder) -> "subprocess.Popen[bytes]":
    """Send a spool from another process, so that the server can be killed meanwhile."""
    piece = builder.piece()
    run = piece.run
    code = (
        "import sys, http.client\n"
        f"connection = http.client.HTTPConnection('127.0.0.1', {server.port}, timeout=30)\n"
        "try:\n"
        f"    connection.request('POST', '/api/v1/projects/{run.owner}/{run.project}/runs/"
        f"{run.run_id}/spool/{piece.writer}?offset=0', sys.stdin.buffer.read(), "
        "{'Content-Type': 'application/vnd.runlore.spool'})\n"
        "    connection.getresponse()\n"
        "except OSError:\n"
        "    pass\n"
        "except http.client.HTTPException:\n"
        "    pass\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(piece.data)
    process.stdin.close()
    process.stdin = None
    return process
