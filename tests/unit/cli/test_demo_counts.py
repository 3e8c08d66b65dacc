"""The demo counts what the spool holds, also while it is being written."""

from pathlib import Path

from runlore.cli.demo_counts import SpoolCount
from runlore.wire import spool

_END = spool.frame(spool.encode_json(spool.FINISH, {"exit_code": 0}))


def _row(step: int, values: list[float]) -> bytes:
    return spool.frame(spool.encode_loose_row(step, 1, list(range(len(values))), values))


def _stream(folder: Path, run: str) -> Path:
    path = folder / "host" / "local" / "digits" / run / "w.rlspool"
    path.parent.mkdir(parents=True)
    path.write_bytes(spool.PREAMBLE + spool.frame(spool.encode_keys(0, ["loss", "accuracy"])))
    return path


def test_points_are_counted_on_from_the_last_look(tmp_path: Path) -> None:
    path = _stream(tmp_path, "a")
    count = SpoolCount(tmp_path, "digits", ["a", "b"])
    assert count.read() == {"a": 0, "b": 0}

    with path.open("ab") as file:
        file.write(_row(0, [1.0, 2.0]))
    assert count.read() == {"a": 2, "b": 0}

    with path.open("ab") as file:
        file.write(_row(1, [1.0]) + _END)
    assert count.read() == {"a": 3, "b": 0}


def test_half_a_frame_is_counted_when_its_rest_has_come(tmp_path: Path) -> None:
    path = _stream(tmp_path, "a")
    whole = path.read_bytes()
    row = _row(0, [1.0, 2.0])
    path.write_bytes(whole + row[:-3])
    count = SpoolCount(tmp_path, "digits", ["a"])
    assert count.read() == {"a": 0}

    path.write_bytes(whole + row)
    assert count.read() == {"a": 2}


def test_all_have_ended_only_when_every_run_has_its_end(tmp_path: Path) -> None:
    one, other = _stream(tmp_path, "a"), _stream(tmp_path, "b")
    count = SpoolCount(tmp_path, "digits", ["a", "b"])

    one.write_bytes(one.read_bytes() + _END)
    count.read()
    assert not count.all_ended

    other.write_bytes(other.read_bytes() + _END)
    count.read()
    assert count.all_ended
