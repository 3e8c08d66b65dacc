"""Who may speak to the server: one shared key, needed beyond this machine."""

import hmac
import os
import secrets
from pathlib import Path

from runlore.errors import UsageError

_PREFIX = "rl_"


class Access:
    """Checks keys. Without a key everybody who reaches the server may use it."""

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return self._key is None

    def admits(self, given: str | None) -> bool:
        """Tell whether a key is right, taking as long for a nearly right one as for any."""
        if self._key is None:
            return True
        return given is not None and hmac.compare_digest(given.encode(), self._key)


def shared_key(path: Path) -> tuple[str, bool]:
    """Return the key kept in a file, made on first use, and whether it is new.

    The file is readable by its user alone.

    Raises:
        UsageError: the file cannot be read or made.
    """
    try:
        kept = path.read_text().strip() if path.exists() else ""
        if kept:
            return kept, False
        # An empty file is what a full disk or a power cut leaves; an empty key admits everybody.
        key = _PREFIX + secrets.token_urlsafe(32)
        new = path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot keep the key in {str(path)!r}: {error.strerror}; "
            "look at the disk's free space and at who may write there"
        ) from error
    return key, True
