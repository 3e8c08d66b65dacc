"""The hygiene guard: what no tracked file may hold. Run as `python -m tools.hygiene`."""

import re
import subprocess
import sys
from pathlib import Path

from tools.paths import ROOT

# The backslashes keep this file from holding what it looks for.
_REGISTRIES = (
    r"npmjs\.(org|com)",
    r"pypi\.(org|io)",
    r"pythonhosted\.org",
    r"deb\.debian\.org",
    r"yarnpkg\.com",
)
_LOCKS = ("requirements.lock", "web/package-lock.json")
_RULES = {
    "a registry's host; leave the choice of it to who installs": "|".join(_REGISTRIES),
    "a resolved address in a lock; set omit-lockfile-registry-resolved": r'"resolved": *"http',
    "a task that nobody will find; file an issue and name it": r"\b(TO" r"DO|FIX" r"ME)\b",
    "a merge that was left half done": r"^(<{7}|>{7}) ",
}
_COMPILED = {why: re.compile(rule) for why, rule in _RULES.items()}
# Vendored or generated text, whose words are not ours.
_NOT_OURS = {"LICENSE"}


def findings(text: str, where: str) -> list[str]:
    """Return what stands in a text and should not, with line numbers."""
    return [
        f"{where}:{number}: {why}: {match[0]!r}"
        for number, line in enumerate(text.splitlines(), start=1)
        for why, rule in _COMPILED.items()
        if (match := rule.search(line))
    ]


def main() -> int:
    """Search every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    read = 0
    found: list[str] = []
    for name in listed:
        text = _text(ROOT / name)
        if text is not None and name not in _NOT_OURS:
            read += 1
            found += findings(text, name)
    missing = [name for name in _LOCKS if name not in listed]
    found += [f"{name}: missing; what is installed must be locked" for name in missing]
    print("\n".join([*found, f"{read} files read, {len(_LOCKS) - len(missing)} of them locks"]))
    return int(bool(found) or read == 0)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return None


if __name__ == "__main__":
    sys.exit(main())
