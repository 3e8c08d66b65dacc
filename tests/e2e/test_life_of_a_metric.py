"""The life of a metric: the steps of docs/design/life-of-a-metric.md, one after the other."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

import runlore
from runlore.testing.processes import until
from runlore.wire import spool
from tests.e2e.conftest import OpenPage, Server
from tests.unit.sdk.streams import read, staged
from tools.paths import ROOT

_PROGRAM = """
import numpy, runlore
run = runlore.init(project="life", id="one")
run.log({"train": {"loss": numpy.float32(0.5)}})
print(run._folder, flush=True)
input()
run.log({"train/loss": 0.25})
print("again", flush=True)
input()
run.finish()
"""

_HAS_INK = """() => {
  const canvas = document.querySelector('[data-metric="train/loss"] canvas.chart-lines');
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value, at) => at % 4 === 3 && value > 90);
}"""


def test_a_number_goes_from_the_call_to_a_pixel(
    server: Server, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUNLORE_URL", "RUNLORE_HOME"):
        monkeypatch.setenv(name, server.environment[name])
    program = server.start(_PROGRAM)
    with program:
        assert program.stdin is not None
        assert program.stdout is not None

        # 1 to 3: the scalar is a number, its key is joined, its frame stands in the segment.
        folder = Path(program.stdout.readline().strip())
        data = staged(folder)
        assert read(data).rows == [(0, {"train/loss": 0.5})]

        # 4: the sender brings the same bytes to the disk.
        home = Path(server.environment["RUNLORE_HOME"])
        until(lambda: _settled(home).endswith(_whole(data)))

        # 5 to 7: the server has taken and stored the bytes, and acknowledged them.
        until(lambda: _acknowledged(folder) == len(_whole(data)))
        found = runlore.Api().run("life/one")
        assert [(row["step"], row["train/loss"]) for row in found.scan_history()] == [(0, 0.5)]
        assert found.summary == {"train/loss": 0.5}

        # 8 to 11: an open page is told, asks for the series, and draws.
        page = open_page(f"{server.url}/local/life")
        panel = page.locator('[data-metric="train/loss"]')
        expect(panel.locator(".panel-head .num")).to_have_attribute("title", re.compile(r"^0\.5$"))
        program.stdin.write("log\n")
        program.stdin.flush()
        assert program.stdout.readline() == "again\n"
        expect(panel.locator(".panel-head .num")).to_have_attribute("title", re.compile("^0.25$"))
        assert found.series(["train/loss"])["train/loss"]["last"] == [0.5, 0.25]
        page.wait_for_function(_HAS_INK)
        program.communicate("finish\n", timeout=60)
    assert program.returncode == 0


def test_the_steps_walked_here_are_those_of_the_page() -> None:
    text = (ROOT / "docs" / "design" / "life-of-a-metric.md").read_text()
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == list(range(1, 12))


def _whole(data: bytes) -> bytes:
    """Return the stream without what is preallocated behind it."""
    *_, last = spool.whole_frames(data, offset=0)
    return data[: last.end]


def _settled(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*.rlspool"))


def _acknowledged(folder: Path) -> int:
    try:
        return int(json.loads((folder / "ack").read_text())["next"])
    except (OSError, ValueError):
        return 0
