"""`runlore sync` with a real server: offline runs, damaged files, absent servers, twice."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from runlore.sdk.api import Api
from runlore.sdk.staging import cut, read_object
from runlore.testing.processes import until
from runlore.testing.programs import World, command_of
from runlore.testing.serving import ServerProcess
from runlore.testing.staged_writer import StagedWriter, a_tree
from runlore.wire import spool
from tests.unit.sdk.test_leftover import STREAM, Machine, edge

OFFLINE = """
import runlore
run = runlore.init(id="{run}", mode="offline")
for step in range(100):
    run.log({{"loss": step}})
run.finish()
"""


def an_offline_spool(world: World, run: str) -> Path:
    world.run(OFFLINE.format(run=run))
    world.settle()
    (path,) = world.home.rglob("*.rlspool")
    return path


def losses(world: World, run: str) -> list[object]:
    return [row["loss"] for row in world.history(run, "loss")]


def test_an_offline_run_is_delivered_and_twice_changes_nothing(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "offline")
    before = path.read_bytes()
    first = world.sync()
    assert (first.returncode, first.stderr) == (0, "")
    assert "local/faults/offline  100 points · " in first.stdout
    assert losses(world, "offline") == list(range(100))
    again = world.sync("--json")
    assert again.returncode == 0
    (line,) = again.stdout.splitlines()
    assert (json.loads(line)["sent"], json.loads(line)["points"]) == (0, 100)
    assert path.read_bytes() == before
    assert losses(world, "offline") == list(range(100))


def test_a_run_that_is_still_written_is_delivered_as_far_as_it_is(
    world: World, real_server: ServerProcess
) -> None:
    process = world.start(
        "import runlore\nrun = runlore.init(id='live', mode='offline')\n"
        "for step in range(50):\n    run.log({'loss': step})\n"
        "assert run.flush(20)\nprint('flushed', flush=True)\ninput()\n"
    )
    assert process.stdout is not None
    process.stdout.readline()
    done = world.sync()
    assert done.returncode == 0, done.stdout + done.stderr
    assert losses(world, "live") == list(range(50))
    (path,) = world.home.rglob("*.rlspool")
    kinds = [frame.kind for frame in spool.whole_frames(path.read_bytes(), offset=0)]
    assert spool.LOST not in kinds


def test_a_damaged_file_is_delivered_up_to_the_damage_which_is_named(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "damaged")
    data = bytearray(path.read_bytes())
    at = cut(bytes(data), offset=0, limit=len(data) // 2)
    data[at + 12] ^= 0xFF
    path.write_bytes(data)
    done = world.sync()
    assert done.returncode == 1
    assert f"damaged at byte {at:,}: {len(data) - at:,} bytes from there stay here" in done.stdout
    found = losses(world, "damaged")
    assert found == list(range(len(found)))
    assert 20 < len(found) < 80
    assert path.read_bytes() == bytes(data)


def test_a_file_cut_off_in_a_frame_is_delivered_up_to_it_and_left_as_it_is(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "cut")
    data = path.read_bytes()
    at = cut(data, offset=0, limit=len(data) // 2)
    path.write_bytes(data[: at + 5])
    done = world.sync()
    assert done.returncode == 1
    assert f"cut off at byte {at:,}: 5 bytes of an unfinished frame left out" in done.stdout
    found = losses(world, "cut")
    assert found == list(range(len(found)))
    assert 20 < len(found) < 80
    again = world.sync()
    assert again.returncode == 1
    assert "nothing new" in again.stdout
    assert path.read_bytes() == data[: at + 5]
    assert {file.suffix for file in path.parent.iterdir()} == {".rlspool", ".ack"}
    path.write_bytes(data)
    done = world.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert losses(world, "cut") == list(range(100))
    assert real_server.get("/api/v1/projects/local/faults/runs/cut").json["state"] == "finished"


def test_a_spool_without_an_end_of_a_program_that_is_gone_shows_a_crashed_run_at_once(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "endless")
    data = path.read_bytes()
    frames = list(spool.whole_frames(data, offset=0))
    assert frames[-1].kind == spool.FINISH
    path.write_bytes(data[: frames[-1].offset])
    address = "/api/v1/projects/local/faults/runs/endless"
    for _ in range(2):
        done = world.sync()
        assert (done.returncode, done.stderr) == (0, "")
        assert real_server.get(address).json["state"] == "crashed"
    path.write_bytes(data)
    assert world.sync().returncode == 0
    assert real_server.get(address).json["state"] == "finished"


def test_what_its_sender_had_delivered_of_a_program_that_is_gone_shows_a_crashed_run_at_once(
    world: World, real_server: ServerProcess
) -> None:
    process = world.start(
        "import runlore\nrun = runlore.init(id='both-gone')\nrun.log({'loss': 1})\n"
        "assert run.flush(20)\nprint('flushed', flush=True)\ninput()\n"
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(world.sender(), signal.SIGKILL)
    process.kill()
    process.wait()
    address = "/api/v1/projects/local/faults/runs/both-gone"
    assert real_server.get(address).json["state"] == "running"
    # As a restart does, which leaves no staging in which the end could be noted.
    for tree in world.trees():
        shutil.rmtree(tree)
    for _ in range(2):
        assert world.sync().returncode == 0
        assert real_server.get(address).json["state"] == "crashed"


def test_a_copy_that_still_grows_is_delivered_as_it_grows(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    path = an_offline_spool(world, "growing")
    data = path.read_bytes()
    edge = cut(data, offset=0, limit=len(data) // 3)
    copy = tmp_path / "usb" / path.name
    copy.parent.mkdir()
    reached = 0
    for size in (edge, len(data) // 2 + 3, len(data)):
        copy.write_bytes(data[:size])
        world.sync(str(copy.parent))
        assert copy.read_bytes() == data[:size]
        found = losses(world, "growing")
        assert found == list(range(len(found)))
        assert len(found) > reached
        reached = len(found)
    assert reached == 100
    done = world.sync(str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "everything is delivered" in done.stdout
    run = "/api/v1/projects/local/faults/runs/growing"
    assert real_server.get(run).json["state"] == "finished"


def test_spools_that_nobody_may_write_are_delivered(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "read-only")
    before = path.read_bytes()
    with _read_only(path):
        for _ in range(2):
            done = world.sync(str(path.parent))
            assert (done.returncode, done.stderr) == (0, "")
            assert "everything is delivered" in done.stdout
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before
    assert losses(world, "read-only") == list(range(100))


@contextmanager
def _read_only(path: Path) -> Iterator[None]:
    """Take away the right to write a file and its folder, from root too where chattr can."""
    places = (path, path.parent)
    modes = [place.stat().st_mode for place in places]
    is_root = os.getuid() == 0
    if is_root and subprocess.run(["chattr", "+i", *places], check=False).returncode:
        pytest.skip("root may write everywhere, and this filesystem has no immutable files")
    for place in () if is_root else places:
        place.chmod(0o555)
    try:
        yield
    finally:
        if is_root:
            subprocess.run(["chattr", "-i", *places], check=True)
        for place, mode in zip(places, modes, strict=True):
            place.chmod(mode)


def test_a_file_that_is_no_spool_is_named_and_the_others_are_delivered(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "beside")
    path.with_name("other.rlspool").write_bytes(b"GIF89a" + bytes(100))
    done = world.sync()
    assert done.returncode == 1
    assert "other.rlspool: not delivered: expected a spool" in done.stdout
    assert losses(world, "beside") == list(range(100))


def test_without_a_server_sync_says_so_with_exit_code_3(
    world: World, real_server: ServerProcess
) -> None:
    an_offline_spool(world, "absent")
    done = world.sync("--url", "http://127.0.0.1:9")
    assert done.returncode == 3
    assert "cannot reach http://127.0.0.1:9: Connection refused" in done.stdout
    assert world.sync().returncode == 0
    assert losses(world, "absent") == list(range(100))


def test_a_folder_that_does_not_exist_is_refused(world: World) -> None:
    done = world.sync("/nowhere")
    assert done.returncode == 1
    assert "expected a folder with spools" in done.stderr


def test_a_spool_in_which_nothing_stands_yet_is_not_spoken_of(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "with-empty")
    path.with_name("just-made.rlspool").touch()
    done = world.sync()
    assert "just-made" not in done.stdout
    assert "100 points" in done.stdout
    for spool_file in world.home.rglob("*.rlspool"):
        spool_file.write_bytes(b"")
    done = world.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to deliver in" in done.stdout


def an_orphan(staging: Path, home: Path, *, url: str) -> StagedWriter:
    """Leave a tree whose program and sender are gone, with one row in it."""
    gone = subprocess.Popen(["sleep", "60"])
    root = staging / f"runlore-{os.getuid()}"
    root.mkdir(parents=True, mode=0o700)
    writer = StagedWriter(a_tree(root, gone.pid), url=url, home=home, pid=gone.pid)
    writer.log({"loss": 1.0}, 0)
    gone.kill()
    gone.wait()
    return writer


KILLED_WITH_ITS_SENDER = """
import glob, os, runlore, signal
run = runlore.init(id="{run}", resume="allow")
print(run.step, flush=True)
run.log({{"by": {by}}})
assert run.flush(20)
(lock,) = glob.glob(os.environ["RUNLORE_STAGING"] + "/*/%d-*/lock" % os.getpid())
with open(lock) as file:
    os.kill(int(file.read()), signal.SIGKILL)
