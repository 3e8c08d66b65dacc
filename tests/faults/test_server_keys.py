"""Which metrics a run has, as the server tells it."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from runlore.core.json import JsonObject
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


def test_keys_are_searched_by_text_and_by_expression(server: ServerProcess) -> None:
    for name in ("one", "two"):
        builder = SpoolBuilder(RunRef("local", "keys", name), "w")
        builder.log({f"{name}/Loss {number}": 1.0 for number in range(3)}, step=0)
        builder.log({"note": "text", "é/loss": 1.0, "a" * 200 + "1": 2.0}, step=1)
        server.send_spool(builder)

    def keys_in(answer: JsonObject) -> list[object]:
        keys = answer["keys"]
        assert isinstance(keys, list)
        return [one["key"] for one in keys if isinstance(one, dict)]

    def names(path: str, search: str, more: str = "") -> list[object]:
        return keys_in(server.get(f"{path}?search={quote(search)}{more}").json)

    project, run = f"{PROJECT}/keys", f"{PROJECT}/runs/two/keys"
    assert names(project, "loss 1") == ["one/Loss 1", "two/Loss 1"]
    assert names(run, "loss 1") == ["two/Loss 1"]
    assert names(project, "/^two.*[02]$/") == ["two/Loss 0", "two/Loss 2"]
    assert names(run, "/(é|two).*s$/") == ["é/loss"]
    assert names(project, "none") == names(run, "none") == []
    first = server.get(f"{project}?search=loss&limit=4").json
    assert keys_in(first)[-1] == "two/Loss 0"
    more = f"&limit=4&cursor={first['next']}"
    assert names(project, "loss", more) == ["two/Loss 1", "two/Loss 2", "é/loss"]
    assert server.get(f"{run}?search=loss&limit=3").json["more"]
    for path in (project, run):
        for search, told in (
            ("/(/", "no regular expression"),
            ("/(a|aa)+$|x/", "longer than 1 s"),
            ("a" * 1025, "search may have 1024 characters, got 1025"),
        ):
            answer = server.get(f"{path}?search={quote(search)}")
            assert (answer.status, told in str(answer.json["detail"])) == (400, True)
