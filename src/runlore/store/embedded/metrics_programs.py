"""How far a stream came, which streams are one program, and which programs supersede which."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

Token: TypeAlias = int | tuple[int, ...]
"""The keys of one frame: a declared key set, or key ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of one stream up to its byte `next`."""

    next: int = 0
    points: int = 0
    started_ns: int = 0
    boot: str | None = None
    boot_ns: int | None = None
    resumed: bool = False
    program: str | None = None
    ended_ns: int | None = None
    ended_boot_ns: int | None = None
    last_ns: int | None = None
    row_step: int | None = None
    row_offset: int = 0
    row_ns: int = 0
    row_tokens: tuple[Token, ...] = ()
    """The last row, which the next frame may continue."""


class ProgramWriter(Protocol):
    """A writer of a run."""

    @property
    def name(self) -> str: ...

    @property
    def progress(self) -> Progress: ...


W = TypeVar("W", bound=ProgramWriter)


class Program(Generic[W]):
    """Writers of one program; `later` are the programs that supersede them.

    Attributes:
        leads: the writers whose begins and ends are the program's: the main one, or all as long
            as that has not come.
    """

    def __init__(self, name: str, writers: Sequence[W]) -> None:
        self.writers = writers
        self.leads = [w.progress for w in writers if w.name == name] or [
            writer.progress for writer in writers
        ]
        self.has_ended = all(lead.ended_ns is not None for lead in self.leads)
        self.is_resumed = any(lead.resumed for lead in self.leads)
        self.later: list[Program[W]] = []

    @property
    def began_ns(self) -> int:
        """When it began, by wall time."""
        return min(lead.started_ns for lead in self.leads)

    def ended_before(self, later: "Program[W]") -> bool:
        """Tell whether this program had ended before another began."""
        if self.has_ended:
            # Plain loops: a run of a thousand programs asks this a million times.
            for ended in self.leads:
                for began in later.leads:
                    if not _is_before(ended, began):
                        return False
            return True
        if not later.is_resumed:
            return False
        rows = [w.progress.last_ns for w in self.writers if w.progress.last_ns is not None]
        return bool(rows) and max(rows) < later.began_ns


def programs_of(writers: Iterable[W]) -> list[Program[W]]:
    """Put the writers of a run together by their programs, and find which supersede which."""
    members: dict[str, list[W]] = {}
    for writer in writers:
        members.setdefault(writer.progress.program or writer.name, []).append(writer)
    programs = [Program(name, found) for name, found in members.items()]
    for program in programs:
        program.later = [
            other for other in programs if other is not program and program.ended_before(other)
        ]
    return programs


def seen_by_fork(fork: Sequence[Program[W]], parent: Sequence[W]) -> Sequence[W]:
    """Return the writers of a parent that a fork with these programs sees.

    A program that begins after the fork and supersedes what there was then is no part of what
    was forked. One that supersedes nothing is not told by its time: clocks may differ.
    """
    if not fork:
        return parent
    began_ns = min(program.began_ns for program in fork)
    programs = programs_of(parent)
    late = {
        id(later)
        for program in programs
        if program.began_ns <= began_ns
        for later in program.later
        if later.began_ns > began_ns
    }
    return [w for program in programs if id(program) not in late for w in program.writers]


def _is_before(ended: Progress, began: Progress) -> bool:
    assert ended.ended_ns is not None
    if (
        ended.boot is not None
        and ended.boot == began.boot
        and ended.ended_boot_ns is not None
        and began.boot_ns is not None
    ):
        return ended.ended_boot_ns < began.boot_ns
    return ended.ended_ns < began.started_ns
