"""The first thing that a newcomer does works, from a clone as from a wheel."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from runlore.testing.serving import free_port
from tests.e2e.places import surroundings
from tools.page import is_built
from tools.paths import ROOT

_RUNLORE = Path(sysconfig.get_path("scripts")) / "runlore"


def _run(command: list[str], folder: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_trains_eight_networks_and_every_point_arrives(tmp_path: Path) -> None:
    variables = surroundings(tmp_path, f"http://127.0.0.1:{free_port()}")

    said = _run([str(_RUNLORE), "demo", "--exit"], tmp_path, variables)

    assert "eight networks are learning to read digits" in said
    assert f"watch them at {variables['RUNLORE_URL']}/local/digits" in said
    # 3 values in each of 3,000 steps of 8 networks, and 2 more in 121 of them.
    assert f"all {8 * (3 * 3000 + 2 * 121):,} points have arrived" in said


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert is_built(), "the page is not built; run ./dev setup"
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    _run(command, folder, dict(os.environ))
    [path] = folder.glob("*.whl")
    return path


def test_a_wheel_made_of_a_source_distribution_holds_page_typeface_licence_and_demo(
    wheel: Path,
) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    page = [name for name in names if name.startswith("runlore/server/page/")]

    assert "runlore/server/page/index.html" in page
    assert any(name.endswith(".js") for name in page)
    assert any(name.endswith(".woff2") for name in page)
    assert any(name.endswith("OFL.txt") for name in page)
    assert {"runlore/cli/digits.py", "runlore/cli/digits.csv.gz"} <= set(names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not any(name.startswith(("tests", "tools", "web")) for name in names)


@pytest.mark.slow
def test_an_installed_wheel_runs_the_demo_without_node(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", f"{wheel}[server]"]
    _run(install, tmp_path, dict(os.environ))
    variables = surroundings(tmp_path, f"http://127.0.0.1:{free_port()}")
    # A folder with nothing in it but what Python itself may call: no node, no npm.
    empty = tmp_path / "bin"
    empty.mkdir()
    variables["PATH"] = str(empty)
    assert shutil.which("node", path=variables["PATH"]) is None

    said = _run(
        [str(tmp_path / "venv" / "bin" / "runlore"), "demo", "--exit"], tmp_path, variables
    )

    assert "points have arrived" in said
    assert str(tmp_path / "venv") in said


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_running(tmp_path: Path, sent: int) -> None:
    variables = surroundings(tmp_path, f"http://127.0.0.1:{free_port()}")
    # Tests that run as a background job of a shell ignore it, and so would what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        [str(_RUNLORE), "demo"], env=variables, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        said = ""
        while "watch them at" not in said:
            said = demo.stdout.readline()
            assert said

        demo.send_signal(sent)
        demo.wait(timeout=60)

    left = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if _mentions(path, variables["RUNLORE_URL"].rpartition(":")[2])
        or _mentions(path.with_name("environ"), str(tmp_path), unless="sender.py")
    ]
    assert left == []


def _mentions(path: Path, word: str, *, unless: str = "\0\0") -> bool:
    try:
        command = path.with_name("cmdline").read_bytes()
        return word.encode() in path.read_bytes() and unless.encode() not in command
    except OSError:
        return False
