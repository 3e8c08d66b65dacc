"""The sender with a good server: what is logged settles and arrives, and nothing is left over."""

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
