"""A server whose log nobody reads."""

import fcntl
import sqlite3
import struct
import termios
from pathlib import Path

from runlore.core.run import RunRef
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.runs import EmbeddedRunStore
from runlore.testing.processes import until
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder

MANY = 2000


def a_spool(run: str) -> SpoolBuilder:
    builder = SpoolBuilder(RunRef("local", "logged", run))
    for step in range(10):
        builder.log({"loss": 0.5}, step=step)
    return builder


def a_folder_full_of_damage(server: Path) -> None:
    """Leave many runs of each of which the server has to say something."""
    folder = server / "history"
    store = EmbeddedMetricStore(folder)
    store.append([a_spool(f"run-{number}").piece() for number in range(MANY)])
    store.close()
    log = sqlite3.connect(folder / "log.db")
    log.execute("UPDATE piece SET body = x'00'")
    log.commit()
    log.close()
    EmbeddedRunStore(server / "catalog.db").close()


def test_a_log_that_nobody_reads_keeps_no_request_waiting(tmp_path: Path) -> None:
    a_folder_full_of_damage(tmp_path / "server")
    with ServerProcess(tmp_path) as server:
        assert server.process is not None
        assert server.process.stderr is not None
        pipe = server.process.stderr.fileno()
        size = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)

        def waiting() -> int:
            (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
            return int(count)

        until(lambda: waiting() > size - 4096, seconds=60, shown=waiting)
        builder = a_spool("fresh")
        for frame in range(len(builder.frames)):
            assert server.send_spool(builder, frame, frame + 1).status == 200
        assert server.get("/api/v1/projects/local/logged/runs/fresh").json["points"] == 10
        # Each of these has something to say, in whichever thread asks.
        for number in range(0, MANY, 20):
            taken = server.send_spool(a_spool(f"run-{number}"))
            assert taken.status == 200
            assert taken.json["points"] == 10
        _, err = server.stop()
    for line in err.splitlines():
        assert "asked for the rest again" in line or "lines of the log were left out" in line
    assert err.count("asked for the rest again") > 100
