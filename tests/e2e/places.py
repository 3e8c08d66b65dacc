"""Places of their own for whole programs."""

import os
from pathlib import Path


def surroundings(folder: Path, url: str) -> dict[str, str]:
    """Return the variables that keep a program in a folder and let it log to one server."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {
        **kept,
        "RUNLORE_HOME": str(folder / "home"),
        "RUNLORE_STAGING": str(folder / "staging"),
        "RUNLORE_URL": url,
    }
