"""Waiting, for a bounded time, until the sender has brought a stream to where it is safe."""

import time
from collections.abc import Callable
from typing import NamedTuple

from runlore.sdk import tree
from runlore.sdk.launch import Launcher

GRACE_SECONDS = 0.3
"""What the sender said of a server before it was woken may be old."""
FULL_SECONDS = 1.5
"""The same of a disk, which may have room by now."""
SENDER_SECONDS = 5.0
"""Without a sender for so long there will be none."""
_LOOK_SECONDS = 1.0


class Outcome(NamedTuple):
    """What the sender said last, and whether the stream is where it is to be."""

    ack: tree.Ack | None
    is_done: bool


def wait(
    folder: str,
    end: int,
    launcher: Launcher,
    restore: Callable[[], object],
    *,
    is_offline: bool,
    timeout: float,
) -> Outcome:
    """Wait until a server has a stream up to `end`, or the disk when offline.

    Now and then `restore` is called, which makes the folder again if it was removed.

    Ends early when waiting is in vain: no server takes it, not even later, and all of it is on
    the disk or the disk is full.
    """
    started = seen = time.monotonic()
    deadline = started + timeout
    is_awake = False
    looked = -_LOOK_SECONDS
    pause = 0.001
    ack: tree.Ack | None = None
    while True:
        now = time.monotonic()
        if not is_awake:
            # Nobody listens before the sender is up.
            is_awake = tree.wake(launcher.tree)
        if now - looked >= _LOOK_SECONDS:
            looked = now
            restore()
            if launcher.ensure():
                seen = now
        ack = tree.read_ack(folder) or ack
        if ack is not None:
            if (ack.settled if is_offline else ack.next) >= end:
                return Outcome(ack, is_done=True)
            waited = now - started
            if ack.is_away and ack.settled >= end and waited > GRACE_SECONDS:
                return Outcome(ack, is_done=False)
            if ack.is_full and (ack.is_away or is_offline) and waited > FULL_SECONDS:
                return Outcome(ack, is_done=False)
        if now >= deadline or now - seen > SENDER_SECONDS:
            return Outcome(ack, is_done=False)
        time.sleep(min(pause, max(deadline - now, 0.0)))
        pause = min(pause * 1.2, 0.05)
