"""Files of all points of a run: what they hold, and what becomes of those that nobody takes."""

import csv
import io
import json
import math
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from runlore.core.run import RunRef
from runlore.errors import UnavailableError, UsageError
from runlore.sdk.api import Api
from runlore.sdk.download import download
from runlore.sdk.link import Link
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SECOND_NS, SpoolBuilder

_BASE = "/api/v1/projects/local/export/runs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        first = SpoolBuilder(RunRef("local", "export", "r1"), "w-1", started_ns=9 * SECOND_NS)
        first.log({"loss": 0.5, "a.b/c": math.nan, "ok": True}, step=0, time_ns=9_000_000_001)
        first.log({"loss": math.inf, "step": 3.0}, step=1, time_ns=9_000_000_002)
        first.log({"loss": 'a "q", é\n', "note": ""}, step=2, time_ns=9_000_000_003)
        first.end(time_ns=10 * SECOND_NS)
        second = SpoolBuilder(RunRef("local", "export", "r1"), "w-2", started_ns=11 * SECOND_NS)
        second.log({"loss": 7.0}, step=1, time_ns=11 * SECOND_NS)
        long = SpoolBuilder(RunRef("local", "export", "long"))
        for step in range(60_000):
            long.log({"x": float(step), "y": step * 0.1}, step=step)
        for builder in (first, second, long):
            assert server.send_spool(builder).status == 200
        yield server


def a_table(server: ServerProcess, run: str, query: str = "") -> pyarrow.Table:
    answer = server.get(f"{_BASE}/{run}/export?format=parquet{query}")
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert answer.headers["content-disposition"] == f'attachment; filename="{run}.parquet"'
    return pyarrow.parquet.read_table(io.BytesIO(answer.body))


def test_parquet_holds_every_point_and_marks_what_is_superseded(server: ServerProcess) -> None:
    table = a_table(server, "r1")
    assert table.column_names == [
        *("step", "time", "writer", "superseded"),
        *("a.b/c", "loss", "loss:string", "note", "ok", "metric:step"),
    ]
    rows = table.drop_columns(["time", "a.b/c"]).to_pylist()
    shown = [{name: v for name, v in row.items() if v is not None} for row in rows]
    assert shown == [
        {"step": 0, "writer": "w-1", "superseded": False, "loss": 0.5, "ok": True},
        {"step": 1, "writer": "w-1", "superseded": False, "metric:step": 3.0},
        {"step": 1, "writer": "w-1", "superseded": True, "loss": math.inf},
        {"step": 1, "writer": "w-2", "superseded": False, "loss": 7.0},
        {"step": 2, "writer": "w-1", "superseded": False, "note": ""},
        {"step": 2, "writer": "w-1", "superseded": True, "loss:string": 'a "q", é\n'},
    ]
    assert table["time"].cast("int64").to_pylist()[:3] == [9_000_000_001] + [9_000_000_002] * 2
    # What was logged as NaN is NaN, and what was not logged is not there.
    assert math.isnan(table["a.b/c"][0].as_py())
    assert table["a.b/c"].null_count == 5


def test_csv_holds_the_same_as_text(server: ServerProcess) -> None:
    answer = server.get(f"{_BASE}/r1/export?format=csv")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    head, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    assert head == a_table(server, "r1").column_names
    assert rows[0] == ["0", "1970-01-01T00:00:09.000000001Z", "w-1", "false", "nan", "0.5"] + [
        *("", "", "true", "")
    ]
    assert [row[head.index("loss")] for row in rows] == ["0.5", "", "inf", "7.0", "", ""]
    assert rows[-1][head.index("loss:string")] == 'a "q", é\n'
    # A text that is empty is quoted, what is not there is not.
    assert b',"",' in answer.body.splitlines()[5]


def test_only_the_keys_that_are_asked_for_are_written(server: ServerProcess) -> None:
    table = a_table(server, "r1", "&keys=ok&keys=note&keys=none")
    assert table.column_names[4:] == ["note", "ok"]
    assert table["step"].to_pylist() == [0, 2]
    empty = a_table(server, "r1", "&keys=none")
    assert (empty.num_rows, empty.num_columns) == (0, 4)


def test_a_long_run_comes_whole(server: ServerProcess) -> None:
    table = a_table(server, "long")
    assert table["step"].to_pylist() == list(range(60_000))
    assert table["y"].to_pylist() == [step * 0.1 for step in range(60_000)]


def test_what_cannot_be_exported_is_refused(server: ServerProcess) -> None:
    assert server.get(f"{_BASE}/nobody/export").status == 404
    wrong = server.get(f"{_BASE}/r1/export?format=xlsx")
    assert wrong.status == 400
    assert "parquet, csv" in str(wrong.json["detail"])


def test_a_run_is_exported_by_python_and_by_name_of_the_file(
    server: ServerProcess, tmp_path: Path
) -> None:
    run = Api(server.url).run("export/r1")
    assert run.export(tmp_path / "points.parquet") == tmp_path / "points.parquet"
    assert pyarrow.parquet.read_table(tmp_path / "points.parquet").num_rows == 6
    run.export(str(tmp_path / "points.CSV"), keys=["ok"])
    text = (tmp_path / "points.CSV").read_text()
    assert text.splitlines()[0] == "step,time,writer,superseded,ok"
    run.export(tmp_path / "points.CSV", format="parquet")
    assert (tmp_path / "points.CSV").read_bytes().startswith(b"PAR1")
    (tmp_path / "folder").mkdir()
    for wrong in (tmp_path / "folder", tmp_path / "no" / "where.csv"):
        with pytest.raises(UsageError, match="cannot write"):
            run.export(wrong)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("folder", "points.CSV", "points.parquet")
    ]


def test_a_download_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(head + b"4\r\nstep\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    target = tmp_path / "points.csv"
    target.write_text("old")
    link = Link(f"http://127.0.0.1:{listener.getsockname()[1]}", "", 30.0)
    with pytest.raises(UnavailableError, match="broke off"):
        download(link, "/export", {}, target)
    thread.join()
    listener.close()
    assert [path.name for path in tmp_path.iterdir()] == ["points.csv"]
    assert target.read_text() == "old"


def test_the_command_exports(server: ServerProcess, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "runlore", "run", "export", "--url", server.url]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    done = run("export/r1", "-o", "out.csv", "--key", "ok", "--json")
    assert done.returncode == 0, done.stderr
    size = (tmp_path / "out.csv").stat().st_size
    assert json.loads(done.stdout) == {
        "run": "local/export/r1",
        "path": "out.csv",
        "bytes": size,
    }
    wrong = run("export/r1", "-o", "out.xlsx", "--format", "xlsx")
    assert (wrong.returncode, "parquet or csv" in wrong.stderr) == (1, True)


def test_downloads_that_are_abandoned_leave_nothing_open(server: ServerProcess) -> None:
    head = f"GET {_BASE}/long/export?format=csv HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert a_table(server, "r1").num_rows == 6
    _wait_for_no_reader(server)


def _wait_for_no_reader(server: ServerProcess) -> None:
    """Wait until nobody reads the history any more: then its journal can be emptied."""
    (path,) = server.home.glob("**/history/history/*.db")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        history = sqlite3.connect(path)
        busy, *_ = history.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        history.close()
        if not busy:
            return
        time.sleep(0.05)
    raise AssertionError("an abandoned download is still being read")
