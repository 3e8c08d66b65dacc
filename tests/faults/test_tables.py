"""What `runlore.Api()` reads as tables of numpy, Arrow, pandas and polars."""

import math
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from runlore.core.run import RunRef
from runlore.errors import UsageError
from runlore.sdk.api import Api
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SECOND_NS, SpoolBuilder


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with ServerProcess(tmp_path_factory.mktemp("home")) as server:
        for name in ("a", "b"):
            builder = SpoolBuilder(RunRef("local", "tables", name), started_ns=9 * SECOND_NS)
            for step in range(100):
                time_ns = (9 + step) * SECOND_NS
                builder.log({"loss": float(step), "acc": 0.5}, step=step, time_ns=time_ns)
            builder.log({"loss": "gone", "step": True, "note": "é"}, step=100, time_ns=10**18)
            assert server.send_spool(builder).status == 200
        yield Api(server.url)


def test_series_are_columns_by_run_and_key(api: Api) -> None:
    found = api.series("tables", runs=["b", "a"], keys=["loss", "none"], buckets=30)
    assert list(found) == [("b", "loss"), ("a", "loss")]
    one = found["a", "loss"]
    assert (one.width, one.points, one.rows) == (4, 100, 25)
    mean = one["mean"]
    assert isinstance(mean, np.ndarray)
    assert mean[:2].tolist() == [1.5, 5.5]
    assert {"step", "count", "min", "max", "mean", "last"} <= set(one)
    with pytest.raises(KeyError):
        one["median"]


def test_series_of_all_runs_and_of_keys_that_match(api: Api) -> None:
    found = api.series("local/tables", keys_matching="^(acc|loss)$", start=10, stop=20)
    assert sorted(found) == [(run, key) for run in "ab" for key in ("acc", "loss")]
    assert all(one.points == 10 for one in found.values())
    assert api.series("tables", runs=[], keys=["loss"]).to_arrow().num_rows == 0


def test_series_lie_on_other_axes(api: Api) -> None:
    found = api.series("tables", runs=["a"], keys=["acc"], buckets=10, x="relative")
    assert found["a", "acc"]["x_max"][0] == 15.0
    found = api.series("tables", runs=["a"], keys=["acc"], buckets=10, x="key", x_key="loss")
    assert found["a", "acc"]["x_min"][1] == 16.0


def test_series_are_tables(api: Api) -> None:
    found = api.series("tables", runs=["a", "b"], keys=["loss"], buckets=30)
    arrow, frame, polar = found.to_arrow(), found.to_pandas(), found.to_polars()
    assert isinstance(arrow, pyarrow.Table)
    assert isinstance(frame, pandas.DataFrame)
    assert isinstance(polar, polars.DataFrame)
    for rows in (arrow.to_pylist(), frame.to_dict("records"), polar.to_dicts()):
        assert len(rows) == 50
        assert (rows[26]["run"], rows[26]["key"], rows[26]["mean"]) == ("b", "loss", 5.5)


def test_history_is_a_table_with_gaps_and_a_column_per_kind(api: Api) -> None:
    run = api.run("tables/a")
    arrow = run.scan_history().to_arrow()
    names = ["step", "time", "loss", "acc", "loss:string", "metric:step", "note"]
    assert arrow.column_names == names
    last = dict.fromkeys(names) | {
        "step": 100,
        "loss:string": "gone",
        "metric:step": True,
        "note": "é",
    }
    frame, polar = run.scan_history().to_pandas(), run.scan_history().to_polars()
    assert list(frame.columns) == polar.columns == names
    assert arrow.slice(100).drop_columns(["time"]).to_pylist() == [
        {name: value for name, value in last.items() if name != "time"}
    ]
    assert polar.drop("time").row(100) == tuple(v for n, v in last.items() if n != "time")
    assert polar["time"][99] == datetime(1970, 1, 1, 0, 1, 48, tzinfo=UTC)
    assert frame["time"][100] == pandas.Timestamp(10**18, tz="UTC")
    assert frame["loss"].dtype == "float64"
    assert math.isnan(frame["loss"][100])
    assert frame["metric:step"].tolist() == [pandas.NA] * 100 + [True]


def test_a_table_holds_the_rows_that_are_left(api: Api) -> None:
    rows = api.run("tables/a").scan_history(["acc"], start=1, stop=5)
    assert next(rows) == {
        "step": 1,
        "time": datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC),
        "acc": 0.5,
    }
    assert rows.to_pandas()["step"].tolist() == [2, 3, 4]


def test_names_that_stand_without_a_list_are_refused(api: Api) -> None:
    with pytest.raises(UsageError, match="must be a list"):
        api.series("tables", keys="loss")
    with pytest.raises(UsageError, match="must be a list"):
        api.series("tables", runs="a", keys=["loss"])


_BARE = """
import sys
for name in ("numpy", "pyarrow", "pandas", "polars"):
    sys.modules[name] = None  # as if it were not installed
import runlore
found = runlore.Api(sys.argv[1]).series("tables", runs=["a"], keys=["loss"], buckets=30)
assert found["a", "loss"]["mean"][:2].tolist() == [1.5, 5.5]
rows = runlore.Api(sys.argv[1]).run("tables/a").scan_history()
for table in (found, rows):
    for make in (table.to_arrow, table.to_pandas, table.to_polars):
        try:
            make()
        except ValueError as error:
            assert "pip install" in str(error), error
        else:
            raise AssertionError(make)
"""


def test_without_these_libraries_columns_come_and_tables_say_what_to_install(api: Api) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BARE, api.url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
