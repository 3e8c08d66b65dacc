"""The streams of one run that nobody has brought to the spool yet, as `init` looks for them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from runlore.core.run import RunRef
from runlore.errors import DamageError
from runlore.sdk.places import OVERFLOW, listed, segment_name, segment_names, writer_folders
from runlore.sdk.staging import is_private, read_header, read_object, staging_roots
from runlore.settings import Settings

_HEAD_BYTES = 65536


def streams_of(settings: Settings, ref: RunRef, spooled: list[str]) -> Iterator[list[str]]:
    """Yield the segments, in order, of each stream of a run that lies in staging or overflow.

    Args:
        settings: where staging and home are.
        ref: the run.
        spooled: its writers that have a spool file, which tells whose an overflow is.
    """
    for root in staging_roots(settings.staging, settings.home):
        for folder in writer_folders(root):
            target = read_object(os.path.join(folder, "target"))
            if target.get("home") == settings.home and _is_of(target, ref):
                yield _segments(folder)
    left = os.path.join(settings.home, "staging", OVERFLOW)
    for writer in listed(left):
        folder = os.path.join(left, writer)
        if is_private(folder) and (writer in spooled or _begins(folder, ref)):
            yield _segments(folder)


def _begins(folder: str, ref: RunRef) -> bool:
    """Tell whether a stream of a run begins in a folder."""
    with suppress(OSError, DamageError):
        with open(os.path.join(folder, segment_name(0)), "rb") as file:
            header = read_header(file.read(_HEAD_BYTES))
        return _is_of(header, ref)
    return False


def _is_of(found: Mapping[str, object], ref: RunRef) -> bool:
    return (found.get("owner"), found.get("project"), found.get("run")) == ref


def _segments(folder: str) -> list[str]:
    with suppress(OSError):
        return [os.path.join(folder, name) for name in segment_names(folder)]
    return []
