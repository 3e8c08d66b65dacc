"""No two columns of a table have one name, whatever the metrics are called."""

from hypothesis import given
from hypothesis import strategies as st

from runlore.core.metric import Kind
from runlore.wire.columns import apart, column_names

OWN = ("step", "time")
KINDS: list[Kind] = ["number", "bool", "string"]
keys = st.sampled_from(
    ["loss", "step", "time", "metric:step", "metric:metric:step", "loss:bool", "loss:bool:bool"]
) | st.text(min_size=1, max_size=4)


def test_one_kind_gives_its_name_and_of_several_the_numbers_have_it() -> None:
    cells: list[tuple[str, Kind]] = [
        ("loss", "number"),
        ("loss", "string"),
        ("ok", "bool"),
        ("step", "number"),
        ("metric:step", "string"),
    ]
    assert column_names(cells, OWN) == [
        "loss",
        "loss:string",
        "ok",
        "metric:step",
        "metric:metric:step",
    ]


@given(st.lists(st.tuples(keys, st.sampled_from(KINDS)), unique=True))
def test_names_are_apart(cells: list[tuple[str, Kind]]) -> None:
    names = column_names(cells, OWN)
    assert len({*names, *OWN}) == len(names) + 2


@given(st.lists(keys, unique=True))
def test_metrics_are_apart_from_the_tables_own_columns(keys: list[str]) -> None:
    names = [apart(key, OWN) for key in keys]
    assert len({*names, *OWN}) == len(names) + 2
