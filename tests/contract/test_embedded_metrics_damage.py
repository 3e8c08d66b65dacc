"""The embedded store with damaged files: it opens, names what is damaged, goes on beside it."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runlore.errors import ConflictError, DamageError
from runlore.services.frames import check_piece
from runlore.services.ingest import Change, Ingest, Receipt
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_blob import seal
from runlore.store.metrics import SpoolPiece, Stored
from runlore.testing.metric_contract import a_curve, steps_and_values
from runlore.testing.runs import ReferenceRunStore
from runlore.testing.spools import SpoolBuilder, a_run

HISTORY = "history/1.db"


def damage(folder: Path, file: str, table: str, column: str, where: str = "1") -> None:
    """Flip the last bit of a blob in each row that is chosen."""
    db = sqlite3.connect(folder / file)
    rows = db.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}").fetchall()
    assert rows
    for number, body in rows:
        flipped = body[:-1] + bytes([body[-1] ^ 1])
        db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (flipped, number))
    db.commit()
    db.close()


def rowwise(builder: SpoolBuilder, first: int, last: int) -> list[SpoolPiece]:
    return [builder.piece(number, number + 1) for number in range(first, last)]


def a_long_curve(count: int, *, writer: str = "w-1", first: int = 0) -> SpoolBuilder:
    builder = SpoolBuilder(a_run(), writer)
    for step in range(first, first + count):
        builder.log({"loss": float(step)}, step=step)
    return builder


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it did not happen within 20 s"
        time.sleep(0.01)


def waiting(folder: Path) -> list[str]:
    """Return the writers of which the log still has pieces."""
    log = sqlite3.connect(folder / "log.db")
    rows = log.execute(
        "SELECT DISTINCT name FROM piece JOIN writer ON piece.writer = writer.id ORDER BY name"
    )
    names = [name for (name,) in rows]
    log.close()
    return names


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_writer_counts_as_stored_up_to_a_damaged_piece_and_is_asked_for_the_rest_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hurt, sound = a_long_curve(8), a_curve([1.0, 2.0], run=a_run("run-2"))
    store = EmbeddedMetricStore(tmp_path)
    pieces = rowwise(hurt, 0, len(hurt.frames))
    for piece in pieces:
        store.append([piece])
    store.append([sound.piece()])
    store.close()
    damage(tmp_path, "log.db", "piece", "body", "seq = 6")
    for opening in range(2):
        caplog.clear()
        store = EmbeddedMetricStore(tmp_path)
        assert store.stored(hurt.run, "w-1") == Stored(next=hurt.edges[5], points=2)
        (warning,) = told(caplog)
        named = ("'w-1'", "local/digits/run-1", "piece 6", str(tmp_path / "log.db"))
        for part in (*named, f"up to byte {hurt.edges[5]}"):
            assert part in warning
        assert steps_and_values(store, hurt.run, "loss") == [(0, 0.0), (1, 1.0)]
        assert steps_and_values(store, sound.run, "loss") == [(0, 1.0), (1, 2.0)]
        (behind,) = store.append([pieces[-1]])
        assert isinstance(behind, ConflictError)
        assert str(hurt.edges[5]) in str(behind)
        if opening == 0:
            store.settle()
        store.close()
    store = EmbeddedMetricStore(tmp_path)
    for piece in pieces[5:]:
        (answer,) = store.append([piece])
        assert isinstance(answer, Stored)
    expected = [(step, float(step)) for step in range(8)]
    assert steps_and_values(store, hurt.run, "loss") == expected
    store.close()
    store = EmbeddedMetricStore(tmp_path)
    assert store.stored(hurt.run, "w-1") == Stored(next=len(hurt.data), points=8)
    store.settle()
    store.close()
    EmbeddedMetricStore(tmp_path).close()
    caplog.clear()
    store = EmbeddedMetricStore(tmp_path)
    assert steps_and_values(store, hurt.run, "loss") == expected
    assert told(caplog) == []
    store.close()


def test_a_sender_that_goes_on_behind_damage_is_told_where_to_begin_again(
    tmp_path: Path,
) -> None:
    builder = a_long_curve(6)
    catalog = ReferenceRunStore()
    heard: list[Change] = []

    def send(first: int) -> Receipt:
        piece = builder.piece(first)
        checked = check_piece(piece.run, piece.writer, piece.offset, piece.data)
        answer = ingest.submit(checked)
        assert answer is not None
        return answer.result(10)

    store = EmbeddedMetricStore(tmp_path)
    store.append(rowwise(builder, 0, len(builder.frames)))
    ingest = Ingest(store, catalog, tell=heard.extend)
    acknowledged = send(0)
    assert acknowledged.next == len(builder.data)
    ingest.close()
    store.close()
    damage(tmp_path, "log.db", "piece", "body", "seq = 6")
    store = EmbeddedMetricStore(tmp_path)
    ingest = Ingest(store, catalog, tell=heard.extend)
    done = len(builder.frames)
    builder.log({"loss": 6.0}, step=6)
    refused = send(done)
    assert isinstance(refused.error, ConflictError)
    assert refused.next == builder.edges[5]
    assert send(5) == Receipt(next=len(builder.data), points=7)
    assert [step for step, _ in steps_and_values(store, builder.run, "loss")] == list(range(7))
    ingest.close()
    store.close()


def test_a_writer_whose_declared_keys_are_damaged_is_named_and_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hurt = a_long_curve(3)
    store = EmbeddedMetricStore(tmp_path)
    store.append([hurt.piece(0, 4)])
    store.close()
    damage(tmp_path, "log.db", "declared", "frames")
    store = EmbeddedMetricStore(tmp_path)
    (answer,) = store.append([hurt.piece()])
    assert isinstance(answer, DamageError)
    (warning,) = told(caplog)
    with pytest.raises(DamageError) as caught:
        store.keys(hurt.run)
    for message in (warning, str(answer), str(caught.value)):
        for named in ("declaration 1", "'w-1'", "local/digits/run-1", str(tmp_path / "log.db")):
            assert named in message
    other = a_curve([1.0], run=a_run("run-2"))
    (stored,) = store.append([other.piece()])
    assert isinstance(stored, Stored)
    store.settle()
    assert steps_and_values(store, other.run, "loss") == [(0, 1.0)]
    store.delete(hurt.run)
    store.close()


def test_a_damaged_summary_is_counted_again_from_the_points(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = a_long_curve(10)
    store = EmbeddedMetricStore(tmp_path)
    store.append([builder.piece()])
    store.settle()
    before = store.keys(builder.run)
    store.close()
    damage(tmp_path, HISTORY, "summary", "body")
    store = EmbeddedMetricStore(tmp_path)
    assert store.keys(builder.run) == before
    done = len(builder.frames)
    builder.log({"loss": 99.0}, step=99)
    store.append([builder.piece(done)])
    store.settle()
    assert store.keys(builder.run)[0].count == 11
    assert [line for line in told(caplog) if "summary" in line] == told(caplog)
    assert len(told(caplog)) == 1
    store.close()
    store = EmbeddedMetricStore(tmp_path)
    assert store.keys(builder.run)[0].maximum == 99.0
    store.close()
    assert len(told(caplog)) == 1


def test_keys_are_listed_though_a_set_of_columns_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hurt, sound = a_long_curve(8), a_curve([1.0, 2.0], run=a_run("run-2"))
    store = EmbeddedMetricStore(tmp_path)
    store.append([hurt.piece(), sound.piece()])
    store.settle()
    store.close()
    damage(tmp_path, HISTORY, "columns", "body", "id = 1")
    store = EmbeddedMetricStore(tmp_path)
    for _ in range(2):
        assert store.key_counts([hurt.run, sound.run]) == {("loss", "number"): 2}
    (warning,) = told(caplog)
    assert "columns 1 of run local/digits/run-1" in warning
    store.close()


@pytest.mark.parametrize(
    ("table", "column"), [("segment", "body"), ("block", "frames"), ("columns", "body")]
)
def test_what_comes_after_a_damaged_chunk_is_packed_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str, column: str
) -> None:
    builder = a_long_curve(10)
    store = EmbeddedMetricStore(tmp_path)
    store.append([builder.piece()])
    store.settle()
    store.close()
    damage(tmp_path, HISTORY, table, column)
    store = EmbeddedMetricStore(tmp_path)
    for step in range(10, 13):
        done = len(builder.frames)
        builder.log({"loss": float(step)}, step=step)
        (stored,) = store.append([builder.piece(done)])
        assert isinstance(stored, Stored)
        store.settle()
    with pytest.raises(DamageError, match=r"local/digits/run-1.*1\.db"):
        steps_and_values(store, builder.run, "loss")
    if table != "columns":
        rows = store.rows(builder.run, start=10)
        assert [row.step for row in rows] == [10, 11, 12]
    assert len(told(caplog)) == 1
    store.close()


def test_a_writer_that_cannot_be_packed_stops_no_other_and_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hurt, sound = a_long_curve(10), a_long_curve(10, writer="w-2")
    far = a_curve([1.0], run=a_run("run-9", project="other"), writer="w-9")
    store = EmbeddedMetricStore(tmp_path)
    store.append([hurt.piece(), sound.piece()])
    store.settle()
    store.close()
    for table, column in (("summary", "body"), ("segment", "body")):
        rows = "writer = 3" if table == "summary" else "1"
        damage(tmp_path, HISTORY, table, column, rows)
    store = EmbeddedMetricStore(tmp_path)
    caplog.clear()
    for builder in (hurt, sound, far):
        done = len(builder.frames) if builder is not far else 0
        builder.log({"loss": 1.0}, step=100)
        builder.end()
        (stored,) = store.append([builder.piece(done)])
        assert isinstance(stored, Stored)
    # Ends make writers due: the thread packs them, and removes their pieces from the log.
    wait_until(lambda: waiting(tmp_path) == [hurt.writer])
    wait_until(lambda: any("not packed" in line for line in told(caplog)))
    again = a_curve([1.0], run=a_run("run-8"), writer="w-8")
    again.end()
    store.append([again.piece()])
    wait_until(lambda: waiting(tmp_path) == [hurt.writer])
    (warning,) = [line for line in told(caplog) if "not packed" in line]
    for named in ("'w-1'", "local/digits/run-1", HISTORY):
        assert named in warning
    with pytest.raises(DamageError, match="local/digits/run-1"):
        store.keys(hurt.run)
    done = len(hurt.frames)
    hurt.log({"loss": 2.0}, step=101)
    (refused,) = store.append([hurt.piece(done)])
    assert isinstance(refused, DamageError)
    assert steps_and_values(store, far.run, "loss")[-1] == (100, 1.0)
    store.close()


def test_a_history_file_that_is_no_database_stops_only_its_project(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hurt, sound = a_curve([1.0]), a_curve([2.0], run=a_run(project="other"))
    store = EmbeddedMetricStore(tmp_path)
    store.append([hurt.piece(), sound.piece()])
    store.settle()
    hurt.log({"loss": 3.0}, step=3)
    store.append([hurt.piece()])
    store.close()
    (tmp_path / HISTORY).write_bytes(b"nothing of a database" * 1000)
    store = EmbeddedMetricStore(tmp_path)
    hurt.log({"loss": 4.0}, step=4)
    (refused,) = store.append([hurt.piece()])
    assert isinstance(refused, DamageError)
    fresh = a_curve([1.0], run=a_run("run-7"))
    store.append([fresh.piece()])
    store.settle()
    for run in (hurt.run, fresh.run):
        with pytest.raises(DamageError, match=r"1\.db.*restore it from a backup"):
            store.keys(run)
    assert steps_and_values(store, sound.run, "loss") == [(0, 2.0)]
    assert len(told(caplog)) == 2
    store.close()
    EmbeddedMetricStore(tmp_path).close()


def test_what_nobody_foresaw_in_one_project_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hurt, sound = a_curve([1.0]), a_curve([2.0], run=a_run(project="other"), writer="w-2")
    store = EmbeddedMetricStore(tmp_path)
    store.append([hurt.piece(), sound.piece()])
    store.settle()
    store.close()
    db = sqlite3.connect(tmp_path / HISTORY)
    db.execute("UPDATE summary SET body = ?", (seal(b""),))
    db.commit()
    db.close()
    store = EmbeddedMetricStore(tmp_path)
    for round_number in range(2):
        for builder in (hurt, sound):
            done = len(builder.frames)
            builder.log({"loss": 3.0}, step=10 + round_number)
            builder.end()
            store.append([builder.piece(done)])
        wait_until(lambda: waiting(tmp_path) == [hurt.writer])
    assert len([line for line in told(caplog) if "cannot be packed" in line]) == 1
    store.close()
