"""What the doors of `runlore.Api()` check of a question before they ask it."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from runlore.errors import UsageError


def project_path(owner: str, project: str, *more: str) -> str:
    """Return where a project, or something below it, is found."""
    return "/api/v1/projects/" + "/".join(quote(part, safe="") for part in (owner, project, *more))


def refuse(door: str, unknown: Iterable[str], way_out: str) -> None:
    """Raise UsageError if there are arguments that a door does not know."""
    names = ", ".join(sorted(unknown))
    if names:
        raise UsageError(f"{door} has no use for {names}; {way_out}")


def checked_page(name: str, size: int | None, usual: int, most: int) -> int:
    """Return how much to ask for at once: `usual` for None, never more than `most`."""
    if size is None:
        return usual
    if type(size) is not int or size < 1:
        raise UsageError(f"{name} must be a whole number from 1 on, got {size!r}")
    return min(size, most)


def checked_keys(keys: Sequence[str] | None) -> list[str]:
    """Return names of metrics, or of runs; a text or a number in their place is refused."""
    if isinstance(keys, str):
        raise UsageError(f"keys must be a list of names, got {keys!r}; write [{keys!r}]")
    if isinstance(keys, int):
        raise UsageError(
            f"keys must be a list of names, got {keys!r}; for so many rows write samples={keys!r}"
        )
    found = list(keys or ())
    for key in found:
        if not isinstance(key, str):
            raise UsageError(f"keys must be a list of names, got {key!r} in it")
    return found
