"""What commands print, where there is no room for it."""

import io
import sys

import pytest

from runlore.cli.console import emit
from runlore.errors import UsageError


class _FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_behind_stdout_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", _FullDisk())
    with pytest.raises(UsageError, match="cannot print: No space left on device; print to"):
        emit("a line")
