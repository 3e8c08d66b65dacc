"""Counts points on both ends of the demo: in the spool on disk, and on the server."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from runlore.errors import UnavailableError
from runlore.wire import spool

# Requests stay on this machine: a proxy that the environment names is not asked.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SpoolCount:
    """The points of runs in their spool files, read on from where the last count ended."""

    def __init__(self, folder: Path, project: str, runs: Sequence[str]) -> None:
        self._folder = folder
        self._project = project
        self._counts = dict.fromkeys(runs, 0)
        self._streams: dict[Path, _Stream] = {}

    @property
    def all_ended(self) -> bool:
        """Whether every run has a stream and each has come to its end."""
        ended = {path.parent.name for path, stream in self._streams.items() if stream.has_ended}
        return ended == set(self._counts) and all(s.has_ended for s in self._streams.values())

    def read(self) -> dict[str, int]:
        """Return the points of each run so far."""
        for run in self._counts:
            for path in self._folder.glob(f"*/*/{self._project}/{run}/*.rlspool"):
                stream = self._streams.setdefault(path, _Stream())
                with path.open("rb") as file:
                    self._counts[run] += stream.read(file)
        return dict(self._counts)


class _Stream:
    """One writer's file."""

    def __init__(self) -> None:
        self.has_ended = False
        self._offset = len(spool.PREAMBLE)
        self._keys = spool.KeyTable()

    def read(self, file: BinaryIO) -> int:
        """Return how many points have come since the last call."""
        file.seek(self._offset)
        points = 0
        for frame in spool.whole_frames(file.read(), offset=self._offset):
            if frame.kind in spool.DECLARING:
                self._keys.declare(frame.payload)
            elif frame.kind in spool.ROWS:
                points += len(self._keys.row(frame.payload).values)
            elif frame.kind in spool.ENDS:
                self.has_ended = True
            self._offset = frame.end
        return points


def answers(url: str) -> bool:
    """Tell whether a server is ready at an address."""
    try:
        with _OPENER.open(f"{url}/healthz", timeout=2) as response:
            return bool(json.load(response)["status"] == "ok")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def delivered_points(url: str, project: str, runs: Sequence[str]) -> dict[str, int]:
    """Return the points that a server has of each run; 0 for a run it has not heard of.

    Raises:
        UnavailableError: the server does not answer, or with something else.
    """
    counts = dict.fromkeys(runs, 0)
    for run in runs:
        address = f"{url}/api/v1/projects/local/{project}/runs/{run}"
        try:
            with _OPENER.open(address, timeout=10) as response:
                counts[run] = int(json.load(response)["points"])
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise UnavailableError(f"{address} answered {error.code}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnavailableError(f"no answer from {address}: {error}") from error
    return counts
