"""The packer: one thread that moves what is committed from the log to the history files."""

import logging
import threading
import time
from collections.abc import Sequence

from runlore.errors import DamageError, RunloreError, UnavailableError
from runlore.store.embedded.metrics_histories import Histories
from runlore.store.embedded.metrics_history import History, Packing, Raising
from runlore.store.embedded.metrics_load import Waker
from runlore.store.embedded.metrics_log import ALIVE, Log
from runlore.store.embedded.metrics_tail import PACK_IDLE_S, Memory, TailPiece, Writer, is_due

_PACK_AT_ONCE_BYTES = 8 * 1024 * 1024
_PACK_AT_ONCE_WRITERS = 64
_FORGET_PIECES = 256
_RETRY_S = 1.0
_SHRINK_PAGES = 256
_SHRINK_PAUSE_S = 0.01
_START_S = 1.0
_WAKE_S = 0.05
_WAKE_PIECES = 64
_WAKE_BELOW_BYTES = 64 * 1024 * 1024

_logger = logging.getLogger(__name__)


class Packer:
    """Packs writers when they are due, until the memory is closed.

    What is damaged stops the packing of the writer that it belongs to and of no other; a disk
    that does not take it is tried again every second.

    Attributes:
        busy: held while history files are written; taken before the locks of log and memory.
    """

    def __init__(self, log: Log, histories: Histories, memory: Memory, waker: Waker) -> None:
        self._log = log
        self._histories = histories
        self._memory = memory
        self._waker = waker
        self.busy = threading.Lock()
        self._told: list[str] = []
        self._thread = threading.Thread(
            target=self._pack_forever, name="runlore-pack", daemon=True
        )
        self._thread.start()

    def settle(self) -> None:
        """Pack everything that is stored now, and clean the log."""
        memory = self._memory
        while self._wake_next():
            pass
        with memory.changed:
            writers = [w for run in memory.runs.values() for w in run.writers.values() if w.tail]
        for writer in writers:
            while writer.tail and writer.damage is None:
                self._pack([writer])
        while self._raise():
            pass
        self._forget(at_least=1)

    def join(self) -> None:
        """Wait for the thread to end, once the memory is closed: with the pack that runs now."""
        self._thread.join()

    def _pack_forever(self) -> None:
        memory = self._memory
        with memory.changed:
            if memory.asleep:
                # The rest of the server's start comes first.
                memory.changed.wait_for(lambda: memory.is_closed, _START_S)
        while True:
            began_s = time.monotonic()
            troubles = self._wake_some()
            with memory.changed:
                if memory.is_closed:
                    return
                is_idle = self._is_idle(self._due())
            is_shrinking = is_idle and self._shrink()
            with memory.changed:
                due = self._due()
                if self._is_idle(due) and not memory.is_closed:
                    pause_s = _RETRY_S if memory.packed_seqs else PACK_IDLE_S / 4
                    memory.changed.wait(_SHRINK_PAUSE_S if is_shrinking else pause_s)
            troubles += self._round(due)
            with memory.changed:
                if memory.asleep and not memory.is_closed:
                    # What a start has left is in no hurry: requests want the interpreter too.
                    memory.changed.wait(time.monotonic() - began_s)
            if troubles != self._told:
                for trouble in troubles:
                    _logger.warning("packing history waits: %s", trouble)
                self._told = troubles
            if troubles:
                with memory.changed:
                    if not memory.is_closed:
                        memory.changed.wait(_RETRY_S)

    def _due(self) -> dict[int, list[Writer]]:
        """Return the writers that are worth a pack, by project; called with the memory's lock."""
        now_s = time.monotonic()
        due: dict[int, list[Writer]] = {}
        for writer in self._memory.due.values():
            if is_due(writer, now_s, self._memory.sizes):
                due.setdefault(writer.run.project, []).append(writer)
        return due

    def _is_idle(self, due: dict[int, list[Writer]]) -> bool:
        return not due and not self._memory.risers and not self._memory.asleep

    def _wake_some(self) -> list[str]:
        """Bring back a step's worth of what a start has left in the log."""
        until_s = time.monotonic() + _WAKE_S
        try:
            while time.monotonic() < until_s and self._memory.tail_bytes < _WAKE_BELOW_BYTES:
                if not self._wake_next():
                    break
        except RunloreError as error:
            return [str(error)]
        return []

    def _wake_next(self) -> bool:
        """Bring back some pieces of one writer; tell whether there was one."""
        with self._log.lock:
            with self._memory.changed:
                writer = next(iter(self._memory.asleep.values()), None)
            if writer is None or self._memory.is_closed:
                return False
            self._waker.wake_writer(writer, most_pieces=_WAKE_PIECES)
            return True

    def _round(self, due: dict[int, list[Writer]]) -> list[str]:
        """Pack a step's worth of each project; return what could not be done now."""
        troubles = []
        for writers in due.values():
            if self._memory.is_closed:
                return []
            try:
                self._pack(writers)
            except RunloreError as error:
                troubles.append(str(error))
            except Exception as error:  # the top of the thread, which must live on
                troubles.append(f"project {writers[0].run.project}: {error!r}")
                if troubles[-1] not in self._told:
                    _logger.exception("a project's history cannot be packed")
        try:
            self._raise()
        except RunloreError as error:
            troubles.append(str(error))
        except Exception as error:  # the top of the thread, which must live on
            troubles.append(f"raising towers: {error!r}")
            if troubles[-1] not in self._told:
                _logger.exception("towers cannot be raised")
        try:
            self._forget(at_least=_FORGET_PIECES if due and not troubles else 1)
        except RunloreError as error:
            troubles.append(str(error))
        return troubles

    def _pack(self, writers: Sequence[Writer]) -> None:
        """Pack a step's worth of writers of one project, and show it to readers."""
        with self.busy:
            taken = self._take(writers)
            if not taken:
                return
            try:
                history = self._made(taken[0][0].run.project)
                number, damaged = history.pack([_packing(*one) for one in taken])
                # What went into a file that was removed meanwhile stays in the log.
                history.check_present()
            except DamageError as error:
                self._give_up({writer.id: error for writer, _ in taken}, taken)
                return
            self._give_up(damaged, taken)
            with self._memory.changed:
                history.published = number
                for writer, pieces in taken:
                    if writer.id not in damaged:
                        self._memory.drop_tail(writer, pieces)

    def _made(self, project: int) -> History:
        """Return a project's history, making it unless it once was there."""
        history = self._histories.find(project)
        if history is None:
            with self._memory.changed:
                for run in self._memory.runs.values():
                    if run.project == project and run.state == ALIVE:
                        for writer in run.writers.values():
                            writer.check_unpacked()
            history = self._histories.make(project)
        return history

    def _shrink(self) -> bool:
        """Give a step's worth of free pages back to the disk; tell whether there are more."""
        try:
            with self._log.lock:
                is_more = not self._memory.is_closed and self._log.shrink(_SHRINK_PAGES)
            with self.busy:
                return (
                    not self._memory.is_closed and self._histories.shrink(_SHRINK_PAGES)
                ) or is_more
        except RunloreError:
            # Only space is at stake; the next pause tries again.
            return False

    def _raise(self) -> bool:
        """Move a step's worth of one writer's packed blocks into towers; tell if there was one."""
        memory = self._memory
        with self.busy:
            for project, history in self._histories.opened():
                loose = history.loose_writers()
                with memory.changed:
                    for run in memory.runs.values():
                        if run.project == project and run.state == ALIVE:
                            for writer in run.writers.values():
                                if writer.id in loose:
                                    memory.risers[writer.id] = writer
            with memory.changed:
                if memory.is_closed or not memory.risers:
                    return False
                number, writer = next(iter(memory.risers.items()))
                del memory.risers[number]
                run = writer.run
                raising = Raising(
                    run=run.id,
                    run_name=str(run.ref),
                    writer=number,
                    has_ended=writer.progress.ended_ns is not None
                    and not writer.tail
                    and not writer.waiting,
                    eras=[r.stored[number] for r in run.rewinds if r.stored.get(number, 0) > 0],
                )
            try:
                is_more = self._histories.make(run.project).raise_towers(raising)
            except UnavailableError:
                with memory.changed:
                    memory.risers[number] = writer
                raise
            with memory.changed:
                if is_more and run.state == ALIVE:
                    memory.risers[number] = writer
        return True

    def _take(self, writers: Sequence[Writer]) -> list[tuple[Writer, list[TailPiece]]]:
        taken: list[tuple[Writer, list[TailPiece]]] = []
        left = _PACK_AT_ONCE_BYTES
        with self._memory.changed:
            for writer in writers:
                if len(taken) >= _PACK_AT_ONCE_WRITERS:
                    break
                if left >= 0 and writer.run.state == ALIVE and writer.damage is None:
                    pieces = self._memory.take_tail(writer, left)
                    left -= sum(piece.size for piece in pieces)
                    if pieces:
                        taken.append((writer, pieces))
        return taken

    def _give_up(
        self, damaged: dict[int, DamageError], taken: Sequence[tuple[Writer, object]]
    ) -> None:
        with self._memory.changed:
            for writer, _ in taken:
                if writer.id in damaged:
                    _logger.warning(
                        "%s is not packed: %s; what came of it stays in the log",
                        writer.title,
                        damaged[writer.id],
                    )
                    self._memory.give_up(writer, damaged[writer.id])

    def _forget(self, *, at_least: int) -> None:
        """Remove from the log what is packed, a batch at a time."""
        memory = self._memory
        while True:
            with self._log.lock:
                if memory.is_closed:
                    return
                with memory.changed:
                    batch = memory.packed_seqs[:_FORGET_PIECES]
                    packed = {w.id: w.packed for _, w in batch if w.packed is not None}
                if len(batch) < at_least:
                    return
                self._log.forget([seq for seq, _ in batch], packed)
                with memory.changed:
                    del memory.packed_seqs[: len(batch)]


def _packing(writer: Writer, pieces: Sequence[TailPiece]) -> Packing:
    return Packing(
        run=writer.run.id,
        run_name=str(writer.run.ref),
        writer=writer.id,
        progress=pieces[-1].after,
        blocks=[block for piece in pieces for block in piece.blocks],
    )
