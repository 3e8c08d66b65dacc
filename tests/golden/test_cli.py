"""What the commands print, word for word.

`RUNLORE_GOLDEN=write pytest tests/golden/test_cli.py` writes the files anew; look at the diff.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.cli.serving import greeting
from runlore.core.json import JsonObject
from runlore.core.run import RunRef
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder
from runlore.wire import spool

FOLDER = Path(__file__).parent / "cli"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        for number, (run, exit_code) in enumerate([("k3f9x2ab", 0), ("mm7q2c5d", 1)]):
            builder = SpoolBuilder(RunRef("local", "digits", run), started_ns=time.time_ns())
            told: JsonObject = {"name": ["brave-otter", "calm-heron"][number], "tags": ["first"]}
            builder.add(spool.frame(spool.encode_json(spool.RUN, told)))
            config: JsonObject = {"lr": 0.1 * (number + 1), "layers": [64, 10]}
            builder.add(spool.frame(spool.encode_json(spool.CONFIG, config)))
            for step in range(600):
                builder.log({"loss": 2.0 / (step + 1), "val/acc": step / 600}, step=step)
            builder.log({"note": "done", "ok": True}, step=600)
            if exit_code:
                gap: JsonObject = {"rows": 700, "points": 1400, "reason": "full"}
                builder.add(spool.frame(spool.encode_json(spool.GAP, gap)))
            end: JsonObject = {"exit_code": exit_code, "time_ns": time.time_ns()}
            builder.add(spool.frame(spool.encode_json(spool.FINISH, end)))
            assert server.send_spool(builder).status == 200
        long = SpoolBuilder(RunRef("local", "texts", "long"), started_ns=time.time_ns())
        long.log({"answer": "word " * 200_000, "k" * 1000: 1.0, "loss": 0.5}, step=0)
        assert server.send_spool(long).status == 200
        # The counts of a project are written every two seconds.
        deadline = time.monotonic() + 20
        for project, points in (("digits", 2404), ("texts", 3)):
            while server.get(f"/api/v1/projects/local/{project}").json["points"] != points:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield server


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("help", "--help", 0),
        ("serve-help", "serve --help", 0),
        ("run-list", "run list digits", 0),
        ("run-list-long", "run list texts", 0),
        ("run-list-failed", "run list local/digits --state failed", 0),
        ("run-list-json", "run list digits --limit 1 --json", 0),
        ("run-get", "run get digits/k3f9x2ab", 0),
        ("run-get-gaps", "run get digits/mm7q2c5d", 0),
        ("run-get-unknown", "run get digits/nothing", 1),
        ("run-list-unknown", "run list cats", 1),
        ("run-list-wrong-state", "run list digits --state dead", 1),
        ("run-get-wrong-name", "run get digits", 1),
        ("run-update-nothing", "run update digits/k3f9x2ab", 1),
        ("run-delete-unasked", "run delete digits/k3f9x2ab", 1),
        ("project-list", "project list", 0),
        ("project-list-json", "project list --json", 0),
        ("settings-list", "settings list", 0),
        ("no-server", "project list --url http://127.0.0.1:1", 3),
        ("wrong-url", "project list --url lore.example", 1),
        ("unknown-option", "run list digits --nothing", 2),
    ],
)
def test_a_command_prints(server: ServerProcess, name: str, arguments: str, code: int) -> None:
    # The widths of the settings' columns depend on their values.
    is_fixed = name == "settings-list"
    home = "/home/me/.runlore" if is_fixed else str(server.home)
    done = subprocess.run(
        [sys.executable, "-m", "runlore", *arguments.split()],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "RUNLORE_URL": "http://127.0.0.1:7333" if is_fixed else server.url,
            "RUNLORE_HOME": home,
            "RUNLORE_STAGING": f"{home}/staging",
            "COLUMNS": "80",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    text = f"$ runlore {arguments}\n{done.stdout}--- stderr, exit {done.returncode}\n{done.stderr}"
    text = text.replace(server.url, "http://127.0.0.1:7333").replace(home, "/home/me/.runlore")
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+(\+00:00|Z)", "<time>", text)
    text = re.sub(r" +(?=\n)", "", text)
    assert done.returncode == code, text
    check(name, text)


@pytest.mark.parametrize("kind", ["loopback", "waiting", "new-key", "known-key"])
def test_a_server_greets(kind: str) -> None:
    is_open = kind in ("loopback", "waiting")
    text = greeting(
        "http://127.0.0.1:7333" if is_open else "http://lore:8000",
        data=Path("/home/me/.runlore/server"),
        waiting=3 if kind == "waiting" else 0,
        key_file=None if is_open else Path("/home/me/.runlore/server/key"),
        new_key="rl_secret" if kind == "new-key" else None,
    )
    check(f"greeting-{kind}", text + "\n")


def check(name: str, text: str) -> None:
    path = FOLDER / f"{name}.txt"
    if os.environ.get("RUNLORE_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()
