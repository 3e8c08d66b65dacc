"""Which metrics a run has, as the server tells it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.core.run import RunRef
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder

PROJECT = "/api/v1/projects/local/keys"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    server.start()
    yield server
    server.stop()


def test_a_run_tells_its_own_keys_whatever_its_project_has(server: ServerProcess) -> None:
    for name in ("one", "two"):
        builder = SpoolBuilder(RunRef("local", "keys", name), "w")
        builder.log({f"{name}/{number}": 1.0 for number in range(3)}, step=0)
        builder.log({f"{name}/0": "text"}, step=1)
        server.send_spool(builder)

    own = f"{PROJECT}/runs/two/keys"
    assert server.get(own).json == {
        "keys": [
            {"key": "two/0", "kind": "number"},
            {"key": "two/0", "kind": "string"},
            {"key": "two/1", "kind": "number"},
            {"key": "two/2", "kind": "number"},
        ],
        "more": False,
    }
    first = server.get(f"{own}?limit=1").json
    assert (first["keys"], first["more"]) == (
        [{"key": "two/0", "kind": "number"}, {"key": "two/0", "kind": "string"}],
        True,
    )
    assert server.get(f"{PROJECT}/runs/none/keys").status == 404
