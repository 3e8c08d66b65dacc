"""What the documentation shows can be typed as it stands, and its links lead somewhere."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from runlore.testing.serving import ServerProcess
from tests.e2e.places import surroundings
from tools.paths import ROOT

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


class Block(NamedTuple):
    """A piece of Python in a page of the documentation."""

    page: str
    number: int
    code: str


def _blocks() -> list[Block]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").rglob("*.md"))]
    return [
        Block(str(page.relative_to(ROOT)), number, code)
        for page in pages
        for number, code in enumerate(_BLOCK.findall(page.read_text()), start=1)
    ]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("docs")
    with ServerProcess(folder / "server") as server:
        yield surroundings(folder, server.url)


def test_there_are_blocks_to_run() -> None:
    assert len(_blocks()) >= 2


@pytest.mark.parametrize("block", _blocks(), ids=lambda block: f"{block.page}-{block.number}")
def test_a_block_of_python_runs_as_it_stands(
    block: Block, variables: dict[str, str], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.code)

    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    if block.page == "README.md":
        [*_, newest] = sorted(_runs(variables["RUNLORE_URL"], "first"), key=_number)
        assert newest["state"] == "finished"
        assert newest["points"]


def _runs(url: str, project: str) -> list[dict[str, object]]:
    address = f"{url}/api/v1/projects/local/{project}/runs"
    with urllib.request.urlopen(address, timeout=10) as response:
        runs: list[dict[str, object]] = json.load(response)["runs"]
        return runs


def _number(run: dict[str, object]) -> int:
    return int(str(run["number"]))


def test_links_between_the_pages_lead_to_files() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in _LINK.findall(page.read_text())]
    assert len(links) > 5
    broken = [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()]
    assert broken == []


def test_the_files_that_the_life_of_a_metric_names_exist() -> None:
    text = (ROOT / "docs" / "design" / "life-of-a-metric.md").read_text()
    named = set(re.findall(r"`([\w./-]+\.(?:py|ts|tsx))`", text))
    assert len(named) > 15
    assert [name for name in named if not _place(name).exists()] == []


def test_the_tests_that_the_promises_name_exist() -> None:
    text = (ROOT / "docs" / "design" / "promises.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)
    assert len(named) > 15
    assert text.count("::") == len(named)
    missing = [
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" not in (ROOT / path).read_text()
    ]
    assert missing == []


def _place(name: str) -> Path:
    return ROOT / name if name.startswith(("web/", "tests/")) else ROOT / "src" / "runlore" / name
