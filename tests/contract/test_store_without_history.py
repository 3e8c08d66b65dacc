"""A file that is removed while the store runs, or before: said, and nothing is lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runlore.errors import DamageError, UnavailableError
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.metrics_check import check_store
from runlore.store.metrics import Stored
from runlore.testing.metric_contract import a_curve, steps_and_values
from runlore.testing.spools import SpoolBuilder, a_run


def a_packed_store(folder: Path) -> tuple[EmbeddedMetricStore, SpoolBuilder, SpoolBuilder]:
    """Fill a store with a packed run of each of two projects."""
    builder = SpoolBuilder(a_run())
    for step in range(50):
        builder.log({"loss": float(step)}, step=step)
    other = a_curve([1.0, 2.0], run=a_run("run-9", project="other"), writer="w-9")
    store = EmbeddedMetricStore(folder)
    store.append([builder.piece()])
    store.append([other.piece()])
    store.settle()
    return store, builder, other


def log_on(store: EmbeddedMetricStore, builder: SpoolBuilder) -> None:
    done = len(builder.frames)
    builder.log({"loss": 0.5}, step=1000 + done)
    (answer,) = store.append([builder.piece(done)])
    assert isinstance(answer, Stored)
    assert answer.next == len(builder.data)


def asking(store: EmbeddedMetricStore) -> list[Callable[[], object]]:
    return [
        lambda: list(store.rows(a_run())),
        lambda: store.keys(a_run()),
        lambda: store.key_counts([a_run()]),
        lambda: store.series([a_run()], ["loss"], buckets=5),
        store.settle,
    ]


def moved(folder: Path, aside: Path) -> None:
    """Move a history file with what belongs to it."""
    aside.mkdir()
    for path in (folder / "history").glob("1.db*"):
        shutil.move(path, aside / path.name)


def test_a_history_file_removed_while_the_store_runs_is_named_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "store"
    store, builder, other = a_packed_store(folder)
    log_on(store, builder)
    aside = tmp_path / "aside"
    moved(folder, aside)
    for ask in asking(store):
        with pytest.raises(UnavailableError, match=r"1\.db.*removed.*put the file back"):
            ask()
    log_on(store, builder)
    with pytest.raises(UnavailableError, match="put the file back"):
        store.settle()
    assert steps_and_values(store, other.run, "loss") == [(0, 1.0), (1, 2.0)]
    store.close()
    assert not (folder / "history" / "1.db").exists()
    for path in aside.iterdir():
        shutil.move(path, folder / "history" / path.name)
    assert check_store(folder).found == []
    store = EmbeddedMetricStore(folder)
    store.settle()
    values = steps_and_values(store, builder.run, "loss")
    assert len(values) == 52
    assert values[:50] == [(step, float(step)) for step in range(50)]
    store.close()
    assert check_store(folder).found == []


def test_a_history_file_missing_at_the_start_is_named_and_what_comes_waits_in_the_log(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "store"
    store, builder, other = a_packed_store(folder)
    store.close()
    moved(folder, tmp_path / "aside")
    assert any("missing" in one.what for one in check_store(folder).found)
    store = EmbeddedMetricStore(folder)
    log_on(store, builder)
    for ask in asking(store):
        with pytest.raises(UnavailableError, match=r"1\.db' is missing.*put the file back"):
            ask()
    assert steps_and_values(store, other.run, "loss") == [(0, 1.0), (1, 2.0)]
    # A run that never was packed can be read, and a run whose file is gone be deleted.
    fresh = a_curve([7.0], run=a_run("run-2"), writer="w-2")
    store.append([fresh.piece()])
    assert steps_and_values(store, fresh.run, "loss") == [(0, 7.0)]
    store.close()
    assert not (folder / "history" / "1.db").exists()
    for path in (tmp_path / "aside").iterdir():
        shutil.move(path, folder / "history" / path.name)
    store = EmbeddedMetricStore(folder)
    store.settle()
    assert len(steps_and_values(store, builder.run, "loss")) == 51
    assert steps_and_values(store, fresh.run, "loss") == [(0, 7.0)]
    store.close()
    assert check_store(folder).found == []


def test_nothing_is_acknowledged_that_goes_into_a_log_without_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store, builder, _ = a_packed_store(folder)
    log_on(store, builder)
    kept, done = len(builder.data), len(builder.frames)
    builder.log({"loss": 0.5}, step=2000)
    for name in ("log.db", "log.db-wal"):
        (folder / name).rename(tmp_path / "aside")
        for _ in range(2):
            (answer,) = store.append([builder.piece(done)])
            assert isinstance(answer, UnavailableError)
            assert "log.db" in str(answer)
            assert "put the file back" in str(answer)
        with pytest.raises(UnavailableError, match="removed or replaced"):
            store.rewind(builder.run, 3)
        with pytest.raises(UnavailableError, match="removed or replaced"):
            store.delete(builder.run)
        assert store.stored(builder.run, builder.writer).next == kept
        # What was acknowledged can be read, also while another file has its place.
        (folder / name).write_bytes(b"of somebody else")
        assert len(steps_and_values(store, builder.run, "loss")) == 51
        assert isinstance(store.append([builder.piece(done)])[0], UnavailableError)
        (tmp_path / "aside").rename(folder / name)
    (stored,) = store.append([builder.piece(done)])
    assert isinstance(stored, Stored)
    store.close()
    store = EmbeddedMetricStore(folder)
    assert len(steps_and_values(store, builder.run, "loss")) == 52
    store.close()
    assert check_store(folder).found == []


def test_a_log_that_was_removed_is_written_again_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, builder, other = a_packed_store(tmp_path)
    log_on(store, builder)
    for path in tmp_path.glob("log.db*"):
        path.unlink()
    store.close()
    assert "written again" in caplog.text
    store = EmbeddedMetricStore(tmp_path)
    assert len(steps_and_values(store, builder.run, "loss")) == 51
    assert steps_and_values(store, other.run, "loss") == [(0, 1.0), (1, 2.0)]
    log_on(store, builder)
    store.close()
    assert check_store(tmp_path).found == []


def test_a_log_missing_at_the_start_is_not_begun_anew_beside_its_history(tmp_path: Path) -> None:
    store, _, _ = a_packed_store(tmp_path)
    store.close()
    (tmp_path / "log.db").unlink()
    with pytest.raises(DamageError, match=r"log\.db' is missing.*from a backup"):
        EmbeddedMetricStore(tmp_path)
    assert not (tmp_path / "log.db").exists()


def test_a_run_whose_history_file_is_gone_can_be_deleted_and_others_are_packed_again(
    tmp_path: Path,
) -> None:
    store, builder, _ = a_packed_store(tmp_path)
    store.close()
    (tmp_path / "history" / "1.db").unlink()
    store = EmbeddedMetricStore(tmp_path)
    store.delete(builder.run)
    fresh = a_curve([7.0], run=a_run("run-2"), writer="w-2")
    store.append([fresh.piece()])
    store.settle()
    assert steps_and_values(store, fresh.run, "loss") == [(0, 7.0)]
    store.close()
    assert check_store(tmp_path).found == []
