"""Every command has an example, and the examples run; what is wrong is told in one line."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import typer

from runlore.cli.assembly import BARE, NOUNS
from runlore.core.run import RunRef
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder
from runlore.version import __version__

# These go on until they are ended; their tests start them with ports of their own.
_ENDLESS = ("serve", "demo")


def commands() -> list[str]:
    """Return what can follow `runlore`, deleting last."""
    found = [group.name for group in BARE]
    for noun in NOUNS:
        module, _, name = noun.place.partition(":")
        app = cast(typer.Typer, getattr(importlib.import_module(module), name))
        found += [f"{noun.name} {command.name}" for command in app.registered_commands]
    return sorted(found, key=lambda name: "delete" in name)


def called(
    arguments: list[str], home: Path, url: str, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runlore", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "RUNLORE_URL": url,
            "RUNLORE_HOME": str(home),
            "RUNLORE_STAGING": str(home / "staging"),
            "COLUMNS": "200",
            **more,
        },
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_every_command_has_an_example_that_runs(tmp_path: Path) -> None:
    for folder in ("spool", "server"):
        (tmp_path / ".runlore" / folder).mkdir(parents=True)
    builder = SpoolBuilder(RunRef("local", "digits", "k3f9x2ab"))
    builder.log({"loss": 0.5}, step=0)
    names = commands()
    assert len(names) >= 9
    with ServerProcess(tmp_path) as server:
        assert server.send_spool(builder).status == 200
        for name in names:
            shown = called([*name.split(), "--help"], tmp_path, server.url).stdout
            example = re.search(r"Example: runlore (.*)", shown)
            assert example is not None, (name, shown)
            assert example[1].startswith(name)
            if name in _ENDLESS:
                continue
            text = example[1].replace("http://127.0.0.1:7333", server.url)
            text = text.replace("~", str(tmp_path))
            done = called(shlex.split(text), tmp_path, server.url)
            assert (done.returncode, done.stderr) == (0, ""), (text, done)


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = called(["--version"], tmp_path, "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    "url", ["http://", "http://[a", "http://127.0.0.1:99999", "http://a b", "http://ä.example"]
)
def test_an_address_that_cannot_be_one_is_named(tmp_path: Path, url: str) -> None:
    done = called(["project", "list", "--url", url], tmp_path, "http://127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("runlore: url must be like http://host:7333 or "), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("key", ["two\nlines", "ключ"])
def test_a_key_that_cannot_be_one_is_refused_and_not_told(tmp_path: Path, key: str) -> None:
    done = called(["project", "list"], tmp_path, "http://127.0.0.1:1", RUNLORE_API_KEY=key)
    assert done.returncode == 1
    assert done.stderr.startswith("runlore: api_key holds"), done.stderr
    assert key not in done.stderr


def test_a_command_without_a_place_to_print_to_says_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" -m runlore settings list >&-', sys.executable],
        env={**os.environ, "RUNLORE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
