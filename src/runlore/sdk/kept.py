"""What a program keeps of its segments: enough to make them again when somebody removes staging.

systemd-logind removes the files of a user in /dev/shm at the last logout, and a program that goes
on then logs into files without a name. The program holds them open until the sender has taken
them over, so nothing is lost with the names.
"""

import os
from collections.abc import Callable
from errno import ENOSPC
from typing import TypeAlias

from runlore.sdk.places import OVERFLOW, segment_name
from runlore.sdk.segments import Segment, SegmentFile, make_segment

_MAX_FILES = 128
"""Segments of one writer in memory at once, each of which the program holds open."""
_PAGE = 4096


MakeAgain: TypeAlias = Callable[[Callable[[str], None]], None]
"""Makes a writer's folder, with what the function that it is given puts there."""


class Kept:
    """The segments of one writer that the sender has not taken over, by name.

    Not safe for threads; the caller serialises them.
    """

    def __init__(self, folder: str, make_again: MakeAgain | None) -> None:
        """Begin with none.

        Args:
            folder: the writer's folder in staging.
            make_again: makes it again once somebody has removed it; None where nothing can.
        """
        self._folder = folder
        self._make_again = make_again
        self._files: dict[str, SegmentFile] = {}
        # What lies on the disk is found again by its name there.
        self._links: dict[str, str] = {}
        # What is still in the folder, as far as it takes room in memory.
        self._sizes: dict[str, int] = {}
        self._absent: set[str] = set()

    @property
    def staged(self) -> int:
        """How many bytes of memory the sender has not taken over yet."""
        return sum(self._sizes.values())

    def check_room(self) -> None:
        """Raise OSError if no more files may be held open."""
        if len(self._files) >= _MAX_FILES:
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    def add(self, name: str, size: int) -> None:
        """Hold a segment open that was made in memory.

        Raises:
            OSError: there is no file descriptor, or it is gone already.
        """
        self._files[name] = SegmentFile(os.path.join(self._folder, name))
        self._links.pop(name, None)
        self._sizes[name] = size

    def add_link(self, name: str, spare: str) -> None:
        """Note which file on the disk a segment is."""
        self._sizes.pop(name, None)
        self._files.pop(name, None)
        self._links[name] = os.path.join(os.readlink(f"{self._folder}/{OVERFLOW}"), spare)

    def forget_taken(self, current: int) -> None:
        """Forget the segments that the sender has moved on; it always leaves the current one."""
        try:
            there = set(os.listdir(self._folder))
        except OSError:
            return
        for name in [name for name in self._sizes if name not in there]:
            del self._sizes[name]
        if segment_name(current) not in there:
            return
        absent = {name for name in (*self._files, *self._links) if name not in there}
        for name in absent:
            file = self._files.get(name)
            # Others than the sender remove the current one too, if perhaps a moment later.
            if name in self._absent or (file is not None and file.is_taken):
                self._files.pop(name, None)
                self._links.pop(name, None)
        self._absent = absent

    def is_removed(self, current: int) -> bool:
        """Tell whether somebody else has removed the current segment, or the folder before one."""
        if self._make_again is None:
            return False
        name = segment_name(current)
        path = os.path.join(self._folder, name)
        file = self._files.get(name)
        if file is not None:
            return not file.is_at(path) and not file.is_taken
        if name not in self._links:
            return not os.path.lexists(self._folder)
        # The sender removes at the very end what is on the disk, too; others do not come by there.
        return not os.path.lexists(path) and os.path.exists(self._links[name])

    def untaken(self, end: int) -> list[tuple[str, bytes]]:
        """Return the names and bytes of the segments in memory, up to the end of the stream."""
        names = sorted((*self._files, *self._links))
        found = []
        for name, stop in zip(names, [*map(int, names[1:]), end], strict=True):
            file = self._files.get(name)
            data = b"" if file is None else file.read(stop - int(name))
            # The sender empties what it takes over, perhaps at this moment.
            if file is not None and len(data) == stop - int(name):
                found.append((name, data))
        return found

    def restore(self, end: int, current: int, size: int) -> Segment | None:
        """Make the folder again, with the same segments under the same names.

        Args:
            end: the byte behind the stream's last frame.
            current: where the segment begins that takes frames.
            size: how large that is; 0 if it takes no more.

        Returns:
            The current segment, if it lies in memory and takes more.

        Raises:
            OSError: there is no room; nothing of what is kept has changed.
        """
        assert self._make_again is not None
        files: dict[str, SegmentFile] = {}
        opened: list[Segment] = []

        def fill(folder: str) -> None:
            for name, data in self.untaken(end):
                path = os.path.join(folder, name)
                is_open = int(name) == current and size > 0
                whole = -(-max(len(data), 1) // _PAGE) * _PAGE
                segment = make_segment(path, size if is_open else whole)
                segment[0 : len(data)] = data
                files[name] = SegmentFile(path)
                if is_open:
                    opened.append(segment)
                else:
                    segment.close()
            for name, path in self._links.items():
                os.symlink(f"{OVERFLOW}/{os.path.basename(path)}", os.path.join(folder, name))

        self._make_again(fill)
        self._files = files
        self._sizes = {name: size for name, size in self._sizes.items() if name in files}
        return opened[0] if opened else None

    def clear(self) -> None:
        """Let go of them."""
        self._files.clear()
        self._links.clear()
        self._sizes.clear()
