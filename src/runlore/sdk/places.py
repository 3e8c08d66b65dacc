"""Where things lie in staging, as the program, the sender and `runlore sync` agree on it."""

import os

OVERFLOW = "overflow"
"""The link to the writer's folder on the disk, and the folder of a home where those lie."""
ACKS = ("ack", ".ack-next", ".ack-before")
"""Where the sender says how far it is: two files take turns, the third name is for the change."""
ACK_BYTES = 4096
"""The room that is set aside for each: one page."""


def segment_name(offset: int) -> str:
    """Return the file name of the segment that begins at a byte of the stream."""
    return f"{offset:020d}"


def segment_names(folder: str) -> list[str]:
    """Return the names of the segments in a writer's folder, in the order of the stream.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(name for name in os.listdir(folder) if len(name) == 20 and name.isdecimal())


def writer_folders(root: str) -> list[str]:
    """Return the folders of the writers of all trees in a staging; none if there is none."""
    trees = [os.path.join(root, tree) for tree in listed(root) if tree != OVERFLOW]
    return [os.path.join(tree, writer) for tree in trees for writer in listed(tree)]


def listed(folder: str) -> list[str]:
    """Return the names in a folder; none if it cannot be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []
