"""What is known of a run that `init` is asked to continue: asked of the server, and read here."""

import json
import os
from contextlib import suppress
from typing import NamedTuple

from runlore.core.json import JsonObject
from runlore.core.metric import MAX_STEP
from runlore.core.run import RunRef
from runlore.errors import DamageError, RunloreError, UsageError
from runlore.settings import Settings
from runlore.wire import spool

WAIT_SECONDS = 2.0
_HEAD_BYTES = 64 * 1024
_TAIL_BYTES = 256 * 1024


class Known(NamedTuple):
    """What the server said about a run.

    `is_answered` is False when it said nothing in time; `run` is None when there is no such run,
    `is_deleted` says that there was one. `trouble` is what is odd about its answer.
    """

    is_answered: bool
    run: JsonObject | None = None
    is_deleted: bool = False
    trouble: str | None = None


def ask_server(settings: Settings, ref: RunRef) -> Known:
    """Ask for a run once, for at most two seconds in all; no trouble of the network is raised."""
    import threading

    answers: list[Known] = []

    # A look-up of a host's name has no time-out of its own, so it gets a thread.
    thread = threading.Thread(
        target=lambda: answers.append(_ask(settings, ref)), name="runlore-resume", daemon=True
    )
    thread.start()
    thread.join(WAIT_SECONDS)
    return answers[0] if answers else Known(is_answered=False)


def spool_folder(settings: Settings, ref: RunRef) -> str:
    """Return where the spools of a run lie on this machine."""
    folder = os.path.join(settings.home, "spool")
    if settings.mode == "online":
        # The sender's own answer; most programs neither ask nor load it. One without descriptors
        # left cannot.
        with suppress(ImportError, OSError):
            from runlore.sdk import settle

            folder = settle.spool_folder(settings.home, is_online=True)
    return os.path.join(folder, os.uname().nodename or "localhost", *ref)


def last_local_step(settings: Settings, ref: RunRef) -> int | None:
    """Return the greatest step near the end of what this machine has of a run, if any.

    Beside its spools that is what still lies in staging, where a program that was killed together
    with its sender leaves it.
    """
    folder = spool_folder(settings, ref)
    names: list[str] = []
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if name.endswith(".rlspool")]
    steps = [_last_step(os.path.join(folder, name)) for name in names]
    # As in `spool_folder`.
    with suppress(ImportError, OSError):
        from runlore.sdk import unsettled

        spooled = [name.removesuffix(".rlspool") for name in names]
        steps += [_last_staged_step(one) for one in unsettled.streams_of(settings, ref, spooled)]
    return max((step for step in steps if step is not None), default=None)


def local_run(settings: Settings, ref: RunRef) -> JsonObject:
    """Return what this machine's spools say a run was forked off; empty without spools."""
    run: JsonObject = {}
    with suppress(ImportError, OSError):
        from runlore.sdk.staging import read_header

        folder = spool_folder(settings, ref)
        for name in os.listdir(folder):
            with suppress(DamageError), open(os.path.join(folder, name), "rb") as file:
                fork = read_header(file.read(_HEAD_BYTES)).get("fork")
                run = {"fork": fork if isinstance(fork, dict) else run.get("fork")}
    return run


def _ask(settings: Settings, ref: RunRef) -> Known:
    headers = {"Accept": "application/json"}
    if settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    path = f"/api/v1/projects/{ref.owner}/{ref.project}/runs/{ref.run_id}"
    try:
        # Without descriptors left it cannot be loaded.
        from runlore.sdk.http import Connection

        connection = Connection(
            settings.url, connect_seconds=WAIT_SECONDS, answer_seconds=WAIT_SECONDS
        )
        try:
            status, _, body = connection.request("GET", path, headers=headers)
        finally:
            connection.close()
    except (RunloreError, ImportError, OSError):
        # The sender will say so at the end, if that is still so.
        return Known(is_answered=False)
    if status in (404, 410):
        return Known(is_answered=True, is_deleted=status == 410)
    found: object = None
    if status == 200:
        with suppress(ValueError, RecursionError):
            found = json.loads(body)
    if isinstance(found, dict) and found.get("id") == ref.run_id:
        with suppress(UsageError, RecursionError):
            return Known(is_answered=True, run=_sane(found))
    if status >= 400:
        return Known(is_answered=False)
    return Known(
        is_answered=False,
        trouble=f"expected run {ref.run_id!r} from {settings.url}, got {status} with "
        f"{body[:60]!r}; is that a Runlore server?",
    )


def _sane(run: JsonObject) -> JsonObject:
    """Return what a server says of a run without the step if none could follow it.

    Raises:
        UsageError: its config or summary is none that a server writes.
    """
    from runlore.wire.document import unplain_object

    run = {**run, **{part: unplain_object(run.get(part, {})) for part in ("config", "summary")}}
    last = run.get("last_step")
    is_step = type(last) is int and -MAX_STEP <= last < MAX_STEP
    return run if is_step else {**run, "last_step": None}


def _last_step(path: str) -> int | None:
    """Read the rows in the last part of a spool file, which may be large."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - _TAIL_BYTES)
            file.seek(start)
            data = file.read(_TAIL_BYTES)
    except OSError:
        return None
    at = 0 if start == 0 else first_edge(data)
    return _greatest_step(data[at:], start + at)


def _last_staged_step(paths: list[str]) -> int | None:
    """Read the rows of the last segment of a stream that holds any."""
    for path in reversed(paths):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        step = _greatest_step(data, int(os.path.basename(path)))
        if step is not None:
            return step
    return None


def _greatest_step(data: bytes, offset: int) -> int | None:
    """Return the greatest step of the frames that stand at a byte of a stream, if any."""
    steps: list[int] = []
    try:
        for frame in spool.whole_frames(data, offset=offset):
            head = spool.row_head(frame.payload) if frame.kind in spool.ROWS else None
            if head:
                steps.append(head.step)
            elif frame.kind == spool.HEADER:
                steps += _forked_at(frame.payload)
    except DamageError:
        # What stands before the damage is good.
        pass
    return max(steps, default=None)


def _forked_at(header: memoryview) -> list[int]:
    """Return the step behind which a fork begins; nothing of what is none."""
    with suppress(ValueError, RecursionError):
        fork = spool.decode_json(header).get("fork")
        step = fork.get("step") if isinstance(fork, dict) else None
        if type(step) is int and abs(step) < MAX_STEP:
            return [step]
    return []


def first_edge(data: bytes) -> int:
    """Find where a whole frame begins in a piece that was cut out of a stream; else its length.

    Only the first 128 KiB are searched.
    """
    size = len(data)
    for at in range(min(size - 9, _TAIL_BYTES // 2)):
        length = int.from_bytes(data[at : at + 4], "little")
        if not 0 < length <= size - at - 8 or not 0 < data[at + 8] <= spool.LOST:
            continue
        try:
            for _ in spool.whole_frames(data[at : at + 8 + length], offset=1):
                return at
        except DamageError:
            continue
    return size
