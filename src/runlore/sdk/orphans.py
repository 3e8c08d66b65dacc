"""Trees in staging whose program and sender are gone: brought to the disk, or else to a server."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from runlore.core.run import RunRef
from runlore.sdk.deliver import Deliverer, Server
from runlore.sdk.lost import append_lost
from runlore.sdk.places import ACKS, writer_folders
from runlore.sdk.sender import Tree, find_orphans
from runlore.sdk.settle import Settler, write_disk_ack
from runlore.sdk.staging import Stream, is_gone, read_object, read_target
from runlore.sdk.sync import PATIENCE_SECONDS, Delivery

_SETTLE_SECONDS = 10.0


class Chosen(NamedTuple):
    """A server that the user has chosen, with the key for it, empty where none is known."""

    url: str
    api_key: str


class Settled(NamedTuple):
    """What became of the trees.

    Attributes:
        sent: what went from memory to a server, as the disk had no room for it, with its address.
        troubles: what stays in memory, and why.
    """

    sent: list[tuple[str, Delivery]]
    troubles: list[str]


def settle_orphans(roots: Sequence[str], chosen: Chosen | None = None) -> Settled:
    """Bring the trees whose program and sender are gone to the disk.

    What the disk has no room for goes from memory to a server: the one chosen, or else that of
    its program.
    """
    settled = Settled([], [])
    settler = Settler()
    line = _Line(settler, chosen)
    for root in roots:
        seen = set()
        for tree in find_orphans(root):
            seen.add(tree.folder)
            try:
                _settle_tree(tree, settler, line, settled)
            finally:
                os.close(tree.lock)
        for folder in writer_folders(root):
            if os.path.dirname(folder) not in seen:
                settled.troubles.extend(_kept_by_sender(folder))
    line.close()
    return settled


def _settle_tree(tree: Tree, settler: Settler, line: "_Line", settled: Settled) -> None:
    tree.find_streams()
    deadline = time.monotonic() + _SETTLE_SECONDS
    for stream in list(tree.streams.values()):
        staged = stream.staged
        if not is_gone(stream.target.pid, stream.target.start):
            continue
        staged.scan()
        if not staged.is_ended:
            append_lost(staged, signal=None, is_witnessed=False)
        settler.attend(stream)
        while stream.settled < staged.tail and time.monotonic() < deadline:
            if stream.disk_error is not None:
                break
            time.sleep(0.1)
            settler.attend(stream)
        before = stream.next
        if stream.settled >= staged.tail:
            tree.drop(stream)
        elif line.send(stream):
            settled.sent.append((stream.target.url, _delivery(stream, before)))
            tree.drop(stream)
        else:
            settled.troubles.append(f"{staged.folder} stays in memory: {stream.error}")
    if not tree.streams:
        tree.remove()


def _delivery(stream: Stream, before: int) -> Delivery:
    target, tail = stream.target, stream.staged.tail
    return Delivery(
        path=stream.path or stream.staged.folder,
        run=RunRef(target.owner, target.project, target.run),
        writer=target.writer,
        size=tail,
        sent=max(0, tail - before),
        reached=tail,
        points=stream.points,
        is_ended=True,
        is_gone=True,
    )


class _Line:
    """The way of streams from memory to servers, one after the other."""

    def __init__(self, settler: Settler, chosen: Chosen | None) -> None:
        self._settler = settler
        self._chosen = chosen
        self._identity: str | None = None
        self._deliverer = Deliverer(settler)
        self._given_up: dict[tuple[str, str], str] = {}

    def send(self, stream: Stream) -> bool:
        """Deliver a stream that the disk does not take; tell whether server or disk has all."""
        self._turn_to_chosen(stream)
        place = stream.target.url, stream.target.api_key
        if place in self._given_up:
            # The next stream need not find out anew that the server takes nothing.
            stream.server_error = self._given_up[place]
            return False
        tail = stream.urgent = stream.staged.tail
        self._deliverer.streams = (stream,)
        reached, patient_until = stream.next, time.monotonic() + PATIENCE_SECONDS
        while stream.stopped is None and time.monotonic() < patient_until:
            wait = self._deliverer.deliver_due()
            self._settler.attend(stream)
            if tail in (stream.next, stream.settled):
                self._note(stream)
                return True
            if stream.next > reached:
                reached, patient_until = stream.next, time.monotonic() + PATIENCE_SECONDS
            elif wait:
                time.sleep(min(wait, 0.1))
        trouble = self._deliverer.trouble_of(stream.target)
        if trouble is not None:
            self._given_up[place] = trouble
        return False

    def close(self) -> None:
        """Close the connections."""
        self._deliverer.disconnect()

    def _turn_to_chosen(self, stream: Stream) -> None:
        """Let a stream go to the server chosen, unless another one has a part of it."""
        target = stream.target._replace(mode="online")
        chosen = self._chosen
        if chosen is not None and chosen.url == target.url:
            target = target._replace(api_key=chosen.api_key or target.api_key)
        elif chosen is not None and (not stream.next or self._has_taken(chosen, stream)):
            target = target._replace(url=chosen.url, api_key=chosen.api_key)
        stream.target = target

    def _has_taken(self, chosen: Chosen, stream: Stream) -> bool:
        if self._identity is None:
            server = Server(*chosen)
            self._identity = server.ask_identity() or ""
            server.close()
        return self._identity != "" and self._identity == stream.server

    @staticmethod
    def _note(stream: Stream) -> None:
        """Note beside the spool, if there is one and room, that a server has all."""
        if stream.path is None or not os.path.exists(stream.path):
            return
        with suppress(OSError):
            write_disk_ack(
                stream.path,
                url=stream.target.url,
                server=stream.server,
                next_byte=stream.next,
                points=stream.points,
                is_finished=stream.next == stream.staged.tail,
            )


def _kept_by_sender(folder: str) -> list[str]:
    """Tell of a stream whose process is gone and whose sender has found no room on the disk."""
    try:
        target = read_target(folder)
    except (OSError, ValueError):
        return []
    ack = read_object(os.path.join(folder, ACKS[0]))
    if ack.get("is_full") is not True or not is_gone(target.pid, target.start):
        return []
    return [
        f"{folder} is in memory, and its sender at work on it: {ack.get('error')}; "
        "run 'runlore sync' again in a minute"
    ]
