"""`runlore sync` with a real server: offline runs, damaged files, absent servers, twice."""

import json
from pathlib import Path

from runlore.sdk.staging import cut
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess
from runlore.wire import spool

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
    assert f"damaged at byte {at:,}: {len(data) - at:,} bytes from there stay here" in done.stdout
    found = losses(world, "damaged")
    assert found == list(range(len(found)))
    assert 20 < len(found) < 80
    assert path.read_bytes() == bytes(data)


def test_a_file_cut_off_in_a_frame_is_delivered_up_to_it_and_ended(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "cut")
    data = path.read_bytes()
    at = cut(data, offset=0, limit=len(data) // 2)
    path.write_bytes(data[: at + 5])
    done = world.sync()
    assert f"cut off at byte {at:,}: 5 bytes of an unfinished frame left out" in done.stdout
    assert real_server.get("/api/v1/projects/local/faults/runs/cut").json["state"] == "crashed"
    assert "nothing new" in world.sync().stdout


def test_a_file_that_is_no_spool_is_named_and_the_others_are_delivered(
    world: World, real_server: ServerProcess
) -> None:
    path = an_offline_spool(world, "beside")
    path.with_name("other.rlspool").write_bytes(b"GIF89a" + bytes(100))
    done = world.sync()
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
