"""How long finish() waits: for a server that is there, and for nobody else."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.testing.processes import until
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess
from runlore.testing.spool_server import SpoolServer
from runlore.wire import spool

PROGRAM = """
import runlore
run = runlore.init(id={run!r}, settings={{"finish_timeout": {seconds}}})
for step in range(100):
    run.log({{"loss": step}})
run.finish()
print("finished")
"""


@pytest.fixture
def busy_world(server: SpoolServer, tmp_path: Path) -> Iterator[World]:
    world = World(server.url, tmp_path)
    yield world
    world.close()


def is_on_disk(world: World, kind: int) -> bool:
    """Tell whether a frame of this kind is in the spools of a world."""
    data = [path.read_bytes() for path in world.home.rglob("*.rlspool")]
    return any(
        frame.kind == kind for one in data for frame in spool.whole_frames(one, offset=0) if one
    )


def writers(server: SpoolServer) -> list[str]:
    with server.lock:
        return [name.rpartition("/")[2] for name in server.streams]


def says(server: SpoolServer, status: int, extra: dict[str, str]) -> None:
    server.status, server.body, server.extra = status, b'{"detail": "later"}', extra
    server.manner = "says"


@pytest.mark.parametrize(
    ("status", "extra"),
    [(429, {"Retry-After": "1"}), (503, {"Retry-After": "1"}), (503, {}), (500, {}), (502, {})],
)
def test_finish_waits_for_a_server_that_is_busy_or_failing(
    busy_world: World, server: SpoolServer, status: int, extra: dict[str, str]
) -> None:
    says(server, status, extra)
    program = busy_world.start(PROGRAM.format(run="busy", seconds=60))
    until(lambda: len(server.posts) >= 2, shown=lambda: server.posts)
    # The program is in finish() by now or soon: what it was told last is still "busy".
    assert program.poll() is None
    server.manner = "well"
    out, err = program.communicate(timeout=60)
    assert out == "finished\n"
    assert "100 of 100 points delivered" in err


def test_the_words_of_a_server_without_room_are_in_the_last_lines_and_in_sync(
    busy_world: World, server: SpoolServer
) -> None:
    says(server, 503, {})
    server.body = b'{"detail": "database or disk is full"}'
    program = busy_world.start(PROGRAM.format(run="full", seconds=1))
    _, err = program.communicate(timeout=60)
    assert f"runlore: {server.url} is busy (503): database or disk is full; the rest is in" in err
    done = busy_world.sync()
    assert done.returncode == 3
    assert f"    {server.url} is busy (503): database or disk is full\n" in done.stdout


def test_ctrl_c_while_finish_waits_says_who_goes_on_and_all_arrives(
    busy_world: World, server: SpoolServer
) -> None:
    says(server, 503, {"Retry-After": "1"})
    program = busy_world.start(PROGRAM.format(run="hasty", seconds=3600))
    until(lambda: is_on_disk(busy_world, spool.FINISH), shown=busy_world.shown)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGINT
    assert "0 of 100 points delivered, interrupted while it waited\n" in err
    assert "the sender goes on bringing the rest to the server without this program" in err
    assert err.count("points delivered") == 1
    server.manner = "well"
    busy_world.settle()
    assert sum(map(len, map(server.rows, writers(server)))) == 100


def test_ctrl_c_while_one_of_several_runs_ends_ends_them_all_and_all_arrives(
    busy_world: World, server: SpoolServer
) -> None:
    says(server, 503, {"Retry-After": "1"})
    program = busy_world.start(
        "import runlore\nruns = [runlore.init(id=name, reinit='create_new', settings="
        "{'finish_timeout': 3600}) for name in ('one', 'two', 'three')]\n"
        "for run in runs:\n    run.log({'loss': 1})\n"
    )
    until(lambda: is_on_disk(busy_world, spool.FINISH), shown=busy_world.shown)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert err.count("0 of 1 points delivered, interrupted while it waited\n") == 3
    server.manner = "well"
    busy_world.settle()
    kinds = [
        [frame.kind for frame in spool.whole_frames(path.read_bytes(), offset=0)][-1]
        for path in busy_world.home.rglob("*.rlspool")
    ]
    assert kinds == [spool.FINISH] * 3
    assert sum(map(len, map(server.rows, writers(server)))) == 3


def test_what_is_delivered_is_not_called_0_where_no_file_may_be_opened(
    busy_world: World, server: SpoolServer
) -> None:
    program = busy_world.start(
        "import resource, runlore\nrun = runlore.init()\n"
        "for step in range(100):\n    run.log({'loss': step})\nassert run.flush(60)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\nrun.finish()\n"
    )
    _, err = program.communicate(timeout=60)
    assert "· 100 points logged\n" in err
    assert "cannot be read here, where no more files may be opened" in err
    busy_world.settle()
    assert sum(map(len, map(server.rows, writers(server)))) == 100


def test_retry_after_is_honoured_while_finish_waits(
    busy_world: World, server: SpoolServer
) -> None:
    says(server, 503, {"Retry-After": "2"})
    program = busy_world.start(PROGRAM.format(run="told", seconds=60))
    until(lambda: len(server.posts) >= 2, shown=lambda: server.posts)
    server.manner = "well"
    assert "100 of 100 points delivered" in program.communicate(timeout=60)[1]
    assert server.posts[1].at - server.posts[0].at >= 1.9


@pytest.mark.parametrize("status", [401, 404, 302])
def test_finish_does_not_wait_for_a_server_that_refuses(
    busy_world: World, server: SpoolServer, status: int
) -> None:
    says(server, status, {})
    program = busy_world.start(PROGRAM.format(run="refused", seconds=3600))
    _, err = program.communicate(timeout=60)
    assert "0 of 100 points delivered" in err
    assert "goes out with 'runlore sync'" in err


def test_finish_stops_waiting_when_a_busy_server_goes_away(
    busy_world: World, server: SpoolServer
) -> None:
    says(server, 503, {})
    program = busy_world.start(PROGRAM.format(run="gone", seconds=3600))
    until(lambda: len(server.posts) >= 3, shown=lambda: server.posts)
    server.stop()
    _, err = program.communicate(timeout=60)
    assert "0 of 100 points delivered" in err


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="mounting a filesystem needs root")
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_finish_does_not_wait_in_vain_for_a_full_disk_without_a_server(
    tmp_path: Path, mode: str
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", place], check=True)
    world = World("http://127.0.0.1:9", place)
    try:
        program = world.start(
            "import os, runlore\nrun = runlore.init(settings={'finish_timeout': 3600})\n"
            "for step in range(5000):\n    run.log({'loss': step, 'text': 'x' * 100})\n"
            "run.finish()\n".replace("init(", f"init(mode={mode!r}, ")
        )
        _, err = program.communicate(timeout=60)
        assert "No space left" in err
        assert "the rest is not on the disk yet but in" in err
    finally:
        world.close()
        subprocess.run(["umount", place], check=True)


def test_the_id_of_a_deleted_run_is_told_and_nothing_is_promised(
    world: World, real_server: ServerProcess
) -> None:
    world.run(PROGRAM.format(run="deleted", seconds=60))
    run = "/api/v1/projects/local/faults/runs/deleted"
    assert real_server.request("DELETE", run).status == 200
    said = world.run(PROGRAM.format(run="deleted", seconds=3600))
    assert f"run 'deleted' was deleted on {real_server.url}, which takes no more of it" in said
    assert "choose another id" in said
    assert f"the run was deleted on {real_server.url}; what came after that stays in" in said
    assert "goes out with" not in said
    must = PROGRAM.format(run="deleted", seconds=60).replace("id=", "resume='must', id=")
    program = world.start(must)
    _, err = program.communicate(timeout=60)
    assert "UsageError: run 'deleted' was deleted on" in err
    assert "choose another id" in err


def test_flush_waits_for_a_busy_server_too(busy_world: World, server: SpoolServer) -> None:
    says(server, 503, {"Retry-After": "1"})
    timer = threading.Timer(2.0, lambda: setattr(server, "manner", "well"))
    program = busy_world.start(
        "import runlore\nrun = runlore.init()\nrun.log({'loss': 1})\nprint(run.flush(60))\n"
    )
    timer.start()
    out, _ = program.communicate(timeout=60)
    timer.join()
    assert out == "True\n"
