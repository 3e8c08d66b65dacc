"""Whatever a server does, everything arrives once it is good again, soon and once."""

from pathlib import Path

import pytest

from runlore.testing.processes import Senders, until
from runlore.testing.spool_server import Manner, SpoolServer
from runlore.testing.staged_writer import StagedWriter, a_tree
from runlore.wire import spool


def steps_of(server: SpoolServer, writer: str = "w1") -> list[int]:
    return [row.step for row in server.rows(writer)]


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ("busy", "is busy (429)"),
        ("unavailable", "is busy (503)"),
        ("not http", "expected an HTTP answer"),
        ("not json", "is that a Runlore server?"),
        ("beyond", "is that a Runlore server?"),
        ("backwards", "is that a Runlore server?"),
        ("endless", "expected an HTTP answer"),
        ("hangs up", "closed the connection without an answer"),
        ("breaks after storing", "closed the connection without an answer"),
    ],
)
def test_a_server_that_misbehaves_is_named_and_used_again_once_it_is_well(
    manner: Manner,
    said: str,
    tmp_path: Path,
    staging: Path,
    server: SpoolServer,
    senders: Senders,
) -> None:
    server.manner = manner
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    for step in range(100):
        writer.log({"loss": step / 7}, step)
    senders.start(writer.tree)
    until(lambda: said in str(writer.ack().get("error")), shown=writer.ack)
    until(lambda: writer.ack().get("settled") == writer.tail, shown=writer.ack)
    server.manner = "well"
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
    until(lambda: writer.ack().get("error") is None, shown=writer.ack)
    assert steps_of(server) == list(range(100))


def test_an_absent_server_is_found_once_it_starts(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    server.stop()
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    writer.log({"loss": 1.0}, 0)
    senders.start(writer.tree)
    until(lambda: "cannot reach" in str(writer.ack().get("error")), shown=writer.ack)
    server.start()
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)


def test_a_server_replaced_by_an_empty_one_gets_everything_again_from_the_disk(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path, segment_bytes=4096)
    senders.start(writer.tree)
    for step in range(2000):
        writer.log({"loss": step / 7}, step)
    writer.wake()
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
    until(lambda: len(list(writer.folder.glob("0*"))) == 1)
    server.replace()
    writer.log({"loss": 0.0}, 2000)
    writer.finish()
    until(lambda: server.kinds("w1")[-1:] == [spool.FINISH], shown=writer.ack)
    assert steps_of(server) == list(range(2001))
    assert server.stream("w1") == writer.path.read_bytes()


def test_a_server_with_an_older_backup_gets_what_it_misses(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path, segment_bytes=4096)
    senders.start(writer.tree)
    for step in range(1000):
        writer.log({"loss": step / 7}, step)
    writer.wake()
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
    with server.lock:
        (name,) = server.streams
        frames = list(spool.whole_frames(server.streams[name], offset=0))
        server.streams[name] = server.streams[name][: frames[500].end]
    writer.log({"loss": 0.0}, 1000)
    writer.finish()
    until(lambda: server.kinds("w1")[-1:] == [spool.FINISH], shown=writer.ack)
    assert steps_of(server) == list(range(1001))


def test_a_server_that_is_silent_does_not_keep_the_disk_waiting(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    server.manner = "silent"
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    senders.start(writer.tree)
    writer.log({"loss": 1.0}, 0)
    until(lambda: len(server.posts) > 0)
    writer.log({"loss": 1.0}, 1)
    until(lambda: writer.ack().get("settled") == writer.tail, shown=writer.ack)
    server.manner = "well"
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)


def test_a_refused_key_is_said_and_not_tried_often(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    server.manner = "refuses the key"
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    writer.log({"loss": 1.0}, 0)
    senders.start(writer.tree)
    until(lambda: "set RUNLORE_API_KEY" in str(writer.ack().get("error")), shown=writer.ack)
    until(lambda: writer.ack().get("settled") == writer.tail)
    assert len(server.posts) == 1


def test_a_deleted_run_is_delivered_no_more_and_leaves_staging(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    server.manner = "deleted"
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    writer.log({"loss": 1.0}, 0)
    senders.start(writer.tree)
    until(lambda: "was deleted" in str(writer.ack().get("error")), shown=writer.ack)
    writer.finish()
    until(lambda: not writer.folder.exists())
    assert len(server.posts) == 1


def test_a_damaged_frame_ends_the_delivery_of_its_writer_alone(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    tree = a_tree(staging)
    writer = StagedWriter(tree, url=server.url, home=tmp_path)
    other = StagedWriter(tree, url=server.url, home=tmp_path, writer="w2")
    writer.log({"loss": 1.0}, 0)
    good = writer.tail
    framed = bytearray(spool.frame(spool.encode_loose_row(1, 1, [0], [0.5])))
    framed[-1] ^= 0xFF
    writer.raw(bytes(framed))
    writer.log({"loss": 2.0}, 2)
    other.log({"loss": 3.0}, 3)
    senders.start(tree)
    until(lambda: f"ends at byte {good}" in str(writer.ack().get("error")), shown=writer.ack)
    until(lambda: other.ack().get("next") == other.tail, shown=other.ack)
    assert (steps_of(server, "w1"), steps_of(server, "w2")) == ([0], [3])
    until(lambda: writer.path.exists() and writer.path.stat().st_size == writer.tail)


def test_a_piece_that_is_too_large_is_halved_until_it_passes(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    server.max_body = 2000
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    for step in range(3000):
        writer.log({"loss": step**1.5}, step)
    senders.start(writer.tree)
    writer.finish()
    until(lambda: server.kinds("w1")[-1:] == [spool.FINISH], shown=writer.ack)
    assert steps_of(server) == list(range(3000))


def test_half_a_piece_taken_is_followed_by_the_other_half(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    server.manner = "takes half"
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    for step in range(500):
        writer.log({"loss": step**1.5}, step)
    senders.start(writer.tree)
    until(lambda: len(server.posts) > 2, shown=writer.ack)
    server.manner = "well"
    writer.finish()
    until(lambda: server.kinds("w1")[-1:] == [spool.FINISH], shown=writer.ack)
    assert steps_of(server) == list(range(500))


def test_a_writer_that_is_refused_keeps_no_other_from_being_delivered(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    tree = a_tree(staging)
    refused = StagedWriter(tree, url=server.url, home=tmp_path, writer="a1")
    other = StagedWriter(tree, url=server.url, home=tmp_path, writer="b1")
    server.refused.add("a1")
    refused.log({"loss": 1.0}, 0)
    senders.start(tree)
    until(lambda: "not welcome" in str(refused.ack().get("error")), shown=refused.ack)
    other.log({"loss": 1.0}, 0)
    until(lambda: other.ack().get("next") == other.tail, shown=other.ack)
    assert other.ack()["error"] is None
