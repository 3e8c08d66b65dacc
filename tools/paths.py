"""Where things lie in a clone."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PAGE = ROOT / "src" / "runlore" / "server" / "page"
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
LOGS = CACHE / "log"
LOCK = ROOT / "requirements.lock"


def in_venv(program: str) -> str:
    """Return the path of a program of the project's virtual environment."""
    return str(VENV / "bin" / program)
