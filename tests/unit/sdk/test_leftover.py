"""What lay on the disk for want of memory when the machine stopped comes home afterwards."""

import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from runlore.core.json import JsonObject
from runlore.sdk.leftover import leftovers, settle_leftovers
from runlore.sdk.places import segment_name
from runlore.sdk.staging import cut
from runlore.sdk.tree import boot_id
from runlore.wire import spool

DAY = 24 * 3600


def a_stream(rows: int, *, boot: str = "another", pid: int | None = None) -> bytes:
    head: JsonObject = {
        "owner": "local",
        "project": "digits",
        "run": "r1",
        "writer": "w1",
        "host": os.uname().nodename,
        "boot": boot,
        "pid": pid,
        "started_ns": 1,
    }
    payloads = [spool.encode_json(spool.HEADER, head), spool.encode_keys(0, ["loss", "note"])]
    payloads += [
        spool.encode_mixed_row(step, step, [0, 1], [float(step), "x" * (step % 90)])
        for step in range(rows)
    ]
    return spool.PREAMBLE + b"".join(map(spool.frame, payloads))


STREAM = a_stream(300)


def edge(share: float, data: bytes = STREAM) -> int:
    return cut(data, offset=0, limit=int(len(data) * share))


class Machine(NamedTuple):
    """One that was restarted: a spool file and files on the disk to which nothing leads."""

    home: Path

    @property
    def spool(self) -> Path:
        folder = self.home / "spool" / os.uname().nodename / "local" / "digits" / "r1"
        return folder / "w1.rlspool"

    @property
    def folder(self) -> Path:
        return self.home / "staging" / "overflow" / "w1"

    def settled(self, data: bytes) -> None:
        self.spool.parent.mkdir(parents=True)
        self.spool.write_bytes(data)

    def left(self, number: int, first: int, last: int, data: bytes = STREAM) -> None:
        """Leave a file with a part of the stream, preallocated, and its place."""
        (self.folder / str(number)).write_bytes(data[first:last].ljust(65536, b"\0"))
        (self.folder / segment_name(first)).symlink_to(str(number))

    def settle(self, *roots: Path) -> list[str]:
        own = [str(self.home / "spool")]
        found = leftovers(str(self.home), own, list(map(str, roots)))
        return list(settle_leftovers(str(self.home), found))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    (tmp_path / "staging").mkdir(mode=0o700)
    machine.folder.mkdir(parents=True, mode=0o700)
    return machine


@pytest.mark.parametrize("settled", [0, 0.1, 0.3, 0.5, 0.9, 1])
@pytest.mark.parametrize("more", [0, 5])
def test_what_was_left_on_the_disk_completes_the_spool_and_is_swept(
    machine: Machine, settled: float, more: int
) -> None:
    if settled:
        # A full disk, or the end of the machine, may have cut the last frame.
        machine.settled(STREAM[: edge(settled) + more])
    first = 0 if settled == 0 else edge(0.1)
    machine.left(1, first, edge(0.4))
    machine.left(2, edge(0.4), edge(0.7))
    machine.left(3, edge(0.7), len(STREAM))
    (machine.folder / "4").write_bytes(bytes(65536))
    assert machine.settle() == []
    assert machine.spool.read_bytes() == STREAM
    assert not machine.folder.exists()
    assert machine.settle() == []


def test_a_program_that_lives_is_left_alone_however_long_it_is_silent(machine: Machine) -> None:
    data = a_stream(300, boot=boot_id(), pid=os.getpid())
    machine.settled(data[: edge(0.5, data)])
    machine.left(1, edge(0.5, data), len(data), data)
    then = time.time() - DAY - 60
    for path in (machine.folder, *machine.folder.iterdir(), machine.spool):
        os.utime(path, (then, then), follow_symlinks=False)
    assert machine.settle() == []
    assert machine.folder.exists()


@pytest.mark.parametrize(("first", "second"), [(0.3, 0.6), (0.21, 0.22), (0.5, 0.9)])
def test_what_only_memory_had_is_a_counted_gap_and_the_rest_comes_home(
    machine: Machine, first: float, second: float
) -> None:
    machine.settled(STREAM[: edge(0.2)])
    machine.left(1, edge(first), edge(second))
    machine.left(2, edge(0.95), len(STREAM))
    (said,) = machine.settle()
    lost = edge(first) - edge(0.2) + edge(0.95) - edge(second)
    assert said.startswith(f"{lost:,} bytes of run local/digits/r1 were in memory alone")
    data = machine.spool.read_bytes()
    assert len(data) == len(STREAM)
    for start, end in ((0, edge(0.2)), (edge(first), edge(second)), (edge(0.95), len(data))):
        assert data[start:end] == STREAM[start:end]
    frames = list(spool.whole_frames(data, offset=0))
    assert frames[-1].end == len(STREAM)
    missing = _rows(STREAM) - _rows(data)
    counted = 0
    for one in frames:
        rows = spool.decode_json(one.payload)["rows"] if one.kind == spool.GAP else 0
        assert isinstance(rows, int)
        counted += rows
    assert missing * 0.5 <= counted <= missing * 1.5
    assert not machine.folder.exists()