for _ in range({rows} - 1):
    run.log({{"by": {by}}})
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_with_sender(world: World, run: str, *, rows: int, by: int) -> int:
    """Run a program until it and its sender are killed at once; return its first step."""
    program = world.start(KILLED_WITH_ITS_SENDER.format(run=run, rows=rows, by=by))
    out, err = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGKILL, err
    return int(out)


def test_a_run_that_finished_elsewhere_stays_so_when_the_rest_of_its_beginning_arrives(
    world: World, real_server: ServerProcess, tmp_path: Path
) -> None:
    kill_with_sender(world, "moved", rows=100, by=1)
    other = World(real_server.url, tmp_path / "other")
    try:
        other.run(
            "import runlore\nrun = runlore.init(id='moved', resume='allow')\n"
            "for step in range(200):\n    run.log({'by': 2}, step=step)\nrun.finish()\n"
        )
        other.settle()
    finally:
        other.close()
    assert world.sync().returncode == 0
    found = real_server.get("/api/v1/projects/local/faults/runs/moved").json
    assert (found["state"], found["exit_code"]) == ("finished", 0)
    assert [row["by"] for row in world.history("moved", "by")] == [2] * 200


def test_a_run_goes_on_behind_what_only_staging_has_of_it(
    world: World, real_server: ServerProcess
) -> None:
    first = kill_with_sender(world, "again", rows=1000, by=1)
    second = kill_with_sender(world, "again", rows=1000, by=2)
    world.run("import runlore\nrun = runlore.init(id='again')\nrun.log({'by': 3})\nrun.finish()")
    assert (first, second) == (0, 1000)
    assert world.sync().returncode == 0
    rows = world.history("again", "by")
    assert [row["step"] for row in rows] == list(range(2001))
    assert [row["by"] for row in rows] == [1] * 1000 + [2] * 1000 + [3]


