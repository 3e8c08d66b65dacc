"""The end of a stream whose process ended without ending it: the frame `lost`."""

import os
import time
from contextlib import suppress

from runlore.errors import DamageError
from runlore.sdk.staging import Staged, segment_name
from runlore.wire import spool

_ROWS = (spool.ROW, spool.LOOSE_ROW, spool.MIXED_ROW)
_ROW_TIME = slice(13, 21)


def append_lost(staged: Staged, *, signal: int | None, is_witnessed: bool) -> None:
    """Append `lost` to the stream of a process that is gone.

    It tells when the process ended: now, where somebody saw that. Who comes later tells the last
    sign of life instead, since the run may have gone on and ended elsewhere meanwhile.

    Raises:
        OSError: staging does not take it.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    now_ns = time.time_ns()
    age_ns = 0 if is_witnessed else max(0, now_ns - _last_sign_ns(staged))
    content = {
        "signal": signal,
        "time_ns": now_ns - age_ns,
        "boot_ns": max(0, time.clock_gettime_ns(clock) - age_ns),
    }
    staged.append(spool.encode_json(spool.LOST, content))


def _last_sign_ns(staged: Staged) -> int:
    """Return when the last segment was made or written, or its last row logged if that is later.

    What is logged into a mapping need not change the time of its file.
    """
    start = staged.newest
    path = os.path.join(staged.folder, segment_name(start))
    last_ns = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
    with suppress(DamageError):
        for frame in spool.whole_frames(staged.copy(start, staged.tail - start), offset=start):
            if frame.kind in _ROWS:
                row_ns = int.from_bytes(frame.payload[_ROW_TIME], "little", signed=True)
                last_ns = max(last_ns, row_ns)
    return last_ns