def test_rows_whose_keys_only_memory_knew_are_a_gap_and_the_others_come_home(
    machine: Machine,
) -> None:
    layout = spool.row_struct(1)

    def row(key_set: int, step: int) -> bytes:
        return spool.frame(layout.pack(spool.ROW, key_set, step, step, 1.0))

    start = STREAM[: edge(0.2)] + spool.frame(spool.encode_key_set(0, [0]))
    lost = spool.frame(spool.encode_keys(2, ["late"])) + spool.frame(spool.encode_key_set(1, [2]))
    told = spool.frame(spool.encode_keys(3, ["later"])) + spool.frame(spool.encode_key_set(2, [3]))
    dark = b"".join(row(1, step) for step in range(40))
    rest = row(0, 1) + dark + row(0, 2) + row(1, 3) + told + row(2, 4) + dark
    data = start + lost + rest
    machine.settled(start)
    machine.left(1, len(start) + len(lost), len(data), data)
    (said,) = machine.settle()
    assert said.startswith(f"{len(lost) + 2 * len(dark) + len(row(1, 3)):,} bytes of run")
    table, rows, gaps = spool.KeyTable(), [], []
    for frame in spool.whole_frames(machine.spool.read_bytes(), offset=0):
        if frame.kind in (spool.KEYS, spool.KEY_SET):
            table.declare(frame.payload)
        elif frame.kind == spool.ROW:
            one = table.row(frame.payload)
            rows.append((one.step, one.keys, one.values))
        elif frame.kind == spool.GAP:
            gaps.append(spool.decode_json(frame.payload)["rows"])
    assert rows == [(1, ["loss"], (1.0,)), (2, ["loss"], (1.0,)), (4, ["later"], (1.0,))]
    assert gaps == [40, 40]


def test_a_file_whose_place_nobody_noted_is_named_and_stays(machine: Machine) -> None:
    machine.settled(STREAM[: edge(0.2)])
    machine.left(1, edge(0.2), edge(0.5))
    (machine.folder / "2").write_bytes(STREAM[edge(0.5) : edge(0.8)].ljust(65536, b"\0"))
    for _ in range(2):
        (said,) = machine.settle()
        assert f"{machine.folder} holds {edge(0.8) - edge(0.5):,} bytes" in said
        assert machine.spool.read_bytes() == STREAM[: edge(0.5)]
        assert [path.name for path in machine.folder.iterdir()] == ["2"]


def test_without_a_restart_nothing_is_touched_until_a_day_has_passed(machine: Machine) -> None:
    data = a_stream(300, boot=boot_id())
    middle = edge(0.5, data)
    machine.settled(data[:middle])
    machine.left(1, middle, len(data), data)
    assert machine.settle() == []
    assert machine.spool.read_bytes() == data[:middle]
    then = time.time() - DAY - 60
    for path in (machine.folder, *machine.folder.iterdir(), machine.spool):
        os.utime(path, (then, then), follow_symlinks=False)
    assert machine.settle() == []
    assert machine.spool.read_bytes() == data
    assert not machine.folder.exists()


def test_a_writer_that_staging_knows_is_left_to_its_sender(
    machine: Machine, tmp_path: Path
) -> None:
    machine.settled(STREAM[: edge(0.5)])
    machine.left(1, edge(0.5), len(STREAM))
    (tmp_path / "shm" / "12-34" / "w1").mkdir(parents=True)
    assert machine.settle(tmp_path / "shm", tmp_path / "staging") == []
    assert machine.spool.read_bytes() == STREAM[: edge(0.5)]
    assert machine.settle(tmp_path / "staging") == []
    assert machine.spool.read_bytes() == STREAM


def test_a_spool_that_is_damaged_is_not_written_over(machine: Machine) -> None:
    bad = bytearray(STREAM[: edge(0.5)])
    bad[edge(0.3) + 20] ^= 0xFF
    machine.settled(bytes(bad))
    machine.left(1, edge(0.5), len(STREAM))
    (said,) = machine.settle()
    assert f"{machine.folder} stays on the disk: its spool file {machine.spool} is damaged" in said
    assert machine.spool.read_bytes() == bytes(bad)
    assert machine.folder.exists()


def _rows(data: bytes) -> int:
    return sum(one.kind == spool.MIXED_ROW for one in spool.whole_frames(data, offset=0))