def test_a_server_counts_and_delivers_what_only_waits_in_memory(tmp_path: Path) -> None:
    orphan = an_orphan(tmp_path / "staging", tmp_path, url="http://127.0.0.1:9")
    with ServerProcess(tmp_path) as server:
        run = "/api/v1/projects/local/digits/runs/run1"
        until(lambda: server.get(run).status == 200)
        until(lambda: not orphan.tree.exists())
        out, err = server.stop()
    assert "1 spool waits on this machine and will be delivered now" in out
    assert err == ""
    with ServerProcess(tmp_path) as server:
        out, _ = server.stop()
    assert "on this machine and will be delivered" not in out


def test_a_server_says_what_a_restart_lost_of_what_it_delivers(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for folder in (tmp_path / "staging", machine.folder.parent, machine.folder):
        folder.mkdir(mode=0o700)
    machine.settled(STREAM[: edge(0.3)])
    machine.left(1, edge(0.6), len(STREAM))
    with ServerProcess(tmp_path) as server:
        run = "/api/v1/projects/local/digits/runs/r1"
        until(lambda: server.get(run).status == 200)
        _, err = server.stop()
    assert err.startswith("runlore: ")
    assert "bytes of run local/digits/r1 were in memory alone when this machine stopped" in err
    assert len(err.splitlines()) == 1


def begin_at(world: World, server: ServerProcess, run: str) -> str:
    """Deliver a part of a run to a server, which then goes away; return what its end said."""
    program = world.start(
        f"import runlore\nrun = runlore.init(id={run!r}, project='two')\n"
        "for step in range(100):\n    run.log({'loss': step})\n"
        "assert run.flush(20)\nprint('flushed', flush=True)\ninput()\n"
        "for step in range(100):\n    run.log({'loss': 100 + step})\n",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "flushed\n"
    sender = world.sender()
    server.kill()
    _, err = program.communicate("\n", timeout=30)
    assert program.returncode == 0
    os.kill(sender, signal.SIGTERM)
    # Until then it delivers the rest to a server that comes back.
    until(lambda: not command_of(sender))
    return err


def rows_at(server: ServerProcess, run: str) -> list[object]:
    return [row["loss"] for row in Api(server.url).run(f"two/{run}").scan_history(["loss"])]


def test_a_run_that_one_server_has_begun_to_take_goes_to_another_only_when_named(
    tmp_path: Path,
) -> None:
    first, second = ServerProcess(tmp_path / "a"), ServerProcess(tmp_path / "b")
    first.start()
    world = World(first.url, tmp_path / "home")
    try:
        with second:
            begin_at(world, first, "halved")
            done = world.sync("--url", second.url)
            assert (done.returncode, done.stderr) == (0, "")
            left_out = f"1 spool left out, begun by another server at {first.url}"
            assert left_out in done.stdout
            assert second.get("/api/v1/projects/local/two/runs/halved").status == 404
            with first:
                for _ in range(2):
                    done = world.sync()
                    assert (done.returncode, done.stderr) == (0, "")
                    assert rows_at(first, "halved") == list(range(200))
                assert "nothing new" in done.stdout
                # Back at the other one, it is still the first one's.
                assert left_out in world.sync("--url", second.url).stdout
            for _ in range(2):
                done = world.sync(str(world.home / "spool"), "--url", second.url)
                assert (done.returncode, done.stderr) == (0, "")
                assert rows_at(second, "halved") == list(range(200))
            assert "nothing new" in done.stdout
    finally:
        world.close()


def test_what_an_emptied_server_had_goes_to_it_again_only_when_named(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "a") as server:
        world = World(server.url, tmp_path / "home")
        world.run("import runlore\nrun = runlore.init(id='old', project='two')\nrun.log({'a': 1})")
        world.settle()
        server.stop()
        shutil.rmtree(tmp_path / "a")
        server.start()
        try:
            assert "left out, begun by another server" in world.sync().stdout
            assert server.get("/api/v1/projects/local/two/runs/old").status == 404
            done = world.sync(str(world.home / "spool"))
            assert "delivered" in done.stdout
            assert server.get("/api/v1/projects/local/two/runs/old").json["state"] == "finished"
            assert "nothing new" in world.sync().stdout
        finally:
            world.close()


def test_a_run_that_was_deleted_after_all_of_it_was_delivered_is_said_and_is_no_trouble(
    world: World, real_server: ServerProcess
) -> None:
    an_offline_spool(world, "unwanted")
    assert world.sync().returncode == 0
    run = "/api/v1/projects/local/faults/runs/unwanted"
    assert real_server.request("DELETE", run).status in (200, 204)
    path = next(world.home.rglob("*.rlspool"))
    for _ in range(2):
        done = world.sync(str(world.home / "spool"))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            f"runlore: 1 run for {real_server.url}\n"
            "  local/faults/unwanted  deleted on the server\n"
            f"    {path.name}: the run was deleted on {real_server.url}; remove this file, or "
            f"bring it to another server with 'runlore sync {path} --url ADDRESS'\n"
            "runlore: everything else is delivered\n"
        )
        # Without a folder to name it, it is no other server's either.
        assert world.sync().stdout == done.stdout
    (line,) = world.sync("--json").stdout.splitlines()
    assert json.loads(line)["is_deleted"] is True


def test_what_was_never_delivered_of_a_deleted_run_ends_sync_with_exit_code_1(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "unseen")
    assert world.sync().returncode == 0
    run = "/api/v1/projects/local/faults/runs/unseen"
    assert real_server.request("DELETE", run).status in (200, 204)
    for ack in world.home.rglob("*.ack"):
        ack.unlink()
    for _ in range(2):
        done = world.sync()
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout == (
            f"runlore: 1 run for {real_server.url}\n"
            "  local/faults/unseen  deleted on the server\n"
            f"    {path.name}: the run was deleted on {real_server.url}, and "
            f"{path.stat().st_size:,} bytes here were not delivered; remove this file, or bring "
            f"it to another server with 'runlore sync {path} --url ADDRESS'\n"
            "runlore: 1 of 1 run not delivered: deleted on the server, which takes no more of it; "
            "its file stays until you remove it or bring it to another server\n"
        )
    (line,) = world.sync("--json").stdout.splitlines()
    assert json.loads(line)["unwanted"] == path.stat().st_size


def test_a_run_deleted_when_half_of_it_was_delivered_stays_that_servers(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path / "a") as server:
        world = World(server.url, tmp_path / "home")
        try:
            begin_at(world, server, "half-deleted")
            server.start()
            run = "/api/v1/projects/local/two/runs/half-deleted"
            assert server.request("DELETE", run).status == 200
            for _ in range(2):
                done = world.sync()
                assert (done.returncode, done.stderr) == (1, "")
                assert "bytes here were not delivered" in done.stdout
                assert "left out" not in done.stdout
        finally:
            world.close()


def test_what_a_server_lost_of_a_delivered_spool_is_sent_again(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "a") as server:
        world = World(server.url, tmp_path / "home")
        try:
            world.run("import runlore\nrun = runlore.init(id='one', project='two')")
            world.settle()
            server.stop()
            shutil.copytree(tmp_path / "a" / "server", tmp_path / "backup")
            server.start()
            world.run(
                "import runlore\nrun = runlore.init(id='two', project='two')\n"
                "for step in range(100):\n    run.log({'loss': step})\n"
            )
            world.settle()
            assert rows_at(server, "two") == list(range(100))
            server.stop()
            shutil.rmtree(tmp_path / "a" / "server")
            shutil.copytree(tmp_path / "backup", tmp_path / "a" / "server")
            server.start()
            done = world.sync()
            assert (done.returncode, done.stderr) == (0, "")
            assert rows_at(server, "two") == list(range(100))
            assert "two/one  0 points · nothing new" in done.stdout
        finally:
            world.close()


def opened_by(pid: int) -> list[str]:
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(one))
    return found


