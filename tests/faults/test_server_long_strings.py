"""What a server does with strings of megabytes: answers end early, and its memory comes back."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from runlore.core.json import JsonObject
from runlore.core.run import RunRef
from runlore.sdk.api import Api
from runlore.services.runs import PAGE_TEXT
from runlore.testing.processes import until
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder

RUNS = "/api/v1/projects/local/long/runs"
MIB = 1024 * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as server:
        yield server


def test_pages_of_long_strings_end_early_and_miss_nothing(server: ServerProcess) -> None:
    texts = [f"{number}" * (3 * MIB) for number in range(8)]
    for number, text in enumerate(texts):
        builder = SpoolBuilder(RunRef("local", "long", f"r{number}"))
        builder.log({"text": text}, step=0)
        builder.log({"text": text}, step=0)
        assert server.send_spool(builder).status == 200
    page = server.get(f"{RUNS}?limit=8").json
    assert len(cast(list[JsonObject], page["runs"])) == 3
    assert (page["total"], page["next"]) == (8, "6")
    found = [(run.id, run.summary["text"]) for run in Api(server.url).runs("long")]
    assert found == [(f"r{number}", texts[number]) for number in reversed(range(8))]
    answer = server.get(f"{RUNS}/r7/history")
    assert len(answer.body) < PAGE_TEXT
    assert answer.json["next"] is None
    more = SpoolBuilder(RunRef("local", "long", "r7"), "w-2")
    for step in range(4):
        more.log({"text": texts[step]}, step=step)
    assert server.send_spool(more).status == 200
    page = server.get(f"{RUNS}/r7/history").json
    assert (len(cast(list[JsonObject], page["rows"])), page["next"]) == (3, "1.0")
    rows = Api(server.url).run("long/r7").history()
    assert [row["text"] for row in rows] == [texts[7], texts[7], *texts[:4]]


def test_memory_comes_back_after_long_strings(server: ServerProcess) -> None:
    before = memory(server)
    builder, first = SpoolBuilder(RunRef("local", "long", "r1")), 0
    for step in range(200):
        builder.log({"text": f"{step:04}" * (MIB // 4), "loss": 0.5}, step=step)
        if step % 4 == 3:
            assert server.send_spool(builder, first).status == 200
            first = len(builder.frames)
    assert len(Api(server.url).run("long/r1").history(["text"])) == 200
    until(lambda: memory(server) < before + 80 * MIB)


def memory(server: ServerProcess) -> int:
    assert server.process is not None
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
