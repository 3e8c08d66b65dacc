"""The sender with a good server: what is logged settles and arrives, and nothing is left over."""

import signal
import subprocess
from pathlib import Path

from runlore.testing.processes import Senders, until
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
    assert server.posts == []
