"""The sender with a good server: what is logged settles and arrives, and nothing is left over."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runlore.testing.processes import Senders, until
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess
from runlore.testing.spool_server import SpoolServer, rows_of
from runlore.testing.staged_writer import StagedWriter, a_tree
from runlore.wire import spool


def test_what_is_logged_settles_and_arrives(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    senders.start(writer.tree)
    for step in range(1000):
        writer.log({"loss": step / 7, "word": f"é{step}", "ok": step % 2 == 0}, step)
    writer.finish()
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
    until(lambda: writer.ack().get("settled") == writer.tail, shown=writer.ack)
    assert [row.step for row in server.rows("w1")] == list(range(1000))
    assert writer.path.read_bytes() == server.stream("w1")
    assert len(rows_of(writer.path.read_bytes())) == 1000
    assert server.kinds("w1")[-1] == spool.FINISH
    until(lambda: not writer.folder.exists())


def test_a_sender_adopts_the_tree_of_a_program_and_sender_that_are_gone(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    gone = subprocess.Popen(["sleep", "60"])
    left = a_tree(staging, gone.pid)
    orphan = StagedWriter(left, url=server.url, home=tmp_path, writer="old", pid=gone.pid)
    orphan.log({"loss": 1.0}, 0)
    gone.kill()
    gone.wait()
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    senders.start(writer.tree)
    until(lambda: not left.exists(), shown=orphan.ack)
    assert server.kinds("old")[-1] == spool.LOST
    assert orphan.path.read_bytes() == server.stream("old")


def test_a_second_sender_for_a_tree_ends_at_once(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    first = senders.start(writer.tree)
    until(lambda: (writer.tree / "lock").exists() and (writer.tree / "lock").read_text() != "")
    assert senders.start(writer.tree).wait(5) == 0
    assert first.poll() is None


def test_a_terminated_sender_first_delivers_what_its_dying_program_logged(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    program = subprocess.Popen(["sleep", "60"])
    writer = StagedWriter(
        a_tree(staging, program.pid), url=server.url, home=tmp_path, pid=program.pid
    )
    server.manner = "busy"
    for step in range(100):
        writer.log({"loss": step / 7}, step)
    sender = senders.start(writer.tree)
    until(lambda: "is busy" in str(writer.ack().get("error")), shown=writer.ack)
    sender.send_signal(signal.SIGINT)
    sender.terminate()
    program.terminate()
    program.wait()
    server.manner = "well"
    assert sender.wait(10) == 0
    assert [row.step for row in server.rows("w1")] == list(range(100))
    assert server.kinds("w1")[-1] == spool.LOST
    assert not writer.tree.exists()


def test_offline_settles_and_delivers_nothing(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path, mode="offline")
    senders.start(writer.tree)
    writer.log({"loss": 1.0}, 0)
    writer.finish()
    until(lambda: writer.ack().get("settled") == writer.tail, shown=writer.ack)
    until(lambda: not writer.folder.exists())
    # A sender of another test may still knock at a port that this server got after another one.
    assert [post for post in server.posts if post.writer == writer.writer] == []


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="hiding /proc needs root")
def test_without_proc_a_program_is_followed_by_its_number(
    world: World, real_server: ServerProcess
) -> None:
    hidden = ("unshare", "--mount", "--", "sh", "-c")
    script = 'mount -t tmpfs none /proc && exec "$@"'
    process = world.start(
        "import runlore, time\nrun = runlore.init(id='no-proc')\nprint(1, flush=True)\n"
        "for step in range(100):\n    run.log({'n': step})\n    time.sleep(0.01)\n"
        "assert run.flush(20)\nprint(2, flush=True)\ninput()\n",
        prefix=(*hidden, script, "sh"),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    sender = world.sender()
    assert process.stdout.readline() == "2\n", process.communicate()
    assert world.sender() == sender
    assert real_server.get("/api/v1/projects/local/faults/runs/no-proc").json["state"] == "running"
    process.kill()
    process.wait()
    world.settle()
    assert [row["n"] for row in world.history("no-proc")] == list(range(100))
    assert real_server.get("/api/v1/projects/local/faults/runs/no-proc").json["state"] == "crashed"


def end_of(sender: "subprocess.Popen[bytes]", seconds: float) -> float:
    """Wait for the end of a sender; return after how many seconds it came."""
    began = time.monotonic()
    assert sender.wait(seconds) == 0
    return time.monotonic() - began


def a_program(
    staging: Path, home: Path, url: str
) -> "tuple[subprocess.Popen[bytes], StagedWriter]":
    program = subprocess.Popen(["sleep", "60"])
    writer = StagedWriter(a_tree(staging, program.pid), url=url, home=home, pid=program.pid)
    writer.log({"loss": 1.0}, 0)
    return program, writer


@pytest.mark.parametrize("removed", ["segments", "writer", "tree", "staging"])
def test_a_sender_ends_when_its_staging_is_removed(
    removed: str, tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    root = staging / "root"
    program, writer = a_program(root, tmp_path, server.url)
    server.stop()
    sender = senders.start(writer.tree)
    until(lambda: "cannot reach" in str(writer.ack().get("error")), shown=writer.ack)
    if removed == "segments":
        for path in writer.folder.glob("0*"):
            path.unlink()
    else:
        shutil.rmtree({"writer": writer.folder, "tree": writer.tree, "staging": root}[removed])
    program.kill()
    program.wait()
    # With a server that is gone it lingers for a minute; here nothing is left to linger for.
    if removed in ("tree", "staging"):
        end_of(sender, 40)
    else:
        assert sender.poll() is None
        sender.terminate()
        end_of(sender, 40)


def test_a_sender_ends_a_minute_after_its_program_whatever_its_server_does(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    """A server that forgets all and takes it again, for ever, keeps no sender alive."""
    program, writer = a_program(staging, tmp_path, server.url)
    server.manner, server.max_body = "forgets", 300
    for step in range(1, 100):
        writer.log({"loss": step**1.5}, step)
    sender = senders.start(writer.tree, linger_seconds=2)
    until(lambda: len(server.posts) > 5, shown=writer.ack)
    program.kill()
    program.wait()
    assert end_of(sender, 40) < 40
    assert writer.path.exists()


def test_an_orphan_tree_that_cannot_be_removed_ends_no_sender(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    gone, orphan = a_program(staging, tmp_path, server.url)
    half = orphan.tree.with_name(f".{orphan.tree.name}.gone")
    half.mkdir()
    (half / "log").touch()
    gone.kill()
    gone.wait()
    shutil.rmtree(orphan.folder)
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path, writer="w2")
    sender = senders.start(writer.tree)
    until(lambda: not orphan.tree.exists() or sender.poll() is not None)
    writer.log({"loss": 1.0}, 0)
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
    assert sender.poll() is None
    assert not half.exists()


def test_a_day_after_a_server_had_it_whole_a_spool_goes_and_nothing_else(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    folder = tmp_path / "spool" / "box" / "local" / "digits" / "older"
    folder.mkdir(parents=True)
    old = time.time() - 25 * 3600
    kept = []
    for name, is_finished, ack_at, spool_at in (
        ("delivered", True, old, old),
        ("unfinished", False, old, old),
        ("lately", True, time.time() - 23 * 3600, old),
        ("grown", True, old, time.time()),
        ("unknown", None, old, old),
    ):
        path = folder / f"{name}.rlspool"
        path.write_bytes(spool.PREAMBLE)
        os.utime(path, (spool_at, spool_at))
        if is_finished is not None:
            ack = path.with_suffix(".ack")
            ack.write_text(json.dumps({"url": "http://x", "next": 8, "finished": is_finished}))
            os.utime(ack, (ack_at, ack_at))
        kept.append(path)
    others = [
        folder / "notes.txt",
        tmp_path / "spool" / "box2.rlspool",
        tmp_path / "settings.toml",
    ]
    for path in others:
        path.write_text("mine")
        os.utime(path, (old, old))
    program, writer = a_program(staging, tmp_path, server.url)
    sender = senders.start(writer.tree)
    program.kill()
    program.wait()
    assert end_of(sender, 10) < 8
    assert [path.name for path in kept if not path.exists()] == ["delivered.rlspool"]
    assert not (folder / "delivered.ack").exists()
    assert len(list(folder.glob("*.ack"))) == 3
    assert all(path.exists() for path in others)
    assert writer.path.exists()


FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


@pytest.mark.skipif(FAKETIME is None, reason="needs the Debian package libfaketime")
def test_steps_of_the_clock_by_days_hold_up_no_sender(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    program, writer = a_program(staging, tmp_path, server.url)
    prefix = ("env", *(f"{name}={value}" for name, value in faked.items()))
    sender = senders.start(writer.tree, prefix=prefix)
    for step, offset in enumerate(("+0", "+2d", "-3d", "+400d"), 1):
        clock.write_text(offset)
        writer.log({"loss": step / 7}, step)
        until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
        until(lambda: writer.ack().get("settled") == writer.tail, shown=writer.ack)
    program.kill()
    program.wait()
    assert end_of(sender, 10) < 8
    (end,) = [
        spool.decode_json(frame.payload)
        for frame in spool.whole_frames(server.stream("w1"), offset=0)
        if frame.kind == spool.LOST
    ]
    # Proof that its clock was another one.
    assert int(str(end["time_ns"])) / 1e9 - time.time() > 399 * 86400
    assert writer.path.exists()
