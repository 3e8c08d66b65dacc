"""Where spools lie, and when they are removed."""

import json
import os
import time
from pathlib import Path

import pytest

from runlore.sdk.settle import (
    KEEP_SECONDS,
    Settler,
    filesystem_of,
    remove_finished,
    spool_path,
)
from runlore.sdk.staging import Stream, Target
from runlore.testing.staged_writer import StagedWriter, a_tree
from runlore.wire import spool

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/scratch xfs rw 0 0
gcs /mnt/my\\040bucket fuse.gcsfuse rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/root/.runlore", "ext4"),
        ("/home/ada/.runlore", "nfs4"),
        ("/homework", "ext4"),
        ("/home/scratch/ada", "xfs"),
        ("/mnt/my bucket/x", "fuse.gcsfuse"),
    ],
)
def test_the_filesystem_of_a_path_is_that_of_the_nearest_mount(path: str, kind: str) -> None:
    assert filesystem_of(path, MOUNTS) == kind


def a_target(home: Path) -> Target:
    return Target(
        url="http://127.0.0.1:1",
        api_key="",
        mode="online",
        home=str(home),
        host="box",
        owner="local",
        project="digits",
        run="r1",
        writer="w1",
        pid=1,
        start=1,
        role="main",
    )


@pytest.mark.parametrize(
    ("is_finished", "age_seconds", "is_kept"),
    [(True, KEEP_SECONDS + 60, False), (True, 60, True), (False, KEEP_SECONDS + 60, True)],
)
def test_a_spool_is_removed_a_day_after_a_server_had_it_whole(
    tmp_path: Path, is_finished: bool, age_seconds: int, is_kept: bool
) -> None:
    path = Path(spool_path(a_target(tmp_path)))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"RLSP")
    ack = path.with_suffix(".ack")
    ack.write_text(json.dumps({"next": 4, "finished": is_finished}))
    at = time.time() - age_seconds
    for file in (path, ack):
        os.utime(file, (at, at))
    remove_finished(a_target(tmp_path))
    assert (path.exists(), ack.exists()) == (is_kept, is_kept)


@pytest.mark.parametrize(
    ("reached", "content", "is_kept"),
    [
        (8, b"RLSP1234", False),
        (4, b"RLSP1234", True),
        (0, b"RLSP1234", True),
        (None, b"RLSP1234", True),
        (8, b"RLSP1234" + bytes(3_000_000), False),
        (8, b"RLSP1234" + bytes(3_000_000) + b"x", True),
        (99, b"RLSP1234", False),
    ],
)
def test_a_spool_with_bytes_that_no_server_acknowledged_is_never_removed(
    tmp_path: Path, reached: int | None, content: bytes, is_kept: bool
) -> None:
    path = Path(spool_path(a_target(tmp_path)))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    ack = path.with_suffix(".ack")
    ack.write_text(json.dumps({"next": reached, "finished": True}))
    at = time.time() - KEEP_SECONDS - 60
    for file in (path, ack):
        os.utime(file, (at, at))
    remove_finished(a_target(tmp_path))
    assert (path.exists(), ack.exists()) == (is_kept, is_kept)


def test_what_somebody_else_appends_to_a_spool_does_not_stay_in_it(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    writer = StagedWriter(a_tree(tmp_path / "staging"), url="http://127.0.0.1:1", home=tmp_path)
    stream, settler = Stream(str(writer.folder)), Settler()
    for step in range(20):
        writer.log({"loss": step}, step)
        stream.staged.scan()
        settler.attend(stream)
        assert stream.settled == writer.tail == writer.path.stat().st_size
        if step == 10:
            with writer.path.open("ab") as file:
                file.write(b"x" * 30)
    rows = list(spool.whole_frames(writer.path.read_bytes(), offset=0))
    assert rows[-1].end == writer.tail
    assert len(rows) == 22
