"""What people name things cannot make the terminal of whoever lists them obey."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.core.json import JsonObject
from runlore.core.run import RunRef
from runlore.sdk.api import Api
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder
from runlore.wire import spool

NAME = "\x1b[31mred\x1b[2J\u202e\x9b2Ja\nb"
SAID: JsonObject = {"name": NAME, "tags": ["\x1b]0;title\x07"], "notes": "one\n\x1btwo"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        builder = SpoolBuilder(RunRef("local", "hostile", "r1"))
        builder.add(spool.frame(spool.encode_json(spool.RUN, SAID)))
        builder.add(spool.frame(spool.encode_json(spool.CONFIG, {"a\nb\x1b": {"\x1bc": "\x1b"}})))
        builder.log({"k\ne\x1by": "v\n\x1b[0m", "bell\x07": 1.0}, step=0)
        assert server.send_spool(builder).status == 200
        yield server


def printed(server: ServerProcess, tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "runlore", *arguments, "--url", server.url],
        capture_output=True,
        env={"RUNLORE_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "LANG": "C.UTF-8"},
        timeout=60,
        check=True,
    )
    return done.stdout.decode()


@pytest.mark.parametrize("command", [("list", "hostile"), ("get", "hostile/r1")])
def test_what_is_listed_has_no_escapes(
    server: ServerProcess, tmp_path: Path, command: tuple[str, ...]
) -> None:
    text = printed(server, tmp_path, "run", *command)
    assert text.replace("\n", "").isprintable()
    assert "�[31mred�[2J��2Ja�b" in text
    assert len(text.splitlines()) == (2 if command[0] == "list" else 13)


def test_json_holds_all_of_it_without_escapes(server: ServerProcess, tmp_path: Path) -> None:
    text = printed(server, tmp_path, "run", "get", "hostile/r1", "--json")
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == Api(server.url).run("hostile/r1").to_json()
    assert json.loads(text)["name"] == NAME