def test_another_delivery_is_waited_for_and_one_that_lasts_ends_sync_with_exit_code_3(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "held")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = world.sync()
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == (
        f"runlore: 1 run for {real_server.url}\n"
        "  local/faults/held  nothing delivered\n"
        "    another sync, or the server itself, delivers it at this moment\n"
        "runlore: 1 of 1 run not delivered whole; what is missing waits for the next "
        "'runlore sync'\n"
    )
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = world.start_sync()
        until(lambda: str(path) in opened_by(process.pid))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "local/faults/held  100 points · " in out


def test_an_absent_server_is_said_of_a_run_of_which_it_had_all_that_is_on_the_disk(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path / "server") as server:
        world = World(server.url, tmp_path / "home")
        try:
            process = world.start(
                "import runlore\nrun = runlore.init(id='live')\nrun.log({'loss': 1})\n"
                "assert run.flush(20)\nprint('flushed', flush=True)\ninput()\n"
            )
            assert process.stdout is not None
            process.stdout.readline()
            until(lambda: [read_object(str(path)) for path in world.home.rglob("*.ack")] != [])
            assert world.sync().returncode == 0
            server.stop()
            done = world.sync()
            assert done.returncode == 3
            assert (
                "local/faults/live  1 point · nothing delivered\n    cannot reach " in done.stdout
            )
            assert "1 of 1 run not delivered whole" in done.stdout
        finally:
            world.close()


def test_a_key_that_is_refused_ends_sync_with_exit_code_1(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "a", host="0.0.0.0") as server:
        world = World(server.url, tmp_path / "home")
        try:
            an_offline_spool(world, "locked-out")
            done = world.sync(RUNLORE_API_KEY="wrong")
            assert done.returncode == 1
            assert "refuses the key" in done.stdout
            key = (tmp_path / "a" / "server" / "key").read_text().strip()
            assert world.sync(RUNLORE_API_KEY=key).returncode == 0
        finally:
            world.close()
