"""A disk that is full or stands still: the program does not wait, and nothing is lost."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.sdk.api import Api
from runlore.sdk.staging import read_object
from runlore.testing.processes import Senders, until
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess
from runlore.testing.spool_server import SpoolServer
from runlore.testing.staged_writer import StagedWriter, a_tree
from runlore.wire import spool

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="mounting a filesystem needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def loop_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 filesystem of its own, which can be frozen."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(512 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mounted = subprocess.run(
        ["mount", "-o", "loop", image, place], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no loop device: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["fsfreeze", "--unfreeze", place], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.root
@needs_root
def test_a_full_disk_is_said_and_what_a_server_has_leaves_staging_all_the_same(
    tmp_path: Path, staging: Path, small_disk: Path, server: SpoolServer, senders: Senders
) -> None:
    writer = StagedWriter(a_tree(staging), url=server.url, home=small_disk)
    senders.start(writer.tree)
    for step in range(60_000):
        writer.log({"loss": step / 7}, step)
    writer.wake()
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
    until(lambda: "No space left" in str(writer.ack().get("error")), shown=writer.ack)
    until(lambda: len(list(writer.folder.glob("0*"))) == 1, shown=writer.ack)
    writer.finish()
    until(lambda: not writer.folder.exists(), shown=writer.ack)
    assert len(server.rows("w1")) == 60_000


@pytest.mark.root
@needs_root
def test_a_disk_that_was_full_takes_the_rest_once_there_is_room(
    tmp_path: Path, staging: Path, small_disk: Path, server: SpoolServer, senders: Senders
) -> None:
    server.stop()
    writer = StagedWriter(a_tree(staging), url=server.url, home=small_disk)
    senders.start(writer.tree)
    for step in range(60_000):
        writer.log({"loss": step / 7}, step)
    until(lambda: "No space left" in str(writer.ack().get("error")), shown=writer.ack)
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    until(lambda: writer.ack().get("settled") == writer.tail, shown=writer.ack)
    server.start()
    writer.finish()
    until(lambda: server.stream("w1") == writer.path.read_bytes() != b"", shown=writer.ack)
    assert len(server.rows("w1")) == 60_000


def a_home_that_cannot_be_written(tmp_path: Path) -> Path:
    (tmp_path / "home").write_text("a file where a folder should be")
    return tmp_path / "home"


def test_a_home_that_cannot_be_written_is_said_and_stops_no_delivery(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    home = a_home_that_cannot_be_written(tmp_path)
    writer = StagedWriter(a_tree(staging), url=server.url, home=home)
    senders.start(writer.tree)
    writer.log({"loss": 1.0}, 0)
    until(lambda: "Not a directory" in str(writer.ack().get("error")), shown=writer.ack)
    writer.finish()
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)


def test_a_sender_with_few_descriptors_serves_many_writers(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    tree = a_tree(staging)
    writers = [
        StagedWriter(tree, url=server.url, home=tmp_path, writer=f"w{n}") for n in range(40)
    ]
    senders.start(tree, prefix=("prlimit", "--nofile=12", "--"))
    for writer in writers:
        writer.log({"loss": 1.0}, 0)
        writer.finish()
    until(lambda: not any(writer.folder.exists() for writer in writers))
    for writer in writers:
        assert server.stream(writer.writer) == writer.path.read_bytes()


def log_while_frozen(world: World, disk: Path, seconds: int) -> float:
    """Log without a pause while the disk of the home stands still; return the worst call."""
    program = f"""
import os, subprocess, time, runlore
run = runlore.init(id="frozen-{seconds}", dir={str(disk / "home")!r})
run.log({{"n": 0}})
assert run.flush(20)
subprocess.run(["fsfreeze", "--freeze", {str(disk)!r}], check=True)
worst, n, began = 0.0, 1, time.monotonic()
while time.monotonic() - began < {seconds}:
    before = time.perf_counter()
    run.log({{"n": n}})
    worst = max(worst, time.perf_counter() - before)
    n += 1
    time.sleep(0.0005)
delivered = run.flush(30)
subprocess.run(["fsfreeze", "--unfreeze", {str(disk)!r}], check=True)
run.finish()
print('result', n, worst, delivered)
"""
    out = world.run(program)
    (result,) = (line for line in out.splitlines() if line.startswith("result"))
    _, count, worst, delivered = result.split()
    assert delivered == "True"
    found = world.history(f"frozen-{seconds}")
    assert [row["n"] for row in found] == list(range(int(count)))
    (path,) = disk.rglob("*.rlspool")
    assert path.stat().st_size > 30 * int(count)
    return float(worst)


@pytest.mark.root
@needs_root
def test_a_frozen_disk_keeps_neither_the_program_nor_delivery_waiting(
    tmp_path: Path, loop_disk: Path, real_server: ServerProcess, world: World
) -> None:
    worst = log_while_frozen(world, loop_disk, 4)
    print(f"the worst call took {worst * 1e3:.2f} ms")  # noqa: T201
    # One that waited for the disk would have waited until it thawed.
    assert worst < 2, f"the worst call took {worst * 1e3:.1f} ms"


@pytest.mark.slow
@pytest.mark.root
@needs_root
def test_a_disk_frozen_for_half_a_minute_loses_nothing(
    tmp_path: Path, loop_disk: Path, real_server: ServerProcess, world: World
) -> None:
    worst = log_while_frozen(world, loop_disk, 30)
    print(f"the worst call took {worst * 1e3:.2f} ms")  # noqa: T201
    # One that waited for the disk would have waited until it thawed.
    assert worst < 2, f"the worst call took {worst * 1e3:.1f} ms"


@pytest.mark.root
@needs_root
def test_a_burst_while_the_disk_is_frozen_does_not_wait_and_its_gap_is_counted(
    tmp_path: Path, loop_disk: Path, world: World
) -> None:
    out = world.run(
        f"""
