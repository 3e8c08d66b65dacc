"""`./dev setup`: everything that the other commands need, each part only when it has changed."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from tools import node, page
from tools.lock import block_of
from tools.paths import CACHE, LOCK, PAGE, ROOT, VENV, WEB, in_venv
from tools.stamps import alone, clear, digest, is_fresh, mark
from tools.steps import Board, Step, StepError

_PYTHON = "Python packages"
_PAGE_PACKAGES = "packages of the page"
_PAGE = "page"
_BROWSER = "browser for the tests"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def set_up(board: Board, *parts: Callable[[Board], None]) -> None:
    """Prepare parts of the clone, in this order.

    Safe to run twice at once, and to run again after an interruption.
    """
    with alone(waiting=lambda: board.note("another ./dev is setting up this clone: waiting")):
        for part in parts:
            part(board)


def python_packages(board: Board) -> None:
    """Install the locked packages and the project itself into .venv."""
    version = f"{sys.version} {sys.executable} {VENV}"
    packages = digest([LOCK], extra=version)
    project = digest([ROOT / "pyproject.toml", ROOT / "hatch_build.py"], extra=packages)
    if is_fresh("project", project) and Path(in_venv("runlore")).exists():
        board.done(_PYTHON, "unchanged")
        return
    if not (is_fresh("packages", packages) and Path(in_venv("python")).exists()):
        clear("packages")
        _make_venv(board)
        _install_locked(board)
        mark("packages", packages)
    clear("project")
    board.run(
        Step(
            name="Runlore itself, editable",
            log="setup-project",
            command=[in_venv("python"), "-m", "pip", "install", "--no-deps"]
            + ["--no-build-isolation", "--disable-pip-version-check", "--editable", "."],
        )
    )
    mark("project", project)


def page_packages(board: Board) -> None:
    """Install the page's npm packages; Node.js may be one of the Python packages."""
    variables = node_environment()
    source = node.on_path()
    state = page.packages_state()
    if is_fresh("npm", state) and (WEB / "node_modules").exists():
        board.done(_PAGE_PACKAGES, "unchanged")
        return
    clear("npm")
    board.run(
        Step(
            name=_PAGE_PACKAGES,
            log="setup-npm",
            command=["npm", "ci", "--no-audit", "--no-fund", "--no-progress"],
            cwd=WEB,
            environment=variables,
            detail=lambda _: f"with Node.js {source or 'of its Python package'}",
        )
    )
    mark("npm", state)


def built_page(board: Board) -> None:
    """Build the page from its sources and packages."""
    if page.is_built():
        board.done(_PAGE, "unchanged")
        return
    state = page.state()
    board.run(
        Step(
            name=_PAGE,
            log="setup-page",
            command=["npm", "run", "--silent", "build"],
            cwd=WEB,
            environment=node_environment(),
            detail=lambda _: f"in {PAGE.relative_to(ROOT)}",
        )
    )
    page.mark_built(state)


def browser(board: Board) -> None:
    """Find Chromium and what its driver needs, or install Debian's."""
    found = browser_path()
    missing = [] if found else ["chromium"]
    if not _driver_runs():
        missing.append("libatomic1")
    if not missing:
        board.done(_BROWSER, found or "")
        return
    names = " ".join(missing)
    if not _can_apt():
        board.fail(_BROWSER, f"missing: {names}; install it (Debian: apt install {names})")
        raise StepError(_BROWSER)
    _apt(board, f"{_BROWSER} (apt)", *missing)


def _driver_runs() -> bool:
    """Tell whether the Node.js of Playwright finds its libraries; a bare Debian lacks one."""
    program = _site_packages() / "playwright" / "driver" / "node"
    return subprocess.run([program, "--version"], capture_output=True).returncode == 0


def browser_path() -> str | None:
    """Return the path of the Chromium that the tests drive."""
    return next((found for name in _BROWSERS if (found := shutil.which(name))), None)


def node_environment() -> dict[str, str]:
    """Return the variables with which node and npm are found, after the Python packages."""
    return node.environment(_site_packages())


def _site_packages() -> Path:
    return next((VENV / "lib").glob("python3*/site-packages"))


