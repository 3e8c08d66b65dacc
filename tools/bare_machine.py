"""The bare-machine proof: a fresh Debian 12 with Python and git alone runs the README's commands.

Run as root: `python3 -m tools.bare_machine`. See docs/design/bare-machine.md.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.paths import CACHE, ROOT
from tools.steps import Board, Step, StepError, last_line

COMMANDS = ("./dev demo --exit", "./dev test")

_SUITE = "bookworm"
_PACKAGES = "python3,git,ca-certificates"
_HERE = CACHE / "bare"
_BASE = _HERE / "base"
_MACHINE = _HERE / "machine"
_FETCHED = _HERE / "fetched"

# What tells package clients where to go and whom to trust. Copied as it is: which
# registries a machine uses is its own affair.
_SETTINGS = (
    *("/etc/resolv.conf", "/etc/hosts"),
    *("/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/apt.conf.d"),
    *("/etc/apt/trusted.gpg.d", "/etc/apt/keyrings", "/usr/share/keyrings"),
    *("/etc/pip.conf", "/root/.config/pip", "/root/.pip", "/etc/uv", "/root/.config/uv"),
    *("/etc/npmrc", "/root/.npmrc", "/usr/local/share/ca-certificates"),
)
_VARIABLES = ("PIP_", "UV_", "NPM_CONFIG_", "SSL_CERT_", "NODE_EXTRA_CA_CERTS")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# Mount and process namespaces of its own: nothing stays mounted or running after it.
# The folder is mounted on itself: tests make namespaces in it, whose root must be a mount.
_ENTER = """
set -e
mount --bind "$1" "$1"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
mount -t proc proc "$1/proc"
mkdir -p "$1/root/.cache" "$1/root/.npm" "$2/cache" "$2/npm"
mount --bind "$2/cache" "$1/root/.cache"
mount --bind "$2/npm" "$1/root/.npm"
exec chroot "$1" sh -c "cd /root/runlore && $3"
"""


def main(arguments: Sequence[str]) -> int:
    """Make the machine, run the commands in it, and return 0 if all of them succeeded."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.bare_machine", description=__doc__)
    parser.add_argument("--cold", action="store_true", help="forget the packages fetched earlier")
    parser.add_argument("command", nargs="*", default=COMMANDS, help="run these instead")
    options = parser.parse_args(arguments)
    board = Board("bare machine")
    try:
        prove(board, options.command, cold=options.cold)
    except StepError:
        return 1
    board.finish("succeeded on a bare Debian 12")
    return 0


def obstacle() -> str | None:
    """Return why the proof cannot be had on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root, to enter another system's folder"
    if shutil.which("debootstrap") is None:
        return "needs debootstrap (apt install debootstrap)"
    return None


def prove(board: Board, commands: Sequence[str], *, cold: bool) -> None:
    """Run commands, one after the other, in a clone on a machine that is made anew.

    Raises:
        StepError: one of them failed.
    """
    why = obstacle()
    if why:
        board.fail("bare machine", why)
        raise StepError("bare machine")
    if cold:
        shutil.rmtree(_FETCHED, ignore_errors=True)
    _make(board)
    for number, command in enumerate(commands, start=1):
        log = f"bare-{number}"
        board.run(
            Step(
                name=command,
                log=log,
                command=[
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("env", "-i", *_variables(), "sh", "-c", _ENTER, "sh"),
                    *(str(_MACHINE), str(_FETCHED), command),
                ],
                detail=last_line,
                timeout_s=3600,
            )
        )


def archives(text: str) -> Iterator[str]:
    """Return the package archives that an apt sources file names, in both of its formats."""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["URIs:"]:
            yield from words[1:]
        elif words[:1] == ["deb"]:
            yield next(word for word in words[1:] if "://" in word)


def _make(board: Board) -> None:
    if not _BASE.exists():
        draft = _HERE / "base.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        board.run(
            Step(
                name="Debian 12 (debootstrap)",
                log="bare-debootstrap",
                command=["debootstrap", "--variant=minbase", f"--include={_PACKAGES}"]
                + [_SUITE, str(draft), _archive()],
                detail=lambda _: _PACKAGES,
            )
        )
        draft.replace(_BASE)
    shutil.rmtree(_MACHINE, ignore_errors=True)
    copy = ["cp", "-a", "--reflink=auto", str(_BASE), str(_MACHINE)]
    board.run(Step(name="fresh copy of it", log="bare-copy", command=copy))
    _copy_settings()
    trust = ["chroot", str(_MACHINE), "update-ca-certificates"]
    board.run(Step(name="certificates", log="bare-certificates", command=trust))
    clone = ["git", "clone", "--no-hardlinks", str(ROOT), str(_MACHINE / "root" / "runlore")]
    board.run(Step(name="git clone", log="bare-clone", command=clone))


def _archive() -> str:
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix in (".list", ".sources") and file.exists():
            for archive in archives(file.read_text()):
                return archive
    raise LookupError("no package archive found in /etc/apt/sources.list or sources.list.d")


def _copy_settings() -> None:
    for name in _SETTINGS:
        source, target = Path(name), _MACHINE / name.lstrip("/")
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            _copy(source, target)
    for _, value in _environment():
        source, target = Path(value), _MACHINE / value.lstrip("/")
        if value.startswith("/") and source.is_file() and not target.exists():
            _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copy(source, target)


def _environment() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if name.upper().startswith(_VARIABLES) or name.lower() in _PROXIES:
            yield name, value


def _variables() -> list[str]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    fixed = [f"PATH={path}", "HOME=/root", "LANG=C.UTF-8"]
    return [*fixed, *(f"{name}={value}" for name, value in _environment())]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
