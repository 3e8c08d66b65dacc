"""Trees that nobody is at work on while the disk takes nothing: `settle_orphans`."""

import json
import subprocess
from pathlib import Path

import pytest

from runlore.sdk.orphans import Chosen, settle_orphans
from runlore.sdk.places import segment_name
from runlore.sdk.sender import lock_tree
from runlore.testing.serving import SPOOL_TYPE, ServerProcess
from runlore.testing.spool_server import SpoolServer
from runlore.testing.staged_writer import StagedWriter, a_tree

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which nothing can be written, whoever one is."""
    (tmp_path / "home").write_text("a file where a folder should be")
    return tmp_path / "home"


def a_writer(tree: Path, home: Path, pid: int, number: int = 1) -> StagedWriter:
    writer = StagedWriter(
        tree, url=NOWHERE, home=home, pid=pid, writer=f"w{number}", run=f"run{number}"
    )
    for step in range(500):
        writer.log({"loss": step / 7}, step)
    return writer


def path_of(writer: StagedWriter) -> str:
    run = writer.path.parent.name
    return f"/api/v1/projects/local/digits/runs/{run}/spool/{writer.writer}?offset=0"


def test_what_the_disk_does_not_take_goes_to_the_server_chosen_and_is_told(
    staging: Path, home: Path, gone: int, real_server: ServerProcess
) -> None:
    writers = [a_writer(a_tree(staging, gone), home, gone)]
    writers.append(a_writer(writers[0].tree, home, gone, 2))
    sent, troubles = settle_orphans([str(staging)], Chosen(real_server.url, ""))
    assert troubles == []
    assert sorted((url, str(one.run), one.points) for url, one in sent) == [
        (real_server.url, "local/digits/run1", 500),
        (real_server.url, "local/digits/run2", 500),
    ]
    assert not writers[0].tree.exists()


def test_a_server_that_has_a_part_of_what_is_in_memory_gets_the_rest(
    staging: Path, home: Path, gone: int, real_server: ServerProcess
) -> None:
    writer = a_writer(a_tree(staging, gone), home, gone, 3)
    part = (writer.folder / segment_name(0)).read_bytes()[: writer.tail]
    answer = real_server.request("POST", path_of(writer), part, {"Content-Type": SPOOL_TYPE})
    assert answer.status == 200, answer
    told = {"next": answer.json["next"], "server": answer.json["server"]}
    for step in range(500, 1000):
        writer.log({"loss": step / 7}, step)
    (writer.folder / "ack").write_text(json.dumps(told))
    sent, troubles = settle_orphans([str(staging)], Chosen(real_server.url, ""))
    assert troubles == []
    assert [one.points for _, one in sent] == [1000]


def test_what_another_server_has_a_part_of_does_not_go_to_the_one_chosen(
    staging: Path, home: Path, gone: int, real_server: ServerProcess
) -> None:
    writer = a_writer(a_tree(staging, gone), home, gone)
    (writer.folder / "ack").write_text(json.dumps({"next": 100, "server": "another"}))
    sent, (trouble,) = settle_orphans([str(staging)], Chosen(real_server.url, ""))
    assert sent == []
    assert "stays in memory: cannot reach http://127.0.0.1:1" in trouble
    assert "Not a directory" in trouble
    assert writer.folder.exists()


def test_a_stream_that_a_server_refuses_keeps_no_other_in_memory(
    staging: Path, home: Path, gone: int, server: SpoolServer
) -> None:
    tree = a_tree(staging, gone)
    writers = [a_writer(tree, home, gone, number) for number in range(3)]
    # The one in the middle, from whichever end the folder is read.
    server.refused = {"w1"}
    sent, (trouble,) = settle_orphans([str(staging)], Chosen(server.url, ""))
    assert sorted(one.writer for _, one in sent) == ["w0", "w2"]
    assert "/w1 stays in memory: " in trouble
    assert [writer.folder.exists() for writer in writers] == [False, True, False]


def test_nobody_who_answers_is_waited_for_once_and_everything_stays(
    staging: Path, home: Path, gone: int
) -> None:
    tree = a_tree(staging, gone)
    writers = [a_writer(tree, home, gone, number) for number in range(6)]
    sent, troubles = settle_orphans([str(staging)])
    assert sent == []
    assert len([one for one in troubles if f"cannot reach {NOWHERE}" in one]) == 6
    assert all(writer.folder.exists() for writer in writers)


def test_a_sender_that_found_no_room_is_told_and_left_alone(
    staging: Path, home: Path, gone: int
) -> None:
    writer = a_writer(a_tree(staging, gone), home, gone)
    lock = lock_tree(str(writer.tree))
    assert lock is not None
    (writer.folder / "ack").write_text(json.dumps({"is_full": True, "error": "no room"}))
    sent, (trouble,) = settle_orphans([str(staging)])
    assert sent == []
    assert "its sender at work on it: no room; run 'runlore sync' again" in trouble