def _make_venv(board: Board) -> None:
    """Make .venv with pip in it; what a bare Debian's Python lacks for that comes by apt."""
    if _has_pip():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    if not _has_ensurepip():
        if not _can_apt():
            board.fail(_PYTHON, f"{sys.executable} cannot make virtual environments")
            board.note("Its modules venv and ensurepip are missing. Install them, then run this")
            board.note("again: on Debian and Ubuntu that is `sudo apt install python3-venv`.")
            raise StepError(_PYTHON)
        _apt(board, "Python's venv (apt)", "python3-venv")
    board.run(
        Step(
            name="virtual environment",
            log="setup-venv",
            command=[sys.executable, "-m", "venv", "--clear", str(VENV)],
        )
    )


def _install_locked(board: Board) -> None:
    """Install exactly the locked packages, each checked against its hash.

    uv does it in a sixth of pip's time; pip brings it, from the same lock. Where uv
    cannot reach the index that pip is set up for, pip does it all.
    """
    CACHE.mkdir(exist_ok=True)
    only_uv = CACHE / "uv.lock.txt"
    only_uv.write_text(block_of("uv", LOCK.read_text()))
    pip = [in_venv("python"), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--require-hashes", "--only-binary", ":all:"]
    board.run(Step(name="uv", log="setup-uv", command=[*pip, "-r", str(only_uv)]))
    fast = Step(
        name=_PYTHON,
        log="setup-packages",
        command=[in_venv("uv"), "pip", "sync", "--python", in_venv("python")]
        + ["--require-hashes", "--only-binary", ":all:", str(LOCK)],
        environment=uv_variables(),
        detail=lambda text: f"{text.count(chr(10) + ' + ')} installed, hashes checked",
    )
    if not board.attempt(fast):
        board.note("uv could not do it: pip tries")
        board.run(Step(name=_PYTHON, log="setup-packages-pip", command=[*pip, "-r", str(LOCK)]))


def uv_variables() -> dict[str, str]:
    """Return the variables that let uv use the packages that pip would."""
    return uv_environment(_pip_settings(), os.environ)


def uv_environment(pip: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    """Translate pip's settings into uv's, which reads none of them; what uv was told stays."""
    extra = _reachable(pip.get("extra-index-url", ""))
    told = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": extra,
        # As pip does it: the best version of all indexes. The lock's hashes decide what is right.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_FIND_LINKS": _reachable(pip.get("find-links", "")).replace(" ", ","),
        "UV_INSECURE_HOST": pip.get("trusted-host", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        # Where no hard links can be made uv copies, and would say so.
        "UV_LINK_MODE": "copy" if _is_far_from_cache() else "",
        "UV_NO_PROGRESS": "1",
    }
    return {name: value for name, value in told.items() if value and not outer.get(name)}


def _reachable(locations: str) -> str:
    """Drop folders that do not exist: pip passes over them, uv refuses."""
    kept = []
    for location in locations.split():
        path = location.removeprefix("file://")
        if "://" in path or os.path.exists(path):
            kept.append(location)
    return " ".join(kept)


def _is_far_from_cache() -> bool:
    """Tell whether hard links from the user's cache into the clone cannot be made."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return _device_of(cache) != _device_of(VENV)


def _device_of(path: Path) -> int:
    """Return the filesystem that a folder is on, or will be on once it is made."""
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


def _pip_settings() -> dict[str, str]:
    """Return what pip was told by files and variables, the more special winning."""
    text = subprocess.run(
        [in_venv("python"), "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    order = ("global.", "install.", ":env:.")
    settings: dict[str, str] = {}
    for prefix in order:
        for line in text.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(prefix):
                settings[name.removeprefix(prefix)] = " ".join(
                    value.strip("'\"").replace("\\n", " ").split()
                )
    return settings


def _has_pip() -> bool:
    python = in_venv("python")
    if not Path(python).exists():
        return False
    same = "import sys, pip; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])"
    version = sysconfig.get_python_version()
    return subprocess.run([python, "-c", same, version], capture_output=True).returncode == 0


def _has_ensurepip() -> bool:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def _can_apt() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _apt(board: Board, name: str, *packages: str) -> None:
    log = f"setup-apt-{packages[0]}"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    # An index that is missing or old names packages that are no longer served.
    script = 'apt-get update -q && apt-get install -yq --no-install-recommends "$@"'
    board.run(
        Step(name=name, log=log, command=["sh", "-c", script, "sh", *packages], environment=quiet)
    )
