"""Rows whose segments are written rather than mapped, and handlers that log amid a write."""

import errno
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runlore.errors import UsageError
from runlore.sdk import spool as sdk_spool
from runlore.sdk.rows import Rows
from runlore.sdk.segments import WrittenSegment
from runlore.wire import spool
from tests.unit.sdk.streams import read, read_back, some_rows, staged


def written_rows(folder: Path, patch: pytest.MonkeyPatch, handle: Callable[[], None]) -> Rows:
    """Rows whose segments are written, with a handler that runs in the middle of every 7th write.

    The first writes, which declare the keys, are left alone.
    """
    write = os.pwrite
    calls = itertools.count(1)
    is_handling = False

    def refuse(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported here")

    def pwrite(fd: int, data: bytes, at: int) -> int:
        nonlocal is_handling
        number = next(calls)
        if number < 50 or number % 7 or is_handling:
            return write(fd, data, at)
        is_handling = True
        try:
            handle()
        finally:
            is_handling = False
        return write(fd, data, at)

    patch.setattr("os.posix_fallocate", refuse)
    patch.setattr("os.pwrite", pwrite)
    rows = some_rows(folder)
    assert isinstance(rows.stream.buffer, WrittenSegment)
    return rows


@pytest.mark.parametrize("size", [1, 70_000, 600_000])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), TimeoutError()])
def test_what_a_handler_logs_in_the_middle_of_a_write_leaves_no_hole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    error: BaseException | None,
) -> None:
    handled = 0

    def handle() -> None:
        nonlocal handled
        for _ in range(2):
            rows.log({"h": handled, "text": "h" * size}, None, None)
            handled += 1
        if error is not None:
            raise error

    rows = written_rows(tmp_path, monkeypatch, handle)
    count = 5000 if size == 1 else 60
    for number in range(count):
        with suppress(KeyboardInterrupt, TimeoutError):
            rows.log({"m": number}, None, None)
    assert handled > 10
    monkeypatch.undo()
    assert rows.retry()
    assert rows.gap_points == 0
    found = [values for _, values in read_back(rows).rows]
    assert [values["m"] for values in found if "m" in values] == list(range(count))
    assert [values["h"] for values in found if "h" in values] == list(range(handled))


def test_a_write_that_fails_beneath_a_handler_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = 0

    def handle() -> None:
        nonlocal handled
        rows.log({"h": handled}, None, None)
        handled += 1
        if handled < 4:
            raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(sdk_spool, "_RETRY_NS", 0)
    rows = written_rows(tmp_path, monkeypatch, handle)
    for number in range(300):
        rows.log({"m": number}, None, None)
    assert handled > 10
    assert rows.retry()
    found = [values for _, values in read_back(rows).rows]
    assert [values["m"] for values in found if "m" in values] == list(range(300))
    assert [values["h"] for values in found if "h" in values] == list(range(handled))


def test_a_handler_that_ends_the_run_in_the_middle_of_a_write_ends_it_behind_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish() -> None:
        rows.close(spool.encode_json(spool.FINISH, {"exit_code": 3}))
        rows.release()

    def handle() -> None:
        if not rows.postpone(finish):
            finish()

    rows = written_rows(tmp_path, monkeypatch, handle)
    logged = 0
    with suppress(UsageError):
        for logged in range(1000):
            rows.log({"m": logged}, None, None)
    assert 20 < logged < 999
    found = read(staged(Path(rows.stream.folder)))
    assert [values["m"] for _, values in found.rows] == list(range(logged))
    assert found.kinds[-1] == spool.FINISH
