"""The page: its inputs, and whether what was built from them is still what they say."""

from collections.abc import Iterator
from pathlib import Path

from tools.paths import PAGE, WEB
from tools.stamps import digest

# Beside the page rather than under .cache: it travels with a source distribution, so that
# a wheel can be made of one without Node.js.
_STAMP = PAGE / "inputs.sha256"
_NO_INPUTS = {"node_modules", "dist", "test-results", "tests", "coverage"}


def inputs() -> list[Path]:
    """Return the files that the page is built from."""
    return list(_files(WEB))


def packages_state() -> str:
    """Return a hash of what decides which npm packages are installed."""
    names = ("package.json", "package-lock.json", ".npmrc")
    return digest(WEB / name for name in names if (WEB / name).exists())


def is_built() -> bool:
    """Tell whether the page is there and built from the files as they are."""
    return (
        (PAGE / "index.html").exists()
        and _STAMP.exists()
        and _STAMP.read_text() == digest(inputs())
    )


def mark_built(state: str) -> None:
    """Note from which inputs the page was built.

    Args:
        state: the digest of the inputs, taken before the build, so that a file which is
            saved during it makes the page stale.
    """
    _STAMP.write_text(state)


def state() -> str:
    """Return the digest of the inputs as they are."""
    return digest(inputs())


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in _NO_INPUTS and not path.name.startswith("."):
                yield from _files(path)
        elif path.suffix != ".tsbuildinfo":
            yield path
