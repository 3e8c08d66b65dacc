"""The lock of the Python packages: requirements.lock."""

import re

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")

COMPILE = (
    *("pip", "compile", "pyproject.toml", "--upgrade", "--quiet"),
    *(
        "--group",
        "dev",
        "--extra",
        "server",
        "--extra",
        "tables",
        "--universal",
        "--generate-hashes",
    ),
    # The index is left out of the file: who installs decides where packages come from.
    *("--no-emit-index-url", "--no-emit-find-links", "--no-header"),
    *("-o", "requirements.lock"),
)


def block_of(package: str, lock: str) -> str:
    """Return the lines that pin one package with its hashes.

    Raises:
        LookupError: the lock does not hold it.
    """
    kept: list[str] = []
    inside = False
    for line in lock.splitlines():
        match = _NAME.match(line)
        if match:
            inside = match[1] == package
        if inside and not line.lstrip().startswith("#"):
            kept.append(line)
    if not kept:
        raise LookupError(f"requirements.lock holds no {package!r}; make it anew with ./dev lock")
    return "\n".join(kept) + "\n"
