"""The end of a stream whose process ended without ending it: the frame `lost`."""

import os
import time
from contextlib import suppress

from runlore.errors import DamageError
from runlore.sdk.places import segment_name
from runlore.sdk.staging import Staged
from runlore.wire import spool


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
            head = spool.row_head(frame.payload) if frame.kind in spool.ROWS else None
            if head:
                last_ns = max(last_ns, head.time_ns)
    return last_ns