import subprocess, time, runlore
run = runlore.init(id="burst-on-ice", mode="offline", dir={str(loop_disk / "home")!r})
run.log({{"n": 0}})
assert run.flush(20)
subprocess.run(["fsfreeze", "--freeze", {str(loop_disk)!r}], check=True)
worst = 0.0
for n in range(1, 300):
    before = time.perf_counter()
    run.log({{"text": "x" * 1_000_000}})
    worst = max(worst, time.perf_counter() - before)
subprocess.run(["fsfreeze", "--unfreeze", {str(loop_disk)!r}], check=True)
run.finish()
print("worst", worst)
"""
    )
    assert "up to 64 MiB wait, then points are counted" in out
    assert "points could not be kept" in out
    (path,) = loop_disk.rglob("*.rlspool")
    kept = lost = 0
    for frame in spool.whole_frames(path.read_bytes(), offset=0):
        kept += frame.kind in (spool.LOOSE_ROW, spool.MIXED_ROW)
        if frame.kind == spool.GAP:
            points = spool.decode_json(frame.payload)["points"]
            assert isinstance(points, int)
            lost += points
    assert 50 < kept < 120
    assert kept + lost == 300
    worst = float(out.partition("worst ")[2].split()[0])
    print(f"the worst call took {worst * 1e3:.2f} ms")  # noqa: T201
    # One that waited for the disk would have waited until it thawed, which is never.
    assert worst < 2, f"the worst call took {worst * 1e3:.1f} ms"


@pytest.mark.root
@needs_root
def test_what_only_a_lost_server_had_is_named_and_other_writers_go_on(
    tmp_path: Path, staging: Path, small_disk: Path, server: SpoolServer, senders: Senders
) -> None:
    tree = a_tree(staging)
    writer = StagedWriter(tree, url=server.url, home=small_disk, writer="a1")
    other = StagedWriter(tree, url=server.url, home=tmp_path, writer="b1")
    sender = senders.start(tree)
    for step in range(60_000):
        writer.log({"loss": step / 7}, step)
    writer.wake()
    until(lambda: len(list(writer.folder.glob("0*"))) == 1, shown=writer.ack)
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    until(lambda: writer.ack().get("settled") == writer.tail, shown=writer.ack)
    hole = int(writer.path.read_bytes().index(bytes(4096)))
    with server.lock:
        lost, identity = dict(server.streams), server.server_id
    server.replace()
    writer.log({"loss": 0.0}, 60_000)
    until(
        lambda: "wants the stream from byte" in str(writer.ack().get("error")),
        shown=lambda: (writer.ack(), server.posts[-3:], hole),
    )
    said = str(writer.ack()["error"])
    assert f"{server.url} wants the stream from byte " in said
    assert "neither in memory nor on the disk" in said
    assert "another server or an older backup" in said
    for step in range(5):
        other.log({"loss": 1.0}, step)
        until(lambda: other.ack().get("next") == other.tail, seconds=20, shown=other.ack)
    assert hole - 100 < len(server.stream("a1")) <= hole
    with server.lock:
        server.streams.update(lost)
        server.server_id = identity
    # One that lives knocks again after half a minute.
    sender.kill()
    sender.wait()
    writer.finish()
    senders.start(tree)
    until(lambda: not writer.folder.exists(), shown=writer.ack)
    assert len(server.rows("a1")) == 60_001


@pytest.mark.root
@needs_root
def test_what_a_full_disk_did_not_take_goes_from_memory_to_a_server_that_came_back(
    tmp_path: Path, small_disk: Path, real_server: ServerProcess
) -> None:
    world = World("http://127.0.0.1:1", small_disk)
    try:
        process = world.start(
            "import os, runlore\n"
            "run = runlore.init(id='full')\n"
            "for n in range(60_000):\n    run.log({'n': n})\n"
            "os.kill(os.getpid(), 9)\n"
        )
        process.wait()
        sender = world.sender()
        acks = [path / "ack" for tree in world.trees() for path in tree.iterdir()]
        until(lambda: any(read_object(str(ack)).get("is_full") is True for ack in acks))
        beside = world.sync(RUNLORE_URL=real_server.url)
        assert beside.returncode == 1, beside
        assert "its sender at work on it: " in beside.stdout
        assert "everything else is delivered" in beside.stdout
        os.kill(sender, signal.SIGKILL)
        away = world.sync()
        assert "stays in memory: " in away.stdout, away
        done = world.sync(RUNLORE_URL=real_server.url)
        assert done.returncode == 0, done
        assert "60,000 points" in done.stdout
        assert not world.trees()
        again = world.sync(RUNLORE_URL=real_server.url)
        assert again.returncode == 0, again
        rows = Api(real_server.url).run("faults/full").scan_history(["n"])
        assert [row["n"] for row in rows] == list(range(60_000))
    finally:
        world.close()
